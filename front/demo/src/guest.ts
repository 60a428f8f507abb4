/**
 * Who this visitor is: a name, remembered by the browser, and a guest token of the front, kept as long as this tab lives,
 * so that a reload is the same guest and a second window is another one.
 */
import { StoaError, type TokenReason } from "stoa";

const NAME = "stoa.name";
const TOKEN = "stoa.token";

/** The name of last time, or an empty string. */
export const rememberedName = (): string => stored(localStorage, NAME) ?? "";

/** Whether this tab has been inside already. */
export const wasHere = (): boolean => stored(sessionStorage, TOKEN) !== null && rememberedName() !== "";

/** The next token is one of a new guest. */
export function forgetGuest(): void {
  store(sessionStorage, TOKEN, null);
}

/** This tab's token; a new one from the front if there is none or it has ended. */
export async function guestToken(name: string, why: TokenReason): Promise<string> {
  store(localStorage, NAME, name);
  const known = stored(sessionStorage, TOKEN);
  // Only a new guest gets a new token: who is here already keeps theirs until it has ended.
  if (known !== null && why !== "expired") return known;
  let answer: Response;
  try {
    answer = await fetch("./guest/token", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name }),
    });
  } catch {
    throw new StoaError("UNAVAILABLE", "The server cannot be reached. Try again in a moment.", { retry: true });
  }
  if (answer.status === 404) throw new StoaError("NOT_FOUND", "This server does not let guests in.");
  if (!answer.ok) throw new StoaError("UNAVAILABLE", `The server let nobody in just now (${answer.status}). Try again in a moment.`, { retry: true });
  const { token } = (await answer.json()) as { token: string };
  store(sessionStorage, TOKEN, token);
  return token;
}

// A browser may forbid storage altogether; then nothing is remembered, and all else works.
function stored(storage: Storage, key: string): string | null {
  try {
    return storage.getItem(key);
  } catch {
    return null;
  }
}
function store(storage: Storage, key: string, value: string | null): void {
  try {
    if (value === null) storage.removeItem(key);
    else storage.setItem(key, value);
  } catch {
    // See above.
  }
}
