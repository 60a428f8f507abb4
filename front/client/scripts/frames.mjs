/**
 * Writes `src/frames.ts` from the JSON Schema that `stoa-front schema` prints, read from standard input. With `--check`
 * it writes nothing and fails when the file is not what it would write.
 *
 * It knows the few forms that the front's schema has, and refuses others: a type that is silently wrong is worse than none.
 */
import { readFileSync, writeFileSync } from "node:fs";

const target = new URL("../src/frames.ts", import.meta.url);
const LINE_MAX = 120;

/** What else may stand beside the keywords that decide what a schema is. */
const ANNOTATIONS = new Set(["$schema", "$defs", "title", "description", "default", "format", "minimum"]);

function comment(text, indent) {
  if (text === undefined) return "";
  // Names in brackets are links in Rust's documentation.
  const plain = text.replace(/\[(`[^`]+`)\]/g, "$1");
  return `${indent}/** ${plain.replaceAll("\n", `\n${indent} * `)} */\n`;
}

const property = (name) => (/^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name));
const isNull = (schema) => schema?.type === "null";

function union(schemas, indent) {
  const described = schemas.some((it) => it.description !== undefined);
  if (!described) return schemas.map((it) => type(it, indent)).join(" | ");
  return schemas.map((it) => `\n${comment(it.description, `${indent}  `)}${indent}  | ${type(it, `${indent}    `)}`).join("");
}

/** The fields of an object. One that is not required is left out, never null. */
function fields(schema, indent) {
  const inner = `${indent}  `;
  const lines = Object.entries(schema.properties).map(([name, it]) => {
    const required = schema.required?.includes(name) === true;
    const shown = required ? type(it, inner) : `${type(withoutNull(it), inner)} | undefined`;
    return `${comment(it.description, inner)}${inner}${property(name)}${required ? "" : "?"}: ${shown};\n`;
  });
  const short = `{ ${lines.map((it) => it.trim()).join(" ").replace(/;$/, "")} }`;
  if (!short.includes("/**") && !short.includes("\n") && short.length + indent.length < LINE_MAX - 20) return short;
  return `{\n${lines.join("")}${indent}}`;
}

function withoutNull(schema) {
  const some = schema.anyOf?.filter((it) => !isNull(it));
  if (some?.length === 1) return some[0];
  if (!Array.isArray(schema.type)) return schema;
  return { ...schema, type: schema.type.filter((it) => it !== "null") };
}

function type(schema, indent = "") {
  if (schema === true) return "Json";
  const { $ref, properties, required, oneOf, anyOf, items, additionalProperties, enum: values, ...rest } = schema;
  const { type: kind, const: value, ...annotations } = rest;
  const strange = Object.keys(annotations).filter((it) => !ANNOTATIONS.has(it));
  if (strange.length > 0) throw new Error(`the schema has ${strange.join(", ")}, which this script does not know`);

  const parts = [];
  if ($ref !== undefined) parts.push($ref.slice("#/$defs/".length));
  if (properties !== undefined) parts.push(fields(schema, indent));
  if (oneOf !== undefined || anyOf !== undefined) {
    const choice = union(oneOf ?? anyOf, indent);
    parts.push(parts.length > 0 ? `(${choice}\n${indent})` : choice);
  }
  if (parts.length > 0) return parts.join(" & ");
  if (value !== undefined) return JSON.stringify(value);
  if (values !== undefined) return values.map((it) => JSON.stringify(it)).join(" | ");

  const kinds = Array.isArray(kind) ? kind : [kind];
  return kinds.map((it) => (it === undefined ? "Json" : simple(it, { items, additionalProperties, indent }))).join(" | ");
}

function simple(kind, { items, additionalProperties, indent }) {
  switch (kind) {
    case "string":
    case "boolean":
    case "null":
      return kind;
    case "integer":
    case "number":
      return "number";
    case "array": {
      const item = type(items, indent);
      return /[|& ]/.test(item) ? `readonly (${item})[]` : `readonly ${item}[]`;
    }
    case "object":
      if (additionalProperties === undefined) return "Record<string, never>";
      return additionalProperties === true ? "JsonObject" : `{ [name: string]: ${type(additionalProperties, indent)} }`;
    default:
      throw new Error(`the schema has the type ${kind}, which this script does not know`);
  }
}

function file(schema) {
  const out = [
    "// Made by `npm run frames` from the schema that `stoa-front schema` prints. Do not edit: change the front.\n",
    "// What a field means stands in docs/protocol.md. Times are milliseconds, lengths UTF-16 code units.\n",
    "\n/** Any JSON value. */\nexport type Json = null | boolean | number | string | Json[] | { [key: string]: Json };\n",
    "/** A JSON object. */\nexport type JsonObject = { [key: string]: Json };\n",
  ];
  for (const [name, it] of Object.entries(schema.$defs)) {
    out.push("\n", comment(it.description, ""));
    const body = type(it);
    if (it.properties !== undefined && it.oneOf === undefined) out.push(`export interface ${name} ${body}\n`);
    else out.push(`export type ${name} =${body.startsWith("\n") ? "" : " "}${body};\n`);
  }
  return out.join("");
}

const made = file(JSON.parse(readFileSync(0, "utf8")));
if (!process.argv.includes("--check")) writeFileSync(target, made);
else if (readFileSync(target, "utf8") !== made) {
  console.error("front/client/src/frames.ts is not what the front's schema says: run `npm run frames` in front/client");
  process.exit(1);
}
