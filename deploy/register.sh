#!/usr/bin/env bash
# Registers the public keys of a folder, NUMBER.pub each; those that are registered already stay as they are.
set -uo pipefail
fail() { echo "register.sh: $1" >&2; exit 1; }
[ $# -eq 2 ] || fail "usage: register.sh KEYS_FOLDER CONNECTION"
[ -d "$1" ] || fail "$1: expected a folder of public keys, NUMBER.pub each"
shopt -s nullglob
keys=("$1"/*.pub)
[ ${#keys[@]} -gt 0 ] || fail "$1: expected public keys, NUMBER.pub each, and there are none"
for key in "${keys[@]}"; do
    name=$(basename "$key" .pub)
    [[ $name =~ ^(0|[1-9][0-9]{0,8})$ ]] || fail "$(printf %q "$key"): expected the device's number as the name"
    cut -d " " -f 1,2 "$key"
done | sort | uniq -d | grep -q . && fail "$1: expected a key for each device, and two files have the same"
