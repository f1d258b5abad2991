#!/bin/sh
# Records what pgoutput says about the statements of this folder's parent. Needs psql and a server with wal_level=logical;
# connection by the usual PG* variables. Writes stream.jsonl: one payload a line, as hexadecimal.
set -eu
cd "$(dirname "$0")"
db=golden_pgoutput_$$
trap 'psql -qd postgres -c "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '"'$db'"'" >/dev/null; psql -qd postgres -c "DROP DATABASE IF EXISTS $db"' EXIT
psql -qd postgres -c "CREATE DATABASE $db"
run() { psql -qX -v ON_ERROR_STOP=1 -d "$db" "$@"; }
run -f ../00-schema.sql
run -c "SELECT pg_create_logical_replication_slot('$db', 'pgoutput')" >/dev/null
# In its own time zone, so that offsets with seconds appear.
PGTZ=UTC run -f ../01-before-snapshot.sql
PGTZ=UTC run -f ../02-streaming.sql >/dev/null
PGTZ=Europe/Berlin run -At -c "
  SELECT json_build_object('lsn', lsn, 'xid', xid, 'hex', encode(data, 'hex'))
  FROM pg_logical_slot_get_binary_changes('$db', NULL, NULL,
    'proto_version', '1', 'publication_names', 'storefront_pub', 'messages', 'true')" > stream.jsonl
wc -l stream.jsonl
