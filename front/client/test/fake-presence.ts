/**
 * A room's presence as the module keeps it, in memory: people out of connections, with a status that all of them decide together,
 * where they point, who types, who was here once. What the module gathers for a tick is told at once here.
 */
import type { Json, JsonObject } from "../src/index.js";

type Fields = Record<string, unknown>;

/** A connection, as far as presence knows it. */
export interface Connection {
  readonly id: string;
  readonly user: string;
}
interface Entry {
  data: JsonObject;
  status: string;
  /** Counts: the connection that changed last has the largest. */
  changed: number;
}

const SINCE_MS = 1_795_000_000_000;

export class FakePresence {
  private readonly here = new Map<Connection, Entry>();
  private readonly pointers = new Map<Connection, Json>();
  private readonly typists = new Set<string>();
  private readonly seen = new Map<string, number>();
  private rev = 0;
  private changes = 0;

  constructor(
    private readonly epoch: string,
    private readonly tell: (frame: Fields) => void,
  ) {}

  get position(): Fields {
    return { rev: this.rev, epoch: this.epoch };
  }

  isHere(connection: Connection): boolean {
    return this.here.has(connection);
  }

  join(connection: Connection, said: { data?: JsonObject; status?: string }): void {
    const { data = {}, status = "online" } = said;
    if (this.isHere(connection)) return;
    this.change(connection.user, () => this.here.set(connection, { data, status, changed: ++this.changes }));
  }

  set(connection: Connection, { data = {}, status }: { data?: JsonObject; status?: string }): void {
    const entry = this.here.get(connection);
    if (entry === undefined) return this.join(connection, { data, ...(status === undefined ? {} : { status }) });
    this.change(connection.user, () => {
      const merged = Object.entries({ ...entry.data, ...data }).filter(([, value]) => value !== null);
      this.here.set(connection, { data: Object.fromEntries(merged), status: status ?? entry.status, changed: ++this.changes });
    });
  }

  /** Whether the connection was listed. */
  leave(connection: Connection): boolean {
    if (!this.isHere(connection)) return false;
    this.point(connection, null);
    if (this.typists.has(connection.user)) this.type(connection, false);
    this.change(connection.user, () => this.here.delete(connection));
    if (![...this.here.keys()].some(({ user }) => user === connection.user)) this.seen.set(connection.user, Date.now());
    return true;
  }

  type(connection: Connection, typing: boolean): void {
    if (typing) this.typists.add(connection.user);
    else this.typists.delete(connection.user);
    this.tell({ event: "presence.typing", users: [...this.typists] });
  }

  point(connection: Connection, cursor: Json): void {
    if (cursor !== null) this.pointers.set(connection, cursor);
    else if (!this.pointers.delete(connection)) return;
    const cursors = cursor === null ? [] : [{ connection: connection.id, user: connection.user, cursor }];
    this.tell({ event: "presence.cursors", cursors, gone: cursor === null ? [connection.id] : [] });
  }

  people(users: readonly string[]): Fields {
    const people = users.map((user) => {
      const member = this.member(user);
      const last_seen_ms = this.seen.get(user);
      if (member !== undefined) return { ...member, here: true };
      return last_seen_ms === undefined ? null : { user, here: false, last_seen_ms };
    });
    return { people };
  }

  said(): unknown[] {
    return [...this.here].map(([it, { data, status }]) => [it.id, data, status, this.pointers.get(it) ?? null]).sort();
  }

  /** The presence part of a join. */
  snapshot(): Fields {
    const members = this.members();
    const cursors = [...this.pointers].map(([{ id, user }, cursor]) => ({ connection: id, user, cursor }));
    return { outcome: "snapshot", because: "first", ...this.position, count: members.length, members, typing: [...this.typists], cursors };
  }

  private members(): Fields[] {
    const users = new Set([...this.here.keys()].map(({ user }) => user));
    return [...users].map((user) => this.member(user)).filter((member) => member !== undefined);
  }

  /** What the others see of a user: nothing of who is invisible. */
  private member(user: string): Fields | undefined {
    const entries = [...this.here].filter(([connection]) => connection.user === user).map(([, entry]) => entry);
    const newest = entries.sort((a, b) => b.changed - a.changed);
    if (newest.length === 0 || newest.some(({ status }) => status === "invisible")) return undefined;
    const status = newest.find((it) => it.status !== "away")?.status ?? "away";
    const data = Object.assign({ name: user }, ...newest.map(({ data }) => data).reverse()) as JsonObject;
    return { user, connections: newest.length, since_ms: SINCE_MS, status, color: "#3d7ab8", data };
  }

  private change(user: string, mutate: () => void): void {
    const before = this.member(user);
    mutate();
    const after = this.member(user);
    if (JSON.stringify(before) === JSON.stringify(after)) return;
    const from = this.rev++;
    this.tell({
      event: "presence.changed", stream: "presence", epoch: this.epoch, from, rev: this.rev, count: this.members().length,
      joined: before === undefined ? [after] : [],
      updated: before !== undefined && after !== undefined ? [after] : [],
      left: after === undefined ? [{ user }] : [],
    });
  }
}
