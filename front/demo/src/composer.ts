/** The line to write in: new messages, answers, and own ones written anew. */
import type { Message } from "stoa";
import { byId, icon, make } from "./dom.js";
import { nameOf, textOf } from "./message-view.js";
import type { Names } from "./people.js";

/** What the line to write in needs of a room. */
export interface Talk {
  /** The own id. */
  me(): string | undefined;
  /** The messages that are here, oldest first. */
  list(): readonly Message[];
  /** Whether this visitor may write here, as far as that is known. */
  mayTalk(): boolean;
  /** Who else types. */
  typists(): readonly string[];
  /** A key was pressed, or what was typed is done. */
  typing(): void;
  stopTyping(): void;
  /** Writes a message, or this one anew. What is refused either stands in the list as failed, or rejects. */
  post(text: string, reply: number | undefined): Promise<unknown>;
  edit(n: number, text: string): Promise<unknown>;
}

/** What the next message is. */
export interface Composer {
  /** Shows who types, and whether this visitor may write. */
  draw(): void;
  /** Answers this message. */
  reply(message: Message): void;
  /** Writes this message anew. */
  edit(message: Message): void;
}

/** @param sent called when something was written: it stands at the end */
export function startComposer(talk: Talk, names: Names, guest: string, sent: () => void): Composer {
  const input = byId<HTMLTextAreaElement>("chat-input");
  const form = byId<HTMLFormElement>("chat-form");
  const bar = byId("composing");
  let about: { does: "reply" | "edit"; message: Message } | undefined;
  let failure = "";

  const drawTyping = () => {
    byId("typing").textContent = failure !== "" ? failure : typingText(talk.typists().map((user) => names.of(user)));
  };
  const begin = (does: "reply" | "edit", message: Message) => {
    about = { does, message };
    if (does === "edit") input.value = textOf(message);
    const name = make("bdi", "", message.user === talk.me() ? "yourself" : nameOf(message, { names, me: talk.me(), guest }));
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
    const isMute = !talk.mayTalk();
    if (isMute) talk.stopTyping();
    input.disabled = isMute;
    input.placeholder = isMute ? "You can read here, not write" : "Write a message";
    form.querySelector("button[type=submit]")?.toggleAttribute("disabled", isMute);
  };
  const failed = (text: string) => (error: unknown) => {
    if (!(error instanceof Error) || talk.list().some((message) => message.state === "failed")) return;
    // It is not in the list: too many wait already.
    failure = "Too many messages are waiting for the connection.";
    input.value = input.value === "" ? text : input.value;
    drawTyping();
  };

  input.addEventListener("input", () => {
    failure = "";
    drawTyping();
    if (input.value.trim() === "") talk.stopTyping();
    else talk.typing();
  });
  input.addEventListener("keydown", (event) => {
    // While an input method composes, its keys belong to it.
    if (event.isComposing) return;
    if (event.key === "Escape" && about !== undefined) end();
    else if (event.key === "ArrowUp" && input.value === "") {
      const last = talk.list().findLast(({ user, n, body }) => user === talk.me() && n !== undefined && body !== null);
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
    if (does === "edit" && message?.n !== undefined) {
      if (text !== textOf(message)) talk.edit(message.n, text).catch(() => undefined);
    } else talk.post(text, message?.n).catch(failed(text));
    talk.stopTyping();
    end();
    input.value = "";
    if (does !== "edit") sent();
  });
  const draw = () => {
    lock();
    drawTyping();
  };
  draw();
  return { draw, reply: (message) => begin("reply", message), edit: (message) => begin("edit", message) };
}

function typingText(names: readonly string[]): string {
  const [first, second] = names;
  if (first === undefined) return "";
  if (second === undefined) return `${first} is typing…`;
  if (names.length === 2) return `${first} and ${second} are typing…`;
  return `${names.length} people are typing…`;
}
