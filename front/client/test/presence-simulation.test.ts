/**
 * Many people in one room, bad lines: they say things, change statuses, point and come and go, with delays, cuts, lost answers and
 * duplicated events. In the end everybody sees what the front says, and the front knows what everybody said last.
 */
import { expect, test, vi } from "vitest";
import { connect, type Json, type JsonObject } from "../src/index.js";
import { wildFront } from "./each-front.js";
import { Random, seedOf } from "./random.js";

const STATUSES = ["online", "away", "busy", "invisible", "focus"];

async function live(seed: number): Promise<void> {
  const random = new Random(seed);
  const front = wildFront(random);
  const windows = ["ada", "ada", "bo", "cy", "di"].map((user) => {
    const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, random: random.next, backoffMaxMs: 2_000, answerTimeoutMs: 2_000 });
    stoa.on("error", () => undefined);
    return { user, stoa, presence: stoa.room("lobby").presence, cursor: null as Json };
  });
  await vi.advanceTimersByTimeAsync(3_000);

  for (let step = 0; step < 200; step++) {
    const window = random.pick(windows);
    const { presence } = window;
    switch (random.below(6)) {
      case 0:
        presence.update({ [random.pick(["mood", "place"])]: random.chance(0.3) ? null : step });
        break;
      case 1:
        presence.setStatus(random.pick(STATUSES));
        break;
      case 2:
      case 3:
        presence.setCursor((window.cursor = random.chance(0.2) ? null : { x: step }));
        break;
      case 4:
        presence.typing();
        break;
      default:
        if (random.chance(0.3)) front.cut(window.user);
    }
    if (random.chance(0.05)) front.swallow(random.pick(["presence.set", "presence.cursor"]), random.chance(0.5) ? "reply" : "request");
    if (random.chance(0.05)) front.refuse(random.pick(["presence.set", "presence.cursor"]), "RATE_LIMITED", { retry: true });
    await vi.advanceTimersByTimeAsync(random.below(80));
  }
  front.calm();
  await vi.advanceTimersByTimeAsync(60_000);

  const { members, cursors, typing } = front.presence("lobby") as unknown as { members: JsonObject[]; cursors: { connection: string }[]; typing: string[] };
  const byUser = <T extends { user?: unknown }>(list: readonly T[]) => [...list].sort((a, b) => (String(a.user) < String(b.user) ? -1 : 1));
  for (const { user, stoa, presence } of windows) {
    expect(byUser(presence.members), user).toEqual(byUser(members));
    expect([presence.count, presence.typists]).toEqual([members.length, typing]);
    const others = cursors.filter(({ connection }) => connection !== stoa.connectionId);
    expect(new Map([...presence.cursors].sort())).toEqual(new Map(others.map((it): [string, object] => [it.connection, it]).sort()));
  }
  expect(typing).toEqual([]);
  const said = windows.map(({ stoa, presence, cursor }) => [stoa.connectionId, presence.data, presence.status, cursor]);
  expect(front.said("lobby")).toEqual(said.sort());
  for (const { stoa } of windows) stoa.close();
}

test("everybody sees what the front says, and it knows what everybody said last", async () => {
  const seed = seedOf("presence");
  for (let round = 0; round < 10 * Number(process.env["STOA_ROUNDS"] ?? 1); round++) {
    try {
      await live(seed + round);
    } catch (error) {
      console.log(`presence: failed with STOA_SEED=${seed + round} (first round)`);
      throw error;
    }
  }
});
