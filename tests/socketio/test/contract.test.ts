/**
 * The typed contract of a chat written for Socket.IO, as applications declare it: each event of both interfaces, from end to
 * end, between two people at two fronts.
 */
import { runs, startFront, startRedis, until } from "real-front";
import type { Socket } from "socket.io-client";
import { expect, test } from "vitest";
import { dial } from "./people.js";

if (!runs) console.warn("\n*** SOCKET.IO WAS NOT TESTED: STOA_MODULE and STOA_FRONT_BINARY are not both set ***\n");

interface MessagePayload {
  id: string;
  roomId: string;
  userId: string;
  username: string;
  content: string;
  attachments?: any[];
  timestamp: string;
}
interface PresenceInfo {
  userId: string;
  username: string;
  status: string;
}

// Client to Server Events
interface ClientToServerEvents {
  'join-room': (roomId: string) => void;
  'leave-room': (roomId: string) => void;
  'send-message': (data: { roomId: string; content: string; attachments?: any[] }) => void;
  'edit-message': (data: { messageId: string; content: string }) => void;
  'delete-message': (messageId: string) => void;
  'mark-as-read': (data: { messageIds: string[]; roomId: string }) => void;
  'typing-start': (roomId: string) => void;
  'typing-stop': (roomId: string) => void;
  'update-presence': (status: 'online' | 'away' | 'busy' | 'offline') => void;
  'get-room-presence': (roomId: string) => void;
}

// Server to Client Events
interface ServerToClientEvents {
  'new-message': (message: MessagePayload) => void;
  'message-edited': (data: { messageId: string; content: string; editedAt: Date }) => void;
  'message-deleted': (messageId: string) => void;
  'messages-read': (data: { messageIds: string[]; userId: string; readAt: Date }) => void;
  'user-typing': (data: { roomId: string; userId: string; username: string; isTyping: boolean }) => void;
  'presence-update': (data: { userId: string; status: string; lastSeen?: Date }) => void;
  'room-presence': (data: { roomId: string; users: PresenceInfo[] }) => void;
  'error': (error: { message: string; code?: string }) => void;
}

type Chat = Socket<ServerToClientEvents, ClientToServerEvents>;
type Heard<E extends keyof ServerToClientEvents> = Parameters<ServerToClientEvents[E]>[0];

// A name that is missing here, or is none of theirs, does not compile.
const NAMES: Record<keyof ServerToClientEvents, true> = {
  "new-message": true,
  "message-edited": true,
  "message-deleted": true,
  "messages-read": true,
  "user-typing": true,
  "presence-update": true,
  "room-presence": true,
  error: true,
};

/** One person: what they say is counted, what they hear is kept. */
class Visitor {
  readonly told = new Set<string>();
  private readonly heard: { event: string; data: unknown }[] = [];
  readonly socket: Chat;

  constructor(port: number, user: string, name: string) {
    this.socket = dial(port, user, { name, transports: ["websocket", "polling"] });
    const { socket, heard } = this;
    for (const event of Object.keys(NAMES) as (keyof ServerToClientEvents)[]) {
      socket.on(event, (data: unknown) => void heard.push({ event, data }));
    }
  }

  tell<E extends keyof ClientToServerEvents>(event: E, ...args: Parameters<ClientToServerEvents[E]>): void {
    this.told.add(event);
    this.socket.emit(event, ...args);
  }

  names(): Set<string> {
    return new Set(this.heard.map(({ event }) => event.replace(/^(earlier )+/, "")));
  }

  /** What comes from here on is what counts. */
  forget(): void {
    for (const it of this.heard) it.event = `earlier ${it.event}`;
  }

  count<E extends keyof ServerToClientEvents>(event: E, fits: (data: Heard<E>) => boolean): number {
    return this.heard.filter((it) => it.event.endsWith(event) && fits(it.data as Heard<E>)).length;
  }

  async hears<E extends keyof ServerToClientEvents>(event: E, fits: (data: Heard<E>) => boolean = () => true): Promise<Heard<E>> {
    let found: { data: unknown } | undefined;
    await until(event, () => {
      found = this.heard.find((it) => it.event === event && fits(it.data as Heard<E>));
      return found !== undefined;
    }).catch((error) => {
      throw new Error(`${error.message}; there came ${JSON.stringify(this.heard)}`);
    });
    return found?.data as Heard<E>;
  }
}

