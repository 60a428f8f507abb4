/**
 * The client against real fronts with limits that it meets: nothing is lost, doubled or out of order.
 *
 *     STOA_MODULE=…/libstoa.so STOA_FRONT_BINARY=…/stoa-front npm test -- real-limits
 */
import { describe, expect, test } from "vitest";
import WebSocket from "ws";
import { connect, type Limit, type WebSocketConstructor } from "../src/index.js";
import { runs, startFront, startRedis, token, until } from "./real-front.js";

if (!runs) console.warn("\n*** LIMITS WITH REAL FRONTS WERE NOT TESTED: STOA_MODULE and STOA_FRONT_BINARY are not both set ***\n");

function person(user: string, port: number) {
  const stoa = connect({
    url: `ws://127.0.0.1:${port}/ws`,
    token: token(user),
    WebSocket: WebSocket as unknown as WebSocketConstructor,
    backoffMinMs: 50,
    backoffMaxMs: 500,
  });
  const limits: Limit[] = [];
  stoa.on("limited", (limit) => limits.push(limit));
  const room = stoa.room("lobby");
  return { stoa, room, limits, document: room.doc("main", { create: "" }) };
}

describe.runIf(runs)("limits of real fronts", () => {
  test("messages and edits beyond the limit arrive all, once and in order", { timeout: 60_000 }, async () => {
    const redis = await startRedis();
    const settings = ["--limits", "off", "--limit", "user:message=5/10/1s,user-in-room:edit=3/10/1s"];
    const fronts = [await startFront(redis, ...settings), await startFront(redis, ...settings)];
    const people = fronts.map(({ port }) => person("ada", port));
    await Promise.all(people.map(({ room, document }) => Promise.all([room.joined, document.opened])));
    const [one, two] = people as [(typeof people)[0], (typeof people)[0]];
    const posted = people.flatMap(({ room }, who) => Array.from({ length: 12 }, (_, n) => room.messages.post(`${who} ${n}`)));
    for (let n = 0; n < 20; n++) {
      one.document.edit([one.document.text.length, "a"]);
      two.document.edit(["b"]);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await Promise.all(posted);
    await until("both texts to be the same", () => one.document.text === two.document.text && one.document.text.length === 40);
    await until("both to be synchronised", () => people.every(({ document }) => document.state === "synchronised"));
    expect([...one.document.text].filter((letter) => letter === "a")).toHaveLength(20);
    await until("both logs to be the same", () => people.every(({ room }) => room.messages.list.length === 24));
    const said = one.room.messages.list.map(({ body }) => body as string);
    for (const who of [0, 1]) {
      const own = said.filter((text) => text.startsWith(`${who} `));
      expect(own).toEqual(Array.from({ length: 12 }, (_, n) => `${who} ${n}`));
    }
    const commands = new Set(people.flatMap(({ limits }) => limits.map(({ command }) => command)));
    expect([...commands].sort()).toEqual(["doc.submit", "msg.post"]);
    for (const { stoa } of people) stoa.close();
  });

  test("a user with too many connections comes in once there is room", { timeout: 60_000 }, async () => {
    const redis = await startRedis();
    const front = await startFront(redis, "--limits", "standard", "--connections-per-user", "1", "--connection-lease-ms", "900");
    const first = person("ada", front.port);
    await first.room.joined;
    const second = person("ada", front.port);
    const reasons = new Set<string | undefined>();
    second.stoa.on("state", ({ reason }) => reasons.add(reason));
    await until("the second to be refused", () => reasons.has("RATE_LIMITED"));
    first.stoa.close();
    await second.room.joined;
    expect(second.stoa.state).toBe("online");
    second.stoa.close();
  });
});
