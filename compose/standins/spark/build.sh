#!/usr/bin/env bash
# build.sh TAG CONTEXT: makes the stand-in of apache/spark's image from the package `pyspark` of the tag's version. What was
# fetched into CONTEXT stays there for the next time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tag=$1 context=$2
version=${tag##*:}; version=${version%%-*}
mkdir -p "$context"
if [ ! -f "$context/jars/spark-core_2.13-$version.jar" ]; then
    rm -rf "${context:?}"/{unpacked,jars,bin,sbin}; mkdir -p "$context/unpacked"
    [ -f "$context/pyspark-$version.tar.gz" ] || python3 -m pip download -q --no-deps --no-binary pyspark -d "$context" "pyspark==$version"
    tar -xzf "$context/pyspark-$version.tar.gz" -C "$context/unpacked" --strip-components=2 --no-same-owner \
        "pyspark-$version/deps/jars" "pyspark-$version/deps/bin" "pyspark-$version/deps/sbin"
    mv "$context/unpacked"/{bin,sbin,jars} "$context/"
    rm -rf "$context/unpacked"
fi
# A Java of its own: Spark asks for a module that the other images do not need.
if [ ! -x "$context/jre/bin/java" ]; then
    rm -rf "$context/jre"
    jlink --strip-debug --no-header-files --no-man-pages --compress=0 --output "$context/jre" --add-modules \
        java.se,jdk.unsupported,jdk.crypto.ec,jdk.management,jdk.zipfs,jdk.localedata,jdk.net,jdk.naming.dns,jdk.security.auth,jdk.security.jgss,jdk.incubator.vector,jdk.jcmd
fi
cp "$here/Dockerfile" "$context/"
printf '*.tar.gz\n' >"$context/.dockerignore"
docker build -q --label standin=haus-am-see -t "$tag" "$context" >/dev/null
