import type { Document, DocumentLine, DocumentOptions } from "./document.js";
import { Emitter, type Off } from "./emitter.js";
import { StoaError } from "./errors.js";
import type { JoinOptions, Json, JsonObject, Recipient } from "./frames.js";
import { read, type DurableEvent, type JoinAnswer, type PushEvent, type StreamPart } from "./wire/index.js";
import { Messages, type MessagesBounds } from "./messages.js";
import { Presence } from "./presence.js";
import { retryDelayMs } from "./retry.js";
import type { Slot } from "./storage.js";
import type { Stoa } from "./stoa.js";

/** `joining`: not (or not again) joined yet. `refused`: the front said no for good; see `error`. `left`: by `leave`. */
export type RoomState = "joining" | "joined" | "refused" | "left";

/** How to join a room. */
export interface RoomOptions {
  /**
   * What to say about oneself: an object of at most 1 KiB of JSON. Default `{}`. `false` only watches: the connection is
   * not listed as here.
   */
  presence?: JsonObject | false;
}

/** Makes documents; core.ts has none, index.ts has one. @internal */
export type DocumentMaker = (line: DocumentLine, name: string, options: DocumentOptions, slot: Slot | undefined) => Document;

/** Who sent an ephemeral event; both fields are missing if a service did. */
export interface Sender {
  user: string | undefined;
  connection: string | undefined;
}

/** A room; get one from `stoa.room(name)`. */
export class Room {
  /** The room's name. */
  readonly name: string;
  /** The room's log of messages. */
  readonly messages: Messages;
  /** Who is here. */
  readonly presence: Presence;
  /** Resolves when the room is joined for the first time, rejects when it is refused or left before. */
  readonly joined: Promise<void>;

  private readonly documents = new Map<string, Document>();
  private readonly emitted = new Emitter<Record<string, [data: Json, from: Sender]>>();
  private readonly states = new Emitter<{ state: [RoomState] }>();
  private settleJoined!: { resolve: () => void; reject: (error: StoaError) => void };
  private current: RoomState = "joining";
  private refusal: StoaError | undefined;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = false;

  /** @internal */
  constructor(
    private readonly stoa: Stoa,
    name: string,
    options: RoomOptions,
    bounds: MessagesBounds,
    private readonly makeDocument: DocumentMaker | undefined,
  ) {
    this.name = name;
    this.joined = new Promise((resolve, reject) => (this.settleJoined = { resolve, reject }));
    this.joined.catch(() => undefined);
    this.messages = new Messages(stoa, name, bounds, stoa.slot(`log ${name}`));
    this.presence = new Presence(stoa, name, options.presence ?? {}, () => this.join());
  }

  /** Where the room stands: see {@link RoomState}. */
  get state(): RoomState {
    return this.current;
  }

  /** Why the room is `refused`. */
  get error(): StoaError | undefined {
    return this.refusal;
  }

  /** Listens to changes of `state`. The returned function stops that. */
  onState(listener: (state: RoomState) => void): Off {
    return this.states.on("state", listener);
  }

  /**
   * The shared text of this name, opened at once. The same object for the same name, until it is closed.
   *
   * @throws StoaError `NOT_OPEN` with `connect` of `stoa/core`, which leaves documents out
   */
  doc(name: string, options: DocumentOptions = {}): Document {
    const known = this.documents.get(name);
    if (known !== undefined && known.state !== "closed") return known;
    const { stoa, makeDocument } = this;
    if (makeDocument === undefined) throw new StoaError("NOT_OPEN", "stoa/core has no documents: connect with stoa", { retry: false });
    const document = makeDocument(
      {
        room: this.name,
        client: stoa.client,
        nextSeq: () => stoa.nextSeq(),
        user: () => stoa.user,
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
    if (this.current === "refused") document.refuse(this.refusal as StoaError);
    return document;
  }

  /**
   * Sends an ephemeral event to everybody in the room (this connection too) or to one recipient. It is neither stored nor
   * repeated; without a connection it is refused with `OFFLINE`.
   */
  emit(name: string, data: Json = null, to?: Recipient): Promise<void> {
    return this.stoa.ask({ do: "room.emit", room: this.name, name, data, to }, read.nothing);
  }

  /** Listens to ephemeral events of this name. */
  on(name: string, listener: (data: Json, from: Sender) => void): Off {
    return this.emitted.on(name, listener);
  }

  /** Leaves the room and closes its documents. `stoa.room(name)` joins afresh. */
  leave(): void {
    if (this.current === "left") return;
    if (this.current !== "refused") this.stoa.request({ do: "room.leave", room: this.name }, read.nothing, () => undefined);
    for (const document of this.documents.values()) document.close();
    this.presence.cut();
    clearTimeout(this.timer);
    const error = new StoaError("CLOSED", "the room was left");
    this.messages.refuse(error);
    this.stoa.forget(this);
    this.settleJoined.reject(error);
    this.change("left");
  }

  // From here on: for the Stoa.

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
    const { data } = this.presence;
    return { positions, presence: data === false ? undefined : { data } };
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
    if (this.current !== "joined") return;
    switch (event.event) {
      case "presence.typing":
        return this.presence.setTypists(event.users);
      case "doc.cursors":
        return this.documents.get(event.stream.slice(4))?.receiveCursors(event);
      case "room.emitted":
        return this.emitted.emit(event.name, event.data, { user: event.user, connection: event.connection });
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
    this.refusal = error;
    this.messages.refuse(error);
    this.presence.cut();
    for (const document of this.documents.values()) document.refuse(error);
    this.settleJoined.reject(error);
    this.stoa.report(error);
    this.change("refused");
  }

  private change(state: RoomState): void {
    if (state === this.current) return;
    this.current = state;
    this.states.emit("state", state);
  }
}
