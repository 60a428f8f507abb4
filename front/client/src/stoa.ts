import { Connection, type ConnectionOptions, type ConnectionState, type StateChange, type Transport } from "./connection.js";
import { Emitter, type Off } from "./emitter.js";
import { StoaError } from "./errors.js";
import type { JoinOptions, Json, JsonObject } from "./frames.js";
import { fields, type Command, type ConnectAnswer, type PushEvent, type Reader, type ServerFrame } from "./wire/index.js";
import { Devices } from "./devices.js";
import { Room, type AppEvents, type Kick, type Makers, type RoomOptions } from "./room.js";
import { Slot, type Storage } from "./storage.js";

/** What came of a command. */
export type Answer<T> = { ok: T } | { error: StoaError };

/** How to connect, and the bounds of this client. */
export interface StoaOptions extends ConnectionOptions {
  /** How many writes to a room's messages may wait; further ones are refused with `QUEUE_FULL`. Default 100. */
  queueMax?: number;
  /** How many bytes of JSON these may have together. Default 1 MiB. */
  queueBytesMax?: number;
  /** After how many milliseconds a write that waits is said to be late: `TIMEOUT`; it stays queued. Default 30,000. */
  ackTimeoutMs?: number;
  /**
   * Keeps what is not acknowledged, so that it survives a reload: writes to messages, and edits of documents. They are sent
   * when their room is joined, or their document opened, again, with the identity that they had; so they happen once. Default:
   * nothing is kept. See {@link Storage} on tabs and users.
   */
  storage?: Storage | Promise<Storage>;
  /** What the keys in the storage begin with. Default `stoa`. */
  storageKey?: string;
  /**
   * How many messages of a room, and of each open thread, are held: the oldest go when new ones come (`more` is true then, and
   * `older` brings them back), and the newest when older ones are loaded (`atEnd` is false then). Default 1,000.
   */
  messagesMax?: number;
  /** A room's own cursor is told at most this often, in milliseconds, however fast it moves. Default 50. */
  cursorIntervalMs?: number;
  /** `false`: nothing happens before `open`. Default `true`. */
  autoOpen?: boolean;
}

/** What the front does not allow yet. */
export interface Limit {
  /** The command, for instance `msg.post`. */
  command: Command["do"];
  /** The room that it is about, if it is about one. */
  room: string | undefined;
  /** In how many milliseconds it will be allowed. */
  retryAfterMs: number;
}

/** Commands of which only the newest counts. */
const EPHEMERAL: ReadonlySet<string> = new Set(["presence.typing", "presence.cursor", "presence.set", "doc.cursor", "msg.read"]);

/** The events of a Stoa. */
export interface StoaEvents {
  /** The connection's state changed. */
  state: [change: StateChange];
  /** `transport` changed while the connection went on: a WebSocket came through. */
  transport: [transport: Transport];
  /**
   * Something was refused that nobody waits for: joining a room, opening a document, an edit, presence data. Without a
   * listener it goes to `console.warn`.
   */
  error: [error: StoaError];
  /**
   * The front's limits do not allow something yet. Edits, messages and what else waits are sent again by themselves, each once
   * and in order; a call that asks for something rejects with `RATE_LIMITED`. Nothing is told of pointers and typing, of which
   * only the newest counts. Show it to whoever writes more than they may.
   */
  limited: [limit: Limit];
  /** The front ends this connection because somebody wants it (`devices.kick`, a service): the state is `closed` next. */
  kicked: [kick: Kick];
}

/** An open request. */
interface Request {
  answered(reply: { ok: unknown } | { error: StoaError }): void;
  timer: ReturnType<typeof setTimeout>;
}

/**
 * The client of one user: a connection that comes back by itself, and the rooms on it. Make one with {@link connect}.
 */
export class Stoa {
  /** The identity of this client's writes, drawn once: with a sequence number it makes a resend happen once. */
  readonly client: string;
  /** The connections of this user, on all their devices. */
  readonly devices: Devices;
  private readonly connection: Connection;
  private readonly events = new Emitter<StoaEvents>();
  private readonly rooms = new Map<string, Room>();
  private readonly requests = new Map<number, Request>();
  private readonly options: StoaOptions;
  private id = 0;
  private seq = 0;
  private hello: ConnectAnswer | undefined;
  private errorListeners = 0;
  private unhook: Off = () => undefined;

