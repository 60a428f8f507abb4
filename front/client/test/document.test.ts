import { describe, expect, test } from "vitest";
import { connect, StoaError, type DocumentState, type Operation } from "../src/index.js";
import { front, pass } from "./each-front.js";

function person(user: string, create: string | undefined = "abc") {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket });
  const errors: string[] = [];
  stoa.on("error", ({ code }) => errors.push(code));
  const document = stoa.room("lobby").doc("main", create === undefined ? {} : { create });
  const states: DocumentState[] = [];
  document.on("state", (state) => states.push(state));
  const remote: Operation[] = [];
  document.on("remote", (op) => remote.push(op));
  return { stoa, document, states, remote, errors };
}
const text = () => front.text("lobby", "main");

describe("opening", () => {
  test("a missing document is created with the text, once, and shown", async () => {
    const ada = person("ada");
    const shown: string[] = [];
    ada.document.on("reset", (it) => shown.push(it));
    expect(() => ada.document.edit(["x"])).toThrow(expect.objectContaining({ code: "NOT_OPEN" }) as Error);
    await pass(10);
    const bo = person("bo", "something else");
    await pass(10);
    expect([ada.document.text, bo.document.text, ada.document.rev, shown]).toEqual(["abc", "abc", 0, ["abc"]]);
    await ada.document.opened;
  });

  test("without create it stays missing, until somebody makes it", async () => {
    const ada = connect({ url: "ws://front/ws", token: "ada", WebSocket: front.Socket });
    const document = ada.room("lobby").doc("main");
    await pass(10);
    expect(document.state).toBe("missing");
    await expect(document.opened).rejects.toMatchObject({ code: "NOT_FOUND" });
    person("bo");
    await pass(10);
    expect([document.state, document.text]).toEqual(["synchronised", "abc"]);
  });

  test("closing stops everything", async () => {
    const ada = person("ada");
    await pass(10);
    ada.document.close();
    await pass(10);
    front.edit("lobby", "main", ["x"]);
    await pass(10);
    expect([ada.document.state, ada.document.text, front.of("doc.close").length]).toEqual(["closed", "abc", 1]);
    expect(() => ada.document.edit(["x"])).toThrow(expect.objectContaining({ code: "CLOSED" }) as Error);
    expect(ada.stoa.room("lobby").doc("main")).not.toBe(ada.document);
  });
});

test("earlier texts and operations can be read", async () => {
  const ada = person("ada");
  await pass(10);
  front.pageMax = 2;
  for (const letter of "def") {
    ada.document.edit([ada.document.text.length, letter]);
    await pass(10);
  }
  const texts = Promise.all([ada.document.get(), ada.document.get(1)]);
  const pages = Promise.all([ada.document.ops(0), ada.document.ops(2, 3)]);
  const none = expect(ada.document.get(9)).rejects.toMatchObject({ code: "STALE" });
  await pass(10);
  expect((await texts).map(({ rev, content }) => [rev, content])).toEqual([[3, "abcdef"], [1, "abcd"]]);
  expect((await pages).map(({ through, events }) => [through, ...events.map(({ op, user }) => [op, user])])).toEqual([
    [2, [[3, "d"], "ada"], [[4, "e"], "ada"]],
    [3, [[5, "f"], "ada"]],
  ]);
  await none;
});

