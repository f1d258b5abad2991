#!/usr/bin/env bash
# Puts mdBook into the cache folder, once, and prints where it is. Compiled for quick compiling, without the parts that
# serve and watch: the book is small, and two thirds of the crates are theirs.
set -euo pipefail
version=0.5.4
home=${HAUS_CACHE:-$HOME/.cache/haus-am-see}/tools/mdbook-$version
if [ ! -x "$home/bin/mdbook" ]; then
    echo "docs: compiling mdBook $version (two to three minutes of CPU, once)" >&2
    target=$(mktemp -d)
    trap 'rm -rf "$target"' EXIT
    cargo install --quiet --locked --debug --no-default-features --features search --root "$home" --target-dir "$target" \
        "mdbook@$version" >&2
fi
echo "$home/bin/mdbook"
