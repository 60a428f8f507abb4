/** The page in a real browser. How to run it: `browser.mjs`. */
import assert from "node:assert/strict";
import { browser, contains, enter, faults, freshRoom, front, it, shots } from "./browser.mjs";

/** A visitor with a browser of their own, inside. */
async function visitor(name, room, options = {}) {
  const page = await enter(name, `?room=${room}`, { sockets: /\/ws$/, requests: /\/(sse|rpc)(\?|$)/, ...options });
  await page.waitForFunction(() => document.querySelector("#saved").textContent === "Saved");
  return page;
}
const text = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll("#document .cm-line")].map((line) => line.textContent).join("\n"),
  );
async function write(page, what, where = "Control+End") {
  await page.click("#document .cm-content");
  await page.keyboard.press(where);
  await page.keyboard.type(what);
}
async function say(page, what) {
  await page.fill("#chat-input", what);
  await page.press("#chat-input", "Enter");
}
async function agree(...pages) {
  for (let tries = 0; tries < 100; tries++) {
    const texts = await Promise.all(pages.map(text));
    if (new Set(texts).size === 1) return texts[0];
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.deepEqual(await Promise.all(pages.map(text)), "one text");
}
const shot = async (page, name) => shots !== undefined && page.screenshot({ path: `${shots}/${name}.png` });

it("two people see each other, write one text and talk", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada Lovelace", room);
  const bo = await visitor("Bo", room, { colorScheme: "dark" });
  await contains(ada, "#people", "Bo");
  await contains(bo, "#people", "Ada Lovelace");
  await write(ada, "Agenda\n1. ");
  await agree(ada, bo);
  await Promise.all([write(ada, "Budget"), write(bo, "Bo was here. ", "Control+Home")]);
  const both = await agree(ada, bo);
  assert.ok(both.startsWith("Bo was here. Welcome.") && both.endsWith("1. Budget"), both);
  // Bo's caret stands on Ada's screen where Bo left it, whatever was written meanwhile.
  await ada.waitForFunction(() => {
    const caret = document.querySelector(".stoa-caret");
    if (caret?.dataset.name !== "Bo") return false;
    const before = document.createRange();
    before.setStart(caret.closest(".cm-line"), 0);
    before.setEndBefore(caret);
    return before.toString() === "Bo was here. ";
  });

  await bo.type("#chat-input", "Good");
  await contains(ada, "#typing", "Bo is typing");
  await shot(ada, "light");
  await shot(bo, "dark");
  await bo.type("#chat-input", " morning");
  await bo.press("#chat-input", "Enter");
  await contains(ada, "#messages", "Good morning");
  await ada.waitForFunction(() => document.querySelector("#typing").textContent === "");
  assert.equal(await ada.evaluate(() => document.querySelectorAll("#messages .message").length), 1);

  await ada.click("#document .cm-content");
  await ada.keyboard.press("Control+z");
  const undone = await agree(ada, bo);
  assert.ok(undone.startsWith("Bo was here.") && !undone.endsWith("Budget"), undone);
});

it("people say what they are doing, and see where the others point", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada", room);
  const bo = await visitor("Bo", room, { colorScheme: "dark", viewport: { width: 1400, height: 800 } });
  await ada.selectOption("#status", "busy");
  await bo.waitForSelector('#people [data-status="busy"][title="Ada, busy"]');
  const color = (page, who) => page.evaluate((name) => {
    const chip = [...document.querySelectorAll("#people li")].find((it) => it.querySelector("bdi").textContent === name);
    return chip.querySelector(".avatar").style.getPropertyValue("--person");
  }, who);
  assert.match(await color(bo, "Ada"), /^#[0-9a-f]{6}$/);
  assert.equal(await color(bo, "Ada"), await color(ada, "Ada"));

  // The same place on the page, whatever the width of the window: the middle of it, 100 pixels from its top.
  const page = async (it) => (await it.locator("#document .cm-content").boundingBox());
  const mine = await page(ada);
  await ada.mouse.move(mine.x + 10, mine.y + 10);
  await ada.mouse.move(mine.x + mine.width / 2, mine.y + 100, { steps: 20 });
  await contains(bo, ".pointer", "Ada");
  await bo.waitForFunction(() => {
    const [pointer, sheet] = [".pointer", "#document .cm-content"].map((it) => document.querySelector(it)?.getBoundingClientRect());
    return pointer !== undefined && Math.abs(pointer.x - sheet.x - sheet.width / 2) < 2 && Math.abs(pointer.y - sheet.y - 100) < 2;
  });
  const theirs = await page(bo);
  await bo.mouse.move(theirs.x + 200, theirs.y + 60);
  await contains(ada, ".pointer", "Bo");
  assert.equal(await ada.locator(".pointer").count(), 1);
  await bo.type("#chat-input", "Look here");
  await contains(ada, "#typing", "Bo is typing");
  await shot(ada, "pointers-light");
  await shot(bo, "pointers-dark");
  await ada.mouse.move(1, 1);
  await bo.waitForSelector(".pointer", { state: "detached" });

  await ada.selectOption("#status", "invisible");
  await bo.waitForFunction(() => document.querySelectorAll("#people li").length === 1);
  assert.equal(await ada.locator("#people li").count(), 2);
  await ada.selectOption("#status", "online");
  await contains(bo, "#people", "Ada");
});

