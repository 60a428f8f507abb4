/** Readers of what events and answers are made of. */
import { StoaError } from "../errors.js";
import type { BodyOrNull, Cursor, Json, JsonObject, Member, Message, Pointer, ReadMark } from "../frames.js";
import { integer, object, optional, string, strings, type Fields } from "./fields.js";
import type { Counts, Position, RoomAccess } from "./types.js";

export const position = (from: Fields): Position => ({ epoch: string(from, "epoch"), rev: integer(from, "rev") });

export const access = (from: Fields): RoomAccess => ({ role: string(from, "role"), actions: strings(from, "actions") });

export function message(from: Fields): Message {
  const { body = null, reactions, mentions } = from;
  // What is not checked is as the front sends it: only what this library itself relies on is looked at.
  return {
    ...(from as Partial<Message>),
    n: integer(from, "n"),
    user: string(from, "user", ""),
    type: string(from, "type", "text"),
    at_ms: integer(from, "at_ms", 0),
    body: body === null || typeof body === "string" ? body : (object(from, "body") as BodyOrNull),
    ...(reactions !== undefined && { reactions: object(from, "reactions") as NonNullable<Message["reactions"]> }),
    ...(mentions !== undefined && { mentions: strings(from, "mentions") }),
  };
}

export const readMark = (from: Fields): ReadMark => ({ user: string(from, "user"), n: integer(from, "n") });

export function counts(from: Fields): Counts | undefined {
  if (from["unread"] === undefined) return undefined;
  return { read: integer(from, "read"), unread: integer(from, "unread"), mentions: integer(from, "mentions") };
}

export const member = (from: Fields): Member => ({
  user: string(from, "user"),
  connections: integer(from, "connections", 1),
  since_ms: integer(from, "since_ms", 0),
  status: string(from, "status", "online"),
  color: string(from, "color", ""),
  data: object(from, "data", {}) as JsonObject,
});

const data = (from: Fields, name: string) => object(from, name) as JsonObject;

export const cursor = (from: Fields): Cursor => ({
  connection: string(from, "connection"),
  user: string(from, "user", ""),
  anchor: integer(from, "anchor"),
  head: integer(from, "head"),
  data: optional(data, from, "data"),
});

export const pointer = (from: Fields): Pointer => ({
  connection: string(from, "connection"),
  user: string(from, "user", ""),
  cursor: (from["cursor"] ?? null) as Json,
});

export const error = (from: Fields): StoaError =>
  new StoaError(string(from, "code"), string(from, "message", ""), {
    retry: from["retry"] === true,
    retryAfterMs: optional(integer, from, "retry_after_ms"),
  });
