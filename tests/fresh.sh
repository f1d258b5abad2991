#!/usr/bin/env bash
# README's two commands on a machine that has Rust, git and make and nothing of ours: a bare Debian container, a clone of
# the committed state, `make demo`, then `make test`. Shows that no install step is missing. Slow: everything is compiled
# from nothing (see bench/RESULTS.md).
#   tests/fresh.sh [demo|test]    only one of the two
# FRESH_TARGET and FRESH_REGISTRY are folders to use as its target and as cargo's registry, with what was compiled and
# fetched before: for a quicker look at everything but the compiling.
set -euo pipefail
cd "$(dirname "$0")/.."
compose/standins/engine.sh start
eval "$(compose/standins/engine.sh env)"
image=${FRESH_IMAGE:-rust:1.95-slim-bookworm}
if ! docker image inspect "$image" >/dev/null 2>&1 && ! timeout 300 docker pull -q "$image" 2>/dev/null; then
    compose/standins/images.sh rust-only
    image=standin/rust-only:1
fi
clone=$(mktemp -d)
name=haus-fresh-$$
trap 'docker rm -f "$name" >/dev/null 2>&1; rm -rf "$clone"' EXIT
git clone -q . "$clone/haus-am-see"
warm=()
[ -z "${FRESH_TARGET:-}" ] || warm+=(-v "$FRESH_TARGET:/root/.cache/haus-am-see/target")
[ -z "${FRESH_REGISTRY:-}" ] || warm+=(-v "$FRESH_REGISTRY:/root/.cargo/registry")
docker run -d --init --name "$name" --shm-size 256m "${warm[@]}" "$image" sleep infinity >/dev/null
docker cp -q "$clone/haus-am-see" "$name:/home/haus-am-see" 2>/dev/null || docker cp "$clone/haus-am-see" "$name:/home/haus-am-see"
docker exec "$name" sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends git make >/dev/null && git config --global --add safe.directory /home/haus-am-see'
[ $# -gt 0 ] || set -- demo test
for command; do
    began=$SECONDS
    docker exec -w /home/haus-am-see "$name" make "$command"
    echo "fresh: make $command took $((SECONDS - began)) s from nothing"
    [ "$command" != demo ] || docker exec -w /home/haus-am-see "$name" make down
done
