#!/bin/sh
# Sets this machine up (setup.sh), then runs a TypeScript file of the project on Node 24.
# usage: run.sh run|test FILE [ARGUMENT…]
set -eu
cd "$(dirname "$0")/../.."
mode=$1
shift
. infra/local/setup.sh
exec node "$@"
