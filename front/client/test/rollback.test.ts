import { describe, expect, test, vi } from "vitest";
import { Copy } from "../src/copy.js";
import { apply, connect, normalise, type Operation } from "../src/index.js";
import { rollBack } from "../src/rollback.js";
import type { Turns } from "../src/turns.js";
import type { StreamPart } from "../src/wire/index.js";
import { front, pass } from "./each-front.js";
import { memoryStorage } from "./memory-storage.js";
import { Random, seedOf } from "./random.js";

function person(user: string, storage = memoryStorage()) {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, storage, backoffMaxMs: 1_000 });
  const document = stoa.room("lobby").doc("main", { create: "text" });
  const lost: unknown[] = [];
  document.on("lost", (...told) => lost.push(told));
  const remote: Operation[] = [];
  document.on("remote", (op) => remote.push(op));
  return { stoa, document, lost, remote };
}
const text = () => front.text("lobby", "main");
const rollback = (rev: number, how: Parameters<typeof front.rollback>[3] = {}) => front.rollback("lobby", "main", rev, how);

describe("a failover lost edits that were accepted", () => {
  test("each client makes its own ones again, and everybody ends with the same text", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    ada.document.edit([4, "A"]);
    await pass(10);
    bo.document.edit(["B"]);
    await pass(10);
    ada.document.edit([1, -1, 2, "a"]);
    await pass(10);
    expect([text(), ada.document.text]).toEqual(["BexatA", "BexatA"]);
    rollback(0);
    expect(text()).toBe("text");
    await pass(100);
    expect([text(), ada.document.text, bo.document.text]).toEqual(["BexatA", "BexatA", "BexatA"]);
    expect([ada.lost, bo.lost]).toEqual([[[0, true]], [[0, true]]]);
    expect([ada.document.state, bo.document.state]).toEqual(["synchronised", "synchronised"]);
  });

  test("own text stays on the screen all the time, and others' is back when they have sent it", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    ada.document.edit([4, " mine"]);
    await pass(10);
    bo.document.edit(["theirs "]);
    await pass(10);
    ada.remote.length = 0;
    rollback(0);
    await pass(100);
    expect(ada.document.text).toBe("theirs text mine");
    expect(ada.remote).toEqual([[-7], ["theirs "]]);
  });

  test("the first own one is not doubled where the front, which had no answer to it, sent it to the new primary", async () => {
    const ada = person("ada");
    await pass(10);
    for (const letter of "123") {
      ada.document.edit([4, letter]);
      await pass(10);
    }
    rollback(0, { again: () => true });
    // Of the others it was refused: they were made on what is lost.
    expect(text()).toBe("text1");
    await pass(100);
    expect([text(), ada.document.text]).toEqual(["text321", "text321"]);
  });

  test("edits that were not acknowledged come after those that were lost", async () => {
    const ada = person("ada");
    await pass(10);
    ada.document.edit([4, "1"]);
    await pass(10);
    front.swallow("doc.submit", "request");
    ada.document.edit([5, "2"]);
    ada.document.edit([6, "3"]);
    rollback(0);
    await pass(10);
    expect(ada.document.text).toBe("text123");
    await pass(10_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["text123", "text123", "synchronised"]);
    expect(front.doc("lobby", "main").rev).toBe(2);
  });

  test("it happens again while they are made again", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    for (let i = 0; i < 4; i++) {
      ada.document.edit([i, String(i)]);
      await pass(10);
      bo.document.edit([bo.document.text.length, "b"]);
      await pass(10);
    }
    const before = text();
    front.delay = () => 20;
    rollback(5);
    await pass(90);
    rollback(front.doc("lobby", "main").epochs.began + 1);
    await pass(1_000);
    expect([...text()].sort()).toEqual([...before].sort());
    expect([ada.document.text, bo.document.text]).toEqual([text(), text()]);
  });

  test("all of an epoch is lost, so that nobody knows it", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    ada.document.edit([4, "1"]);
    await pass(10);
    // From here on another server writes, of which the next one has nothing.
    rollback(1);
    bo.document.edit(["B"]);
    await pass(10);
    ada.document.edit([6, "2"]);
    await pass(10);
    expect(text()).toBe("Btext12");
    rollback(1, { again: () => true });
    await pass(100);
    expect([text(), ada.document.text, bo.document.text]).toEqual(["Btext12", "Btext12", "Btext12"]);
    expect([ada.lost, bo.lost]).toEqual([[[1, true]], [[1, true]]]);
  });

  test("a document that took the place of another has nothing of it but what was not acknowledged", async () => {
    const ada = person("ada");
    await pass(10);
    rollback(0);
    ada.document.edit([4, "1"]);
    await pass(10);
    front.swallow("doc.submit", "request");
    ada.document.edit([5, "2"]);
    front.reset("lobby", "main", "new");
    await pass(10_000);
    expect([text(), ada.document.text, ada.document.state, ada.lost]).toEqual([text(), text(), "synchronised", []]);
    expect([...text()].sort().join("")).toBe("2enw");
  });

  test("who comes back later does so then", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    ada.document.edit([4, "A"]);
    await pass(10);
    bo.document.edit(["B"]);
    await pass(10);
    front.down = true;
    front.cut("ada");
    rollback(0, { toldMs: Infinity });
    await pass(100);
    bo.document.edit([1, "b"]);
    front.down = false;
    await pass(5_000);
    expect([text(), ada.document.text, bo.document.text]).toEqual(["BbtextA", "BbtextA", "BbtextA"]);
  });

  test("who found out before everybody is told does it once", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    for (const letter of "123") {
      ada.document.edit([4, letter]);
      await pass(10);
    }
    rollback(0, { toldMs: 100 });
    bo.document.edit(["B"]);
    await pass(90);
    expect([text(), ada.lost]).toEqual(["Btext321", [[0, true]]]);
    await pass(1_000);
    expect([text(), ada.document.text, ada.lost]).toEqual(["Btext321", "Btext321", [[0, true]]]);
  });

  test("what others deleted and what they wrote is theirs to make again", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    bo.document.edit([1, -2, "B"]);
    await pass(10);
    ada.document.edit([1, "A", 1, "a"]);
    await pass(10);
    expect(text()).toBe("tABat");
    bo.stoa.close();
    rollback(0);
    await pass(100);
    // What was deleted stands again between the two letters, or beside them.
    expect(ada.document.text).toBe(text());
    expect([...text()].sort().join("")).toBe("Aaettx");
  });

  test("what was taken back stays taken back", async () => {
    const ada = person("ada");
    await pass(10);
    ada.document.edit([4, " one"]);
    await pass(10);
    ada.document.edit([8, " two"]);
    await pass(10);
    await Promise.all([ada.document.undo(), pass(10)]);
    expect(text()).toBe("text one");
    rollback(1);
    await pass(100);
    expect([text(), ada.document.text]).toEqual(["text one", "text one"]);
  });

  test("an undo of what was deleted of others' lost words leaves these to them", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    bo.document.edit([4, " theirs"]);
    await pass(10);
    ada.document.edit([4, -7]);
    await pass(10);
    await Promise.all([ada.document.undo(), pass(10)]);
    expect(text()).toBe("text theirs");
    rollback(0);
    await pass(100);
    expect([text(), ada.document.text, bo.document.text]).toEqual(["text theirs", "text theirs", "text theirs"]);
  });

  test("an undo of what was not lost is lost, and can be asked for again, once", async () => {
    const ada = person("ada");
    await pass(10);
    ada.document.edit([1, -2]);
    await pass(10);
    await Promise.all([ada.document.undo(), pass(10)]);
    rollback(1);
    await pass(100);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["tt", "tt", "synchronised"]);
    await Promise.all([ada.document.undo(), pass(10)]);
    expect([text(), ada.document.text]).toEqual(["text", "text"]);
    await Promise.all([expect(ada.document.undo()).rejects.toMatchObject({ code: "NOT_FOUND" }), pass(10)]);
  });

  test("an undo whose answer is missing is done again after what it takes back, and once", async () => {
    const ada = person("ada");
    await pass(10);
    for (const word of [" one", " two", " three"]) {
      ada.document.edit([ada.document.text.length, word]);
      await pass(10);
    }
    front.swallow("doc.undo", "reply");
    const undone = ada.document.undo();
    await pass(10);
    expect(text()).toBe("text one two");
    rollback(1, { toldMs: Infinity });
    front.cut();
    await Promise.all([undone, pass(5_000)]);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["text one two", "text one two", "synchronised"]);
  });

  test("cursors stay where they were", async () => {
    const ada = person("ada");
    await pass(10);
    front.edit("lobby", "main", ["0 "], { user: "bo" });
    await pass(10);
    ada.document.edit([6, " mine"]);
    ada.document.setCursor({ anchor: 7, head: 11 });
    await pass(100);
    rollback(0);
    await pass(100);
    expect([ada.document.text, front.of("doc.cursor").at(-1)?.["cursor"]]).toEqual(["text mine", { anchor: 5, head: 9 }]);
  });

  test("they survive a reload meanwhile, and are made once", async () => {
    const storage = memoryStorage();
    const before = person("ada", storage);
    await pass(10);
    for (const letter of "123") {
      before.document.edit([4, letter]);
      await pass(10);
    }
    front.refuse("doc.submit", "UNAVAILABLE", { retry: true, times: 1_000 });
    rollback(0);
    await pass(1_000);
    before.document.hidden();
    before.stoa.close();
    front.calm();
    const after = person("ada", storage);
    await pass(5_000);
    expect([text(), after.document.text, after.document.state]).toEqual(["text321", "text321", "synchronised"]);
  });

  test("a map has all that was set", async () => {
    const [ada, bo] = ["ada", "bo"].map((user) => connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket }).room("lobby").map("settings"));
    await pass(10);
    ada?.set("color", "red");
    await pass(10);
    bo?.set("size", 3);
    await pass(10);
    ada?.set("color", "blue");
    await pass(10);
    front.rollback("lobby", "map:settings", 0);
    await pass(100);
    for (const map of [ada, bo]) expect(Object.fromEntries(map?.entries as Map<string, unknown>)).toEqual({ color: "blue", size: 3 });
  });

  test("more than is kept: it is told, and what was not acknowledged stays", async () => {
    const ada = person("ada");
    await pass(10);
    ada.document.edit([4, "1"]);
    await pass(10);
    for (let i = 0; i < 1_000; i++) front.edit("lobby", "main", ["x"]);
    await pass(10);
    front.swallow("doc.submit", "request");
    ada.document.edit([1_005, "2"]);
    rollback(0);
    await pass(10_000);
    expect([text(), ada.document.text, ada.lost]).toEqual(["text2", "text2", [[0, false]]]);
  });

  test("large operations do not stay for long", async () => {
    const ada = person("ada");
    await pass(10);
    ada.document.edit([4, "1"]);
    await pass(10);
    for (let i = 0; i < 3; i++) front.edit("lobby", "main", ["x".repeat(100_000)]);
    await pass(10);
    rollback(0);
    await pass(100);
    expect([ada.document.text, ada.lost]).toEqual(["text", [[0, false]]]);
    front.edit("lobby", "main", ["x".repeat(1_000_000)]);
    await pass(10);
    expect(ada.document.text).toBe(text());
  });
});