describe("three states", () => {
  test("one operation is on its way, what is typed meanwhile is one more", async () => {
    const ada = person("ada");
    await pass(10);
    front.delay = () => 20;
    ada.document.edit([3, "d"]);
    ada.document.edit([4, "e"]);
    ada.document.edit([5, "f"]);
    expect(ada.document.text).toBe("abcdef");
    await pass(200);
    expect(ada.states).toEqual(["synchronised", "awaiting", "awaiting-with-buffer", "awaiting", "synchronised"]);
    expect(front.of("doc.submit").map(({ op, rev, len }) => [op, rev, len])).toEqual([[[3, "d"], 0, 3], [[4, "ef"], 1, 4]]);
    expect(text()).toBe("abcdef");
  });

  test("what is typed over what was deleted stands before the deletion", async () => {
    const ada = person("ada");
    await pass(10);
    ada.document.edit([3, "."]);
    ada.document.edit([1, -1]);
    ada.document.edit([1, "X"]);
    await pass(100);
    expect(front.of("doc.submit")[1]?.["op"]).toEqual([1, "X", -1]);
  });

  test("at one place the text of the later arrival stands left, on every screen", async () => {
    const ada = person("ada");
    const bo = person("bo");
    await pass(10);
    front.delay = () => 20;
    ada.document.edit([1, "A"]);
    bo.document.edit([1, "B"]);
    await pass(200);
    expect(text()).toBe("aBAbc");
    expect([ada.document.text, bo.document.text]).toEqual(["aBAbc", "aBAbc"]);
  });

  test("own edits never come back as remote ones", async () => {
    front.duplicates = 1;
    const ada = person("ada");
    await pass(10);
    for (let i = 0; i < 5; i++) ada.document.edit(["x"]);
    await pass(100);
    expect(ada.remote).toEqual([]);
    expect(ada.document.rev).toBe(front.doc("lobby", "main").rev);
  });

  test("the event may come long before the reply, and the reply long before the event", async () => {
    for (const slow of ["replies", "events"] as const) {
      const ada = person(`ada-${slow}`);
      await pass(50);
      let lane = 0;
      // Requests take no time; of reply and event, one is slow.
      front.delay = () => [0, slow === "replies" ? 0 : 500, slow === "replies" ? 500 : 0][lane++ % 3] as number;
      const before = text();
      ada.document.edit(["1"]);
      await pass(100);
      expect(ada.document.state).toBe("synchronised");
      front.delay = () => 0;
      await pass(1_000);
      expect([text(), ada.document.text]).toEqual([`1${before}`, `1${before}`]);
      ada.stoa.close();
    }
  });

  test("a reply that overtakes others' operations brings them along", async () => {
    const ada = person("ada");
    await pass(10);
    let slow = true;
    front.delay = () => (slow ? 0 : 0);
    // Two events are on a slow way when the own edit is answered.
    front.delay = () => 500;
    front.edit("lobby", "main", ["X"]);
    front.edit("lobby", "main", ["Y"]);
    front.delay = () => 0;
    slow = false;
    ada.document.edit([3, "!"]);
    await pass(50);
    expect([ada.document.text, ada.document.state]).toEqual(["YXabc!", "synchronised"]);
    await pass(1_000);
    expect([ada.document.text, text()]).toEqual(["YXabc!", "YXabc!"]);
  });

  test("an edit that others made meaningless is acknowledged without a revision", async () => {
    const ada = person("ada");
    await pass(10);
    front.delay = () => 20;
    front.edit("lobby", "main", [-3]);
    ada.document.edit([1, -1]);
    await pass(200);
    expect([ada.document.text, ada.document.state, ada.document.rev, text()]).toEqual(["", "synchronised", 1, ""]);
    ada.document.edit(["on"]);
    await pass(200);
    expect(text()).toBe("on");
  });

  test("a large paste is sent in parts", async () => {
    const ada = person("ada");
    await pass(10);
    const paste = "😀 ".repeat(100_000);
    ada.document.edit([3, paste]);
    await pass(1_000);
    expect(text()).toBe(`abc${paste}`);
    expect(front.of("doc.submit").length).toBe(3);
  });
});

describe("bad lines", () => {
  test("a lost answer: the operation is sent again with its identity and is applied once", async () => {
    const ada = person("ada");
    await pass(10);
    front.swallow("doc.submit", "reply");
    front.delay = () => 50;
    ada.document.edit(["1"]);
    await pass(60);
    front.cut();
    ada.document.edit(["2"]);
    await pass(5_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["21abc", "21abc", "synchronised"]);
  });

  test("a lost request: the operation is sent again after a while", async () => {
    const ada = person("ada");
    await pass(10);
    front.swallow("doc.submit", "request");
    ada.document.edit(["1"]);
    await pass(13_000);
    expect([text(), ada.document.state]).toEqual(["1abc", "synchronised"]);
  });

  test("a whole session without a line is one operation afterwards", async () => {
    const ada = person("ada");
    const bo = person("bo");
    await pass(10);
    front.cut("ada");
    front.down = true;
    for (const letter of "hello") ada.document.edit([ada.document.text.length, letter]);
    bo.document.edit([1, -1]);
    await pass(3_000);
    front.down = false;
    // Longer than the longest back-off: chance may have drawn a long one after many refusals.
    await pass(31_000);
    expect([text(), ada.document.text, bo.document.text]).toEqual(["achello", "achello", "achello"]);
    expect(front.of("doc.submit").filter(({ op }) => JSON.stringify(op).includes("hello"))).toHaveLength(1);
  });

  test("an event that is missing makes the document open again", async () => {
    const ada = person("ada");
    await pass(10);
    const { epoch } = front.doc("lobby", "main");
    front.push("lobby", { event: "doc.applied", stream: "doc:main", epoch, from: 7, rev: 8, op: ["?"] });
    await pass(10);
    expect([ada.document.text, ada.document.state, front.of("doc.open").length]).toEqual(["abc", "synchronised", 2]);
  });
});

