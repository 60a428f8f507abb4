import { Emitter, type Off } from "./emitter.js";
import { StoaError } from "./errors.js";
import type { JsonObject, Message as WireMessage, Version } from "./frames.js";
import { Log } from "./log.js";
import type { MessageStream } from "./message-stream.js";
import { Outbox, type Added, type Entry, type OutboxBounds, type Write } from "./outbox.js";
import type { Pages, PagesHost } from "./pages.js";
import { Reading } from "./reading.js";
import { compose, draft, keyOf, sent, type Message } from "./shown.js";
import type { Stoa } from "./stoa.js";
import type { Slot } from "./storage.js";
import type { Thread } from "./thread.js";
import type { Window } from "./window.js";
import * as read from "./wire/answers.js";
import { formatPosition, type DurableEvent, type StreamPart } from "./wire/index.js";
import type { Writers, WritersHost } from "./writers.js";

/** What may go with a message. */
export interface PostOptions {
  /** The kind of message: 1 to 32 of `a-z 0-9 _ - .`. Default `text`, which needs a text that is not blank. */
  type?: string;
  /** The number of the message that this one answers. An answer to an answer belongs to the thread of the first message. */
  reply?: number;
  /** Users whom it names, at most 32; `*` names everybody. */
  mentions?: readonly string[];
  /** What the application keeps with it: at most 4 KiB of JSON object. */
  meta?: JsonObject;
}

/** The events of a room's messages. */
export interface MessagesEvents {
  /** `list`, `unread`, `mentions`, `readBy` or a flag beside them changed. */
  change: [];
  /** A message was posted by somebody, while this client was here or since it was here last. Not for history or own ones. */
  message: [message: Message];
  /** A failover lost messages that were in `list`: they are not in it any more. What this page posted is posted again. */
  lost: [messages: readonly Message[]];
}

/** The bounds of a room's messages. @internal */
export interface MessagesBounds extends OutboxBounds {
  messagesMax: number;
}

/** A part of this library that is loaded when it is needed. */
const later = <T>(part: Promise<T>) => part.catch((): never => { throw new StoaError("OFFLINE", "a part did not load: try again"); });

const NO_STREAMS: ReadonlyMap<number, MessageStream> = new Map();

/** A room's log of messages; get it from `room.messages`. */
export class Messages {
  private readonly events = new Emitter<MessagesEvents>();
  private readonly log: Log;
  private readonly outbox: Outbox;
  private readonly reading: Reading;
  /** Loaded with the first stream that is written here. */
  private writers: Writers | undefined;
  private readonly writing: WritersHost;
  /** Posts that were refused. */
  private failed: Message[] = [];
  /** Messages whose last change was refused, by number. */
  private readonly refusals = new Map<number, StoaError>();
  private readonly paging: PagesHost;
  /** Loaded with the first page that somebody asks for. */
  private pages: Promise<Pages> | undefined;
  private shown: readonly Message[] | undefined;
  private live = false;

  /** @internal */
  constructor(
    private readonly stoa: Stoa,
    private readonly room: string,
    private readonly bounds: MessagesBounds,
    slot: Slot | undefined,
    private readonly posting: () => void,
  ) {
    const host = {
      room,
      client: stoa.client,
      nextSeq: () => stoa.nextSeq(),
      user: () => stoa.user,
      request: stoa.request.bind(stoa),
      report: (error: StoaError) => stoa.report(error),
      failed: (entry: Entry, error: StoaError) => this.refused(entry, error),
      changed: () => this.settle(),
    };
    this.writing = { ...host, changed: () => this.changed() };
    this.log = new Log(bounds.messagesMax);
    this.reading = new Reading(host, this.log);
    this.outbox = new Outbox(host, bounds, slot);
    const moved = () => {
      this.reading.moved();
      this.changed();
    };
    this.paging = { room, ask: stoa.ask.bind(stoa), moved };
  }

  /**
   * The messages to show, oldest first; own ones that are not accepted yet at the end. What this client has changed shows at
   * once. A new list after each change.
   */
  get list(): readonly Message[] {
    return (this.shown ??= this.compose(this.log.main));
  }

