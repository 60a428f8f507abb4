/**
 * The connection: a state machine, and only that. It owns the socket, the token, every wait and the decision whether to
 * come back, and by which transport; it knows of commands only `connect`, `auth.refresh` and `ping`.
 *
 *     closed ──open──▶ connecting ──answer to connect──▶ online
 *                       ▲    │ lost, 4000-4499, refused for now │
 *                       │    ▼                                  │
 *                       └─ offline ◀────────────────────────────┘        closed: by close(), 4500-4999
 *
 * Safety: at most one socket lives; events of an abandoned one are ignored. Liveness: every wait (token, opening, answer,
 * silence) ends by itself, so whoever is not closed is connected or will try again.
 *
 * Where WebSockets do not come through it goes on over plain HTTP (`sse.ts`, loaded when it is needed first). Meanwhile a
 * WebSocket is tried now and then; once one has been answered it takes over, without a gap.
 */
import { StoaError } from "./errors.js";
import type { CloseReason, CommandFrame, JoinOptions } from "./frames.js";
import * as read from "./wire/answers.js";
import { binaryFrame, fields, parseBinary, parseFrames, type Command, type ConnectAnswer, type ServerFrame } from "./wire/index.js";

/**
 * `connecting`: an attempt is under way. `online`: the front answered, and the rooms are up to date. `offline`: there is no
 * line, and another attempt will follow. `closed`: no attempt will follow until `open`.
 */
export type ConnectionState = "connecting" | "online" | "offline" | "closed";

/** A change of the connection's state. */
export interface StateChange {
  /** What it is now, and what it was. */
  state: ConnectionState;
  previous: ConnectionState;
  /**
   * For `offline` and `closed`: one word for why. The front's close reason (`SHUTDOWN`, `AUTH_INVALID`, …), the code of a
   * refused `connect`, or `LOST` (the line broke), `TIMEOUT` (no answer or silence), `TOKEN` (the token function failed),
   * `CLOSED` (this program called `close`). With `KICKED` somebody ended this connection: it does not come back by itself.
   */
  reason?: CloseReason | (string & {});
  /** The WebSocket close code, if one came. */
  closeCode?: number;
  /** For `offline`: in how many milliseconds the next attempt begins. */
  retryInMs?: number;
}

/**
 * Why a token is asked for: for the first connect; for another one; because the one in use ends soon (the connection goes on
 * with the new one); because the front said that the last one has ended.
 */
export type TokenReason = "first" | "reconnect" | "expiring" | "expired";
/**
 * The JWT, or a function that gets one, at once or later. It is asked for each connect, and before the token ends. If it fails
 * while the last token is good as far as anybody knows, that one is used.
 */
export type Token = string | ((why: TokenReason) => string | Promise<string>);

/** What this library uses of a WebSocket: browsers, Deno, Bun, Node 22 and the package `ws` all have it. */
export interface WebSocketLike {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  /** Set to `arraybuffer`: payloads come as that. */
  binaryType: string;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}
/** Makes a WebSocket. */
export type WebSocketConstructor = new (url: string) => WebSocketLike;

/** What carries the frames: a WebSocket, or plain HTTP with server-sent events. */
export type Transport = "websocket" | "sse";

