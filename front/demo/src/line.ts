/** The line of this window: which front it goes to, and the switch that cuts it. */
import type { Stoa, Transport } from "stoa";
import { byId, make } from "./dom.js";

/** The front that this page came from. */
const OWN = new URL("./", location.href).href;
/** No front in particular: the page's own first, and when one is gone the next. */
const ANY = "any";

export class Line {
  /** The switch is on: nothing leaves this window, and nothing comes. */
  isCut = false;
  /** The addresses of the fronts, in the same order on all pages. */
  fronts: readonly string[] = [OWN];
  chosen = ANY;
  private at = 0;
  private wasOnline = true;

  /** Goes on with the front that is in use. */
  learn(fronts: readonly string[]): void {
    const used = this.fronts[this.at % this.fronts.length] as string;
    this.fronts = [...new Set([...fronts, OWN])];
    this.at = this.fronts.indexOf(used);
  }

  /** The WebSocket's address for the next attempt. Plain HTTP goes to the own front alone: pages may ask no other origin. */
  url(transport: Transport): string {
    if (transport === "sse") return new URL("ws", OWN).href;
    const front = this.chosen === ANY ? this.fronts[this.at % this.fronts.length] : this.chosen;
    return new URL("ws", front).href;
  }

  /** Called when it is known which fronts there are. */
  named: () => void = () => undefined;

  /** Which one it is, where there are several. */
  readonly front = (): string => {
    const number = this.chosen === ANY ? (this.at % this.fronts.length) + 1 : this.fronts.indexOf(this.chosen) + 1;
    return this.fronts.length > 1 ? ` to front ${number}` : "";
  };

  /** An attempt has failed, or a connection has: the next one is the next front's, unless that was the first failure in a row. */
  failed(): void {
    if (!this.wasOnline) this.at += 1;
    this.wasOnline = false;
  }

  succeeded(): void {
    this.wasOnline = true;
  }
}

/** Shows the switch and the fronts. */
export function startLine(stoa: Stoa, line: Line): void {
  const cut = byId<HTMLButtonElement>("cut");
  const label = cut.querySelector("span") as HTMLElement;
  const picker = byId<HTMLSelectElement>("front");

  cut.addEventListener("click", () => {
    line.isCut = !line.isCut;
    cut.setAttribute("aria-checked", String(line.isCut));
    label.textContent = line.isCut ? "Mend the line" : "Cut the line";
    if (line.isCut) stoa.close();
    else stoa.open();
  });
  picker.addEventListener("change", () => {
    line.chosen = picker.value;
    if (line.isCut) return;
    stoa.close();
    stoa.open();
  });
  stoa.on("state", ({ state }) => {
    if (state === "offline") line.failed();
    if (state === "online") line.succeeded();
  });
  void otherFronts().then((fronts) => {
    line.learn(fronts);
    if (line.fronts.length < 2) return;
    picker.append(option(ANY, "Any front"), ...line.fronts.map((front, i) => option(front, `Front ${i + 1}`)));
    for (const it of picker.options) if (it.value !== ANY) it.title = it.value;
    byId("fronts").hidden = false;
    line.named();
  });
}

/** What `fronts.json` beside the page names, if there is one. */
async function otherFronts(): Promise<string[]> {
  try {
    const answer = await fetch("./fronts.json");
    const list: unknown = answer.ok ? await answer.json() : [];
    return Array.isArray(list) ? list.filter((it) => typeof it === "string").map((it) => new URL("./", it).href) : [];
  } catch {
    return [];
  }
}

function option(value: string, text: string): HTMLOptionElement {
  const it = make("option", "", text);
  it.value = value;
  return it;
}
