import { describe, expect, test } from "vitest";
import { connect, type Document } from "../src/index.js";
import { front, pass } from "./each-front.js";
import { Random, seedOf } from "./random.js";

function person(user: string, presence = {}) {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket });
  const room = stoa.room("lobby", { presence });
  return { stoa, room, document: room.doc("main", { create: "one two" }) };
}
/** `user anchor-head` of everybody else. */
const shown = (document: Document) => [...document.cursors.values()].map(({ user, anchor, head }) => `${user} ${anchor}-${head}`).sort();

describe("cursors", () => {
  test("others see where one is, with what is known of them; oneself does not", async () => {
    const [ada, bo] = [person("ada", { color: "#f00", mood: "good" }), person("bo")];
    await pass(10);
    let changes = 0;
    bo.document.on("cursors", () => (changes += 1));
    ada.document.setCursor({ anchor: 1, head: 3, data: { mood: "busy" } });
    await pass(10);
    expect([shown(ada.document), shown(bo.document), changes]).toEqual([[], ["ada 1-3"], 1]);
    const [connection, cursor] = [...bo.document.cursors][0] ?? [];
    expect(connection).toBe(ada.stoa.connectionId);
    expect(cursor?.data).toEqual({ name: "ada", color: "#f00", mood: "busy" });
    ada.document.setCursor(null);
    await pass(10);
    expect([shown(bo.document), changes]).toEqual([[], 2]);
  });

  test("they are told at most every 50 ms, again every 20 s, and the same only then", async () => {
    const ada = person("ada");
    await pass(10);
    for (let i = 0; i < 7; i++) {
      ada.document.setCursor({ anchor: i, head: i });
      await pass(10);
    }
    await pass(100);
    expect(front.of("doc.cursor").map(({ cursor }) => (cursor as { head: number }).head)).toEqual([0, 4, 6]);
    ada.document.setCursor({ anchor: 6, head: 6 });
    await pass(15_000);
    ada.document.setCursor({ anchor: 6, head: 6 });
    await pass(15_000);
    expect(front.of("doc.cursor").length).toBe(4);
    ada.document.setCursor(null);
    await pass(60_000);
    expect(front.of("doc.cursor").slice(4)).toMatchObject([{ cursor: null }]);
  });

  test("they stay where they are in the text while everybody types, also before it is acknowledged", async () => {
    const [ada, bo, cy] = [person("ada"), person("bo"), person("cy")];
    await pass(10);
    ada.document.setCursor({ anchor: 4, head: 7 });
    await pass(10);
    front.delay = () => 30;
    bo.document.edit(["> "]);
    expect(shown(bo.document)).toEqual(["ada 6-9"]);
    cy.document.edit([3, "!"]);
    await pass(500);
    expect([bo.document.text, shown(bo.document), shown(cy.document)]).toEqual(["> one! two", ["ada 7-10"], ["ada 7-10"]]);
    // Whoever types moves with it, before they have said so.
    ada.document.setCursor({ anchor: 10, head: 10 });
    await pass(500);
    front.swallow("doc.cursor", "request", 100);
    ada.document.edit([10, "."]);
    await pass(500);
    expect([bo.document.text, shown(bo.document)]).toEqual(["> one! two.", ["ada 11-11"]]);
  });

  test("what is told is in the acknowledged text, and moves with own edits", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    front.delay = () => 30;
    ada.document.setCursor({ anchor: 7, head: 7 });
    ada.document.edit([7, "!"]);
    ada.document.setCursor({ anchor: 8, head: 8 });
    await pass(40);
    expect(front.of("doc.cursor")).toMatchObject([{ rev: 0, cursor: { head: 7 } }]);
    await pass(300);
    expect(front.of("doc.cursor").at(-1)).toMatchObject({ rev: 1, cursor: { head: 8 } });
    expect(shown(bo.document)).toEqual(["ada 8-8"]);
    ada.document.edit([8, "?"]);
    await pass(300);
    expect(shown(bo.document)).toEqual(["ada 9-9"]);
  });

  test("a cursor in a text that has not come yet waits for it; one of another history is not taken", async () => {
    const ada = person("ada");
    await pass(10);
    const { epoch } = front.doc("lobby", "main");
    const about = (rev: number, at: number, inEpoch = epoch) =>
      front.push("lobby", { event: "doc.cursors", stream: "doc:main", epoch: inEpoch, rev, cursors: [{ connection: "k9", user: "x", anchor: at, head: at }], gone: [] });
    about(1, 9);
    await pass(10);
    expect(shown(ada.document)).toEqual([]);
    front.edit("lobby", "main", ["ab"]);
    await pass(10);
    expect(shown(ada.document)).toEqual(["x 9-9"]);
    about(0, 2);
    await pass(10);
    expect(shown(ada.document)).toEqual(["x 4-4"]);
    about(1, 0, "0.00000001");
    await pass(10);
    expect(shown(ada.document)).toEqual(["x 4-4"]);
    await pass(66_000);
    expect(shown(ada.document)).toEqual([]);
  });

  test("after a cut they are told again, and those who closed, left or were cut are gone", async () => {
    const [ada, bo, cy] = [person("ada"), person("bo"), person("cy")];
    await pass(10);
    for (const { document } of [ada, bo, cy]) document.setCursor({ anchor: 1, head: 1 });
    await pass(10);
    expect(shown(ada.document)).toEqual(["bo 1-1", "cy 1-1"]);
    front.cut("ada");
    expect(shown(ada.document)).toEqual([]);
    await pass(10);
    expect(shown(bo.document)).toEqual(["cy 1-1"]);
    await pass(5_000);
    expect([shown(ada.document), shown(bo.document)]).toEqual([["bo 1-1", "cy 1-1"], ["ada 1-1", "cy 1-1"]]);
    bo.document.close();
    cy.room.leave();
    await pass(10);
    expect(shown(ada.document)).toEqual([]);
  });

  test("after random edits everybody sees everybody where they are", async () => {
    const random = new Random(seedOf("cursors"));
    front.random = () => random.below(1_000) / 1_000;
    front.delay = () => random.below(80);
    const people = ["ada", "bo", "cy"].map((user) => person(user));
    await pass(500);
    for (let step = 0; step < 400; step++) {
      const { document } = random.pick(people);
      const at = random.below(document.text.length + 1);
      if (random.chance(0.5)) document.setCursor({ anchor: random.below(document.text.length + 1), head: at });
      else document.replace(at, Math.min(document.text.length, at + random.below(3)), "x".repeat(random.below(3)));
      for (const { document: it } of people) for (const { anchor, head } of it.cursors.values()) expect(Math.max(anchor, head)).toBeLessThanOrEqual(it.text.length);
      await pass(random.below(60));
    }
    await pass(2_000);
    expect(people.every(({ document }) => document.state === "synchronised")).toBe(true);
    people.forEach(({ document }, i) => document.setCursor({ anchor: i, head: i }));
    await pass(2_000);
    expect(people.map(({ document }) => shown(document))).toEqual([["bo 1-1", "cy 2-2"], ["ada 0-0", "cy 2-2"], ["ada 0-0", "bo 1-1"]]);
  });
});

describe("undo", () => {
  test("takes back own edits one by one, and leaves what others wrote", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    ada.document.edit([7, " three"]);
    await pass(10);
    bo.document.edit(["zero "]);
    await pass(10);
    ada.document.edit(["-"]);
    const undone = ada.document.undo();
    await pass(100);
    await undone;
    expect([ada.document.text, bo.document.text]).toEqual(["zero one two three", "zero one two three"]);
    void ada.document.undo();
    await pass(100);
    expect([ada.document.text, bo.document.text]).toEqual(["zero one two", "zero one two"]);
    const nothing = expect(ada.document.undo()).rejects.toMatchObject({ code: "NOT_FOUND" });
    await pass(100);
    await nothing;
    expect([ada.document.state, bo.document.state]).toEqual(["synchronised", "synchronised"]);
  });

  test("is refused where nothing can be edited", async () => {
    const ada = person("ada");
    await pass(10);
    ada.document.close();
    await expect(ada.document.undo()).rejects.toMatchObject({ code: "CLOSED" });
  });
});
