#!/usr/bin/env bash
# Kafka Connect, one distributed worker with Debezium's Postgres connector and Confluent's Avro converter, on loopback:
#   connect.sh start DIR BOOTSTRAP REGISTRY_URL PORT     log in DIR/connect.log, process id in DIR/connect.pid
#   connect.sh stop DIR
#   connect.sh kill DIR                                  with SIGKILL
# Returns when http://127.0.0.1:PORT/connectors answers. The internal topics are connect_configs, connect_offsets and
# connect_statuses, as cdc-relay's; the group is CONNECT_GROUP (connect).
# CONNECT_HEAP: options for the JVM's heap (-Xms256m -Xmx2g, those of Kafka's own start script).
# CONNECT_SETTINGS: more lines for the worker's settings, such as exactly.once.source.support=enabled.
set -euo pipefail
# shellcheck source=bench/peers/env.sh
. "$(dirname "$0")/env.sh"
[ $# -ge 2 ] || usage
dir=$2

case $1 in
stop) stop_process "$dir/connect.pid" ;;
kill) stop_process "$dir/connect.pid" KILL ;;
start)
    [ $# -eq 5 ] || usage
    bootstrap=$3 registry=$4 port=$5
    "$here/fetch.sh"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    cat >"$dir/connect.properties" <<PROPERTIES
bootstrap.servers=$bootstrap
group.id=${CONNECT_GROUP:-connect}
config.storage.topic=connect_configs
offset.storage.topic=connect_offsets
status.storage.topic=connect_statuses
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
key.converter=io.confluent.connect.avro.AvroConverter
key.converter.schema.registry.url=$registry
value.converter=io.confluent.connect.avro.AvroConverter
value.converter.schema.registry.url=$registry
listeners=http://127.0.0.1:$port
rest.advertised.host.name=127.0.0.1
plugin.path=$peers/plugins
scheduled.rebalance.max.delay.ms=0
${CONNECT_SETTINGS:-}
PROPERTIES
    # shellcheck disable=SC2086 # several options
    setsid nohup "$java" ${CONNECT_HEAP:--Xms256m -Xmx2g} -XX:+UseG1GC -Dlog4j2.configurationFile="$root/compose/connect/log4j2.yaml" \
        -cp "$peers/libs/*" org.apache.kafka.connect.cli.ConnectDistributed "$dir/connect.properties" >"$dir/connect.log" 2>&1 </dev/null &
    echo $! >"$dir/connect.pid"
    wait_for "Kafka Connect" 600 "$dir/connect.pid" "$dir/connect.log" answers "http://127.0.0.1:$port/connectors"
    ;;
*) usage ;;
esac
