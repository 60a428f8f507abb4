// One person on the page of Stoa's own client, one on the page of socket.io-client and one with it on a phone, at two fronts: they
// talk to each other and to a terminal, and a reload brings it all back.
//
//   node tests/browser/socketio.mjs
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { act, enter, eventually, play, said, say, screenshots, shows } from "./people.mjs";

play("browser story of Socket.IO", async ({ stoa, browser, people }) => {
  const redis = (...words) => execFileSync("redis-cli", ["-p", stoa.redisPort, ...words], { encoding: "utf8" });
  const [one, two] = stoa.fronts;
  const ada = await enter(browser, one, "Ada", {}, "both");
  people.push(ada);
  const bo = await enter(browser, two, "Bo", { colorScheme: "dark" }, "both", "socketio.html");
  people.push(bo);
  const cy = await enter(browser, one, "Cy", { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true }, "both", "socketio.html");
  people.push(cy);
  for (const person of people) for (const name of ["Ada", "Bo", "Cy"]) await shows(person, "#people", name);

  // Each sees the other about to say something, and then what it is.
  await ada.page.locator("#chat-input").pressSequentially("Do you");
  await shows(bo, "#typing", "Ada is typing");
  await say(ada, "Do you read me?");
  await shows(bo, "#messages", "Do you read me?");
  await bo.page.locator("#chat-input").pressSequentially("Loud");
  await shows(ada, "#typing", "Bo is typing");
  await say(bo, "Loud and clear.");
  for (const person of people) {
    await shows(person, "#messages", "Do you read me?");
    await shows(person, "#messages", "Loud and clear.");
  }
  await act(bo, "Do you read me?", "react", "👍");
  await act(ada, "Loud and clear.", "react", "🎉");
  await act(bo, "Do you read me?", "reply");
  await say(bo, "And you me?");
  await eventually("Ada sees both reactions", () => ada.page.locator("#messages .reactions button").count(), (seen) => seen === 2);
  await eventually("Ada sees what Bo answers", () => ada.page.locator("#messages .quote").allInnerTexts(), (seen) => seen.join().includes("Do you read me?"));
  redis("MSG.POST", "stoa:{both}:log", "build-bot", '{"text":"The build is green."}');
  for (const person of people) await shows(person, "#messages", "The build is green.");
  const all = ["Do you read me?", "Loud and clear.", "And you me?", "The build is green."];
  for (const person of people) assert.deepEqual(await said(person), all, person.name);
  await eventually("Bo talks over a WebSocket", () => bo.page.locator("#transport").innerText(), (seen) => seen === "WebSocket");
  for (const { page, name } of people) await page.screenshot({ path: join(screenshots, `socketio-${name.toLowerCase()}.png`) });

  // A reload is the same person, and the link leads to the other client in the same room.
  await bo.page.reload();
  await shows(bo, "#messages", "The build is green.");
  await shows(ada, "#people", "Bo");
  await bo.page.click("#other-client");
  await bo.page.locator("#document .cm-content[contenteditable=true]").waitFor();
  await eventually("Bo has all that was said", () => said(bo), (seen) => JSON.stringify(seen) === JSON.stringify(all));
});
