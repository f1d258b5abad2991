#!/usr/bin/env bash
# Healthy when the worker lists its connectors. By the shell's own TCP: not every base image has curl.
set -euo pipefail
exec 3<>/dev/tcp/127.0.0.1/8083
printf 'GET /connectors HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t 5 answer <&3
[[ $answer == HTTP/1.?' 200'* ]]