/** How to connect. Everything but `url` has a default. */
export interface ConnectionOptions {
  /**
   * `wss://host/ws`. In a browser a path such as `/ws` is enough: it is taken from the page's own origin. A function is asked
   * for each attempt, and told what that goes by: with it one may go from front to front.
   */
  url: string | ((transport: Transport) => string);
  /** The JWT, or a function that gets one. Leave it out if something before the front adds it to the upgrade request. */
  token?: Token;
  /**
   * The WebSocket to use. Default: the global one. Node 20 has none: pass the one of the package `ws`, or everything goes over
   * plain HTTP, which costs more of everything.
   */
  WebSocket?: WebSocketConstructor;
  /**
   * Whether to go on over plain HTTP (`/sse` and `/rpc` beside the `/ws` of `url`) where WebSockets do not come through: at once
   * if none ever did, else after three attempts in a row that did not get to an answer. It comes back to a WebSocket by
   * itself; see {@link Stoa.transport}. Pages of other origins need a front that runs with `--allow-origin`. Default `true`.
   */
  sse?: boolean;
  /**
   * While plain HTTP is in use a WebSocket is tried after this time, then after twice that, and so on up to 64 times that.
   * Default 5,000.
   */
  websocketRetryMs?: number;
  /** The first back-off is a random time up to this, the next up to twice this, and so on. Default 1,000. */
  backoffMinMs?: number;
  /** No back-off is longer than this. Default 30,000. */
  backoffMaxMs?: number;
  /** How long to wait for the token function. Default 15,000. */
  tokenTimeoutMs?: number;
  /** How long to wait for the socket to open. Default 10,000. */
  openTimeoutMs?: number;
  /** How long to wait for the answer to `connect`, to a ping, and to any command. Default 10,000. */
  answerTimeoutMs?: number;
  /** Where chance comes from: a number from 0 up to, not including, 1. Default `Math.random`; tests pass a seeded one. */
  random?: () => number;
}

/** What the connection asks of its owner. */
export interface ConnectionOwner {
  /** The rooms to resume, as the `resume` field of `connect`. */
  resume(): { [room: string]: JoinOptions };
  /** The answer to `connect`. It is called before any later frame is given out. */
  connected(answer: ConnectAnswer): void;
  /** A frame after the answer to `connect`. */
  frame(frame: Exclude<ServerFrame, { kind: "closing" | "expiring" }>): void;
  /** The line of a connected connection broke: no outstanding command will be answered. */
  lost(): void;
  state(change: StateChange): void;
  /** Another one while the connection goes on. */
  transport(transport: Transport): void;
  /** A frame could not be read. */
  skipped(why: string): void;
}


/** The id of `connect`, `auth.refresh` and pings; the owner numbers its commands from 1. */
const OWN_ID = 0;
/** Used until the front names its own: the interval of silence after which the line is checked. */
const PING_INTERVAL_MS = 25_000;
/** A network that let a WebSocket through before is only given up after so many attempts in a row. */
const PATIENCE = 3;

/** What only those need who have no WebSocket: it is loaded then. */
type PlainHttp = typeof import("./sse.js");

export class Connection {
  private readonly options: Required<Omit<ConnectionOptions, "token" | "WebSocket" | "sse">> & Pick<ConnectionOptions, "token">;
  private readonly Socket: WebSocketConstructor | undefined;
  private readonly hasHttp: boolean;
  private current: ConnectionState = "closed";
  private socket: WebSocketLike | undefined;
  /** Names the present attempt: whatever finishes later for an older one is ignored. */
  private attempt = 0;
  /** Attempts that failed since the last success. */
  private failures = 0;
  private token: string | undefined;
  private tokenReason: TokenReason = "first";
  /** The one wait that is under way. */
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pingIntervalMs = PING_INTERVAL_MS;
  /** When a front that stops wants to see its people elsewhere. */
  private comeBackInMs: number | undefined;
  /** What the present attempt goes by. */
  private via: Transport = "websocket";
  /** Attempts by WebSocket in a row that did not get to an answer. */
  private blocked = 0;
  /** Whether a WebSocket has come through. */
  private comesThrough = false;
  private http: PlainHttp | undefined;
  /** Tries WebSockets while plain HTTP is in use. */
  private scout: ReturnType<PlainHttp["startScout"]> | undefined;

  constructor(
    options: ConnectionOptions,
    private readonly owner: ConnectionOwner,
  ) {
    this.options = {
      backoffMinMs: 1_000,
      backoffMaxMs: 30_000,
      tokenTimeoutMs: 15_000,
      openTimeoutMs: 10_000,
      answerTimeoutMs: 10_000,
      websocketRetryMs: 5_000,
      random: Math.random,
      ...options,
    };
    this.Socket = options.WebSocket ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket;
    this.hasHttp = options.sse !== false && typeof fetch === "function";
    if (this.Socket === undefined && !this.hasHttp) throw new StoaError("INVALID_ARGUMENT", "there is no WebSocket: pass one");
  }

