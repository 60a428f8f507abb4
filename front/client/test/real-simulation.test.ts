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
import { expect, test } from "vitest";
import WebSocket from "ws";
import { connect, fromDiff, apply, type Document, type Operation, type Stoa, type WebSocketConstructor } from "../src/index.js";
import { Random, seedOf } from "./random.js";
import { fields, QUIET_MS, Redis, runs, sleep, startFront, startRedis, token, until, type FrontProcess, type Reply } from "./real-front.js";

if (!runs) console.warn("\n*** THE SIMULATION WITH REAL FRONTS DID NOT RUN: STOA_MODULE and STOA_FRONT_BINARY are not both set ***\n");

const DURATION_MS = Number(process.env["STOA_SIMULATION_MS"] ?? 8_000);
const PEOPLE = 6;
const WORKERS = 3;
const KEY = "stoa:{lobby}:doc:main";

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
  let line = new Redis(redis);
  const patiently = async (...words: string[]): Promise<Map<string, Reply>> => {
    for (;;) {
      try {
        // The cut comes before the command, during it, or after its effect and before its answer.
        if (random.chance(0.05)) setTimeout((it: Redis) => it.cut(), random.below(3), line);
        return fields(await line.call(...words));
      } catch (error) {
        if ((error as Error).message !== "CUT") throw error;
        line.cut();
        line = new Redis(redis);
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
  const line = new Redis(redis);
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
