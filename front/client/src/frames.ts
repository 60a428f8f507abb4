// Made by `npm run frames` from the schema that `stoa-front schema` prints. Do not edit: change the front.
// What a field means stands in docs/protocol.md. Times are milliseconds, lengths UTF-16 code units.

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** A JSON object. */
export type JsonObject = { [key: string]: Json };

/** The answer of `room.grant` and `room.revoke`. */
export interface AccessChanged {
  /** Whether the room's list is different now. */
  changed: boolean;
  epoch: string;
  rev: number;
}

/** What each command answers in `ok`. */
export interface Answers {
  "auth.refresh": Refreshed;
  connect: Connected;
  "devices.kick": Nothing;
  "devices.list": Devices;
  "doc.close": Nothing;
  "doc.cursor": Nothing;
  "doc.get": DocState;
  "doc.info": DocDescription;
  "doc.open": StreamPart;
  "doc.ops": DocPage;
  "doc.restore": DocSubmitted;
  "doc.submit": DocSubmitted;
  "doc.tag": At;
  "doc.undo": DocSubmitted;
  "msg.append": MsgAppended;
  "msg.cancel": MsgChanged;
  "msg.delete": MsgChanged;
  "msg.edit": MsgChanged;
  "msg.finish": MsgChanged;
  "msg.history": MsgVersions;
  "msg.post": MsgPosted;
  "msg.range": MsgPage;
  "msg.react": MsgReacted;
  "msg.read": MsgMarked;
  "msg.unreact": MsgReacted;
  "msg.unread": MsgUnread;
  ping: Nothing;
  "presence.cursor": Nothing;
  "presence.get": PresencePeople;
  "presence.list": StreamPart;
  "presence.set": At;
  "presence.typing": Nothing;
  "room.emit": Nothing;
  "room.grant": AccessChanged;
  "room.join": Joined;
  "room.kick": Kicked;
  "room.leave": Nothing;
  "room.revoke": AccessChanged;
}

/** Where a stream is. */
export interface At { epoch: string; rev: number }

/** `auth.refresh` */
export interface AuthRefresh {
  /** The new JWT, of the same user. */
  token: Token;
}

/** Why a client has to take a snapshot. */
export type Because =
  /** It held nothing. */
  | "first"
  /** What it missed is no longer kept. */
  | "trimmed"
  /** What it missed is more than a page. */
  | "far"
  /** A failover lost history that it saw. */
  | "rollback"
  /** The stream was replaced. */
  | "reset";

/** What a message says. */
export type Body = JsonObject | string;

/** What a message says; null once it was deleted. */
export type BodyOrNull = JsonObject | string | null;

/** Why a front closes. 4000 to 4499: come back and resume. 4500 to 4999: stay away until something changes. */
export type CloseReason =
  /** This front stops. */
  | "SHUTDOWN"
  /** The connection could not keep up with durable events. */
  | "SLOW"
  /** No sign of life. */
  | "PING_TIMEOUT"
  /** This connection could not be brought up to date: come back and resume. */
  | "RESYNC"
  /** Too many connections, or too many refusals: come back later. */
  | "RATE_LIMITED"
  /** No valid `connect` frame in time. */
  | "AUTH_REQUIRED"
  /** The token was refused. */
  | "AUTH_INVALID"
  /** The token ended. */
  | "AUTH_EXPIRED"
  /** A frame beyond the bound: what follows it cannot be read safely. */
  | "TOO_LARGE"
  /** Somebody ended this connection. */
  | "KICKED";

