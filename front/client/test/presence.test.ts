/** Statuses, cursors, typing, who is asked for, and being sent out. */
import { describe, expect, test } from "vitest";
import { connect, type Kick, type StateChange, type StoaOptions } from "../src/index.js";
import { front, pass } from "./each-front.js";

interface Mood {
  mood?: string;
}
interface Place {
  x: number;
}

function person(user: string, options: Partial<StoaOptions> = {}) {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, backoffMaxMs: 1_000, ...options });
  stoa.on("error", () => undefined);
  const room = stoa.room<Mood, Place>("lobby");
  return { stoa, room, presence: room.presence };
}
const sent = (command: string, field: string) => front.of(command).map((frame) => frame[field]);

describe("people", () => {
  test("me, the others and their colours; data is what the application says it is", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    ada.presence.update({ mood: "good" });
    await pass(10);
    const mood: string | undefined = bo.presence.others[0]?.data.mood;
    expect(mood).toBe("good");
    expect(bo.presence.others.map(({ user, status, color }) => [user, status, color])).toEqual([["ada", "online", "#3d7ab8"]]);
    // Lists are the same until something changes: what renders them may compare.
    expect([bo.presence.others === bo.presence.others, bo.presence.cursors === bo.presence.cursors]).toEqual([true, true]);
    expect([bo.presence.me?.user, bo.presence.member("ada")?.data.mood, bo.presence.member("cy")]).toEqual(["bo", "good", undefined]);
  });

  test("a status is seen, and told again after a reconnect with the data; of several windows the last one that is not away counts", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    const second = person("ada");
    await pass(10);
    ada.presence.setStatus("busy");
    ada.presence.update({ mood: "grim" });
    await pass(10);
    expect([ada.presence.status, bo.presence.member("ada")?.status]).toEqual(["busy", "busy"]);
    second.presence.setStatus("away");
    await pass(10);
    expect([second.presence.status, second.presence.me?.status]).toEqual(["away", "busy"]);
    second.stoa.close();
    front.cut("ada");
    await pass(3_000);
    expect(front.of("connect").at(-1)).toMatchObject({ resume: { lobby: { presence: { data: { mood: "grim" }, status: "busy" } } } });
    expect(bo.presence.member("ada")).toMatchObject({ status: "busy", data: { mood: "grim" } });
  });

  test("a status may be chosen before joining; who only watched is listed once they choose one", async () => {
    const bo = person("bo");
    const stoa = connect({ url: "ws://front/ws", token: "ada", WebSocket: front.Socket });
    const room = stoa.room("lobby", { status: "focus", presence: false });
    await pass(10);
    expect([bo.presence.others, room.presence.me]).toEqual([[], undefined]);
    room.presence.setStatus("dnd");
    await pass(10);
    expect(bo.presence.others).toMatchObject([{ user: "ada", status: "dnd" }]);
  });

  test("who says something while they are still joining to watch is listed", async () => {
    const bo = person("bo");
    const stoa = connect({ url: "ws://front/ws", token: "ada", WebSocket: front.Socket });
    await pass(10);
    const { presence } = stoa.room<Mood>("lobby", { presence: false });
    presence.update({ mood: "curious" });
    await pass(10);
    expect(bo.presence.others).toMatchObject([{ user: "ada", data: { mood: "curious" } }]);
  });

  test("who is invisible has left for everybody, themselves included", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    const seen: string[] = [];
    bo.presence.on("joined", ({ user }) => seen.push(`+${user}`));
    bo.presence.on("left", (user) => seen.push(`-${user}`));
    ada.presence.setStatus("invisible");
    await pass(10);
    expect([bo.presence.others, bo.presence.count, ada.presence.me]).toEqual([[], 1, undefined]);
    ada.presence.setStatus("online");
    await pass(10);
    expect(seen).toEqual(["-ada", "+ada"]);
  });

  test("what is said while one is on its way goes together, and what is refused for now is said again", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    front.refuse("presence.set", "RATE_LIMITED", { retry: true, retryAfterMs: 1_000 });
    ada.presence.update({ mood: "good" });
    ada.presence.setStatus("busy");
    ada.presence.update({ mood: "better" });
    await pass(900);
    expect(bo.presence.others[0]?.data.mood).toBe(undefined);
    await pass(2_000);
    expect(bo.presence.others).toMatchObject([{ status: "busy", data: { mood: "better" } }]);
    expect(front.of("presence.set").map(({ data, status }) => [data, status])).toEqual([
      [{ mood: "good" }, undefined],
      [{ mood: "better" }, "busy"],
    ]);
  });

  test("people can be asked for: here, gone, never seen", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    bo.stoa.close();
    await pass(10);
    const asked = ada.presence.get(["ada", "bo", "cy"]);
    await pass(10);
    expect(await asked).toMatchObject([{ user: "ada", here: true, status: "online", color: "#3d7ab8" }, { user: "bo", here: false, last_seen_ms: expect.any(Number) as number }, null]);
  });
});

