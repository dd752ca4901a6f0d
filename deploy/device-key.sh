#!/usr/bin/env bash
# The key pair by which a device is known. Made on the device; only device.pub leaves it.
set -euo pipefail
fail() { echo "device-key.sh: $1" >&2; exit 1; }
[ $# -eq 1 ] || fail "usage: device-key.sh FOLDER"
[ ! -e "$1/device.key" ] || fail "$1/device.key is there already; remove it to make another"

umask 077
mkdir -p "$1"
ssh-keygen -q -t ecdsa -b 384 -N "" -C "fedgates device $(hostname)" -f "$1/device.key"
mv "$1/device.key.pub" "$1/device.pub"
chmod 644 "$1/device.pub"
echo "written: $1/device.pub (copy it to the server and register it there)"