/** The stable codes: the code alone says whether to try again. */
export type Code =
  /** Not a JSON object, or without `do`. */
  | "INVALID_FRAME"
  /** This front has no such command. */
  | "UNKNOWN_COMMAND"
  /** A field is missing or not of its form; the message names it. */
  | "INVALID_ARGUMENT"
  /** A stored value is not JSON or nests too deeply. */
  | "INVALID_JSON"
  /** The operation is malformed, reaches beyond the text or cuts a character in two. */
  | "INVALID_OPERATION"
  /** A bound is exceeded; the message names it. */
  | "TOO_LARGE"
  /** Nothing but `connect` is answered before `connect`. */
  | "AUTH_REQUIRED"
  /** The token was refused. */
  | "AUTH_INVALID"
  /** The token ended. */
  | "AUTH_EXPIRED"
  /** Not allowed in this room. */
  | "PERMISSION_DENIED"
  /** Join the room first. */
  | "NOT_JOINED"
  /** No such document, message or revision. */
  | "NOT_FOUND"
  /** The base revision is no longer kept. */
  | "STALE"
  /** The base revision is newer than the document. */
  | "AHEAD"
  /** The client's text differs from the document. */
  | "DESYNC"
  /** The history of the position ended before it. */
  | "ROLLBACK"
  /** The history of the position was replaced. */
  | "RESET"
  /** The sequence was used long ago. */
  | "FORGOTTEN"
  /** The message does not stream (any more). */
  | "CLOSED"
  /** Somebody took this connection out of the room. */
  | "KICKED"
  /** This front does not offer the command: a setting has to be on. */
  | "DISABLED"
  /** The room is full. */
  | "FULL"
  /** Too much of this. */
  | "RATE_LIMITED"
  /** Too many commands of this connection are under way. */
  | "BUSY"
  /** Redis cannot be reached or does not accept writes now. */
  | "UNAVAILABLE"
  /** The write happened, and is not known to be as safe as it has to be: resend with the same identity. */
  | "UNACKNOWLEDGED"
  /** A fault of the front or the module. */
  | "INTERNAL";

/** A command with its fields. */
export type CommandFrame = {
  /** Chosen by the client, echoed in the reply. */
  id: number;
} & (
  /** Always the first. */
  | Connect & { do: "connect" }
  /** Goes on with another token of the same user. */
  | AuthRefresh & { do: "auth.refresh" }
  /** Joins a room and brings its streams up to date. */
  | RoomJoin & { do: "room.join" }
  /** Leaves a room. */
  | RoomOnly & { do: "room.leave" }
  /** An ephemeral event of the application. */
  | RoomEmit & { do: "room.emit" }
  /** Says what a user may do in a room. */
  | RoomGrant & { do: "room.grant" }
  /** Shuts a user out of a room, or lets the token decide again. */
  | RoomRevoke & { do: "room.revoke" }
  /** Takes somebody out of a room. */
  | RoomKick & { do: "room.kick" }
  /** Posts a message. */
  | MsgPost & { do: "msg.post" }
  /** Replaces the body of an own message. */
  | MsgEdit & { do: "msg.edit" }
  /** Deletes an own message; its place stays. */
  | MsgWrite & { do: "msg.delete" }
  /** Adds a reaction. */
  | MsgReaction & { do: "msg.react" }
  /** Takes back a reaction. */
  | MsgReaction & { do: "msg.unreact" }
  /** Lets the text of a streaming message grow. */
  | MsgAppend & { do: "msg.append" }
  /** Ends a streaming message. */
  | MsgFinish & { do: "msg.finish" }
  /** Asks the writer of a streaming message to stop. */
  | MsgWrite & { do: "msg.cancel" }
  /** Says up to where the user has read. */
  | MsgNumber & { do: "msg.read" }
  /** What the user has not read. */
  | RoomOnly & { do: "msg.unread" }
  /** Reads messages. */
  | MsgRange & { do: "msg.range" }
  /** Reads the earlier bodies of a message. */
  | MsgNumber & { do: "msg.history" }
  /** Opens a document, or makes it. */
  | DocOpen & { do: "doc.open" }
  /** Ends the events of a document. */
  | DocClose & { do: "doc.close" }
  /** Edits a document. */
  | DocSubmit & { do: "doc.submit" }
  /** Reads a document. */
  | DocGet & { do: "doc.get" }
  /** Reads the operations of a document. */
  | DocOps & { do: "doc.ops" }
  /** Takes back the newest edit of a client. */
  | DocUndo & { do: "doc.undo" }
  /** Says what a document holds. */
  | DocInfo & { do: "doc.info" }
  /** Keeps the text of now under a name, or drops the name. */
  | DocTag & { do: "doc.tag" }
  /** Makes the text what it was at a tag. */
  | DocRestore & { do: "doc.restore" }
  /** Says where the user is in a document. */
  | DocCursor & { do: "doc.cursor" }
  /** Changes what others see of the own connection. */
  | PresenceSet & { do: "presence.set" }
  /** Who is here. */
  | RoomOnly & { do: "presence.list" }
  /** Whether these users are here, or when they were. */
  | PresenceGet & { do: "presence.get" }
  /** Says where the user points. */
  | PresenceCursor & { do: "presence.cursor" }
  /** Says that somebody types, or stopped. */
  | PresenceTyping & { do: "presence.typing" }
  /** The user's own connections. */
  | { do: "devices.list" }
  /** Ends one of the user's own connections. */
  | DevicesKick & { do: "devices.kick" }
  /** A sign of life. */
  | { do: "ping" }
);

