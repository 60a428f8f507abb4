import { colorOf, type Stoa } from "stoa";
import type { DemoRoom } from "./demo-room.js";
import { avatar, byId, make } from "./dom.js";

/** People shown by name; of more only the number. */
export const SHOWN_MAX = 24;

/** Names and colours by user. People who have gone keep theirs. */
export interface Names {
  /** The name to show for a user. */
  of(user: string, fallback?: string): string;
  /** Their colour: the same for everybody. */
  color(user: string): string;
}

/** Somebody in the list of who is here. */
export function chip(name: string, color: string, status: string, connections: number): HTMLLIElement {
  const item = make("li", "person");
  const windows = connections > 1 ? `, in ${connections} windows` : "";
  item.title = `${name}${status === "online" ? "" : `, ${status}`}${windows}`;
  const disc = avatar(name, color);
  disc.append(make("span", "status"));
  item.dataset["status"] = status;
  item.append(disc, make("bdi", "", name));
  if (status !== "online") item.append(make("span", "unseen", `, ${status}`));
  return item;
}

/** Oneself in that list: the button asks for another name. */
export function ownChip(name: string, color: string, status: string, connections: number, rename: () => void): HTMLLIElement {
  const item = chip(name, color, status, connections);
  const change = make("button", "you", "you");
  change.type = "button";
  change.title = "Change your name";
  change.ariaLabel = "You: change your name";
  change.addEventListener("click", rename);
  item.append(change);
  return item;
}

/**
 * Shows who is here and what they are doing, and remembers what they are called.
 *
 * @param guest the own name
 * @param rename called when this visitor wants another name
 */
export function startPeople(stoa: Stoa, room: DemoRoom, guest: string, rename: () => void): Names {
  const { presence } = room;
  const names = new Map<string, string>();
  const list = byId("people");

  const myChip = () => {
    const { me, status } = presence;
    // Who is invisible is in nobody's list, and sees themselves all the same.
    return ownChip(guest, colorOf(stoa.user ?? ""), me?.status ?? status, me?.connections ?? 1, rename);
  };

  const show = () => {
    const { members, others, count, me } = presence;
    for (const { user, data } of members) if (typeof data.name === "string" && data.name.trim() !== "") names.set(user, data.name);
    byId("count").textContent = count > 0 ? `· ${count}` : "";
    // Oneself first: that is how one sees what the others see.
    const items = stoa.user === undefined ? [] : [myChip()];
    for (const { user, color, status, connections } of others.slice(0, SHOWN_MAX - 1)) items.push(chip(names.get(user) ?? user, color, status, connections));
    const more = count - (me === undefined ? 0 : 1) - (items.length - 1);
    if (more > 0) items.push(make("li", "more", `and ${more} more`));
    list.replaceChildren(...items);
  };
  presence.on("change", show);
  show();

  const picker = byId<HTMLSelectElement>("status");
  picker.value = presence.status;
  picker.addEventListener("change", () => {
    presence.setStatus(picker.value);
    show();
  });
  return {
    of: (user, fallback) => names.get(user) ?? fallback ?? user,
    color: (user) => presence.member(user)?.color ?? colorOf(user),
  };
}
