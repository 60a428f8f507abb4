import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const client = (file) => fileURLToPath(new URL(`../client/src/${file}`, import.meta.url));
/** Where `npm run dev` finds a front in demo mode. */
const front = process.env.STOA_FRONT ?? "http://127.0.0.1:8080";

export default defineConfig({
  // Relative, so that the page also works under a path of somebody's own server.
  base: "./",
  resolve: {
    // The SDK as it stands beside this page: nothing has to be built first.
    alias: [
      { find: /^stoa\/codemirror$/, replacement: client("codemirror.ts") },
      { find: /^stoa$/, replacement: client("index.ts") },
    ],
    // CodeMirror compares classes: the SDK has to find the same copy as the page.
    dedupe: ["@codemirror/state", "@codemirror/view"],
  },
  server: {
    proxy: {
      "/ws": { target: front, ws: true },
      "/guest": { target: front },
      "/sse": { target: front },
      "/rpc": { target: front },
      "/socket.io": { target: front, ws: true },
    },
  },
  build: { target: "es2022", rollupOptions: { input: ["index.html", "socketio.html"] } },
});
