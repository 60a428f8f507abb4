/** What a failover took from a list of messages. Loaded when that happens. */
import type { Message } from "./frames.js";
import type { Entry } from "./outbox.js";
import { keyOf } from "./shown.js";

/** Those that `now` has no more, from number `oldest` on: what this client posted, as it was, and what is gone. */
export function lostOf(before: readonly Message[], now: readonly Message[], oldest: number, mine: string): { again: Entry[]; gone: Message[] } {
  const [again, gone]: [Entry[], Message[]] = [[], []];
  for (const message of before) {
    const { n, client, seq, user, at_ms, body, type, reply, mentions, meta, streaming } = message;
    // A number may have been given again: then it is another message.
    if (n < oldest || now.some((other) => other.n === n && keyOf(other) === keyOf(message) && other.at_ms === at_ms)) continue;
    if (client === mine && seq !== undefined && body !== null && streaming !== true)
      again.push({ client, seq, user, at_ms, write: { do: "msg.post", body, type, reply, mentions, meta } });
    else gone.push(message);
  }
  return { again, gone };
}
