/**
 * The client against a real front, which has to run in demo mode: `STOA_FRONT=http://127.0.0.1:8080 npm test`.
 * Rooms of their own, so that it may run beside others and again.
 */
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import WebSocket from "ws";
import { connect, type Message, type Room, type Stoa, type StoaOptions, type WebSocketConstructor } from "../src/index.js";
import { Random, seedOf } from "./random.js";

const front = process.env["STOA_FRONT"];
if (front === undefined) console.warn("\n*** THE TESTS AGAINST A REAL FRONT DID NOT RUN: STOA_FRONT is not set ***\n");

/** Sockets that can be cut on cue, as a broken network would: nothing more arrives on either side. */
const sockets = new Map<string, WebSocket>();

async function person(name: string, options: Partial<StoaOptions> = {}): Promise<Stoa> {
  const response = await fetch(`${front}/demo/token`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ name }) });
  const { token } = (await response.json()) as { token: string };
  class Cuttable extends WebSocket {
    constructor(url: string) {
      super(url);
      sockets.set(name, this);
    }
  }
  const stoa = connect({
    url: `${String(front).replace("http", "ws")}/ws`,
    token,
    WebSocket: Cuttable as unknown as WebSocketConstructor,
    backoffMinMs: 100,
    backoffMaxMs: 500,
    ...options,
  });
  stoa.on("error", (error) => console.log(name, error.code, error.message));
  return stoa;
}
const cut = (name: string) => sockets.get(name)?.terminate();

