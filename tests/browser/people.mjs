// What the stories in browsers share: the product as its users start it, people with windows of their own, and looking until
// something holds.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const screenshots = join(root, "target/screenshots");
const SOON = 20_000;

/** Starts the product as its users do, and gives its addresses. */
export async function start() {
  mkdirSync(screenshots, { recursive: true });
  const data = mkdtempSync(join(tmpdir(), "stoa-browser-"));
  const run = spawn(join(root, "scripts/run"), {
    env: { ...process.env, FRONTS: "2", STOA_DIR: data },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  const ready = new Promise((resolve, reject) => {
    run.stdout.on("data", (bytes) => {
      process.stdout.write(bytes);
      output += bytes;
      const fronts = output.match(/Stoa runs: (http\S+) (http\S+)/);
      const redis = output.match(/redis-cli -p (\d+)/);
      if (fronts && redis) resolve({ fronts: fronts.slice(1, 3), redisPort: redis[1], data });
    });
    run.on("exit", (status) => reject(new Error(`scripts/run ended with ${status}`)));
  });
  const ended = new Promise((resolve) => run.on("exit", resolve));
  const stop = async () => {
    run.kill("SIGTERM");
    const status = await ended;
    rmSync(data, { recursive: true, force: true });
    return status;
  };
  return { ...(await ready), stop };
}

/** One more front beside those of `start`, to be killed: when one of those ends, all of it ends. */
export async function startFront({ data, redisPort }) {
  const profile = process.env.STOA_PROFILE === "dev" ? "debug" : "release";
  const binary = process.env.STOA_FRONT_BINARY ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), profile, "stoa-front");
  const port = await new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
  const settings = ["--demo", "--pages", join(root, "front/demo/dist"), "--jwt-secret-file", join(data, "secret")];
  const where = ["--redis-url", `redis://127.0.0.1:${redisPort}`, "--listen", `127.0.0.1:${port}`];
  const child = spawn(binary, [...settings, ...where], { stdio: "ignore" });
  const address = `http://127.0.0.1:${port}`;
  await eventually("the front is ready", () => fetch(`${address}/readyz`).then(({ status }) => status, () => 0), (seen) => seen === 200);
  return { address, kill: () => child.kill("SIGKILL") };
}

export const launch = () =>
  chromium.launch({
    executablePath: process.env.STOA_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });

/** A person in a window of their own, with nobody else's memory: on the page of Stoa's own client, or another one. */
export async function enter(browser, address, name, options = {}, room = "story", path = "") {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(SOON);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  await page.goto(`${address}/${path}?room=${room}`);
  await page.fill("#name-input", name);
  await page.press("#name-input", "Enter");
  await page.waitForSelector('#state[data-state="connected"]');
  if (path === "") await page.locator("#document .cm-content[contenteditable=true]").waitFor();
  return { page, name, complaints };
}

/** What the document shows: each line stands in an element of its own. */
export const text = ({ page }) => page.$$eval("#document .cm-line", (lines) => lines.map((line) => line.textContent).join("\n"));

/** The messages as they stand there. */
export const said = ({ page }) => page.$$eval("#messages .message .text", (texts) => texts.map((it) => it.textContent));

/** Looks until it holds, and says what it was when it never did. */
export async function eventually(what, look, holds) {
  const deadline = Date.now() + SOON;
  for (;;) {
    const seen = await look();
    if (holds(seen)) return seen;
    assert.ok(Date.now() < deadline, `${what}: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const shows = ({ page, name }, selector, expected) =>
  eventually(`${name} sees ${expected} in ${selector}`, () => page.locator(selector).innerText(), (seen) => seen.includes(expected));

export async function say({ page }, what) {
  await page.fill("#chat-input", what);
  await page.press("#chat-input", "Enter");
}

/** Presses a button of a message, as somebody does who points at it. */
export async function act({ page }, message, does, reaction) {
  const it = page.locator("#messages .message", { hasText: message }).last();
  await it.hover();
  await it.locator(reaction === undefined ? `.actions [data-do="${does}"]` : `.actions [data-do="${does}"][data-reaction="${reaction}"]`).click();
}

/** Plays a story: everything is started for it, everybody's window is photographed when it fails, and all of it ends. */
export async function play(title, story) {
  const people = [];
  try {
    const stoa = await start();
    const browser = await launch();
    try {
      await story({ stoa, browser, people });
      for (const person of people) assert.deepEqual(person.complaints, [], `${person.name}'s console`);
    } catch (error) {
      for (const { page, name, complaints } of people) {
        await page.screenshot({ path: join(screenshots, `failed-${name.toLowerCase()}.png`) }).catch(() => {});
        if (complaints.length > 0) console.error(`${name}'s console:`, complaints);
      }
      throw error;
    } finally {
      await browser.close();
      await stoa.stop();
    }
    console.log(`${title}: 1 passed`);
  } catch (error) {
    console.error(error);
    console.error(`${title}: 1 failed`);
    process.exitCode = 1;
  }
  // Whatever may still hold a pipe open, the story has ended.
  process.exit();
}
