#!/usr/bin/env bash
# `make bench-cdc`: builds relay, registry and the measuring programs, fetches the peers, measures. bench.py lists settings.
set -euo pipefail
cd "$(dirname "$0")/../.."
export HAUS_CACHE=${HAUS_CACHE:-$HOME/.cache/haus-am-see}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HAUS_CACHE/target}

if ! command -v pg_recvlogical >/dev/null; then
    echo "bench: postgresql-client is missing (pg_recvlogical, psql)"
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends postgresql-client >/dev/null
fi
bench/peers/fetch.sh
# The whole workspace is named, since cargo would compile shared dependencies again for a part.
cargo build --locked --release --workspace --bin cdc-relay --bin registry --example cdc_probe
exec bench/cdc/bench.py
