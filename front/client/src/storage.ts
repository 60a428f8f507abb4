import { StoaError } from "./errors.js";

/**
 * Where a client keeps what was not acknowledged, so that it survives a reload. Methods may answer at once or with a
 * promise. `localStorage` and IndexedDB fit with `webStorage` and `indexedDbStorage` of `stoa/storage`.
 *
 * It belongs to one running client at a time: two tabs with one storage would take each other's unsent edits for their own
 * (`ownSlot` of `stoa/storage` gives each its own), and it belongs to one user.
 */
export interface Storage {
  /** The value under a key; `undefined` or `null` if there is none. */
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  set(key: string, value: string): void | Promise<void>;
  delete(key: string): void | Promise<void>;
}

/** One value of a storage, saved when it changes: writes follow each other, and of those that wait only the newest is done. */
export class Slot {
  private stored = false;
  private busy: Promise<void> | undefined;
  private next: { value: unknown } | undefined;
  private loading = true;

  constructor(
    private readonly storage: Storage | Promise<Storage>,
    private readonly key: string,
    private readonly report: (error: StoaError) => void,
  ) {}

  /** Whether anything is stored, or about to be. */
  get isFull(): boolean {
    return this.next === undefined ? this.stored : this.next.value !== undefined;
  }

  /** Reads the value and gives it to `use`, if there is one: at once with a storage that answers at once. */
  load(use: (value: unknown) => void, done: () => void = () => undefined): void {
    const take = (text: string | null | undefined) => {
      this.loading = false;
      this.stored = typeof text === "string";
      try {
        if (typeof text === "string") use(JSON.parse(text));
      } catch (error) {
        this.failed(error);
      }
      done();
      // What was saved before it was read waited: it must not overwrite what had not been seen.
      if (this.next !== undefined) void this.save(this.next.value);
    };
    const fail = (error: unknown) => {
      this.failed(error);
      take(undefined);
    };
    try {
      const text = this.storage instanceof Promise ? this.storage.then((storage) => storage.get(this.key)) : this.storage.get(this.key);
      if (text instanceof Promise) text.then(take, fail);
      else take(text);
    } catch (error) {
      fail(error);
    }
  }

  /** Saves a value, or deletes it with `undefined`. Returns a promise only if it is not done at once. */
  save(value: unknown): Promise<void> | undefined {
    if (this.busy !== undefined || this.loading) {
      this.next = { value };
      return this.busy;
    }
    this.next = undefined;
    // Nothing there, and nothing to be: the usual case while the line is good.
    if (value === undefined && !this.stored) return undefined;
    this.stored = value !== undefined;
    let saved: void | Promise<void>;
    try {
      saved = this.storage instanceof Promise ? this.storage.then((storage) => this.put(storage, value)) : this.put(this.storage, value);
    } catch (error) {
      return void this.failed(error);
    }
    if (!(saved instanceof Promise)) return undefined;
    const end = () => {
      this.busy = undefined;
      return this.next === undefined ? undefined : this.save(this.next.value);
    };
    return (this.busy = saved.catch((error: unknown) => this.failed(error)).then(end));
  }

  private put(storage: Storage, value: unknown): void | Promise<void> {
    return value === undefined ? storage.delete(this.key) : storage.set(this.key, JSON.stringify(value));
  }

  private failed(error: unknown): void {
    this.report(new StoaError("STORAGE", `${this.key} could not be kept: ${error}`));
  }
}
