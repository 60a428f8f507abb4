/**
 * What several components use together and the last one ends: clients, rooms, documents.
 *
 * React may call a component and never show it, and in Strict Mode it shows, hides and shows each one. So a thing is made when
 * it is first asked for, claimed by the effects of those that are shown, and ended when for a while nobody has claimed it.
 */
import { useEffect, useMemo, useState } from "react";

/** How long a thing waits for a claim: longer than React takes from a render to its effects, and than a change of pages. */
const UNCLAIMED_MS = 1_000;

/** How a thing is made and ended. */
export interface Life<T> {
  make(): T;
  /** Whether it was ended by somebody else: then another one is made. */
  isOver(thing: T): boolean;
  /** Claimed for the first time, or again after all claims had gone. */
  claimed?(thing: T): void;
  end(thing: T): void;
}

class Share<T> {
  private claims = 0;
  private isEnded = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly thing: T,
    private readonly life: Life<T>,
  ) {
    this.wait();
  }

  get isOver(): boolean {
    return this.isEnded || this.life.isOver(this.thing);
  }

  claim(): void {
    clearTimeout(this.timer);
    this.claims += 1;
    if (this.claims === 1) this.life.claimed?.(this.thing);
  }

  release(): void {
    this.claims -= 1;
    if (this.claims === 0) this.wait();
  }

  private wait(): void {
    this.timer = setTimeout(() => {
      this.isEnded = true;
      this.life.end(this.thing);
    }, UNCLAIMED_MS);
  }
}

/** What is shared, by its owner and its name there. It goes with the owner. */
const shares = new WeakMap<object, Map<string, Share<unknown>>>();

function shareOf<T>(owner: object, name: string, life: Life<T>): Share<T> {
  let named = shares.get(owner);
  if (named === undefined) shares.set(owner, (named = new Map()));
  let share = named.get(name) as Share<T> | undefined;
  if (share === undefined || share.isOver) named.set(name, (share = new Share(life.make(), life)) as Share<unknown>);
  return share;
}

/** The thing of this name, for as long as the component is shown. */
export function useShared<T>(owner: object | undefined, name: string, life: Life<T>): T | undefined {
  const [turn, setTurn] = useState(0);
  // `life` says the same for the same owner and name.
  const share = useMemo(() => (owner === undefined ? undefined : shareOf(owner, name, life)), [owner, name, turn]);
  useEffect(() => {
    if (share === undefined) return undefined;
    // It was ended while React took its time.
    if (share.isOver) return setTurn((it) => it + 1);
    share.claim();
    return () => share.release();
  }, [share]);
  return share?.thing;
}
