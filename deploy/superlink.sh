#!/usr/bin/env bash
# Flower's SuperLink, for this machine alone: devices come in by gate.sh.
set -euo pipefail
fail() { echo "superlink.sh: $1" >&2; exit 1; }
[ $# -eq 1 ] || [ $# -eq 2 ] || fail "usage: superlink.sh SERVER_FOLDER [PORT]"
for file in ca.crt server.crt server.key; do
    [ -r "$1/$file" ] || fail "$1/$file: expected what certificates.sh makes"
done

exec flower-superlink --host 127.0.0.1 --port "${2:-8000}" \
    --ssl-ca-certfile "$1/ca.crt" --ssl-certfile "$1/server.crt" --ssl-keyfile "$1/server.key" \
    --enable-supernode-auth --database "$1/superlink.db" --disable-runtime-dependency-installation