  /** @internal */
  constructor(
    options: StoaOptions,
    private readonly makers?: Makers,
  ) {
    this.options = options;
    this.client = drawId(options.random ?? Math.random);
    this.devices = new Devices(this);
    this.connection = new Connection(options, {
      resume: () => {
        // Without a prototype: "__proto__" is a name of a room like any other.
        const rooms = Object.create(null) as { [room: string]: JoinOptions };
        for (const room of this.rooms.values()) if (room.wantsToJoin()) rooms[room.name] = room.joinFields();
        return rooms;
      },
      connected: (answer) => this.connected(answer),
      frame: (frame) => this.frame(frame),
      lost: () => this.lost(),
      state: (change) => this.events.emit("state", change),
      transport: (transport) => this.events.emit("transport", transport),
      skipped: (why) => this.report(new StoaError("INTERNAL", `a frame was skipped: ${why}`)),
    });
    if (options.autoOpen !== false) this.open();
  }

  /** The connection's state. */
  get state(): ConnectionState {
    return this.connection.state;
  }

  /** What carries the frames; `undefined` while there is no connection. `sse`: WebSockets do not come through here. */
  get transport(): Transport | undefined {
    return this.connection.transport;
  }

  /** Who the front says this is: the token's `sub`; `undefined` before the first connect. */
  get user(): string | undefined {
    return this.hello?.user;
  }

  /** The token's display name, if it has one. */
  get name(): string | undefined {
    return this.hello?.name;
  }

  /** The id of the present connection; a new one after each reconnect. */
  get connectionId(): string | undefined {
    return this.hello?.connection;
  }

  /** Listens to an event. The returned function stops that. */
  on<Name extends keyof StoaEvents>(name: Name, listener: (...values: StoaEvents[Name]) => void): Off {
    const off = this.events.on(name, listener);
    if (name !== "error") return off;
    this.errorListeners += 1;
    let on = true;
    return () => {
      if (on) this.errorListeners -= 1;
      on = false;
      off();
    };
  }

  /**
   * The room of this name, joined at once (or as soon as there is a connection) and again after each reconnect. The same
   * object for the same name, until it is left.
   *
   * @typeParam Data what the application says of people: the type of `presence.me.data` and the others'
   * @typeParam Cursor what a cursor is: the type of `presence.cursors`
   * @typeParam Events the ephemeral events of the application, by name: the types of `emit` and `on`
   * @param options used only when the room is not there yet
   */
  room<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents>(
    name: string,
    options: RoomOptions<NoInfer<Data>> = {},
  ): Room<Data, Cursor, Events> {
    let room = this.rooms.get(name);
    if (room === undefined) {
      const { queueMax = 100, queueBytesMax = 1_048_576, ackTimeoutMs = 30_000, messagesMax = 1_000, cursorIntervalMs = 50 } = this.options;
      room = new Room(this, name, options as RoomOptions, { queueMax, queueBytesMax, ackTimeoutMs, messagesMax, cursorIntervalMs }, this.makers);
      this.rooms.set(name, room);
      room.join();
    }
    return room as unknown as Room<Data, Cursor, Events>;
  }

  /**
   * The name of this user's own room, on all their devices and for nobody else: services post there what is meant for one person,
   * and it waits for who is not here. `undefined` before the first connect. Nobody has to join it to be in it; `room(name)` gives
   * its messages, what is unread among them, and its events.
   */
  get personalRoom(): string | undefined {
    return this.user && `user:${this.user.replaceAll("|", "=7C")}`;
  }

  /** Connects again after `closed`, for instance with a token function that has a good token now. */
  open(): void {
    this.unhook();
    this.unhook = hookPage(
      () => this.connection.probe(),
      () => this.hidden(),
    );
    this.connection.open();
  }

  /** Closes the connection for good. Writes that wait are kept; `open` sends them. */
  close(): void {
    this.unhook();
    this.connection.close();
    this.hidden();
  }

  // From here on: for rooms and what is in them.

  /** Where a value is kept over reloads, if there is a storage. @internal */
  slot(key: string): Slot | undefined {
    const { storage, storageKey = "stoa" } = this.options;
    return storage && new Slot(storage, `${storageKey} ${key}`, (error) => this.report(error));
  }

  /** Whether somebody has asked for this room and not left it. @internal */
  has(room: string): boolean {
    return this.rooms.has(room);
  }

  /** @internal */
  nextSeq(): number {
    return ++this.seq;
  }

