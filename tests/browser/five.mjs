// Five people in one room, at three fronts: they talk with all that the chat has, one of them cuts the line and writes on, and a
// front is killed under two of them. In the end all five have one text and one chat.
//
//   node tests/browser/five.mjs
import assert from "node:assert/strict";
import { join } from "node:path";
import { act, enter, eventually, play, said, say, screenshots, shows, startFront, text } from "./people.mjs";

const HOSTILE = '<img src=x onerror="document.body.dataset.hit=1"><script>document.body.dataset.hit=1</script>';

play("browser story of five", async ({ stoa, browser, people }) => {
  const doomed = await startFront(stoa);
  const [one, two] = stoa.fronts;
  const join5 = async (address, name, options) => {
    const person = await enter(browser, address, name, options, "five");
    people.push(person);
    return person;
  };
  const ada = await join5(one, "Ada");
  const bo = await join5(two, "Bo", { colorScheme: "dark" });
  const cy = await join5(doomed.address, "Cy");
  const di = await join5(doomed.address, "Di", { colorScheme: "dark" });
  const eve = await join5(one, '<b onclick="1">Eve</b>');
  for (const person of people) {
    for (const name of ["Ada", "Bo", "Cy", "Di", "<b onclick"]) await shows(person, "#people", name);
    assert.equal(await person.page.locator("#people b").count(), 0);
  }
  const everybody = async (what, look, holds) => {
    for (const person of people) await eventually(`${person.name} ${what}`, () => look(person), holds);
  };

  // All of the chat: reactions, an answer, an edit, a deletion, and how far everybody has read.
  await say(ada, "Shall we begin?");
  await shows(bo, "#messages", "Shall we begin?");
  await act(bo, "Shall we begin?", "react", "👍");
  await act(di, "Shall we begin?", "react", "👍");
  await everybody("sees two thumbs", ({ page }) => page.locator("#messages .reactions").allInnerTexts(), (seen) => /👍\s*2/.test(seen.join()));
  await act(cy, "Shall we begin?", "reply");
  await say(cy, "Not without Eve.");
  await everybody("sees what Cy answers", ({ page }) => page.locator("#messages .quote").allInnerTexts(), (seen) => seen.join().includes("Shall we begin?"));
  await say(di, "She is hree.");
  await di.page.locator("#messages .message.sent", { hasText: "She is hree." }).waitFor();
  await di.page.press("#chat-input", "ArrowUp");
  await say(di, "She is here.");
  await everybody("sees it corrected", said, (seen) => seen.some((it) => it.startsWith("She is here.")) && !seen.join().includes("hree"));
  await say(eve, "This was for somebody else.");
  await shows(ada, "#messages", "for somebody else");
  await act(eve, "for somebody else", "delete");
  await everybody("sees that it is gone", said, (seen) => !seen.join().includes("somebody else"));
  await eventually("Ada sees that the four others have read it all", () => ada.page.locator("#messages .message:last-child .readers .avatar").count(), (seen) => seen === 3);

  // What strangers write is text: in messages, answers to them, edits, and in the document.
  await say(eve, HOSTILE);
  await act(bo, "onerror", "reply");
  await say(bo, `${HOSTILE} again`);
  await eve.page.press("#chat-input", "ArrowUp");
  await say(eve, `${HOSTILE} edited`);
  await everybody("sees it as text", said, (seen) => seen.some((it) => it.startsWith(`${HOSTILE} edited`)) && seen.some((it) => it.startsWith(`${HOSTILE} again`)));

  // One of them cuts the line and writes on, and so do the others.
  await ada.page.click("#document .cm-content");
  await ada.page.keyboard.press("Control+A");
  await ada.page.keyboard.type(`Minutes ${HOSTILE}`);
  const begun = `Minutes ${HOSTILE}`;
  await everybody("has the first line", text, (seen) => seen === begun);
  await bo.page.click("#cut");
  await bo.page.waitForSelector('#state[data-state="cut"]');
  await bo.page.click("#document .cm-content");
  await bo.page.keyboard.press("Control+Home");
  await bo.page.keyboard.type("Bo alone: ");
  await say(bo, "Nobody hears me yet.");
  await ada.page.keyboard.press("Control+End");
  await ada.page.keyboard.type(" (Ada meanwhile)");
  assert.equal((await bo.page.locator("#document .unsent").allTextContents()).join(""), "Bo alone: ");
  await shows(bo, "#notice", "The line is cut");
  await everybody("but Bo does not have his line", async (person) => (person === bo ? "" : text(person)), (seen) => !seen.includes("Bo alone"));
  await bo.page.screenshot({ path: join(screenshots, "five-cut.png") });
  await bo.page.click("#cut");
  const merged = `Bo alone: ${begun} (Ada meanwhile)`;
  await everybody("has both", text, (seen) => seen === merged);
  await everybody("hears Bo, once", said, (seen) => seen.filter((it) => it === "Nobody hears me yet.").length === 1);
  await shows(bo, "#notice", "Together again");
  assert.equal(await bo.page.locator("#document .unsent").count(), 0);

  // A front is killed under two people, while they write.
  await cy.page.click("#document .cm-content");
  await cy.page.keyboard.press("Control+Home");
  await Promise.all([cy.page.keyboard.type("Cy writes through it. ", { delay: 20 }), say(di, "Is it just me?").then(() => doomed.kill())]);
  const whole = `Cy writes through it. ${merged}`;
  await everybody("has it all", text, (seen) => seen === whole);
  await everybody("hears Di, once", said, (seen) => seen.filter((it) => it === "Is it just me?").length === 1);
  for (const person of [cy, di]) {
    await person.page.waitForSelector('#state[data-state="connected"]');
    // A window that finds nobody at the door says so, and that is all.
    person.complaints.splice(0, Infinity, ...person.complaints.filter((it) => !/WebSocket connection to .* failed|ERR_CONNECTION_REFUSED/.test(it)));
  }
  const last = await said(ada);
  await everybody("has one chat", said, (seen) => JSON.stringify(seen) === JSON.stringify(last));
  for (const { page } of people) {
    assert.equal(await page.evaluate(() => document.body.dataset.hit), undefined);
    assert.equal(await page.evaluate(() => document.querySelectorAll("#messages img, #messages script, #document img:not(.cm-widgetBuffer), #document script").length), 0);
  }
  for (const { page, name } of people.slice(0, 4)) await page.screenshot({ path: join(screenshots, `five-${name.toLowerCase()}.png`) });
});
