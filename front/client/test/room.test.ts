import { describe, expect, test } from "vitest";
import { connect, StoaError, type Message, type Room, type StoaOptions } from "../src/index.js";
import { front, pass } from "./each-front.js";

function person(user: string, options: Partial<StoaOptions> = {}) {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, ...options });
  const errors: StoaError[] = [];
  stoa.on("error", (error) => errors.push(error));
  return { stoa, errors, room: stoa.room("lobby") };
}
const texts = (room: Room) => room.messages.list.map(({ body, state }) => `${(body as { text: string }).text}${state === "sent" ? "" : ` (${state})`}`);

describe("rooms", () => {
  test("a room is joined at once, resumed after a cut, and is one object", async () => {
    const { stoa, room } = person("ada");
    expect(stoa.room("lobby")).toBe(room);
    await pass(10);
    expect(room.state).toBe("joined");
    await room.joined;
    front.cut();
    expect(room.state).toBe("joining");
    await pass(2_000);
    expect(room.state).toBe("joined");
    expect(front.of("connect")[1]).toMatchObject({ resume: { lobby: { positions: { log: expect.stringMatching(/^\d+\.\w+:0$/) as string }, presence: { data: {} } } } });
  });

  test("a refused room says so once, to all who wait; others are joined all the same", async () => {
    const { stoa, errors } = person("ada");
    await pass(10);
    front.refuse("room.join", "PERMISSION_DENIED");
    const secret = stoa.room("secret");
    const post = secret.messages.post("hi");
    const opened = secret.doc("main").opened;
    await pass(10);
    await expect(secret.messages.post("more")).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    expect([secret.state, secret.error?.code]).toEqual(["refused", "PERMISSION_DENIED"]);
    await expect(secret.joined).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    await expect(post).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    await expect(opened).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    expect(stoa.room("lobby").state).toBe("joined");
    expect(errors.length).toBeGreaterThan(0);
  });

  test("a room that is full for now is tried again", async () => {
    const { stoa } = person("ada");
    await pass(10);
    front.refuse("room.join", "FULL", { retry: true });
    const busy = stoa.room("busy");
    await pass(10);
    expect(busy.state).toBe("joining");
    await pass(1_000);
    expect(busy.state).toBe("joined");
  });

  test("a room that was left is forgotten, and can be joined afresh", async () => {
    const { stoa, room } = person("ada");
    await pass(10);
    room.leave();
    await pass(10);
    expect([room.state, front.of("room.leave").length]).toEqual(["left", 1]);
    const again = stoa.room("lobby");
    expect(again).not.toBe(room);
    await pass(10);
    expect(again.state).toBe("joined");
  });

  test("ephemeral events go to everybody or to one, and are refused without a connection", async () => {
    const ada = person("ada");
    const bo = person("bo");
    await pass(10);
    const heard: unknown[] = [];
    bo.room.on("wave", (data, from) => heard.push(data, from.user));
    await Promise.all([ada.room.emit("wave", { big: true }), pass(5)]);
    await Promise.all([ada.room.emit("wave", 2, { to: { user: "ada" } }), pass(5)]);
    expect(heard).toEqual([{ big: true }, "ada"]);
    front.cut("ada");
    await expect(ada.room.emit("wave")).rejects.toMatchObject({ code: "OFFLINE", retry: true });
  });
});

describe("a flushed database", () => {
  test("everything is opened again: log, presence, documents; those that one may make are made", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    const made = ada.room.doc("main", { create: "anew" });
    const theirs = bo.room.doc("main");
    const none = bo.room.doc("none");
    await pass(10);
    await theirs.opened.catch(() => undefined);
    made.edit([4, "!"]);
    ada.room.messages.post({ text: "before" });
    await pass(10);
    front.flush("lobby");
    front.post("lobby", "after");
    await pass(5_000);
    expect([texts(ada.room), texts(bo.room)]).toEqual([["after"], ["after"]]);
    expect([made.text, theirs.text, none.state]).toEqual(["anew", "anew", "missing"]);
    expect(bo.room.presence.members.map(({ user }) => user).sort()).toEqual(["ada", "bo"]);
    made.edit(["1"]);
    await pass(10);
    expect([theirs.text, made.state, ada.stoa.state]).toEqual(["1anew", "synchronised", "online"]);
    expect(front.dials).toBe(2);
  });
});

