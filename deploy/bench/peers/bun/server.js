// Bun's WebSocket server as a plain server: `bun server.js PORT`.
//
// Tuned: no compression; broadcasts by its own publish(), which encodes once and gathers what is published in one turn; no data is
// attached to a connection that only echoes. Echoes of one turn leave in one write by themselves.

const port = Number(process.argv[2]);
if (!Number.isInteger(port) || port < 1 || port > 65535) {
  console.error("usage: server.js PORT");
  process.exit(2);
}

let opened = 0;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port,
  development: false,
  fetch(request, server) {
    const path = request.url.slice(request.url.indexOf("/", 8));
    const isUpgraded =
      path === "/" ? server.upgrade(request)
      : path === "/broadcast" ? server.upgrade(request, { data: "broadcast" })
      : false;
    if (!isUpgraded) return new Response("no such WebSocket", { status: 404 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 960, // the most that it takes
    maxPayloadLength: 64 * 1024 * 1024,
    backpressureLimit: 64 * 1024 * 1024,
    open(socket) {
      opened += 1;
      if (socket.data === "broadcast") socket.subscribe("all");
    },
    message(socket, message) {
      if (socket.data === "broadcast") server.publish("all", message);
      else socket.send(message);
    },
  },
});

// What the handshakes left behind is collected once they are over, as it would be after some minutes by itself: idle memory is compared.
let seen = 0;
let collected = 0;
setInterval(() => {
  if (opened === seen && seen !== collected) {
    collected = seen;
    Bun.gc(true);
  }
  seen = opened;
}, 250);

console.log("ready");
