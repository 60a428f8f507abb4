/**
 * Stoa in React: the entry point `stoa/react`, for React 18 and newer.
 *
 * ```tsx
 * const stoa = connect({ url: "/ws", token: () => fetchToken() });
 *
 * const App = () => (
 *   <StoaProvider client={stoa}>
 *     <Chat />
 *   </StoaProvider>
 * );
 *
 * function Chat() {
 *   const { messages, post } = useMessages("lobby");
 *   const { typists, typing } = useTyping("lobby");
 *   …
 * }
 * ```
 *
 * A room is joined while a component that names it is shown, and left a second after the last one has gone; the same holds for
 * documents and maps. What the application joined by itself before, it leaves by itself. A component is rendered again only when
 * something that its hook gave it has changed. What hooks give to call stays the same function.
 */
import { createContext, createElement, useContext, useEffect, useMemo, useRef, type ReactElement, type ReactNode } from "react";
import type { ConnectionState, StateChange, Transport } from "./connection.js";
import type { RemoteCursor } from "./cursors.js";
import type { Document, DocumentOptions, DocumentState } from "./document.js";
import type { StoaError } from "./errors.js";
import type { CursorAt, Json, JsonObject } from "./frames.js";
import type { SharedMap } from "./map.js";
import type { Messages } from "./messages.js";
import type { Member, Presence, PresenceCursor, Status } from "./presence.js";
import { useReading, type Listen } from "./react/reading.js";
import { useShared } from "./react/sharing.js";
import type { AppEvents, Emitted, Kick, Room, RoomOptions, RoomState } from "./room.js";
import type { Message } from "./shown.js";
import type { Stoa } from "./stoa.js";

const Context = createContext<Stoa | undefined>(undefined);

/** What the provider takes. */
export interface StoaProviderProps {
  /**
   * The client; or a function that makes one, which is closed when the provider goes. Another user is another client: give the
   * provider the user's id as its `key`.
   */
  client: Stoa | (() => Stoa);
  children?: ReactNode;
}

/** Gives a client to all hooks below it. */
export function StoaProvider({ client, children }: StoaProviderProps): ReactElement {
  // An owner of its own for each provider: two of them share nothing.
  const owner = useRef({});
  const own = useShared(typeof client === "function" ? owner.current : undefined, "client", {
    make: () => (client as () => Stoa)(),
    isOver: () => false,
    claimed: (stoa) => stoa.open(),
    end: (stoa) => stoa.close(),
  });
  return createElement(Context.Provider, { value: typeof client === "function" ? own : client }, children);
}

/** What the connection is doing. */
export interface StoaStatus {
  stoa: Stoa;
  state: ConnectionState;
  /** The same as `state === "online"`. */
  isOnline: boolean;
  /** Why it is `offline` or `closed`, and when the next attempt begins: see {@link StateChange}. */
  change: StateChange | undefined;
  transport: Transport | undefined;
  /** Who this is, and their display name; `undefined` before the first connect. */
  user: string | undefined;
  name: string | undefined;
}

/** The last change of a client's state. Kept from the first look at it. */
const changes = new WeakMap<Stoa, { last: StateChange | undefined }>();
function lastChange(stoa: Stoa): StateChange | undefined {
  let held = changes.get(stoa);
  if (held === undefined) {
    const fresh: { last: StateChange | undefined } = (held = { last: undefined });
    changes.set(stoa, held);
    stoa.on("state", (change) => void (fresh.last = change));
  }
  return held.last;
}

const listenToStoa: Listen<Stoa> = (stoa, changed) => {
  lastChange(stoa);
  return [stoa.on("state", changed), stoa.on("transport", changed)];
};

/** The client of the provider above, and what its connection is doing. */
export function useStoa(): StoaStatus {
  return useReading(useClient(), listenToStoa, (stoa) => ({
    stoa,
    state: stoa.state,
    isOnline: stoa.state === "online",
    change: lastChange(stoa),
    transport: stoa.transport,
    user: stoa.user,
    name: stoa.name,
  }));
}

function useClient(): Stoa {
  const stoa = useContext(Context);
  if (stoa === undefined) throw new Error("there is no <StoaProvider> above this component");
  return stoa;
}

/** A room, or its name: by name it is joined for as long as the component is shown. */
export type RoomLike<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents> = string | Room<Data, Cursor, Events>;

