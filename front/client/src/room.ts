import type { Document, DocumentLine, DocumentOptions } from "./document.js";
import { Emitter, type Off } from "./emitter.js";
import { StoaError } from "./errors.js";
import type { JoinOptions, Json, JsonObject, Recipient } from "./frames.js";
import * as read from "./wire/answers.js";
import type { DurableEvent, JoinAnswer, PushEvent, RoomAccess, StreamPart } from "./wire/index.js";
import { Messages, type MessagesBounds } from "./messages.js";
import { Presence, type Status } from "./presence.js";
import { retryDelayMs } from "./retry.js";
import type { SharedMap } from "./map.js";
import type { Slot } from "./storage.js";
import type { Stoa } from "./stoa.js";

/**
 * What may be done in a room. `read`: join, read, be listed as here, point. `talk`: messages, reactions, events of the
 * application, typing. `edit`: documents. `manage`: say who may do what, and send people out.
 */
export type Action = "read" | "talk" | "edit" | "manage";

/**
 * `joining`: not (or not again) joined yet. `refused`: the front said no for good, or this user was shut out while inside; see
 * `error`. `kicked`: this user was sent out,
 * and does not come back by itself; see `kick`. `left`: by `leave`.
 */
export type RoomState = "joining" | "joined" | "refused" | "kicked" | "left";

/** How to join a room. */
export interface RoomOptions<Data extends object = JsonObject> {
  /**
   * What to say about oneself: an object of at most 1 KiB of JSON. Default `{}`. `false` only watches: the connection is
   * not listed as here.
   */
  presence?: Data | false;
  /** What to say about one's attention. Default `online`. */
  status?: Status;
}

/** The bounds of a room. @internal */
export interface RoomBounds extends MessagesBounds {
  cursorIntervalMs: number;
}

/** Makes what is shared; core.ts has none, index.ts has one. @internal */
export interface Makers {
  document(line: DocumentLine, name: string, options: DocumentOptions, slot: Slot | undefined): Document;
  map(name: string, document: Document): SharedMap;
}

/** The ephemeral events of an application, by name: what each comes with. */
export type AppEvents = { [name: string]: Json };

/** What `emit` takes after the name: an event that comes with nothing needs no data. */
export type EmitArguments<Value> = null extends Value ? [data?: Value, options?: EmitOptions] : [data: Value, options?: EmitOptions];

/** What an ephemeral event of the application comes with, beside its data. */
export interface Emitted {
  /** Who sent it; `undefined` if a service did. */
  user: string | undefined;
  connection: string | undefined;
  /** The bytes that were sent with it, if any were. */
  payload: Uint8Array<ArrayBuffer> | undefined;
}

/** How to send an ephemeral event. */
export interface EmitOptions {
  /** Whom it is for: all connections of a user, or one connection. Default: everybody in the room but this connection. */
  to?: Recipient;
  /** Bytes beside the data, at most 256 KiB (unless the server's settings say otherwise): they travel as they are, not as text. */
  payload?: Uint8Array;
}

/** Why somebody was sent out, as far as it was said. */
export interface Kick {
  /** A text for people. */
  reason: string | undefined;
  /** The user who did it. */
  by: string | undefined;
}

/**
 * A room; get one from `stoa.room(name)`. `Data` is what the application says of people, `Cursor` what a cursor is to it: see
 * {@link Presence}. `Events` names its ephemeral events: see {@link emit}.
 */
export class Room<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents> {
  /** The room's name. */
  readonly name: string;
  /** The room's log of messages. */
  readonly messages: Messages;
  /** Who is here. */
  readonly presence: Presence<Data, Cursor>;
  /** Resolves when the room is joined for the first time, rejects when it is refused or left before. */
  readonly joined: Promise<void>;

  private readonly documents = new Map<string, Document>();
  private readonly maps = new Map<string, SharedMap>();
  private readonly emitted = new Emitter<Record<string, [data: Json, event: Emitted]>>();
  private readonly states = new Emitter<{ state: [RoomState]; kicked: [Kick]; access: [RoomAccess] }>();
  private settleJoined!: { resolve: () => void; reject: (error: StoaError) => void };
  private current: RoomState = "joining";
  private refusal: StoaError | undefined;
  private sentOut: Kick | undefined;
  private rights: RoomAccess | undefined;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = false;
  /** What the answer under way says is not all: this connection is to be listed. */
  private asksAgain = false;

