import type { EditorView } from "@codemirror/view";
import type { PresenceCursor } from "stoa";
import type { DemoRoom, Place } from "./demo-room.js";
import { make } from "./dom.js";
import type { Names } from "./people.js";

/** The height of a pointer with its name, in CSS pixels: none reaches below the page. */
const HEIGHT = 40;

/** Shows where the others point on the shared page, and tells them of this visitor. */
export function startPointers(room: DemoRoom, names: Names, view: EditorView): void {
  const { presence } = room;
  const page = view.contentDOM;
  // Inside of what scrolls: so pointers stay where they are in the text.
  const layer = make("div", "pointers");
  layer.ariaHidden = "true";
  view.scrollDOM.append(layer);
  const shown = new Map<string, HTMLElement>();

  const pointer = ({ user }: PresenceCursor<Place>) => {
    const element = make("div", "pointer");
    element.append(make("bdi", "", names.of(user).slice(0, 40)));
    element.style.setProperty("--person", names.color(user));
    layer.append(element);
    return element;
  };
  const draw = () => {
    for (const [connection, element] of shown) {
      if (presence.cursors.has(connection)) continue;
      element.remove();
      shown.delete(connection);
    }
    for (const [connection, cursor] of presence.cursors) {
      const place = placeOf(cursor.cursor);
      if (place === undefined) continue;
      let element = shown.get(connection);
      if (element === undefined) shown.set(connection, (element = pointer(cursor)));
      const x = page.offsetLeft + place.x * page.offsetWidth;
      const y = page.offsetTop + Math.min(place.y, page.offsetHeight - HEIGHT);
      element.style.transform = `translate(${x}px, ${y}px)`;
    }
  };
  presence.on("cursors", draw);
  new ResizeObserver(draw).observe(page);

  // A finger is on the page only for as long as it scrolls.
  view.scrollDOM.addEventListener("pointermove", ({ pointerType, clientX, clientY }) => {
    if (pointerType === "touch") return;
    const { left, top, width } = page.getBoundingClientRect();
    presence.setCursor({ x: rounded((clientX - left) / width, 10_000), y: rounded(clientY - top, 1) });
  });
  view.scrollDOM.addEventListener("pointerleave", () => presence.setCursor(null));
}

/** What a stranger told may be anything. */
function placeOf(cursor: unknown): Place | undefined {
  const { x, y } = (cursor ?? {}) as Partial<Record<keyof Place, unknown>>;
  if (typeof x !== "number" || typeof y !== "number") return undefined;
  return { x: Math.max(-1, Math.min(2, x)), y: Math.max(0, y) };
}

const rounded = (value: number, parts: number) => Math.round(value * parts) / parts;
