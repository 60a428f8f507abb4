import type { Message, Stoa } from "stoa";
import type { DemoRoom } from "./demo-room.js";
import { avatar, byId, make } from "./dom.js";
import type { Names } from "./people.js";

/** Messages of one person that follow each other within this time stand under one name. */
const FOLLOWS_MS = 5 * 60_000;

/** The chat: messages, who types, and the line to write in. */
export function startChat(stoa: Stoa, room: DemoRoom, names: Names, guest: string): void {
  const { messages, presence } = room;
  const list = byId("messages");
  const scroll = byId("scroll");
  const input = byId<HTMLTextAreaElement>("chat-input");
  const newest = byId("newest");
  const older = byId("older");
  /** What is shown, by key: an element stays while its message does, so screen readers read each message once. */
  const shown = new Map<string, { element: HTMLElement; drawn: string }>();
  const title = document.title;
  let unread = 0;
  let failure = "";

  const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
  const toEnd = () => {
    scroll.scrollTop = scroll.scrollHeight;
    newest.hidden = true;
  };

  const draw = () => {
    const follow = atEnd();
    const heightBefore = scroll.scrollHeight;
    const oldestBefore = list.firstElementChild;
    const gone = new Set(shown.keys());
    const elements: HTMLElement[] = [];
    let previous: Message | undefined;
    for (const message of messages.list) {
      gone.delete(message.key);
      if (previous === undefined ? !isToday(message.at_ms) : !sameDay(previous.at_ms, message.at_ms)) {
        elements.push(dayLine(message.at_ms, shown, gone));
        previous = undefined;
      }
      const follows = previous !== undefined && previous.user === message.user && message.at_ms - previous.at_ms < FOLLOWS_MS;
      const name = message.user === stoa.user ? guest : names.of(message.user, nameInBody(message));
      const drawn = [follows, name, message.state, message.at_ms, textOf(message)].join(" ");
      const known = shown.get(message.key);
      if (known?.drawn === drawn) elements.push(known.element);
      else {
        const element = messageElement(message, name, names.color(message.user), follows);
        shown.set(message.key, { element, drawn });
        elements.push(element);
      }
      previous = message;
    }
    for (const key of gone) shown.delete(key);
    arrange(list, elements);
    byId("empty").hidden = elements.length > 0 || room.state !== "joined";
    older.hidden = !messages.more;
    // What was added above must not push away what is being read.
    if (follow) toEnd();
    else if (list.firstElementChild !== oldestBefore) scroll.scrollTop += scroll.scrollHeight - heightBefore;
  };

  const drawTyping = () => {
    const who = presence.typists.map((user) => names.of(user));
    byId("typing").textContent = failure !== "" ? failure : typingText(who);
  };

  const notice = () => {
    const hidden = document.hidden || byId("chat").offsetParent === null;
    if (!hidden) unread = 0;
    byId("unread").hidden = unread === 0;
    byId("unread").textContent = String(unread);
    document.title = unread > 0 ? `(${unread}) ${title}` : title;
  };

  /** Who may not talk here reads along: the line to write in says so. */
  const lock = () => {
    const isMute = room.role !== undefined && !room.can("talk");
    if (isMute) presence.stopTyping();
    input.disabled = isMute;
    input.placeholder = isMute ? "You can read here, not write" : "Write a message";
    byId<HTMLFormElement>("chat-form").querySelector("button")?.toggleAttribute("disabled", isMute);
  };

  room.onAccess(lock);
  messages.on("change", draw);
  messages.on("message", () => {
    if (!atEnd()) newest.hidden = false;
    if (document.hidden || byId("chat").offsetParent === null) unread += 1;
    notice();
  });
  presence.on("change", () => {
    draw();
    drawTyping();
  });
  room.onState(draw);
  document.addEventListener("visibilitychange", notice);
  byId("room-view").addEventListener("view", () => {
    notice();
    toEnd();
  });
  newest.addEventListener("click", toEnd);
  scroll.addEventListener("scroll", () => {
    if (atEnd()) newest.hidden = true;
  });
  older.addEventListener("click", () => void messages.older().catch(() => undefined));

  input.addEventListener("input", () => {
    failure = "";
    drawTyping();
    if (input.value.trim() === "") presence.stopTyping();
    else presence.typing();
  });
  input.addEventListener("keydown", (event) => {
    // While an input method composes, Enter belongs to it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId<HTMLFormElement>("chat-form").requestSubmit();
  });
  byId("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (text === "") return;
    // The log knows users, not names: so a message brings the name under which it was written.
    messages.post({ text, name: guest }).catch((error: unknown) => {
      if (!(error instanceof Error) || messages.list.some((message) => message.state === "failed")) return;
      // It is not in the list: too many wait already.
      failure = "Too many messages are waiting for the connection.";
      input.value = input.value === "" ? text : input.value;
      drawTyping();
    });
    input.value = "";
    toEnd();
    input.focus();
  });
  lock();
  draw();
}

function messageElement(message: Message, name: string, color: string, follows: boolean): HTMLElement {
  const item = make("li", `message ${message.state}${follows ? " follows" : ""}`);
  const time = make("time", follows ? "unseen" : "", new Intl.DateTimeFormat(undefined, { timeStyle: "short" }).format(message.at_ms));
  time.dateTime = new Date(message.at_ms).toISOString();
  const by = make("p", follows ? "by unseen" : "by");
  by.append(make("bdi", "", name), time);
  if (!follows) item.append(avatar(name, color));
  item.append(by, make("p", "text", textOf(message)));
  if (message.state === "failed") item.append(make("p", "why", `Not sent: ${message.error?.message ?? "refused"}`));
  return item;
}

function dayLine(at: number, shown: Map<string, { element: HTMLElement; drawn: string }>, gone: Set<string>): HTMLElement {
  const text = isToday(at) ? "Today" : new Intl.DateTimeFormat(undefined, { dateStyle: "full" }).format(at);
  const key = `day:${text}`;
  gone.delete(key);
  const known = shown.get(key);
  if (known !== undefined) return known.element;
  const element = make("li", "day", text);
  shown.set(key, { element, drawn: text });
  return element;
}

/** Puts the elements in order, touching only what is not in its place. */
function arrange(list: HTMLElement, elements: readonly HTMLElement[]): void {
  const wanted = new Set<Element>(elements);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  elements.forEach((element, i) => {
    if (list.children[i] !== element) list.insertBefore(element, list.children[i] ?? null);
  });
}

function textOf({ body }: Message): string {
  if (body === null) return "This message was deleted.";
  if (typeof body === "string") return body;
  return typeof body["text"] === "string" ? body["text"] : JSON.stringify(body);
}

function nameInBody({ body }: Message): string | undefined {
  const name = body === null || typeof body === "string" ? undefined : body["name"];
  return typeof name === "string" && name.trim() !== "" ? name.slice(0, 60) : undefined;
}

function typingText(names: readonly string[]): string {
  const [first, second] = names;
  if (first === undefined) return "";
  if (second === undefined) return `${first} is typing…`;
  if (names.length === 2) return `${first} and ${second} are typing…`;
  return `${names.length} people are typing…`;
}

const sameDay = (a: number, b: number) => new Date(a).toDateString() === new Date(b).toDateString();
const isToday = (at: number) => sameDay(at, Date.now());
