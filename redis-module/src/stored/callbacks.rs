//! The callbacks of a native type, once for all types.
#![allow(unsafe_code)]

use super::Stored;
use crate::ffi::{self, Ctx, RedisModuleIO, RedisModuleString, guarded, redis};
use redis_module::raw;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The version of the outer record. Ours leads the payload, so this never changes.
const ENCODING_VERSION: c_int = 1;

/// The server's handle of a type.
pub(crate) struct Slot(AtomicPtr<raw::RedisModuleType>);

impl Slot {
    pub(crate) const fn empty() -> Self {
        Slot(AtomicPtr::new(ptr::null_mut()))
    }
    pub(crate) fn get(&self) -> *mut raw::RedisModuleType {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes a type known to the server.
pub(crate) fn register<T: Stored>(ctx: &Ctx<'_>) -> Result<(), String> {
    let mut methods = raw::RedisModuleTypeMethods {
        version: u64::from(raw::REDISMODULE_TYPE_METHOD_VERSION),
        rdb_load: Some(rdb_load::<T>),
        rdb_save: Some(rdb_save::<T>),
        aof_rewrite: Some(aof_rewrite::<T>),
        mem_usage: Some(mem_usage::<T>),
        digest: Some(digest::<T>),
        free: Some(free::<T>),
        free_effort: Some(free_effort::<T>),
        unlink: Some(unlink::<T>),
        copy: Some(copy::<T>),
        aux_load: None,
        aux_save: None,
        aux_save_triggers: 0,
        defrag: None,
        mem_usage2: None,
        free_effort2: None,
        unlink2: None,
        copy2: None,
        aux_save2: None,
    };
    let made = redis!(RedisModule_CreateDataType(ctx.raw, T::TYPE_NAME.as_ptr(), ENCODING_VERSION, &mut methods));
    if made.is_null() {
        return Err(format!("cannot register the type {:?}", T::TYPE_NAME));
    }
    T::slot().0.store(made, Ordering::Relaxed);
    Ok(())
}

/// The value behind a pointer that Redis holds for us.
///
/// # Safety
/// `value` is a pointer that `Key::put` or `rdb_load::<T>` handed to Redis, and Redis has not freed it.
unsafe fn borrowed<'a, T: Stored>(value: *const c_void) -> &'a T {
    // SAFETY: as this function asks.
    unsafe { &*value.cast::<T>() }
}

fn is_loading() -> bool {
    let flags = redis!(RedisModule_GetContextFlags(ptr::null_mut()));
    flags & raw::REDISMODULE_CTX_FLAGS_LOADING as c_int != 0
}

unsafe extern "C" fn rdb_load<T: Stored>(io: *mut RedisModuleIO, version: c_int) -> *mut c_void {
    let loaded = guarded(|| {
        if version != ENCODING_VERSION {
            return Err(format!("encoding version {version}, this build reads {ENCODING_VERSION}"));
        }
        let mut len = 0;
        let data = redis!(RedisModule_LoadStringBuffer(io, &mut len));
        if data.is_null() || redis!(RedisModule_IsIOError(io)) != 0 {
            return Err("the file ends within the value".to_owned());
        }
        // SAFETY: Redis read `len` bytes to `data`, which is ours to free.
        let value = T::decode(unsafe { std::slice::from_raw_parts(data.cast(), len) });
        redis!(RedisModule_Free(data.cast()));
        let mut value = value.map_err(|damaged| damaged.to_string())?;
        if !is_loading() {
            // RESTORE and MIGRATE: what people saw of this key may be newer than this value.
            value.detach();
        }
        let key = redis!(RedisModule_GetKeyNameFromIO(io));
        if !key.is_null() {
            ffi::panic_if_asked(ffi::bytes_of(key));
            value.loaded(ffi::bytes_of(key));
        }
        Ok(value)
    });
    match loaded {
        Some(Ok(value)) => Box::into_raw(Box::new(value)).cast(),
        Some(Err(why)) => {
            ffi::log(c"warning", &format!("refused to load a {:?}: {why}", T::TYPE_NAME));
            ptr::null_mut()
        }
        None => ptr::null_mut(),
    }
}

unsafe extern "C" fn rdb_save<T: Stored>(io: *mut RedisModuleIO, value: *mut c_void) {
    guarded(|| {
        // SAFETY: Redis passes a value of this type.
        let bytes = unsafe { borrowed::<T>(value) }.encode();
        redis!(RedisModule_SaveStringBuffer(io, bytes.as_ptr().cast(), bytes.len()));
    });
}

unsafe extern "C" fn aof_rewrite<T: Stored>(io: *mut RedisModuleIO, key: *mut RedisModuleString, value: *mut c_void) {
    guarded(|| {
        // SAFETY: Redis passes a value of this type.
        let bytes = unsafe { borrowed::<T>(value) }.encode();
        redis!(RedisModule_EmitAOF(
            io,
            T::EFFECT.as_ptr(),
            c"scb".as_ptr(),
            key,
            c"STATE".as_ptr(),
            bytes.as_ptr(),
            bytes.len()
        ));
    });
}

unsafe extern "C" fn mem_usage<T: Stored>(value: *const c_void) -> usize {
    // SAFETY: Redis passes a value of this type.
    guarded(|| size_of::<T>() + unsafe { borrowed::<T>(value) }.heap_bytes()).unwrap_or(0)
}

unsafe extern "C" fn digest<T: Stored>(digest: *mut raw::RedisModuleDigest, value: *mut c_void) {
    guarded(|| {
        // SAFETY: Redis passes a value of this type.
        let bytes = unsafe { borrowed::<T>(value) }.encode();
        redis!(RedisModule_DigestAddStringBuffer(digest, bytes.as_ptr().cast(), bytes.len()));
        redis!(RedisModule_DigestEndSequence(digest));
    });
}

/// May run on Redis's freeing thread: touches nothing but the value.
unsafe extern "C" fn free<T: Stored>(value: *mut c_void) {
    // SAFETY: Redis gives back what `put` or `rdb_load` made with Box::into_raw, once.
    guarded(|| drop(unsafe { Box::from_raw(value.cast::<T>()) }));
}

unsafe extern "C" fn free_effort<T: Stored>(_key: *mut RedisModuleString, value: *const c_void) -> usize {
    // SAFETY: Redis passes a value of this type.
    guarded(|| unsafe { borrowed::<T>(value) }.free_effort()).unwrap_or(1)
}

unsafe extern "C" fn unlink<T: Stored>(key: *mut RedisModuleString, _value: *const c_void) {
    guarded(|| crate::deadlines::value_removed(ffi::bytes_of(key)));
}

unsafe extern "C" fn copy<T: Stored>(
    _from: *mut RedisModuleString,
    to: *mut RedisModuleString,
    value: *const c_void,
) -> *mut c_void {
    let copied = guarded(|| {
        // SAFETY: Redis passes a value of this type.
        let mut copy = T::decode(&unsafe { borrowed::<T>(value) }.encode()).ok()?;
        copy.detach();
        ffi::panic_if_asked(ffi::bytes_of(to));
        copy.loaded(ffi::bytes_of(to));
        Some(copy)
    });
    copied.flatten().map_or(ptr::null_mut(), |copy| Box::into_raw(Box::new(copy)).cast())
}
