/** The page of socket.io-client in a real browser, beside the page of Stoa's own client. How to run it: `browser.mjs`. */
import assert from "node:assert/strict";
import { contains, enter, faults, freshRoom, front, it, lacks, shots } from "./browser.mjs";

/** Somebody in a page: in that of socket.io-client, whose line can be cut and whose WebSockets can be blocked, or in that of Stoa. */
async function visitor(name, room, { path = "socketio.html", ...options } = {}) {
  const line = path === "socketio.html" ? /\/socket\.io\// : /\/ws$/;
  // A line that is cut is the browser's to complain of, and the test's doing.
  const page = await enter(name, `${path}?room=${room}`, { sockets: line, requests: line, bearable: /net::ERR_|WebSocket connection/, ...options });
  await contains(page, "#people", name);
  return page;
}
async function say(page, what) {
  await page.fill("#chat-input", what);
  await page.press("#chat-input", "Enter");
}
const said = (page) => page.$$eval("#messages .message .text", (texts) => texts.map((it) => it.textContent));
async function press(page, message, does, reaction) {
  const it = page.locator("#messages .message", { hasText: message }).last();
  await it.hover();
  await it.locator(`.actions [data-do="${does}"]${reaction === undefined ? "" : `[data-reaction="${reaction}"]`}`).click();
}
const shot = async (page, name) => shots !== undefined && page.screenshot({ path: `${shots}/${name}.png` });

it("people with either client see each other and talk with all that a chat has", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada Lovelace", room, { path: "" });
  const bo = await visitor("Bo", room, { colorScheme: "dark" });
  await contains(ada, "#people", "Bo");
  await contains(bo, "#people", "Ada Lovelace");
  const color = (page, who) => page.evaluate((name) => [...document.querySelectorAll("#people li")].find((it) => it.querySelector("bdi").textContent === name)?.querySelector(".avatar").style.getPropertyValue("--person"), who);
  for (const who of ["Ada Lovelace", "Bo"]) assert.equal(await color(ada, who), await color(bo, who));
  await bo.selectOption("#status", "busy");
  await ada.waitForSelector('#people [data-status="busy"][title="Bo, busy"]');

  await ada.locator("#chat-input").pressSequentially("Shall we");
  await contains(bo, "#typing", "Ada Lovelace is typing");
  await say(ada, "Shall we begin?");
  await contains(bo, "#messages", "Shall we begin?");
  await lacks(bo, "#typing", "typing");
  await bo.locator("#chat-input").pressSequentially("Ye");
  await contains(ada, "#typing", "Bo is typing");
  await bo.fill("#chat-input", "");
  await lacks(ada, "#typing", "typing");

  await press(bo, "Shall we begin?", "react", "👍");
  await contains(ada, "#messages .reactions", "1");
  await ada.locator("#messages .reactions button").click();
  await contains(bo, "#messages .reactions", "2");
  await press(bo, "Shall we begin?", "reply");
  await contains(bo, "#composing", "Reply to Ada Lovelace");
  await say(bo, "Not without Evve.");
  await contains(ada, ".quote", "Shall we begin?");
  await bo.waitForSelector("#messages .message.own.sent");
  await bo.press("#chat-input", "ArrowUp");
  await say(bo, "Not without Eve.");
  await contains(ada, "#messages", "Not without Eve. edited");
  await contains(bo, "#messages", "Not without Eve. edited");
  await bo.waitForSelector(".readers");
  await shot(bo, "socketio-dark");
  await press(bo, "Not without Eve.", "delete");
  await contains(ada, "#messages", "This message was deleted.");
  await contains(bo, "#messages", "This message was deleted.");

  await contains(bo, "#transport", "WebSocket");
  await bo.click("#other-client");
  await bo.waitForSelector('#document .cm-content');
  await contains(bo, "#messages", "Shall we begin?");
  assert.equal(await bo.getAttribute("#other-client", "href"), `./socketio.html?room=${room}`);
});

it("what is written while the line is cut arrives later, once, and what was missed comes", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada", room);
  const bo = await visitor("Bo", room);
  await say(ada, "before");
  await contains(bo, "#messages", "before");
  bo.cut();
  await bo.waitForSelector('#state[data-state="reconnecting"]');
  await say(ada, "meanwhile");
  await say(bo, "from afar");
  await bo.waitForSelector(".message.pending");
  await shot(bo, "socketio-reconnecting");
  bo.mend();
  for (const page of [ada, bo]) {
    await contains(page, "#messages", "from afar");
    await contains(page, "#messages", "meanwhile");
  }
  await bo.waitForFunction(() => document.querySelector(".message.pending") === null);
  assert.deepEqual(await said(bo), ["before", "meanwhile", "from afar"]);
  assert.deepEqual(await said(ada), ["before", "meanwhile", "from afar"]);
});

it("where WebSockets do not come through it goes on by polling", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada", room, { webSockets: false });
  const bo = await visitor("Bo", room);
  await say(ada, "by polling");
  await contains(bo, "#messages", "by polling");
  await say(bo, "by WebSocket");
  await contains(ada, "#messages", "by WebSocket");
  await contains(ada, "#transport", "HTTP polling");
});

it("hostile names and messages are only text", async () => {
  const room = freshRoom();
  const attack = '<img src=x onerror="document.body.dataset.hit=1">';
  const ada = await visitor("Ada", room);
  const eve = await visitor(attack.slice(0, 40), room);
  for (const text of [`${attack}<script>document.body.dataset.hit=1</script>`, "javascript:document.body.dataset.hit=1", "__proto__", "\u202egnp.exe"]) await say(eve, text);
  await contains(ada, "#messages", "gnp.exe");
  await contains(ada, "#people", "<img");
  for (const page of [ada, eve]) {
    assert.equal(await page.evaluate(() => document.querySelectorAll("#messages img, #people img, #messages script, #messages a").length), 0);
    assert.equal(await page.evaluate(() => document.body.dataset.hit), undefined);
    assert.equal((await said(page))[0], `${attack}<script>document.body.dataset.hit=1</script>`);
  }
});

it("fits a narrow phone, and everything can be reached by keyboard and has a name", async () => {
  const room = freshRoom();
  const ada = await visitor("Ada", room);
  const bo = await visitor("Bo, who has a name that is long enough", room, { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true });
  await say(ada, `a word without an end: ${"x".repeat(200)}`);
  await contains(bo, "#messages", "without an end");
  await shot(ada, "socketio-light");
  await shot(bo, "socketio-phone");
  for (const width of [390, 340]) {
    await bo.setViewportSize({ width, height: 700 });
    assert.ok((await bo.evaluate(() => document.documentElement.scrollWidth)) <= width);
    for (const part of ["#chat-input", "#status", "#other-client", "#copy"]) assert.equal(await bo.isVisible(part), true, part);
  }
  const names = await ada.evaluate(() => {
    const name = (element) => element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
    return [...document.querySelectorAll("button, input, textarea, select, a")].filter((element) => name(element).trim() === "").map((element) => element.outerHTML);
  });
  assert.deepEqual(names, []);
  await ada.focus("#copy");
  for (let tabs = 0; tabs < 4 && !(await ada.evaluate(() => document.activeElement.id === "chat-input")); tabs++) await ada.keyboard.press("Tab");
  await ada.keyboard.type("hello");
  await ada.keyboard.press("Enter");
  await contains(bo, "#messages", "hello");
});

it("nothing went wrong in any page", () => assert.deepEqual(faults, []));