function useRoomOf<Data extends object, Cursor, Events extends object>(room: RoomLike<Data, Cursor, Events> | undefined, options: RoomOptions<Data> = {}) {
  const stoa = useClient();
  const name = typeof room === "string" ? room : undefined;
  // Who has joined it before leaves it, too.
  let wasThere = false;
  const named = useShared(name === undefined ? undefined : stoa, `room ${name ?? ""}`, {
    make: () => {
      wasThere = stoa.has(String(name));
      return stoa.room<Data, Cursor, Events>(String(name), options);
    },
    isOver: ({ state }) => state === "left",
    end: (it) => {
      if (!wasThere) it.leave();
    },
  });
  return typeof room === "string" ? named : room;
}

/** A room, and where it stands. */
export interface RoomStatus<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents> {
  room: Room<Data, Cursor, Events>;
  state: RoomState;
  isJoined: boolean;
  /** What this user is here; see also `room.can`. */
  role: string | undefined;
  /** Why it is `refused` or `kicked`. */
  error: StoaError | undefined;
  kick: Kick | undefined;
}

const listenToRoom: Listen<Room> = (room, changed) => [room.onState(changed), room.onAccess(changed)];

/**
 * Joins a room for as long as the component is shown.
 *
 * @param options used by whoever asks for the room first
 */
export function useRoom<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents>(
  name: string,
  options?: RoomOptions<NoInfer<Data>>,
): RoomStatus<Data, Cursor, Events> {
  const room = useRoomOf<Data, Cursor, Events>(name, options) as Room<Data, Cursor, Events>;
  return useReading(room as unknown as Room, listenToRoom, ({ state, role, error, kick }) => ({
    room,
    state,
    isJoined: state === "joined",
    role,
    error,
    kick,
  }));
}

/** Who is in a room. */
export interface PresenceStatus<Data extends object> extends Pick<Presence<Data>, "update" | "setStatus" | "get"> {
  /** Everybody; everybody else; oneself. See {@link Presence}. */
  members: readonly Member<Data>[];
  others: readonly Member<Data>[];
  me: Member<Data> | undefined;
  count: number;
  status: Status;
}

const listenToPresence: Listen<Presence> = (presence, changed) => [presence.on("change", changed)];

/** Who is in a room. Not rendered again for who types or points: that is `useTyping` and `useCursors`. */
export function usePresence<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents>(
  room: RoomLike<Data, Cursor, Events>,
): PresenceStatus<Data> {
  const { presence } = useRoomOf(room) as Room<Data, Cursor, Events>;
  const actions = useMemo(() => bound(presence, "update", "setStatus", "get"), [presence]);
  return useReading(presence as unknown as Presence, listenToPresence, ({ members, others, me, count, status }) => ({
    members: members as readonly Member<Data>[],
    others: others as readonly Member<Data>[],
    me: me as Member<Data> | undefined,
    count,
    status,
    ...actions,
  }));
}

/** The messages of a room. */
export interface MessagesStatus
  extends Pick<Messages, (typeof MESSAGE_ACTIONS)[number] | "more" | "atEnd" | "unread" | "mentions" | "readUpTo" | "readBy"> {
  /** Those to show, oldest first: `list` of {@link Messages}. */
  messages: readonly Message[];
}

const MESSAGE_ACTIONS = [
  "post", "edit", "delete", "react", "unreact", "cancel", "stream", "read", "older", "newer", "around", "latest", "thread", "history", "discard",
] as const;
const listenToMessages: Listen<Messages> = (messages, changed) => [messages.on("change", changed)];

/** The messages of a room, and what can be done with them. */
export function useMessages<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents>(
  room: RoomLike<Data, Cursor, Events>,
): MessagesStatus {
  return useMessagesOf((useRoomOf(room) as Room<Data, Cursor, Events>).messages);
}

function useMessagesOf(messages: Messages): MessagesStatus {
  const actions = useMemo(() => bound(messages, ...MESSAGE_ACTIONS), [messages]);
  return useReading(messages, listenToMessages, ({ list, more, atEnd, unread, mentions, readUpTo, readBy }) => ({
    messages: list,
    more,
    atEnd,
    unread,
    mentions,
    readUpTo,
    readBy,
    ...actions,
  }));
}

