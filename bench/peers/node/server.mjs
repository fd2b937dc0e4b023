// Echo and chat with ws, the WebSocket library of Node. A broadcast is sent to each socket, which
// frames it anew; a socket that has more than a megabyte waiting is disconnected.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const compress = process.argv.includes("--compress");
const backlogMax = 1 << 20;
const rooms = new Map();

const http = createServer();
const server = new WebSocketServer({
  server: http,
  skipUTF8Validation: false,
  perMessageDeflate: compress && { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 1 },
});

server.on("connection", (socket, request) => {
  socket.on("error", () => socket.terminate());
  const url = new URL(request.url, "ws://x");
  if (url.pathname === "/echo") {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
    return;
  }
  const name = decodeURIComponent(url.pathname.split("/").pop());
  const room = url.searchParams.get("room") ?? "lobby";
  if (!rooms.has(room)) rooms.set(room, new Set());
  const members = rooms.get(room).add(socket);
  socket.on("close", () => members.delete(socket) && members.size === 0 && rooms.delete(room));
  socket.on("message", (data) => {
    const text = `${name}: ${data}`;
    for (const other of members) {
      if (other === socket || other.readyState !== other.OPEN) continue;
      if (other.bufferedAmount > backlogMax) other.terminate();
      else other.send(text);
    }
  });
});

http.listen(0, "127.0.0.1", () => console.log(`ws://127.0.0.1:${http.address().port}`));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
