#!/bin/sh
# Mints a token for a catalog client, and pushes the sample catalog with it.
set -eu
CATALOG_TOKEN=$(print-upload-dev token --data-dir /var/lib/print-upload --lifetime 10m \
    --application 55555555-5555-4555-8555-555555555555 --role PrintCatalog.ReadWrite.All)
export CATALOG_TOKEN
exec print-upload catalog apply /catalog.json
