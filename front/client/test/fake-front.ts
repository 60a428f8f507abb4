/**
 * A front in a few hundred lines, for tests: it speaks the protocol, keeps everything in memory, records what it got, and
 * does on cue what real ones do only on bad days. Commonest first:
 *
 * - `front.Socket`: the WebSocket to give to `connect`. Frames take `delay()` ms each way (default 0: the next timer tick).
 * - `front.cut()`: breaks all lines now; what is under way in either direction is lost. `front.cut(user)`: theirs.
 * - `front.close(code, reason)`: closes all lines as a front does.
 * - `front.down = true`: nobody can connect.
 * - `front.refuse(command, error, times)`: answers the next such commands with an error.
 * - `front.swallow(command, "request" | "reply", times)`: loses the next such commands, or only their answers.
 * - `front.eventsLateMs`: answers overtake events.
 * - `front.duplicates`: the probability that an event is delivered twice.
 * - `front.opsKept`, `front.pageMax`: small values make clients come too late (`trimmed`, `STALE`) or be too far behind.
 * - `front.kick(room, { user }, { reason, by })`: sends somebody out; out of `user:<id>`: ends their connections.
 * - `front.grant(room, user, role)`: says what somebody may do, `viewer`, `commenter`, `editor` (the default) or `owner`; with
 *   `none` they are out.
 * - `front.rollback(room, doc, rev)`, `front.rollbackLog(room, rev)`, `front.reset(room, doc, text)`, `front.flush(room)`: history is replaced.
 *
 * Replies and events overtake each other at random, as the protocol allows; the answers that an event stream begins with
 * (`connect`, `room.join`, `doc.open`) come before the events that follow them.
 *
 * The token is the user's name; `expired` and `invalid` are refused as their names say.
 */
import { FakeSocket, Line } from "./fake-line.js";
import { FakeEpochs, FakeWriters } from "./fake-history.js";
import { FakeLog } from "./fake-log.js";
import { FakePresence } from "./fake-presence.js";
import { refusal as no } from "./fake-refusal.js";
import { apply, compose, fromDiff, invert, StoaError, transform, transformSelection, type Json, type Operation, type WebSocketLike, type WireMessage } from "../src/index.js";

type Fields = Record<string, unknown>;
type Refusal = { code: string; message: string; retry: boolean; retry_after_ms?: number };

interface Doc {
  epoch: string;
  readonly epochs: FakeEpochs;
  rev: number;
  text: string;
  /** Event frames by revision. */
  events: Map<number, Fields & { op: Operation }>;
  /** The submits that made them, and of whom. */
  submits: Map<number, { user: string; frame: Fields }>;
  written: FakeWriters<Fields>;
  /** Texts by revision, for `rollback` and to check `len`. */
  texts: Map<number, string>;
  /** Where people are, in the text of now, by connection. */
  cursors: Map<string, Fields & { anchor: number; head: number }>;
  /** Revisions that were taken back, and by which. */
  undone: Map<number, number>;
  /** Texts that are kept by name. */
  tags: Map<string, { rev: number; at_ms: number; text: string }>;
}
interface RoomState {
  log: FakeLog;
  docs: Map<string, Doc>;
  presence: FakePresence;
}

export class FakeFront {
  /** Every command that arrived, in order. */
  readonly got: Fields[] = [];
  /** How many connections were tried. */
  dials = 0;
  lines = 0;
  down = false;
  /** Sockets never open. */
  silent = false;
  duplicates = 0;
  /** Events take so much longer than anything else. */
  eventsLateMs = 0;
  opsKept = 1_000;
  pageMax = 100;
  delay: () => number = () => 0;
  random: () => number = Math.random;
  pingIntervalMs = 25_000;
  /** The text of every document at every position that there ever was, by `<epoch>:<rev>`. */
  readonly past = new Map<string, string>();
  readonly Socket: new (url: string) => WebSocketLike;

  private readonly connections = new Set<Line>();
  private readonly rooms = new Map<string, RoomState>();
  private readonly refusals: { command: string; error: Refusal; times: number }[] = [];
  private readonly losses: { command: string; what: "request" | "reply"; times: number }[] = [];
  /** Rooms and the connections that were sent out of them. */
  private readonly kicked = new Set<string>();
  /** Roles by room and user. */
  private readonly roles = new Map<string, string>();
  private epochs = 0;
  /** Connections are listed in their user's personal room. */
  devices = false;

