/**
 * What becomes of a copy when a failover ends its history at an earlier revision. Loaded when that happens.
 *
 * The operations o1 … on after that revision are gone. Each client makes its own ones again, so everybody's come back; here the
 * others' are taken out of the text, and the own ones are kept as if they had been made without them. `others` is the
 * operation that does that. It grows with the history, where T is the text with all of it and V the text with own ones only:
 *
 *     T0 ── o1 ──▶ T1 ── o2 ──▶ T2 …       own:      V moves by o, transformed over `others`, which moves over o
 *     ‖         others│      others│        others':  V stays; `others` takes o back first, then does what it did
 *     V0 ────────▶ V1 ────────▶ V2 …
 *
 * The pending operations then move over it like over anybody's.
 *
 * Of all these only the first own one may be known to the server that took over: sent again by the front that had no answer to
 * it. It keeps its identity for that. Each later one was made on a text that has the one before it, so on a revision that is
 * gone, and cannot have been accepted; they become one operation with a new identity, which costs one way and not many.
 */
import type { Accepted, Copy, Inflight } from "./copy.js";
import { apply, compose, isNoop, transform, type Bias, type Operation } from "./ot/index.js";
import type { SyncHooks } from "./sync.js";
import type { Turns } from "./turns.js";
import type { Position, StreamPart } from "./wire/index.js";

/** What it takes to roll back. */
export interface RollbackHost {
  /** This client's undos are told as those of `<client>:undo`. */
  readonly room: { readonly client: string };
  /** What else waits to be written: it goes after the edits that are pending again. */
  readonly turns: Turns;
  /** Is told of it. */
  readonly hooks: Pick<SyncHooks, "lost">;
}

/**
 * Takes a copy back to where the history ends that it shares with the front's, with own operations as pending ones; if what came
 * after that is not kept, it forgets its recent operations instead. Then its position is to be asked again.
 *
 * @param part how the front answered the copy's position. `reset` means that it never heard of that epoch: either this is another
 * document, or all that was written in that epoch is lost. The end of the epoch before tells: it is asked next (`asks`)
 */
export function rollBack(copy: Copy, part: StreamPart, { room, turns, hooks }: RollbackHost): void {
  const from = copy.asks ?? copy.position;
  const because = part.outcome === "snapshot" ? part.because : undefined;
  // Whatever came after a position that was asked instead, it is good.
  let at = because === "first" ? undefined : copy.asks;
  if (part.outcome === "snapshot" && because === "rollback") at = { ...from, rev: part.history_end ?? Infinity };
  if (because === "reset") at = elderThan(copy, from);
  const count = copy.position.rev - (at?.rev ?? Infinity);
  // While the text is in doubt, no operations lead to it.
  const canTakeBack = count > 0 && count <= copy.recent.length && copy.anchor === undefined;
  copy.asks = undefined;
  if (at === undefined || !canTakeBack) copy.recent = [];
  else if (because === "reset") copy.asks = at;
  else {
    takeBack(copy, at, copy.recent.slice(-count), room.client, turns);
    hooks.lost(at.rev, true);
  }
}

/** Where an epoch before that of `from` was left, as far as it is known. */
function elderThan({ recent, position }: Copy, from: Position): Position | undefined {
  for (let rev = from.rev - 1; rev >= position.rev - recent.length; rev--) {
    const epoch = recent.at(rev - position.rev)?.epoch;
    if (epoch !== undefined && epoch !== from.epoch) return { epoch, rev };
  }
  return undefined;
}

function takeBack(copy: Copy, at: Position, lost: readonly Accepted[], client: string, turns: Turns): void {
  const undo = composed(lost.map((it) => it.undo).reverse(), "late");
  const { mine, others } = apart(lost, ownOf(lost, client, turns));
  copy.base = apply(copy.base, undo);
  // What is older than that epoch is not known.
  if (at.epoch !== copy.position.epoch) copy.elder = at;
  copy.position = at;
  copy.recent.splice(-lost.length);
  copy.hooks.moved(undo, undefined);
  copy.overPending(others, undefined);
  const [first, ...more] = mine;
  if (first === undefined) return;
  const rest = composed([...more.map(({ op }) => op), ...copy.pending], "early");
  copy.inflight = first;
  copy.buffer = isNoop(rest) ? undefined : rest;
  for (const turn of turns.waiting) turn.isBehind ||= !turns.busy || turn !== turns.waiting[0];
}

/**
 * Which of some operations in a row this client makes again: its edits, but for those that it took back. What takes back or
 * restores is not made again: it may bring others' words, which only they make again, and the server counts what was taken back.
 */
function ownOf(operations: readonly Accepted[], client: string, turns: Turns): Set<Accepted> {
  const own = new Set<Accepted>();
  const edits: Accepted[] = [];
  for (const it of operations) {
    if (it.own) own.add(it);
    if (it.client === client) edits.push(it);
    // It took back the newest; one whose answer is awaited will.
    if (it.client === `${client}:undo` && !turns.waiting.some(({ seq }) => seq === it.seq)) own.delete(edits.pop() ?? it);
  }
  return own;
}

/** The own ones of some operations in a row, as if they had been made without the others; and what takes the others out of the text. */
function apart(operations: readonly Accepted[], own: Set<Accepted>): { mine: Inflight[]; others: Operation } {
  const mine: Inflight[] = [];
  let others: Operation = [];
  for (const it of operations) {
    const { op, undo, client, seq } = it;
    if (client !== undefined && seq !== undefined && own.has(it)) {
      mine.push({ client, seq, op: transform(op, others, "left") });
      others = transform(others, op, "right");
    } else others = compose(undo, others, "late");
  }
  return { mine, others };
}

/** One operation that does what those in a row do: by halves, since composing one by one with a growing one is quadratic. */
function composed(operations: readonly Operation[], bias: Bias): Operation {
  const half = operations.length >> 1;
  return half === 0 ? (operations[0] ?? []) : compose(composed(operations.slice(0, half), bias), composed(operations.slice(half), bias), bias);
}
