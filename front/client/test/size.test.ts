import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { rolldown, type OutputChunk } from "rolldown";
import { expect, test } from "vitest";

const source = (name: string) => JSON.stringify(fileURLToPath(new URL(`../src/${name}.ts`, import.meta.url)));
const ENTRY = "application";

/** What an application of this code downloads: at first, and when it is needed. */
async function download(code: string): Promise<{ first: OutputChunk[]; later: OutputChunk[] }> {
  const application = { name: ENTRY, resolveId: (id: string) => (id === ENTRY ? id : null), load: (id: string) => (id === ENTRY ? code : null) };
  const bundle = await rolldown({ input: ENTRY, plugins: [application] });
  const { output } = await bundle.generate({ format: "es", minify: true });
  const chunks = output.flatMap((part) => (part.type === "chunk" ? [part] : []));
  const first = new Set(chunks.filter(({ isEntry }) => isEntry));
  for (const { imports } of first) for (const chunk of chunks) if (imports.includes(chunk.fileName)) first.add(chunk);
  return { first: [...first], later: chunks.filter((chunk) => !first.has(chunk)) };
}
/** Minified and with gzip. */
const size = (...chunks: OutputChunk[]) => gzipSync(chunks.map(({ code }) => code).join(""), { level: 9 }).length;

/**
 * What is loaded when it is needed first (pages of history, streams that are written, the line over plain HTTP) is named beside
 * it. Neither has bindings in it.
 */
test.each([
  ["core", 15_000],
  ["index", 23_000],
])("%s is small", async (name, bytesMax) => {
  const { first, later } = await download(`import { connect } from ${source(name)}; globalThis.connect = connect;`);
  console.log(`${name}: ${size(...first)} bytes at first, then ${later.map((chunk) => `${chunk.name} ${size(chunk)}`).join(", ")}`);
  expect(size(...first)).toBeLessThan(bytesMax);
});

test("an application carries nothing that it does not use", async () => {
  const { first, later } = await download(`import { transform } from ${source("index")}; globalThis.transform = transform;`);
  expect([size(...first) < 1_000, later]).toEqual([true, []]);
});
