import { describe, expect, test, vi } from "vitest";
import { connect, StoaError, type StateChange, type StoaOptions, type TokenReason } from "../src/index.js";
import { front, pass } from "./each-front.js";

/** The longest possible delays: `random` is next to 1. */
const slowest = () => 0.999_999;
function open(options: Partial<StoaOptions> = {}) {
  const stoa = connect({ url: "ws://front/ws", token: "ada", WebSocket: front.Socket, random: slowest, ...options });
  const changes: StateChange[] = [];
  stoa.on("state", (change) => changes.push(change));
  stoa.on("error", () => undefined);
  return { stoa, changes, states: () => changes.map(({ state }) => state) };
}

describe("connecting", () => {
  test("goes from connecting to connected and knows who it is", async () => {
    const { stoa, states } = open();
    expect(stoa.state).toBe("connecting");
    await pass(10);
    expect(states()).toEqual(["online"]);
    expect([stoa.user, stoa.name, stoa.connectionId]).toEqual(["ada", "ada", "k1"]);
    expect(front.of("connect")).toEqual([{ id: 0, do: "connect", token: "ada" }]);
  });

  test("whoever hears that it is connected finds user and rooms", async () => {
    const { stoa } = open();
    const room = stoa.room("lobby");
    const heard: unknown[] = [];
    stoa.on("state", ({ state, previous }) => heard.push([state, previous, stoa.user, room.state]));
    await pass(10);
    expect(heard).toEqual([["online", "connecting", "ada", "joined"]]);
  });

  test("without any WebSocket it says so at once", () => {
    vi.stubGlobal("WebSocket", undefined);
    expect(() => connect({ url: "ws://front/ws", token: async () => "ada" })).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error);
    vi.unstubAllGlobals();
  });

  test("backs off 1 s, 2 s, … 30 s while nobody answers, and starts from 1 s after a success", async () => {
    front.down = true;
    const { changes } = open();
    await pass(200_000);
    const delays = changes.filter(({ state }) => state === "offline").map(({ retryInMs }) => Math.round(retryInMs as number));
    expect(delays.slice(0, 7)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    front.down = false;
    await pass(31_000);
    changes.length = 0;
    front.cut();
    await pass(1);
    expect(changes.map(({ state, retryInMs }) => [state, Math.round(retryInMs ?? 0)])).toEqual([["offline", 1_000]]);
  });

  test("the jitter is full: the shortest back-off is none", async () => {
    front.down = true;
    const { changes } = open({ random: () => 0 });
    await pass(5);
    expect(changes.find(({ state }) => state === "offline")?.retryInMs).toBe(0);
  });

  test("does not wait for ever for the socket to open", async () => {
    front.silent = true;
    const { stoa, changes } = open({ openTimeoutMs: 3_000 });
    await pass(3_001);
    expect(stoa.state).toBe("offline");
    expect(changes.at(-1)?.reason).toBe("TIMEOUT");
  });

  test("does not wait for ever for the answer to connect", async () => {
    front.swallow("connect", "reply");
    const { stoa } = open({ answerTimeoutMs: 3_000 });
    await pass(3_010);
    expect(stoa.state).toBe("offline");
    await pass(1_010);
    expect(stoa.state).toBe("online");
  });

  test("a front that refuses for now is asked again, not before it said", async () => {
    front.refuse("connect", "RATE_LIMITED", { retry: true, retryAfterMs: 7_000 });
    const { stoa, changes } = open();
    await pass(10);
    expect([stoa.state, changes.at(-1)?.reason, changes.at(-1)?.retryInMs]).toEqual(["offline", "RATE_LIMITED", 7_000]);
    await pass(7_010);
    expect(stoa.state).toBe("online");
  });

  test("a socket that cannot be made closes the connection instead of throwing later", async () => {
    class Broken {
      constructor() {
        throw new SyntaxError("not a URL");
      }
    }
    const { stoa } = open({ WebSocket: Broken as never });
    expect(stoa.state).toBe("closed");
  });
});

