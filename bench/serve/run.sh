#!/usr/bin/env bash
# `make bench-serve`: builds what is measured, fetches the engines beside it, measures. bench.py lists settings.
# BENCH_PROFILE=dev takes the builds of the tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
export HAUS_CACHE=${HAUS_CACHE:-$HOME/.cache/haus-am-see}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HAUS_CACHE/target}
profile=${BENCH_PROFILE:-release}

[ "${BENCH_PEERS-some}" = "" ] || bench/lake/fetch.sh
# In one go: for a part of the workspace cargo would compile shared dependencies again with other features.
engine=()
case ",${BENCH_PARTS:-}," in *,cluster,*) engine=(--features lake/cluster) ;; esac
cargo build --locked --profile "$profile" --workspace --bins --examples "${engine[@]}"
[ "$profile" = dev ] && profile=debug
HAUS_BIN=${HAUS_BIN:-$CARGO_TARGET_DIR/$profile} exec bench/serve/bench.py
