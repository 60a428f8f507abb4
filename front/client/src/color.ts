/** Every 30 degrees of hue, the lightness in per mille at which text can be read on white and on black; between them it goes straight. */
const LIGHTNESS = [542, 412, 307, 329, 342, 338, 329, 474, 621, 581, 487, 522];
const SATURATION = 550;

/**
 * The colour of a user, as `#3d7ab8`: what `member.color` says, also of people who are not here. It follows from the id alone,
 * and text in it has a contrast of at least 4.2 to 1 on white and on black.
 *
 * The hue is FNV-1a 32 of the id, through the finalizer of MurmurHash3; the rest is HSL as CSS has it, in whole per mille. The
 * server computes the same.
 */
export function colorOf(user: string): string {
  const hue = hueOf(user);
  const at = Math.trunc(hue / 30);
  const part = hue % 30;
  const lightness = Math.trunc(((LIGHTNESS[at] as number) * (30 - part) + (LIGHTNESS[(at + 1) % 12] as number) * part) / 30);
  const chroma = Math.trunc(((1_000 - Math.abs(2 * lightness - 1_000)) * SATURATION) / 1_000);
  const second = Math.trunc((chroma * (60 - Math.abs((hue % 120) - 60))) / 60);
  const base = lightness - Math.trunc(chroma / 2);
  const sixths = [[chroma, second, 0], [second, chroma, 0], [0, chroma, second], [0, second, chroma], [second, 0, chroma], [chroma, 0, second]];
  const rgb = sixths[Math.trunc(hue / 60)] as number[];
  return `#${rgb.map((it) => Math.trunc(((it + base) * 255) / 1_000).toString(16).padStart(2, "0")).join("")}`;
}

/** From 0 to 359 degrees. */
function hueOf(user: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(user)) hash = Math.imul(hash ^ byte, 0x01000193);
  // Ids often differ in their last letter alone: that shall count as much as the first.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) % 360;
}
