#!/usr/bin/env bash
# nginx as the devices' way to the SuperLink, run by a user without privileges; its files are in SERVER_FOLDER/gate.
set -euo pipefail
fail() { echo "gate.sh: $1" >&2; exit 1; }
[ $# -eq 3 ] || [ $# -eq 4 ] || fail "usage: gate.sh SERVER_FOLDER ADDRESS PORT [SUPERLINK:PORT]"
for file in ca.crt server.crt server.key; do
    [ -r "$1/$file" ] || fail "$1/$file: expected what certificates.sh makes"
done
folder=$(realpath "$1") address=$2 port=$3 superlink=${4:-127.0.0.1:8000}
[[ $folder != *[\"\\\$\|\&]* ]] || fail "$1: expected a path without quotes, \\, \$, | and &"
[[ $address =~ ^[0-9A-Za-z.:-]+$ ]] || fail "$address: expected an address of this machine, 0.0.0.0 for all"
[[ $port =~ ^[1-9][0-9]{0,4}$ ]] || fail "$port: expected a port"
[[ $superlink =~ ^[][0-9A-Za-z.:-]+:[0-9]+$ ]] || fail "$superlink: expected SUPERLINK:PORT"
[ "$(id -u)" != 0 ] || fail "expected a user without privileges, not root"
PATH=$PATH:/usr/sbin # where Debian has it, and ordinary users have not
command -v nginx >/dev/null || fail "there is no nginx; on Debian and Ubuntu: sudo apt-get install nginx-light"

case $address in *:*) address="[$address]" ;; esac
files=$(ulimit -Hn)
[ "$files" != unlimited ] && [ "$files" -le 20000 ] || files=20000
umask 077
mkdir -p "$folder/gate"
sed -e "s|@FOLDER@|$folder|; s|@ADDRESS@|$address|; s|@PORT@|$port|; s|@SUPERLINK@|$superlink|; s|@FILES@|$files|" \
    "$(dirname "$0")/gate.conf" >"$folder/gate/nginx.conf"
exec nginx -e stderr -p "$folder/gate" -c "$folder/gate/nginx.conf"
