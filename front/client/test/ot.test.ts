import { describe, expect, test } from "vitest";
import {
  apply,
  baseLength,
  compose,
  fromDiff,
  fromInput,
  invert,
  isWellFormed,
  normalise,
  outputLength,
  parseOperation,
  split,
  StoaError,
  transform,
  transformPosition,
  widen,
  type Component,
  type Operation,
} from "../src/index.js";
import { Random, seedOf } from "./random.js";

const ROUNDS = 20_000;
const LETTERS = ["a", "b", "c", "\n", " ", "é", "漢", "😀", "🌀", "👩‍👧"];

const text = (random: Random, length: number) => Array.from({ length: random.below(length) }, () => random.pick(LETTERS)).join("");

/** Boundaries of whole characters. */
function operation(random: Random, base: string, richness = 4): Operation {
  const out: Component[] = [];
  const characters = [...base];
  while (characters.length > 0 || random.chance(0.3)) {
    const length = characters.splice(0, random.below(richness) + 1).join("").length;
    const kind = random.below(4);
    if (kind === 0) out.push(text(random, 4));
    if (kind === 1) out.push(-length);
    else out.push(length);
    if (kind === 0 && characters.length === 0) break;
  }
  return normalise(out);
}

function laws(name: string, law: (random: Random) => void, rounds = ROUNDS): void {
  test(name, () => {
    const random = new Random(seedOf(name));
    for (let round = 0; round < rounds; round++) law(random);
  });
}

describe("laws", () => {
  laws("two clients that meet have one text, whoever was first", (random) => {
    const base = text(random, 12);
    const a = operation(random, base);
    const b = operation(random, base);
    for (const [side, other] of [["left", "right"], ["right", "left"]] as const) {
      const viaA = apply(apply(base, a), transform(b, a, other));
      const viaB = apply(apply(base, b), transform(a, b, side));
      expect(viaA).toBe(viaB);
    }
  });

  laws("composing does what both do, with either bias", (random) => {
    const base = text(random, 12);
    const a = operation(random, base);
    const middle = apply(base, a);
    const b = operation(random, middle);
    expect(apply(base, compose(a, b, "late"))).toBe(apply(middle, b));
    expect(apply(base, compose(a, b, "early"))).toBe(apply(middle, b));
  });

  laws("transforming over late-composed history equals transforming step by step, component by component", (random) => {
    let head = text(random, 12);
    const mine = operation(random, head);
    const history: Operation[] = [];
    for (let i = 0; i < 5; i++) {
      const op = operation(random, head);
      history.push(op);
      head = apply(head, op);
    }
    const stepwise = history.reduce((op, over) => transform(op, over, "left"), mine);
    const composed = history.reduce((first, second) => compose(first, second, "late"), []);
    expect(transform(mine, composed, "left")).toEqual(stepwise);
  });

  laws("a client's early-composed pending operations give the same text as one by one", (random) => {
    const base = text(random, 12);
    const accepted = operation(random, base);
    const first = operation(random, base);
    const second = operation(random, apply(base, first));
    const one = transform(first, accepted, "left");
    const two = transform(second, transform(accepted, first, "right"), "left");
    const both = transform(compose(first, second, "early"), accepted, "left");
    const start = apply(base, accepted);
    expect(apply(start, both)).toBe(apply(apply(start, one), two));
  });

  laws("an inverse takes back", (random) => {
    const base = text(random, 12);
    const op = operation(random, base);
    expect(apply(apply(base, op), invert(op, base))).toBe(base);
  });

  laws("a position moves as an insert at it would", (random) => {
    const base = text(random, 12);
    const op = operation(random, base);
    const position = [...base].slice(0, random.below(base.length + 1)).join("").length;
    for (const side of ["left", "right"] as const) {
      const moved = transform(normalise([position, "|"]), op, side);
      expect(transformPosition(position, op, side)).toBe(typeof moved[0] === "number" ? moved[0] : 0);
    }
  });

  laws("a difference turns one text into the other and cuts no character", (random) => {
    const before = text(random, 30);
    const after = random.chance(0.5) ? apply(before, operation(random, before, 8)) : text(random, 30);
    const op = fromDiff(before, after);
    expect(apply(before, op)).toBe(after);
    expect(widen(op, before)).toEqual(op);
    expect(normalise(op)).toEqual(op);
    const typed = fromInput(before, after, random.below(after.length + 1));
    expect(apply(before, typed)).toBe(after);
    expect(widen(typed, before)).toEqual(typed);
  }, 5_000);

  laws("an edit in the middle of characters is widened to whole ones, with the same text after it", (random) => {
    const before = text(random, 10);
    const after = text(random, 10);
    // Unit by unit, as an editor's own diff would do it: it keeps shared halves of different characters.
    let shared = 0;
    while (shared < Math.min(before.length, after.length) && before[shared] === after[shared]) shared += 1;
    const careless = normalise([shared, after.slice(shared), shared - before.length]);
    const op = widen(careless, before);
    expect(apply(before, op)).toBe(after);
    expect(op.every((part) => typeof part === "number" || isWellFormed(part))).toBe(true);
  });

  laws("what is too large is sent in parts that do the same", (random) => {
    const base = text(random, 20);
    const op = operation(random, base);
    let now = base;
    let rest: Operation | undefined = op;
    let parts = 0;
    while (rest !== undefined) {
      const cut = split(rest, 2, 3);
      expect(cut.first.length).toBeLessThanOrEqual(3);
      now = apply(now, cut.first);
      expect(isWellFormed(now)).toBe(true);
      rest = cut.rest;
      expect(++parts).toBeLessThan(100);
    }
    expect(now).toBe(apply(base, op));
  });
});

