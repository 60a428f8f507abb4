//! Everything that crosses into Redis's C: command entry, keys, replies, replication, publishing, timers, logging.
//!
//! This file and `stored/` are the only ones with `unsafe`. What they rely on throughout:
//! * Redis calls a module on its main thread only, apart from freeing values; pointers that it hands to a callback
//!   are valid until the callback returns.
//! * `load` checks once that every function used here exists, so a function pointer is never null.
//!
//! Every callback goes through [`guarded`]: a panic becomes an error for the caller and never reaches Redis.
#![allow(unsafe_code)]

mod ask;
mod describe;
mod load;

pub(crate) use describe::{Description, describe};
pub(crate) use load::detached;

use crate::args::Args;
use crate::failover;
use crate::reply::{Outcome, Reply, Trouble};
use crate::stored::Stored;
use redis_module::raw;
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(crate) use redis_module::raw::{RedisModuleCtx, RedisModuleIO, RedisModuleString};

/// Panics that were caught since the module was loaded.
pub(crate) static PANICS: AtomicU64 = AtomicU64::new(0);

/// Calls a function of Redis's module interface.
macro_rules! redis {
    ($name:ident ( $($arg:expr),* $(,)? )) => {
        // SAFETY: `load` refused to go on if this function were missing; arguments are as its documentation asks,
        // at each place of use.
        unsafe { (raw::$name.unwrap_unchecked())($($arg),*) }
    };
}
pub(crate) use redis;

/// What the module needs from a server, by name; the oldest server that has all of it is Redis 7.0.
pub(crate) fn missing_functions() -> Vec<&'static str> {
    macro_rules! missing {
        ($($name:ident),* $(,)?) => {
            // SAFETY: these statics are written once, while Redis initialises the module, on this thread.
            unsafe { [$((stringify!($name), { raw::$name }.is_none())),*] }
        };
    }
    let all = missing![
        RedisModule_Alloc,
        RedisModule_Free,
        RedisModule_CreateCommand,
        RedisModule_GetCommand,
        RedisModule_SetCommandInfo,
        RedisModule_IsKeysPositionRequest,
        RedisModule_KeyAtPosWithFlags,
        RedisModule_StringPtrLen,
        RedisModule_OpenKey,
        RedisModule_CloseKey,
        RedisModule_DeleteKey,
        RedisModule_SignalModifiedKey,
        RedisModule_KeyType,
        RedisModule_ModuleTypeGetType,
        RedisModule_ModuleTypeGetValue,
        RedisModule_ModuleTypeSetValue,
        RedisModule_CreateDataType,
        RedisModule_CreateString,
        RedisModule_FreeString,
        RedisModule_StringDMA,
        RedisModule_StringSet,
        RedisModule_SetAbsExpire,
        RedisModule_Replicate,
        RedisModule_ReplicateVerbatim,
        RedisModule_PublishMessageShard,
        RedisModule_NotifyKeyspaceEvent,
        RedisModule_CreateTimer,
        RedisModule_StopTimer,
        RedisModule_SelectDb,
        RedisModule_GetSelectedDb,
        RedisModule_GetContextFlags,
        RedisModule_AvoidReplicaTraffic,
        RedisModule_Log,
        RedisModule_LogIOError,
        RedisModule_ReplyWithLongLong,
        RedisModule_ReplyWithNull,
        RedisModule_ReplyWithStringBuffer,
        RedisModule_ReplyWithArray,
        RedisModule_ReplyWithMap,
        RedisModule_ReplyWithError,
        RedisModule_SaveStringBuffer,
        RedisModule_LoadStringBuffer,
        RedisModule_IsIOError,
        RedisModule_EmitAOF,
        RedisModule_DigestAddStringBuffer,
        RedisModule_DigestEndSequence,
        RedisModule_GetKeyNameFromIO,
        RedisModule_GetServerInfo,
        RedisModule_ServerInfoGetFieldC,
        RedisModule_FreeServerInfo,
        RedisModule_SubscribeToServerEvent,
        RedisModule_SubscribeToKeyspaceEvents,
        RedisModule_RegisterInfoFunc,
        RedisModule_InfoAddSection,
        RedisModule_InfoAddFieldULongLong,
        RedisModule_InfoAddFieldCString,
        RedisModule_RegisterNumericConfig,
        RedisModule_LoadConfigs,
        RedisModule_SetModuleOptions,
        RedisModule_GetDetachedThreadSafeContext,
        RedisModule_Call,
        RedisModule_CallReplyLength,
        RedisModule_CallReplyArrayElement,
        RedisModule_CallReplyStringPtr,
        RedisModule_FreeCallReply,
    ];
    all.iter().filter(|(_, is_missing)| *is_missing).map(|(name, _)| *name).collect()
}