/** A part of an operation: keep so many UTF-16 units, insert a text, or with a negative number delete. */
export type Component = number | string;

/** `connect` */
export interface Connect {
  /** Rooms to join at once. */
  resume?: { [name: string]: JoinOptions } | undefined;
  /** The JWT, unless it came in the `Authorization` header. */
  token?: Token | undefined;
}

/** The answer of `connect`. */
export interface Connected {
  connection: string;
  name?: string | undefined;
  ping_interval_ms: number;
  /** Per room what `room.join` answers, or `{"error":…}`. */
  rooms: { [name: string]: RoomAnswer };
  user: string;
}

/** How a missing document is made. */
export interface Create {
  /** Its first content. */
  content?: string | undefined;
  /** `text` */
  type: string;
}

/** Where somebody is in a document, in UTF-16 units. */
export interface Cursor {
  /** The end of the selection that stays. */
  anchor: number;
  connection: string;
  data?: JsonObject | undefined;
  /** The end that moves; where the caret is. */
  head: number;
  user: string;
}

/** A place in a text, in UTF-16 units. */
export interface CursorAt {
  /** The end of the selection that stays. */
  anchor: number;
  /** At most 1 KiB of JSON object. */
  data?: JsonObject | undefined;
  /** The end that moves; where the caret is. */
  head: number;
}

/** A place in a text, or `null` for nowhere. */
export type CursorOrNull = CursorAt | null;

/** Where people are: in the text of a document, or, for presence, in whatever the application shows. */
export type Cursors = readonly Cursor[] | readonly Pointer[];

/** Somebody who left. */
export interface Departure { user: string }

/** One of the user's own connections. */
export interface DeviceSeen {
  /** When it last came or set something. */
  active_ms: number;
  /** Where it came from; empty if that is not known. */
  address: string;
  /** What it called itself; empty if it did not. */
  agent: string;
  connection: string;
  /** The front that it is at. */
  node: string;
  since_ms: number;
  status: string;
}

/** The answer of `devices.list`. */
export interface Devices { devices: readonly DeviceSeen[] }

/** `devices.kick` */
export interface DevicesKick {
  /** One of the user's own connections. */
  connection: string;
}

/** `doc.close` */
export interface DocClose {
  /** The name of the document. */
  doc: string;
  /** The room. */
  room: string;
}

/** `doc.cursor` */
export interface DocCursor {
  /** Where; `null` for nowhere. */
  cursor: CursorOrNull;
  /** The name of the document. */
  doc: string;
  /** The revision of the text that the positions are in. */
  rev: number;
  /** The room. */
  room: string;
}

/** The answer of `doc.info`. */
export interface DocDescription {
  /** The length of the text in bytes of UTF-8. */
  bytes: number;
  /** The length of the text in Unicode scalar values. */
  chars: number;
  cursors: number;
  /** How lines end: `lf` or `any`. */
  eol: string;
  epoch: string;
  /** The oldest revision that can be read or based on. */
  first_rev: number;
  operation_bytes: number;
  operations: number;
  rev: number;
  tags: readonly DocTagged[];
  type: string;
  /** The length of the text in UTF-16 units. */
  utf16: number;
  writers: number;
}

/** `doc.get` */
export interface DocGet {
  /** The name of the document. */
  doc: string;
  /** The revision, or the newest. */
  rev?: number | undefined;
  /** The room. */
  room: string;
}

/** `doc.info` */
export interface DocInfo {
  /** The name of the document. */
  doc: string;
  /** The room. */
  room: string;
}

/** `doc.open` */
export interface DocOpen {
  /** Makes the document if it is missing. */
  create?: Create | undefined;
  /** The name of the document. */
  doc: string;
  /** What the client holds already. */
  position?: string | undefined;
  /** The room. */
  room: string;
}

