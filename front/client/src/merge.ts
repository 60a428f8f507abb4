/** JSON Merge Patch (RFC 7396). */
import type { Json, JsonObject } from "./frames.js";

/** What may change of a value: some of its fields, `null` to take one away. Lists are replaced as a whole. */
export type Patch<Value> = Value extends readonly unknown[] ? Value : Value extends object ? { [Name in keyof Value]?: Patch<Value[Name]> | null } : Value;

/** What a patch makes of an object. With `nulls` kept, `target` is a patch itself, and the result does what both do. */
export function mergePatch(target: JsonObject, patch: JsonObject, nulls: "apply" | "keep" = "apply"): JsonObject {
  const out: JsonObject = { ...target };
  for (const [key, value] of Object.entries(patch)) {
    if (value === undefined) continue;
    if (value === null && nulls === "apply") delete out[key];
    else if (isObject(value)) out[key] = mergePatch(isObject(out[key]) ? out[key] : {}, value, nulls);
    else out[key] = value;
  }
  return out;
}

const isObject = (value: Json | undefined): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value);