  /** @internal */
  constructor(
    private readonly stoa: Stoa,
    name: string,
    options: RoomOptions,
    bounds: RoomBounds,
    private readonly makers: Makers | undefined,
  ) {
    this.name = name;
    this.joined = new Promise((resolve, reject) => (this.settleJoined = { resolve, reject }));
    this.joined.catch(() => undefined);
    this.messages = new Messages(stoa, name, bounds, stoa.slot(`log ${name}`), () => this.presence.stopTyping());
    const { presence: data = {}, status } = options;
    this.presence = new Presence(stoa, name, { data, status }, bounds.cursorIntervalMs, () => {
      this.asksAgain = this.asked;
      this.join();
    });
  }

  /** Where the room stands: see {@link RoomState}. */
  get state(): RoomState {
    return this.current;
  }

  /** Why the room is `refused` or `kicked`. */
  get error(): StoaError | undefined {
    return this.refusal;
  }

  /** With `kicked`: what was said to it. */
  get kick(): Kick | undefined {
    return this.sentOut;
  }

  /** What this user is here, as `viewer` or `editor`; `undefined` before the room was joined. `none`: shut out. */
  get role(): string | undefined {
    return this.rights?.role;
  }

  /**
   * Whether this user may do that here, as the room last said. Nothing before the room was joined. The front decides at every
   * command anew: this is for what a page shows.
   */
  can(action: Action): boolean {
    return this.rights?.actions.includes(action) === true;
  }

  /** Listens to changes of `role` and of what `can` answers. The returned function stops that. */
  onAccess(listener: (access: RoomAccess) => void): Off {
    return this.states.on("access", listener);
  }

  /**
   * Gives a user a role in this room, for `ttlMs` or for good; `"*"` is everybody whom the room's list does not name. Needs
   * `manage`, and nobody gives what they may not do themselves. People who are inside are told, and lose or gain it at once.
   *
   * @param role `none`, `viewer`, `commenter`, `editor`, `owner`, a role of the operator, or actions joined by `+`
   * @returns whether that is news; rejects with `PERMISSION_DENIED`, `INVALID_ARGUMENT`, `FULL`
   */
  grant(user: string, role: string, { ttlMs }: { ttlMs?: number } = {}): Promise<boolean> {
    return this.stoa.ask({ do: "room.grant", room: this.name, user, role, ttl_ms: ttlMs }, read.accessChanged);
  }

  /**
   * Shuts a user out of this room, whatever their token says. With `forget` the room says nothing of them any more, so that
   * their token decides again. Needs `manage`.
   *
   * @returns whether that is news; rejects with `PERMISSION_DENIED`
   */
  revoke(user: string, { forget }: { forget?: boolean } = {}): Promise<boolean> {
    return this.stoa.ask({ do: "room.revoke", room: this.name, user, forget }, read.accessChanged);
  }

  /**
   * Sends a user, or one connection, out of this room. It keeps nobody away: that is `revoke`. Needs `manage`.
   *
   * @param reason for those who go, at most 256 bytes
   * @returns how many connections were listed as here; rejects with `PERMISSION_DENIED`
   */
  sendOut(who: Recipient, reason?: string): Promise<number> {
    return this.stoa.ask({ do: "room.kick", room: this.name, who, reason }, read.kicked);
  }

  /** Listens to changes of `state`. The returned function stops that. */
  onState(listener: (state: RoomState) => void): Off {
    return this.states.on("state", listener);
  }

  /**
   * Listens to being sent out of the room, by a moderator or a service. `state` is `kicked` then, and nothing comes any more.
   * Whoever may come back does so by `leave` and `stoa.room`; to be listed as here it takes a new connection. A kick keeps nobody
   * away for good whose token opens the room. The returned function stops listening.
   */
  onKicked(listener: (kick: Kick) => void): Off {
    return this.states.on("kicked", listener);
  }

  /**
   * The shared text of this name, opened at once. The same object for the same name, until it is closed.
   *
   * @throws StoaError `NOT_OPEN` with `connect` of `stoa/core`, which leaves documents out
   */
  doc(name: string, options: DocumentOptions = {}): Document {
    const known = this.documents.get(name);
    if (known !== undefined && known.state !== "closed") return known;
    const { stoa } = this;
    const document = this.shared.document(
      {
        room: this.name,
        client: stoa.client,
        nextSeq: () => stoa.nextSeq(),
        user: () => stoa.user,
        // What was kept may be edited before anybody says whether it may.
        mayEdit: () => this.rights === undefined || this.can("edit"),
        request: (command, read, done) => stoa.request(command, read, done),
        rejoin: () => this.join(),
        report: (error) => stoa.report(error),
        connection: () => stoa.connectionId,
        dataOf: (user) => this.presence.dataOf(user),
      },
      name,
      options,
      stoa.slot(`doc ${this.name} ${name}`),
    );
    this.documents.set(name, document);
    if (this.current === "joined") document.open();
    if (this.refusal !== undefined) document.refuse(this.refusal);
    return document;
  }

