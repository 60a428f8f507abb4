// Node's Socket.IO with its Redis adapter as a chat server writes it: a token at the door, rooms, a message to a room, an
// acknowledgement. The environment gives REDIS_URL, SECRET; the port is printed.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import jwt from "jsonwebtoken";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ url: process.env.REDIS_URL });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const here = new Map();
const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
});

io.use((socket, next) => {
  try {
    socket.data.user = jwt.verify(socket.handshake.auth.token, process.env.SECRET, { algorithms: ["HS256"] }).sub;
    next();
  } catch {
    next(new Error("AUTH_INVALID"));
  }
});

io.on("connection", (socket) => {
  socket.on("join-room", async (room, done) => {
    await socket.join(room);
    done({ ok: { roomId: room } });
  });
  // Who is here as many write it: everybody hears of everybody who comes, one by one; who comes gets the list.
  socket.on("be here", async (room, done) => {
    const { user } = socket.data;
    await socket.join(room);
    const list = here.get(room) ?? new Set();
    here.set(room, list.add(user));
    io.to(room).emit("came", user);
    done([...list]);
  });
  // A message as chats send it, to the sender too.
  let sent = 0;
  socket.on("send-message", ({ roomId, content }, done) => {
    const { user } = socket.data;
    const id = `${socket.id}-${(sent += 1)}`;
    io.to(roomId).emit("new-message", { id, roomId, userId: user, username: user, content, type: "text", reactions: [], timestamp: new Date() });
    done({ ok: { messageId: id } });
  });
});

http.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => console.log(http.address().port));