/** A shared text. */
export interface DocumentStatus extends Pick<Document, (typeof DOCUMENT_ACTIONS)[number]> {
  document: Document;
  text: string;
  state: DocumentState;
  editable: boolean;
}

const DOCUMENT_ACTIONS = ["edit", "replace", "undo", "tag", "restore", "info"] as const;
const listenToDocument: Listen<Document> = (document, changed) => [document.on("change", changed), document.on("state", changed)];

/**
 * A shared text, open for as long as the component is shown. Editors take `document` with `stoa/codemirror` or
 * `stoa/textarea`; `text` is for what only shows it.
 *
 * @param options used by whoever opens it first
 */
export function useDocument<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents>(
  room: RoomLike<Data, Cursor, Events>,
  name: string,
  options: DocumentOptions = {},
): DocumentStatus {
  const joined = useRoomOf(room) as Room<Data, Cursor, Events>;
  let wasOpen = false;
  const document = useShared(joined, `doc ${name}`, {
    make: () => {
      wasOpen = joined.hasDoc(name);
      return joined.doc(name, options);
    },
    isOver: ({ state }) => state === "closed",
    end: (it) => {
      if (!wasOpen) it.close();
    },
  }) as Document;
  const actions = useMemo(() => bound(document, ...DOCUMENT_ACTIONS), [document]);
  return useReading(document, listenToDocument, ({ text, state, editable }) => ({ document, text, state, editable, ...actions }));
}

/** A shared map. */
export interface MapStatus<Values extends object> extends Pick<SharedMap<Values>, "set" | "delete"> {
  map: SharedMap<Values>;
  /** All values, by key: a new map after each change. */
  entries: SharedMap<Values>["entries"];
  state: DocumentState;
  editable: boolean;
}

const listenToMap: Listen<SharedMap> = (map, changed) => [map.on("change", changed), map.on("state", changed)];

/** A shared map, open for as long as the component is shown. */
export function useMap<Values extends object = JsonObject, Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents>(
  room: RoomLike<Data, Cursor, Events>,
  name: string,
): MapStatus<Values> {
  const joined = useRoomOf(room) as Room<Data, Cursor, Events>;
  let wasOpen = false;
  const map = useShared(joined, `map ${name}`, {
    make: () => {
      wasOpen = joined.hasDoc(`map:${name}`);
      return joined.map<Values>(name);
    },
    isOver: ({ state }) => state === "closed",
    end: (it) => {
      if (!wasOpen) it.close();
    },
  }) as SharedMap<Values>;
  const actions = useMemo(() => bound(map, "set", "delete"), [map]);
  return useReading(map as unknown as SharedMap, listenToMap, ({ state, editable }) => ({ map, entries: map.entries, state, editable, ...actions }));
}

/** Who types in a room. */
export interface TypingStatus {
  /** Without oneself. */
  typists: readonly string[];
  /** To be called at each key press, and when what was typed is sent or thrown away. */
  typing(): void;
  stopTyping(): void;
}

/** Who types in a room, and telling it of oneself. */
export function useTyping<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents>(
  room: RoomLike<Data, Cursor, Events>,
): TypingStatus {
  const { presence } = useRoomOf(room) as Room<Data, Cursor, Events>;
  const actions = useMemo(() => bound(presence, "typing", "stopTyping"), [presence]);
  // Told in full each time: the same people are the same list.
  const typists = useRef<readonly string[]>([]);
  return useReading(presence as unknown as Presence, listenToPresence, (it) => {
    if (it.typists.join(" ") !== typists.current.join(" ")) typists.current = it.typists;
    return { typists: typists.current, ...actions };
  });
}

/** Where the others are, by connection, and telling them of oneself. */
export interface CursorsStatus<Theirs, Mine> {
  cursors: ReadonlyMap<string, Theirs>;
  setCursor(cursor: Mine | null): void;
}

const listenToCursors: Listen<Presence> = (presence, changed) => [presence.on("cursors", changed)];
const listenToCarets: Listen<Document> = (document, changed) => [document.on("cursors", changed), document.on("change", changed)];

