/** A list of messages on the page: each element stays while its message does, and the arrows lead along them. */
import type { Message } from "stoa";
import { byId, make } from "./dom.js";
import { looks, messageElement, type View } from "./message-view.js";

/** Messages of one person that follow each other within this time stand under one name. */
const FOLLOWS_MS = 5 * 60_000;
/** Nearer than this to the end, in CSS pixels, is at the end. */
const END_PX = 60;

export class MessageList {
  readonly list = byId("messages");
  readonly scroll = byId("scroll");
  /** What is shown, by key: an element stays while its message does, so screen readers read each message once. */
  private readonly shown = new Map<string, { element: HTMLElement; drawn: string }>();

  /**
   * @param act called with what is pressed: an element with `data-do`, in a message or beside the list
   * @param leave called when the arrows lead out of the list
   */
  constructor(act: (target: HTMLElement) => void, leave: () => void) {
    const { list } = this;
    list.addEventListener("click", ({ target }) => {
      const pressed = (target as Element).closest<HTMLElement>("[data-do]");
      if (pressed !== null) return act(pressed);
      // Where nothing hovers, a tap shows what can be done.
      const message = (target as Element).closest<HTMLElement>(".message");
      if (message !== null) reach(list, message);
    });
    list.addEventListener("keydown", (event) => walk(list, event, leave));
  }

  /** Whether the end of the list is on the screen. */
  get atEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.scroll;
    return scrollHeight - scrollTop - clientHeight < END_PX;
  }

  toEnd(): void {
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  /** The message that an element belongs to, by its key. */
  keyOf(element: HTMLElement): string | undefined {
    return element.closest<HTMLElement>(".message")?.dataset["key"];
  }

  /**
   * Shows these messages, oldest first.
   *
   * @param view what is shown of a message beside what it says; who follows whom is found here
   * @returns keeps what is being read where it is: call it when the end is not to be shown
   */
  draw(messages: readonly Message[], view: (message: Message, byNumber: ReadonlyMap<number | undefined, Message>) => Omit<View, "follows">): () => void {
    const { list, shown, scroll } = this;
    const heightBefore = scroll.scrollHeight;
    const oldestBefore = list.firstElementChild;
    const focused = focusIn(list);
    const gone = new Set(shown.keys());
    const elements: HTMLElement[] = [];
    const byNumber = new Map(messages.map((message) => [message.n, message]));
    let previous: Message | undefined;
    for (const message of messages) {
      gone.delete(message.key);
      if (previous === undefined ? !isToday(message.at_ms) : !sameDay(previous.at_ms, message.at_ms)) {
        elements.push(dayLine(message.at_ms, shown, gone));
        previous = undefined;
      }
      const isSamePerson = previous?.user === message.user && message.at_ms - previous.at_ms < FOLLOWS_MS;
      const whole: View = { ...view(message, byNumber), follows: isSamePerson && message.reply === undefined };
      const drawn = looks(message, whole);
      const known = shown.get(message.key);
      if (known?.drawn === drawn) elements.push(known.element);
      else {
        const element = messageElement(message, whole);
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
    return () => {
      // What was added above must not push away what is being read.
      if (list.firstElementChild !== oldestBefore) scroll.scrollTop += scroll.scrollHeight - heightBefore;
    };
  }

  /** Shows a message, for a moment in another colour, and goes there. */
  show(key: string | undefined): void {
    const element = key === undefined ? undefined : this.shown.get(key)?.element;
    element?.scrollIntoView({ block: "center" });
    element?.animate([{ background: "var(--tint)" }, {}], 1_600);
    if (element !== undefined) reach(this.list, element);
  }
}

/** Up to which message each of the others has read, by the key of that message. */
export function readersByKey(list: readonly Message[], readBy: ReadonlyMap<string, number>, me: string | undefined): Map<string, string[]> {
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