describe("cursors", () => {
  test("the first and the last place are told, and in between not more often than every 50 ms", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    let news = 0;
    bo.presence.on("cursors", () => (news += 1));
    for (let x = 0; x <= 100; x++) {
      ada.presence.setCursor({ x });
      await pass(5);
    }
    await pass(60);
    const told = sent("presence.cursor", "cursor") as Place[];
    expect([told[0], told.at(-1)]).toEqual([{ x: 0 }, { x: 100 }]);
    expect(told.length).toBeLessThanOrEqual(12);
    expect(news).toBe(told.length);
    expect([...bo.presence.cursors]).toEqual([["k1", { connection: "k1", user: "ada", cursor: { x: 100 } }]]);
    expect(ada.presence.cursors.size).toBe(0);
    ada.presence.setCursor(null);
    await pass(60);
    expect(bo.presence.cursors.size).toBe(0);
  });

  test("how often is an option", async () => {
    const ada = person("ada", { cursorIntervalMs: 200 });
    await pass(10);
    for (let x = 0; x < 100; x++) {
      ada.presence.setCursor({ x });
      await pass(10);
    }
    expect(front.of("presence.cursor").length).toBe(5);
  });

  test("who comes later sees them; a cut ends them, and a reconnect tells them again; one that stands is told again", async () => {
    const ada = person("ada");
    await pass(10);
    ada.presence.setCursor({ x: 7 });
    await pass(10);
    const bo = person("bo");
    await pass(10);
    expect([...bo.presence.cursors.values()]).toMatchObject([{ user: "ada", cursor: { x: 7 } }]);
    front.down = true;
    front.cut();
    expect(bo.presence.cursors.size).toBe(0);
    front.down = false;
    await pass(3_000);
    expect([...bo.presence.cursors.values()]).toEqual([{ connection: ada.stoa.connectionId, user: "ada", cursor: { x: 7 } }]);
    const before = front.of("presence.cursor").length;
    await pass(60_000);
    expect(front.of("presence.cursor").length - before).toBe(3);
    // After five minutes it rests: the front may take its user for away.
    await pass(300_000);
    const rested = front.of("presence.cursor").length;
    await pass(100_000);
    expect([front.of("presence.cursor").length, bo.presence.cursors.size]).toEqual([rested, 0]);
    ada.presence.setCursor({ x: 8 });
    await pass(60);
    expect(bo.presence.cursors.size).toBe(1);
    ada.stoa.close();
    await pass(10);
    expect(bo.presence.cursors.size).toBe(0);
  });

  test("one that nobody tells any more goes, though nobody said so", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    ada.presence.setCursor({ x: 1 });
    await pass(41_000);
    front.swallow("presence.cursor", "request", 100);
    await pass(50_000);
    expect(bo.presence.cursors.size).toBe(1);
    await pass(20_000);
    expect(bo.presence.cursors.size).toBe(0);
    front.calm();
    ada.presence.setCursor({ x: 2 });
    await pass(60);
    expect(bo.presence.cursors.size).toBe(1);
  });

  test("that one points nowhere is told, too, even if the word of it was lost and repeated", async () => {
    const [ada, bo] = [person("ada", { answerTimeoutMs: 2_000 }), person("bo")];
    await pass(10);
    ada.presence.setCursor({ x: 1 });
    await pass(100);
    front.swallow("presence.cursor", "request");
    ada.presence.setCursor(null);
    await pass(2_100);
    ada.presence.setCursor(null);
    await pass(2_000);
    expect(bo.presence.cursors.size).toBe(0);
  });

  test("the last place is told even if it was refused for now", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    front.refuse("presence.cursor", "RATE_LIMITED", { retry: true, retryAfterMs: 700 });
    ada.presence.setCursor({ x: 1 });
    ada.presence.setCursor({ x: 2 });
    await pass(650);
    expect(bo.presence.cursors.size).toBe(0);
    await pass(1_000);
    expect([...bo.presence.cursors.values()][0]?.cursor).toEqual({ x: 2 });
  });
});

describe("typing", () => {
  test("is told at the first key and every three seconds, and ends by a post, by a word, or by silence", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    const typing = () => sent("presence.typing", "typing");
    ada.presence.typing();
    await pass(100);
    void ada.room.messages.post("hi");
    await pass(10);
    expect([typing(), bo.presence.typists]).toEqual([[true, false], []]);
    ada.presence.typing();
    await pass(10);
    expect(bo.presence.typists).toEqual(["ada"]);
    ada.presence.stopTyping();
    ada.presence.stopTyping();
    await pass(10);
    expect([typing(), bo.presence.typists]).toEqual([[true, false, true, false], []]);
    for (let i = 0; i < 50; i++) {
      ada.presence.typing();
      await pass(100);
    }
    expect(typing().slice(4)).toEqual([true, true]);
    await pass(4_000);
    expect(typing().slice(4)).toEqual([true, true, false]);
  });

  test("who types is known after a cut, too", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    front.cut("bo");
    ada.presence.typing();
    await pass(1_500);
    expect(bo.presence.typists).toEqual(["ada"]);
  });
});

