#!/usr/bin/env bash
# Profile `scale`: three brokers, a standby relay, three sink workers. The first relay is killed under traffic; the
# standby goes on, the sink's partitions are spread, and the lake is equal to Postgres. Called by run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/compose/zones.sh

zone source up -d --wait
zone lake up -d --wait minio mc catalog-db catalog lake
docker compose -f docker-compose.streaming.yaml --profile scale up -d --wait kafka kafka-2 kafka-3 schema-registry cdc-relay cdc-relay-2 s3-sink s3-sink-2 s3-sink-3
zone streaming run --rm connect-postgres
zone streaming run --rm connect-s3
seed 500

brokers=$(docker exec kafka /opt/kafka/bin/kafka-broker-api-versions.sh --bootstrap-server kafka:19092 | grep -c '^kafka')
[ "$brokers" = 3 ] || { echo "expected 3 brokers, found $brokers" >&2; exit 1; }

# Topics are made by the relay when it first writes to them; their partitions are spread over the brokers.
wait_for 60 "topics of the shop" sh -c 'docker exec kafka kafka-topics --bootstrap-server localhost:9092 --list | grep -q storefront.public.payments'
leaders=$(docker exec kafka kafka-topics --bootstrap-server localhost:9092 --describe | grep -o 'Leader: [0-9]*' | sort -u | wc -l)
[ "$leaders" -ge 2 ] || { echo "expected leaders on several brokers, found $leaders" >&2; exit 1; }

members() { docker exec kafka kafka-consumer-groups --bootstrap-server localhost:9092 --describe --group connect-s3-sink-storefront --members; }
hosts() { members | awk 'NR > 1 && $3 ~ /^\// { print $3 }' | sort -u | wc -l; }
three_hosts() { [ "$(hosts)" = 3 ]; }
wait_for 60 "members of the sink's group on three workers" three_hosts

curl -fsS -X POST 'localhost:8000/seed/start?rate=50' >/dev/null
wait_for 60 "the source task to run" running 8083 postgres-source-storefront
docker kill cdc-relay >/dev/null
killed=$SECONDS
# The port on this machine went with the relay; the network's name `connect` now is the standby.
taken_over() {
    docker exec cdc-relay-2 haus --json connector status postgres-source-storefront |
        python3 -c 'import json, sys; task = json.load(sys.stdin)["tasks"][0]; print(task); sys.exit((task["state"], task["worker_id"]) != ("RUNNING", "cdc-relay-2:8083"))'
}
wait_for 60 "the standby to take over" taken_over
echo "standby took over in $((SECONDS - killed)) s"
seed 200
curl -fsS -X POST 'localhost:8000/seed/stop' >/dev/null
verify