  /**
   * The shared map of this name, opened at once: values by key, of which the last one that the server accepted counts. The same
   * object for the same name, until it is closed. Needs `edit` to be changed.
   *
   * @typeParam Values what there is by key
   * @throws StoaError `NOT_OPEN` with `connect` of `stoa/core`, which leaves maps out
   */
  map<Values extends object = JsonObject>(name: string): SharedMap<Values> {
    let map = this.maps.get(name);
    if (map === undefined || map.state === "closed") {
      map = this.shared.map(name, this.doc(`map:${name}`, { create: "", records: true }));
      this.maps.set(name, map);
    }
    return map as unknown as SharedMap<Values>;
  }

  /**
   * Sends an ephemeral event to everybody else in the room, or to one recipient. It is neither stored nor repeated.
   *
   * ```ts
   * interface Events {
   *   stroke: { color: string };
   *   bell: null;
   * }
   * const room = stoa.room<Person, Place, Events>("lobby");
   * room.emit("stroke", { color: "red" }, { payload: new Uint8Array(points.buffer) });
   * room.emit("bell");
   * room.on("stroke", ({ color }, { user, payload }) => draw(color, payload));
   * ```
   *
   * The types are a promise of the application to itself: what arrives is what others sent, whatever they run. Look at it
   * before you rely on it.
   *
   * @returns resolves when the front has taken it; rejects with `OFFLINE` without a connection, with `TOO_LARGE`
   */
  emit<Name extends keyof Events & string>(name: Name, ...[data, options]: EmitArguments<Events[Name]>): Promise<void> {
    const { to, payload } = options ?? {};
    return this.stoa.ask({ do: "room.emit", room: this.name, name, data: (data ?? null) as Json, to }, read.nothing, payload);
  }

  /** Listens to ephemeral events of this name. The returned function stops that. */
  on<Name extends keyof Events & string>(name: Name, listener: (data: Events[Name], event: Emitted) => void): Off {
    return this.emitted.on(name, listener as (data: Json, event: Emitted) => void);
  }

  /** Leaves the room and closes its documents. `stoa.room(name)` joins afresh. */
  leave(): void {
    if (this.current === "left") return;
    if (this.wantsToJoin()) this.stoa.request({ do: "room.leave", room: this.name }, read.nothing, () => undefined);
    for (const document of this.documents.values()) document.close();
    this.presence.cut();
    clearTimeout(this.timer);
    const error = new StoaError("CLOSED", "the room was left");
    this.messages.refuse(error);
    this.stoa.forget(this);
    this.settleJoined.reject(error);
    this.change("left");
  }

  // From here on: for the Stoa, and for hooks.

  /** Whether somebody has opened this document and not closed it. @internal */
  hasDoc(name: string): boolean {
    return (this.documents.get(name)?.state ?? "closed") !== "closed";
  }

  /** @internal */
  wantsToJoin(): boolean {
    return this.current === "joining" || this.current === "joined";
  }

  /** The fields of `room.join`. @internal */
  joinFields(): JoinOptions {
    const positions: { [stream: string]: string } = {};
    const put = (stream: string, position: string | undefined) => {
      if (position !== undefined) positions[stream] = position;
    };
    put("log", this.messages.resumePosition());
    put("presence", this.presence.resumePosition());
    for (const document of this.documents.values())
      if (document.state !== "closed") put(`doc:${document.name}`, document.resumePosition());
    return { positions, presence: this.presence.joinField() };
  }

  /** Joins, also once more to close a gap: the answer brings every stream up to date. @internal */
  join(): void {
    if (!this.wantsToJoin() || this.asked || this.stoa.state !== "online") return;
    clearTimeout(this.timer);
    this.asked = true;
    this.stoa.request({ ...this.joinFields(), do: "room.join", room: this.name }, read.join, (answer) => {
      this.asked = false;
      if (!this.wantsToJoin()) return;
      if ("ok" in answer) this.adopt(answer.ok);
      else this.notJoined(answer.error);
      if (!this.asksAgain) return;
      this.asksAgain = false;
      this.join();
    });
  }

  /** A connection is there; `answer` is its word on this room, if it was resumed. @internal */
  connected(answer: JoinAnswer | StoaError | undefined): void {
    if (!this.wantsToJoin()) return;
    if (answer === undefined) this.join();
    else if (answer instanceof StoaError) this.notJoined(answer);
    else this.adopt(answer);
  }