/// Runs `work` and turns a panic into `None`.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work))
        .inspect_err(|_| {
            PANICS.fetch_add(1, Ordering::Relaxed);
        })
        .ok()
}

/// What tests see a panic by: in builds for development everything that is done to a key of this room does. No room has
/// such a name.
#[cfg(debug_assertions)]
pub(crate) fn panic_if_asked(key: &[u8]) {
    assert!(!key.starts_with(b"stoa:{panic!}"), "a test asked for it");
}
#[cfg(not(debug_assertions))]
pub(crate) fn panic_if_asked(_key: &[u8]) {}

/// Replaces the panic hook by one that logs where it happened and prints no backtrace: std's printer frees with
/// another allocator than the one it takes from on servers that link jemalloc dynamically.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        log(
            c"warning",
            &format!(
                "a bug in the module: {} at {}",
                text.unwrap_or("panic"),
                info.location().map_or(String::new(), ToString::to_string)
            ),
        );
    }));
}

/// Writes a line to the server's log. The text is an argument, never the format.
pub(crate) fn log(level: &CStr, text: &str) {
    let text = CString::new(text.replace('\0', "\\0")).unwrap_or_default();
    // SAFETY: a null context is allowed for logging; both strings end in NUL and outlive the call.
    unsafe {
        if let Some(log) = raw::RedisModule_Log {
            log(ptr::null_mut(), level.as_ptr(), c"%s".as_ptr(), text.as_ptr());
        }
    }
}

/// A call from Redis: a command, a timer or an event.
#[derive(Clone, Copy)]
pub(crate) struct Ctx<'c> {
    pub(crate) raw: *mut RedisModuleCtx,
    call: PhantomData<&'c ()>,
}

