import { StoaError } from "./errors.js";
import type { Body } from "./frames.js";
import { retryDelayMs } from "./retry.js";
import type { Answer } from "./stoa.js";
import * as read from "./wire/answers.js";
import type { Command, RangeAnswer, Reader } from "./wire/index.js";

/** What a stream needs of its log. */
export interface StreamHost {
  readonly room: string;
  /** An identity of its own: its writes do not have to keep the order of the room's other ones. */
  readonly client: string;
  request<T>(command: Command, read: Reader<T>, done: (answer: Answer<T>) => void): void;
  /** `text` or `state` changed. */
  changed(): void;
}

/** While a chunk is on its way, text gathers; and chunks go no faster than readers are told: a tick of the front. */
const CHUNK_EVERY_MS = 40;
/** The longest chunk, in UTF-16 units: a frame holds 1 MiB, JSON may take six bytes a unit. */
const CHUNK_UNITS_MAX = 32_768;

/**
 * The writer's end of a streamed message; get one from `messages.stream()`. Readers see the text grow.
 *
 * Chunks are gathered by themselves: as fast as the line allows, and never faster than every 40 ms. After a cut it goes on
 * where the front's text ends. A writer that is silent for a minute is taken for gone: the front then finishes the message
 * as `interrupted`.
 */
export class MessageStream {
  /** The message's number. */
  readonly n: number;
  /** Resolves when the message is finished; rejects if it cannot go on (`CLOSED`: the front finished it, `NOT_FOUND`: it was deleted). */
  readonly done: Promise<void>;

  private readonly abort = new AbortController();
  private settle!: { resolve: () => void; reject: (error: StoaError) => void };
  private grown: string;
  /** How much of the text the front has. */
  private reached: number;
  private ending: { body: Body | undefined; seq: number } | undefined;
  private ended: "finished" | StoaError | undefined;
  private live = true;
  /** The write on its way, with the identity that it keeps. */
  private inflight: { seq: number; at: number; chunk: string } | undefined;
  private busy = false;
  private seq = 0;
  private failures = 0;
  private lastSentAt = -Infinity;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(
    private readonly host: StreamHost,
    n: number,
    text: string,
  ) {
    this.n = n;
    this.grown = text;
    this.reached = text.length;
    this.done = new Promise((resolve, reject) => (this.settle = { resolve, reject }));
    this.done.catch(() => undefined);
  }

  /** All that was appended, sent or not. */
  get text(): string {
    return this.grown;
  }

  /** Whether somebody asked this writer to stop. Nothing stops by itself: leave off, and call `finish`. */
  get cancelled(): boolean {
    return this.abort.signal.aborted;
  }

  /** Aborts when somebody asks to stop: give it to what makes the text (`fetch(…, { signal })`). */
  get signal(): AbortSignal {
    return this.abort.signal;
  }

  /** Whether text waits that the front does not have yet. */
  get pending(): boolean {
    return this.ended === undefined && (this.reached < this.grown.length || this.ending !== undefined);
  }

  /** Why it cannot go on, if it cannot. */
  get error(): StoaError | undefined {
    return this.ended instanceof StoaError ? this.ended : undefined;
  }

  /**
   * Lets the text grow.
   *
   * @throws StoaError `CLOSED` after `finish`, or why the stream cannot go on (see `done`)
   */
  append(text: string): void {
    if (this.ended instanceof StoaError) throw this.ended;
    if (this.ending !== undefined) throw new StoaError("CLOSED", "the stream was finished");
    this.grown += text;
    this.host.changed();
    this.send();
  }

  /**
   * Ends the message, when all text has arrived.
   *
   * @param body replaces the text that has grown: for instance by an object with the text and where it comes from
   * @returns `done`
   */
  finish(body?: Body): Promise<void> {
    if (this.ended === undefined) this.ending ??= { body, seq: 0 };
    // Half of a character that never came whole cannot be stored.
    if (endsInHalf(this.grown)) this.grown = this.grown.slice(0, -1);
    this.send();
    return this.done;
  }