  get state(): ConnectionState {
    return this.current;
  }

  /** What carries the frames now; `undefined` while there is no connection. */
  get transport(): Transport | undefined {
    return this.current === "online" ? this.via : undefined;
  }

  /** Connects, if that is not under way already. After `closed` it starts afresh. */
  open(): void {
    if (this.current !== "closed") return;
    this.failures = 0;
    this.begin();
  }

  /** Closes for good (until `open`). */
  close(): void {
    if (this.current === "closed") return;
    this.drop(1000);
    this.change("closed", { reason: "CLOSED" });
  }

  /** Something changed about the network: tries at once what would be tried later. */
  probe(): void {
    if (this.current === "offline") this.begin();
    else if (this.current === "online") this.ping();
  }

  /**
   * Sends a command; `false` if there is no connection to send it on.
   *
   * @throws StoaError `TOO_LARGE` with a payload beyond what a front takes at once
   */
  send(id: number, command: Command, payload?: Uint8Array): boolean {
    if (this.current !== "online" || this.socket === undefined) return false;
    const frame = { id, ...command };
    this.socket.send(payload === undefined ? JSON.stringify(frame) : binaryFrame(frame, payload));
    return true;
  }

  private begin(): void {
    this.drop();
    const attempt = this.attempt;
    this.change("connecting");
    const { token } = this.options;
    if (typeof token !== "function") return this.dial(attempt, token);
    const held = this.token;
    const without = (reason: string) => (held === undefined ? this.failed({ reason }) : this.dial(attempt, held));
    // What comes after the time-out has come too late.
    const waits = () => attempt === this.attempt && this.socket === undefined;
    this.wait(this.options.tokenTimeoutMs, () => without("TIMEOUT"));
    ask(token, this.tokenReason).then(
      (value) => {
        if (!waits()) return;
        this.token = value;
        this.tokenReason = "reconnect";
        this.dial(attempt, value);
      },
      (error: unknown) => {
        if (!waits()) return;
        if (error instanceof StoaError && !error.retry) this.refused({ reason: error.code });
        else without("TOKEN");
      },
    );
  }

  /** The token ends soon: the connection goes on with another. Without one the front will close, and it is asked for again. */
  private refresh(): void {
    const { token } = this.options;
    const { attempt } = this;
    if (typeof token !== "function") return;
    ask(token, "expiring").then(
      (value) => {
        if (attempt !== this.attempt) return;
        this.token = value;
        this.send(OWN_ID, { do: "auth.refresh", token: value });
      },
      () => undefined,
    );
  }

  private dial(attempt: number, token: string | undefined): void {
    const isBlocked = this.Socket === undefined || this.blocked >= (this.comesThrough ? PATIENCE : 1);
    this.via = this.hasHttp && isBlocked ? "sse" : "websocket";
    this.wait(this.options.openTimeoutMs, () => this.failed({ reason: "TIMEOUT" }));
    if (this.via === "websocket") return this.start(this.webSocket(), token);
    // What could not be loaded is tried again with the next attempt by plain HTTP.
    import("./sse.js").then(
      (http) => attempt === this.attempt && this.start(this.make("sse", (url) => new (this.http = http).EventStream(url, () => this.owner.resume())), token),
      () => attempt === this.attempt && this.failed({ reason: "LOST" }),
    );
  }

  private start(socket: WebSocketLike | undefined, token: string | undefined): void {
    if (socket === undefined) return this.refused({ reason: "INVALID_URL" });
    const { attempt } = this;
    socket.onopen = () => {
      if (attempt !== this.attempt) return;
      this.greet(socket, token);
      this.wait(this.options.answerTimeoutMs, () => this.failed({ reason: "TIMEOUT" }));
    };
    this.listenTo(socket);
  }

  private webSocket(): WebSocketLike | undefined {
    return this.make("websocket", (url) => new (this.Socket as WebSocketConstructor)(url));
  }

