/** WebSocket, polling, polling that upgrades; who is let in, and what the doors say. */
import { runs, startFront, startRedis, token, until } from "real-front";
import { describe, expect, test } from "vitest";
import { dial, person } from "./people.js";

const ORIGIN = "https://app.example.org";
/** Who leaves is gone soon. */
const gone = ["--presence-close-grace-ms", "200"];

describe.runIf(runs)("transports", () => {
  test("by WebSocket, by polling, and by polling that upgrades: each in order, once, in both directions", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis, ...gone), await startFront(redis, ...gone)];
    const ways = [["websocket"], ["polling"], ["polling", "websocket"], ["websocket", "polling"]];
    const people = await Promise.all(ways.map((transports, n) => person([one, two][n % 2]?.port ?? 0, `user${n}`, { transports })));
    await Promise.all(people.map((who) => who.does("join-room", "lobby")));
    // While the third of them upgrades, everybody talks.
    const each = 30;
    await Promise.all(people.map(async (who) => {
      const answers = Array.from({ length: each }, (_, n) => who.does("send-message", { roomId: "lobby", content: `${n}` }));
      await Promise.all(answers);
    }));
    for (const who of people) {
      await until(`${who.user} has heard all`, () => who.all("new-message").length >= each * people.length);
      expect(who.all("new-message")).toEqual(people[0]?.all("new-message"));
      for (const { user } of people) {
        const own = who.all<{ userId: string; content: string }>("new-message").filter(({ userId }) => userId === user);
        expect(own.map(({ content }) => content)).toEqual(Array.from({ length: each }, (_, n) => `${n}`));
      }
    }
    const name = (n: number) => people[n]?.socket.io.engine.transport.name;
    await until("the third has upgraded", () => name(2) === "websocket");
    expect([name(0), name(1), name(3)]).toEqual(["websocket", "polling", "websocket"]);

    // Who polls is gone as soon as they say so.
    people[1]?.socket.disconnect();
    await people[0]?.hears("user-left", ({ userId }) => userId === "user1");
  });

  test("several namespaces share a connection, and each is a socket of its own", async () => {
    const redis = await startRedis();
    const front = await startFront(redis);
    const names = ["/", "/chat", "/collaboration", "/presence", "/notifications", "/learning"];
    const people = await Promise.all(names.map((namespace) => person(front.port, "ada", { namespace, forceNew: false, multiplex: true })));
    expect(new Set(people.map(({ socket }) => socket.io)).size).toBe(1);
    expect(new Set(people.map(({ socket }) => socket.id)).size).toBe(names.length);
    await people[0]?.does("join-room", "lobby");
    await people[1]?.does("join-room", "lobby");
    await people[0]?.does("send-message", { roomId: "lobby", content: "hello" });
    await people[1]?.hears("new-message");
    expect(people[2]?.events).toEqual([]);
    people[1]?.socket.disconnect();
    await people[0]?.does("send-message", { roomId: "lobby", content: "still here" });
    await people[0]?.hears("new-message", ({ content }) => content === "still here");
    const stranger = dial(front.port, "ada", { namespace: "/nowhere" });
    const error = await new Promise<Error>((resolve) => stranger.on("connect_error", resolve));
    expect(error.message).toBe("Invalid namespace");
  });

  test("bytes travel as bytes, by WebSocket and by polling", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis), await startFront(redis)];
    const people = [
      await person(one.port, "ada", { transports: ["websocket"] }),
      await person(two.port, "bo", { transports: ["polling"] }),
      await person(two.port, "cy", { transports: ["websocket"] }),
    ];
    for (const who of people) await who.does("join-room", "lobby");
    const bytes = Buffer.from([0, 1, 2, 253, 254, 255, 10, 30]);
    for (const [n, sender] of people.entries()) {
      await sender.does("emit", { roomId: "lobby", event: `pixels${n}`, data: { width: 4 } }, bytes);
      await sender.does("emit", { roomId: "lobby", event: `plain${n}`, data: bytes });
      for (const who of people) {
        if (who === sender) continue;
        await who.hears(`plain${n}`);
        const [, payload] = who.events.find(({ event }) => event === `pixels${n}`)?.args ?? [];
        expect(who.all(`pixels${n}`)).toEqual([{ width: 4 }]);
        expect(Buffer.from(payload as Uint8Array)).toEqual(bytes);
        const got = who.events.find(({ event }) => event === `plain${n}`)?.args ?? [];
        expect(got.filter((it) => it instanceof Uint8Array).map((it) => Buffer.from(it as Uint8Array))).toEqual([bytes]);
      }
    }
    // To one alone, and names that belong to the client itself.
    await people[0]?.does("emit", { roomId: "lobby", event: "psst", data: 1, to: { userId: "bo" } });
    await people[1]?.hears("psst");
    for (const event of ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]) {
      await people[0]?.answer("emit", { roomId: "lobby", event, data: "forged" });
    }
    await people[0]?.does("emit", { roomId: "lobby", event: "fence" });
    for (const who of people.slice(1)) {
      await who.hears("fence");
      expect(who.socket.connected).toBe(true);
      expect(who.events.filter(({ args }) => args[0] === "forged")).toEqual([]);
    }
    expect(people[2]?.all("psst")).toEqual([]);
  });

  test("who may not come in is told why, with a code", async () => {
    const redis = await startRedis();
    const front = await startFront(redis);
    const valid = token("ada");
    const cases: [object, RegExp][] = [
      [{}, /^AUTH_REQUIRED$/],
      [{ token: 7 }, /^AUTH_/],
      [{ token: "not.a.token" }, /^AUTH_INVALID$/],
      [{ token: `${valid.slice(0, -8)}AAAAAAAA` }, /^AUTH_INVALID$/],
      [{ token: token("ada", -60) }, /^AUTH_(EXPIRED|INVALID)$/],
    ];
    for (const transport of ["websocket", "polling"]) {
      for (const [auth, code] of cases) {
        const socket = dial(front.port, "ada", { auth, transports: [transport] });
        const error = await new Promise<Error & { data?: { code: string; message: string; retry: boolean } }>((resolve) => socket.on("connect_error", resolve));
        expect(error.message).toMatch(/\w/);
        expect(error.data).toMatchObject({ code: expect.stringMatching(code), message: error.message, retry: false });
        expect(socket.connected).toBe(false);
        socket.close();
      }
    }
    // The header does as well, as tools and tests send it.
    const tool = dial(front.port, "ada", { auth: {}, extraHeaders: { authorization: `Bearer ${valid}` } });
    await until("a token in the header opens too", () => tool.connected);
  });

  test("pages of other origins are answered as the settings say", async () => {
    const redis = await startRedis();
    const front = await startFront(redis, "--origins", ORIGIN, "--allow-origin", ORIGIN);
    const address = `http://127.0.0.1:${front.port}/socket.io/?EIO=4&transport=polling`;
    const welcome = await fetch(address, { headers: { origin: ORIGIN } });
    expect([welcome.status, welcome.headers.get("access-control-allow-origin")]).toEqual([200, ORIGIN]);
    const { sid } = JSON.parse((await welcome.text()).slice(1)) as { sid: string };
    const asked = { origin: ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
    const preflight = await fetch(`${address}&sid=${sid}`, { method: "OPTIONS", headers: asked });
    expect(preflight.ok).toBe(true);
    expect(preflight.headers.get("access-control-allow-origin")).toBe(ORIGIN);
    expect(preflight.headers.get("access-control-allow-methods")).toMatch(/POST|\*/);
    const stranger = await fetch(address, { headers: { origin: "https://evil.example" } });
    expect(stranger.headers.get("access-control-allow-origin")).toBeNull();
    expect(stranger.status).toBe(403);
    for (const origin of [ORIGIN, "https://evil.example"]) {
      const socket = dial(front.port, "ada", { transports: ["websocket"], extraHeaders: { origin }, reconnection: false });
      const outcome = await new Promise<string>((resolve) => {
        socket.on("connect", () => resolve("in"));
        socket.on("connect_error", () => resolve("out"));
      });
      expect(outcome).toBe(origin === ORIGIN ? "in" : "out");
    }
  });

  test("a session belongs to its front, and what is no session is refused as Engine.IO does", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis), await startFront(redis)];
    const address = (port: number, query: string) => `http://127.0.0.1:${port}/socket.io/?${query}`;
    const opened = await (await fetch(address(one.port, "EIO=4&transport=polling"))).text();
    expect(opened[0]).toBe("0");
    const { sid, upgrades, pingInterval, pingTimeout, maxPayload } = JSON.parse(opened.slice(1));
    expect([upgrades, pingInterval, pingTimeout, maxPayload]).toEqual([["websocket"], 25_000, 20_000, 1_048_576]);
    for (const method of ["GET", "POST"]) {
      const foreign = await fetch(address(two.port, `EIO=4&transport=polling&sid=${sid}`), { method, ...(method === "POST" ? { body: "40" } : {}) });
      expect([foreign.status, await foreign.json()]).toEqual([400, { code: 1, message: "Session ID unknown" }]);
    }
    for (const [query, code] of [["EIO=4&transport=carrier-pigeon", 0], ["EIO=3&transport=polling", 5], ["EIO=4&transport=polling&sid=nonsense", 1]] as const) {
      const refused = await fetch(address(one.port, query));
      expect([query, refused.status, await refused.json()]).toEqual([query, 400, { code, message: expect.stringMatching(/\w/) }]);
    }
    // Behind a balancer without stickiness the client is refused and begins anew, and in the end it is in.
    expect((await fetch(`http://127.0.0.1:${one.port}/readyz`)).status).toBe(200);
  });
});
