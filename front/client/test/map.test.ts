/** Shared maps: what two people set at once, without a line, over snapshots, and beside those who write something else there. */
import { describe, expect, test } from "vitest";
import { connect, type Json, type SharedMap } from "../src/index.js";
import { connect as connectCore } from "../src/core.js";
import { front, pass, wildFront } from "./each-front.js";
import { Random, seedOf } from "./random.js";

function person(user: string) {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, backoffMaxMs: 1_000 });
  stoa.on("error", () => undefined);
  const room = stoa.room("lobby");
  return { stoa, room, map: room.map<{ [key: string]: Json }>("board") };
}
const entries = (map: SharedMap<{ [key: string]: Json }>) => Object.fromEntries(map.entries);

describe("a shared map", () => {
  test("values are set, changed and taken away; each change names its keys", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    const heard: string[][] = [];
    bo.map.on("change", (keys) => heard.push([...keys]));
    expect([ada.map.state, ada.map.editable, ada.map.size]).toEqual(["synchronised", true, 0]);
    ada.map.set("a", { x: 1 });
    expect([ada.map.get("a"), ada.map.state]).toEqual([{ x: 1 }, "awaiting"]);
    await pass(10);
    bo.map.set("b", "two\nlines 😀");
    await pass(10);
    ada.map.set("a", null);
    await pass(10);
    expect([entries(ada.map), entries(bo.map)]).toEqual([{ a: null, b: "two\nlines 😀" }, { a: null, b: "two\nlines 😀" }]);
    bo.map.delete("a");
    await pass(10);
    expect([ada.map.has("a"), ada.map.get("b"), heard]).toEqual([false, "two\nlines 😀", [["a"], ["b"], ["a"], ["a"]]]);
    expect(ada.room.map("board")).toBe(ada.map);
    // Equal values are no news.
    const before = ada.map.entries;
    await pass(1_000);
    expect(ada.map.entries).toBe(before);
  });

  test("of two who set one key at once the one accepted last counts, for everybody", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    ada.map.set("k", "old");
    await pass(10);
    ada.map.set("k", "ada's");
    bo.map.set("k", "bo's");
    await pass(50);
    const [cy] = [person("cy")];
    await pass(50);
    expect([ada.map, bo.map, cy.map].map((map) => map.get("k"))).toEqual(["bo's", "bo's", "bo's"]);
    ada.map.set("k", "new");
    await pass(50);
    expect([bo.map.get("k"), front.text("lobby", "map:board")]).toEqual(["new", '["k","new"]\n']);
  });

  test("what is set without a line waits, and wins when it arrives", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    bo.map.set("k", 1);
    await pass(10);
    front.cut("ada");
    front.down = true;
    ada.map.set("k", 2);
    ada.map.set("mine", true);
    ada.map.set("k", 3);
    bo.map.set("k", 4);
    bo.map.set("theirs", true);
    await pass(100);
    front.down = false;
    await pass(3_000);
    expect(entries(ada.map)).toEqual({ k: 3, mine: true, theirs: true });
    expect(entries(bo.map)).toEqual(entries(ada.map));
  });

  test("what waits goes over a snapshot without harm to records beside it", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    for (let n = 0; n < 9; n++) bo.map.set(`k${n}`, { value: 10 + n });
    await pass(50);
    front.opsKept = 1;
    front.cut("ada");
    front.down = true;
    ada.map.set("k3", { value: 33 });
    ada.map.delete("k5");
    for (let n = 0; n < 9; n++) bo.map.set(`k${n}`, { value: 20 + n });
    await pass(100);
    front.down = false;
    await pass(5_000);
    expect(entries(ada.map)).toEqual(entries(bo.map));
    expect(Object.entries(entries(bo.map)).sort().map(([, it]) => (it as { value: number }).value)).toEqual([20, 21, 22, 33, 24, 25, 26, 27, 28]);
  });

  test("lines that are no records are passed over", async () => {
    const ada = person("ada");
    await pass(10);
    ada.map.set("k", 1);
    await pass(10);
    front.edit("lobby", "map:board", ['nonsense\n["k"]\n[1,2]\n["__proto__",{"a":1}]\n']);
    await pass(10);
    expect([...ada.map.entries]).toEqual([["__proto__", { a: 1 }], ["k", 1]]);
    ada.map.set("k", 2);
    await pass(10);
    expect([ada.map.get("k"), ({} as { a?: number }).a]).toEqual([2, undefined]);
  });

  test("what cannot be is said at once", async () => {
    const { map, stoa, room } = person("ada");
    expect(() => map.set("a", 1)).toThrow(expect.objectContaining({ code: "NOT_OPEN" }) as Error);
    await pass(10);
    expect(() => map.set("a", "x".repeat(40_000))).toThrow(expect.objectContaining({ code: "TOO_LARGE" }) as Error);
    front.grant("lobby", "ada", "viewer");
    await pass(10);
    expect(map.editable).toBe(false);
    expect(() => map.set("a", 1)).toThrow(expect.objectContaining({ code: "PERMISSION_DENIED" }) as Error);
    map.close();
    expect(room.map("board")).not.toBe(map);
    stoa.close();
    const core = connectCore({ url: "ws://front/ws", token: "bo", WebSocket: front.Socket });
    expect(() => core.room("lobby").map("board")).toThrow(expect.objectContaining({ code: "NOT_OPEN" }) as Error);
  });

  test("on bad lines all end with the same values, and each with what was set last", async () => {
    const random = new Random(seedOf("maps"));
    wildFront(random);
    front.opsKept = 20;
    const people = ["ada", "bo", "cy"].map(person);
    await pass(3_000);
    const keys = ["a", "b", "c", "d", "e"];
    for (let step = 0; step < 300; step++) {
      const { map } = random.pick(people);
      if (map.editable) {
        if (random.chance(0.2)) map.delete(random.pick(keys));
        else map.set(random.pick(keys), { step, text: "x".repeat(random.below(5)) });
      }
      if (random.chance(0.05)) front.cut(random.pick(["ada", "bo", "cy"]));
      if (random.chance(0.02)) {
        front.down = true;
        await pass(random.below(4_000));
        front.down = false;
      }
      await pass(random.below(80));
    }
    await pass(60_000);
    for (const key of keys) people[0]?.map.set(key, "end");
    await pass(10_000);
    for (const { map } of people) expect([map.state, entries(map)]).toEqual(["synchronised", Object.fromEntries(keys.map((key) => [key, "end"]))]);
    expect(front.text("lobby", "map:board").split("\n")).toHaveLength(keys.length + 1);
  });
});
