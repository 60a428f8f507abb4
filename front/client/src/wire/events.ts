/** Readers of events, of a stream's part of an answer, which has events in it, and of whole frames. */
import type { Json, Snapshot } from "../frames.js";
import { fields, integer, list, Malformed, optional, string, type Fields } from "./fields.js";
import { connection, counts, cursor, error, left, member, message, operation, position, readMark, user } from "./parts.js";
import type { DurableEvent, PushEvent, ServerFrame, StreamPart } from "./types.js";

export function streamPart(value: unknown): StreamPart {
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
export function pushEvent(from: Fields): PushEvent | undefined {
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
