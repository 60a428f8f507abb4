/** The page: asks for a name, connects, and gives each part of the page its part of the room. */
import { connect, type StateChange, type Stoa } from "stoa";
import { startChat } from "./chat.js";
import { startCopy } from "./copy-link.js";
import type { DemoRoom, Guest, Place } from "./demo-room.js";
import { byId } from "./dom.js";
import { askName } from "./door.js";
import { startEditor } from "./editor.js";
import { forgetGuest, guestToken } from "./guest.js";
import { Line, startLine } from "./line.js";
import { startPeople } from "./people.js";
import { roomName } from "./room-name.js";
import "./style.css";

const name = roomName(location);
byId("room").textContent = name;
document.title = `${name} · Stoa`;
byId<HTMLAnchorElement>("other-client").href = `./socketio.html?room=${encodeURIComponent(name)}`;

// A link to another room in this page's address (`#other`) is another room.
addEventListener("hashchange", () => location.reload());
startCopy(name);
startViews();
askName(name, enterRoom);

function enterRoom(guest: string): void {
  const line = new Line();
  const stoa = connect({ url: (transport) => line.url(transport), token: (why) => guestToken(guest, why) });
  const room = stoa.room<Guest, Place>(name, { presence: { name: guest } });
  startState(stoa, room, line);
  startLine(stoa, line);
  const names = startPeople(stoa, room, guest, () => {
    // Another name is another guest, who comes in by the door.
    forgetGuest();
    stoa.close();
    location.reload();
  });
  startChat(stoa, room, names, guest);
  startEditor(stoa, room, names, line);
}

/** The connection, in one word that says what it means for the person. */
function startState(stoa: Stoa, room: DemoRoom, own: Line): void {
  const line = byId("state");
  const again = byId("again");
  let wasConnected = false;
  let refusedTokens = 0;
  const show = (state: string, text: string) => {
    line.dataset["state"] = state;
    line.textContent = text;
    again.hidden = stoa.state !== "closed" || state === "cut";
  };
  const update = (change: Partial<StateChange>) => {
    if (stoa.state === "online") {
      wasConnected = true;
      refusedTokens = 0;
      show("connected", `Connected${stoa.transport === "sse" ? " without WebSocket" : own.front()}`);
    } else if (change.reason === "CLOSED") show("cut", "Line cut");
    else if (stoa.state === "closed") {
      // A front that was started afresh does not know the old guests: be a new one.
      if (change.reason === "AUTH_INVALID" && refusedTokens++ === 0) {
        forgetGuest();
        location.reload();
        return;
      }
      show("offline", "Disconnected");
    } else if (!navigator.onLine) show("offline", "Offline");
    else if (wasConnected) show("reconnecting", "Reconnecting…");
    else show("connecting", change.state === "offline" ? "Trying again…" : "Connecting…");
  };
  stoa.on("state", update);
  stoa.on("transport", () => update({}));
  room.onKicked(({ reason }) => show("offline", reason ?? "You were sent out of this room"));
  room.onState((state) => {
    if (state === "refused") show("offline", "This room is not open to you");
  });
  stoa.on("error", (error) => console.info("stoa:", error.code, error.message));
  own.named = () => update({});
  addEventListener("offline", () => update({}));
  addEventListener("online", () => update({}));
  again.addEventListener("click", () => stoa.open());
  update({});
}

/** On a narrow screen one pane is shown at a time. */
function startViews(): void {
  const main = byId("room-view");
  const buttons = [...byId("views").querySelectorAll<HTMLButtonElement>("button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      main.dataset["view"] = button.dataset["view"];
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      main.dispatchEvent(new Event("view"));
    });
  }
}
