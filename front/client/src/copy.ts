/**
 * A client's copy of a shared text, without line, clock or chance:
 *
 *     synchronised          text = base
 *     awaiting              text = base + inflight             one operation is on its way, or waits for the line
 *     awaiting-with-buffer  text = base + inflight + buffer    what was typed meanwhile, composed to one operation
 *
 * `base` is the front's text at `position`, and nothing but the front's own words moves it: a snapshot (`replace`) or the
 * next accepted operation as the front applied it (`advance`, the client's own ones included). So it cannot deviate,
 * whatever becomes of the pending operations: these decide only what is shown beside it until they are accepted.
 *
 * A snapshot does not say whether the operation in flight is part of it. Until that is known, the pending operations and
 * `text` stay as they are, on the text that they were made on (`anchor`), while base goes on:
 *
 *     in doubt              text = anchor + inflight + buffer
 *
 * Accepted or refused, the end of the operation in flight is the same: base says what is true of it, `text` takes over the
 * difference, and the buffer moves over that.
 */
import {
  apply,
  compose,
  fromDiff,
  invert,
  isNoop,
  normalise,
  sameOperation,
  split,
  transform,
  type Operation,
} from "./ot/index.js";
import { epochNumber } from "./stream.js";
import type { Position } from "./wire/index.js";

/** The operation that is on its way. Its identity stays from the first attempt until its end. */
export interface Inflight {
  readonly client: string;
  readonly seq: number;
  readonly op: Operation;
}

/** All that a copy is, as one value: what survives a reload. */
export interface StoredCopy {
  position: Position;
  elder?: Position | undefined;
  base: string;
  anchor?: string | undefined;
  inflight?: Inflight | undefined;
  buffer?: Operation | undefined;
}

/** What is told of a copy while it moves. */
export interface CopyHooks {
  /** `base` moved by an accepted operation; `user` if it is somebody else's. */
  moved(op: Operation, user: string | undefined): void;
  /** `text` changed, but not through `edit`. */
  shown(op: Operation, user: string | undefined): void;
  /** What turns one text into another; default the smallest edit. */
  difference?(from: string, to: string): Operation;
}

/**
 * Where a revision that the front named stands: `held`: base contains it; `ahead`: events will lead there; `lost`: base has
 * a history in which it is no more; `elsewhere`: of a history that is not known here yet.
 */
export type Standing = "held" | "ahead" | "lost" | "elsewhere";

/**
 * Accepted operations that are kept: to locate positions of others who are a little behind, and to take them back if a failover
 * loses them. A primary that is cut off takes writes for three seconds that are lost with it (`min-replicas-max-lag` and a
 * second), or for ten without `min-replicas-to-write`: this is what 20 people write in those who type five letters a second. All
 * of them take a quarter of a megabyte.
 */
const RECENT_MAX = 1_000;
/** Their size, together, in UTF-16 units of JSON: some large pastes. */
const RECENT_UNITS_MAX = 262_144;

/** Who wrote an operation. */
export interface Writer {
  readonly user?: string | undefined;
  readonly client?: string | undefined;
  readonly seq?: number | undefined;
}

/** An accepted operation. */
export interface Accepted {
  readonly op: Operation;
  /** That of the position before it. */
  readonly epoch: string;
  /** What takes it back. */
  readonly undo: Operation;
  /** Whether it was in flight here. */
  readonly own: boolean;
  /** The size of all before it. */
  readonly units: number;
  readonly client?: string;
  readonly seq?: number;
}

export class Copy {
  /** Where `base` is. */
  position: Position;
  base: string;
  text: string;
  inflight: Inflight | undefined;
  buffer: Operation | undefined;
  /** The last accepted operations, without gaps; the last one made `position`. */
  recent: Accepted[] = [];
  /** The size of all that there ever were. */
  private units = 0;
  anchor: string | undefined;
  /**
   * Where the epoch before that one ended. If its end was not seen, an earlier position of the same epoch: up to there the history
   * may be of older ones.
   */
  elder: Position;
  /** An earlier position, asked instead of `position` since nobody knows the epoch of that one: see `rollback.ts`. */
  asks: Position | undefined;
  private readonly difference: (from: string, to: string) => Operation;

  constructor(
    { position, elder = position, base, anchor, inflight, buffer }: StoredCopy,
    readonly hooks: CopyHooks,
  ) {
    this.difference = hooks.difference ?? difference;
    this.position = position;
    this.elder = elder;
    this.base = base;
    this.anchor = anchor;
    this.inflight = inflight;
    this.buffer = buffer;
    this.text = [inflight?.op ?? [], buffer ?? []].reduce<string>(apply, anchor ?? base);
  }

  /** The operations that lead from base to text. */
  get pending(): Operation[] {
    const pending = this.anchor === undefined ? [] : [this.difference(this.base, this.anchor)];
    if (this.inflight !== undefined) pending.push(this.inflight.op);
    if (this.buffer !== undefined) pending.push(this.buffer);
    return pending;
  }

