//! Loading: what the server is told when it takes the module in, and what it tells us later.

use super::{Ctx, RedisModuleCtx, RedisModuleString, c_text, guarded, log, redis, replication_id_of, text_at};
use crate::{deadlines, failover, settings};
use redis_module::raw;
use std::ffi::{CStr, c_char, c_int, c_longlong, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The option of Valkey 9 without which a slot that holds values of a module does not move atomically. They move as the
/// commands that rewrite the append-only file. Other servers have no such option and take it for nothing.
const HANDLE_ATOMIC_SLOT_MIGRATION: u32 = 1 << 5;

/// A context that outlives calls, for callbacks that receive none.
static DETACHED: AtomicPtr<RedisModuleCtx> = AtomicPtr::new(ptr::null_mut());

/// A context for a callback that Redis hands none to; `None` before the module is loaded.
pub(crate) fn detached() -> Option<Ctx<'static>> {
    let raw = DETACHED.load(Ordering::Relaxed);
    (!raw.is_null()).then(|| Ctx::new(raw))
}

redis_module::redis_module! {
    name: "stoa",
    version: 1,
    allocator: (redis_module::alloc::RedisAlloc, redis_module::alloc::RedisAlloc),
    data_types: [],
    init: load,
}

fn load(ctx: &redis_module::Context, args: &[redis_module::RedisString]) -> redis_module::Status {
    let words: Vec<&[u8]> = args.iter().map(|arg| arg.as_slice()).collect();
    let ctx = Ctx::new(ctx.ctx);
    match guarded(|| start(&ctx, &words)) {
        Some(Ok(())) => redis_module::Status::Ok,
        Some(Err(why)) => {
            log(c"warning", &format!("Stoa does not load: {why}"));
            redis_module::Status::Err
        }
        None => redis_module::Status::Err,
    }
}

fn start(ctx: &Ctx<'_>, words: &[&[u8]]) -> Result<(), String> {
    let missing = super::missing_functions();
    if !missing.is_empty() {
        return Err(format!("it needs Redis 7.0 or newer, or Valkey; this server lacks {}", missing.join(", ")));
    }
    super::install_panic_hook();
    super::Fixed::make_all();
    // A key that is opened for writing and then left as it was must not disturb those who watch it: `Key` tells them.
    let options = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED
        | HANDLE_ATOMIC_SLOT_MIGRATION;
    redis!(RedisModule_SetModuleOptions(ctx.raw, options as c_int));
    register_settings(ctx, words)?;
    crate::register(ctx)?;
    listen(ctx)?;
    failover::check_at_load(ctx)?;
    DETACHED.store(redis!(RedisModule_GetDetachedThreadSafeContext(ctx.raw)), Ordering::Relaxed);
    deadlines::takeover(ctx, None);
    Ok(())
}

fn register_settings(ctx: &Ctx<'_>, words: &[&[u8]]) -> Result<(), String> {
    let start = settings::starting_values(words)?;
    for (at, (setting, value)) in settings::SETTINGS.iter().zip(start).enumerate() {
        let name = c_text(setting.name);
        let done = redis!(RedisModule_RegisterNumericConfig(
            ctx.raw,
            name.as_ptr(),
            value,
            raw::REDISMODULE_CONFIG_DEFAULT,
            setting.min,
            setting.max,
            Some(read_setting),
            Some(write_setting),
            None,
            ptr::without_provenance_mut(at),
        ));
        super::ok(done).map_err(|()| format!("cannot register the setting {}", setting.name))?;
        settings::set(at, value);
    }
    super::ok(redis!(RedisModule_LoadConfigs(ctx.raw)))
        .map_err(|()| "a setting in the server's configuration does not fit".to_owned())
}

unsafe extern "C" fn read_setting(_name: *const c_char, at: *mut c_void) -> c_longlong {
    guarded(|| settings::get(at.addr())).unwrap_or(0)
}

unsafe extern "C" fn write_setting(
    _name: *const c_char,
    value: c_longlong,
    at: *mut c_void,
    _error: *mut *mut RedisModuleString,
) -> c_int {
    guarded(|| settings::set(at.addr(), value));
    raw::REDISMODULE_OK as c_int
}

