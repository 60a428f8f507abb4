/** One connection of the fake front: its socket, as the client sees it, and its line, as the front sees it. */

type Fields = Record<string, unknown>;

/** What connections need of their front. */
export interface LineHost {
  dials: number;
  lines: number;
  readonly down: boolean;
  readonly silent: boolean;
  readonly duplicates: number;
  readonly eventsLateMs: number;
  readonly random: () => number;
  /** Runs `then` after the front's delay, but not before `after`. Returns when. */
  later(after: number, then: () => void): number;
  accept(socket: FakeSocket): Line;
  handle(line: Line, frame: Fields): void;
  gone(line: Line): void;
}

/** One connection, seen from the front. */
export class Line {
  readonly id: string;
  user = "";
  readonly rooms = new Set<string>();
  readonly opened = new Set<string>();
  alive = true;
  private readonly lastOut = { replies: 0, events: 0 };
  private lastIn = 0;

  constructor(
    private readonly front: LineHost,
    readonly socket: FakeSocket,
  ) {
    this.id = `k${++front.lines}`;
  }

  arrive(message: string | Uint8Array): void {
    this.lastIn = this.front.later(this.lastIn, () => {
      if (!this.alive) return;
      if (typeof message !== "string") return this.front.handle(this, unpack(message));
      for (const line of message.split("\n")) this.front.handle(this, JSON.parse(line) as Fields);
    });
  }

  reply(frame: Fields, lane: "replies" | "both"): void {
    if (lane === "both") this.lastOut.replies = this.lastOut.events = Math.max(this.lastOut.replies, this.lastOut.events);
    const at = this.front.later(this.lastOut.replies, () => this.deliver(frame));
    this.lastOut.replies = at;
    if (lane === "both") this.lastOut.events = at;
  }

  event(frame: Fields): void {
    const notBefore = Math.max(this.lastOut.events, Date.now() + this.front.eventsLateMs);
    this.lastOut.events = this.front.later(notBefore, () => this.deliver(frame));
    if (this.front.random() < this.front.duplicates) this.lastOut.events = this.front.later(this.lastOut.events, () => this.deliver(frame));
  }

  end(code: number, reason: string): void {
    if (!this.alive) return;
    this.alive = false;
    this.front.gone(this);
    this.socket.ended(code, reason);
  }

  private deliver(frame: Fields): void {
    if (this.alive) this.socket.onmessage?.({ data: frame["payload"] === undefined ? JSON.stringify(frame) : pack(frame) });
  }
}

export class FakeSocket {
  onopen: ((event: unknown) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  binaryType = "blob";
  private line: Line | undefined;

  constructor(front: LineHost) {
    front.dials += 1;
    front.later(0, () => {
      if (front.down) return this.ended(1006, "");
      if (front.silent) return;
      this.line = front.accept(this);
      this.onopen?.({});
    });
  }
  send(data: string | Uint8Array): void {
    this.line?.arrive(data);
  }
  close(): void {
    this.line?.end(1005, "");
  }
  ended(code: number, reason: string): void {
    this.onclose?.({ code, reason });
  }
}

/** A message with bytes in it: the frame's length, the frame, the payload. */
function pack({ payload, ...frame }: Fields): ArrayBuffer {
  const head = new TextEncoder().encode(JSON.stringify(frame));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, head.length);
  return new Uint8Array([...new Uint8Array(length.buffer), ...head, ...(payload as Uint8Array)]).buffer;
}
function unpack(message: Uint8Array): Fields {
  const end = 4 + new DataView(message.buffer, message.byteOffset).getUint32(0);
  return { ...(JSON.parse(new TextDecoder().decode(message.subarray(4, end))) as Fields), payload: message.slice(end) };
}
