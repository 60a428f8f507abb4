/** Chance with a seed: a failing test prints the one number that brings the failure back. */
export class Random {
  private state: number;

  constructor(readonly seed: number) {
    this.state = seed >>> 0;
  }

  /** From 0 up to, not including, 1 (mulberry32). */
  readonly next = (): number => {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };

  /** A whole number from 0 to `limit - 1`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

/** The seed of this run: `STOA_SEED`, or a new one. It is printed first, not last. */
export function seedOf(test: string): number {
  const seed = Number(process.env["STOA_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`${test}: STOA_SEED=${seed}`);
  return seed;
}