describe("being sent out", () => {
  test("out of a room: it says why, and does not come back by itself; other rooms go on", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    const other = ada.stoa.room("other");
    const document = ada.room.doc("main", { create: "x" });
    await pass(10);
    const kicks: Kick[] = [];
    const states: string[] = [];
    ada.room.onKicked((kick) => kicks.push(kick));
    ada.room.onState((state) => states.push(state));
    front.kick("lobby", { user: "ada" }, { reason: "enough", by: "bo" });
    await pass(10);
    expect([kicks, states, ada.room.kick]).toEqual([[{ reason: "enough", by: "bo" }], ["kicked"], { reason: "enough", by: "bo" }]);
    expect(ada.room.error).toMatchObject({ code: "KICKED", message: "enough", retry: false });
    expect([document.state, other.state, bo.presence.others]).toEqual(["refused", "joined", []]);
    await expect(ada.room.messages.post("but")).rejects.toMatchObject({ code: "KICKED" });
    front.cut();
    await pass(5_000);
    const resumed = front.of("connect").slice(2).map(({ token, resume }) => [token, Object.keys(resume as object)]);
    expect([ada.room.state, other.state, resumed.sort()]).toEqual(["kicked", "joined", [["ada", ["other"]], ["bo", ["lobby"]]]]);
    expect(bo.presence.others).toEqual([]);
    // Who may come back does so on purpose.
    ada.room.leave();
    const again = ada.stoa.room("lobby");
    await pass(10);
    expect([again.state, bo.presence.others.length]).toEqual(["joined", 1]);
  });

  test("a kick that was lost is found when the room is joined", async () => {
    const ada = person("ada");
    front.refuse("room.join", "KICKED");
    await pass(10);
    const other = ada.stoa.room("other");
    const kicks: Kick[] = [];
    other.onKicked((kick) => kicks.push(kick));
    await pass(10);
    expect([other.state, kicks]).toEqual(["kicked", [{ reason: undefined, by: undefined }]]);
    await expect(other.joined).rejects.toMatchObject({ code: "KICKED" });
  });

  test("out of everything: the connection is closed and stays so", async () => {
    const ada = person("ada");
    const [changes, kicks]: [StateChange[], Kick[]] = [[], []];
    ada.stoa.on("state", (change) => changes.push(change));
    ada.stoa.on("kicked", (kick) => kicks.push(kick));
    await pass(10);
    front.kick("user:ada", { user: "ada" }, { reason: "signed out" });
    await pass(60_000);
    expect(kicks).toEqual([{ reason: "signed out", by: undefined }]);
    expect(changes.at(-1)).toMatchObject({ state: "closed", reason: "KICKED", closeCode: 4504 });
    expect(front.dials).toBe(1);
  });

  test("devices are listed, and one can end another", async () => {
    const [here, there] = [person("ada"), person("ada")];
    person("bo");
    await pass(10);
    const refused = expect(here.stoa.devices.list()).rejects.toMatchObject({ code: "DISABLED", retry: false });
    await pass(10);
    await refused;
    front.devices = true;
    const listed = here.stoa.devices.list();
    await pass(10);
    expect((await listed).map(({ connection, address }) => [connection, address])).toEqual([[here.stoa.connectionId, "::1"], [there.stoa.connectionId, "::1"]]);
    const kicked = here.stoa.devices.kick(String(there.stoa.connectionId));
    await pass(10);
    await kicked;
    expect([here.stoa.state, there.stoa.state]).toEqual(["online", "closed"]);
  });
});

describe("payloads", () => {
  test("bytes go as they are, and come in a buffer of their own", async () => {
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    const heard: unknown[] = [];
    bo.room.on("stroke", (data, { user, payload }) => heard.push([data, user, payload, payload?.byteOffset]));
    const bytes = new Uint8Array([9, 0, 255, 10, 13]);
    await Promise.all([ada.room.emit("stroke", { color: "red" }, { payload: bytes.subarray(1) }), ada.room.emit("stroke", "without"), pass(10)]);
    await Promise.all([ada.room.emit("stroke", null, { to: { user: "bo" }, payload: new Uint8Array() }), pass(10)]);
    expect(heard).toEqual([
      [{ color: "red" }, "ada", new Uint8Array([0, 255, 10, 13]), 0],
      ["without", "ada", undefined, undefined],
      [null, "ada", new Uint8Array(), 0],
    ]);
  });

  test("too many are refused here: a front would close the connection", async () => {
    const ada = person("ada");
    await pass(10);
    await expect(ada.room.emit("stroke", null, { payload: new Uint8Array(1_048_576) })).rejects.toMatchObject({ code: "TOO_LARGE", retry: false });
    expect(ada.stoa.state).toBe("online");
  });

  test("a binary message that cannot be read is skipped", async () => {
    const ada = person("ada");
    const skipped: string[] = [];
    ada.stoa.on("error", ({ code }) => skipped.push(code));
    await pass(10);
    for (const bytes of [[], [0, 0, 0], [0, 0, 0, 9, 123], [255, 255, 255, 255, 1], [0, 0, 0, 1, 123]]) front.pushBytes(new Uint8Array(bytes).buffer);
    await pass(10);
    expect([skipped, ada.stoa.state]).toEqual([Array(5).fill("INTERNAL"), "online"]);
  });
});
