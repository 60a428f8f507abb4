//! The stream of what was done.

use super::{Args, ModuleApi};
use crate::frame::FrameError;
use std::sync::Arc;

/// What somebody did, and what came of it. Never what they wrote, never a token.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
    /// The user.
    pub user: Arc<str>,
    /// The connection; empty if there was none.
    pub connection: Arc<str>,
    /// Where they come from.
    pub address: Arc<str>,
    /// The name of the command; `connection.begin` and `connection.end` of a connection.
    pub what: &'static str,
    /// The room; empty if it was about none.
    pub room: Arc<str>,
    /// `OK`, or the code of the error; of the end of a connection its reason.
    pub result: &'static str,
}

impl ModuleApi {
    /// `XADD` to the stream at `key`, which keeps about `entries_max`.
    pub async fn audit(&self, key: &str, entries_max: u64, entry: &Entry) -> Result<(), FrameError> {
        let args = Args::key(key.to_owned()).add("MAXLEN").add("~").add(entries_max).add("*");
        let args =
            args.add("at_ms").add(entry.at_ms).add("user").add(&entry.user).add("connection").add(&entry.connection);
        let args = args.add("address").add(&entry.address).add("do").add(entry.what).add("room").add(&entry.room);
        let args = args.add("result").add(entry.result);
        self.call_if_up(key, "XADD", args).await.map(drop)
    }
}
