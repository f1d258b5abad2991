# shellcheck shell=bash
# Sourced before every block that runs on the compose zones: the engine, and what stands in for what cannot be had.
eval "$(compose/standins/engine.sh env)"
export PATH="$PWD/tests/compose/shim:$PATH"
