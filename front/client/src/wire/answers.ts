/** Readers of the answers, by command. */
import { StoaError } from "../errors.js";
import type { BodyOrNull, DocDescription, DocState, Version } from "../frames.js";
import { pushEvent, streamPart } from "./events.js";
import { fields, integer, list, Malformed, optional, string, type Fields } from "./fields.js";
import { counts, error, message, operation, position, user } from "./parts.js";
import type { ConnectAnswer, Counts, JoinAnswer, OperationsAnswer, Position, RangeAnswer, SubmitAnswer, WriteAnswer } from "./types.js";

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
  description: reader((from): DocDescription => ({
    ...(from as unknown as DocDescription),
    ...position(from),
    tags: list(from["tags"], "tags", (item) => {
      const tag = fields(item, "tag");
      return { name: string(tag["name"], "name"), rev: integer(tag["rev"], "rev"), at_ms: integer(tag["at_ms"], "at_ms") };
    }),
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
