//! The reference of all commands: the module registers them with these texts, and `docs/commands.md` is made of
//! them. So `COMMAND DOCS`, the page and the code cannot differ.

/// One command as people read about it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// `FAMILY.VERB`.
    pub name: &'static str,
    /// What follows the name. Lower case is a value, upper case is typed as it stands, brackets are optional,
    /// `…` repeats what its brackets hold.
    pub syntax: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What it answers.
    pub reply: &'static str,
    /// What it refuses beside `INVALID_ARGUMENT`, `INVALID_KEY` and `WRONGTYPE`.
    pub refuses: &'static str,
    /// What people in the room hear.
    pub event: &'static str,
    /// In the field's notation.
    pub complexity: &'static str,
}

const NOTHING: &str = "";

const MSG: &str = "The log of a room: what was said, in order, each once, and what became of it. The revision counts changes; a message keeps its number. Every write takes `ID`, in the name of its user: `duplicate` is 1 if it was accepted before, and then this is the first answer again. `changed` is 0 if there was nothing to change: then nothing is announced and there is no new revision. A message is `{\"n\",\"user\",\"type\",\"at_ms\",\"body\"}` and what applies of `reply`, `thread` (the message that a thread began with), `replies` (at that message), `mentions`, `meta`, `reactions` (`{\"👍\":{\"count\",\"users\"}}`, the first 100 users of each), `edited_at_ms`, `deleted_at_ms`, `deleted_by`, `streaming`, `cancelled`, `interrupted`, `client`, `seq`. The events `msg.posted` and `msg.changed` of a reply say beside `message` how many `replies` its thread has now.";

const PRESENCE: &str = "Who is here. A person may have many connections; each is held by a node (a front), and each node keeps one lease per room for all of its connections. A member is `{\"user\",\"connections\",\"since_ms\",\"status\",\"color\",\"data\"}`. `data` is that of the connection that changed last. `status` is `online`, `away`, `busy`, `invisible` or a word of yours, and comes from all connections: `invisible` if any says so, else that of the connection that changed last among those not `away`, else `away`; setting the status `away` and nothing else does not make a connection the one that changed last. Of an invisible person others see nothing: hiding is announced as leaving, showing oneself as joining. `color` follows from the user's id alone: the hue is FNV-1a 32 of it, and text in the color can be read on white and on black.";

const RATE: &str = "Limits: who may do how much, and who may hold how many. The key is any key of yours, in any database; it holds a string and ends by itself. A limit is a bucket of `burst` tokens that gets `count` tokens back every `period_ms`, evenly and exactly; up to 8 limits are decided together. Burst and count are at most 1,000,000,000, and a bucket has to be full again within ten years. The five numbers of an answer stand as redis-cell has them, but the first says allowed and not limited, and times are milliseconds. Times come from the clock of the server: if it steps back, buckets are at worst empty, and blocks and leases begin anew. Leases (RATE.HOLD) have keys of their own. A key that holds another string is refused with `INVALID_ARGUMENT` and left alone.";

/// A family of commands.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// With its dot.
    pub prefix: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its commands in reading order.
    pub commands: &'static [Entry],
}

