// @vitest-environment happy-dom
/** The hooks, in Strict Mode: React shows, hides and shows every component, and calls each one twice. */
import { act, createElement as h, StrictMode, useState, type ReactNode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { connect, type Message, type Stoa, type StoaOptions } from "../src/index.js";
import * as stoaReact from "../src/react.js";
import { front, pass } from "./each-front.js";

const { StoaProvider, useCursors, useDocument, useEvent, useMap, useMessages, useNotifications, usePresence, useRoom, useStoa, useTyping } = stoaReact;

let root: Root;
let element: HTMLElement;
beforeEach(() => {
  (globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;
  element = document.createElement("div");
  root = createRoot(element);
});
afterEach(async () => {
  await act(async () => root.unmount());
  await pass(2_000);
});

const client = (user: string, options: Partial<StoaOptions> = {}) => {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, ...options });
  stoa.on("error", () => undefined);
  return stoa;
};
const later = (ms: number) => act(async () => void (await pass(ms)));
/** Shows what `use` gives, below a provider; returns what it gave last, and how often it was asked. */
function show<T>(stoa: Stoa | (() => Stoa), use: () => T) {
  const seen = { last: undefined as T, renders: 0 };
  const Shown = () => {
    seen.last = use();
    seen.renders += 1;
    return null;
  };
  const draw = (child: ReactNode) => act(async () => root.render(h(StrictMode, null, h(StoaProvider, { client: stoa, children: child }))));
  return { seen, draw: () => draw(h(Shown)), hide: () => draw(null), last: () => seen.last };
}

describe("the connection", () => {
  test("useStoa tells what it is doing", async () => {
    const stoa = client("ada");
    const shown = show(stoa, useStoa);
    await shown.draw();
    expect(shown.last()).toMatchObject({ state: "connecting", isOnline: false, user: undefined, transport: undefined });
    await later(10);
    expect(shown.last()).toMatchObject({ state: "online", isOnline: true, user: "ada", transport: "websocket" });
    front.down = true;
    front.cut();
    await later(1);
    expect(shown.last()).toMatchObject({ state: "offline", change: { reason: "LOST" } });
    expect(shown.last().stoa).toBe(stoa);
  });

  test("a client that the provider makes is opened once and closed when the provider has gone", async () => {
    const made: Stoa[] = [];
    const shown = show(() => {
      const stoa = client("ada", { autoOpen: false });
      made.push(stoa);
      return stoa;
    }, useStoa);
    await shown.draw();
    await later(5_000);
    expect([made.length, front.dials, shown.last().state]).toEqual([1, 1, "online"]);
    await act(async () => root.render(null));
    await later(2_000);
    expect(made[0]?.state).toBe("closed");
  });

  test("without a provider it says what is missing", async () => {
    const { error } = console;
    console.error = () => undefined;
    try {
      await expect(act(async () => root.render(h(() => (useStoa(), null))))).rejects.toThrow("<StoaProvider>");
    } finally {
      console.error = error;
    }
  });
});

describe("rooms", () => {
  test("a room is joined once, and left after the last component that names it has gone", async () => {
    const shown = show(client("ada"), () => [useRoom("lobby"), usePresence("lobby"), useMessages("lobby")] as const);
    await shown.draw();
    await later(3_000);
    const [{ room, state, isJoined, role }] = shown.last();
    expect([state, isJoined, role]).toEqual(["joined", true, "editor"]);
    expect([front.of("room.join").length + Number(front.of("connect")[0]?.["resume"] !== undefined), front.of("room.leave").length]).toEqual([1, 0]);
    await shown.hide();
    await later(500);
    expect(room.state).toBe("joined");
    await later(2_000);
    expect([room.state, front.of("room.leave").length]).toEqual(["left", 1]);
    await shown.draw();
    await later(10);
    expect([shown.last()[0].state, shown.last()[0].room === room]).toEqual(["joined", false]);
  });

  test("a room that the application joined itself stays", async () => {
    const stoa = client("ada");
    const room = stoa.room("lobby");
    const shown = show(stoa, () => usePresence("lobby"));
    await shown.draw();
    await later(10);
    await shown.hide();
    await later(5_000);
    expect(room.state).toBe("joined");
  });

  test("a room that the application leaves is joined anew by what is shown next, and left with it", async () => {
    const stoa = client("ada");
    const shown = show(stoa, () => [useRoom("lobby").room, usePresence("lobby")] as const);
    await shown.draw();
    await later(10);
    const [first] = shown.last();
    await act(async () => first.leave());
    expect(shown.last()[0].state).toBe("left");
    await shown.hide();
    await shown.draw();
    await later(10);
    const [second] = shown.last();
    expect([first.state, second.state, second === first]).toEqual(["left", "joined", false]);
    await shown.hide();
    await later(2_000);
    expect(second.state).toBe("left");
  });

  test("who is shut out sees why", async () => {
    front.grant("lobby", "ada", "none");
    const shown = show(client("ada"), () => useRoom("lobby"));
    await shown.draw();
    await later(10);
    expect(shown.last()).toMatchObject({ state: "refused", isJoined: false, error: { code: "PERMISSION_DENIED" } });
  });
});

