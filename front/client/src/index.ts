/** Stoa's client: `connect`, then rooms with messages, presence and shared texts. */
import { Document } from "./document.js";
import { SharedMap } from "./map.js";
import { Stoa, type StoaOptions } from "./stoa.js";

/**
 * Connects to a front.
 *
 * ```ts
 * const stoa = connect({ url: "/ws", token: () => fetchToken() });
 * const room = stoa.room("lobby");
 * room.messages.on("change", () => render(room.messages.list));
 * room.messages.post({ text: "hi" });
 * ```
 */
export function connect(options: StoaOptions): Stoa {
  return new Stoa(options, { document: (...of) => new Document(...of), map: (...of) => new SharedMap(...of) });
}

export { Devices, Stoa, Room, Messages, Presence, StoaError } from "./core.js";
export type * from "./core.js";
export { colorOf } from "./color.js";
export { Document } from "./document.js";
export type { ChangeOrigin, DocumentEvents, DocumentOptions, DocumentState } from "./document.js";
export { SharedMap } from "./map.js";
export type { SharedMapEvents } from "./map.js";
export type { RemoteCursor } from "./cursors.js";
export type { CursorAt, DocDescription, DocState, DocTagged } from "./frames.js";
export type { OperationsAnswer } from "./wire/index.js";
export * from "./ot/index.js";
