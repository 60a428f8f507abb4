import { beforeEach, describe, expect, test } from "vitest";
import { connect, type Message, type Room, type StoaOptions } from "../src/index.js";
import { front, pass } from "./each-front.js";

function person(user: string, options: Partial<StoaOptions> = {}) {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, backoffMaxMs: 1_000, ...options });
  stoa.on("error", () => undefined);
  const room = stoa.room("lobby");
  return { stoa, room, messages: room.messages };
}
const one = (room: Room, n: number) => room.messages.list.find((message) => message.n === n) as Message;
const inLog = (n: number) => front.messages("lobby").find((message) => message.n === n);
/** What is shown, without what only a client adds. */
const plain = (list: readonly Message[]) => list.map(({ key: _key, state: _state, ...message }) => message);

describe("what becomes of a message", () => {
  test("a post carries mentions, meta and what it answers; an answer to an answer is of the same thread", async () => {
    const ada = person("ada");
    await pass(10);
    void ada.messages.post("first");
    void ada.messages.post({ text: "second" }, { reply: 1, mentions: ["bo"], meta: { mood: "good" } });
    void ada.messages.post("third", { reply: 2 });
    await pass(20);
    expect(ada.messages.list).toMatchObject([
      { n: 1, body: "first", replies: 2 },
      { n: 2, body: { text: "second" }, reply: 1, thread: 1, mentions: ["bo"], meta: { mood: "good" } },
      { n: 3, body: "third", reply: 2, thread: 1 },
    ]);
    expect(plain(ada.messages.list)).toEqual(front.messages("lobby"));
  });

  test("edits, deletions and reactions show at once, as pending, and then as the front has them", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    void ada.messages.post("a");
    await pass(10);
    front.delay = () => 20;
    const edited = ada.messages.edit(1, "A", { mentions: ["bo"] });
    expect(one(ada.room, 1)).toMatchObject({ body: "A", mentions: ["bo"], state: "pending" });
    await pass(50);
    await edited;
    expect(one(bo.room, 1)).toMatchObject({ body: "A", mentions: ["bo"], state: "sent", edited_at_ms: expect.any(Number) as number });

    void bo.messages.react(1, "👍");
    expect(one(bo.room, 1).reactions).toEqual({ "👍": { count: 1, users: ["bo"] } });
    expect(one(ada.room, 1).reactions).toBe(undefined);
    await pass(100);
    void ada.messages.react(1, "👍");
    await pass(100);
    expect(one(bo.room, 1).reactions).toEqual({ "👍": { count: 2, users: ["bo", "ada"] } });
    void bo.messages.unreact(1, "👍");
    expect(one(bo.room, 1).reactions).toEqual({ "👍": { count: 1, users: ["ada"] } });
    await pass(100);

    void ada.messages.delete(1);
    expect(one(ada.room, 1)).toMatchObject({ body: null, state: "pending" });
    await pass(100);
    expect(one(bo.room, 1)).toMatchObject({ body: null, deleted_by: "ada", user: "ada" });
    expect(plain(ada.messages.list)).toEqual(front.messages("lobby"));
    expect(plain(bo.messages.list)).toEqual(front.messages("lobby"));
  });

  test("a refused change is taken back and named, and can be discarded", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    void ada.messages.post("mine");
    await pass(10);
    const edited = bo.messages.edit(1, "yours");
    expect(one(bo.room, 1).body).toBe("yours");
    await pass(10);
    await expect(edited).rejects.toMatchObject({ code: "PERMISSION_DENIED", retry: false });
    expect(one(bo.room, 1)).toMatchObject({ body: "mine", state: "failed", error: { code: "PERMISSION_DENIED" } });
    bo.messages.discard(one(bo.room, 1));
    expect(one(bo.room, 1).state).toBe("sent");
  });

  test("writes keep their order, wait without a connection, and happen once however often they are sent", async () => {
    const ada = person("ada");
    await pass(10);
    void ada.messages.post("x");
    await pass(10);
    front.down = true;
    front.cut();
    void ada.messages.edit(1, "y");
    void ada.messages.react(1, "👍");
    void ada.messages.unreact(1, "👍");
    void ada.messages.react(1, "🎉");
    void ada.messages.edit(1, "z");
    expect(one(ada.room, 1)).toMatchObject({ body: "z", reactions: { "🎉": { count: 1, users: ["ada"] } } });
    front.swallow("msg.edit", "reply", 2);
    front.swallow("msg.react", "reply", 1);
    front.down = false;
    await pass(60_000);
    expect(inLog(1)).toMatchObject({ body: "z", reactions: { "🎉": { count: 1, users: ["ada"] } } });
    expect(plain(ada.messages.list)).toEqual(front.messages("lobby"));
  });

  test("a write that is not acknowledged in time says so, and stays queued", async () => {
    const ada = person("ada", { ackTimeoutMs: 3_000 });
    await pass(10);
    front.down = true;
    front.cut();
    const posted = ada.messages.post("patience");
    const late = expect(posted).rejects.toMatchObject({ code: "TIMEOUT", retry: true });
    await pass(3_001);
    await late;
    expect(ada.messages.list).toMatchObject([{ body: "patience", state: "pending" }]);
    front.down = false;
    await pass(5_000);
    expect(ada.messages.list).toMatchObject([{ body: "patience", state: "sent", n: 1 }]);
  });

  test("the queue is bounded in bytes, too", async () => {
    const ada = person("ada", { queueBytesMax: 100 });
    void ada.messages.post("x".repeat(50));
    await expect(ada.messages.post("y".repeat(50))).rejects.toMatchObject({ code: "QUEUE_FULL" });
    await pass(20);
    void ada.messages.post("z".repeat(50));
    await pass(20);
    expect(front.messages("lobby")).toHaveLength(2);
  });

  test("earlier bodies can be read", async () => {
    const ada = person("ada");
    await pass(10);
    void ada.messages.post("x");
    await pass(10);
    const versions = ada.messages.history(1);
    await pass(10);
    expect(await versions).toMatchObject([{ body: "x", user: "ada" }]);
  });
});

