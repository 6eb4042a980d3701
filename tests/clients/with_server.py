#!/usr/bin/env python3
"""Runs a command against a hubcast server of its own, then stops both.

    with_server.py [--within SECONDS] [--tls] [server options ...] -- command ...

The server listens on a free loopback port; the command finds its address in
SERVER_URL (ws://127.0.0.1:PORT, no slash at the end). With --tls it listens on
a second one over TLS: its address is in SERVER_TLS_URL, and the file of its
certificate, which openssl makes, in SERVER_CA. SERVER_BIN names the server's
program, target/release/hubcast by default.

Exits with the command's status. It is an error of its own if the command is
not done within the limit, or if the server panics, does not start, or does
not end with status 0 within 15 seconds of an interrupt; the server's last
log lines are then printed.
"""

import collections
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

START_LIMIT = 10  # seconds until the server says where it listens
STOP_LIMIT = 15  # seconds; above the server's own --shutdown-timeout


class Server:
    """The server as a child process, its log lines drained by a thread."""

    def __init__(self, options, tls=False):
        program = os.environ.get("SERVER_BIN", "target/release/hubcast")
        # The caller's settings must not reach the server under test.
        env = {k: v for k, v in os.environ.items() if not k.startswith("HUBCAST_")}
        env["RUST_LOG"] = "info"
        self.url, self.tls_url, self.tls = None, None, tls
        self.log = collections.deque(maxlen=20)
        self.panicked = False
        self.listening = threading.Event()
        self.process = subprocess.Popen(
            [program, *options],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,  # an interrupt from the keyboard is for us to handle
        )
        self.drain = threading.Thread(target=self.read_log, daemon=True)
        self.drain.start()

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            self.panicked |= "panicked at" in line
            found = re.search(r"listening .*on (ws://127\.0\.0\.1:\d+)", line)
            self.url = found[1] if found else self.url
            found = re.search(r"listening on (wss://127\.0\.0\.1:\d+)", line)
            self.tls_url = found[1] if found else self.tls_url
            if self.url and (self.tls_url or not self.tls):
                self.listening.set()
        self.listening.set()  # the server is gone: nobody need wait

    def stop(self):
        """Interrupts the server; returns what was wrong with its end, or None."""
        if self.process.poll() is not None:
            return f"the server had ended by itself, status {self.process.returncode}"
        self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return f"the server did not end within {STOP_LIMIT} s of an interrupt"
        self.drain.join(1)
        if status:
            return f"the server ended with status {status}"
        return "the server panicked" if self.panicked else None


def make_certificate(folder):
    """Makes a certificate for 127.0.0.1; returns its file and its key's."""
    certificate, key = f"{folder}/cert.pem", f"{folder}/key.pem"
    command = "openssl req -x509 -nodes -days 2 -subj /CN=localhost -newkey ec"
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    curve = "ec_paramgen_curve:prime256v1"
    subprocess.run(
        [*command.split(), "-pkeyopt", curve, "-addext", names, "-out", certificate, "-keyout", key],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return certificate, key


def run(command, environment, limit):
    """Runs the command, which gets a process group so that it ends as a whole."""
    child = subprocess.Popen(
        command, env={**os.environ, **environment}, start_new_session=True
    )
    try:
        return child.wait(limit)
    except subprocess.TimeoutExpired:
        print(f"with_server: not done within {limit} s: {' '.join(command)}", file=sys.stderr)
        return 124
    finally:
        for sig, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, None)):
            try:
                os.killpg(child.pid, sig)
                child.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def main(arguments):
    if "--" not in arguments[:-1]:
        sys.exit(__doc__)
    split = arguments.index("--")
    options, command = arguments[:split], arguments[split + 1 :]
    limit = None
    if options[:1] == ["--within"]:
        limit, options = float(options[1]), options[2:]
    tls = options[:1] == ["--tls"]
    folder = tempfile.TemporaryDirectory()
    environment = {}
    options = ["--listen", "127.0.0.1:0", *options[tls:]]
    if tls:
        certificate, key = make_certificate(folder.name)
        options += ["--tls-cert", certificate, "--tls-key", key, "--plain-listen", "127.0.0.1:0"]
        environment["SERVER_CA"] = certificate

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        server = Server(options, tls)
    except OSError as error:
        sys.exit(f"with_server: {error}; build it first or name it in SERVER_BIN")
    status, fault = 1, None
    try:
        server.listening.wait(START_LIMIT)
        if server.url:
            environment["SERVER_URL"] = server.url
            if tls:
                environment["SERVER_TLS_URL"] = server.tls_url
            status = run(command, environment, limit)
        else:
            print("with_server: the server did not say where it listens", file=sys.stderr)
    finally:
        fault = server.stop()
        if fault or not server.url:
            print(f"with_server: {fault}; its last log lines:", file=sys.stderr)
            sys.stderr.writelines(server.log)
    return status or (1 if fault else 0)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