/** `doc.ops` */
export interface DocOps {
  /** The name of the document. */
  doc: string;
  /** Epoch of `from`. */
  epoch?: string | undefined;
  /** Operations after this revision. */
  from: number;
  /** The room. */
  room: string;
  /** Up to this revision. */
  to?: number | undefined;
}

/** The answer of `doc.ops`. */
export interface DocPage { epoch: string; events: readonly Event[]; outcome: string; rev: number; through: number }

/** `doc.restore` */
export interface DocRestore {
  /** The writer's client id; with `seq`, a resend happens once. */
  client?: string | undefined;
  /** The name of the document. */
  doc: string;
  /** The name of the tag. */
  name: string;
  /** The room. */
  room: string;
  /** Grows with each write of the client. */
  seq?: number | undefined;
}

/** The answer of `doc.get`. */
export interface DocState { content: string; epoch: string; rev: number; type: string }

/** `doc.submit` */
export interface DocSubmit {
  /** The writer's client id; with `seq`, a resend happens once. */
  client?: string | undefined;
  /** The name of the document. */
  doc: string;
  /** Epoch of the base. */
  epoch?: string | undefined;
  /** Length of the base text in UTF-16 units. */
  len?: number | undefined;
  /** The operation: `[5,"text",-3]` in UTF-16 units. */
  op: readonly Component[];
  /** Base revision. */
  rev: number;
  /** The room. */
  room: string;
  /** Grows with each write of the client. */
  seq?: number | undefined;
}

/** The answer of `doc.submit`, `doc.undo` and `doc.restore`. */
export interface DocSubmitted {
  concurrent: readonly (readonly Component[])[];
  duplicate: boolean;
  epoch: string;
  /** The operation as it was applied; left out when it was accepted so long ago that it is no longer kept. */
  op?: readonly Component[] | undefined;
  rev: number;
}

/** `doc.tag` */
export interface DocTag {
  /** The name of the document. */
  doc: string;
  /** Drops the tag instead. */
  drop?: boolean | undefined;
  /** The name of the tag. */
  name: string;
  /** The room. */
  room: string;
}

/** A text that is kept under a name. */
export interface DocTagged { at_ms: number; name: string; rev: number }

/** `doc.undo` */
export interface DocUndo {
  /** Whose edits: the client id that they were submitted with. */
  client: string;
  /** The name of the document. */
  doc: string;
  /** The room. */
  room: string;
  /** Grows with each undo of the client; with it, a resend happens once. */
  seq?: number | undefined;
}

/** The body of an error. */
export interface ErrorBody { code: Code; message: string; retry: boolean; retry_after_ms?: number | undefined }

