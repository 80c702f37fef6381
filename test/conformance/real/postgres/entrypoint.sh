#!/bin/bash
set -Eeuo pipefail
if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
  exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$BASH_SOURCE" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  [ -n "${POSTGRES_PASSWORD:-}" ] || [ "$method" = trust ] || { echo 'set POSTGRES_PASSWORD' >&2; exit 1; }
  initdb --username=postgres --auth-local=trust --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-none}") --no-sync
  echo "host all all all $method" >>"$PGDATA/pg_hba.conf"
  # Nobody reaches it over the network until its scripts have run.
  pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
  for file in /docker-entrypoint-initdb.d/*.sql; do psql -v ON_ERROR_STOP=1 -U postgres -f "$file"; done
  pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
