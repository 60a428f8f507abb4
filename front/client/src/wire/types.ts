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
export type DurableEvent = LogEvent | EventOf<"doc.created" | "doc.applied" | "presence.changed"> | OtherEvent;
/** What is told of messages. With a reply comes how many replies its thread has now. */
export type LogEvent =
  | (EventOf<"msg.posted" | "msg.changed"> & { replies?: number | undefined })
  | EventOf<"msg.reacted" | "msg.appended" | "msg.read">;
export type PushEvent = DurableEvent | EventOf<"doc.cursors" | "presence.typing" | "room.emitted" | "room.reset"> | ResyncEvent;

/** One stream's part of `room.join`, `doc.open`, `presence.list` and `room.resync`. */
export type StreamPart =
  | ({ outcome: "changes"; events: readonly DurableEvent[]; cursors: readonly Cursor[]; unread: Counts | undefined } & Position)
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
      /** A document's text; `undefined` for other streams. */
      content: string | undefined;
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

/** The answer to `room.join`. */
export interface JoinAnswer {
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
  | { kind: "closing"; retryAfterMs: number };
