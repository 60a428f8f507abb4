/** How far this user has read, what is unread, and when the front is told. */
import { StoaError } from "./errors.js";
import type { Message as WireMessage } from "./frames.js";
import type { Log } from "./log.js";
import type { Answer } from "./stoa.js";
import * as read from "./wire/answers.js";
import type { Command, DurableEvent, Reader } from "./wire/index.js";

/** The own mark is told at most this often: only the newest counts. */
const TELL_EVERY_MS = 1_000;

export interface ReadingHost {
  readonly room: string;
  user(): string | undefined;
  request<T>(command: Command, read: Reader<T>, done: (answer: Answer<T>) => void): void;
  report(error: StoaError): void;
  changed(): void;
}

export class Reading {
  /** The newest message that the user has read, as far as this client knows. */
  mark = 0;
  unread = 0;
  mentions = 0;
  /** The newest mark that the front has heard. */
  private told = 0;
  /** The telling that is on its way. */
  private telling: object | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** The numbers here are not exact: the front has to count, as soon as it can be asked. */
  private isDoubtful = false;
  private asking = false;
  private askTimer: ReturnType<typeof setTimeout> | undefined;
  private live = false;

  constructor(
    private readonly host: ReadingHost,
    private readonly log: Log,
  ) {}

  /** The user has read up to `n`. */
  read(n: number): void {
    if (n <= this.mark) return;
    this.mark = n;
    this.count();
    this.tellSoon(TELL_EVERY_MS);
    this.host.changed();
  }

  /** Tells the front now what it has not heard. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const n = this.mark;
    if (!this.live || this.telling || n <= this.told) return;
    const telling = (this.telling = {});
    this.host.request({ do: "msg.read", room: this.host.room, n }, read.nothing, (answer) => {
      if (this.telling !== telling) return;
      this.telling = undefined;
      let wait = TELL_EVERY_MS;
      if ("ok" in answer) this.told = Math.max(this.told, n);
      else if (answer.error.retry) wait = Math.max(wait, answer.error.retryAfterMs ?? 0);
      else {
        this.told = n;
        this.host.report(answer.error);
      }
      this.tellSoon(wait);
    });
  }

  private tellSoon(ms: number): void {
    if (this.mark > this.told) this.timer ??= setTimeout(() => this.flush(), ms);
  }

  joined(): void {
    this.live = true;
    this.flush();
    if (this.isDoubtful) this.ask();
  }

  cut(): void {
    this.live = this.asking = false;
    this.telling = undefined;
    for (const timer of [this.timer, this.askTimer]) clearTimeout(timer);
    this.timer = this.askTimer = undefined;
  }

  /** The log was replaced by another one: nothing of it was read. */
  replaced(): void {
    this.mark = this.told = 0;
  }

  /** The front's word on what is unread came, with a snapshot, changes or an answer. */
  adopted(): void {
    const { counts } = this.log;
    if (counts === undefined) return;
    this.told = counts.read;
    // An answer that is still to come may be from before a failover, which lost the mark.
    this.telling = undefined;
    // The front may not have heard of the newest mark; and after a rollback there is less to be read than there was.
    this.mark = Math.max(Math.min(this.mark, this.log.newest), counts.read);
    this.tellSoon(TELL_EVERY_MS);
    if (this.counted()) return;
    if (this.mark !== counts.read) return this.ask();
    ({ unread: this.unread, mentions: this.mentions } = counts);
    this.isDoubtful = false;
  }

  /** The log took an event. `before`: the message as it was, if it was held. */
  received(event: DurableEvent, before: WireMessage | undefined): void {
    if (event.event === "msg.read") {
      const own = event.reads.find(({ user }) => user === this.host.user());
      if (own === undefined) return;
      this.told = Math.max(this.told, own.n);
      if (own.n <= this.mark) return;
      this.mark = own.n;
      this.count();
    } else if (event.event === "msg.posted" || event.event === "msg.changed") {
      const { message } = event;
      if (message.n <= this.mark || this.counted()) return;
      // An answer that overtook the event has counted it.
      if (event.rev <= (this.log.counts?.rev ?? 0)) return;
      if (event.event === "msg.changed" && before === undefined) return this.ask();
      // A page may have brought what came after the event.
      const now = this.log.get(message.n) ?? message;
      const was = before !== undefined && this.counts(before);
      const is = this.counts(now);
      this.unread += Number(is) - Number(was);
      this.mentions += Number(is && this.names(now)) - Number(was && this.names(before));
    }
  }

  /** The log holds more, or other, messages than before. */
  moved(): void {
    this.counted();
    if (this.log.isAhead) this.ask();
  }

  /** The mark moved. */
  private count(): void {
    if (!this.counted()) this.ask();
  }

  /** Counts what is unread, if all that is after the mark is held. */
  private counted(): boolean {
    const { main } = this.log;
    if (main.moreAfter || (main.moreBefore && (main.first ?? Infinity) > this.mark + 1)) return false;
    const unread = main.messages.filter((message) => this.counts(message));
    this.unread = unread.length;
    this.mentions = unread.filter((message) => this.names(message)).length;
    this.isDoubtful = this.log.isAhead;
    return true;
  }

  private counts({ n, user, deleted_at_ms }: WireMessage): boolean {
    return n > this.mark && user !== this.host.user() && deleted_at_ms === undefined;
  }

  private names({ mentions }: WireMessage): boolean {
    return mentions !== undefined && (mentions.includes("*") || mentions.includes(this.host.user() ?? ""));
  }

  /** Asks the front to count, a little later: one answer for all that happens until then. */
  private ask(): void {
    this.isDoubtful = true;
    if (!this.live || this.asking || this.askTimer !== undefined) return;
    this.askTimer = setTimeout(() => {
      this.askTimer = undefined;
      this.asking = true;
      this.flush();
      this.host.request({ do: "msg.unread", room: this.host.room }, read.unread, (answer) => {
        this.asking = false;
        if (!("ok" in answer)) return answer.error.retry && answer.error.code !== "OFFLINE" ? this.ask() : undefined;
        // All that is unread may be held by now.
        if (!this.isDoubtful) return;
        const { epoch, rev, ...unread } = answer.ok;
        // One that events have overtaken may lack them, and one from before the mark moved counts what was read.
        if (epoch !== this.log.position?.epoch || rev < this.log.position.rev || unread.read < this.mark) return this.ask();
        this.log.count({ unread, rev });
        this.adopted();
        this.host.changed();
      });
    }, TELL_EVERY_MS);
  }
}
