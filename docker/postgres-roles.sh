#!/bin/sh
# Runs once, when the database's volume is new: the owner that migrates and serves, and the role of the nodes, which has the rights of a worker alone.
# These are the roles that `limbeck up` makes in its embedded Postgres (src/embedded/roles.ts).
set -eu
psql --username "$POSTGRES_USER" --dbname postgres --set ON_ERROR_STOP=1 \
  --set owner_password="$OWNER_DATABASE_PASSWORD" --set node_password="$NODE_DATABASE_PASSWORD" <<'SQL'
create role limbeck_worker nologin;
create role limbeck login password :'owner_password';
create role limbeck_node login password :'node_password' in role limbeck_worker;
create database limbeck owner limbeck;
revoke connect on database limbeck from public;
grant connect on database limbeck to limbeck_worker;
SQL