  private make(transport: Transport, dial: (url: string) => WebSocketLike): WebSocketLike | undefined {
    const { url } = this.options;
    try {
      const socket = dial(absolute(typeof url === "string" ? url : url(transport)));
      socket.binaryType = "arraybuffer";
      // Only `close` says how it ended; it always follows.
      socket.onerror = () => undefined;
      return socket;
    } catch {
      return undefined;
    }
  }

  /** Says who this is and what it has. */
  private greet(socket: WebSocketLike, token: string | undefined): void {
    const rooms = this.owner.resume();
    const frame: CommandFrame = { id: OWN_ID, do: "connect", token, resume: Object.keys(rooms).length > 0 ? rooms : undefined };
    socket.send(JSON.stringify(frame));
  }

  /** Takes in what comes on this line: it is in use now. */
  private listenTo(socket: WebSocketLike): void {
    this.socket = socket;
    const { attempt, owner } = this;
    const alive = () => attempt === this.attempt;
    socket.onmessage = (event: { data: unknown }) => {
      if (!alive()) return;
      if (this.current === "online") this.listen();
      for (const frame of framesOf(event.data, (why) => owner.skipped(why))) {
        // A listener may have closed the connection while it was given a frame.
        if (!alive()) return;
        if (frame.kind === "closing") this.comeBackInMs = frame.retryAfterMs;
        else if (frame.kind === "expiring") this.refresh();
        else if (this.current === "online" && !isGreeting(frame)) owner.frame(frame);
        else this.answered(frame);
      }
    };
    socket.onclose = (event: { code: number; reason: string }) => {
      if (alive()) this.ended(event.code, event.reason);
    };
  }

  /**
   * A frame before the connection is connected: only the answer to `connect` is expected. It comes again, on another line,
   * where that had to be asked for anew.
   */
  private answered(frame: ServerFrame): void {
    if ((frame.kind !== "reply" && frame.kind !== "error") || frame.id !== OWN_ID) return;
    if (frame.kind === "error") return this.sayNo(frame.error);
    let answer: ConnectAnswer;
    try {
      answer = read.connect(fields(frame.ok, "ok"));
    } catch {
      return this.failed({ reason: "INTERNAL" });
    }
    this.failures = 0;
    if (this.via === "websocket") {
      this.blocked = 0;
      this.comesThrough = true;
    } else if (this.Socket !== undefined) this.scout ??= this.http?.startScout(this.options, {
      make: () => this.webSocket(),
      greet: (socket) => this.greet(socket, this.token ?? (this.options.token as string | undefined)),
      answered: (socket, data) => this.takeOver(socket, data),
    });
    this.pingIntervalMs = answer.ping_interval_ms ?? PING_INTERVAL_MS;
    this.listen();
    // Whoever is told that the connection is there finds the rooms already up to date; unless one of them closed it.
    const { attempt } = this;
    const previous = this.current;
    this.current = "online";
    this.owner.connected(answer);
    if (attempt === this.attempt && previous !== "online") this.owner.state({ state: "online", previous });
  }

  /** A WebSocket that was tried beside the line in use was answered: it takes over. `false` if that was no greeting. */
  private takeOver(socket: WebSocketLike, data: unknown): boolean {
    const [first] = framesOf(data, () => undefined);
    if (first === undefined || !isGreeting(first)) return false;
    this.scout = undefined;
    // It still brings the answers to what was asked on it, and nothing else.
    discard(this.socket);
    this.via = "websocket";
    this.listenTo(socket);
    (socket.onmessage as (event: object) => void)({ data });
    if (socket === this.socket) this.owner.transport(this.via);
    return true;
  }

  private sayNo(error: StoaError): void {
    if (this.renewToken(error.code)) return this.failed({ reason: error.code });
    if (error.retry) this.failed({ reason: error.code }, error.retryAfterMs);
    else this.refused({ reason: error.code });
  }