describe("close codes", () => {
  test.each([[4000, "SHUTDOWN"], [4001, "SLOW"], [4002, "PING_TIMEOUT"], [4321, "SOMETHING_NEW"], [1006, ""], [1001, ""]])("%i comes back", async (code, reason) => {
    const { stoa, changes } = open();
    await pass(10);
    front.close(code, reason);
    await pass(1);
    expect(changes.at(-1)).toMatchObject({ state: "offline", closeCode: code, reason: reason || "LOST" });
    await pass(1_010);
    expect(stoa.state).toBe("online");
  });

  test("a front that stops says when to come back", async () => {
    const { stoa, changes } = open({ random: () => 0 });
    await pass(10);
    front.stops(4_321);
    await pass(10);
    front.close(4000, "SHUTDOWN");
    await pass(1);
    expect(changes.at(-1)).toMatchObject({ state: "offline", reason: "SHUTDOWN", retryInMs: 4_321 });
    await pass(4_400);
    expect(stoa.state).toBe("online");
    // What it said was about that one time.
    front.close(4001, "SLOW");
    expect(changes.at(-1)).toMatchObject({ state: "offline", reason: "SLOW", retryInMs: 0 });
  });

  test.each([[4500, "AUTH_REQUIRED"], [4501, "AUTH_INVALID"], [4502, "AUTH_EXPIRED"], [4503, "TOO_LARGE"], [4777, "SOMETHING_NEW"]])("%i stays away", async (code, reason) => {
    const { stoa, changes } = open();
    await pass(10);
    front.close(code, reason);
    await pass(120_000);
    expect(stoa.state).toBe("closed");
    expect(changes.at(-1)).toMatchObject({ state: "closed", closeCode: code, reason });
    expect(front.dials).toBe(1);
  });

  test("open comes back after a refusal", async () => {
    const { stoa } = open();
    await pass(10);
    front.close(4501, "AUTH_INVALID");
    await pass(10);
    stoa.open();
    await pass(10);
    expect(stoa.state).toBe("online");
  });
});

describe("tokens", () => {
  test("a token that ends in mid-connection is replaced, and the connection is back at once", async () => {
    const asked: TokenReason[] = [];
    const { stoa } = open({ token: async (why) => (asked.push(why), `ada${asked.length}`) });
    await pass(10);
    front.close(4502, "AUTH_EXPIRED");
    await pass(10);
    expect([stoa.state, stoa.user, asked]).toEqual(["online", "ada2", ["first", "expired"]]);
  });

  test("the function is asked again after a cut", async () => {
    const asked: TokenReason[] = [];
    open({ token: (why) => (asked.push(why), `ada${asked.length}`) });
    await pass(10);
    front.cut();
    await pass(2_000);
    expect(front.of("connect").map((frame) => frame["token"])).toEqual(["ada1", "ada2"]);
    expect(asked).toEqual(["first", "reconnect"]);
  });

  test.each([
    ["fails", () => Promise.reject(new Error("no network"))],
    ["never answers", () => new Promise<string>(() => undefined)],
  ])("a token that nobody refused is used again when the function %s", async (_, again) => {
    let asked = 0;
    const { stoa } = open({ token: () => (asked++ === 0 ? "ada" : again()), tokenTimeoutMs: 2_000 });
    await pass(10);
    front.cut();
    await pass(3_100);
    expect([stoa.state, asked]).toEqual(["online", 2]);
  });

  test("what comes after the time-out has come too late", async () => {
    const answers: ((token: string) => void)[] = [];
    const { stoa } = open({ token: () => new Promise<string>((resolve) => answers.push(resolve)), tokenTimeoutMs: 2_000 });
    await pass(10);
    answers[0]?.("ada");
    await pass(10);
    front.cut();
    await pass(3_100);
    answers[1]?.("eve");
    await pass(10);
    expect([stoa.state, stoa.user]).toEqual(["online", "ada"]);
    expect(front.of("connect")).toHaveLength(2);
  });

  test("before the token ends the connection goes on with another one", async () => {
    const asked: TokenReason[] = [];
    const { stoa, states } = open({ token: async (why) => (asked.push(why), `ada${asked.length}`) });
    await pass(10);
    front.expires(60_000);
    await pass(10);
    expect(front.of("auth.refresh").map((frame) => frame["token"])).toEqual(["ada2"]);
    expect([asked, states(), stoa.user, front.dials]).toEqual([["first", "expiring"], ["online"], "ada1", 1]);
  });

  test("a refresh that is refused or fails changes nothing until the token has ended", async () => {
    const given = ["ada", "invalid"];
    const { stoa } = open({
      token: async () => {
        const token = given.shift();
        if (token === undefined) throw new Error("no network");
        return token;
      },
    });
    const errors: string[] = [];
    stoa.on("error", ({ code }) => errors.push(code));
    await pass(10);
    front.expires(60_000);
    await pass(10);
    front.expires(30_000);
    await pass(10);
    expect([stoa.state, errors, front.dials]).toEqual(["online", ["AUTH_INVALID"], 1]);
  });

  test("a fixed token is not sent again", async () => {
    open();
    await pass(10);
    front.expires(60_000);
    await pass(10);
    expect(front.of("auth.refresh")).toEqual([]);
  });

  test("a token that has ended before it was used is replaced with back-off, not in a tight loop", async () => {
    const token = vi.fn(async () => "expired");
    const { stoa } = open({ token });
    await pass(10_000);
    expect(stoa.state).not.toBe("closed");
    expect(token.mock.calls.length).toBeLessThan(6);
  });

  test("a token function that fails is tried again; one that refuses for good closes", async () => {
    let fails = 1;
    const { stoa } = open({
      token: () => {
        if (fails-- > 0) throw new Error("no network");
        return "ada";
      },
    });
    await pass(10);
    expect(stoa.state).toBe("offline");
    await pass(1_010);
    expect(stoa.state).toBe("online");

    const { stoa: other } = open({ token: () => Promise.reject(new StoaError("PERMISSION_DENIED", "signed out")) });
    await pass(10);
    expect(other.state).toBe("closed");
  });

  test("a token function that never answers is not waited for", async () => {
    const { stoa, changes } = open({ token: () => new Promise(() => undefined), tokenTimeoutMs: 2_000 });
    await pass(2_001);
    expect([stoa.state, changes.at(-1)?.reason]).toEqual(["offline", "TIMEOUT"]);
  });
});

