/** What the module knows of histories and of who wrote what, by its own rules: see `epoch.rs` and `identity.rs` of its core. */
import { refusal } from "./fake-refusal.js";

/** So many sequences of a writer are remembered. */
const SEQUENCES_MAX = 64;

/** The writers of a stream and the answers to their last sequences. */
export class FakeWriters<Answer> {
  private readonly known = new Map<string, readonly (readonly [seq: number, answer: Answer])[]>();

  /**
   * What a write was answered with, if it was accepted before.
   *
   * @throws what refuses a sequence that is older than all that are remembered, where some are not any more
   */
  lookUp(writer: string, seq: number): Answer | undefined {
    const recent = this.known.get(writer) ?? [];
    const found = recent.find(([known]) => known === seq);
    if (found === undefined && recent.length === SEQUENCES_MAX && seq < (recent[0] as readonly [number, Answer])[0]) throw refusal("FORGOTTEN");
    return found?.[1];
  }

  remember(writer: string, seq: number, answer: Answer): void {
    const recent = [...(this.known.get(writer) ?? []), [seq, answer] as const].sort(([a], [b]) => a - b);
    this.known.set(writer, recent.slice(-SEQUENCES_MAX));
  }

  /** How many answers to certain writers are remembered. */
  count(of: (writer: string) => boolean): number {
    return [...this.known].reduce((sum, [writer, recent]) => sum + (of(writer) ? recent.length : 0), 0);
  }

  /** The same, without the answers that do not stay. */
  copy(stays: (answer: Answer) => boolean = () => true): FakeWriters<Answer> {
    const copy = new FakeWriters<Answer>();
    for (const [writer, recent] of this.known) copy.known.set(writer, recent.filter(([, answer]) => stays(answer)));
    return copy;
  }
}

/** The epochs of a stream, newest last. */
export class FakeEpochs {
  /** With the revision that the stream had when each began. */
  private readonly starts: { epoch: string; start: number }[];
  private detached = false;

  constructor(epoch: string) {
    this.starts = [{ epoch, start: 0 }];
  }

  get current(): string {
    return (this.starts.at(-1) as { epoch: string }).epoch;
  }

  /** The revision that the newest one began at. */
  get began(): number {
    return (this.starts.at(-1) as { start: number }).start;
  }

  /** Another server goes on from `rev`: its first write opens an epoch. One of which it has no write is not known to it. */
  takenOver(rev: number): void {
    while (this.starts.length > 1 && this.began >= rev) this.starts.pop();
    this.detached = true;
  }

  /** Call before a write at `head`. */
  enter(head: number, next: (last: string) => string): void {
    if (this.detached) this.starts.push({ epoch: next(this.current), start: head });
    this.detached = false;
  }

  /** Where the history of a position ends, if that is before the position; `unknown`: that epoch was never here. */
  standing(epoch: string, rev: number, head: number): "valid" | "unknown" | { end: number } {
    const at = this.starts.findIndex((it) => it.epoch === epoch);
    if (at < 0) return "unknown";
    const end = this.starts[at + 1]?.start ?? head;
    return rev <= end ? "valid" : { end };
  }
}
