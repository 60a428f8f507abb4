import type { Position } from "./frames.js";

/**
 * Where an event stands relative to what is held of its stream: `next` is the one to take, `old` is held already, `gap`
 * means that something between is missing, so the stream has to be opened again.
 *
 * The epoch's number grows with each replacement of the history: an event of an older one comes late, one of a newer
 * one may follow directly.
 */
export function orderOf(held: Position, event: Position & { from: number }): "next" | "old" | "gap" {
  if (event.epoch !== held.epoch) {
    if (epochNumber(event.epoch) < epochNumber(held.epoch)) return "old";
    return event.from === held.rev ? "next" : "gap";
  }
  if (event.rev <= held.rev) return "old";
  return event.from === held.rev ? "next" : "gap";
}

/** `"7.9f3a12c0"` is the seventh. */
const epochNumber = (epoch: string) => Number.parseInt(epoch, 10);
