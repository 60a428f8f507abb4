/** Says that this user types: seldom enough for the front, and for as long as it is true. */

/** A typing mark ends after 5 s on the server; while somebody types it is repeated this often. */
const REPEAT_MS = 3_000;
/** Whoever has pressed no key for this long has stopped. */
const IDLE_MS = 4_000;

export class Typing {
  private toldAt = -Infinity;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `tell` says whether there is a line to tell it on. */
  constructor(private readonly tell: (typing: boolean) => boolean) {}

  /** A key was pressed. */
  pressed(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.stop(), IDLE_MS);
    const now = Date.now();
    if (now - this.toldAt >= REPEAT_MS && this.tell(true)) this.toldAt = now;
  }

  /** What was typed is sent, or thrown away. */
  stop(): void {
    clearTimeout(this.timer);
    if (this.toldAt === -Infinity) return;
    this.toldAt = -Infinity;
    this.tell(false);
  }

  /** The line broke, and the mark ends with it. */
  cut(): void {
    clearTimeout(this.timer);
    this.toldAt = -Infinity;
  }
}