impl Ctx<'_> {
    /// Wraps the context of a call for as long as the call lasts.
    pub(crate) fn new(raw: *mut RedisModuleCtx) -> Self {
        Ctx { raw, call: PhantomData }
    }

    fn flag(&self, flag: u32) -> bool {
        redis!(RedisModule_GetContextFlags(self.raw)) & flag as c_int != 0
    }

    /// Whether this server decides, rather than follow a primary.
    pub(crate) fn is_primary(&self) -> bool {
        self.flag(raw::REDISMODULE_CTX_FLAGS_MASTER)
    }

    /// Whether the call comes from replication, the AOF or a migration rather than from a caller.
    pub(crate) fn is_followed(&self) -> bool {
        self.flag(raw::REDISMODULE_CTX_FLAGS_REPLICATED | raw::REDISMODULE_CTX_FLAGS_LOADING)
    }

    /// Whether writes on our own account have to wait, because a failover is under way.
    pub(crate) fn writes_are_paused(&self) -> bool {
        redis!(RedisModule_AvoidReplicaTraffic()) != 0
    }

    /// The number of the selected database.
    pub(crate) fn database(&self) -> i32 {
        redis!(RedisModule_GetSelectedDb(self.raw))
    }

    /// Whether this server is one of a cluster.
    pub(crate) fn is_in_cluster(&self) -> bool {
        self.flag(raw::REDISMODULE_CTX_FLAGS_CLUSTER)
    }

    /// Selects database 0, where rooms live; timers start anywhere.
    pub(crate) fn select_rooms(&self) {
        redis!(RedisModule_SelectDb(self.raw, 0));
    }

    /// Writes the command that is carried out to AOF and replicas as it came.
    pub(crate) fn replicate_as_it_came(&self) {
        redis!(RedisModule_ReplicateVerbatim(self.raw));
        DECISIONS.set(DECISIONS.get() + 1);
    }

    /// Writes `command key kind record` to replicas and AOF.
    pub(crate) fn replicate(&self, command: &CStr, key: &(impl Name + ?Sized), kind: Fixed, record: &[u8]) {
        key.lend(|key| {
            redis!(RedisModule_Replicate(
                self.raw,
                command.as_ptr(),
                c"ssb".as_ptr(),
                key,
                kind.string(),
                record.as_ptr(),
                record.len(),
            ))
        });
        DECISIONS.set(DECISIONS.get() + 1);
    }

    /// Replicates `SET key value PXAT ms`; without a time the key keeps the end that it has.
    pub(crate) fn replicate_set(&self, key: Word<'_>, value: &OwnString, expires_ms: Option<u64>) {
        let set = c"SET".as_ptr();
        match expires_ms {
            Some(ms) => {
                let (pxat, ms) = (Fixed::Pxat.string(), ms as c_longlong);
                redis!(RedisModule_Replicate(self.raw, set, c"sssl".as_ptr(), key.0, value.0, pxat, ms));
            }
            None => {
                let keep = Fixed::KeepTtl.string();
                redis!(RedisModule_Replicate(self.raw, set, c"sss".as_ptr(), key.0, value.0, keep));
            }
        }
    }

    /// Replicates `DEL key`.
    pub(crate) fn replicate_delete(&self, key: Word<'_>) {
        redis!(RedisModule_Replicate(self.raw, c"DEL".as_ptr(), c"s".as_ptr(), key.0));
    }

    /// Announces on a sharded channel; answers how many subscribers this server reached.
    pub(crate) fn publish(&self, channel: &str, payload: &[u8]) -> i64 {
        let channel = OwnString::new(channel.as_bytes());
        let payload = OwnString::new(payload);
        i64::from(redis!(RedisModule_PublishMessageShard(self.raw, channel.0, payload.0)))
    }

    /// Tells those who listen to keyspace notifications of class `d`.
    pub(crate) fn notify(&self, event: &CStr, key: &(impl Name + ?Sized)) {
        let class = raw::REDISMODULE_NOTIFY_MODULE;
        key.lend(|key| redis!(RedisModule_NotifyKeyspaceEvent(self.raw, class, event.as_ptr(), key)));
    }

    /// The first 64 bits of this server's replication id.
    pub(crate) fn replication_id(&self) -> u64 {
        let info = redis!(RedisModule_GetServerInfo(self.raw, c"replication".as_ptr()));
        let field = redis!(RedisModule_ServerInfoGetFieldC(info, c"master_replid".as_ptr()));
        // SAFETY: a non-null field is a NUL-terminated string that lives as long as `info`.
        let id = if field.is_null() { 0 } else { replication_id_of(unsafe { CStr::from_ptr(field) }) };
        redis!(RedisModule_FreeServerInfo(self.raw, info));
        id
    }

    /// Calls `work` after `ms`, once. Answers the timer's id.
    pub(crate) fn start_timer(&self, ms: u64, work: fn(&Ctx<'_>)) -> u64 {
        redis!(RedisModule_CreateTimer(self.raw, ms as c_longlong, Some(fire), work as *mut c_void))
    }

    /// Stops a timer that has not fired.
    pub(crate) fn stop_timer(&self, id: u64) {
        redis!(RedisModule_StopTimer(self.raw, id, ptr::null_mut()));
    }

    fn reply(&self, reply: &Reply) {
        match reply {
            Reply::Integer(value) => {
                redis!(RedisModule_ReplyWithLongLong(self.raw, *value));
            }
            Reply::Null => {
                redis!(RedisModule_ReplyWithNull(self.raw));
            }
            Reply::Text(text) => self.reply_text(text),
            Reply::Part(text, part) => self.reply_text(text.get(part.clone()).unwrap_or_default()),
            Reply::Epoch(epoch) => epoch.lend(|text| self.reply_text(text)),
            Reply::Texts(joined, ends) => {
                redis!(RedisModule_ReplyWithArray(self.raw, ends.len() as _));
                let mut from = 0;
                for end in ends {
                    self.reply_text(joined.get(from..*end).unwrap_or_default());
                    from = *end;
                }
            }
            Reply::Integers(values) => {
                redis!(RedisModule_ReplyWithArray(self.raw, values.len() as _));
                for value in values {
                    redis!(RedisModule_ReplyWithLongLong(self.raw, *value));
                }
            }
            Reply::List(items) => {
                redis!(RedisModule_ReplyWithArray(self.raw, items.len() as _));
                items.iter().for_each(|item| self.reply(item));
            }
            Reply::Map(fields) => {
                redis!(RedisModule_ReplyWithMap(self.raw, fields.len() as _));
                for (name, value) in fields {
                    self.reply_text(name);
                    self.reply(value);
                }
            }
        }
    }

    fn reply_text(&self, text: &str) {
        redis!(RedisModule_ReplyWithStringBuffer(self.raw, text.as_ptr().cast(), text.len()));
    }

    fn reply_error(&self, trouble: &Trouble) {
        // A line break would end the reply early.
        let line: String = trouble.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = CString::new(line).unwrap_or_default();
        redis!(RedisModule_ReplyWithError(self.raw, line.as_ptr()));
    }
}