describe("streams", () => {
  test("text grows on all screens, in few frames, and is whole in the end", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    const begun = ada.messages.stream({ text: "> " });
    await pass(10);
    const answer = await begun;
    const words = Array.from({ length: 100 }, (_, i) => `word${i} 😀 `);
    for (const word of words) {
      answer.append(word);
      await pass(5);
    }
    expect(one(ada.room, 1).body).toBe(`> ${words.join("")}`);
    const done = answer.finish();
    await pass(200);
    await done;
    expect(inLog(1)?.body).toBe(`> ${words.join("")}`);
    expect(one(bo.room, 1)).toMatchObject({ body: `> ${words.join("")}`, state: "sent" });
    expect(one(bo.room, 1).streaming).toBe(undefined);
    // 500 ms at one chunk per 40 ms.
    expect(front.of("msg.append").length).toBeLessThan(20);
    expect(() => answer.append("x")).toThrow(expect.objectContaining({ code: "CLOSED" }) as Error);
  });

  test("one that cannot begin in time is given up", async () => {
    const ada = person("ada", { ackTimeoutMs: 2_000 });
    await pass(10);
    front.down = true;
    front.cut();
    const begun = expect(ada.messages.stream({ text: "too late" })).rejects.toMatchObject({ code: "TIMEOUT" });
    await pass(2_100);
    await begun;
    front.down = false;
    await pass(5_000);
    expect([ada.messages.list, front.messages("lobby")]).toEqual([[], []]);
  });

  test("half a character waits for the other half", async () => {
    const ada = person("ada");
    await pass(10);
    const begun = ada.messages.stream();
    await pass(10);
    const answer = await begun;
    answer.append("a\ud83d");
    await pass(100);
    expect(inLog(1)?.body).toBe("a");
    answer.append("\ude00");
    await pass(100);
    expect(inLog(1)?.body).toBe("a😀");
    answer.append("\ud83d");
    void answer.finish();
    await pass(100);
    expect(inLog(1)).toMatchObject({ body: "a😀" });
    expect(inLog(1)?.streaming).toBe(undefined);
  });

  test("after cuts and lost answers it goes on where the front's text ends", async () => {
    const ada = person("ada", { answerTimeoutMs: 1_000 });
    await pass(10);
    const begun = ada.messages.stream();
    await pass(10);
    const answer = await begun;
    let all = "";
    for (let i = 0; i < 60; i++) {
      if (i % 10 === 3) front.swallow("msg.append", i % 20 === 3 ? "reply" : "request");
      if (i % 10 === 7) front.cut();
      if (i === 25) front.refuse("msg.append", "RATE_LIMITED", { retry: true, retryAfterMs: 500 });
      answer.append(`${i},`);
      all += `${i},`;
      await pass(60);
    }
    const done = answer.finish({ text: "the end" });
    await pass(60_000);
    await done;
    expect(front.of("msg.append").map(({ at, chunk }) => [at, chunk])).toContainEqual([0, "0,"]);
    expect(answer.text).toBe(all);
    expect(one(ada.room, 1)).toMatchObject({ body: { text: "the end" }, state: "sent" });
  });

  test("a failover that lost a part of the text: the part is sent again", async () => {
    const ada = person("ada");
    await pass(10);
    const begun = ada.messages.stream();
    await pass(10);
    const answer = await begun;
    answer.append("one ");
    await pass(100);
    const { rev } = front.log("lobby");
    answer.append("two ");
    await pass(100);
    front.rollbackLog("lobby", rev);
    await pass(10);
    answer.append("three");
    void answer.finish();
    await pass(2_000);
    expect(inLog(1)?.body).toBe("one two three");
    expect(plain(ada.messages.list)).toEqual(front.messages("lobby"));
  });

  /** Ada and Bo, what they posted after `rev` on its way, and what Ada is told to be lost. */
  const aboutToLose = async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    void ada.messages.post("kept");
    await pass(10);
    const { rev } = front.log("lobby");
    void ada.messages.post("ada's");
    void bo.messages.post("bo's", { meta: { mood: "good" } });
    const lost: unknown[] = [];
    ada.messages.on("lost", (messages) => lost.push(messages.map(({ body }) => body)));
    return { ada, bo, rev, lost };
  };

  test("what a failover lost is posted again by whoever posted it, and named if it is others'", async () => {
    const { ada, bo, rev, lost } = await aboutToLose();
    front.post("lobby", "a service's");
    await pass(50);
    front.rollbackLog("lobby", rev);
    await pass(1_000);
    const bodies = front.messages("lobby").map(({ body }) => body);
    expect([bodies[0], bodies.slice(1).sort()]).toEqual(["kept", ["ada's", "bo's"]]);
    expect(plain(ada.messages.list)).toEqual(front.messages("lobby"));
    expect(plain(bo.messages.list)).toEqual(front.messages("lobby"));
    expect(lost).toEqual([[{ text: "a service's" }, "bo's"]]);
  });

  test("the epoch that they were written in is lost, too: as long as the log is the same one, they are posted again", async () => {
    const { ada, bo, rev, lost } = await aboutToLose();
    await pass(50);
    for (const name of ["ada", "bo"]) front.cut(name);
    // To whoever comes now, nobody can say where it ended.
    front.rollbackLog("lobby", rev);
    await pass(5_000);
    const bodies = front.messages("lobby").map(({ body }) => body);
    expect([bodies[0], bodies.slice(1).sort()]).toEqual(["kept", ["ada's", "bo's"]]);
    for (const { messages } of [ada, bo]) expect(plain(messages.list)).toEqual(front.messages("lobby"));
    expect(lost).toEqual([["bo's"]]);
  });

  test("who reads a message as soon as it is told has read it, also in a log that is another one", async () => {
    const ada = person("ada");
    front.post("lobby", "of the old one");
    await pass(10);
    ada.messages.on("message", ({ n }) => ada.messages.read(n as number));
    front.cut("ada");
    front.flush("lobby");
    for (const text of ["one", "two"]) front.post("lobby", text);
    await pass(5_000);
    expect([ada.messages.readUpTo, front.log("lobby").readBy("ada")]).toEqual([2, 2]);
  });

  test("a mark that a failover lost is told again, though its answer comes after the failover", async () => {
    const ada = person("ada");
    for (const text of ["one", "two"]) front.post("lobby", text);
    await pass(10);
    const { rev } = front.log("lobby");
    // The question, and its answer.
    const delays = [0, 500];
    front.delay = () => delays.shift() ?? 0;
    ada.messages.read(2);
    await pass(1_200);
    expect([front.log("lobby").readBy("ada"), delays]).toEqual([2, []]);
    front.rollbackLog("lobby", rev);
    expect(front.log("lobby").readBy("ada")).toBe(0);
    await pass(5_000);
    expect(front.log("lobby").readBy("ada")).toBe(2);
  });

  test("somebody asks to stop: the writer is told, by its next answer or by the event", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    const begun = ada.messages.stream();
    await pass(10);
    const answer = await begun;
    expect([answer.cancelled, answer.signal.aborted]).toEqual([false, false]);
    void bo.messages.cancel(1);
    await pass(50);
    expect([answer.cancelled, answer.signal.aborted]).toEqual([true, true]);
    void answer.finish();
    await pass(50);
    expect(one(bo.room, 1)).toMatchObject({ cancelled: true });
    const late = bo.messages.cancel(1);
    await pass(10);
    await expect(late).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("a writer that was taken for gone is told", async () => {
    const ada = person("ada");
    await pass(10);
    const begun = ada.messages.stream();
    await pass(10);
    const answer = await begun;
    front.log("lobby").interrupt(1);
    answer.append("too late");
    await pass(100);
    await expect(answer.done).rejects.toMatchObject({ code: "CLOSED" });
    expect(one(ada.room, 1)).toMatchObject({ body: "", interrupted: true, state: "sent" });
    expect(() => answer.append("x")).toThrow(expect.objectContaining({ code: "CLOSED" }) as Error);
  });
});