describe("replaced history", () => {
  /** Ada has an edit under way and a buffer while something happens to the document. */
  async function meanwhile(happens: () => void) {
    const ada = person("ada", "one two three");
    await pass(10);
    front.edit("lobby", "main", [13, " four"]);
    await pass(10);
    front.down = true;
    front.cut();
    ada.document.edit(["<"]);
    ada.document.edit([ada.document.text.length, ">"]);
    happens();
    front.down = false;
    await pass(40_000);
    expect(ada.document.state).toBe("synchronised");
    expect(ada.document.text).toBe(text());
    return { ...ada, text: text() };
  }

  test("trimmed: what was missed is a difference, own edits stay", async () => {
    const { text } = await meanwhile(() => {
      front.opsKept = 1;
      front.edit("lobby", "main", [4, "2", -3]);
      front.edit("lobby", "main", ["0 "]);
    });
    expect(text).toBe("<0 one 2 three four>");
  });

  test("rollback: history that was lost is gone, own unacknowledged edits stay", async () => {
    const { text } = await meanwhile(() => front.rollback("lobby", "main", 0));
    expect(text).toBe("<one two three>");
  });

  test("reset: the new text, with own unacknowledged edits", async () => {
    const { text } = await meanwhile(() => front.reset("lobby", "main", "one more three four"));
    expect(text).toBe("<one more three four>");
  });

  test("reset and resync of a live document", async () => {
    const ada = person("ada", "one two");
    await pass(10);
    front.reset("lobby", "main", "one 2");
    await pass(10);
    expect(ada.document.text).toBe("one 2");
    const lost: unknown[] = [];
    ada.document.on("lost", (...told) => lost.push(told));
    front.rollback("lobby", "main", 0);
    await pass(10);
    expect(lost).toEqual([]);
    ada.document.edit(["!"]);
    await pass(10);
    expect([text(), ada.document.text]).toEqual(["!one 2", "!one 2"]);
    // The difference is all that an editor has to show.
    expect(ada.remote.flat().filter((part) => typeof part === "string")).toEqual(["2"]);
  });

  test("a resync while an own edit is under way does not double it", async () => {
    const ada = person("ada");
    await pass(10);
    front.swallow("doc.submit", "reply");
    front.delay = () => 30;
    ada.document.edit(["1"]);
    await pass(31);
    // The front has it; its event and reply are not here yet when the snapshot comes.
    front.delay = () => 0;
    front.resync("lobby", "main");
    ada.document.edit(["2"]);
    await pass(30_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["21abc", "21abc", "synchronised"]);
  });

  test.each(["STALE", "DESYNC", "AHEAD", "ROLLBACK", "RESET"])("%s: the text is loaded again and the edit is sent on top of it", async (code) => {
    const ada = person("ada");
    await pass(10);
    front.refuse("doc.submit", code);
    ada.document.edit(["1"]);
    ada.document.edit(["2"]);
    await pass(5_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["21abc", "21abc", "synchronised"]);
  });

  test("a document whose text differs silently is noticed and healed", async () => {
    const ada = person("ada");
    await pass(10);
    const { epoch } = front.doc("lobby", "main");
    // An operation that the front has never accepted.
    front.push("lobby", { event: "doc.applied", stream: "doc:main", epoch, from: 0, rev: 1, op: ["wrong "] });
    await pass(10);
    expect(ada.document.text).toBe("wrong abc");
    ada.document.edit([9, "!"]);
    await pass(5_000);
    expect([text(), ada.document.text]).toEqual(["abc!", "abc!"]);
  });

  test("an own edit that was accepted as something else is noticed and healed", async () => {
    const ada = person("ada");
    await pass(10);
    front.swallow("doc.submit", "request");
    ada.document.edit(["mine "]);
    ada.document.edit([8, "!"]);
    front.edit("lobby", "main", ["theirs "], { user: "ada", client: ada.stoa.client, seq: 1 });
    await pass(15_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["theirs abc!", "theirs abc!", "synchronised"]);
  });

  test("what the front made of an own edit stands, also when the line breaks before more can be asked", async () => {
    const ada = person("ada");
    await pass(10);
    front.swallow("doc.submit", "request");
    ada.document.edit(["mine!"]);
    // As long as the own one, so that no length tells.
    front.edit("lobby", "main", ["their"], { user: "ada", client: ada.stoa.client, seq: 1 });
    front.delay = () => 100;
    await pass(10);
    front.cut();
    front.delay = () => 0;
    await pass(15_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["theirabc", "theirabc", "synchronised"]);
  });

  test("a snapshot, a cut, a resend: an edit that the front had accepted before is shown where the front has it", async () => {
    const ada = person("ada", "xxxx");
    await pass(10);
    front.swallow("doc.submit", "reply");
    front.delay = () => 40;
    ada.document.edit([2, "A"]);
    // It is accepted; its event and its answer are lost with the line.
    await pass(41);
    front.cut();
    front.delay = () => 0;
    // Where it went in a text that looks the same all over cannot be seen from a difference.
    front.edit("lobby", "main", ["xx"]);
    front.opsKept = 0;
    await pass(1);
    ada.document.edit([3, "B"]);
    await pass(5_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["xxxxABxx", "xxxxABxx", "synchronised"]);
  });

  test("an accepted edit whose operation is no longer kept is not doubled", async () => {
    const ada = person("ada");
    await pass(10);
    front.delay = () => 40;
    ada.document.edit(["1"]);
    await pass(41);
    front.cut();
    front.delay = () => 0;
    front.opsKept = 0;
    await pass(5_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["1abc", "1abc", "synchronised"]);
  });

  test("a failover lost an accepted edit whose answer comes late: it is sent again", async () => {
    const ada = person("ada");
    await pass(10);
    let lane = 0;
    // The request and all events take no time, the answer takes long.
    front.delay = () => (lane++ === 1 ? 200 : 0);
    ada.document.edit([3, "!"]);
    front.rollback("lobby", "main", 0);
    await pass(0);
    front.delay = () => 0;
    await pass(5_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["abc!", "abc!", "synchronised"]);
  });

  test("a failover lost an accepted edit whose event is missing, and another one came after it: it is sent again", async () => {
    const ada = person("ada");
    await pass(10);
    const takenOver = (rev: number) => front.rollback("lobby", "main", rev, { toldMs: Infinity });
    takenOver(0);
    front.down = true;
    front.eventsLateMs = 1_000;
    front.edit("lobby", "main", ["1"]);
    ada.document.edit([3, "!"]);
    // The answer names an epoch that is not known here, and nothing more comes.
    front.swallow("doc.open", "request");
    await pass(100);
    expect([text(), ada.document.state]).toEqual(["1abc!", "awaiting"]);
    front.cut();
    takenOver(1);
    front.edit("lobby", "main", ["2"]);
    takenOver(2);
    front.edit("lobby", "main", ["3"]);
    front.down = false;
    await pass(20_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["321abc!", "321abc!", "synchronised"]);
  });

  test("an own edit that a document took with it when it was deleted is in the one made after it, once", async () => {
    const ada = person("ada");
    await pass(10);
    front.swallow("doc.submit", "reply");
    front.delay = () => 40;
    ada.document.edit([3, "!"]);
    await pass(41);
    expect(text()).toBe("abc!");
    front.cut();
    front.delay = () => 0;
    front.reset("lobby", "main", "new abc");
    await pass(5_000);
    // Nobody ever said that it was accepted: to its author it is unsaved work.
    expect([text(), ada.document.text, ada.document.state]).toEqual(["new abc!", "new abc!", "synchronised"]);
  });

  test("an accepted edit whose event does not say whose it is is not doubled", async () => {
    const ada = person("ada");
    await pass(10);
    front.swallow("doc.submit", "request");
    ada.document.edit(["mine "]);
    front.edit("lobby", "main", ["mine "], { user: "ada" });
    front.doc("lobby", "main").written.remember(`ada ${ada.stoa.client}`, 1, { rev: 1, epoch: front.doc("lobby", "main").epoch, op: ["mine "], concurrent: [] });
    await pass(15_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["mine abc", "mine abc", "synchronised"]);
  });

  test("a document that is deleted: missing, or made again", async () => {
    const ada = person("ada");
    await pass(10);
    front.remove("lobby", "main");
    await pass(10);
    expect([ada.document.state, ada.document.text]).toEqual(["synchronised", "abc"]);
  });
});

