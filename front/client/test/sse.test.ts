/** The line over plain HTTP, against a server that does on cue what real fronts do only on bad days. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { connect, type Stoa, type StateChange, type StoaOptions } from "../src/index.js";

type Frame = { id: number; do: string; [field: string]: unknown };

/** What is said of a room to who joins it. */
const joined = {
  role: "editor",
  actions: ["read", "talk", "edit"],
  streams: {
    log: { outcome: "snapshot", because: "first", epoch: "1.a", rev: 0, messages: [], more: false, reads: [] },
    presence: { outcome: "snapshot", because: "first", epoch: "1.b", rev: 0, count: 0, members: [], typing: [], cursors: [] },
  },
};

class BadServer {
  /** What the next requests are answered instead of what they ask for. */
  readonly sse: ((answer: ServerResponse) => void)[] = [];
  readonly rpc: ((answer: ServerResponse) => void)[] = [];
  readonly tokens: (string | undefined)[] = [];
  readonly frames: (Frame & { connection: string | undefined })[] = [];
  stream: ServerResponse | undefined;
  private streams = 0;
  private readonly server: Server;

  constructor() {
    this.server = createServer((asked, answer) => void this.answer(asked, answer));
  }
  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
  }
  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}/ws`;
  }

  private async answer(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(String(asked.url), "http://localhost");
    const isStream = pathname === "/sse";
    if (isStream) this.tokens.push(asked.headers.authorization);
    const instead = (isStream ? this.sse : this.rpc).shift();
    let body = "";
    for await (const part of asked) body += String(part);
    if (instead !== undefined) return instead(answer);
    if (isStream) {
      const rooms = Object.keys(JSON.parse(searchParams.get("resume") ?? "{}") as object).map((room) => [room, joined] as const);
      const connected = { connection: `k${++this.streams}`, user: "ada", rooms: Object.fromEntries(rooms) };
      this.stream = answer.writeHead(200, { "content-type": "text/event-stream" });
      answer.write(`retry: 2000\nevent: connected\nid: {}\ndata: ${JSON.stringify(connected)}\n\n`);
      return;
    }
    const frames = body.split("\n").map((line) => JSON.parse(line) as Frame);
    for (const frame of frames) this.frames.push({ ...frame, connection: asked.headers["stoa-connection"] as string | undefined });
    answer.end(frames.map(({ id }) => JSON.stringify({ id, ok: { n: id, rev: id, epoch: "1.a", duplicate: false } })).join("\n"));
  }
}

const refuse = (status: number, code: string, more: object = {}) => (answer: ServerResponse) =>
  void answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify({ id: null, error: { code, message: code, retry: false, ...more } }));

let server: BadServer;
let stoa: Stoa;
const changes: StateChange[] = [];
beforeEach(async () => {
  changes.length = 0;
  server = new BadServer();
  await server.start();
});
afterEach(() => {
  stoa.close();
  server.stop();
});

/** Nobody has a WebSocket here. */
class None {
  onclose: ((event: object) => void) | null = null;
  constructor() {
    setTimeout(() => this.onclose?.({ code: 1006, reason: "" }), 1);
  }
  send(): void {}
  close(): void {}
}
function open(options: Partial<StoaOptions> = {}) {
  stoa = connect({ url: server.url, token: "ada", WebSocket: None as never, backoffMinMs: 10, backoffMaxMs: 40, ...options });
  stoa.on("error", () => undefined);
  stoa.on("state", (change) => changes.push(change));
  return stoa.room("lobby");
}
async function until(holds: () => boolean): Promise<void> {
  const end = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`waited in vain: ${JSON.stringify(changes)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const why = () => changes.flatMap(({ reason }) => (reason === undefined ? [] : [reason]));

describe("the line over plain HTTP", () => {
  test("a stream that is refused for now is asked for again; one that nobody offers, too", async () => {
    server.sse.push((answer) => void answer.writeHead(404).end("not found"), refuse(429, "RATE_LIMITED", { retry: true, retry_after_ms: 30 }));
    const room = open();
    await room.joined;
    expect([stoa.transport, why()]).toEqual(["sse", expect.arrayContaining(["LOST", "RATE_LIMITED"])]);
  });

  test("a refused token closes; one that has ended is replaced, and what was written meanwhile is sent again, once, as it was", async () => {
    server.sse.push(refuse(401, "AUTH_INVALID"));
    open();
    await until(() => stoa.state === "closed");
    expect(why().at(-1)).toBe("AUTH_INVALID");

    let asked = 0;
    const room = open({ token: (reason) => `${reason} ${++asked}` });
    await room.joined;
    server.rpc.push(refuse(401, "AUTH_EXPIRED"));
    const posted = room.messages.post("once");
    expect((await posted).state).toBe("sent");
    expect(server.tokens.at(-1)).toMatch(/^Bearer expired /);
    expect(server.frames.filter((frame) => frame.do === "msg.post").map(({ client, seq }) => [client, seq])).toEqual([[stoa.client, 1]]);
  });

  test("a request that breaks is made again with the same identity", async () => {
    const room = open();
    await room.joined;
    server.rpc.push((answer) => void answer.destroy());
    await room.messages.post("once");
    expect(why()).toContain("LOST");
    expect(server.frames.filter((frame) => frame.do === "msg.post").map(({ client, seq }) => [client, seq])).toEqual([[stoa.client, 1]]);
  });

  test("what is asked for together goes together, in its order, for the stream's connection", async () => {
    const room = open();
    await room.joined;
    await Promise.all([room.emit("a"), room.emit("b"), room.emit("c", { n: 1 }, { payload: new Uint8Array([0, 255]) })]);
    expect(server.frames.map(({ name, payload, connection }) => [name, payload, connection])).toEqual([
      ["a", undefined, "k1"],
      ["b", undefined, "k1"],
      ["c", "AP8=", "k1"],
    ]);
    server.rpc.push(refuse(429, "RATE_LIMITED", { retry: true, retry_after_ms: 5 }));
    await expect(room.emit("d")).rejects.toMatchObject({ code: "RATE_LIMITED", retryAfterMs: 5 });
    expect(stoa.state).toBe("online");
  });

  test("blocks come in any pieces, with characters cut in two; what is no event is passed over", async () => {
    const room = open();
    const heard: unknown[] = [];
    room.on("wave", (data, { payload }) => heard.push([data, payload && [...payload]]));
    await room.joined;
    const event = (data: unknown, more: object = {}) => `data: ${JSON.stringify({ event: "room.emitted", room: "lobby", name: "wave", data, ...more })}\n\n`;
    const bytes = Buffer.from(`:\n\nid: {}\n${event("😀")}data: nonsense\n\n${event("two", { payload: "AP8=" })}${event('"payload"')}`);
    for (const byte of bytes) {
      server.stream?.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => heard.length === 3);
    expect(heard).toEqual([["😀", undefined], ["two", [0, 255]], ['"payload"', undefined]]);
  });

  test("a front that ends the stream says whether to come back", async () => {
    const room = open();
    await room.joined;
    server.stream?.end('event: closed\ndata: {"code":4003,"reason":"RESYNC"}\n\n');
    await until(() => why().includes("RESYNC") && stoa.state === "online");
    server.stream?.end('event: closed\ndata: {"code":4504,"reason":"KICKED"}\n\n');
    await until(() => stoa.state === "closed");
    expect(changes.at(-1)).toMatchObject({ reason: "KICKED", closeCode: 4504 });
  });

  test("a room that is left, or joined later, is another stream; the first one ends", async () => {
    const room = open();
    await room.joined;
    const first = server.stream;
    const other = stoa.room("other");
    await other.joined;
    expect([first?.destroyed, stoa.connectionId, stoa.state]).toEqual([true, "k2", "online"]);
    room.leave();
    await until(() => stoa.connectionId === "k3");
    expect([other.state, room.state, changes.filter(({ state }) => state !== "connecting").length]).toEqual(["joined", "left", 2]);
  });
});
