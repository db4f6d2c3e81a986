#!/bin/sh
# Makes the bucket, unless it exists.
set -eu
cluster() { echo "$1" | weed shell -master=store:9333 -filer=store:8888 2>/dev/null; }

attempt=0
until cluster s3.bucket.list | grep -qw documents; do
    attempt=$((attempt + 1))
    [ $attempt -le 30 ] || {
        echo "bucket.sh: the object store does not make a bucket" >&2
        exit 1
    }
    cluster "s3.bucket.create -name documents" || true
    sleep 1
done
echo "the bucket exists"
