/** Stoa's client: `connect`, then rooms with messages, presence and shared texts. */
export { connect, Stoa } from "./stoa.js";
export type { StoaEvents, StoaOptions } from "./stoa.js";
export type { ConnectionOptions, ConnectionState, StateChange, Token, TokenReason, WebSocketConstructor, WebSocketLike } from "./connection.js";
export { Room } from "./room.js";
export type { RoomOptions, RoomState, Sender } from "./room.js";
export { Messages } from "./messages.js";
export type { Message, MessagesEvents, PostOptions } from "./messages.js";
export { Presence } from "./presence.js";
export type { PresenceEvents } from "./presence.js";
export { Document } from "./document.js";
export type { ChangeOrigin, DocumentEvents, DocumentOptions, DocumentState } from "./document.js";
export type { RemoteCursor } from "./cursors.js";
export { StoaError } from "./errors.js";
export type { ClientErrorCode, ErrorCode, FrontErrorCode } from "./errors.js";
export type { Off } from "./emitter.js";
export type { CloseReason, CursorAt, DocState, Json, JsonObject, Member, Message as WireMessage, Recipient } from "./frames.js";
export type { OperationsAnswer } from "./wire.js";
export * from "./ot/index.js";
