#!/usr/bin/env bash
# Our schema registry (the built binary), on loopback:
#   registry.sh start DIR PORT BOOTSTRAP     log in DIR/registry.log, process id in DIR/registry.pid
#   registry.sh stop DIR
# HAUS_BIN: folder of the built binaries ($CARGO_TARGET_DIR/debug).
set -euo pipefail
# shellcheck source=bench/peers/env.sh
. "$(dirname "$0")/env.sh"
[ $# -ge 2 ] || usage
dir=$2

case $1 in
stop) stop_process "$dir/registry.pid" ;;
start)
    [ $# -eq 4 ] || usage
    mkdir -p "$dir"
    bin=${HAUS_BIN:-${CARGO_TARGET_DIR:-$cache/target}/debug}
    REGISTRY_PORT=$3 KAFKA_BOOTSTRAP_SERVERS=$4 setsid nohup "$bin/registry" >"$dir/registry.log" 2>&1 </dev/null &
    echo $! >"$dir/registry.pid"
    wait_for "the registry" 60 "$dir/registry.pid" "$dir/registry.log" answers "http://127.0.0.1:$3/subjects"
    ;;
*) usage ;;
esac
