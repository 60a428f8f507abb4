import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { expect, test } from "vitest";

/**
 * What an application downloads at first, minified and with gzip. What is loaded when it is needed first (pages of history,
 * streams that are written, the line over plain HTTP) is named beside it. Neither has bindings to editors in it.
 */
test.each([
  ["core.ts", 15 * 1_024],
  ["index.ts", 23.25 * 1_024],
])("%s is small", async (name, bytesMax) => {
  const bundle = await rolldown({ input: fileURLToPath(new URL(`../src/${name}`, import.meta.url)) });
  const { output } = await bundle.generate({ format: "es", minify: true });
  const chunks = output.flatMap((part) => (part.type === "chunk" ? [part] : []));
  const at = new Map(chunks.map((chunk) => [chunk.fileName, chunk]));
  const first = new Set(chunks.filter(({ isEntry }) => isEntry));
  for (const chunk of first) for (const name of chunk.imports) first.add(at.get(name) as (typeof chunks)[number]);
  const size = (of: Iterable<(typeof chunks)[number]>) => gzipSync([...of].map(({ code }) => code).join(""), { level: 9 }).length;
  const later = chunks.filter((chunk) => !first.has(chunk));
  console.log(`${name}: ${size(first)} bytes at first, then ${later.map((chunk) => `${chunk.name} ${size([chunk])}`).join(", ")}`);
  expect(size(first)).toBeLessThan(bytesMax);
});
