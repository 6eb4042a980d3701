#!/usr/bin/env python3
"""Brings real clients into one room of the server at SERVER_URL; each of them a
second time over TLS, if there is a SERVER_TLS_URL, whose certificate is in the
file SERVER_CA.

Each client sends one text and one binary message, and each must receive
every message of every client, its own too, exactly once, unchanged, with its
type and in the same order as everybody else. Each must then get through the
closing handshake. Prints a table of who received what; fails with who missed
what.

websocat's plain forms would not do here: it prints a message as a line, in
which the line ends of the message and its type are lost. Its prefix and
Base64 options keep both, in both directions, and lines.py makes that the form
which all clients speak. --linemode-strip-newlines must not join them: with it
websocat 1.14.1 sends line ends as messages of their own.
"""

import collections
import glob
import os
import queue
import subprocess
import sys
import threading
import time

from lines import decode, encode

BASE = "target/clients"
HERE = os.path.dirname(os.path.abspath(__file__))
JOIN_LIMIT = 60  # seconds for a client to start and hear itself; Chromium's first start is slow
MESSAGE_LIMIT = 30  # seconds until all have everything
CLOSE_LIMIT = 15  # seconds for a client to leave

TEXT = 5 * "Grüße, Ελληνικά, 日本語, e\u0301, 👋🏽 👩‍👩‍👧 \U0010fffd,\nsecond line\twith a tab\n"
BINARY_SIZE = 70_000  # over 65,535: the frame's length takes its longest form


def clients():
    """Name, command without the room's address, and command that prints the version."""
    python = f"{BASE}/env/bin/python"
    websocat = "target/tools/bin/websocat"
    chromium = os.environ.get("CHROMIUM", "chromium")
    forms = "--text --text-prefix T --binary-prefix B --base64 --base64-text".split()
    yield "websocat", [websocat, *forms, "--buffer-size", "1000000"], [websocat, "--version"]
    for package, program in (
        ("websockets", "python_websockets.py"),
        ("websocket-client", "python_websocket_client.py"),
    ):
        version = f"from importlib.metadata import version as v; print(v('{package}'))"
        yield package, [python, f"{HERE}/{program}"], [python, "-c", version]
    yield (
        "ws",
        ["node", f"{HERE}/node.js", "ws"],
        ["node", "-p", "require('ws/package.json').version"],
    )
    flag = own_websocket_flag()
    if flag is None:
        print("test-clients: this Node has no WebSocket of its own, left out")
    else:
        yield "node", ["node", *flag, f"{HERE}/node.js", "own"], ["node", "--version"]
    bun = bun_program()
    yield "bun", [bun, f"{HERE}/node.js", "own"], [bun, "--version"]
    yield "chromium", [sys.executable, f"{HERE}/chromium.py"], [chromium, "--version"]


def bun_program():
    """The first of Bun's programs that this processor runs."""
    for program in sorted(glob.glob(f"{BASE}/node_modules/@oven/bun-*/bin/bun")):
        if subprocess.run([program, "--version"], capture_output=True).returncode == 0:
            return program
    sys.exit("test-clients: none of Bun's programs runs here")


