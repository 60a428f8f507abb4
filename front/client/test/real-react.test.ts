// @vitest-environment happy-dom
/**
 * Front ends as applications write them, in React's Strict Mode, against a real front and a service that knows only Redis: what
 * was written for another service works with the address changed.
 *
 *     STOA_MODULE=…/libstoa.so STOA_FRONT_BINARY=…/stoa-front npm test -- real-react
 */
import { createElement as h, StrictMode, useCallback, useEffect, useState, type ReactElement } from "react";
import { createRoot, type Root } from "react-dom/client";
import { applyMiddleware, legacy_createStore as createStore } from "redux";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { stoaMiddleware, type RoomAction, type StoaAction } from "../examples/redux.js";
import { connect, type Json, type Message, type Stoa, type StoaOptions, type WebSocketConstructor } from "../src/index.js";
import { StoaProvider, useCursors, useDocument, useEvent, useMessages, useNotifications, usePresence, useStoa, useTyping } from "../src/react.js";
import { Redis, runs, startFront, startRedis, token, until } from "./real-front.js";

const sockets: WebSocket[] = [];
/** What the application passes to `connect`; here it can be cut. */
class Cuttable extends WebSocket {
  constructor(url: string) {
    super(url);
    sockets.push(this);
  }
}
const cut = () => sockets.splice(0).forEach((socket) => socket.terminate());

let element: HTMLElement;
let root: Root;
const people: Stoa[] = [];
beforeEach(() => {
  element = document.createElement("div");
  document.body.append(element);
  root = createRoot(element);
});
afterEach(() => {
  root.unmount();
  element.remove();
  for (const stoa of people.splice(0)) stoa.close();
});

async function start() {
  const redis = await startRedis();
  const { port } = await startFront(redis);
  const service = new Redis(redis);
  const options: StoaOptions = { url: `ws://127.0.0.1:${port}/ws`, WebSocket: Cuttable as unknown as WebSocketConstructor, backoffMinMs: 50, backoffMaxMs: 500 };
  const person = (user: string) => {
    const stoa = connect({ ...options, token: token(user) });
    people.push(stoa);
    return stoa;
  };
  return { service, options, person };
}
const shows = (what: string) => until(`the page shows ${what}, not ${element.textContent}`, () => element.textContent.includes(what));
const click = (id: string) => element.querySelector<HTMLButtonElement>(`#${id}`)?.click();

