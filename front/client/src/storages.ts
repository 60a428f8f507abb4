/**
 * Places to keep what is not acknowledged: the entry point `stoa/storage`.
 *
 * ```ts
 * const stoa = connect({ url: "/ws", token, storage: ownSlot(webStorage(localStorage), `stoa ${userId}`) });
 * ```
 */
import type { Storage } from "./storage.js";

export type { Storage } from "./storage.js";

/** What this uses of `localStorage` and `sessionStorage`. */
export interface WebStorageLike {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** `localStorage` or `sessionStorage`. Answers at once, so nothing is lost when a page goes; holds about 5 MB per site. */
export function webStorage(storage: WebStorageLike): Storage {
  return {
    get: (key) => storage.getItem(key),
    set: (key, value) => storage.setItem(key, value),
    delete: (key) => storage.removeItem(key),
  };
}

/** A database of IndexedDB: for large documents. Its writes take a moment, so the last 250 ms before a crash may be lost. */
export function indexedDbStorage(name = "stoa"): Storage {
  const done = <T>(request: IDBRequest<T>) =>
    new Promise<T>((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error ?? new Error("IndexedDB failed"));
    });
  const open = () => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore("values");
    return done(request);
  };
  let opened: Promise<IDBDatabase> | undefined;
  const store = async (mode: IDBTransactionMode) => (await (opened ??= open())).transaction("values", mode).objectStore("values");
  return {
    get: async (key) => done((await store("readonly")).get(key) as IDBRequest<string | undefined>),
    set: async (key, value) => void (await done((await store("readwrite")).put(value, key))),
    delete: async (key) => void (await done((await store("readwrite")).delete(key))),
  };
}

/** What this uses of `navigator.locks`. */
export interface LocksLike {
  request(name: string, options: { ifAvailable: true }, callback: (lock: unknown) => Promise<void> | undefined): Promise<unknown>;
}

/**
 * A part of a storage that no other tab has: the first of `slots` that is free, until the tab goes. After a reload a tab finds
 * what it left; what a closed tab left is found by the next one that is opened.
 *
 * @param name also keeps users apart: put the user's id into it
 * @param slots how many tabs keep what is not acknowledged; further ones keep nothing. Default 8
 * @param locks default `navigator.locks`, which browsers have on `https:` and `localhost`
 */
export async function ownSlot(storage: Storage, name = "stoa", slots = 8, locks: LocksLike = navigator.locks): Promise<Storage> {
  for (let slot = 0; slot < slots; slot++) {
    const key = `${name} ${slot}`;
    const isMine = await new Promise<boolean>((resolve, reject) => {
      const held = (lock: unknown) => {
        resolve(lock !== null);
        // Held until the tab goes.
        return lock === null ? undefined : new Promise<void>(() => undefined);
      };
      locks.request(key, { ifAvailable: true }, held).catch(reject);
    });
    if (isMine)
      return {
        get: (it) => storage.get(`${key} ${it}`),
        set: (it, value) => storage.set(`${key} ${it}`, value),
        delete: (it) => storage.delete(`${key} ${it}`),
      };
  }
  return { get: () => undefined, set: () => undefined, delete: () => undefined };
}