def own_websocket_flag():
    """The options with which Node has a WebSocket of its own, or None."""
    for flag in ([], ["--experimental-websocket"]):
        check = ["node", *flag, "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]
        if subprocess.run(check, stderr=subprocess.DEVNULL).returncode == 0:
            return flag
    return None


class Client:
    """A running client program, what it received collected by a thread."""

    def __init__(self, name, command, version):
        self.name = name
        shown = subprocess.run(version, capture_output=True, text=True).stdout
        self.version = next((w for w in shown.split() if w.strip("v")[:1].isdigit()), "?")
        self.received = []
        self.arrivals = queue.Queue()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.arrivals.put(decode(line.strip()))
        self.arrivals.put(None)

    def send(self, message):
        try:
            self.process.stdin.write(encode(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and the table will show what it missed

    def receive_until(self, done, deadline):
        """Takes in what arrives until done() or the deadline; says if done."""
        while not done():
            try:
                message = self.arrivals.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                return False
            if message is None:
                return False
            self.received.append(message)
        return True

    def leave(self):
        """Closes; says how that went."""
        try:
            self.process.stdin.close()
            status = self.process.wait(CLOSE_LIMIT)
            return "ok" if status == 0 else f"status {status}"
        except BrokenPipeError:
            return "had ended"
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "hung"


def addresses():
    """What is behind a client's name where it comes by this address, and the address."""
    yield "", os.environ["SERVER_URL"] + "/clients"
    if "SERVER_TLS_URL" in os.environ:
        yield "/tls", os.environ["SERVER_TLS_URL"] + "/clients"


def trust(certificate):
    """Makes all clients trust it, by the variables they look at. Chromium has an option."""
    for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "WEBSOCKET_CLIENT_CA_BUNDLE"):
        os.environ[name] = certificate


def join_all():
    """Brings the clients into the room, one after the other."""
    everybody = []
    every_way = [(*client, *way) for way in addresses() for client in clients()]
    for name, command, version, way, url in every_way:
        if way and name == "websocat":
            continue  # websocat.sh installs it without TLS
        name += way
        client = Client(name, [*command, url], version)
        everybody.append(client)
        # A client is in the room once it hears itself; nobody knows it sooner.
        client.send(f"{name} is here")
        deadline = time.monotonic() + JOIN_LIMIT
        if not client.receive_until(lambda: f"{name} is here" in client.received, deadline):
            sys.exit(f"test-clients: {name} {client.version} did not get into the room")
    last = f"{everybody[-1].name} is here"
    for client in everybody:  # the greetings have done their work
        client.receive_until(lambda: last in client.received, deadline)
        client.received.clear()
    return everybody


def exchange(everybody):
    """Lets all send and receive; returns what was sent, by sender and type."""
    sent = {}
    for client in everybody:
        sent[client.name, "text"] = f"{client.name}: {TEXT}"
        sent[client.name, "binary"] = os.urandom(BINARY_SIZE)
    for client in everybody:
        client.send(sent[client.name, "text"])
        client.send(sent[client.name, "binary"])
    deadline = time.monotonic() + MESSAGE_LIMIT
    for client in everybody:
        client.receive_until(lambda: all(m in client.received for m in sent.values()), deadline)
    return sent


def judge(client, sent):
    """Yields what is wrong with what the client received."""
    counts = collections.Counter(client.received)
    for (name, kind), message in sent.items():
        if counts[message] == 0:
            yield f"{client.name} missed {name}'s {kind} message"
        elif counts[message] > 1:
            yield f"{client.name} received {name}'s {kind} message {counts[message]} times"
    for message in counts.keys() - {*sent.values()}:
        shown = repr(message)
        shown = shown if len(shown) <= 100 else f"{shown[:100]}… ({len(message)} long)"
        yield f"{client.name} received what nobody sent: {shown}"


def print_table(everybody, sent, closed):
    print("each row is a message, each column one who received it")
    row = "{:<21}{:<7}" + "".join(f" {{:>{max(7, len(client.name))}}}" for client in everybody)
    print(row.format("sent by", "", *(client.name for client in everybody)))
    for (name, kind), message in sent.items():
        counts = [client.received.count(message) for client in everybody]
        cells = ["MISSED" if n == 0 else "ok" if n == 1 else f"{n} TIMES" for n in counts]
        print(row.format(name, kind, *cells))
    print(row.format("closing", "", *closed))


def main():
    sys.stdout.reconfigure(line_buffering=True)  # in step with stderr
    os.environ["NODE_PATH"] = os.path.abspath(f"{BASE}/node_modules")
    if "SERVER_CA" in os.environ:
        trust(os.environ["SERVER_CA"])
    everybody = join_all()
    sent = exchange(everybody)
    closed = [client.leave() for client in everybody]
    for client in everybody:  # what came until the end, though nothing should
        client.receive_until(lambda: False, time.monotonic() + 1)
    print_table(everybody, sent, closed)

    faults = [fault for client in everybody for fault in judge(client, sent)]
    faults += [
        f"{client.name} did not close cleanly: {how}"
        for client, how in zip(everybody, closed)
        if how != "ok"
    ]
    if not faults:  # else the orders differ anyway
        faults += [
            f"{client.name} received the messages in another order than {everybody[0].name}"
            for client in everybody
            if client.received != everybody[0].received
        ]
    print("test-clients: " + ", ".join(f"{client.name} {client.version}" for client in everybody))
    for fault in faults:
        print(f"test-clients: {fault}")
    print(f"test-clients: {len(everybody)} clients, {len(sent)} messages, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
