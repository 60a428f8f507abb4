/**
 * Where the others are in the document. Positions travel as ephemeral events of the room: nothing is stored, a lost one is
 * replaced by the next. Each editor moves the carets it knows along with every change of the text.
 */
import { StateEffect, StateField, type Extension } from "@codemirror/state";
import { Decoration, EditorView, ViewPlugin, WidgetType, type DecorationSet, type PluginValue, type ViewUpdate } from "@codemirror/view";
import type { Json, Room, Stoa } from "stoa";
import { hueOf, make } from "./dom.js";
import type { Names } from "./people.js";

const EVENT = "cursor";
/** At most ten a second, however fast somebody moves. */
const SEND_EVERY_MS = 100;
/** Whoever has said nothing for this long is not in the text any more. */
const GONE_AFTER_MS = 60_000;

interface Caret {
  /** One per connection: somebody with two windows has two carets. */
  connection: string;
  user: string;
  anchor: number;
  head: number;
  at: number;
}

const put = StateEffect.define<Caret>();
const keep = StateEffect.define<(caret: Caret) => boolean>();

/** The extension that shows others' carets and tells them of this one. */
export function sharedCursors(stoa: Stoa, room: Room, names: Names): Extension {
  const carets = StateField.define<readonly Caret[]>({
    create: () => [],
    update(known, transaction) {
      let now = known;
      if (transaction.docChanged)
        now = now.map((caret) => ({ ...caret, anchor: transaction.changes.mapPos(caret.anchor, -1), head: transaction.changes.mapPos(caret.head, -1) }));
      for (const effect of transaction.effects) {
        if (effect.is(put)) now = [...now.filter(({ connection }) => connection !== effect.value.connection), effect.value];
        if (effect.is(keep)) now = now.filter(effect.value);
      }
      return now;
    },
    provide: (field) =>
      EditorView.decorations.compute([field], (state) => draw(state.field(field), state.doc.length, names)),
  });

  class Telling implements PluginValue {
    private timer = 0;
    private sweeper: number;
    private offs: (() => void)[];

    constructor(private readonly view: EditorView) {
      this.offs = [
        room.on(EVENT, (data, from) => this.heard(data, from.user, from.connection)),
        room.presence.on("left", (user) => this.filter((caret) => caret.user !== user)),
        // Somebody who comes later shall see this caret, too.
        room.presence.on("joined", () => this.soon()),
      ];
      this.sweeper = window.setInterval(() => this.filter((caret) => Date.now() - caret.at < GONE_AFTER_MS), GONE_AFTER_MS / 4);
    }

    update(update: ViewUpdate): void {
      // Not for others' changes: their caret says enough.
      if ((update.selectionSet || update.focusChanged) && update.view.hasFocus) this.soon();
    }

    destroy(): void {
      clearTimeout(this.timer);
      clearInterval(this.sweeper);
      for (const off of this.offs) off();
    }

    private soon(): void {
      if (this.timer !== 0 || !this.view.hasFocus) return;
      this.timer = window.setTimeout(() => {
        this.timer = 0;
        const { anchor, head } = this.view.state.selection.main;
        if (stoa.state === "connected") room.emit(EVENT, { anchor, head }).catch(() => undefined);
      }, SEND_EVERY_MS);
    }

    private heard(data: Json, user: string | undefined, connection: string | undefined): void {
      if (user === undefined || connection === undefined || connection === stoa.connectionId) return;
      if (typeof data !== "object" || data === null || Array.isArray(data)) return;
      const { anchor, head } = data;
      if (!isPosition(anchor) || !isPosition(head)) return;
      const end = this.view.state.doc.length;
      this.view.dispatch({
        effects: put.of({ connection, user, anchor: Math.min(anchor, end), head: Math.min(head, end), at: Date.now() }),
      });
    }

    private filter(stays: (caret: Caret) => boolean): void {
      if (!this.view.state.field(carets).every(stays)) this.view.dispatch({ effects: keep.of(stays) });
    }
  }

  return [carets, ViewPlugin.define((view) => new Telling(view))];
}

const isPosition = (value: Json | undefined): value is number => typeof value === "number" && Number.isInteger(value) && value >= 0;

function draw(carets: readonly Caret[], length: number, names: Names): DecorationSet {
  const ranges = carets.flatMap(({ user, connection, anchor, head }) => {
    const hue = hueOf(user);
    const at = Math.min(head, length);
    const from = Math.min(anchor, head, length);
    const to = Math.min(Math.max(anchor, head), length);
    const caret = Decoration.widget({ widget: new CaretWidget(connection, names.of(user), hue), side: 1 }).range(at);
    if (from === to) return [caret];
    return [caret, Decoration.mark({ class: "selected", attributes: { style: `--hue: ${hue}` } }).range(from, to)];
  });
  return Decoration.set(ranges, true);
}

class CaretWidget extends WidgetType {
  constructor(
    private readonly connection: string,
    private readonly name: string,
    private readonly hue: number,
  ) {
    super();
  }
  override eq(other: CaretWidget): boolean {
    return other.connection === this.connection && other.name === this.name;
  }
  override toDOM(): HTMLElement {
    const caret = make("span", "caret");
    caret.style.setProperty("--hue", String(this.hue));
    caret.ariaHidden = "true";
    caret.append(make("span", "", this.name));
    return caret;
  }
  override ignoreEvent(): boolean {
    return true;
  }
}