/// Every family.
pub const FAMILIES: &[Family] = &[
    Family {
        prefix: "RATE.",
        about: RATE,
        commands: &[
            Entry {
                name: "RATE.TAKE",
                syntax: "key LIMIT burst count period_ms [LIMIT burst count period_ms …] [COST cost] [BLOCK after block_ms]",
                summary: "Takes tokens from all limits of a key, or from none",
                reply: "An array: allowed (1 or 0), the burst of the tightest limit (0 while the key is blocked), calls left in it, milliseconds until the same call would be allowed (-1 if it was), milliseconds until the tightest limit is full again, or the block ends. `COST 0` looks and takes nothing. A call that is not allowed changes nothing, unless it says `BLOCK`: then refusals in a row are counted, and the one with the number `after` blocks the key for `block_ms`. A call that is allowed ends the row, so who waits as long as told is never blocked. During a block every call is refused, whoever asks, and makes it no longer.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(limits)",
            },
            Entry {
                name: "RATE.PEEK",
                syntax: "key LIMIT burst count period_ms [LIMIT burst count period_ms …] [COST cost]",
                summary: "Says what RATE.TAKE would be answered, and takes nothing",
                reply: "As RATE.TAKE; what is left is told before anything is taken. Replicas answer it too.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(limits)",
            },
            Entry {
                name: "RATE.REFUND",
                syntax: "key LIMIT burst count period_ms [LIMIT burst count period_ms …] [COST cost]",
                summary: "Gives tokens back to all limits of a key, none above its burst",
                reply: "As RATE.PEEK for one token afterwards. A block stays.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(limits)",
            },
            Entry {
                name: "RATE.RESET",
                syntax: "key",
                summary: "Forgets everything that is known of a key: what was taken, refusals, a block, leases",
                reply: "1, or 0 if nothing was known.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(1)",
            },
            Entry {
                name: "RATE.BLOCK",
                syntax: "key ms",
                summary: "Refuses everything that RATE.TAKE asks of a key for so long; 0 ends a block",
                reply: "1, or 0 if there was no block to end. The new block replaces the one before. Ten years at most.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(1)",
            },
            Entry {
                name: "RATE.HOLD",
                syntax: "key holder max ttl_ms",
                summary: "Gives a holder a lease, if fewer than max hold one",
                reply: "An array: allowed (1 or 0), how many hold one now, `max`, milliseconds until there is room (-1 if it was allowed). The lease ends `ttl_ms` from now, at most a day, and then counts no more; who holds one and asks again keeps it. The key ends with its last lease. `max` is at most 1,000.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(holders)",
            },
            Entry {
                name: "RATE.DROP",
                syntax: "key holder",
                summary: "Ends the lease of a holder",
                reply: "1, or 0 if there was none.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(holders)",
            },
        ],
    },
    Family {
        prefix: "PRESENCE.",
        about: PRESENCE,
        commands: &[
            Entry {
                name: "PRESENCE.JOIN",
                syntax: "key user conn node ttl_ms [DATA json] [PRIVATE json] [STATUS status]",
                summary: "Lists a connection of a user, held by a node whose lease lasts ttl_ms from now",
                reply: "A map: `rev`, `epoch`, `first` (1 if the user was not here before), `connections` of the user. The same connection again extends the lease and replaces what is given; what is left out stays. `DATA` is an object that everybody in the room sees; `PRIVATE` is stored and never announced; both at most `presence-bytes-max`. `STATUS` is 1 to 32 of `A-Z a-z 0-9 _ . -`, at first `online`.",
                refuses: "`FULL`, `KICKED` (the connection was kicked), `INVALID_JSON`, `TOO_LARGE`",
                event: "`presence.changed`, gathered per tick, unless the user is invisible",
                complexity: "O(log n) in the people of the room",
            },
            Entry {
                name: "PRESENCE.SET",
                syntax: "key conn [json] [STATUS status] [PRIVATE json] [USER user] [LIMITS n key burst count period_ms …]",
                summary: "Changes the data of a connection by a merge patch (RFC 7396), its status, and its private object by another patch",
                reply: "A map: `rev`, `epoch`. One of the three has to be given. `PRIVATE` alone is announced to nobody.",
                refuses: "`NOT_FOUND` (the connection is not here, or not this user's), `INVALID_JSON`, `TOO_LARGE`, `RATE_LIMITED`",
                event: "`presence.changed`, gathered per tick, unless the user is and was invisible",
                complexity: "O(log n)",
            },
            Entry {
                name: "PRESENCE.BEAT",
                syntax: "key node ttl_ms",
                summary: "Extends the lease of a node to ttl_ms from now",
                reply: "An integer: the connections that the node has here. 0 means that its lease had ended and its people were told to have left: join them again.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(log n) in the nodes of the room",
            },
            Entry {
                name: "PRESENCE.LEAVE",
                syntax: "key conn [GRACE ms] [USER user]",
                summary: "Ends a connection; after a user's last one they leave, at once or after a grace",
                reply: "A map: `rev`, `epoch`, `connections` that the user still has.",
                refuses: "`NOT_FOUND` (the connection is not here, or not this user's)",
                event: "`presence.changed`, gathered per tick",
                complexity: "O(log n)",
            },
            Entry {
                name: "PRESENCE.TYPING",
                syntax: "key conn ms [USER user]",
                summary: "Marks the user behind a connection as typing for ms, or as not typing with 0",
                reply: "An integer: how many users type. At most 60000 ms. The mark of an invisible user is not kept.",
                refuses: "`NOT_FOUND` (the connection is not here, or not this user's)",
                event: "`presence.typing`, gathered per tick; also when the mark ends by itself",
                complexity: "O(log n)",
            },
            Entry {
                name: "PRESENCE.CURSOR",
                syntax: "key conn cursor [USER user]",
                summary: "Tells where a connection points, or with null that it does not",
                reply: "An integer: how many cursors are shown. A cursor is any JSON of at most `presence-bytes-max`. It is not stored and not replicated; it ends with the connection, or 60 s after it was last told. That of an invisible user is not kept.",
                refuses: "`NOT_FOUND` (the connection is not here, or not this user's), `FULL` (1,000 cursors), `INVALID_JSON`, `TOO_LARGE`",
                event: "`presence.cursors`, gathered per tick: `cursors` (`{\"connection\",\"user\",\"cursor\"}`, the newest of each connection) and `gone` (connections), only what changed, at most 500 a tick",
                complexity: "O(log n)",
            },
            Entry {
                name: "PRESENCE.LIST",
                syntax: "key [SINCE position]",
                summary: "Says who is here, or what changed since a position",
                reply: "A map: `outcome`, `epoch`, `rev`, `count`, `typing`, `cursors` (JSON, as in the event), and `members` (one JSON list) with the outcome `snapshot` or `events` (revision and frame in turn) with `changes`.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(n) in the people named",
            },
            Entry {
                name: "PRESENCE.COUNT",
                syntax: "key [DETAIL]",
                summary: "Counts the people who are here",
                reply: "An integer: the people whom others see. With `DETAIL` a map: `people` (the same), `connections` of everybody, `invisible` people.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(1)",
            },
            Entry {
                name: "PRESENCE.GET",
                syntax: "key user [user …]",
                summary: "Says where users are, for services: with what is private, and the truth about who is invisible",
                reply: "An array with an item for each user, in order. Of who is here, a map: `user`, `here` 1, `status`, `color`, `since_ms` (since when others see them, or since when they hide), `data`, `connections`: an array of maps `conn`, `node`, `since_ms`, `active_ms` (when it last joined or set something), `status`, `data`, `private`, the last change first, at most 100. Of who is not: `user`, `here` 0, `last_seen_ms` (when the last connection ended; of who left invisible, since when they hid). Nil of who was never seen, or is forgotten: the `presence-seen-max` users who left last are remembered. At most 100 users.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(n) in the connections named",
            },
        ],
    },
    Family {
        prefix: "DOC.",
        about: "Documents that many people edit at once. An operation is `[5,\"text\",-3]`: keep 5, insert `text`, delete 3; what follows the last component is kept. Lengths count UTF-16 units, or Unicode scalar values with `UNIT char`.",
        commands: &[
            Entry {
                name: "DOC.CREATE",
                syntax: "key type [content] [EOL lf|any]",
                summary: "Makes a document, unless it is there",
                reply: "A map: `created` (0 if it was there; then nothing changed), `epoch`, `rev`. The type is `text`. With `EOL lf`, the default, CR LF and CR in the content become LF, and later inserts with CR are refused.",
                refuses: "`TOO_LARGE`",
                event: "`doc.created`",
                complexity: "O(n) in the content",
            },
            Entry {
                name: "DOC.SUBMIT",
                syntax: "key rev op [ID client seq] [EPOCH epoch] [LEN len] [HASH hash] [UNIT utf16|char] [BY user conn] [LIMITS n key burst count period_ms …]",
                summary: "Takes an operation made at rev over everything accepted since, applies and announces it",
                reply: "A map: `rev` that it created, `epoch`, `op` as it was applied, `duplicate` (1 if `ID` was accepted before: then this is the first answer again), `concurrent` (the operations accepted between). An operation that has nothing left to do is acknowledged with the newest `rev` and `[]`. `LEN` is the length of the caller's text at rev; `HASH` is FNV-1a 64 of it in UTF-8, 16 hexadecimal digits, checked when rev is the newest. Give `ID` whenever you may have to resend, with the user in `BY`: identities belong to users.",
                refuses: "`NOT_FOUND`, `INVALID_OPERATION`, `TOO_LARGE`, `STALE` (rev is no longer kept: take the snapshot, rebase), `AHEAD`, `DESYNC` (the operation reaches beyond the text, or `LEN` or `HASH` differ: the caller's text is not this one), `ROLLBACK`, `RESET` (the epoch's history was replaced), `FORGOTTEN`, `RATE_LIMITED`",
                event: "`doc.applied`",
                complexity: "O(k + c log n) in the operations accepted since rev, the components, and the text",
            },
            Entry {
                name: "DOC.UNDO",
                syntax: "key client [ID id seq] [BY user conn] [LIMITS n key burst count period_ms …]",
                summary: "Takes back the newest operation of a client that is kept and not taken back yet, transformed over everything since",
                reply: "As `DOC.SUBMIT`. The client is the one that the operation's `ID` named, of the user in `BY`. What others wrote stays. The operation that takes back carries `ID` if it is given, so a resend happens once.",
                refuses: "`NOT_FOUND` (no document, or nothing left to undo), `FORGOTTEN`, `RATE_LIMITED`",
                event: "`doc.applied`",
                complexity: "O(k) in the operations since",
            },
            Entry {
                name: "DOC.CURSOR",
                syntax: "key conn rev json [BY user]",
                summary: "Tells where a connection is in the text at rev",
                reply: "An integer: how many cursors are known. The value is `{\"anchor\":5,\"head\":9,\"data\":{…}}` in UTF-16 units, or `null` to take the cursor away. A cursor ends by itself 60 s after it was last told. It moves with every operation, and is neither stored nor replicated.",
                refuses: "`NOT_FOUND`, `AHEAD`, `STALE`, `DESYNC` (beyond the text), `FULL`, `INVALID_JSON`, `TOO_LARGE`",
                event: "`doc.cursors`, gathered per tick; also when a cursor ends by itself",
                complexity: "O(k) in the operations since rev",
            },
            Entry {
                name: "DOC.TAG",
                syntax: "key name [DROP]",
                summary: "Keeps the text of now under a name, however far the history is trimmed, or drops the name",
                reply: "A map: `rev`, `epoch`.",
                refuses: "`NOT_FOUND`, `FULL`, `TOO_LARGE`",
                event: NOTHING,
                complexity: "O(n) in the text",
            },
            Entry {
                name: "DOC.RESTORE",
                syntax: "key name [ID id seq] [BY user conn] [LIMITS n key burst count period_ms …]",
                summary: "Makes the text what it was at a tag, by one operation that replaces what differs",
                reply: "As `DOC.SUBMIT`.",
                refuses: "`NOT_FOUND`, `TOO_LARGE`, `FORGOTTEN`, `RATE_LIMITED`",
                event: "`doc.applied`",
                complexity: "O(n) in the text",
            },
            Entry {
                name: "DOC.TRIM",
                syntax: "key keep",
                summary: "Drops all but the newest operations; who is further behind takes the snapshot",
                reply: "An integer: how many were dropped.",
                refuses: "`NOT_FOUND`",
                event: NOTHING,
                complexity: "O(dropped)",
            },
            Entry {
                name: "DOC.INFO",
                syntax: "key",
                summary: "Says what a document holds",
                reply: "A map: `type`, `eol`, `epoch`, `rev`, `first_rev` (the oldest revision that can be read or based on), `operations`, `operation_bytes`, `bytes`, `utf16`, `chars` (the length of the text), `writers`, `cursors`, `tags` (name, revision and Unix time in milliseconds in turn).",
                refuses: "`NOT_FOUND`",
                event: NOTHING,
                complexity: "O(tags)",
            },
            Entry {
                name: "DOC.GET",
                syntax: "key [REV rev]",
                summary: "Reads a document, now or as it was at a revision that is still kept",
                reply: "A map: `rev`, `epoch`, `type`, `content`.",
                refuses: "`NOT_FOUND`, `STALE` (no longer kept)",
                event: NOTHING,
                complexity: "O(n) in the text, plus the operations walked back",
            },
            Entry {
                name: "DOC.OPS",
                syntax: "key from [to] [EPOCH epoch] [COUNT count]",
                summary: "Reads the operations after a revision, a page at a time",
                reply: "A map: `outcome` (`changes`; or `trimmed`, `rollback`, `reset`), `epoch`, `rev` (the newest), `through` (where the page ends; after `rollback` the revision where the shared history ends), `events` (revision and frame in turn).",
                refuses: "`NOT_FOUND`",
                event: NOTHING,
                complexity: "O(page)",
            },
        ],
    },
    Family {
        prefix: "MSG.",
        about: MSG,
        commands: &[
            Entry {
                name: "MSG.POST",
                syntax: "key user json [ID client seq] [TYPE type] [REPLY n] [MENTION user …] [META json] [STREAMING] [CONN conn] [LIMITS n key burst count period_ms …]",
                summary: "Posts a message",
                reply: "A map: `n` (the message's number, from 1), `rev`, `epoch`, `duplicate`. The body is a JSON object or string of at most `message-bytes-max`; of type `text`, the default, it is a string, or has one in `text`, that is not blank, and as a string it loses the blanks around it. Otherwise it is stored and delivered as it was written; whoever shows it escapes it. `MENTION` names one user and may be repeated, 32 at most; `*` names everybody. `META` is an object of the application, at most 4 KiB. With `STREAMING` the body is a string, perhaps an empty one, that grows by `MSG.APPEND` until `MSG.FINISH`.",
                refuses: "`INVALID_JSON`, `TOO_LARGE`, `NOT_FOUND` (the message replied to), `FULL` (100 messages are streamed already), `FORGOTTEN`, `RATE_LIMITED`",
                event: "`msg.posted`",
                complexity: "O(1), and what falls out of the log",
            },
            Entry {
                name: "MSG.EDIT",
                syntax: "key n user json [ANY] [MENTION user …] [ID client seq] [CONN conn] [LIMITS n key burst count period_ms …]",
                summary: "Replaces the body of a message, and whom it names",
                reply: "A map: `n`, `rev`, `epoch`, `duplicate`, `changed`. Only the author may, unless the caller vouches for a moderator with `ANY`. Those in `MENTION` are all whom the message names from now on: without any it names nobody. The newest 10 earlier bodies are kept, at most 64 KiB of them.",
                refuses: "`NOT_FOUND` (unknown or deleted), `PERMISSION_DENIED`, `INVALID_JSON`, `TOO_LARGE`, `FORGOTTEN`; `INVALID_ARGUMENT` while it is streamed, `RATE_LIMITED`",
                event: "`msg.changed`",
                complexity: "O(n) in the body and whom it names",
            },
            Entry {
                name: "MSG.DELETE",
                syntax: "key n user [ANY] [ID client seq] [CONN conn] [LIMITS n key burst count period_ms …]",
                summary: "Deletes a message and keeps its place",
                reply: "As `MSG.EDIT`. Number, author and times stay; body, meta, mentions, reactions and earlier bodies go. Who may is as for `MSG.EDIT`.",
                refuses: "`NOT_FOUND`, `PERMISSION_DENIED`, `FORGOTTEN`, `RATE_LIMITED`",
                event: "`msg.changed`, with the body `null`",
                complexity: "O(n) in what goes",
            },
            Entry {
                name: "MSG.REACT",
                syntax: "key n user reaction [ID client seq] [CONN conn] [LIMITS n key burst count period_ms …]",
                summary: "Adds a reaction of a user to a message",
                reply: "As `MSG.EDIT`, and `count`: how often that reaction stands there now. A reaction has 1 to 64 bytes and no control characters; a message has at most 32 different ones, and 1,000 in all.",
                refuses: "`NOT_FOUND`, `FULL`, `FORGOTTEN`, `RATE_LIMITED`",
                event: "`msg.reacted`",
                complexity: "O(n) in the reactions of the message",
            },
            Entry {
                name: "MSG.UNREACT",
                syntax: "key n user reaction [ID client seq] [CONN conn] [LIMITS n key burst count period_ms …]",
                summary: "Takes a reaction of a user back",
                reply: "As `MSG.REACT`.",
                refuses: "`NOT_FOUND`, `FORGOTTEN`, `RATE_LIMITED`",
                event: "`msg.reacted`",
                complexity: "O(n) in the reactions of the message",
            },
            Entry {
                name: "MSG.APPEND",
                syntax: "key n user chunk [AT length] [ID client seq] [CONN conn] [LIMITS n key burst count period_ms …]",
                summary: "Adds a text to the end of a streamed message",
                reply: "A map: `n`, `rev`, `epoch`, `duplicate`, `length` (of the text after it, in UTF-16 units), `cancelled` (1 if somebody asked for an end). Only the author may. With `AT` the text has to be that long before: else an earlier append is missing. A message that gets none for `message-stream-ms` is finished by the module, with `interrupted`.",
                refuses: "`NOT_FOUND`, `CLOSED` (not streamed, or not any more), `PERMISSION_DENIED`, `DESYNC`, `TOO_LARGE`, `FORGOTTEN`, `RATE_LIMITED`",
                event: "`msg.appended`",
                complexity: "O(n) in the chunk",
            },
            Entry {
                name: "MSG.FINISH",
                syntax: "key n user [json] [ID client seq] [CONN conn] [LIMITS n key burst count period_ms …]",
                summary: "Ends the growing of a streamed message",
                reply: "As `MSG.EDIT`. A body given here replaces what grew; else that stays. Only the author may.",
                refuses: "`NOT_FOUND`, `CLOSED`, `PERMISSION_DENIED`, `INVALID_JSON`, `TOO_LARGE`, `FORGOTTEN`, `RATE_LIMITED`",
                event: "`msg.changed`",
                complexity: "O(n) in the body",
            },
            Entry {
                name: "MSG.CANCEL",
                syntax: "key n user [ID client seq] [CONN conn] [LIMITS n key burst count period_ms …]",
                summary: "Asks the writer of a streamed message to stop",
                reply: "As `MSG.EDIT`. Anybody may ask. The writer finds `cancelled` in the answer to its next `MSG.APPEND`, everybody in the message; finishing is still the writer's.",
                refuses: "`NOT_FOUND`, `CLOSED`, `FORGOTTEN`, `RATE_LIMITED`",
                event: "`msg.changed`",
                complexity: "O(n) in the body, which is told",
            },
            Entry {
                name: "MSG.READ",
                syntax: "key user n [user n …]",
                summary: "Moves the watermarks of users up: they have read everything up to a message",
                reply: "A map: `rev`, `epoch`, `changed` (how many moved). A watermark never moves down, nor beyond the newest message. At most 100 pairs. `readers-max` watermarks are kept, those that moved last.",
                refuses: NOTHING,
                event: "`msg.read`, gathered per tick; any other change tells the waiting ones first",
                complexity: "O(k log n) in the pairs and the readers",
            },
            Entry {
                name: "MSG.UNREAD",
                syntax: "key user",
                summary: "Counts what a user has not read",
                reply: "A map: `read` (the watermark, 0 if there is none), `unread` (messages after it, without deleted ones and their own), `mentions` (how many of those name the user, or everybody), `n` (the newest message), `rev`, `epoch`.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(log n)",
            },
            Entry {
                name: "MSG.RANGE",
                syntax: "key [BEFORE n|AFTER n|AROUND n] [THREAD n] [COUNT count]",
                summary: "Reads messages before, after or around a number, or the newest",
                reply: "A map: `epoch`, `rev`, `messages` (JSON, oldest first), `more` (1 if there are more in that direction), `more_before`, `more_after`. 50 unless `COUNT` says otherwise, at most a page. `AROUND` reads the message itself and as many on either side. `THREAD` reads the replies under one message alone.",
                refuses: "`NOT_FOUND` (the message that the thread began with)",
                event: NOTHING,
                complexity: "O(log n + page)",
            },
            Entry {
                name: "MSG.GET",
                syntax: "key n [n …]",
                summary: "Reads messages by their numbers",
                reply: "An array: for each number the message (JSON), or nil if it is not kept. At most 100.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(k)",
            },
            Entry {
                name: "MSG.HISTORY",
                syntax: "key n",
                summary: "Reads what a message was before it was edited",
                reply: "A map: `versions` (JSON, `{\"at_ms\",\"user\",\"body\"}`, oldest first; the last one is the current one).",
                refuses: "`NOT_FOUND` (unknown or deleted)",
                event: NOTHING,
                complexity: "O(n) in the bodies",
            },
            Entry {
                name: "MSG.SINCE",
                syntax: "key rev [EPOCH epoch] [COUNT count]",
                summary: "Reads what changed after a revision, a page at a time: each thing once, as it is now",
                reply: "As `DOC.OPS` answers. A message that was posted after the revision is `msg.posted`, an older one that changed in whatever way and however often is `msg.changed`; both carry it as it is now. Watermarks are `msg.read`. They come in the order of the last changes: the `rev` of a frame is the last change of its thing, and its `from` the `rev` of the frame before. The chain ends at the newest revision; if what was changed last is trimmed away, with a `msg.read` without watermarks.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(log n + page + messages posted after the revision that changed since)",
            },
            Entry {
                name: "MSG.TRIM",
                syntax: "key keep",
                summary: "Drops all but the newest messages",
                reply: "An integer: how many were dropped, at most 10,000 in one call.",
                refuses: "`NOT_FOUND`",
                event: NOTHING,
                complexity: "O(dropped)",
            },
            Entry {
                name: "MSG.CONFIG",
                syntax: "key [MESSAGES count] [AGE_MS ms] [BYTES bytes]",
                summary: "Bounds what one log keeps, below what the server keeps",
                reply: "A map: `messages_max`, `age_ms_max`, `bytes_max`, as they are in force now. What is not given stays; 0 takes the server's bound again. What is over leaves in bounded steps of the module's timer, as what is too old does.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(1)",
            },
            Entry {
                name: "MSG.INFO",
                syntax: "key",
                summary: "Says what a log holds",
                reply: "A map: `epoch`, `rev`, `first_n` (the oldest message that is kept), `n` (the newest one), `messages`, `deleted`, `streaming`, `bytes`, `readers`, `writers`, and the bounds as `MSG.CONFIG` answers them.",
                refuses: "`NOT_FOUND`",
                event: NOTHING,
                complexity: "O(1)",
            },
        ],
    },
    Family {
        prefix: "ROOM.",
        about: "The room as a whole.",
        commands: &[
            Entry {
                name: "ROOM.EMIT",
                syntax: "key event json [PAYLOAD bytes] [TO USER|CONN id] [FROM conn] [BY user] [LIMITS n key burst count period_ms …]",
                summary: "Announces an event of the application that is not stored",
                reply: "An integer: how many fronts heard it on this server. The key names the room, `stoa:{lobby}`; nothing is read or written there. `PAYLOAD` are bytes of any kind that travel beside the JSON, at most `payload-bytes-max`. `FROM` leaves that connection out.",
                refuses: "`INVALID_JSON`, `TOO_LARGE`, `RATE_LIMITED`",
                event: "`room.emitted`",
                complexity: "O(fronts)",
            },
            Entry {
                name: "ROOM.KICK",
                syntax: "key USER|CONN id [REASON text] [BY user]",
                summary: "Takes a user's connections, or one, out of a room at once, and refuses them from then on",
                reply: "An integer: the connections that were listed. The key is the presence key of the room. The connections are off the list without a grace, and a later `PRESENCE.JOIN` of one of them is refused with `KICKED`; the newest 1,024 are remembered. Another connection of the user may join: keeping somebody out takes `ROOM.REVOKE`, or a token that does not open the room. It is announced even if nobody is listed. `REASON` has at most 256 bytes, no control characters. Of a user with more than 1,024 connections one call ends so many: call again.",
                refuses: NOTHING,
                event: "`room.kicked`, to the user or connection alone; `presence.changed`",
                complexity: "O(k log n) in the connections that end",
            },
            Entry {
                name: "ROOM.GRANT",
                syntax: "key user role [TTL ms] [BY user]",
                summary: "Gives a user a role in a room, for a time or for good",
                reply: "A map: `changed` (0 if the list said so already), `rev`, `epoch`. The key is the list of the room, `stoa:{lobby}:access`. What a role allows is up to the fronts: `none` (shuts out), `viewer`, `commenter`, `editor`, `owner`, their own ones, or actions joined by `+` (`read+talk`); here it is 1 to 64 of `A-Z a-z 0-9 _ . - +`. The user `*` is everybody whom no other entry names. After `TTL` the entry is gone. `BY` is kept with the entry. At most `access-entries-max` entries.",
                refuses: "`FULL`",
                event: "`room.access`, to that user alone; of `*` to everybody in the room; also when the entry ends by itself",
                complexity: "O(log n) in the entries",
            },
            Entry {
                name: "ROOM.REVOKE",
                syntax: "key user [FORGET] [BY user]",
                summary: "Shuts a user out of a room, or forgets what the list says of them",
                reply: "As `ROOM.GRANT`. It writes the role `none`, which wins over whatever a token says: who is inside is out within a second. With `FORGET` the entry is taken away, so that the token decides again. Of `*`, `none` says no more than no entry.",
                refuses: "`FULL`",
                event: "`room.access`, as for `ROOM.GRANT`; the role is `null` with `FORGET`",
                complexity: "O(log n) in the entries",
            },
            Entry {
                name: "ROOM.ACCESS",
                syntax: "key [USER user …] [AFTER user] [COUNT count]",
                summary: "Says which users have which roles in a room",
                reply: "A map: `epoch`, `rev`, `more` (1 if there are further entries), `entries`: an array of maps `user`, `role`, `ends_ms` (Unix time, 0 for never), `by` (who said so, may be empty), `at_ms` (when). Without `USER` a page in the order of the names, after the user in `AFTER`, of at most `page-entries-max`. `USER` names one user and may be repeated, 101 at most: then the entries are in the order asked, nil for who has none.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(log n + page)",
            },
            Entry {
                name: "ROOM.OPEN",
                syntax: "[room user] key position [key position …]",
                summary: "Reads everything that somebody who enters a room needs, in one reply",
                reply: "An array with a map for each key, in order: `stream`, `kind` (`log`, `presence`, `doc`, `access`, `missing`), `outcome`, `epoch`, `rev`. With the outcome `changes`: `events`, exactly what came after the position, revision and frame in turn. With `snapshot`: `because` (`first`, `trimmed`, `far`, `rollback` with `history_end`, `reset`), and `messages`, `more`, `reads` (JSON, the 100 watermarks that moved last), or `members` (one JSON list), `count`, or `type`, `content`. Whoever gives the room alone and a user first, `stoa:{lobby} ada`, finds `read`, `unread` and `mentions` of that user in the log's part, and in that of the list `stoa:{lobby}:access` that user's `role` and that of `*`, `everybody`, where there are such entries; the list itself is no part of it. Presence adds `typing` and `cursors`, a document `cursors`, to either outcome. A position is `7.9f3a12c0:1042`, or `-` for none. All keys are of one room, at most 33.",
                refuses: NOTHING,
                event: NOTHING,
                complexity: "O(what it answers)",
            },
        ],
    },
];