  /** Whether there are messages before the first of `list`. */
  get more(): boolean {
    return this.log.main.moreBefore;
  }

  /** Whether `list` reaches the newest message: new ones come by themselves then. Not after a jump with `around`. */
  get atEnd(): boolean {
    return !this.log.main.moreAfter;
  }

  /** How many messages of others came after the newest that this user has read. */
  get unread(): number {
    return this.reading.unread;
  }

  /** How many of the unread ones name this user, or everybody. */
  get mentions(): number {
    return this.reading.mentions;
  }

  /** The number of the newest message that this user has read; 0 for none. */
  get readUpTo(): number {
    return this.reading.mark;
  }

  /** Up to where others have read, by user: the 1,000 who moved last. A new map after each change. */
  get readBy(): ReadonlyMap<string, number> {
    return this.log.reads;
  }

  /** Listens to an event. The returned function stops that. */
  on<Name extends keyof MessagesEvents>(name: Name, listener: (...values: MessagesEvents[Name]) => void): Off {
    return this.events.on(name, listener);
  }

  /**
   * Posts a message. It is in `list` at once, as `pending`; without a connection it waits. It is posted once, however often
   * it has to be sent.
   *
   * @param body at most 64 KiB of JSON: a string, or an object (of type `text`: with a `text`)
   * @returns resolves with the accepted message. Rejects if the front refuses it; with `QUEUE_FULL` when too many writes wait
   * (it is not kept then); with `TIMEOUT` when nothing is known of it after `ackTimeoutMs` (it stays queued, see `list`).
   */
  post(body: JsonObject | string, options: PostOptions = {}): Promise<Message> {
    const { type = "text", reply, mentions, meta } = options;
    this.posting();
    return this.write({ do: "msg.post", body, type, reply, mentions, meta }, (entry, n) => {
      const key = keyOf(entry);
      return this.list.find((message) => message.key === key) ?? { ...draft(entry), n, state: "sent" };
    });
  }

  /**
   * Replaces the body of an own message, and whom it names. Shows at once.
   *
   * @param options.mentions whom it names now; nobody if it is left out
   * @returns resolves when it is accepted. Rejects as `post`, and with `NOT_FOUND` (deleted, or not kept any more) or
   * `PERMISSION_DENIED` (somebody else's)
   */
  edit(n: number, body: JsonObject | string, options: Pick<PostOptions, "mentions"> = {}): Promise<void> {
    return this.write({ do: "msg.edit", n, body, mentions: options.mentions });
  }

  /** Deletes an own message: its place stays, with a `body` of `null`. Resolves and rejects as `edit`. */
  delete(n: number): Promise<void> {
    return this.write({ do: "msg.delete", n });
  }

  /**
   * Reacts to a message.
   *
   * @param reaction 1 to 64 bytes, usually an emoji
   * @returns resolves when it is accepted; rejects as `edit`, and with `FULL` when the message has too many
   */
  react(n: number, reaction: string): Promise<void> {
    return this.write({ do: "msg.react", n, reaction });
  }

  /** Takes back an own reaction. Resolves and rejects as `edit`. */
  unreact(n: number, reaction: string): Promise<void> {
    return this.write({ do: "msg.unreact", n, reaction });
  }

  /** Asks the writer of a streamed message to stop. Rejects with `CLOSED` if it is finished already. */
  cancel(n: number): Promise<void> {
    return this.write({ do: "msg.cancel", n });
  }

  /**
   * Begins a message that grows while others read it.
   *
   * ```ts
   * const answer = await room.messages.stream({ reply: 12 });
   * for await (const token of model(question, { signal: answer.signal })) answer.append(token);
   * await answer.finish();
   * ```
   *
   * @param options as for `post`; `text` is what it begins with
   * @returns resolves when the message is there; rejects as `post`, but it is not queued any more after `TIMEOUT`. It does not
   * survive a reload: the front finishes it then, as `interrupted`
   */
  async stream(options: PostOptions & { text?: string } = {}): Promise<MessageStream> {
    const { type = "text", reply, mentions, meta, text = "" } = options;
    const { Writers } = await later(import("./writers.js"));
    const writers = (this.writers ??= new Writers(this.writing, this.live));
    const { entry, done } = this.add({ do: "msg.post", body: text, type, reply, mentions, meta, streaming: true });
    const posted = await done.catch((error: unknown) => {
      // Nobody would go on with it.
      this.outbox.drop(entry);
      throw error;
    });
    const n = posted?.n;
    if (n === undefined) throw new StoaError("FORGOTTEN", "it was posted, and its number is not known");
    const stream = writers.begin(n, entry.seq, text);
    if (this.log.get(n)?.cancelled === true) stream.cancel();
    return stream;
  }

