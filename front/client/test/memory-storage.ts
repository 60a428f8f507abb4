import type { Storage } from "../src/index.js";

/** A storage in memory: it answers at once, or after `delay()` milliseconds, in order. */
export function memoryStorage(delay?: () => number): Storage & { readonly values: Map<string, string> } {
  const values = new Map<string, string>();
  let last = 0;
  const later = <T>(then: () => T): T | Promise<T> => {
    if (delay === undefined) return then();
    last = Math.max(last, Date.now() + delay());
    return new Promise((resolve) => setTimeout(() => resolve(then()), last - Date.now()));
  };
  return {
    values,
    get: (key) => later(() => values.get(key)),
    set: (key, value) => later(() => void values.set(key, value)),
    delete: (key) => later(() => void values.delete(key)),
  };
}
