/** Readers of the answers. Each is a function of its own, so that an application carries only those that it uses. */
import type { StoaError } from "../errors.js";
import type { BodyOrNull, DeviceSeen, Version } from "../frames.js";
import { streamPart } from "./events.js";
import { fields, integer, items, list, Malformed, object, optional, string, type Fields } from "./fields.js";
import { access, counts, error, member, message, position } from "./parts.js";
import type { ConnectAnswer, Counts, Gone, Here, JoinAnswer, Position, RangeAnswer, WriteAnswer } from "./types.js";

export const nothing = (_: Fields): void => undefined;

export function connect(from: Fields): ConnectAnswer {
  const rooms = Object.keys(object(from, "rooms", {})).map((name): [string, JoinAnswer | StoaError] => {
    const room = object(from["rooms"] as Fields, name);
    return [name, "error" in room ? error(object(room, "error")) : join(room)];
  });
  return {
    connection: string(from, "connection"),
    user: string(from, "user"),
    name: optional(string, from, "name"),
    ping_interval_ms: optional(integer, from, "ping_interval_ms"),
    rooms: new Map(rooms),
  };
}

export function join(from: Fields): JoinAnswer {
  const streams = object(from, "streams");
  return { ...access(from), streams: new Map(Object.keys(streams).map((name) => [name, streamPart(object(streams, name))])) };
}

export const stream = streamPart;

/** Whether the room's list is different now. */
export const accessChanged = (from: Fields): boolean => from["changed"] === true;

/** How many connections of those who were sent out were listed. */
export const kicked = (from: Fields): number => integer(from, "connections");

/** What the answer to any write says. */
export const done = (from: Fields) => ({ ...position(from), duplicate: from["duplicate"] === true });

export const written = (from: Fields): WriteAnswer => ({
  ...done(from),
  n: integer(from, "n"),
  changed: from["changed"] !== false,
  length: integer(from, "length", 0),
  cancelled: from["cancelled"] === true,
});

export function unread(from: Fields): Counts & Position {
  const unread = counts(from);
  if (unread === undefined) throw new Malformed("unread is missing");
  return { ...position(from), ...unread };
}

export const range = (from: Fields): RangeAnswer => ({
  ...position(from),
  messages: list(from, "messages", message),
  more_before: from["more_before"] === true,
  more_after: from["more_after"] === true,
});

export const versions = (from: Fields): readonly Version[] =>
  list(from, "versions", (it) => ({ at_ms: integer(it, "at_ms"), user: string(it, "user"), body: it["body"] as BodyOrNull }));

export const people = (from: Fields): readonly (Here | Gone | null)[] =>
  items(from, "people").map((it) => {
    if (it === null) return null;
    const person = fields(it, "people");
    if (person["here"] !== true) return { user: string(person, "user"), here: false, last_seen_ms: integer(person, "last_seen_ms") };
    const { connections: _connections, ...here } = member(person);
    return { ...here, here: true };
  });

export const devices = (from: Fields): readonly DeviceSeen[] =>
  list(from, "devices", (it) => ({ ...(it as unknown as DeviceSeen), connection: string(it, "connection") }));
