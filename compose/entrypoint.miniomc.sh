#!/bin/sh
# Makes the buckets of the lake: readable without credentials, as the original had them. Any S3 store will do.
set -eu
mc alias set lake "$S3_ENDPOINT" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >/dev/null
for bucket in $BUCKETS; do
    mc mb --ignore-existing --region "$S3_REGION" "lake/$bucket"
    mc anonymous set download "lake/$bucket" || echo "mc: $bucket stays private: this store knows no anonymous reads"
done
