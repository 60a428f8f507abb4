import { Emitter, type Off } from "./emitter.js";
import { StoaError } from "./errors.js";
import type { JsonObject, Message as WireMessage } from "./frames.js";
import { formatPosition, read, type Command, type DurableEvent, type Position, type StreamPart } from "./wire.js";
import { retryDelayMs } from "./retry.js";
import { orderOf } from "./stream.js";
import type { Stoa } from "./stoa.js";

/** A message as it is shown. */
export interface Message extends Omit<WireMessage, "n"> {
  /** Stays the same from the moment of posting: use it as the key of a list. */
  readonly key: string;
  /** Its number in the room's log, from 1, growing; `undefined` until the front has accepted it. */
  n: number | undefined;
  /** `sending`: shown already, not accepted yet (perhaps there is no connection). `failed`: refused for good. */
  state: "sending" | "sent" | "failed";
  /** Why it is `failed`. */
  error?: StoaError;
}

/** What may go with a message. */
export interface PostOptions {
  /** The kind of message. Default `text`. */
  type?: string;
  /** The number of the message that this one answers. */
  reply?: number;
}

/** The events of a room's messages. */
export interface MessagesEvents {
  /** `list` changed. */
  change: [];
  /** A message was posted by somebody, while this client was here or since it was here last. Not for history or own ones. */
  message: [message: Message];
  /** A failover lost messages that were in `list`: they are not in it any more. */
  lost: [messages: readonly Message[]];
}

/** A message on its way. */
interface Draft {
  readonly seq: number;
  shown: Message;
  readonly resolve: (message: Message) => void;
  readonly reject: (error: StoaError) => void;
}

/** A room's log of messages; get it from `room.messages`. */
export class Messages {
  private readonly events = new Emitter<MessagesEvents>();
  private position: Position | undefined;
  /** Accepted messages, by number, growing. */
  private accepted: Message[] = [];
  /** Own messages that are not accepted, in the order of posting. Only the first is on its way: so they stay in order. */
  private drafts: Draft[] = [];
  private failed: Message[] = [];
  private shown: readonly Message[] = [];
  private older = false;
  private loading: Promise<boolean> | undefined;
  /** Grows with each snapshot: a page that was asked for before does not belong to what is held now. */
  private generation = 0;
  private live = false;
  private sending = false;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(
    private readonly stoa: Stoa,
    private readonly room: string,
    private readonly bounds: { queueMax: number; messagesMax: number },
  ) {}

  /** The messages to show, oldest first; own ones that are not accepted yet at the end. A new list after each change. */
  get list(): readonly Message[] {
    return this.shown;
  }

  /** Whether `loadOlder` would bring something. */
  get more(): boolean {
    return this.older;
  }

  /** Listens to an event. The returned function stops that. */
  on<Name extends keyof MessagesEvents>(name: Name, listener: (...values: MessagesEvents[Name]) => void): Off {
    return this.events.on(name, listener);
  }

  /**
   * Posts a message. It is in `list` at once, as `sending`; without a connection it waits. It is posted once, however
   * often it has to be sent.
   *
   * @returns resolves with the accepted message; rejects if the front refuses it, or with `QUEUE_FULL` when too many wait
   */
  post(body: JsonObject | string, options: PostOptions = {}): Promise<Message> {
    if (this.drafts.length >= this.bounds.queueMax)
      return Promise.reject(new StoaError("QUEUE_FULL", `${this.bounds.queueMax} messages wait already`));
    const seq = this.stoa.nextSeq();
    const { client } = this.stoa;
    const shown: Message = {
      key: `${client}:${seq}`,
      n: undefined,
      user: this.stoa.user ?? "",
      type: options.type ?? "text",
      at_ms: Date.now(),
      body,
      client,
      seq,
      state: "sending",
    };
    if (options.reply !== undefined) shown.reply = options.reply;
    const promise = new Promise<Message>((resolve, reject) => this.drafts.push({ seq, shown, resolve, reject }));
    // Who posts without waiting sees a failure in the list.
    promise.catch(() => undefined);
    this.send();
    this.changed();
    return promise;
  }

  /** Takes a `failed` message from the list. */
  discard(message: Message): void {
    this.failed = this.failed.filter((it) => it.key !== message.key);
    this.changed();
  }

  /**
   * Loads up to `count` messages before the oldest of the list.
   *
   * @param count 1 to 100, default 50
   * @returns whether there are still older ones
   */
  loadOlder(count = 50): Promise<boolean> {
    if (!this.older) return Promise.resolve(false);
    this.loading ??= this.load(count).finally(() => (this.loading = undefined));
    return this.loading;
  }

  private async load(count: number): Promise<boolean> {
    const { generation } = this;
    const before = this.accepted[0]?.n;
    const command: Command = { do: "msg.range", room: this.room, count, before };
    const page = await this.stoa.ask(command, read.range);
    if (generation !== this.generation) return this.older;
    const oldest = this.accepted[0]?.n ?? Infinity;
    this.accepted = [...page.messages.filter((it) => it.n < oldest).map(sent), ...this.accepted];
    this.older = page.more;
    this.changed();
    return this.older;
  }

  // From here on: for the room.

  /** @internal */
  resumePosition(): string | undefined {
    return this.position && formatPosition(this.position);
  }

  /** @internal */
  cut(): void {
    this.live = this.sending = false;
    clearTimeout(this.timer);
  }

