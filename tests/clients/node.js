// A client of the room in Node: `node node.js ws URL` by the npm package ws,
// `node node.js own URL` by Node's own WebSocket, or Bun's. It speaks lines.py's form.
const readline = require("node:readline");
const join = require("./standard.js");

const [which, url] = process.argv.slice(2);
const implementation = which === "ws" ? require("ws") : globalThis.WebSocket;
const room = join(implementation, url, (line) => process.stdout.write(line + "\n"));

room.opened.then(() => {
  const input = readline.createInterface({ input: process.stdin });
  input.on("line", room.send);
  input.on("close", room.close);
});
room.closed.then((clean) => {
  process.stdin.destroy();
  process.exitCode = clean ? 0 : 1;
});
