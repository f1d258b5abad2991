#!/usr/bin/env bash
# Start, memory and freshness of the embedded stack, in a folder of its own (ports as in .env, so nothing else may be up):
# `haus up` on no data and on existing data (until every part is healthy), the demo's seed, 200 commits/s for 40 s, the
# time from commit to serve over the last 30 s of it, memory per process. The last line is one JSON object.
set -euo pipefail
cd "$(dirname "$0")/.."
export HAUS_CACHE=${HAUS_CACHE:-$HOME/.cache/haus-am-see}
haus=${CARGO_TARGET_DIR:-$HAUS_CACHE/target}/debug/haus
HAUS_DIR=$(mktemp -d)/haus
export HAUS_DIR
trap '$haus down >/dev/null; rm -rf "$(dirname "$HAUS_DIR")"' EXIT
fact() { python3 -c "import json,sys; value=json.load(sys.stdin)
for key in sys.argv[1].split('.'): value=value[key]
print(value)" "$1"; }

first=$($haus --json up | fact seconds)
$haus --json down >/dev/null
second=$($haus --json up | fact seconds)
seed=$($haus --json seed --count 10000 | fact seconds)
$haus --json verify >/dev/null
$haus --json traffic start --rate 200 >/dev/null
sleep 40
status=$($haus --json status --freshness-seconds 30)
$haus --json traffic stop >/dev/null
begin=$(date +%s%N)
ok=$($haus --json verify | fact ok)
verify_ms=$((($(date +%s%N) - begin) / 1000000))
echo "$status" | python3 -c "
import json, sys
status = json.load(sys.stdin)
for process in status['processes']:
    print(f\"{process['name']:<14} {process['resident_bytes'] / 1048576:8.1f} MB\")
servers = {'kafka', 'postgres'}
ours = sum(p['resident_bytes'] for p in status['processes'] if p['name'] not in servers)
fresh = status['freshness'] or {}
print(json.dumps({'first_up_s': round($first, 2), 'second_up_s': round($second, 2), 'seed_10000_s': round($seed, 2),
    'verify_s': $verify_ms / 1000, 'verified': '$ok' == 'True', 'commit_to_serve_p50_ms': fresh.get('p50_ms'),
    'commit_to_serve_p95_ms': fresh.get('p95_ms'), 'samples': fresh.get('samples'),
    'memory_mb': round(status['resident_bytes_total'] / 1048576), 'memory_ours_mb': round(ours / 1048576)}))"
