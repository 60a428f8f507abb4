/** Loads what is not held of a room's log: pages at either end, places that are jumped to, threads. */
import type { Log } from "./log.js";
import type { Window } from "./window.js";
import * as read from "./wire/answers.js";
import type { Command, RangeAnswer, Reader } from "./wire/index.js";

/** What somebody may ask for of a window. */
type Which = Pick<Extract<Command, { do: "msg.range" }>, "before" | "after" | "around" | "count">;

/** What loading needs of its surroundings. */
export interface PagesHost {
  readonly room: string;
  ask<T>(command: Command, read: Reader<T>): Promise<T>;
  /** A page was taken. */
  moved(): void;
}

export class Pages {
  private readonly loading = new Map<string, Promise<boolean>>();

  constructor(
    private readonly host: PagesHost,
    private readonly log: Log,
  ) {}

  /** Adds a page at one end of a window. Resolves with whether there is still more in that direction. */
  extend(window: Window, where: "before" | "after", count: number): Promise<boolean> {
    const hasMore = () => (where === "before" ? window.moreBefore : window.moreAfter);
    if (!hasMore()) return Promise.resolve(false);
    const edge = where === "before" ? { before: window.first } : { after: window.last };
    return this.once(`${where} ${window.thread ?? ""}`, async () => {
      const { messages, more_before } = await this.load(window, where, { ...edge, count });
      // There was more once. Perhaps what stands at the edge is not kept any more either.
      if (where === "before" && messages.length === 0 && !more_before) await this.load(window, "oldest", { after: 0, count: 1 });
      return hasMore();
    });
  }

  /** Replaces what a window holds by what stands around a message, or by the newest. */
  async jump(window: Window, around: number | undefined, count: number): Promise<void> {
    await this.load(window, "around", { around, count });
  }

  /** Loads the newest of a thread. Resolves with whether there are older ones. */
  thread(window: Window, count = 50): Promise<boolean> {
    return this.once(`thread ${window.thread ?? ""}`, async () => {
      await this.jump(window, undefined, count);
      return window.moreBefore;
    });
  }

  /** Loads the threads that are open and of which nothing is held: of a new one, and of all after a snapshot. */
  threads(): void {
    for (const window of this.log.threads.values()) if (window.last === undefined && window.moreAfter) this.thread(window).catch(() => undefined);
  }

  /** What is asked for again while it is under way is asked for once. */
  private once(name: string, ask: () => Promise<boolean>): Promise<boolean> {
    let loading = this.loading.get(name);
    if (loading === undefined) {
      loading = ask().finally(() => this.loading.delete(name));
      this.loading.set(name, loading);
    }
    return loading;
  }

  private async load(window: Window, where: Parameters<Log["take"]>[3], which: Which): Promise<RangeAnswer> {
    const load = this.log.load();
    try {
      const page = await this.host.ask({ do: "msg.range", room: this.host.room, ...which, thread: window.thread }, read.range);
      this.log.take(load, page, window, where);
      this.host.moved();
      return page;
    } finally {
      this.log.drop(load);
    }
  }
}
