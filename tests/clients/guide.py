#!/usr/bin/env python3
"""Runs the guide's clients that need no browser, and cuts their connections.

    guide.py

Each client of src/guide/clients.md follows a room of the program in SERVER_BIN
(target/release/hubcast by default) through a forwarder, which goes away while a
message is published. The client must print every message, in order, and once.
"""

import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SERVER_BIN", str(ROOT / "target/release/hubcast"))
GUIDE = (ROOT / "src/guide/clients.md").read_text()
LIMIT = 20  # seconds that anything may take
CLIENTS = ["sh", "python", "javascript", "go", "rust"]
INTERPRETERS = {"sh": "sh", "python": "python3", "javascript": "node"}
CARGO = """[package]
name = "client"
version = "0.0.0"
edition = "2024"
[dependencies]
tungstenite = "0.30"
[workspace]
"""
MOST_LINES = 25


class Forwarder:
    """Passes bytes on to the server, unless it is cut."""

    def __init__(self, server):
        self.server = server
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.is_cut = False
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            if self.is_cut:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.server))
            self.open += [client, server]
            for pair in [(client, server), (server, client)]:
                threading.Thread(target=self.copy, args=pair, daemon=True).start()

    def copy(self, source, sink):
        try:
            while data := source.recv(4096):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.is_cut = True
        for connection in self.open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open.clear()

    def mend(self):
        self.is_cut = False


def wait_until(what, condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.05)


def command_for(language, code, folder):
    """Writes the client into the folder, and compiles it where it must be."""
    if language in INTERPRETERS:
        path = folder / ("client.mjs" if language == "javascript" else "client")
        path.write_text(code)
        return [INTERPRETERS[language], path]
    if language == "go":
        (folder / "client.go").write_text(code)
        subprocess.run(["go", "build", "-o", "client", "client.go"], cwd=folder, check=True)
        return [folder / "client"]
    (folder / "src").mkdir()
    (folder / "Cargo.toml").write_text(CARGO)
    (folder / "src/main.rs").write_text("fn main() {" + code + "}")
    target = ROOT / "target/guide-client"
    build = ["cargo", "build", "--quiet", "--target-dir", target]
    subprocess.run(build, cwd=folder, check=True)
    return [target / "debug/client"]


def check(language, server):
    code = re.search(rf"```{language}(?:,no_run)?\n(.*?)```", GUIDE, re.S)[1]
    assert len(code.splitlines()) <= MOST_LINES, f"{language} is longer than {MOST_LINES} lines"
    room = f"/{language}"
    forwarder = Forwarder(server)

    def publish(text):
        url = f"http://127.0.0.1:{server}{room}"
        urllib.request.urlopen(urllib.request.Request(url, text.encode()))

    def clients():
        request = urllib.request.Request(
            f"http://127.0.0.1:{server}{room}", headers={"Accept": "application/json"}
        )
        return b'"clients":1' in urllib.request.urlopen(request).read()

    with tempfile.TemporaryDirectory() as folder:
        command = command_for(language, code, pathlib.Path(folder))
        scheme = "ws" if language == "rust" else "http"
        printed = pathlib.Path(folder) / "printed"
        with open(printed, "w") as output:
            child = subprocess.Popen(
                [*command, f"{scheme}://127.0.0.1:{forwarder.port}{room}"],
                stdout=output,
                start_new_session=True,
            )
        try:
            lines = lambda: printed.read_text().split()
            wait_until(f"{language} joins", clients)
            publish("one")
            publish("two")
            wait_until(f"{language} prints", lambda: lines() == ["one", "two"])
            forwarder.cut()
            wait_until(f"{language} has gone", lambda: not clients())
            publish("three")
            forwarder.mend()
            wait_until(f"{language} comes back", clients)
            publish("four")
            wait_until(f"{language} resumes", lambda: lines() == ["one", "two", "three", "four"])
        finally:
            os.killpg(child.pid, 9)
            child.wait()
    print(f"{language}: came back and missed nothing")


def main():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = ["-q", "--listen", f"127.0.0.1:{port}", "--history", "100", "--allow-publish"]
    server = subprocess.Popen([PROGRAM, *options])
    try:
        health = f"http://127.0.0.1:{port}/-/healthz"

        def is_up():
            try:
                return urllib.request.urlopen(health).status == 200
            except OSError:
                return False

        wait_until("the server", is_up)
        for language in CLIENTS:
            check(language, port)
    finally:
        server.terminate()
        server.wait(LIMIT)


if __name__ == "__main__":
    main()
