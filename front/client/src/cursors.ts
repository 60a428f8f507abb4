/**
 * Where people are in a text. Others' positions are kept in the text that the front has (`base`): each accepted operation
 * moves them, and what is pending here is added when somebody looks. The own position is kept in the text that is shown.
 */
import type { StoaError } from "./errors.js";
import type { Cursor, CursorAt, JsonObject } from "./frames.js";
import { transformPosition, transformSelection, type Operation } from "./ot/index.js";
import { epochNumber } from "./stream.js";
import type { CursorsEvent, Position } from "./wire/index.js";

/** The own cursor is told at most this often, however fast somebody moves. */
const TELL_EVERY_MS = 50;
/** A cursor ends on the server 60 s after it was last told; while it should be seen it is told again this often. */
const REPEAT_MS = 20_000;
/** One that rests for this long is told no more, and ends: whoever left the room in front of the screen shall not seem active. */
const REST_MS = 300_000;
/** Events may get lost on a line that is behind: whoever was not heard of for this long is not there any more. */
const GONE_AFTER_MS = 65_000;
/** Events about texts that have not come yet; a line that is so far behind is brought up to date anyway. */
const EARLY_MAX = 200;

/** Where somebody else is in the text. */
export interface RemoteCursor {
  /** One per connection: somebody with two windows has two cursors. */
  readonly connection: string;
  readonly user: string;
  /** The end of the selection that stays, in `text`, in UTF-16 code units. */
  readonly anchor: number;
  /** The end that moves: where the caret is. Equal to `anchor` when nothing is selected. */
  readonly head: number;
  /** What is known of them: their presence data, and over it what they told with the cursor. */
  readonly data: JsonObject;
}

/** What cursors need of their document. */
export interface CursorsHost {
  /** Where `base` is; `undefined` while it cannot be trusted. */
  position(): Position | undefined;
  /** The last accepted operations. */
  recent(): readonly { readonly op: Operation }[];
  /** The operations that lead from `base` to the text. */
  pending(): readonly Operation[];
  length(): number;
  /** Whether the text is the front's, and the line stands. */
  isSynchronised(): boolean;
  connection(): string | undefined;
  dataOf(user: string): JsonObject;
  /** `done` is called with what refused it, if anything did. */
  tell(cursor: CursorAt | null, rev: number, done: (error?: StoaError) => void): void;
  /** Somebody came, moved or went. */
  changed(): void;
}

interface Known extends Cursor {
  heardAt: number;
}

/** The cursors of one document. */
export class Cursors {
  private readonly known = new Map<string, Known>();
  private early: CursorsEvent[] = [];
  private news = false;
  private sweeper: ReturnType<typeof setTimeout> | undefined;

