/**
 * Messages in the order of their numbers: a piece of a log, or of a thread in it, as the front has it, without holes.
 *
 * Of every message it is known up to which revision it is right (`rev`). Pages and events overtake each other, so a message
 * takes what is newer and ignores the rest, in whatever order the two arrive.
 */
import type { Message as WireMessage } from "./frames.js";
import type { LogEvent } from "./wire/index.js";

interface Held {
  rev: number;
  message: WireMessage;
}

export class Window {
  /** Whether there are messages before the first and after the last one that are not here. */
  moreBefore = false;
  moreAfter = false;
  private held: Held[] = [];

  /**
   * @param thread the message whose replies these are; `undefined` for all messages
   * @param max how many are held; what is farthest from where it grows goes first
   */
  constructor(
    readonly thread: number | undefined,
    private readonly max: number,
  ) {}

  get messages(): WireMessage[] {
    return this.held.map(({ message }) => message);
  }

  get first(): number | undefined {
    return this.held[0]?.message.n;
  }

  get last(): number | undefined {
    return this.held.at(-1)?.message.n;
  }

  get(n: number): WireMessage | undefined {
    const at = this.place(n);
    const held = this.held[at];
    return held?.message.n === n ? held.message : undefined;
  }

  /** Holds these and no others, as they were at `rev`. */
  reset(messages: readonly WireMessage[], rev: number, moreBefore: boolean, moreAfter: boolean): void {
    this.held = messages.map((message) => ({ message, rev }));
    this.moreBefore = moreBefore;
    this.moreAfter = moreAfter;
  }

  /** Adds a page at one end, as it was at `rev`. */
  add(messages: readonly WireMessage[], rev: number, end: "before" | "after", more: boolean): void {
    for (const message of messages) {
      const at = this.place(message.n);
      if (this.held[at]?.message.n !== message.n) this.held.splice(at, 0, { message, rev });
    }
    if (end === "before") this.moreBefore = more;
    else this.moreAfter = more;
    this.bound(end);
  }

  /** The front keeps no message before `n` any more. */
  trim(n: number): void {
    const gone = this.place(n);
    if (gone === 0) return;
    this.held.splice(0, gone);
    this.moreBefore = false;
  }

  /** Takes what an event says. Returns whether anything here changed. */
  apply(event: LogEvent): boolean {
    switch (event.event) {
      case "msg.posted":
      case "msg.changed": {
        const { message, rev, replies } = event;
        let changed = event.event === "msg.posted" ? this.post(message, rev) : this.update(message.n, rev, () => message);
        if (replies !== undefined && message.thread !== undefined)
          changed = this.update(message.thread, rev, (root) => ({ ...root, replies })) || changed;
        return changed;
      }
      case "msg.reacted":
        return this.update(event.n, event.rev, (message) => reacted(message, event.reaction, event.user, event.added, event.count));
      case "msg.appended":
        return this.update(event.n, event.rev, (message) =>
          typeof message.body === "string" ? { ...message, body: message.body + event.chunk } : message,
        );
      case "msg.read":
        return false;
    }
  }

  /** Whether a chunk that begins at `at` follows what is held of a message, or is part of it already. */
  canAppend(n: number, at: number, rev: number): boolean {
    const held = this.held[this.place(n)];
    return held?.message.n !== n || held.rev >= rev || (typeof held.message.body === "string" && held.message.body.length === at);
  }

  private post(message: WireMessage, rev: number): boolean {
    if (this.thread !== undefined && message.thread !== this.thread) return false;
    if (this.get(message.n) !== undefined) return this.update(message.n, rev, () => message);
    // Outside of what is held: whoever reads on gets it with a page.
    if (this.moreAfter || (this.moreBefore && message.n < (this.first ?? 0))) return false;
    this.held.splice(this.place(message.n), 0, { message, rev });
    this.bound("after");
    return true;
  }

  private update(n: number, rev: number, change: (message: WireMessage) => WireMessage): boolean {
    const held = this.held[this.place(n)];
    if (held?.message.n !== n || held.rev >= rev) return false;
    held.rev = rev;
    held.message = change(held.message);
    return true;
  }

  private bound(grown: "before" | "after"): void {
    const excess = this.held.length - this.max;
    if (excess <= 0) return;
    if (grown === "after") {
      this.held.splice(0, excess);
      this.moreBefore = true;
    } else {
      this.held.splice(this.max);
      this.moreAfter = true;
    }
  }

  /** Where the first message stands that is not below `n`. Nearly always the end is looked for. */
  private place(n: number): number {
    let low = 0;
    let high = this.held.length;
    if ((this.last ?? 0) < n) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.held[middle] as Held).message.n < n) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** How many of those who reacted are named. */
const USERS_LISTED = 100;

/** A message after somebody reacted, or took that back. `count`: how many reacted so afterwards, if the front said it. */
export function reacted<M extends Pick<WireMessage, "reactions">>(message: M, reaction: string, user: string, added: boolean, count?: number): M {
  const before = message.reactions?.[reaction] ?? { count: 0, users: [] };
  const others = before.users.filter((it) => it !== user);
  const users = added && others.length < USERS_LISTED ? [...others, user] : others;
  const was = before.users.includes(user);
  const total = count ?? before.count + (added === was ? 0 : added ? 1 : -1);
  // In the order in which the kinds came first, as the front lists them.
  const reactions = Object.entries(message.reactions ?? {}).filter(([name]) => name !== reaction);
  const at = Object.keys(message.reactions ?? {}).indexOf(reaction);
  if (total > 0) reactions.splice(at < 0 ? reactions.length : at, 0, [reaction, added && was ? before : { count: total, users }]);
  const { reactions: _old, ...rest } = message;
  return (reactions.length > 0 ? { ...rest, reactions: Object.fromEntries(reactions) } : rest) as M;
}
