import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      // The client as it stands in the repository: nothing has to be built first.
      { find: /^stoa$/, replacement: here("../../front/client/src/index.ts") },
      { find: /^real-front$/, replacement: here("../../front/client/test/real-front.ts") },
      // The client's helpers take part in this run, and not in one of the client's own copy.
      { find: /^vitest$/, replacement: here("node_modules/vitest/dist/index.js") },
    ],
  },
  test: { include: ["test/**/*.test.ts"], testTimeout: 120_000 },
});
