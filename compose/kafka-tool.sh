#!/bin/sh
# Kafka's tools under the names without `.sh`, on the path: the image keeps them in /opt/kafka/bin.
exec "/opt/kafka/bin/$(basename "$0").sh" "$@"