describe("what is unread", () => {
  test("counts messages of others after the mark, and those that name one; reading is told a second later, once", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    void ada.messages.post("one");
    void ada.messages.post("two", { mentions: ["bo"] });
    void ada.messages.post("three", { mentions: ["*"] });
    await pass(50);
    void bo.messages.post("my own", { mentions: ["*"] });
    await pass(50);
    expect([bo.messages.unread, bo.messages.mentions, bo.messages.readUpTo]).toEqual([3, 2, 0]);
    bo.messages.read(1);
    bo.messages.read(2);
    expect([bo.messages.unread, bo.messages.mentions]).toEqual([1, 1]);
    expect(front.of("msg.read")).toEqual([]);
    await pass(1_100);
    expect(front.of("msg.read").map(({ n }) => n)).toEqual([2]);
    expect([...ada.messages.readBy]).toEqual([["bo", 2]]);
    bo.messages.read();
    bo.messages.read(1);
    await pass(1_100);
    expect([bo.messages.unread, ada.messages.readBy.get("bo")]).toEqual([0, 4]);
  });

  test("what was read is told at once when the page hides", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    void ada.messages.post("one");
    await pass(10);
    bo.messages.read();
    bo.room.hidden();
    await pass(60);
    expect(ada.messages.readBy.get("bo")).toBe(1);
  });

  test("what was read without a line is counted when there is one, though more is unread than is held", async () => {
    for (let i = 1; i <= 120; i++) front.post("lobby", String(i), "ada");
    const bo = person("bo");
    await pass(10);
    front.down = true;
    front.cut();
    bo.messages.read(40);
    await pass(2_000);
    front.down = false;
    await pass(10_000);
    expect([bo.messages.unread, bo.messages.readUpTo, front.log("lobby").readBy("bo")]).toEqual([80, 40, 40]);
  });

  test("of a log that was made anew nothing is read", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    for (const text of ["one", "two"]) void ada.messages.post(text);
    await pass(20);
    bo.messages.read();
    await pass(1_100);
    front.flush("lobby");
    for (const text of ["three", "four", "five"]) front.post("lobby", text);
    await pass(3_000);
    expect([bo.messages.readUpTo, bo.messages.unread, front.log("lobby").readBy("bo")]).toEqual([0, 3, 0]);
  });

  test("deleting and editing change what is counted", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    void ada.messages.post("one", { mentions: ["bo"] });
    void ada.messages.post("two");
    await pass(50);
    void ada.messages.delete(1);
    void ada.messages.edit(2, "two, bo", { mentions: ["bo"] });
    await pass(50);
    expect([bo.messages.unread, bo.messages.mentions]).toEqual([1, 1]);
  });

  test("what was read in another window, or before a cut, is read", async () => {
    const ada = person("ada");
    const [here, there] = [person("bo"), person("bo")];
    await pass(10);
    void ada.messages.post("one");
    await pass(10);
    here.messages.read();
    await pass(1_100);
    expect([there.messages.unread, there.messages.readUpTo]).toEqual([0, 1]);
    void ada.messages.post("two");
    await pass(10);
    here.messages.read();
    front.cut();
    await pass(3_000);
    expect([here.messages.unread, there.messages.unread, front.log("lobby").readBy("bo")]).toEqual([0, 0, 2]);
  });

  test("where more is unread than is held, the front counts, and asks are few", async () => {
    for (let i = 1; i <= 120; i++) front.post("lobby", String(i), "ada");
    const bo = person("bo");
    const ada = person("ada");
    await pass(10);
    expect([bo.messages.unread, bo.messages.list.length]).toEqual([120, 50]);
    void ada.messages.post("new", { mentions: ["bo"] });
    await pass(10);
    expect([bo.messages.unread, bo.messages.mentions]).toEqual([121, 1]);
    bo.messages.read(60);
    await pass(2_500);
    expect(bo.messages.unread).toBe(61);
    expect(front.of("msg.unread").length).toBeLessThan(3);
    bo.messages.read(100);
    expect(bo.messages.unread).toBe(21);
  });
});