test.skipIf(!runs)("every event of the interfaces is understood and told, from one front to another", async () => {
  const redis = await startRedis();
  const [one, two] = [await startFront(redis), await startFront(redis)];
  const ada = new Visitor(one.port, "ada", "Ada");
  const bo = new Visitor(two.port, "bo", "Bo");
  const roomId = "course:7";

  ada.tell("join-room", roomId);
  ada.tell("get-room-presence", roomId);
  expect(await ada.hears("room-presence")).toMatchObject({ roomId, users: [{ userId: "ada", username: "Ada", status: "online" }] });
  bo.tell("join-room", roomId);
  await ada.hears("presence-update", ({ userId, status }) => userId === "bo" && status === "online");
  bo.tell("get-room-presence", roomId);
  const { users } = await bo.hears("room-presence");
  expect(users.map(({ userId }) => userId).sort()).toEqual(["ada", "bo"]);

  bo.tell("typing-start", roomId);
  expect(await ada.hears("user-typing")).toEqual({ roomId, userId: "bo", username: "Bo", isTyping: true });
  bo.tell("typing-stop", roomId);
  expect(await ada.hears("user-typing", ({ isTyping }) => !isTyping)).toEqual({ roomId, userId: "bo", username: "Bo", isTyping: false });

  const content = '<b>Hello</b> & "welcome"';
  const attachments = [{ name: "plan.pdf", size: 12_345 }, "https://example.org/a.png"];
  ada.tell("send-message", { roomId, content, attachments });
  const message = await bo.hears("new-message");
  expect(message).toMatchObject({ roomId, userId: "ada", username: "Ada", content, attachments });
  expect(Math.abs(Date.now() - new Date(message.timestamp).getTime())).toBeLessThan(60_000);
  expect(await ada.hears("new-message")).toEqual(message);

  ada.tell("edit-message", { messageId: message.id, content: "Hello, Bo" });
  for (const visitor of [ada, bo]) {
    const edited = await visitor.hears("message-edited");
    expect(edited).toMatchObject({ messageId: message.id, content: "Hello, Bo" });
    expect(new Date(edited.editedAt).getTime()).toBeGreaterThanOrEqual(new Date(message.timestamp).getTime());
  }

  ada.tell("send-message", { roomId, content: "and one more" });
  const second = await bo.hears("new-message", ({ content }) => content === "and one more");
  bo.tell("mark-as-read", { messageIds: [message.id, second.id], roomId });
  const read = await ada.hears("messages-read", ({ userId, messageIds }) => userId === "bo" && messageIds.includes(second.id));
  expect(new Date(read.readAt).getTime()).not.toBeNaN();

  bo.tell("edit-message", { messageId: message.id, content: "not his" });
  expect(await bo.hears("error")).toMatchObject({ code: "PERMISSION_DENIED", message: expect.stringMatching(/\w/) });
  ada.tell("delete-message", message.id);
  for (const visitor of [ada, bo]) expect(await visitor.hears("message-deleted")).toBe(message.id);

  for (const status of ["away", "busy", "offline", "online"] as const) {
    ada.forget();
    bo.tell("update-presence", status);
    await ada.hears("presence-update", (update) => update.userId === "bo" && update.status === status);
  }

  // Whoever leaves is gone to the others, and hears nothing more.
  bo.tell("leave-room", roomId);
  const gone = await ada.hears("presence-update", ({ userId, status, lastSeen }) => userId === "bo" && status === "offline" && lastSeen !== undefined);
  expect(new Date(gone.lastSeen as Date).getTime()).not.toBeNaN();
  ada.tell("send-message", { roomId, content: "bo is gone" });
  await ada.hears("new-message", ({ content }) => content === "bo is gone");
  ada.forget();
  bo.tell("join-room", roomId);
  await ada.hears("presence-update", ({ userId, status }) => userId === "bo" && status === "online");
  ada.tell("send-message", { roomId, content: "bo is back" });
  await bo.hears("new-message", ({ content }) => content === "bo is back");
  expect(bo.count("new-message", ({ content }) => content === "bo is gone")).toBe(0);

  expect([...bo.names(), ...ada.names()]).toEqual(expect.arrayContaining(Object.keys(NAMES)));
  const all: Record<keyof ClientToServerEvents, true> = {
    "join-room": true,
    "leave-room": true,
    "send-message": true,
    "edit-message": true,
    "delete-message": true,
    "mark-as-read": true,
    "typing-start": true,
    "typing-stop": true,
    "update-presence": true,
    "get-room-presence": true,
  };
  expect(new Set([...ada.told, ...bo.told])).toEqual(new Set(Object.keys(all)));
});
