#!/bin/sh
# Installs the real clients that run.py brings into one room, each pinned:
# websocat into target/tools, the Python and npm ones into target/clients,
# Debian's Chromium into the system if it is not there and we are root.
# Does nothing for what is there already. Fails with the name of the first
# component that cannot be had.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
base=target/clients
websocat=1.14.1
mkdir -p "$base"

fail() {
    echo "test-clients: $*" >&2
    exit 1
}

# Python websockets and websocket-client
if ! cmp -s "$here/requirements.txt" "$base/requirements.txt"; then
    echo "test-clients: installing the Python clients"
    rm -rf "$base/env"
    python3 -m venv "$base/env" || fail "Python clients: python3 has no venv module"
    "$base/env/bin/pip" install --quiet --disable-pip-version-check \
        --requirement "$here/requirements.txt" || fail "Python clients: pip failed"
    cp "$here/requirements.txt" "$base/requirements.txt"
fi

# Node's ws
if ! cmp -s "$here/package-lock.json" "$base/package-lock.json"; then
    echo "test-clients: installing Node's ws"
    command -v npm >/dev/null || fail "Node's ws: there is no npm"
    cp "$here/package.json" "$here/package-lock.json" "$base/"
    if ! npm ci --prefix "$base" --silent --ignore-scripts --no-audit --no-fund; then
        rm "$base/package-lock.json"
        fail "Node's ws: npm failed"
    fi
fi

# websocat, without TLS: all is on loopback, and no OpenSSL headers are needed
if [ "$(target/tools/bin/websocat --version 2>/dev/null)" != "websocat $websocat" ]; then
    echo "test-clients: building websocat $websocat"
    cargo install --quiet --locked --root target/tools websocat@$websocat \
        --no-default-features --features signal_handler,tokio-process,unix_stdio ||
        fail "websocat: cargo install failed"
fi

# Chromium
install_chromium() {
    apt-get -qq -o DPkg::Lock::Timeout=120 update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
        install --yes --no-install-recommends chromium
}

if ! command -v chromium >/dev/null; then
    echo "test-clients: installing chromium"
    [ "$(id -u)" = 0 ] || fail "chromium is not there and only root can install it"
    install_chromium >"$base/apt.log" 2>&1 || fail "chromium: apt-get failed, see $base/apt.log"
fi