  constructor() {
    const front = this;
    this.Socket = class extends FakeSocket {
      constructor(_url: string) {
        super(front);
      }
    } as unknown as new (url: string) => WebSocketLike;
  }

  // What tests do to it.

  cut(user?: string): void {
    for (const line of [...this.connections]) if (user === undefined || line.user === user) line.end(1006, "");
  }
  close(code: number, reason: string): void {
    for (const line of [...this.connections]) line.end(code, reason);
  }
  /** Tells everybody that it stops and when to come back. The close follows with `close`. */
  stops(retryAfterMs: number): void {
    for (const line of this.connections) line.event({ event: "connection.closing", retry_after_ms: retryAfterMs });
  }
  /** Tells everybody that their token ends soon. */
  expires(inMs: number): void {
    for (const line of this.connections) line.event({ event: "auth.expiring", in_ms: inMs });
  }
  refuse(command: string, code: string, more: { retry?: boolean; retryAfterMs?: number; times?: number } = {}): void {
    const error: Refusal = { code, message: `refused: ${code}`, retry: more.retry ?? false };
    if (more.retryAfterMs !== undefined) error.retry_after_ms = more.retryAfterMs;
    this.refusals.push({ command, error, times: more.times ?? 1 });
  }
  swallow(command: string, what: "request" | "reply", times = 1): void {
    this.losses.push({ command, what, times });
  }
  /** What was to be refused or lost, and did not come, is not any more. */
  calm(): void {
    this.refusals.length = this.losses.length = 0;
  }
  text(room: string, doc: string): string {
    return this.doc(room, doc).text;
  }
  doc(room: string, doc: string): Doc {
    const found = this.room(room).docs.get(doc);
    if (found === undefined) throw new Error(`no document ${doc}`);
    return found;
  }
  messages(room: string): readonly WireMessage[] {
    return this.room(room).log.messages;
  }
  /** What is known of a room's people, and what each connection said of itself: its data, its status, its cursor. */
  presence(room: string): Fields {
    return this.room(room).presence.snapshot();
  }
  said(room: string): unknown[] {
    return this.room(room).presence.said();
  }
  of(command: string): Fields[] {
    return this.got.filter((frame) => frame["do"] === command);
  }

