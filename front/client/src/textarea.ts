/**
 * A plain textarea (or text input) on a shared text.
 *
 * ```ts
 * const off = bindTextarea(element, room.doc("notes", { create: "" }));
 * ```
 *
 * The browser forgets a textarea's undo history whenever a script changes its text, so undo does not reach beyond the
 * last change of somebody else. An editor that needs more takes `stoa/codemirror`.
 */
import type { Document } from "./document.js";
import type { Off } from "./emitter.js";
import { apply, compose, fromInput, transform, transformSelection, type Operation } from "./ot/index.js";

/** Binds until the returned function is called. The element is read-only while the document cannot be edited. */
export function bindTextarea(element: HTMLTextAreaElement | HTMLInputElement, document: Document): Off {
  /** What the element showed when it agreed with the document last. */
  let shown = "";
  /** Others' changes while an input method composes: replacing the text then would end the composition. */
  let waiting: Operation | undefined;
  let composing = false;

  const write = (text: string, start: number, end: number) => {
    const { scrollTop, selectionDirection } = element;
    element.value = shown = text;
    element.setSelectionRange(start, end, selectionDirection ?? "none");
    element.scrollTop = scrollTop;
  };
  const align = () => {
    waiting = undefined;
    const end = document.text.length;
    write(document.text, Math.min(element.selectionStart ?? end, end), Math.min(element.selectionEnd ?? end, end));
    lock();
  };
  const lock = () => void (element.readOnly = !document.editable);

  const show = (op: Operation) => {
    const [start, end] = transformSelection(element.selectionStart ?? 0, element.selectionEnd ?? 0, op);
    write(apply(shown, op), start, end);
  };
  const input = () => {
    if (composing) return;
    let mine = fromInput(shown, element.value, element.selectionEnd ?? undefined);
    let theirs = waiting;
    waiting = undefined;
    shown = element.value;
    if (theirs !== undefined) {
      const before = mine;
      mine = transform(mine, theirs, "left");
      theirs = transform(theirs, before, "right");
    }
    try {
      document.edit(mine);
    } catch {
      return align();
    }
    if (theirs !== undefined) show(theirs);
  };
  const starts = () => void (composing = true);
  const ends = () => {
    composing = false;
    input();
  };

  element.addEventListener("input", input);
  element.addEventListener("compositionstart", starts);
  element.addEventListener("compositionend", ends);
  const offs = [
    document.on("remote", (op) => {
      if (composing) waiting = waiting === undefined ? op : compose(waiting, op, "late");
      else show(op);
    }),
    document.on("reset", align),
    document.on("state", lock),
  ];
  if (document.editable) align();
  else lock();
  return () => {
    element.removeEventListener("input", input);
    element.removeEventListener("compositionstart", starts);
    element.removeEventListener("compositionend", ends);
    for (const off of offs) off();
  };
}