/** What a front pushes. */
export type Event =
  /** Somebody, or a service, posted. */
  | {
      epoch: string;
      event: "msg.posted";
      from: number;
      message: Message;
      rev: number;
      room: string;
      stream: string;
    }
  /** A message was edited, deleted, finished, cancelled or interrupted. */
  | {
      epoch: string;
      event: "msg.changed";
      from: number;
      message: Message;
      rev: number;
      room: string;
      stream: string;
    }
  /** Somebody reacted to a message, or took a reaction back. */
  | {
      added: boolean;
      /** How many have reacted like this now. */
      count: number;
      epoch: string;
      event: "msg.reacted";
      from: number;
      n: number;
      reaction: string;
      rev: number;
      room: string;
      stream: string;
      user: string;
    }
  /** The text of a streaming message grew. */
  | {
      /** How long it was before, in UTF-16 units. */
      at: number;
      chunk: string;
      epoch: string;
      event: "msg.appended";
      from: number;
      n: number;
      rev: number;
      room: string;
      stream: string;
    }
  /** People have read on. */
  | {
      epoch: string;
      event: "msg.read";
      from: number;
      reads: readonly ReadMark[];
      rev: number;
      room: string;
      stream: string;
    }
  /** A document was made. */
  | {
      epoch: string;
      event: "doc.created";
      from: number;
      rev: number;
      room: string;
      stream: string;
      type: string;
    }
  /** An operation was accepted. */
  | {
      at_ms: number;
      client?: string | undefined;
      epoch: string;
      event: "doc.applied";
      from: number;
      op: readonly Component[];
      rev: number;
      room: string;
      seq?: number | undefined;
      stream: string;
      user?: string | undefined;
    }
  /** Cursors came, moved, went: those that changed since the last such event. */
  | {
      cursors: readonly Cursor[];
      epoch: string;
      event: "doc.cursors";
      /** Connections whose cursor is gone. */
      gone: readonly string[];
      /** The revision of the text that the positions are in. */
      rev: number;
      room: string;
      stream: string;
    }
  /** People came, changed, went. */
  | {
      count: number;
      epoch: string;
      event: "presence.changed";
      from: number;
      joined: readonly Member[];
      left: readonly Departure[];
      rev: number;
      room: string;
      stream: string;
      updated: readonly Member[];
    }
  /** Everybody who types now. */
  | { event: "presence.typing"; room: string; users: readonly string[] }
  /** Pointers came, moved, went: those that changed since the last such event. */
  | {
      cursors: readonly Pointer[];
      event: "presence.cursors";
      /** Connections whose pointer is gone. */
      gone: readonly string[];
      room: string;
    }
  /** This connection was taken out of the room; if it is the user's own, the connection ends next. */
  | { by?: string | undefined; event: "room.kicked"; reason?: string | undefined; room: string }
  /** What this connection may do in the room is different now. Without `read` it is out of it. */
  | {
      /** `read`, `talk`, `edit`, `manage`: those that are allowed. */
      actions: readonly string[];
      event: "room.access";
      /** The role in the room's list, or the name that fits the actions. */
      role: string;
      room: string;
    }
  /** An ephemeral event of the application. */
  | {
      connection?: string | undefined;
      data: Json;
      event: "room.emitted";
      name: string;
      /** Base64, over `/sse`; over a WebSocket the bytes follow the frame in a binary message. */
      payload?: string | undefined;
      room: string;
      user?: string | undefined;
    }
  /** The token ends soon: send another with `auth.refresh`. */
  | { event: "auth.expiring"; in_ms: number }
  /** This front stops and ends the connection next: come back after that time. */
  | { event: "connection.closing"; retry_after_ms: number }
  /** The stream was deleted or replaced, or with an empty name all streams of the room: open it again. */
  | { event: "room.reset"; room: string; stream: string }
  /** Exactly-what-you-missed is impossible: take the snapshot. */
  | { event: "room.resync"; room: string; stream: string } & (
      /** Exactly what was missed, oldest first. */
      | {
          /** Document: where people are, in the text of `rev`. Presence: where they point. */
          cursors?: Cursors | undefined;
          epoch: string;
          events: readonly Event[];
          /** Log: how many of them name the user. */
          mentions?: number | undefined;
          outcome: "changes";
          /** Log: up to where the user has read. */
          read?: number | undefined;
          rev: number;
          /** Presence: who types. */
          typing?: readonly string[] | undefined;
          /** Log: how many messages of others come after it. */
          unread?: number | undefined;
        }
      /** Forget what you hold and take this. */
      | Snapshot & { outcome: "snapshot" }
      /** There is no such document. */
      | { outcome: "missing" }
    );

/** How a room is joined. */
export interface JoinOptions {
  /** What the client holds of each stream; `null` for nothing yet. */
  positions?: { [name: string]: string | null } | undefined;
  /** With it the connection is listed as here. */
  presence?: Presence | undefined;
}

/** The answer of `room.join`. */
export interface Joined {
  /** `read`, `talk`, `edit`, `manage`: those that are allowed. */
  actions: readonly string[];
  /** The role in the room's list, or the name that fits the actions. */
  role: string;
  room: string;
  streams: { [name: string]: StreamPart };
}

/** The answer of `room.kick`. */
export interface Kicked {
  /** How many connections were listed as here. */
  connections: number;
}

/** Somebody who is here. */
export interface Member {
  /** `#3d7ab8`: follows from the user alone. */
  color: string;
  connections: number;
  data: JsonObject;
  since_ms: number;
  /** `online`, `away`, `busy`, or one of the application's own. */
  status: string;
  user: string;
}