unsafe extern "C" fn fire(ctx: *mut RedisModuleCtx, work: *mut c_void) {
    // SAFETY: `start_timer` passed a function of exactly this type.
    let work = unsafe { std::mem::transmute::<*mut c_void, fn(&Ctx<'_>)>(work) };
    guarded(|| work(&Ctx::new(ctx)));
}

/// The first 64 bits of a replication id, which is 40 hexadecimal digits. Never 0.
pub(crate) fn replication_id_of(digits: &CStr) -> u64 {
    let digits = digits.to_bytes();
    let head = digits.get(..16).and_then(|d| std::str::from_utf8(d).ok());
    head.and_then(|d| u64::from_str_radix(d, 16).ok()).unwrap_or(1).max(1)
}

/// Unix time in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Milliseconds since some moment; never goes back, and goes on while this process stands still.
pub(crate) fn monotonic_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// A string of Redis that we made and free.
pub(crate) struct OwnString(pub(crate) *mut RedisModuleString);

impl OwnString {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        OwnString(redis!(RedisModule_CreateString(ptr::null_mut(), bytes.as_ptr().cast(), bytes.len())))
    }
}

impl Drop for OwnString {
    fn drop(&mut self) {
        redis!(RedisModule_FreeString(ptr::null_mut(), self.0));
    }
}

/// Words that records are sent with. They are made once: Redis would make and free each with each record, which is a
/// tenth of what sending costs.
#[derive(Clone, Copy)]
pub(crate) enum Fixed {
    /// A record follows that changes a value.
    Change,
    /// A whole value follows.
    State,
    /// A Unix time in milliseconds follows.
    Pxat,
    /// The key keeps its end.
    KeepTtl,
}

static FIXED: [AtomicPtr<RedisModuleString>; 4] = [const { AtomicPtr::new(ptr::null_mut()) }; 4];

impl Fixed {
    /// Makes them all; once, before the first command.
    fn make_all() {
        for (place, word) in FIXED.iter().zip(["CHANGE", "STATE", "PXAT", "KEEPTTL"]) {
            let string = redis!(RedisModule_CreateString(ptr::null_mut(), word.as_ptr().cast(), word.len()));
            place.store(string, Ordering::Relaxed);
        }
    }

    fn string(self) -> *mut RedisModuleString {
        FIXED[self as usize].load(Ordering::Relaxed)
    }
}

/// The bytes of a string of Redis, for as long as the caller says it lives.
pub(crate) fn bytes_of<'a>(string: *const RedisModuleString) -> &'a [u8] {
    let mut len = 0;
    let data = redis!(RedisModule_StringPtrLen(string, &mut len));
    if data.is_null() {
        return &[];
    }
    // SAFETY: Redis says that `len` bytes stand there; callers use them within the call that handed the string out.
    unsafe { std::slice::from_raw_parts(data.cast(), len) }
}

/// A string of Redis for as long as the call that handed it out: an argument.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Word<'a>(*mut RedisModuleString, PhantomData<&'a [u8]>);

impl<'a> Word<'a> {
    pub(crate) fn bytes(self) -> &'a [u8] {
        bytes_of(self.0)
    }
}

