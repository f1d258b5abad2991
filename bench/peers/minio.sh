#!/usr/bin/env bash
# MinIO, one server with the bucket raw on loopback; credentials minio and minio123.
#   minio.sh build            builds it from its Go module, once; at low priority, some minutes
#   minio.sh start DIR PORT   data in DIR/data, log in DIR/minio.log, process id in DIR/minio.pid
#   minio.sh stop DIR
#   minio.sh kill DIR         with SIGKILL
# The version stands in compose/Dockerfile.minio; the binary is shared with the stand-in images of compose/standins.
set -euo pipefail
# shellcheck source=bench/peers/env.sh
. "$(dirname "$0")/env.sh"
[ $# -ge 1 ] || usage
version=$(sed -n 's/^ARG MINIO_MODULE_VERSION=//p' "$root/compose/Dockerfile.minio")
home=$cache/docker
minio=$home/bin/minio-$version

case $1 in
build)
    [ -x "$minio" ] && exit 0
    if ! command -v go >/dev/null; then
        echo "minio.sh: install Go, which builds MinIO from its module" >&2
        exit 1
    fi
    echo "minio: built from github.com/minio/minio@$version, some minutes" >&2
    mkdir -p "$home/bin"
    GOBIN=$home/bin/new GOMODCACHE=$home/gomod GOCACHE=$home/gocache CGO_ENABLED=0 GOFLAGS=-trimpath \
        nice go install -ldflags '-s -w' "github.com/minio/minio@$version"
    mv "$home/bin/new/minio" "$minio"
    ;;
start)
    [ $# -eq 3 ] || usage
    "$here/minio.sh" build
    # A folder is a bucket.
    mkdir -p "$2/data/raw"
    MINIO_ROOT_USER=minio MINIO_ROOT_PASSWORD=minio123 MINIO_UPDATE=off MINIO_BROWSER=off CI=true setsid nohup "$minio" server \
        --quiet --address "127.0.0.1:$3" "$2/data" >"$2/minio.log" 2>&1 </dev/null &
    echo $! >"$2/minio.pid"
    wait_for MinIO 60 "$2/minio.pid" "$2/minio.log" answers "http://127.0.0.1:$3/minio/health/ready"
    ;;
stop) stop_process "${2:?}/minio.pid" ;;
kill) stop_process "${2:?}/minio.pid" KILL ;;
*) usage ;;
esac
