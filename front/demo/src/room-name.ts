/** What the protocol allows in the name of a room. */
const ALLOWED = /^[A-Za-z0-9_.:@/~+=-]{1,200}$/;

/** The room of a page: `/?room=lobby`, `/#lobby`, else the lobby. */
export function roomName(address: { search: string; hash: string }): string {
  const wanted = new URLSearchParams(address.search).get("room") ?? decode(address.hash.slice(1));
  return ALLOWED.test(wanted) ? wanted : "lobby";
}

/** The address to give to others. */
export function roomLink(address: { origin: string; pathname: string }, name: string): string {
  return `${address.origin}${address.pathname}?room=${encodeURIComponent(name)}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
