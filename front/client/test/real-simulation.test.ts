/**
 * Many clients, two real fronts, a real Redis with the module, bad lines: people edit through the client, workers submit
 * to Redis themselves, lines are cut, answers get lost, one front is killed. In the end everybody has one text, in which
 * no edit is missing and none is twice.
 *
 *     STOA_MODULE=…/libstoa.so STOA_FRONT_BINARY=…/stoa-front npm test -- real-simulation
 *
 * `STOA_SEED` repeats a run (what the machine's timing does is not in the seed), `STOA_SIMULATION_MS` makes it longer.
 * Every insert is a character that occurs nowhere else (half of them outside the basic plane), so the text itself tells.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { connect as dial, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import WebSocket from "ws";
import { connect, fromDiff, apply, type Document, type Operation, type Stoa, type WebSocketConstructor } from "../src/index.js";
import { Random, seedOf } from "./random.js";

const module = process.env["STOA_MODULE"];
const binary = process.env["STOA_FRONT_BINARY"];
const runs = module !== undefined && binary !== undefined;
if (!runs) console.warn("\n*** THE SIMULATION WITH REAL FRONTS DID NOT RUN: STOA_MODULE and STOA_FRONT_BINARY are not both set ***\n");

const DURATION_MS = Number(process.env["STOA_SIMULATION_MS"] ?? 8_000);
const PEOPLE = 6;
const WORKERS = 3;
const SECRET = "a secret for simulations, long enough to be taken";
const KEY = "stoa:{lobby}:doc:main";
/** How long everything may take to settle in the end: longer than any back-off. */
const QUIET_MS = 30_000;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function until(what: string, holds: () => boolean | Promise<boolean>, ms = QUIET_MS): Promise<void> {
  const end = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms for: ${what}`);
    await sleep(20);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What this test started: it ends with it. */
const children: ChildProcess[] = [];
const directories: string[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
});

function start(command: string, args: string[]): ChildProcess {
  const child = spawn(command, args, { stdio: "ignore" });
  children.push(child);
  child.on("error", (error) => console.log(command, error.message));
  return child;
}

async function startRedis(): Promise<number> {
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), "stoa-simulation-"));
  directories.push(directory);
  const server = process.env["STOA_REDIS_SERVER"] ?? "redis-server";
  start(server, ["--port", String(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--loadmodule", String(module)]);
  await until("Redis", async () => {
    const line = new Line(port);
    const answer = await line.call("PING").catch(() => undefined);
    line.cut();
    return answer === "PONG";
  });
  return port;
}

interface FrontProcess {
  port: number;
  process: ChildProcess;
}

async function startFront(redis: number): Promise<FrontProcess> {
  const port = await freePort();
  const args = ["--listen", `127.0.0.1:${port}`, "--redis-url", `redis://127.0.0.1:${redis}`, "--jwt-secret", SECRET, "--threads", "1", "--log", "error"];
  const process = start(String(binary), args);
  await until("the front", () => fetch(`http://127.0.0.1:${port}/readyz`).then(({ ok }) => ok, () => false));
  return { port, process };
}

function token(user: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + 3_600 })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

type Reply = string | number | null | Reply[];

/** A connection to Redis: one command at a time, and it can be cut at any point of it. */
class Line {
  private readonly socket: Socket;
  private received = Buffer.alloc(0);
  private waiting: { resolve: (reply: Reply) => void; reject: (error: Error) => void } | undefined;

