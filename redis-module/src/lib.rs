//! Rooms inside Redis: who is here, what was said, the document that everyone is editing, and who may do how much.
//!
//! This file is the table of contents: every command, what it may do, where its keys are, who handles it. What
//! people read about a command stands in `stoa_core::reference`; settings stand in `settings`.
//!
//! A command reads the same everywhere: parse (`args`), open (`ffi::Key`), decide (`stoa_core`), replicate and
//! announce (`effects`), reply (`reply`). Time-outs and gathered announcements stand in `deadlines`, what a server has to
//! know about being replaced in `failover`.
//!
//! *Architecture invariants*: only `effects` replicates or publishes. Only `ffi` and `stored` are unsafe. No rule
//! lives here: what can be decided without Redis is decided in `stoa_core`.

mod args;
mod commands;
mod deadlines;
mod effects;
mod failover;
mod ffi;
mod info;
mod reply;
mod settings;
mod stored;

use commands::limits::key_places;
use commands::{access, doc, msg, presence, rate, room};
use ffi::{Ctx, Entry, entry};
use stoa_core::reference;

/// One command: name, handler, flags, least arguments with its name, keys (first, last, step).
struct Command(&'static str, Entry, &'static str, i32, (i32, i32, i32));

/// May grow memory: refused when Redis is full.
const GROWS: &str = "write deny-oom fast";
/// Shrinks, moves or follows: allowed when Redis is full.
const WRITES: &str = "write fast";
/// As the two before, for commands that take `LIMITS`: the server asks the module for the keys of a call.
const GROWS_LIMITED: &str = "write deny-oom fast getkeys-api";
const WRITES_LIMITED: &str = "write fast getkeys-api";
const READS: &str = "readonly fast";
/// Reads more than a constant amount.
const READS_MUCH: &str = "readonly";

const ONE_KEY: (i32, i32, i32) = (1, 1, 1);
const EVERY_SECOND: (i32, i32, i32) = (1, -1, 2);

