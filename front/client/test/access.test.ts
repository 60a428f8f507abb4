import { describe, expect, test } from "vitest";
import { connect, StoaError, type Document, type StoaOptions } from "../src/index.js";
import { front, pass } from "./each-front.js";

function person(user: string, options: Partial<StoaOptions> = {}) {
  const stoa = connect({ url: "ws://front/ws", token: user, WebSocket: front.Socket, ...options });
  const errors: StoaError[] = [];
  stoa.on("error", (error) => errors.push(error));
  const room = stoa.room("lobby");
  const heard: string[] = [];
  room.onAccess(({ role, actions }) => heard.push(`${role}: ${actions.join(" ")}`));
  return { stoa, errors, room, heard };
}
const can = ({ room }: ReturnType<typeof person>) => (["read", "talk", "edit", "manage"] as const).filter((action) => room.can(action));
const locks = (document: Document) => {
  const seen: boolean[] = [];
  document.on("state", () => seen.push(document.editable));
  return seen;
};

describe("what one may do in a room", () => {
  test("is known once the room is joined, and after a cut still", async () => {
    front.grant("lobby", "bo", "commenter");
    const [ada, bo] = [person("ada"), person("bo")];
    expect([ada.room.role, can(ada)]).toEqual([undefined, []]);
    await pass(10);
    expect([ada.room.role, can(ada)]).toEqual(["editor", ["read", "talk", "edit"]]);
    expect([bo.room.role, can(bo), bo.heard]).toEqual(["commenter", ["read", "talk"], ["commenter: read talk"]]);
    front.cut();
    expect([bo.room.state, can(bo)]).toEqual(["joining", ["read", "talk"]]);
    await pass(5_000);
    expect([bo.room.state, bo.heard.length]).toEqual(["joined", 1]);
  });

  test("changes while one is inside, and what was missed comes with the next join", async () => {
    const ada = person("ada");
    await pass(10);
    front.grant("lobby", "ada", "viewer");
    await pass(10);
    expect([ada.room.role, can(ada)]).toEqual(["viewer", ["read"]]);
    front.cut("ada");
    front.grant("lobby", "ada", "owner");
    await pass(5_000);
    expect(ada.heard).toEqual(["editor: read talk edit", "viewer: read", "owner: read talk edit manage"]);
  });

  test("who is shut out while inside hears it, and nothing waits for ever", async () => {
    const ada = person("ada");
    const document = ada.room.doc("main", { create: "text" });
    await pass(10);
    front.swallow("msg.post", "request");
    const post = ada.room.messages.post("hi");
    await pass(10);
    front.grant("lobby", "ada", "none");
    await pass(10);
    expect([ada.room.state, ada.room.error?.code, ada.room.role, can(ada)]).toEqual(["refused", "PERMISSION_DENIED", "none", []]);
    expect([document.state, document.editable]).toEqual(["refused", false]);
    await expect(post).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    front.cut();
    await pass(5_000);
    expect([ada.stoa.state, ada.room.state]).toEqual(["online", "refused"]);
  });

  test("who was shut out while away finds the door closed", async () => {
    const ada = person("ada");
    await pass(10);
    front.cut();
    front.grant("lobby", "ada", "none");
    await pass(5_000);
    expect([ada.room.state, ada.room.error?.code]).toEqual(["refused", "PERMISSION_DENIED"]);
    ada.room.leave();
    front.grant("lobby", "ada", "viewer");
    const again = ada.stoa.room("lobby");
    await pass(10);
    expect([again.state, again.role]).toEqual(["joined", "viewer"]);
  });
});

describe("a document", () => {
  test("can be edited only by who may, from one moment to the next", async () => {
    front.grant("lobby", "bo", "viewer");
    const [ada, bo] = [person("ada"), person("bo")];
    const mine = ada.room.doc("main", { create: "text" });
    await pass(10);
    const theirs = bo.room.doc("main", { create: "never" });
    const seen = locks(theirs);
    await pass(10);
    expect([theirs.text, theirs.state, theirs.editable]).toEqual(["text", "synchronised", false]);
    expect(() => theirs.edit(["x"])).toThrow(expect.objectContaining({ code: "PERMISSION_DENIED" }));
    expect(theirs.text).toBe("text");
    front.grant("lobby", "bo", "editor");
    await pass(10);
    expect([theirs.editable, seen.at(-1)]).toEqual([true, true]);
    theirs.edit(["x"]);
    await pass(10);
    expect(mine.text).toBe("xtext");
    expect([ada.errors, bo.errors]).toEqual([[], []]);
  });

  test("loses what was written a moment too late, and says so", async () => {
    const ada = person("ada");
    const document = ada.room.doc("main", { create: "text" });
    await pass(10);
    const refused: string[] = [];
    document.on("refused", ({ code }) => refused.push(code));
    front.eventsLateMs = 50;
    front.grant("lobby", "ada", "viewer");
    document.edit(["late "]);
    expect(document.text).toBe("late text");
    await pass(200);
    expect([document.text, refused, document.editable]).toEqual(["text", ["PERMISSION_DENIED"], false]);
  });

  test("that is missing is not made by who may not edit, and nobody asks for ever", async () => {
    front.grant("lobby", "bo", "viewer");
    const bo = person("bo");
    const document = bo.room.doc("main", { create: "text" });
    await pass(1_000);
    expect([document.state, front.of("doc.open").length]).toEqual(["missing", 1]);
    expect(front.of("doc.open")[0]).not.toHaveProperty("create");
    const ada = person("ada");
    ada.room.doc("main", { create: "made" });
    await pass(1_000);
    expect([document.state, document.text]).toEqual(["synchronised", "made"]);
  });
});

describe("who may manage a room", () => {
  test("grants, revokes and sends out", async () => {
    front.grant("lobby", "ada", "owner");
    const [ada, bo] = [person("ada"), person("bo")];
    await pass(10);
    const all = <T>(done: Promise<T>) => Promise.all([done, pass(10)]).then(([value]) => value);
    expect(await all(ada.room.grant("bo", "viewer", { ttlMs: 1_000 }))).toBe(true);
    expect(bo.room.role).toBe("viewer");
    expect(front.of("room.grant")[0]).toMatchObject({ room: "lobby", user: "bo", role: "viewer", ttl_ms: 1_000 });
    expect(await all(ada.room.sendOut({ user: "bo" }, "enough"))).toBe(1);
    expect([bo.room.state, bo.room.kick]).toEqual(["kicked", { reason: "enough", by: "ada" }]);
    expect(await all(ada.room.revoke("bo"))).toBe(true);
    const cy = person("cy");
    await pass(10);
    await expect(all(cy.room.grant("cy", "owner"))).rejects.toMatchObject({ code: "PERMISSION_DENIED", retry: false });
  });
});
