#!/usr/bin/env bash
# Puts Spark and DuckDB (requirements.txt) into a virtual environment in the cache folder, and beside it the jars by which
# Spark reads Avro and writes Iceberg, once; some 500 MB to fetch.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${HAUS_CACHE:-$HOME/.cache/haus-am-see}
venv=$cache/py-bench-lake jars=$cache/bench-lake-jars

if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "bench: Spark and DuckDB into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
if [ ! -f "$jars/.complete" ]; then
    echo "bench: Spark's jars for Avro and Iceberg into $jars"
    rm -rf "$jars"
    python3 "$here/../../compose/fetch.py" "$jars" \
        org.apache.spark:spark-avro_2.13:4.1.1:jar \
        6a19d90bc3b6e88d8db0fa36a19273aa10fea2dbd7a62bb60e4cedd73051b32d \
        org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0:jar \
        3123c3798af642dd537230923548e013ef41cc28b6626e5225808cf5670a0f82
    touch "$jars/.complete"
fi
