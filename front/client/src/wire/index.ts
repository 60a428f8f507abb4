/**
 * The one place where what comes off the wire is checked: readers from JSON to the types of the protocol, which
 * `frames.ts` has from the front itself. What a reader gives has no holes: lists that were left out are empty.
 *
 * The readers of answers are in `answers.ts`: `import * as read from "./wire/answers.js"`.
 */
import type { Position } from "./types.js";

export type * from "./types.js";
export { binaryFrame, parseBinary } from "./binary.js";
export { parseFrames } from "./events.js";
export { fields, type Fields, type Reader } from "./fields.js";

/** The position as it travels. */
export const formatPosition = (position: Position) => `${position.epoch}:${position.rev}`;
