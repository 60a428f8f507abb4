/** Readers of single values: each gives a value of its type, or throws. */

/** Thrown while reading: the frame is not of its form. */
export class Malformed extends Error {}

export type Fields = Readonly<Record<string, unknown>>;

export function fields(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Malformed(`${what} is not an object`);
  return value as Fields;
}
export function string(value: unknown, what: string): string {
  if (typeof value !== "string") throw new Malformed(`${what} is not a string`);
  return value;
}
export function integer(value: unknown, what: string): number {
  if (!Number.isSafeInteger(value)) throw new Malformed(`${what} is not a whole number`);
  return value as number;
}
export function list<T>(value: unknown, what: string, item: (value: unknown) => T): T[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Malformed(`${what} is not a list`);
  return value.map(item);
}
export const optional = <T>(value: unknown, read: (value: unknown) => T): T | undefined =>
  value === undefined || value === null ? undefined : read(value);
