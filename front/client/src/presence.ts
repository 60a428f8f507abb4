import { Emitter, type Off } from "./emitter.js";
import type { Json, JsonObject, Member } from "./frames.js";
import { formatPosition, read, type DurableEvent, type Position, type StreamPart } from "./wire/index.js";
import { orderOf } from "./stream.js";
import type { Stoa } from "./stoa.js";

/** A typing mark ends after 5 s on the server; while somebody types it is repeated this often. */
const TYPING_REPEAT_MS = 3_000;
/** Whoever has not typed for this long has stopped. */
const TYPING_IDLE_MS = 4_000;

/** The events of a room's presence. */
export interface PresenceEvents {
  /** `members`, `count` or `typing` changed. */
  change: [];
  /** Somebody came: their first connection in this room. Not for those who were here before. */
  joined: [member: Member];
  /** Somebody went: their last connection has ended, and its grace. */
  left: [user: string];
}

/** Who is in a room; get it from `room.presence`. */
export class Presence {
  private readonly events = new Emitter<PresenceEvents>();
  private readonly byUser = new Map<string, Member>();
  private position: Position | undefined;
  private shown: readonly Member[] = [];
  private total = 0;
  private typists: readonly string[] = [];
  private live = false;
  /** The part of the own data that the front has not heard of yet. */
  private unsaid: JsonObject | undefined;
  private saying = false;
  private typingSentAt = -Infinity;
  private typingEnds: ReturnType<typeof setTimeout> | undefined;
  private own: JsonObject | false;

  /** @internal */
  constructor(
    private readonly stoa: Stoa,
    private readonly room: string,
    own: JsonObject | false,
    private readonly rejoin: () => void,
  ) {
    this.own = own;
  }

  /** Everybody who is here (oneself too), longest first. A new list after each change. In very large rooms it is empty: see `count`. */
  get members(): readonly Member[] {
    return this.shown;
  }

  /** How many people are here. */
  get count(): number {
    return this.total;
  }

  /** The users who are typing now, without oneself. */
  get typing(): readonly string[] {
    return this.typists;
  }

  /** What this connection says about itself; `false` if it only watches. */
  get data(): JsonObject | false {
    return this.own;
  }

  /** Listens to an event. The returned function stops that. */
  on<Name extends keyof PresenceEvents>(name: Name, listener: (...values: PresenceEvents[Name]) => void): Off {
    return this.events.on(name, listener);
  }

  /**
   * Changes what this connection says about itself: fields are replaced, `null` takes one away (RFC 7396). It is said again
   * after each reconnect. Several calls while one is on its way go together.
   */
  set(patch: JsonObject): void {
    const watched = this.own === false;
    this.own = mergePatch(this.own === false ? {} : this.own, patch);
    // Whoever only watched has to join as somebody first; the join carries the data.
    if (watched) return this.rejoin();
    this.unsaid = mergePatch(this.unsaid ?? {}, patch, "keep");
    this.say();
  }

  /**
   * Asks the front who is here now, longest first, oneself included if listed. `members` is kept up to date by itself; this is
   * for those who want to be sure.
   */
  async list(): Promise<readonly Member[]> {
    const part = await this.stoa.ask({ do: "presence.list", room: this.room }, read.stream);
    return part.outcome === "snapshot" ? part.members : this.shown;
  }

  /**
   * Call it with `true` at each keystroke: others see that this user types. It tells the front only as often as needed,
   * and stops by itself 4 s after the last call. Call it with `false` when what was typed is sent or thrown away.
   */
  setTyping(typing: boolean): void {
    clearTimeout(this.typingEnds);
    if (typing) {
      this.typingEnds = setTimeout(() => this.setTyping(false), TYPING_IDLE_MS);
      const now = Date.now();
      if (now - this.typingSentAt < TYPING_REPEAT_MS) return;
      if (this.sendTyping(true)) this.typingSentAt = now;
    } else if (this.typingSentAt !== -Infinity) {
      this.typingSentAt = -Infinity;
      this.sendTyping(false);
    }
  }

  private sendTyping(typing: boolean): boolean {
    // Ephemeral: a failure is not worth a word.
    if (this.live) this.stoa.request({ do: "presence.typing", room: this.room, typing }, read.nothing, () => undefined);
    return this.live;
  }

  private say(): void {
    const data = this.unsaid;
    if (!this.live || this.saying || data === undefined) return;
    this.saying = true;
    this.unsaid = undefined;
    this.stoa.request({ do: "presence.set", room: this.room, data }, read.nothing, (answer) => {
      this.saying = false;
      if ("error" in answer && answer.error.code !== "OFFLINE") this.stoa.report(answer.error);
      this.say();
    });
  }

  // From here on: for the room.

  /** @internal */
  resumePosition(): string | undefined {
    return this.position && formatPosition(this.position);
  }

  /** @internal */
  cut(): void {
    this.live = false;
    // The next join says all of it.
    this.unsaid = undefined;
    this.typingSentAt = -Infinity;
    clearTimeout(this.typingEnds);
    this.setTypists([]);
  }

  /** @internal */
  joined(): void {
    this.live = true;
    this.say();
  }

  /** @internal */
  adopt(part: StreamPart): void {
    if (part.outcome === "missing") return;
    if (part.outcome === "changes") {
      for (const event of part.events) this.receive(event);
      this.position = { epoch: part.epoch, rev: part.rev };
      return;
    }
    const first = this.position === undefined;
    const before = new Set(this.byUser.keys());
    this.position = { epoch: part.epoch, rev: part.rev };
    this.byUser.clear();
    for (const member of part.members) this.byUser.set(member.user, member);
    this.total = Math.max(part.count, part.members.length);
    this.typists = this.withoutMe(part.typing);
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
    for (const { user } of event.left) this.byUser.delete(user);
    for (const member of [...event.joined, ...event.updated]) this.byUser.set(member.user, member);
    this.total = event.count;
    this.changed();
    for (const { user } of event.left) this.events.emit("left", user);
    for (const member of event.joined) this.events.emit("joined", member);
    return true;
  }

  /** What a user says about themselves. @internal */
  dataOf(user: string): JsonObject {
    return this.byUser.get(user)?.data ?? {};
  }

  /** @internal */
  setTypists(users: readonly string[]): void {
    this.typists = this.withoutMe(users);
    this.events.emit("change");
  }

  private withoutMe(users: readonly string[]): readonly string[] {
    return users.filter((user) => user !== this.stoa.user);
  }

  private changed(): void {
    this.shown = [...this.byUser.values()].sort((a, b) => a.since_ms - b.since_ms || (a.user < b.user ? -1 : 1));
    this.events.emit("change");
  }
}

/** RFC 7396. With `nulls` kept, `target` is a patch itself, and the result does what both do. */
function mergePatch(target: JsonObject, patch: JsonObject, nulls: "apply" | "keep" = "apply"): JsonObject {
  const out: JsonObject = { ...target };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null && nulls === "apply") delete out[key];
    else if (isObject(value)) out[key] = mergePatch(isObject(out[key]) ? out[key] : {}, value, nulls);
    else out[key] = value;
  }
  return out;
}

const isObject = (value: Json | undefined): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value);
