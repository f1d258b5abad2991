#!/usr/bin/env bash
# Our image from an executable that was built outside, as `make image` does. Prints its size.
set -euo pipefail
cd "$(dirname "$0")/.."
from=${1:?folder with the binaries}
image=${HAUS_IMAGE:-$(sed -n 's/^HAUS_IMAGE=//p' .env)}
rm -rf .image && mkdir -p .image/bin
strip -o .image/bin/haus-am-see "$from/haus-am-see"
docker build -q -f compose/Dockerfile --build-arg BINARIES=prebuilt \
    --build-arg REVISION="$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" -t "$image" . >/dev/null
rm -rf .image
echo "image: $image, $(($(docker image inspect --format '{{.Size}}' "$image") / 1000000)) MB"
