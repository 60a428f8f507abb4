// @vitest-environment happy-dom
import { history, undo } from "@codemirror/commands";
import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { describe, expect, test } from "vitest";
import { fromChangeSet, stoaDocument, toChanges } from "../src/codemirror.js";
import { apply, connect, fromDiff, type Document, type JsonObject } from "../src/index.js";
import { bindTextarea } from "../src/textarea.js";
import { front, pass } from "./each-front.js";
import { Random, seedOf } from "./random.js";

const text = () => front.text("lobby", "main");

function open(user: string): Document {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket });
  stoa.on("error", () => undefined);
  return stoa.room("lobby").doc("main", { create: "one\ntwo" });
}

describe("CodeMirror", () => {
  const editor = (document: Document) => new EditorView({ extensions: [history(), stoaDocument(document)] });
  const shown = (view: EditorView) => view.state.doc.toString();

  test("shows the text when it comes, and is read-only until then", async () => {
    const view = editor(open("ada"));
    expect([shown(view), view.state.readOnly]).toEqual(["", true]);
    await pass(10);
    expect([shown(view), view.state.readOnly]).toEqual(["one\ntwo", false]);
  });

  test("two editors have one text, and a caret stays where it is", async () => {
    const [ada, bo] = [editor(open("ada")), editor(open("bo"))];
    await pass(10);
    bo.dispatch({ selection: { anchor: 4 } });
    ada.dispatch({ changes: [{ from: 0, to: 3, insert: "1" }, { from: 7, insert: "\nthree" }] });
    expect(shown(ada)).toBe("1\ntwo\nthree");
    await pass(10);
    expect([shown(bo), text(), bo.state.selection.main.head]).toEqual(["1\ntwo\nthree", "1\ntwo\nthree", 2]);
  });

  test("carets: others see where one is, with a name and a plain colour, and they move with the text", async () => {
    const open = (user: string, presence: JsonObject) =>
      connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket }).room("lobby", { presence }).doc("main", { create: "one\ntwo" });
    const view = (document: Document) => {
      const made = new EditorView({ extensions: [history(), stoaDocument(document, { cursors: true })] });
      // Selections in a document that is not shown: this DOM calls back in the midst of an update otherwise.
      return Object.defineProperty(made, "hasFocus", { value: true });
    };
    const [ada, bo] = [view(open("ada", { color: "#abc" })), view(open("bo", { color: "red;background:url(//evil)" }))];
    await pass(10);
    const carets = (of: EditorView) =>
      [...of.dom.querySelectorAll<HTMLElement>(".stoa-caret")].map((caret) => {
        const at = of.posAtDOM(caret);
        return `${caret.dataset["name"]} ${at} ${caret.style.getPropertyValue("--stoa-color")}`;
      });
    ada.dispatch({ selection: { anchor: 0, head: 3 } });
    await pass(100);
    expect(carets(bo)).toEqual(["ada 3 #abc"]);
    expect(bo.dom.querySelector(".stoa-selection")?.textContent).toBe("one");
    bo.dispatch({ changes: { from: 0, insert: "> " }, selection: { anchor: 2 } });
    expect(carets(bo)).toEqual(["ada 5 #abc"]);
    await pass(100);
    expect([carets(ada), carets(bo)]).toEqual([["bo 2 #8f7429"], ["ada 5 #abc"]]);
    bo.dispatch({ changes: { from: 2, insert: "!" }, selection: { anchor: 3 } });
    front.swallow("doc.cursor", "request", 100);
    await pass(100);
    expect([carets(ada), shown(ada)]).toEqual([["bo 3 #8f7429"], "> !one\ntwo"]);
    bo.destroy();
    await pass(100);
    front.cut("bo");
    await pass(100);
    expect(carets(ada)).toEqual([]);
    ada.destroy();
  });

  test("undo takes back one's own edits alone", async () => {
    const [ada, bo] = [editor(open("ada")), editor(open("bo"))];
    await pass(10);
    ada.dispatch({ changes: { from: 0, insert: "A" } });
    await pass(10);
    bo.dispatch({ changes: { from: 0, insert: "B" } });
    await pass(10);
    expect(text()).toBe("BAone\ntwo");
    undo(ada);
    await pass(10);
    expect([text(), shown(ada), shown(bo)]).toEqual(["Bone\ntwo", "Bone\ntwo", "Bone\ntwo"]);
    expect(undo(ada)).toBe(false);
  });

  test("an edit that cannot be shared is taken back from the editor", async () => {
    const view = editor(open("ada"));
    await pass(10);
    view.dispatch({ changes: { from: 0, insert: "\ud83d" } });
    await pass(10);
    expect([shown(view), text()]).toEqual(["one\ntwo", "one\ntwo"]);
  });

  test("a binding that is made later shows what is there; one that is destroyed is silent", async () => {
    const document = open("ada");
    await pass(10);
    const view = editor(document);
    await pass(10);
    expect(shown(view)).toBe("one\ntwo");
    view.destroy();
    front.edit("lobby", "main", ["x"]);
    await pass(10);
    expect(document.text).toBe("xone\ntwo");
  });

  test("change sets and operations say the same", () => {
    const random = new Random(seedOf("change sets"));
    const letters = ["a", "b", "\n", "😀"];
    const any = () => Array.from({ length: random.below(12) }, () => random.pick(letters)).join("");
    for (let i = 0; i < 3_000; i++) {
      const [before, after] = [any(), any()];
      const state = EditorState.create({ doc: before });
      const there = state.update({ changes: toChanges(fromDiff(before, after)) });
      expect(there.newDoc.toString()).toBe(after);
      expect(apply(before, fromChangeSet(there.changes))).toBe(after);
    }
  });
});

