/** What the client does when the front's limits do not allow something yet. */
import { describe, expect, test, vi } from "vitest";
import { connect, type Limit, type Message } from "../src/index.js";
import { front, pass } from "./each-front.js";

function person(user: string) {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket });
  const limits: Limit[] = [];
  stoa.on("limited", (limit) => limits.push(limit));
  const room = stoa.room("lobby", { presence: {} });
  return { stoa, room, limits, document: room.doc("main", { create: "" }) };
}
const limited = (retryAfterMs: number, times = 1) => ({ retry: true, retryAfterMs, times });

describe("limits", () => {
  test("messages wait as long as told, keep their order and identity, and are said once", async () => {
    const { room, limits } = person("ada");
    await pass(10);
    front.refuse("msg.post", "RATE_LIMITED", limited(2_000, 3));
    const posted = ["one", "two", "three"].map((text) => room.messages.post(text));
    await pass(1_900);
    expect(front.messages("lobby")).toEqual([]);
    await pass(5_000);
    await Promise.all(posted);
    expect(front.messages("lobby").map(({ body }) => body)).toEqual(["one", "two", "three"]);
    const [first, ...again] = front.of("msg.post").map(({ client, seq }) => `${client} ${seq}`);
    expect(again.slice(0, 3)).toEqual([first, first, first]);
    expect(room.messages.list.map(({ body }: Message) => body)).toEqual(["one", "two", "three"]);
    expect(limits).toEqual(Array<Limit>(3).fill({ command: "msg.post", room: "lobby", retryAfterMs: 2_000 }));
  });

  test("an edit is sent again as soon as it may be, with what was typed meanwhile behind it", async () => {
    const { document, limits } = person("ada");
    await pass(10);
    front.refuse("doc.submit", "RATE_LIMITED", limited(30));
    document.edit(["a"]);
    await pass(5);
    document.edit([1, "b"]);
    expect(document.text).toBe("ab");
    await pass(20);
    expect(front.text("lobby", "main")).toBe("");
    await pass(30);
    expect([front.text("lobby", "main"), document.state]).toEqual(["ab", "synchronised"]);
    expect(front.of("doc.submit").map(({ seq }) => seq)).toEqual([1, 1, 2]);
    expect(limits).toMatchObject([{ command: "doc.submit", retryAfterMs: 30 }]);
  });

  test("those who were told the same time do not come back together again and again", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    const { room } = person("ada");
    await pass(10);
    front.refuse("msg.post", "RATE_LIMITED", limited(100, 3));
    room.messages.post("x").catch(() => undefined);
    const after = async (ms: number) => {
      await pass(ms);
      return front.of("msg.post").length;
    };
    expect([await after(90), await after(30)]).toEqual([1, 2]);
    expect([await after(110), await after(40)]).toEqual([2, 3]);
  });

  test("of cursors only the newest is told later, and nobody hears of a limit", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    ada.document.edit(["some text"]);
    await pass(10);
    front.refuse("doc.cursor", "RATE_LIMITED", limited(400));
    ada.document.setCursor({ anchor: 1, head: 1 });
    for (let head = 2; head < 8; head++) {
      await pass(20);
      ada.document.setCursor({ anchor: head, head });
    }
    await pass(200);
    expect([bo.document.cursors.size, front.of("doc.cursor").length]).toEqual([0, 1]);
    await pass(150);
    expect([...bo.document.cursors.values()].map(({ head }) => head)).toEqual([7]);
    expect(front.of("doc.cursor")).toHaveLength(2);
    // To take it away may be too much as well.
    front.refuse("doc.cursor", "RATE_LIMITED", limited(300));
    ada.document.setCursor(null);
    await pass(250);
    expect(bo.document.cursors.size).toBe(1);
    await pass(100);
    expect(bo.document.cursors.size).toBe(0);
    expect([ada.limits, bo.limits]).toEqual([[], []]);
  });

  test("typing that is too much is not told, and no error", async () => {
    const { stoa, room, limits } = person("ada");
    const errors: unknown[] = [];
    stoa.on("error", (error) => errors.push(error));
    await pass(10);
    front.refuse("presence.typing", "RATE_LIMITED", limited(1_000));
    room.presence.typing();
    await pass(10);
    expect([errors, limits]).toEqual([[], []]);
    await pass(3_100);
    room.presence.typing();
    await pass(10);
    expect(front.of("presence.typing").at(-1)).toMatchObject({ typing: true });
  });

  test("what somebody waits for rejects, and says when", async () => {
    const { room, limits } = person("ada");
    await pass(10);
    front.refuse("room.emit", "RATE_LIMITED", limited(700));
    const emitted = expect(room.emit("wave", 1)).rejects.toMatchObject({ code: "RATE_LIMITED", retry: true, retryAfterMs: 700 });
    await pass(10);
    await emitted;
    expect(limits).toEqual([{ command: "room.emit", room: "lobby", retryAfterMs: 700 }]);
  });

  test("a connection that is ended for its floods comes back", async () => {
    const { stoa } = person("ada");
    const reasons: (string | undefined)[] = [];
    stoa.on("state", ({ state, reason }) => state === "offline" && reasons.push(reason));
    await pass(10);
    front.refuse("connect", "RATE_LIMITED", limited(5_000));
    front.close(4004, "RATE_LIMITED");
    await pass(4_900);
    expect(stoa.state).toBe("offline");
    await pass(3_000);
    expect([stoa.state, reasons]).toEqual(["online", ["RATE_LIMITED", "RATE_LIMITED"]]);
  });
});
