/** Keeps a document's pending edits over reloads, so that each is made once. */
import type { Copy, StoredCopy } from "./copy.js";
import type { Slot } from "./storage.js";

/** What is pending for less than this does not need to be kept: most of it is acknowledged sooner. */
const KEEP_AFTER_MS = 250;

/** What is stored of a document with pending edits. */
interface Stored {
  /** Whose edits they are; empty if that was not known. */
  user: string;
  copy: StoredCopy;
}

export class Keeping {
  /** What has to be done before anything may be sent: load what is stored, or save what is to be sent. */
  waits: "load" | "save" | undefined;
  /** Who made the pending operations that were stored, until it is known who this is. */
  private author = "";
  /** What was stored last. */
  private kept: readonly unknown[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly slot: Slot | undefined,
    private readonly host: { copy(): Copy | undefined; user(): string | undefined },
  ) {}

  /** Gives what is stored to `use`, and says when it is known whether there is anything. */
  load(use: (copy: StoredCopy) => void, done: () => void): void {
    const { slot } = this;
    if (slot === undefined) return;
    this.waits = "load";
    const take = (stored: unknown) => {
      const { user, copy } = stored as Stored;
      use(copy);
      this.author = user;
    };
    const end = () => {
      this.waits = undefined;
      done();
    };
    // Not before whoever opened the document could listen.
    queueMicrotask(() => slot.load(take, end));
  }

  /** Whether the pending edits may be made in this user's name. Asked once the user is known. */
  isOwn(): boolean {
    const { author } = this;
    this.author = "";
    return author === "" || author === this.host.user();
  }

  /**
   * An operation got its identity. What is stored may have the same edits without one, and they would be made once more: so
   * `send` is called when that is changed.
   */
  launched(send: () => void): void {
    const saved = this.slot?.isFull === true ? this.now() : undefined;
    if (saved === undefined) return send();
    this.waits = "save";
    void saved.then(() => {
      this.waits = undefined;
      send();
    });
  }

  /** Stores what is pending, or that nothing is. Returns a promise only if that is not done at once. */
  now(): Promise<void> | undefined {
    clearTimeout(this.timer);
    this.timer = undefined;
    const copy = this.host.copy();
    if (copy === undefined) return undefined;
    const { inflight, buffer } = copy;
    this.kept = [inflight?.client, inflight?.seq, buffer];
    const stored: Stored = { user: this.author || (this.host.user() ?? ""), copy: copy.stored };
    return this.slot?.save(inflight === undefined && buffer === undefined ? undefined : stored);
  }

  /** Something may have changed: it is stored a little later, and at once if nothing is pending any more. */
  soon(): void {
    const copy = this.host.copy();
    if (copy === undefined || this.slot === undefined) return;
    const { inflight, buffer } = copy;
    const [client, seq, kept] = this.kept;
    if (client === inflight?.client && seq === inflight?.seq && kept === buffer) return;
    if (inflight === undefined && buffer === undefined) void this.now();
    else this.timer ??= setTimeout(() => void this.now(), KEEP_AFTER_MS);
  }
}
