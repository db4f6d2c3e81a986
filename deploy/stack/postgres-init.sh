#!/bin/sh
# Makes a role that owns one database and has no other rights. The image runs this once, when it makes the cluster.
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'END'
\set password `cat /run/secrets/postgres/service-password`
create role print_upload login password :'password';
create database print_upload owner print_upload;
revoke connect on database print_upload from public;
END
