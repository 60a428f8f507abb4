/**
 * What a cut line leaves behind in the text: what was written here meanwhile is underlined until it has arrived, and what the
 * others wrote meanwhile is tinted for a moment when it comes.
 */
import { StateEffect, StateField, type Extension } from "@codemirror/state";
import { Decoration, EditorView, ViewPlugin, type DecorationSet } from "@codemirror/view";
import type { Document, Stoa } from "stoa";
import { fromStoa } from "stoa/codemirror";

/** How long what came is tinted: the style fades it out in this time. */
const ARRIVED_MS = 5_000;

/** It grows while somebody types at its end. */
const unsent = Decoration.mark({ class: "unsent", inclusiveEnd: true });
const arrived = Decoration.mark({ class: "arrived" });
const clear = StateEffect.define<Decoration>();

export function marks(stoa: Stoa, document: Document): Extension {
  /** The text has been here once. */
  let hasBegun = false;
  /** The line is back, and what was missed comes. */
  let catchingUp = false;

  const field = StateField.define<DecorationSet>({
    create: () => Decoration.none,
    update(ranges, transaction) {
      let now = ranges.map(transaction.changes);
      for (const effect of transaction.effects) if (effect.is(clear)) now = now.update({ filter: (_from, _to, value) => value !== effect.value });
      const isTheirs = transaction.annotation(fromStoa) !== undefined;
      const mark = isTheirs ? (catchingUp ? arrived : undefined) : stoa.state === "online" ? undefined : unsent;
      if (mark === undefined || !transaction.docChanged) return now;
      const added: ReturnType<typeof mark.range>[] = [];
      transaction.changes.iterChangedRanges((_fromA, _toA, from, to) => {
        let isMarked = to === from;
        now.between(from, to, (start, end, value) => {
          isMarked ||= value === mark && start <= from && end >= to;
        });
        if (!isMarked) added.push(mark.range(from, to));
      });
      return now.update({ add: added, sort: true });
    },
    provide: (it) => EditorView.decorations.from(it),
  });

  const follow = ViewPlugin.define((view) => {
    let timer = 0;
    const soon = (what: Decoration, ms: number) => window.setTimeout(() => view.dispatch({ effects: clear.of(what) }), ms);
    const look = () => {
      if (document.state === "synchronised") hasBegun = true;
      if (stoa.state !== "online") catchingUp = hasBegun;
      else if (document.state === "synchronised" && catchingUp) {
        catchingUp = false;
        clearTimeout(timer);
        soon(unsent, 0);
        timer = soon(arrived, ARRIVED_MS);
      }
    };
    const offs = [stoa.on("state", () => queueMicrotask(look)), document.on("state", look)];
    return {
      destroy: () => {
        clearTimeout(timer);
        for (const off of offs) off();
      },
    };
  });
  return [field, follow];
}
