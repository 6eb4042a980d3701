"""A broadcast server on python websockets: its own broadcast over all clients."""

import asyncio
import sys

from websockets.asyncio.server import broadcast, serve

clients = set()


async def relay(client):
    clients.add(client)
    try:
        async for message in client:
            broadcast(clients, message)
    finally:
        clients.discard(client)


async def main(address):
    host, port = address.rsplit(":", 1)
    options = {"compression": None, "ping_interval": None, "backlog": 4096}
    async with serve(relay, host, int(port), **options) as server:
        host, port = server.sockets[0].getsockname()[:2]
        print(f"listening on ws://{host}:{port}/", flush=True)
        await server.serve_forever()


if len(sys.argv) != 3 or sys.argv[1] != "--listen":
    sys.exit("usage: --listen HOST:PORT")
try:
    asyncio.run(main(sys.argv[2]))
except KeyboardInterrupt:
    pass