/** A message of the log. */
export interface Message {
  at_ms: number;
  /** As it was written. */
  body: BodyOrNull;
  /** Somebody asked its writer to stop. */
  cancelled?: boolean | undefined;
  client?: string | undefined;
  deleted_at_ms?: number | undefined;
  deleted_by?: string | undefined;
  edited_at_ms?: number | undefined;
  /** Its writer fell silent. */
  interrupted?: boolean | undefined;
  /** Users whom it names; `*` means everybody. */
  mentions?: readonly string[] | undefined;
  meta?: JsonObject | undefined;
  /** Its number in the room. */
  n: number;
  reactions?: { [name: string]: Reaction } | undefined;
  /** At the root of a thread: how many replies there are. */
  replies?: number | undefined;
  /** The message that this one answers. */
  reply?: number | undefined;
  seq?: number | undefined;
  /** Its body grows still. */
  streaming?: boolean | undefined;
  /** The root of the thread that it belongs to. */
  thread?: number | undefined;
  type: string;
  user: string;
}

/** `msg.append` */
export interface MsgAppend {
  /** How long the text is before, in UTF-16 units: says whether an earlier chunk is missing. */
  at?: number | undefined;
  /** What the text grows by. */
  chunk: string;
  /** The writer's client id; with `seq`, a resend happens once. */
  client?: string | undefined;
  /** The message's number. */
  n: number;
  /** The room. */
  room: string;
  /** Grows with each write of the client. */
  seq?: number | undefined;
}

/** The answer of `msg.append`. */
export interface MsgAppended {
  /** Whether somebody asked the writer to stop. */
  cancelled: boolean;
  duplicate: boolean;
  epoch: string;
  /** How long the text is, in UTF-16 units. */
  length: number;
  n: number;
  rev: number;
}

/** The answer of `msg.edit`, `msg.delete`, `msg.finish` and `msg.cancel`. */
export interface MsgChanged {
  /** Whether anything is different now. */
  changed: boolean;
  duplicate: boolean;
  epoch: string;
  n: number;
  rev: number;
}

/** `msg.edit` */
export interface MsgEdit {
  /** The new body: object or string. */
  body: Body;
  /** The writer's client id; with `seq`, a resend happens once. */
  client?: string | undefined;
  /** Users whom the message names now; `*` means everybody. */
  mentions?: readonly string[] | undefined;
  /** The message's number. */
  n: number;
  /** The room. */
  room: string;
  /** Grows with each write of the client. */
  seq?: number | undefined;
}

/** `msg.finish` */
export interface MsgFinish {
  /** Replaces the text that has grown: object or string. */
  body?: Body | undefined;
  /** The writer's client id; with `seq`, a resend happens once. */
  client?: string | undefined;
  /** The message's number. */
  n: number;
  /** The room. */
  room: string;
  /** Grows with each write of the client. */
  seq?: number | undefined;
}

/** The answer of `msg.read`. */
export interface MsgMarked {
  /** Whether the mark moved: it only moves up. */
  changed: boolean;
  epoch: string;
  rev: number;
}

/** `msg.read` and `msg.history` */
export interface MsgNumber {
  /** The message's number. */
  n: number;
  /** The room. */
  room: string;
}

/** The answer of `msg.range`. */
export interface MsgPage {
  epoch: string;
  messages: readonly Message[];
  /** Whether there are further ones in the direction that was asked for; with `around` in either. */
  more: boolean;
  more_after: boolean;
  more_before: boolean;
  rev: number;
}

/** `msg.post` */
export interface MsgPost {
  /** Object or string. */
  body: Body;
  /** The writer's client id; with `seq`, a resend happens once. */
  client?: string | undefined;
  /** Users whom the message names; `*` means everybody. */
  mentions?: readonly string[] | undefined;
  /** What the application keeps with the message: at most 4 KiB of JSON object. */
  meta?: JsonObject | undefined;
  /** Number of the message that this one answers. */
  reply?: number | undefined;
  /** The room. */
  room: string;
  /** Grows with each write of the client. */
  seq?: number | undefined;
  /** The body is a string that grows by `msg.append` until `msg.finish`. */
  streaming?: boolean | undefined;
  /** The kind of message; `text` if it is left out. */
  type?: string | undefined;
}

/** The answer of `msg.post`. */
export interface MsgPosted { duplicate: boolean; epoch: string; n: number; rev: number }

/** `msg.range` */
export interface MsgRange {
  /** Messages after this number. */
  after?: number | undefined;
  /** Messages before and after this number, and itself. */
  around?: number | undefined;
  /** Messages before this number. */
  before?: number | undefined;
  /** 1 to 100, 50 if it is left out. */
  count?: number | undefined;
  /** The room. */
  room: string;
  /** Only the replies of the thread under this message. */
  thread?: number | undefined;
}

