#!/usr/bin/env bash
# build.sh TAG CONTEXT: makes the stand-in of apache/kafka's image. The version of the jars is that of the tag; what was
# fetched into CONTEXT stays there for the next time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tag=$1 context=$2
kafka=${tag##*:}
log4j=$(sed -n 's:.*<log4j.version>\(.*\)</log4j.version>.*:\1:p' "$here/../../../embedded/pom.xml")
mkdir -p "$context"
if [ ! -f "$context/libs/connect-runtime-$kafka.jar" ]; then
    rm -rf "$context/libs" "$context/libs.new"
    mvn -q -B -f "$here/pom.xml" -Dkafka.version="$kafka" -Dlog4j.version="$log4j" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$context/libs.new"
    mv "$context/libs.new" "$context/libs"
fi
"$here/mkbin.sh" "$context/bin"
cp "$here"/{Dockerfile,run,server.properties,*log4j2.yaml} "$context/"
docker build -q --label standin=haus-am-see -t "$tag" "$context" >/dev/null
