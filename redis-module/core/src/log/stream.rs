//! Messages that are written while people read them: they grow by appends until they are finished.

use super::body::checked_body;
use super::message::{Message, Stream, TEXT, utf16_len};
use super::record::Change;
use super::write::missing;
use super::{Actor, Call, Log, Written};
use crate::json;
use crate::refusal::{Code, Refusal};

impl Log {
    /// Adds a text to a streamed message. The answer's number is the length after it, in UTF-16 units.
    ///
    /// With `at` it is refused with `DESYNC` if the text is not that long: an earlier append is missing. Refuses
    /// with `CLOSED` what is not streamed any more, with `TOO_LARGE` what makes the body too long.
    pub fn append(
        &mut self,
        n: u64,
        chunk: &str,
        at: Option<u64>,
        actor: Actor<'_>,
        call: &Call<'_>,
    ) -> Result<Written, Refusal> {
        if let Some(known) = self.known(&actor)? {
            return Ok(known);
        }
        let (message, stream) = self.streamed(n)?;
        check_writer(message, &actor)?;
        let length = stream.length;
        if let Some(at) = at.filter(|at| *at != length) {
            let message = format!("message {n} has {length} UTF-16 units, this is meant to follow {at}");
            return Err(Refusal::new(Code::Desync, message));
        }
        // Escaped and with its closing quote it is what the bound on bodies counts.
        let bytes = stream.text.len() + json::quoted(chunk).len() - 1;
        if bytes > call.bounds.message_bytes_max {
            let most = call.bounds.message_bytes_max;
            let message = format!("the body would have {bytes} bytes, at most {most} are allowed");
            return Err(Refusal::new(Code::TooLarge, message));
        }
        if chunk.is_empty() {
            return Ok(self.unchanged(length));
        }
        Ok(self.accept(call, actor, length + utf16_len(chunk), Change::Append { n, chunk }))
    }

    /// Ends the growing of a message. A body given here replaces what grew.
    pub fn finish(
        &mut self,
        n: u64,
        body: Option<&[u8]>,
        actor: Actor<'_>,
        call: &Call<'_>,
    ) -> Result<Written, Refusal> {
        if let Some(known) = self.known(&actor)? {
            return Ok(known);
        }
        let (message, _) = self.streamed(n)?;
        check_writer(message, &actor)?;
        let kind = if message.kind.is_empty() { TEXT } else { &message.kind };
        let body = body.map(|body| checked_body(kind, body, call.bounds)).transpose()?;
        Ok(self.accept(call, actor, n, Change::Finish { n, body: body.as_deref(), interrupted: false }))
    }

    /// Asks the writer of a streamed message to stop. Anybody may ask.
    pub fn cancel(&mut self, n: u64, actor: Actor<'_>, call: &Call<'_>) -> Result<Written, Refusal> {
        if let Some(known) = self.known(&actor)? {
            return Ok(known);
        }
        self.streamed(n)?;
        if self.is_cancelled(n) {
            return Ok(self.unchanged(n));
        }
        Ok(self.accept(call, actor, n, Change::Cancel { n }))
    }

    /// Whether somebody asked the writer of a message to stop.
    pub fn is_cancelled(&self, n: u64) -> bool {
        self.message(n).and_then(|message| message.more.as_ref()).is_some_and(|more| more.cancelled)
    }

    /// Whether messages are being streamed.
    pub fn is_streaming(&self) -> bool {
        !self.streams.is_empty()
    }

    /// The oldest streamed messages whose writers were not heard of for too long.
    pub(super) fn silent_streams(&self, call: &Call<'_>, count: usize) -> Vec<u64> {
        let is_silent = |n: &&u64| {
            let stream = self.message(**n).and_then(Message::stream);
            stream.is_none_or(|s| s.at_ms.saturating_add(call.bounds.message_stream_ms) <= call.now_ms)
        };
        self.streams.iter().filter(is_silent).take(count).copied().collect()
    }

    fn streamed(&self, n: u64) -> Result<(&Message, &Stream), Refusal> {
        let message = self.message(n).filter(|message| !message.is_deleted()).ok_or_else(|| missing(n))?;
        match message.stream() {
            Some(stream) => Ok((message, stream)),
            None => Err(Refusal::new(Code::Closed, format!("message {n} is not streamed, or not any more"))),
        }
    }
}

fn check_writer(message: &Message, actor: &Actor<'_>) -> Result<(), Refusal> {
    if *message.user == *actor.user {
        return Ok(());
    }
    Err(Refusal::new(Code::PermissionDenied, format!("message {} is streamed by another user", message.n)))
}
