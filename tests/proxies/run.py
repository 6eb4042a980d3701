#!/usr/bin/env python3
"""Tries the guide's configurations with real nginx and Caddy.

    run.py

Takes the two examples of src/guide/proxy.md, puts free ports into them, and
talks through them to the program in SERVER_BIN (target/release/hubcast by
default): WebSocket, events, publishing, the operator's paths, and whose address
the server sees. Clients are told apart by their loopback address.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SERVER_BIN", str(ROOT / "target/release/hubcast"))
GUIDE = (ROOT / "src/guide/proxy.md").read_text()
LIMIT = 10  # seconds that anything may take


def example(language):
    return re.search(rf"```{language}\n(.*?)```", GUIDE, re.S)[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def process(command, port, **more):
    child = subprocess.Popen(command, **more)
    try:
        end = time.monotonic() + LIMIT
        while True:
            assert child.poll() is None, f"{command[0]} ended with {child.returncode}"
            assert time.monotonic() < end, f"{command[0]} does not listen on {port}"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.05)
        yield child
    finally:
        child.terminate()
        child.wait(LIMIT)


def nginx(folder, upstream):
    port = free_port()
    text = example("nginx").replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    text = text.replace("http://127.0.0.1:8080", upstream)
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    )
    conf = f"daemon off; pid {folder}/nginx.pid; error_log stderr; events {{}}\n"
    conf += f"http {{ access_log off; {paths}\n{text} }}\n"
    (folder / "nginx.conf").write_text(conf)
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    return port, command


def caddy(folder, upstream):
    port = free_port()
    text = example("caddy").replace("chat.example", f"http://127.0.0.1:{port}")
    upstream = upstream.removeprefix("http://").replace("unix:", "unix/")
    text = text.replace("127.0.0.1:8080", upstream)
    text = "{\n admin off\n log {\n level ERROR\n }\n}\n" + text
    (folder / "Caddyfile").write_text(text)
    command = ["caddy", "run", "--adapter", "caddyfile"]
    return port, [*command, "--config", str(folder / "Caddyfile")]


def stream(folder, upstream):
    """nginx as a proxy of streams, with the PROXY protocol."""
    port = free_port()
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    conf = f"load_module {module}; daemon off; pid {folder}/stream.pid; error_log stderr;\n"
    conf += f"events {{}} stream {{ server {{ listen 127.0.0.1:{port}; proxy_protocol on;"
    conf += f" proxy_pass {upstream.removeprefix('http://')}; }} }}\n"
    (folder / "stream.conf").write_text(conf)
    return port, ["nginx", "-c", str(folder / "stream.conf"), "-e", "stderr"]


def ask(port, source, request):
    """Sends a request from a loopback address; returns the open connection."""
    connection = socket.create_connection(("127.0.0.1", port), LIMIT, (source, 0))
    connection.sendall(request.replace("\n", "\r\n").encode())
    return connection


def read_until(connection, end):
    text = b""
    while end not in text:
        more = connection.recv(4096)
        assert more, f"ended before {end!r}: {text!r}"
        text += more
    return text.decode(errors="replace")


def websocket(port, source, room, headers=""):
    key = base64.b64encode(os.urandom(16)).decode()
    request = f"GET {room} HTTP/1.1\nHost: 127.0.0.1:{port}\nConnection: Upgrade\n"
    request += "Upgrade: websocket\nSec-WebSocket-Version: 13\n"
    request += f"Sec-WebSocket-Key: {key}\nOrigin: http://127.0.0.1:{port}\n{headers}\n"
    connection = ask(port, source, request)
    return connection, read_until(connection, b"\r\n\r\n")


def peers(admin):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/-/clients") as answer:
        clients = json.load(answer)["clients"]
    return sorted(client["peer"].split(":")[0] for client in clients)


def status(port, request, source="127.0.0.2"):
    connection = ask(port, source, request)
    return read_until(connection, b"\r\n").split(" ")[1]


def through_http(name, port, admin):
    host = f"Host: 127.0.0.1:{port}"
    forged = "X-Forwarded-For: 6.6.6.6\nForwarded: for=7.7.7.7\n"
    one, head = websocket(port, "127.0.0.2", "/lobby", forged)
    assert head.startswith("HTTP/1.1 101"), head
    other, head = websocket(port, "127.0.0.2", "/lobby")
    assert head.startswith("HTTP/1.1 503"), f"a second client of the address: {head}"
    assert peers(admin) == ["127.0.0.2"], peers(admin)
    accept = "Accept: text/event-stream"
    events = ask(port, "127.0.0.3", f"GET /lobby HTTP/1.1\n{host}\n{accept}\n\n")
    head = read_until(events, b"\r\n\r\n")
    assert head.startswith("HTTP/1.1 200"), head
    assert peers(admin) == ["127.0.0.2", "127.0.0.3"], peers(admin)
    post = f"POST /lobby HTTP/1.1\n{host}\nContent-Length: 5\nConnection: close\n\nhello"
    assert status(port, post) == "202"
    assert "hello" in read_until(one, b"hello")
    read_until(events, b"hello")
    for path in ["/-/clients", "/-/metrics"]:
        assert status(port, f"GET {path} HTTP/1.1\n{host}\n\n") == "404"
    for connection in [one, other, events]:
        connection.close()
    print(f"{name}: WebSocket, events, POST, /-/ and the client's address are right")


def through_stream(name, port, admin):
    connection, head = websocket(port, "127.0.0.4", "/lobby")
    assert head.startswith("HTTP/1.1 101"), head
    assert peers(admin) == ["127.0.0.4"], peers(admin)
    connection.close()
    print(f"{name}: the client's address is right")


def served(name, proxy, check, folder, *options, unix=False):
    server, admin = free_port(), free_port()
    path = folder / "hubcast.sock"
    upstream = f"http://unix:{path}" if unix else f"http://127.0.0.1:{server}"
    trust = "unix" if unix else "127.0.0.1"
    command = [PROGRAM, "-q", "--listen", f"127.0.0.1:{server}", "--listen", f"unix:{path}"]
    command += ["--admin-listen", f"127.0.0.1:{admin}", "--trust-proxy", trust]
    command += ["--unix-mode", "666"]  # nginx's workers are another user
    command += ["--allow-publish", "--max-clients-per-ip", "1", *options]
    port, proxy_command = proxy(folder, upstream)
    home = dict(os.environ, HOME=str(folder), XDG_DATA_HOME=str(folder))
    with process(command, admin), process(proxy_command, port, env=home):
        check(name, port, admin)


def main():
    for name, proxy, check, more in [
        ("nginx", nginx, through_http, {}),
        ("nginx by a Unix socket", nginx, through_http, {"unix": True}),
        ("Caddy", caddy, through_http, {}),
        ("Caddy by a Unix socket", caddy, through_http, {"unix": True}),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            served(name, proxy, check, pathlib.Path(folder), **more)
    with tempfile.TemporaryDirectory() as folder:
        name = "nginx with the PROXY protocol"
        served(name, stream, through_stream, pathlib.Path(folder), "--proxy-protocol")


if __name__ == "__main__":
    sys.exit(main())