describe("messages", () => {
  test("a message is shown at once, and is the same element once accepted", async () => {
    const { room } = person("ada");
    await pass(10);
    const accepted = room.messages.post({ text: "hi" });
    const [shown] = room.messages.list;
    expect(texts(room)).toEqual(["hi (pending)"]);
    await pass(10);
    expect(texts(room)).toEqual(["hi"]);
    expect(room.messages.list[0]?.key).toBe(shown?.key);
    expect(await accepted).toMatchObject({ n: 1, state: "sent" });
  });

  test("messages written without a connection wait, keep their order, and are posted once", async () => {
    const { room } = person("ada");
    room.messages.post({ text: "one" }).catch(() => undefined);
    room.messages.post({ text: "two" }).catch(() => undefined);
    expect(texts(room)).toEqual(["one (pending)", "two (pending)"]);
    await pass(10);
    front.swallow("msg.post", "reply");
    room.messages.post({ text: "three" }).catch(() => undefined);
    room.messages.post({ text: "four" }).catch(() => undefined);
    await pass(5);
    front.cut();
    await pass(5_000);
    expect(texts(room)).toEqual(["one", "two", "three", "four"]);
    expect(front.messages("lobby").map(({ body }) => (body as { text: string }).text)).toEqual(["one", "two", "three", "four"]);
  });

  test("a lost answer: the message is sent again with its identity and is there once", async () => {
    const { room } = person("ada", { answerTimeoutMs: 2_000 });
    await pass(10);
    front.swallow("msg.post", "reply");
    // The event is lost, too: the line is cut before it comes.
    front.delay = () => 50;
    const posted = room.messages.post({ text: "once" });
    await pass(60);
    front.cut();
    front.delay = () => 0;
    await pass(5_000);
    expect(front.messages("lobby")).toHaveLength(1);
    expect(texts(room)).toEqual(["once"]);
    expect((await posted).n).toBe(1);
  });

  test("a duplicated event is taken once", async () => {
    front.duplicates = 1;
    const ada = person("ada");
    const bo = person("bo");
    const heard: Message[] = [];
    bo.room.messages.on("message", (message) => heard.push(message));
    await pass(10);
    ada.room.messages.post({ text: "a" }).catch(() => undefined);
    ada.room.messages.post({ text: "b" }).catch(() => undefined);
    await pass(50);
    expect([texts(ada.room), texts(bo.room), heard.length]).toEqual([["a", "b"], ["a", "b"], 2]);
  });

  test("an event that is missing makes the room catch up", async () => {
    const { room } = person("ada");
    await pass(10);
    front.post("lobby", "one");
    await pass(10);
    const message = { n: 3, user: "x", type: "text", at_ms: 1, body: { text: "from the future" } };
    front.push("lobby", { event: "msg.posted", stream: "log", epoch: "1.9f3a12c1", from: 2, rev: 3, message });
    await pass(10);
    expect(front.of("room.join")).toHaveLength(1);
    expect(texts(room)).toEqual(["one"]);
  });

  test("who was away hears what was missed, once; too much is a snapshot", async () => {
    front.pageMax = 3;
    const { room } = person("ada");
    const heard: string[] = [];
    room.messages.on("message", ({ body }) => heard.push((body as { text: string }).text));
    await pass(10);
    front.post("lobby", "0");
    await pass(10);
    front.down = true;
    front.cut();
    front.post("lobby", "1");
    front.post("lobby", "2");
    front.down = false;
    await pass(2_000);
    expect(heard).toEqual(["0", "1", "2"]);
    front.cut();
    for (let i = 3; i < 9; i++) front.post("lobby", String(i));
    await pass(3_000);
    expect(heard).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    expect(texts(room)).toEqual(heard);
  });

  test("messages that a failover lost are named", async () => {
    const { room } = person("ada");
    for (const text of ["one", "two", "three"]) front.post("lobby", text);
    await pass(10);
    const lost: string[][] = [];
    room.messages.on("lost", (messages) => lost.push(messages.map(({ body }) => (body as { text: string }).text)));
    const kept = front.messages("lobby").slice(0, 1);
    const because = { outcome: "snapshot", because: "rollback", history_end: 1, epoch: "9.ab", rev: 1, messages: kept, more: false };
    front.push("lobby", { ...because, event: "room.resync", stream: "log" });
    await pass(10);
    expect([lost, texts(room)]).toEqual([[["two", "three"]], ["one"]]);
  });

  test("a refused message is shown as failed and can be discarded; one that is refused for now is sent again", async () => {
    const { room } = person("ada");
    await pass(10);
    front.refuse("msg.post", "RATE_LIMITED", { retry: true, retryAfterMs: 3_000 });
    room.messages.post({ text: "slowly" }).catch(() => undefined);
    room.messages.post({ text: "after it" }).catch(() => undefined);
    await pass(2_900);
    expect(texts(room)).toEqual(["slowly (pending)", "after it (pending)"]);
    await pass(200);
    expect(texts(room)).toEqual(["slowly", "after it"]);
    front.refuse("msg.post", "TOO_LARGE");
    const large = room.messages.post({ text: "large" });
    await pass(10);
    await expect(large).rejects.toMatchObject({ code: "TOO_LARGE", retry: false });
    expect(texts(room)).toEqual(["slowly", "after it", "large (failed)"]);
    room.messages.discard(room.messages.list[2] as Message);
    expect(texts(room)).toEqual(["slowly", "after it"]);
  });

  test("the queue is bounded", async () => {
    const { room } = person("ada", { queueMax: 2 });
    room.messages.post("1").catch(() => undefined);
    room.messages.post("2").catch(() => undefined);
    await expect(room.messages.post("3")).rejects.toMatchObject({ code: "QUEUE_FULL", retry: true });
    expect(room.messages.list).toHaveLength(2);
  });

  test("older messages are loaded page by page, and the list is bounded", async () => {
    for (let i = 1; i <= 130; i++) front.post("lobby", String(i));
    const { room } = person("ada", { messagesMax: 140 });
    await pass(10);
    expect([room.messages.list.length, room.messages.more]).toEqual([50, true]);
    const asked = [room.messages.older(), room.messages.older()];
    await pass(10);
    expect(await Promise.all(asked)).toEqual([true, true]);
    expect(front.of("msg.range")).toHaveLength(1);
    const second = room.messages.older();
    await pass(10);
    expect(await second).toBe(false);
    expect(room.messages.list.map(({ n }) => n)).toEqual(Array.from({ length: 130 }, (_, i) => i + 1));
    for (let i = 131; i <= 150; i++) front.post("lobby", String(i));
    await pass(10);
    expect([room.messages.list.length, room.messages.list[0]?.n, room.messages.more]).toEqual([140, 11, true]);
  });
});

