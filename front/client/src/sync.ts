/**
 * A shared text's line to the front: when to ask, to send and to send again. What is pending on which text is `copy.ts`.
 *
 * What must always hold: an operation keeps its identity (client, seq) from the first attempt to send it until its end is
 * known; only that, or an explicit refusal, takes it from the pending ones. An answer counts if it is the answer to the last
 * attempt: earlier ones may speak of a history that is no more.
 */
import { Copy, type CopyHooks, type Writer } from "./copy.js";
import { StoaError } from "./errors.js";
import type { Cursor } from "./frames.js";
import { Keeping } from "./keeping.js";
import { isNoop, type Operation } from "./ot/index.js";
import { retryDelayMs } from "./retry.js";
import type { Answer } from "./stoa.js";
import type { Slot } from "./storage.js";
import { orderOf } from "./stream.js";
import { Turns, type TurnWrite } from "./turns.js";
import * as read from "./wire/answers.js";
import { operation, submitted } from "./wire/documents.js";
import { formatPosition, type Command, type DurableEvent, type Position, type Reader, type StreamPart, type SubmitAnswer } from "./wire/index.js";

/** Bounds of one submitted operation; what is larger is sent in several. A frame holds 1 MiB, JSON may take six bytes a unit. */
const COMPONENTS_MAX = 5_000;
const INSERT_UNITS_MAX = 131_072;

/** What a document needs of its room. */
export interface SyncLine {
  readonly room: string;
  readonly client: string;
  nextSeq(): number;
  user(): string | undefined;
  /** Whether this user may edit here, as far as it is known. */
  mayEdit(): boolean;
  request<T>(command: Command, read: Reader<T>, done: (answer: Answer<T>) => void): void;
  /** The front says that the room is not joined: join it again. */
  rejoin(): void;
  report(error: StoaError): void;
}

/** What is told of a document while it goes on. */
export interface SyncHooks extends CopyHooks {
  /** The text came for the first time. */
  started(text: string): void;
  /** The front named everybody's cursor, in the text of the copy's position. */
  cursors(cursors: readonly Cursor[]): void;
  /** `obstacle` is there now: there is no text to follow. */
  stopped(error: StoaError): void;
  lost(historyEnd: number | undefined, again: boolean): void;
  refused(error: StoaError, op: Operation): void;
  /** Something may have changed; called after all of it has. */
  announce(): void;
}

/** Why a document has no (current) text. */
export type Obstacle = "missing" | "refused" | "closed";

/** What somebody is told who wants to write all the same. */
export const notOpen = (why: string) => new StoaError(why === "closed" ? "CLOSED" : "NOT_OPEN", `the document is ${why}`);

export class Sync {
  /** `undefined` until the text came for the first time. */
  copy: Copy | undefined;
  obstacle: Obstacle | undefined;
  /** `cut`: nothing can be sent. `opening`: an answer is awaited, and events count only after it. `live`: events count. */
  private line: "cut" | "opening" | "live" = "cut";
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Failures in a row; decides the next delay. */
  private failures = 0;
  /** Count what was asked, since only the newest question's answer counts. */
  private opens = 0;
  private attempts = 0;
  /** Where the front says that it accepted the operation in flight, while the copy is not there yet. */
  private accepted: Position | "forgotten" | undefined;
  private readonly keeping: Keeping;
  readonly turns: Turns;
  private opensAfterwards = false;

  constructor(
    readonly room: SyncLine,
    private readonly name: string,
    private readonly create: string | undefined,
    readonly hooks: SyncHooks,
    slot: Slot | undefined,
  ) {
    this.keeping = new Keeping(slot, { copy: () => this.copy, user: () => room.user() });
    this.turns = new Turns({
      room: room.room,
      doc: name,
      client: room.client,
      nextSeq: () => room.nextSeq(),
      request: (command, read, done) => room.request(command, read, done),
      rejoin: () => this.rejoin(),
      ended: () => {
        this.flush();
        this.announce();
      },
    });
  }

  /** Looks for pending edits of an earlier life. Call it once. */
  restore(): void {
    this.keeping.load(
      (copy) => this.begin(new Copy(copy, this.hooks)),
      () => {
        if (this.opensAfterwards) this.open();
      },
    );
  }

  /** Keeps what is pending now, since there may be no later. */
  hidden(): void {
    void this.keeping.now();
  }

  /** Whether events are followed and something can be sent. */
  get live(): boolean {
    return this.line === "live";
  }

  /** Whether the front may have opened the document for this connection. */
  get asked(): boolean {
    return this.line !== "cut";
  }

  /** What the client holds, for `positions`; `undefined` if it has never had the text. */
  resumePosition(): string | undefined {
    return this.copy && formatPosition(this.copy.asks ?? this.copy.position);
  }

  /** The user edits the text. */
  edit(op: Operation): void {
    this.copy?.edit(op);
    this.flush();
    this.keeping.soon();
  }

