#!/usr/bin/env bash
# Stand-in for the entry point of the official postgres image, as far as the compose files use it: POSTGRES_USER,
# POSTGRES_PASSWORD, POSTGRES_DB, PGDATA, scripts in /docker-entrypoint-initdb.d, arguments of the server.
set -Eeuo pipefail
[ "${1:0:1}" = '-' ] && set -- postgres "$@"
if [ "${1:-}" != postgres ]; then exec "$@"; fi

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    chown -R postgres:postgres "$PGDATA" /var/run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

# A configuration file of one's own does not name the folder of the socket that psql looks in.
set -- "$@" -c unix_socket_directories=/var/run/postgresql
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"
    [ -n "${POSTGRES_PASSWORD:-}" ] || { echo 'Error: Database is uninitialized and superuser password is not specified.' >&2; exit 1; }
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD")
    printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
    # No TCP yet: nobody outside may see the server before its databases are made.
    pg_ctl -D "$PGDATA" -o "$(printf '%q ' "${@:2}" -c listen_addresses=)" -w start
    run=(env PGHOST=/var/run/postgresql psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --no-password)
    if [ "$POSTGRES_DB" != postgres ]; then
        echo 'SELECT format($$CREATE DATABASE %I$$, :'"'db'"') \gexec' | "${run[@]}" --dbname postgres -v db="$POSTGRES_DB"
    fi
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
        *.sql) echo "$0: running $script"; "${run[@]}" --dbname "$POSTGRES_DB" -f "$script" ;;
        *.sh) echo "$0: running $script"; bash "$script" ;;
        esac
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
else
    printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
fi
exec "$@"
