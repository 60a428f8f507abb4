/**
 * A line over plain HTTP, for where WebSockets do not come through: `/sse` for what comes, `/rpc` for what goes. To the
 * connection it looks like a WebSocket.
 *
 * What an event stream is part of is fixed when it is asked for. So to join and leave rooms, and to open and close documents,
 * is to ask for another stream, from the positions that are held then. Its answer is given out like the one to `connect`, and
 * after it those who asked get their part of it: the front's streams begin exactly where the positions are, so nothing is lost
 * or doubled between the two. Only what is ephemeral may be missed in that moment.
 */
import type { WebSocketLike } from "./connection.js";
import type { JoinOptions } from "./frames.js";

/** Frames that a front takes in one request, in number and in UTF-16 units. */
const BATCH_MAX = 32;
const BATCH_UNITS_MAX = 500_000;
/** A front says something every 30 s (`--sse-heartbeat-ms`): a stream that was silent for so long is broken. */
const SILENCE_MS = 90_000;
/** Rooms and documents that are asked for within this time are asked for together, in milliseconds. */
const GATHER_MS = 5;

/** Why a stream was refused, as the code of a closed WebSocket. */
const CLOSE_CODES: Readonly<Record<string, number>> = { AUTH_REQUIRED: 4500, AUTH_INVALID: 4501, AUTH_EXPIRED: 4502 };
/** The line broke, in the words of WebSockets. */
const LOST = 1006;
/** Come back and resume. */
const RESYNC = 4003;

/** A command, as far as it is looked at here. */
interface Frame {
  id: number;
  do: string;
  room: string;
  doc: string;
  token?: string;
  resume?: Resume;
  position?: string;
  create?: unknown;
  payload?: string;
}
type Resume = { [room: string]: JoinOptions };
type Fields = Record<string, unknown>;

export class EventStream implements WebSocketLike {
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  binaryType = "arraybuffer";
  private token: string | undefined;
  /** The front's name for the present stream; `undefined` until it has answered. */
  private connection: string | undefined;
  private stream = new AbortController();
  private hasBegun = false;
  private isClosed = false;
  private heardAt = 0;
  /** Commands that the answer to the next stream answers. */
  private readonly asked = new Map<number, Frame>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Commands that wait for the request before theirs. */
  private queue: Frame[] = [];
  private isPosting = false;

  /**
   * @param url of the front's WebSocket
   * @param resume what the client is part of now, and where it is
   */
  constructor(
    private readonly url: string,
    private readonly resume: () => Resume,
  ) {
    queueMicrotask(() => this.onopen?.({} as never));
  }

  send(data: string | Uint8Array<ArrayBuffer>): void {
    const frame = typeof data === "string" ? (JSON.parse(data) as Frame) : unpack(data);
    switch (frame.do) {
      case "connect":
        this.token = frame.token;
        return void this.listen(frame.resume ?? {}, frame.id);
      case "auth.refresh":
        this.token = frame.token;
        this.give({ id: frame.id, ok: {} });
        return this.renew();
      case "room.join":
      case "doc.open":
        this.asked.set(frame.id, frame);
        return this.renew();
      case "room.leave":
      case "doc.close":
        this.give({ id: frame.id, ok: {} });
        return this.renew();
      case "ping":
        if (Date.now() - this.heardAt > SILENCE_MS) return this.end(4002, "PING_TIMEOUT");
    }
    this.queue.push(frame);
    void this.post();
  }

