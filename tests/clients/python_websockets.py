"""A client of the room by Python's websockets; it speaks lines.py's form."""

import sys
import threading

from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

from lines import decode, encode


def send_all(socket):
    for line in sys.stdin:
        socket.send(decode(line.strip()))
    socket.close()


with connect(sys.argv[1]) as socket:
    threading.Thread(target=send_all, args=[socket], daemon=True).start()
    for message in socket:
        print(encode(message), flush=True)
    sys.exit(socket.close_code != 1000)
