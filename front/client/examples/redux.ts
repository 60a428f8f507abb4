/**
 * A Redux middleware that keeps a store in step with a room. What is dispatched as `chat/post` is posted; what becomes of it, and
 * of everybody else's, comes back as `stoa/messages`: the client shows a message at once and keeps its state, so the store needs
 * no optimistic updates of its own.
 *
 *     const store = createStore(reducer, applyMiddleware(stoaMiddleware(stoa, stoa.room("lobby"))));
 */
import type { Middleware } from "redux";
import type { ConnectionState, Json, Member, Message, Room, Stoa } from "stoa";

/** What comes from the room. */
export type StoaAction =
  | { type: "stoa/state"; payload: ConnectionState }
  | { type: "stoa/messages"; payload: readonly Message[] }
  | { type: "stoa/people"; payload: readonly Member[] }
  | { type: "stoa/event"; payload: { name: string; data: Json } };
/** What goes to the room. */
export type RoomAction = { type: "chat/post"; payload: string } | { type: "chat/read" };

/** @param events the names of the room's ephemeral events that the store wants to hear of */
export const stoaMiddleware =
  (stoa: Stoa, room: Room, events: readonly string[] = []): Middleware =>
  ({ dispatch }) => {
    const tell = (action: StoaAction) => void dispatch(action);
    stoa.on("state", ({ state }) => tell({ type: "stoa/state", payload: state }));
    room.messages.on("change", () => tell({ type: "stoa/messages", payload: room.messages.list }));
    room.presence.on("change", () => tell({ type: "stoa/people", payload: room.presence.members }));
    for (const name of events) room.on(name, (data) => tell({ type: "stoa/event", payload: { name, data } }));
    return (next) => (action) => {
      const { type, ...more } = action as RoomAction;
      // A refused message stays in the list, with the reason.
      if (type === "chat/post" && "payload" in more) room.messages.post({ text: more.payload }).catch(() => undefined);
      if (type === "chat/read") room.messages.read();
      return next(action);
    };
  };
