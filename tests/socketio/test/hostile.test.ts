/** What no client should send: it is answered, the connection lives on, and so does the front. */
import { runs, startFront, startRedis, until } from "real-front";
import { describe, expect, test } from "vitest";
import WebSocket from "ws";
import { person } from "./people.js";

/** Nothing of this is an argument of any command. */
const NEVER = [undefined, null, 7, true, "", "a room with blanks", [], ["lobby"], { roomId: 7 }, { roomId: null }, { roomId: "" }, { roomId: "x".repeat(300) }];
/** Each command with what it takes, and of each field something that it does not. */
const COMMANDS: [event: string, argument: object, wrong: object][] = [
  ["join-room", { roomId: "lobby" }, {}],
  ["leave-room", { roomId: "elsewhere" }, {}],
  ["send-message", { roomId: "lobby", content: "x" }, { content: [7, null, {}, []], type: [7, "UPPER CASE"], metadata: ["text", [], 7], replyTo: [7, "nonsense", "lobby#", "lobby#0x1"], mentions: ["ada", [7]], clientId: [7] }],
  ["edit-message", { messageId: "lobby#1", content: "x" }, { messageId: [7, null, "lobby", "#1", "lobby#-1", "lobby#1e9", "lobby#99999999999999999999"], content: [7, null, {}] }],
  ["delete-message", { messageId: "lobby#1" }, { messageId: [7, null, "lobby", "#1", "lobby#NaN"] }],
  ["add-reaction", { messageId: "lobby#1", emoji: "x" }, { messageId: [7, "lobby"], emoji: [7, null, "", "x".repeat(100), "\u0000"] }],
  ["remove-reaction", { messageId: "lobby#1", emoji: "x" }, { messageId: [7], emoji: [7] }],
  ["mark-as-read", { roomId: "lobby", messageIds: ["lobby#1"] }, { messageIds: ["lobby#1", [7], {}, ["other#1"]] }],
  ["get-messages", { roomId: "lobby" }, { before: [7, "nonsense"], after: [7], count: ["many", -1, 0, 1.5, 1e9] }],
  ["typing-start", { roomId: "lobby" }, {}],
  ["typing-stop", { roomId: "lobby" }, {}],
  ["get-room-presence", { roomId: "lobby" }, {}],
  ["join-document", { documentId: "lobby" }, { documentId: [7, null, "", "a b", "x".repeat(300)] }],
  ["leave-document", { documentId: "elsewhere" }, { documentId: [7, null, ""] }],
  [
    "operation",
    { documentId: "lobby", operation: { type: "insert", position: 0, content: "x" }, version: 0 },
    {
      documentId: [7, null],
      version: [null, "0", -1, 1.5, 1e300],
      operation: [
        null, 7, "insert", {}, [null], [{}], [1.5], [[]],
        { type: "explode", position: 0 }, { type: "insert", position: 0 }, { type: "insert", position: -1, content: "x" }, { type: "insert", position: 1e15, content: "x" },
        { type: "insert", position: "0", content: "x" }, { type: "insert", position: 0, content: 7 }, { type: "delete", position: 0 }, { type: "delete", position: 0, length: -5 },
        { type: "delete", position: 0, length: 1e15 }, { type: "delete", position: 0.5, length: 1 },
      ],
    },
  ],
  ["cursor-position", { documentId: "lobby", position: 0 }, { documentId: [7], position: ["0", -1, {}], selection: [7, { start: "a" }] }],
  ["subscribe:job", { jobId: "7" }, { jobId: [null, {}, "", "a b"] }],
  ["unsubscribe:job", { jobId: "8" }, { jobId: [null, {}] }],
  ["subscribe:presence", { documentId: "lobby" }, { documentId: [7, null, ""] }],
  ["unsubscribe:presence", { documentId: "elsewhere" }, { documentId: [7, null] }],
  ["emit", { roomId: "lobby", event: "x" }, { event: [7, null, "", {}], to: [7, {}, { userId: 7 }] }],
  ["get-presence", {}, { userIds: ["ada", 7, [7], {}] }],
  ["update-presence", { status: "online" }, { status: [7, {}, "has blanks", "x".repeat(100)] }],
  ["presence:update", { documentId: "lobby" }, { documentId: [7, {}] }],
  ["refresh-token", { token: "x" }, { token: [7, null, {}] }],
];

