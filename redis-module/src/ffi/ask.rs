//! What the module asks the server by the server's own commands.

use super::{Ctx, OwnString, redis};
use redis_module::raw;
use std::ffi::CStr;

impl Ctx<'_> {
    /// The sharded channels that somebody on this server listens to.
    pub(crate) fn subscribed_channels(&self) -> Vec<Box<[u8]>> {
        self.ask(c"PUBSUB", &["SHARDCHANNELS"])
    }

    /// Settings of the server: names and values in turn, those that it knows.
    pub(crate) fn server_settings(&self, names: &[&str]) -> Vec<(String, String)> {
        let words: Vec<&str> = std::iter::once("GET").chain(names.iter().copied()).collect();
        let texts: Vec<String> =
            self.ask(c"CONFIG", &words).iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    /// Whether this server would answer for a key that it does not have: not if the key has moved, or is on its way, to
    /// another server of a cluster.
    pub(crate) fn answers_for(&self, key: &[u8]) -> bool {
        let key = OwnString::new(key);
        let reply = redis!(RedisModule_Call(self.raw, c"EXISTS".as_ptr(), c"s".as_ptr(), key.0));
        if reply.is_null() {
            return false;
        }
        redis!(RedisModule_FreeCallReply(reply));
        true
    }

    /// Whether the server would take a write now: not while too few replicas follow it, or it cannot save.
    pub(crate) fn takes_writes(&self) -> bool {
        // A name that nobody gives a key: nothing is deleted, and nothing replicated. `S` asks as for a script, which is
        // refused what a client would be, and `E` for the refusal's text; another one says that the key is elsewhere.
        let key = OwnString::new(b"\0");
        let reply = redis!(RedisModule_Call(self.raw, c"DEL".as_ptr(), c"SEs".as_ptr(), key.0));
        if reply.is_null() {
            return true;
        }
        let text = text_of(reply);
        let is_refused = ["NOREPLICAS", "MISCONF"].iter().any(|code| text.starts_with(code.as_bytes()));
        redis!(RedisModule_FreeCallReply(reply));
        !is_refused
    }

    /// The texts that a command answers; none if it is refused.
    fn ask(&self, command: &CStr, words: &[&str]) -> Vec<Box<[u8]>> {
        let words: Vec<OwnString> = words.iter().map(|word| OwnString::new(word.as_bytes())).collect();
        let mut pointers: Vec<_> = words.iter().map(|word| word.0).collect();
        let (list, count) = (pointers.as_mut_ptr(), pointers.len());
        let reply = redis!(RedisModule_Call(self.raw, command.as_ptr(), c"v".as_ptr(), list, count));
        if reply.is_null() {
            return Vec::new();
        }
        let texts = (0..redis!(RedisModule_CallReplyLength(reply))).map(|at| {
            let element = redis!(RedisModule_CallReplyArrayElement(reply, at));
            if element.is_null() { Box::default() } else { text_of(element) }
        });
        let texts = texts.collect();
        redis!(RedisModule_FreeCallReply(reply));
        texts
    }
}

/// The text of a reply; none if it is no text.
fn text_of(reply: *mut raw::RedisModuleCallReply) -> Box<[u8]> {
    let mut len = 0;
    let text = redis!(RedisModule_CallReplyStringPtr(reply, &mut len));
    if text.is_null() {
        return Box::default();
    }
    // SAFETY: the reply holds `len` bytes there as long as the caller has it.
    unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) }.into()
}
