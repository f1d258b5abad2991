#!/usr/bin/env bash
# Profile `scale`: three brokers, a standby relay, three sink workers, a scheduler with two executors for the lake's queries.
# The first relay and one executor are killed under traffic; the standby and the other executor go on, the sink's partitions
# are spread, and the lake is equal to Postgres. Called by run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/compose/zones.sh

export LAKE_ENGINE=ballista=lake-scheduler:50050
zone source up -d --wait
zone lake --profile scale up -d --wait minio mc catalog-db catalog lake lake-scheduler lake-executor lake-executor-2
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

# models WHAT: the models that jobs of that status are of; asks the scheduler.
models() {
    curl -fsS localhost:50050/api/jobs |
        python3 -c 'import json, sys; print(*sorted({job["job_name"] for job in json.load(sys.stdin) if job["status"] == sys.argv[1]}))' "$1"
}
executors() { [ "$(curl -fsS localhost:50050/api/executors | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')" = "$1" ]; }
computed() { models Completed | grep -q "$1"; }
wait_for 60 "two executors" executors 2
wait_for 90 "a mart that the cluster computed" computed cohort_retention
echo "computed on the cluster: $(models Completed)"

members() { docker exec kafka kafka-consumer-groups --bootstrap-server localhost:9092 --describe --group connect-s3-sink-storefront --members; }
hosts() { members | awk 'NR > 1 && $3 ~ /^\// { print $3 }' | sort -u | wc -l; }
three_hosts() { [ "$(hosts)" = 3 ]; }
wait_for 60 "members of the sink's group on three workers" three_hosts

curl -fsS -X POST 'localhost:8000/seed/start?rate=50' >/dev/null
wait_for 60 "the source task to run" running 8083 postgres-source-storefront
docker kill cdc-relay lake-executor >/dev/null
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
wait_for 60 "the killed executor to be forgotten" executors 1
verify
[ -z "$(models Failed)" ] || echo "models with jobs that failed, computed again since: $(models Failed)"
docker start lake-executor >/dev/null
wait_for 60 "the executor to be back" executors 2
echo "the lake's data equals Postgres' after an executor was killed; memory of the cluster:"
docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' lake lake-scheduler lake-executor lake-executor-2
