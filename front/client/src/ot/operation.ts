/**
 * The operation on a text: what one edit does, walked from the start of the text.
 *
 *     [5, "text", -3]      keep 5, insert "text", delete 3; what follows is kept
 *
 * Every length and position counts UTF-16 code units: what `String.length`, CodeMirror and textareas count.
 *
 * Canonical form: no empty component, neighbours of one kind merged, no retain at the end. Insert and delete are never
 * swapped: on which side of a deleted stretch an insert stands decides where it goes when others' operations meet it.
 */
import { StoaError } from "../errors.js";

/** A positive number keeps, a negative number deletes, a string inserts. Lengths are UTF-16 code units. */
export type Component = number | string;

/** An edit: see the head of this file. Operations are values: no function here changes its arguments. */
export type Operation = readonly Component[];

/**
 * Which text comes first when two operations insert at one place. The server puts the arriving operation to the left
 * of what it has already accepted; so a client transforms its own pending operation `"left"` and the accepted one that
 * it receives `"right"`.
 */
export type Side = "left" | "right";

/** Appends a component, merging it with a neighbour of its kind. Empty components vanish. */
export function push(op: Component[], component: Component): void {
  if (component === 0 || component === "") return;
  const last = op.length - 1;
  const previous = op[last];
  if (typeof previous === "string" && typeof component === "string") op[last] = previous + component;
  else if (typeof previous === "number" && typeof component === "number" && previous > 0 === component > 0)
    op[last] = previous + component;
  else op.push(component);
}

/** Takes the retain from the end, which says nothing. */
export function trim(op: Component[]): Component[] {
  const last = op[op.length - 1];
  if (typeof last === "number" && last > 0) op.pop();
  return op;
}

/** The canonical form of an operation. */
export function normalise(op: Operation): Operation {
  const out: Component[] = [];
  for (const component of op) push(out, component);
  return trim(out);
}

/** Whether an operation (in any form) changes nothing. */
export function isNoop(op: Operation): boolean {
  return op.every((component) => component === "" || (typeof component === "number" && component >= 0));
}

/** Whether two operations are the same after normalisation. */
export function sameOperation(a: Operation, b: Operation): boolean {
  const left = normalise(a);
  const right = normalise(b);
  return left.length === right.length && left.every((component, i) => component === right[i]);
}

/** How much of the text before it an operation walks over: the text must be at least this long. */
export function baseLength(op: Operation): number {
  let length = 0;
  for (const component of op) if (typeof component === "number") length += Math.abs(component);
  return length;
}

/** How far the operation's own output reaches: what it keeps plus what it inserts. */
export function outputLength(op: Operation): number {
  let length = 0;
  for (const component of op) length += typeof component === "string" ? component.length : Math.max(component, 0);
  return length;
}

/** The longest length that an operation may carry: what the server counts in 32 bits. */
const LENGTH_MAX = 2 ** 32 - 1;

/**
 * Checks that a value is an operation and brings it into canonical form. Use it on whatever comes from outside.
 *
 * @throws StoaError `INVALID_OPERATION` for anything that is not a list of strings and whole numbers, for a lone
 * surrogate in an insert, and for lengths beyond 2^32-1.
 */
export function parseOperation(value: unknown): Operation {
  if (!Array.isArray(value)) throw invalid("an operation is a list");
  const out: Component[] = [];
  let length = 0;
  for (const component of value as readonly unknown[]) {
    if (typeof component === "string") {
      if (!isWellFormed(component)) throw invalid("an insert contains half of a surrogate pair");
      push(out, component);
    } else if (typeof component === "number" && Number.isInteger(component)) {
      length += Math.abs(component);
      if (length > LENGTH_MAX) throw invalid(`lengths add up to more than ${LENGTH_MAX}`);
      push(out, component);
    } else throw invalid("a component is a whole number or a string");
  }
  return trim(out);
}

/**
 * The text after an operation.
 *
 * @throws StoaError `INVALID_OPERATION` if the operation reaches beyond the end of the text.
 */
export function apply(text: string, op: Operation): string {
  const parts: string[] = [];
  let position = 0;
  for (const component of op) {
    if (typeof component === "string") {
      parts.push(component);
      continue;
    }
    const end = position + Math.abs(component);
    if (end > text.length) throw invalid(`the operation reaches ${end}, the text ends at ${text.length}`);
    if (component > 0) parts.push(text.slice(position, end));
    position = end;
  }
  parts.push(text.slice(position));
  return parts.join("");
}

/** The operation that takes `op` back. `text` is the text before `op`. */
export function invert(op: Operation, text: string): Operation {
  const out: Component[] = [];
  let position = 0;
  for (const component of op) {
    if (typeof component === "string") push(out, -component.length);
    else if (component > 0) {
      push(out, component);
      position += component;
    } else {
      push(out, text.slice(position, position - component));
      position -= component;
    }
  }
  return trim(out);
}

/**
 * Cuts an operation in two that do the same one after the other, so that a large paste fits the bounds of a frame.
 * `rest` applies to the text after `first`; it is `undefined` when the operation is small enough as it is.
 *
 * @param componentsMax components in `first`
 * @param insertMax inserted UTF-16 units in `first`
 */
export function split(op: Operation, componentsMax: number, insertMax: number): { first: Operation; rest?: Operation } {
  const first: Component[] = [];
  let inserted = 0;
  for (let i = 0; i < op.length; i++) {
    const component = op[i] as Component;
    if (typeof component === "string" && inserted + component.length > insertMax) {
      // A pair of surrogates stays together, whatever the bound says.
      let cut = Math.max(insertMax - inserted, 0);
      if (cut > 0 && isLowSurrogate(component, cut)) cut -= 1;
      if (cut === 0 && inserted === 0) cut = isLowSurrogate(component, 1) ? 2 : 1;
      push(first, component.slice(0, cut));
      return divide(first, [component.slice(cut), ...op.slice(i + 1)]);
    }
    if (first.length >= componentsMax) return divide(first, op.slice(i));
    push(first, component);
    if (typeof component === "string") inserted += component.length;
  }
  return { first: trim(first) };
}

function divide(first: Component[], tail: readonly Component[]): { first: Operation; rest?: Operation } {
  const rest = normalise([outputLength(first), ...tail]);
  return rest.length > 0 ? { first: trim(first), rest } : { first: trim(first) };
}

/** Whether a string has no half of a surrogate pair standing alone. */
export function isWellFormed(text: string): boolean {
  // With the `u` flag a whole pair is one character, so this finds only halves.
  return !/\p{Surrogate}/u.test(text);
}

/** Whether the unit at `position` is the second half of a pair whose first half stands before it. */
export function isLowSurrogate(text: string, position: number): boolean {
  const unit = text.charCodeAt(position);
  if (!(unit >= 0xdc00 && unit <= 0xdfff)) return false;
  const before = text.charCodeAt(position - 1);
  return before >= 0xd800 && before <= 0xdbff;
}

export function invalid(message: string): StoaError {
  return new StoaError("INVALID_OPERATION", message);
}