async function until(what: string, holds: () => boolean, ms = 20_000): Promise<void> {
  const end = Date.now() + ms;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
const freshRoom = () => `test-${Date.now().toString(36)}-${Math.floor(Math.random() * 1e6)}`;
const texts = (room: Room) => room.messages.list.map(({ body, state }) => `${(body as { text: string }).text}${state === "sent" ? "" : ` (${state})`}`);

describe.skipIf(front === undefined)("a real front", () => {
  test("presence, typing, ephemeral events, leaving", async () => {
    const name = freshRoom();
    const [ada, bo] = [await person("Ada"), await person("Bo")];
    const [a, b] = [ada.room(name, { presence: { color: "red" } }), bo.room(name, { presence: false })];
    await Promise.all([a.joined, b.joined]);
    await until("Ada is here", () => b.presence.members.length === 1);
    expect(b.presence.members[0]).toMatchObject({ user: ada.user, connections: 1, data: { name: "Ada", color: "red" } });
    b.presence.update({ mood: "here now" });
    await until("Bo is here", () => a.presence.members.some(({ data }) => data["mood"] === "here now"));
    a.presence.update({ color: null, size: 3 });
    await until("Ada has changed", () => b.presence.members.some(({ data }) => data["size"] === 3 && data["color"] === undefined));
    a.presence.typing();
    await until("Ada types", () => b.presence.typists.includes(String(ada.user)));
    a.presence.stopTyping();
    await until("Ada has stopped", () => b.presence.typists.length === 0);

    const heard: unknown[] = [];
    b.on("wave", (data, from) => heard.push([data, from.user, from.connection]));
    await a.emit("wave", { n: 1 });
    await a.emit("wave", { n: 2 }, { to: { user: String(bo.user) } });
    await a.emit("wave", { n: 3 }, { to: { connection: String(ada.connectionId) } });
    await a.emit("wave", { n: 4 }, { to: { connection: String(bo.connectionId) } });
    await until("Bo has heard", () => heard.length === 3);
    expect(heard[0]).toEqual([{ n: 1 }, ada.user, ada.connectionId]);

    const left: string[] = [];
    a.presence.on("left", (user) => left.push(user));
    b.leave();
    await until("Bo has left", () => left.length === 1, 60_000);
    ada.close();
    bo.close();
  });

  test("messages: edited, deleted, reacted to, threaded, streamed and read, over cuts", async () => {
    const name = freshRoom();
    const [ada, bo] = [await person("Ada"), await person("Bo")];
    const [a, b] = [ada.room(name), bo.room(name)];
    await Promise.all([a.joined, b.joined]);
    const shown = (room: Room) => room.messages.list.map(({ key: _key, ...message }) => message);
    const alike = (what: string) =>
      until(what, () => a.messages.list.every(({ state }) => state === "sent") && isDeepStrictEqual(shown(a), shown(b)) && a.messages.list.length > 0);

    const first = await a.messages.post({ text: "first" }, { mentions: [String(bo.user)], meta: { mood: "good" } });
    const n = first.n as number;
    await b.messages.post("an answer", { reply: n });
    await b.messages.post("an answer to the answer", { reply: n + 1 });
    await a.messages.edit(n, { text: "First" }, { mentions: ["*"] });
    await b.messages.react(n, "👍");
    await a.messages.react(n, "👍");
    await a.messages.react(n, "🎉");
    await b.messages.unreact(n, "👍");
    await expect(b.messages.edit(n, "not mine")).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    b.messages.discard(b.messages.list[0] as Message);
    await alike("both see the same");
    expect(a.messages.list[0]).toMatchObject({
      body: { text: "First" },
      mentions: ["*"],
      meta: { mood: "good" },
      replies: 2,
      reactions: { "👍": { count: 1, users: [ada.user] }, "🎉": { count: 1 } },
      edited_at_ms: expect.any(Number) as number,
    });
    expect((await a.messages.history(n)).map(({ body }) => body)).toEqual([{ text: "first" }, { text: "First" }]);
    expect([b.messages.unread, b.messages.mentions, a.messages.unread]).toEqual([1, 1, 2]);
    b.messages.read();
    await until("Ada sees that Bo has read", () => a.messages.readBy.get(String(bo.user)) === n + 2);
    expect(b.messages.unread).toBe(0);

    const thread = a.messages.thread(n);
    await until("the thread is loaded", () => thread.list.length === 2);
    const answer = await b.messages.stream({ reply: n });
    const words = Array.from({ length: 60 }, (_, i) => `${i} 😀 `);
    for (const [i, word] of words.entries()) {
      answer.append(word);
      if (i % 20 === 9) cut("Bo");
      if (i % 20 === 14) cut("Ada");
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    await until("Ada sees some of it", () => String(thread.list[2]?.body).length > 10);
    await a.messages.cancel(n + 3);
    await until("Bo hears that it is enough", () => answer.cancelled);
    await answer.finish();
    await alike("both see the whole stream");
    expect(a.messages.list.at(-1)).toMatchObject({ body: words.join(""), thread: n, cancelled: true });
    expect(thread.list).toHaveLength(3);

    cut("Ada");
    void a.messages.edit(n, { text: "away" });
    void a.messages.react(n + 1, "🎉");
    void a.messages.delete(n);
    await b.messages.delete(n + 2);
    await alike("both see what was done without a line");
    expect(a.messages.list.map(({ body }) => body === null)).toEqual([true, false, true, false]);
    const c = (await person("Cy")).room(name);
    await c.joined;
    expect(shown(c)).toEqual(shown(a));
    await c.messages.around(n + 1, 1);
    expect([c.messages.list.map((message) => message.n), c.messages.more, c.messages.atEnd]).toEqual([[n + 1], true, false]);
    for (const stoa of [ada, bo]) stoa.close();
  });

  test("messages: optimistic, once, in order, paged", async () => {
    const name = freshRoom();
    const [ada, bo] = [await person("Ada"), await person("Bo")];
    const [a, b] = [ada.room(name), bo.room(name)];
    const wanted: string[] = [];
    for (let i = 0; i < 120; i++) {
      wanted.push(`m${i}`);
      const posted = a.messages.post({ text: `m${i}` });
      if (i % 30 === 7) cut("Ada");
      if (i % 40 === 9) cut("Bo");
      if (i % 25 === 0) await posted;
    }
    await until("Bo has the last one", () => b.messages.list.at(-1)?.n === 120 && a.messages.list.every(({ state }) => state === "sent"), 40_000);
    expect(texts(b)).toEqual(wanted.slice(-b.messages.list.length));
    expect(texts(a)).toEqual(wanted.slice(-a.messages.list.length));

    const late = await person("Cy");
    const c = late.room(name);
    await c.joined;
    expect([texts(c), c.messages.more]).toEqual([wanted.slice(-50), true]);
    await c.messages.older();
    expect(await c.messages.older()).toBe(false);
    expect(texts(c)).toEqual(wanted);
    await expect(c.messages.post({ text: "x".repeat(200_000) })).rejects.toMatchObject({ code: "TOO_LARGE", retry: false });
    for (const stoa of [ada, bo, late]) stoa.close();
  });

  test("documents: opening, missing, one text, no edit twice or lost", async () => {
    const random = new Random(seedOf("a real front"));
    const name = freshRoom();
    const names = ["Ada", "Bo", "Cy", "Di"];
    const people = await Promise.all(names.map((it) => person(it, { answerTimeoutMs: 2_000 })));
    const missing = people[0]?.room(name).doc("none");
    await expect(missing?.opened).rejects.toMatchObject({ code: "NOT_FOUND" });
    const documents = people.map((stoa) => stoa.room(name).doc("main", { create: "." }));
    await Promise.all(documents.map(({ opened }) => opened));

    const inserted: string[] = [];
    const deleted = new Set<string>();
    for (let step = 0; step < 600; step++) {
      const document = random.pick(documents);
      const characters = [...document.text];
      const from = random.below(characters.length + 1);
      const gone = random.chance(0.3) ? characters.slice(from, from + random.below(4)) : [];
      for (const it of gone) deleted.add(it);
      const added = random.chance(0.8) ? String.fromCodePoint((step % 2 === 0 ? 0x4e00 : 0x20000) + step) : "";
      if (added !== "") inserted.push(added);
      const at = characters.slice(0, from).join("").length;
      document.replace(at, at + gone.join("").length, added);
      if (random.chance(0.02)) cut(random.pick(names));
      if (random.chance(0.5)) await new Promise((resolve) => setTimeout(resolve, random.below(8)));
    }
    await until("all is acknowledged", () => documents.every(({ state }) => state === "synchronised"), 40_000);
    const rev = Math.max(...documents.map((it) => it.rev ?? 0));
    await until("all have the last revision", () => documents.every((it) => it.rev === rev));
    expect(new Set(documents.map(({ text }) => text)).size).toBe(1);
    const text = [...(documents[0]?.text ?? "")];
    expect(text.filter((it) => it !== ".").sort()).toEqual(inserted.filter((it) => !deleted.has(it)).sort());
    for (const stoa of people) stoa.close();
  });

  test("cursors follow the text and their people; undo takes back own edits", async () => {
    const name = freshRoom();
    const [ada, bo] = [await person("Ada"), await person("Bo")];
    const mine = ada.room(name, { presence: { color: "red" } }).doc("main", { create: "one two" });
    const theirs = bo.room(name).doc("main", { create: "one two" });
    await Promise.all([mine.opened, theirs.opened]);
    mine.setCursor({ anchor: 4, head: 7, data: { mood: "busy" } });
    const seen = () => [...theirs.cursors.values()].map(({ user, anchor, head }) => [user, anchor, head]);
    const isSeen = (...at: number[]) => JSON.stringify(seen()) === JSON.stringify([[ada.user, ...at]]);
    await until("Bo sees Ada's cursor", () => isSeen(4, 7));
    expect([...theirs.cursors.values()][0]?.data).toEqual({ name: "Ada", color: "red", mood: "busy" });
    theirs.edit(["> "]);
    expect(isSeen(6, 9)).toBe(true);
    await until("Ada has it", () => mine.text === "> one two");
    mine.edit([5, "!"]);
    await until("it has moved with the text", () => isSeen(7, 10) && theirs.text === "> one! two");
    const late = await person("Cy");
    const latest = late.room(name).doc("main");
    await latest.opened;
    expect([...latest.cursors.values()].map(({ anchor, head }) => [anchor, head])).toEqual([[7, 10]]);

    await mine.undo();
    await until("the edit is taken back", () => theirs.text === "> one two" && mine.text === theirs.text && isSeen(6, 9));
    expect(await mine.get(1)).toMatchObject({ rev: 1, content: "> one two" });
    expect((await mine.ops(0)).events.map(({ op }) => op)).toEqual([["> "], [5, "!"], [5, -1]]);
    expect((await ada.room(name).presence.list()).length).toBe(3);
    await expect(mine.undo()).rejects.toMatchObject({ code: "NOT_FOUND" });

    cut("Ada");
    await until("Ada's cursor is back on another line", () => isSeen(6, 9) && theirs.cursors.has(String(ada.connectionId)));
    ada.close();
    await until("Ada's cursor is gone", () => theirs.cursors.size === 0);
    late.close();
    bo.close();
  });

  test("a large text goes and comes", async () => {
    const name = freshRoom();
    const [ada, bo] = [await person("Ada"), await person("Bo")];
    const mine = ada.room(name).doc("main", { create: "start\r\nend\r" });
    await mine.opened;
    expect(mine.text).toBe("start\nend\n");
    const paste = "line of a large text 😀\n".repeat(20_000);
    mine.replace(6, 6, paste);
    await until("it is stored", () => mine.state === "synchronised");
    const theirs = bo.room(name).doc("main");
    await theirs.opened;
    expect(theirs.text).toBe(`start\n${paste}end\n`);
    ada.close();
    bo.close();
  });
});
