#!/usr/bin/env bash
# Installs what the embedded stack and the build need and this Debian machine lacks, a line for each thing; then fetches
# Kafka and PostgreSQL. Needs root or sudo only when something is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

command -v cargo >/dev/null || { echo "bootstrap: Rust is missing; install it with rustup (stable, 1.94 or newer)" >&2; exit 1; }

packages=()
need() { # command package reason
    command -v "$1" >/dev/null && return
    echo "bootstrap: $2 is missing ($3)"
    packages+=("$2")
}
need cc gcc "C compiler for librdkafka and zstd"
need c++ g++ "C++ compiler for librdkafka"
need make make "builds librdkafka"
need cmake cmake "builds the TLS library of the S3 client"
need java default-jre-headless "runs Apache Kafka"
need javac default-jdk-headless "runs the JDBC client of a test from its source"
need psql postgresql-client "asks the SQL port in a test"
need chromium chromium "looks at the models' page in a test"
need mvn maven "fetches Apache Kafka, PostgreSQL and Flyway"
need unzip unzip "unpacks PostgreSQL"
need xz xz-utils "unpacks PostgreSQL"
need setpriv util-linux "starts PostgreSQL without root's rights"
need python3 python3 "reads the lake with PyIceberg and DuckDB in the tests"
need curl curl "asks the programs, as the README does"
python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "bootstrap: python3-venv is missing (readers of the lake in the tests)"; packages+=(python3-venv); }
[ -e /usr/include/openssl/ssl.h ] || { echo "bootstrap: libssl-dev is missing (TLS to Kafka and Postgres)"; packages+=(libssl-dev); }
[ -e /usr/include/zlib.h ] || { echo "bootstrap: zlib1g-dev is missing (compression in librdkafka)"; packages+=(zlib1g-dev); }

if [ ${#packages[@]} -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "bootstrap: install these as root: ${packages[*]}" >&2; exit 1; }
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    echo "bootstrap: installed ${packages[*]}"
fi

"$here/fetch.sh"
