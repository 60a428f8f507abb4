import { Emitter, type Off } from "./emitter.js";
import type { Json, JsonObject, Member as Listed, Pointer } from "./frames.js";
import { mergePatch, type Patch } from "./merge.js";
import { Pointers } from "./pointers.js";
import { retryDelayMs } from "./retry.js";
import { orderOf } from "./stream.js";
import type { Stoa } from "./stoa.js";
import { Typing } from "./typing.js";
import * as read from "./wire/answers.js";
import { formatPosition, type DurableEvent, type Gone, type Here, type PointersEvent, type Position, type StreamPart } from "./wire/index.js";

/**
 * What somebody says about their attention: `online` (the default), `away`, `busy`, or a word of the application (1 to 32 of
 * `A-Z a-z 0-9 _ . -`). Who is `invisible` on any of their connections is not in the room for the others.
 */
export type Status = "online" | "away" | "busy" | "invisible" | (string & {});

/** Somebody who is here: all connections of one user together. `Data` is what the application says of people. */
export interface Member<Data extends object = JsonObject> extends Omit<Listed, "data" | "status"> {
  /** That of the connection that changed last among those that are not `away`; `away` if all are. */
  status: Status;
  data: Data;
}

/** Where a connection points. */
export interface PresenceCursor<Cursor = Json> extends Omit<Pointer, "cursor"> {
  cursor: Cursor;
}

/** What is known of a user in a room: here, gone (and since when), or never seen. */
export type Person<Data extends object = JsonObject> = (Omit<Here, "data" | "status"> & { status: Status; data: Data }) | Gone | null;

/** The events of a room's presence. */
export interface PresenceEvents<Data extends object = JsonObject> {
  /** `members`, `count` or `typists` changed. */
  change: [];
  /** Somebody came: their first connection in this room. Not for those who were here before. */
  joined: [member: Member<Data>];
  /** Somebody went: their last connection has ended, and its grace; or they became invisible. */
  left: [user: string];
  /** `cursors` changed. */
  cursors: [];
}

/** What an application says of this connection, told again after each reconnect. @internal */
export interface Said {
  data: JsonObject | false;
  status: Status | undefined;
}

/** A part of the own data, as a patch, and a status. */
interface Unsaid {
  data?: JsonObject;
  status?: Status;
}

/**
 * Who is in a room, what they are doing, where they point; get it from `room.presence`.
 *
 * ```ts
 * const room = stoa.room<{ mood: string }, { x: number; y: number }>("lobby", { presence: { mood: "good" } });
 * room.presence.on("change", () => render(room.presence.me, room.presence.others));
 * room.presence.update({ mood: "better" });
 * ```
 */
export class Presence<Data extends object = JsonObject, Cursor = Json> {
  private readonly events = new Emitter<PresenceEvents>();
  private readonly byUser = new Map<string, Member>();
  private position: Position | undefined;
  private shown: readonly Member[] = [];
  private rest: readonly Member[] = [];
  private total = 0;
  private who: readonly string[] = [];
  private live = false;
  /** What the front has not heard of yet: a part of the own data, and the status. */
  private unsaid: Unsaid | undefined;
  private saying = false;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly keys: Typing;
  private readonly pointers: Pointers;

  /** @internal */
  constructor(
    private readonly stoa: Stoa,
    private readonly room: string,
    private readonly own: Said,
    cursorIntervalMs: number,
    private readonly rejoin: () => void,
  ) {
    this.keys = new Typing((typing) => {
      // Ephemeral: a failure is not worth a word.
      if (this.live) stoa.request({ do: "presence.typing", room, typing }, read.nothing, () => undefined);
      return this.live;
    });
    this.pointers = new Pointers({
      everyMs: cursorIntervalMs,
      connection: () => stoa.connectionId,
      tell: (cursor, done) =>
        stoa.request({ do: "presence.cursor", room, cursor }, read.nothing, (answer) => done("error" in answer ? answer.error : undefined)),
      changed: () => this.events.emit("cursors"),
    });
  }

  /** Everybody who is here (oneself too), longest first. A new list after each change. In very large rooms it is empty: see `count`. */
  get members(): readonly Member<Data>[] {
    return this.shown as readonly Member<Data>[];
  }

