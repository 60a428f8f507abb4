/** The chat: the messages, who has read them, who types, and the line to write in. */
import type { Message, Stoa } from "stoa";
import { startComposer } from "./composer.js";
import type { DemoRoom } from "./demo-room.js";
import { byId, make } from "./dom.js";
import { looks, messageElement, type View } from "./message-view.js";
import type { Names } from "./people.js";

/** Messages of one person that follow each other within this time stand under one name. */
const FOLLOWS_MS = 5 * 60_000;
/** Nearer than this to the end, in CSS pixels, is at the end. */
const END_PX = 60;

export function startChat(stoa: Stoa, room: DemoRoom, names: Names, guest: string): void {
  const { messages, presence } = room;
  const list = byId("messages");
  const scroll = byId("scroll");
  const newest = byId("newest");
  const older = byId("older");
  /** What is shown, by key: an element stays while its message does, so screen readers read each message once. */
  const shown = new Map<string, { element: HTMLElement; drawn: string }>();
  const title = document.title;
  let missed = 0;

  const isSeen = () => !document.hidden && byId("chat").offsetParent !== null;
  const atEnd = () => messages.atEnd && scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < END_PX;
  const toEnd = () => {
    scroll.scrollTop = scroll.scrollHeight;
    newest.hidden = messages.atEnd;
  };
  const composer = startComposer(stoa, room, names, guest, toEnd);

  const draw = () => {
    const follow = atEnd();
    const heightBefore = scroll.scrollHeight;
    const oldestBefore = list.firstElementChild;
    const focused = focusIn(list);
    const gone = new Set(shown.keys());
    const elements: HTMLElement[] = [];
    const byNumber = new Map(messages.list.map((message) => [message.n, message]));
    const readers = readersByKey(messages.list, messages.readBy, stoa.user);
    let previous: Message | undefined;
    for (const message of messages.list) {
      gone.delete(message.key);
      if (previous === undefined ? !isToday(message.at_ms) : !sameDay(previous.at_ms, message.at_ms)) {
        elements.push(dayLine(message.at_ms, shown, gone));
        previous = undefined;
      }
      const isSamePerson = previous?.user === message.user && message.at_ms - previous.at_ms < FOLLOWS_MS;
      const view: View = {
        names,
        me: stoa.user,
        guest,
        follows: isSamePerson && message.reply === undefined,
        answered: message.reply === undefined ? undefined : byNumber.get(message.reply),
        readers: readers.get(message.key) ?? [],
        mayTalk: room.can("talk"),
      };
      const drawn = looks(message, view);
      const known = shown.get(message.key);
      if (known?.drawn === drawn) elements.push(known.element);
      else {
        const element = messageElement(message, view);
        shown.set(message.key, { element, drawn });
        elements.push(element);
      }
      previous = message;
    }
    for (const key of gone) shown.delete(key);
    arrange(list, elements);
    // One of them can be reached by Tab; from there the arrows lead on.
    const reached = list.querySelector<HTMLElement>("[tabindex='0']");
    if (reached === null) (list.lastElementChild as HTMLElement | null)?.setAttribute("tabindex", "0");
    focused?.();
    byId("empty").hidden = elements.length > 0 || room.state !== "joined";
    older.hidden = !messages.more;
    if (!messages.atEnd) newest.hidden = false;
    // What was added above must not push away what is being read.
    if (follow) toEnd();
    else if (list.firstElementChild !== oldestBefore) scroll.scrollTop += scroll.scrollHeight - heightBefore;
    read();
  };

  /** What is on the screen is read. */
  const read = () => {
    if (isSeen()) missed = 0;
    if (isSeen() && atEnd()) messages.read();
    byId("unread").hidden = missed === 0;
    byId("unread").textContent = String(missed);
    document.title = missed > 0 ? `(${missed}) ${title}` : title;
  };

  const jump = async (n: number) => {
    if (!messages.list.some((message) => message.n === n)) await messages.around(n).catch(() => undefined);
    const key = messages.list.find((message) => message.n === n)?.key;
    const element = key === undefined ? undefined : shown.get(key)?.element;
    element?.scrollIntoView({ block: "center" });
    element?.animate([{ background: "var(--tint)" }, {}], 1_600);
    if (element !== undefined) reach(list, element);
  };

  const act = (target: HTMLElement) => {
    const message = messages.list.find(({ key }) => key === target.closest<HTMLElement>(".message")?.dataset["key"]);
    const { do: does, reaction = "", n: number } = target.dataset;
    if (does === "jump") return void jump(Number(number));
    if (message === undefined) return;
    if (does === "discard") return messages.discard(message);
    const { n } = message;
    if (n === undefined) return;
    // A refusal stays with its message, which says why.
    const quietly = (done: Promise<unknown>) => void done.catch(() => undefined);
    if (does === "react") quietly(messages.react(n, reaction));
    else if (does === "unreact") quietly(messages.unreact(n, reaction));
    else if (does === "delete") quietly(messages.delete(n));
    else if (does === "reply") composer.reply(message);
    else if (does === "edit") composer.edit(message);
  };

  messages.on("change", draw);
  messages.on("message", () => {
    if (!atEnd()) newest.hidden = false;
    if (!isSeen()) missed += 1;
    read();
  });
  presence.on("change", draw);
  room.onState(draw);
  room.onAccess(draw);
  document.addEventListener("visibilitychange", read);
  byId("room-view").addEventListener("view", () => {
    if (messages.atEnd) toEnd();
    read();
  });
  newest.addEventListener("click", () => {
    if (messages.atEnd) return toEnd();
    void messages.latest().then(toEnd, () => undefined);
  });
  scroll.addEventListener("scroll", () => {
    if (atEnd()) newest.hidden = true;
    read();
  });
  older.addEventListener("click", () => void messages.older().catch(() => undefined));
  list.addEventListener("click", ({ target }) => {
    const pressed = (target as Element).closest<HTMLElement>("[data-do]");
    if (pressed !== null) return act(pressed);
    // Where nothing hovers, a tap shows what can be done.
    const message = (target as Element).closest<HTMLElement>(".message");
    if (message !== null) reach(list, message);
  });
  list.addEventListener("keydown", (event) => walk(list, event, () => byId("chat-input").focus()));
  draw();
}