  private ended(code: number, reason: string): void {
    const why = { reason: reason === "" ? "LOST" : reason, closeCode: code };
    const wasConnected = this.current === "online";
    if (code >= 4500 && code <= 4999) {
      if (!(code === 4502 && this.renewToken("AUTH_EXPIRED"))) return this.refused(why);
      // A token that ended in mid-connection is ordinary: there is nothing to back off from.
      if (wasConnected) return this.failed(why, undefined, 0);
    }
    // A front that stops spreads its people over a time of its choice: sooner would be a crowd, later a needless wait.
    this.failed(why, 0, wasConnected ? this.comeBackInMs : undefined);
  }

  /** Forgets a token that has ended, if a new one can be got. */
  private renewToken(code: string): boolean {
    if (code !== "AUTH_EXPIRED" || typeof this.options.token !== "function") return false;
    this.token = undefined;
    this.tokenReason = "expired";
    return true;
  }

  /** This attempt or connection is over; another will follow. */
  private failed(why: { reason: string; closeCode?: number }, atLeastMs = 0, delayMs?: number): void {
    if (this.current !== "online" && this.via === "sse") this.blocked = 0;
    // What a front has refused did get to it.
    else if (this.current !== "online" && this.socket !== undefined && (why.reason === "LOST" || why.reason === "TIMEOUT")) this.blocked += 1;
    this.drop();
    const { backoffMinMs, backoffMaxMs, random } = this.options;
    // Full jitter: when a front goes, its clients come back spread over the whole interval.
    const retryInMs = delayMs ?? Math.max(random() * Math.min(backoffMaxMs, backoffMinMs * 2 ** this.failures), atLeastMs);
    this.failures += 1;
    this.wait(retryInMs, () => this.begin());
    this.change("offline", { ...why, retryInMs });
  }

  /** Coming back would not help. */
  private refused(why: { reason: string; closeCode?: number }): void {
    this.drop();
    this.change("closed", why);
  }

  /** The line is alive. After an interval of silence it is asked. */
  private listen(): void {
    this.wait(this.pingIntervalMs, () => this.ping());
  }

  private ping(): void {
    this.send(OWN_ID, { do: "ping" });
    this.wait(this.options.answerTimeoutMs, () => this.failed({ reason: "TIMEOUT" }));
  }

  private wait(ms: number, then: () => void): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(then, ms);
  }

  /** Abandons socket, token and wait, if there are any. */
  private drop(code?: number): void {
    this.attempt += 1;
    this.comeBackInMs = undefined;
    clearTimeout(this.timer);
    this.scout?.();
    this.scout = undefined;
    const socket = this.socket;
    this.socket = undefined;
    if (socket === undefined) return;
    discard(socket, code);
    if (this.current === "online") this.owner.lost();
  }

  private change(state: ConnectionState, more: Pick<StateChange, "reason" | "closeCode" | "retryInMs"> = {}): void {
    const previous = this.current;
    this.current = state;
    this.owner.state({ state, previous, ...more });
  }
}

function discard(socket: WebSocketLike | undefined, code?: number): void {
  try {
    socket?.close(code);
  } catch {
    // Already closed: what was wanted.
  }
}

/** The frames of one message. */
function framesOf(data: unknown, skipped: (why: string) => void): ServerFrame[] {
  if (typeof data === "string") return parseFrames(data, skipped);
  return data instanceof ArrayBuffer ? parseBinary(data, skipped) : [];
}

/** Whether this is what `connect` is answered, and not a ping or a renewed token. */
const isGreeting = (frame: ServerFrame) =>
  frame.kind === "reply" && frame.id === OWN_ID && typeof frame.ok === "object" && frame.ok !== null && "connection" in frame.ok;

/** The function may throw before it returns a promise: inside `then` both are one case. */
const ask = (token: Exclude<Token, string>, why: TokenReason) => Promise.resolve().then(() => token(why));

function absolute(url: string): string {
  const page = (globalThis as { location?: { href: string } }).location;
  if (page === undefined) return url;
  const full = new URL(url, page.href);
  return full.href.replace(/^http/, "ws");
}
