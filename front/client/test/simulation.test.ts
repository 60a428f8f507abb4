/**
 * Many clients, one text, bad lines: random edits, delays, cuts, lost answers, resends, duplicated events, overtaking
 * replies, trimmed history. In the end everybody has one text, in which no edit is missing and none is twice.
 *
 * Every insert is a character that occurs nowhere else (half of them outside the basic plane), so the text itself tells.
 */
import { expect, test, vi } from "vitest";
import { connect, type Document, type Operation, type Stoa } from "../src/index.js";
import type { Storage } from "../src/index.js";
import { wildFront } from "./each-front.js";
import type { FakeFront } from "./fake-front.js";
import { memoryStorage } from "./memory-storage.js";
import { Random, seedOf } from "./random.js";

interface Person {
  stoa: Stoa;
  document: Document;
  /** What an editor would show: it knows only what the document's events say. */
  shown: string;
  /** What was told as lost, and not made again. */
  lost: number;
}

interface Story {
  people: number;
  steps: number;
  opsKept?: number;
  pageMax?: number;
  cuts?: number;
  deletions?: boolean;
  losses?: boolean;
  /** How often somebody's page is loaded again; what they typed is kept meanwhile. */
  reloads?: number;
  /**
   * How often a failover loses the document's last operations, some of which the front, whose answer is missing, sends again by
   * itself. Everybody goes on, so everything comes back; but a deletion goes where what it deleted has gone.
   */
  failovers?: number;
  /** How often somebody takes back what they did last. */
  undos?: number;
  /** How often the document's history is replaced. What was acknowledged may be lost then; nothing may be twice. */
  upsets?: number;
}

/** What a client takes for the front's text is the front's text at that position, whatever else is going on. */
function basesHold(document: Document, front: FakeFront): void {
  const { copy } = (document as unknown as { sync: { copy: { base: string } | undefined } }).sync;
  if (copy !== undefined) expect(copy.base).toBe(front.past.get(`${document.epoch}:${document.rev}`));
}

async function live(seed: number, story: Story): Promise<void> {
  const random = new Random(seed);
  const front = wildFront(random);
  front.opsKept = story.opsKept ?? 1_000;
  front.pageMax = story.pageMax ?? 1_000;

  const storages = Array.from({ length: story.people }, (_, i) => memoryStorage(i % 2 === 0 ? undefined : () => random.below(30)));
  const arrive = (i: number): Person => {
    const storage = story.reloads === undefined ? {} : { storage: storages[i] as Storage };
    const stoa = connect({ url: "ws://front/ws", token: `user${i}`, WebSocket: front.Socket, random: random.next, backoffMaxMs: 2_000, ...storage });
    stoa.on("error", () => undefined);
    const document = stoa.room("lobby").doc("main", { create: "." });
    const person: Person = { stoa, document, shown: "", lost: 0 };
    document.on("lost", (_, again) => void (person.lost += again ? 0 : 1));
    document.on("reset", (text) => (person.shown = text));
    document.on("remote", (op: Operation) => {
      let at = 0;
      for (const part of op) {
        if (typeof part === "string") person.shown = person.shown.slice(0, at) + part + person.shown.slice((at += part.length) - part.length);
        else if (part > 0) at += part;
        else person.shown = person.shown.slice(0, at) + person.shown.slice(at - part);
      }
    });
    return person;
  };
  const people = Array.from({ length: story.people }, (_, i) => arrive(i));
  await vi.advanceTimersByTimeAsync(5_000);

  const inserted = new Set<string>();
  const deleted = new Set<string>();
  let next = 0;
  const fresh = () => {
    const character = String.fromCodePoint((next % 2 === 0 ? 0x4e00 : 0x20000) + next++);
    inserted.add(character);
    return character;
  };
  const edit = ({ document }: Person) => {
    const characters = [...document.text];
    const from = random.below(characters.length + 1);
    const count = story.deletions === true && random.chance(0.4) ? Math.min(random.below(4), characters.length - from) : 0;
    const gone = characters.slice(from, from + count);
    for (const character of gone) deleted.add(character);
    const added = count === 0 || random.chance(0.5) ? Array.from({ length: 1 + random.below(3) }, fresh).join("") : "";
    const at = characters.slice(0, from).join("").length;
    document.replace(at, at + gone.join("").length, added);
  };

  for (let step = 0; step < story.steps; step++) {
    const person = random.pick(people);
    if (person.document.editable) {
      const before = person.document.text;
      edit(person);
      // An editor shows its own edit by itself.
      if (person.document.text !== before) person.shown = person.document.text;
    }
    if (random.chance(story.reloads ?? 0)) {
      const i = random.below(story.people);
      const { stoa, document } = people[i] as Person;
      document.hidden();
      // A storage that takes its time is done before the next page looks.
      await vi.advanceTimersByTimeAsync(100);
      stoa.close();
      people[i] = arrive(i);
    }
    if (random.chance(story.cuts ?? 0.02)) front.cut(`user${random.below(story.people)}`);
    if (random.chance(story.undos ?? 0)) void person.document.undo().catch(() => undefined);
    if (random.chance(story.failovers ?? 0)) {
      const { rev, epochs } = front.doc("lobby", "main");
      // An epoch may be lost as a whole.
      const end = Math.max(rev - random.below(8), epochs.began);
      // Whoever is not told finds out when they write, or when somebody else has written.
      if (end < rev) front.rollback("lobby", "main", end, { toldMs: random.pick([0, random.below(500), Infinity]), again: () => random.chance(0.5) });
      for (let i = 0; i < story.people; i++) if (random.chance(0.3)) front.cut(`user${i}`);
    }
    if (random.chance(story.upsets ?? 0)) {
      const { rev } = front.doc("lobby", "main");
      const kind = random.below(3);
      if (kind === 0) front.rollback("lobby", "main", Math.max(0, rev - random.below(4)));
      else if (kind === 1) front.resync("lobby", "main");
      // Another document: who wrote what in the old one is forgotten with it.
      else front.reset("lobby", "main", ".");
    }
    if (story.losses !== false) {
      if (random.chance(0.02)) front.swallow("doc.submit", random.chance(0.5) ? "reply" : "request");
      if (random.chance(0.02)) front.refuse("doc.submit", "UNAVAILABLE", { retry: true });
    }
    await vi.advanceTimersByTimeAsync(random.below(60));
    for (const { document } of people) basesHold(document, front);
  }
  // Quiet: everything that is under way arrives, and where the history is now is told.
  front.calm();
  await vi.advanceTimersByTimeAsync(60_000);
  if (story.failovers !== undefined) front.edit("lobby", "main", ["."]);
  await vi.advanceTimersByTimeAsync(120_000);

  const text = front.text("lobby", "main");
  for (const { document, shown, lost } of people) {
    if (story.failovers !== undefined && story.reloads === undefined) expect(lost, "all of it was made again").toBe(0);
    expect(document.state).toBe("synchronised");
    expect(document.text).toBe(text);
    expect(shown).toBe(text);
    expect(document.rev).toBe(front.doc("lobby", "main").rev);
  }
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  for (const character of inserted) {
    const times = counts.get(character) ?? 0;
    if (story.upsets !== undefined || story.undos !== undefined || (story.failovers !== undefined && (deleted.has(character) || story.reloads !== undefined)))
      expect(times, `nothing is twice: ${character}`).toBeLessThanOrEqual(1);
    else if (deleted.has(character)) expect(times, "a deleted character is gone").toBe(0);
    else expect(times, `an inserted character is there once: ${character} (${[...inserted].indexOf(character)})`).toBe(1);
  }
  for (const { stoa } of people) stoa.close();
}

