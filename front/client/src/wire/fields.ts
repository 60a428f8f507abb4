/** Readers of the fields of an object: each gives a value of its type, or throws. What is `null` was left out. */

/** Thrown while reading: the frame is not of its form. */
export class Malformed extends Error {}

export type Fields = Readonly<Record<string, unknown>>;

/** Makes something of an object. */
export type Reader<T> = (from: Fields) => T;

export function fields(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(what, "an object");
  return value as Fields;
}

export function string(from: Fields, name: string, missing?: string): string {
  const value = from[name] ?? missing;
  if (typeof value !== "string") throw wrong(name, "a string");
  return value;
}

export function integer(from: Fields, name: string, missing?: number): number {
  const value = from[name] ?? missing;
  if (!Number.isSafeInteger(value)) throw wrong(name, "a whole number");
  return value as number;
}

export function object(from: Fields, name: string, missing?: object): Fields {
  return fields(from[name] ?? missing, name);
}

/** What one of these readers gives, if the field is there. */
export function optional<T>(read: (from: Fields, name: string) => T, from: Fields, name: string): T | undefined {
  return (from[name] ?? undefined) === undefined ? undefined : read(from, name);
}

/** A list of whatever; empty if it was left out. */
export function items(from: Fields, name: string): unknown[] {
  const value = from[name] ?? [];
  if (!Array.isArray(value)) throw wrong(name, "a list");
  return value;
}

export function list<T>(from: Fields, name: string, read: Reader<T>): T[] {
  return items(from, name).map((item) => read(fields(item, name)));
}

export function strings(from: Fields, name: string): string[] {
  return items(from, name).map((item) => string({ [name]: item }, name));
}

const wrong = (name: string, what: string) => new Malformed(`${name} is not ${what}`);
