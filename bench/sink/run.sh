#!/usr/bin/env bash
# The sink's speed beside a consumer that only writes the bytes to disk: see main.rs. Release build; BENCH_PROFILE=dev
# takes the one that is there. The last line is one JSON object.
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${BENCH_PROFILE:-release}
cargo build -q --locked --profile "$profile" -p s3-sink -p object-server --bins
cargo build -q --locked --profile "$profile" -p s3-sink --example bench-sink
target=${CARGO_TARGET_DIR:-${HAUS_CACHE:-$HOME/.cache/haus-am-see}/target}
[ "$profile" = dev ] && profile=debug
HAUS_TEST_BUILT=1 exec "$target/$profile/examples/bench-sink"
