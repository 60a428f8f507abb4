/**
 * A client's copy of a room's log, without line and clock: the newest messages (or those around a place that was jumped to),
 * open threads, and how far everybody has read. Snapshots, changes, events and pages go in; whatever came in which order, the
 * result is what the front has.
 */
import type { Message as WireMessage, ReadMark } from "./frames.js";
import { orderOf } from "./stream.js";
import { Window } from "./window.js";
import type { Counts, DurableEvent, LogEvent, Position, RangeAnswer, StreamPart } from "./wire/index.js";

/** Of so many people it is known how far they have read; those who moved longest ago go first. */
const READS_MAX = 1_000;

/** A page that was asked for and has not come. */
export interface Loading {
  /** What happened meanwhile: the page may be older than that. */
  readonly events: LogEvent[];
  readonly generation: number;
}

export class Log {
  position: Position | undefined;
  readonly main: Window;
  readonly threads = new Map<number, Window>();
  /** Up to where people have read, by user: a new map after each change. */
  reads: ReadonlyMap<string, number> = new Map();
  /** What the front counted, and the revision that it is of. */
  counts: (Counts & { rev: number }) | undefined;
  /** The number of the newest message that is known of. */
  newest = 0;
  /** The newest revision that a page was of: it may be ahead of the events. */
  private paged = 0;
  /** Grows with each snapshot: a page that was asked for before does not belong to what is held now. */
  private generation = 0;
  private readonly loads = new Set<Loading>();

  constructor(private readonly max: number) {
    this.main = new Window(undefined, max);
  }

  /** Takes a snapshot: what was held before is gone. */
  replace(part: Extract<StreamPart, { outcome: "snapshot" }>): void {
    this.generation += 1;
    this.position = { epoch: part.epoch, rev: part.rev };
    this.main.reset(part.messages, part.rev, part.more, false);
    this.reads = new Map();
    this.mark(part.reads);
    this.newest = this.main.last ?? 0;
    this.paged = 0;
    this.count(part);
    for (const thread of this.threads.values()) thread.reset([], part.rev, true, true);
  }

  /** Takes what the front counted in an answer that is of `position`. */
  count({ unread, rev }: { unread: Counts | undefined; rev: number }): void {
    if (unread !== undefined) this.counts = { ...unread, rev };
  }

  /** Takes an event. `gap`: something before it is missing, and nothing has changed. */
  receive(event: DurableEvent): "next" | "old" | "gap" {
    if (this.position === undefined) return "old";
    const order = orderOf(this.position, event);
    if (order !== "next") return order;
    if (event.event === "msg.appended" && !this.fits(event)) return "gap";
    this.position = { epoch: event.epoch, rev: event.rev };
    if (event.event === "msg.read") this.mark(event.reads);
    if (event.event === "msg.posted") this.newest = Math.max(this.newest, event.message.n);
    if (isMessageEvent(event)) {
      for (const window of this.windows) window.apply(event);
      for (const load of this.loads) load.events.push(event);
    }
    return "next";
  }

  /** Call it before a page is asked for; with the page call `take`, without one `drop`. */
  load(): Loading {
    const load = { events: [], generation: this.generation };
    this.loads.add(load);
    return load;
  }

  drop(load: Loading): void {
    this.loads.delete(load);
  }

  /**
   * Takes a page into a window; `false` if what is held was replaced meanwhile.
   *
   * @param where the end at which the page belongs, or `around` if the window shall hold it and nothing else; `oldest`: it
   * only says where the log begins
   */
  take(load: Loading, page: RangeAnswer, window: Window, where: "before" | "after" | "around" | "oldest"): boolean {
    this.loads.delete(load);
    if (load.generation !== this.generation) return false;
    const { messages, rev, more_before, more_after } = page;
    this.paged = Math.max(this.paged, rev);
    if (!more_before) this.trim(window, messages[0]?.n ?? (where === "before" ? 0 : Infinity));
    if (where === "oldest") return true;
    if (where === "around") window.reset(messages, rev, more_before, more_after);
    else window.add(messages, rev, where, where === "before" ? more_before : more_after);
    for (const event of load.events) if (event.rev > rev) window.apply(event);
    return true;
  }

  /** Whether some of what is held is newer than the events that have come. */
  get isAhead(): boolean {
    return this.position !== undefined && this.paged > this.position.rev;
  }

  get(n: number): WireMessage | undefined {
    for (const window of this.windows) {
      const message = window.get(n);
      if (message !== undefined) return message;
    }
    return undefined;
  }

  /** The replies of a thread, as far as they are held. */
  thread(n: number): Window {
    let window = this.threads.get(n);
    if (window === undefined) {
      window = new Window(n, this.max);
      window.moreBefore = window.moreAfter = true;
      this.threads.set(n, window);
    }
    return window;
  }

  /**
   * The front has nothing before `n` in this window: what is held of that has been trimmed away. Nobody tells when messages
   * go, so this is how a client learns of it.
   */
  private trim(window: Window, n: number): void {
    for (const it of window === this.main ? this.windows : [window]) it.trim(n);
  }

  private mark(reads: readonly ReadMark[]): void {
    const all = new Map(this.reads);
    for (const { user, n } of reads) {
      // Put at the end: the first one is the one that moved longest ago.
      all.delete(user);
      all.set(user, n);
    }
    for (const user of all.keys()) {
      if (all.size <= READS_MAX) break;
      all.delete(user);
    }
    this.reads = all;
  }

  private get windows(): Window[] {
    return [this.main, ...this.threads.values()];
  }

  /** Whether a chunk follows what is held of its message. The chain of revisions says that it must. */
  private fits({ n, at, rev }: Extract<LogEvent, { event: "msg.appended" }>): boolean {
    return this.windows.every((window) => window.canAppend(n, at, rev));
  }
}

function isMessageEvent(event: DurableEvent): event is Exclude<LogEvent, { event: "msg.read" }> {
  return event.event === "msg.posted" || event.event === "msg.changed" || event.event === "msg.reacted" || event.event === "msg.appended";
}
