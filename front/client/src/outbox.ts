/**
 * The writes of one room's log that were not accepted yet, in the order in which they were made. Only the first is on its
 * way, so they stay in that order, and none is forgotten: an identity that is older than one which the front has accepted
 * already would be taken for a resend.
 *
 * A write keeps its identity until its fate is known, over cuts and, with a storage, over reloads: so it happens once.
 */
import { StoaError } from "./errors.js";
import type { Body, JsonObject, Message as WireMessage } from "./frames.js";
import { retryDelayMs } from "./retry.js";
import type { Answer } from "./stoa.js";
import type { Slot } from "./storage.js";
import { epochNumber } from "./stream.js";
import * as read from "./wire/answers.js";
import type { Command, Position, Reader, WriteAnswer } from "./wire/index.js";

/** What somebody wants to change. */
export type Write =
  | {
      do: "msg.post";
      body: Body;
      type: string;
      reply?: number | undefined;
      mentions?: readonly string[] | undefined;
      meta?: JsonObject | undefined;
      streaming?: true | undefined;
    }
  | { do: "msg.edit"; n: number; body: Body; mentions?: readonly string[] | undefined }
  | { do: "msg.delete" | "msg.cancel"; n: number }
  | { do: "msg.react" | "msg.unreact"; n: number; reaction: string };

/** A write with its identity. This is what is stored. */
export interface Entry {
  readonly client: string;
  readonly seq: number;
  /** Who wrote it; empty if that was not known yet. */
  user: string;
  readonly at_ms: number;
  readonly write: Write;
}

/** An entry in the queue. */
export interface Waiting extends Entry {
  /** The answer, if the events that lead up to it have not come yet. */
  accepted?: WriteAnswer;
}

/** What is known of a write that was accepted; `undefined` if the front has forgotten. */
export type Done = Pick<WriteAnswer, "n"> | undefined;

/** A write that was queued. */
export interface Added {
  readonly entry: Entry;
  /** Ends when its fate is known, or with `TIMEOUT`. */
  readonly done: Promise<Done>;
}

interface Promised {
  resolve(answer: Done): void;
  reject(error: StoaError): void;
}

/** What an outbox needs of its surroundings. */
export interface OutboxHost {
  readonly room: string;
  readonly client: string;
  nextSeq(): number;
  user(): string | undefined;
  request(command: Command, read: Reader<WriteAnswer>, done: (answer: Answer<WriteAnswer>) => void): void;
  report(error: StoaError): void;
  /** A write was refused for good: it is in the queue no more. */
  failed(entry: Entry, error: StoaError): void;
  changed(): void;
}

/** The bounds of an outbox. */
export interface OutboxBounds {
  /** Writes that wait. */
  queueMax: number;
  /** Their bytes of JSON, together. */
  queueBytesMax: number;
  /** After this long the caller is told `TIMEOUT`; the write stays. In milliseconds. */
  ackTimeoutMs: number;
}

