/**
 * A room's log as the module keeps it, in memory. What can be seen from outside is what the module does: numbers and revisions
 * are two counters, every write takes an identity, catching up gives state once for each thing that changed, and watermarks are
 * gathered for 40 ms and told before any other change.
 */
import type { JsonObject, WireMessage } from "../src/index.js";
import { FakeWriters } from "./fake-history.js";
import { refusal } from "./fake-refusal.js";

type Fields = Record<string, unknown>;
type Body = JsonObject | string | null;

interface Stored {
  readonly message: WireMessage;
  /** The revisions that it was posted at, and changed last at. */
  readonly posted: number;
  readonly changed: number;
}
interface State {
  messages: Stored[];
  lastN: number;
  reads: Map<string, { n: number; rev: number }>;
  written: FakeWriters<{ rev: number; number: number }>;
}

const TICK_MS = 40;

export class FakeLog {
  rev = 0;
  private announced = 0;
  private trimmedRev = 0;
  private state: State = { messages: [], lastN: 0, reads: new Map(), written: new FakeWriters() };
  /** The states by revision, for `rollback`. */
  private readonly past = new Map<number, State>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly room: string,
    public epoch: string,
    private readonly tell: (frame: Fields) => void,
  ) {
    this.past.set(0, this.state);
  }

  get messages(): readonly WireMessage[] {
    return this.state.messages.map(({ message }) => message);
  }

  get position(): { epoch: string; rev: number } {
    return { epoch: this.epoch, rev: this.announced };
  }

  readBy(user: string): number {
    return this.state.reads.get(user)?.n ?? 0;
  }

  /** Does a write command of a user. */
  write(user: string, frame: Fields): Fields {
    const { client, seq = 0 } = frame as { client?: string; seq?: number };
    const writer = client === undefined ? undefined : `${user} ${client}`;
    const known = writer === undefined ? undefined : this.state.written.lookUp(writer, seq);
    if (known !== undefined) return this.answer(frame, known.rev, known.number, { duplicate: true, changed: true });
    const before = this.rev;
    const number = this.change(user, frame);
    if (this.rev === before) return this.answer(frame, this.rev, number, { duplicate: false, changed: false });
    if (writer !== undefined) this.state.written.remember(writer, seq, { rev: this.rev, number });
    this.past.set(this.rev, copy(this.state));
    return this.answer(frame, this.rev, number, { duplicate: false, changed: true });
  }

  /** A service posts. */
  post(fields: Fields): void {
    this.write((fields["user"] as string | undefined) ?? "service", { do: "msg.post", ...fields });
  }

  read(user: string, n: number): Fields {
    const mark = Math.min(n, this.state.lastN);
    const moved = mark > this.readBy(user);
    if (moved) {
      this.rev += 1;
      this.state = { ...this.state, reads: new Map(this.state.reads).set(user, { n: mark, rev: this.rev }) };
      this.past.set(this.rev, copy(this.state));
      this.timer ??= setTimeout(() => this.announceReads(), TICK_MS);
    }
    return { rev: this.rev, epoch: this.epoch, changed: moved };
  }

  /** A writer that fell silent. */
  interrupt(n: number): void {
    this.replace(n, ({ streaming: _streaming, ...message }) => ({ ...message, interrupted: true }), "msg.changed");
    this.past.set(this.rev, copy(this.state));
  }

  /** Only the newest `keep` messages stay. */
  trim(keep: number): void {
    const gone = this.state.messages.slice(0, Math.max(0, this.state.messages.length - keep));
    this.trimmedRev = gone.at(-1)?.posted ?? this.trimmedRev;
    this.state = { ...this.state, messages: this.state.messages.slice(gone.length) };
    // Trimming makes no revision.
    this.past.set(this.rev, copy(this.state));
  }

  /** A failover lost what came after `rev`. */
  rollback(rev: number, epoch: string): void {
    this.state = copy(this.past.get(rev) as State);
    this.rev = this.announced = rev;
    this.epoch = epoch;
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  unread(user: string): Fields {
    const read = this.readBy(user);
    const unread = this.messages.filter((it) => it.n > read && it.user !== user && it.deleted_at_ms === undefined);
    const mentions = unread.filter((it) => it.mentions?.includes("*") === true || it.mentions?.includes(user) === true);
    return { read, unread: unread.length, mentions: mentions.length };
  }

  range({ before, after, around, thread, count = 50 }: { before?: number; after?: number; around?: number; thread?: number; count?: number }): Fields {
    if (thread !== undefined && this.find(thread) === undefined) throw refusal("NOT_FOUND");
    const all = this.messages.filter((message) => thread === undefined || message.thread === thread);
    const at = (n: number) => all.filter((message) => message.n < n).length;
    let [start, end] = [all.length, all.length];
    if (before !== undefined) start = end = at(before);
    if (after !== undefined) start = end = at(after + 1);
    if (around !== undefined) start = end = at(around);
    const [back, on] = [after === undefined, after !== undefined || around !== undefined];
    let [older, newer] = [0, 0];
    while (older + newer < count) {
      if (on && end < all.length && (!(back && start > 0) || newer <= older)) [end, newer] = [end + 1, newer + 1];
      else if (back && start > 0) [start, older] = [start - 1, older + 1];
      else break;
    }
    const page = { ...this.position, messages: all.slice(start, end), more_before: start > 0, more_after: end < all.length };
    return around !== undefined ? page : { ...page, more: after !== undefined ? page.more_after : page.more_before };
  }

  history(n: number): Fields {
    const message = this.standing(n);
    return { versions: [{ at_ms: message.at_ms, user: message.user, body: message.body }] };
  }

  snapshot(user: string, because: string): Fields {
    const reads = [...this.state.reads].sort(([, a], [, b]) => a.rev - b.rev).slice(-100).map(([reader, { n }]) => ({ user: reader, n }));
    const messages = this.messages.slice(-50);
    return { outcome: "snapshot", because, ...this.position, messages, more: this.messages.length > 50, reads, ...this.unread(user) };
  }

  /** What came after a position; `undefined` if that is trimmed away or more than a page. */
  since(user: string, rev: number, pageMax: number): Fields | undefined {
    if (rev < this.trimmedRev) return undefined;
    const steps: { rev: number; frame: Fields }[] = [];
    for (const { message, posted, changed } of this.state.messages) {
      const event = posted > rev ? "msg.posted" : "msg.changed";
      if (Math.max(posted, changed) > rev) steps.push({ rev: Math.max(posted, changed), frame: { event, message, ...this.repliesOf(message) } });
    }
    for (const [reader, { n, rev: at }] of this.state.reads)
      if (at > rev && at <= this.announced) steps.push({ rev: at, frame: { event: "msg.read", reads: [{ user: reader, n }] } });
    steps.sort((a, b) => a.rev - b.rev);
    if ((steps.at(-1)?.rev ?? rev) < this.announced) steps.push({ rev: this.announced, frame: { event: "msg.read", reads: [] } });
    if (steps.length > pageMax) return undefined;
    let from = rev;
    const events = steps.map((step) => {
      const frame = { ...step.frame, room: this.room, stream: "log", epoch: this.epoch, from, rev: step.rev };
      from = step.rev;
      return frame;
    });
    return { outcome: "changes", ...this.position, events, ...this.unread(user) };
  }

  private answer(frame: Fields, rev: number, number: number, more: Fields): Fields {
    const answer = { rev, epoch: this.epoch, ...more };
    switch (frame["do"]) {
      case "msg.react":
      case "msg.unreact":
        return { ...answer, n: frame["n"], count: number };
      case "msg.append":
        return { ...answer, n: frame["n"], length: number, cancelled: this.find(frame["n"] as number)?.message.cancelled === true };
      default:
        return { ...answer, n: number };
    }
  }

  private change(user: string, frame: Fields): number {
    const n = frame["n"] as number;
    switch (frame["do"]) {
      case "msg.post": {
        const { body, type = "text", reply, mentions = [], meta, streaming, client, seq } = frame as Fields & { reply?: number; mentions?: string[] };
        if (reply !== undefined && (reply < 1 || reply > this.state.lastN)) throw refusal("NOT_FOUND");
        const said = type !== "text" || streaming === true ? body : typeof body === "string" ? body.trim() : body;
        if (type === "text" && streaming !== true && (typeof said === "string" ? said : ((said as JsonObject)["text"] as string | undefined) ?? "") === "")
          throw refusal("INVALID_ARGUMENT");
        const last = this.state.messages.at(-1)?.message.at_ms ?? 0;
        const message = {
          n: this.state.lastN + 1, user, type, at_ms: Math.max(Date.now(), last), body: said,
          ...(reply === undefined ? {} : { reply, thread: this.find(reply)?.message.thread ?? reply }),
          ...(mentions.length > 0 ? { mentions: [...new Set(mentions)] } : {}),
          ...(meta === undefined ? {} : { meta }),
          ...(streaming === true ? { streaming } : {}),
          ...(client === undefined ? {} : { client, seq }),
        } as unknown as WireMessage;
        this.announceReads();
        this.rev += 1;
        let messages = [...this.state.messages, { message, posted: this.rev, changed: 0 }];
        const root = messages.find((it) => it.message.n === message.thread);
        // The first message of the thread counts its replies, without a revision of its own.
        if (root !== undefined) messages = messages.map((it) => (it === root ? { ...it, message: { ...it.message, replies: (it.message.replies ?? 0) + 1 } } : it));
        this.state = { ...this.state, messages, lastN: message.n };
        this.emit({ event: "msg.posted", message, ...this.repliesOf(message) });
        return message.n;
      }
      case "msg.edit": {
        const { body, mentions = [] } = frame as unknown as { body: Body; mentions?: string[] };
        const message = this.standing(n);
        if (message.user !== user) throw refusal("PERMISSION_DENIED");
        if (message.streaming === true) throw refusal("INVALID_ARGUMENT");
        if (JSON.stringify([message.body, message.mentions ?? []]) === JSON.stringify([body, mentions])) return n;
        this.replace(n, ({ mentions: _mentions, ...rest }) => ({ ...rest, body, ...(mentions.length > 0 ? { mentions } : {}), edited_at_ms: Date.now() }), "msg.changed");
        return n;
      }
      case "msg.delete": {
        const stored = this.find(n);
        if (stored === undefined) throw refusal("NOT_FOUND");
        if (stored.message.user !== user) throw refusal("PERMISSION_DENIED");
        if (stored.message.deleted_at_ms !== undefined) return n;
        const gone = ["meta", "mentions", "reactions", "streaming", "cancelled", "interrupted"];
        this.replace(
          n,
          (message) =>
            ({ ...Object.fromEntries(Object.entries(message).filter(([name]) => !gone.includes(name))), body: null, deleted_at_ms: Date.now(), deleted_by: user }) as WireMessage,
          "msg.changed",
        );
        return n;
      }
      case "msg.react":
      case "msg.unreact": {
        const reaction = frame["reaction"] as string;
        const added = frame["do"] === "msg.react";
        const message = this.standing(n);
        const users = message.reactions?.[reaction]?.users ?? [];
        if (users.includes(user) === added) return users.length;
        const now = added ? [...users, user] : users.filter((it) => it !== user);
        const reactions = { ...message.reactions, [reaction]: { count: now.length, users: now } };
        if (now.length === 0) delete reactions[reaction];
        const change = ({ reactions: _old, ...rest }: WireMessage) => (Object.keys(reactions).length > 0 ? { ...rest, reactions } : rest);
        this.replace(n, change, "msg.reacted", { n, user, reaction, added, count: now.length });
        return now.length;
      }
      case "msg.append": {
        const { chunk, at } = frame as unknown as { chunk: string; at?: number };
        const message = this.standing(n);
        if (message.streaming !== true) throw refusal("CLOSED");
        if (message.user !== user) throw refusal("PERMISSION_DENIED");
        const body = message.body as string;
        if (at !== undefined && at !== body.length) throw refusal("DESYNC");
        if (chunk === "") return body.length;
        this.replace(n, (it) => ({ ...it, body: body + chunk }), "msg.appended", { n, at: body.length, chunk });
        return body.length + chunk.length;
      }
      case "msg.finish": {
        const message = this.standing(n);
        if (message.streaming !== true) throw refusal("CLOSED");
        if (message.user !== user) throw refusal("PERMISSION_DENIED");
        const { body = message.body } = frame as { body?: Body };
        this.replace(n, ({ streaming: _streaming, ...it }) => ({ ...it, body }), "msg.changed");
        return n;
      }
      case "msg.cancel": {
        const message = this.standing(n);
        if (message.streaming !== true) throw refusal("CLOSED");
        if (message.cancelled !== true) this.replace(n, (it) => ({ ...it, cancelled: true }), "msg.changed");
        return n;
      }
      default:
        throw refusal("UNKNOWN_COMMAND");
    }
  }

  private find(n: number): Stored | undefined {
    return this.state.messages.find(({ message }) => message.n === n);
  }

  private standing(n: number): WireMessage {
    const message = this.find(n)?.message;
    if (message === undefined || message.deleted_at_ms !== undefined) throw refusal("NOT_FOUND");
    return message;
  }

  private replace(n: number, change: (message: WireMessage) => WireMessage, event: string, told?: Fields): void {
    this.announceReads();
    this.rev += 1;
    const messages = this.state.messages.map((it) => (it.message.n === n ? { ...it, message: change(it.message), changed: this.rev } : it));
    this.state = { ...this.state, messages };
    const { message } = this.find(n) as Stored;
    this.emit({ event, ...(told ?? { message, ...this.repliesOf(message) }) });
  }

  private repliesOf({ thread }: WireMessage): Fields {
    const root = thread === undefined ? undefined : this.find(thread);
    return root === undefined ? {} : { replies: root.message.replies ?? 0 };
  }

  private announceReads(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.announced === this.rev) return;
    const reads = [...this.state.reads].filter(([, { rev }]) => rev > this.announced).map(([user, { n }]) => ({ user, n }));
    const from = this.announced;
    this.announced = this.rev;
    this.tell({ event: "msg.read", room: this.room, stream: "log", epoch: this.epoch, from, rev: this.rev, reads });
  }

  private emit(fields: Fields): void {
    const from = this.announced;
    this.announced = this.rev;
    this.tell({ room: this.room, stream: "log", epoch: this.epoch, from, rev: this.rev, ...fields });
  }
}

const copy = (state: State): State => ({ ...state, reads: new Map(state.reads), written: state.written.copy() });