  /** A service edits the document. */
  edit(room: string, doc: string, op: Operation, by: Fields = { user: "service" }): void {
    this.append(room, doc, this.doc(room, doc), op, by);
  }
  /** A service posts. */
  post(room: string, text: string, user = "service"): void {
    this.room(room).log.post({ user, body: { text } });
  }
  log(room: string): FakeLog {
    return this.room(room).log;
  }
  /** A failover that lost what came after `rev` of a room's log. */
  rollbackLog(room: string, rev: number): void {
    const { log } = this.room(room);
    log.rollback(rev, this.epoch(log.epoch));
    for (const line of this.connections)
      if (line.rooms.has(room)) line.event({ ...log.snapshot(line.user, "rollback"), history_end: rev, event: "room.resync", room, stream: "log" });
  }
  /**
   * A failover that lost what came after `rev`. The next epoch begins with the first write after it.
   *
   * @param more.toldMs when everybody is told, who may have found out before. @param more.again which of the lost submits the front
   * sends once more, since it had no answer to them
   */
  rollback(room: string, name: string, rev: number, { toldMs = 0, again = () => false }: { toldMs?: number; again?: () => boolean } = {}): void {
    const doc = this.doc(room, name);
    const lost = [...doc.submits].filter(([at]) => at > rev);
    doc.text = doc.texts.get(rev) as string;
    for (let at = rev + 1; at <= doc.rev; at++) for (const kept of [doc.events, doc.texts, doc.submits]) kept.delete(at);
    for (const [at, by] of doc.undone) if (by > rev) doc.undone.delete(at);
    doc.written = doc.written.copy((answer) => (answer["rev"] as number) <= rev);
    doc.cursors.clear();
    doc.rev = rev;
    doc.epochs.takenOver(rev);
    doc.epoch = doc.epochs.current;
    const tell = () => this.resync(room, name, { ...this.snapshot(this.doc(room, name), "rollback"), history_end: rev });
    if (toldMs === 0) tell();
    else if (toldMs < Infinity) setTimeout(tell, toldMs);
    for (const [, { user, frame }] of lost) {
      if (!again()) continue;
      try {
        this.submit({ user }, frame);
      } catch {
        // What it was made on is lost, too.
      }
    }
  }
  /** The document is replaced. */
  reset(room: string, name: string, text: string): void {
    this.room(room).docs.set(name, this.newDoc(text));
    for (const line of this.connections) if (line.rooms.has(room)) line.event({ event: "room.reset", room, stream: `doc:${name}` });
  }
  remove(room: string, name: string): void {
    this.room(room).docs.delete(name);
    for (const line of this.connections) if (line.rooms.has(room)) line.event({ event: "room.reset", room, stream: `doc:${name}` });
  }
  /** The database was flushed. */
  flush(room: string): void {
    this.rooms.delete(room);
    for (const line of this.connections) {
      for (const opened of line.opened) if (opened.startsWith(`${room} `)) line.opened.delete(opened);
      if (line.rooms.has(room)) line.event({ event: "room.reset", room, stream: "" });
    }
  }
  /** Sends a user, or one connection, out of a room; out of the personal room: ends the connections. */
  kick(room: string, who: { user: string } | { connection: string }, more: { reason?: string; by?: string } = {}): void {
    for (const line of [...this.connections]) {
      if ("user" in who ? line.user !== who.user : line.id !== who.connection) continue;
      const isPersonal = room === `user:${line.user}`;
      if (!isPersonal && !line.rooms.has(room)) continue;
      this.kicked.add(`${room} ${line.id}`);
      line.event({ event: "room.kicked", room, ...more });
      if (isPersonal) this.later(Date.now() + 1, () => line.end(4504, "KICKED"));
      else this.leave(line, room);
    }
  }
  /** Says what a user may do in a room, and tells those who are inside. */
  grant(room: string, user: string, role: string): void {
    this.roles.set(`${room} ${user}`, role);
    for (const line of [...this.connections]) {
      if (line.user !== user || !line.rooms.has(room)) continue;
      line.event({ event: "room.access", room, ...this.access(room, user) });
      if (role === "none") this.leave(line, room);
    }
  }
  private access(room: string, user: string): { role: string; actions: string[] } {
    const role = this.roles.get(`${room} ${user}`) ?? "editor";
    return { role, actions: ["read", "talk", "edit", "manage"].slice(0, ["none", "viewer", "commenter", "editor", "owner"].indexOf(role)) };
  }
  /** The front noticed a loss: everybody gets the text. */
  resync(room: string, name: string, part: Fields = this.snapshot(this.doc(room, name), "far")): void {
    for (const line of this.connections)
      if (line.opened.has(`${room} ${name}`)) line.event({ ...part, event: "room.resync", room, stream: `doc:${name}` });
  }
  /** An event that no state stands behind. */
  push(room: string, frame: Fields): void {
    for (const line of this.connections) if (line.rooms.has(room)) line.event({ room, ...frame });
  }
  /** Bytes that no frame stands behind, to everybody. */
  pushBytes(bytes: ArrayBuffer): void {
    for (const line of this.connections) this.later(0, () => line.socket.onmessage?.({ data: bytes }));
  }

  // What sockets and lines need.

  /** Runs `then` after `delay()`, but not before `after`. Returns when. */
  later(after: number, then: () => void): number {
    const at = Math.max(after, Date.now() + this.delay());
    setTimeout(then, at - Date.now());
    return at;
  }
  accept(socket: FakeSocket): Line {
    const line = new Line(this, socket);
    this.connections.add(line);
    return line;
  }
  gone(line: Line): void {
    this.connections.delete(line);
    for (const name of line.rooms) this.leave(line, name);
  }

  handle(line: Line, frame: Fields): void {
    const { id, do: command } = frame as { id: number; do: string };
    const loss = this.losses.find((it) => it.command === command && it.times > 0);
    if (loss !== undefined) loss.times -= 1;
    if (loss?.what === "request") return;
    this.got.push(frame);
    const lane = ["connect", "room.join", "doc.open"].includes(command) ? "both" : "replies";
    try {
      const refusal = this.refusals.find((it) => it.command === command && it.times > 0);
      if (refusal !== undefined) {
        refusal.times -= 1;
        throw refusal.error;
      }
      const ok = this.answer(line, frame);
      if (loss === undefined) line.reply({ id, ok }, lane);
    } catch (error) {
      if (error instanceof Error && !(error instanceof StoaError)) throw error;
      const { code, message, retry } = error as Refusal;
      if (loss === undefined) line.reply({ id, error: error instanceof StoaError ? { code, message, retry } : error }, lane);
      if (command === "connect") {
        const end = code === "AUTH_EXPIRED" ? 4502 : code.startsWith("AUTH") ? 4501 : 0;
        if (end > 0) this.later(Date.now() + 1, () => line.end(end, code));
      }
    }
  }

