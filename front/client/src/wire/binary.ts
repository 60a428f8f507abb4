/** Messages with bytes in them: the length of the frame (32 bits, big endian), the frame, and the payload behind it. */
import { StoaError } from "../errors.js";
import { parseFrames } from "./events.js";
import type { ServerFrame } from "./types.js";

/** A front closes a connection that sends more at once: what follows could not be read safely. */
const FRAME_BYTES_MAX = 1_048_576;
/** What stands before the frame. */
const LENGTH_BYTES = 4;

/**
 * A frame with its payload, as one message.
 *
 * @throws StoaError `TOO_LARGE`
 */
export function binaryFrame(frame: object, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new TextEncoder().encode(JSON.stringify(frame));
  const message = new Uint8Array(LENGTH_BYTES + head.length + payload.length);
  if (message.length > FRAME_BYTES_MAX) throw new StoaError("TOO_LARGE", `${message.length} bytes, at most ${FRAME_BYTES_MAX} are allowed`);
  new DataView(message.buffer).setUint32(0, head.length);
  message.set(head, LENGTH_BYTES);
  message.set(payload, LENGTH_BYTES + head.length);
  return message;
}

/** Reads a message with bytes in it. What is malformed is given to `skipped` and left out. */
export function parseBinary(message: ArrayBuffer, skipped: (why: string) => void): ServerFrame[] {
  const end = message.byteLength < LENGTH_BYTES ? Infinity : LENGTH_BYTES + new DataView(message).getUint32(0);
  if (end > message.byteLength) {
    skipped("a binary message is shorter than its frame");
    return [];
  }
  const frames = parseFrames(new TextDecoder().decode(message.slice(LENGTH_BYTES, end)), skipped);
  // A copy: applications look at its buffer from the beginning.
  for (const frame of frames) if (frame.kind === "event" && frame.event.event === "room.emitted") frame.event.payload = new Uint8Array(message.slice(end));
  return frames;
}
