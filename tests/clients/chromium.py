"""A client of the room in headless Chromium; it speaks lines.py's form.

The page's script is standard.js. Chromium is driven over the DevTools
protocol by a pipe: JSON commands on its descriptor 3, answers and events on
its descriptor 4, each ended by a zero byte.
"""

import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
from urllib.parse import urlsplit

CHROMIUM = os.environ.get("CHROMIUM", "chromium")
FLAGS = """--headless --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
    --remote-debugging-pipe""".split()
if "SERVER_CA" in os.environ:
    FLAGS.append("--ignore-certificate-errors")  # it trusts nothing that a file or variable names
if os.geteuid() == 0:
    FLAGS.append("--no-sandbox")  # Chromium refuses to be root with its sandbox


class Browser:
    """A running Chromium and the page in it."""

    def __init__(self, profile):
        commands, self.commands = os.pipe()
        self.answers, answers = os.pipe()
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$0" "$@" 3<&{commands} 4>&{answers}', CHROMIUM]
            + FLAGS
            + [f"--user-data-dir={profile}"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.arriving = self.read_events()
        self.passed_over = collections.deque()  # events, while an answer was waited for
        self.session = {}
        self.last_id = 0
        self.lock = threading.Lock()  # for last_id: two threads send

    def read_events(self):
        rest = b""
        while chunk := os.read(self.answers, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            yield from map(json.loads, messages)

    def send(self, method, **parameters):
        """Sends a command without waiting for its answer."""
        with self.lock:
            self.last_id += 1
            command = {"id": self.last_id, "method": method, "params": parameters}
            data = json.dumps({**command, **self.session}).encode() + b"\0"
            while data:
                data = data[os.write(self.commands, data) :]
            return self.last_id

    def events(self):
        """All events, those first that came while an answer was waited for."""
        while self.passed_over:
            yield self.passed_over.popleft()
        yield from self.arriving

    def result(self, number):
        """Waits for the answer to a command; what comes before it stays for events()."""
        for event in self.arriving:
            if event.get("id") == number:
                if "error" in event or "exceptionDetails" in event["result"]:
                    sys.exit(f"chromium: {event}")
                return event["result"]
            self.passed_over.append(event)
        sys.exit("chromium: ended unexpectedly")

    def call(self, method, **parameters):
        """Sends a command and waits for its result."""
        return self.result(self.send(method, **parameters))

    def open_page(self, address):
        """Opens a page of the server, whatever it is, and attaches to it.

        The page is there for its origin: a browser's WebSocket names it, and
        the server lets in its own.
        """
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": session["sessionId"]}
        self.call("Page.navigate", url=address)
        origin = self.call("Runtime.evaluate", expression="location.origin")["result"]["value"]
        if f"{origin}/" != address:
            sys.exit(f"chromium: the page at {address} has the origin {origin}")

    def close(self):
        """Asks Chromium to end and waits for it, so that it cleans up."""
        self.session = {}
        try:
            self.send("Browser.close")
            self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()


def send_all(browser):
    for line in sys.stdin:
        browser.send("Runtime.evaluate", expression=f"testRoom.send({json.dumps(line.strip())})")
    browser.send("Runtime.evaluate", expression="testRoom.close()")


def main(url):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that Chromium ends with us
    script = pathlib.Path(__file__).with_name("standard.js").read_text()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            page = urlsplit(url.replace("ws", "http", 1))  # of wss, https
            browser.open_page(f"{page.scheme}://{page.netloc}/")
            browser.call("Runtime.enable")
            browser.call("Runtime.addBinding", name="emit")
            browser.call(
                "Runtime.evaluate",
                # In a function, since the page has names of its own.
                expression=f"(() => {{ {script};"
                f"const room = globalThis.testRoom = join(WebSocket, {json.dumps(url)}, emit);"
                "room.closed.then((clean) => emit(clean ? 'clean' : 'unclean'));"
                "return room.opened.then(() => true); })()",
                awaitPromise=True,
            )
            threading.Thread(target=send_all, args=[browser], daemon=True).start()
            for event in browser.events():
                if event.get("method") == "Runtime.bindingCalled":
                    line = event["params"]["payload"]
                    if line in ("clean", "unclean"):
                        return line != "clean"
                    print(line, flush=True)
                elif "exceptionDetails" in event.get("result", {}):
                    sys.exit(f"chromium: {event}")
            sys.exit("chromium: ended unexpectedly")
        finally:
            browser.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
