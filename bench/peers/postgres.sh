#!/usr/bin/env bash
# PostgreSQL as embedded, with logical replication and else its own defaults (so it syncs), on loopback:
#   postgres.sh start DIR PORT      data in DIR/postgres, log in DIR/postgres.log, process id in DIR/postgres.pid
#   postgres.sh stop DIR
# User `postgres`, password `postgres`. POSTGRES_SETTINGS: more lines for postgresql.conf.
set -euo pipefail
# shellcheck source=bench/peers/env.sh
. "$(dirname "$0")/env.sh"
[ $# -ge 2 ] || usage
dir=$2

case $1 in
stop) stop_process "$dir/postgres.pid" INT ;;
start)
    [ $# -eq 3 ] || usage
    "$root/embedded/fetch.sh"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    # It refuses to run as root: as `nobody`, with the one right that lets it reach its data wherever that lies.
    as=() data=$dir/postgres
    [ "$(id -u)" = 0 ] && as=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+dac_override --ambient-caps=+dac_override)
    if [ ! -f "$data/PG_VERSION" ]; then
        mkdir -p "$data"
        [ "$(id -u)" = 0 ] && chown 65534:65534 "$data"
        echo postgres >"$dir/password"
        "${as[@]}" "$postgres_home/bin/initdb" -D "$data" -U postgres --pwfile="$dir/password" --auth=scram-sha-256 \
            --encoding=UTF8 --locale=C.UTF-8 --no-instructions >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
        cat >>"$data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = logical
max_wal_size = 4GB
${POSTGRES_SETTINGS:-}
CONF
    fi
    : >"$dir/postgres.log"
    setsid nohup "${as[@]}" "$postgres_home/bin/postgres" -D "$data" -p "$3" >"$dir/postgres.log" 2>&1 </dev/null &
    echo $! >"$dir/postgres.pid"
    wait_for PostgreSQL 120 "$dir/postgres.pid" "$dir/postgres.log" grep -q 'ready to accept connections' "$dir/postgres.log"
    ;;
*) usage ;;
esac