/// What a key can be opened by.
pub(crate) trait Name {
    /// Lends the name as a string of Redis.
    fn lend<T>(&self, to: impl FnOnce(*mut RedisModuleString) -> T) -> T;
    /// The name as a string of Redis, and what has to live as long as that is used.
    fn hold(&self) -> (*mut RedisModuleString, Option<OwnString>);
}

impl Name for Word<'_> {
    fn lend<T>(&self, to: impl FnOnce(*mut RedisModuleString) -> T) -> T {
        to(self.0)
    }
    fn hold(&self) -> (*mut RedisModuleString, Option<OwnString>) {
        (self.0, None)
    }
}

impl Name for [u8] {
    fn lend<T>(&self, to: impl FnOnce(*mut RedisModuleString) -> T) -> T {
        let name = OwnString::new(self);
        to(name.0)
    }
    fn hold(&self) -> (*mut RedisModuleString, Option<OwnString>) {
        let name = OwnString::new(self);
        (name.0, Some(name))
    }
}

impl Name for stoa_core::names::RoomKey<'_> {
    fn lend<T>(&self, to: impl FnOnce(*mut RedisModuleString) -> T) -> T {
        self.key.as_bytes().lend(to)
    }
    fn hold(&self) -> (*mut RedisModuleString, Option<OwnString>) {
        self.key.as_bytes().hold()
    }
}

/// How a key is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Looks only.
    Read,
    /// May change it.
    Write,
}

thread_local! {
    /// Decisions that were replicated since the module was loaded.
    static DECISIONS: Cell<u64> = const { Cell::new(0) };
}

/// An open key. Closes itself, and tells those who watch it if something was changed.
pub(crate) struct Key<'c> {
    raw: *mut raw::RedisModuleKey,
    ctx: Ctx<'c>,
    mode: Mode,
    name: *mut RedisModuleString,
    _name: Option<OwnString>,
    changed: bool,
    /// How many decisions had been replicated when it was opened.
    decisions: u64,
}

impl<'c> Key<'c> {
    pub(crate) fn open(ctx: &Ctx<'c>, name: &(impl Name + ?Sized), mode: Mode) -> Self {
        let flags = match mode {
            Mode::Read => raw::REDISMODULE_READ,
            Mode::Write => raw::REDISMODULE_READ | raw::REDISMODULE_WRITE,
        };
        let (name, own) = name.hold();
        let raw = redis!(RedisModule_OpenKey(ctx.raw, name, flags as c_int));
        Key { raw, ctx: Ctx::new(ctx.raw), mode, name, _name: own, changed: false, decisions: DECISIONS.get() }
    }

    fn kind(&self) -> isize {
        // A key that does not exist, opened for reading, is null, and Redis answers "empty" for it.
        redis!(RedisModule_KeyType(self.raw)) as isize
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.kind() == raw::REDISMODULE_KEYTYPE_EMPTY
    }

    /// The value of one of our types, or `None` if the key does not exist.
    pub(crate) fn value<T: Stored>(&self) -> Result<Option<&T>, Trouble> {
        Ok(self.pointer::<T>()?.map(|value| {
            // SAFETY: a value of this type was made by `put` or a load callback as a Box<T>; only this main thread
            // uses it, and while the key is open nothing frees it.
            unsafe { &*value }
        }))
    }

    /// The value of one of our types for changing.
    pub(crate) fn value_mut<T: Stored>(&mut self) -> Result<Option<&mut T>, Trouble> {
        Ok(self.pointer::<T>()?.map(|value| {
            // SAFETY: as in `value`; `&mut self` makes this the only reference.
            unsafe { &mut *value }
        }))
    }

    /// Sets the value, replacing what was there.
    pub(crate) fn put<T: Stored>(&mut self, value: T) {
        self.changed = true;
        redis!(RedisModule_ModuleTypeSetValue(self.raw, T::slot().get(), Box::into_raw(Box::new(value)).cast()));
    }

