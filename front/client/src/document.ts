/** A shared text, as an application sees it. What is pending on which text is `copy.ts`, its line to the front is `sync.ts`. */
import { Cursors, type RemoteCursor } from "./cursors.js";
import { Emitter, type Off } from "./emitter.js";
import { StoaError } from "./errors.js";
import type { CursorAt, DocDescription, DocState, JsonObject } from "./frames.js";
import { fromLineDiff, isNoop, normalise, transformPosition, widen, type Operation, type Side } from "./ot/index.js";
import type { Slot } from "./storage.js";
import { notOpen, Sync, type SyncLine } from "./sync.js";
import * as read from "./wire/answers.js";
import * as readOf from "./wire/documents.js";
import type { Command, CursorsEvent, DurableEvent, OperationsAnswer, Reader, StreamPart } from "./wire/index.js";

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
  /** The lines are records, none of which changes in part. @internal */
  records?: true;
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
  /** The text came for the first time, from the front or with unacknowledged edits from the storage: show it. Later changes fire `remote`. */
  reset: [text: string];
  /** `text` changed, whoever changed it: for what shows the text and does not edit it. */
  change: [text: string];
  /** `state` changed, or `editable`. */
  state: [state: DocumentState];
  /**
   * A failover lost history that this client had seen: what was accepted after revision `historyEnd` is gone. The difference
   * comes as `remote`. Edits that were not acknowledged are kept.
   *
   * `again`: own edits that are gone stay in `text` and are made again, once, by themselves; those of others come back as their
   * clients do the same. An undo of an edit that is not gone, and a `restore`, are not done again. `false`: more was lost than is
   * kept for that (1,000 operations, 256 Ki units of them, since the text was loaded), and own edits are gone, too.
   */
  lost: [historyEnd: number | undefined, again: boolean];
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
export interface DocumentLine extends SyncLine {
  /** The id of this connection, whose cursor is not shown. */
  connection(): string | undefined;
  /** What a user says about themselves in the room. */
  dataOf(user: string): JsonObject;
}

/** A shared text; get one from `room.doc(name)`. */
export class Document {
  /** Its name inside the room. */
  readonly name: string;
  /** Resolves when the text is there, rejects when it may not be opened, is missing, or is closed before. */
  readonly opened: Promise<void>;

  private readonly events = new Emitter<DocumentEvents>();
  private settleOpened!: { resolve: () => void; reject: (error: StoaError) => void };
  private announced: DocumentState = "opening";
  private wasEditable = false;
  private readonly sync: Sync;
  private readonly carets: Cursors;

  /** @internal */
  constructor(
    private readonly line: DocumentLine,
    name: string,
    options: DocumentOptions,
    slot: Slot | undefined,
  ) {
    this.name = name;
    this.opened = new Promise((resolve, reject) => (this.settleOpened = { resolve, reject }));
    // Whoever does not wait for it shall not be told of an unhandled rejection.
    this.opened.catch(() => undefined);
    this.sync = new Sync(line, name, options.create, {
      started: (text) => {
        this.settleOpened.resolve();
        this.events.emit("reset", text);
        this.events.emit("change", text);
      },
      moved: (op, user) => this.carets.moved(op, user),
      shown: (op, user) => {
        this.carets.shown(op);
        this.events.emit("remote", op, { user });
        this.events.emit("change", this.text);
      },
      cursors: (cursors) => this.carets.adopt(cursors),
      stopped: (error) => {
        this.carets.clear();
        this.settleOpened.reject(error);
        if (this.state === "refused") line.report(error);
      },
      lost: (...what) => this.events.emit("lost", ...what),
      refused: (error, op) => {
        this.events.emit("refused", error, op);
        line.report(error);
      },
      announce: () => this.announce(),
      ...(options.records === true && { difference: fromLineDiff }),
    }, slot);
    this.carets = new Cursors({
      position: () => this.sync.copy?.position,
      recent: () => this.sync.copy?.recent ?? [],
      pending: () => this.sync.copy?.pending ?? [],
      length: () => this.text.length,
      isSynchronised: () => this.sync.live && this.state === "synchronised",
      connection: () => line.connection(),
      dataOf: (user) => line.dataOf(user),
      tell: (cursor, rev, done) => this.tellCursor(cursor, rev, done),
      changed: () => this.events.emit("cursors"),
    });
    this.sync.restore();
  }

