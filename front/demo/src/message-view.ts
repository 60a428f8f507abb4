import type { Message } from "stoa";
import { avatar, icon, make } from "./dom.js";
import type { Names } from "./people.js";

/** What one may react with at once. */
export const REACTIONS = ["👍", "❤️", "😂", "🎉", "👀"] as const;
/** People whose reading is shown by name; of more only the number. */
const READERS_SHOWN = 4;
/** Of a message that is answered so much is shown, in UTF-16 units. */
const QUOTE_UNITS = 90;

/** What is shown of a message, beside what it says. */
export interface View {
  names: Names;
  /** The own id and name. */
  me: string | undefined;
  guest: string;
  /** It stands under the name of the one before. */
  follows: boolean;
  /** The message that it answers, if that is here. */
  answered: Message | undefined;
  /** Who has read up to here and no further. */
  readers: readonly string[];
  /** Whether this visitor may write here. */
  mayTalk: boolean;
}

/** The name under which a message stands. */
export const nameOf = (message: Message, { names, me, guest }: Pick<View, "names" | "me" | "guest">): string =>
  message.user === me ? guest : names.of(message.user, nameInBody(message));

/** All that decides how a message looks: while it is the same, its element stays. */
export function looks(message: Message, view: View): string {
  const { names, follows, answered, readers, mayTalk } = view;
  return JSON.stringify([
    follows, mayTalk, nameOf(message, view), message.state, message.at_ms, message.edited_at_ms, textOf(message), message.reactions, message.reply,
    answered && [nameOf(answered, view), textOf(answered)], readers.map((user) => names.of(user)), message.n,
  ]);
}

/** The element of a message. What can be done with it is a `data-do` on its buttons. */
export function messageElement(message: Message, view: View): HTMLElement {
  const { names, follows } = view;
  const name = nameOf(message, view);
  const own = message.user === view.me;
  const item = make("li", ["message", message.state, follows && "follows", own && "own"].filter(Boolean).join(" "));
  item.dataset["key"] = message.key;
  item.tabIndex = -1;
  const time = make("time", follows ? "unseen" : "", new Intl.DateTimeFormat(undefined, { timeStyle: "short" }).format(message.at_ms));
  time.dateTime = new Date(message.at_ms).toISOString();
  const by = make("p", follows ? "by unseen" : "by");
  by.append(make("bdi", "", name), time);
  if (!follows) item.append(avatar(name, names.color(message.user)));
  item.append(by);
  if (message.reply !== undefined) item.append(quote(message.reply, view));
  const text = make("p", message.body === null ? "text gone" : "text", textOf(message));
  if (message.edited_at_ms !== undefined && message.body !== null) text.append(" ", make("span", "edited", "edited"));
  item.append(text);
  if (message.state === "failed") {
    const why = make("p", "why", `Not sent: ${message.error?.message ?? "refused"} `);
    why.append(button("discard", "Dismiss", "Dismiss"));
    item.append(why);
  }
  const reactions = Object.entries(message.reactions ?? {});
  if (reactions.length > 0) item.append(reactionList(reactions, view));
  if (view.mayTalk && message.n !== undefined && message.body !== null) item.append(actions(own, name));
  if (view.readers.length > 0) item.append(readers(view));
  return item;
}

function quote(reply: number, view: View): HTMLElement {
  const { answered } = view;
  const line = make("button", "quote");
  line.type = "button";
  line.dataset["do"] = "jump";
  line.dataset["n"] = String(reply);
  line.tabIndex = -1;
  if (answered === undefined) {
    line.textContent = "An earlier message";
    return line;
  }
  line.style.setProperty("--person", view.names.color(answered.user));
  line.append(make("span", "unseen", "In answer to "), make("bdi", "", nameOf(answered, view)), " ", make("span", "", textOf(answered).slice(0, QUOTE_UNITS)));
  return line;
}

function reactionList(reactions: readonly (readonly [string, { count: number; users: readonly string[] }])[], view: View): HTMLElement {
  const list = make("ul", "reactions");
  for (const [reaction, { count, users }] of reactions) {
    const mine = users.includes(view.me ?? "");
    const who = users.map((user) => (user === view.me ? "you" : view.names.of(user))).join(", ");
    const chip = button(mine ? "unreact" : "react", `${reaction}, ${count}: ${who}`);
    chip.title = who;
    chip.dataset["reaction"] = reaction;
    chip.setAttribute("aria-pressed", String(mine));
    chip.disabled = !view.mayTalk;
    chip.append(make("span", "emoji", reaction), String(count));
    const item = make("li");
    item.append(chip);
    list.append(item);
  }
  return list;
}

function actions(own: boolean, name: string): HTMLElement {
  const group = make("div", "actions");
  group.role = "group";
  group.ariaLabel = own ? "Your message" : `Message of ${name}`;
  for (const reaction of REACTIONS) {
    const it = button("react", `React with ${reaction}`);
    it.dataset["reaction"] = reaction;
    it.append(make("span", "emoji", reaction));
    group.append(it);
  }
  group.append(button("reply", "Reply", icon("reply")));
  if (own) group.append(button("edit", "Edit", icon("edit")), button("delete", "Delete", icon("delete")));
  return group;
}

function readers({ readers: users, names }: View): HTMLElement {
  const all = users.map((user) => names.of(user));
  const row = make("p", "readers");
  row.title = `Read by ${all.join(", ")}`;
  row.append(make("span", "unseen", row.title));
  for (const [i, user] of users.slice(0, READERS_SHOWN).entries()) row.append(avatar(all[i] as string, names.color(user)));
  if (users.length > READERS_SHOWN) row.append(make("span", "", `+${users.length - READERS_SHOWN}`));
  return row;
}

function button(does: string, label: string, content?: Node | string): HTMLButtonElement {
  const it = make("button");
  it.type = "button";
  it.dataset["do"] = does;
  it.ariaLabel = label;
  it.title = label;
  // Reached by the arrows from the message: a tab for each of them would be a long way to the line to write in.
  it.tabIndex = -1;
  if (content !== undefined) it.append(content);
  return it;
}

/** What a message says, as text. */
export function textOf({ body }: Message): string {
  if (body === null) return "This message was deleted.";
  if (typeof body === "string") return body;
  return typeof body["text"] === "string" ? body["text"] : JSON.stringify(body);
}

function nameInBody({ body }: Message): string | undefined {
  const name = body === null || typeof body === "string" ? undefined : body["name"];
  return typeof name === "string" && name.trim() !== "" ? name.slice(0, 60) : undefined;
}
