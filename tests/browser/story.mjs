// Two people in two browsers: they write one paragraph at once and talk, and a terminal joins in.
//
//   node tests/browser/story.mjs            starts everything with scripts/run and its own data
//   STOA_CHROMIUM=<path>                    another browser than chromium
//
// Screenshots go to target/screenshots.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const screenshots = join(root, "target/screenshots");
const SOON = 20_000;

/** Starts the product as its users do, and gives its addresses. */
async function start() {
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
      if (fronts && redis) resolve({ fronts: fronts.slice(1, 3), redisPort: redis[1] });
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

/** A person in a window of their own, with nobody else's memory. */
async function enter(browser, address, name) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 } });
  const page = await context.newPage();
  page.setDefaultTimeout(SOON);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  await page.goto(`${address}/?room=story`);
  await page.fill("#name-input", name);
  await page.press("#name-input", "Enter");
  await page.waitForFunction(() => document.querySelector("#state")?.textContent === "Connected");
  await page.locator("#document .cm-content[contenteditable=true]").waitFor();
  return { page, name, complaints };
}

/** What the document shows: each line stands in an element of its own. */
const text = ({ page }) =>
  page.$$eval("#document .cm-line", (lines) => lines.map((line) => line.textContent).join("\n"));

/** Looks until it holds, and says what it was when it never did. */
async function eventually(what, look, holds) {
  const deadline = Date.now() + SOON;
  for (;;) {
    const seen = await look();
    if (holds(seen)) return seen;
    assert.ok(Date.now() < deadline, `${what}: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const shows = ({ page, name }, selector, expected) =>
  eventually(`${name} sees ${expected} in ${selector}`, () => page.locator(selector).innerText(), (seen) => seen.includes(expected));

async function story() {
  mkdirSync(screenshots, { recursive: true });
  const stoa = await start();
  const redis = (...words) => execFileSync("redis-cli", ["-p", stoa.redisPort, ...words], { encoding: "utf8" });
  const browser = await chromium.launch({
    executablePath: process.env.STOA_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  const people = [];
  try {
    const ada = await enter(browser, stoa.fronts[0], "Ada");
    people.push(ada);
    const bo = await enter(browser, stoa.fronts[1], "Bo");
    people.push(bo);

    // Each sees both names.
    for (const person of people) {
      await shows(person, "#people", "Ada");
      await shows(person, "#people", "Bo");
    }

    // A paragraph to write in, then both write in it at the same time, letter by letter.
    await ada.page.click("#document .cm-content");
    await ada.page.keyboard.press("Control+A");
    await ada.page.keyboard.type("Here is one paragraph.");
    await eventually("Bo sees the paragraph", () => text(bo), (seen) => seen === "Here is one paragraph.");
    await bo.page.click("#document .cm-content");
    await bo.page.keyboard.press("Control+Home");
    await ada.page.keyboard.press("Control+End");
    await Promise.all([
      ada.page.keyboard.type(" Ada adds to its end.", { delay: 15 }),
      bo.page.keyboard.type("Bo begins it. ", { delay: 15 }),
    ]);
    const whole = "Bo begins it. Here is one paragraph. Ada adds to its end.";
    for (const person of people) {
      await eventually(`${person.name} sees one text`, () => text(person), (seen) => seen === whole);
    }

    // They talk, and see that the other is about to say something.
    await ada.page.locator("#chat-input").pressSequentially("Shall we");
    await shows(bo, "#typing", "Ada");
    await ada.page.locator("#chat-input").pressSequentially(" ship it?");
    await ada.page.press("#chat-input", "Enter");
    await shows(bo, "#messages", "Shall we ship it?");
    await bo.page.fill("#chat-input", "Yes.");
    await bo.page.press("#chat-input", "Enter");
    for (const person of people) {
      await shows(person, "#messages", "Shall we ship it?");
      await shows(person, "#messages", "Yes.");
    }

    // A terminal joins in, with nothing but redis-cli.
    redis("MSG.POST", "stoa:{story}:log", "build-bot", '{"text":"The build is green."}');
    const documents = redis("KEYS", "stoa:{story}:doc:*").trim().split("\n");
    assert.equal(documents.length, 1, documents);
    const [, rev] = redis("DOC.GET", documents[0]).split("\n");
    redis("DOC.SUBMIT", documents[0], rev, '["Title from a terminal\\n"]');
    for (const person of people) {
      await shows(person, "#messages", "The build is green.");
      await eventually(`${person.name} sees the title`, () => text(person), (seen) => seen === `Title from a terminal\n${whole}`);
    }
    for (const person of people) {
      await person.page.screenshot({ path: join(screenshots, `${person.name.toLowerCase()}.png`) });
    }

    // A reload is the same person in the same room.
    await bo.page.reload();
    await eventually("Bo sees the text again", () => text(bo), (seen) => seen === `Title from a terminal\n${whole}`);
    await shows(bo, "#messages", "Yes.");
    await shows(ada, "#people", "Bo");

    for (const person of people) assert.deepEqual(person.complaints, [], `${person.name}'s console`);
  } catch (error) {
    for (const person of people) {
      await person.page.screenshot({ path: join(screenshots, `failed-${person.name.toLowerCase()}.png`) }).catch(() => {});
      if (person.complaints.length > 0) console.error(`${person.name}'s console:`, person.complaints);
    }
    throw error;
  } finally {
    await browser.close();
    await stoa.stop();
  }
}

try {
  await story();
  console.log("browser story: 1 passed");
} catch (error) {
  console.error(error);
  console.error("browser story: 1 failed");
  process.exitCode = 1;
}
// Whatever may still hold a pipe open, the story has ended.
process.exit();
