/**
 * Cases made by running other implementations (ot-text-unicode, ot.js, CodeMirror), and our own frozen ones. The first
 * are not part of this repository: `STOA_DATA` names the directory that holds `ot-vectors/`.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { ChangeSet } from "@codemirror/state";
import { describe, expect, test } from "vitest";
import { fromChangeSet } from "../src/codemirror.js";
import { apply, compose, invert, parseOperation, transform, transformPosition, transformSelection, widen, type Component, type Operation, type Side } from "../src/index.js";

const data = process.env["STOA_DATA"];
const vectors = data === undefined ? undefined : join(data, "ot-vectors");
if (vectors === undefined || !existsSync(vectors)) console.warn(`\n*** OT VECTORS DID NOT RUN: STOA_DATA is ${data === undefined ? "not set" : `${data}, which has no ot-vectors`} ***\n`);

/** The vectors write a deletion as `{"d": n}` or `{"d": "text"}`. */
type Foreign = (number | string | { d: number | string })[];

function lines<T>(name: string): T[] {
  const path = join(vectors as string, name);
  const text = existsSync(path) ? readFileSync(path, "utf8") : gunzipSync(readFileSync(`${path}.gz`)).toString("utf8");
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as T);
}

/** Ours, from one that counts UTF-16 units. */
const ours = (op: Foreign): Component[] =>
  op.map((part) => (typeof part !== "object" ? part : typeof part.d === "string" ? -[...part.d].length : -part.d));

/**
 * Vectors that count code points: each character outside the basic plane is replaced by one of its own inside it, so that
 * units and code points are the same, and every rule stays what it is.
 */
function flatten<T>(value: T): T {
  const stand = new Map<string, string>();
  const flat = (text: string) =>
    text.replace(/[\u{10000}-\u{10ffff}]/gu, (character) => {
      if (!stand.has(character)) stand.set(character, String.fromCharCode(0xe000 + stand.size));
      return stand.get(character) as string;
    });
  const walk = (it: unknown): unknown => {
    if (typeof it === "string") return flat(it);
    if (Array.isArray(it)) return it.map(walk);
    if (typeof it === "object" && it !== null) return Object.fromEntries(Object.entries(it).map(([key, inner]) => [key, walk(inner)]));
    return it;
  };
  return walk(value) as T;
}

interface Pair {
  id: number; doc: string; a: Foreign; b: Foreign; a_utf16: Foreign; b_utf16: Foreign; da: string; db: string;
  left: { a2: Foreign; b2: Foreign; out: string }; right: { a2: Foreign; b2: Foreign; out: string };
  left_a2_utf16: Foreign; left_b2_utf16: Foreign; compose_a_b2: Foreign; invert_a: Foreign; cursors_cp: [number, number, number][];
}
interface Session {
  id: number; init: string; final: string;
  submits: { rev: number; op_utf16: Foreign; op_cp: Foreign; transformed_utf16: Foreign; after: string }[];
}
interface Chain { id: number; doc: string; x: Foreign; history: Foreign[]; head: string; x_at_head: Foreign; history_over_x: Foreign[]; final: string }

