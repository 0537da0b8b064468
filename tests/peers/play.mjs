// Plays a plan of sockets.py with node's ws: node play.mjs PLAN.json
import { readFileSync } from "node:fs";
import WebSocket from "ws";

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
const socket = new WebSocket(plan.url, plan.subprotocol ? [plan.subprotocol] : []);
socket.on("error", (error) => { throw error; });
socket.on("open", async () => {
  if (socket.protocol !== (plan.subprotocol ?? "")) throw new Error(`subprotocol ${socket.protocol}`);
  const began = performance.now();
  for (const [at, kind, data] of plan.frames) {
    const wait = began + at - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    socket.send(kind === "binary" ? Buffer.from(data, "base64") : data);
  }
  socket.close();
});
