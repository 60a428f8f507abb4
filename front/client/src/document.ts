/**
 * A shared text. The client shows its user's edits at once and has at most one of them on its way to the front:
 *
 *     synchronised          text = base
 *     awaiting              text = base + inflight             one operation is on its way, or waits for the line
 *     awaiting-with-buffer  text = base + inflight + buffer    what was typed meanwhile, composed to one operation
 *
 * `base` is the text at `rev`, as every other client has it. An accepted operation of somebody else moves base forward;
 * inflight and buffer are transformed over it, and it over them.
 *
 * What must always hold: text is base with the pending operations applied; an operation keeps its identity (client, seq)
 * from the first attempt to send it until its fate is known; only its fate, an explicit refusal or `close` takes an
 * operation from the pending ones.
 */
import { Cursors, type RemoteCursor } from "./cursors.js";
import { Emitter, type Off } from "./emitter.js";
import { StoaError } from "./errors.js";
import type { Cursor, CursorAt, DocState, DocSubmitted, JsonObject } from "./frames.js";
import { read, formatPosition, type Command, type CursorsEvent, type DurableEvent, type OperationsAnswer, type Position, type StreamPart } from "./wire.js";
import {
  apply,
  baseLength,
  compose,
  fromDiff,
  invert,
  isNoop,
  normalise,
  sameOperation,
  split,
  transform,
  transformPosition,
  widen,
  type Operation,
  type Side,
} from "./ot/index.js";
import { retryDelayMs } from "./retry.js";
import { orderOf } from "./stream.js";
import type { Answer } from "./stoa.js";

/**
 * `opening`: the text has not come yet. `synchronised`, `awaiting`, `awaiting-with-buffer`: see the head of this file;
 * these three can be edited, on line and off. `missing`: there is no such document. `refused`: it may not be opened.
 * `closed`: by `close`.
 */
export type DocumentState = "opening" | "synchronised" | "awaiting" | "awaiting-with-buffer" | "missing" | "refused" | "closed";

/** How to open a document. */
export interface DocumentOptions {
  /** The text to create the document with if it is missing. Without it a missing document stays missing. */
  create?: string;
}

/** Who made a remote change, as far as it is known. */
export interface ChangeOrigin {
  /** The user, if the change is a single operation of somebody. `undefined` for changes that bring the text up to date. */
  user: string | undefined;
}

/** The events of a document. */
export interface DocumentEvents {
  /**
   * The text changed, but not through `edit`: apply this operation to what you show. Fires for others' operations, and
   * with the difference when the text had to be loaded again. Never fires for this client's own edits.
   */
  remote: [op: Operation, origin: ChangeOrigin];
  /** The text came for the first time: show it. Later changes fire `remote`. */
  reset: [text: string];
  /** `state` changed. */
  state: [state: DocumentState];
  /**
   * A failover lost history that this client had seen: what was accepted after revision `historyEnd` is gone, own
   * acknowledged edits included. The difference comes as `remote`. Edits that were not acknowledged are kept.
   */
  lost: [historyEnd: number | undefined];
  /**
   * The front refused an edit for good (no right to write, too large): it was taken back, and `remote` has fired with the
   * change that does so. `op` is what was refused.
   */
  refused: [error: StoaError, op: Operation];
  /**
   * Somebody's cursor came, moved or went: see `cursors`. Not when the text under it changes: after `remote` and after own
   * edits read `cursors` again, or move what you show along.
   */
  cursors: [];
}

/** What a document needs of its room. @internal */
export interface DocumentLine {
  readonly room: string;
  readonly client: string;
  nextSeq(): number;
  request<T>(command: Command, read: (ok: unknown) => T, done: (answer: Answer<T>) => void): void;
  /** The front says that the room is not joined: join it again. */
  rejoin(): void;
  report(error: StoaError): void;
  /** The id of this connection, whose cursor is not shown. */
  connection(): string | undefined;
  /** What a user says about themselves in the room. */
  dataOf(user: string): JsonObject;
}

