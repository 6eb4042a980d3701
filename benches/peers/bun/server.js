// A broadcast server on Bun's native publish (uWebSockets inside): one topic,
// which every client subscribes to and every message is published to.

const [option, address, , cert, , key] = process.argv.slice(2);
if (option !== "--listen" || !address) throw new Error("usage: --listen HOST:PORT [--tls-cert FILE --tls-key FILE]");
const [hostname, port] = address.split(":");

const server = Bun.serve({
  hostname,
  port: Number(port),
  ...(cert && { tls: { cert: Bun.file(cert), key: Bun.file(key) } }),
  fetch(request, server) {
    if (server.upgrade(request)) return;
    return new Response("a WebSocket is expected here\n", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    sendPings: false,
    idleTimeout: 960,
    backpressureLimit: 1024 * 1024,
    open(client) {
      client.subscribe("room");
    },
    message(client, message) {
      server.publish("room", message);
    },
  },
});
console.log(`listening on ${cert ? "wss" : "ws"}://${hostname}:${server.port}/`);