  private answer(line: Line, frame: Fields): unknown {
    const room = frame["room"] as string;
    switch (frame["do"]) {
      case "auth.refresh":
        this.check(frame["token"] as string);
        return { expires_in_ms: 3_600_000 };
      case "connect": {
        const token = this.check(frame["token"] as string);
        line.user = token;
        const rooms: Fields = {};
        for (const [name, fields] of Object.entries((frame["resume"] ?? {}) as Record<string, Fields>)) {
          try {
            rooms[name] = this.join(line, name, fields);
          } catch (error) {
            rooms[name] = { error: error };
          }
        }
        return { connection: line.id, user: token, name: token, ping_interval_ms: this.pingIntervalMs, rooms };
      }
      case "ping":
        return {};
      case "devices.list": {
        if (!this.devices) throw no("DISABLED");
        const own = [...this.connections].filter(({ user }) => user === line.user);
        return { devices: own.map(({ id }) => ({ connection: id, node: "f1", since_ms: 1, active_ms: 2, status: "online", address: "::1", agent: "test" })) };
      }
      case "devices.kick": {
        const connection = frame["connection"] as string;
        if (!this.devices) throw no("DISABLED");
        if (![...this.connections].some(({ id, user }) => id === connection && user === line.user)) throw no("NOT_FOUND");
        this.kick(`user:${line.user}`, { connection }, { by: line.user });
        return {};
      }
      case "room.join":
        return this.join(line, room, frame);
    }
    if (!line.rooms.has(room)) throw no("NOT_JOINED");
    if (!this.access(room, line.user).actions.includes(actionOf(frame))) throw no("PERMISSION_DENIED");
    const state = this.room(room);
    switch (frame["do"]) {
      case "room.leave":
        this.leave(line, room);
        return {};
      case "room.grant":
        this.grant(room, frame["user"] as string, frame["role"] as string);
        return { changed: true, rev: 1, epoch: "1.00000001" };
      case "room.revoke":
        this.grant(room, frame["user"] as string, frame["forget"] === true ? "editor" : "none");
        return { changed: true, rev: 1, epoch: "1.00000001" };
      case "room.kick":
        this.kick(room, frame["who"] as { user: string }, { reason: frame["reason"] as string, by: line.user });
        return { connections: 1 };
      case "room.emit": {
        const to = frame["to"] as { user?: string; connection?: string } | undefined;
        const event = { event: "room.emitted", room, name: frame["name"], data: frame["data"], user: line.user, connection: line.id, payload: frame["payload"] };
        for (const other of this.connections)
          if (other.rooms.has(room) && (to === undefined || to.user === other.user || to.connection === other.id)) other.event(event);
        return {};
      }
      case "msg.post":
      case "msg.edit":
      case "msg.delete":
      case "msg.react":
      case "msg.unreact":
      case "msg.append":
      case "msg.finish":
      case "msg.cancel":
        return state.log.write(line.user, frame);
      case "msg.read":
        return state.log.read(line.user, frame["n"] as number);
      case "msg.unread":
        return { ...state.log.unread(line.user), n: state.log.messages.at(-1)?.n ?? 0, ...state.log.position };
      case "msg.range":
        return state.log.range(frame);
      case "msg.history":
        return state.log.history(frame["n"] as number);
      case "presence.set":
        state.presence.set(line, frame);
        return state.presence.position;
      case "presence.typing":
        state.presence.type(line, frame["typing"] === true);
        return {};
      case "presence.cursor":
        state.presence.point(line, frame["cursor"] as Json);
        return {};
      case "presence.get":
        return state.presence.people(frame["users"] as string[]);
      case "doc.open": {
        const name = frame["doc"] as string;
        const create = frame["create"] as { content: string } | undefined;
        if (!state.docs.has(name) && create !== undefined) {
          const doc = this.newDoc(create.content);
          state.docs.set(name, doc);
          this.push(room, { event: "doc.created", stream: `doc:${name}`, epoch: doc.epoch, from: 0, rev: 0, type: "text" });
        }
        return this.open(line, room, name, frame["position"] as string | undefined);
      }
      case "doc.cursor": {
        const { doc: name, rev, cursor } = frame as unknown as { doc: string; rev: number; cursor: { anchor: number; head: number } | null };
        const doc = state.docs.get(name);
        if (doc === undefined) throw no("NOT_FOUND");
        this.cursor(room, name, line, cursor && { ...cursor, ...this.movedSince(doc, rev, cursor) });
        return {};
      }
      case "doc.get": {
        const doc = this.doc(room, frame["doc"] as string);
        const rev = (frame["rev"] as number | undefined) ?? doc.rev;
        const content = doc.texts.get(rev);
        if (content === undefined) throw no("STALE");
        return { epoch: doc.epoch, rev, type: "text", content };
      }
      case "doc.ops": {
        const doc = this.doc(room, frame["doc"] as string);
        const from = frame["from"] as number;
        const through = Math.min((frame["to"] as number | undefined) ?? doc.rev, from + this.pageMax);
        const events = Array.from({ length: through - from }, (_, i) => doc.events.get(from + 1 + i));
        return { outcome: "changes", epoch: doc.epoch, rev: doc.rev, through, events };
      }
      case "doc.tag": {
        const doc = this.doc(room, frame["doc"] as string);
        const name = frame["name"] as string;
        if (frame["drop"] !== true) doc.tags.set(name, { rev: doc.rev, at_ms: Date.now(), text: doc.text });
        else if (!doc.tags.delete(name)) throw no("NOT_FOUND");
        return { rev: doc.rev, epoch: doc.epoch };
      }
      case "doc.restore":
        return this.restore(line, frame);
      case "doc.info": {
        const doc = this.doc(room, frame["doc"] as string);
        const tags = [...doc.tags].map(([name, { rev, at_ms }]) => ({ name, rev, at_ms }));
        return { type: "text", eol: "lf", epoch: doc.epoch, rev: doc.rev, first_rev: 0, operations: doc.rev, utf16: doc.text.length, cursors: doc.cursors.size, tags };
      }
      case "presence.list":
        return state.presence.snapshot();
      case "doc.undo":
        return this.undo(line, frame);
      case "doc.close":
        this.cursor(room, frame["doc"] as string, line, null);
        line.opened.delete(`${room} ${String(frame["doc"])}`);
        return {};
      case "doc.submit":
        return this.submit(line, frame);
      default:
        throw no("UNKNOWN_COMMAND");
    }
  }

