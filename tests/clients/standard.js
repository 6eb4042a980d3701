// A client of the room in the WebSocket API that browsers, Node and its
// package ws share; it speaks lines.py's form. What it receives goes to
// `emit` as a line; the object it returns takes lines to send.
function join(WebSocket, url, emit) {
  const toBase64 = (bytes) =>
    btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) =>
    emit(
      typeof data === "string"
        ? "T" + toBase64(new TextEncoder().encode(data))
        : "B" + toBase64(new Uint8Array(data)),
    ),
  );
  return {
    opened: new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("close", () => reject(new Error("closed before it was open")));
    }),
    // Whether the connection ended with the closing handshake and code 1000.
    closed: new Promise((resolve) =>
      socket.addEventListener("close", (event) => resolve(event.wasClean && event.code === 1000)),
    ),
    send(line) {
      const bytes = fromBase64(line.slice(1));
      socket.send(line[0] === "T" ? new TextDecoder().decode(bytes) : bytes);
    },
    close: () => socket.close(1000),
  };
}

if (typeof module !== "undefined") module.exports = join;
