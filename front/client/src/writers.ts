/** The streamed messages that this client writes, until each is finished. */
import type { StoaError } from "./errors.js";
import { MessageStream } from "./message-stream.js";
import type { Answer } from "./stoa.js";
import type { Command, Reader } from "./wire/index.js";

/** What writers need of their log. */
export interface WritersHost {
  readonly room: string;
  readonly client: string;
  request<T>(command: Command, read: Reader<T>, done: (answer: Answer<T>) => void): void;
  changed(): void;
}

export class Writers {
  /** Those with text that the front does not have yet, by message. */
  readonly pending = new Map<number, MessageStream>();
  private readonly open = new Set<MessageStream>();

  /** `live`: whether the room is joined now. */
  constructor(
    private readonly host: WritersHost,
    private live: boolean,
  ) {}

  /** Goes on with message `n`, which was posted as `seq` and begins with `text`. */
  begin(n: number, seq: number, text: string): MessageStream {
    const { host } = this;
    const changed = () => {
      if (stream.pending) this.pending.set(n, stream);
      else this.pending.delete(n);
      host.changed();
    };
    const stream = new MessageStream({ room: host.room, client: `${host.client}.${seq}`, request: host.request.bind(host), changed }, n, text);
    this.open.add(stream);
    void stream.done.catch(() => undefined).then(() => this.open.delete(stream));
    if (!this.live) stream.cut();
    return stream;
  }

  /** Somebody asked the writer of this message to stop. */
  cancel(n: number): void {
    for (const stream of this.open) if (stream.n === n) stream.cancel();
  }

  cut(): void {
    this.live = false;
    for (const stream of this.open) stream.cut();
  }

  joined(): void {
    this.live = true;
    for (const stream of this.open) stream.joined();
  }

  fail(error: StoaError): void {
    for (const stream of [...this.open]) stream.fail(error);
  }
}