  private check(token: string): string {
    if (token === "expired") throw no("AUTH_EXPIRED");
    if (token === "invalid") throw no("AUTH_INVALID");
    return token;
  }

  private movedSince(doc: Doc, rev: number, { anchor, head }: { anchor: number; head: number }): { anchor: number; head: number } {
    for (let at = rev + 1; at <= doc.rev; at++) [anchor, head] = transformSelection(anchor, head, (doc.events.get(at) as { op: Operation }).op);
    return { anchor, head };
  }

  private cursor(room: string, name: string, line: Line, cursor: { anchor: number; head: number } | null): void {
    const doc = this.room(room).docs.get(name);
    if (doc === undefined) return;
    if (cursor !== null) doc.cursors.set(line.id, { connection: line.id, user: line.user, ...cursor });
    else if (!doc.cursors.delete(line.id)) return;
    const cursors = cursor === null ? [] : [doc.cursors.get(line.id)];
    this.tell(room, name, { event: "doc.cursors", epoch: doc.epoch, rev: doc.rev, cursors, gone: cursor === null ? [line.id] : [] });
  }

  private undo(line: Line, frame: Fields): Fields {
    const { room, doc: name, client, seq } = frame as unknown as { room: string; doc: string; client: string; seq: number };
    const doc = this.doc(room, name);
    // Counted apart from edits.
    const writer = `${client}:undo`;
    const known = this.known(doc, line, writer, seq);
    if (known !== undefined) return known;
    for (let rev = doc.rev; rev > 0; rev--) {
      const event = doc.events.get(rev);
      if (event?.["client"] !== client || event["user"] !== line.user || doc.undone.has(rev)) continue;
      doc.undone.set(rev, doc.rev + 1);
      let op = invert(event.op, doc.texts.get(rev - 1) as string);
      for (let at = rev + 1; at <= doc.rev; at++) op = transform(op, (doc.events.get(at) as { op: Operation }).op, "left");
      this.append(room, name, doc, op, { user: line.user, client: writer, seq });
      return this.remember(doc, line, writer, seq, { rev: doc.rev, epoch: doc.epoch, op, duplicate: false, concurrent: [] });
    }
    throw no("NOT_FOUND");
  }