describe("silence", () => {
  test("a quiet line is asked, and a dead one is left", async () => {
    const { stoa } = open({ answerTimeoutMs: 3_000 });
    await pass(25_100);
    expect(front.of("ping")).toHaveLength(1);
    expect(stoa.state).toBe("online");
    front.swallow("ping", "request", 100);
    await pass(25_000 + 3_100);
    expect(stoa.state).toBe("offline");
  });

  test("a line with traffic is not asked", async () => {
    open();
    await pass(10);
    front.push("lobby", {});
    for (let i = 0; i < 10; i++) {
      front.push("lobby", { event: "room.emitted", name: "x", data: 1 });
      await pass(10_000);
    }
    expect(front.of("ping").length).toBeLessThanOrEqual(4);
  });
});

describe("closing", () => {
  test("close ends everything: no timer, no further dial", async () => {
    const { stoa, changes } = open();
    await pass(10);
    stoa.close();
    expect(changes.at(-1)).toMatchObject({ state: "closed", reason: "CLOSED" });
    await pass(300_000);
    expect(front.dials).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("close while waiting or connecting ends that, too", async () => {
    front.down = true;
    const { stoa } = open();
    await pass(10);
    stoa.close();
    await pass(300_000);
    expect(front.dials).toBe(1);
    const { stoa: second } = open();
    second.close();
    await pass(300_000);
    expect(second.state).toBe("closed");
  });

  test("a listener that throws does not break the connection", async () => {
    const { stoa } = open();
    const uncaught = vi.fn();
    process.once("uncaughtException", uncaught);
    stoa.on("state", () => {
      throw new Error("listener");
    });
    await pass(10);
    expect(stoa.state).toBe("online");
  });
});

describe("frames", () => {
  test("what cannot be read is skipped, and what stands beside it is taken", async () => {
    const { stoa } = open();
    const errors: StoaError[] = [];
    stoa.on("error", (error) => errors.push(error));
    const room = stoa.room("lobby");
    const heard: unknown[] = [];
    room.on("x", (data) => heard.push(data));
    await pass(10);
    front.push("lobby", { event: "msg.posted", stream: "log", epoch: 3 });
    front.push("lobby", { event: "something.newer" });
    front.push("lobby", { event: "room.emitted", name: "x", data: 1 });
    front.push("lobby", { event: "room.emitted", name: "__proto__", data: 2 });
    await pass(10);
    expect(heard).toEqual([1]);
    expect(errors.map(({ code }) => code)).toEqual(["INTERNAL"]);
    expect(stoa.state).toBe("online");
  });
});
