#!/usr/bin/env bash
# Puts a cargo tool of a version into the cache folder, once, and prints its path: `cargo-tool.sh cargo-deny 0.20.2`.
# Compiled without optimisation: that takes half the time, and the tools run for seconds.
set -euo pipefail
name=$1 version=$2
home=${HAUS_CACHE:-$HOME/.cache/haus-am-see}/tools/$name-$version
if [ ! -x "$home/bin/$name" ]; then
    echo "lint: compiling $name $version (minutes, once)" >&2
    target=$(mktemp -d)
    trap 'rm -rf "$target"' EXIT
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$home" --target-dir "$target" "$name@$version" >&2
fi
echo "$home/bin/$name"