  /**
   * Says that this user has read all messages up to `n`: at once here, in the others' `readBy` after at most a second.
   *
   * @param n default the newest message
   */
  read(n: number = this.log.newest): void {
    this.reading.read(Math.min(n, this.log.newest));
  }

  /**
   * Loads up to `count` messages before the first of `list`.
   *
   * @param count 1 to 100, default 50
   * @returns resolves with whether there are still older ones; rejects with `OFFLINE`, or what the front says
   */
  older(count = 50): Promise<boolean> {
    return this.page((pages) => pages.extend(this.log.main, "before", count));
  }

  /** Loads up to `count` messages after the last of `list`. Resolves with whether there are still newer ones. Rejects as `older`. */
  newer(count = 50): Promise<boolean> {
    return this.page((pages) => pages.extend(this.log.main, "after", count));
  }

  /**
   * Jumps: `list` is then the message `n` with those around it. `newer` reads on from there, `latest` comes back to the end.
   *
   * @param count 1 to 100 messages, default 50
   * @returns resolves when they are there; rejects as `older`
   */
  around(n: number, count = 50): Promise<void> {
    return this.page((pages) => pages.jump(this.log.main, n, count));
  }

  /** Comes back from a jump: `list` ends with the newest message again. Rejects as `older`. */
  latest(count = 50): Promise<void> {
    return this.page((pages) => pages.jump(this.log.main, undefined, count));
  }

  /**
   * The replies under a message, kept up to date: the newest are loaded at once. The same replies for the same number.
   *
   * @param n the message that the thread began with
   */
  thread(n: number): Thread {
    const window = this.log.thread(n);
    const compose = () => this.compose(window);
    this.loadThreads();
    return {
      get list() {
        return compose();
      },
      get more() {
        return window.moreBefore;
      },
      get atEnd() {
        return !window.moreAfter;
      },
      older: (count = 50) => this.page((pages) => (window.last === undefined ? pages.thread(window, count) : pages.extend(window, "before", count))),
      close: () => void this.log.threads.delete(n),
    };
  }

  /** The bodies that a message had, oldest first, the present one last. Rejects with `NOT_FOUND`, or as `older`. */
  history(n: number): Promise<readonly Version[]> {
    return this.stoa.ask({ do: "msg.history", room: this.room, n }, read.versions);
  }

  /** Takes a `failed` message from the list; one whose change failed is shown as sent again. */
  discard(message: Message): void {
    if (message.n !== undefined) this.refusals.delete(message.n);
    this.failed = this.failed.filter((it) => it.key !== message.key);
    this.changed();
  }

  // From here on: for the room.

  /** @internal */
  resumePosition(): string | undefined {
    return this.log.position && formatPosition(this.log.position);
  }

  /** @internal */
  cut(): void {
    this.live = false;
    this.outbox.cut();
    this.reading.cut();
    this.writers?.cut();
  }

  /** The page hides, and may never be shown again. @internal */
  hidden(): void {
    this.reading.flush();
  }

  /** The room is joined, and what was missed is here: what waits may go. @internal */
  joined(): void {
    this.live = true;
    this.outbox.joined();
    this.reading.joined();
    this.writers?.joined();
    this.loadThreads();
  }

  /** The room may not be joined, or was left. @internal */
  refuse(error: StoaError): void {
    this.cut();
    this.outbox.refuse(error);
    this.writers?.fail(error);
    this.changed();
  }

