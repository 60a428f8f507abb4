/**
 * Writes of a document that are not edits of its text here: they change it on the front, and what comes of them arrives as
 * anybody's operation does. Each takes its turn between the edits, so that the sequences of one client grow, and keeps its
 * identity until its fate is known: so it happens once.
 */
import { StoaError } from "./errors.js";
import { retryDelayMs } from "./retry.js";
import type { Answer } from "./stoa.js";
import * as read from "./wire/answers.js";
import type { Command, Reader } from "./wire/index.js";

/** So many may wait: a key that is held down asks faster than a slow line answers. */
const TURNS_MAX = 32;

/** What somebody wants to be done. */
export type TurnWrite = { do: "doc.restore"; name: string } | { do: "doc.undo" };

/** What turns need of their document. */
export interface TurnsHost {
  readonly room: string;
  readonly doc: string;
  readonly client: string;
  nextSeq(): number;
  request<T>(command: Command, read: Reader<T>, done: (answer: Answer<T>) => void): void;
  /** The front says that the room is not joined. */
  rejoin(): void;
  /** One has ended: whatever waits for its turn may go on. */
  ended(): void;
}

/** One that waits. */
export interface Turn {
  readonly write: TurnWrite;
  /** Edits that were made before it are not on their way yet. */
  isBehind: boolean;
  /** From the first attempt to send it. */
  seq: number | undefined;
  readonly resolve: () => void;
  readonly reject: (error: StoaError) => void;
}

export class Turns {
  waiting: Turn[] = [];
  /** The first is on its way, or is to be sent again after a while. */
  busy = false;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: TurnsHost) {}

  /** Whether one comes before the edits that wait, or has begun: no edit may be sent until its fate is known. */
  get isNext(): boolean {
    return this.waiting[0]?.isBehind === false;
  }

  /**
   * Resolves when it is done. Call `send` when nothing else is on its way.
   *
   * @param isBehind whether edits wait, which have to go before it; until `caughtUp`
   */
  add(write: TurnWrite, isBehind: boolean): Promise<void> {
    if (this.waiting.length >= TURNS_MAX) return Promise.reject(new StoaError("QUEUE_FULL", `${TURNS_MAX} writes of the document wait already`));
    return new Promise((resolve, reject) => this.waiting.push({ write, isBehind, seq: undefined, resolve, reject }));
  }

  /** All edits that were made until now are on their way. */
  caughtUp(): void {
    for (const turn of this.waiting) turn.isBehind = false;
  }

  /** Sends the first one (again, with the same identity), if it is not on its way. */
  send(): void {
    const [turn] = this.waiting;
    if (turn === undefined || this.busy) return;
    this.busy = true;
    turn.isBehind = false;
    const { host } = this;
    turn.seq ??= host.nextSeq();
    this.host.request({ ...turn.write, room: host.room, doc: host.doc, client: host.client, seq: turn.seq }, read.nothing, (answer) => {
      if (turn !== this.waiting[0]) return;
      if ("ok" in answer) return this.end(() => turn.resolve());
      const { error } = answer;
      switch (error.code) {
        case "OFFLINE":
        case "CLOSED":
          return;
        case "NOT_JOINED":
          this.busy = false;
          return host.rejoin();
      }
      if (!error.retry) return this.end(() => turn.reject(error));
      this.timer = setTimeout(() => {
        this.busy = false;
        this.send();
      }, retryDelayMs(this.failures++, error));
    });
  }

  /** The line broke. */
  cut(): void {
    clearTimeout(this.timer);
    this.busy = false;
  }

  /** There is no document to write to. */
  stop(error: StoaError): void {
    this.cut();
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }

  private end(settle: () => void): void {
    this.waiting.shift();
    this.busy = false;
    this.failures = 0;
    settle();
    this.host.ended();
  }
}