describe.skipIf(vectors === undefined || !existsSync(vectors))("vectors", () => {
  test("pairs", () => {
    for (const raw of lines<Pair>("pairs.jsonl")) {
      const [a16, b16] = [ours(raw.a_utf16), ours(raw.b_utf16)];
      expect(apply(raw.doc, a16)).toBe(raw.da);
      expect(apply(raw.doc, b16)).toBe(raw.db);
      expect(transform(a16, b16, "left")).toEqual(ours(raw.left_a2_utf16));
      expect(transform(b16, a16, "right")).toEqual(ours(raw.left_b2_utf16));
      expect(apply(raw.da, invert(a16, raw.doc))).toBe(raw.doc);

      const it = flatten(raw);
      const [a, b] = [ours(it.a), ours(it.b)];
      for (const [side, other] of [["left", "right"], ["right", "left"]] as [Side, Side][]) {
        expect(transform(a, b, side)).toEqual(ours(it[side].a2));
        expect(transform(b, a, other)).toEqual(ours(it[side].b2));
        expect(apply(it.db, transform(a, b, side))).toBe(it[side].out);
        expect(apply(it.da, transform(b, a, other))).toBe(it[side].out);
      }
      expect(compose(a, ours(it.left.b2), "early")).toEqual(ours(it.compose_a_b2));
      expect(apply(it.doc, compose(a, ours(it.left.b2), "late"))).toBe(it.left.out);
      expect(apply(it.da, ours(it.invert_a))).toBe(it.doc);
      for (const [position, before, after] of it.cursors_cp) {
        expect(transformPosition(position, a, "left")).toBe(before);
        expect(transformPosition(position, a, "right")).toBe(after);
      }
    }
  });

  test("sessions", () => {
    for (const session of lines<Session>("sessions.jsonl")) {
      const history: Operation[] = [];
      let head = session.init;
      for (const submit of session.submits) {
        const arriving = ours(submit.op_utf16);
        const over = history.slice(submit.rev);
        const accepted = over.reduce((op, h) => transform(op, h, "left"), arriving as Operation);
        if (over.length > 0) {
          const composed = over.reduce((first, second) => compose(first, second, "late"));
          expect(transform(arriving, composed, "left")).toEqual(accepted);
        }
        expect(accepted).toEqual(ours(submit.transformed_utf16));
        head = apply(head, accepted);
        expect(head).toBe(submit.after);
        history.push(accepted);
      }
      expect(head).toBe(session.final);
    }
  });

  test("chains", () => {
    for (const raw of lines<Chain>("chains.jsonl")) {
      const chain = flatten(raw);
      let mine: Operation = ours(chain.x);
      let local = apply(chain.doc, mine);
      let head = chain.doc;
      chain.history.map(ours).forEach((op, i) => {
        const shown = transform(op, mine, "right");
        expect(shown).toEqual(ours(chain.history_over_x[i] as Foreign));
        local = apply(local, shown);
        mine = transform(mine, op, "left");
        head = apply(head, op);
      });
      expect(head).toBe(chain.head);
      expect(mine).toEqual(ours(chain.x_at_head));
      expect(apply(head, mine)).toBe(chain.final);
      expect(local).toBe(chain.final);
      const composed = chain.history.map(ours).reduce((first: Operation, second) => compose(first, second, "late"), []);
      expect(transform(ours(chain.x), composed, "left")).toEqual(ours(chain.x_at_head));
    }
  });

  test("codemirror", () => {
    for (const it of lines<{ doc: string; changeset: unknown; op_utf16: Foreign; out: string }>("codemirror.jsonl")) {
      expect(apply(it.doc, ours(it.op_utf16))).toBe(it.out);
      expect(apply(it.doc, fromChangeSet(ChangeSet.fromJSON(it.changeset)))).toBe(it.out);
    }
  });

  test("reject", () => {
    for (const it of lines<{ id: number; doc: string; op?: unknown; op_json?: string; unit?: string; must: string; why: string }>("reject.jsonl")) {
      const run = () => {
        const value: unknown = it.op_json === undefined ? it.op : JSON.parse(it.op_json);
        const foreign = Array.isArray(value) && value.some((part) => typeof part === "object" && part !== null);
        if (foreign && !(value as { d?: unknown }[]).every((part) => typeof part !== "object" || part === null || (typeof part.d === "number" && part.d >= 0))) throw new Error("not of the dialect");
        const op = parseOperation(foreign ? ours(value as Foreign) : value);
        const whole = widen(op, it.doc);
        apply(it.doc, whole);
      };
      // A client widens or normalises where a server refuses; numbers with exponents are the same number after JSON.parse.
      if (it.must === "reject" && it.why !== "exponent number") expect(run, it.why).toThrow();
      else if (it.must.startsWith("accept")) expect(run, it.why).not.toThrow();
    }
  });

  test("textot", () => {
    type Transform = { op: Foreign; otherOp: Foreign; side: Side; result: Foreign };
    for (const raw of lines<Transform>("textot-transform.jsonl")) {
      const it = flatten(raw);
      expect(transform(ours(it.op), ours(it.otherOp), it.side)).toEqual(ours(it.result));
    }
    for (const raw of lines<{ str: string; op: Foreign; result: string }>("textot-apply.jsonl")) {
      const it = flatten(raw);
      expect(apply(it.str, ours(it.op))).toBe(it.result);
    }
    for (const raw of lines<{ op1: Foreign; op2: Foreign; result: Foreign }>("textot-compose.jsonl")) {
      const it = flatten(raw);
      expect(compose(ours(it.op1), ours(it.op2), "early")).toEqual(ours(it.result));
    }
  });
});

