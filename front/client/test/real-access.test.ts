/** What one may do in a room, against a real Redis and real fronts: see `real-front.ts`. */
import { afterEach, expect, test } from "vitest";
import WebSocket from "ws";
import { connect, StoaError, type Stoa, type WebSocketConstructor } from "../src/index.js";
import { Redis, runs, startFront, startRedis, token, until } from "./real-front.js";

if (!runs) console.warn("\n*** WHO MAY DO WHAT WAS NOT TRIED ON A REAL FRONT: STOA_MODULE and STOA_FRONT_BINARY are not set ***\n");

const open: Stoa[] = [];
afterEach(() => open.splice(0).forEach((stoa) => stoa.close()));

function person(port: number, user: string): Stoa {
  const stoa = connect({ url: `ws://127.0.0.1:${port}/ws`, token: () => token(user), WebSocket: WebSocket as unknown as WebSocketConstructor, backoffMinMs: 50, backoffMaxMs: 200 });
  stoa.on("error", (error) => console.log(user, error.code, error.message));
  open.push(stoa);
  return stoa;
}
const list = "stoa:{lobby}:access";
const refusal = (error: unknown) => (error instanceof StoaError ? error.code : String(error));

test.skipIf(!runs)("a page follows what the room says: read, talk, edit, out, and in again", { timeout: 60_000 }, async () => {
  const port = await startRedis();
  const redis = new Redis(port);
  const [one, two] = [await startFront(port), await startFront(port, "--role", "reviewer=read+talk")];
  const [ada, bo] = [person(one.port, "ada"), person(two.port, "bo")];
  const [a, b] = [ada.room("lobby"), bo.room("lobby")];
  const heard: string[] = [];
  b.onAccess(({ role }) => heard.push(role));
  await Promise.all([a.joined, b.joined]);
  expect([a.role, a.can("edit"), a.can("manage")]).toEqual(["editor", true, false]);
  const [mine, theirs] = [a.doc("main", { create: "text" }), b.doc("main", { create: "text" })];
  await Promise.all([mine.opened, theirs.opened]);

  await redis.call("ROOM.GRANT", list, "bo", "reviewer");
  await until("bo is a reviewer", () => b.role === "reviewer");
  expect([b.can("talk"), b.can("edit"), theirs.editable]).toEqual([true, false, false]);
  expect(() => theirs.edit(["x"])).toThrow(expect.objectContaining({ code: "PERMISSION_DENIED" }));
  await b.messages.post("I may still talk");
  await redis.call("ROOM.GRANT", list, "bo", "viewer");
  await until("bo is a viewer", () => b.role === "viewer");
  expect(await b.messages.post("and now?").then(() => "sent", refusal)).toBe("PERMISSION_DENIED");
  expect(await b.emit("wave").then(() => "sent", refusal)).toBe("PERMISSION_DENIED");
  mine.edit(["> "]);
  await until("bo reads on", () => theirs.text === "> text");

  expect(await a.grant("bo", "editor").then(() => "granted", refusal)).toBe("PERMISSION_DENIED");
  await redis.call("ROOM.GRANT", list, "ada", "owner");
  await until("ada owns the room", () => a.can("manage"));
  expect(await a.grant("bo", "editor", { ttlMs: 60_000 })).toBe(true);
  await until("bo edits again", () => theirs.editable);
  theirs.edit([6, "!"]);
  await until("ada reads it", () => mine.text === "> text!");

  expect(await a.revoke("bo")).toBe(true);
  await until("bo is out", () => b.state === "refused");
  expect([b.error?.code, b.role, theirs.state, heard]).toEqual(["PERMISSION_DENIED", "none", "refused", ["editor", "reviewer", "viewer", "editor", "none"]]);
  await until("nobody sees bo", () => !a.presence.members.some(({ user }) => user === "bo"));
  b.leave();
  expect(await bo.room("lobby").joined.then(() => "joined", refusal)).toBe("PERMISSION_DENIED");
  bo.room("lobby").leave();
  expect(await a.revoke("bo", { forget: true })).toBe(true);
  const again = bo.room("lobby");
  await again.joined;
  expect(again.role).toBe("editor");
  expect(await a.sendOut({ user: "bo" }, "enough")).toBe(1);
  await until("bo is sent out", () => again.state === "kicked");
  redis.cut();
});
