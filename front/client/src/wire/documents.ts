/** Readers of what only documents use: an application without them does not carry these. */
import type { DocDescription, DocState } from "../frames.js";
import { parseOperation, type Operation } from "../ot/operation.js";
import { done } from "./answers.js";
import { pushEvent } from "./events.js";
import { integer, items, list, Malformed, string, type Fields } from "./fields.js";
import { position } from "./parts.js";
import type { OperationsAnswer, SubmitAnswer } from "./types.js";

/** An operation as it came. */
export function operation(value: unknown): Operation {
  try {
    return parseOperation(value);
  } catch (error) {
    throw new Malformed(error instanceof Error ? error.message : "op");
  }
}

export const submitted = (from: Fields): SubmitAnswer => ({
  ...done(from),
  op: from["op"] === undefined ? undefined : operation(from["op"]),
  concurrent: items(from, "concurrent").map(operation),
});

export const document = (from: Fields): DocState => ({ ...position(from), type: string(from, "type", "text"), content: string(from, "content") });

export const description = (from: Fields): DocDescription => ({
  ...(from as unknown as DocDescription),
  ...position(from),
  tags: list(from, "tags", (it) => ({ name: string(it, "name"), rev: integer(it, "rev"), at_ms: integer(it, "at_ms") })),
});

export const operations = (from: Fields): OperationsAnswer => ({
  ...position(from),
  outcome: string(from, "outcome"),
  through: integer(from, "through"),
  events: list(from, "events", pushEvent)
    .filter((event) => event?.event === "doc.applied")
    .map((event) => ({ ...event, op: operation(event.op) })),
});
