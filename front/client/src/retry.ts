import type { StoaError } from "./errors.js";

/** The shortest and longest wait before a refused command is sent again. */
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 15_000;

/** Those who share a limit and were told the same come back spread over so much more for each refusal in a row. */
const SPREAD_MS = 100;

/** How long to wait before a command is sent again: what the front says, else longer with each failure in a row. */
export function retryDelayMs(failures: number, error?: StoaError): number {
  if (error?.code === "RATE_LIMITED" && error.retryAfterMs !== undefined)
    return error.retryAfterMs + Math.random() * Math.min(RETRY_MAX_MS, SPREAD_MS * failures);
  // Between half and all of it: those who were refused together do not come back together.
  const spread = 0.5 + Math.random() / 2;
  return Math.max(Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** failures) * spread, error?.retryAfterMs ?? 0);
}
