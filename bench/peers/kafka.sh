#!/usr/bin/env bash
# Apache Kafka, one node, as its own start script would run it (G1, the heap of KAFKA_HEAP), on loopback:
#   kafka.sh start DIR PORT CONTROLLER_PORT     data in DIR/kafka, log in DIR/kafka.log, process id in DIR/kafka.pid
#   kafka.sh stop DIR
# KAFKA_HEAP: options for the JVM's heap (-Xms512m -Xmx512m).
set -euo pipefail
# shellcheck source=bench/peers/env.sh
. "$(dirname "$0")/env.sh"
[ $# -ge 2 ] || usage
dir=$2

case $1 in
stop) stop_process "$dir/kafka.pid" ;;
start)
    [ $# -eq 4 ] || usage
    port=$3 controller=$4
    "$here/fetch.sh"
    mkdir -p "$dir/kafka"
    dir=$(cd "$dir" && pwd)
    cat >"$dir/kafka.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/kafka
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=true
PROPERTIES
    # The same mark as `kafka-storage format` leaves, without a JVM's start for it.
    [ -f "$dir/kafka/meta.properties" ] ||
        printf 'version=1\nnode.id=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\ndirectory.id=BBBBBBBBBBBBBBBBBBBBBA\n' >"$dir/kafka/meta.properties"
    # shellcheck disable=SC2086 # several options
    setsid nohup "$java" ${KAFKA_HEAP:--Xms512m -Xmx512m} -XX:+UseG1GC -Dlog4j2.configurationFile="$root/compose/connect/log4j2.yaml" \
        -cp "$peers/libs/*" kafka.Kafka "$dir/kafka.properties" >"$dir/kafka.log" 2>&1 </dev/null &
    echo $! >"$dir/kafka.pid"
    wait_for Kafka 120 "$dir/kafka.pid" "$dir/kafka.log" grep -q 'Kafka Server started' "$dir/kafka.log"
    ;;
*) usage ;;
esac
