import type { Code } from "./frames.js";

/** The codes that a front answers with; each is explained in the protocol's table of error codes. */
export type FrontErrorCode = Code;

/** The codes that this client adds. */
export type ClientErrorCode =
  /** There is no connection now, and what was asked for is not kept for later. */
  | "OFFLINE"
  /** No answer came in time. A write may have happened: it stays queued, and is sent again with its identity. */
  | "TIMEOUT"
  /** Too many writes wait for the connection already. */
  | "QUEUE_FULL"
  /** The connection, room, document or stream was closed by this program. */
  | "CLOSED"
  /** The storage that was given failed: what is not acknowledged would not survive a reload now. */
  | "STORAGE"
  /** The document's text has not arrived yet (or the document is missing): it cannot be edited. */
  | "NOT_OPEN";

/** What went wrong, for machines. A front newer than this client may send codes that are not listed here. */
export type ErrorCode = FrontErrorCode | ClientErrorCode | (string & {});

/** Client codes after which the same call may succeed later. */
const RETRY: ReadonlySet<string> = new Set(["OFFLINE", "TIMEOUT", "QUEUE_FULL", "NOT_OPEN"]);

/** The only kind of error that this library throws, rejects or reports. */
export class StoaError extends Error {
  override readonly name = "StoaError";
  /** What went wrong; never parse `message` instead. */
  readonly code: ErrorCode;
  /** Whether the same call may succeed later. */
  readonly retry: boolean;
  /** How long to wait before that, in milliseconds, when the front knows. */
  readonly retryAfterMs: number | undefined;

  /** `retry` is, unless given, what the code of this client says; codes of a front come with their own. */
  constructor(code: ErrorCode, message: string, more: { retry?: boolean; retryAfterMs?: number | undefined } = {}) {
    super(message);
    this.code = code;
    this.retry = more.retry ?? RETRY.has(code);
    this.retryAfterMs = more.retryAfterMs;
  }
}