const COMMANDS: &[Command] = &[
    Command("RATE.TAKE", entry!(rate::take), GROWS, -6, ONE_KEY),
    Command("RATE.PEEK", entry!(rate::peek), READS, -6, ONE_KEY),
    Command("RATE.REFUND", entry!(rate::refund), WRITES, -6, ONE_KEY),
    Command("RATE.RESET", entry!(rate::reset), WRITES, 2, ONE_KEY),
    Command("RATE.BLOCK", entry!(rate::block), GROWS, 3, ONE_KEY),
    Command("RATE.HOLD", entry!(rate::hold), GROWS, 5, ONE_KEY),
    Command("RATE.DROP", entry!(rate::give_back), WRITES, 3, ONE_KEY),
    Command("PRESENCE.JOIN", entry!(presence::join), GROWS, -6, ONE_KEY),
    Command("PRESENCE.SET", entry!(presence::set, key_places), GROWS_LIMITED, -4, ONE_KEY),
    Command("PRESENCE.BEAT", entry!(presence::beat), WRITES, 4, ONE_KEY),
    Command("PRESENCE.LEAVE", entry!(presence::leave), WRITES, -3, ONE_KEY),
    Command("PRESENCE.TYPING", entry!(presence::typing), WRITES, -4, ONE_KEY),
    Command("PRESENCE.CURSOR", entry!(presence::cursor), WRITES, -4, ONE_KEY),
    Command("PRESENCE.LIST", entry!(presence::list), READS_MUCH, -2, ONE_KEY),
    Command("PRESENCE.COUNT", entry!(presence::count), READS, -2, ONE_KEY),
    Command("PRESENCE.GET", entry!(presence::get), READS_MUCH, -3, ONE_KEY),
    Command("PRESENCE.APPLY", entry!(presence::apply), WRITES, 4, ONE_KEY),
    Command("DOC.CREATE", entry!(doc::create), GROWS, -3, ONE_KEY),
    Command("DOC.SUBMIT", entry!(doc::submit, key_places), GROWS_LIMITED, -4, ONE_KEY),
    Command("DOC.UNDO", entry!(doc::undo, key_places), GROWS_LIMITED, -3, ONE_KEY),
    Command("DOC.CURSOR", entry!(doc::cursor), WRITES, -5, ONE_KEY),
    Command("DOC.TAG", entry!(doc::tag), GROWS, -3, ONE_KEY),
    Command("DOC.RESTORE", entry!(doc::restore, key_places), GROWS_LIMITED, -3, ONE_KEY),
    Command("DOC.TRIM", entry!(doc::trim), WRITES, 3, ONE_KEY),
    Command("DOC.INFO", entry!(doc::info), READS, 2, ONE_KEY),
    Command("DOC.GET", entry!(doc::get), READS_MUCH, -2, ONE_KEY),
    Command("DOC.OPS", entry!(doc::ops), READS_MUCH, -3, ONE_KEY),
    Command("DOC.APPLY", entry!(doc::apply), WRITES, 4, ONE_KEY),
    Command("MSG.POST", entry!(msg::post, key_places), GROWS_LIMITED, -4, ONE_KEY),
    Command("MSG.EDIT", entry!(msg::edit, key_places), GROWS_LIMITED, -5, ONE_KEY),
    Command("MSG.DELETE", entry!(msg::delete, key_places), WRITES_LIMITED, -4, ONE_KEY),
    Command("MSG.REACT", entry!(msg::react, key_places), GROWS_LIMITED, -5, ONE_KEY),
    Command("MSG.UNREACT", entry!(msg::unreact, key_places), WRITES_LIMITED, -5, ONE_KEY),
    Command("MSG.APPEND", entry!(msg::append, key_places), GROWS_LIMITED, -5, ONE_KEY),
    Command("MSG.FINISH", entry!(msg::finish, key_places), WRITES_LIMITED, -4, ONE_KEY),
    Command("MSG.CANCEL", entry!(msg::cancel, key_places), WRITES_LIMITED, -4, ONE_KEY),
    Command("MSG.READ", entry!(msg::read), GROWS, -4, ONE_KEY),
    Command("MSG.UNREAD", entry!(msg::unread), READS, 3, ONE_KEY),
    Command("MSG.RANGE", entry!(msg::range), READS_MUCH, -2, ONE_KEY),
    Command("MSG.GET", entry!(msg::get), READS_MUCH, -3, ONE_KEY),
    Command("MSG.HISTORY", entry!(msg::history), READS_MUCH, 3, ONE_KEY),
    Command("MSG.SINCE", entry!(msg::since), READS_MUCH, -3, ONE_KEY),
    Command("MSG.TRIM", entry!(msg::trim), WRITES, 3, ONE_KEY),
    Command("MSG.CONFIG", entry!(msg::config), GROWS, -2, ONE_KEY),
    Command("MSG.INFO", entry!(msg::info), READS, 2, ONE_KEY),
    Command("MSG.APPLY", entry!(msg::apply), WRITES, 4, ONE_KEY),
    Command("ROOM.EMIT", entry!(room::emit, key_places), WRITES_LIMITED, -4, ONE_KEY),
    Command("ROOM.KICK", entry!(presence::kick), WRITES, -4, ONE_KEY),
    Command("ROOM.GRANT", entry!(access::grant), GROWS, -4, ONE_KEY),
    Command("ROOM.REVOKE", entry!(access::revoke), WRITES, -3, ONE_KEY),
    Command("ROOM.ACCESS", entry!(access::access), READS_MUCH, -2, ONE_KEY),
    Command("ROOM.APPLY", entry!(access::apply), WRITES, 4, ONE_KEY),
    Command("ROOM.OPEN", entry!(room::open), READS_MUCH, -3, EVERY_SECOND),
];

/// Whether a command, as it was called, changes nothing for anybody. One that was given another name may change something.
fn only_reads(called: &[u8]) -> bool {
    let is_it = |Command(name, _, flags, ..): &&Command| {
        called.eq_ignore_ascii_case(name.as_bytes()) && flags.starts_with(READS_MUCH)
    };
    COMMANDS.iter().find(is_it).is_some()
}

/// Makes types and commands known to the server.
fn register(ctx: &Ctx<'_>) -> Result<(), String> {
    stored::register::<stoa_core::log::Log>(ctx)?;
    stored::register::<stoa_core::document::Document>(ctx)?;
    stored::register::<stoa_core::presence::Presence>(ctx)?;
    stored::register::<stoa_core::access::Access>(ctx)?;
    for Command(name, entry, flags, arity, keys) in COMMANDS {
        let text = reference::entry(name).ok_or_else(|| format!("the command {name} has no reference"))?;
        ffi::create_command(ctx, name, *entry, flags, *keys)?;
        ffi::describe(
            ctx,
            &ffi::Description {
                name,
                syntax: text.syntax,
                summary: text.summary,
                complexity: text.complexity,
                arity: *arity,
                keys: *keys,
                writes: flags.starts_with("write"),
            },
        )?;
    }
    Ok(())
}