export class Outbox {
  private waiting: Waiting[] = [];
  private bytes = 0;
  private readonly promises = new Map<Entry, Promised>();
  private live = false;
  /** Why nothing can be written any more. */
  private ended: StoaError | undefined;
  private sending = false;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly host: OutboxHost,
    private readonly bounds: OutboxBounds,
    private readonly slot: Slot | undefined,
  ) {
    slot?.load((stored) => this.again(stored as Entry[]));
  }

  /** Queues writes that were made before all that is here: in an earlier life of the page, or lost with a primary. */
  again(entries: readonly Entry[]): void {
    this.waiting = [...entries, ...this.waiting];
    this.bytes = this.waiting.reduce((sum, entry) => sum + bytesOf(entry), 0);
    this.save();
    this.host.changed();
    this.send();
  }

  /** What is shown over the log: writes that are not part of it yet, oldest first. */
  get entries(): readonly Waiting[] {
    return this.waiting;
  }

  /**
   * Queues a write.
   *
   * @throws StoaError `QUEUE_FULL`, or why the room cannot be written to
   */
  add(write: Write): Added {
    const { host, bounds } = this;
    if (this.ended !== undefined) throw this.ended;
    const entry: Waiting = { client: host.client, seq: host.nextSeq(), user: host.user() ?? "", at_ms: Date.now(), write };
    const bytes = bytesOf(entry);
    if (this.waiting.length >= bounds.queueMax || this.bytes + bytes > bounds.queueBytesMax)
      throw new StoaError("QUEUE_FULL", `${this.waiting.length} writes with ${this.bytes} bytes wait already`);
    const done = new Promise<Done>((resolve, reject) => {
      const late = () => reject(new StoaError("TIMEOUT", "no answer in time; it stays queued"));
      const timer = setTimeout(late, bounds.ackTimeoutMs);
      const end = <T>(then: (value: T) => void) => (value: T) => {
        clearTimeout(timer);
        then(value);
      };
      this.promises.set(entry, { resolve: end(resolve), reject: end(reject) });
    });
    // Who writes without waiting sees a failure in the list.
    done.catch(() => undefined);
    this.waiting.push(entry);
    this.bytes += bytes;
    this.save();
    this.send();
    return { entry, done };
  }

  /** The room is joined, and what was missed is here: what waits may go. */
  joined(): void {
    this.live = true;
    const user = this.host.user() ?? "";
    for (const entry of [...this.waiting]) {
      if (entry.user === "") entry.user = user;
      // Somebody else wrote it here before: it must not be said in this one's name.
      else if (entry.user !== user) this.fail(entry, new StoaError("PERMISSION_DENIED", `it was written by ${entry.user}`));
    }
    this.save();
    this.send();
  }

  cut(): void {
    this.live = this.sending = false;
    clearTimeout(this.timer);
  }

  /** Nothing can be written here. */
  refuse(error: StoaError): void {
    this.cut();
    this.ended = error;
    for (const entry of [...this.waiting]) this.fail(entry, error);
  }

  /** Nobody wants this write any more. If it is on its way, it may happen all the same. */
  drop(entry: Entry): void {
    if (this.waiting.includes(entry)) this.remove(entry);
    this.promised(entry);
    this.host.changed();
  }

  /** An own post was told: whether it was one of these. */
  confirm({ client, seq, n }: WireMessage): boolean {
    const entry = this.waiting.find((it) => it.write.do === "msg.post" && it.client === client && it.seq === seq);
    if (entry === undefined) return false;
    this.remove(entry);
    this.promised(entry)?.resolve({ n });
    return true;
  }

  /**
   * The log came to `position`: what it contains is shown by itself now. What was accepted before a failover may be lost
   * with it, and is sent again.
   */
  reached({ epoch, rev }: Position): void {
    for (const entry of this.waiting) {
      const { accepted } = entry;
      if (!accepted) continue;
      const isSame = accepted.epoch === epoch;
      if (isSame ? accepted.rev > rev : epochNumber(accepted.epoch) > epochNumber(epoch)) continue;
      if (isSame || accepted.duplicate) this.remove(entry);
      else delete entry.accepted;
    }
    this.send();
  }

  /** The log went back: what was accepted may be lost, and is sent again. If it is another log now, it was not meant for this one. */
  rewind(isOther: boolean): void {
    for (const entry of this.waiting)
      if (isOther && entry.accepted) this.remove(entry);
      else delete entry.accepted;
  }

  private send(): void {
    const entry = this.waiting.find(({ accepted }) => !accepted);
    if (!this.live || this.sending || entry === undefined) return;
    this.sending = true;
    const { client, seq, write } = entry;
    this.host.request({ ...write, room: this.host.room, client, seq }, read.written, (answer) => {
      if (!this.live) return;
      this.sending = false;
      // Its own event may have come first: then it does not wait any more.
      const waits = this.waiting.includes(entry);
      if ("ok" in answer) {
        this.failures = 0;
        if (waits) this.acknowledge(entry, answer.ok);
      } else if (answer.error.code === "OFFLINE") return;
      else if (!waits) this.failures = 0;
      // It was accepted, so long ago that its answer is forgotten.
      else if (answer.error.code === "FORGOTTEN") this.acknowledge(entry, undefined);
      else if (answer.error.retry) {
        this.sending = true;
        this.timer = setTimeout(() => {
          this.sending = false;
          this.send();
        }, retryDelayMs(this.failures++, answer.error));
        return;
      } else this.fail(entry, answer.error);
      this.send();
    });
  }

  private acknowledge(entry: Waiting, answer: WriteAnswer | undefined): void {
    if (answer === undefined) this.remove(entry);
    else entry.accepted = answer;
    this.promised(entry)?.resolve(answer);
    this.save();
    this.host.changed();
  }

  private fail(entry: Waiting, error: StoaError): void {
    this.remove(entry);
    this.host.failed(entry, error);
    this.promised(entry)?.reject(error);
    this.host.changed();
  }

  /** What its caller waits for: once. */
  private promised(entry: Entry): Promised | undefined {
    const promised = this.promises.get(entry);
    this.promises.delete(entry);
    return promised;
  }

  private remove(entry: Waiting): void {
    this.waiting = this.waiting.filter((it) => it !== entry);
    this.bytes -= bytesOf(entry);
    this.save();
  }

  private save(): void {
    // A streamed message has nobody to go on with it after a reload.
    const kept = this.waiting.filter(({ accepted, write }) => !accepted && !("streaming" in write));
    void this.slot?.save(kept.length > 0 ? kept : undefined);
  }
}

const bytesOf = ({ write }: Entry) => new TextEncoder().encode(JSON.stringify(write)).length;

