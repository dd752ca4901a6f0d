#!/usr/bin/env bash
# A private certificate authority, made once, and a certificate that it signs for the server's names and addresses.
set -euo pipefail
usage="usage: certificates.sh CA_FOLDER SERVER_FOLDER NAME_OR_ADDRESS..."
fail() { echo "certificates.sh: $1" >&2; exit 1; }
[ $# -ge 3 ] || fail "$usage"
ca=$1 server=$2
shift 2

names="DNS:localhost,IP:127.0.0.1" # the operator, on the server itself
for name in "$@"; do
    case $name in
        *[!0-9A-Za-z.:-]* | "" | -*) fail "$name: expected a host name or an IP address" ;;
        *:*) names+=",IP:$name" ;;
        *[!0-9.]*) names+=",DNS:$name" ;;
        *) names+=",IP:$name" ;;
    esac
done
for file in "$server/server.key" "$server/server.crt"; do
    [ ! -e "$file" ] || fail "$file is there already; remove it to make another"
done
[ "$(realpath -m "$ca")" != "$(realpath -m "$server")" ] || fail "$ca: expected two folders, because the CA's key does not belong on the server"

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quietly() { "$@" >/dev/null 2>"$work/errors" || fail "$(tail -n 1 "$work/errors")"; }
mkdir -p "$ca" "$server"

if [ ! -e "$ca/ca.key" ]; then
    [ ! -e "$ca/ca.crt" ] || fail "$ca/ca.crt is there without its key, ca.key"
    printf '%s\n' "[req]" "distinguished_name=name" "prompt=no" "x509_extensions=ca" "[name]" "CN=fedgates CA $(date +%F)" "[ca]" \
        "basicConstraints=critical,CA:TRUE,pathlen:0" "keyUsage=critical,keyCertSign,cRLSign" "subjectKeyIdentifier=hash" \
        >"$work/ca.cnf"
    quietly openssl req -x509 -config "$work/ca.cnf" -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -sha384 -days 3650 \
        -keyout "$work/ca.key" -out "$work/ca.crt"
    cp "$work/ca.key" "$work/ca.crt" "$ca"
fi
printf '%s\n' "subjectAltName=$names" "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
    "extendedKeyUsage=serverAuth" "subjectKeyIdentifier=hash" "authorityKeyIdentifier=keyid" >"$work/server.cnf"
quietly openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -sha384 -subj "/CN=$1" \
    -keyout "$work/server.key" -out "$work/server.csr"
quietly openssl x509 -req -in "$work/server.csr" -CA "$ca/ca.crt" -CAkey "$ca/ca.key" -CAcreateserial -CAserial "$work/serial" \
    -days 800 -sha384 -extfile "$work/server.cnf" -out "$work/server.crt"
cp "$work/server.key" "$work/server.crt" "$server"
cp "$ca/ca.crt" "$server/ca.crt"
chmod 644 "$ca/ca.crt" "$server/ca.crt" "$server/server.crt"
echo "keep $ca/ca.key secret; copy $server/ca.crt to every device; names of the server: $names"
