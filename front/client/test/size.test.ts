import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { expect, test } from "vitest";

/** What an application downloads, minified and with gzip. Neither has bindings to editors in it. */
test.each([
  ["core.ts", 16 * 1_024],
  ["index.ts", 24 * 1_024],
])("%s is small", async (name, bytesMax) => {
  const bundle = await rolldown({ input: fileURLToPath(new URL(`../src/${name}`, import.meta.url)) });
  const { output } = await bundle.generate({ format: "es", minify: true });
  const code = output.map((part) => ("code" in part ? part.code : "")).join("");
  const { length } = gzipSync(code, { level: 9 });
  console.log(`${name}: ${code.length} bytes minified, ${length} with gzip`);
  expect(length).toBeLessThan(bytesMax);
});