/** Where the others are in a text. */
export function useCursors(document: Document): CursorsStatus<RemoteCursor, CursorAt>;
/** Where the others point in a room. */
export function useCursors<Data extends object = JsonObject, Cursor = Json, Events extends object = AppEvents>(
  room: RoomLike<Data, Cursor, Events>,
): CursorsStatus<PresenceCursor<Cursor>, Cursor>;
export function useCursors(of: Document | RoomLike): CursorsStatus<unknown, never> {
  const document = typeof of === "object" && "text" in of ? of : undefined;
  const room = useRoomOf(document === undefined ? (of as RoomLike) : undefined);
  const from = document ?? (room as Room).presence;
  const setCursor = useMemo(() => bound(from as Presence, "setCursor").setCursor, [from]);
  const carets = useRef<ReadonlyMap<string, RemoteCursor>>(new Map());
  return useReading<Document | Presence, { cursors: ReadonlyMap<string, unknown>; setCursor: (cursor: never) => void }>(
    from,
    (document === undefined ? listenToCursors : listenToCarets) as Listen<Document | Presence>,
    (it) => {
      const { cursors } = it;
      if (document === undefined) return { cursors, setCursor };
      // Computed anew each time: those who stand where they stood are the same.
      if (!areAlike(carets.current, cursors as ReadonlyMap<string, RemoteCursor>)) carets.current = cursors as ReadonlyMap<string, RemoteCursor>;
      return { cursors: carets.current, setCursor };
    },
  );
}

const areAlike = (a: ReadonlyMap<string, RemoteCursor>, b: ReadonlyMap<string, RemoteCursor>) =>
  a.size === b.size && JSON.stringify([...a.values()]) === JSON.stringify([...b.values()]);

/** What was sent to this user alone. */
export interface NotificationsStatus extends Pick<Messages, "more" | "unread" | "read" | "older"> {
  /** Newest first. */
  notifications: readonly Message[];
}

const NOTHING: NotificationsStatus = {
  notifications: [],
  more: false,
  unread: 0,
  read: () => undefined,
  older: () => Promise.resolve(false),
};
const listenToMaybe: Listen<Messages | undefined> = (messages, changed) => (messages === undefined ? [] : listenToMessages(messages, changed));

/**
 * What services posted to this user's own room (`stoa.personalRoom`), on whichever device: it waits for who is not here, and is
 * read on all devices once it was read on one.
 *
 * @param onNotification called for each one that comes while this is shown; not for those of before
 */
export function useNotifications(onNotification?: (message: Message) => void): NotificationsStatus {
  const { stoa, user } = useStoa();
  const room = useRoomOf<JsonObject, Json, AppEvents>(user === undefined ? undefined : stoa.personalRoom, { presence: false });
  const messages = room?.messages;
  const listener = useLatest(onNotification);
  useEffect(() => messages?.on("message", (message) => listener.current?.(message)), [messages, listener]);
  const actions = useMemo(() => (messages === undefined ? NOTHING : bound(messages, "read", "older")), [messages]);
  const newestFirst = useRef<{ list: readonly Message[]; reversed: readonly Message[] }>({ list: [], reversed: [] });
  return useReading(messages, listenToMaybe, (it) => {
    if (it === undefined) return NOTHING;
    if (newestFirst.current.list !== it.list) newestFirst.current = { list: it.list, reversed: [...it.list].reverse() };
    return { notifications: newestFirst.current.reversed, more: it.more, unread: it.unread, read: actions.read, older: actions.older };
  });
}

/** Listens to the ephemeral events of a name for as long as the component is shown. `listener` may be another one each time. */
export function useEvent<Events extends object = AppEvents, Name extends keyof Events & string = keyof Events & string, Data extends object = JsonObject, Cursor = Json>(
  room: RoomLike<Data, Cursor, Events>,
  name: Name,
  listener: (data: Events[Name], event: Emitted) => void,
): void {
  const joined = useRoomOf(room) as Room<Data, Cursor, Events>;
  const latest = useLatest(listener);
  useEffect(() => joined.on(name, (data, event) => latest.current(data, event)), [joined, name, latest]);
}

function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value);
  useEffect(() => void (latest.current = value));
  return latest;
}

/** Methods that can be passed on. */
function bound<T extends object, Name extends keyof T>(of: T, ...names: readonly Name[]): Pick<T, Name> {
  return Object.fromEntries(names.map((name) => [name, (of[name] as (...values: unknown[]) => unknown).bind(of)])) as Pick<T, Name>;
}