/** Bounds of one submitted operation; what is larger is sent in several. A frame holds 1 MiB, JSON may take six bytes a unit. */
const COMPONENTS_MAX = 5_000;
const INSERT_UNITS_MAX = 131_072;

interface Inflight {
  readonly seq: number;
  op: Operation;
  /** The reply, if it came before the events that lead up to it. */
  answer?: DocSubmitted;
}

/** A snapshot that waits for the answer whether the operation in flight is part of it. */
interface Held {
  readonly position: Position;
  readonly content: string;
  readonly difference: Operation;
  readonly events: DurableEvent[];
  readonly cursors: readonly Cursor[];
  readonly told: CursorsEvent[];
}

/** Accepted operations that are kept to locate positions of others who are a little behind. */
const RECENT_MAX = 100;

/** A shared text; get one from `room.doc(name)`. */
export class Document {
  /** Its name inside the room. */
  readonly name: string;
  /** Resolves when the text is there, rejects when it may not be opened, is missing, or is closed before. */
  readonly opened: Promise<void>;

  private readonly events = new Emitter<DocumentEvents>();
  private settleOpened!: { resolve: () => void; reject: (error: StoaError) => void };
  private position: Position | undefined;
  private base = "";
  private current = "";
  private inflight: Inflight | undefined;
  private buffer: Operation | undefined;
  private held: Held | undefined;
  /** The last accepted operations, without gaps; the last one made `rev`. */
  private recent: Operation[] = [];
  /** `cut`: nothing can be sent. `opening`: events are not yet in order. `live`: events follow each other. */
  private lineState: "cut" | "opening" | "live" = "cut";
  /** Why the document has no (current) text. */
  private obstacle: "missing" | "refused" | "closed" | undefined;
  private announced: DocumentState = "opening";
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Failures in a row; decides the next delay. */
  private failures = 0;
  /** Counts submits: an operation may be sent again on another text before its first answer comes. */
  private attempts = 0;
  private readonly carets: Cursors;

  /** @internal */
  constructor(
    private readonly line: DocumentLine,
    name: string,
    private readonly options: DocumentOptions,
  ) {
    this.name = name;
    this.opened = new Promise((resolve, reject) => (this.settleOpened = { resolve, reject }));
    // Whoever does not wait for it shall not be told of an unhandled rejection.
    this.opened.catch(() => undefined);
    this.carets = new Cursors({
      position: () => (this.held === undefined ? this.position : undefined),
      recent: () => this.recent,
      pending: () => this.pending(),
      length: () => this.current.length,
      isSynchronised: () => this.lineState === "live" && this.held === undefined && this.state === "synchronised",
      connection: () => line.connection(),
      dataOf: (user) => line.dataOf(user),
      tell: (cursor, rev) => this.tellCursor(cursor, rev),
      changed: () => this.events.emit("cursors"),
    });
  }

  /** The text, with this client's own edits. Empty until opened. */
  get text(): string {
    return this.current;
  }

  /** The revision that the text is based on; `undefined` until opened. */
  get rev(): number | undefined {
    return this.position?.rev;
  }

  /** The history that `rev` counts in; `undefined` until opened. */
  get epoch(): string | undefined {
    return this.position?.epoch;
  }

  /** Where the document stands: see {@link DocumentState}. */
  get state(): DocumentState {
    if (this.obstacle !== undefined) return this.obstacle;
    if (this.position === undefined) return "opening";
    if (this.inflight !== undefined && this.buffer !== undefined) return "awaiting-with-buffer";
    return this.inflight !== undefined || this.buffer !== undefined ? "awaiting" : "synchronised";
  }

  /** Whether `edit` is possible. */
  get editable(): boolean {
    return this.obstacle === undefined && this.position !== undefined;
  }

  /**
   * Where the others are in `text`, by connection. Kept right while people type; a new map each time. Cursors of people who
   * are gone, or who have said nothing for a minute, are not in it.
   */
  get cursors(): ReadonlyMap<string, RemoteCursor> {
    return this.carets.all;
  }