/** Our own cases: the same file holds the server to them. Its format is told where the server's test reads it. */
const frozen = fileURLToPath(new URL("../../../redis-module/core/tests/cases/ot.jsonl", import.meta.url));
if (!existsSync(frozen)) console.warn("\n*** FROZEN OT CASES DID NOT RUN: redis-module/core/tests/cases/ot.jsonl is not there ***\n");

type Frozen =
  | { do: "parse"; json: string; op: Operation | null }
  | { do: "apply"; text: string; op: Operation; out: string; deleted: string }
  | { do: "invert"; op: Operation; deleted: string; out: Operation }
  | { do: "transform"; x: Operation; over: Operation; left: Operation; right: Operation }
  | { do: "compose"; first: Operation; second: Operation; late: Operation; early: Operation }
  | { do: "cursor"; at: number; op: Operation; left: number; right: number }
  | { do: "selection"; anchor: number; head: number; op: Operation; out: [number, number] }
  | { do: "hash" };

/** Some text that an operation deletes these characters from. */
function textWith(op: Operation, deleted: string): string {
  let taken = 0;
  return op.map((part) => (typeof part === "string" ? "" : part > 0 ? "x".repeat(part) : deleted.slice(taken, (taken -= part)))).join("");
}

test.skipIf(!existsSync(frozen))("frozen cases", () => {
  const cases = readFileSync(frozen, "utf8").split("\n").filter((line) => line !== "");
  for (const line of cases) {
    const it = JSON.parse(line) as Frozen;
    switch (it.do) {
      case "parse":
        if (it.op === null) expect(() => parseOperation(JSON.parse(it.json)), line).toThrow();
        else expect(parseOperation(JSON.parse(it.json)), line).toEqual(it.op);
        break;
      case "apply":
        expect(apply(it.text, it.op), line).toBe(it.out);
        expect(invert(it.op, it.text).filter((part) => typeof part === "string").join(""), line).toBe(it.deleted);
        break;
      case "invert":
        expect(invert(it.op, textWith(it.op, it.deleted)), line).toEqual(it.out);
        break;
      case "transform":
        expect(transform(it.x, it.over, "left"), line).toEqual(it.left);
        expect(transform(it.x, it.over, "right"), line).toEqual(it.right);
        break;
      case "compose":
        expect(compose(it.first, it.second, "late"), line).toEqual(it.late);
        expect(compose(it.first, it.second, "early"), line).toEqual(it.early);
        break;
      case "cursor":
        expect(transformPosition(it.at, it.op, "left"), line).toBe(it.left);
        expect(transformPosition(it.at, it.op, "right"), line).toBe(it.right);
        break;
      case "selection":
        expect(transformSelection(it.anchor, it.head, it.op), line).toEqual(it.out);
        break;
      case "hash":
        // Only the server compares texts by hash.
        break;
      default:
        throw new Error(`no rule is named in ${line}`);
    }
  }
  expect(cases.length).toBeGreaterThan(400);
});