  private restore(line: Line, frame: Fields): Fields {
    const { room, doc: name, name: tagged, client, seq } = frame as unknown as { room: string; doc: string; name: string; client: string; seq: number };
    const doc = this.doc(room, name);
    const known = this.known(doc, line, client, seq);
    if (known !== undefined) return known;
    const tag = doc.tags.get(tagged);
    if (tag === undefined) throw no("NOT_FOUND");
    const op = fromDiff(doc.text, tag.text);
    if (op.length > 0) this.append(room, name, doc, op, { user: line.user, client, seq });
    return this.remember(doc, line, client, seq, { rev: doc.rev, epoch: doc.epoch, op, duplicate: false, concurrent: [] });
  }

  private tell(room: string, name: string, frame: Fields): void {
    for (const line of this.connections)
      if (line.opened.has(`${room} ${name}`) && line.rooms.has(room)) line.event({ ...frame, room, stream: `doc:${name}` });
  }

  private join(line: Line, name: string, fields: Fields): Fields {
    const state = this.room(name);
    const positions = (fields["positions"] ?? {}) as Record<string, string | null>;
    if (this.kicked.has(`${name} ${line.id}`)) throw no("KICKED");
    if (this.access(name, line.user).actions.length === 0) throw no("PERMISSION_DENIED");
    line.rooms.add(name);
    if (fields["presence"] !== undefined) state.presence.join(line, fields["presence"] as Fields);
    const streams: Fields = {
      log: this.logPart(line, state.log, positions["log"] ?? undefined),
      presence: state.presence.snapshot(),
    };
    for (const [stream, position] of Object.entries(positions))
      if (stream.startsWith("doc:")) streams[stream] = this.open(line, name, stream.slice(4), position ?? undefined);
    return { room: name, ...this.access(name, line.user), streams };
  }

  private leave(line: Line, name: string): void {
    const state = this.room(name);
    for (const doc of state.docs.keys()) this.cursor(name, doc, line, null);
    line.rooms.delete(name);
    state.presence.leave(line);
  }

  private logPart(line: Line, log: FakeLog, position: string | undefined): Fields {
    if (position === undefined) return log.snapshot(line.user, "first");
    const [epoch, rev] = position.split(":") as [string, string];
    if (epoch !== log.epoch) return log.snapshot(line.user, "reset");
    return log.since(line.user, Number(rev), this.pageMax) ?? log.snapshot(line.user, "far");
  }

  private open(line: Line, room: string, name: string, position: string | undefined): Fields {
    const doc = this.room(room).docs.get(name);
    // One that is missing is followed, too: its creation is announced.
    line.opened.add(`${room} ${name}`);
    if (doc === undefined) return { outcome: "missing" };
    if (position === undefined) return this.snapshot(doc, "first");
    const [epoch, rev] = position.split(":") as [string, string];
    const standing = doc.epochs.standing(epoch, Number(rev), doc.rev);
    if (standing === "unknown") return this.snapshot(doc, "reset");
    if (standing !== "valid") return { ...this.snapshot(doc, "rollback"), history_end: standing.end };
    const missed = doc.rev - Number(rev);
    if (missed > this.opsKept) return this.snapshot(doc, "trimmed");
    if (missed > this.pageMax) return this.snapshot(doc, "far");
    const events = Array.from({ length: missed }, (_, i) => doc.events.get(Number(rev) + 1 + i));
    return { outcome: "changes", epoch: doc.epoch, rev: doc.rev, events, cursors: [...doc.cursors.values()] };
  }

  private snapshot(doc: Doc, because: string): Fields {
    return { outcome: "snapshot", because, epoch: doc.epoch, rev: doc.rev, type: "text", content: doc.text, cursors: [...doc.cursors.values()] };
  }

