//! A room in use, with one value of every type: what survives, or does not, is asked of all of them.

use crate::redis::Redis;

/// The log of the room.
pub const LOG: &str = "stoa:{lobby}:log";
/// Who is here.
pub const HERE: &str = "stoa:{lobby}:presence";
/// A document of the room.
pub const DOC: &str = "stoa:{lobby}:doc:main";
/// Who may do what in the room.
pub const ACCESS: &str = "stoa:{lobby}:access";
/// What somebody may still do.
pub const LIMIT: &str = "stoa:{lobby}:rate:ada";
/// Who holds a connection.
pub const LEASES: &str = "stoa:{lobby}:seats";
/// Every key of [`furnish`]: one for each type of value.
pub const KEYS: [&str; 6] = [LOG, HERE, DOC, ACCESS, LIMIT, LEASES];
/// A lease that outlasts every story here.
pub const LONG: &str = "600000";

/// A room in use: a document with history, messages, people, a limit.
pub fn furnish(redis: &Redis) {
    redis.ok(&["DOC.CREATE", DOC, "text", "hello 😀"]);
    redis.ok(&["DOC.SUBMIT", DOC, "0", r#"[8," world"]"#, "ID", "c1", "1", "BY", "ada", "k1"]);
    redis.ok(&["DOC.SUBMIT", DOC, "0", r#"["> "]"#, "ID", "c2", "1"]);
    redis.ok(&["DOC.TAG", DOC, "v1"]);
    redis.ok(&["MSG.POST", LOG, "ada", r#"{"text":"hi"}"#, "ID", "c1", "1"]);
    redis.ok(&["MSG.POST", LOG, "bo", r#""ho""#, "REPLY", "1"]);
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "k1", "n1", LONG, "DATA", r#"{"name":"Ada"}"#]);
    redis.ok(&["PRESENCE.JOIN", HERE, "bo", "k2", "n1", LONG, "PRIVATE", r#"{"ip":"x"}"#]);
    redis.ok(&["PRESENCE.LEAVE", HERE, "k2"]);
    redis.ok(&["RATE.TAKE", LIMIT, "LIMIT", "5", "1", LONG]);
    redis.ok(&["RATE.HOLD", LEASES, "k1", "5", LONG]);
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "owner"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "bo", "editor", "TTL", LONG, "BY", "ada"]);
    redis.ok(&["ROOM.REVOKE", ACCESS, "cy", "BY", "ada"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "di", "viewer"]);
    redis.ok(&["ROOM.REVOKE", ACCESS, "di", "FORGET"]);
}

/// What people would see of the room.
pub fn seen(redis: &Redis) -> Vec<String> {
    let document = redis.ok(&["DOC.GET", DOC]);
    let earlier = redis.call(&["DOC.GET", DOC, "REV", "1"]);
    let messages = redis.ok(&["MSG.RANGE", LOG]);
    let here = redis.ok(&["PRESENCE.LIST", HERE]);
    vec![
        format!("{:?} {:?}", document.field("rev"), document.field("content")),
        format!("{:?}", earlier.field_if_any("content")),
        format!("{:?} {:?}", messages.field("rev"), messages.field("messages")),
        format!("{:?} {:?}", here.field("count"), here.field("members")),
        format!("{:?}", redis.ok(&["DOC.OPS", DOC, "0"]).field("events")),
        format!("{:?}", redis.ok(&["DOC.INFO", DOC]).field("tags")),
        format!("{:?}", redis.ok(&["MSG.SINCE", LOG, "0"]).field("events")),
        format!("{:?}", redis.ok(&["ROOM.ACCESS", ACCESS])),
    ]
}

/// The epochs of the log and of the document.
pub fn epochs(redis: &Redis) -> [String; 2] {
    [redis.ok(&["MSG.RANGE", LOG]).field("epoch").text(), redis.ok(&["DOC.GET", DOC]).field("epoch").text()]
}
