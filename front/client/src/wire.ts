/**
 * The one place where what comes off the wire is checked: readers from JSON to the types of the protocol, which
 * `frames.ts` has from the front itself. What a reader gives has no holes: lists that were left out are empty.
 */
import { StoaError } from "./errors.js";
import type {
  BodyOrNull,
  CommandFrame,
  Connected,
  Cursor,
  DocPage,
  DocState,
  DocSubmitted,
  Event,
  Json,
  JsonObject,
  Member,
  Message,
  MsgPage,
  MsgUnread,
  ReadMark,
  Snapshot,
  Version,
} from "./frames.js";
import { parseOperation, type Operation } from "./ot/operation.js";

/** What a client remembers of a stream in order to resume: epoch and revision, `"7.9f3a12c0:1042"`. */
export interface Position {
  epoch: string;
  rev: number;
}

/** The position as it travels. */
export const formatPosition = (position: Position) => `${position.epoch}:${position.rev}`;

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

/** Thrown inside this file: the frame is not of its form. */
class Malformed extends Error {}

type Fields = Readonly<Record<string, unknown>>;

function fields(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Malformed(`${what} is not an object`);
  return value as Fields;
}
function string(value: unknown, what: string): string {
  if (typeof value !== "string") throw new Malformed(`${what} is not a string`);
  return value;
}
function integer(value: unknown, what: string): number {
  if (!Number.isSafeInteger(value)) throw new Malformed(`${what} is not a whole number`);
  return value as number;
}
function list<T>(value: unknown, what: string, item: (value: unknown) => T): T[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Malformed(`${what} is not a list`);
  return value.map(item);
}
const optional = <T>(value: unknown, read: (value: unknown) => T): T | undefined =>
  value === undefined || value === null ? undefined : read(value);

function position(value: Fields): Position {
  return { epoch: string(value["epoch"], "epoch"), rev: integer(value["rev"], "rev") };
}

function operation(value: unknown): Operation {
  try {
    return parseOperation(value);
  } catch (error) {
    throw new Malformed(error instanceof Error ? error.message : "op");
  }
}

function message(value: unknown): Message {
  const from = fields(value, "message");
  const body = from["body"] ?? null;
  // What is not checked is as the front sends it: only what this library itself relies on is looked at.
  return {
    ...(from as Partial<Message>),
    n: integer(from["n"], "n"),
    user: string(from["user"] ?? "", "user"),
    type: string(from["type"] ?? "text", "type"),
    at_ms: integer(from["at_ms"] ?? 0, "at_ms"),
    body: body === null || typeof body === "string" ? body : (fields(body, "body") as BodyOrNull),
    ...(from["reactions"] === undefined ? {} : { reactions: fields(from["reactions"], "reactions") as NonNullable<Message["reactions"]> }),
    ...(from["mentions"] === undefined ? {} : { mentions: list(from["mentions"], "mentions", user) }),
  };
}

function readMark(value: unknown): ReadMark {
  const from = fields(value, "read");
  return { user: user(from["user"]), n: integer(from["n"], "n") };
}

function counts(from: Fields): Counts | undefined {
  if (from["unread"] === undefined) return undefined;
  return { read: integer(from["read"], "read"), unread: integer(from["unread"], "unread"), mentions: integer(from["mentions"], "mentions") };
}

function member(value: unknown): Member {
  const from = fields(value, "member");
  return {
    user: string(from["user"], "user"),
    connections: integer(from["connections"] ?? 1, "connections"),
    since_ms: integer(from["since_ms"] ?? 0, "since_ms"),
    data: fields(from["data"] ?? {}, "data") as JsonObject,
  };
}

function cursor(value: unknown): Cursor {
  const from = fields(value, "cursor");
  return {
    connection: connection(from["connection"]),
    user: user(from["user"] ?? ""),
    anchor: integer(from["anchor"], "anchor"),
    head: integer(from["head"], "head"),
    data: optional(from["data"], (it) => fields(it, "data") as JsonObject),
  };
}

const connection = (value: unknown) => string(value, "connection");
const user = (value: unknown) => string(value, "user");
const left = (value: unknown) => ({ user: user(fields(value, "left")["user"]) });

