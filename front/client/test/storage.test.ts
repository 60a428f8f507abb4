import { describe, expect, test } from "vitest";
import { connect, type Storage, type StoaError } from "../src/index.js";
import { ownSlot, webStorage, type LocksLike } from "../src/storages.js";
import { front, pass } from "./each-front.js";
import { memoryStorage } from "./memory-storage.js";

function page(storage: Storage, user = "ada") {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, storage, backoffMaxMs: 1_000 });
  const errors: StoaError[] = [];
  stoa.on("error", (error) => errors.push(error));
  return { stoa, errors, room: stoa.room("lobby") };
}
const bodies = () => front.messages("lobby").map(({ body }) => body);

describe.each([
  ["at once", undefined],
  ["later", () => 20],
])("a storage that answers %s", (_, delay) => {
  test("writes that wait survive a reload, and are done once and in order", async () => {
    const storage = memoryStorage(delay);
    const first = page(storage);
    await pass(100);
    void first.room.messages.post("zero");
    await pass(100);
    // This one arrives, but nobody hears of it.
    front.delay = () => 30;
    void first.room.messages.post("one");
    await pass(31);
    front.cut();
    front.down = true;
    void first.room.messages.post("two");
    void first.room.messages.edit(1, "null");
    await pass(100);
    first.stoa.close();
    front.delay = () => 0;
    const second = page(storage);
    await pass(100);
    expect(second.room.messages.list.map(({ body, state }) => [body, state])).toEqual([["one", "pending"], ["two", "pending"]]);
    void second.room.messages.post("three");
    front.down = false;
    await pass(5_000);
    expect(bodies()).toEqual(["null", "one", "two", "three"]);
    expect(second.room.messages.list.map(({ body, state }) => [body, state])).toEqual(bodies().map((body) => [body, "sent"]));
    await pass(100);
    expect(storage.values.size).toBe(0);
  });

  test("edits of a document survive a reload, and are made once", async () => {
    const storage = memoryStorage(delay);
    const first = page(storage);
    const before = first.room.doc("main", { create: "abc" });
    await pass(200);
    // One arrives, but nobody hears of it; one waits for that.
    front.delay = () => 30;
    before.edit(["1"]);
    await pass(31);
    front.cut();
    front.down = true;
    before.edit([4, "2"]);
    await pass(400);
    first.stoa.close();
    front.edit("lobby", "main", ["0"]);
    front.delay = () => 0;
    const second = page(storage);
    const after = second.room.doc("main");
    await pass(100);
    expect([after.text, after.state]).toEqual(["1abc2", "awaiting-with-buffer"]);
    front.down = false;
    await pass(5_000);
    expect([front.text("lobby", "main"), after.text, after.state]).toEqual(["01abc2", "01abc2", "synchronised"]);
    await pass(100);
    expect(storage.values.size).toBe(0);
  });

  test("sequences of the page before are not taken for those of this one, though answers overtake events", async () => {
    const storage = memoryStorage(delay);
    const first = page(storage);
    const before = first.room.doc("main", { create: "" });
    await pass(200);
    front.swallow("doc.submit", "request");
    before.edit(["1"]);
    before.edit([1, "2"]);
    await pass(400);
    first.stoa.close();
    const second = page(storage);
    const after = second.room.doc("main");
    front.eventsLateMs = 200;
    await pass(1_000);
    expect([front.text("lobby", "main"), after.text, after.state]).toEqual(["12", "12", "synchronised"]);
    after.edit([2, "3"]);
    await pass(5_000);
    expect([front.text("lobby", "main"), after.text, after.state]).toEqual(["123", "123", "synchronised"]);
    expect(front.of("doc.submit").map(({ client, seq }) => [client === first.stoa.client, seq])).toEqual([[true, 1], [false, 1], [false, 2]]);
  });

  test("what is stored without an identity is not sent before it is stored with one", async () => {
    const storage = memoryStorage(delay);
    const first = page(storage);
    const before = first.room.doc("main", { create: "" });
    await pass(200);
    front.swallow("doc.submit", "reply");
    before.edit(["1"]);
    before.edit([1, "2"]);
    // By now both are stored; the first one's answer never comes, its event does, and the second one is sent.
    await pass(500);
    front.swallow("doc.submit", "reply");
    before.edit([2, "3"]);
    await pass(400);
    first.stoa.close();
    const second = page(storage);
    const after = second.room.doc("main");
    await pass(5_000);
    expect([front.text("lobby", "main"), after.text]).toEqual(["123", "123"]);
  });
});

test("what somebody else wrote here is not said in this one's name", async () => {
  const storage = memoryStorage();
  const ada = page(storage);
  const hers = ada.room.doc("main", { create: "abc" });
  await pass(50);
  front.cut();
  front.down = true;
  void ada.room.messages.post("from ada");
  hers.edit(["from ada"]);
  await pass(500);
  ada.stoa.close();
  front.down = false;
  const bo = page(storage, "bo");
  const his = bo.room.doc("main");
  await pass(1_000);
  expect(bodies()).toEqual([]);
  expect(bo.room.messages.list).toMatchObject([{ body: "from ada", state: "failed", error: { code: "PERMISSION_DENIED" } }]);
  expect([front.text("lobby", "main"), his.text, his.state]).toEqual(["abc", "abc", "synchronised"]);
});

test("a storage that fails is reported, and everything else goes on", async () => {
  const full = { ...memoryStorage(), set: () => { throw new Error("quota"); } };
  const ada = page(full);
  await pass(50);
  void ada.room.messages.post("hi");
  await pass(50);
  expect(bodies()).toEqual(["hi"]);
  expect(ada.errors.map(({ code }) => code)).toContain("STORAGE");
});

test("each tab has its own part of a storage, and finds it again", async () => {
  const taken = new Set<string>();
  const locks: LocksLike = {
    request: async (name, _options, callback) => {
      const free = !taken.has(name);
      if (free) taken.add(name);
      return callback(free ? {} : null);
    },
  };
  const items = new Map<string, string>();
  const web = webStorage({ getItem: (key) => items.get(key) ?? null, setItem: (key, value) => void items.set(key, value), removeItem: (key) => void items.delete(key) });
  const [one, two, three] = [await ownSlot(web, "stoa ada", 2, locks), await ownSlot(web, "stoa ada", 2, locks), await ownSlot(web, "stoa ada", 2, locks)];
  await one.set("x", "1");
  await two.set("x", "2");
  await three.set("x", "3");
  expect([await one.get("x"), await two.get("x"), await three.get("x")]).toEqual(["1", "2", undefined]);
  taken.delete("stoa ada 0");
  expect(await (await ownSlot(web, "stoa ada", 2, locks)).get("x")).toBe("1");
  await one.delete("x");
  expect([...items]).toEqual([["stoa ada 1 x", "2"]]);
});