describe("refusals", () => {
  test("an edit that may not be made is taken back, what was typed after it is not", async () => {
    const ada = person("ada");
    await pass(10);
    const refused: [StoaError, Operation][] = [];
    ada.document.on("refused", (error, op) => refused.push([error, op]));
    front.delay = () => 10;
    front.refuse("doc.submit", "TOO_LARGE");
    ada.document.edit([1, "XX", -1]);
    ada.document.edit([4, "!"]);
    expect(ada.document.text).toBe("aXXc!");
    await pass(200);
    expect(refused.map(([error, op]) => [error.code, op])).toEqual([["TOO_LARGE", [1, "XX", -1]]]);
    expect([ada.document.text, text(), ada.document.state]).toEqual(["abc!", "abc!", "synchronised"]);
    expect(ada.remote).toEqual([[1, -2, "b"]]);
  });

  test("refused for now: sent again when the front says", async () => {
    const ada = person("ada");
    await pass(10);
    front.refuse("doc.submit", "RATE_LIMITED", { retry: true, retryAfterMs: 2_000 });
    ada.document.edit(["1"]);
    await pass(1_900);
    expect(text()).toBe("abc");
    await pass(200);
    expect(text()).toBe("1abc");
  });

  test("FORGOTTEN means that it happened", async () => {
    const ada = person("ada");
    await pass(10);
    front.swallow("doc.submit", "reply");
    front.delay = () => 40;
    ada.document.edit(["1"]);
    await pass(50);
    front.cut();
    front.delay = () => 0;
    // So long ago that neither the operation nor its identity is known.
    front.opsKept = 0;
    front.refuse("doc.submit", "FORGOTTEN");
    await pass(5_000);
    expect([text(), ada.document.text, ada.document.state]).toEqual(["1abc", "1abc", "synchronised"]);
  });

  test.each([[[9, "x"]], [[-9]], [["a\rb"]], [["\ud83d"]]])("%j is refused at once and changes nothing", async (op) => {
    const ada = person("ada");
    await pass(10);
    expect(() => ada.document.edit(op)).toThrow(expect.objectContaining({ code: "INVALID_OPERATION" }) as Error);
    expect([ada.document.text, ada.document.state]).toEqual(["abc", "synchronised"]);
  });

  test("an edit in the middle of a pair is widened", async () => {
    const ada = person("ada", "😀");
    await pass(10);
    ada.document.edit([1, -1, "\ude01"]);
    await pass(10);
    expect([text(), ada.document.text]).toEqual(["😁", "😁"]);
  });
});

describe("positions of others", () => {
  test("a position that was told at a revision is found in the text of now, own edits included", async () => {
    const ada = person("ada");
    await pass(10);
    expect(ada.document.locate(0, 3)).toBe(3);
    front.edit("lobby", "main", ["12"]);
    await pass(10);
    ada.document.edit(["mine "]);
    // One operation is under way, one waits.
    ada.document.edit([ada.document.text.length, "!"]);
    expect([ada.document.locate(0, 3), ada.document.locate(1, 3), ada.document.locate(1, 0)]).toEqual([10, 8, 0]);
    expect(ada.document.locate(1, 0, "right")).toBe(5);
    await pass(10);
    expect([ada.document.locate(0, 3), ada.document.locate(1, 3)]).toEqual([10, 8]);
    expect(ada.document.locate(99, 3)).toBe(undefined);
    for (let i = 0; i < 1_050; i++) front.edit("lobby", "main", ["x"]);
    await pass(10);
    expect([ada.document.locate(0, 3), ada.document.locate(1_050, 0)]).toEqual([undefined, 0]);
  });
});
