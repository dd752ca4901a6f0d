#!/usr/bin/env bash
# Names a SuperLink in Flower's config.toml, so that `flwr run . NAME` finds it.
set -euo pipefail
fail() { echo "connection.sh: $1" >&2; exit 1; }
[ $# -eq 3 ] || fail "usage: connection.sh NAME SERVER:PORT CA_CRT"
[[ $1 =~ ^[0-9A-Za-z-]+$ ]] || fail "$1: expected a name of letters, digits and -"
[[ $2 =~ ^[][0-9A-Za-z.:-]+:[0-9]+$ ]] || fail "$2: expected SERVER:PORT"
[ -r "$3" ] || fail "$3: expected the server's ca.crt"

certificate=$(realpath "$3")
case $certificate in *\"* | *\\*) fail "$certificate: expected a path without quotes and backslashes" ;; esac
config=${FLWR_HOME:-$HOME/.flwr}/config.toml
mkdir -p "$(dirname "$config")"
touch "$config"
! grep -qF "[superlink.$1]" "$config" || fail "$config has a connection $1 already; remove it to make another"
printf '\n[superlink.%s]\naddress = "%s"\nroot-certificates = "%s"\n' "$1" "$2" "$certificate" >>"$config"
echo "$config: $1 is $2"
