#!/usr/bin/env bash
# Registers the public keys of many devices, KEYS_FOLDER/NUMBER.pub each, and prints a line for each; it may be repeated.
set -uo pipefail
fail() { echo "register.sh: $1" >&2; exit 1; }
[ $# -eq 2 ] || fail "usage: register.sh KEYS_FOLDER CONNECTION"
shopt -s nullglob
keys=("$1"/*.pub)
[ ${#keys[@]} -gt 0 ] || fail "$1: expected a folder with NUMBER.pub, the device.pub of a device, for each number"

registered=0 already=0 failed=0
declare -A seen
report() { printf '%q: %s\n' "$1" "$2"; }
refuse() { report "$1" "not registered: $2" >&2; failed=$((failed + 1)); }
for file in "${keys[@]}"; do
    number=$(basename "$file" .pub)
    if ! [[ $number =~ ^(0|[1-9][0-9]{0,8})$ ]]; then
        refuse "$number" "expected the device's number as the name of the file"
    elif ! fingerprint=$(ssh-keygen -l -f "$file" 2>/dev/null) || [[ $fingerprint != *"(ECDSA)" ]]; then
        refuse "$number" "expected a device.pub that device-key.sh makes"
    elif key=$(cut -d " " -f 2 <<<"$fingerprint") && [ -n "${seen[$key]:-}" ]; then
        refuse "$number" "its key is that of device ${seen[$key]}; make one on each device"
    else
        seen[$key]=$number
        if out=$(flwr supernode register "$file" "$2" --name "device-$number" 2>&1); then
            report "$number" "registered, node $(grep -oE 'SuperNode [0-9]+' <<<"$out" | grep -oE '[0-9]+')"
            registered=$((registered + 1))
        elif [[ $out == *"already in use"* ]]; then
            report "$number" "known already: registered before, or removed for good"
            already=$((already + 1))
        else
            refuse "$number" "$(tr -s '\n│╭╮╰╯─ ' ' ' <<<"$out" | cut -c 1-200)"
        fi
    fi
done
echo "${#keys[@]} keys: $registered registered, $already known already, $failed not registered"
[ "$failed" -eq 0 ]
