/**
 * A room as an unmodified socket.io-client sees it: who is here, what is said, who types. Rooms are joined at each connection; the
 * answer brings what was missed.
 */
import { io, type Socket } from "socket.io-client";
import type { Message } from "stoa";

/** What the gateway says of a message. */
interface Payload {
  id: string;
  userId: string;
  username: string;
  content: string;
  type: string;
  reactions: readonly { emoji: string; users: readonly string[]; count: number }[];
  replyTo?: string;
  timestamp: string;
  edited?: boolean;
  editedAt?: string;
  deleted?: boolean;
}
/** What it says of a person. */
export interface Person {
  userId: string;
  username: string;
  status: string;
  color: string;
  connectionCount: number;
}
interface Update {
  roomId: string;
  userId: string;
  status: string;
  presence: Person;
}
interface Joined {
  messages: Payload[];
  users: Person[];
  typing: string[];
}
export interface Refusal {
  code: string;
  message: string;
  retry: boolean;
  retry_after_ms?: number;
}
/** What an acknowledgement says. */
type Answer<T> = { ok: T; error?: undefined } | { ok?: undefined; error: Refusal };

/** A message of this window that the room does not have yet. */
interface Waiting {
  key: string;
  seq: number;
  text: string;
  reply: number | undefined;
  at_ms: number;
  id?: string;
  error?: Refusal;
}
/** Another person's mark ends by itself after a while; so this one is told again. */
const TYPING_AGAIN_MS = 3_000;
/** Whoever has not pressed a key for so long does not type. */
const TYPING_ENDS_MS = 4_000;
/** An answer that is not there by then is asked for again after the next connection. */
const ANSWER_MS = 10_000;
/** Messages that wait for the connection. */
const WAITING_MAX = 50;
/** Messages that are kept on the page. */
const MESSAGES_MAX = 2_000;

export class SocketRoom {
  readonly people = new Map<string, Person>();
  /** How far the others have read, as far as it was told here. */
  readonly readBy = new Map<string, number>();
  readonly typists = new Set<string>();
  /** Who one is, as the token says. */
  me: string | undefined;
  status = "online";
  mayTalk = true;
  /** The room knows of this socket. */
  isJoined = false;
  /** There are older messages. */
  more = false;
  /** Called when anything changed. */
  changed: () => void = () => undefined;
  /** Called when somebody else said something. */
  heard: () => void = () => undefined;
  /** Called when a join was refused, or somebody was sent out. */
  refused: (why: string) => void = () => undefined;

  readonly socket: Socket;
  private readonly messages = new Map<number, Message>();
  private readonly waiting: Waiting[] = [];
  /** Names the writes of this window: what is sent again because its answer was lost happens once. */
  private readonly clientId = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  private seq = 0;
  private readTo = 0;
  private typedAt = 0;
  private typingEnds = 0;

  /** @param token gives the token for the next attempt; it may have to be fetched */
  constructor(
    private readonly roomId: string,
    token: () => Promise<string>,
  ) {
    this.socket = io("/chat", {
      // The page may stand under a path of somebody's own server.
      path: new URL("./socket.io/", location.href).pathname,
      transports: ["polling", "websocket"],
      auth: (give) => void token().then((it) => give({ token: it }), () => give({})),
    });
    const { socket } = this;
    socket.on("connect", () => void this.join());
    socket.on("disconnect", () => {
      this.isJoined = false;
      this.typists.clear();
      this.changed();
    });
    socket.on("new-message", (payload: Payload) => this.came(payload));
    socket.on("message-updated", (payload: Payload) => {
      // Older ones are not here; they come when they are asked for.
      if (this.messages.has(numberOf(payload.id) ?? 0)) this.take([payload]);
    });
    socket.on("message-deleted", (id: string) => {
      const message = this.messages.get(numberOf(id) ?? 0);
      if (message !== undefined) this.messages.set(message.n ?? 0, { ...message, body: null, reactions: {} });
      this.changed();
    });
    socket.on("messages-read", ({ userId, messageIds }: { userId: string; messageIds: string[] }) => {
      const n = Math.max(this.readBy.get(userId) ?? 0, ...messageIds.map((id) => numberOf(id) ?? 0));
      this.readBy.set(userId, n);
      this.changed();
    });
    socket.on("user-typing", ({ roomId: where, userId, isTyping }: { roomId: string; userId: string; isTyping: boolean }) => {
      if (where !== roomId) return;
      if (isTyping) this.typists.add(userId);
      else this.typists.delete(userId);
      this.changed();
    });
    socket.on("presence-update", ({ roomId: where, userId, status, presence }: Update) => {
      if (where !== roomId) return;
      if (status === "offline") {
        this.people.delete(userId);
        this.typists.delete(userId);
      } else this.people.set(userId, presence);
      this.changed();
    });
    socket.on("room-presence", ({ roomId: where, users }: { roomId: string; users: Person[] }) => {
      if (where === roomId) this.setPeople(users);
    });
    socket.on("room-resync", ({ roomId: where, messages, users }: { roomId: string; messages?: Payload[]; users?: Person[] }) => {
      if (where !== roomId) return;
      if (messages !== undefined) this.messages.clear();
      this.take(messages ?? []);
      if (users !== undefined) this.setPeople(users);
    });
    socket.on("room-access", ({ roomId: where, actions }: { roomId: string; actions: string[] }) => {
      if (where !== roomId) return;
      this.mayTalk = actions.includes("talk");
      if (!actions.includes("read")) this.out("This room is not open to you");
      this.changed();
    });
    socket.on("kicked", ({ roomId: where, reason }: { roomId: string; reason?: string }) => {
      if (where === roomId) this.out(reason ?? "You were sent out of this room");
    });
  }

