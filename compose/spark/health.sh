#!/usr/bin/env bash
# Healthy when the daemon's page answers. By the shell's own TCP: not every base image has curl.
set -euo pipefail
exec 3<>"/dev/tcp/$(hostname)/8085"
printf 'GET /json/ HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t 5 answer <&3
[[ $answer == HTTP/1.?' 200'* ]]
