// ShareDB in memory, in a process of its own, so that its processor time is the server's alone.
import { createServer } from "node:http";
import { Duplex } from "node:stream";
import ShareDB from "sharedb";
import { type } from "ot-text";
import { WebSocketServer } from "ws";

ShareDB.types.register(type);
const backend = new ShareDB();
const http = createServer();

// A stream of objects over a WebSocket, which is what ShareDB listens to.
new WebSocketServer({ server: http }).on("connection", (socket) => {
  const stream = new Duplex({
    objectMode: true,
    read() {},
    write(message, _encoding, done) {
      socket.send(JSON.stringify(message), () => undefined);
      done();
    },
  });
  socket.on("message", (data) => stream.push(JSON.parse(data)));
  socket.on("close", () => stream.destroy());
  stream.on("error", () => undefined);
  backend.listen(stream);
});
http.listen(0, "127.0.0.1", () => process.send({ port: http.address().port }));
