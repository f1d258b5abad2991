#!/usr/bin/env bash
# The sink's speed beside a consumer that only writes the bytes to disk: see main.rs. Release build; BENCH_PROFILE=dev
# takes the one that is there. The last line is one JSON object.
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${BENCH_PROFILE:-release}
# The whole workspace is named, since cargo would compile shared dependencies again for a part.
cargo build -q --locked --profile "$profile" --workspace --bin s3-sink --bin object-server --example bench-sink
target=${CARGO_TARGET_DIR:-${HAUS_CACHE:-$HOME/.cache/haus-am-see}/target}
[ "$profile" = dev ] && profile=debug
HAUS_TEST_BUILT=1 exec "$target/$profile/examples/bench-sink"
