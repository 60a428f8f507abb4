/** Tags, restoring, taking back, and what the front says of a document. */
import { expect, test, vi } from "vitest";
import { connect, type Document, type StoaOptions } from "../src/index.js";
import { front, pass, renewFront, wildFront } from "./each-front.js";
import { Random, seedOf } from "./random.js";

const text = () => front.text("lobby", "main");

async function person(user: string, options: Partial<StoaOptions> = {}): Promise<Document> {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, ...options });
  stoa.on("error", () => undefined);
  const document = stoa.room("lobby").doc("main", { create: "first" });
  await pass(10);
  return document;
}

test("a tag keeps the text with all own edits; restore brings it back on every screen, and undo takes that back", async () => {
  const [ada, bo] = [await person("ada"), await person("bo")];
  front.delay = () => 20;
  ada.edit([5, " draft"]);
  const tagged = ada.tag("draft");
  await pass(200);
  await tagged;
  bo.replace(0, bo.text.length, "all is different");
  await pass(200);
  const restored = ada.restore("draft");
  await pass(200);
  await restored;
  expect([text(), ada.text, bo.text]).toEqual(["first draft", "first draft", "first draft"]);
  const undone = ada.undo();
  await pass(200);
  await undone;
  expect([text(), ada.text, bo.text]).toEqual(["all is different", "all is different", "all is different"]);
});

test("info lists the tags; one that was dropped is gone, and cannot be restored", async () => {
  const ada = await person("ada");
  const asked = (async () => {
    await ada.tag("a");
    await ada.tag("b");
    await ada.tag("a", { drop: true });
    return ada.info();
  })();
  await pass(50);
  expect(await asked).toMatchObject({ type: "text", rev: 0, utf16: 5, tags: [{ name: "b", rev: 0, at_ms: expect.any(Number) as number }] });
  const none = expect(ada.restore("a")).rejects.toMatchObject({ code: "NOT_FOUND" });
  const neither = expect(ada.tag("a", { drop: true })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await pass(50);
  await Promise.all([none, neither]);
});

test("restore waits for the line and happens once, whatever is lost; edits made meanwhile stand", async () => {
  for (const lost of ["request", "reply"] as const) {
    renewFront();
    const ada = await person("ada", { answerTimeoutMs: 2_000 });
    const bo = await person("bo");
    const tagged = ada.tag("start");
    await pass(10);
    await tagged;
    bo.edit([5, " and second"]);
    await pass(10);
    front.cut("ada");
    front.swallow("doc.restore", lost, 2);
    const restored = ada.restore("start");
    await pass(3_000);
    // The first attempt is under way: what is typed now comes after it, with a later identity.
    ada.edit(["> "]);
    bo.edit([bo.text.length, "!"]);
    await pass(30_000);
    await restored;
    expect(ada.text).toBe(text());
    expect(bo.text).toBe(text());
    expect(text()).toBe(lost === "request" ? "> first" : "> first!");
    expect([ada.state, front.doc("lobby", "main").rev]).toEqual(["synchronised", 4]);
  }
});

test("undo happens once, whatever is lost, and takes back one edit for each call", async () => {
  for (const lost of ["request", "reply"] as const) {
    renewFront();
    const ada = await person("ada", { answerTimeoutMs: 2_000 });
    for (const word of [" one", " two", " three"]) {
      ada.edit([ada.text.length, word]);
      await pass(10);
    }
    front.swallow("doc.undo", lost);
    const undone = Promise.all([ada.undo(), ada.undo()]);
    await pass(500);
    ada.edit(["> "]);
    front.cut();
    await pass(30_000);
    await undone;
    expect([ada.text, text(), ada.state]).toEqual(["> first one", "> first one", "synchronised"]);
  }
});

test("restore is refused where there is no document, and when it is closed while it waits", async () => {
  const stoa = connect({ url: "ws://front/ws", token: "ada", WebSocket: front.Socket });
  const none = stoa.room("lobby").doc("none");
  await pass(10);
  await expect(none.restore("a")).rejects.toMatchObject({ code: "NOT_OPEN" });
  const ada = await person("ada");
  front.down = true;
  front.cut();
  const waiting = expect(ada.restore("a")).rejects.toMatchObject({ code: "CLOSED" });
  ada.close();
  await waiting;
  const late = await person("bo").then((it) => (it.close(), it));
  await expect(late.restore("a")).rejects.toMatchObject({ code: "CLOSED" });
});

const isNotFound = (error: unknown) => expect(error).toMatchObject({ code: "NOT_FOUND" });

test("on bad lines each undo takes back one edit, whatever is restored in between, and everybody ends with one text", async () => {
  const seed = seedOf("versions");
  for (let round = 0; round < 10 * Number(process.env["STOA_ROUNDS"] ?? 1); round++) {
    const random = new Random(seed + round);
    wildFront(random);
    const people = await Promise.all(["ada", "bo"].map((user) => person(user, { random: random.next, answerTimeoutMs: 2_000, backoffMaxMs: 1_000 })));
    await pass(2_000);
    let taken = 0;
    const asked: Promise<unknown>[] = [];
    for (let step = 0; step < 120; step++) {
      const document = random.pick(people);
      const at = random.below(document.text.length + 1);
      const what = random.below(8);
      if (what === 0)
        asked.push(document.undo().then(() => (taken += 1), isNotFound));
      else if (what === 1) asked.push(document.restore("tag").catch(isNotFound));
      else if (what === 2) void document.tag("tag").catch(() => undefined);
      else if (what === 3) front.cut(random.pick(["ada", "bo"]));
      else if (what === 4) front.swallow(random.pick(["doc.undo", "doc.restore", "doc.submit"]), random.chance(0.5) ? "reply" : "request");
      else document.replace(at, Math.min(at + random.below(3), document.text.length), `${step},`);
      await pass(random.below(150));
    }
    front.calm();
    await pass(120_000);
    await Promise.all(asked);
    const { undone, written } = front.doc("lobby", "main");
    const context = `STOA_SEED=${seed + round}`;
    expect(people.map(({ text: it, state }) => [it, state]), context).toEqual([[text(), "synchronised"], [text(), "synchronised"]]);
    expect(undone.size, context).toBe(taken);
    expect(written.count((writer) => writer.endsWith(":undo")), context).toBe(taken);
    vi.restoreAllMocks();
  }
});