/** The answer of `msg.react` and `msg.unreact`. */
export interface MsgReacted {
  /** Whether anything is different now. */
  changed: boolean;
  /** How many have reacted like this. */
  count: number;
  duplicate: boolean;
  epoch: string;
  n: number;
  rev: number;
}

/** `msg.react` and `msg.unreact` */
export interface MsgReaction {
  /** The writer's client id; with `seq`, a resend happens once. */
  client?: string | undefined;
  /** The message's number. */
  n: number;
  /** 1 to 64 bytes without control characters, usually an emoji. */
  reaction: string;
  /** The room. */
  room: string;
  /** Grows with each write of the client. */
  seq?: number | undefined;
}

/** The answer of `msg.unread`. */
export interface MsgUnread {
  epoch: string;
  /** How many of them name the user. */
  mentions: number;
  /** The number of the newest message. */
  n: number;
  /** Up to where the user has read. */
  read: number;
  rev: number;
  /** How many messages of others come after it. */
  unread: number;
}

/** The answer of `msg.history`. */
export interface MsgVersions {
  /** Oldest first, the present one last. */
  versions: readonly Version[];
}

/** `msg.delete` and `msg.cancel` */
export interface MsgWrite {
  /** The writer's client id; with `seq`, a resend happens once. */
  client?: string | undefined;
  /** The message's number. */
  n: number;
  /** The room. */
  room: string;
  /** Grows with each write of the client. */
  seq?: number | undefined;
}

/** An answer that says no more than that it was done. */
export type Nothing = Record<string, never>;

/** Bytes of the application, of any kind. */
export type Payload = string;

/** Somebody who was asked for. */
export interface PersonSeen {
  /** Here: `#3d7ab8`. */
  color?: string | undefined;
  /** Here: what others see. */
  data?: JsonObject | undefined;
  /** Whether the user is here, and shows it. */
  here: boolean;
  /** Not here: when the user was seen last. */
  last_seen_ms?: number | undefined;
  /** Here: since when. */
  since_ms?: number | undefined;
  /** Here: what the user's connections come to. */
  status?: string | undefined;
  user: string;
}

/** Where a connection points in a room. */
export interface Pointer {
  connection: string;
  /** As it was told. */
  cursor: Json;
  user: string;
}

/** What others see of a connection. */
export interface Presence {
  /** At most 1 KiB of JSON object. */
  data?: JsonObject | undefined;
  /** 1 to 32 of `A-Z a-z 0-9 _ . -`: `online` if it is left out, `away`, `busy`, `invisible`, or one of the
   * application's own. */
  status?: string | undefined;
}

/** `presence.cursor` */
export interface PresenceCursor {
  /** Where the user points: any JSON, at most 1 KiB; `null` for nowhere. */
  cursor: Json;
  /** The room. */
  room: string;
}

/** `presence.get` */
export interface PresenceGet {
  /** The room. */
  room: string;
  /** 1 to 100 users. */
  users: readonly string[];
}

/** The answer of `presence.get`. */
export interface PresencePeople {
  /** In the order asked; `null` for who was never seen here, or so long ago that it is forgotten. */
  people: readonly (PersonSeen | null)[];
}

/** `presence.set`: at least one of data and status. */
export interface PresenceSet {
  /** RFC 7396 merge patch. */
  data?: JsonObject | undefined;
  /** The room. */
  room: string;
  /** The status of the own connection. */
  status?: string | undefined;
}

/** `presence.typing` */
export interface PresenceTyping {
  /** The room. */
  room: string;
  /** Whether the user types. */
  typing: boolean;
}

/** Who reacted in one way. */
export interface Reaction {
  count: number;
  /** The first 100. */
  users: readonly string[];
}

/** Up to where somebody has read. */
export interface ReadMark {
  /** The number of a message. */
  n: number;
  user: string;
}

/** One user or one connection in a room. */
export type Recipient =
  /** All connections of one user in the room. */
  | { user: string }
  /** One connection. */
  | { connection: string };

/** The answer of `auth.refresh`. */
export interface Refreshed {
  /** How long the new token lasts. */
  expires_in_ms: number;
}