describe.runIf(runs)("hostile input", () => {
  test("every command answers what it does not understand, and the connection lives on", async () => {
    const redis = await startRedis();
    const front = await startFront(redis);
    const ada = await person(front.port, "ada");
    const errors: unknown[] = [];
    ada.socket.on("error", (error) => errors.push(error));
    await ada.does("join-room", "lobby");
    await ada.does("send-message", { roomId: "lobby", content: "one" });
    const lax: string[] = [];
    for (const [event, argument, wrong] of COMMANDS) {
      const takesNothing = /^(get-presence|update-presence|presence:update)$/.test(event);
      const never = takesNothing ? NEVER.filter((it) => typeof it === "number" || typeof it === "boolean" || Array.isArray(it)) : NEVER;
      const broken = Object.entries(wrong).flatMap(([field, values]) => (values as unknown[]).map((value) => ({ ...argument, [field]: value })));
      const answers = await Promise.all([...never, ...broken].map(async (it) => [it, await ada.answer(event, ...(it === undefined ? [] : [it]))] as const));
      for (const [it, { error }] of answers) {
        if (error === undefined) lax.push(`${event} ${JSON.stringify(it)?.slice(0, 200)}`);
        else expect([event, it, error]).toEqual([event, it, expect.objectContaining({ code: expect.stringMatching(/^[A-Z_]+$/), message: expect.stringMatching(/\w/), retry: false })]);
      }
    }
    expect(lax, "taken, though it is wrong").toEqual([]);
    // Without a callback it is told as an event.
    for (const [event] of COMMANDS) {
      errors.length = 0;
      ada.socket.emit(event, 7);
      await until(`the error of ${event}`, () => errors.length > 0);
      expect(errors[0]).toMatchObject({ code: expect.stringMatching(/^[A-Z_]+$/) });
    }
    for (const event of ["no-such-event", "__proto__", "constructor", "", "message"]) {
      expect(await ada.isRefused(event, {})).toMatchObject({ code: expect.stringMatching(/^(UNKNOWN_COMMAND|INVALID_ARGUMENT)$/) });
    }
    // More arguments than anybody reads, and nesting without an end.
    let deep: unknown = 0;
    for (let n = 0; n < 1_000; n++) deep = [deep];
    await ada.answer("emit", { roomId: "lobby", event: "deep", data: deep });
    await ada.answer("join-room", "lobby", 1, 2, 3);
    await ada.does("send-message", { roomId: "lobby", content: "two" });
    const { messages } = await ada.does("get-messages", { roomId: "lobby" });
    expect(messages.map(({ content }: { content: string }) => content)).toEqual(["one", "two"]);
    expect(ada.refusals).toEqual([]);
  });

  test("packets that are none end that connection at most", async () => {
    const redis = await startRedis();
    const front = await startFront(redis);
    const ada = await person(front.port, "ada");
    await ada.does("join-room", "lobby");
    const packets = [
      "", "4", "9", "x", "42", "42{", "42[", '42["join-room"', "42[]", "42[7]", "42[null]", '42{"a":1}', "43", "43[]", "439999[]", "451-", '451-["emit",{"_placeholder":true,"num":7}]', '459999999-["x"]',
      '45-1-["x"]', "44", "40/nowhere,", "40{", "40/", '42/chat,["join-room","lobby"]', `42["${"x".repeat(10_000)}"]`, "3probe", "2probe", "5", "6", "\u001e", "4\u001e4", "0{}", "1",
      Buffer.from([]), Buffer.from([1, 2, 3]),
    ];
    for (const packet of packets) {
      const line = new WebSocket(`ws://127.0.0.1:${front.port}/socket.io/?EIO=4&transport=websocket`);
      let [opened, closed] = [false, false];
      line.on("message", () => (opened = true)).on("error", () => undefined).on("close", () => (closed = true));
      await until("it is open", () => opened || closed);
      line.send(packet);
      // Before `40` nothing is understood but that; whatever happens to this line, it is soon or never.
      line.send("1");
      await until(`${JSON.stringify(packet)} to be over`, () => closed, 10_000).catch(() => line.terminate());
    }
    const polls = ["", "x", "4", "\u001e", "42[", "b!!!", "b", `4${"2".repeat(1_000)}`, "b".repeat(2_000_000)];
    for (const body of polls) {
      const opening = await (await fetch(`http://127.0.0.1:${front.port}/socket.io/?EIO=4&transport=polling`)).text();
      const { sid } = JSON.parse(opening.slice(1)) as { sid: string };
      const answer = await fetch(`http://127.0.0.1:${front.port}/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: "POST", body, headers: { "content-type": "text/plain" } }).catch(() => undefined);
      expect(answer?.status ?? 400).toBeLessThan(500);
    }
    expect((await fetch(`http://127.0.0.1:${front.port}/readyz`)).status).toBe(200);
    expect((await ada.does("send-message", { roomId: "lobby", content: "still here" })).messageId).toBe("lobby#1");
    expect(ada.socket.connected).toBe(true);
  });

  test("what people write comes as they wrote it, and is never more than text", async () => {
    const redis = await startRedis();
    const front = await startFront(redis);
    const [ada, bo] = [await person(front.port, "ada"), await person(front.port, "bo")];
    for (const who of [ada, bo]) await who.does("join-room", "lobby");
    const texts = ['<img src=x onerror="alert(1)">', "__proto__", "\u202egnp.exe", '"],["forged', "\u001e4\u001e42[\"kicked\"]", "a\u2028b\u2029c", "👩‍👩‍👧", "\ud83d"];
    for (const content of texts) await ada.answer("send-message", { roomId: "lobby", content });
    await ada.does("send-message", { roomId: "lobby", content: "end", metadata: { ["__proto__x"]: 1, constructor: { prototype: 2 } } });
    await bo.hears("new-message", ({ content }) => content === "end");
    const heard = bo.all<{ content: string }>("new-message").map(({ content }) => content);
    expect(heard.slice(0, 7)).toEqual(texts.slice(0, 7));
    expect(bo.all("kicked")).toEqual([]);
  });
});
