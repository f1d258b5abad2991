#!/usr/bin/env bash
# The lines of .env that swap a part: the object store (ours in MinIO's place, really run; RustFS, whose image is not to
# be had everywhere, by its settings) and the schema registry (Confluent's, by its settings). Called by run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/compose/zones.sh

export OBJECT_STORE=haus
zone source up -d --wait
zone streaming up -d --wait kafka schema-registry cdc-relay s3-sink
zone lake up -d --wait minio mc catalog-db catalog lake
docker inspect --format '{{.Config.Image}} {{.Config.Cmd}}' minio | grep -q "^$(sed -n 's/^HAUS_IMAGE=//p' .env) \[object-server\]"
seed 200
zone streaming run --rm connect-postgres
zone streaming run --rm connect-s3
verify
unset OBJECT_STORE

image() { "${@:2}" config --format json | python3 -c "import json,sys; print(json.load(sys.stdin)['services']['$1']['image'])"; }
[ "$(OBJECT_STORE=rustfs image minio zone lake)" = "$(sed -n 's/^RUSTFS_IMAGE=//p' .env)" ]
[ "$(SCHEMA_REGISTRY=confluent image schema-registry zone streaming)" = "$(sed -n 's/^CONFLUENT_REGISTRY_IMAGE=//p' .env)" ]
echo "store: our object store carries the lake; RustFS and Confluent's registry are a line of .env away"
