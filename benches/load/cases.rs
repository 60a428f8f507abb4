//! The calls that are measured: of each command, and of what else a service would call.

use super::{CONNECTIONS, PIPELINE, Server, Words, words};

/// What people post.
pub(crate) const BODY: &str = "{\"text\":\"a message of some fifty bytes, as people write\"}";

/// Commands per round and case.
pub(crate) const COMMANDS: usize = 40_000;

/// One line of the table.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Runs before each round, uncounted.
    pub(crate) prepare: fn(&mut Server),
    /// The words of the n-th command of a round.
    pub(crate) command: fn(usize) -> Words,
}

pub(crate) fn nothing(_: &mut Server) {}

/// A document of `bytes` at revision 0, as the only key of its name.
fn document(server: &mut Server, name: &str, bytes: usize) {
    let key = format!("stoa:{{bench}}:doc:{name}");
    server.call(&["DEL", &key]);
    server.call(&["DOC.CREATE", &key, "text", &"lorem ipsum ".repeat(bytes / 12)]);
}

pub(crate) const TALK: &str = "stoa:{bench}:log:talk";
/// Messages of a full log.
pub(crate) const MESSAGES: usize = 10_000;
/// Streamed messages at once: enough that none exceeds its bound within a round.
const STREAMS: usize = 50;

/// A log of so many messages of fifty users, as the only one of its name.
pub(crate) fn talk(server: &mut Server, messages: usize) {
    server.call(&["DEL", TALK]);
    server.load(messages, true, |n| {
        let user = format!("user{}", n % 50);
        vec![
            "MSG.POST".into(),
            TALK.into(),
            user,
            BODY.into(),
            "ID".into(),
            format!("tab-{}", n % 50),
            (n + 1).to_string(),
        ]
    });
}

fn submit(name: &str, rev: usize, n: usize) -> Words {
    vec![
        "DOC.SUBMIT".into(),
        format!("stoa:{{bench}}:doc:{name}"),
        rev.to_string(),
        format!("[{},\"x\"]", 7 * n % 5_000),
    ]
}

const LUA_GCRA: &str = "local now = redis.call('TIME') now = now[1] * 1000000 + now[2] \
local tat = tonumber(redis.call('GET', KEYS[1]) or now) if tat < now then tat = now end \
local interval = tonumber(ARGV[3]) * 1000 / tonumber(ARGV[2]) local fresh = tat + interval \
local allow = fresh - interval * tonumber(ARGV[1]) if now < allow then return {0, ARGV[1], 0, math.ceil((allow - now) / 1000), math.ceil((tat - now) / 1000)} end \
redis.call('SET', KEYS[1], string.format('%.0f', fresh), 'PX', math.ceil((fresh - now) / 1000)) \
return {1, ARGV[1], math.floor((now - allow) / interval), -1, math.ceil((fresh - now) / 1000)}";

const LUA_POST: &str = "local n = redis.call('INCR', KEYS[1]) \
local dup = redis.call('HGET', KEYS[3], ARGV[1]) if dup then return dup end \
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, n .. '-1', 'm', ARGV[2]) redis.call('HSET', KEYS[3], ARGV[1], n) \
redis.call('SPUBLISH', KEYS[2], ARGV[2]) return n";

fn lua(script: &str, rest: &[&str]) -> Words {
    let mut all = vec!["EVAL".to_owned(), script.to_owned()];
    all.extend(rest.iter().map(|w| w.to_string()));
    all
}

