/** Stoa's client without shared texts, for where every kilobyte counts: rooms with messages and presence. */
import { Stoa, type StoaOptions } from "./stoa.js";

/** Connects to a front, as `connect` of `stoa` does. `room.doc` and `room.map` throw here: they are left out of the bundle. */
export function connect(options: StoaOptions): Stoa {
  return new Stoa(options);
}

export { Stoa } from "./stoa.js";
export type { Limit, StoaEvents, StoaOptions } from "./stoa.js";
export type { ConnectionOptions, ConnectionState, StateChange, Token, TokenReason, Transport, WebSocketConstructor, WebSocketLike } from "./connection.js";
export { Room } from "./room.js";
export type { Action, AppEvents, EmitArguments, Emitted, EmitOptions, Kick, RoomOptions, RoomState } from "./room.js";
export { Devices } from "./devices.js";
export { Messages } from "./messages.js";
export type { MessagesEvents, PostOptions } from "./messages.js";
export type { Thread } from "./thread.js";
export type { Message } from "./shown.js";
export type { MessageStream } from "./message-stream.js";
export { Presence } from "./presence.js";
export type { Member, Person, PresenceCursor, PresenceEvents, Status } from "./presence.js";
export type { Patch } from "./merge.js";
export type { Gone, RoomAccess } from "./wire/index.js";
export type { Storage } from "./storage.js";
export { StoaError } from "./errors.js";
export type { ClientErrorCode, ErrorCode, FrontErrorCode } from "./errors.js";
export type { Off } from "./emitter.js";
export type { CloseReason, DeviceSeen, Json, JsonObject, Message as WireMessage, Reaction, Recipient, Version } from "./frames.js";
