import { useCallback, useRef, useSyncExternalStore } from "react";
import type { Off } from "../emitter.js";

/** Listens: calls `changed` whenever what is read may be different. */
export type Listen<T> = (thing: T, changed: () => void) => readonly Off[];

/**
 * What `read` says of a thing, read again when it may have changed. The component is rendered again only if one of the fields is
 * another value than before.
 *
 * @param listen the same function each time
 */
export function useReading<T, R extends object>(thing: T, listen: Listen<T>, read: (thing: T) => R): R {
  const last = useRef<R | undefined>(undefined);
  const subscribe = useCallback(
    (changed: () => void) => {
      const offs = listen(thing, changed);
      return () => offs.forEach((off) => off());
    },
    [thing, listen],
  );
  const get = () => {
    const now = read(thing);
    if (last.current === undefined || !isAlike(last.current, now)) last.current = now;
    return last.current;
  };
  return useSyncExternalStore(subscribe, get, get);
}

function isAlike<R extends object>(a: R, b: R): boolean {
  const [left, right] = [Object.entries(a), b as Record<string, unknown>];
  return left.length === Object.keys(b).length && left.every(([name, value]) => Object.is(value, right[name]));
}