  /** Nothing more comes but the answers to what is on its way. */
  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.stream.abort();
  }

  /** Asks for another stream, soon. */
  private renew(): void {
    if (this.isClosed) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.listen(this.resume(), 0), GATHER_MS);
  }

  private async listen(resume: Resume, id: number): Promise<void> {
    this.stream.abort();
    const stream = (this.stream = new AbortController());
    this.connection = undefined;
    for (const frame of this.asked.values()) if (frame.do === "doc.open") name(resume, frame);
    try {
      const query = Object.keys(resume).length > 0 ? `?resume=${encodeURIComponent(JSON.stringify(resume))}` : "";
      const response = await this.ask(`sse${query}`, { signal: stream.signal });
      if (!response.ok) {
        const error = await refusalOf(response);
        if (stream.signal.aborted) return;
        if (error === undefined) return this.end(LOST, "");
        if (!this.hasBegun) return this.give({ id, error });
        return this.end(CLOSE_CODES[error.code] ?? RESYNC, error.code);
      }
      const reader = (response.body as ReadableStream<Uint8Array<ArrayBuffer>>).getReader();
      const decoder = new TextDecoder();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (stream.signal.aborted) return;
        if (done) break;
        this.heardAt = Date.now();
        text += decoder.decode(value, { stream: true });
        const blocks = text.split("\n\n");
        text = blocks.pop() ?? "";
        for (const block of blocks) {
          this.take(block, id);
          if (stream.signal.aborted) return;
        }
      }
    } catch {
      // Whoever aborted it knows.
      if (stream.signal.aborted) return;
    }
    this.end(LOST, "");
  }

  /** One block of the stream. */
  private take(block: string, id: number): void {
    let event = "";
    let data = "";
    for (const line of block.split("\n")) {
      if (line.startsWith("event: ")) event = line.slice(7);
      else if (line.startsWith("data: ")) data = line.slice(6);
    }
    if (data === "") return;
    if (event === "connected") return this.begins(data, id);
    if (event === "closed") {
      const { code, reason } = JSON.parse(data) as { code: number; reason: string };
      return this.end(code, reason);
    }
    this.give(data.includes('"payload"') ? pack(data) : data);
  }

  private begins(data: string, id: number): void {
    const { connection, rooms = {} } = JSON.parse(data) as { connection: string; rooms?: { [room: string]: Fields } };
    this.connection = connection;
    this.hasBegun = true;
    const asked = [...this.asked.values()];
    this.asked.clear();
    this.give(`{"id":${id},"ok":${data}}`);
    for (const frame of asked) {
      const room = rooms[frame.room] ?? { error: { code: "NOT_JOINED", message: "the room was left", retry: false } };
      const part = frame.do === "doc.open" ? (room["streams"] as Fields | undefined)?.[`doc:${frame.doc}`] : room;
      if ("error" in room) this.give({ id: frame.id, error: room["error"] });
      else if (frame.create !== undefined && (part as Fields | undefined)?.["outcome"] === "missing") this.queue.push(frame);
      else this.give({ id: frame.id, ok: part });
    }
    void this.post();
  }

  /** Sends what waits, one request after the other: so commands keep their order. */
  private async post(): Promise<void> {
    const { connection } = this;
    if (this.isPosting || this.queue.length === 0 || connection === undefined) return;
    this.isPosting = true;
    const batch: string[] = [];
    const frames: Frame[] = [];
    for (let units = 0; this.queue.length > 0 && batch.length < BATCH_MAX; ) {
      const text = JSON.stringify(this.queue[0]);
      units += text.length;
      if (units > BATCH_UNITS_MAX && batch.length > 0) break;
      batch.push(text);
      frames.push(this.queue.shift() as Frame);
    }
    try {
      const response = await this.ask("rpc", { method: "POST", body: batch.join("\n") }, connection);
      if (response.ok) this.answer(frames, await response.text());
      else {
        const error = await refusalOf(response);
        if (error === undefined || error.code in CLOSE_CODES) return this.end(CLOSE_CODES[error?.code ?? ""] ?? LOST, error?.code ?? "");
        for (const { id } of frames) this.give({ id, error });
      }
    } catch {
      return this.end(LOST, "");
    }
    this.isPosting = false;
    void this.post();
  }

  private answer(frames: readonly Frame[], text: string): void {
    const created = frames.filter((frame) => frame.do === "doc.open");
    for (const line of text.split("\n")) {
      const made = created.find(({ id }) => line.startsWith(`{"id":${id},"ok"`));
      if (made === undefined) this.give(line);
      else {
        // It is there now; only another stream brings what happens to it.
        this.asked.set(made.id, { ...made, create: undefined });
        this.renew();
      }
    }
  }

  private ask(path: string, init: RequestInit, connection?: string): Promise<Response> {
    const headers: Record<string, string> = {};
    if (this.token !== undefined) headers["Authorization"] = `Bearer ${this.token}`;
    if (connection !== undefined) headers["Stoa-Connection"] = connection;
    return fetch(new URL(path, this.url.replace(/^ws/, "http")), { cache: "no-store", headers, ...init });
  }

  private give(frame: object | string): void {
    const data = typeof frame === "string" || frame instanceof ArrayBuffer ? frame : JSON.stringify(frame);
    this.onmessage?.({ data } as never);
  }

  private end(code: number, reason: string): void {
    if (this.isClosed) return;
    this.close();
    this.onclose?.({ code, reason } as never);
  }
}

