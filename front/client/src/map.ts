/**
 * Values by key that everybody in a room shares, on a shared text: each line is a record `["key",value]`, and of several with
 * one key the first counts.
 *
 * Whoever sets a key puts a record at the very beginning, and takes those away that it knew of this key. The server puts what
 * arrives later to the left of what it has accepted at the same place: so of two who set one key at once the first line is that
 * of the one who was accepted last, everywhere. Lines are inserted and deleted as a whole, and so nobody ever sees half of one.
 */
import type { Document, DocumentState } from "./document.js";
import { Emitter, type Off } from "./emitter.js";
import { StoaError } from "./errors.js";
import type { Json, JsonObject } from "./frames.js";
import type { Component } from "./ot/index.js";

/** The longest record, in UTF-16 units: what fits into one operation with room to spare. */
const RECORD_UNITS_MAX = 32_768;

/** The events of a map. */
export interface SharedMapEvents<Key extends string = string> {
  /** Values changed, of these keys, whoever changed them. */
  change: [keys: readonly Key[]];
  /** `state` changed, or `editable`. */
  state: [state: DocumentState];
}

type KeyOf<Values> = keyof Values & string;
type ValueOf<Values> = Values[keyof Values & string];

/**
 * A shared map; get one from `room.map(name)`. Changes show at once, wait without a connection, and happen once. Of two who set
 * one key the last one that the server accepted counts; who deletes takes away what they knew of.
 *
 * ```ts
 * const board = room.map<{ [shape: string]: Shape }>("board");
 * board.on("change", (keys) => keys.forEach((key) => draw(key, board.get(key))));
 * board.set("s1", { kind: "circle", x: 10, y: 20 });
 * ```
 *
 * It is meant for up to some thousand keys: all of them are read again when one changes.
 */
export class SharedMap<Values extends object = JsonObject> {
  /** Its name inside the room. */
  readonly name: string;
  /** Resolves when the values are there, rejects when it may not be opened, or is closed before. */
  readonly opened: Promise<void>;
  private readonly events = new Emitter<SharedMapEvents>();
  private current: ReadonlyMap<string, Json> = new Map();
  /** Records by their line: most lines stay what they are. */
  private lines = new Map<string, readonly [key: string, value: Json] | undefined>();

  /** @internal */
  constructor(
    name: string,
    private readonly document: Document,
  ) {
    this.name = name;
    this.opened = document.opened;
    document.on("change", (text) => this.read(text));
    document.on("state", (state) => this.events.emit("state", state));
    if (document.text !== "") this.read(document.text);
  }

  /** Where the map stands: see {@link DocumentState}. `synchronised`: all changes have arrived. */
  get state(): DocumentState {
    return this.document.state;
  }

  /** Whether `set` and `delete` are possible: the values are there, and this user may edit in the room. */
  get editable(): boolean {
    return this.document.editable;
  }

  /** All values, by key: a new map after each change. */
  get entries(): ReadonlyMap<KeyOf<Values>, ValueOf<Values>> {
    return this.current as ReadonlyMap<string, unknown> as ReadonlyMap<KeyOf<Values>, ValueOf<Values>>;
  }

  /** The value of a key. It is what somebody set, whatever they run: look at it before you rely on its type. */
  get<Key extends KeyOf<Values>>(key: Key): Values[Key] | undefined {
    return this.current.get(key) as Values[Key] | undefined;
  }

  /** Whether the key has a value. */
  has(key: KeyOf<Values>): boolean {
    return this.current.has(key);
  }

  /** How many keys there are. */
  get size(): number {
    return this.current.size;
  }

  /** Listens to an event. The returned function stops that. */
  on<Name extends keyof SharedMapEvents>(name: Name, listener: (...values: SharedMapEvents<KeyOf<Values>>[Name]) => void): Off {
    return this.events.on(name, listener as (...values: SharedMapEvents[Name]) => void);
  }

  /**
   * Sets a key: at once here, soon everywhere.
   *
   * @param value JSON; with its key at most 32,768 UTF-16 units of it
   * @throws StoaError `TOO_LARGE`, and as `edit` of a document: `NOT_OPEN`, `PERMISSION_DENIED`
   */
  set<Key extends KeyOf<Values>>(key: Key, value: Values[Key]): void {
    const record = `${JSON.stringify([key, value ?? null])}\n`;
    if (record.length > RECORD_UNITS_MAX) throw new StoaError("TOO_LARGE", `the record has ${record.length} units, at most ${RECORD_UNITS_MAX} are allowed`);
    this.write(key, record);
  }

  /** Takes a key away. Throws as `set`. */
  delete(key: KeyOf<Values>): void {
    this.write(key, "");
  }

  /** Stops following the map. Changes that were not yet acknowledged may be lost: wait for `synchronised` before. */
  close(): void {
    this.document.close();
  }

  private write(key: string, record: string): void {
    const op: Component[] = [record];
    for (const line of linesOf(this.document.text)) op.push(this.recordOf(line)?.[0] === key ? -line.length : line.length);
    this.document.edit(op);
  }

  private read(text: string): void {
    const before = this.current;
    const now = new Map<string, Json>();
    const lines: typeof this.lines = new Map();
    for (const line of linesOf(text)) {
      const record = this.recordOf(line);
      lines.set(line, record);
      if (record !== undefined && !now.has(record[0])) now.set(...record);
    }
    this.lines = lines;
    const keys = [...new Set([...before.keys(), ...now.keys()])].filter((key) => before.get(key) !== now.get(key));
    if (keys.length === 0) return;
    this.current = now;
    this.events.emit("change", keys);
  }

  /** The record of a line; `undefined` for what is none, which somebody else has written. */
  private recordOf(line: string): readonly [key: string, value: Json] | undefined {
    if (this.lines.has(line)) return this.lines.get(line);
    try {
      const [key, value, ...more] = JSON.parse(line) as Json[];
      return typeof key === "string" && value !== undefined && more.length === 0 ? [key, value] : undefined;
    } catch {
      return undefined;
    }
  }
}

/** The lines with their ends. */
const linesOf = (text: string) => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