describe("people", () => {
  test("who is here, who types and where they point, each rendered for itself alone", async () => {
    const bo = client("bo").room<{ mood: string }, { x: number }>("lobby");
    const here = show(client("ada"), () => usePresence<{ mood: string }>("lobby"));
    await here.draw();
    await later(10);
    expect(here.last().others.map(({ user }) => user)).toEqual(["bo"]);
    bo.presence.update({ mood: "good" });
    await later(10);
    const mood: string | undefined = here.last().others[0]?.data.mood;
    expect([mood, here.last().me?.user, here.last().count]).toEqual(["good", "ada", 2]);
    const { renders } = here.seen;
    bo.presence.typing();
    bo.presence.setCursor({ x: 5 });
    bo.messages.post("hi").catch(() => undefined);
    await later(10);
    expect(here.seen.renders).toBe(renders);
    const { update, setStatus } = here.last();
    update({ mood: "grim" });
    setStatus("busy");
    await later(10);
    expect([here.last().me?.data.mood, here.last().status, here.last().update === update]).toEqual(["grim", "busy", true]);
  });

  test("useTyping and useCursors", async () => {
    const bo = client("bo").room<object, { x: number }>("lobby");
    const shown = show(client("ada"), () => [useTyping("lobby"), useCursors<object, { x: number }>("lobby")] as const);
    await shown.draw();
    await later(10);
    bo.presence.typing();
    await later(10);
    expect(shown.last()[0].typists).toEqual(["bo"]);
    const { renders } = shown.seen;
    bo.presence.update({ any: 1 });
    await later(10);
    expect(shown.seen.renders).toBe(renders);
    bo.presence.setCursor({ x: 5 });
    await later(60);
    expect([...shown.last()[1].cursors.values()].map(({ user, cursor }) => [user, cursor.x])).toEqual([["bo", 5]]);
    shown.last()[0].typing();
    shown.last()[1].setCursor({ x: 7 });
    await later(60);
    expect([bo.presence.typists, [...bo.presence.cursors.values()].map(({ cursor }) => cursor.x)]).toEqual([["ada"], [7]]);
    shown.last()[0].stopTyping();
    await later(10);
    expect(bo.presence.typists).toEqual([]);
  });
});

describe("messages", () => {
  test("what is posted shows at once; what others write, read and react to shows when it comes", async () => {
    const bo = client("bo").room("lobby");
    const shown = show(client("ada"), () => useMessages("lobby"));
    await shown.draw();
    await later(10);
    const { post } = shown.last();
    await act(async () => void post("one"));
    expect(shown.last().messages.map(({ body, state }) => [body, state])).toEqual([["one", "pending"]]);
    await later(10);
    expect(shown.last().messages[0]?.state).toBe("sent");
    void bo.messages.react(1, "👍");
    void bo.messages.post("two");
    bo.messages.read(1);
    await later(2_000);
    expect([shown.last().messages[0]?.reactions?.["👍"]?.count, shown.last().unread, shown.last().readBy.get("bo")]).toEqual([1, 1, 1]);
    await act(async () => shown.last().read());
    expect([shown.last().unread, shown.last().post === post]).toEqual([0, true]);
  });

  test("useNotifications: what is posted to one's own room, newest first, also what waited", async () => {
    front.post("user:ada", "you have mail");
    const heard: unknown[] = [];
    const shown = show(client("ada"), () => useNotifications(({ body }: Message) => heard.push(body)));
    await shown.draw();
    expect(shown.last().notifications).toEqual([]);
    await later(10);
    expect([shown.last().unread, shown.last().notifications.length]).toEqual([1, 1]);
    front.post("user:ada", "and more");
    await later(10);
    expect(shown.last().notifications.map(({ body }) => body)).toEqual([{ text: "and more" }, { text: "you have mail" }]);
    expect([heard, shown.last().unread]).toEqual([[{ text: "and more" }], 2]);
    await act(async () => shown.last().read());
    expect(shown.last().unread).toBe(0);
  });

  test("useEvent hears with the newest listener", async () => {
    const bo = client("bo").room("lobby");
    const heard: unknown[] = [];
    const shown = show(client("ada"), () => {
      const [factor, setFactor] = useState(1);
      useEvent<{ beat: number }>("lobby", "beat", (n, { user }) => heard.push([n * factor, user]));
      return setFactor;
    });
    await shown.draw();
    await later(10);
    void bo.emit("beat", 5);
    await later(10);
    await act(async () => shown.last()(10));
    void bo.emit("beat", 5);
    await later(10);
    expect(heard).toEqual([[5, "bo"], [50, "bo"]]);
  });
});

describe("what is shared", () => {
  test("a text: edits show at once, others' when they come; it is closed with the last component", async () => {
    const bo = client("bo").room("lobby").doc("main", { create: "one" });
    await later(10);
    const shown = show(client("ada"), () => {
      const shared = useDocument("lobby", "main", { create: "" });
      return { ...shared, ...useCursors(shared.document) };
    });
    await shown.draw();
    expect([shown.last().text, shown.last().state, shown.last().editable]).toEqual(["", "opening", false]);
    await later(10);
    expect([shown.last().text, shown.last().editable]).toEqual(["one", true]);
    await act(async () => shown.last().edit([3, " two"]));
    expect([shown.last().text, shown.last().state]).toEqual(["one two", "awaiting"]);
    await later(10);
    bo.setCursor({ anchor: 0, head: 3 });
    await later(60);
    expect([...shown.last().cursors.values()].map(({ head }) => head)).toEqual([3]);
    bo.edit(["> "]);
    await later(60);
    expect([shown.last().text, [...shown.last().cursors.values()].map(({ head }) => head)]).toEqual(["> one two", [5]]);
    const { document: shared } = shown.last();
    await shown.hide();
    await later(2_000);
    expect(shared.state).toBe("closed");
  });

  test("a map", async () => {
    const bo = client("bo").room("lobby").map<{ n: number }>("board");
    const shown = show(client("ada"), () => useMap<{ n: number }>("lobby", "board"));
    await shown.draw();
    await later(10);
    await act(async () => shown.last().set("n", 1));
    expect(shown.last().entries.get("n")).toBe(1);
    await later(10);
    bo.set("n", 2);
    await later(10);
    expect([...shown.last().entries]).toEqual([["n", 2]]);
  });
});