/** Up to which message each of the others has read, by the key of that message. */
function readersByKey(list: readonly Message[], readBy: ReadonlyMap<string, number>, me: string | undefined): Map<string, string[]> {
  const readers = new Map<string, string[]>();
  for (const [user, mark] of readBy) {
    if (user === me) continue;
    const last = list.findLast(({ n }) => n !== undefined && n <= mark);
    // Who wrote it has read it.
    if (last === undefined || last.user === user) continue;
    readers.set(last.key, [...(readers.get(last.key) ?? []), user]);
  }
  return readers;
}

/** The arrows lead from message to message, and to what can be done with one. */
function walk(list: HTMLElement, event: KeyboardEvent, leave: () => void): void {
  const target = event.target as HTMLElement;
  const message = target.closest<HTMLElement>("li.message");
  if (message === null) return;
  const all = [...list.querySelectorAll<HTMLElement>("li.message")];
  const parts = [message, ...message.querySelectorAll<HTMLElement>("button:not(:disabled)")];
  const ways: Partial<Record<string, [step: number, among: HTMLElement[]]>> = {
    ArrowUp: [-1, all],
    ArrowDown: [1, all],
    ArrowLeft: [-1, parts],
    ArrowRight: [1, parts],
  };
  const [step, among] = ways[event.key] ?? [];
  if (event.key === "Escape") {
    if (target === message) leave();
    else message.focus();
  } else if (step === undefined || among === undefined) return;
  else {
    const next = among[among.indexOf(among === all ? message : target) + step];
    if (next === undefined && event.key === "ArrowDown") leave();
    else if (next !== undefined && among === all) reach(list, next);
    else next?.focus();
  }
  event.preventDefault();
}

/** Goes to a message, which is the one that Tab reaches from now on. */
function reach(list: HTMLElement, message: HTMLElement): void {
  for (const other of list.querySelectorAll("[tabindex='0']")) other.setAttribute("tabindex", "-1");
  message.tabIndex = 0;
  message.focus({ preventScroll: false });
}

/** Remembers where the focus is in the list; the returned function puts it back on what stands there now. */
function focusIn(list: HTMLElement): (() => void) | undefined {
  const focused = document.activeElement as HTMLElement | null;
  const message = focused?.closest<HTMLElement>("li.message") ?? null;
  if (focused === null || message === null || !list.contains(message)) return undefined;
  const { key } = message.dataset;
  const { do: does, reaction } = focused.dataset;
  return () => {
    if (focused.isConnected) return;
    const now = [...list.querySelectorAll<HTMLElement>("li.message")].find((it) => it.dataset["key"] === key);
    if (now === undefined) return;
    reach(list, now);
    if (does === undefined) return;
    [...now.querySelectorAll<HTMLElement>("[data-do]")].find((it) => it.dataset["reaction"] === reaction && it.dataset["do"] === does)?.focus();
  };
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

const sameDay = (a: number, b: number) => new Date(a).toDateString() === new Date(b).toDateString();
const isToday = (at: number) => sameDay(at, Date.now());
