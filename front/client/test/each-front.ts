/** What most tests begin with: a fake front for each of them, and time that passes when the test says so. */
import { afterEach, beforeEach, vi } from "vitest";
import { FakeFront } from "./fake-front.js";
// Loaded when they are needed first, which would take time that the tests do not let pass.
import "../src/lost.js";
import "../src/pages.js";
import "../src/rollback.js";
import "../src/writers.js";
import type { Random } from "./random.js";

/** The front of the test that runs. */
export let front: FakeFront;

/** Puts a front that knows nothing in the place of the one before. */
export function renewFront(): void {
  front = new FakeFront();
}

/** Lets so much time pass, and all that is due in it happen. */
export const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** A new front on bad lines: answers take their time, and some events come twice. All chance comes from `random`. */
export function wildFront(random: Random): FakeFront {
  // Retries spread by chance as well: all of it has to come from the seed, or a failure could not be brought back.
  vi.spyOn(Math, "random").mockImplementation(random.next);
  renewFront();
  front.random = random.next;
  front.delay = () => random.below(120);
  front.duplicates = 0.05;
  return front;
}

beforeEach(() => {
  vi.useFakeTimers();
  // Nothing but the fake front's sockets: what is done without WebSockets is tested with real fronts.
  vi.stubGlobal("fetch", undefined);
  renewFront();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});
