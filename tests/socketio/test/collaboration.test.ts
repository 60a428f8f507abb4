/** `/collaboration`: documents that plain insertions and deletions keep the same for everybody. */
import { runs, startFront, startRedis, until } from "real-front";
import { describe, expect, test } from "vitest";
import { native, person, type Person } from "./people.js";

interface Change {
  documentId: string;
  operation: { type: "insert" | "delete" | "retain"; position: number; content?: string; length?: number; author: string; timestamp: number };
  version: number;
  author: string;
}
interface State {
  documentId: string;
  content: string;
  version: number;
  participants: string[];
}

const namespace = "/collaboration";
/** Who leaves is gone soon. */
const gone = ["--presence-close-grace-ms", "200"];
const documentId = "lesson-1";
const insert = (position: number, content: string, author = "ada") => ({ type: "insert", position, content, author, timestamp: Date.now() });
const remove = (position: number, length: number, author = "ada") => ({ type: "delete", position, length, author, timestamp: Date.now() });

type Told = Change & { part?: number; parts?: number };
/** Stoa's own form of an operation. */
type Operation = (string | number)[];

function apply(content: string, { operation }: Pick<Change, "operation">): string {
  const { type, position, content: added = "", length = 0 } = operation;
  if (type === "insert") return content.slice(0, position) + added + content.slice(position);
  return content.slice(0, position) + content.slice(position + length);
}

function compose(content: string, operations: Operation): string {
  let [at, out] = [0, ""];
  for (const part of operations) {
    if (typeof part === "string") out += part;
    else if (part > 0) out += content.slice(at, (at += part));
    else at -= part;
  }
  return out + content.slice(at);
}

/**
 * The simplest editor that there can be: it shows what the server says and nothing else, one revision after the other. What it
 * wrote itself it shows as the acknowledgement says that it was applied.
 */
class Naive {
  text: string;
  version: number;
  private readonly waiting = new Map<number, (text: string) => string>();
  private readonly parts: Told[] = [];

  constructor(
    readonly who: Person,
    state: State,
  ) {
    this.text = state.content;
    this.version = state.version;
    who.socket.on("operation", (change: Told) => {
      this.parts.push(change);
      const parts = this.parts.filter(({ version }) => version === change.version);
      if (parts.length < (change.parts ?? 1)) return;
      this.came(change.version, (text) => parts.reduce(apply, text));
    });
  }

  async write(operation: object): Promise<void> {
    const { version, operations } = await this.who.does<{ version: number; operations: Operation }>("operation", { documentId, operation, version: this.version });
    this.came(version, (text) => compose(text, operations));
  }

  private came(version: number, change: (text: string) => string): void {
    this.waiting.set(version, change);
    for (let next; (next = this.waiting.get(this.version + 1)) !== undefined; this.version += 1) this.text = next(this.text);
  }
}

