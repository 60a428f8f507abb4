import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // The examples name the package as applications do.
  resolve: { alias: [{ find: /^stoa$/, replacement: fileURLToPath(new URL("./src/index.ts", import.meta.url)) }] },
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000 },
});
