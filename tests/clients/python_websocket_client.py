"""A client of the room by Python's websocket-client; it speaks lines.py's form."""

import struct
import sys
import threading

from websocket import ABNF, WebSocketApp

from lines import decode, encode


def send_all(app):
    for line in sys.stdin:
        message = decode(line.strip())
        opcode = ABNF.OPCODE_TEXT if isinstance(message, str) else ABNF.OPCODE_BINARY
        app.send(message, opcode)
    # app.close() would give up reading; this way the server's answer is seen.
    app.send(struct.pack("!H", 1000), ABNF.OPCODE_CLOSE)


def on_open(app):
    threading.Thread(target=send_all, args=[app], daemon=True).start()


def on_message(_app, message):
    print(encode(message), flush=True)


def on_close(_app, code, _reason):
    app.code = code


app = WebSocketApp(sys.argv[1], on_open=on_open, on_message=on_message, on_close=on_close)
app.code = None
app.run_forever()
sys.exit(app.code != 1000)
