#!/bin/sh
# Builds every peer that can be had here and lists them, one NAME=COMMAND a line,
# in target/peers.txt for `load --peers-from`. A line with a `#` says which version
# a peer is, or why it is left out. Commands are relative to the package's root.
set -u
cd "$(dirname "$0")" || exit 1
here=benches/peers
list=target/peers.txt
mkdir -p target
: >"$list"

peer() { # NAME VERSION COMMAND
    echo "# $1: $2" >>"$list"
    echo "$1=$3" >>"$list"
}

left_out() { # NAME REASON
    echo "# left out: $1 ($2)" | tee -a "$list"
}

version_of() { # CRATE: its newest version in the lock file
    sed -n "/^name = \"$1\"\$/{n;s/^version = \"\(.*\)\"/\1/p;}" Cargo.lock | tail -n 1
}

rust_peers() {
    cargo build --release --locked --quiet || { left_out "axum, tokio-tungstenite, locked-map" "cargo build failed"; return; }
    axum="axum $(version_of axum)"
    tungstenite="tungstenite $(version_of tungstenite)"
    peer axum "$axum, after its chat example" "$here/target/release/peer-axum"
    peer axum-batched "$axum, flushing only when nothing more waits" "$here/target/release/peer-axum --batch"
    peer tokio-tungstenite "$tungstenite, flushing only when nothing more waits" "$here/target/release/peer-tokio-tungstenite"
    peer locked-map "$tungstenite, a thread per connection and a locked map" "$here/target/release/peer-locked-map"
}

bun_peer() {
    command -v npm >/dev/null || { left_out bun "no npm"; return; }
    (cd bun && npm install --no-package-lock --no-fund --no-audit --silent) || { left_out bun "npm install failed"; return; }
    # The program itself: a launcher in front of it would hide its CPU time.
    for program in bun/node_modules/bun/bin/bun.exe bun/node_modules/@oven/bun-*/bin/bun; do
        version=$("$program" --version 2>/dev/null) || continue
        peer bun "bun $version, native publish" "$here/$program $here/bun/server.js"
        return
    done
    left_out bun "it does not run here"
}

gorilla_peer() {
    sources=/usr/share/gocode
    if [ ! -d "$sources/src/github.com/gorilla/websocket" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get update -qq && apt-get install -y -q --no-install-recommends golang-go golang-github-gorilla-websocket-dev; } >target/apt.log 2>&1
    fi
    command -v go >/dev/null || { left_out gorilla "no go"; return; }
    (cd gorilla && GO111MODULE=off GOPATH=$sources go build -o ../target/peer-gorilla .) || { left_out gorilla "go build failed"; return; }
    version=$(dpkg-query -W -f '${Version}' golang-github-gorilla-websocket-dev 2>/dev/null)
    peer gorilla "gorilla/websocket ${version:-?}, $(go version | cut -d' ' -f3)" "$here/target/peer-gorilla"
}

python_peer() {
    python=target/venv/bin/python
    [ -x "$python" ] || python3 -m venv target/venv || { left_out python "no venv"; return; }
    "$python" -m pip install --quiet --disable-pip-version-check -r python/requirements.txt || { left_out python "pip install failed"; return; }
    version=$("$python" -c 'import sys, websockets; print(f"websockets {websockets.__version__}, Python {sys.version.split()[0]}")')
    peer python "$version" "$here/$python $here/python/server.py"
}

bun_peer
rust_peers
gorilla_peer
python_peer
