/** Readers of events, of a stream's part of an answer, which has events in it, and of whole frames. */
import type { Json, Snapshot } from "../frames.js";
import { fields, integer, list, Malformed, object, optional, string, strings, type Fields } from "./fields.js";
import { access, counts, cursor, error, member, message, pointer, position, readMark } from "./parts.js";
import type { DurableEvent, PushEvent, ServerFrame, StreamPart } from "./types.js";

export function streamPart(from: Fields): StreamPart {
  const { outcome } = from;
  if (outcome === "missing") return { outcome };
  // In a text somebody is at a position; in a room they point anywhere.
  const places = list(from, "cursors", (it) => it);
  const all = {
    ...position(from),
    cursors: places.filter((it) => !("cursor" in it)).map(cursor),
    pointers: places.filter((it) => "cursor" in it).map(pointer),
    typing: strings(from, "typing"),
    unread: counts(from),
  };
  if (outcome === "changes") return { outcome, ...all, events: list(from, "events", pushEvent).filter(isDurable) };
  if (outcome !== "snapshot" && outcome !== undefined) throw new Malformed(`outcome ${String(outcome)}`);
  return {
    outcome: "snapshot",
    ...all,
    because: string(from, "because", "first") as Snapshot["because"],
    history_end: optional(integer, from, "history_end"),
    messages: list(from, "messages", message),
    more: from["more"] === true,
    reads: list(from, "reads", readMark),
    members: list(from, "members", member),
    count: integer(from, "count", 0),
    content: optional(string, from, "content"),
  };
}

/** Whether an event has a revision, that is, takes part in the order of a stream. */
export function isDurable(event: PushEvent | undefined): event is DurableEvent {
  return event !== undefined && "from" in event;
}

/** `undefined` for an ephemeral event that this client does not know: newer fronts may send some. */
export function pushEvent(from: Fields): PushEvent | undefined {
  const room = () => ({ room: string(from, "room") });
  const stream = () => ({ ...room(), stream: string(from, "stream") });
  const durable = () => ({ ...stream(), ...position(from), from: integer(from, "from") });
  const { event } = from;
  switch (event) {
    case "msg.posted":
    case "msg.changed":
      return { event, ...durable(), message: message(object(from, "message")), replies: optional(integer, from, "replies") };
    case "msg.reacted":
      return {
        event,
        ...durable(),
        n: integer(from, "n"),
        user: string(from, "user"),
        reaction: string(from, "reaction"),
        added: from["added"] === true,
        count: integer(from, "count"),
      };
    case "msg.appended":
      return { event, ...durable(), n: integer(from, "n"), at: integer(from, "at"), chunk: string(from, "chunk") };
    case "msg.read":
      return { event, ...durable(), reads: list(from, "reads", readMark) };
    case "doc.created":
      return { event, ...durable(), type: string(from, "type", "text") };
    case "doc.applied":
      return {
        event,
        ...durable(),
        op: from["op"],
        at_ms: integer(from, "at_ms", 0),
        user: optional(string, from, "user"),
        client: optional(string, from, "client"),
        seq: optional(integer, from, "seq"),
      };
    case "presence.changed":
      return {
        event,
        ...durable(),
        count: integer(from, "count", 0),
        joined: list(from, "joined", member),
        updated: list(from, "updated", member),
        left: list(from, "left", (it) => ({ user: string(it, "user") })),
      };
    case "doc.cursors":
      return { event, ...stream(), ...position(from), cursors: list(from, "cursors", cursor), gone: strings(from, "gone") };
    case "presence.cursors":
      return { event, ...room(), cursors: list(from, "cursors", pointer), gone: strings(from, "gone") };
    case "presence.typing":
      return { event, ...room(), users: strings(from, "users") };
    case "room.emitted":
      return {
        event,
        ...room(),
        name: string(from, "name"),
        data: (from["data"] ?? null) as Json,
        user: optional(string, from, "user"),
        connection: optional(string, from, "connection"),
        payload: undefined,
      };
    case "room.access":
      return { event, ...room(), ...access(from) };
    case "room.kicked":
      return { event, ...room(), reason: optional(string, from, "reason"), by: optional(string, from, "by") };
    case "room.reset":
      return { event, ...stream() };
    case "room.resync":
      return { event, ...stream(), part: streamPart(from) };
    default:
      return "from" in from && "rev" in from && "stream" in from ? { event: "other", ...durable() } : undefined;
  }
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
        frames.push({ kind: "closing", retryAfterMs: integer(from, "retry_after_ms") });
        continue;
      }
      if (from["event"] === "auth.expiring") {
        frames.push({ kind: "expiring" });
        continue;
      }
      if ("event" in from) {
        const event = pushEvent(from);
        if (event !== undefined) frames.push({ kind: "event", event });
        continue;
      }
      const id = optional(integer, from, "id") ?? null;
      if ("error" in from) frames.push({ kind: "error", id, error: error(object(from, "error")) });
      else if ("ok" in from) frames.push({ kind: "reply", id, ok: from["ok"] });
      else throw new Malformed("neither event nor reply");
    } catch (fault) {
      skipped(fault instanceof Error ? fault.message : String(fault));
    }
  }
  return frames;
}