  /** The room is joined, and what was missed is here: what waits may go. @internal */
  joined(): void {
    this.live = true;
    this.send();
  }

  /** The room may not be joined, or was left. @internal */
  refuse(error: StoaError): void {
    this.cut();
    for (const draft of this.drafts.splice(0)) this.fail(draft, error);
    this.changed();
  }

  /** @internal */
  adopt(part: StreamPart): void {
    if (part.outcome === "missing") return;
    if (part.outcome === "changes") {
      for (const event of part.events) this.receive(event);
      this.position = { epoch: part.epoch, rev: part.rev };
      return;
    }
    const seen = part.because === "first" ? Infinity : (this.accepted.at(-1)?.n ?? Infinity);
    const before = this.accepted;
    this.generation += 1;
    this.position = { epoch: part.epoch, rev: part.rev };
    this.accepted = part.messages.map(sent);
    this.older = part.more;
    const oldest = part.more ? (this.accepted[0]?.n ?? Infinity) : 0;
    // A number may have been given again: then it is another message.
    const same = (a: Message, b: Message) => a.n === b.n && a.key === b.key && (a.client !== undefined || a.at_ms === b.at_ms);
    const lost = before.filter((it) => (it.n as number) >= oldest && !this.accepted.some((now) => same(now, it)));
    for (const message of this.accepted) {
      if (!this.confirmOwn(message) && (message.n as number) > seen) this.events.emit("message", message);
    }
    this.changed();
    if (part.because === "rollback" && lost.length > 0) this.events.emit("lost", lost);
  }

  /** `false`: something between is missing. @internal */
  receive(event: DurableEvent): boolean {
    if (this.position === undefined) return true;
    const order = orderOf(this.position, event);
    if (order !== "next") return order === "old";
    this.position = { epoch: event.epoch, rev: event.rev };
    if (event.event !== "msg.posted") return true;
    const message = sent(event.message);
    const own = this.confirmOwn(message);
    this.insert(message);
    this.changed();
    if (!own) this.events.emit("message", message);
    return true;
  }

  private insert(message: Message): void {
    const n = message.n as number;
    const last = this.accepted.at(-1)?.n ?? 0;
    if (n > last) this.accepted = [...this.accepted, message];
    else {
      // The reply to an own post may have come before the events of messages with smaller numbers.
      this.accepted = [...this.accepted.filter((it) => it.n !== n), message].sort((a, b) => (a.n as number) - (b.n as number));
    }
    const excess = this.accepted.length - this.bounds.messagesMax;
    if (excess > 0) {
      this.accepted = this.accepted.slice(excess);
      this.older = true;
    }
  }

  /** An accepted message that is one of the drafts: the draft is done. */
  private confirmOwn(message: Message): boolean {
    if (message.client !== this.stoa.client) return false;
    const at = this.drafts.findIndex((draft) => draft.seq === message.seq);
    if (at >= 0) this.drafts.splice(at, 1)[0]?.resolve(message);
    return true;
  }

  private send(): void {
    const draft = this.drafts[0];
    if (!this.live || this.sending || draft === undefined) return;
    this.sending = true;
    const { body, type, reply, client } = draft.shown;
    const command: Command = { do: "msg.post", room: this.room, body, type, reply, client, seq: draft.seq };
    this.stoa.request(command, read.posted, (answer) => {
      if (!this.live) return;
      this.sending = false;
      // Its own event may have come first: then it is no draft any more.
      const waits = this.drafts[0] === draft;
      if ("ok" in answer) {
        this.failures = 0;
        if (waits) this.posted(draft, answer.ok.n);
      } else if (answer.error.code === "OFFLINE") return;
      else if (answer.error.code === "FORGOTTEN") {
        // It was accepted, so long ago that its number is forgotten: it is in the log.
        if (waits) this.drafts.shift();
        draft.resolve({ ...draft.shown, state: "sent" });
        this.changed();
      } else if (answer.error.retry) {
        this.sending = true;
        this.timer = setTimeout(() => {
          this.sending = false;
          this.send();
        }, retryDelayMs(this.failures++, answer.error));
        return;
      } else if (waits) {
        this.drafts.shift();
        this.fail(draft, answer.error);
        this.changed();
      }
      this.send();
    });
  }

  private posted(draft: Draft, n: number): void {
    this.drafts.shift();
    const message: Message = { ...draft.shown, user: this.stoa.user ?? draft.shown.user, n, state: "sent" };
    // One that is older than what is held would be out of place; `loadOlder` brings it.
    if (n > (this.accepted[0]?.n ?? 0)) this.insert(message);
    draft.resolve(message);
    this.changed();
  }

  private fail(draft: Draft, error: StoaError): void {
    const failed: Message = { ...draft.shown, state: "failed", error };
    this.failed = [...this.failed, failed].slice(-this.bounds.queueMax);
    draft.reject(error);
  }

  private changed(): void {
    this.shown = [...this.accepted, ...this.failed, ...this.drafts.map((draft) => draft.shown)];
    this.events.emit("change");
  }
}

/** An own message keeps the key that it had while it was sending; all others are named by their number. */
function sent(message: WireMessage): Message {
  const own = message.client !== undefined && message.seq !== undefined;
  return { ...message, key: own ? `${message.client}:${message.seq}` : `n:${message.n}`, state: "sent" };
}
