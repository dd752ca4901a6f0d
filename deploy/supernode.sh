#!/usr/bin/env bash
# Flower's SuperNode: this device, under its number, with its own data.
set -euo pipefail
fail() { echo "supernode.sh: $1" >&2; exit 1; }
[ $# -ge 4 ] || fail "usage: supernode.sh DEVICE_FOLDER SERVER:PORT NUMBER DATA [LOCAL_PORT [LIMIT=VALUE...]]"
for file in ca.crt device.key; do
    [ -r "$1/$file" ] || fail "$1/$file: expected the server's ca.crt and the device.key that device-key.sh makes"
done
[[ $2 =~ ^[^:].*:[0-9]+$ ]] || fail "$2: expected SERVER:PORT"
[[ $3 =~ ^(0|[1-9][0-9]{0,8})$ ]] || fail "$3: expected a number, another one for each device"
case $4 in
    *\"* | *\\*) fail "$4: expected a path without quotes and backslashes" ;;
    /*) [ -r "$4" ] || fail "$4: expected an .npz file or a folder of images, but there is none" ;;
    *) fail "$4: expected an absolute path" ;;
esac
for limit in "${@:6}"; do
    [[ $limit =~ ^(limits\.)?max-(gates|payload-mb|decode-mb|relay-updates)=[0-9.]+$ ]] ||
        fail "$limit: expected limits.max-gates, -payload-mb, -decode-mb or -relay-updates, = and a number"
done

exec flower-supernode --superlink "$2" --root-certificates "$1/ca.crt" --auth-supernode-private-key "$1/device.key" \
    --node-config "partition-id=$3 data-path=\"$4\" ${*:6}" --port "${5:-9094}"
