"""The line form of a message, which every client program here speaks.

A client reads on standard input what it is to send, and prints what it
receives, one message a line: T for text or B for binary, then the payload
in Base64. It is websocat's own form (--text-prefix T --binary-prefix B
--base64 --base64-text), so websocat needs no program around it. End of input
means: close with 1000 and exit 0 once the closing handshake is done.
"""

import base64


def encode(message):
    """Text is a str, binary is bytes."""
    kind, data = ("T", message.encode()) if isinstance(message, str) else ("B", message)
    return kind + base64.b64encode(data).decode()


def decode(line):
    data = base64.b64decode(line[1:], validate=True)
    return {"T": data.decode, "B": lambda: data}[line[0]]()
