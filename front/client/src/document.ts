/**
 * A shared text and its line to the front. What is pending on which text is `copy.ts`; here is when to ask, send and send
 * again.
 *
 * What must always hold: an operation keeps its identity (client, seq) from the first attempt to send it until its end is
 * known; only that, an explicit refusal or `close` takes it from the pending ones. An answer counts if it is the answer to
 * the last attempt: earlier ones may speak of a history that is no more.
 */
import { Copy } from "./copy.js";
import { Cursors, type RemoteCursor } from "./cursors.js";
import { Emitter, type Off } from "./emitter.js";
import { StoaError } from "./errors.js";
import type { CursorAt, DocState, JsonObject } from "./frames.js";
import { read, formatPosition, type Command, type CursorsEvent, type DurableEvent, type OperationsAnswer, type Position, type StreamPart, type SubmitAnswer } from "./wire.js";
import { baseLength, isNoop, normalise, transformPosition, widen, type Operation, type Side } from "./ot/index.js";
import { retryDelayMs } from "./retry.js";
import { orderOf } from "./stream.js";
import type { Answer } from "./stoa.js";

/**
 * `opening`: the text has not come yet. `synchronised`, `awaiting`, `awaiting-with-buffer`: see `copy.ts`;
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

/** A shared text; get one from `room.doc(name)`. */
export class Document {
  /** Its name inside the room. */
  readonly name: string;
  /** Resolves when the text is there, rejects when it may not be opened, is missing, or is closed before. */
  readonly opened: Promise<void>;