  /** The line broke. @internal */
  cut(): void {
    clearTimeout(this.timer);
    if (this.wantsToJoin()) this.change("joining");
    this.messages.cut();
    this.presence.cut();
    for (const document of this.documents.values()) document.cut();
  }

  /** The page hides, and may never be shown again. @internal */
  hidden(): void {
    this.messages.hidden();
    for (const document of this.documents.values()) document.hidden();
  }

  /** @internal */
  receive(event: PushEvent): void {
    if (event.event === "room.kicked" && this.wantsToJoin()) return this.wasKicked({ reason: event.reason, by: event.by });
    if (event.event === "room.access" && this.wantsToJoin()) return this.wasAllowed(event);
    if (this.current !== "joined") return;
    switch (event.event) {
      case "presence.typing":
        return this.presence.setTypists(event.users);
      case "doc.cursors":
        return this.documents.get(event.stream.slice(4))?.receiveCursors(event);
      case "presence.cursors":
        return this.presence.receiveCursors(event);
      case "room.access":
      case "room.kicked":
        return;
      case "room.emitted": {
        const { user, connection, payload } = event;
        return this.emitted.emit(event.name, event.data, { user, connection, payload });
      }
      case "room.reset":
        if (event.stream.startsWith("doc:")) this.documents.get(event.stream.slice(4))?.wasReset();
        // Log, presence, or with an empty name everything: the answer to a join speaks of all of it.
        else this.join();
        return;
      case "room.resync":
        if (!this.part(event.stream, event.part)) this.join();
        return;
      default:
        return this.durable(event);
    }
  }

  private get shared(): Makers {
    if (this.makers === undefined) throw new StoaError("NOT_OPEN", "stoa/core has no documents: connect with stoa", { retry: false });
    return this.makers;
  }

  private durable(event: DurableEvent): void {
    const { stream } = event;
    if (stream.startsWith("doc:")) this.documents.get(stream.slice(4))?.receive(event);
    else if (stream === "log" && !this.messages.receive(event)) this.join();
    else if (stream === "presence" && !this.presence.receive(event)) this.join();
  }

  private adopt(answer: JoinAnswer): void {
    this.failures = 0;
    // Joined before the streams speak: what they send next needs it.
    this.current = "joined";
    this.allow(answer);
    let fits = true;
    for (const [stream, part] of answer.streams) fits = this.part(stream, part) && fits;
    for (const document of this.documents.values())
      if (document.state !== "closed" && !answer.streams.has(`doc:${document.name}`)) document.open();
    if (!fits) return this.join();
    this.messages.joined();
    this.presence.joined();
    this.settleJoined.resolve();
    this.states.emit("state", "joined");
  }

  /** `false`: something in it does not fit what is held. */
  private part(stream: string, part: StreamPart): boolean {
    if (stream === "log") return this.messages.adopt(part);
    if (stream === "presence") this.presence.adopt(part);
    else if (stream.startsWith("doc:")) this.documents.get(stream.slice(4))?.adopt(part);
    return true;
  }

  private notJoined(error: StoaError): void {
    if (error.code === "OFFLINE") return;
    if (error.retry) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.join(), retryDelayMs(this.failures++, error));
      return;
    }
    // The word of it may have been lost.
    if (error.code === "KICKED") return this.wasKicked({ reason: undefined, by: undefined });
    this.end("refused", error);
    this.stoa.report(error);
  }

  private wasAllowed(access: RoomAccess): void {
    this.allow(access);
    if (!this.can("read")) this.end("refused", new StoaError("PERMISSION_DENIED", "you were shut out of this room", { retry: false }));
  }

  private allow({ role, actions }: RoomAccess): void {
    const before = this.rights;
    if (before?.role === role && before.actions.join() === actions.join()) return;
    this.rights = { role, actions };
    for (const document of this.documents.values()) document.accessChanged();
    this.states.emit("access", this.rights);
  }

  private wasKicked(kick: Kick): void {
    this.sentOut = kick;
    this.end("kicked", new StoaError("KICKED", kick.reason ?? "this connection was sent out of the room", { retry: false }));
    this.states.emit("kicked", kick);
  }

  /** Nothing is to be had here any more. */
  private end(state: "refused" | "kicked", error: StoaError): void {
    clearTimeout(this.timer);
    this.refusal = error;
    this.messages.refuse(error);
    this.presence.cut();
    for (const document of this.documents.values()) document.refuse(error);
    this.settleJoined.reject(error);
    this.change(state);
  }

  private change(state: RoomState): void {
    if (state === this.current) return;
    this.current = state;
    this.states.emit("state", state);
  }
}