describe("rules", () => {
  test("the arriving operation goes left of what is accepted at the same place", () => {
    expect(transform([1, "mine"], [1, "theirs"], "left")).toEqual([1, "mine"]);
    expect(transform([1, "theirs"], [1, "mine"], "right")).toEqual([5, "theirs"]);
  });

  test("an insert and a deletion keep their order", () => {
    expect(normalise(["a", -1, "b", -1])).toEqual(["a", -1, "b", -1]);
    expect(compose([-2], ["x"], "late")).toEqual([-2, "x"]);
    expect(compose([-2], ["x"], "early")).toEqual(["x", -2]);
  });

  test("normalising merges neighbours and drops what says nothing", () => {
    expect(normalise([0, "a", "", "b", 1, 2, -1, -1, 3, 4])).toEqual(["ab", 3, -2]);
    expect(normalise([5])).toEqual([]);
    expect([baseLength([2, "abc", -3]), outputLength([2, "abc", -3])]).toEqual([5, 5]);
  });

  test("an operation that reaches beyond the text is refused", () => {
    expect(() => apply("abc", [4, "x"])).toThrow(StoaError);
    expect(() => apply("abc", [2, -2])).toThrow(StoaError);
  });

  test.each([[{}], ["x"], [null], [[null]], [[true]], [[1.5]], [[NaN]], [[2 ** 33]], [[{ d: 1 }]], [["\ud83d"]], [[2 ** 32 - 1, 1]]])(
    "%j is not an operation",
    (value) => expect(() => parseOperation(value)).toThrow(StoaError),
  );

  test("half of a pair cannot stay alone", () => {
    expect(() => widen([1, -1], "a😀")).toThrow(StoaError);
    expect(() => widen(["\ud83d"], "")).toThrow(StoaError);
    expect(widen([2, -1, "\ude01"], "a😀b")).toEqual([1, "😁", -2]);
  });

  test("texts that differ everywhere are replaced without searching for ever", () => {
    const before = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join("");
    const after = Array.from({ length: 20_000 }, (_, i) => `row ${i * 7}\n`).join("");
    const started = performance.now();
    expect(apply(before, fromDiff(before, after))).toBe(after);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test("a difference finds separate changes in a long text", () => {
    const lines = Array.from({ length: 5_000 }, (_, i) => `line ${i}\n`);
    const changed = lines.map((line, i) => (i === 10 || i === 4_000 ? line.replace("line", "LINE") : line));
    const op = fromDiff(lines.join(""), changed.join(""));
    expect(op.filter((part) => typeof part === "string")).toEqual(["LINE", "LINE"]);
  });
});
