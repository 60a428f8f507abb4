/**
 * The edit between two texts. A client that was away too long takes the server's text as one accepted edit, computed
 * here, and keeps its own pending edits on top of it: so nothing of its user's work is thrown away.
 */
import { isLowSurrogate, push, trim, type Component, type Operation } from "./operation.js";
import { widen } from "./surrogates.js";

/** Beyond this many differing tokens a stretch is replaced as a whole: the search takes the square of it. */
const DISTANCE_MAX = 500;

/** Longer stretches without a common line are replaced as a whole: characters one by one would take too much memory. */
const STRETCH_UNITS_MAX = 100_000;

/**
 * An operation that turns `before` into `after`, without cutting a character in two: what the texts share at both ends
 * and in lines stays, changed lines are compared character by character. The result is small, not always minimal.
 */
export function fromDiff(before: string, after: string): Operation {
  const out: Component[] = [];
  diffInto(out, before, after, (left, right) => {
    const lines = myers(toLines(left), toLines(right));
    if (lines === undefined) return replaceInto(out, left, right);
    // Changed lines that stand together are compared as one stretch of text.
    let removed = "";
    let added = "";
    const flush = () => {
      diffInto(out, removed, added, (a, b) => {
        // By whole characters: one that merely shares half of its pair with another one has to stay what it is, or
        // somebody's pending deletion of it would find nothing to delete.
        const characters = a.length + b.length > STRETCH_UNITS_MAX ? undefined : myers([...a], [...b]);
        if (characters === undefined) return replaceInto(out, a, b);
        for (const { kind, token } of characters) push(out, kind === "insert" ? token : kind === "keep" ? token.length : -token.length);
      });
      removed = added = "";
    };
    for (const { kind, token } of lines) {
      if (kind === "delete") removed += token;
      else if (kind === "insert") added += token;
      else {
        flush();
        push(out, token.length);
      }
    }
    flush();
  });
  return widen(trim(out), before);
}

/** As `fromDiff`, but no line is changed in part: it stays, or another stands in its place. For texts whose lines are records. */
export function fromLineDiff(before: string, after: string): Operation {
  const out: Component[] = [];
  const [left, right] = [toLines(before), toLines(after)];
  const steps = myers(left, right);
  if (steps === undefined) replaceInto(out, before, after);
  else for (const { kind, token } of steps) push(out, kind === "insert" ? token : kind === "keep" ? token.length : -token.length);
  return trim(out);
}

/**
 * The single replacement that turns `before` into `after`: what an input field did when its text changed.
 *
 * @param caret where the caret stands in `after`, if known: it says which of several equal letters was typed
 */
export function fromInput(before: string, after: string, caret = after.length): Operation {
  const room = Math.min(before.length, after.length);
  let suffix = 0;
  // The text behind the caret was not touched, so it is matched first.
  while (suffix < Math.min(room, after.length - caret) && endsAlike(before, after, suffix)) suffix += 1;
  let prefix = 0;
  while (prefix < room - suffix && before[prefix] === after[prefix]) prefix += 1;
  while (suffix < room - prefix && endsAlike(before, after, suffix)) suffix += 1;
  const out: Component[] = [];
  push(out, prefix);
  push(out, after.slice(prefix, after.length - suffix));
  push(out, -(before.length - suffix - prefix));
  return widen(trim(out), before);
}

const endsAlike = (a: string, b: string, suffix: number) => a[a.length - 1 - suffix] === b[b.length - 1 - suffix];

/** Writes the shared ends as retains and gives what stands between them to `inner`, if anything does. */
function diffInto(out: Component[], before: string, after: string, inner: (before: string, after: string) => void): void {
  const room = Math.min(before.length, after.length);
  let prefix = 0;
  while (prefix < room && before[prefix] === after[prefix]) prefix += 1;
  if (isLowSurrogate(before, prefix) || isLowSurrogate(after, prefix)) prefix -= 1;
  let suffix = 0;
  while (suffix < room - prefix && endsAlike(before, after, suffix)) suffix += 1;
  if (isLowSurrogate(before, before.length - suffix) || isLowSurrogate(after, after.length - suffix)) suffix -= 1;
  push(out, prefix);
  const left = before.slice(prefix, before.length - suffix);
  const right = after.slice(prefix, after.length - suffix);
  if (left === "" || right === "") replaceInto(out, left, right);
  else inner(left, right);
  push(out, suffix);
}

function replaceInto(out: Component[], before: string, after: string): void {
  push(out, after);
  push(out, -before.length);
}

/** Lines with their line ends: joined they are the text again. */
const toLines = (text: string) => text.split(/(?<=\n)/);

interface Step {
  kind: "keep" | "delete" | "insert";
  token: string;
}

/** The shortest edit script between two token lists (Myers' greedy algorithm); `undefined` if it is too long. */
function myers(a: readonly string[], b: readonly string[]): Step[] | undefined {
  const limit = Math.min(a.length + b.length, DISTANCE_MAX);
  // furthest[k + limit + 1]: how far in `a` the diagonal k reaches with d edits. One copy per d is what the way back needs.
  const furthest = new Int32Array(2 * limit + 3);
  const trace: Int32Array[] = [];
  const middle = limit + 1;
  const at = (list: Int32Array, k: number) => list[k + middle] as number;
  for (let d = 0; d <= limit; d++) {
    trace.push(furthest.slice(middle - d - 1, middle + d + 2));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && at(furthest, k - 1) < at(furthest, k + 1));
      let x = down ? at(furthest, k + 1) : at(furthest, k - 1) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      furthest[k + middle] = x;
      if (x >= a.length && x - k >= b.length) return walkBack(a, b, trace);
    }
  }
  return undefined;
}

function walkBack(a: readonly string[], b: readonly string[], trace: readonly Int32Array[]): Step[] {
  const steps: Step[] = [];
  let x = a.length;
  let y = b.length;
  for (let d = trace.length - 1; d >= 0; d--) {
    // `trace[d]` holds the diagonals -d-1 to d+1 as they were before round d.
    const reached = (k: number) => trace[d]?.[k + d + 1] ?? 0;
    const k = x - y;
    const down = k === -d || (k !== d && reached(k - 1) < reached(k + 1));
    const beforeX = d === 0 ? 0 : down ? reached(k + 1) : reached(k - 1);
    const beforeY = d === 0 ? 0 : beforeX - (down ? k + 1 : k - 1);
    while (x > beforeX && y > beforeY) steps.push({ kind: "keep", token: a[(y--, --x)] as string });
    if (d === 0) break;
    if (down) steps.push({ kind: "insert", token: b[--y] as string });
    else steps.push({ kind: "delete", token: a[--x] as string });
  }
  return steps.reverse();
}
