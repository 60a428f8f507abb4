/** What comes off the wire, as the readers give it: lists that were left out are empty. The rest is as in `frames.ts`. */
import type { StoaError } from "../errors.js";
import type {
  CommandFrame,
  Connected,
  Cursor,
  DocPage,
  DocSubmitted,
  Event,
  Member,
  Message,
  MsgPage,
  MsgUnread,
  PersonSeen,
  Pointer,
  ReadMark,
  Snapshot,
} from "../frames.js";
import type { Operation } from "../ot/operation.js";

/** What a client remembers of a stream in order to resume: epoch and revision, `"7.9f3a12c0:1042"`. */
export interface Position {
  epoch: string;
  rev: number;
}

/** The events of one name. */
type EventOf<Name extends Event["event"]> = Extract<Event, { event: Name }>;
export type CursorsEvent = EventOf<"doc.cursors">;
export type PointersEvent = EventOf<"presence.cursors">;
/** A stream's snapshot, unasked. */
export interface ResyncEvent {
  event: "room.resync";
  room: string;
  stream: string;
  part: StreamPart;
}
/** An event of a newer front that this client does not know: it only moves the position. */
export interface OtherEvent extends Position {
  event: "other";
  room: string;
  stream: string;
  from: number;
}
/** An event that takes part in the order of a stream. */
export type DurableEvent = LogEvent | EventOf<"doc.created" | "presence.changed"> | AppliedEvent | OtherEvent;
/** An operation was accepted. What it is, is read where there are documents. */
export type AppliedEvent = Omit<EventOf<"doc.applied">, "op"> & { op: unknown };
/** What is told of messages. With a reply comes how many replies its thread has now. */
export type LogEvent =
  | (EventOf<"msg.posted" | "msg.changed"> & { replies?: number | undefined })
  | EventOf<"msg.reacted" | "msg.appended" | "msg.read">;
export type PushEvent =
  | DurableEvent
  | EventOf<"doc.cursors" | "presence.cursors" | "presence.typing" | "room.access" | "room.kicked" | "room.reset">
  | EmittedEvent
  | ResyncEvent;

/** An event of the application; its payload comes behind the frame. */
export type EmittedEvent = Omit<EventOf<"room.emitted">, "payload"> & { payload: Uint8Array<ArrayBuffer> | undefined };

/** Somebody who is here, as `presence.get` tells it. */
export type Here = { here: true } & Omit<Member, "connections">;
/** Somebody who was here once. */
export interface Gone extends Pick<PersonSeen, "user"> {
  here: false;
  /** When they left, in milliseconds of Unix time. */
  last_seen_ms: number;
}

/** One stream's part of `room.join`, `doc.open`, `presence.list` and `room.resync`. */
export type StreamPart =
  | ({
      outcome: "changes";
      events: readonly DurableEvent[];
      cursors: readonly Cursor[];
      pointers: readonly Pointer[];
      typing: readonly string[];
      unread: Counts | undefined;
    } & Position)
  | ({
      outcome: "snapshot";
      because: Snapshot["because"];
      /** With `rollback`: the last revision that still exists. */
      history_end: number | undefined;
      messages: readonly Message[];
      more: boolean;
      /** The log's: up to where people have read. */
      reads: readonly ReadMark[];
      /** The log's: what this user has not read. */
      unread: Counts | undefined;
      members: readonly Member[];
      count: number;
      typing: readonly string[];
      /** Presence: where people point. */
      pointers: readonly Pointer[];
      /** A document's text; `undefined` for other streams. */
      content: string | undefined;
      /** A document's. */
      cursors: readonly Cursor[];
    } & Position)
  | { outcome: "missing" };

/** What a user has not read of a log. */
export type Counts = Pick<MsgUnread, "read" | "unread" | "mentions">;

/** The answer to any write of a message; the last three only where the command has them. */
export interface WriteAnswer extends Position {
  n: number;
  duplicate: boolean;
  changed: boolean;
  length: number;
  cancelled: boolean;
}

/** The answer to `msg.range`. */
export type RangeAnswer = Omit<MsgPage, "more">;

/** The answer to `doc.ops`. */
export interface OperationsAnswer extends Omit<DocPage, "events"> {
  events: readonly EventOf<"doc.applied">[];
}

/** The answer to `doc.submit`. */
export interface SubmitAnswer extends Omit<DocSubmitted, "op"> {
  /** As it was applied; `undefined` for one accepted before that is no longer kept. */
  op: Operation | undefined;
}

/** What this user may do in a room. */
export interface RoomAccess {
  /** The role in the room's list, or the name that fits the actions: `viewer`, `commenter`, `editor`, `owner`, or one of the operator's. */
  role: string;
  /** Those that are allowed. A newer front may name some that this client does not know. */
  actions: readonly string[];
}

/** The answer to `room.join`. */
export interface JoinAnswer extends RoomAccess {
  streams: ReadonlyMap<string, StreamPart>;
}

/** The answer to `connect`. */
export interface ConnectAnswer extends Omit<Connected, "rooms" | "ping_interval_ms"> {
  ping_interval_ms: number | undefined;
  rooms: ReadonlyMap<string, JoinAnswer | StoaError>;
}

type WithoutId<Frame> = Frame extends unknown ? Omit<Frame, "id"> : never;
/** A frame to the front, without its id. */
export type Command = WithoutId<CommandFrame>;

/** A frame from the front. */
export type ServerFrame =
  | { kind: "reply"; id: number | null; ok: unknown }
  | { kind: "error"; id: number | null; error: StoaError }
  | { kind: "event"; event: PushEvent }
  /** The front ends the connection next. */
  | { kind: "closing"; retryAfterMs: number }
  /** The token ends soon. */
  | { kind: "expiring" };
