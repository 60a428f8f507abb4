/** What a failover took from a list of messages. Loaded when that happens. */
import type { Emitter } from "./emitter.js";
import type { Message as WireMessage } from "./frames.js";
import type { MessagesEvents } from "./messages.js";
import type { Entry, Outbox } from "./outbox.js";
import { keyOf, sent } from "./shown.js";

/**
 * What this client posted is posted again, as it was; of the rest it is told that it is gone.
 *
 * @param more whether there are messages before those of `now`: what was lost of these is not known
 */
export function lose(
  before: readonly WireMessage[],
  now: readonly WireMessage[],
  more: boolean,
  outbox: Pick<Outbox, "again">,
  events: Pick<Emitter<MessagesEvents>, "emit">,
  mine: string,
): void {
  const [again, gone]: [Entry[], WireMessage[]] = [[], []];
  const oldest = more ? (now[0]?.n ?? Infinity) : 0;
  for (const message of before) {
    const { n, client, seq, user, at_ms, body, type, reply, mentions, meta, streaming } = message;
    // A number may have been given again: then it is another message.
    if (n < oldest || now.some((other) => other.n === n && keyOf(other) === keyOf(message) && other.at_ms === at_ms)) continue;
    if (client === mine && seq !== undefined && body !== null && streaming !== true)
      again.push({ client, seq, user, at_ms, write: { do: "msg.post", body, type, reply, mentions, meta } });
    else gone.push(message);
  }
  outbox.again(again);
  if (gone.length > 0) events.emit("lost", gone.map(sent));
}
