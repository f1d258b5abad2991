#!/usr/bin/env bash
# Puts what the notebooks need (scripts/requirements.txt) into a virtual environment in the cache folder, once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/../../scripts/requirements.txt
venv=${HAUS_CACHE:-$HOME/.cache/haus-am-see}/py-notebooks
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    echo "notebooks: JupyterLab and the clients of scripts/requirements.txt into $venv (about 1 GB)"
    rm -rf "$venv"
    python3 -m venv "$venv"
    # Wheels only: nothing is compiled here. Python makes its own byte code of the modules that are used.
    "$venv/bin/pip" install -q --disable-pip-version-check --no-compile --only-binary :all: -r "$requirements"
    cp "$requirements" "$venv/requirements.txt"
fi
