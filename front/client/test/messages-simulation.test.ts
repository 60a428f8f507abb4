/**
 * Many people, one log, bad lines: posts, edits, deletions, reactions, streams, marks, jumps and threads, with delays, cuts, lost
 * answers, resends, duplicated events, overtaking replies, trimming and reloads. In the end everybody's list, threads, marks and
 * counts are the front's, and everything that was written happened once.
 */
import { expect, test, vi } from "vitest";
import { connect, type Message, type Messages, type MessageStream, type Stoa } from "../src/index.js";
import { wildFront } from "./each-front.js";
import { memoryStorage } from "./memory-storage.js";
import { Random, seedOf } from "./random.js";

interface Person {
  user: string;
  stoa: Stoa;
  messages: Messages;
  streams: { stream: MessageStream; text: string }[];
}

interface Story {
  people: number;
  steps: number;
  pageMax?: number;
  cuts?: number;
  reloads?: number;
  /** How often a failover loses what was accepted last; then it may be gone, but not twice. */
  upsets?: number;
  trims?: number;
}

const plain = (list: readonly Message[]) => list.map(({ key: _key, state: _state, error: _error, ...message }) => message);
const REACTIONS = ["👍", "🎉", "👀"];

async function live(seed: number, story: Story): Promise<void> {
  const random = new Random(seed);
  const front = wildFront(random);
  front.pageMax = story.pageMax ?? 1_000;

  const storages = Array.from({ length: story.people }, (_, i) => memoryStorage(i % 2 === 0 ? undefined : () => random.below(30)));
  const arrive = (i: number): Person => {
    const user = `user${i}`;
    const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, random: random.next, backoffMaxMs: 2_000, storage: storages[i] as ReturnType<typeof memoryStorage> });
    stoa.on("error", () => undefined);
    return { user, stoa, messages: stoa.room("lobby").messages, streams: [] };
  };
  const people = Array.from({ length: story.people }, (_, i) => arrive(i));
  await vi.advanceTimersByTimeAsync(3_000);

  let next = 0;
  const said = new Set<string>();
  const say = () => {
    const text = `m${next++}`;
    said.add(text);
    return text;
  };
  const act = (person: Person) => {
    const { messages, user } = person;
    const known = messages.list.filter((message): message is Message & { n: number } => message.n !== undefined);
    const some = known.length > 0 ? random.pick(known) : undefined;
    const mine = known.filter((message) => message.user === user && message.body !== null && message.streaming !== true);
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2: {
        const mentions = random.chance(0.3) ? [random.chance(0.2) ? "*" : `user${random.below(story.people)}`] : [];
        return void messages.post(say(), { mentions, ...(some !== undefined && random.chance(0.4) ? { reply: some.n } : {}) });
      }
      case 3:
        for (const { n, body } of mine.length > 0 ? [random.pick(mine)] : []) void messages.edit(n, `${String(body)}'`);
        return;
      case 4:
        if (mine.length > 0 && random.chance(0.3)) void messages.delete(random.pick(mine).n);
        return;
      case 5:
      case 6:
        if (some !== undefined) void messages.react(some.n, random.pick(REACTIONS));
        return;
      case 7:
        if (some !== undefined) void messages.unreact(some.n, random.pick(REACTIONS));
        return;
      case 8:
        if (some !== undefined) messages.read(some.n);
        return;
      case 9: {
        if (person.streams.length > 1) return;
        const text = say();
        messages.stream({ text }).then((stream) => person.streams.push({ stream, text }), () => undefined);
        return;
      }
      case 10:
        if (some !== undefined) void (random.chance(0.5) ? messages.older(5) : random.chance(0.5) ? messages.newer(5) : messages.around(some.n, 10)).catch(() => undefined);
        else void messages.latest(5).catch(() => undefined);
        return;
      default:
        if (some?.thread !== undefined) messages.thread(some.thread);
        else if (some?.streaming === true) void messages.cancel(some.n);
    }
  };

  for (let step = 0; step < story.steps; step++) {
    const person = random.pick(people);
    act(person);
    for (const it of [...person.streams]) {
      try {
        if (it.stream.cancelled || random.chance(0.1)) {
          void it.stream.finish();
          person.streams.splice(person.streams.indexOf(it), 1);
        } else {
          const chunk = random.chance(0.3) ? "😀" : "word ";
          it.stream.append(chunk);
          it.text += chunk;
        }
      } catch {
        person.streams.splice(person.streams.indexOf(it), 1);
      }
    }
    if (random.chance(story.reloads ?? 0)) {
      const i = random.below(story.people);
      (people[i] as Person).stoa.close();
      await vi.advanceTimersByTimeAsync(100);
      people[i] = arrive(i);
    }
    if (random.chance(story.cuts ?? 0.02)) front.cut(`user${random.below(story.people)}`);
    if (random.chance(0.02)) front.swallow(random.pick(["msg.post", "msg.edit", "msg.react", "msg.append", "msg.range"]), random.chance(0.5) ? "reply" : "request");
    if (random.chance(0.02)) front.refuse(random.pick(["msg.post", "msg.react", "msg.append", "msg.read"]), "UNAVAILABLE", { retry: true });
    if (random.chance(story.upsets ?? 0)) front.rollbackLog("lobby", Math.max(0, front.log("lobby").rev - random.below(4)));
    if (random.chance(story.trims ?? 0)) front.log("lobby").trim(20);
    await vi.advanceTimersByTimeAsync(random.below(60));
  }
  front.calm();
  for (const { streams } of people) for (const { stream } of streams) void stream.finish().catch(() => undefined);
  await vi.advanceTimersByTimeAsync(180_000);
  for (const { messages } of people) void messages.latest(10).catch(() => undefined);
  await vi.advanceTimersByTimeAsync(5_000);

  const log = front.messages("lobby");
  const reads = new Map(people.map(({ user }) => [user, front.log("lobby").readBy(user)]).filter(([, n]) => (n as number) > 0) as [string, number][]);
  for (const { user, messages } of people) {
    // Those that are kept on the front; nobody tells which ones are not any more. Refused posts have no number.
    const oldest = log[0]?.n ?? Infinity;
    const kept = (list: readonly Message[]) => plain(list.filter(({ n }) => n !== undefined && n >= oldest));
    const first = messages.list[0]?.n ?? 0;
    expect(kept(messages.list), user).toEqual(log.filter(({ n }) => n >= first));
    expect(messages.list.filter(({ state }) => state === "pending")).toEqual([]);
    expect(messages.atEnd).toBe(true);
    // What is trimmed is not unread any more; nobody tells of it.
    if (story.trims === undefined) expect({ read: messages.readUpTo, unread: messages.unread, mentions: messages.mentions }, user).toEqual(front.log("lobby").unread(user));
    expect(new Map([...messages.readBy].sort()), user).toEqual(new Map([...reads].sort()));
    for (const root of new Set(log.flatMap(({ thread }) => (thread === undefined ? [] : [thread])))) {
      const thread = messages.thread(root);
      if (thread.list.length === 0) continue;
      const from = thread.list[0]?.n ?? 0;
      expect(kept(thread.list), `${user} thread ${root}`).toEqual(log.filter((it) => it.thread === root && it.n >= from));
    }
  }
  if (story.upsets === undefined && story.trims === undefined) {
    // Every text begins with its own name, whatever was done to it later.
    const bodies = log.map(({ body }) => (typeof body === "string" ? /^m\d+/.exec(body)?.[0] : undefined));
    const deleted = bodies.filter((body) => body === undefined).length;
    expect(new Set(bodies.filter((body) => body !== undefined)).size, "nothing is twice").toBe(log.length - deleted);
    if (story.reloads === undefined) expect(log.length, "nothing is missing").toBe(said.size);
  }
  for (const { stoa } of people) stoa.close();
}

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

stories("people talk over slow lines", 4, { people: 3, steps: 150, cuts: 0 });
stories("people talk while lines are cut", 4, { people: 4, steps: 200, cuts: 0.06 });
stories("people who were away for more than a page take a snapshot", 4, { people: 4, steps: 200, cuts: 0.06, pageMax: 6 });
stories("pages are loaded again", 4, { people: 3, steps: 200, cuts: 0.04, reloads: 0.03 });
stories("old messages go while people talk", 4, { people: 4, steps: 250, cuts: 0.05, pageMax: 30, trims: 0.03 });
stories("failovers lose what was said last", 4, { people: 4, steps: 200, cuts: 0.04, upsets: 0.03 });
