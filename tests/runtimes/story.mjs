// Two people in one room, written with what all runtimes have. The words are: where the front is.
import { connect } from "../../front/client/dist/index.js";

const [, , ...words] = globalThis.process?.argv ?? [];
const front = globalThis.Deno?.args[0] ?? words[0];
const runtime = globalThis.Deno ? `Deno ${Deno.version.deno}` : globalThis.Bun ? `Bun ${Bun.version}` : `Node ${process.version}`;

/** How long anything may take here, in milliseconds. */
const WAIT_MS = 20_000;
async function until(what, holds) {
  for (const end = Date.now() + WAIT_MS; !holds(); ) {
    if (Date.now() > end) throw new Error(`${runtime} waited in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const token = (name) => async () => {
  const answer = await fetch(`${front}/guest/token`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ name }) });
  return (await answer.json()).token;
};
const url = `${front.replace("http", "ws")}/ws`;
// Node has a WebSocket of its own from 22 on.
const socket = globalThis.WebSocket === undefined ? { WebSocket: (await import("ws")).WebSocket } : {};
const room = `runtime-${Math.random().toString(36).slice(2)}`;

async function story(transport, options) {
  const [ada, bo] = ["Ada", "Bo"].map((name) => connect({ url, token: token(name), ...options }));
  const [hers, his] = [ada, bo].map((client) => client.room(`${room}-${transport}`, { presence: {} }));
  await until("both are here", () => [hers, his].every(({ presence }) => presence.members.length === 2));
  await hers.messages.post({ text: `from ${runtime}` });
  await until("a message", () => his.messages.list.some(({ body }) => body.text === `from ${runtime}`));
  const [one, two] = [hers, his].map((joined) => joined.doc("notes", { create: "" }));
  await Promise.all([one.opened, two.opened]);
  one.edit(["left "]);
  two.edit(["right "]);
  await until("one text", () => one.text === two.text && one.text.length === "left right ".length);
  ada.close();
  bo.close();
}

await story("socket", socket);
// A network that lets no WebSocket through.
class Blocked {
  constructor() {
    setTimeout(() => this.onclose({ code: 1006, reason: "" }));
  }
  close() {}
}
await story("sse", { WebSocket: Blocked });
console.log(`${runtime}: the story holds over a WebSocket and over plain HTTP`);