describe.skipIf(!runs)("front ends as applications have them", () => {
  test("a hook that connects with the token of the session, tells whether it is connected, and subscribes to events", async () => {
    const { service, options, person } = await start();
    localStorage.setItem("accessToken", token("ada"));
    const tokens: string[] = [];
    let losses = 0;

    /** A connection that belongs to a component. */
    function useRealtime(rooms: readonly string[]) {
      const [stoa, setStoa] = useState<Stoa>();
      const [isConnected, setIsConnected] = useState(false);
      useEffect(() => {
        const session = () => {
          const held = localStorage.getItem("accessToken") ?? "";
          tokens.push(held);
          return held;
        };
        const made = connect({ ...options, token: session });
        made.on("state", ({ state }) => {
          setIsConnected(state === "online");
          if (state === "offline") losses += 1;
        });
        for (const room of rooms) made.room(room);
        setStoa(made);
        return () => made.close();
      }, []);
      const subscribe = useCallback((room: string, event: string, callback: (data: Json) => void) => stoa?.room(room).on(event, callback), [stoa]);
      return { stoa, isConnected, subscribe };
    }
    function Tasks(): ReactElement {
      const { isConnected, subscribe } = useRealtime(["project:7"]);
      const [tasks, setTasks] = useState<string[]>([]);
      useEffect(() => subscribe("project:7", "task:created", (task) => setTasks((all) => [...all, (task as { title: string }).title])), [subscribe]);
      return h("p", null, isConnected ? "online " : "offline ", tasks.join(", "));
    }

    root.render(h(StrictMode, null, h(Tasks)));
    await shows("online");
    const watcher = person("bo").room("project:7");
    await until("Ada is here, once", () => watcher.presence.members.some(({ user, connections }) => user === "ada" && connections === 1));
    await service.call("ROOM.EMIT", "stoa:{project:7}:log", "task:created", '{"title":"write tests"}');
    await shows("write tests");
    localStorage.setItem("accessToken", token("ada", 1_800));
    const before = losses;
    cut();
    // It may be back before anybody sees that it was gone: with the token that the session has by then, and where it was.
    await until("the page noticed", () => losses > before);
    await until("it has the new token", () => tokens.at(-1) === localStorage.getItem("accessToken"));
    await shows("online");
    await until("Ada is back", () => watcher.presence.members.some(({ user }) => user === "ada"));
    await service.call("ROOM.EMIT", "stoa:{project:7}:log", "task:created", '{"title":"run them"}');
    await shows("write tests, run them");
  });

  test("a front that cannot be reached is asked ever more seldom, up to a bound", async () => {
    const delays: number[] = [];
    const away = connect({ url: "ws://127.0.0.1:9/ws", token: token("bo"), WebSocket: Cuttable as unknown as WebSocketConstructor, backoffMinMs: 10, backoffMaxMs: 80, random: () => 0.999, sse: false });
    people.push(away);
    away.on("state", ({ state, retryInMs }) => state === "offline" && delays.push(Math.round(retryInMs ?? 0)));
    await until("it was tried often enough", () => delays.length >= 6);
    expect(delays.slice(0, 6)).toEqual([10, 20, 40, 80, 80, 80]);
  });

  test("hooks: chat, presence, typing, notifications, a document with cursors, events, over a cut", async () => {
    const { service, options, person } = await start();
    const bo = person("bo").room("group:1");
    await bo.joined;
    await service.call("MSG.POST", "stoa:{user:ada}:log", "system", '{"text":"welcome"}', "TYPE", "notification");
    const heard: Json[] = [];

    function Group(): ReactElement {
      const { isOnline } = useStoa();
      const { messages, post, unread } = useMessages("group:1");
      const { others } = usePresence("group:1");
      const { typists, typing } = useTyping("group:1");
      const { document: shared, text, edit } = useDocument("group:1", "notes", { create: "notes" });
      const { cursors, setCursor } = useCursors(shared);
      const { notifications, unread: news, read } = useNotifications();
      useEvent("group:1", "quiz:started", (data) => heard.push(data));
      const said = messages.map(({ body, state }: Message) => `${typeof body === "string" ? body : String((body as { text: string }).text)}:${state}`);
      return h(
        "div",
        null,
        h("p", null, isOnline ? "online; " : "away; ", `said ${said.join()}; `, `unread ${unread}; `, `with ${others.map(({ user }) => user).join()}; `),
        h("p", null, `types ${typists.join()}; `, `text ${text}; `, `at ${[...cursors.values()].map(({ head }) => head).join()}; `),
        h("p", null, `news ${news} ${notifications.map(({ body }) => (body as { text: string }).text).join()}; `),
        h("button", { id: "post", onClick: () => void post("hello") }),
        h("button", { id: "type", onClick: typing }),
        h("button", { id: "read", onClick: () => read() }),
        h("button", { id: "edit", onClick: () => (edit([text.length, "!"]), setCursor({ anchor: text.length, head: text.length })) }),
      );
    }
    const page = h(StoaProvider, { client: () => connect({ ...options, token: token("ada"), autoOpen: false }) }, h(Group));
    root.render(h(StrictMode, null, page));
    await shows("online; said ; unread 0; with bo;");
    await shows("news 1 welcome;");
    await until("Ada is here once, for Bo", () => bo.presence.members.find(({ user }) => user === "ada")?.connections === 1);
    click("post");
    await shows("said hello:sent;");
    await bo.messages.post("hi");
    await shows("said hello:sent,hi:sent; unread 1;");
    click("type");
    await until("Bo sees Ada type", () => bo.presence.typists.includes("ada"));
    bo.presence.typing();
    await shows("types bo;");
    const theirs = bo.doc("notes");
    await theirs.opened;
    click("edit");
    await until("Bo has the edit and sees the cursor", () => theirs.text === "notes!" && theirs.cursors.size === 1);
    theirs.edit(["> "]);
    theirs.setCursor({ anchor: 2, head: 2 });
    await shows("text > notes!; at 2;");
    await bo.emit("quiz:started", { quiz: 3 });
    await until("the event is heard", () => heard.length === 1);
    click("read");
    await shows("news 0 welcome;");

    cut();
    await service.call("MSG.POST", "stoa:{user:ada}:log", "system", '{"text":"you were away"}', "TYPE", "notification");
    await until("Bo is back", () => bo.state === "joined");
    void bo.messages.post("while you were away");
    await shows("while you were away:sent; unread 2;");
    await shows("news 1 you were away,welcome;");
    await shows("online;");
    expect(heard).toEqual([{ quiz: 3 }]);
  });

  test("a Redux store follows a room", async () => {
    const { person } = await start();
    const [ada, bo] = [person("ada"), person("bo").room("lobby")];
    interface Chat {
      state: string;
      said: readonly string[];
      people: readonly string[];
      events: readonly string[];
    }
    const reducer = (chat: Chat = { state: "", said: [], people: [], events: [] }, action: StoaAction | RoomAction | { type: "@@init" }): Chat => {
      switch (action.type) {
        case "stoa/state":
          return { ...chat, state: action.payload };
        case "stoa/messages":
          return { ...chat, said: action.payload.map(({ body, state }) => `${String((body as { text: string }).text)}:${state}`) };
        case "stoa/people":
          return { ...chat, people: action.payload.map(({ user }) => user) };
        case "stoa/event":
          return { ...chat, events: [...chat.events, action.payload.name] };
        default:
          return chat;
      }
    };
    const store = createStore(reducer, applyMiddleware(stoaMiddleware(ada, ada.room("lobby"), ["like:update"])));
    await until("both are here", () => store.getState().people.length === 2 && bo.state === "joined");
    store.dispatch({ type: "chat/post", payload: "first" });
    expect(store.getState().said).toEqual(["first:pending"]);
    await until("it is sent", () => store.getState().said[0] === "first:sent");
    void bo.messages.post({ text: "second" });
    void bo.emit("like:update", { post: 1 });
    await until("the store has all", () => store.getState().said.length === 2 && store.getState().events.length === 1);
    store.dispatch({ type: "chat/read" });
    await until("Bo sees that it was read", () => bo.messages.readBy.get("ada") === 2);
    expect(store.getState().state).toBe("online");
  });
});
