/**
 * The package as others get it: packed, installed into a fresh Vite and React application, type-checked, built, and run in a
 * browser against a real front.
 *
 *     STOA_FRONT=http://127.0.0.1:8080 node scripts/fresh-app.mjs
 *
 * The front has to take guests (`--demo`). Without `STOA_FRONT` the application is checked and built, and not run. The browser is
 * the `chromium` of the path, or what `CHROMIUM` names. It uses npm alone.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The generator of fresh applications: a fixed version, so that it is this package that is tested and not the news. */
const CREATE_VITE = "create-vite@8";
/** The React that a fresh application has, and the oldest that is supported. */
const REACTS = [undefined, "18"];
const client = fileURLToPath(new URL("..", import.meta.url));
const front = process.env.STOA_FRONT;
const work = mkdtempSync(join(tmpdir(), "stoa-app-"));
const app = join(work, "app");
const npm = (folder, ...words) => execFileSync("npm", [...words], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, npm_config_loglevel: "error", npm_config_audit: "false", npm_config_fund: "false" } });

/** A page of an application: it uses every entry point and the types of each. */
const APP = `
import { useEffect, useRef } from "react";
import { connect, StoaError, type Message } from "stoa";
import { connect as connectCore } from "stoa/core";
import { StoaProvider, useCursors, useDocument, useEvent, useMap, useMessages, useNotifications, usePresence, useRoom, useStoa, useTyping } from "stoa/react";
import { ownSlot, webStorage } from "stoa/storage";
import { bindTextarea } from "stoa/textarea";

interface Person { name: string }
interface Place { x: number; y: number }
interface Events { wave: { hand: "left" | "right" }; bell: null }

const front = new URLSearchParams(location.search).get("front") ?? "";
const room = new URLSearchParams(location.search).get("room") ?? "lobby";

async function guest(): Promise<string> {
  const answer = await fetch("/guest/token", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ name: "Ada" }) });
  const { token } = (await answer.json()) as { token: string };
  return token;
}
const client = () =>
  connect({ url: front.replace("http", "ws") + "/ws", token: guest, autoOpen: false, storage: ownSlot(webStorage(localStorage), "app") });
// The smallest entry point has the same types.
export const smaller: typeof connectCore = connectCore;

function Room() {
  const { isOnline, user } = useStoa();
  const joined = useRoom<Person, Place, Events>(room);
  const { messages, post } = useMessages(joined.room);
  const { members } = usePresence<Person, Place, Events>(joined.room);
  const { typists, typing } = useTyping(joined.room);
  const { cursors } = useCursors(joined.room);
  const { document: shared, text } = useDocument(joined.room, "notes", { create: "" });
  const { entries, set } = useMap<{ count: number }, Person, Place, Events>(joined.room, "board");
  const { unread } = useNotifications((message: Message) => console.log(message.n));
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => (field.current === null ? undefined : bindTextarea(field.current, shared)), [shared]);
  useEvent(joined.room, "wave", ({ hand }) => console.log(hand.toUpperCase()));
  const wave = () => joined.room.emit("wave", { hand: "left" }).catch((error: unknown) => console.log(error instanceof StoaError && error.code));
  // @ts-expect-error there is no such event
  const wrong = () => joined.room.emit("nod");
  void wrong;
  return (
    <main>
      <p id="state">{isOnline ? "online" : "offline"} {user}</p>
      <p id="people">{members.map(({ data }) => data.name).join()} {typists.length} {cursors.size} {unread}</p>
      <ol id="messages">{messages.map(({ key, body, state }) => <li key={key} className={state}>{String(body)}</li>)}</ol>
      <button id="post" onClick={() => void post("hello")}>Post</button>
      <button id="wave" onClick={() => void wave()}>Wave</button>
      <button id="count" onClick={() => set("count", (entries.get("count") ?? 0) + 1)}>{entries.get("count") ?? 0}</button>
      <textarea ref={field} onKeyDown={typing} />
      <p id="text">{text}</p>
    </main>
  );
}

export default function App() {
  return <StoaProvider client={client}><Room /></StoaProvider>;
}
`;

