#!/usr/bin/env bash
# Profile `jvm`: real Kafka Connect with Debezium in place of cdc-relay and back, on the same topics, slot and connector
# template. Four changes of the guard, the last after a crash, three of them under traffic; each takes no second snapshot and
# leaves the lake equal to Postgres. Called by run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/compose/zones.sh

at() { docker compose port "$1" "$2"; }
post() { curl -fsS -X POST "$(at seeder 8000)$1"; echo; }
# On a busy machine Debezium needs minutes for what was written while it came up.
prove() { docker compose run --rm -T -e LEDGER_PATIENCE_S=600 haus verify; }
sql() { docker compose run --rm -T haus --json sql "$1"; }
# Timed start of a worker that is to be the source.
takes_over() {
    local began=$SECONDS
    docker compose up -d --wait --wait-timeout 600 "$1"
    echo "-- $1 healthy in $((SECONDS - began)) s"
    wait_for 300 "$1 to run the source's task" source_runs_on "$1"
    echo "-- $1 runs the source's task after $((SECONDS - began)) s"
}
status_of() { curl -fsS "$(at "$1" "$2")/connectors/$3/status"; }
source_runs_on() {
    status_of "$1" 8083 postgres-source-storefront | grep -q "\"tasks\":\[{[^]]*\"state\":\"RUNNING\",\"worker_id\":\"$1:"
}
# The sink as a source worker shows it: its three tasks run, on the worker that has its class.
sink_runs() {
    local status; status=$(status_of "$1" 8083 s3-sink-storefront)
    [ "$(grep -o '"state":"RUNNING","worker_id":"s3-sink:8084"' <<<"$status" | wc -l)" = 4 ]
}
one_snapshot() {
    local rows; rows=$(sql "SELECT count(*) AS n FROM stage.customers WHERE _op = 'r'")
    grep -q '\b300\b' <<<"$rows" || { echo "a second snapshot was taken: $rows" >&2; return 1; }
}

image=$(sed -n 's/^KAFKA_CONNECT_IMAGE=//p' .env)
docker image inspect "$image" >/dev/null 2>&1 || docker compose build -q kafka-connect 2>/dev/null ||
    docker build -q -f compose/Dockerfile.connect -t "$image" compose
docker image inspect --format "size of $image: {{.Size}} bytes" "$image"

docker compose up -d --wait --wait-timeout 600 \
    postgres flyway seeder kafka schema-registry cdc-relay s3-sink minio mc catalog-db catalog lake
post '/seed/full?count=300'

echo "== Debezium from the start, in place of cdc-relay"
docker compose stop cdc-relay
began=$SECONDS
docker compose up -d --wait --wait-timeout 600 kafka-connect
echo "-- kafka-connect healthy in $((SECONDS - began)) s"
docker compose run --rm -T connect-postgres
docker compose run --rm -T connect-s3
wait_for 300 "Debezium to run" source_runs_on kafka-connect
post '/seed/full?count=200'
prove
one_snapshot
# The JVM worker has no class of the sink's and says so; that is not to be taken for a failure of the sink.
wait_for 30 "the sink to be shown as running by the JVM worker" sink_runs kafka-connect
docker stats --no-stream --format '-- memory of {{.Name}}: {{.MemUsage}}' "$(docker compose ps -q kafka-connect)" "$(docker compose ps -q kafka)"

echo "== cdc-relay goes on from Debezium's position"
post '/seed/start?rate=10'
docker compose stop kafka-connect
takes_over cdc-relay
wait_for 30 "the sink to be shown as running by cdc-relay" sink_runs cdc-relay
prove
one_snapshot

echo "== Debezium goes on from cdc-relay's position"
docker compose stop cdc-relay
takes_over kafka-connect
prove

echo "== cdc-relay goes on after Debezium was killed"
docker compose kill kafka-connect
takes_over cdc-relay
post '/seed/stop'
post '/seed/full?count=100'
prove
one_snapshot
