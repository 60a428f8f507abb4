/** The door of a page: a name, and a token of a guest for it. */
import { byId } from "./dom.js";
import { forgetGuest, guestToken, rememberedName, wasHere } from "./guest.js";

/**
 * Asks for a name. Whoever only reloads is inside already.
 *
 * @param room the name of the room behind the door
 * @param enterRoom called once, with the visitor's name, when a front has let them in
 */
export function askName(room: string, enterRoom: (guest: string) => void): void {
  byId("welcome-room").textContent = room;
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
