#!/usr/bin/env bash
# JupyterLab on the loopback address with scripts/; Ctrl-C ends it. It prints its address with the token to log in by.
set -euo pipefail
cd "$(dirname "$0")/../.."
port=${JUPYTER_PORT:-$(sed -n 's/^JUPYTER_PORT=//p' .env)}
options=(--ip=127.0.0.1 --port="$port" --port-retries=0 --no-browser --ServerApp.root_dir="$PWD/scripts" --ServerApp.answer_yes=True)
# Jupyter wants to be told that root is meant.
if [ "$(id -u)" = 0 ]; then options+=(--allow-root); fi
exec "${HAUS_CACHE:-$HOME/.cache/haus-am-see}/py-notebooks/bin/jupyter" lab "${options[@]}"
