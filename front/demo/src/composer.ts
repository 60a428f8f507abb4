/** The line to write in: new messages, answers, and own ones written anew. */
import type { Message, Stoa } from "stoa";
import type { DemoRoom } from "./demo-room.js";
import { byId, icon, make } from "./dom.js";
import { nameOf, textOf } from "./message-view.js";
import type { Names } from "./people.js";

/** What the next message is. */
export interface Composer {
  /** Answers this message. */
  reply(message: Message): void;
  /** Writes this message anew. */
  edit(message: Message): void;
}

/** @param sent called when something was written: it stands at the end */
export function startComposer(stoa: Stoa, room: DemoRoom, names: Names, guest: string, sent: () => void): Composer {
  const { messages, presence } = room;
  const input = byId<HTMLTextAreaElement>("chat-input");
  const form = byId<HTMLFormElement>("chat-form");
  const bar = byId("composing");
  let about: { does: "reply" | "edit"; message: Message } | undefined;
  let failure = "";

  const drawTyping = () => {
    byId("typing").textContent = failure !== "" ? failure : typingText(presence.typists.map((user) => names.of(user)));
  };
  const begin = (does: "reply" | "edit", message: Message) => {
    about = { does, message };
    if (does === "edit") input.value = textOf(message);
    const name = make("bdi", "", message.user === stoa.user ? "yourself" : nameOf(message, { names, me: stoa.user, guest }));
    const what = make("span", "what", does === "edit" ? "Edit your message" : "Reply to ");
    if (does === "reply") what.append(name);
    const cancel = make("button");
    cancel.type = "button";
    cancel.ariaLabel = "Cancel";
    cancel.title = "Cancel (Esc)";
    cancel.append(icon("close"));
    cancel.addEventListener("click", end);
    bar.replaceChildren(icon(does), what, make("span", "unseen", ": "), make("span", "of", textOf(message).slice(0, 120)), cancel);
    bar.hidden = false;
    input.focus();
    input.setSelectionRange(input.value.length, input.value.length);
  };
  const end = () => {
    if (about?.does === "edit") input.value = "";
    about = undefined;
    bar.hidden = true;
    input.focus();
  };
  /** Who may not talk here reads along: the line to write in says so. */
  const lock = () => {
    const isMute = room.role !== undefined && !room.can("talk");
    if (isMute) presence.stopTyping();
    input.disabled = isMute;
    input.placeholder = isMute ? "You can read here, not write" : "Write a message";
    form.querySelector("button[type=submit]")?.toggleAttribute("disabled", isMute);
  };
  const failed = (text: string) => (error: unknown) => {
    if (!(error instanceof Error) || messages.list.some((message) => message.state === "failed")) return;
    // It is not in the list: too many wait already.
    failure = "Too many messages are waiting for the connection.";
    input.value = input.value === "" ? text : input.value;
    drawTyping();
  };

  room.onAccess(lock);
  presence.on("change", drawTyping);
  input.addEventListener("input", () => {
    failure = "";
    drawTyping();
    if (input.value.trim() === "") presence.stopTyping();
    else presence.typing();
  });
  input.addEventListener("keydown", (event) => {
    // While an input method composes, its keys belong to it.
    if (event.isComposing) return;
    if (event.key === "Escape" && about !== undefined) end();
    else if (event.key === "ArrowUp" && input.value === "") {
      const last = messages.list.findLast(({ user, n, body }) => user === stoa.user && n !== undefined && body !== null);
      if (last === undefined) return;
      begin("edit", last);
    } else if (event.key === "Enter" && !event.shiftKey) form.requestSubmit();
    else return;
    event.preventDefault();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (text === "") return;
    const { does, message } = about ?? {};
    // The log knows users, not names: so a message brings the name under which it was written.
    const body = { text, name: guest };
    if (does === "edit" && message?.n !== undefined) {
      if (text !== textOf(message)) messages.edit(message.n, body).catch(() => undefined);
    } else {
      const reply = message?.n === undefined ? {} : { reply: message.n };
      const latest = messages.atEnd ? Promise.resolve() : messages.latest().catch(() => undefined);
      messages.post(body, reply).catch(failed(text));
      void latest.then(sent);
    }
    presence.stopTyping();
    end();
    input.value = "";
    if (does !== "edit") sent();
  });
  lock();
  return { reply: (message) => begin("reply", message), edit: (message) => begin("edit", message) };
}

function typingText(names: readonly string[]): string {
  const [first, second] = names;
  if (first === undefined) return "";
  if (second === undefined) return `${first} is typing…`;
  if (names.length === 2) return `${first} and ${second} are typing…`;
  return `${names.length} people are typing…`;
}
