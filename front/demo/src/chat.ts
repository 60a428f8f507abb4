/** The chat: the messages, who has read them, who types, and the line to write in. */
import type { Stoa } from "stoa";
import { startComposer } from "./composer.js";
import type { DemoRoom } from "./demo-room.js";
import { byId } from "./dom.js";
import { MessageList, readersByKey } from "./message-list.js";
import type { Names } from "./people.js";

export function startChat(stoa: Stoa, room: DemoRoom, names: Names, guest: string): void {
  const { messages, presence } = room;
  const newest = byId("newest");
  const older = byId("older");
  const title = document.title;
  let missed = 0;

  const list = new MessageList((target) => act(target), () => byId("chat-input").focus());
  const isSeen = () => !document.hidden && byId("chat").offsetParent !== null;
  const atEnd = () => messages.atEnd && list.atEnd;
  const toEnd = () => {
    list.toEnd();
    newest.hidden = messages.atEnd;
  };
  const composer = startComposer(
    {
      me: () => stoa.user,
      list: () => messages.list,
      mayTalk: () => room.role === undefined || room.can("talk"),
      typists: () => presence.typists,
      typing: () => presence.typing(),
      stopTyping: () => presence.stopTyping(),
      // The log knows users, not names: so a message brings the name under which it was written.
      edit: (n, text) => messages.edit(n, { text, name: guest }),
      post: (text, reply) => {
        const latest = messages.atEnd ? Promise.resolve() : messages.latest().catch(() => undefined);
        void latest.then(toEnd);
        return messages.post({ text, name: guest }, reply === undefined ? {} : { reply });
      },
    },
    names,
    guest,
    toEnd,
  );

  const draw = () => {
    const follow = atEnd();
    const readers = readersByKey(messages.list, messages.readBy, stoa.user);
    const mayTalk = room.can("talk");
    const hold = list.draw(messages.list, (message, byNumber) => ({
      names,
      me: stoa.user,
      guest,
      answered: message.reply === undefined ? undefined : byNumber.get(message.reply),
      readers: readers.get(message.key) ?? [],
      mayTalk,
    }));
    byId("empty").hidden = messages.list.length > 0 || room.state !== "joined";
    older.hidden = !messages.more;
    if (!messages.atEnd) newest.hidden = false;
    if (follow) toEnd();
    else hold();
    read();
  };

  /** What is on the screen is read. */
  const read = () => {
    if (isSeen()) missed = 0;
    if (isSeen() && atEnd()) messages.read();
    byId("unread").hidden = missed === 0;
    byId("unread").textContent = String(missed);
    document.title = missed > 0 ? `(${missed}) ${title}` : title;
  };

  const jump = async (n: number) => {
    if (!messages.list.some((message) => message.n === n)) await messages.around(n).catch(() => undefined);
    const key = messages.list.find((message) => message.n === n)?.key;
    list.show(key);
  };

  const act = (target: HTMLElement) => {
    const message = messages.list.find(({ key }) => key === list.keyOf(target));
    const { do: does, reaction = "", n: number } = target.dataset;
    if (does === "jump") return void jump(Number(number));
    if (message === undefined) return;
    if (does === "discard") return messages.discard(message);
    const { n } = message;
    if (n === undefined) return;
    // A refusal stays with its message, which says why.
    const quietly = (done: Promise<unknown>) => void done.catch(() => undefined);
    if (does === "react") quietly(messages.react(n, reaction));
    else if (does === "unreact") quietly(messages.unreact(n, reaction));
    else if (does === "delete") quietly(messages.delete(n));
    else if (does === "reply") composer.reply(message);
    else if (does === "edit") composer.edit(message);
  };

  messages.on("change", draw);
  messages.on("message", () => {
    if (!atEnd()) newest.hidden = false;
    if (!isSeen()) missed += 1;
    read();
  });
  presence.on("change", () => {
    composer.draw();
    draw();
  });
  room.onState(draw);
  room.onAccess(() => {
    composer.draw();
    draw();
  });
  document.addEventListener("visibilitychange", read);
  byId("room-view").addEventListener("view", () => {
    if (messages.atEnd) toEnd();
    read();
  });
  newest.addEventListener("click", () => {
    if (messages.atEnd) return toEnd();
    void messages.latest().then(toEnd, () => undefined);
  });
  list.scroll.addEventListener("scroll", () => {
    if (atEnd()) newest.hidden = true;
    read();
  });
  older.addEventListener("click", () => void messages.older().catch(() => undefined));
  draw();
}
