/** The connection code of applications as it stands, while fronts die and come back. */
import { runs, startFront, startRedis, token, until } from "real-front";
import { randomBytes } from "node:crypto";
import { io, type Socket } from "socket.io-client";
import { describe, expect, test } from "vitest";
import { closes, person } from "./people.js";

/** What a hook of a page does, without the framework around it. */
function useRealtime(port: number, options: object = {}) {
  const session = { accessToken: token("ada", 3_600, { name: "Ada" }) };
  let isConnected = false;
  const socket = closes(
    io(`http://127.0.0.1:${port}`, {
      auth: { token: session.accessToken },
      autoConnect: false,
      timeout: 20_000,
      transports: ["websocket", "polling"],
      // Back-off as it comes doubles from a second on; tests have less patience.
      reconnectionDelay: 50,
      reconnectionDelayMax: 400,
      forceNew: true,
      ...options,
    }),
  );
  socket.on("connect", () => (isConnected = true));
  socket.on("disconnect", () => (isConnected = false));
  socket.connect();
  return { socket, isConnected: () => isConnected };
}

interface Message {
  id: string;
  content: string;
}
const contents = (messages: Message[]) => messages.map(({ content }) => content);

/** Joins its room at each connection, as pages do, and keeps what it has seen by id. */
function follow(socket: Socket, roomId: string) {
  const seen = new Map<string, string>();
  let joins = 0;
  socket.on("connect", () =>
    socket.emit("join-room", { roomId }, ({ ok, error }: { ok?: { messages: Message[] }; error?: object }) => {
      if (ok === undefined) return console.log("not joined:", error);
      for (const { id, content } of ok.messages) seen.set(id, content);
      joins += 1;
    }),
  );
  socket.on("new-message", ({ id, content }: Message) => seen.set(id, content));
  return { seen, joins: () => joins };
}

