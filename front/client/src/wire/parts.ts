/** Readers of what events and answers are made of. */
import { StoaError } from "../errors.js";
import type { BodyOrNull, Cursor, JsonObject, Member, Message, ReadMark } from "../frames.js";
import { parseOperation, type Operation } from "../ot/operation.js";
import { fields, integer, list, Malformed, optional, string, type Fields } from "./fields.js";
import type { Counts, Position } from "./types.js";

export function position(value: Fields): Position {
  return { epoch: string(value["epoch"], "epoch"), rev: integer(value["rev"], "rev") };
}

export function operation(value: unknown): Operation {
  try {
    return parseOperation(value);
  } catch (error) {
    throw new Malformed(error instanceof Error ? error.message : "op");
  }
}

export function message(value: unknown): Message {
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

export function readMark(value: unknown): ReadMark {
  const from = fields(value, "read");
  return { user: user(from["user"]), n: integer(from["n"], "n") };
}

export function counts(from: Fields): Counts | undefined {
  if (from["unread"] === undefined) return undefined;
  return { read: integer(from["read"], "read"), unread: integer(from["unread"], "unread"), mentions: integer(from["mentions"], "mentions") };
}

export function member(value: unknown): Member {
  const from = fields(value, "member");
  return {
    user: string(from["user"], "user"),
    connections: integer(from["connections"] ?? 1, "connections"),
    since_ms: integer(from["since_ms"] ?? 0, "since_ms"),
    data: fields(from["data"] ?? {}, "data") as JsonObject,
  };
}

export function cursor(value: unknown): Cursor {
  const from = fields(value, "cursor");
  return {
    connection: connection(from["connection"]),
    user: user(from["user"] ?? ""),
    anchor: integer(from["anchor"], "anchor"),
    head: integer(from["head"], "head"),
    data: optional(from["data"], (it) => fields(it, "data") as JsonObject),
  };
}

export const connection = (value: unknown) => string(value, "connection");
export const user = (value: unknown) => string(value, "user");
export const left = (value: unknown) => ({ user: user(fields(value, "left")["user"]) });

export function error(value: unknown): StoaError {
  const from = fields(value, "error");
  return new StoaError(string(from["code"], "code"), string(from["message"] ?? "", "message"), {
    retry: from["retry"] === true,
    retryAfterMs: optional(from["retry_after_ms"], (it) => integer(it, "retry_after_ms")),
  });
}
