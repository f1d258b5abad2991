# shellcheck shell=bash
# Sourced by the tests of the compose zones: how to start them with a shop in them, and how to wait.

zone() { docker compose -f "docker-compose.$1.yaml" "${@:2}"; }

# wait_for SECONDS WHAT COMMAND…: until the command succeeds; says what it waited for when it does not.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2; shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            echo "waited in vain for: $what" >&2
            "$@" >&2 || true
            return 1
        fi
        sleep 0.5
    done
}

seed() { curl -fsS -X POST "localhost:8000/seed/full?count=$1" && echo; }
running() { curl -fsS "localhost:$1/connectors/$2/status" | grep -q '"tasks":\[{[^]]*"state":"RUNNING"'; }
verify() { zone lake run --rm haus verify; }