  private own: CursorAt | undefined;
  /** Something is to be told, as soon as the text is synchronised. */
  private untold = false;
  /** What the front heard last on this line. */
  private told: string | undefined;
  private toldAt = -Infinity;
  private movedAt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: CursorsHost) {}

  /** Others' cursors in the text that is shown, by connection. */
  get all(): ReadonlyMap<string, RemoteCursor> {
    const pending = this.host.pending();
    const end = this.host.length();
    const out = new Map<string, RemoteCursor>();
    for (const { connection, user, anchor, head, data } of this.known.values()) {
      const at = pending.reduce<[number, number]>(([a, h], op) => transformSelection(a, h, op), [anchor, head]);
      const both = { ...this.host.dataOf(user), ...data };
      out.set(connection, { connection, user, anchor: Math.min(at[0], end), head: Math.min(at[1], end), data: both });
    }
    return out;
  }

  /** The front's word on who is where, in the text of `base`. */
  adopt(cursors: readonly Cursor[]): void {
    this.news ||= this.known.size > 0 || cursors.length > 0;
    this.known.clear();
    this.early = [];
    for (const cursor of cursors) this.put(cursor);
    this.sweep();
    // The front may know this connection for the first time.
    this.told = undefined;
    this.untold = this.own !== undefined;
  }

  receive(event: CursorsEvent): void {
    this.early.push(event);
    if (this.early.length > EARLY_MAX) this.early.shift();
    this.drain();
  }

  /** `base` has moved by an accepted operation. */
  moved(op: Operation, user: string | undefined): void {
    for (const cursor of this.known.values()) {
      // Whoever types moves with what they type; everybody else stays before it.
      if (cursor.user === user) for (const end of ["anchor", "head"] as const) cursor[end] = transformPosition(cursor[end], op, "right");
      else [cursor.anchor, cursor.head] = transformSelection(cursor.anchor, cursor.head, op);
    }
    this.drain();
  }

  /** The user has edited what is shown. */
  edited(op: Operation): void {
    if (this.own === undefined) return;
    const { anchor, head } = this.own;
    this.own = { ...this.own, anchor: transformPosition(anchor, op, "right"), head: transformPosition(head, op, "right") };
    this.movedAt = Date.now();
    this.untold = true;
  }

  /** What is shown has changed, but not through the user. The front moves the cursor that it knows by the same rule. */
  shown(op: Operation): void {
    if (this.own === undefined) return;
    const [anchor, head] = transformSelection(this.own.anchor, this.own.head, op);
    this.own = { ...this.own, anchor, head };
  }

  set(cursor: CursorAt | null): void {
    if (cursor !== null) {
      this.own = { ...cursor, anchor: this.bounded(cursor.anchor), head: this.bounded(cursor.head) };
      this.movedAt = Date.now();
      this.untold = true;
      return this.flush();
    }
    this.own = undefined;
    this.untold = false;
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.told !== undefined) this.takeAway();
    this.told = undefined;
  }

  /** Says what there is to say: to the front if the text is synchronised, and to listeners. */
  flush(): void {
    if (this.news) {
      this.news = false;
      this.host.changed();
    }
    if (!this.untold || !this.host.isSynchronised()) return;
    const wait = this.toldAt + TELL_EVERY_MS - Date.now();
    if (wait <= 0) this.tell();
    else this.again(wait);
  }

  /** The line broke, or the document is not there: nobody knows where the others are. */
  clear(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.adopt([]);
  }

  private bounded(position: number): number {
    return Math.max(0, Math.min(Math.trunc(position) || 0, this.host.length()));
  }

  private tell(): void {
    const position = this.host.position();
    if (this.own === undefined || position === undefined) return;
    this.untold = false;
    const now = Date.now();
    const what = JSON.stringify([position, this.own]);
    if (what !== this.told || now - this.toldAt >= REPEAT_MS) {
      this.told = what;
      this.toldAt = now;
      this.host.tell(this.own, position.rev, (error) => {
        if (error?.retryAfterMs === undefined || this.own === undefined) return;
        // The newest counts: it is told as soon as it may be.
        this.told = undefined;
        this.untold = true;
        this.toldAt = Date.now() + error.retryAfterMs - TELL_EVERY_MS;
        this.flush();
      });
    }
    this.again(this.toldAt + REPEAT_MS - now);
  }

  private takeAway(): void {
    this.host.tell(null, this.host.position()?.rev ?? 0, (error) => {
      if (error?.retryAfterMs === undefined || this.own !== undefined) return;
      this.timer = setTimeout(() => this.takeAway(), error.retryAfterMs);
    });
  }

  /** Tells again after a while: what has changed until then, or the same. */
  private again(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.untold ||= this.own !== undefined && Date.now() - this.movedAt < REST_MS;
      this.flush();
    }, ms);
  }

  private drain(): void {
    const position = this.host.position();
    while (position !== undefined && this.early.length > 0) {
      const event = this.early[0] as CursorsEvent;
      const isOlder = event.epoch !== position.epoch && epochNumber(event.epoch) < epochNumber(position.epoch);
      const behind = position.rev - event.rev;
      if (behind < 0 && !isOlder) return;
      this.early.shift();
      const recent = this.host.recent();
      if (isOlder || behind > recent.length) continue;
      const over = recent.slice(recent.length - behind);
      for (const connection of event.gone) this.news = this.known.delete(connection) || this.news;
      for (const cursor of event.cursors) {
        const [anchor, head] = over.reduce<[number, number]>(([a, h], { op }) => transformSelection(a, h, op), [cursor.anchor, cursor.head]);
        this.put({ ...cursor, anchor, head });
      }
      this.sweep();
    }
  }

  private put(cursor: Cursor): void {
    if (cursor.connection === this.host.connection()) return;
    // Put at the end: the first one is the one that was not heard of for the longest time.
    this.known.delete(cursor.connection);
    this.known.set(cursor.connection, { ...cursor, heardAt: Date.now() });
    this.news = true;
  }

  private sweep(): void {
    clearTimeout(this.sweeper);
    for (const [connection, { heardAt }] of this.known) {
      const left = heardAt + GONE_AFTER_MS - Date.now();
      if (left > 0) {
        this.sweeper = setTimeout(() => {
          this.sweep();
          this.flush();
        }, left);
        return;
      }
      this.known.delete(connection);
      this.news = true;
    }
  }
}