  /** What stands in the list: the room's messages, and then what it does not have yet. */
  get list(): readonly Message[] {
    const known = [...this.messages.values()].sort((a, b) => (a.n ?? 0) - (b.n ?? 0));
    const waiting = this.waiting.filter(({ id }) => id === undefined || !this.messages.has(numberOf(id) ?? 0));
    return [...known, ...waiting.map((it) => this.unsent(it))];
  }

  /** Says something; resolves when the room has it. What has no connection waits for it. */
  post(text: string, reply: number | undefined): Promise<void> {
    if (this.waiting.length >= WAITING_MAX) return Promise.reject(new Error("too many messages wait"));
    this.seq += 1;
    this.waiting.push({ key: `own-${this.seq}`, seq: this.seq, text, reply, at_ms: Date.now() });
    if (this.isJoined) void this.send(this.waiting.at(-1) as Waiting);
    this.changed();
    return Promise.resolve();
  }

  /** Forgets a message that was refused. */
  discard(key: string | undefined): void {
    const at = this.waiting.findIndex((it) => it.key === key);
    if (at >= 0) this.waiting.splice(at, 1);
    this.changed();
  }

  async edit(n: number, text: string): Promise<void> {
    await this.ask("edit-message", { messageId: this.idOf(n), content: text });
  }

  async delete(n: number): Promise<void> {
    await this.ask("delete-message", { messageId: this.idOf(n) });
  }

  async react(n: number, emoji: string, adds: boolean): Promise<void> {
    await this.ask(adds ? "add-reaction" : "remove-reaction", { messageId: this.idOf(n), emoji });
  }

  async older(): Promise<void> {
    const first = Math.min(...this.messages.keys());
    const answer = await this.ask<{ messages: Payload[]; more: boolean }>("get-messages", { roomId: this.roomId, before: this.idOf(first) });
    if (answer.ok === undefined) return;
    this.more = answer.ok.more && this.messages.size < MESSAGES_MAX;
    this.take(answer.ok.messages);
  }

  /** What is on the screen is read. */
  read(): void {
    const newest = Math.max(0, ...this.messages.keys());
    if (newest <= this.readTo || !this.isJoined) return;
    this.readTo = newest;
    this.socket.emit("mark-as-read", { roomId: this.roomId, messageIds: [this.idOf(newest)] }, () => undefined);
  }

  setStatus(status: string): void {
    this.status = status;
    if (this.isJoined) this.socket.emit("update-presence", { roomId: this.roomId, status }, () => undefined);
  }

  typing(): void {
    clearTimeout(this.typingEnds);
    this.typingEnds = window.setTimeout(() => this.stopTyping(), TYPING_ENDS_MS);
    if (Date.now() - this.typedAt < TYPING_AGAIN_MS || !this.isJoined) return;
    this.typedAt = Date.now();
    this.socket.volatile.emit("typing-start", { roomId: this.roomId }, () => undefined);
  }

  stopTyping(): void {
    clearTimeout(this.typingEnds);
    if (this.typedAt === 0) return;
    this.typedAt = 0;
    if (this.isJoined) this.socket.emit("typing-stop", { roomId: this.roomId }, () => undefined);
  }

