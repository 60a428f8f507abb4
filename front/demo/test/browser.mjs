/**
 * A real browser in which pages are tested, on a real front in demo mode that serves them:
 *
 *     STOA_FRONT=http://127.0.0.1:8080 npm test
 *
 * The browser is the `chromium` of the path, or what `CHROMIUM` names. With `STOA_SHOTS` set to a directory tests leave pictures there.
 */
import { existsSync } from "node:fs";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

export const front = process.env.STOA_FRONT;
export const shots = process.env.STOA_SHOTS;
/** What pages complained of, in no test's words. */
export const faults = [];
export let browser;

const executablePath = process.env.CHROMIUM ?? (process.env.PATH ?? "").split(":").map((folder) => `${folder}/chromium`).find((path) => existsSync(path));
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
if (front === undefined) console.warn("\n*** THE PAGES WERE NOT TESTED: STOA_FRONT is not set ***\n");

before(async () => {
  if (front !== undefined) browser = await chromium.launch({ executablePath, args });
});
after(() => browser?.close());

export const it = (name, run) => test(name, { skip: front === undefined, timeout: 60_000 }, run);

export const freshRoom = () => `room-${Date.now().toString(36)}-${Math.floor(Math.random() * 1e6)}`;

/**
 * A visitor with a browser of their own, inside. Their line to the front, which is `sockets` and `requests`, can be cut, and stays cut
 * until it is mended. `bearable` are complaints that are the test's doing.
 */
export async function enter(name, path, { sockets, requests, webSockets = true, bearable = /^$/, ...options }) {
  const page = await (await browser.newContext({ viewport: { width: 1100, height: 720 }, ...options })).newPage();
  page.on("pageerror", (error) => faults.push(`${name}: ${error.message}`));
  page.on("console", (message) => message.type() === "error" && !bearable.test(message.text()) && faults.push(`${name}: ${message.text()}`));
  let down = false;
  const lines = new Set();
  await page.routeWebSocket(sockets, (line) => {
    if (down || !webSockets) return line.close();
    lines.add({ line, server: line.connectToServer() });
  });
  await page.route(requests, (route) => (down ? route.abort() : route.continue()));
  page.cut = () => {
    down = true;
    for (const { line, server } of lines) (line.close(), server.close());
    lines.clear();
  };
  page.mend = () => (down = false);
  await page.goto(`${front}/${path}`);
  await page.fill("#name-input", name);
  await page.press("#name-input", "Enter");
  await page.waitForSelector('#state[data-state="connected"]');
  return page;
}

export const contains = (page, selector, wanted) =>
  page.waitForFunction(([s, w]) => document.querySelector(s)?.textContent.includes(w), [selector, wanted], { timeout: 20_000 });
export const lacks = (page, selector, unwanted) =>
  page.waitForFunction(([s, w]) => !document.querySelector(s)?.textContent.includes(w), [selector, unwanted], { timeout: 20_000 });