  get stored(): StoredCopy {
    const { position, elder, base, anchor, inflight, buffer } = this;
    return { position, elder, base, anchor, inflight, buffer };
  }

  /** The user edits `text`. */
  edit(op: Operation): void {
    this.text = apply(this.text, op);
    this.buffer = this.buffer === undefined ? op : compose(this.buffer, op, "early");
  }

  /** Puts the buffer in flight, or as much of it as the bounds allow (see `split`). Call it when nothing is. */
  launch(client: string, seq: number, componentsMax: number, insertMax: number): void {
    if (this.buffer === undefined) return;
    const { first, rest } = split(this.buffer, componentsMax, insertMax);
    this.buffer = rest;
    this.inflight = { client, seq, op: first };
  }

  /** Whether this write is the operation in flight. */
  isInFlight(write: { client?: string | undefined; seq?: number | undefined } | undefined): boolean {
    return write !== undefined && this.inflight !== undefined && this.inflight.client === write.client && this.inflight.seq === write.seq;
  }

  /** The operation in flight as it has to be sent: on base. */
  get outgoing(): Operation {
    const op = this.inflight?.op ?? [];
    return this.anchor === undefined ? op : transform(op, this.difference(this.anchor, this.base), "left");
  }

  /**
   * The front accepted `op`, which made `position`: the one after this one.
   *
   * @param by who wrote it, as far as it is known
   * @returns whether it is what became of the operation in flight
   * @throws StoaError if it does not fit: then base is not what the front has, and nothing has changed
   */
  advance(op: Operation, position: Position, by: Writer = {}): boolean {
    const own = this.isInFlight(by);
    const { user, client, seq } = by;
    const before = this.base;
    this.base = apply(before, op);
    const { recent, units } = this;
    // A copy of its own: pieces of a text keep the whole text in memory.
    const accepted = JSON.stringify({ op, epoch: this.position.epoch, undo: invert(op, before), own, client, seq, units });
    this.units += accepted.length;
    recent.push(JSON.parse(accepted) as Accepted);
    while (recent[0] !== undefined && (recent.length > RECENT_MAX || this.units - recent[0].units > RECENT_UNITS_MAX)) recent.shift();
    this.moveTo(position);
    this.hooks.moved(op, own ? undefined : user);
    if (!own) {
      if (this.anchor === undefined) this.overPending(op, user);
    } else if (this.anchor !== undefined) this.conclude();
    else {
      const mine = this.inflight?.op ?? [];
      this.inflight = undefined;
      // Both sides transform by the same rules over the same operations. If they differ all the same, the front is right.
      if (!sameOperation(mine, op)) this.overPending(this.difference(apply(before, mine), this.base), undefined);
    }
    return own;
  }

  /** The history goes on here, under the epoch of `position`. */
  moveTo(position: Position): void {
    if (position.epoch !== this.position.epoch) this.elder = this.position;
    this.position = position;
  }

  /** The front's text is `content`, whatever came before. */
  replace(content: string, position: Position): void {
    const before = this.base;
    this.base = content;
    this.position = this.elder = position;
    this.recent = [];
    if (this.inflight !== undefined) this.anchor ??= before;
    else this.overPending(this.difference(before, content), undefined);
  }

  /** Where a revision is that the front says it accepted the operation in flight as. */
  standing({ epoch, rev }: Position): Standing {
    if (epoch === this.position.epoch) return rev <= this.position.rev ? "held" : "ahead";
    if (epochNumber(epoch) >= epochNumber(this.position.epoch)) return "elsewhere";
    return rev <= this.elder.rev ? "held" : "lost";
  }

  /** The operation in flight came to its end: it is part of base, or never will be. */
  conclude(): void {
    if (this.inflight === undefined) return;
    const { anchor } = this;
    const { op } = this.inflight;
    this.inflight = this.anchor = undefined;
    this.overPending(anchor === undefined ? invert(op, this.base) : this.difference(apply(anchor, op), this.base), undefined);
  }

  /** Throws the pending operations away. */
  abandon(): void {
    const shown = this.difference(this.text, this.base);
    this.inflight = this.buffer = this.anchor = undefined;
    this.overPending(shown, undefined);
  }

  /** Moves the pending operations over a change of what is below them, and shows it. */
  overPending(op: Operation, user: string | undefined): void {
    let shown = op;
    if (this.inflight !== undefined) {
      const mine = this.inflight.op;
      this.inflight = { ...this.inflight, op: transform(mine, shown, "left") };
      shown = transform(shown, mine, "right");
    }
    if (this.buffer !== undefined) {
      const mine = this.buffer;
      this.buffer = transform(mine, shown, "left");
      shown = transform(shown, mine, "right");
      if (this.buffer.length === 0) this.buffer = undefined;
    }
    if (isNoop(shown)) return;
    this.text = apply(this.text, shown);
    this.hooks.shown(shown, user);
  }
}

/** What turns one text into another. Texts that cannot be compared (half a character in one) are replaced as a whole. */
function difference(from: string, to: string): Operation {
  try {
    return fromDiff(from, to);
  } catch {
    return normalise([to, -from.length]);
  }
}