  // From here on: for the log.

  /** @internal */
  cut(): void {
    this.live = this.busy = false;
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  /** @internal */
  joined(): void {
    this.live = true;
    this.send();
  }

  /** Somebody asked to stop. @internal */
  cancel(): void {
    if (!this.cancelled) this.abort.abort();
  }

  /** @internal */
  fail(error: StoaError): void {
    if (this.ended !== undefined) return;
    this.cut();
    this.ended = error;
    this.settle.reject(error);
    this.host.changed();
  }

  private send(): void {
    if (!this.live || this.busy || this.ended !== undefined || this.timer !== undefined) return;
    if (this.inflight === undefined) {
      const rest = this.grown.length - this.reached;
      if (rest === 0) {
        if (this.ending !== undefined) this.end(this.ending);
        return;
      }
      const wait = this.lastSentAt + CHUNK_EVERY_MS - Date.now();
      if (wait > 0) return this.later(wait);
      const chunk = chunkAt(this.grown, this.reached);
      // Half a character waits for the other half.
      if (chunk === "") return;
      this.inflight = { seq: ++this.seq, at: this.reached, chunk };
    }
    const { seq, at, chunk } = this.inflight;
    const { room, client } = this.host;
    this.lastSentAt = Date.now();
    this.ask({ do: "msg.append", room, n: this.n, chunk, at, client, seq }, read.written, (answer) => {
      this.reached = Math.min(answer.length, this.grown.length);
      this.inflight = undefined;
      if (answer.cancelled) this.cancel();
      this.host.changed();
      this.send();
    });
  }

  private end(ending: { body: Body | undefined; seq: number }): void {
    if (ending.seq === 0) ending.seq = ++this.seq;
    const { room, client } = this.host;
    this.ask({ do: "msg.finish", room, n: this.n, body: ending.body, client, seq: ending.seq }, read.written, () => {
      this.ended = "finished";
      this.settle.resolve();
      this.host.changed();
    });
  }

  /** The front's text is not as long as it should be: a failover lost some. It is asked how much is there. */
  private measure(): void {
    const { room } = this.host;
    this.inflight = undefined;
    this.ask({ do: "msg.range", room, around: this.n, count: 1 }, read.range, (page: RangeAnswer) => {
      const body = page.messages.find(({ n }) => n === this.n)?.body;
      if (typeof body !== "string" || !this.grown.startsWith(body))
        return this.fail(new StoaError("DESYNC", `message ${this.n} is not what this stream wrote`));
      this.reached = body.length;
      this.send();
    });
  }

  private ask<T>(command: Command, reader: Reader<T>, done: (answer: T) => void): void {
    this.busy = true;
    this.host.request(command, reader, (answer) => {
      if (!this.live || this.ended !== undefined) return;
      this.busy = false;
      if ("ok" in answer) {
        this.failures = 0;
        return done(answer.ok);
      }
      const { error } = answer;
      if (error.code === "OFFLINE") return;
      if (error.retry) this.later(retryDelayMs(this.failures++, error));
      // A resend whose first answer is forgotten, or a text that lost something.
      else if (error.code === "DESYNC" || (error.code === "FORGOTTEN" && command.do === "msg.append")) this.measure();
      else this.fail(error);
    });
  }

  private later(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.send();
    }, ms);
  }
}

/** What to send next: all that waits, up to the bound, and no half of a character. */
function chunkAt(text: string, from: number): string {
  const chunk = text.slice(from, from + CHUNK_UNITS_MAX);
  return endsInHalf(chunk) ? chunk.slice(0, -1) : chunk;
}

function endsInHalf(text: string): boolean {
  const end = text.charCodeAt(text.length - 1);
  return end >= 0xd800 && end <= 0xdbff;
}
