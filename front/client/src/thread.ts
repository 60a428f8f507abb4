import type { Message } from "./shown.js";

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