  /** Listens to an event. The returned function stops that. */
  on<Name extends keyof DocumentEvents>(name: Name, listener: (...values: DocumentEvents[Name]) => void): Off {
    return this.events.on(name, listener);
  }

  /**
   * Edits the text: at once here, soon everywhere. Works without a connection, too.
   *
   * @param op `[5, "text", -3]`, on `text`, in UTF-16 code units. An edit that touches half of a surrogate pair is
   * widened to the whole character; the text after it is the same.
   * @throws StoaError `NOT_OPEN` before the text is there; `INVALID_OPERATION` if the operation reaches beyond the text,
   * inserts a carriage return (line ends are `\n`), or would leave half of a surrogate pair. Nothing has changed then.
   */
  edit(op: Operation): void {
    if (!this.editable) throw new StoaError(this.obstacle === "closed" ? "CLOSED" : "NOT_OPEN", `the document is ${this.state}`);
    let mine = normalise(op);
    if (baseLength(mine) > this.current.length)
      throw new StoaError("INVALID_OPERATION", `the operation reaches ${baseLength(mine)}, the text ends at ${this.current.length}`);
    if (mine.some((component) => typeof component === "string" && component.includes("\r")))
      throw new StoaError("INVALID_OPERATION", "line ends are \\n: the operation inserts a carriage return");
    mine = widen(mine, this.current);
    if (isNoop(mine)) return;
    this.current = apply(this.current, mine);
    this.carets.edited(mine);
    this.buffer = this.buffer === undefined ? mine : compose(this.buffer, mine, "early");
    this.flush();
    this.announce();
  }

  /** Replaces the units `from` to `to` by `text`: `edit` for those who do not think in operations. */
  replace(from: number, to: number, text: string): void {
    this.edit(normalise([from, text, from - to]));
  }

  /**
   * Takes back the newest edit of this client that was not taken back yet, leaving what others wrote since. It comes back as
   * `remote`, since all windows see it in the same way. Waits until all edits have arrived.
   *
   * @returns rejects with `NOT_FOUND` when nothing is left to take back
   */
  async undo(): Promise<void> {
    await this.synchronised();
    const { room, client } = this.line;
    await this.ask({ do: "doc.undo", room, doc: this.name, client }, read.nothing);
  }

  /**
   * Reads the text as the front has it, without this client's pending edits.
   *
   * @param rev as it was at this revision; default the newest
   * @returns rejects with `STALE` when the revision is no longer kept
   */
  get(rev?: number): Promise<DocState> {
    return this.ask({ do: "doc.get", room: this.line.room, doc: this.name, rev }, read.document);
  }

  /**
   * Reads a page of the accepted operations after a revision: who changed what, and when.
   *
   * @param from the revision before the first one
   * @param to the last one; default the newest
   * @returns `outcome` is `changes`, and `through` the last revision of the page: go on from there while it is below `rev`.
   * Otherwise it says why there is no such history: `trimmed`, `rollback`, `reset`.
   */
  ops(from: number, to?: number): Promise<OperationsAnswer> {
    return this.ask({ do: "doc.ops", room: this.line.room, doc: this.name, from, to, epoch: this.epoch }, read.operations);
  }

  /**
   * Tells the others where this user is in `text`: at most every 50 ms, once all edits have arrived, and again after each
   * reconnect. It moves along with the text by itself. `null`: nowhere. With its `data` it has at most 1 KiB of JSON.
   */
  setCursor(cursor: CursorAt | null): void {
    this.carets.set(cursor);
  }

  /**
   * Where a position is in `text` now that somebody else has told, in the text of revision `rev` (a caret, say).
   *
   * @param side where it goes when text is inserted exactly there: `"left"` stays before it (carets), `"right"` goes behind
   * @returns `undefined` while the text here has not come as far as `rev`, and for a `rev` of long ago
   */
  locate(rev: number, position: number, side: Side = "left"): number | undefined {
    const behind = (this.position?.rev ?? -1) - rev;
    if (behind < 0 || behind > this.recent.length) return undefined;
    const over = behind === 0 ? [] : this.recent.slice(-behind);
    over.push(...this.pending());
    return Math.min(over.reduce((at, op) => transformPosition(at, op, side), position), this.current.length);
  }