    fn pointer<T: Stored>(&self) -> Result<Option<*mut T>, Trouble> {
        // Null for a key that does not exist or holds no module's value.
        if redis!(RedisModule_ModuleTypeGetType(self.raw)) != T::slot().get() {
            return if self.is_empty() { Ok(None) } else { Err(Trouble::WrongType) };
        }
        Ok(Some(redis!(RedisModule_ModuleTypeGetValue(self.raw)).cast()))
    }

    /// The bytes of a native string, until the key changes; empty if the key does not exist.
    pub(crate) fn string(&self) -> Result<&[u8], Trouble> {
        match self.kind() {
            raw::REDISMODULE_KEYTYPE_EMPTY => return Ok(&[]),
            raw::REDISMODULE_KEYTYPE_STRING => {}
            _ => return Err(Trouble::WrongType),
        }
        let mut len = 0;
        let data = redis!(RedisModule_StringDMA(self.raw, &mut len, raw::REDISMODULE_READ as c_int));
        if data.is_null() {
            return Ok(&[]);
        }
        // SAFETY: the bytes stay until the key changes, which takes `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) })
    }

    /// Sets a native string that ends at a Unix time in milliseconds, which is the end that the key has already if the
    /// caller knows that.
    pub(crate) fn set_string(&mut self, value: &OwnString, ends_ms: u64, same_end: bool) {
        self.changed = true;
        let is_in_place = self.overwrite(bytes_of(value.0));
        if !is_in_place {
            redis!(RedisModule_StringSet(self.raw, value.0));
        }
        // A string that is set, rather than written over, has lost its end.
        if !(is_in_place && same_end) {
            redis!(RedisModule_SetAbsExpire(self.raw, ends_ms as raw::mstime_t));
        }
    }

    /// Deletes the key.
    pub(crate) fn delete(&mut self) {
        self.changed = true;
        redis!(RedisModule_DeleteKey(self.raw));
    }

    /// Writes over a native string of the same length, in the memory that it has; else answers false.
    fn overwrite(&mut self, bytes: &[u8]) -> bool {
        if self.kind() != raw::REDISMODULE_KEYTYPE_STRING {
            return false;
        }
        let mut len = 0;
        let data = redis!(RedisModule_StringDMA(self.raw, &mut len, raw::REDISMODULE_WRITE as c_int));
        if data.is_null() || len != bytes.len() {
            return false;
        }
        // SAFETY: Redis hands out `len` bytes of this value alone, to be written until the key changes.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast::<u8>(), len) };
        true
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            redis!(RedisModule_CloseKey(self.raw));
        }
        // What changes a value is replicated, and what is refused or changes nothing is not.
        let is_decided = self.mode == Mode::Write && DECISIONS.get() != self.decisions;
        if self.changed || is_decided {
            // The name is an argument of this call, or our own.
            redis!(RedisModule_SignalModifiedKey(self.ctx.raw, self.name));
        }
    }
}

/// What a command does, in safe Rust.
pub(crate) type Handler = fn(&Ctx<'_>, Args<'_>) -> Outcome;

/// What Redis calls for a command.
pub(crate) type Entry = extern "C" fn(*mut RedisModuleCtx, *mut *mut RedisModuleString, c_int) -> c_int;

/// Makes the function that Redis calls from a handler.
macro_rules! entry {
    ($handler:path) => {{
        extern "C" fn entry(
            ctx: *mut $crate::ffi::RedisModuleCtx,
            argv: *mut *mut $crate::ffi::RedisModuleString,
            argc: std::ffi::c_int,
        ) -> std::ffi::c_int {
            $crate::ffi::enter(ctx, argv, argc, $handler)
        }
        entry
    }};
    // Of a command whose keys are its first argument and those that this function finds.
    ($handler:path, $key_places:path) => {{
        extern "C" fn entry(
            ctx: *mut $crate::ffi::RedisModuleCtx,
            argv: *mut *mut $crate::ffi::RedisModuleString,
            argc: std::ffi::c_int,
        ) -> std::ffi::c_int {
            if $crate::ffi::tell_keys(ctx, argv, argc, |words| $key_places(words)) {
                return redis_module::raw::REDISMODULE_OK as std::ffi::c_int;
            }
            $crate::ffi::enter(ctx, argv, argc, $handler)
        }
        entry
    }};
}
pub(crate) use entry;

