#!/usr/bin/env bash
# Puts what the peers need into the cache folder, once: Kafka and PostgreSQL (embedded/fetch.sh), Kafka Connect, Debezium's
# Postgres connector, Confluent's Avro converter. Checksums are Maven's, and those of compose/connect/plugins.py.
set -euo pipefail
# shellcheck source=bench/peers/env.sh
. "$(dirname "$0")/env.sh"

"$root/embedded/fetch.sh"
if [ ! -f "$peers/.complete" ]; then
    echo "fetch: Kafka Connect $kafka_version, Debezium and the Avro converter (260 MB to fetch, 80 MB kept)"
    rm -rf "$peers.new" "$peers"
    mvn -q -B -f "$root/compose/standins/kafka/pom.xml" -Dkafka.version="$kafka_version" -Dlog4j.version="$log4j_version" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$peers.new/libs"
    PYTHONPATH=$root/compose python3 "$root/compose/connect/plugins.py" "$peers.new/plugins"
    touch "$peers.new/.complete"
    mv "$peers.new" "$peers"
fi
