/**
 * Where the others are in the document. Positions travel as ephemeral events of the room: nothing is stored, a lost one is
 * replaced by the next. A position means something only together with a revision: it is told when the text has no edits
 * under way, and shown when the text here has come as far. From then on each editor moves it along with every change.
 */
import { StateEffect, StateField, type Extension } from "@codemirror/state";
import { Decoration, EditorView, ViewPlugin, WidgetType, type DecorationSet, type PluginValue, type ViewUpdate } from "@codemirror/view";
import type { Document, Json, Room, Stoa } from "stoa";
import { fromStoa } from "stoa/codemirror";
import { hueOf, make } from "./dom.js";
import type { Names } from "./people.js";

const EVENT = "cursor";
/** At most ten a second, however fast somebody moves. */
const SEND_EVERY_MS = 100;
/** Whoever has said nothing for this long is not in the text any more. */
const GONE_AFTER_MS = 60_000;

/** Carets that wait for their text; a bound against those who claim to be far ahead. */
const EARLY_MAX = 200;

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
export function sharedCursors(stoa: Stoa, room: Room, shared: Document, names: Names): Extension {
  const carets = StateField.define<readonly Caret[]>({
    create: () => [],
    update(known, transaction) {
      let now = known;
      if (transaction.docChanged) {
        const author = transaction.annotation(fromStoa)?.user;
        now = now.map((caret) => {
          // Whoever types moves with what they type; everybody else stays before it.
          const side = caret.user === author ? 1 : -1;
          return { ...caret, anchor: transaction.changes.mapPos(caret.anchor, side), head: transaction.changes.mapPos(caret.head, side) };
        });
      }
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
    /** There is something to tell, as soon as the text has no edits under way. */
    private untold = false;
    /** Carets in a text that has not come yet, by connection. */
    private early = new Map<string, Caret & { rev: number }>();
    private sweeper: number;
    private offs: (() => void)[];

    constructor(private readonly view: EditorView) {
      this.offs = [
        room.on(EVENT, (data, from) => this.heard(data, from.user, from.connection)),
        room.presence.on("left", (user) => this.filter((caret) => caret.user !== user)),
        // Somebody who comes later shall see this caret, too.
        room.presence.on("joined", () => this.soon()),
        shared.on("state", () => this.tell()),
      ];
      this.sweeper = window.setInterval(() => this.filter((caret) => Date.now() - caret.at < GONE_AFTER_MS), GONE_AFTER_MS / 4);
    }

    update(update: ViewUpdate): void {
      // Not for others' changes: their caret says enough.
      if ((update.selectionSet || update.focusChanged) && update.view.hasFocus) this.soon();
      if (update.docChanged && this.early.size > 0) queueMicrotask(() => this.showEarly());
    }

    destroy(): void {
      clearTimeout(this.timer);
      clearInterval(this.sweeper);
      for (const off of this.offs) off();
    }

    private soon(): void {
      if (!this.view.hasFocus) return;
      this.untold = true;
      if (this.timer !== 0) return;
      this.timer = window.setTimeout(() => {
        this.timer = 0;
        this.tell();
      }, SEND_EVERY_MS);
    }

    private tell(): void {
      if (!this.untold || this.timer !== 0 || stoa.state !== "connected" || shared.state !== "synchronised") return;
      this.untold = false;
      const { anchor, head } = this.view.state.selection.main;
      room.emit(EVENT, { rev: shared.rev ?? 0, anchor, head }).catch(() => undefined);
    }

    private heard(data: Json, user: string | undefined, connection: string | undefined): void {
      if (user === undefined || connection === undefined || connection === stoa.connectionId) return;
      if (typeof data !== "object" || data === null || Array.isArray(data)) return;
      const { rev, anchor, head } = data;
      if (!isPosition(rev) || !isPosition(anchor) || !isPosition(head)) return;
      if (this.early.size >= EARLY_MAX) this.early.clear();
      this.early.set(connection, { rev, connection, user, anchor, head, at: Date.now() });
      this.showEarly();
    }

    private showEarly(): void {
      const effects = [];
      for (const [connection, caret] of this.early) {
        const [anchor, head] = [shared.locate(caret.rev, caret.anchor), shared.locate(caret.rev, caret.head)];
        if (anchor === undefined || head === undefined) continue;
        this.early.delete(connection);
        effects.push(put.of({ ...caret, anchor, head }));
      }
      if (effects.length > 0) this.view.dispatch({ effects });
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