fn listen(ctx: &Ctx<'_>) -> Result<(), String> {
    let events: [(u64, raw::RedisModuleEventCallback); 7] = [
        (raw::REDISMODULE_EVENT_FLUSHDB, Some(flushed)),
        (raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, Some(role_changed)),
        (raw::REDISMODULE_EVENT_LOADING, Some(loading)),
        (raw::REDISMODULE_EVENT_SWAPDB, Some(swapped)),
        (raw::REDISMODULE_EVENT_CRON_LOOP, Some(looped)),
        (raw::REDISMODULE_EVENT_REPLICA_CHANGE, Some(replica_changed)),
        (raw::REDISMODULE_EVENT_CONFIG, Some(settings_changed)),
    ];
    for (id, callback) in events {
        let event = raw::RedisModuleEvent { id, dataver: 1 };
        super::ok(redis!(RedisModule_SubscribeToServerEvent(ctx.raw, event, callback)))
            .map_err(|()| "the server does not tell of its events".to_owned())?;
    }
    let class = raw::REDISMODULE_NOTIFY_GENERIC;
    super::ok(redis!(RedisModule_SubscribeToKeyspaceEvents(ctx.raw, class, Some(key_event))))
        .map_err(|()| "the server does not tell of renamed keys".to_owned())?;
    super::ok(redis!(RedisModule_RegisterInfoFunc(ctx.raw, Some(info))))
        .map_err(|()| "the server does not take a section of INFO".to_owned())
}

unsafe extern "C" fn role_changed(ctx: *mut RedisModuleCtx, _: raw::RedisModuleEvent, _sub: u64, data: *mut c_void) {
    guarded(|| {
        // SAFETY: this event comes with this structure, valid during the callback.
        let replication = unsafe { data.cast::<raw::RedisModuleReplicationInfo>().as_ref() };
        let id = replication.map(|info| replication_id_of(text_at(info.replid1)));
        deadlines::takeover(&Ctx::new(ctx), id);
    });
}

unsafe extern "C" fn loading(ctx: *mut RedisModuleCtx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    if sub == raw::REDISMODULE_SUBEVENT_LOADING_ENDED {
        guarded(|| {
            failover::begin();
            deadlines::takeover(&Ctx::new(ctx), None);
        });
    }
}

unsafe extern "C" fn looped(ctx: *mut RedisModuleCtx, _: raw::RedisModuleEvent, _sub: u64, data: *mut c_void) {
    guarded(|| {
        // SAFETY: this event comes with this structure, valid during the callback.
        let info = unsafe { data.cast::<raw::RedisModuleCronLoopInfo>().as_ref() };
        let ctx = Ctx::new(ctx);
        // What came by a slot of the cluster is planned, and nobody was there who could start a timer.
        deadlines::arm(&ctx);
        failover::looped(&ctx, info.map_or(0, |info| info.hz.unsigned_abs()));
    });
}

unsafe extern "C" fn replica_changed(_: *mut RedisModuleCtx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    if sub == raw::REDISMODULE_SUBEVENT_REPLICA_CHANGE_ONLINE {
        guarded(failover::replica_came);
    }
}

unsafe extern "C" fn settings_changed(ctx: *mut RedisModuleCtx, _: raw::RedisModuleEvent, _sub: u64, _: *mut c_void) {
    guarded(|| failover::look_at_settings(&Ctx::new(ctx)));
}

unsafe extern "C" fn flushed(ctx: *mut RedisModuleCtx, _: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    guarded(|| {
        // SAFETY: this event comes with this structure, valid during the callback.
        let info = unsafe { data.cast::<raw::RedisModuleFlushInfo>().as_ref() };
        let holds_rooms = info.is_some_and(|info| info.dbnum <= 0);
        if holds_rooms && sub == raw::REDISMODULE_SUBEVENT_FLUSHDB_END {
            deadlines::everything_removed(&Ctx::new(ctx));
        }
    });
}

unsafe extern "C" fn swapped(ctx: *mut RedisModuleCtx, _: raw::RedisModuleEvent, _sub: u64, data: *mut c_void) {
    guarded(|| {
        // SAFETY: this event comes with this structure, valid during the callback.
        let info = unsafe { data.cast::<raw::RedisModuleSwapDbInfo>().as_ref() };
        // What people held is in another database now, and what is here instead they never saw.
        if info.is_some_and(|info| info.dbnum_first == 0 || info.dbnum_second == 0) {
            deadlines::everything_removed(&Ctx::new(ctx));
        }
    });
}

unsafe extern "C" fn key_event(
    ctx: *mut RedisModuleCtx,
    _: c_int,
    event: *const c_char,
    key: *mut RedisModuleString,
) -> c_int {
    guarded(|| {
        let arrives: [&CStr; 4] = [c"rename_to", c"move_to", c"restore", c"copy_to"];
        let ctx = Ctx::new(ctx);
        if arrives.contains(&text_at(event)) && ctx.database() == 0 {
            deadlines::key_arrived(&ctx, super::bytes_of(key));
        }
    });
    raw::REDISMODULE_OK as c_int
}

unsafe extern "C" fn info(ctx: *mut raw::RedisModuleInfoCtx, _for_crash_report: c_int) {
    guarded(|| {
        redis!(RedisModule_InfoAddSection(ctx, c"rooms".as_ptr()));
        for (name, value) in crate::info::figures() {
            redis!(RedisModule_InfoAddFieldULongLong(ctx, name.as_ptr(), value));
        }
    });
}
