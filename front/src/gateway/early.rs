//! What comes before its room is joined.
//!
//! When `socket.io-client` is connected again it first sends what was emitted meanwhile, and then tells the page, which joins its
//! rooms. So what a client that has just come says in a room is kept until it has joined that room.

use super::link::{Link, Then};
use crate::frame::Code;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long after its beginning a client may still be about to join its rooms: a page does that at once, and asks for a
/// token before.
const EARLY: Duration = Duration::from_secs(2);
/// Commands that wait, in number: of the 32 events of one client that may be under way, some have to be joins.
const EARLY_MAX: usize = 24;

/// What waits.
#[derive(Default)]
pub(super) struct Early {
    until: Option<Instant>,
    /// Commands with what becomes of their answers, and the refusals that they got.
    waiting: Vec<(Value, Then, Value)>,
}

impl Early {
    /// The client has just come.
    pub(super) fn begin(&mut self) {
        self.until = Some(Instant::now() + EARLY);
    }

    fn end(&self) -> Option<Instant> {
        self.until.filter(|until| *until > Instant::now())
    }
}

/// Gives a command to the session, and again once its room is joined if it was refused for that alone.
pub(super) fn ask(link: &Arc<Link>, command: Value, then: Then) {
    if link.lock().early.end().is_none() {
        return link.ask(command, then);
    }
    let again = command.clone();
    link.ask(
        command,
        Box::new(move |link, answer, out| match answer {
            Err(error) if error["code"] == json!(Code::NotJoined.as_str()) => {
                if let Some((then, error)) = wait(link, again, then, error) {
                    then(link, Err(error), out);
                }
            }
            answer => then(link, answer, out),
        }),
    );
}

/// Keeps a command; gives it back if it is too late for that, or too much.
fn wait(link: &Arc<Link>, command: Value, then: Then, refusal: Value) -> Option<(Then, Value)> {
    let mut state = link.lock();
    let Some(end) = state.early.end().filter(|_| state.early.waiting.len() < EARLY_MAX) else {
        return Some((then, refusal));
    };
    let is_first = state.early.waiting.is_empty();
    state.early.waiting.push((command, then, refusal));
    drop(state);
    if is_first {
        let link = link.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = link.gone.cancelled() => {}
                () = tokio::time::sleep_until(end) => {}
            }
            let waiting = std::mem::take(&mut link.lock().early.waiting);
            let mut out = Vec::new();
            for (_, then, refusal) in waiting {
                then(&link, Err(refusal), &mut out);
            }
            link.engine.send(&out).await;
        });
    }
    None
}

/// What waits for this room is said now.
pub(super) fn joined(link: &Arc<Link>, room: &str) {
    let mut state = link.lock();
    let all = std::mem::take(&mut state.early.waiting);
    let (now, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(it, ..)| it["room"] == *room);
    state.early.waiting = later;
    drop(state);
    for (command, then, _) in now {
        link.ask(command, then);
    }
}
