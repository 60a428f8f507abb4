/**
 * How operations on one text meet: `transform` when they were made at the same time, `compose` when one follows the
 * other. The rules are those of the server, component by component; both sides are held to the same frozen cases.
 */
import { push, trim, type Component, type Operation, type Side } from "./operation.js";

/** Walks the components of an operation, cutting them to the lengths that the other operation asks for. */
class Cursor {
  private index = 0;
  private offset = 0;

  constructor(private readonly op: Operation) {}

  /** The component at the cursor, whole; `undefined` at the end. */
  peek(): Component | undefined {
    return this.op[this.index];
  }

  /** At most `length` units of a retain or delete. The sign is kept. Call only while `peek()` is a number. */
  takeLength(length: number): number {
    const component = this.op[this.index] as number;
    const remaining = Math.abs(component) - this.offset;
    const taken = Math.min(remaining, length);
    this.advance(taken, remaining);
    return component > 0 ? taken : -taken;
  }

  /** At most `length` units of an insert. Call only while `peek()` is a string. */
  takeText(length: number): string {
    const component = this.op[this.index] as string;
    const remaining = component.length - this.offset;
    const taken = Math.min(remaining, length);
    const text = component.slice(this.offset, this.offset + taken);
    this.advance(taken, remaining);
    return text;
  }

  /** What is left of the component at the cursor. */
  takeRest(): Component {
    return typeof this.peek() === "string" ? this.takeText(Infinity) : this.takeLength(Infinity);
  }

  private advance(taken: number, remaining: number): void {
    if (taken === remaining) {
      this.index += 1;
      this.offset = 0;
    } else this.offset += taken;
  }
}

/**
 * What `op` has to be so that it does the same after `over`. Both were made on the same text.
 * `apply(apply(text, over), transform(op, over, "left"))` equals `apply(apply(text, op), transform(over, op, "right"))`.
 *
 * @param side where the text of `op` goes when both insert at one place
 */
export function transform(op: Operation, over: Operation, side: Side): Operation {
  const out: Component[] = [];
  const cursor = new Cursor(op);
  for (const component of over) {
    if (typeof component === "string") {
      if (side === "left") while (typeof cursor.peek() === "string") push(out, cursor.takeRest());
      push(out, component.length);
      continue;
    }
    let remaining = Math.abs(component);
    while (remaining > 0) {
      const next = cursor.peek();
      if (next === undefined) {
        if (component > 0) push(out, remaining);
        break;
      }
      if (typeof next === "string") {
        push(out, cursor.takeRest());
        continue;
      }
      const taken = cursor.takeLength(remaining);
      remaining -= Math.abs(taken);
      // What the other one deleted can be neither kept nor deleted again.
      if (component > 0) push(out, taken);
    }
  }
  while (cursor.peek() !== undefined) push(out, cursor.takeRest());
  return trim(out);
}

/**
 * Where an insert goes that meets a deletion of the operation before it: both places look the same in the text, but
 * not to operations that are transformed over the result later.
 *
 * `"late"` puts it after the deletion: right for accepted history. `"early"` puts it before: right for a client's own
 * pending operations. With these, transforming over a composed operation equals transforming step by step.
 */
export type Bias = "late" | "early";

/** One operation that does what `first` and then `second` do. */
export function compose(first: Operation, second: Operation, bias: Bias): Operation {
  const out: Component[] = [];
  const cursor = new Cursor(first);
  const isDelete = (component: Component | undefined) => typeof component === "number" && component < 0;
  for (const component of second) {
    if (typeof component === "string") {
      if (bias === "late") while (isDelete(cursor.peek())) push(out, cursor.takeRest());
      push(out, component);
      continue;
    }
    let remaining = Math.abs(component);
    while (remaining > 0) {
      const next = cursor.peek();
      if (next === undefined) {
        push(out, component > 0 ? remaining : -remaining);
        break;
      }
      if (typeof next === "string") {
        const text = cursor.takeText(remaining);
        remaining -= text.length;
        if (component > 0) push(out, text);
      } else if (next < 0) push(out, cursor.takeRest());
      else {
        const taken = cursor.takeLength(remaining);
        remaining -= taken;
        push(out, component > 0 ? taken : -taken);
      }
    }
  }
  while (cursor.peek() !== undefined) push(out, cursor.takeRest());
  return trim(out);
}

/**
 * Where a position stands after an operation.
 *
 * @param side `"left"`: it stays before text inserted exactly there (carets, the right end of a selection);
 * `"right"`: it moves behind it (the left end of a selection, so that the selection does not grow)
 */
export function transformPosition(position: number, op: Operation, side: Side): number {
  let before = position;
  let after = 0;
  for (const component of op) {
    if (typeof component === "string") {
      if (before === 0 && side === "left") return after;
      after += component.length;
    } else {
      const length = Math.min(Math.abs(component), before);
      before -= length;
      if (component > 0) {
        after += length;
        if (length < component) return after;
      } else if (length < -component) {
        // The position lies inside the deletion, or right before it: an insert behind it cannot move it.
        return after;
      }
    }
  }
  return after + before;
}

/**
 * Where a selection (in either direction; with equal ends, a caret) stands after an operation. A caret stays before text
 * inserted at it, and a selection does not grow: text inserted at either of its ends stays outside.
 *
 * @returns `[anchor, head]`
 */
export function transformSelection(anchor: number, head: number, op: Operation): [anchor: number, head: number] {
  const place = (position: number, isStart: boolean) => transformPosition(position, op, isStart ? "right" : "left");
  return [place(anchor, anchor < head), place(head, head < anchor)];
}
