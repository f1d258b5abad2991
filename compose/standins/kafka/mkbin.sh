#!/usr/bin/env bash
# mkbin.sh DIRECTORY: writes the scripts of /opt/kafka/bin that people and our compose files call: one that starts Java, one
# per tool. They heed the same variables as the real ones (KAFKA_HEAP_OPTS, KAFKA_LOG4J_OPTS, KAFKA_OPTS).
set -euo pipefail
bin=$1
rm -rf "$bin"; mkdir -p "$bin"

cat >"$bin/kafka-run-class.sh" <<'SCRIPT'
#!/bin/bash
exec java ${KAFKA_HEAP_OPTS:--Xmx256M} ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseG1GC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true} \
    ${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=/etc/kafka/docker/tools-log4j2.yaml} ${KAFKA_OPTS:-} \
    -cp "${CLASSPATH:+$CLASSPATH:}/opt/kafka/libs/*" "$@"
SCRIPT

# start NAME CLASS LOGGING HEAP: a server's script
start() {
    cat >"$bin/$1.sh" <<SCRIPT
#!/bin/bash
export KAFKA_HEAP_OPTS=\${KAFKA_HEAP_OPTS:-$4}
export KAFKA_LOG4J_OPTS=\${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=/opt/kafka/config/$3}
export KAFKA_JVM_PERFORMANCE_OPTS=\${KAFKA_JVM_PERFORMANCE_OPTS:--server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -Djava.awt.headless=true}
exec /opt/kafka/bin/kafka-run-class.sh $2 "\$@"
SCRIPT
}
start kafka-server-start kafka.Kafka log4j2.yaml "-Xmx1G -Xms1G"
start connect-distributed org.apache.kafka.connect.cli.ConnectDistributed connect-log4j2.yaml "-Xms256M -Xmx2G"

while read -r name class; do
    printf '#!/bin/bash\nexec /opt/kafka/bin/kafka-run-class.sh %s "$@"\n' "$class" >"$bin/$name.sh"
done <<'TOOLS'
kafka-acls org.apache.kafka.tools.AclCommand
kafka-broker-api-versions org.apache.kafka.tools.BrokerApiVersionsCommand
kafka-cluster org.apache.kafka.tools.ClusterTool
kafka-configs kafka.admin.ConfigCommand
kafka-console-consumer org.apache.kafka.tools.consumer.ConsoleConsumer
kafka-console-producer org.apache.kafka.tools.ConsoleProducer
kafka-consumer-groups org.apache.kafka.tools.consumer.group.ConsumerGroupCommand
kafka-dump-log org.apache.kafka.tools.DumpLogSegments
kafka-get-offsets org.apache.kafka.tools.GetOffsetShell
kafka-leader-election org.apache.kafka.tools.LeaderElectionCommand
kafka-metadata-quorum org.apache.kafka.tools.MetadataQuorumCommand
kafka-producer-perf-test org.apache.kafka.tools.ProducerPerformance
kafka-reassign-partitions org.apache.kafka.tools.reassign.ReassignPartitionsCommand
kafka-storage kafka.tools.StorageTool
kafka-topics org.apache.kafka.tools.TopicCommand
kafka-transactions org.apache.kafka.tools.TransactionsCommand
TOOLS
chmod +x "$bin"/*.sh