pub(crate) const CASES: &[Case] = &[
    Case { name: "INCR", prepare: nothing, command: |n| vec!["INCR".into(), format!("count:{}", n % 1000)] },
    Case { name: "PING", prepare: nothing, command: |_| words("PING") },
    Case {
        name: "XADD MAXLEN",
        prepare: nothing,
        command: |_| {
            let mut all = words("XADD stream MAXLEN ~ 10000 * m");
            all.push(BODY.to_owned());
            all
        },
    },
    Case {
        name: "HSET",
        prepare: nothing,
        command: |n| vec!["HSET".into(), "here".into(), format!("user{}", n % 1000), "{\"conn\":\"front\"}".into()],
    },
    Case {
        name: "SPUBLISH",
        prepare: nothing,
        command: |_| words("SPUBLISH stoa:{bench} a-message-of-one-hundred-bytes"),
    },
    Case {
        name: "RATE.TAKE, allowed",
        prepare: nothing,
        command: |n| {
            vec![
                "RATE.TAKE".into(),
                format!("rate:{}", n % 1000),
                "LIMIT".into(),
                "1000000".into(),
                "1000000".into(),
                "1000".into(),
            ]
        },
    },
    Case { name: "RATE.TAKE, refused", prepare: nothing, command: |_| words("RATE.TAKE refused LIMIT 1 1 1000000000") },
    Case {
        name: "  the same in Lua, allowed",
        prepare: nothing,
        command: |n| lua(LUA_GCRA, &["1", &format!("lua-rate:{}", n % 1000), "1000000", "1000000", "1000"]),
    },
    Case {
        name: "PRESENCE.JOIN",
        prepare: nothing,
        command: |n| {
            vec![
                "PRESENCE.JOIN".into(),
                "stoa:{bench}:presence".into(),
                format!("user{}", n % 1000),
                format!("conn{}", n % 1000),
                "front".into(),
                "600000".into(),
            ]
        },
    },
    Case {
        name: "PRESENCE.BEAT, 1,000 people",
        prepare: nothing,
        command: |_| words("PRESENCE.BEAT stoa:{bench}:presence front 600000"),
    },
    Case {
        name: "PRESENCE.SET",
        prepare: nothing,
        command: |n| {
            vec![
                "PRESENCE.SET".into(),
                "stoa:{bench}:presence".into(),
                format!("conn{}", n % 1000),
                format!("{{\"at\":{n}}}"),
            ]
        },
    },
    Case {
        name: "PRESENCE.TYPING",
        prepare: nothing,
        command: |n| {
            vec!["PRESENCE.TYPING".into(), "stoa:{bench}:presence".into(), format!("conn{}", n % 20), "5000".into()]
        },
    },
    Case { name: "PRESENCE.COUNT", prepare: nothing, command: |_| words("PRESENCE.COUNT stoa:{bench}:presence") },
    Case {
        name: "DOC.SUBMIT at the head, 10 KB",
        prepare: |s| document(s, "head", 10_000),
        command: |n| submit("head", n, n),
    },
    Case {
        name: "DOC.SUBMIT at the head, 4 MB",
        prepare: |s| document(s, "large", 4_000_000),
        command: |n| submit("large", n, n),
    },
    Case {
        name: "DOC.SUBMIT 10 behind",
        prepare: |s| document(s, "behind", 10_000),
        command: |n| submit("behind", n.saturating_sub(10), n),
    },
    Case {
        name: "DOC.GET, 10 KB",
        prepare: |s| document(s, "read", 10_000),
        command: |_| words("DOC.GET stoa:{bench}:doc:read"),
    },
    Case {
        name: "DOC.OPS, 1 operation",
        prepare: nothing,
        command: |_| words("DOC.OPS stoa:{bench}:doc:head 39000 39001"),
    },
    Case {
        name: "MSG.POST",
        prepare: nothing,
        command: |_| vec!["MSG.POST".into(), "stoa:{bench}:log".into(), "ada".into(), BODY.into()],
    },
    Case {
        name: "MSG.POST with two limits",
        prepare: nothing,
        command: |n| {
            let limits = format!(
                "LIMITS 2 stoa:{{bench}}:rate:u{} 1000000 1000000 1000 stoa:{{bench}}:rate 1000000 1000000 1000",
                n % 50
            );
            let post = ["MSG.POST", "stoa:{bench}:log", "ada", BODY].map(String::from);
            post.into_iter().chain(words(&limits)).collect()
        },
    },
    Case {
        name: "MSG.POST with identity",
        prepare: |s| {
            s.call(&["DEL", "stoa:{bench}:log"]);
        },
        command: |n| {
            vec![
                "MSG.POST".into(),
                "stoa:{bench}:log".into(),
                "ada".into(),
                BODY.into(),
                "ID".into(),
                format!("tab-{}", connection_of(n)),
                (n + 1).to_string(),
            ]
        },
    },
    Case {
        name: "  append, dedupe, publish in Lua",
        prepare: |s| {
            s.call(&["DEL", "{lua}n", "{lua}log", "{lua}seen"]);
        },
        command: |n| lua(LUA_POST, &["3", "{lua}n", "{lua}log", "{lua}seen", &format!("tab:{n}"), BODY]),
    },
    Case {
        name: "MSG.REACT, 10,000 messages",
        prepare: |s| talk(s, MESSAGES),
        command: |n| {
            let (message, user) = (1 + n % MESSAGES, format!("user{}", n / MESSAGES));
            vec!["MSG.REACT".into(), TALK.into(), message.to_string(), user, "👍".into()]
        },
    },
    Case {
        name: "MSG.SINCE, 100 of 10,000 changed messages",
        prepare: nothing,
        command: |n| vec!["MSG.SINCE".into(), TALK.into(), (MESSAGES + n % COMMANDS).to_string()],
    },
    Case {
        name: "MSG.SINCE, the same from before they were posted",
        prepare: nothing,
        command: |_| vec!["MSG.SINCE".into(), TALK.into(), "0".into()],
    },
    Case {
        name: "MSG.READ, 1,000 people",
        prepare: |s| talk(s, MESSAGES),
        command: |n| vec!["MSG.READ".into(), TALK.into(), format!("user{}", n % 1000), (1 + n / 1000).to_string()],
    },
    Case {
        name: "MSG.UNREAD, 10,000 messages",
        prepare: nothing,
        command: |n| vec!["MSG.UNREAD".into(), TALK.into(), format!("user{}", n % 1000)],
    },
    Case {
        name: "MSG.APPEND, 20 bytes",
        prepare: |s| {
            talk(s, 1);
            for _ in 0..STREAMS {
                s.call(&["MSG.POST", TALK, "bot", "\"\"", "STREAMING"]);
            }
        },
        command: |n| {
            let message = 2 + n % STREAMS;
            vec!["MSG.APPEND".into(), TALK.into(), message.to_string(), "bot".into(), "a few words at once ".into()]
        },
    },
    Case { name: "MSG.RANGE, 50 messages", prepare: nothing, command: |_| words("MSG.RANGE stoa:{bench}:log") },
    Case { name: "MSG.SINCE, 1 message", prepare: nothing, command: |_| words("MSG.SINCE stoa:{bench}:log 39999") },
    Case { name: "ROOM.EMIT", prepare: nothing, command: |_| words("ROOM.EMIT stoa:{bench} wave {\"x\":1,\"y\":2}") },
    Case {
        name: "ROOM.OPEN, nothing missed",
        prepare: nothing,
        command: |_| words("ROOM.OPEN stoa:{new}:log - stoa:{new}:presence -"),
    },
];

/// The connection that sends the n-th command: each has sequences of its own, which count up.
fn connection_of(n: usize) -> usize {
    n / PIPELINE % CONNECTIONS
}