  constructor(port: number) {
    this.socket = dial(port, "127.0.0.1");
    this.socket.setNoDelay(true);
    this.socket.on("data", (bytes) => this.arrived(bytes));
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => this.waiting?.reject(new Error("CUT")));
  }

  cut(): void {
    this.socket.destroy();
  }

  call(...words: string[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) return reject(new Error("CUT"));
      this.waiting = { resolve, reject };
      this.socket.write(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`);
    });
  }

  private arrived(bytes: Buffer): void {
    this.received = Buffer.concat([this.received, bytes]);
    const read = parse(this.received, 0);
    if (read === undefined) return;
    this.received = this.received.subarray(read.end);
    const waiting = this.waiting;
    this.waiting = undefined;
    if (read.reply instanceof Error) waiting?.reject(read.reply);
    else waiting?.resolve(read.reply);
  }
}

/** One reply in RESP2; `undefined` while a part of it is missing. */
function parse(bytes: Buffer, at: number): { reply: Reply | Error; end: number } | undefined {
  const line = bytes.indexOf("\r\n", at);
  if (line < 0) return undefined;
  const kind = String.fromCharCode(bytes[at] as number);
  const rest = bytes.toString("utf8", at + 1, line);
  let end = line + 2;
  if (kind === "-") return { reply: new Error(rest), end };
  if (kind === ":") return { reply: Number(rest), end };
  if (kind === "+") return { reply: rest, end };
  const count = Number(rest);
  if (count < 0) return { reply: null, end };
  if (kind === "$") return bytes.length < end + count + 2 ? undefined : { reply: bytes.toString("utf8", end, end + count), end: end + count + 2 };
  const items: Reply[] = [];
  for (let i = 0; i < count; i++) {
    const item = parse(bytes, end);
    if (item === undefined) return undefined;
    items.push(item.reply as Reply);
    end = item.end;
  }
  return { reply: items, end };
}

function fields(reply: Reply): Map<string, Reply> {
  const list = reply as Reply[];
  return new Map(list.flatMap((name, i) => (i % 2 === 0 ? [[String(name), list[i + 1] as Reply] as const] : [])));
}

/** What all writers together know of the characters they drew. */
class Characters {
  private next = 0;
  readonly inserted = new Set<string>();
  readonly deleted = new Set<string>();

  /** A random edit of a text: what it inserts and deletes is remembered. */
  edit(random: Random, text: string): { from: number; to: number; added: string } {
    const characters = [...text];
    // People write close to each other: that is where transforms have something to do.
    const from = random.chance(0.5) ? Math.min(random.below(4), characters.length) : random.below(characters.length + 1);
    const count = random.chance(0.35) ? Math.min(random.below(4), characters.length - from) : 0;
    const gone = characters.slice(from, from + count);
    for (const character of gone) this.deleted.add(character);
    const added = count === 0 || random.chance(0.5) ? Array.from({ length: 1 + random.below(3) }, () => this.fresh()).join("") : "";
    const at = characters.slice(0, from).join("").length;
    return { from: at, to: at + gone.join("").length, added };
  }

  private fresh(): string {
    const character = String.fromCodePoint((this.next % 2 === 0 ? 0x4e00 : 0x20000) + this.next++);
    this.inserted.add(character);
    return character;
  }
}

interface Person {
  stoa: Stoa;
  document: Document;
  /** What an editor would show: it knows only what the document's events say. */
  shown: string;
  socket: WebSocket | undefined;
}

function arrive(name: string, fronts: FrontProcess[], random: Random): Person {
  const person = { shown: "", socket: undefined } as unknown as Person;
  // As a load balancer would: any front, and another one next time.
  class Balanced extends WebSocket {
    constructor(_url: string) {
      super(`ws://127.0.0.1:${random.pick(fronts).port}/ws`);
      person.socket = this;
    }
  }
  person.stoa = connect({
    url: "ws://any/ws",
    token: token(name),
    WebSocket: Balanced as unknown as WebSocketConstructor,
    random: random.next,
    backoffMinMs: 50,
    backoffMaxMs: 800,
    answerTimeoutMs: 2_000,
  });
  person.stoa.on("error", (error) => console.log(name, error.code, error.message));
  person.document = person.stoa.room("lobby", { presence: false }).doc("main", { create: "" });
  person.document.on("reset", (text) => (person.shown = text));
  person.document.on("remote", (op: Operation) => (person.shown = apply(person.shown, op)));
  return person;
}

/** Somebody at the keyboard, on a line that breaks. */
async function types(person: Person, random: Random, characters: Characters, end: number): Promise<number> {
  await person.document.opened;
  let edits = 0;
  while (Date.now() < end) {
    const before = person.document.text;
    const { from, to, added } = characters.edit(random, before);
    person.document.replace(from, to, added);
    // An editor shows its own edit by itself.
    person.shown = apply(person.shown, fromDiff(before, person.document.text));
    expect(person.shown).toBe(person.document.text);
    edits++;
    if (random.chance(0.02)) person.socket?.terminate();
    await sleep(random.below(40));
  }
  return edits;
}

