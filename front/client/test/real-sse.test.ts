/**
 * Without WebSockets: a real front behind a proxy that lets plain HTTP through alone, as those of some offices do.
 *
 *     STOA_MODULE=…/libstoa.so STOA_FRONT_BINARY=…/stoa-front npm test -- real-sse
 */
import { createServer, request, type Server } from "node:http";
import { connect as dial, type AddressInfo, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { connect, type Stoa, type StoaOptions, type WebSocketConstructor } from "../src/index.js";
import { runs, startFront, startRedis, token, until } from "./real-front.js";

/** What stands between a client and a front. */
class Proxy {
  /** WebSockets do not come through. */
  blocked = true;
  /** Nothing does. */
  down = false;
  streams = 0;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  private constructor(front: number) {
    this.server = createServer((asked, answer) => {
      if (asked.url?.startsWith("/sse")) this.streams += 1;
      const { method, url, headers } = asked;
      const passed = request({ host: "127.0.0.1", port: front, method, path: url, headers }, (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
        response.on("error", () => answer.destroy());
      });
      passed.on("error", () => answer.destroy());
      answer.on("close", () => passed.destroy());
      asked.pipe(passed);
    });
    this.server.on("connection", (socket) => {
      if (this.down) return void socket.destroy();
      this.sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => this.sockets.delete(socket));
    });
    this.server.on("upgrade", ({ method, url, rawHeaders }, socket, head) => {
      if (this.blocked) return void socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      const passed = dial(front, "127.0.0.1");
      const lines = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${rawHeaders[i + 1]}`] : []));
      passed.write(`${method} ${url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      passed.write(head);
      passed.pipe(socket).pipe(passed);
      passed.on("error", () => socket.destroy());
      socket.on("error", () => passed.destroy());
      socket.on("close", () => passed.destroy());
    });
  }

  static async start(front: number): Promise<Proxy> {
    const proxy = new Proxy(front);
    await new Promise<void>((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    proxies.push(proxy);
    return proxy;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}/ws`;
  }

  /** Breaks all that goes through it now. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  stop(): void {
    this.cut();
    this.server.close();
  }
}

const proxies: Proxy[] = [];
const people: Stoa[] = [];
afterEach(() => {
  for (const stoa of people.splice(0)) stoa.close();
  for (const proxy of proxies.splice(0)) proxy.stop();
});

function person(url: string, user: string, options: Partial<StoaOptions> = {}): Stoa {
  const stoa = connect({
    url,
    token: () => token(user),
    WebSocket: WebSocket as unknown as WebSocketConstructor,
    backoffMinMs: 50,
    backoffMaxMs: 300,
    ...options,
  });
  stoa.on("error", (error) => console.log(user, error.code, error.message));
  people.push(stoa);
  return stoa;
}

async function start(...settings: string[]) {
  const redis = await startRedis();
  const [one, two] = [await startFront(redis, ...settings), await startFront(redis, ...settings)];
  return { proxy: await Proxy.start(one.port), direct: `ws://127.0.0.1:${two.port}/ws` };
}
const bodies = (stoa: Stoa, room = "lobby") => stoa.room(room).messages.list.map(({ body, state }) => `${String(body)}${state === "sent" ? "" : ` (${state})`}`);
const numbers = (count: number) => Array.from({ length: count }, (_, n) => `m${n}`);

describe.skipIf(!runs)("where WebSockets do not come through", () => {
  test("all goes on over plain HTTP: rooms, messages, people, events, documents, maps", async () => {
    const { proxy, direct } = await start("--presence-grace-ms", "300");
    const [ada, bo] = [person(proxy.url, "ada"), person(direct, "bo")];
    const [a, b] = [ada.room<{ mood?: string }>("lobby"), bo.room<{ mood?: string }>("lobby")];
    await Promise.all([a.joined, b.joined]);
    expect([ada.transport, bo.transport, ada.user]).toEqual(["sse", "websocket", "ada"]);

    await until("they see each other", () => a.presence.count === 2 && b.presence.count === 2);
    a.presence.update({ mood: "fine" });
    a.presence.setStatus("busy");
    await until("Bo sees how Ada is", () => b.presence.member("ada")?.data.mood === "fine" && b.presence.member("ada")?.status === "busy");
    a.presence.typing();
    a.presence.setCursor({ x: 3 });
    await until("Bo sees Ada type and point", () => b.presence.typists.includes("ada") && b.presence.cursors.size === 1);
    b.presence.setCursor({ x: 4 });
    await until("Ada sees Bo point, and not herself", () => JSON.stringify([...a.presence.cursors.values()].map(({ user }) => user)) === '["bo"]');

    const first = await a.messages.post("one");
    await b.messages.react(first.n as number, "👍");
    await until("Ada sees the reaction", () => a.messages.list[0]?.reactions?.["👍"]?.count === 1);
    await a.messages.edit(1, "One");
    await b.messages.post("two", { reply: 1 });
    await until("both have both", () => bodies(ada).join() === "One,two" && bodies(bo).join() === "One,two");
    expect([a.messages.unread, (await a.messages.history(1)).length]).toEqual([1, 2]);
    a.messages.read();
    await until("Bo sees what Ada has read", () => b.messages.readBy.get("ada") === 2);
    const stream = await a.messages.stream();
    for (const word of ["grows ", "and ", "grows"]) stream.append(word);
    await stream.finish();
    await until("Bo has the stream", () => bodies(bo).at(-1) === "grows and grows");

    const heard: Record<string, unknown> = {};
    a.on("wave", (data, { user, connection, payload }) => void (heard["ada"] = [data, user, connection === bo.connectionId, payload && [...payload]]));
    b.on("wave", (data, { user, connection, payload }) => void (heard["bo"] = [data, user, connection === ada.connectionId, payload && [...payload]]));
    await a.emit("wave", { n: 1 }, { payload: new Uint8Array([0, 255, 7]) });
    await b.emit("wave", { n: 2 }, { payload: new Uint8Array([1, 254]) });
    await until("both have heard", () => Object.keys(heard).length === 2);
    expect(heard).toEqual({ bo: [{ n: 1 }, "ada", true, [0, 255, 7]], ada: [{ n: 2 }, "bo", true, [1, 254]] });

    const mine = a.doc("main", { create: "start" });
    await mine.opened;
    const theirs = b.doc("main");
    await theirs.opened;
    mine.edit([5, " ada"]);
    await until("Bo has the edit", () => theirs.text === "start ada");
    theirs.edit([9, " bo"]);
    theirs.setCursor({ anchor: 0, head: 5 });
    await until("Ada has the edit and the cursor", () => mine.text === "start ada bo" && [...mine.cursors.values()].some(({ user, head }) => user === "bo" && head === 5));
    mine.setCursor({ anchor: 1, head: 1 });
    await until("Bo sees Ada's cursor", () => [...theirs.cursors.values()].some(({ user, head }) => user === "ada" && head === 1));
    await mine.undo();
    await until("the edit is taken back", () => theirs.text === "start bo" && mine.text === "start bo");
    const board = a.map<{ k: number }>("board");
    await board.opened;
    board.set("k", 1);
    const same = b.map<{ k: number }>("board");
    await until("Bo has the value", () => same.get("k") === 1);
    await expect(a.doc("none").opened).rejects.toMatchObject({ code: "NOT_FOUND" });

    const other = ada.room("other");
    await other.joined;
    await other.messages.post("elsewhere");
    a.leave();
    await until("Ada is not listed any more", () => !b.presence.members.some(({ user }) => user === "ada"), 60_000);
    expect([other.state, bodies(ada, "other")]).toEqual(["joined", ["elsewhere"]]);
    expect([ada.transport, ada.state]).toEqual(["sse", "online"]);
  });

  test("nothing is lost or doubled over cuts, and a WebSocket that comes through takes over in mid-stream", async () => {
    const { proxy, direct } = await start();
    const [ada, bo] = [person(proxy.url, "ada", { websocketRetryMs: 200 }), person(direct, "bo")];
    const [a, b] = [ada.room("lobby"), bo.room("lobby")];
    await Promise.all([a.joined, b.joined]);
    const [mine, theirs] = [a.doc("main", { create: "" }), b.doc("main", { create: "" })];
    await Promise.all([mine.opened, theirs.opened]);
    expect(ada.transport).toBe("sse");
    const states: string[] = [];
    const wanted = numbers(120);
    for (const [n, text] of wanted.entries()) {
      (n % 2 === 0 ? a : b).messages.post(text).catch(() => undefined);
      mine.replace(mine.text.length, mine.text.length, `a${n} `);
      theirs.replace(0, 0, `b${n} `);
      if (n % 20 === 9 && n < 60) proxy.cut();
      if (n === 30) ada.room("late");
      if (n === 70) {
        await until("Ada is back", () => ada.state === "online");
        ada.on("state", ({ state }) => states.push(state));
        proxy.blocked = false;
      }
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    await until("a WebSocket carries", () => ada.transport === "websocket");
    const complete = (stoa: Stoa) => stoa.room("lobby").messages.list.length === 120 && stoa.room("lobby").messages.list.every(({ state }) => state === "sent");
    await until("all is there", () => complete(ada) && complete(bo) && mine.state === "synchronised" && theirs.state === "synchronised" && mine.text === theirs.text);
    expect(new Set(bodies(ada)).size).toBe(120);
    expect(bodies(ada)).toEqual(bodies(bo));
    for (const side of [0, 1]) expect(bodies(ada).filter((it) => Number(it.slice(1)) % 2 === side)).toEqual(wanted.filter((it) => Number(it.slice(1)) % 2 === side));
    const words = mine.text.trim().split(" ");
    expect([...words].sort()).toEqual(wanted.flatMap((it) => [`a${it.slice(1)}`, `b${it.slice(1)}`]).sort());
    expect(ada.room("late").state).toBe("joined");
    // The other transport took over without a word of a broken line.
    expect(states).toEqual([]);
    const { streams } = proxy;
    await a.messages.post("by WebSocket");
    await until("Bo has it", () => bodies(bo).at(-1) === "by WebSocket");
    expect(proxy.streams).toBe(streams);
  });

  test("it is not used where a WebSocket once came through, unless that is over", async () => {
    const { proxy } = await start();
    proxy.blocked = false;
    const ada = person(proxy.url, "ada", { websocketRetryMs: 100_000 });
    const room = ada.room("lobby");
    await room.joined;
    proxy.down = true;
    proxy.cut();
    await until("the line is broken", () => ada.state !== "online");
    proxy.down = false;
    await until("Ada is back", () => ada.state === "online");
    expect([ada.transport, proxy.streams]).toEqual(["websocket", 0]);
    proxy.blocked = true;
    proxy.cut();
    await until("Ada is back over plain HTTP", () => ada.transport === "sse");
    await room.messages.post("still here");
  });

  test("with sse: false, it is never used; without any WebSocket, always", async () => {
    const { proxy, direct } = await start();
    let resolve = (): void => undefined;
    const promise = new Promise<void>((it) => (resolve = it));
    const ada = person(proxy.url, "ada", { sse: false, backoffMaxMs: 60 });
    let failures = 0;
    ada.on("state", ({ state }) => state === "offline" && ++failures === 5 && resolve());
    await promise;
    expect([ada.transport, proxy.streams]).toEqual([undefined, 0]);

    const had = (globalThis as { WebSocket?: unknown }).WebSocket;
    (globalThis as { WebSocket?: unknown }).WebSocket = undefined;
    try {
      const bo = connect({ url: direct, token: token("bo") });
      people.push(bo);
      await bo.room("lobby").joined;
      expect(bo.transport).toBe("sse");
    } finally {
      (globalThis as { WebSocket?: unknown }).WebSocket = had;
    }
  });

  test("a token that was refused is said to be; one that ends is replaced", async () => {
    const { proxy, direct } = await start("--auth-expiring-ms", "1000");
    const eve = person(proxy.url, "eve", { token: "not a token" });
    await until("Eve is refused", () => eve.state === "closed");
    let asked = 0;
    const ada = person(proxy.url, "ada", { token: () => token("ada", ++asked === 1 ? 3 : 3_600) });
    const room = ada.room("lobby");
    await room.joined;
    await until("another token was asked for", () => asked >= 2);
    const bo = person(direct, "bo").room("lobby");
    await bo.joined;
    // Beyond the end of the first one.
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    await bo.messages.post("still there?");
    await until("Ada has it", () => room.messages.list.length === 1);
    await room.messages.post("yes");
    expect([ada.state, ada.transport]).toEqual(["online", "sse"]);
  });
});
