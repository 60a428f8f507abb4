import type { Pages } from "./pages.js";
import type { Message } from "./shown.js";
import type { Window } from "./window.js";

/** The replies under one message; get it from `messages.thread(n)`. */
export interface Thread {
  /** The replies that are held, oldest first; a new list after each change of the messages. */
  readonly list: readonly Message[];
  /** Whether there are older ones. */
  readonly more: boolean;
  /** Whether the newest reply is held: new ones come by themselves then. */
  readonly atEnd: boolean;
  /** Loads up to `count` (1 to 100, default 50) replies before the first. Resolves with whether there are still older ones. */
  older(count?: number): Promise<boolean>;
  /** Lets go of the replies. */
  close(): void;
}

/** A window on a thread, as applications see it. */
export function threadOf(window: Window, pages: Pages, compose: () => readonly Message[], close: () => void): Thread {
  return {
    get list() {
      return compose();
    },
    get more() {
      return window.moreBefore;
    },
    get atEnd() {
      return !window.moreAfter;
    },
    older: (count = 50) => (window.last === undefined ? pages.thread(window, count) : pages.extend(window, "before", count)),
    close,
  };
}
