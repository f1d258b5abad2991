#!/usr/bin/env bash
# Puts PyIceberg and DuckDB (tests/readers/requirements.txt) into a virtual environment in the cache folder, once.
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