/// Whether the server only asks for the keys of a call; then it is told: the first argument, and those at `places`.
pub(crate) fn tell_keys<I: Iterator<Item = usize>>(
    ctx: *mut RedisModuleCtx,
    argv: *mut *mut RedisModuleString,
    argc: c_int,
    places: impl FnOnce(&[Word<'_>]) -> I,
) -> bool {
    if redis!(RedisModule_IsKeysPositionRequest(ctx)) == 0 {
        return false;
    }
    guarded(|| {
        let changes = raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE;
        for place in std::iter::once(1).chain(places(words(argv, argc))) {
            redis!(RedisModule_KeyAtPosWithFlags(ctx, place as c_int, changes as c_int));
        }
    });
    true
}

/// What Redis hands over for a call: the command's name and its arguments.
fn words<'a>(argv: *mut *mut RedisModuleString, argc: c_int) -> &'a [Word<'a>] {
    // SAFETY: Redis hands over `argc` strings that live as long as the call.
    let strings = unsafe { std::slice::from_raw_parts(argv, argc as usize) };
    // SAFETY: a Word is nothing but the pointer.
    unsafe { std::slice::from_raw_parts(strings.as_ptr().cast::<Word<'_>>(), strings.len()) }
}

/// The one way into every command: arguments in, reply or error out, no panic beyond.
pub(crate) fn enter(
    ctx: *mut RedisModuleCtx,
    argv: *mut *mut RedisModuleString,
    argc: c_int,
    handler: Handler,
) -> c_int {
    let ctx = Ctx::new(ctx);
    let outcome = guarded(|| {
        let words = words(argv, argc);
        panic_if_asked(words.get(1).map_or(&[], |key| key.bytes()));
        failover::may_decide(&ctx, words)?;
        handler(&ctx, Args::new(words.get(1..).unwrap_or_default()))
    });
    match outcome {
        Some(Ok(reply)) => ctx.reply(&reply),
        Some(Err(trouble)) => ctx.reply_error(&trouble),
        None => {
            redis!(RedisModule_ReplyWithError(
                ctx.raw,
                c"INTERNAL a fault of the module, see the server's log".as_ptr()
            ));
        }
    }
    raw::REDISMODULE_OK as c_int
}

/// Makes a command known. `flags` are as `RedisModule_CreateCommand` takes them; the keys are those from `first`
/// to `last` in steps of `step`.
pub(crate) fn create_command(
    ctx: &Ctx<'_>,
    name: &str,
    entry: Entry,
    flags: &str,
    keys: (i32, i32, i32),
) -> Result<(), String> {
    let failed = |_| format!("cannot register the command {name}");
    let c_name = CString::new(name).map_err(|_| name.to_owned())?;
    let c_flags = CString::new(flags).map_err(|_| flags.to_owned())?;
    let (first, last, step) = keys;
    // SAFETY: the types differ in `unsafe` alone: Redis may call any function with these arguments.
    let entry: unsafe extern "C" fn(*mut RedisModuleCtx, *mut *mut RedisModuleString, c_int) -> c_int = entry;
    let done =
        redis!(RedisModule_CreateCommand(ctx.raw, c_name.as_ptr(), Some(entry), c_flags.as_ptr(), first, last, step));
    ok(done).map_err(failed)
}

/// Success or not, as Redis says it.
pub(crate) fn ok(status: c_int) -> Result<(), ()> {
    if status == raw::REDISMODULE_OK as c_int { Ok(()) } else { Err(()) }
}

/// A C string for something that Redis copies or keeps while it reads it.
pub(crate) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// The text behind a pointer that Redis handed to a callback.
pub(crate) fn text_at<'a>(pointer: *const c_char) -> &'a CStr {
    if pointer.is_null() {
        return c"";
    }
    // SAFETY: Redis's strings end in NUL and live as long as the callback that received them.
    unsafe { CStr::from_ptr(pointer) }
}
