import type { Room, Stoa } from "stoa";
import { avatar, byId, make } from "./dom.js";

/** People shown by name; of more only the number. */
const SHOWN_MAX = 24;

/** Names by user. People who have gone keep theirs. */
export interface Names {
  /** The name to show for a user. */
  of(user: string, fallback?: string): string;
}

/**
 * Shows who is here, and remembers what they are called.
 *
 * @param rename called when this visitor wants another name
 */
export function startPeople(stoa: Stoa, room: Room, rename: () => void): Names {
  const names = new Map<string, string>();
  const list = byId("people");

  const show = () => {
    const { members, count } = room.presence;
    for (const { user, data } of members) {
      const { name } = data;
      if (typeof name === "string" && name.trim() !== "") names.set(user, name);
    }
    byId("count").textContent = count > 0 ? `· ${count}` : "";
    // Oneself first: that is how one sees what the others see.
    const mine = members.filter(({ user }) => user === stoa.user);
    const others = members.filter(({ user }) => user !== stoa.user);
    const items = [...mine, ...others].slice(0, SHOWN_MAX).map(({ user, connections }) => {
      const item = make("li", "person");
      const name = names.get(user) ?? user;
      item.title = connections > 1 ? `${name}, in ${connections} windows` : name;
      item.append(avatar(user, name), make("bdi", "", name));
      if (user === stoa.user) {
        const change = make("button", "you", "you");
        change.type = "button";
        change.title = "Change your name";
        change.ariaLabel = "You: change your name";
        change.addEventListener("click", rename);
        item.append(change);
      }
      return item;
    });
    if (count > items.length) items.push(make("li", "more", `and ${count - items.length} more`));
    list.replaceChildren(...items);
  };
  room.presence.on("change", show);
  show();
  return { of: (user, fallback) => names.get(user) ?? fallback ?? user };
}