  /** Everybody but oneself. A new list after each change. */
  get others(): readonly Member<Data>[] {
    return this.rest as readonly Member<Data>[];
  }

  /** Oneself as the others see one; `undefined` for who only watches, is invisible, or has not joined yet. */
  get me(): Member<Data> | undefined {
    return this.member(this.stoa.user ?? "");
  }

  /** How many people are here. */
  get count(): number {
    return this.total;
  }

  /** The users who are typing now, without oneself. */
  get typists(): readonly string[] {
    return this.who;
  }

  /** Where the others point, by connection. A new map after each change. */
  get cursors(): ReadonlyMap<string, PresenceCursor<Cursor>> {
    return this.pointers.all as ReadonlyMap<string, PresenceCursor<Cursor>>;
  }

  /** What this connection says about itself; `false` if it only watches. */
  get data(): Data | false {
    return this.own.data as Data | false;
  }

  /** What this connection says about its attention. `me.status` is that of all of the user's connections. */
  get status(): Status {
    return this.own.status ?? "online";
  }

  /** The member of this id, if they are here. */
  member(user: string): Member<Data> | undefined {
    return this.byUser.get(user) as Member<Data> | undefined;
  }

  /** Listens to an event. The returned function stops that. */
  on<Name extends keyof PresenceEvents>(name: Name, listener: (...values: PresenceEvents<Data>[Name]) => void): Off {
    return this.events.on(name, listener as (...values: PresenceEvents[Name]) => void);
  }

  /**
   * Changes what this connection says about itself: fields are replaced, `null` takes one away (RFC 7396). It is said again
   * after each reconnect. Several calls while one is on its way go together. At most 1 KiB of JSON in all. Who only watched is
   * listed as here from then on.
   */
  update(patch: Patch<Data>): void {
    const change = patch as JsonObject;
    const watched = this.own.data === false;
    this.own.data = mergePatch(this.own.data === false ? {} : this.own.data, change);
    this.say({ data: change }, watched);
  }

  /** Changes what this connection says about its attention. Said again after each reconnect. See {@link Status}. */
  setStatus(status: Status): void {
    const watched = this.own.data === false;
    if (this.own.data === false) this.own.data = {};
    this.own.status = status;
    this.say({ status }, watched);
  }

  /**
   * Tells the others where this connection points: any JSON within 1 KiB, `null` for nowhere. Call it as often as the pointer
   * moves: it is told at most every `cursorIntervalMs`, the last value always, and again after each reconnect. One that rests for
   * five minutes ends until it moves. Nothing comes of it for who only watches or is invisible.
   */
  setCursor(cursor: Cursor | null): void {
    this.pointers.set(cursor as Json);
  }

  /**
   * Call it at each key press: the others see that this user types. It stops by itself 4 s after the last call, and when this
   * client posts a message. The front is told only as often as needed.
   */
  typing(): void {
    this.keys.pressed();
  }

  /** Stops `typing` at once: what was typed was sent another way, or thrown away. */
  stopTyping(): void {
    this.keys.stop();
  }

  /**
   * Asks the front who is here now, longest first, oneself included if listed. `members` is kept up to date by itself; this is
   * for those who want to be sure.
   */
  async list(): Promise<readonly Member<Data>[]> {
    const part = await this.stoa.ask({ do: "presence.list", room: this.room }, read.stream);
    return part.outcome === "snapshot" ? (part.members as readonly Member<Data>[]) : this.members;
  }

  /**
   * Asks the front about these users: whether they are here, and if not, when they left.
   *
   * @param users 1 to 100
   * @returns one for each, in the order asked; rejects with `OFFLINE`, or `INVALID_ARGUMENT`
   */
  async get(users: readonly string[]): Promise<readonly Person<Data>[]> {
    return (await this.stoa.ask({ do: "presence.get", room: this.room, users }, read.people)) as readonly Person<Data>[];
  }

  private say(news: Unsaid, watched: boolean): void {
    // Whoever only watched has to join as somebody first; the join carries all of it.
    if (watched) return this.rejoin();
    this.unsaid = both(this.unsaid, news);
    this.sayUnsaid();
  }