function streamPart(value: unknown): StreamPart {
  const from = fields(value, "stream");
  const outcome = from["outcome"];
  if (outcome === "missing") return { outcome };
  const cursors = list(from["cursors"], "cursors", cursor);
  if (outcome === "changes") {
    const events = list(from["events"], "events", (item) => pushEvent(fields(item, "event")));
    return { outcome, ...position(from), events: events.filter(isDurable), cursors, unread: counts(from) };
  }
  if (outcome !== "snapshot" && outcome !== undefined) throw new Malformed(`outcome ${String(outcome)}`);
  return {
    outcome: "snapshot",
    ...position(from),
    because: (optional(from["because"], (it) => string(it, "because")) ?? "first") as Snapshot["because"],
    history_end: optional(from["history_end"], (it) => integer(it, "history_end")),
    messages: list(from["messages"], "messages", message),
    more: from["more"] === true,
    reads: list(from["reads"], "reads", readMark),
    unread: counts(from),
    members: list(from["members"], "members", member),
    count: integer(from["count"] ?? 0, "count"),
    typing: list(from["typing"], "typing", user),
    content: optional(from["content"], (it) => string(it, "content")),
    cursors,
  };
}

/** Whether an event has a revision, that is, takes part in the order of a stream. */
export function isDurable(event: PushEvent | undefined): event is DurableEvent {
  return event !== undefined && "from" in event;
}

/** `undefined` for an ephemeral event that this client does not know: newer fronts may send some. */
function pushEvent(from: Fields): PushEvent | undefined {
  const room = () => string(from["room"], "room");
  const stream = () => string(from["stream"], "stream");
  const durable = () => ({ room: room(), stream: stream(), from: integer(from["from"], "from"), ...position(from) });
  switch (from["event"]) {
    case "msg.posted":
    case "msg.changed":
      return {
        event: from["event"],
        ...durable(),
        message: message(from["message"]),
        replies: optional(from["replies"], (it) => integer(it, "replies")),
      };
    case "msg.reacted":
      return {
        event: "msg.reacted",
        ...durable(),
        n: integer(from["n"], "n"),
        user: user(from["user"]),
        reaction: string(from["reaction"], "reaction"),
        added: from["added"] === true,
        count: integer(from["count"], "count"),
      };
    case "msg.appended":
      return {
        event: "msg.appended",
        ...durable(),
        n: integer(from["n"], "n"),
        at: integer(from["at"], "at"),
        chunk: string(from["chunk"], "chunk"),
      };
    case "msg.read":
      return { event: "msg.read", ...durable(), reads: list(from["reads"], "reads", readMark) };
    case "doc.created":
      return { event: "doc.created", ...durable(), type: string(from["type"] ?? "text", "type") };
    case "doc.applied":
      return {
        event: "doc.applied",
        ...durable(),
        op: operation(from["op"]),
        at_ms: integer(from["at_ms"] ?? 0, "at_ms"),
        user: optional(from["user"], user),
        client: optional(from["client"], (it) => string(it, "client")),
        seq: optional(from["seq"], (it) => integer(it, "seq")),
      };
    case "presence.changed":
      return {
        event: "presence.changed",
        ...durable(),
        count: integer(from["count"] ?? 0, "count"),
        joined: list(from["joined"], "joined", member),
        updated: list(from["updated"], "updated", member),
        left: list(from["left"], "left", left),
      };
    case "doc.cursors":
      return {
        event: "doc.cursors",
        room: room(),
        stream: stream(),
        ...position(from),
        cursors: list(from["cursors"], "cursors", cursor),
        gone: list(from["gone"], "gone", connection),
      };
    case "presence.typing":
      return { event: "presence.typing", room: room(), users: list(from["users"], "users", user) };
    case "room.emitted":
      return {
        event: "room.emitted",
        room: room(),
        name: string(from["name"], "name"),
        data: (from["data"] ?? null) as Json,
        user: optional(from["user"], user),
        connection: optional(from["connection"], connection),
      };
    case "room.reset":
      return { event: "room.reset", room: room(), stream: stream() };
    case "room.resync":
      return { event: "room.resync", room: room(), stream: stream(), part: streamPart(from) };
    default:
      return "from" in from && "rev" in from && "stream" in from ? { event: "other", ...durable() } : undefined;
  }
}

function error(value: unknown): StoaError {
  const from = fields(value, "error");
  return new StoaError(string(from["code"], "code"), string(from["message"] ?? "", "message"), {
    retry: from["retry"] === true,
    retryAfterMs: optional(from["retry_after_ms"], (it) => integer(it, "retry_after_ms")),
  });
}

