#!/bin/sh
# Installs websocat into target/tools, if that version is not there already.
# Without TLS: all is on loopback, and no OpenSSL headers are needed.
set -eu
cd "$(dirname "$0")/../.."
version=1.14.1

[ "$(target/tools/bin/websocat --version 2>/dev/null)" = "websocat $version" ] && exit 0
echo "building websocat $version"
exec cargo install --force --quiet --locked --root target/tools websocat@$version \
    --no-default-features --features signal_handler,tokio-process,unix_stdio