  private sayUnsaid(): void {
    const { unsaid } = this;
    if (!this.live || this.saying || unsaid === undefined) return;
    this.saying = true;
    this.unsaid = undefined;
    this.stoa.request({ do: "presence.set", room: this.room, ...unsaid }, read.nothing, (answer) => {
      if ("ok" in answer) this.failures = 0;
      // After a cut the next join says all of it.
      else if (!this.live) return;
      else if (answer.error.retry) {
        this.unsaid = both(unsaid, this.unsaid);
        this.timer = setTimeout(() => this.saidOrNot(), retryDelayMs(this.failures++, answer.error));
        return;
      } else this.stoa.report(answer.error);
      this.saidOrNot();
    });
  }

  private saidOrNot(): void {
    this.saying = false;
    this.sayUnsaid();
  }

  // From here on: for the room.

  /** @internal */
  resumePosition(): string | undefined {
    return this.position && formatPosition(this.position);
  }

  /** What `room.join` says of this connection; `undefined` if it only watches. @internal */
  joinField(): { data: JsonObject; status?: string | undefined } | undefined {
    const { data, status } = this.own;
    return data === false ? undefined : { data, status };
  }

  /** @internal */
  cut(): void {
    this.live = false;
    // The next join says all of it.
    this.unsaid = undefined;
    this.saying = false;
    clearTimeout(this.timer);
    this.keys.cut();
    this.pointers.cut();
    this.setTypists([]);
  }

  /** @internal */
  joined(): void {
    this.live = true;
    this.sayUnsaid();
    this.pointers.joined();
  }

  /** @internal */
  adopt(part: StreamPart): void {
    if (part.outcome === "missing") return;
    this.pointers.adopt(part.pointers);
    if (part.outcome === "changes") {
      for (const event of part.events) this.receive(event);
      this.position = { epoch: part.epoch, rev: part.rev };
      return this.setTypists(part.typing);
    }
    const first = this.position === undefined;
    const before = new Set(this.byUser.keys());
    this.position = { epoch: part.epoch, rev: part.rev };
    this.byUser.clear();
    for (const member of part.members) this.byUser.set(member.user, member);
    this.total = Math.max(part.count, part.members.length);
    this.who = this.withoutMe(part.typing);
    this.changed();
    if (first) return;
    for (const member of part.members) if (!before.delete(member.user)) this.events.emit("joined", member);
    for (const user of before) this.events.emit("left", user);
  }

  /** `false`: something between is missing. @internal */
  receive(event: DurableEvent): boolean {
    if (this.position === undefined) return true;
    const order = orderOf(this.position, event);
    if (order !== "next") return order === "old";
    this.position = { epoch: event.epoch, rev: event.rev };
    if (event.event !== "presence.changed") return true;
    for (const { user } of event.left) {
      this.byUser.delete(user);
      this.who = this.who.filter((it) => it !== user);
    }
    for (const member of [...event.joined, ...event.updated]) this.byUser.set(member.user, member);
    this.total = event.count;
    this.changed();
    for (const { user } of event.left) this.events.emit("left", user);
    for (const member of event.joined) this.events.emit("joined", member);
    return true;
  }

  /** People pointed elsewhere. @internal */
  receiveCursors(event: PointersEvent): void {
    this.pointers.receive(event);
  }

  /** What a user says about themselves. @internal */
  dataOf(user: string): JsonObject {
    return this.byUser.get(user)?.data ?? {};
  }

  /** @internal */
  setTypists(users: readonly string[]): void {
    this.who = this.withoutMe(users);
    this.events.emit("change");
  }

  private withoutMe(users: readonly string[]): readonly string[] {
    return users.filter((user) => user !== this.stoa.user);
  }

  private changed(): void {
    this.shown = [...this.byUser.values()].sort((a, b) => a.since_ms - b.since_ms || (a.user < b.user ? -1 : 1));
    this.rest = this.shown.filter(({ user }) => user !== this.stoa.user);
    this.events.emit("change");
  }
}

/** One thing after another, as one. */
function both(first: Unsaid | undefined, second: Unsaid | undefined): Unsaid {
  const out = { ...first, ...second };
  if (first?.data !== undefined && second?.data !== undefined) out.data = mergePatch(first.data, second.data, "keep");
  return out;
}