  /** `false`: something in it does not fit what is held. @internal */
  adopt(part: StreamPart): boolean {
    if (part.outcome === "missing") return true;
    const { log } = this;
    if (part.outcome === "changes") {
      for (const event of part.events) this.receive(event);
      if (log.position === undefined || log.position.rev < part.rev) {
        // Without a position the next answer is a snapshot.
        log.position = undefined;
        return false;
      }
      if (log.position.rev === part.rev) log.position = { epoch: part.epoch, rev: part.rev };
      log.count(part);
    } else {
      const { because } = part;
      const before = log.main.messages;
      const seen = because === "first" ? Infinity : log.newest;
      log.replace(part);
      const now = log.main.messages;
      if (because === "rollback" || because === "reset") {
        // Nobody knows the epoch of before, but some of its messages: then it is the same log, and a failover lost the whole epoch.
        const isOther = because === "reset" && !before.some(({ n, at_ms }) => log.get(n)?.at_ms === at_ms);
        this.outbox.rewind(isOther);
        if (isOther) this.reading.replaced();
        else void import("./lost.js").then((it) => it.lose(before, now, part.more, this.outbox, this.events, this.stoa.client), () => undefined);
      }
      const news = now.filter((message) => !this.isOwn(message) && message.n > seen);
      for (const message of news) this.events.emit("message", sent(message));
    }
    this.reading.adopted();
    this.settle();
    this.loadThreads();
    return true;
  }

  /** `false`: something between is missing. @internal */
  receive(event: DurableEvent): boolean {
    const before = event.event === "msg.changed" || event.event === "msg.posted" ? this.log.get(event.message.n) : undefined;
    const order = this.log.receive(event);
    if (order !== "next") return order === "old";
    this.reading.received(event, before);
    const isNews = event.event === "msg.posted" && !this.isOwn(event.message);
    if (event.event === "msg.changed" && event.message.cancelled === true) this.writers?.cancel(event.message.n);
    this.settle();
    if (isNews) this.events.emit("message", sent(event.message));
    return true;
  }

  private page<T>(load: (pages: Pages) => Promise<T>): Promise<T> {
    this.pages ??= later(import("./pages.js")).then(({ Pages }) => new Pages(this.paging, this.log));
    // Whatever could not be loaded is loaded the next time.
    this.pages.catch(() => (this.pages = undefined));
    return this.pages.then(load);
  }

  /** Those of which nothing is held: new ones, and all after a snapshot. */
  private loadThreads(): void {
    if (this.live && this.log.threads.size > 0) this.page((pages) => Promise.resolve(pages.threads())).catch(() => undefined);
  }

  private add(write: Write): Added {
    const added = this.outbox.add(write);
    this.changed();
    return added;
  }

  private write<T = void>(write: Write, result: (entry: Entry, n: number | undefined) => T = () => undefined as T): Promise<T> {
    const asked = (async () => {
      if ("n" in write) this.refusals.delete(write.n);
      const { entry, done } = this.add(write);
      return result(entry, (await done)?.n);
    })();
    // Who writes without waiting sees a failure in the list.
    asked.catch(() => undefined);
    return asked;
  }

  private refused(entry: Entry, error: StoaError): void {
    const { write } = entry;
    if (write.do === "msg.post") this.failed = [...this.failed, { ...draft(entry), state: "failed" as const, error }].slice(-this.bounds.queueMax);
    else {
      this.refusals.delete(write.n);
      this.refusals.set(write.n, error);
      for (const n of this.refusals.keys()) if (this.refusals.size > this.bounds.queueMax) this.refusals.delete(n);
    }
  }

  private isOwn(message: WireMessage): boolean {
    return this.outbox.confirm(message) || message.client === this.stoa.client;
  }

  private settle(): void {
    if (this.log.position !== undefined) this.outbox.reached(this.log.position);
    this.changed();
  }

  private compose(window: Window): readonly Message[] {
    const { entries } = this.outbox;
    const failed = window.thread === undefined ? this.failed : [];
    const threadOf = (reply: number | undefined) => (reply === undefined ? undefined : (this.log.get(reply)?.thread ?? reply));
    return compose(window, { entries, failed, streams: this.writers?.pending ?? NO_STREAMS, refusals: this.refusals, threadOf });
  }

  private changed(): void {
    this.shown = undefined;
    this.events.emit("change");
  }
}
