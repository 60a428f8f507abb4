/** Stoa's client: `connect`, then rooms with messages, presence and shared texts. */
import { Document } from "./document.js";
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
  return new Stoa(options, (...of) => new Document(...of));
}

export { Devices, Stoa, Room, Messages, MessageStream, Presence, StoaError } from "./core.js";
export type * from "./core.js";
export { colorOf } from "./color.js";
export { Document } from "./document.js";
export type { ChangeOrigin, DocumentEvents, DocumentOptions, DocumentState } from "./document.js";
export type { RemoteCursor } from "./cursors.js";
export type { CursorAt, DocDescription, DocState, DocTagged } from "./frames.js";
export type { OperationsAnswer } from "./wire/index.js";
export * from "./ot/index.js";
