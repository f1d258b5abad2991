#!/usr/bin/env bash
# Puts PyIceberg, DuckDB and others (tests/readers/requirements.txt) into a virtual environment in the cache folder, and
# Avro's Java tools and PostgreSQL's JDBC driver beside it, once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${HAUS_CACHE:-$HOME/.cache/haus-am-see}/py-readers
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "readers: PyIceberg and DuckDB into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
pgjdbc=42.7.5
driver=${HAUS_CACHE:-$HOME/.cache/haus-am-see}/pgjdbc-$pgjdbc
if [ ! -e "$driver/postgresql-$pgjdbc.jar" ]; then
    echo "readers: PostgreSQL's JDBC driver into $driver"
    mvn -q -B -f "$here/../../embedded/pom.xml" dependency:copy \
        -Dartifact="org.postgresql:postgresql:$pgjdbc" -DoutputDirectory="$driver"
fi
avro=1.12.1
tools=${HAUS_CACHE:-$HOME/.cache/haus-am-see}/avro-tools-$avro
if [ ! -e "$tools/avro-tools-$avro.jar" ]; then
    echo "readers: Avro's Java tools (72 MB) into $tools"
    mvn -q -B -f "$here/../../embedded/pom.xml" dependency:copy \
        -Dartifact="org.apache.avro:avro-tools:$avro" -DoutputDirectory="$tools"
fi
