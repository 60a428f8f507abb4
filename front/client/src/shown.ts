/** What is shown of a log: its messages, and over them what this client wrote and the front has not accepted yet. */
import type { StoaError } from "./errors.js";
import type { Message as WireMessage } from "./frames.js";
import type { MessageStream } from "./message-stream.js";
import type { Entry, Waiting } from "./outbox.js";
import { reacted, type Window } from "./window.js";

/** A message as it is shown. */
export interface Message extends Omit<WireMessage, "n"> {
  /** Stays the same from the moment of posting: use it as the key of a list. */
  readonly key: string;
  /** Its number in the room's log, from 1, growing; `undefined` until the front has accepted it. */
  n: number | undefined;
  /**
   * `pending`: it, or a change of it, is shown already and not accepted yet (perhaps there is no connection). `failed`: it,
   * or the last change of it, was refused for good; a refused change is not shown any more.
   */
  state: "pending" | "sent" | "failed";
  /** Why it is `failed`. */
  error?: StoaError;
}

/** What this client has to add to what the front says. */
export interface Additions {
  /** Writes that are not part of the log yet, oldest first. */
  readonly entries: readonly Waiting[];
  /** Posts that were refused. */
  readonly failed: readonly Message[];
  /** Own streams with text that the front does not have yet, by message. */
  readonly streams: ReadonlyMap<number, MessageStream>;
  /** Why the last change of a message was refused. */
  readonly refusals: ReadonlyMap<number, StoaError>;
  /** The thread that an answer to a message belongs to. */
  threadOf(reply: number | undefined): number | undefined;
}

/** The messages of a window with this client's unaccepted changes, and at the end its unaccepted posts. */
export function compose(window: Window, { entries, failed, streams, refusals, threadOf }: Additions): readonly Message[] {
  const changes = new Map<number, Waiting[]>();
  const posts: Message[] = [];
  for (const entry of entries) {
    const { write, accepted } = entry;
    if (write.do !== "msg.post") changes.set(write.n, [...(changes.get(write.n) ?? []), entry]);
    else if (window.thread === undefined || threadOf(write.reply) === window.thread)
      posts.push({ ...draft(entry), n: accepted?.n, state: accepted === undefined ? "pending" : "sent" });
  }
  const list = window.messages.map((message): Message => {
    let shown = sent(message);
    for (const entry of changes.get(message.n) ?? []) {
      shown = changed(shown, entry);
      if (entry.accepted === undefined) shown.state = "pending";
    }
    const stream = streams.get(message.n);
    if (stream !== undefined && message.streaming === true) shown = { ...shown, body: stream.text, state: "pending" };
    const error = refusals.get(message.n);
    return error === undefined ? shown : { ...shown, state: "failed", error };
  });
  return [...list, ...failed, ...posts];
}

/** A post as it is shown before the front has it. */
export function draft(entry: Entry): Message {
  const { client, seq, at_ms, user, write } = entry;
  if (write.do !== "msg.post") throw new TypeError("not a post");
  const { do: _do, body, type, ...more } = write;
  const given = Object.fromEntries(Object.entries(more).filter(([, value]) => value !== undefined));
  return { key: keyOf(entry), n: undefined, user, type, at_ms, body, ...given, client, seq, state: "pending" };
}

/** A message as the front has it. */
export const sent = (message: WireMessage): Message => ({ ...message, key: keyOf(message), state: "sent" });

/** An own message keeps the key that it had while it was sent; messages without an identity are named by their number. */
export const keyOf = ({ client, seq, n }: { client?: string | undefined; seq?: number | undefined; n?: number | undefined }) =>
  client !== undefined && seq !== undefined ? `${client}:${seq}` : `n:${n}`;

/** What an unaccepted write makes of a message. */
function changed(message: Message, { write, user, at_ms }: Entry): Message {
  switch (write.do) {
    case "msg.edit": {
      const { mentions: _mentions, ...rest } = message;
      const named = write.mentions === undefined || write.mentions.length === 0 ? {} : { mentions: write.mentions };
      return { ...rest, body: write.body, ...named, edited_at_ms: at_ms };
    }
    case "msg.delete": {
      const { meta: _meta, mentions: _mentions, reactions: _reactions, ...rest } = message;
      return { ...rest, body: null, deleted_at_ms: at_ms, deleted_by: user };
    }
    case "msg.react":
    case "msg.unreact":
      return reacted(message, write.reaction, user, write.do === "msg.react");
    default:
      return { ...message };
  }
}