test("what is left of a lost history is what one wrote, where one wrote it", () => {
  const seed = seedOf("rolling back");
  const turns = { waiting: [], busy: false } as unknown as Turns;
  for (let round = 0; round < 500; round++) {
    const random = new Random(seed + round);
    let next = 0;
    const fresh = () => String.fromCodePoint(0x4e00 + next++);
    const edit = (text: string): Operation => {
      const at = random.below(text.length + 1);
      return normalise([at, random.chance(0.7) ? fresh() : "", -Math.min(random.below(3), text.length - at)]);
    };
    let shown = "some text";
    const texts = [shown];
    const hooks = { moved: () => undefined, shown: (op: Operation) => void (shown = apply(shown, op)) };
    const copy = new Copy({ base: shown, position: { epoch: "1.a", rev: 0 } }, hooks);
    const written = { own: "", others: "" };
    const count = random.below(12);
    const end = random.below(count + 1);
    for (let rev = 1; rev <= count; rev++) {
      const isOwn = random.chance(0.5);
      if (isOwn) {
        const op = edit(copy.text);
        shown = apply(shown, op);
        copy.edit(op);
        copy.launch("c", rev, 100, 100);
      }
      const op = isOwn ? copy.outgoing : edit(copy.base);
      copy.advance(op, { epoch: "1.a", rev }, isOwn ? copy.inflight : { client: "bo", seq: rev });
      texts.push(copy.base);
      if (rev > end) written[isOwn ? "own" : "others"] += op.filter((part) => typeof part === "string").join("");
    }
    // One is on its way, and one waits.
    for (let i = 0; i < random.below(3); i++) {
      const op = edit(copy.text);
      shown = apply(shown, op);
      copy.edit(op);
      if (i === 0) copy.launch("c", count + 1, 100, 100);
      written.own += op.filter((part) => typeof part === "string").join("");
    }
    const before = shown;
    const context = `STOA_SEED=${seed + round}`;
    const told: unknown[] = [];
    const part = { outcome: "snapshot", because: "rollback", history_end: end } as StreamPart;
    rollBack(copy, part, { room: { client: "c" }, turns, hooks: { lost: (...what) => void told.push(what) } });
    expect(told, context).toEqual(end < count ? [[end, true]] : []);
    expect([copy.base, copy.position.rev], context).toEqual([texts[end], end]);
    expect(copy.text, context).toBe(shown);
    expect(copy.pending.reduce(apply, copy.base), context).toBe(shown);
    // What others had deleted of it is there again, too.
    const own = [...before].filter((character) => written.own.includes(character));
    expect([...shown].filter((character) => own.includes(character)), context).toEqual(own);
    if (end < count) expect([...shown].filter((character) => written.others.includes(character)), context).toEqual([]);
  }
});

// The last one: afterwards the part is loaded anew.
test("the part that does it does not load: it is told", async () => {
  vi.doMock("../src/rollback.js", () => Promise.reject(new Error("not there")));
  const ada = person("ada");
  await pass(10);
  ada.document.edit([4, "1"]);
  await pass(10);
  rollback(0);
  // Loading takes no time of the clock that stands still.
  await vi.waitFor(async () => {
    await pass(10);
    expect(ada.lost).toEqual([[0, false]]);
  });
  vi.doUnmock("../src/rollback.js");
  expect([ada.document.text, ada.document.state]).toEqual(["text", "synchronised"]);
});