/** The longest wait between two tries, in first waits. */
const WAITS_MAX = 64;

/** What a scout needs of its connection. */
export interface ScoutHost {
  make(): WebSocketLike | undefined;
  greet(socket: WebSocketLike): void;
  /** Something came on a socket: it is in use from now on, unless this answers `false`. */
  answered(socket: WebSocketLike, data: unknown): boolean;
}

/** Tries a WebSocket beside the line in use, ever more seldom, until one is answered. The returned function stops that. */
export function startScout(
  { websocketRetryMs, openTimeoutMs, answerTimeoutMs }: { websocketRetryMs: number; openTimeoutMs: number; answerTimeoutMs: number },
  host: ScoutHost,
): () => void {
  let waits = 1;
  let tried: WebSocketLike | undefined;
  let timer = setTimeout(go, websocketRetryMs);
  function stop(): void {
    clearTimeout(timer);
    const late = tried;
    tried = undefined;
    try {
      late?.close();
    } catch {
      // Already closed: what was wanted.
    }
  }
  function again(): void {
    stop();
    waits = Math.min(2 * waits, WAITS_MAX);
    timer = setTimeout(go, websocketRetryMs * waits);
  }
  function go(): void {
    const socket = host.make();
    if (socket === undefined) return again();
    tried = socket;
    timer = setTimeout(again, openTimeoutMs + answerTimeoutMs);
    socket.onopen = () => {
      if (socket === tried) host.greet(socket);
    };
    socket.onclose = () => {
      if (socket === tried) again();
    };
    socket.onmessage = (event: { data: unknown }) => {
      if (socket !== tried) return;
      // In use from now on, or closed: no longer one that is tried.
      if (host.answered(socket, event.data)) {
        tried = undefined;
        clearTimeout(timer);
      } else again();
    };
  }
  return stop;
}

/** Asks for a document as a command asks for it. */
function name(resume: Resume, { room, doc, position }: Frame): void {
  const asked = resume[room];
  if (asked !== undefined) resume[room] = { ...asked, positions: { ...asked.positions, [`doc:${doc}`]: position ?? null } };
}

/** What a front says in an answer that is not good; `undefined` if it was not a front that said it. */
async function refusalOf(response: Response): Promise<{ code: string } | undefined> {
  try {
    const { error } = (await response.json()) as { error?: { code: string } };
    return error;
  } catch {
    return undefined;
  }
}

/** A command with bytes behind it, as text. */
function unpack(message: Uint8Array<ArrayBuffer>): Frame {
  const end = 4 + new DataView(message.buffer).getUint32(0);
  let bytes = "";
  for (const byte of message.subarray(end)) bytes += String.fromCharCode(byte);
  return { ...(JSON.parse(new TextDecoder().decode(message.subarray(4, end))) as Frame), payload: btoa(bytes) };
}

/** An event with bytes in it, as it comes over a WebSocket. Others stay as they are. */
function pack(text: string): ArrayBuffer | string {
  const { payload, ...frame } = JSON.parse(text) as Fields;
  if (frame["event"] !== "room.emitted" || typeof payload !== "string") return text;
  const head = new TextEncoder().encode(JSON.stringify(frame));
  const bytes = atob(payload);
  const message = new Uint8Array(4 + head.length + bytes.length);
  new DataView(message.buffer).setUint32(0, head.length);
  message.set(head, 4);
  for (let i = 0; i < bytes.length; i++) message[4 + head.length + i] = bytes.charCodeAt(i);
  return message.buffer;
}
