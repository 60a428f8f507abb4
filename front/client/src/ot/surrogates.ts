/**
 * The server refuses an edit that cuts a character outside the basic plane (an emoji, say) in two. Editors and diffs
 * make such edits: 😀 to 😁 differs in the second half of the pair only. `widen` makes them replace whole characters.
 */
import { apply, invalid, isLowSurrogate, isWellFormed, push, trim, type Component, type Operation } from "./operation.js";

/**
 * The same edit with every boundary between whole characters. The text after it is the same.
 *
 * @param text the text before the operation
 * @throws StoaError `INVALID_OPERATION` if the text after it would contain half of a pair: that cannot be stored.
 */
export function widen(op: Operation, text: string): Operation {
  if (isWhole(op, text)) return op;
  if (!isWellFormed(apply(text, op))) throw invalid("the text would contain half of a surrogate pair");
  const out: Component[] = [];
  let position = 0;
  let written = 0;
  let i = 0;
  while (i < op.length) {
    const component = op[i] as Component;
    if (typeof component === "number" && component > 0) {
      position += component;
      i += 1;
      continue;
    }
    // Everything up to the next retain is one replacement of [from, to).
    let from = position;
    let to = position;
    let inserted = "";
    const group: Component[] = [];
    for (; i < op.length; i++) {
      const part = op[i] as Component;
      if (typeof part === "string") inserted += part;
      else if (part > 0) break;
      else to -= part;
      group.push(part);
    }
    position = to;
    const cutsLeft = isLowSurrogate(text, from);
    const cutsRight = isLowSurrogate(text, to);
    if (!cutsLeft && !cutsRight && isWellFormed(inserted)) {
      push(out, from - written);
      for (const part of group) push(out, part);
    } else {
      if (cutsLeft) inserted = text.charAt(--from) + inserted;
      if (cutsRight) inserted += text.charAt(to++);
      push(out, from - written);
      push(out, inserted);
      push(out, from - to);
    }
    written = to;
  }
  return trim(out);
}

/** Whether no boundary of the operation lies inside a pair and no insert contains half of one. */
function isWhole(op: Operation, text: string): boolean {
  let position = 0;
  for (const component of op) {
    if (isLowSurrogate(text, position)) return false;
    if (typeof component === "string") {
      if (!isWellFormed(component)) return false;
    } else position += Math.abs(component);
  }
  return !isLowSurrogate(text, position);
}
