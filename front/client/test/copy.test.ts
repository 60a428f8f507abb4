import { expect, test } from "vitest";
import { Copy, type StoredCopy } from "../src/copy.js";
import { apply, fromDiff, normalise, type Operation } from "../src/index.js";
import { Random, seedOf } from "./random.js";

const position = (rev: number, epoch = "1.a") => ({ epoch, rev });
const quiet = { moved: () => undefined, shown: () => undefined };
const copyOf = (base: string, more: Partial<StoredCopy> = {}) => new Copy({ base, position: position(5), ...more }, quiet);

test("whatever happens, base is what the front says, and what is shown is base with what is pending", () => {
  const seed = seedOf("copy");
  for (let round = 0; round < 300; round++) {
    const random = new Random(seed + round);
    const edit = (text: string): Operation => {
      const at = random.below(text.length + 1);
      return normalise([at, random.chance(0.7) ? random.pick(["x", "yy", "z"]) : "", -Math.min(random.below(3), text.length - at)]);
    };
    let front = "some text";
    let shown = front;
    let rev = 0;
    let seq = 0;
    const hooks = { moved: () => undefined, shown: (op: Operation) => void (shown = apply(shown, op)) };
    let copy = new Copy({ base: front, position: position(0) }, hooks);
    for (let step = 0; step < 60; step++) {
      switch (random.below(7)) {
        case 0:
        case 1: {
          const op = edit(copy.text);
          copy.edit(op);
          shown = apply(shown, op);
          break;
        }
        case 2:
          if (copy.inflight === undefined) copy.launch("c", ++seq, 5, 100);
          break;
        case 3: {
          const op = edit(front);
          front = apply(front, op);
          copy.advance(op, position(++rev), { user: "bo" });
          break;
        }
        case 4: {
          if (copy.inflight === undefined) break;
          // What the front makes of it may be anything: it decides.
          const op = random.chance(0.8) ? copy.outgoing : edit(front);
          front = apply(front, op);
          copy.advance(op, position(++rev), copy.inflight);
          break;
        }
        case 5:
          if (random.chance(0.3)) copy.conclude();
          else if (random.chance(0.5)) {
            front = random.chance(0.5) ? apply(front, edit(front)) : "another text";
            copy.replace(front, position(++rev));
          }
          break;
        default:
          // A reload.
          if (random.chance(0.3)) copy = new Copy(JSON.parse(JSON.stringify(copy.stored)) as StoredCopy, hooks);
      }
      expect(copy.base).toBe(front);
      expect(copy.text).toBe(shown);
      expect(copy.pending.reduce<string>(apply, copy.base), `round ${round}`).toBe(copy.text);
      apply(copy.base, copy.outgoing);
    }
    copy.conclude();
    copy.abandon();
    expect([copy.text, shown]).toEqual([front, front]);
  }
});

test("an operation in flight that is part of a snapshot is shown once, with what was typed into it in its place", () => {
  const copy = copyOf("ab");
  copy.edit([1, "hello"]);
  copy.launch("c", 1, 100, 100);
  copy.edit([3, "X"]);
  copy.replace("ahellob!", position(9));
  expect(copy.text).toBe("aheXllob");
  copy.conclude();
  expect([copy.text, copy.pending]).toEqual(["aheXllob!", [[3, "X"]]]);
});

test("one that is not part of it is sent on top of it", () => {
  const copy = copyOf("ab");
  copy.edit([2, "!"]);
  copy.launch("c", 1, 100, 100);
  copy.replace("12ab", position(9));
  expect([copy.text, copy.outgoing]).toEqual(["ab!", [4, "!"]]);
  copy.advance([4, "!"], position(10), copy.inflight);
  expect([copy.text, copy.pending]).toEqual(["12ab!", []]);
});

test("what the front made of an operation stands; what was typed since moves over the difference", () => {
  const copy = copyOf("ab");
  copy.edit([1, "x"]);
  copy.launch("c", 1, 100, 100);
  copy.edit([3, "?"]);
  copy.advance(["y"], position(6), copy.inflight);
  expect([copy.base, copy.text]).toEqual(["yab", "yab?"]);
  expect(apply("yab", fromDiff("yab", copy.text))).toBe("yab?");
});

test.each([
  ["the revision that is held", position(5), "held"],
  ["one before it", position(3), "held"],
  ["one that is still to come", position(6), "ahead"],
  ["one of an earlier epoch, from before this one began", position(4, "0.z"), "held"],
  ["one of an earlier epoch, that this one does not have", position(6, "0.z"), "lost"],
  ["one of an epoch that is not known here yet", position(6, "2.b"), "elsewhere"],
  ["one of another history with the same number", position(3, "1.q"), "elsewhere"],
] as const)("%s", (_what, at, standing) => {
  expect(copyOf("ab").standing(at)).toBe(standing);
});

test("after a failover, what an earlier epoch accepted is held only up to where the new one began", () => {
  const copy = copyOf("ab");
  copy.advance(["1"], position(6, "2.b"));
  copy.advance(["2"], position(7, "2.b"));
  expect([5, 6, 7].map((rev) => copy.standing(position(rev)))).toEqual(["held", "lost", "lost"]);
});
