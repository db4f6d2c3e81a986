#!/bin/sh
# Makes the missing secrets of a stack in the current folder. Each subfolder is for one reader: the database, the object
# store or the service.
set -eu
umask 077

# Renames a file to its final name only when it is complete and on the disk: a secret that was read must never change.
keep() { # FILE GROUP CONTENT
    [ ! -e "$1" ] || return 0
    printf '%s\n' "$3" >"$1.new"
    chgrp "$2" "$1.new"
    chmod 0440 "$1.new"
    sync "$1.new"
    mv "$1.new" "$1"
}

keep_random() { # FILE GROUP
    secret=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    [ ${#secret} = 64 ] || {
        echo "secrets.sh: cannot read enough bytes from /dev/urandom" >&2
        exit 1
    }
    keep "$1" "$2" "$secret"
}

folder() {
    mkdir -p "$1"
    chgrp "$2" "$1"
    chmod 0750 "$1"
}

service=65532 database=999 store=1000
folder postgres $database
folder store $store
folder service $service

keep_random postgres/superuser-password $database
keep_random postgres/service-password $database
keep_random service/upload-token-key $service
keep_random service/store-secret-key $service

# Read before the files are written: if a read fails, the script ends here, and no file is incomplete.
password=$(cat postgres/service-password)
secret_key=$(cat service/store-secret-key)
keep service/database-url $service "postgres://print_upload:$password@postgres/print_upload"
keep service/store-settings $service "AWS_ENDPOINT_URL=http://store:8333
AWS_ALLOW_HTTP=true
AWS_REGION=us-east-1
AWS_ACCESS_KEY_ID=print-upload
AWS_SECRET_ACCESS_KEY=$secret_key"
keep store/s3.json $store "{\"identities\": [{
  \"name\": \"print-upload\",
  \"credentials\": [{\"accessKey\": \"print-upload\", \"secretKey\": \"$secret_key\"}],
  \"actions\": [\"Read:documents\", \"Write:documents\", \"List:documents\"]
}]}"
