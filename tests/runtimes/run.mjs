/**
 * One story in every runtime that the client's README names: this Node, Deno and Bun, each against the same front.
 *
 *     STOA_FRONT=http://127.0.0.1:8080 npm test
 *
 * The front has to take guests (`--demo`), and the client has to be built (`npm run build` in front/client).
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const front = process.env.STOA_FRONT;
if (front === undefined) throw new Error("STOA_FRONT: where the front is, for example http://127.0.0.1:8080");

/** Nobody waits longer than that for a runtime, in milliseconds. */
const RUN_MS = 60_000;
const bin = (name) => fileURLToPath(new URL(`node_modules/.bin/${name}`, import.meta.url));
const story = fileURLToPath(new URL("story.mjs", import.meta.url));

for (const [name, command, words] of [
  ["Node", process.execPath, [story]],
  // Nothing but the network: what needs a file or a variable of the process would be refused.
  ["Deno", bin("deno"), ["run", "--no-prompt", `--allow-net=${new URL(front).host}`, story]],
  ["Bun", bin("bun"), ["run", story]],
]) {
  // What a runtime without an environment is told comes as words.
  const said = execFileSync(command, [...words, front], { encoding: "utf8", timeout: RUN_MS, stdio: ["ignore", "pipe", "inherit"] });
  if (!said.includes("the story holds")) throw new Error(`${name}: ${said}`);
  console.log(`ok: ${name}: ${said.trim()}`);
}
