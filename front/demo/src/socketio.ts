/**
 * The room of the other page, with socket.io-client instead of Stoa's own: for those who have a client already. Everything that
 * is particular to it is in `socketio-room.ts`; how it looks is shared.
 */
import { colorOf, type Message } from "stoa";
import { startComposer, type Composer } from "./composer.js";
import { startCopy } from "./copy-link.js";
import { byId } from "./dom.js";
import { askName } from "./door.js";
import { forgetGuest, guestToken } from "./guest.js";
import { MessageList, readersByKey } from "./message-list.js";
import { chip, ownChip, SHOWN_MAX, type Names } from "./people.js";
import { roomName } from "./room-name.js";
import { SocketRoom, type Refusal } from "./socketio-room.js";
import "./style.css";

const name = roomName(location);
byId("room").textContent = name;
document.title = `${name} · Stoa with Socket.IO`;
byId<HTMLAnchorElement>("other-client").href = `./?room=${encodeURIComponent(name)}`;
addEventListener("hashchange", () => location.reload());
startCopy(name);
askName(name, enterRoom);

function enterRoom(guest: string): void {
  let hasEnded = false;
  const room = new SocketRoom(name, async () => {
    const token = await guestToken(guest, hasEnded ? "expired" : "first");
    hasEnded = false;
    room.me = userOf(token);
    return token;
  });
  const names: Names = {
    of: (user, fallback) => room.people.get(user)?.username ?? fallback ?? user,
    color: (user) => room.people.get(user)?.color ?? colorOf(user),
  };
  startState(room, () => (hasEnded = true));
  const drawPeople = startPeople(room, names, guest);
  const drawChat = startChat(room, names, guest);
  // Many things come at once: they are drawn once.
  let isDue = false;
  room.changed = () => {
    if (isDue) return;
    isDue = true;
    queueMicrotask(() => {
      isDue = false;
      drawPeople();
      drawChat();
    });
  };
  room.changed();
}

/** The connection, in one word that says what it means for the person; and by which transport. */
function startState(room: SocketRoom, ended: () => void): void {
  const { socket } = room;
  const line = byId("state");
  const again = byId("again");
  let wasConnected = false;
  let refusedTokens = 0;
  const show = (state: string, text: string) => {
    line.dataset["state"] = state;
    line.textContent = text;
    again.hidden = state !== "offline" || socket.active;
    byId("transport").textContent = socket.connected ? transportOf(room) : "none";
  };
  const update = () => {
    if (socket.connected) show("connected", "Connected");
    else if (!navigator.onLine) show("offline", "Offline");
    else if (!socket.active) show("offline", "Disconnected");
    else show(wasConnected ? "reconnecting" : "connecting", wasConnected ? "Reconnecting…" : "Connecting…");
  };
  socket.on("connect", () => {
    wasConnected = true;
    refusedTokens = 0;
    socket.io.engine.once("upgrade", update);
    update();
  });
  socket.on("disconnect", (reason) => {
    update();
    // After this the client does not come back by itself.
    if (reason === "io server disconnect") show("offline", "Disconnected");
  });
  socket.on("connect_error", (error: Error & { data?: Refusal }) => {
    // Without a code it was the network, and the client tries again by itself.
    const code = error.data?.code;
    if (code === "AUTH_EXPIRED") {
      ended();
      socket.connect();
    } else if (code?.startsWith("AUTH_") && refusedTokens++ === 0) {
      // A front that was started afresh does not know the old guests: be a new one.
      forgetGuest();
      return location.reload();
    } else if (error.data?.retry === true) setTimeout(() => socket.connect(), error.data.retry_after_ms ?? 1_000);
    update();
    if (code !== undefined && !error.data?.retry) show("offline", error.message);
  });
  room.refused = (why) => show("offline", why);
  for (const event of ["reconnect_attempt", "reconnect_failed"] as const) socket.io.on(event, update);
  addEventListener("offline", update);
  addEventListener("online", update);
  again.addEventListener("click", () => socket.connect());
  update();
}

const transportOf = ({ socket }: SocketRoom) => (socket.io.engine.transport.name === "websocket" ? "WebSocket" : "HTTP polling");

