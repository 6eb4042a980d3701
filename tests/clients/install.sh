#!/bin/sh
# Installs the real clients that run.py brings into one room, each pinned:
# websocat into target/tools, the Python and npm ones into target/clients.
# Node, npm, openssl and Chromium must be there. Does nothing for what is there
# already. Fails with the name of the first component that cannot be had.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
base=target/clients
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

# Node's ws, and Bun
if ! cmp -s "$here/package-lock.json" "$base/package-lock.json"; then
    echo "test-clients: installing Node's ws and Bun"
    command -v npm >/dev/null || fail "Node's ws: there is no npm"
    cp "$here/package.json" "$here/package-lock.json" "$base/"
    if ! npm ci --prefix "$base" --silent --ignore-scripts --no-audit --no-fund; then
        rm "$base/package-lock.json"
        fail "Node's ws: npm failed"
    fi
fi

# websocat
sh "$here/websocat.sh" || fail "websocat: cargo install failed"

# Chromium
command -v "${CHROMIUM:-chromium}" >/dev/null || fail "chromium: there is no ${CHROMIUM:-chromium}"