  /**
   * Sends a command. `done` is called exactly once, in the order of the answers and before any later event: with
   * `OFFLINE` if there is no connection or it breaks, with `TIMEOUT` if no answer comes.
   * @internal
   */
  request<T>(command: Command, read: Reader<T>, done: (answer: Answer<T>) => void, payload?: Uint8Array): void {
    const id = ++this.id;
    if (!this.connection.send(id, command, payload)) {
      // Not at once: callers may rely on `done` being called after they have returned.
      queueMicrotask(() => done({ error: offline() }));
      return;
    }
    const finish = (reply: { ok: unknown } | { error: StoaError }) => {
      clearTimeout(request.timer);
      this.requests.delete(id);
      if ("error" in reply) {
        this.limited(command, reply.error);
        return done(reply);
      }
      let value: T;
      try {
        value = read(fields(reply.ok, "ok"));
      } catch (fault) {
        const message = `the front's answer is malformed: ${fault instanceof Error ? fault.message : ""}`;
        return done({ error: new StoaError("INTERNAL", message) });
      }
      done({ ok: value });
    };
    const timeout = () => finish({ error: new StoaError("TIMEOUT", `no answer to ${command.do}`) });
    const request: Request = { answered: finish, timer: setTimeout(timeout, this.options.answerTimeoutMs ?? 10_000) };
    this.requests.set(id, request);
  }

  /** @internal */
  ask<T>(command: Command, read: Reader<T>, payload?: Uint8Array): Promise<T> {
    return new Promise((resolve, reject) =>
      this.request(command, read, (answer) => ("ok" in answer ? resolve(answer.ok) : reject(answer.error)), payload),
    );
  }

  /** @internal */
  report(error: StoaError): void {
    if (this.errorListeners === 0) console.warn("stoa:", error.code, error.message);
    this.events.emit("error", error);
  }

  /** @internal */
  forget(room: Pick<Room, "name">): void {
    if (this.rooms.get(room.name) === room) this.rooms.delete(room.name);
  }

  private limited(command: Command, { code, retryAfterMs }: StoaError): void {
    if (code !== "RATE_LIMITED" || EPHEMERAL.has(command.do)) return;
    this.events.emit("limited", { command: command.do, room: "room" in command ? command.room : undefined, retryAfterMs: retryAfterMs ?? 0 });
  }

  /** The page may never be shown again: what is to be told or kept is told or kept now. */
  private hidden(): void {
    for (const room of this.rooms.values()) room.hidden();
  }

  private connected(answer: ConnectAnswer): void {
    this.hello = answer;
    for (const room of [...this.rooms.values()]) room.connected(answer.rooms.get(room.name));
  }

  private frame(frame: Exclude<ServerFrame, { kind: "closing" | "expiring" }>): void {
    if (frame.kind === "event") return this.event(frame.event);
    const request = frame.id === null ? undefined : this.requests.get(frame.id);
    if (request !== undefined) request.answered(frame);
    else if (frame.kind === "error") this.report(frame.error);
  }

  private event(event: PushEvent): void {
    if (event.event === "room.kicked" && event.room === this.personalRoom) this.events.emit("kicked", { reason: event.reason, by: event.by });
    this.rooms.get(event.room)?.receive(event);
  }

  private lost(): void {
    for (const room of [...this.rooms.values()]) room.cut();
    for (const request of [...this.requests.values()]) request.answered({ error: offline() });
  }
}

const offline = () => new StoaError("OFFLINE", "there is no connection");

/** 16 letters and digits: 82 bits, so two clients never draw the same. */
function drawId(random: () => number): string {
  return Array.from({ length: 16 }, () => Math.floor(random() * 36).toString(36)).join("");
}

/**
 * In a browser. `wake`: the network came back, or the page came to the front after a sleep that broke the line unnoticed.
 * `hide`: the page goes to the back; nothing says whether it will ever come to the front again.
 */
function hookPage(wake: () => void, hide: () => void): Off {
  if (typeof window === "undefined" || typeof document === "undefined") return () => undefined;
  const shown = () => {
    if (document.visibilityState === "visible") wake();
    else hide();
  };
  window.addEventListener("online", wake);
  window.addEventListener("pagehide", hide);
  document.addEventListener("visibilitychange", shown);
  return () => {
    window.removeEventListener("online", wake);
    window.removeEventListener("pagehide", hide);
    document.removeEventListener("visibilitychange", shown);
  };
}
