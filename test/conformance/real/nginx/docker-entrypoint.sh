#!/bin/sh
set -e
if [ "$1" = nginx ]; then
  for script in /docker-entrypoint.d/*.sh; do
    echo "$0: running $script" >&2
    "$script"
  done
fi
exec "$@"