it("hostile names, messages and documents are only text", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada", room);
  const attack = '<img src=x onerror="document.body.dataset.hit=1">';
  const eve = await visitor(attack.slice(0, 40), room);
  await say(eve, `${attack}<script>document.body.dataset.hit = 1</script>`);
  for (const text of ["javascript:document.body.dataset.hit=1", "__proto__", "{{constructor.constructor('1')()}}", "\u202egnp.exe"]) await say(eve, text);
  await write(eve, `${attack}</script><svg onload="document.body.dataset.hit=1">`);
  await contains(ada, "#messages", "<script>");
  await contains(ada, "#people", "<img");
  await agree(ada, eve);
  for (const page of [ada, eve]) {
    assert.equal(await page.evaluate(() => document.querySelectorAll("#messages img, #people img, #document img:not(.cm-widgetBuffer), #messages script").length), 0);
    assert.equal(await page.evaluate(() => document.body.dataset.hit), undefined);
  }
  assert.equal(await ada.evaluate(() => "stoa" in window), false);
  assert.equal(await ada.evaluate(() => document.querySelectorAll("#messages a, #document svg, #people svg").length), 0);
  assert.equal(await ada.evaluate(() => document.querySelector("#messages").textContent.includes("javascript:document.body")), true);
});

it("a page may run no scripts but its own", async () => {
  const { headers } = await fetch(`${front}/`);
  const policy = headers.get("content-security-policy");
  assert.match(policy, /^default-src 'self';/);
  assert.doesNotMatch(policy, /script-src|unsafe-eval/);
  assert.equal(headers.get("x-content-type-options"), "nosniff");
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${front}/?room=${freshRoom()}`);
  // Even if a string of HTML got into the page, what stands in it would not run.
  await page.evaluate(() => {
    document.body.insertAdjacentHTML("beforeend", '<img src="data:x" onerror="document.body.dataset.hit=1">');
    const script = document.createElement("script");
    script.textContent = "document.body.dataset.hit = 1";
    document.body.append(script);
  });
  await page.waitForFunction(() => document.querySelector('img[src="data:x"]').complete);
  assert.equal(await page.evaluate(() => document.body.dataset.hit), undefined);
  await page.close();
});

it("what is written without a connection arrives later, once", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada", room);
  const bo = await visitor("Bo", room);
  bo.cut();
  await bo.waitForSelector('#state[data-state="reconnecting"]');
  await write(ada, "A");
  await write(bo, "B", "Control+Home");
  await say(bo, "from afar");
  await contains(bo, "#saved", "Kept here");
  await shot(bo, "reconnecting");
  assert.equal(await bo.evaluate(() => document.querySelectorAll(".message.pending").length), 1);
  bo.mend();
  const both = await agree(ada, bo);
  assert.ok(both.startsWith("BWelcome") && both.endsWith("A"), both);
  await contains(ada, "#messages", "from afar");
  assert.equal(await ada.evaluate(() => document.querySelectorAll("#messages .message").length), 1);
});

it("where WebSockets do not come through, all goes on over plain HTTP, until one does", async () => {
  const room = freshRoom();
  const bo = await visitor("Bo", room);
  const page = await (await browser.newContext()).newPage();
  page.on("pageerror", (error) => faults.push(`Ada: ${error.message}`));
  let isBlocked = true;
  await page.routeWebSocket(/\/ws$/, (line) => (isBlocked ? line.close() : line.connectToServer()));
  await page.goto(`${front}/?room=${room}`);
  await page.fill("#name-input", "Ada");
  await page.press("#name-input", "Enter");
  await contains(page, "#state", "Connected without WebSocket");
  await contains(page, "#people", "Bo");
  await say(page, "over plain HTTP");
  await contains(bo, "#messages", "over plain HTTP");
  await page.waitForFunction(() => document.querySelector("#saved").textContent === "Saved");
  await write(page, "Ada");
  await write(bo, "Bo. ", "Control+Home");
  const both = await agree(page, bo);
  assert.ok(both.startsWith("Bo. Welcome") && both.endsWith("Ada"), both);
  await bo.type("#chat-input", "I");
  await contains(page, "#typing", "Bo is typing");
  isBlocked = false;
  await page.waitForFunction(() => document.querySelector("#state").textContent.startsWith("Connected") && !document.querySelector("#state").textContent.includes("without"), undefined, { timeout: 40_000 });
  await say(page, "by WebSocket");
  await contains(bo, "#messages", "by WebSocket");
  assert.equal(await bo.evaluate(() => document.querySelectorAll("#messages .message").length), 2);
  await page.close();
});

it("messages are answered, reacted to, written anew and deleted, with the mouse and with the keyboard", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada", room);
  const bo = await visitor("Bo", room);
  await say(ada, "first");
  await contains(bo, "#messages", "first");
  const first = bo.locator("#messages .message", { hasText: "first" });
  await first.hover();
  await first.locator('.actions [data-do="reply"]').click();
  await contains(bo, "#composing", "Reply to Ada");
  await say(bo, "an answer");
  await contains(ada, ".quote", "first");
  assert.equal(await bo.isVisible("#composing"), false);

  // From the line to write in back to the messages, along them, and to what can be done with one.
  await ada.waitForSelector(".message.sent");
  await ada.focus("#chat-input");
  await ada.keyboard.press("Shift+Tab");
  for (const key of ["ArrowUp", "ArrowRight", "Enter"]) await ada.keyboard.press(key);
  await contains(bo, "#messages .reactions", "👍");
  await bo.locator("#messages .reactions button").click();
  await contains(ada, "#messages .reactions", "2");
  assert.equal(await bo.locator("#messages .reactions button").getAttribute("aria-pressed"), "true");
  await ada.keyboard.press("Escape");
  await ada.keyboard.press("Escape");
  assert.equal(await ada.evaluate(() => document.activeElement.id), "chat-input");
  await ada.keyboard.press("ArrowUp");
  assert.equal(await ada.inputValue("#chat-input"), "first");
  await ada.keyboard.press("Escape");
  assert.equal(await ada.inputValue("#chat-input"), "");
  await ada.keyboard.press("ArrowUp");
  await say(ada, "changed");
  await contains(bo, "#messages", "changed edited");
  await bo.waitForSelector(".readers");
  const own = ada.locator("#messages .message", { hasText: "changed" }).first();
  await own.hover();
  await own.locator('.actions [data-do="delete"]').click();
  await contains(bo, "#messages", "This message was deleted.");
});

it("a reload is the same person; a second window may be another one", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada", room);
  await say(ada, "mine");
  await contains(ada, "#messages", "mine");
  await ada.waitForFunction(() => document.querySelector(".message.sent") !== null);
  await ada.reload();
  await ada.waitForSelector('#state[data-state="connected"]');
  await contains(ada, "#messages", "mine");
  const second = await ada.context().newPage();
  await second.goto(`${front}/?room=${room}`);
  assert.equal(await second.inputValue("#name-input"), "Ada");
  await second.fill("#name-input", "Grace");
  await second.press("#name-input", "Enter");
  await contains(ada, "#people", "Grace");
  await second.click("#people .you");
  await second.fill("#name-input", "Grace Hopper");
  await second.press("#name-input", "Enter");
  await contains(ada, "#people", "Grace Hopper");
});

it("fits a narrow phone, and everything can be reached", async () => {
  const room = freshRoom();
  const phone = { viewport: { width: 360, height: 700 }, isMobile: true, hasTouch: true };
  const ada = await visitor("Ada", room);
  const bo = await visitor("Bo, who has a name that is long enough", room, phone);
  await bo.setViewportSize({ width: 390, height: 780 });
  await shot(bo, "phone-document");
  await bo.setViewportSize(phone.viewport);
  await say(ada, `a word without an end: ${"x".repeat(200)}`);
  await bo.waitForFunction(() => document.querySelector("#unread").textContent === "1");
  await bo.tap('#views [data-view="chat"]');
  assert.equal(await bo.isVisible("#chat-input"), true);
  await contains(bo, "#messages", "without an end");
  await shot(bo, "phone-chat");
  assert.ok((await bo.evaluate(() => document.documentElement.scrollWidth)) <= 360);
  assert.equal(await bo.isVisible("#unread"), false);
});

it("works with the keyboard alone, and names its parts for screen readers", async () => {
  const ada = await visitor("Ada", freshRoom());
  const names = await ada.evaluate(() => {
    const name = (element) => element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
    return [...document.querySelectorAll("button, input, textarea, [contenteditable]")].filter((element) => name(element).trim() === "").map((element) => element.outerHTML);
  });
  assert.deepEqual(names, []);
  await ada.focus("#copy");
  await ada.keyboard.press("Tab");
  assert.equal(await ada.evaluate(() => document.activeElement.closest("#document") !== null), true);
  // Tab leaves the document, nobody is caught in it; the chat is not far.
  for (let tabs = 0; tabs < 5 && !(await ada.evaluate(() => document.activeElement.id === "chat-input")); tabs++) await ada.keyboard.press("Tab");
  await ada.keyboard.type("hello");
  await ada.keyboard.press("Enter");
  await contains(ada, "#messages", "hello");
});

it("nothing went wrong in any page", () => assert.deepEqual(faults, []));
