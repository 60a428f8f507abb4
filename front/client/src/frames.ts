/**
 * The frames of the protocol as types, and the one place where what comes off the wire is checked. Names and fields are
 * the protocol's own; times are milliseconds, lengths UTF-16 code units.
 */
import { StoaError } from "./errors.js";
import { parseOperation, type Operation } from "./ot/operation.js";

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** A JSON object. */
export type JsonObject = { [key: string]: Json };

/** What a client remembers of a stream in order to resume: epoch and revision, `"7.9f3a12c0:1042"`. */
export interface Position {
  epoch: string;
  rev: number;
}

/** The position as it travels. */
export const formatPosition = (position: Position) => `${position.epoch}:${position.rev}`;

/** A message as the front sends it. */
export interface WireMessage {
  /** Its number in the room's log, from 1, growing. */
  n: number;
  user: string;
  type: string;
  /** When it was accepted, milliseconds since 1970 on the server's clock. */
  at_ms: number;
  body: JsonObject | string;
  /** The number of the message that this one answers. */
  reply?: number;
  /** With `seq`: the identity of the write, if the writer gave one. */
  client?: string;
  seq?: number;
}

/** Somebody who is here, with all of their connections. */
export interface Member {
  user: string;
  /** How many connections they have in this room. */
  connections: number;
  /** Since when, milliseconds since 1970 on the server's clock. */
  since_ms: number;
  /** What they said about themselves; the front puts the token's `name` here. */
  data: JsonObject;
}

/** The answer to a write. */
export interface WrittenAnswer extends Position {
  duplicate: boolean;
}
/** The answer to `msg.post`. */
export interface PostedAnswer extends WrittenAnswer {
  n: number;
}
/** The answer to `doc.submit`. */
export interface SubmittedAnswer extends WrittenAnswer {
  op: Operation;
  /** What others had accepted between the base and this operation. */
  concurrent: Operation[];
}
/** The answer to `msg.range`. */
export interface RangeAnswer {
  messages: WireMessage[];
  more: boolean;
}

interface Durable extends Position {
  room: string;
  stream: string;
  /** The revision before this event. */
  from: number;
}
/** A message was posted. */
export interface PostedEvent extends Durable {
  event: "msg.posted";
  message: WireMessage;
}
/** A document was made. */
export interface CreatedEvent extends Durable {
  event: "doc.created";
  type: string;
}
/** An operation was accepted. */
export interface AppliedEvent extends Durable {
  event: "doc.applied";
  op: Operation;
  at_ms: number | undefined;
  user: string | undefined;
  client: string | undefined;
  seq: number | undefined;
}
/** People came, changed, went. */
export interface PresenceEvent extends Durable {
  event: "presence.changed";
  count: number;
  joined: Member[];
  updated: Member[];
  left: { user: string }[];
}
/** The list of those who type changed. */
export interface TypingEvent {
  event: "presence.typing";
  room: string;
  users: string[];
}
/** An ephemeral event of the application. */
export interface EmittedEvent {
  event: "room.emitted";
  room: string;
  name: string;
  data: Json;
  user: string | undefined;
  connection: string | undefined;
}
/** A stream was deleted or replaced; with an empty name all streams of the room. */
export interface ResetEvent {
  event: "room.reset";
  room: string;
  stream: string;
}
/** A stream's snapshot, unasked. */
export interface ResyncEvent {
  event: "room.resync";
  room: string;
  stream: string;
  part: StreamPart;
}
/** An event of a newer front that this client does not know: it only moves the position. */
export interface OtherEvent extends Durable {
  event: "other";
}
export type DurableEvent = PostedEvent | CreatedEvent | AppliedEvent | PresenceEvent | OtherEvent;
export type PushEvent = DurableEvent | TypingEvent | EmittedEvent | ResetEvent | ResyncEvent;

/** Why a snapshot came instead of the missed events. */
export type Because = "first" | "trimmed" | "far" | "rollback" | "reset" | (string & {});

/** One stream's part of `room.join`, `doc.open`, `presence.list` and `room.resync`. */
export type StreamPart =
  | ({ outcome: "changes"; events: DurableEvent[] } & Position)
  | ({
      outcome: "snapshot";
      because: Because;
      /** With `rollback`: the last revision that still exists. */
      history_end: number | undefined;
      messages: WireMessage[];
      more: boolean;
      members: Member[];
      count: number;
      typing: string[];
      /** A document's text; `undefined` for other streams. */
      content: string | undefined;
    } & Position)
  | { outcome: "missing" };

/** The answer to `room.join`. */
export interface JoinAnswer {
  streams: ReadonlyMap<string, StreamPart>;
}

