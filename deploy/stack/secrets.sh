#!/bin/sh
# Makes the secrets of a stack in the folder it is started in, those that are missing. Each folder is for one reader: the
# database, the object store, the service.
set -eu
umask 077

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# Names a file only once it is whole: a secret that was seen must never change.
keep() {
    if [ -e "$1" ]; then
        cat >/dev/null
        return
    fi
    rm -f "$1.new"
    cat >"$1.new"
    chgrp "$2" "$1.new"
    chmod 0440 "$1.new"
    mv "$1.new" "$1"
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

random | keep postgres/superuser-password $database
random | keep postgres/service-password $database
random | keep service/upload-token-key $service
random | keep service/store-secret-key $service

keep service/database-url $service <<END
postgres://print_upload:$(cat postgres/service-password)@postgres/print_upload
END
keep service/store-settings $service <<END
AWS_ENDPOINT_URL=http://store:8333
AWS_ALLOW_HTTP=true
AWS_REGION=us-east-1
AWS_ACCESS_KEY_ID=print-upload
AWS_SECRET_ACCESS_KEY=$(cat service/store-secret-key)
END
keep store/s3.json $store <<END
{"identities": [{
  "name": "print-upload",
  "credentials": [{"accessKey": "print-upload", "secretKey": "$(cat service/store-secret-key)"}],
  "actions": ["Read:documents", "Write:documents", "List:documents"]
}]}
END
