#!/usr/bin/env bash
# The compose zones on a real Docker engine, from nothing: engine and images where they are missing, our image from what
# `make test-compose` built; each zone alone, in an order of its own; every command of README on them; then the whole lake
# verified, the JVM twins swapped in and out, and the scale profile. Prints the time and the size of each part.
#   tests/compose/run.sh [PART…]     parts: images zones readme store scale jvm spark; all without one
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
bin=${CARGO_TARGET_DIR:-${HAUS_CACHE:-$HOME/.cache/haus-am-see}/target}/debug
parts=${*:-images zones readme store scale jvm spark}
passed=0

setting() { sed -n "s/^$1=//p" .env; }
say() { printf '\n== %s\n' "$*"; }
# timed NAME COMMAND…: runs it, prints how long it took
timed() {
    local name=$1 began; shift
    began=$(date +%s.%N)
    "$@"
    printf -- '-- %s: %.1f s\n' "$name" "$(echo "$(date +%s.%N) - $began" | bc)"
}

compose/standins/engine.sh start
started=$([ -e "${HAUS_CACHE:-$HOME/.cache/haus-am-see}/docker/run/docker.pid" ] && echo yes || echo no)
eval "$(compose/standins/engine.sh env)"
all_down() { docker compose --profile '*' down --volumes --remove-orphans --timeout 20 >/dev/null 2>&1 || true; }
finish() {
    local code=$?
    if [ $code != 0 ]; then
        docker ps --all --format 'table {{.Names}}\t{{.Status}}' || true
        docker compose --profile '*' logs --tail 15 2>/dev/null | tail -120 || true
    fi
    all_down
    # An engine that ran before goes on running.
    [ "$started" = no ] || [ -n "${KEEP_ENGINE:-}" ] || compose/standins/engine.sh stop
    exit $code
}
trap finish EXIT
all_down

images() {
    # An image registry, where one is reached, comes first; else our stand-ins under the same names.
    local name missing=()
    for name in POSTGRES FLYWAY KAFKA MINIO MC PYTHON; do
        docker image inspect "$(setting ${name}_IMAGE)" >/dev/null 2>&1 || timeout 300 docker pull -q "$(setting ${name}_IMAGE)" 2>/dev/null || missing+=("${name,,}")
    done
    # Bases of our own images.
    docker image inspect debian:bookworm-slim >/dev/null 2>&1 || docker pull -q debian:bookworm-slim 2>/dev/null || missing+=(base)
    [ ${#missing[@]} = 0 ] || compose/standins/images.sh "${missing[@]}"
    compose/image.sh "$bin"
    docker build -q -f compose/Dockerfile.jupyter --build-arg PYTHON_IMAGE="$(setting PYTHON_IMAGE)" -t "$(setting JUPYTER_IMAGE)" . >/dev/null
}

akhq_absent() {
    docker image inspect "$(setting AKHQ_IMAGE)" >/dev/null 2>&1 || timeout 300 docker pull -q "$(setting AKHQ_IMAGE)" >/dev/null 2>&1 || echo akhq
}

# Each zone alone, the last one first: none may need another to become healthy.
zones() {
    local zone
    for zone in lake streaming source; do
        timed "zone $zone alone, to all healthy" docker compose -f "docker-compose.$zone.yaml" up -d --wait --wait-timeout 240
        docker compose -f "docker-compose.$zone.yaml" ps --format 'table {{.Name}}\t{{.Status}}'
        docker compose ps -q | xargs docker stats --no-stream --format 'table {{.Name}}\t{{.MemUsage}}'
    done
    # All are up now, in the wrong order. A second `up` changes nothing.
    timed "all zones again" docker compose up -d --wait --wait-timeout 240
    all_down
}

readme() {
    python3 tests/docs/blocks.py --run compose
}

say "images"
case " $parts " in *' images '*) timed images images ;; esac
docker image inspect --format "size of $(setting HAUS_IMAGE): {{.Size}} bytes" "$(setting HAUS_IMAGE)"
COMPOSE_TEST_ABSENT=$(akhq_absent); export COMPOSE_TEST_ABSENT
[ -z "$COMPOSE_TEST_ABSENT" ] || echo "akhq: its image can be had nowhere; left out of every 'up', its settings are checked by a test of crate haus"
export PATH="$root/tests/compose/shim:$PATH"

for part in $parts; do
    [ "$part" != images ] || continue
    say "$part"
    case $part in
    zones | readme) timed "$part" "$part" ;;
    store | scale) timed "$part" "tests/compose/$part.sh" ;;
    jvm) timed jvm tests/compose/swap.sh ;;
    spark) timed spark tests/compose/spark.sh ;;
    *) echo "no part '$part'" >&2; exit 2 ;;
    esac
    passed=$((passed + 1))
    all_down
done
echo "$passed passed, 0 failed"