/** The answer to `connect`. */
export interface ConnectAnswer {
  connection: string;
  user: string;
  name: string | undefined;
  ping_interval_ms: number | undefined;
  rooms: ReadonlyMap<string, JoinAnswer | StoaError>;
}

/** A frame to the front, without its id. */
export interface Command {
  do: string;
  [field: string]: unknown;
}

/** A frame from the front. */
export type ServerFrame =
  | { kind: "reply"; id: number | null; ok: unknown }
  | { kind: "error"; id: number | null; error: StoaError }
  | { kind: "event"; event: PushEvent };

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

function message(value: unknown): WireMessage {
  const from = fields(value, "message");
  const body = from["body"];
  const out: WireMessage = {
    n: integer(from["n"], "n"),
    user: string(from["user"] ?? "", "user"),
    type: string(from["type"] ?? "text", "type"),
    at_ms: integer(from["at_ms"] ?? 0, "at_ms"),
    body: typeof body === "string" ? body : (fields(body ?? {}, "body") as JsonObject),
  };
  if (typeof from["reply"] === "number") out.reply = from["reply"];
  if (typeof from["client"] === "string") out.client = from["client"];
  if (typeof from["seq"] === "number") out.seq = from["seq"];
  return out;
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

const user = (value: unknown) => string(value, "user");
const left = (value: unknown) => ({ user: user(fields(value, "left")["user"]) });

function streamPart(value: unknown): StreamPart {
  const from = fields(value, "stream");
  const outcome = from["outcome"];
  if (outcome === "missing") return { outcome };
  if (outcome === "changes") {
    const events = list(from["events"], "events", (item) => pushEvent(fields(item, "event")));
    return { outcome, ...position(from), events: events.filter(isDurable) };
  }
  if (outcome !== "snapshot" && outcome !== undefined) throw new Malformed(`outcome ${String(outcome)}`);
  return {
    outcome: "snapshot",
    ...position(from),
    because: optional(from["because"], (it) => string(it, "because")) ?? "first",
    history_end: optional(from["history_end"], (it) => integer(it, "history_end")),
    messages: list(from["messages"], "messages", message),
    more: from["more"] === true,
    members: list(from["members"], "members", member),
    count: integer(from["count"] ?? 0, "count"),
    typing: list(from["typing"], "typing", user),
    content: optional(from["content"], (it) => string(it, "content")),
  };
}

/** Whether an event has a revision, that is, takes part in the order of a stream. */
export function isDurable(event: PushEvent | undefined): event is DurableEvent {
  return event !== undefined && "rev" in event;
}

/** `undefined` for an ephemeral event that this client does not know: newer fronts may send some. */
function pushEvent(from: Fields): PushEvent | undefined {
  const room = () => string(from["room"], "room");
  const stream = () => string(from["stream"], "stream");
  const durable = () => ({ room: room(), stream: stream(), from: integer(from["from"], "from"), ...position(from) });
  switch (from["event"]) {
    case "msg.posted":
      return { event: "msg.posted", ...durable(), message: message(from["message"]) };
    case "doc.created":
      return { event: "doc.created", ...durable(), type: string(from["type"] ?? "text", "type") };
    case "doc.applied":
      return {
        event: "doc.applied",
        ...durable(),
        op: operation(from["op"]),
        at_ms: optional(from["at_ms"], (it) => integer(it, "at_ms")),
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
    case "presence.typing":
      return { event: "presence.typing", room: room(), users: list(from["users"], "users", user) };
    case "room.emitted":
      return {
        event: "room.emitted",
        room: room(),
        name: string(from["name"], "name"),
        data: (from["data"] ?? null) as Json,
        user: optional(from["user"], user),
        connection: optional(from["connection"], (it) => string(it, "connection")),
      };
    case "room.reset":
      return { event: "room.reset", room: room(), stream: stream() };
    case "room.resync":
      return { event: "room.resync", room: room(), stream: stream(), part: streamPart(from) };
    default:
      return "rev" in from && "stream" in from ? { event: "other", ...durable() } : undefined;
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

const written = (from: Fields): WrittenAnswer => ({ ...position(from), duplicate: from["duplicate"] === true });

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
  posted: reader((from): PostedAnswer => ({ ...written(from), n: integer(from["n"], "n") })),
  submitted: reader((from): SubmittedAnswer => ({
    ...written(from),
    op: operation(from["op"]),
    concurrent: list(from["concurrent"], "concurrent", operation),
  })),
  range: reader((from): RangeAnswer => ({
    messages: list(from["messages"], "messages", message),
    more: from["more"] === true,
  })),
};