  private submit(line: { user: string }, frame: Fields): Fields {
    const { room, doc: name, rev, epoch, op, len, client, seq } = frame as unknown as
      { room: string; doc: string; rev: number; epoch: string; op: Operation; len: number; client: string; seq: number };
    const doc = this.room(room).docs.get(name);
    if (doc === undefined) throw no("NOT_FOUND");
    const known = this.known(doc, line, client, seq);
    if (known !== undefined) return known;
    const standing = doc.epochs.standing(epoch, rev, doc.rev);
    if (standing !== "valid") throw no(standing === "unknown" ? "RESET" : "ROLLBACK");
    if (rev > doc.rev) throw no("AHEAD");
    if (doc.rev - rev > this.opsKept) throw no("STALE");
    if (doc.texts.get(rev)?.length !== len) throw no("DESYNC");
    const concurrent = Array.from({ length: doc.rev - rev }, (_, i) => (doc.events.get(rev + 1 + i) as { op: Operation }).op);
    // Stepwise or composed: the same, and both are used.
    const accepted =
      concurrent.length > 3
        ? transform(op, concurrent.reduce((first, second) => compose(first, second, "late")), "left")
        : concurrent.reduce((mine, over) => transform(mine, over, "left"), op);
    if (accepted.length > 0) {
      this.append(room, name, doc, accepted, { user: line.user, client, seq });
      doc.submits.set(doc.rev, { user: line.user, frame });
    }
    return this.remember(doc, line, client, seq, { rev: doc.rev, epoch: doc.epoch, op: accepted, duplicate: false, concurrent });
  }

  /** The answer to a write that was accepted before. */
  private known(doc: Doc, { user }: { user: string }, client: string, seq: number): Fields | undefined {
    const before = doc.written.lookUp(`${user} ${client}`, seq);
    if (before === undefined) return undefined;
    const { op: applied, ...answer } = before;
    const isKept = doc.rev - (before["rev"] as number) < this.opsKept;
    return { ...answer, ...(isKept ? { op: applied } : {}), duplicate: true };
  }

  private remember(doc: Doc, { user }: { user: string }, client: string, seq: number, answer: Fields): Fields {
    doc.written.remember(`${user} ${client}`, seq, { ...answer, concurrent: [] });
    return answer;
  }

  private append(room: string, name: string, doc: Doc, op: Operation, by: Fields): void {
    doc.epochs.enter(doc.rev, (last) => this.epoch(last));
    doc.epoch = doc.epochs.current;
    doc.text = apply(doc.text, op);
    for (const cursor of doc.cursors.values()) [cursor.anchor, cursor.head] = transformSelection(cursor.anchor, cursor.head, op);
    const event = { event: "doc.applied", room, stream: `doc:${name}`, epoch: doc.epoch, from: doc.rev, rev: ++doc.rev, op, at_ms: Date.now(), ...by };
    doc.events.set(doc.rev, event);
    doc.texts.set(doc.rev, doc.text);
    this.past.set(`${doc.epoch}:${doc.rev}`, doc.text);
    this.tell(room, name, event);
  }

  private room(name: string): RoomState {
    let state = this.rooms.get(name);
    if (state === undefined) {
      const log = new FakeLog(name, this.epoch(), (frame) => this.push(name, frame));
      state = { log, docs: new Map(), presence: new FakePresence(this.epoch(), (frame) => this.push(name, frame)) };
      this.rooms.set(name, state);
    }
    return state;
  }

  private newDoc(text: string): Doc {
    const epoch = this.epoch();
    this.past.set(`${epoch}:0`, text);
    return { epoch, epochs: new FakeEpochs(epoch), rev: 0, text, events: new Map(), submits: new Map(), written: new FakeWriters(), texts: new Map([[0, text]]), cursors: new Map(), undone: new Map(), tags: new Map() };
  }

  /** The epoch after `last`; without one, the first epoch of something new. */
  private epoch(last = "0"): string {
    this.epochs += 1;
    return `${Number.parseInt(last, 10) + 1}.${(0x9f3a12c0 + this.epochs).toString(16)}`;
  }
}

/** What one has to be allowed for a command. */
function actionOf(frame: Fields): string {
  const command = frame["do"] as string;
  if (["room.grant", "room.revoke", "room.kick"].includes(command)) return "manage";
  if (["doc.submit", "doc.undo", "doc.tag", "doc.restore"].includes(command) || frame["create"] !== undefined) return "edit";
  if (["msg.read", "msg.unread", "msg.range", "msg.history"].includes(command)) return "read";
  return command.startsWith("msg.") || ["room.emit", "presence.typing"].includes(command) ? "talk" : "read";
}
