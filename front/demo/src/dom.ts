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