/** A reply: `ok` or `error`. */
export interface Reply {
  /** Why it was not carried out. */
  error?: ErrorBody | undefined;
  /** The command's number; null if it could not be read. */
  id: ReplyId;
  /** What the command answers: see `Answers`. */
  ok?: Json | undefined;
}

/** The number of the command that is answered. */
export type ReplyId = number | null;

/** The answer for one room of `connect`. */
export type RoomAnswer =
  /** Joined. */
  | Joined
  /** Not joined. */
  | { error: ErrorBody };

/** `room.emit` */
export interface RoomEmit {
  /** Any JSON. */
  data: Json;
  /** The name of the application's event. */
  name: string;
  /** Bytes beside the data, in base64 (RFC 4648, 4); or they follow the frame in a binary message. */
  payload?: Payload | undefined;
  /** The room. */
  room: string;
  /** Whom it is for, if not for everybody. */
  to?: Recipient | undefined;
}

/** `room.grant` */
export interface RoomGrant {
  /** `none`, `viewer`, `commenter`, `editor`, `owner`, a role of the operator, or actions joined by `+`. */
  role: string;
  /** The room. */
  room: string;
  /** After this time the entry ends, in milliseconds; for good if it is left out. */
  ttl_ms?: number | undefined;
  /** The user; `*` for everybody whom the room's list does not name. */
  user: string;
}

/** `room.join` */
export interface RoomJoin {
  /** What the client holds of each stream; `null` for nothing yet. */
  positions?: { [name: string]: string | null } | undefined;
  /** With it the connection is listed as here. */
  presence?: Presence | undefined;
  /** The room. */
  room: string;
}

/** `room.kick` */
export interface RoomKick {
  /** Why, for those who have to go: at most 256 bytes. */
  reason?: string | undefined;
  /** The room. */
  room: string;
  /** Who has to go. */
  who: Recipient;
}

/** A command that has no field but the room. */
export interface RoomOnly {
  /** The room. */
  room: string;
}

/** `room.revoke` */
export interface RoomRevoke {
  /** Takes the entry away, so that the token decides again, instead of shutting the user out. */
  forget?: boolean | undefined;
  /** The room. */
  room: string;
  /** The user, or `*`. */
  user: string;
}

/** A stream as a whole: which fields there are depends on the stream. */
export interface Snapshot {
  because: Because;
  /** Document: the text. */
  content?: string | undefined;
  /** Presence: how many users. */
  count?: number | undefined;
  /** Document: where people are, in the text of `rev`. Presence: where they point. */
  cursors?: Cursors | undefined;
  epoch: string;
  /** With `rollback`: the last revision that survived. */
  history_end?: number | undefined;
  /** Presence: who is here. */
  members?: readonly Member[] | undefined;
  /** Log: how many of them name the user. */
  mentions?: number | undefined;
  /** Log: the newest, oldest first. */
  messages?: readonly Message[] | undefined;
  /** Log: whether there are older ones. */
  more?: boolean | undefined;
  /** Log: up to where the user has read. */
  read?: number | undefined;
  /** Log: up to where people have read, the 100 marks that moved last. */
  reads?: readonly ReadMark[] | undefined;
  rev: number;
  /** Document: `text`. */
  type?: string | undefined;
  /** Presence: who types. */
  typing?: readonly string[] | undefined;
  /** Log: how many messages of others come after it. */
  unread?: number | undefined;
}

/** How a stream is brought up to date. */
export type StreamPart =
  /** Exactly what was missed, oldest first. */
  | {
      /** Document: where people are, in the text of `rev`. Presence: where they point. */
      cursors?: Cursors | undefined;
      epoch: string;
      events: readonly Event[];
      /** Log: how many of them name the user. */
      mentions?: number | undefined;
      outcome: "changes";
      /** Log: up to where the user has read. */
      read?: number | undefined;
      rev: number;
      /** Presence: who types. */
      typing?: readonly string[] | undefined;
      /** Log: how many messages of others come after it. */
      unread?: number | undefined;
    }
  /** Forget what you hold and take this. */
  | Snapshot & { outcome: "snapshot" }
  /** There is no such document. */
  | { outcome: "missing" };

/** A JWT, which is never printed. */
export type Token = string;

/** What a message said once. */
export interface Version { at_ms: number; body: BodyOrNull; user: string }