  private async join(): Promise<void> {
    const answer = await this.ask<Joined>("join-room", { roomId: this.roomId });
    // A connection that has gone again joins at the next one.
    if (answer.error?.code === "TIMEOUT") return;
    if (answer.ok === undefined) return this.refused(answer.error.message);
    const { messages, users, typing } = answer.ok;
    this.isJoined = true;
    this.typists.clear();
    for (const user of typing) if (user !== this.me) this.typists.add(user);
    // Fifty are told: if there was more meanwhile, what is here has a hole, so it begins anew.
    const first = numberOf(messages[0]?.id ?? "") ?? 0;
    if (Math.max(0, ...this.messages.keys()) < first - 1) this.messages.clear();
    if (this.messages.size === 0) this.more = first > 1;
    this.take(messages);
    this.setPeople(users);
    if (this.status !== "online") this.setStatus(this.status);
    for (const it of this.waiting.filter(({ error }) => error === undefined)) await this.send(it);
  }

  private async send(it: Waiting): Promise<void> {
    const reply = it.reply === undefined ? {} : { replyTo: this.idOf(it.reply) };
    const answer = await this.ask<{ messageId: string }>("send-message", { roomId: this.roomId, content: it.text, clientId: this.clientId, seq: it.seq, ...reply });
    if (answer.ok !== undefined) {
      it.id = answer.ok.messageId;
      if (this.messages.has(numberOf(it.id) ?? 0)) this.discard(it.key);
    } else if (answer.error.code === "RATE_LIMITED") setTimeout(() => void this.send(it), answer.error.retry_after_ms ?? ANSWER_MS);
    else if (!answer.error.retry) it.error = answer.error;
    this.changed();
  }

  private came(payload: Payload): void {
    if (numberOf(payload.id) === undefined) return;
    this.typists.delete(payload.userId);
    this.take([payload]);
    if (payload.userId !== this.me) this.heard();
  }

  private take(payloads: readonly Payload[]): void {
    for (const payload of payloads) {
      const n = numberOf(payload.id);
      if (n !== undefined) this.messages.set(n, toMessage(payload, n));
      const own = this.waiting.find(({ id }) => id === payload.id);
      if (own !== undefined) this.discard(own.key);
    }
    // The oldest go: they can be asked for again.
    while (this.messages.size > MESSAGES_MAX) {
      this.messages.delete(Math.min(...this.messages.keys()));
      this.more = true;
    }
    this.changed();
  }

  private setPeople(users: readonly Person[]): void {
    this.people.clear();
    for (const person of users) this.people.set(person.userId, person);
    this.changed();
  }

  private out(why: string): void {
    this.isJoined = false;
    this.people.clear();
    this.typists.clear();
    this.refused(why);
    this.changed();
  }

  /** Asks and waits for the acknowledgement; without one it is `TIMEOUT`, and whether it happened is unknown. */
  private ask<T = object>(event: string, argument: object): Promise<Answer<T>> {
    return new Promise((resolve) => {
      this.socket.timeout(ANSWER_MS).emit(event, argument, (lost: Error | null, answer: Answer<T>) => {
        resolve(lost === null ? answer : { error: { code: "TIMEOUT", message: "There was no answer.", retry: true } });
      });
    });
  }

  private unsent({ key, text, reply, at_ms, error }: Waiting): Message {
    return {
      key,
      n: undefined,
      user: this.me ?? "",
      type: "text",
      at_ms,
      body: { text },
      ...(reply === undefined ? {} : { reply }),
      state: error === undefined ? "pending" : "failed",
      ...(error === undefined ? {} : { error: Object.assign(new Error(error.message), error) as never }),
    };
  }

  private idOf(n: number): string {
    return `${this.roomId}#${n}`;
  }
}

/** The number of a message: it stands in its id. */
function numberOf(id: string): number | undefined {
  const n = Number(id.slice(id.lastIndexOf("#") + 1));
  return Number.isSafeInteger(n) && n > 0 ? n : undefined;
}

/** As the page shows messages. */
function toMessage(payload: Payload, n: number): Message {
  const { id, userId, username, content, reactions, replyTo, timestamp, editedAt, edited, deleted } = payload;
  const reply = replyTo === undefined ? undefined : numberOf(replyTo);
  return {
    key: id,
    n,
    user: userId,
    type: payload.type,
    at_ms: Date.parse(timestamp),
    body: deleted === true ? null : { text: content, name: username },
    reactions: Object.fromEntries(reactions.map(({ emoji, users, count }) => [emoji, { count, users: [...users] }])),
    ...(reply === undefined ? {} : { reply }),
    ...(edited === true ? { edited_at_ms: Date.parse(editedAt ?? timestamp) } : {}),
    state: "sent",
  };
}
