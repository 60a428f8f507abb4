/** Others' carets and selections in CodeMirror, and telling them of this one. Part of `stoa/codemirror`. */
import { StateEffect, StateField, type AnnotationType, type ChangeSet, type Extension } from "@codemirror/state";
import { Decoration, EditorView, ViewPlugin, WidgetType, type DecorationSet, type PluginValue, type ViewUpdate } from "@codemirror/view";
import { colorOf } from "./color.js";
import type { RemoteCursor } from "./cursors.js";
import type { ChangeOrigin, Document } from "./document.js";

/** How others' cursors look. */
export interface CursorLooks {
  /** The name at the caret. Default: `name` of the cursor's data (and so of the presence data), else the user's id. */
  name?(cursor: RemoteCursor): string;
  /**
   * The colour, as in CSS. Default: `color` of the cursor's data (and so of the presence data) if it is a plain colour, else
   * that of the user (`member.color`).
   */
  color?(cursor: RemoteCursor): string;
}

/** What strangers may put into a style: names, `#rgb`, and functions of numbers. Nothing that loads anything. */
const PLAIN_COLOR = /^(#[0-9a-f]{3,8}|[a-z]{3,30}|(rgba?|hsla?|hwb|lab|lch|oklab|oklch)\([\d\s.,%/a-z+-]{1,60}\))$/i;
const NAME_MAX = 40;

const nameOf = ({ data: { name }, user }: RemoteCursor) => (typeof name === "string" && name.trim() !== "" ? name : user);
const plainColor = ({ data: { color }, user }: RemoteCursor) => (typeof color === "string" && PLAIN_COLOR.test(color) ? color : colorOf(user));

/** The extension. `fromShared` marks the transactions that come from the shared text. */
export function cursors(document: Document, looks: CursorLooks, fromShared: AnnotationType<ChangeOrigin>): Extension {
  const put = StateEffect.define<readonly RemoteCursor[]>();
  const field = StateField.define<readonly RemoteCursor[]>({
    create: () => [],
    update(known, transaction) {
      for (const effect of transaction.effects) if (effect.is(put)) return effect.value;
      if (!transaction.docChanged) return known;
      const author = transaction.annotation(fromShared)?.user;
      return known.map((cursor) => move(cursor, transaction.changes, author));
    },
    provide: (it) => EditorView.decorations.compute([it], (state) => draw(state.field(it), state.doc.length)),
  });

  function draw(known: readonly RemoteCursor[], length: number): DecorationSet {
    const ranges = known.flatMap((cursor) => {
      const color = (looks.color ?? plainColor)(cursor);
      const from = Math.min(cursor.anchor, cursor.head, length);
      const to = Math.min(Math.max(cursor.anchor, cursor.head), length);
      const name = (looks.name ?? nameOf)(cursor).slice(0, NAME_MAX);
      const caret = Decoration.widget({ widget: new Caret(cursor.connection, name, color), side: 1 }).range(Math.min(cursor.head, length));
      if (from === to) return [caret];
      return [caret, Decoration.mark({ class: "stoa-selection", attributes: { style: `--stoa-color: ${color}` } }).range(from, to)];
    });
    return Decoration.set(ranges, true);
  }

  class Following implements PluginValue {
    private readonly off = document.on("cursors", () => this.soon());
    private waiting = false;
    private destroyed = false;

    constructor(private readonly view: EditorView) {
      this.soon();
    }
    update(update: ViewUpdate): void {
      // What others change moves the cursor by itself. An editor that was never in use tells nothing.
      if ((update.selectionSet || update.focusChanged) && update.view.hasFocus) {
        const { anchor, head } = update.state.selection.main;
        document.setCursor({ anchor, head });
      }
      if (update.docChanged) this.soon();
    }
    destroy(): void {
      this.destroyed = true;
      this.off();
      document.setCursor(null);
    }
    /** The view cannot be changed while it is being made or updated; several changes are one. */
    private soon(): void {
      if (this.waiting) return;
      this.waiting = true;
      queueMicrotask(() => {
        this.waiting = false;
        if (this.destroyed || this.view.state.doc.length !== document.text.length) return;
        const now = [...document.cursors.values()];
        if (!same(now, this.view.state.field(field))) this.view.dispatch({ effects: put.of(now) });
      });
    }
  }

  return [field, ViewPlugin.define((view) => new Following(view)), theme];
}

/** Whoever types moves with what they type; everybody else stays before it. */
function move(cursor: RemoteCursor, changes: ChangeSet, author: string | undefined): RemoteCursor {
  const side = cursor.user === author ? 1 : -1;
  return { ...cursor, anchor: changes.mapPos(cursor.anchor, side), head: changes.mapPos(cursor.head, side) };
}

const same = (a: readonly RemoteCursor[], b: readonly RemoteCursor[]) => JSON.stringify(a) === JSON.stringify(b);

class Caret extends WidgetType {
  constructor(
    private readonly connection: string,
    private readonly name: string,
    private readonly color: string,
  ) {
    super();
  }
  override eq(other: Caret): boolean {
    return other.connection === this.connection && other.name === this.name && other.color === this.color;
  }
  override toDOM(view: EditorView): HTMLElement {
    const caret = view.dom.ownerDocument.createElement("span");
    caret.className = "stoa-caret";
    caret.style.setProperty("--stoa-color", this.color);
    // Shown by the style and not part of the text: nobody copies it or has it read aloud in the middle of a sentence.
    caret.dataset["name"] = this.name;
    caret.setAttribute("aria-hidden", "true");
    return caret;
  }
  override ignoreEvent(): boolean {
    return true;
  }
}

const theme = EditorView.baseTheme({
  ".stoa-caret": { position: "relative", borderLeft: "2px solid var(--stoa-color)", margin: "0 -1px", pointerEvents: "none" },
  ".stoa-caret::after": {
    content: "attr(data-name)",
    position: "absolute",
    left: "-2px",
    bottom: "100%",
    padding: "0 0.4em",
    borderRadius: "0.4em 0.4em 0.4em 0",
    backgroundColor: "var(--stoa-color)",
    color: "#fff",
    font: "600 0.7rem/1.5 system-ui, sans-serif",
    maxWidth: "12em",
    overflow: "hidden",
    textOverflow: "ellipsis",
    whiteSpace: "nowrap",
    unicodeBidi: "isolate",
    zIndex: "5",
    animation: "stoa-caret-fade 0.6s 3s forwards",
  },
  ".cm-line:first-child .stoa-caret::after": { bottom: "auto", top: "100%", borderRadius: "0 0.4em 0.4em 0.4em" },
  ".stoa-selection": { backgroundColor: "color-mix(in oklab, var(--stoa-color) 22%, transparent)" },
  "@keyframes stoa-caret-fade": { to: { opacity: "0", visibility: "hidden" } },
});
