# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it: folders, versions, and how a process is started, waited for and ended.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${HAUS_CACHE:-$HOME/.cache/haus-am-see}

property() { sed -n "s:.*<$1>\(.*\)</$1>.*:\1:p" "$root/embedded/pom.xml"; }
kafka_version=$(property kafka.version)
log4j_version=$(property log4j.version)
postgres_version=$(property postgres.version)
# Broker, tools and Kafka Connect; each has the plugins of compose/connect/plugins.py beside it.
peers=$cache/peers-$kafka_version
shared=$cache
[ "$(id -u)" = 0 ] && shared=/var/cache/haus-am-see
postgres_home=$shared/postgres-$postgres_version
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# wait_for WHAT SECONDS PIDFILE LOG COMMAND…: until the command succeeds; gives up when the process has ended.
wait_for() {
    local what=$1 seconds=$2 pidfile=$3 log=$4 tries
    shift 4
    for ((tries = seconds * 10; tries > 0; tries--)); do
        "$@" >/dev/null 2>&1 && return 0
        kill -0 "$(cat "$pidfile")" 2>/dev/null || break
        sleep 0.1
    done
    echo "$what does not come up; $log ends with:" >&2
    tail -n 20 "$log" >&2
    return 1
}

# stop_process PIDFILE [SIGNAL]: ends that very process and waits for it; kills it after 30 s.
stop_process() {
    local pid
    [ -s "$1" ] || return 0
    pid=$(cat "$1")
    kill "-${2:-TERM}" "$pid" 2>/dev/null || true
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$1"
}

# answers URL: whether an HTTP server answers 200 there.
answers() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1"; }
