import type { Position } from "./wire/index.js";

/**
 * Where an event stands relative to what is held of its stream: `next` is the one to take, `old` is held already, `gap`
 * means that only the front knows how the two belong together, so the stream has to be opened again.
 *
 * The epoch's number grows when the history goes on after a failover or restart, and then an event may follow directly.
 * With any other change of the epoch this is not the history that is held (a stream that was made anew counts from 1).
 */
export function orderOf(held: Position, event: Position & { from: number }): "next" | "old" | "gap" {
  if (event.epoch === held.epoch) {
    if (event.rev <= held.rev) return "old";
    return event.from === held.rev ? "next" : "gap";
  }
  return epochNumber(event.epoch) > epochNumber(held.epoch) && event.from === held.rev ? "next" : "gap";
}

/** `"7.9f3a12c0"` is the seventh. */
export const epochNumber = (epoch: string) => Number.parseInt(epoch, 10);