/** `STOA_ROUNDS=10` runs ten times as many rounds: for a soak. */
const times = Number(process.env["STOA_ROUNDS"] ?? 1);

function stories(name: string, rounds: number, story: Story): void {
  test(name, async () => {
    const seed = seedOf(name);
    for (let round = 0; round < rounds * times; round++) {
      try {
        await live(seed + round, story);
      } catch (error) {
        console.log(`${name}: failed with STOA_SEED=${seed + round} (first round)`);
        throw error;
      }
    }
  }, 60_000 * times);
}

stories("two people type at once over slow lines", 20, { people: 2, steps: 80, cuts: 0, losses: false, deletions: true });
stories("five people type while lines are cut", 15, { people: 5, steps: 150, cuts: 0.03, deletions: true });
stories("lines that are cut all the time", 10, { people: 3, steps: 120, cuts: 0.15, deletions: true });
stories("people who were away too long rebase on the text, and nothing is lost", 15, { people: 4, steps: 150, cuts: 0.08, opsKept: 6 });
stories("people who were away for more than a page get the text, and nothing is twice", 15, { people: 4, steps: 150, cuts: 0.08, pageMax: 4, opsKept: 50 });
stories("trimmed history and deletions", 15, { people: 4, steps: 150, cuts: 0.08, pageMax: 5, opsKept: 8, deletions: true });
stories("history is replaced while people type", 20, { people: 4, steps: 150, cuts: 0.04, opsKept: 20, deletions: true, upsets: 0.03 });
stories("pages are loaded again while people type", 20, { people: 3, steps: 120, cuts: 0.05, deletions: true, reloads: 0.05 });
stories("pages are loaded again while history is replaced", 10, { people: 3, steps: 120, cuts: 0.05, opsKept: 20, deletions: true, reloads: 0.05, upsets: 0.03 });
stories("failovers lose what was acknowledged, and everybody makes theirs again", 20, { people: 4, steps: 150, cuts: 0.03, failovers: 0.05 });
stories("failovers and deletions", 20, { people: 4, steps: 150, cuts: 0.03, deletions: true, failovers: 0.05 });
stories("failovers while edits are taken back", 10, { people: 3, steps: 120, cuts: 0.03, deletions: true, failovers: 0.05, undos: 0.1 });
stories("failovers while pages are loaded again", 10, { people: 3, steps: 120, cuts: 0.05, deletions: true, failovers: 0.05, reloads: 0.05 });
