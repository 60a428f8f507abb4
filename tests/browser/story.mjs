// Two people in two browsers: they write one paragraph at once and talk, and a terminal joins in.
//
//   node tests/browser/story.mjs            starts everything with scripts/run and its own data
//   STOA_CHROMIUM=<path>                    another browser than chromium
//
// Screenshots go to target/screenshots.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { enter, eventually, play, screenshots, shows, text } from "./people.mjs";

play("browser story", async ({ stoa, browser, people }) => {
  const redis = (...words) => execFileSync("redis-cli", ["-p", stoa.redisPort, ...words], { encoding: "utf8" });
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
});
