#!/usr/bin/env bash
# Runs every fuzz target beside a parser of outside bytes for FUZZ_SECONDS (300) each, with cargo-fuzz and a nightly
# compiler. What was found interesting stays in the cache folder, so that the next run goes on from it; a finding is left in
# the target's own folder and ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-300}
cache=${HAUS_CACHE:-$HOME/.cache/haus-am-see}
golden=$PWD/tests/golden
rustup run nightly rustc --version >/dev/null 2>&1 || { echo "fuzz: needs a nightly compiler: rustup toolchain install nightly" >&2; exit 1; }
tool=$(tests/lint/cargo-tool.sh cargo-fuzz 0.13.1)
export CARGO_TARGET_DIR=$cache/fuzz/target RUSTUP_TOOLCHAIN=nightly
failed=0
for folder in crates/*/fuzz; do
    for file in "$folder"/fuzz_targets/*.rs; do
        target=$(basename "$file" .rs)
        corpus=$cache/fuzz/corpus/$(basename "$(dirname "$folder")")-$target
        mkdir -p "$corpus"
        # Recorded answers of real programs, where the target takes such as they are.
        seeds=()
        [ "$target" = schemas ] && seeds=("$golden/schemas")
        echo "fuzz: $folder $target, $seconds s"
        log=$(mktemp)
        if ! "$tool" run --fuzz-dir "$folder" "$target" "$corpus" "${seeds[@]}" -- \
            "-max_total_time=$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1; then
            tail -60 "$log"
            failed=1
        fi
        grep -E "stat::number_of_executed_units|DONE|SUMMARY" "$log" || true
        rm -f "$log"
    done
done
[ "$failed" = 0 ] && echo "fuzz: no finding"
exit "$failed"