  /** Writes what is not an edit, after all edits that were made before. Resolves when it is done. */
  write(write: TurnWrite): Promise<void> {
    if (this.obstacle !== undefined) return Promise.reject(notOpen(this.obstacle));
    const done = this.turns.add(write, this.copy?.buffer !== undefined);
    this.flush();
    return done;
  }

  /** The room is joined, and its answer did not speak of this document. */
  open(): void {
    this.ask("position");
  }

  /** The stream was deleted or replaced. */
  wasReset(): void {
    if (this.line !== "cut") this.ask("position");
  }

  /** The line broke. */
  cut(): void {
    clearTimeout(this.timer);
    this.line = "cut";
    this.turns.cut();
    this.opensAfterwards = false;
    this.hidden();
  }

  /** Whether the document is made where it is missing: not by who may not edit. */
  private creates(): boolean {
    return this.create !== undefined && this.room.mayEdit();
  }

  /** Follows the document no longer. */
  stop(obstacle: "refused" | "closed", error: StoaError): void {
    this.cut();
    this.obstacle = obstacle;
    this.turns.stop(error);
    this.hooks.stopped(error);
    this.announce();
  }

  /** The front's word on where this document stands, in the answer to a join, or unasked. */
  adopt(part: StreamPart): void {
    // While `doc.open` is under way, what it is answered counts, and nothing else.
    if (this.obstacle === "closed" || this.line === "opening") return;
    // Only `doc.open` creates.
    if (part.outcome === "missing" && this.creates()) return this.ask("position");
    this.follow(part);
  }

  /** A durable event of this stream. */
  receive(event: DurableEvent): void {
    if (this.obstacle === "missing" && event.event === "doc.created") return this.ask("text");
    const { copy } = this;
    if (this.line !== "live" || copy === undefined) return;
    const order = orderOf(copy.position, event);
    if (order === "old") return;
    if (order === "gap") return this.ask("position");
    const position = { epoch: event.epoch, rev: event.rev };
    if (event.event === "doc.applied") {
      if (!this.advance(copy, event.op, position, event)) return;
    } else if (event.event === "doc.created") copy.moveTo(position);
    else return this.heal("text");
    this.settle();
    this.announce();
  }

  /** Opens the document (again): to learn what came after the copy's position, or for the whole text. */
  private ask(what: "position" | "text"): void {
    clearTimeout(this.timer);
    if (this.keeping.waits === "load") return void (this.opensAfterwards = true);
    this.line = "opening";
    const asked = ++this.opens;
    const command: Command = {
      do: "doc.open",
      room: this.room.room,
      doc: this.name,
      position: what === "position" ? this.resumePosition() : undefined,
      create: this.creates() ? { type: "text", content: this.create } : undefined,
    };
    this.room.request(command, read.stream, (answer) => {
      if (this.line !== "opening" || this.opens !== asked) return;
      if ("ok" in answer) return this.follow(answer.ok);
      const { error } = answer;
      if (error.code === "OFFLINE" || error.code === "CLOSED") return;
      if (error.code === "NOT_JOINED") this.rejoin();
      else if (error.retry) this.later(() => this.ask(what), error);
      else this.stop("refused", error);
    });
  }

  /** The copy is not what the front has. The first time it is asked at once; if that does not help, ever slower. */
  private heal(what: "position" | "text"): void {
    this.line = "opening";
    this.opens += 1;
    if (this.failures > 0) return this.later(() => this.ask(what));
    this.failures = 1;
    this.ask(what);
  }

  /** The front does not know that the room is joined. The answer to the join speaks of this document. */
  private rejoin(): void {
    this.line = "cut";
    this.room.rejoin();
  }

  private follow(part: StreamPart): void {
    if (part.outcome === "missing") return this.isMissing();
    const wasLive = this.line === "live";
    this.line = "live";
    this.obstacle = undefined;
    const position = { epoch: part.epoch, rev: part.rev };
    const { copy, attempts } = this;
    if (!this.keeping.isOwn()) copy?.abandon();
    if (copy?.asks) return this.rollBack(copy, part);
    if (part.outcome === "changes") {
      for (const event of part.events) this.receive(event);
      if (this.line !== "live") return;
      // A revision that was not reached means that something was not understood.
      if (copy === undefined || copy.position.rev < part.rev) return this.heal("text");
      // Without an event the epoch may have changed all the same.
      if (copy.position.rev === part.rev) copy.moveTo(position);
    } else {
      const { because } = part;
      const isEnd = because === "rollback" || because === "reset";
      if (copy === undefined) this.begin(new Copy({ base: part.content ?? "", position }, this.hooks));
      // What is told unasked is about the front's position, and not about this one.
      else if (isEnd && wasLive) return this.ask("position");
      else if (isEnd && copy.recent.length > 0) return this.rollBack(copy, part);
      // A reply told of more than this snapshot, and overtook it: the events after it are known or still to come.
      else if (wasLive && part.epoch === copy.position.epoch && part.rev <= copy.position.rev) return;
      else copy.replace(part.content ?? "", position);
      if (because === "rollback") this.hooks.lost(part.history_end, false);
    }
    this.hooks.cursors(part.cursors);
    if (this.accepted === "forgotten") copy?.conclude();
    // One of the events may have made way for the next operation already.
    if (this.attempts === attempts) this.resend();
    this.announce();
  }

