/** `/presence`, `/notifications` and the documents' presence: who is here and what they do. */
import { isDeepStrictEqual } from "node:util";
import { Redis, runs, startFront, startRedis, until } from "real-front";
import { describe, expect, test } from "vitest";
import { native, person } from "./people.js";

/** As the applications declare it; what comes may hold more. */
interface UserPresence {
  userId: string;
  username: string;
  status: "online" | "away" | "busy" | "offline";
  activity: { type: "learning" | "coding" | "chat" | "idle"; details?: string };
  location: { path: string; feature: string };
  lastSeen: string;
  connectionCount: number;
}

const settings = ["--presence-close-grace-ms", "200"];

describe.runIf(runs)("presence", () => {
  test("people say what they do and where they are, and ask for others", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis, ...settings), await startFront(redis, ...settings)];
    const namespace = "/presence";
    const [ada, bo] = [await person(one.port, "ada", { namespace }), await person(two.port, "bo", { namespace })];
    for (const who of [ada, bo]) await who.does("join-room", { roomId: "school" });
    const activity = { type: "coding", details: "lesson 4" };
    const location = { path: "/lessons/4", feature: "editor" };
    ada.socket.emit("update-presence", { status: "busy", activity, location });
    const update = await bo.hears<{ userId: string; status: string; presence: UserPresence }>("presence-update", ({ presence }) => presence?.activity !== undefined);
    expect(update).toMatchObject({ userId: "ada", status: "busy", presence: { userId: "ada", username: "Ada", status: "busy", activity, location, connectionCount: 1 } });
    // What is not named stays as it was.
    ada.socket.emit("update-presence", { status: "away" });
    const away = await bo.hears<{ presence: UserPresence; status: string }>("presence-update", ({ status }) => status === "away");
    expect(away.presence).toMatchObject({ status: "away", activity, location });

    bo.socket.emit("get-presence", { userIds: ["ada"] });
    const [known] = await bo.hears<UserPresence[]>("presence-data");
    expect(known).toMatchObject({ userId: "ada", username: "Ada", status: "away", activity, location });
    expect(new Date(known?.lastSeen ?? "").getTime()).not.toBeNaN();
    const { users } = await bo.does<{ users: UserPresence[] }>("get-presence", {});
    expect(users.map(({ userId }) => userId).sort()).toEqual(["ada", "bo"]);

    // A second window of the same person is the same person.
    const second = await person(two.port, "ada", { namespace });
    await second.does("join-room", { roomId: "school" });
    await bo.hears<{ userId: string; presence: UserPresence }>("presence-update", ({ userId, presence }) => userId === "ada" && presence.connectionCount === 2);
    second.socket.disconnect();
    await bo.hears("presence-update", ({ userId, presence }) => userId === "ada" && presence.connectionCount === 1);
    ada.socket.disconnect();
    const gone = await bo.hears("presence-update", ({ userId, status }) => userId === "ada" && status === "offline");
    expect(new Date(gone.lastSeen).getTime()).not.toBeNaN();
  });

  test("people see each other in a document: who comes, points, selects and goes", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis, ...settings), await startFront(redis, ...settings)];
    const documentId = "deck-9";
    const [ada, bo] = [await person(one.port, "ada"), await person(two.port, "bo")];
    ada.socket.emit("subscribe:presence", { documentId });
    expect(await ada.hears("presence:state")).toMatchObject({ documentId, users: [{ userId: "ada" }] });
    bo.socket.emit("subscribe:presence", { documentId });
    const came = await ada.hears("presence:user-joined");
    expect(came).toMatchObject({ documentId, userId: "bo", name: "Bo", color: expect.stringMatching(/^#[0-9a-f]{6}$/i) });
    const { users } = await bo.hears("presence:state");
    expect(users.map(({ userId }: { userId: string }) => userId).sort()).toEqual(["ada", "bo"]);

    bo.socket.emit("presence:update", { cursor: { x: 100, y: 200 } });
    await ada.hears("presence:update", ({ userId, cursor }) => userId === "bo" && cursor?.x === 100 && cursor?.y === 200);
    const selection = { slideId: "s1", range: { start: 2, end: 5 } };
    bo.socket.emit("presence:update", { documentId, selection });
    await ada.hears("presence:update", (update) => update.userId === "bo" && isDeepStrictEqual(update.selection, selection));
    expect(bo.all("presence:update").filter(({ userId }) => userId === "bo")).toEqual([]);

    // Stoa's own client points at the same thing.
    const room = native(one.port, "cy").room<object, { x: number; y: number }>(documentId, { presence: {} });
    await room.joined;
    await until("cy sees where bo points", () => [...room.presence.cursors.values()].some(({ user, cursor }) => user === "bo" && cursor.x === 100));
    room.presence.setCursor({ x: 1, y: 2 });
    await bo.hears("presence:update", ({ userId, cursor }) => userId === "cy" && cursor?.x === 1);

    bo.socket.emit("unsubscribe:presence", { documentId });
    expect(await ada.hears("presence:user-left", ({ userId }) => userId === "bo")).toMatchObject({ documentId });
    room.leave();
    await ada.hears("presence:user-left", ({ userId }) => userId === "cy");
  });

  test("a service tells one person, by plain Redis commands, on all of their devices", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis), await startFront(redis)];
    const namespace = "/notifications";
    const devices = [await person(one.port, "ada", { namespace }), await person(two.port, "ada", { namespace })];
    const bo = await person(two.port, "bo", { namespace });
    const service = new Redis(redis);
    const notification = { type: "achievement", title: "First contract" };
    await until("both devices are told", async () => {
      // The personal room is joined beside the connection: tell it until it is there.
      await service.call("ROOM.EMIT", "stoa:{user:ada}", "notification", JSON.stringify(notification));
      return devices.every((device) => device.all("notification").length > 0);
    });
    service.cut();
    expect(devices.map((device) => device.all("notification")[0])).toEqual([notification, notification]);
    expect(bo.all("notification")).toEqual([]);
  });
});
