#!/usr/bin/env bash
# Runs a linter of tests/lint/requirements.txt: `tests/lint/run.sh typos README.md`. Sets it up the first time.
set -euo pipefail
bin=$("$(dirname "$0")/setup.sh")
# actionlint calls shellcheck: the one beside it.
PATH="$bin:$PATH" exec "$@"