  private readonly events = new Emitter<DocumentEvents>();
  private settleOpened!: { resolve: () => void; reject: (error: StoaError) => void };
  /** `undefined` until the text came for the first time. */
  private copy: Copy | undefined;
  /** `cut`: nothing can be sent. `opening`: an answer is awaited, and events count only after it. `live`: events count. */
  private lineState: "cut" | "opening" | "live" = "cut";
  /** Why the document has no (current) text. */
  private obstacle: "missing" | "refused" | "closed" | undefined;
  private announced: DocumentState = "opening";
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Failures in a row; decides the next delay. */
  private failures = 0;
  /** Count what was asked, since only the newest question's answer counts. */
  private opens = 0;
  private attempts = 0;
  /** Where the front says that it accepted the operation in flight, while the copy is not there yet. */
  private accepted: Position | "forgotten" | undefined;
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
      position: () => this.copy?.position,
      recent: () => this.copy?.recent ?? [],
      pending: () => this.copy?.pending ?? [],
      length: () => this.text.length,
      isSynchronised: () => this.lineState === "live" && this.state === "synchronised",
      connection: () => line.connection(),
      dataOf: (user) => line.dataOf(user),
      tell: (cursor, rev) => this.tellCursor(cursor, rev),
      changed: () => this.events.emit("cursors"),
    });
  }

  /** The text, with this client's own edits. Empty until opened. */
  get text(): string {
    return this.copy?.text ?? "";
  }

  /** The revision that the text is based on; `undefined` until opened. */
  get rev(): number | undefined {
    return this.copy?.position.rev;
  }

  /** The history that `rev` counts in; `undefined` until opened. */
  get epoch(): string | undefined {
    return this.copy?.position.epoch;
  }

  /** Where the document stands: see {@link DocumentState}. */
  get state(): DocumentState {
    if (this.obstacle !== undefined) return this.obstacle;
    if (this.copy === undefined) return "opening";
    const { inflight, buffer } = this.copy;
    if (inflight !== undefined && buffer !== undefined) return "awaiting-with-buffer";
    return inflight !== undefined || buffer !== undefined ? "awaiting" : "synchronised";
  }

  /** Whether `edit` is possible. */
  get editable(): boolean {
    return this.obstacle === undefined && this.copy !== undefined;
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
    const { copy } = this;
    if (copy === undefined || !this.editable)
      throw new StoaError(this.obstacle === "closed" ? "CLOSED" : "NOT_OPEN", `the document is ${this.state}`);
    let mine = normalise(op);
    if (baseLength(mine) > copy.text.length)
      throw new StoaError("INVALID_OPERATION", `the operation reaches ${baseLength(mine)}, the text ends at ${copy.text.length}`);
    if (mine.some((component) => typeof component === "string" && component.includes("\r")))
      throw new StoaError("INVALID_OPERATION", "line ends are \\n: the operation inserts a carriage return");
    mine = widen(mine, copy.text);
    if (isNoop(mine)) return;
    copy.edit(mine);
    this.carets.edited(mine);
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
    await this.request({ do: "doc.undo", room, doc: this.name, client }, read.nothing);
  }

  /**
   * Reads the text as the front has it, without this client's pending edits.
   *
   * @param rev as it was at this revision; default the newest
   * @returns rejects with `STALE` when the revision is no longer kept
   */
  get(rev?: number): Promise<DocState> {
    return this.request({ do: "doc.get", room: this.line.room, doc: this.name, rev }, read.document);
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
    return this.request({ do: "doc.ops", room: this.line.room, doc: this.name, from, to, epoch: this.epoch }, read.operations);
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
    const { copy } = this;
    const behind = (copy?.position.rev ?? -1) - rev;
    if (copy === undefined || behind < 0 || behind > copy.recent.length) return undefined;
    const over = behind === 0 ? [] : copy.recent.slice(-behind);
    over.push(...copy.pending);
    return Math.min(over.reduce((at, op) => transformPosition(at, op, side), position), copy.text.length);
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
    return this.copy && formatPosition(this.copy.position);
  }

  /** The room is joined, and its answer did not speak of this document. @internal */
  open(): void {
    this.ask("position");
  }

  /** The line broke. @internal */
  cut(): void {
    clearTimeout(this.timer);
    this.lineState = "cut";
    this.carets.clear();
    this.carets.flush();
  }

  /** The room may not be joined. @internal */
  refuse(error: StoaError): void {
    if (this.obstacle !== "closed") this.stop("refused", error);
  }

  /** The stream was deleted or replaced. @internal */
  wasReset(): void {
    if (this.lineState !== "cut") this.ask("position");
  }

  /** The front's word on where this document stands, in the answer to a join, or unasked. @internal */
  adopt(part: StreamPart): void {
    // While `doc.open` is under way its answer counts, which the front makes last or has made first.
    if (this.obstacle === "closed" || this.lineState === "opening") return;
    // Only `doc.open` creates.
    if (part.outcome === "missing" && this.options.create !== undefined) return this.ask("position");
    this.follow(part);
  }

  /** A durable event of this stream. @internal */
  receive(event: DurableEvent): void {
    if (this.obstacle === "missing" && event.event === "doc.created") return this.ask("text");
    const { copy } = this;
    if (this.lineState !== "live" || copy === undefined) return;
    const order = orderOf(copy.position, event);
    if (order === "old") return;
    if (order === "gap") return this.ask("position");
    const position = { epoch: event.epoch, rev: event.rev };
    if (event.event === "doc.applied") {
      const { inflight } = copy;
      const own = inflight !== undefined && event.client === inflight.client && event.seq === inflight.seq;
      if (!this.advance(copy, event.op, position, own, event.user)) return;
    } else if (event.event === "doc.created") copy.moveTo(position);
    else return this.heal("text");
    this.settle();
    this.announce();
  }

  /** People came, moved, went in this text. @internal */
  receiveCursors(event: CursorsEvent): void {
    if (this.lineState !== "live" || this.copy === undefined) return;
    this.carets.receive(event);
    this.announce();
  }

  private request<T>(command: Command, reader: (ok: unknown) => T): Promise<T> {
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

  /** Opens the document (again): to learn what came after the copy's position, or for the whole text. */
  private ask(what: "position" | "text"): void {
    clearTimeout(this.timer);
    this.lineState = "opening";
    const asked = ++this.opens;
    const command: Command = {
      do: "doc.open",
      room: this.line.room,
      doc: this.name,
      position: what === "position" ? this.resumePosition() : undefined,
      create: this.options.create === undefined ? undefined : { type: "text", content: this.options.create },
    };
    this.line.request(command, read.stream, (answer) => {
      if (this.lineState !== "opening" || this.opens !== asked) return;
      if ("ok" in answer) return this.follow(answer.ok);
      const { error } = answer;
      if (error.code === "OFFLINE" || error.code === "CLOSED") return;
      if (error.code === "NOT_JOINED") this.rejoin();
      else if (error.retry) this.later(() => this.ask(what), error);
      else if (what === "position" && (error.code === "ROLLBACK" || error.code === "RESET")) this.heal("text");
      else this.stop("refused", error);
    });
  }

  /** The copy is not what the front has. The first time it is asked at once; if that does not help, ever slower. */
  private heal(what: "position" | "text"): void {
    this.lineState = "opening";
    this.opens += 1;
    if (this.failures > 0) return this.later(() => this.ask(what));
    this.failures = 1;
    this.ask(what);
  }

  /** The front does not know that the room is joined. The answer to the join speaks of this document. */
  private rejoin(): void {
    this.lineState = "cut";
    this.line.rejoin();
  }

  private follow(part: StreamPart): void {
    if (part.outcome === "missing") return this.isMissing();
    const wasLive = this.lineState === "live";
    this.lineState = "live";
    this.obstacle = undefined;
    const position = { epoch: part.epoch, rev: part.rev };
    const { copy, attempts } = this;
    if (part.outcome === "changes") {
      for (const event of part.events) this.receive(event);
      if (this.lineState !== "live") return;
      // A revision that was not reached means that something was not understood.
      if (copy === undefined || copy.position.rev < part.rev) return this.heal("text");
      // Without an event the epoch may have changed all the same.
      if (copy.position.rev === part.rev) copy.moveTo(position);
      this.carets.adopt(part.cursors);
    } else if (copy === undefined) this.start(part.content ?? "", position);
    // A reply told of more than this snapshot, and overtook it: the events after it are known or still to come.
    else if (wasLive && part.epoch === copy.position.epoch && part.rev <= copy.position.rev) return;
    else copy.replace(part.content ?? "", position);
    if (part.outcome === "snapshot") {
      this.carets.adopt(part.cursors);
      if (part.because === "rollback") this.events.emit("lost", part.history_end);
    }
    if (this.accepted === "forgotten") copy?.conclude();
    // One of the events may have made way for the next operation already.
    if (this.attempts === attempts) this.resend();
    this.announce();
  }

  private start(base: string, position: Position): void {
    this.copy = new Copy(
      { base, position, began: position.rev },
      {
        moved: (op, user) => this.carets.moved(op, user),
        shown: (op, user) => {
          this.carets.shown(op);
          this.events.emit("remote", op, { user });
        },
      },
    );
    this.failures = 0;
    this.settleOpened.resolve();
    this.events.emit("reset", base);
  }

  private isMissing(): void {
    this.lineState = "live";
    this.obstacle = "missing";
    this.carets.clear();
    this.settleOpened.reject(new StoaError("NOT_FOUND", `there is no document ${this.name} in ${this.line.room}`));
    this.announce();
  }

  private advance(copy: Copy, op: Operation, position: Position, own: boolean, user?: string): boolean {
    try {
      copy.advance(op, position, own, user);
    } catch {
      this.heal("text");
      return false;
    }
    if (own) this.concluded();
    return true;
  }

  /** Sends the next operation if none is on its way. */
  private flush(): void {
    const { copy } = this;
    if (this.lineState !== "live" || copy?.inflight !== undefined || copy?.buffer === undefined) return;
    copy.launch(this.line.client, this.line.nextSeq(), COMPONENTS_MAX, INSERT_UNITS_MAX);
    this.resend();
  }

  /** Sends the operation in flight (again, with the same identity), or the next one. */
  private resend(): void {
    const { copy } = this;
    this.accepted = undefined;
    if (this.lineState !== "live" || copy === undefined) return;
    if (copy.inflight === undefined) return this.flush();
    const op = copy.outgoing;
    if (isNoop(op)) {
      // Others deleted all that it touched: wherever it is now, it changes nothing.
      copy.conclude();
      return this.flush();
    }
    const { client, seq } = copy.inflight;
    const { rev, epoch } = copy.position;
    const attempt = ++this.attempts;
    const { room } = this.line;
    const command: Command = { do: "doc.submit", room, doc: this.name, rev, epoch, op, len: copy.base.length, client, seq };
    this.line.request(command, read.submitted, (answer) => {
      // Its own event may have come first, or the line may have been cut and resumed.
      if (this.lineState !== "live" || this.attempts !== attempt || copy.inflight?.seq !== seq) return;
      if ("ok" in answer) this.wasAccepted(copy, answer.ok, rev);
      else this.notAccepted(copy, answer.error);
      this.announce();
    });
  }

  private wasAccepted(copy: Copy, answer: SubmitAnswer, baseRev: number): void {
    const { epoch, rev, op, concurrent } = answer;
    const { attempts } = this;
    if (!answer.duplicate && op !== undefined && epoch === copy.position.epoch) {
      // The reply may have overtaken events: what they say is in it.
      const accepted = isNoop(op) ? concurrent : [...concurrent, op];
      const isWhole = baseRev + accepted.length === rev;
      for (const [i, it] of isWhole ? accepted.entries() : []) {
        const next = { epoch, rev: baseRev + 1 + i };
        if (next.rev === copy.position.rev + 1 && !this.advance(copy, it, next, it === op)) return;
      }
    }
    // It may have been concluded, and the next one be on its way.
    if (this.attempts !== attempts || copy.inflight === undefined) return;
    this.accepted = { epoch, rev };
    this.settle();
  }

  /** Concludes an operation whose reply came before the events that lead up to it. */
  private settle(): void {
    const { accepted, copy } = this;
    if (accepted === undefined || accepted === "forgotten" || copy?.inflight === undefined) return;
    switch (copy.standing(accepted)) {
      case "held":
        // It made no revision, or its event went by under another name.
        copy.conclude();
        return this.concluded();
      case "ahead":
        return;
      case "lost":
        return this.later(() => this.resend());
      case "elsewhere":
        return this.heal("position");
    }
  }

  private concluded(): void {
    this.accepted = undefined;
    this.failures = 0;
    this.flush();
  }

  private notAccepted(copy: Copy, error: StoaError): void {
    switch (error.code) {
      case "OFFLINE":
      case "CLOSED":
        return;
      case "STALE":
      case "AHEAD":
      case "DESYNC":
        return this.heal("text");
      case "ROLLBACK":
      case "RESET":
      case "NOT_FOUND":
        return this.heal("position");
      case "NOT_JOINED":
        return this.rejoin();
      case "FORGOTTEN":
        // It was accepted so long ago that the front has forgotten where: whatever is the front's text now, it is in it.
        this.heal("position");
        this.accepted = "forgotten";
        return;
    }
    if (error.retry) return this.later(() => this.resend(), error);
    const op = copy.inflight?.op ?? [];
    copy.conclude();
    this.flush();
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