/// What the commands that follow a primary have in common.
pub const EFFECT: Entry = Entry {
    name: "",
    syntax: "key kind record",
    summary: "Follows a decision of the primary; refused with INTERNAL_ONLY from anybody else",
    reply: "OK",
    refuses: "`INTERNAL_ONLY`",
    event: NOTHING,
    complexity: "O(record)",
};

/// The reference of one command.
pub fn entry(name: &str) -> Option<Entry> {
    if name.ends_with(".APPLY") {
        return Some(EFFECT);
    }
    FAMILIES.iter().flat_map(|f| f.commands).find(|e| e.name == name).copied()
}

const HEAD: &str = "# Command reference

Made from the code; `COMMAND DOCS` says the same.

* A **key** of a room is `<prefix>:{<room>}:<stream>`: `stoa:{lobby}:log`, `stoa:{lobby}:presence`,
  `stoa:{lobby}:doc:main`. The braces keep a room in one slot of a cluster. Rooms live in database 0:
  `SWAPDB` with it is told to everybody as `room.reset`, and in another database nobody's time ends.
* The **channel** of a room is the key up to its closing brace, with sharded pub/sub: `SSUBSCRIBE stoa:{lobby}`.
  An event is a short binary header and then the JSON frame that [the protocol](protocol.md) describes.
