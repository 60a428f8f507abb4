/** Where people point in a room: the cursors of its connections, whatever a cursor is to the application. */
import type { StoaError } from "./errors.js";
import type { Json, Pointer } from "./frames.js";
import { retryDelayMs } from "./retry.js";
import type { PointersEvent } from "./wire/index.js";

/** A cursor ends on the server 60 s after it was last told; while it should be seen it is told again this often. */
const REPEAT_MS = 20_000;
/** One that rests for this long is told no more, and ends: whoever left the mouse on the table shall not seem to be active. */
const REST_MS = 300_000;
/** What is told of cursors may get lost: one that was not heard of for this long is not there any more. */
const GONE_AFTER_MS = 65_000;

/** What cursors need of their room. */
export interface PointersHost {
  /** The own cursor is told at most this often. */
  readonly everyMs: number;
  /** The id of this connection, whose cursor is not shown. */
  connection(): string | undefined;
  tell(cursor: Json, done: (error?: StoaError) => void): void;
  /** Somebody's cursor came, moved or went. */
  changed(): void;
}

export class Pointers {
  /** Others' cursors, by connection. A new map after each change. */
  all: ReadonlyMap<string, Pointer> = new Map();
  /** When each was heard of last, the longest ago first. */
  private readonly heardAt = new Map<string, number>();
  private sweeper: ReturnType<typeof setTimeout> | undefined;
  private own: Json = null;
  /** The front has to hear of the own cursor, as soon as there is a line and it is time. */
  private untold = false;
  /** The front may know of one. */
  private isKnown = false;
  private live = false;
  private notBefore = -Infinity;
  private movedAt = 0;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: PointersHost) {}

  /** Moves the own cursor; `null` takes it away. */
  set(cursor: Json): void {
    this.own = cursor;
    this.movedAt = Date.now();
    // What is to be told may be that there is none any more.
    this.untold ||= cursor !== null || this.isKnown;
    this.flush();
  }

  /** The front's word on all cursors. */
  adopt(pointers: readonly Pointer[]): void {
    this.take(new Map(), pointers);
  }

  receive({ cursors, gone }: Pick<PointersEvent, "cursors" | "gone">): void {
    const all = new Map(this.all);
    for (const connection of gone) all.delete(connection);
    this.take(all, cursors);
  }

  /** The room is joined: the front may know this connection for the first time. */
  joined(): void {
    this.live = true;
    this.untold = this.own !== null;
    this.flush();
  }

  /** The line broke: nobody knows where the others point, and the own cursor ended. */
  cut(): void {
    clearTimeout(this.timer);
    this.live = this.isKnown = false;
    this.notBefore = -Infinity;
    this.adopt([]);
  }

  private take(all: Map<string, Pointer>, pointers: readonly Pointer[]): void {
    for (const pointer of pointers) {
      const { connection } = pointer;
      if (connection === this.host.connection()) continue;
      all.set(connection, pointer);
      this.heardAt.delete(connection);
      this.heardAt.set(connection, Date.now());
    }
    if (all.size === 0 && this.all.size === 0) return;
    this.all = all;
    this.sweep();
    this.host.changed();
  }

  /** Lets go of cursors that nobody told for too long, now and when the next one is due. */
  private sweep(): void {
    clearTimeout(this.sweeper);
    const gone = [];
    for (const [connection, heardAt] of this.heardAt) {
      const left = heardAt + GONE_AFTER_MS - Date.now();
      if (this.all.has(connection) && left > 0) {
        this.sweeper = setTimeout(() => this.sweep(), left);
        break;
      }
      this.heardAt.delete(connection);
      if (this.all.has(connection)) gone.push(connection);
    }
    if (gone.length > 0) this.receive({ cursors: [], gone });
  }

  private flush(): void {
    if (!this.live || !this.untold) return;
    const wait = this.notBefore - Date.now();
    if (wait > 0) return this.later(wait);
    this.untold = false;
    this.later(REPEAT_MS);
    this.notBefore = Date.now() + this.host.everyMs;
    const told = this.own;
    if (told !== null) this.isKnown = true;
    this.host.tell(told, (error) => {
      if (error === undefined) {
        this.failures = 0;
        if (told === null && this.own === null) this.isKnown = false;
      }
      // The last value counts: it is told as soon as it may be. What else is refused would be refused again.
      if (error?.retry !== true || !this.live) return;
      this.untold = true;
      this.notBefore = Date.now() + retryDelayMs(this.failures++, error);
      this.flush();
    });
  }

  /** Tells after a while what is untold by then, or the same again. */
  private later(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.untold ||= this.own !== null && Date.now() - this.movedAt < REST_MS;
      this.flush();
    }, ms);
  }
}
