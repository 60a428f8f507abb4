/** The element of this id. The page and this code belong together: a missing one is a bug. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element as T;
}

/**
 * A new element with a class and a text. The text is only ever text: names and messages come from strangers, so nothing
 * on this page is built from strings of HTML.
 */
export function make<K extends keyof HTMLElementTagNameMap>(tag: K, className = "", text = ""): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

/** The drawings on buttons, in a square of 20. */
const PATHS = {
  reply: "M8.5 5 3.5 10l5 5M4 10h7.5a5 5 0 0 1 5 5",
  edit: "M4 16l.8-3.4L13.5 4 16 6.5 7.4 15.2zM11.8 5.7l2.5 2.5",
  delete: "M4.5 6h11M8 6V4.2h4V6M6 6l.7 9.8h6.6L14 6M8.7 8.8v4.4M11.3 8.8v4.4",
  close: "M5.5 5.5l9 9M14.5 5.5l-9 9",
} as const;

/** A drawing; what it stands beside says what it means. */
export function icon(name: keyof typeof PATHS): SVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("line");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A coloured disc with initials; the name stands beside it, so it is hidden from screen readers. */
export function avatar(name: string, color: string): HTMLElement {
  const disc = make("span", "avatar", initials(name));
  disc.style.setProperty("--person", color);
  disc.ariaHidden = "true";
  return disc;
}

function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const first = (word: string | undefined) => word?.match(/[\p{L}\p{N}]/u)?.[0] ?? [...(word ?? "")][0] ?? "";
  const last = words.length > 1 ? first(words.at(-1)) : "";
  return (first(words[0]) + last).toLocaleUpperCase() || "?";
}