try {
  const [{ filename, files, unpackedSize }] = JSON.parse(npm(client, "pack", "--json", "--pack-destination", work));
  assert.ok(files.some(({ path }) => path === "LICENSE"), "what one may do with it is said in the package");
  for (const { path } of files) assert.match(path, /^(dist\/.+\.(js|d\.ts|map)|package\.json|README\.md|LICENSE.*)$/, "nothing else belongs into the package");
  console.log(`packed: ${files.length} files, ${unpackedSize} bytes`);
  npm(work, "exec", "--yes", "--", CREATE_VITE, "app", "--template", "react-ts", "--no-interactive");
  npm(app, "install", "--silent");
  npm(app, "install", "--silent", join(work, filename));
  writeFileSync(join(app, "src/App.tsx"), APP);
  const main = readFileSync(join(app, "src/main.tsx"), "utf8");
  assert.match(main, /<StrictMode>/, "a fresh application is in Strict Mode");
  if (front === undefined) console.warn("\n*** THE FRESH APPLICATION IS NOT RUN: STOA_FRONT is not set ***\n");
  for (const react of REACTS) {
    if (react !== undefined) npm(app, "install", "--silent", ...["react", "react-dom", "@types/react", "@types/react-dom"].map((it) => `${it}@${react}`));
    // Type-checks (tsc) and builds (vite).
    npm(app, "run", "build", "--silent");
    const { version } = JSON.parse(readFileSync(join(app, "node_modules/react/package.json"), "utf8"));
    console.log(`React ${version}: type-checked and built`);
    if (front !== undefined) await run(join(app, "dist"));
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Two people use the application in a browser. */
async function run(pages) {
  const { chromium } = await import(new URL("../../demo/node_modules/playwright-core/index.mjs", import.meta.url));
  const server = await serve(pages);
  const executablePath = process.env.CHROMIUM ?? (process.env.PATH ?? "").split(":").map((folder) => `${folder}/chromium`).find((path) => existsSync(path));
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  try {
    const room = `app-${Date.now().toString(36)}`;
    const address = `http://127.0.0.1:${server.address().port}/?room=${room}&front=${encodeURIComponent(front)}`;
    const faults = [];
    const people = [];
    for (const _ of [1, 2]) {
      const page = await (await browser.newContext()).newPage();
      page.on("pageerror", (error) => faults.push(error.message));
      await page.goto(address);
      await page.waitForFunction(() => document.querySelector("#state")?.textContent.startsWith("online"));
      people.push(page);
    }
    const [ada, bo] = people;
    const shows = (page, selector, text) => page.waitForFunction(([s, t]) => document.querySelector(s)?.textContent.includes(t), [selector, text]);
    await shows(bo, "#people", "Ada,Ada");
    await ada.click("#post");
    await shows(bo, "#messages", "hello");
    await ada.waitForSelector("#messages .sent");
    await ada.click("#count");
    await shows(bo, "#count", "1");
    await ada.waitForFunction(() => !document.querySelector("textarea").readOnly);
    await ada.fill("textarea", "written together");
    await shows(bo, "#text", "written together");
    assert.deepEqual(faults, []);
    console.log("two people used it");
  } finally {
    await browser.close();
    server.close();
  }
}

/** Serves the application's files, and passes on what asks for a guest's token: that is for pages of the front's own origin. */
function serve(pages) {
  const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
  const server = createServer(async (asked, answer) => {
    const { pathname } = new URL(asked.url, "http://localhost");
    if (pathname === "/guest/token") {
      let body = "";
      for await (const part of asked) body += part;
      const token = await fetch(`${front}/guest/token`, { method: "POST", headers: { "content-type": "application/json" }, body });
      return answer.writeHead(token.status, { "content-type": "application/json" }).end(await token.text());
    }
    const file = join(pages, pathname === "/" ? "index.html" : pathname);
    if (!file.startsWith(pages) || !existsSync(file)) return answer.writeHead(404).end();
    answer.writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream" }).end(readFileSync(file));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}