  /** Stops following the document. Edits that were not yet acknowledged may be lost: wait for `synchronised` before. */
  close(): void {
    if (this.obstacle === "closed") return;
    // The front ends the cursor with it.
    if (this.lineState !== "cut") this.line.request({ do: "doc.close", room: this.line.room, doc: this.name }, read.nothing, () => undefined);
    this.stop("closed", new StoaError("CLOSED", "the document was closed"));
  }

  // From here on: for the room.

  /** What the client holds, for `positions`; `undefined` if it has never had the text. @internal */
  resumePosition(): string | undefined {
    return this.position && formatPosition(this.position);
  }

  /** The room is joined, and its answer did not speak of this document. @internal */
  open(): void {
    this.openFrom(this.position);
  }

  /** The line broke. @internal */
  cut(): void {
    clearTimeout(this.timer);
    this.lineState = "cut";
    this.held = undefined;
    if (this.inflight !== undefined) delete this.inflight.answer;
    this.carets.clear();
    this.carets.flush();
  }

  /** The room may not be joined. @internal */
  refuse(error: StoaError): void {
    if (this.obstacle !== "closed") this.stop("refused", error);
  }

  /** The stream was deleted or replaced. @internal */
  wasReset(): void {
    if (this.lineState !== "cut") this.openFrom(this.position);
  }

  /** The front's word on where this document stands. @internal */
  adopt(part: StreamPart): void {
    if (this.obstacle === "closed") return;
    this.held = undefined;
    if (part.outcome === "missing") return this.isMissing();
    this.obstacle = undefined;
    // Otherwise it is the answer to a question of this client, which had its reasons.
    const unasked = this.lineState === "live";
    this.lineState = "live";
    if (part.outcome === "changes") {
      for (const event of part.events) this.receive(event);
      if (this.lineState !== "live") return;
      // Without an event the epoch may have changed all the same; if the revision did, something was not understood.
      if (this.position?.rev !== part.rev) return this.heal();
      this.position = { epoch: part.epoch, rev: part.rev };
      this.carets.adopt(part.cursors);
      this.resend();
    } else if (unasked && part.epoch === this.position?.epoch && part.rev < this.position.rev) {
      // A reply told of more than this snapshot, and overtook it: the events after it are known or still to come.
      this.resend();
    } else {
      this.adoptSnapshot({ epoch: part.epoch, rev: part.rev }, part.content ?? "", part.cursors);
      if (part.because === "rollback") this.events.emit("lost", part.history_end);
    }
    this.announce();
  }

  /** A durable event of this stream. @internal */
  receive(event: DurableEvent): void {
    if (this.obstacle === "missing" && event.event === "doc.created") return this.openFrom(undefined);
    if (this.lineState !== "live" || this.position === undefined) return;
    if (this.held !== undefined) return void this.held.events.push(event);
    const order = orderOf(this.position, event);
    if (order === "old") return;
    if (order === "gap") return this.openFrom(this.position);
    const position = { epoch: event.epoch, rev: event.rev };
    if (event.event === "doc.applied") {
      const own = this.inflight !== undefined && event.client === this.line.client && event.seq === this.inflight.seq;
      if (own) this.acknowledge(event.op, position);
      else this.remote(event.op, position, event.user);
    } else if (event.event === "doc.created") {
      this.position = position;
      this.recent = [];
    } else return this.heal();
    this.settle();
    this.announce();
  }

  /** People came, moved, went in this text. @internal */
  receiveCursors(event: CursorsEvent): void {
    if (this.lineState !== "live" || this.position === undefined) return;
    if (this.held !== undefined) return void this.held.told.push(event);
    this.carets.receive(event);
    this.announce();
  }

  /** The operations that lead from base to text. */
  private pending(): Operation[] {
    const pending = this.inflight === undefined ? [] : [this.inflight.op];
    if (this.buffer !== undefined) pending.push(this.buffer);
    return pending;
  }