/**
 * Reads the frames of one WebSocket message. What is malformed is given to `skipped` and left out: a frame that cannot be
 * read must not take those beside it along.
 */
export function parseFrames(text: string, skipped: (why: string) => void): ServerFrame[] {
  const frames: ServerFrame[] = [];
  for (const line of text.split("\n")) {
    if (line === "") continue;
    try {
      const from = fields(JSON.parse(line), "frame");
      if (from["event"] === "connection.closing") {
        frames.push({ kind: "closing", retryAfterMs: integer(from["retry_after_ms"], "retry_after_ms") });
        continue;
      }
      if ("event" in from) {
        const event = pushEvent(from);
        if (event !== undefined) frames.push({ kind: "event", event });
        continue;
      }
      const id = optional(from["id"], (it) => integer(it, "id")) ?? null;
      if ("error" in from) frames.push({ kind: "error", id, error: error(from["error"]) });
      else if ("ok" in from) frames.push({ kind: "reply", id, ok: from["ok"] });
      else throw new Malformed("neither event nor reply");
    } catch (fault) {
      skipped(fault instanceof Error ? fault.message : String(fault));
    }
  }
  return frames;
}

/** Makes a reader of answers: a malformed answer becomes an `INTERNAL` error of the front. */
function reader<T>(read: (from: Fields) => T): (ok: unknown) => T {
  return (ok) => {
    try {
      return read(fields(ok, "ok"));
    } catch (fault) {
      throw new StoaError("INTERNAL", `the front's answer is malformed: ${fault instanceof Error ? fault.message : ""}`);
    }
  };
}

const written = (from: Fields) => ({ ...position(from), duplicate: from["duplicate"] === true });

const joined = (value: unknown): JoinAnswer => {
  const streams = fields(fields(value, "room")["streams"], "streams");
  return { streams: new Map(Object.entries(streams).map(([name, part]) => [name, streamPart(part)])) };
};

/** Readers of the answers, by command. */
export const read = {
  nothing: (_ok: unknown): void => undefined,
  connect: reader((from): ConnectAnswer => {
    const rooms = Object.entries(fields(from["rooms"] ?? {}, "rooms")).map(
      ([name, room]): [string, JoinAnswer | StoaError] => {
        const refusal = fields(room, "room")["error"];
        return [name, refusal === undefined ? joined(room) : error(refusal)];
      },
    );
    return {
      connection: string(from["connection"], "connection"),
      user: string(from["user"], "user"),
      name: optional(from["name"], (it) => string(it, "name")),
      ping_interval_ms: optional(from["ping_interval_ms"], (it) => integer(it, "ping_interval_ms")),
      rooms: new Map(rooms),
    };
  }),
  join: reader(joined),
  stream: reader(streamPart),
  written: reader((from): WriteAnswer => ({
    ...written(from),
    n: integer(from["n"], "n"),
    changed: from["changed"] !== false,
    length: integer(from["length"] ?? 0, "length"),
    cancelled: from["cancelled"] === true,
  })),
  unread: reader((from): Counts & Position => {
    const unread = counts(from);
    if (unread === undefined) throw new Malformed("unread is missing");
    return { ...position(from), ...unread };
  }),
  versions: reader((from): readonly Version[] =>
    list(from["versions"], "versions", (item) => {
      const version = fields(item, "version");
      return { at_ms: integer(version["at_ms"], "at_ms"), user: user(version["user"]), body: version["body"] as BodyOrNull };
    }),
  ),
  submitted: reader((from): SubmitAnswer => ({
    ...written(from),
    op: optional(from["op"], operation),
    concurrent: list(from["concurrent"], "concurrent", operation),
  })),
  document: reader((from): DocState => ({
    ...position(from),
    type: string(from["type"] ?? "text", "type"),
    content: string(from["content"], "content"),
  })),
  operations: reader((from): OperationsAnswer => ({
    ...position(from),
    outcome: string(from["outcome"], "outcome"),
    through: integer(from["through"], "through"),
    events: list(from["events"], "events", (item) => pushEvent(fields(item, "event"))).filter((event) => event?.event === "doc.applied"),
  })),
  range: reader((from): RangeAnswer => ({
    ...position(from),
    messages: list(from["messages"], "messages", message),
    more_before: from["more_before"] === true,
    more_after: from["more_after"] === true,
  })),
};