/** Who is here; returns what shows it anew. */
function startPeople(room: SocketRoom, names: Names, guest: string): () => void {
  const rename = () => {
    // Another name is another guest, who comes in by the door.
    forgetGuest();
    room.socket.disconnect();
    location.reload();
  };
  const picker = byId<HTMLSelectElement>("status");
  let drawn = "";
  const draw = () => {
    const me = room.people.get(room.me ?? "");
    const others = [...room.people.values()].filter(({ userId }) => userId !== room.me);
    // An element that has not changed stays: somebody's finger may be on it.
    const now = JSON.stringify([me, others, room.me, room.status]);
    if (now === drawn) return;
    drawn = now;
    byId("count").textContent = room.people.size > 0 ? `· ${room.people.size}` : "";
    const items = room.me === undefined ? [] : [ownChip(guest, names.color(room.me), me?.status ?? room.status, me?.connectionCount ?? 1, rename)];
    for (const { userId, status, connectionCount } of others.slice(0, SHOWN_MAX - 1)) items.push(chip(names.of(userId), names.color(userId), status, connectionCount));
    const more = others.length - (SHOWN_MAX - 1);
    if (more > 0) {
      const rest = document.createElement("li");
      rest.className = "more";
      rest.textContent = `and ${more} more`;
      items.push(rest);
    }
    byId("people").replaceChildren(...items);
  };
  picker.addEventListener("change", () => {
    room.setStatus(picker.value);
    draw();
  });
  return draw;
}

/** What is said; returns what shows it anew. */
function startChat(room: SocketRoom, names: Names, guest: string): () => void {
  const newest = byId("newest");
  const older = byId("older");
  const title = document.title;
  let missed = 0;
  let composer: Composer | undefined;
  const act = (target: HTMLElement) => {
    const { do: does, reaction = "", n: number } = target.dataset;
    if (does === "jump") return list.show(room.list.find(({ n }) => n === Number(number))?.key);
    const message = room.list.find(({ key }) => key === list.keyOf(target));
    if (message === undefined) return;
    if (does === "discard") return room.discard(message.key);
    const { n } = message;
    if (n === undefined) return;
    if (does === "react" || does === "unreact") void room.react(n, reaction, does === "react");
    else if (does === "delete") void room.delete(n);
    else if (does === "reply") composer?.reply(message);
    else if (does === "edit") composer?.edit(message);
  };
  const list = new MessageList(act, () => byId("chat-input").focus());
  const toEnd = () => {
    list.toEnd();
    newest.hidden = true;
  };
  const talk = {
    me: () => room.me,
    list: () => room.list,
    mayTalk: () => room.mayTalk,
    typists: () => [...room.typists],
    typing: () => room.typing(),
    stopTyping: () => room.stopTyping(),
    post: (text: string, reply: number | undefined) => room.post(text, reply),
    edit: (n: number, text: string) => room.edit(n, text),
  };
  composer = startComposer(talk, names, guest, () => queueMicrotask(toEnd));
  const read = () => {
    if (!document.hidden) missed = 0;
    if (!document.hidden && list.atEnd) room.read();
    document.title = missed > 0 ? `(${missed}) ${title}` : title;
  };
  const draw = () => {
    const follow = list.atEnd;
    const all = room.list;
    const readers = readersByKey(all, room.readBy, room.me);
    const hold = list.draw(all, (message: Message, byNumber) => ({
      names,
      me: room.me,
      guest,
      answered: message.reply === undefined ? undefined : byNumber.get(message.reply),
      readers: readers.get(message.key) ?? [],
      mayTalk: room.mayTalk,
    }));
    byId("empty").hidden = all.length > 0 || !room.isJoined;
    older.hidden = !room.more;
    if (follow) toEnd();
    else hold();
    composer?.draw();
    read();
  };
  room.heard = () => {
    if (!list.atEnd) newest.hidden = false;
    if (document.hidden) missed += 1;
  };
  document.addEventListener("visibilitychange", read);
  newest.addEventListener("click", toEnd);
  list.scroll.addEventListener("scroll", () => {
    if (list.atEnd) newest.hidden = true;
    read();
  });
  older.addEventListener("click", () => void room.older());
  return draw;
}

/** Whom a token speaks of. */
function userOf(token: string): string | undefined {
  try {
    const claims: unknown = JSON.parse(atob((token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/")));
    const user = (claims as { sub?: unknown }).sub;
    return typeof user === "string" ? user : undefined;
  } catch {
    return undefined;
  }
}