  /** The text, with this client's own edits. Empty until opened. */
  get text(): string {
    return this.sync.copy?.text ?? "";
  }

  /** The revision that the text is based on; `undefined` until opened. */
  get rev(): number | undefined {
    return this.sync.copy?.position.rev;
  }

  /** The history that `rev` counts in; `undefined` until opened. */
  get epoch(): string | undefined {
    return this.sync.copy?.position.epoch;
  }

  /** Where the document stands: see {@link DocumentState}. */
  get state(): DocumentState {
    if (this.sync.obstacle !== undefined) return this.sync.obstacle;
    if (this.sync.copy === undefined) return "opening";
    const { inflight, buffer } = this.sync.copy;
    if (inflight !== undefined && buffer !== undefined) return "awaiting-with-buffer";
    return inflight !== undefined || buffer !== undefined ? "awaiting" : "synchronised";
  }

  /** Whether `edit` is possible: the text is there, and this user may edit in the room. When it changes, `state` fires. */
  get editable(): boolean {
    return this.sync.obstacle === undefined && this.sync.copy !== undefined && this.line.mayEdit();
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
   * @throws StoaError `NOT_OPEN` before the text is there; `PERMISSION_DENIED` if this user may not edit in the room;
   * `INVALID_OPERATION` if the operation reaches beyond the text,
   * inserts a carriage return (line ends are `\n`), or would leave half of a surrogate pair. Nothing has changed then.
   */
  edit(op: Operation): void {
    const { copy } = this.sync;
    if (copy === undefined || this.sync.obstacle !== undefined) throw notOpen(this.state);
    if (!this.line.mayEdit()) throw new StoaError("PERMISSION_DENIED", "you may not edit in this room");
    let mine = normalise(op);
    if (mine.some((component) => typeof component === "string" && component.includes("\r")))
      throw new StoaError("INVALID_OPERATION", "line ends are \\n: the operation inserts a carriage return");
    mine = widen(mine, copy.text);
    if (isNoop(mine)) return;
    this.sync.edit(mine);
    this.carets.edited(mine);
    this.events.emit("change", this.text);
    this.announce();
  }

  /** Replaces the units `from` to `to` by `text`: `edit` for those who do not think in operations. */
  replace(from: number, to: number, text: string): void {
    this.edit(normalise([from, text, from - to]));
  }

  /**
   * Takes back the newest edit of this client that was not taken back yet, leaving what others wrote since. It comes back as
   * `remote`, since all windows see it in the same way. It takes its turn after the edits before it, waits for the line, and
   * is done once, however often it has to be sent; but it does not survive a reload. What was made again after a failover is
   * taken back in one (see `lost`).
   *
   * @returns resolves when it is done; rejects with `NOT_FOUND` when nothing is left to take back, with `NOT_OPEN` or
   * `CLOSED`, and with `QUEUE_FULL` when 32 of these wait already
   */
  undo(): Promise<void> {
    return this.sync.write({ do: "doc.undo" });
  }

  /**
   * Keeps the text of now under a name, own edits included: it waits until these have arrived. However far the history is
   * trimmed, `restore` brings that text back. A tag of this name is replaced.
   *
   * @param name 1 to 200 bytes, as the name of a room
   * @param options.drop `true` forgets the tag instead
   * @returns rejects with `OFFLINE` (it is not kept for later), with `FULL` or `TOO_LARGE` beyond the bounds on tags, and, where
   * one is to be dropped, with `NOT_FOUND`. `info` lists the tags
   */
  async tag(name: string, { drop = false }: { drop?: boolean } = {}): Promise<void> {
    if (!drop) await this.synchronised();
    await this.request({ do: "doc.tag", room: this.line.room, doc: this.name, name, drop: drop || undefined }, read.nothing);
  }

  /**
   * Makes the text what it was when the tag was set, by one edit that replaces what differs: it comes as `remote`, and `undo`
   * takes it back. It waits, and is done once, as `undo`.
   *
   * @returns resolves when it is done; rejects as `undo`, with `NOT_FOUND` if there is no such tag
   */
  restore(name: string): Promise<void> {
    return this.sync.write({ do: "doc.restore", name });
  }

  /** What the front holds of the document: lengths, revisions, tags. Rejects with `OFFLINE`, or `NOT_FOUND`. */
  info(): Promise<DocDescription> {
    return this.request({ do: "doc.info", room: this.line.room, doc: this.name }, readOf.description);
  }

  /**
   * Reads the text as the front has it, without this client's pending edits.
   *
   * @param rev as it was at this revision; default the newest
   * @returns rejects with `STALE` when the revision is no longer kept
   */
  get(rev?: number): Promise<DocState> {
    return this.request({ do: "doc.get", room: this.line.room, doc: this.name, rev }, readOf.document);
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
    return this.request({ do: "doc.ops", room: this.line.room, doc: this.name, from, to, epoch: this.epoch }, readOf.operations);
  }

  /**
   * Tells the others where this user is in `text`: at most every 50 ms, once all edits have arrived, and again after each
   * reconnect. It moves along with the text by itself. `null`: nowhere; one that rests for five minutes ends until it is set
   * again. With its `data` it has at most 1 KiB of JSON.
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
    const { copy } = this.sync;
    const behind = (copy?.position.rev ?? -1) - rev;
    if (copy === undefined || behind < 0 || behind > copy.recent.length) return undefined;
    const over = [...copy.recent.slice(copy.recent.length - behind).map(({ op }) => op), ...copy.pending];
    return Math.min(over.reduce((at, op) => transformPosition(at, op, side), position), copy.text.length);
  }

  /**
   * Stops following the document. Edits that were not yet acknowledged may be lost, or wait in the storage until the document is
   * opened again: wait for `synchronised` before.
   */
  close(): void {
    if (this.state === "closed") return;
    // The front ends the cursor with it.
    if (this.sync.asked) this.line.request({ do: "doc.close", room: this.line.room, doc: this.name }, read.nothing, () => undefined);
    this.sync.stop("closed", new StoaError("CLOSED", "the document was closed"));
  }

  // From here on: for the room.

  /** What the client holds, for `positions`; `undefined` if it has never had the text. @internal */
  resumePosition(): string | undefined {
    return this.sync.resumePosition();
  }

  /** The room is joined, and its answer did not speak of this document. @internal */
  open(): void {
    this.sync.open();
  }

  /** The line broke. @internal */
  cut(): void {
    this.sync.cut();
    this.carets.clear();
    this.carets.flush();
  }

  /** The page hides, and may never be shown again. @internal */
  hidden(): void {
    this.sync.hidden();
  }

  /** The room may not be joined. @internal */
  refuse(error: StoaError): void {
    if (this.state !== "closed") this.sync.stop("refused", error);
  }

  /** This user may do something else in the room than before. @internal */
  accessChanged(): void {
    this.announce();
  }

  /** The stream was deleted or replaced. @internal */
  wasReset(): void {
    this.sync.wasReset();
  }

  /** The front's word on where this document stands, in the answer to a join, or unasked. @internal */
  adopt(part: StreamPart): void {
    this.sync.adopt(part);
  }

  /** A durable event of this stream. @internal */
  receive(event: DurableEvent): void {
    this.sync.receive(event);
  }

  /** People came, moved, went in this text. @internal */
  receiveCursors(event: CursorsEvent): void {
    if (!this.sync.live || this.sync.copy === undefined) return;
    this.carets.receive(event);
    this.announce();
  }

  private request<T>(command: Command, reader: Reader<T>): Promise<T> {
    return new Promise((resolve, reject) =>
      this.line.request(command, reader, (answer) => ("ok" in answer ? resolve(answer.ok) : reject(answer.error))),
    );
  }

  private tellCursor(cursor: CursorAt | null, rev: number, done: (error?: StoaError) => void): void {
    if (!this.sync.live) return;
    // Ephemeral: one that is refused is told again soon, and not worth a word.
    const command: Command = { do: "doc.cursor", room: this.line.room, doc: this.name, rev, cursor };
    this.line.request(command, read.nothing, (answer) => done("error" in answer ? answer.error : undefined));
  }

  private synchronised(): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const { state } = this;
        if (state === "closed" || state === "missing" || state === "refused") reject(notOpen(state));
        else if (state === "synchronised") resolve();
        else return;
        off();
      };
      const off = this.on("state", look);
      look();
    });
  }

  private announce(): void {
    const { state, editable } = this;
    if (state !== this.announced || editable !== this.wasEditable) {
      this.announced = state;
      this.wasEditable = editable;
      this.events.emit("state", state);
    }
    this.carets.flush();
  }
}