describe("places in the log", () => {
  beforeEach(() => {
    for (let i = 1; i <= 200; i++) front.post("lobby", String(i));
  });
  const numbers = (list: readonly Message[]) => list.map(({ n }) => n);
  const upTo = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

  test("a jump, on from there, and back to the end", async () => {
    const ada = person("ada");
    await pass(10);
    const jump = ada.messages.around(20, 10);
    await pass(10);
    await jump;
    expect(numbers(ada.messages.list)).toEqual(upTo(15, 24));
    expect([ada.messages.more, ada.messages.atEnd]).toEqual([true, false]);
    void ada.messages.newer(10);
    void ada.messages.older(10);
    await pass(10);
    expect(numbers(ada.messages.list)).toEqual(upTo(5, 34));
    // Somebody posts while one looks elsewhere; an own post shows all the same until it is there.
    front.post("lobby", "new");
    await pass(10);
    expect(numbers(ada.messages.list)).toEqual(upTo(5, 34));
    void ada.messages.latest(10);
    await pass(10);
    expect(numbers(ada.messages.list)).toEqual(upTo(192, 201));
    expect(ada.messages.atEnd).toBe(true);
    front.post("lobby", "newer");
    await pass(10);
    expect(ada.messages.list.at(-1)?.n).toBe(202);
  });

  test("reading on to the end joins the live log", async () => {
    const ada = person("ada");
    await pass(10);
    void ada.messages.around(150, 20);
    await pass(10);
    for (let more = true; more; ) {
      const asked = ada.messages.newer(15);
      front.post("lobby", "meanwhile");
      await pass(10);
      more = await asked;
    }
    front.post("lobby", "last");
    await pass(10);
    expect(plain(ada.messages.list)).toEqual(front.messages("lobby").slice(139));
  });

  test("pages that events overtake, and pages that overtake events, are right", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    for (const slow of ["page", "events"]) {
      // Of ada's, either the page or what happens meanwhile is slow.
      const asked = ada.messages.older(20);
      await pass(1);
      const first = ada.messages.list[0]?.n ?? 0;
      let calls = 0;
      front.delay = () => ((calls++ === 0) === (slow === "page") ? 100 : 0);
      void bo.messages.react(first - 5, slow);
      void bo.messages.react(first - 5, "b");
      await pass(300);
      front.delay = () => 0;
      await asked;
      await pass(10);
      const [start] = ada.messages.list;
      expect(plain(ada.messages.list)).toEqual(front.messages("lobby").slice((start?.n ?? 1) - 1));
    }
  });

  test("a thread is loaded, kept up to date, and caught up with after a cut", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    for (const text of ["r1", "r2", "r3"]) void bo.messages.post(text, { reply: 7 });
    await pass(20);
    const thread = ada.messages.thread(7);
    await pass(10);
    expect(thread.list.map(({ body }) => body)).toEqual(["r1", "r2", "r3"]);
    void bo.messages.post("elsewhere", { reply: 8 });
    void bo.messages.post("r4", { reply: 202 });
    void ada.messages.post("mine", { reply: 7 });
    expect(thread.list.at(-1)).toMatchObject({ body: "mine", state: "pending" });
    await pass(20);
    expect(thread.list.map(({ body }) => body).sort()).toEqual(["mine", "r1", "r2", "r3", "r4"]);
    front.down = true;
    front.cut("ada");
    void bo.messages.post("r5", { reply: 7 });
    void bo.messages.delete(201);
    await pass(20);
    front.down = false;
    await pass(3_000);
    expect(plain(thread.list)).toEqual(front.messages("lobby").filter(({ thread: root }) => root === 7));
    // A snapshot that nobody asked for takes the thread along.
    front.rollbackLog("lobby", front.log("lobby").rev);
    await pass(200);
    expect(plain(thread.list)).toEqual(front.messages("lobby").filter(({ thread: root }) => root === 7));
    const old = ada.messages.around(7, 3);
    await pass(10);
    await old;
    expect(one(ada.room, 7).replies).toBe(6);
  });

  test("what the front keeps no longer goes from the list as soon as a page tells of it", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    void bo.messages.post("an answer", { reply: 190 });
    void bo.messages.post("another", { reply: 190 });
    const thread = ada.messages.thread(190);
    await pass(20);
    expect(thread.list).toHaveLength(2);
    front.log("lobby").trim(20);
    // Nobody tells of it.
    expect(numbers(ada.messages.list)).toEqual(upTo(151, 202));
    const older = ada.messages.older();
    await pass(20);
    expect([await older, numbers(ada.messages.list), ada.messages.more]).toEqual([false, upTo(183, 202), false]);
    void ada.messages.around(190, 10);
    await pass(10);
    void ada.messages.older();
    await pass(10);
    expect([numbers(ada.messages.list), ada.messages.more]).toEqual([upTo(183, 194), false]);
    // Read on from a place that is gone meanwhile.
    front.log("lobby").trim(1);
    void ada.messages.newer();
    await pass(10);
    expect([numbers(ada.messages.list), ada.messages.more, ada.messages.atEnd]).toEqual([[202], false, true]);
    expect(numbers(thread.list)).toEqual([202]);
  });

  test("the list is bounded: what is far from where it grows goes, and can be loaded again", async () => {
    const ada = person("ada", { messagesMax: 60 });
    await pass(10);
    void ada.messages.older(30);
    await pass(10);
    expect([numbers(ada.messages.list), ada.messages.more, ada.messages.atEnd]).toEqual([upTo(121, 180), true, false]);
    void ada.messages.newer(30);
    await pass(10);
    expect([numbers(ada.messages.list), ada.messages.more, ada.messages.atEnd]).toEqual([upTo(141, 200), true, true]);
    for (let i = 0; i < 10; i++) front.post("lobby", "new");
    await pass(10);
    expect([numbers(ada.messages.list), ada.messages.more, ada.messages.atEnd]).toEqual([upTo(151, 210), true, true]);
    void ada.messages.older(10);
    await pass(10);
    expect(numbers(ada.messages.list)).toEqual(upTo(141, 200));
  });
});
