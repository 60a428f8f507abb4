/** `/chat`: messages with types, metadata, answers, edits and reactions; what is refused; limits. */
import { runs, startFront, startRedis, until } from "real-front";
import { describe, expect, test } from "vitest";
import { native, person } from "./people.js";

interface ChatMessage {
  id: string;
  roomId: string;
  userId: string;
  username: string;
  content: string;
  type: "text" | "code" | "file" | "system";
  metadata?: { language?: string };
  reactions: { emoji: string; users: string[] }[];
  replyTo?: string;
  timestamp: string;
  edited?: boolean;
}

const namespace = "/chat";
const roomId = "solidity-101";

describe.runIf(runs)("/chat", () => {
  test("people send code, answer it, edit it and react to it", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis), await startFront(redis)];
    const [ada, bo] = [await person(one.port, "ada", { namespace }), await person(two.port, "bo", { namespace })];
    for (const who of [ada, bo]) {
      const { messages, typing } = await who.does("join-room", { roomId });
      expect([messages, typing]).toEqual([[], []]);
    }
    await ada.hears("user-joined", ({ userId }) => userId === "bo");
    bo.socket.emit("typing-start", { roomId });
    await ada.hears("user-typing", ({ userId, isTyping }) => userId === "bo" && isTyping);
    bo.socket.emit("typing-stop", { roomId });
    await ada.hears("user-typing", ({ userId, isTyping }) => userId === "bo" && !isTyping);
    expect(bo.all("user-typing")).toEqual([]);

    const content = "contract Store {\n\tuint256 x;\n}";
    ada.socket.emit("send-message", { roomId, content, type: "code", metadata: { language: "solidity" } });
    const code = await bo.hears<ChatMessage>("new-message");
    expect(code).toMatchObject({ roomId, userId: "ada", username: "Ada", content, type: "code", metadata: { language: "solidity" }, reactions: [] });
    expect(code.timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    expect(await ada.hears("new-message")).toEqual(code);

    const { messageId } = await bo.does("send-message", { roomId, content: "Why uint256?", type: "text", replyTo: code.id });
    const answer = await ada.hears<ChatMessage>("new-message", ({ id }) => id === messageId);
    expect(answer).toMatchObject({ userId: "bo", replyTo: code.id });

    bo.socket.emit("edit-message", { messageId: answer.id, newContent: "Why not uint8?" });
    const edited = await ada.hears("message-edited");
    expect(edited).toMatchObject({ messageId: answer.id, content: "Why not uint8?" });
    expect(await ada.hears<ChatMessage>("message-updated", ({ id }) => id === answer.id)).toMatchObject({ content: "Why not uint8?", edited: true, replyTo: code.id });

    ada.socket.emit("add-reaction", { messageId: answer.id, emoji: "👍" });
    const liked = await bo.hears<ChatMessage>("message-updated", ({ id, reactions }) => id === answer.id && reactions.length > 0);
    expect(liked).toMatchObject({ content: "Why not uint8?", reactions: [{ emoji: "👍", users: ["ada"], count: 1 }] });
    expect(await bo.does("add-reaction", { messageId: answer.id, emoji: "👍" })).toMatchObject({ count: 2 });
    expect(await ada.does("remove-reaction", { messageId: answer.id, emoji: "👍" })).toMatchObject({ count: 1 });
    await ada.hears<ChatMessage>("message-updated", ({ reactions }) => reactions[0]?.users.join() === "bo");

    // A front that never saw them shows their names all the same.
    bo.socket.disconnect();
    const third = await startFront(redis);
    const di = await person(third.port, "di", { namespace });
    const { messages: names } = await di.does<{ messages: ChatMessage[] }>("join-room", { roomId });
    expect(names.map(({ username }) => username)).toEqual(["Ada", "Bo"]);
    di.socket.disconnect();

    // Who comes later gets what was said, and pages through what was before.
    for (let n = 0; n < 60; n++) await ada.does("send-message", { roomId, content: `line ${n}` });
    const cy = await person(one.port, "cy", { namespace });
    const { messages, users, unread } = await cy.does<{ messages: ChatMessage[]; users: { userId: string }[]; unread: number }>("join-room", { roomId });
    expect([messages.length, messages.at(-1)?.content, unread]).toEqual([50, "line 59", 62]);
    expect(users.map(({ userId }) => userId)).toEqual(expect.arrayContaining(["ada", "cy"]));
    const older = await cy.does<{ messages: ChatMessage[]; more: boolean }>("get-messages", { roomId, before: messages[0]?.id });
    expect([older.messages.length, older.messages[0]?.id, older.messages[1]?.reactions[0]?.users, older.more]).toEqual([12, code.id, ["bo"], false]);
  });

  test("what is refused is said under the names that the code waits for, and the connection lives on", async () => {
    const redis = await startRedis();
    const front = await startFront(redis, "--limit", "user:message=5/5/1m");
    const ada = await person(front.port, "ada", { namespace });
    await ada.does("join-room", { roomId });
    for (const content of ["", " \n\t ", "x".repeat(300_000)]) {
      ada.forget();
      ada.socket.emit("send-message", { roomId, content, type: "text" });
      expect(await ada.hears("message-error")).toMatchObject({ message: expect.stringMatching(/\w/), code: expect.stringMatching(/^(INVALID_ARGUMENT|TOO_LARGE)$/) });
      expect((await ada.isRefused("send-message", { roomId, content, type: "text" })).code).toMatch(/^(INVALID_ARGUMENT|TOO_LARGE)$/);
    }
    expect(await ada.isRefused("edit-message", { messageId: `${roomId}#99`, content: "x" })).toMatchObject({ code: "NOT_FOUND", retry: false });
    await ada.hears("message-error", ({ code }) => code === "NOT_FOUND");

    // More than the limit at once: so many come, in order, and the rest is told.
    const rate = await startFront(redis, "--limit", "user:message=5/5/1m");
    const bo = await person(rate.port, "bo", { namespace });
    await bo.does("join-room", { roomId });
    for (let n = 0; n < 8; n++) bo.socket.emit("send-message", { roomId, content: `quick ${n}`, type: "text" });
    await until("three are refused", () => bo.all("rate-limited").length === 3);
    for (const refusal of bo.all("rate-limited")) {
      expect(refusal).toMatchObject({ message: expect.stringMatching(/\w/), code: "RATE_LIMITED" });
      expect(refusal.retry_after_ms).toBeGreaterThan(0);
    }
    await until("ada hears the others", () => ada.all("new-message").length === 5);
    expect(ada.all("new-message").map(({ content }) => content)).toEqual([0, 1, 2, 3, 4].map((n) => `quick ${n}`));
    expect(await bo.isRefused("send-message", { roomId, content: "still" })).toMatchObject({ code: "RATE_LIMITED", retry: true });
    expect(bo.socket.connected).toBe(true);
  });

  test("a resend with the same identity happens once", async () => {
    const redis = await startRedis();
    const front = await startFront(redis);
    const ada = await person(front.port, "ada", { namespace });
    await ada.does("join-room", { roomId });
    const once = { roomId, content: "once", clientId: "tab-1", seq: 1 };
    const [first, second] = [await ada.does("send-message", once), await ada.does("send-message", once)];
    expect(second.messageId).toBe(first.messageId);
    await ada.does("send-message", { roomId, content: "end" });
    await ada.hears("new-message", ({ content }) => content === "end");
    expect(ada.all("new-message").map(({ content }) => content)).toEqual(["once", "end"]);
  });

  test("people with Stoa's client and people with Socket.IO are in one room", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis), await startFront(redis)];
    const stoa = native(one.port, "ada");
    const room = stoa.room<{ name: string }>(roomId, { presence: { name: "Ada" } });
    await room.joined;
    const bo = await person(two.port, "bo", { namespace });
    const { users } = await bo.does("join-room", { roomId });
    expect(users.find(({ userId }: { userId: string }) => userId === "ada")).toMatchObject({ username: "Ada", name: "Ada", status: "online" });

    // Who is here, and what they do.
    await until("ada sees bo", () => room.presence.others.some(({ user, data }) => user === "bo" && data.name === "Bo"));
    await bo.does("update-presence", { roomId, status: "busy", activity: { type: "coding" } });
    await until("ada sees that bo is busy", () => room.presence.member("bo")?.status === "busy");
    room.presence.setStatus("away");
    expect(await bo.hears("presence-update", ({ userId, status }) => userId === "ada" && status === "away")).toMatchObject({ presence: { username: "Ada" } });
    bo.socket.emit("typing-start", roomId);
    await until("ada sees bo type", () => room.presence.typists.includes("bo"));

    // What they say.
    await room.messages.post({ text: "from Stoa", attachments: [{ name: "a.txt" }] });
    const heard = await bo.hears<ChatMessage>("new-message", ({ content }) => content === "from Stoa");
    expect(heard).toMatchObject({ userId: "ada", username: "Ada", attachments: [{ name: "a.txt" }] });
    await room.messages.post("just a string");
    await bo.hears<ChatMessage>("new-message", ({ content }) => content === "just a string");
    const { messageId } = await bo.does("send-message", { roomId, content: "from Socket.IO", replyTo: heard.id, metadata: { from: "phone" } });
    await until("ada reads it", () => room.messages.list.some(({ body }) => typeof body === "object" && body?.["text"] === "from Socket.IO"));
    const read = room.messages.list.find(({ n }) => messageId === `${roomId}#${n}`);
    expect(read).toMatchObject({ user: "bo", reply: 1, meta: { from: "phone" } });
    await bo.does("add-reaction", { messageId: heard.id, emoji: "🎉" });
    await until("ada sees the reaction", () => room.messages.list[0]?.reactions?.["🎉"]?.count === 1);

    // Events of the application, both ways.
    const waves: unknown[] = [];
    room.on("wave", (data, { user }) => waves.push([user, data]));
    await bo.does("emit", { roomId, event: "wave", data: { hard: true } });
    await until("ada sees the wave", () => waves.length === 1);
    expect(waves).toEqual([["bo", { hard: true }]]);
    await room.emit("nod", { twice: true });
    expect(await bo.hears("nod")).toEqual({ twice: true });
  });
});