  /** Goes back to where a failover ended the history, if `part` tells of that, and asks what came after it. */
  private rollBack(copy: Copy, part: StreamPart): void {
    this.line = "opening";
    this.accepted = undefined;
    const asked = ++this.opens;
    // If it does not load, nothing can be taken back.
    void import("./rollback.js").catch(() => void (copy.recent = [])).then((it) => {
      if (this.line !== "opening" || this.opens !== asked) return;
      it?.rollBack(copy, part, this);
      this.ask("position");
    });
  }

  private begin(copy: Copy): void {
    this.copy = copy;
    this.failures = 0;
    this.hooks.started(copy.text);
    this.announce();
  }

  private isMissing(): void {
    this.line = "live";
    this.obstacle = "missing";
    const error = new StoaError("NOT_FOUND", `there is no document ${this.name} in ${this.room.room}`);
    this.turns.stop(error);
    this.hooks.stopped(error);
    this.announce();
  }

  private advance(copy: Copy, op: unknown, position: Position, by?: Writer): boolean {
    let own;
    try {
      own = copy.advance(operation(op), position, by);
    } catch {
      this.heal("text");
      return false;
    }
    if (own) this.concluded();
    return true;
  }

  /** Sends the next operation, or what waits for its turn, if nothing is on its way. */
  private flush(): void {
    const { copy } = this;
    if (this.line !== "live" || copy === undefined || copy.inflight !== undefined) return;
    if (copy.buffer === undefined || this.turns.isNext) return this.turns.send();
    copy.launch(this.room.client, this.room.nextSeq(), COMPONENTS_MAX, INSERT_UNITS_MAX);
    if (copy.buffer === undefined) this.turns.caughtUp();
    this.keeping.launched(() => this.resend());
  }

  private announce(): void {
    this.keeping.soon();
    this.hooks.announce();
  }

  /** Sends the operation in flight (again, with the same identity), or the next one. */
  private resend(): void {
    const { copy } = this;
    this.accepted = undefined;
    if (this.line !== "live" || this.keeping.waits !== undefined || copy === undefined) return;
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
    const { room } = this.room;
    const command: Command = { do: "doc.submit", room, doc: this.name, rev, epoch, op, len: copy.base.length, client, seq };
    this.room.request(command, submitted, (answer) => {
      // Its own event may have come first, or the line may have been cut and resumed.
      if (this.line !== "live" || this.attempts !== attempt || !copy.isInFlight({ client, seq })) return;
      if ("ok" in answer) this.wasAccepted(copy, answer.ok, rev);
      else this.notAccepted(copy, answer.error);
      this.announce();
    });
  }

  private wasAccepted(copy: Copy, answer: SubmitAnswer, baseRev: number): void {
    const { epoch, rev, op, concurrent } = answer;
    const { inflight } = copy;
    if (!answer.duplicate && op !== undefined && epoch === copy.position.epoch) {
      // The reply may have overtaken events: what they say is in it.
      const accepted = isNoop(op) ? concurrent : [...concurrent, op];
      const isWhole = baseRev + accepted.length === rev;
      for (const [i, it] of isWhole ? accepted.entries() : []) {
        const next = { epoch, rev: baseRev + 1 + i };
        if (next.rev === copy.position.rev + 1 && !this.advance(copy, it, next, it === op ? inflight : undefined)) return;
      }
    }
    // It may have been concluded, and the next one be on its way.
    if (!copy.isInFlight(inflight)) return;
    this.accepted = { epoch, rev };
    this.settle();
  }

  /** Concludes an operation whose reply came before the events that lead up to it. */
  private settle(): void {
    const { accepted, copy } = this;
    if (accepted === undefined || accepted === "forgotten" || copy?.inflight === undefined) return;
    const standing = copy.standing(accepted);
    if (standing === "ahead") return;
    // It counts for the history that is known now; of a later one only another answer can tell.
    this.accepted = undefined;
    if (standing === "lost") return this.later(() => this.resend());
    if (standing === "elsewhere") return this.heal("position");
    // It made no revision, or its event went by under another name.
    copy.conclude();
    this.concluded();
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
    this.hooks.refused(error, op);
  }

  private later(then: () => void, error?: StoaError): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (this.line !== "cut") then();
    }, retryDelayMs(this.failures++, error));
  }
}