describe("textarea", () => {
  function field(doc: Document) {
    const element = document.createElement("textarea");
    document.body.append(element);
    const off = bindTextarea(element, doc);
    const type = (value: string, caret = value.length) => {
      element.value = value;
      element.setSelectionRange(caret, caret);
      element.dispatchEvent(new Event("input"));
    };
    return { element, off, type };
  }

  test("two fields have one text, and a caret stays where it is", async () => {
    const [ada, bo] = [field(open("ada")), field(open("bo"))];
    expect(ada.element.readOnly).toBe(true);
    await pass(10);
    expect([ada.element.value, ada.element.readOnly]).toEqual(["one\ntwo", false]);
    bo.element.setSelectionRange(4, 7);
    ada.type("1\ntwo", 1);
    await pass(10);
    expect([bo.element.value, bo.element.selectionStart, bo.element.selectionEnd, text()]).toEqual(["1\ntwo", 2, 5, "1\ntwo"]);
  });

  test("of several equal letters the one before the caret was typed", async () => {
    const document = open("ada");
    const ada = field(document);
    await pass(10);
    ada.type("aaa");
    await pass(10);
    ada.type("aaaa", 1);
    await pass(10);
    expect(front.of("doc.submit").at(-1)?.["op"]).toEqual(["a"]);
  });

  test("a composition of an input method is not disturbed by others", async () => {
    const ada = field(open("ada"));
    await pass(10);
    ada.element.dispatchEvent(new Event("compositionstart"));
    ada.type("one\ntwo k");
    front.edit("lobby", "main", ["0 "]);
    await pass(10);
    expect(ada.element.value).toBe("one\ntwo k");
    ada.type("one\ntwo か");
    ada.element.dispatchEvent(new Event("compositionend"));
    await pass(10);
    expect([ada.element.value, text()]).toEqual(["0 one\ntwo か", "0 one\ntwo か"]);
  });

  test("unbound, it is silent", async () => {
    const ada = field(open("ada"));
    await pass(10);
    ada.off();
    ada.type("nothing");
    front.edit("lobby", "main", ["x"]);
    await pass(10);
    expect([ada.element.value, text()]).toEqual(["nothing", "xone\ntwo"]);
  });
});