describe.runIf(runs)("/collaboration", () => {
  test("people open a document, write in it, see each other's places, and leave", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis, ...gone), await startFront(redis, ...gone)];
    const ada = await person(one.port, "ada", { namespace });
    ada.socket.emit("join-document", { documentId });
    const empty = await ada.hears<State>("document-state");
    expect(empty).toMatchObject({ content: "", participants: ["ada"] });
    expect(await ada.hears("recent-operations")).toEqual([]);

    const bo = await person(two.port, "bo", { namespace });
    bo.socket.emit("join-document", { documentId });
    const joined = await bo.hears<State>("document-state");
    expect([...joined.participants].sort()).toEqual(["ada", "bo"]);
    expect(await ada.hears("user-joined")).toMatchObject({ userId: "bo", username: "Bo" });

    // Without a callback, as the code that is out there does it.
    const first = insert(0, "contract {}");
    ada.socket.emit("operation", { documentId, operation: first, version: empty.version });
    const acknowledged = await ada.hears<{ version: number; operationId: number }>("operation-ack");
    expect(acknowledged).toMatchObject({ operationId: first.timestamp });
    expect(acknowledged.version).toBeGreaterThan(empty.version);
    const told = await bo.hears<Change>("operation");
    expect(told).toMatchObject({ documentId, author: "ada", version: acknowledged.version, operation: { type: "insert", position: 0, content: "contract {}" } });
    expect(ada.all("operation")).toEqual([]);

    // From a text that is behind: it is moved to where it belongs.
    bo.socket.emit("operation", { documentId, operation: insert(0, "// ", "bo"), version: joined.version });
    await bo.hears("operation-ack");
    const late = { documentId, operation: remove(8, 1), version: acknowledged.version };
    ada.socket.emit("operation", late);
    const removed = await bo.hears<Change>("operation", ({ operation }) => operation.type === "delete");
    const title = await ada.hears<Change>("operation");
    const text = [told, title, removed].reduce(apply, "");
    expect(["// contract{}", "contract{}// "]).toContain(text);

    ada.socket.emit("cursor-position", { documentId, position: 3, selection: { start: 3, end: 11 } });
    expect(await bo.hears("cursor-position")).toMatchObject({ documentId, userId: "ada", username: "Ada", position: 3, selection: { start: 3, end: 11 } });

    // Reaching beyond the text, and from a future that nobody has seen.
    for (const [operation, version] of [[remove(5, 5_000), removed.version], [insert(0, "?"), removed.version + 1_000]] as const) {
      ada.forget();
      ada.socket.emit("operation", { documentId, operation, version });
      expect(await ada.hears("operation-error")).toMatchObject({ message: expect.stringMatching(/\w/), code: expect.stringMatching(/^[A-Z_]+$/), operation });
    }

    const cy = await person(one.port, "cy", { namespace });
    const { content, participants } = await cy.does<State>("join-document", { documentId });
    expect([content, participants.length]).toEqual([text, 3]);
    const recent = await cy.hears<{ operation: Change["operation"]; version: number; author: string }[]>("recent-operations");
    expect(recent.map(({ author }) => author)).toEqual(["ada", "bo", "ada"]);
    expect(recent.map(({ version }) => version)).toEqual([...recent.map(({ version }) => version)].sort((a, b) => a - b));
    expect(recent.reduce(apply, "")).toBe(content);

    bo.socket.emit("leave-document", { documentId });
    expect(await ada.hears("user-left")).toMatchObject({ userId: "bo", username: "Bo" });
    cy.socket.disconnect();
    await ada.hears("user-left", ({ userId }) => userId === "cy");
  });

  test("two naive editors and one of Stoa's own write at once, and all end with one text", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis), await startFront(redis)];
    const stoa = native(one.port, "cy");
    const own = stoa.room(documentId).doc("main", { create: "" });
    await own.opened;
    const people = [await person(one.port, "ada", { namespace }), await person(two.port, "bo", { namespace })];
    const editors: Naive[] = [];
    for (const who of people) editors.push(new Naive(who, await who.does<State>("join-document", { documentId })));

    // Each writes from what it has seen, without waiting for the others.
    const words = 25;
    let [written, deleted] = [0, 0];
    const writes = editors.map(async (editor) => {
      for (let n = 0; n < words; n++) {
        const word = `${editor.who.user}${n} `;
        written += word.length;
        await editor.write(insert(Math.min(3 * n, editor.text.length), word, editor.who.user));
      }
    });
    for (let n = 0; n < words; n++) {
      const word = `cy${n} `;
      written += word.length;
      own.edit([own.text.length, word]);
      if (n % 5 === 4) {
        own.edit([-2]);
        deleted += 2;
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await Promise.all(writes);
    await until("the native editor has sent all", () => own.state === "synchronised");

    const last = await person(two.port, "di", { namespace });
    const { content, version } = await last.does<State>("join-document", { documentId });
    expect(content).toHaveLength(written - deleted);
    await until("the native editor has it all", () => own.text === content);
    for (const editor of editors) {
      await until(`${editor.who.user} has it all`, () => editor.version === version);
      expect(editor.text).toBe(content);
      expect(editor.who.all("operation-error")).toEqual([]);
    }
  });

  test("operations of Stoa's own form, and a revision of several parts", async () => {
    const redis = await startRedis();
    const front = await startFront(redis);
    const ada = await person(front.port, "ada", { namespace });
    const { version } = await ada.does<State>("join-document", documentId);
    const written = await ada.does<{ version: number; operations: unknown }>("operation", { documentId, operation: ["one two"], version });
    expect(written).toMatchObject({ version: version + 1, operations: ["one two"] });
    const bo = await person(front.port, "bo", { namespace });
    await bo.does("join-document", { documentId });
    // One revision that takes several plain operations: one event for each, in their order.
    await ada.does("operation", { documentId, operation: ["> ", 3, "-", -1, 3, "!"], version: written.version });
    let text = "one two";
    await until("bo has all parts", () => {
      text = bo.all<Change>("operation").reduce(apply, "one two");
      return text === "> one-two!";
    });
    expect(new Set(bo.all<Change>("operation").map(({ version }) => version))).toEqual(new Set([written.version + 1]));
  });
});
