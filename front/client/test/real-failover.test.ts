/**
 * A real primary with its replica, a sentinel and a front: what people wrote and was acknowledged by the primary's memory is lost
 * with it, and is there again when the replica has taken over.
 */
import { expect, test } from "vitest";
import WebSocket from "ws";
import { connect, type Document, type WebSocketConstructor } from "../src/index.js";
import { Random, seedOf } from "./random.js";
import { fields, Redis, runs, sleep, startFront, startSentinel, startServer, token, until, type Listening, type Reply } from "./real-front.js";

/** How long a sentinel and a front may take on a machine that is busy. */
const FAILOVER_MS = 60_000;
const KEY = "stoa:{lobby}:doc:main";

interface Person {
  document: Document;
  lost: [historyEnd: number | undefined, again: boolean][];
  /** What an editor would show. */
  shown: string[];
  close(): void;
}

async function arrive(name: string, front: Listening): Promise<Person> {
  const stoa = connect({
    url: `ws://127.0.0.1:${front.port}/ws`,
    token: token(name),
    WebSocket: WebSocket as unknown as WebSocketConstructor,
    backoffMinMs: 50,
    backoffMaxMs: 800,
  });
  const document = stoa.room("lobby", { presence: false }).doc("main", { create: "" });
  const person: Person = { document, lost: [], shown: [], close: () => stoa.close() };
  document.on("lost", (...what) => person.lost.push(what));
  document.on("change", (text) => person.shown.push(text));
  await document.opened;
  return person;
}

async function ask(port: number, ...words: string[]): Promise<Reply> {
  const line = new Redis(port);
  try {
    return await line.call(...words);
  } finally {
    line.cut();
  }
}
const textOf = async (port: number) => String(fields(await ask(port, "DOC.GET", KEY)).get("content"));


/** A primary with a replica in step, and a front that finds them by their sentinel. The document is there, and says `kept`. */
async function start() {
  const before = await startServer();
  await ask(before.port, "DOC.CREATE", KEY, "text", "kept");
  await ask(before.port, "SAVE");
  before.process.kill("SIGKILL");
  // Its first write begins an epoch.
  const primary = await startServer("--dir", before.directory);
  const replica = await startServer("--replicaof", `127.0.0.1 ${primary.port}`);
  await until("the replica is in step", async () => String(await ask(replica.port, "INFO", "replication")).includes("master_link_status:up"));
  const front = await startFront(await startSentinel(primary.port));
  /** From now on nothing reaches the replica. */
  const part = async () => {
    await ask(primary.port, "ACL", "SETUSER", "default", "-psync", "-sync");
    await ask(primary.port, "CLIENT", "KILL", "TYPE", "replica");
  };
  return { primary, replica, front, part };
}

test.skipIf(!runs).each([
  ["some of an epoch", " here"],
  ["all of an epoch", ""],
])("edits that were acknowledged and lost with a primary, %s, are there again, once, on every screen", { timeout: 2 * FAILOVER_MS }, async (_, more) => {
  const { primary, replica, front, part } = await start();
  const [ada, bo] = [await arrive("ada", front), await arrive("bo", front)];
  const people = [ada, bo];
  const everywhere = (text: string) => people.every(({ document }) => document.state === "synchronised" && document.text === text);
  const acknowledged = (text: string) => until(text, async () => everywhere(text) && (await textOf(primary.port)) === text);
  const kept = `kept${more}`;
  if (more !== "") bo.document.edit([4, more]);
  await acknowledged(kept);
  await until("the replica has it", async () => (await textOf(replica.port)) === kept);

  await part();
  ada.document.edit([kept.length, " Ada"]);
  await acknowledged(`${kept} Ada`);
  bo.document.edit(["Bo "]);
  await acknowledged(`Bo ${kept} Ada`);
  ada.document.edit([ada.document.text.length, " again"]);
  const all = `Bo ${kept} Ada again`;
  await acknowledged(all);
  const survives = fields(await ask(replica.port, "DOC.GET", KEY));
  expect(survives.get("content")).toBe(kept);
  const epoch = fields(await ask(primary.port, "DOC.GET", KEY)).get("epoch");
  expect(survives.get("epoch") === epoch, "the replica knows the epoch").toBe(more !== "");
  for (const { shown } of people) shown.length = 0;
  primary.process.kill("SIGKILL");

  await until("everybody has all of it", async () => people.every(({ lost }) => lost.length > 0) && everywhere(all) && (await textOf(replica.port)) === all, FAILOVER_MS);
  expect([ada.lost, bo.lost]).toEqual([[[survives.get("rev"), true]], [[survives.get("rev"), true]]]);
  // Nobody's own words left their screen meanwhile.
  expect(ada.shown.every((shown) => shown.includes(`${kept} Ada again`))).toBe(true);
  expect(bo.shown.every((shown) => shown.startsWith(`Bo ${kept}`))).toBe(true);
  for (const { close } of people) close();
});

test.skipIf(!runs)("people who type through a failover end with one text that has all that they typed, once", { timeout: 2 * FAILOVER_MS }, async () => {
  const random = new Random(seedOf("typing through a failover"));
  const { primary, replica, front, part } = await start();
  const people = await Promise.all(["ada", "bo", "cy", "di"].map((name) => arrive(name, front)));
  let typed = "kept";
  let typing = true;
  const types = async ({ document }: Person, chance: Random) => {
    while (typing) {
      const character = String.fromCodePoint(0x4e00 + typed.length);
      typed += character;
      // They write close to each other.
      const at = Math.min(chance.below(6), document.text.length);
      document.replace(at, at, character);
      await sleep(chance.below(40));
    }
  };
  const all = people.map((person) => types(person, new Random(random.below(2 ** 31))));
  await sleep(500 + random.below(500));
  await part();
  await sleep(random.below(1_000));
  primary.process.kill("SIGKILL");
  await until("the replica takes writes", async () => people.some(({ lost }) => lost.length > 0) && people.some(({ document }) => document.state === "synchronised"), FAILOVER_MS);
  await sleep(random.below(500));
  typing = false;
  await Promise.all(all);
  await until("everybody is synchronised", async () => {
    const text = await textOf(replica.port);
    return people.every(({ document }) => document.state === "synchronised" && document.text === text);
  }, FAILOVER_MS);
  const { text } = (people[0] as Person).document;
  expect([...text].sort().join("")).toBe([...typed].sort().join(""));
  expect(people.flatMap(({ lost }) => lost).filter(([, again]) => !again)).toEqual([]);
  console.log(`${typed.length} characters, lost after revision ${people.map(({ lost }) => lost.map(([end]) => end).join("+")).join(", ")}; revision ${(people[0] as Person).document.rev}`);
  for (const { close } of people) close();
});
