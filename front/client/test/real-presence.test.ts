/**
 * The client against a Redis with the module and two fronts of its own: presence, kicks, devices, payloads, versions of a text,
 * a log that is trimmed.
 *
 *     STOA_MODULE=…/libstoa.so STOA_FRONT_BINARY=…/stoa-front npm test -- real-presence
 */
import { beforeEach, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { colorOf, connect, type Kick, type StateChange, type Stoa, type WebSocketConstructor } from "../src/index.js";
import { Redis, runs, startFront, startRedis, token, until, type FrontProcess } from "./real-front.js";

if (!runs) console.warn("\n*** PRESENCE WITH REAL FRONTS WAS NOT TESTED: STOA_MODULE and STOA_FRONT_BINARY are not both set ***\n");

interface Mood {
  name?: string;
  mood?: string;
}
interface Place {
  x: number;
}

let redis: number;
let fronts: FrontProcess[];
const sockets = new Map<Stoa, WebSocket>();

/** Somebody in the lobby, on one of the two fronts. */
async function person(user: string, front = 0) {
  let socket: WebSocket | undefined;
  class Cuttable extends WebSocket {
    constructor(url: string) {
      super(url);
      socket = this;
      if (stoa !== undefined) sockets.set(stoa, this);
    }
  }
  let stoa: Stoa | undefined;
  stoa = connect({
    url: `ws://127.0.0.1:${fronts[front]?.port}/ws`,
    token: token(user),
    WebSocket: Cuttable as unknown as WebSocketConstructor,
    backoffMinMs: 100,
    backoffMaxMs: 500,
    answerTimeoutMs: 3_000,
  });
  if (socket !== undefined) sockets.set(stoa, socket);
  stoa.on("error", (error) => console.log(user, error.code, error.message));
  const room = stoa.room<Mood, Place>("lobby");
  await room.joined;
  return { stoa, room, presence: room.presence };
}
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const cut = (stoa: Stoa) => sockets.get(stoa)?.terminate();

describe.skipIf(!runs)("real fronts", () => {
  beforeEach(async () => {
    redis = await startRedis();
    const settings = ["--devices", "--presence-close-grace-ms", "200"];
    fronts = [await startFront(redis, ...settings), await startFront(redis, ...settings)];
  });

  test("statuses, colours and data, on both fronts, and again after a cut; who was here is known", async () => {
    const [ada, bo] = [await person("ada"), await person("bo", 1)];
    ada.presence.update({ mood: "good" });
    ada.presence.setStatus("busy");
    await until("Bo sees it", () => bo.presence.member("ada")?.status === "busy" && bo.presence.member("ada")?.data.mood === "good");
    expect(bo.presence.others.map(({ user, color }) => [user, color])).toEqual([["ada", colorOf("ada")]]);
    const second = await person("ada", 1);
    second.presence.setStatus("away");
    await until("the window that is away does not hide the one that is busy", () => {
      const { connections, status } = bo.presence.member("ada") ?? {};
      return connections === 2 && status === "busy";
    });
    second.stoa.close();
    cut(ada.stoa);
    await until("Ada is back", () => ada.room.state === "joined" && ada.presence.me?.connections === 1);
    await until("Bo sees her as she was", () => {
      const { connections, status, data } = bo.presence.member("ada") ?? {};
      return connections === 1 && status === "busy" && data?.mood === "good";
    });

    const seen: string[] = [];
    bo.presence.on("left", (user) => seen.push(`-${user}`));
    bo.presence.on("joined", ({ user }) => seen.push(`+${user}`));
    ada.presence.setStatus("invisible");
    await until("Ada is not seen", () => bo.presence.others.length === 0 && ada.presence.me === undefined);
    expect(await bo.presence.get(["ada", "bo", "cy"])).toMatchObject([{ user: "ada", here: false }, { user: "bo", here: true, status: "online", color: colorOf("bo") }, null]);
    ada.presence.setStatus("focus");
    await until("Ada is seen", () => bo.presence.member("ada")?.status === "focus");
    expect(seen).toEqual(["-ada", "+ada"]);
    const before = Date.now();
    ada.stoa.close();
    await until("Ada has gone", () => bo.presence.count === 1);
    const [gone] = await bo.presence.get(["ada"]);
    expect(gone).toMatchObject({ user: "ada", here: false });
    expect(Math.abs((gone as { last_seen_ms: number }).last_seen_ms - before)).toBeLessThan(20_000);
    bo.stoa.close();
  });

  test("a front that notices silence makes one away, and what one chose comes back with the next sign of life", async () => {
    fronts[1] = await startFront(redis, "--away-after-ms", "500");
    const [bo, ada] = [await person("bo"), await person("ada", 1)];
    ada.presence.setStatus("busy");
    await until("Ada is busy", () => bo.presence.member("ada")?.status === "busy");
    await until("Ada is away", () => bo.presence.member("ada")?.status === "away");
    expect([ada.presence.status, bo.presence.member("bo")?.status]).toEqual(["busy", "online"]);
    await ada.room.messages.post("back");
    await until("Ada is busy again", () => bo.presence.member("ada")?.status === "busy");
    for (const { stoa } of [ada, bo]) stoa.close();
  });

  test("pointers: the last place arrives, whoever comes later sees it, and it ends with its connection", async () => {
    const [ada, bo] = [await person("ada"), await person("bo", 1)];
    for (let x = 1; x <= 200; x++) {
      ada.presence.setCursor({ x });
      if (x % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await until("Bo sees where Ada points", () => [...bo.presence.cursors.values()][0]?.cursor.x === 200);
    expect([...bo.presence.cursors]).toEqual([[ada.stoa.connectionId, { connection: ada.stoa.connectionId, user: "ada", cursor: { x: 200 } }]]);
    expect(ada.presence.cursors.size).toBe(0);
    const cy = await person("cy");
    expect([...cy.presence.cursors.values()].map(({ cursor }) => cursor)).toEqual([{ x: 200 }]);
    cut(ada.stoa);
    await until("Ada points from another connection", () => {
      const [pointer] = [...bo.presence.cursors.values()];
      return pointer?.connection === ada.stoa.connectionId && bo.presence.cursors.size === 1;
    });
    ada.presence.setCursor(null);
    await until("Ada points nowhere", () => bo.presence.cursors.size === 0 && cy.presence.cursors.size === 0);
    ada.presence.setCursor({ x: 1 });
    await until("Ada points again", () => bo.presence.cursors.size === 1);
    ada.stoa.close();
    await until("Ada's pointer is gone with her", () => bo.presence.cursors.size === 0);
    for (const { stoa } of [bo, cy]) stoa.close();
  });

  test("typing is seen, and ends with the message", async () => {
    const [ada, bo] = [await person("ada"), await person("bo", 1)];
    ada.presence.typing();
    await until("Bo sees that Ada types", () => bo.presence.typists.join() === "ada");
    await ada.room.messages.post("hi");
    await until("Ada has stopped", () => bo.presence.typists.length === 0, 3_000);
    for (const { stoa } of [ada, bo]) stoa.close();
  });

  test("a service sends somebody out of a room, or ends their connections", async () => {
    const [ada, bo] = [await person("ada"), await person("bo", 1)];
    const other = ada.stoa.room("other");
    await other.joined;
    const kicks: Kick[] = [];
    ada.room.onKicked((kick) => kicks.push(kick));
    const service = new Redis(redis);
    expect(await service.call("ROOM.KICK", "stoa:{lobby}:presence", "USER", "ada", "REASON", "enough for today", "BY", "bo")).toBe(1);
    await until("Ada is out", () => ada.room.state === "kicked");
    expect(kicks).toEqual([{ reason: "enough for today", by: "bo" }]);
    await until("Bo sees it", () => bo.presence.count === 1);
    await expect(ada.room.messages.post("but")).rejects.toMatchObject({ code: "KICKED" });
    expect([other.state, ada.stoa.state]).toEqual(["joined", "online"]);
    // On this connection she may not be listed again; on another one she may.
    ada.room.leave();
    const refused = ada.stoa.room("lobby");
    await expect(refused.joined).rejects.toMatchObject({ code: "KICKED" });
    expect(refused.state).toBe("kicked");
    cut(ada.stoa);
    await until("Ada has another connection", () => other.state === "joined" && ada.stoa.state === "online");
    refused.leave();
    await ada.stoa.room("lobby").joined;

    const changes: StateChange[] = [];
    const ends: Kick[] = [];
    ada.stoa.on("state", (change) => changes.push(change));
    ada.stoa.on("kicked", (kick) => ends.push(kick));
    await service.call("ROOM.KICK", "stoa:{user:ada}:presence", "USER", "ada", "REASON", "signed out");
    await until("Ada's connection is closed", () => ada.stoa.state === "closed");
    expect([changes.at(-1), ends]).toMatchObject([{ state: "closed", reason: "KICKED", closeCode: 4504 }, [{ reason: "signed out" }]]);
    service.cut();
    bo.stoa.close();
  });

  test("one's own windows are listed, and one ends another", async () => {
    const [here, there] = [await person("ada"), await person("ada", 1)];
    const bo = await person("bo");
    await until("both are listed", async () => (await here.stoa.devices.list()).length === 2);
    const devices = await here.stoa.devices.list();
    expect(devices.map(({ connection }) => connection).sort()).toEqual([here.stoa.connectionId, there.stoa.connectionId].sort());
    expect(devices[0]).toMatchObject({ node: expect.any(String) as string, status: "online", address: expect.stringContaining("127.0.0.1") as string });
    await expect(bo.stoa.devices.kick(String(there.stoa.connectionId))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await here.stoa.devices.kick(String(there.stoa.connectionId));
    await until("the other one is closed", () => there.stoa.state === "closed");
    expect(here.stoa.state).toBe("online");
    for (const { stoa } of [here, bo]) stoa.close();
  });

  test("payloads arrive as they were, and one that is too large harms nobody", async () => {
    const [ada, bo] = [await person("ada"), await person("bo", 1)];
    const heard: unknown[] = [];
    bo.room.on("bytes", (data, { user, payload }) => heard.push([data, user, payload && hex(payload)]));
    const large = Uint8Array.from({ length: 250_000 }, (_, i) => (i * i) >> 3);
    await ada.room.emit("bytes", { n: 1 }, { payload: new Uint8Array([0, 10, 255]) });
    await ada.room.emit("bytes", { n: 2 }, { payload: large });
    await ada.room.emit("bytes", { n: 3 });
    await ada.room.emit("bytes", { n: 4 }, { to: { user: "bo" }, payload: new Uint8Array() });
    await until("all have come", () => heard.length === 4);
    expect(heard).toEqual([
      [{ n: 1 }, "ada", "000aff"],
      [{ n: 2 }, "ada", hex(large)],
      [{ n: 3 }, "ada", undefined],
      [{ n: 4 }, "ada", ""],
    ]);
    await expect(ada.room.emit("bytes", null, { payload: new Uint8Array(300_000) })).rejects.toMatchObject({ code: "TOO_LARGE", retry: false });
    await expect(ada.room.emit("bytes", null, { payload: new Uint8Array(2_000_000) })).rejects.toMatchObject({ code: "TOO_LARGE", retry: false });
    expect(ada.stoa.state).toBe("online");
    for (const { stoa } of [ada, bo]) stoa.close();
  });

  test("versions: tagged, restored and taken back once, while lines break", async () => {
    const [ada, bo] = [await person("ada"), await person("bo", 1)];
    const mine = ada.room.doc("main", { create: "one" });
    await mine.opened;
    const theirs = bo.room.doc("main");
    await theirs.opened;
    mine.edit([3, " two"]);
    await mine.tag("second");
    expect((await mine.info()).tags).toMatchObject([{ name: "second", rev: 1 }]);
    theirs.replace(0, theirs.text.length, "all new");
    await until("all is new", () => mine.text === "all new");
    const restored = mine.restore("second");
    cut(ada.stoa);
    mine.edit(["> "]);
    await restored;
    await until("both have it", () => mine.state === "synchronised" && theirs.text === "> one two" && mine.text === theirs.text);
    for (const expected of ["one two", "all new"]) {
      const undone = mine.undo();
      cut(ada.stoa);
      await undone;
      await until(`taken back to ${expected}`, () => theirs.text === expected && mine.text === expected);
    }
    await mine.tag("second", { drop: true });
    await expect(mine.restore("second")).rejects.toMatchObject({ code: "NOT_FOUND" });
    for (const { stoa } of [ada, bo]) stoa.close();
  });

  test("messages that the room let go leave the list with the next page", async () => {
    const ada = await person("ada");
    for (let i = 1; i <= 80; i++) void ada.room.messages.post(String(i));
    await until("all are there", () => ada.room.messages.list.length === 80 && ada.room.messages.list.every(({ state }) => state === "sent"));
    const bo = await person("bo", 1);
    const service = new Redis(redis);
    await service.call("MSG.TRIM", "stoa:{lobby}:log", "20");
    expect(bo.room.messages.list.map(({ n }) => n)).toHaveLength(50);
    expect(await bo.room.messages.older()).toBe(false);
    expect(bo.room.messages.list.map(({ n }) => n)).toEqual(Array.from({ length: 20 }, (_, i) => 61 + i));
    service.cut();
    for (const { stoa } of [ada, bo]) stoa.close();
  });
});