* A **map** is a RESP3 map; in RESP2 it is a flat array, field and value in turn. Booleans are 1 and 0.
* A **refusal** is an error whose first word is its code; nothing has changed. Codes of all commands:
  `INVALID_ARGUMENT` (an argument is not of its form), `INVALID_KEY` (the key names no room), `WRONGTYPE`.
* An **epoch** names the history that revisions count in, `7.9f3a12c0`. A **position** is epoch and revision,
  `7.9f3a12c0:1042`.
* `MSG.APPLY`, `DOC.APPLY`, `PRESENCE.APPLY` and `ROOM.APPLY` carry decisions to replicas and into the AOF. They are
  refused with `INTERNAL_ONLY` from anybody else.
* **`LIMITS`** ends a command that writes: `LIMITS 2 stoa:{lobby}:rate:ada 10 10 60000 stoa:{lobby}:rate 500 100 1000`.
  The limits are those of `RATE.TAKE`, with up to 8 keys in the room's slot; the same key twice has two limits. All have
  to allow the command, or none is charged, nothing happens, and the answer is
  `RATE_LIMITED retry after <ms> ms: …`. What is refused for another reason costs nothing. A write that was accepted
  before (`ID`) is answered again without a charge, also when a limit is used up.
* A primary that stood still for more than a second and has, or had, replicas refuses everything that writes with `FENCED` for
  about a second, in which it learns whether another took over. Nothing has changed: send the same again, to
  whoever is the primary then.
* On Redis 7.0 and Valkey 8 a user needs each command by name in its ACL (`+msg.post`); keys are checked as usual.
";

/// `docs/commands.md`.
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    for family in FAMILIES {
        out.push_str(&format!("\n## `{}`\n\n{}\n", family.prefix, family.about));
        for entry in family.commands {
            out.push_str(&format!("\n### `{} {}`\n\n{}.\n\n", entry.name, entry.syntax, entry.summary));
            out.push_str(&format!("* Answers: {}\n", entry.reply));
            for (what, text) in [("Refuses", entry.refuses), ("Event", entry.event)] {
                if !text.is_empty() {
                    out.push_str(&format!("* {what}: {text}\n"));
                }
            }
            out.push_str(&format!("* Cost: {}\n", entry.complexity));
        }
    }
    out
}
