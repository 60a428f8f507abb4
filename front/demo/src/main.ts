/** The page: asks for a name, connects, and gives each part of the page its part of the room. */
import { connect, type StateChange, type Stoa } from "stoa";
import { startChat } from "./chat.js";
import type { DemoRoom, Guest, Place } from "./demo-room.js";
import { byId } from "./dom.js";
import { startEditor } from "./editor.js";
import { forgetGuest, guestToken, rememberedName, wasHere } from "./guest.js";
import { Line, startLine } from "./line.js";
import { startPeople } from "./people.js";
import { roomName, roomLink } from "./room-name.js";
import "./style.css";

const name = roomName(location);
byId("room").textContent = name;
byId("welcome-room").textContent = name;
document.title = `${name} · Stoa`;

// A link to another room in this page's address (`#other`) is another room.
addEventListener("hashchange", () => location.reload());
startCopy();
startViews();
askName();

/** The door. Whoever only reloads is inside already. */
function askName(): void {
  const door = byId<HTMLDialogElement>("welcome");
  const form = byId<HTMLFormElement>("name-form");
  const input = byId<HTMLInputElement>("name-input");
  const button = form.querySelector("button");
  input.value = rememberedName();

  const enter = async () => {
    if (button !== null) button.disabled = true;
    byId("name-error").textContent = "";
    try {
      await guestToken(input.value.trim(), "first");
      if (door.open) door.close();
      enterRoom(input.value.trim());
    } catch (error) {
      if (!door.open) door.showModal();
      byId("name-error").textContent = error instanceof Error ? error.message : "That did not work. Try again.";
    }
    if (button !== null) button.disabled = false;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    // Another name is another guest.
    if (input.value.trim() !== rememberedName()) forgetGuest();
    if (input.value.trim() !== "") void enter();
  });
  // There is nothing behind the door yet that Escape could go back to.
  door.addEventListener("cancel", (event) => event.preventDefault());
  if (wasHere()) void enter();
  else {
    door.showModal();
    input.select();
  }
}

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

function startCopy(): void {
  const button = byId("copy");
  const label = button.querySelector("span") as HTMLElement;
  let timer = 0;
  button.addEventListener("click", async () => {
    label.textContent = (await copyText(roomLink(location, name))) ? "Link copied" : "Copy the address above";
    button.dataset["done"] = "";
    clearTimeout(timer);
    timer = window.setTimeout(() => {
      label.textContent = "Copy link";
      delete button.dataset["done"];
    }, 2_500);
  });
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages without TLS (a colleague's machine in the office) have no clipboard object: the old way works there.
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
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