describe("presence", () => {
  test("people come and go", async () => {
    const ada = person("ada");
    await pass(10);
    const seen: string[] = [];
    ada.room.presence.on("joined", ({ user }) => seen.push(`+${user}`));
    ada.room.presence.on("left", (user) => seen.push(`-${user}`));
    const bo = person("bo");
    await pass(10);
    expect(ada.room.presence.members.map(({ user }) => user)).toEqual(["ada", "bo"]);
    bo.stoa.close();
    await pass(10);
    expect(seen).toEqual(["+bo", "-bo"]);
    expect(ada.room.presence.count).toBe(1);
  });

  test("who is here can be asked", async () => {
    const { room } = person("ada");
    person("bo");
    await pass(10);
    const here = room.presence.list();
    await pass(10);
    expect((await here).map(({ user }) => user)).toEqual(["ada", "bo"]);
  });

  test("what one says about oneself is said again after a reconnect", async () => {
    const ada = person("ada");
    await pass(10);
    ada.room.presence.update({ color: "red", mood: "good" });
    ada.room.presence.update({ mood: null });
    await pass(20);
    front.cut();
    await pass(2_000);
    expect(ada.room.presence.data).toEqual({ color: "red" });
    expect(front.of("connect")[1]).toMatchObject({ resume: { lobby: { presence: { data: { color: "red" } } } } });
  });

  test("typing is told at most every three seconds and stops by itself", async () => {
    const ada = person("ada");
    const bo = person("bo");
    await pass(10);
    for (let i = 0; i < 40; i++) {
      ada.room.presence.typing();
      await pass(100);
    }
    expect(front.of("presence.typing").map(({ typing }) => typing)).toEqual([true, true]);
    expect(bo.room.presence.typists).toEqual(["ada"]);
    expect(ada.room.presence.typists).toEqual([]);
    await pass(4_000);
    expect(front.of("presence.typing").map(({ typing }) => typing)).toEqual([true, true, false]);
    expect(bo.room.presence.typists).toEqual([]);
  });

  test("who only watches is not listed, until they say something", async () => {
    const stoa = connect({ url: "ws://front/ws", token: "ada", WebSocket: front.Socket });
    const room = stoa.room("lobby", { presence: false });
    await pass(10);
    expect(room.presence.members).toEqual([]);
    room.presence.update({ name: "Ada" });
    await pass(10);
    expect(room.presence.members).toMatchObject([{ user: "ada", data: { name: "Ada" } }]);
  });
});
