/** The link to give to others. */
import { byId } from "./dom.js";
import { roomLink } from "./room-name.js";

/** The button that copies the address of this page's room. */
export function startCopy(room: string): void {
  const button = byId("copy");
  const label = button.querySelector("span") as HTMLElement;
  let timer = 0;
  button.addEventListener("click", async () => {
    label.textContent = (await copyText(roomLink(location, room))) ? "Link copied" : "Copy the address above";
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
