import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { drawSelection, EditorView, keymap, placeholder } from "@codemirror/view";
import type { Stoa } from "stoa";
import { stoaDocument } from "stoa/codemirror";
import type { DemoRoom } from "./demo-room.js";
import { byId } from "./dom.js";
import type { Line } from "./line.js";
import { marks } from "./marks.js";
import type { Names } from "./people.js";
import { startPointers } from "./pointers.js";

const WELCOME = `Welcome.

This page is shared by everybody who has it open. Write something, then open the same link in a second window and watch it arrive there.

Pull the plug if you like: what you write is kept, and joined with the rest when you are back.

`;

/** The shared document in its editor, and a word on whether what was written has arrived. */
export function startEditor(stoa: Stoa, room: DemoRoom, names: Names, cutLine: Line): void {
  const shared = room.doc("main", { create: WELCOME });
  const view = new EditorView({
    parent: byId("document"),
    extensions: [
      history(),
      keymap.of([...defaultKeymap, ...historyKeymap]),
      drawSelection(),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ "aria-label": "Shared document", spellcheck: "true", autocapitalize: "sentences" }),
      placeholder("Write something…"),
      // The same colour as the disc beside the name.
      stoaDocument(shared, { cursors: { name: ({ user }) => names.of(user), color: ({ user }) => names.color(user) } }),
      marks(stoa, shared),
    ],
  });
  startPointers(room, names, view);

  const line = byId("saved");
  const show = () => {
    const offline = stoa.state !== "online";
    const pending = shared.state === "awaiting" || shared.state === "awaiting-with-buffer";
    line.dataset["state"] = offline && pending ? "kept" : shared.state;
    if (shared.state === "refused") line.textContent = "You may not open this document";
    else if (room.role !== undefined && !room.can("edit")) line.textContent = "You can read here, not write";
    else if (!shared.editable) line.textContent = "Loading…";
    else if (pending) line.textContent = offline ? "Kept here until you are back" : "Saving…";
    else line.textContent = offline ? "" : "Saved";
    notice();
  };
  /** What a cut line means for what is written. */
  const bar = byId("notice");
  let hides = 0;
  const notice = () => {
    if (cutLine.isCut) {
      clearTimeout(hides);
      bar.dataset["state"] = "cut";
      bar.textContent = "The line is cut. Go on writing: it stays here, and meets what the others write as soon as the line is mended.";
      bar.hidden = false;
    } else if (bar.dataset["state"] === "cut" && stoa.state === "online" && shared.state === "synchronised") {
      bar.dataset["state"] = "mended";
      bar.textContent = "Together again: what you wrote and what the others wrote is one text.";
      hides = window.setTimeout(() => (bar.hidden = true), 6_000);
    }
  };
  // A round trip is a moment: "Saving…" that flickers with each key tells nobody anything.
  let timer = 0;
  shared.on("state", () => {
    clearTimeout(timer);
    timer = window.setTimeout(show, 250);
  });
  stoa.on("state", show);
  room.onAccess(show);
  show();
}
