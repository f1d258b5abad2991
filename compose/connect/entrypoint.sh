#!/usr/bin/env bash
# Kafka Connect, distributed. Each CONNECT_SOME_NAME of the environment becomes the worker's setting some.name; what is not
# given has the defaults below: those of cdc-relay, so that either of the two can go on from the other's topics.
set -euo pipefail
settings=/tmp/connect-distributed.properties

: "${CONNECT_BOOTSTRAP_SERVERS:=kafka:19092}"
: "${CONNECT_GROUP_ID:=connect}"
: "${CONNECT_CONFIG_STORAGE_TOPIC:=connect_configs}"
: "${CONNECT_OFFSET_STORAGE_TOPIC:=connect_offsets}"
: "${CONNECT_STATUS_STORAGE_TOPIC:=connect_statuses}"
: "${CONNECT_CONFIG_STORAGE_REPLICATION_FACTOR:=1}"
: "${CONNECT_OFFSET_STORAGE_REPLICATION_FACTOR:=1}"
: "${CONNECT_STATUS_STORAGE_REPLICATION_FACTOR:=1}"
: "${CONNECT_KEY_CONVERTER:=io.confluent.connect.avro.AvroConverter}"
: "${CONNECT_KEY_CONVERTER_SCHEMA_REGISTRY_URL:=http://schema-registry:8081}"
: "${CONNECT_VALUE_CONVERTER:=io.confluent.connect.avro.AvroConverter}"
: "${CONNECT_VALUE_CONVERTER_SCHEMA_REGISTRY_URL:=http://schema-registry:8081}"
# Records and their position in one transaction, and positions read committed: what cdc-relay wrote and aborted is no position.
: "${CONNECT_EXACTLY_ONCE_SOURCE_SUPPORT:=enabled}"
: "${CONNECT_LISTENERS:=http://0.0.0.0:8083}"
: "${CONNECT_REST_ADVERTISED_HOST_NAME:=$(hostname)}"
: "${CONNECT_PLUGIN_PATH:=/opt/connect/plugins}"
# Assignments need not wait long for a worker that will not come back: there is one.
: "${CONNECT_SCHEDULED_REBALANCE_MAX_DELAY_MS:=0}"
: "${KAFKA_HEAP_OPTS:=-Xms128m -Xmx512m}"
: "${KAFKA_LOG4J_OPTS:=-Dlog4j2.configurationFile=/opt/connect/log4j2.yaml}"
export KAFKA_HEAP_OPTS KAFKA_LOG4J_OPTS
# Kafka's start script wants a folder for a log that we do not write.
export LOG_DIR=/tmp/connect-logs

umask 077
for name in "${!CONNECT_@}"; do
    setting=${name#CONNECT_}
    setting=${setting,,}
    printf '%s=%s\n' "${setting//_/.}" "${!name}"
done >"$settings"
exec /opt/kafka/bin/connect-distributed.sh "$settings"
