/**
 * CodeMirror 6 on a shared text.
 *
 * ```ts
 * new EditorView({ parent, extensions: [minimalSetup, stoaDocument(room.doc("main", { create: "" }))] });
 * ```
 *
 * Undo is CodeMirror's own: others' changes are kept out of its history, so it takes back this user's edits alone.
 */
import { Annotation, Compartment, EditorState, Transaction, type ChangeSet, type ChangeSpec, type Extension } from "@codemirror/state";
import { EditorView, ViewPlugin, type PluginValue, type ViewUpdate } from "@codemirror/view";
import { cursors, type CursorLooks } from "./codemirror-cursors.js";
import type { ChangeOrigin, Document } from "./document.js";
import { fromDiff, normalise, type Component, type Operation } from "./ot/index.js";

export type { CursorLooks } from "./codemirror-cursors.js";

/** Marks transactions that come from the shared text, with what is known of who made the change. */
export const fromStoa = Annotation.define<ChangeOrigin>();

/** The operation that does what a CodeMirror change set does. Line ends count one unit on both sides. */
export function fromChangeSet(changes: ChangeSet): Operation {
  const op: Component[] = [];
  let position = 0;
  changes.iterChanges((from, to, _fromAfter, _toAfter, inserted) => {
    op.push(from - position, inserted.toString(), from - to);
    position = to;
  }, true);
  return normalise(op);
}

/** The changes that do what an operation does. */
export function toChanges(op: Operation): ChangeSpec[] {
  const changes: { from: number; to: number; insert: string }[] = [];
  let position = 0;
  for (const component of op) {
    if (typeof component === "string") changes.push({ from: position, to: position, insert: component });
    else if (component > 0) position += component;
    else changes.push({ from: position, to: (position -= component), insert: "" });
  }
  return changes;
}

/**
 * The extension that binds an editor to a document. The editor shows the text as soon as it is there and is read-only
 * while it may not be edited. Close the document yourself when the editor goes.
 */
export function stoaDocument(document: Document, options: StoaDocumentOptions = {}): Extension {
  const readOnly = new Compartment();
  const plugin = ViewPlugin.define((view) => new Binding(view, document, readOnly));
  const extensions: Extension[] = [plugin, readOnly.of(EditorState.readOnly.of(!document.editable))];
  // After the binding: what is typed is part of the document before the cursor behind it is told.
  const { cursors: wanted = false } = options;
  if (wanted !== false) extensions.push(cursors(document, wanted === true ? {} : wanted, fromStoa));
  return extensions;
}

/** What an editor shows beside the text. */
export interface StoaDocumentOptions {
  /**
   * Shows others' carets and selections, and tells them of this one. Default `false`. With an object you say how they look;
   * their elements have the classes `stoa-caret` and `stoa-selection`.
   */
  cursors?: boolean | CursorLooks;
}

class Binding implements PluginValue {
  private readonly offs: (() => void)[];
  private destroyed = false;

  constructor(
    private readonly view: EditorView,
    private readonly document: Document,
    private readonly readOnly: Compartment,
  ) {
    this.offs = [
      document.on("remote", (op, origin) => this.show(op, origin)),
      document.on("reset", () => this.align()),
      document.on("state", () => this.lock()),
    ];
    // A view cannot be changed while it is being made.
    if (document.editable) queueMicrotask(() => this.align());
  }

  update(update: ViewUpdate): void {
    for (const transaction of update.transactions) {
      if (!transaction.docChanged || transaction.annotation(fromStoa) !== undefined) continue;
      try {
        this.document.edit(fromChangeSet(transaction.changes));
      } catch {
        // The shared text cannot take it (not open, half of a surrogate pair): the editor goes back to what is shared.
        queueMicrotask(() => this.align());
        return;
      }
    }
  }

  destroy(): void {
    this.destroyed = true;
    for (const off of this.offs) off();
  }

  /** Makes the editor show what the document says. */
  private align(): void {
    if (this.destroyed) return;
    const { text } = this.document;
    if (text.includes("\r")) throw new Error("CodeMirror rewrites carriage returns: this document cannot be edited with it");
    const op = fromDiff(this.view.state.doc.toString(), text);
    if (op.length > 0) this.show(op, { user: undefined });
    this.lock();
  }

  private show(op: Operation, origin: ChangeOrigin): void {
    if (this.destroyed) return;
    this.view.dispatch({ changes: toChanges(op), annotations: [fromStoa.of(origin), Transaction.addToHistory.of(false), Transaction.remote.of(true)] });
  }

  private lock(): void {
    if (this.destroyed) return;
    const locked = !this.document.editable;
    if (locked === this.view.state.readOnly) return;
    // `state` fires inside an edit, too, when the view is still busy with it.
    queueMicrotask(() => {
      if (!this.destroyed) this.view.dispatch({ effects: this.readOnly.reconfigure(EditorState.readOnly.of(!this.document.editable)) });
    });
  }
}