/** A program that submits to Redis itself: reads the text, edits it, and sends again whatever it heard nothing of. */
async function works(name: string, redis: number, random: Random, characters: Characters, end: number): Promise<number> {
  let line = new Line(redis);
  const patiently = async (...words: string[]): Promise<Map<string, Reply>> => {
    for (;;) {
      try {
        // The cut comes before the command, during it, or after its effect and before its answer.
        if (random.chance(0.05)) setTimeout((it: Line) => it.cut(), random.below(3), line);
        return fields(await line.call(...words));
      } catch (error) {
        if ((error as Error).message !== "CUT") throw error;
        line.cut();
        line = new Line(redis);
      }
    }
  };
  for (let seq = 1; ; seq++) {
    if (Date.now() >= end) return seq - 1;
    const got = await patiently("DOC.GET", KEY);
    const text = String(got.get("content"));
    // Others go on meanwhile.
    await sleep(random.below(60));
    const { from, to, added } = characters.edit(random, text);
    const chars = random.chance(0.5);
    const length = (part: string) => (chars ? [...part].length : part.length);
    const op = JSON.stringify([length(text.slice(0, from)), added, -length(text.slice(from, to))].filter((part) => part !== 0 && part !== "" && part !== -0));
    const identity = ["ID", name, String(seq), "EPOCH", String(got.get("epoch")), "LEN", String(length(text)), "UNIT", chars ? "char" : "utf16", "BY", "worker", name];
    const first = await patiently("DOC.SUBMIT", KEY, String(got.get("rev")), op, ...identity);
    if (random.chance(0.1)) {
      const again = await patiently("DOC.SUBMIT", KEY, String(got.get("rev")), op, ...identity);
      expect(again.get("duplicate")).toBe(1);
      expect(again.get("rev")).toBe(first.get("rev"));
    }
  }
}

test.skipIf(!runs)("people, workers, two fronts and bad lines end with one text", { timeout: DURATION_MS + 4 * QUIET_MS }, async () => {
  const random = new Random(seedOf("real simulation"));
  const characters = new Characters();
  const redis = await startRedis();
  const fronts = [await startFront(redis), await startFront(redis)];
  const people = Array.from({ length: PEOPLE }, (_, i) => arrive(`person${i}`, fronts, new Random(random.below(2 ** 31))));
  await Promise.all(people.map(({ document }) => document.opened));

  const end = Date.now() + DURATION_MS;
  const writers = [
    ...people.map((person) => types(person, new Random(random.below(2 ** 31)), characters, end)),
    ...Array.from({ length: WORKERS }, (_, i) => works(`worker${i}`, redis, new Random(random.below(2 ** 31)), characters, end)),
  ];
  // In the middle of it one front is gone, and later another one takes its place.
  await sleep(DURATION_MS * 0.4);
  const [dead] = fronts.splice(random.below(fronts.length), 1);
  dead?.process.kill("SIGKILL");
  await sleep(DURATION_MS * 0.2);
  fronts.push(await startFront(redis));
  const edits = await Promise.all(writers);

  // Quiet: everything that is under way arrives.
  const line = new Line(redis);
  const text = async () => String(fields(await line.call("DOC.GET", KEY)).get("content"));
  await until("everybody is synchronised", async () => {
    const here = await text();
    return people.every(({ document }) => document.state === "synchronised" && document.text === here);
  }).catch(() => console.log("not everybody is synchronised in time; what follows says who"));
  const got = fields(await line.call("DOC.GET", KEY));
  const content = String(got.get("content"));
  for (const { document, shown } of people) {
    expect(document.state).toBe("synchronised");
    expect(document.text).toBe(content);
    expect(shown).toBe(content);
    expect(document.rev).toBe(got.get("rev"));
  }
  const counts = new Map<string, number>();
  for (const character of content) counts.set(character, (counts.get(character) ?? 0) + 1);
  for (const character of characters.inserted) {
    const times = counts.get(character) ?? 0;
    if (characters.deleted.has(character)) expect(times, `a deleted character is gone: ${character}`).toBe(0);
    else expect(times, `an inserted character is there once: ${character}`).toBe(1);
  }
  const sum = (list: number[]) => list.reduce((all, n) => all + n, 0);
  console.log(
    `${sum(edits.slice(0, PEOPLE))} edits by people, ${sum(edits.slice(PEOPLE))} by workers, ` +
      `${characters.inserted.size} characters inserted, ${characters.deleted.size} deleted, revision ${got.get("rev")}`,
  );
  line.cut();
  for (const { stoa } of people) stoa.close();
});