describe.runIf(runs)("reconnection", () => {
  test("a front dies and comes back: rooms are joined again on connect, and nothing is missing", async () => {
    const redis = await startRedis();
    const [doomed, other] = [await startFront(redis), await startFront(redis)];
    const { socket, isConnected } = useRealtime(doomed.port);
    const room = follow(socket, "lobby");
    const bo = await person(other.port, "bo");
    await bo.does("join-room", "lobby");
    await until("ada is inside", () => isConnected() && room.joins() === 1);
    await bo.does("send-message", { roomId: "lobby", content: "before" });
    await until("ada hears it", () => room.seen.size === 1);
    const attempts: number[] = [];
    socket.io.on("reconnect_attempt", (attempt) => attempts.push(attempt));

    doomed.process.kill("SIGKILL");
    await until("ada notices", () => !isConnected());
    for (let n = 0; n < 10; n++) await bo.does("send-message", { roomId: "lobby", content: `meanwhile ${n}` });
    await until("ada tries again and again", () => attempts.length > 2);
    await startFront(redis, "--listen", `127.0.0.1:${doomed.port}`);
    await until("ada is back", () => isConnected() && room.joins() === 2);
    expect([...room.seen.values()]).toEqual(["before", ...Array.from({ length: 10 }, (_, n) => `meanwhile ${n}`)]);
    await bo.does("send-message", { roomId: "lobby", content: "after" });
    await until("ada hears the others again", () => [...room.seen.values()].at(-1) === "after");
  });

  test("what is emitted while there is no connection is said once its room is joined", async () => {
    const redis = await startRedis();
    const front = await startFront(redis);
    const bo = await person(front.port, "bo");
    await bo.does("join-room", "lobby");
    const { socket } = useRealtime(front.port);
    const room = follow(socket, "lobby");
    // The library sends these before it tells the page that it is connected.
    const answers: unknown[] = [];
    for (const content of ["one", "two"]) socket.emit("send-message", { roomId: "lobby", content }, (answer: unknown) => answers.push(answer));
    socket.emit("send-message", { roomId: "elsewhere", content: "never joined" }, (answer: unknown) => answers.push(answer));
    await until("all are answered", () => answers.length === 3);
    expect(answers).toMatchObject([{ ok: { messageId: "lobby#1" } }, { ok: { messageId: "lobby#2" } }, { error: { code: "NOT_JOINED" } }]);
    await until("they are there", () => room.seen.size === 2);
    expect([...room.seen.values()]).toEqual(["one", "two"]);
  });

  test("with retries of the client nothing that was sent is lost, and with an identity nothing is doubled", async () => {
    const redis = await startRedis();
    const [doomed, other] = [await startFront(redis), await startFront(redis)];
    const { socket, isConnected } = useRealtime(doomed.port, { retries: 50, ackTimeout: 2_000 });
    const bo = await person(other.port, "bo");
    await bo.does("join-room", "lobby");
    // With retries the client sends one after the other, each after the answer to the one before. What waits is sent before
    // "connect" is told, so that a room has to be joined by the code that sends.
    const answers: unknown[] = [];
    const send = (n: number) =>
      void socket.emit("join-room", "lobby", () =>
        socket.emit("send-message", { roomId: "lobby", content: `${n}`, clientId: "tab", seq: n }, (failed: unknown, answer: unknown) => answers.push(failed ?? answer)),
      );
    await until("ada is inside", isConnected);
    for (let n = 1; n <= 20; n++) {
      send(n);
      if (n === 7) doomed.process.kill("SIGKILL");
    }
    await until("ada notices", () => !isConnected());
    await startFront(redis, "--listen", `127.0.0.1:${doomed.port}`);
    await until("all are answered", () => answers.length >= 20);
    expect(answers.filter((answer) => (answer as { ok?: object }).ok === undefined)).toEqual([]);
    await bo.does("send-message", { roomId: "lobby", content: "end" });
    await bo.hears("new-message", ({ content }) => content === "end");
    const heard = bo.all<Message>("new-message");
    expect(contents(heard).sort()).toEqual([...Array.from({ length: 20 }, (_, n) => `${n + 1}`), "end"].sort());
  });

  test("a front that stops says so first, and people find another one", async () => {
    const redis = await startRedis();
    const front = await startFront(redis, "--drain-ms", "300");
    const { socket, isConnected } = useRealtime(front.port);
    const room = follow(socket, "lobby");
    const told: { retry_after_ms: number }[] = [];
    const reasons: string[] = [];
    socket.on("server-closing", (closing) => told.push(closing));
    socket.on("disconnect", (reason) => reasons.push(reason));
    await until("ada is inside", () => isConnected() && room.joins() === 1);
    front.process.kill("SIGTERM");
    await until("ada is out", () => !isConnected());
    expect(told).toHaveLength(1);
    expect(told[0]?.retry_after_ms).toBeGreaterThanOrEqual(0);
    // Not "io server disconnect": after that the client would not come back by itself.
    expect(reasons).toEqual([expect.stringMatching(/^transport (close|error)$/)]);
    await until("the front has ended", () => front.process.exitCode !== null);
    await startFront(redis, "--listen", `127.0.0.1:${front.port}`);
    await until("ada is back", () => isConnected() && room.joins() === 2);
  });

  test("whoever cannot keep up is disconnected, comes back and has everything", async () => {
    const redis = await startRedis();
    const settings = ["--queue-bytes-max", "100000", "--presence-grace-ms", "200"];
    const [one, two] = [await startFront(redis, ...settings), await startFront(redis)];
    const { socket, isConnected } = useRealtime(one.port, { transports: ["websocket"] });
    const room = follow(socket, "lobby");
    const reasons: string[] = [];
    socket.on("disconnect", (reason) => reasons.push(reason));
    await until("ada is inside", () => isConnected() && room.joins() === 1);
    const bo = await person(two.port, "bo");
    await bo.does("join-room", "lobby");

    // Ada's page reads nothing any more; what the network holds for her is megabytes.
    const { ws: line } = socket.io.engine.transport as unknown as { ws: { pause(): void; resume(): void } };
    line.pause();
    const filling = randomBytes(22_500).toString("base64");
    let sent = 0;
    const isGone = () => bo.all("presence-update").some(({ userId, status }) => userId === "ada" && status === "offline");
    while (!isGone() && sent < 4_000) await bo.does("send-message", { roomId: "lobby", content: `${sent++} ${filling}` });
    await until("ada is out", isGone);
    await bo.does("send-message", { roomId: "lobby", content: "the last one" });
    line.resume();
    await until("ada notices", () => reasons.length > 0);
    await until("ada is back", () => isConnected() && room.joins() >= 2);
    await until("ada has the newest", () => [...room.seen.values()].includes("the last one"));
    expect(bo.all("new-message")).toHaveLength(sent + 1);
    // A join brings the newest fifty, of messages of this size about thirty: a page has at most a mebibyte.
    const newest = bo.all<Message>("new-message").slice(-30);
    expect(newest.filter(({ id }) => !room.seen.has(id))).toEqual([]);
  });
});