  private ask<T>(command: Command, reader: (ok: unknown) => T): Promise<T> {
    return new Promise((resolve, reject) =>
      this.line.request(command, reader, (answer) => ("ok" in answer ? resolve(answer.ok) : reject(answer.error))),
    );
  }

  private tellCursor(cursor: CursorAt | null, rev: number): void {
    if (this.lineState !== "live") return;
    // Ephemeral: one that is refused is told again soon, and not worth a word.
    this.line.request({ do: "doc.cursor", room: this.line.room, doc: this.name, rev, cursor }, read.nothing, () => undefined);
  }

  private synchronised(): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.obstacle !== undefined) reject(new StoaError(this.obstacle === "closed" ? "CLOSED" : "NOT_OPEN", `the document is ${this.obstacle}`));
        else if (this.state === "synchronised") resolve();
        else return;
        off();
      };
      const off = this.on("state", look);
      look();
    });
  }

  private openFrom(position: Position | undefined): void {
    clearTimeout(this.timer);
    this.lineState = "opening";
    this.held = undefined;
    if (this.inflight !== undefined) delete this.inflight.answer;
    const command: Command = {
      do: "doc.open",
      room: this.line.room,
      doc: this.name,
      position: position && formatPosition(position),
      create: this.options.create === undefined ? undefined : { type: "text", content: this.options.create },
    };
    this.line.request(command, read.stream, (answer) => {
      if (this.lineState !== "opening") return;
      if ("ok" in answer) return this.adopt(answer.ok);
      const { error } = answer;
      if (error.code === "OFFLINE" || error.code === "CLOSED") return;
      if (error.code === "NOT_JOINED") return this.line.rejoin();
      if (error.retry) this.later(() => this.openFrom(position), error);
      else if (position !== undefined && (error.code === "ROLLBACK" || error.code === "RESET")) this.heal();
      else this.stop("refused", error);
    });
  }

  /** Nothing here can be trusted against the front's text: takes a snapshot and rebases what is pending. */
  private heal(): void {
    this.lineState = "opening";
    // The first time at once; if that does not help, ever slower.
    if (this.failures === 0) {
      this.failures = 1;
      this.openFrom(undefined);
    } else this.later(() => this.openFrom(undefined));
  }

  private isMissing(): void {
    // The answer to a resumed join does not create: only `doc.open` does.
    if (this.options.create !== undefined && this.lineState !== "opening") return this.openFrom(undefined);
    this.lineState = "live";
    this.obstacle = "missing";
    this.carets.clear();
    this.settleOpened.reject(new StoaError("NOT_FOUND", `there is no document ${this.name} in ${this.line.room}`));
    this.announce();
  }

  private adoptSnapshot(position: Position, content: string, cursors: readonly Cursor[]): void {
    if (this.position === undefined) {
      this.position = position;
      this.base = this.current = content;
      this.carets.adopt(cursors);
      this.failures = 0;
      this.settleOpened.resolve();
      this.events.emit("reset", content);
      return;
    }
    const difference = this.differenceTo(content);
    const inflight = this.inflight;
    if (inflight === undefined || isNoop(transform(inflight.op, difference, "left"))) {
      this.rebase({ position, content, cursors }, difference);
      return this.resend();
    }
    // The operation in flight may be part of the snapshot. Only the front knows: the same identity is answered as before
    // if it was accepted, and accepted on top of the snapshot if not. Until then the text stays as it is.
    this.held = { position, content, difference, events: [], cursors, told: [] };
    this.submit(position, content.length, transform(inflight.op, difference, "left"));
  }

  /** What turns base into `content`. A base that cannot be compared is replaced as a whole. */
  private differenceTo(content: string): Operation {
    try {
      return fromDiff(this.base, content);
    } catch {
      return normalise([content, -this.base.length]);
    }
  }

  /** Takes the snapshot as one accepted operation. */
  private rebase({ position, content, cursors }: Pick<Held, "position" | "content" | "cursors">, difference: Operation): void {
    this.position = position;
    this.recent = [];
    this.overPending(difference, undefined);
    this.base = content;
    this.carets.adopt(cursors);
  }

  private remote(op: Operation, position: Position, user: string | undefined): void {
    try {
      this.base = apply(this.base, op);
    } catch {
      return this.heal();
    }
    this.moveTo(position, op, user);
    this.overPending(op, user);
  }

  private moveTo(position: Position, op: Operation, user: string | undefined): void {
    this.position = position;
    this.recent.push(op);
    if (this.recent.length > RECENT_MAX) this.recent.shift();
    this.carets.moved(op, user);
  }

  /** Moves the pending operations over an accepted one, and shows it. */
  private overPending(op: Operation, user: string | undefined): void {
    let shown = op;
    if (this.inflight !== undefined) {
      const mine = this.inflight.op;
      this.inflight.op = transform(mine, shown, "left");
      shown = transform(shown, mine, "right");
    }
    if (this.buffer !== undefined) {
      const mine = this.buffer;
      this.buffer = transform(mine, shown, "left");
      shown = transform(shown, mine, "right");
      if (this.buffer.length === 0) this.buffer = undefined;
    }
    this.show(shown, user);
  }

  private show(op: Operation, user: string | undefined): void {
    if (isNoop(op)) return;
    this.current = apply(this.current, op);
    this.carets.shown(op);
    this.events.emit("remote", op, { user });
  }

  /** The operation in flight was accepted as `op`, which made `position`. */
  private acknowledge(op: Operation, position: Position): void {
    const inflight = this.inflight as Inflight;
    const agreed = sameOperation(inflight.op, op);
    this.base = apply(this.base, inflight.op);
    this.moveTo(position, inflight.op, undefined);
    this.inflight = undefined;
    // Both sides transform by the same rules over the same operations. If they still differ, the texts do.
    if (!agreed) return this.heal();
    this.failures = 0;
    this.flush();
  }

  /** Takes the operation in flight back from the text: it was refused, or is part of the base already. */
  private withdraw(): void {
    const inflight = this.inflight as Inflight;
    this.inflight = undefined;
    let undo = invert(inflight.op, this.base);
    if (this.buffer !== undefined) {
      const mine = this.buffer;
      this.buffer = transform(mine, undo, "left");
      undo = transform(undo, mine, "right");
      if (this.buffer.length === 0) this.buffer = undefined;
    }
    this.show(undo, undefined);
    this.flush();
  }

  /** Sends the next operation if none is on its way. */
  private flush(): void {
    if (this.lineState !== "live" || this.inflight !== undefined || this.buffer === undefined) return;
    const { first, rest } = split(this.buffer, COMPONENTS_MAX, INSERT_UNITS_MAX);
    this.buffer = rest;
    this.inflight = { seq: this.line.nextSeq(), op: first };
    this.resend();
  }

  /** Sends the operation in flight (again, with the same identity), or the next one. */
  private resend(): void {
    if (this.lineState !== "live" || this.held !== undefined || this.position === undefined) return;
    // Others deleted all that it touched: wherever it is now, it changes nothing.
    if (this.inflight !== undefined && isNoop(this.inflight.op)) this.inflight = undefined;
    if (this.inflight === undefined) return this.flush();
    this.submit(this.position, this.base.length, this.inflight.op);
  }

  private submit(base: Position, len: number, op: Operation): void {
    const inflight = this.inflight as Inflight;
    const { seq } = inflight;
    const attempt = ++this.attempts;
    delete inflight.answer;
    const { room, client } = this.line;
    const command: Command = { do: "doc.submit", room, doc: this.name, rev: base.rev, epoch: base.epoch, op, len, client, seq };
    this.line.request(command, read.submitted, (answer) => {
      // Its own event may have come first, or the line may have been cut and resumed.
      if (this.lineState !== "live" || this.inflight?.seq !== seq) return;
      // The answer to an earlier attempt may speak of a history that is no more; the last attempt's knows both.
      if (this.attempts !== attempt) return;
      if ("ok" in answer) this.accepted(answer.ok, base.rev);
      else this.notAccepted(answer.error);
      this.announce();
    });
  }

  private accepted(answer: DocSubmitted, baseRev: number): void {
    const inflight = this.inflight as Inflight;
    const held = this.held;
    if (held !== undefined) {
      this.held = undefined;
      if (answer.duplicate && answer.rev <= held.position.rev) {
        // It is part of the snapshot: so it is part of what the snapshot is compared with.
        this.base = apply(this.base, inflight.op);
        this.inflight = undefined;
        this.rebase(held, fromDiff(this.base, held.content));
      } else this.rebase(held, held.difference);
      for (const event of held.told) this.carets.receive(event);
      for (const event of held.events) this.receive(event);
      if (this.inflight !== inflight) return this.flush();
    }
    // The reply overtook events that it tells of: what they say is in it.
    const own = isNoop(answer.op) ? 0 : 1;
    if (!answer.duplicate && baseRev + answer.concurrent.length + own === answer.rev) {
      answer.concurrent.forEach((op, i) => {
        const rev = baseRev + 1 + i;
        if (rev === (this.position as Position).rev + 1 && this.lineState === "live") this.remote(op, { epoch: answer.epoch, rev }, undefined);
      });
    }
    // One of these showed a hole: the document opens again, and the operation is sent again on what comes then.
    if (this.lineState !== "live") return;
    inflight.answer = answer;
    this.settle();
  }

  /** Concludes an operation whose reply came before the events that lead up to it. */
  private settle(): void {
    const inflight = this.inflight;
    const answer = inflight?.answer;
    if (inflight === undefined || answer === undefined || this.position === undefined || this.lineState !== "live") return;
    const { rev } = this.position;
    if (isNoop(answer.op)) {
      if (rev < answer.rev) return;
      // It became empty on its way and made no revision.
      if (isNoop(inflight.op)) this.inflight = undefined;
      else this.withdraw();
      this.failures = 0;
      this.flush();
    } else if (rev + 1 === answer.rev) this.acknowledge(answer.op, { epoch: answer.epoch, rev: answer.rev });
    // Its event went by under another name: it is in the base, and here once more.
    else if (rev >= answer.rev) this.withdraw();
  }

  private notAccepted(error: StoaError): void {
    const inflight = this.inflight as Inflight;
    switch (error.code) {
      case "OFFLINE":
      case "CLOSED":
        return;
      case "STALE":
      case "AHEAD":
      case "DESYNC":
      case "ROLLBACK":
      case "RESET":
        return this.heal();
      case "NOT_FOUND":
        return this.openFrom(this.position);
      case "NOT_JOINED":
        return this.line.rejoin();
      case "FORGOTTEN":
        // It was accepted so long ago that the front has forgotten where: the snapshot has it.
        this.held = undefined;
        this.base = apply(this.base, inflight.op);
        this.inflight = undefined;
        return this.heal();
    }
    if (error.retry) return this.later(() => (this.held === undefined ? this.resend() : this.openFrom(undefined)), error);
    const held = this.held;
    this.held = undefined;
    const { op } = inflight;
    this.withdraw();
    if (held !== undefined) this.heal();
    this.events.emit("refused", error, op);
    this.line.report(error);
  }

  private later(then: () => void, error?: StoaError): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (this.lineState !== "cut") then();
    }, retryDelayMs(this.failures++, error));
  }

  private stop(obstacle: "refused" | "closed", error: StoaError): void {
    clearTimeout(this.timer);
    this.lineState = "cut";
    this.held = undefined;
    this.obstacle = obstacle;
    this.carets.clear();
    this.settleOpened.reject(error);
    if (obstacle === "refused") this.line.report(error);
    this.announce();
  }

  private announce(): void {
    const state = this.state;
    if (state !== this.announced) {
      this.announced = state;
      this.events.emit("state", state);
    }
    this.carets.flush();
  }
}
