//! The client's side of one document: what it shows, what is on its way, what waits behind that.
//!
//! The classic three states: nothing pending, one operation in flight, or one in flight and more waiting. No network
//! here; [`crate::room`] brings the frames in and takes them out. What it knows of text is a page of plain code, so that
//! it can judge the engine; only transform and compose are the engine's own, as the protocol demands.

use serde_json::{Value, json};
use std::collections::VecDeque;
use stoa_core::bounds::Bounds;
use stoa_core::compose::{Bias, compose};
use stoa_core::op::{Component, Operation, Unit};
use stoa_core::transform::transform_both;

/// Two operations on one text, each as it is after the other; `left`'s text goes first.
fn both(left: &Operation, right: &Operation) -> (Operation, Operation) {
    let (left_after, right_after) = transform_both(left.components(), right.components());
    let rebuilt = |components: &[Component], text: &str| {
        Operation::from_parts(Unit::Utf16, components, text.to_owned())
            .expect("transforming never touches inserted text")
    };
    (rebuilt(&left_after, left.text()), rebuilt(&right_after, right.text()))
}

/// What an operation makes of a text; `None` if it does not fit.
pub fn apply(text: &str, operation: &Operation) -> Option<String> {
    let mut result = String::with_capacity(text.len() + operation.text().len());
    let (mut rest, mut inserts) = (text, operation.text());
    for component in operation.components() {
        let source = if matches!(component, Component::Insert(_)) { &mut inserts } else { &mut rest };
        let (part, left) = Unit::Utf16.split(source, component.len())?;
        *source = left;
        if !matches!(component, Component::Delete(_)) {
            result.push_str(part);
        }
    }
    result.push_str(rest);
    Some(result)
}

/// At a place: remove so many UTF-16 units, insert a text.
pub fn replace(at: usize, removed: usize, inserted: &str) -> Operation {
    let units = |n: usize| u32::try_from(n).expect("a text of this size");
    let components = [
        Component::Retain(units(at)),
        Component::Insert(units(Unit::Utf16.len(inserted))),
        Component::Delete(units(removed)),
    ];
    Operation::from_parts(Unit::Utf16, &components, inserted.to_owned()).expect("the length of the text itself")
}

/// A text and the edits that others do not know yet.
pub struct Editor {
    text: String,
    epoch: String,
    rev: u64,
    client: String,
    seq: u64,
    in_flight: Option<(u64, Operation)>,
    /// The sequence that had nothing left to do, and the revision at which that was so.
    vain: Option<(u64, u64)>,
    waiting: VecDeque<Operation>,
    /// The last waiting operation may take up what is typed next.
    open: bool,
    /// How many edits were made here.
    made: usize,
    /// How many of them each waiting operation completes.
    waiting_made: VecDeque<usize>,
    /// How many of them were sent with each sequence and those before it; index 0: before the first.
    sent: Vec<usize>,
}

impl Editor {
    /// An editor that has seen nothing; `client` is unique among all.
    pub fn new(client: &str) -> Self {
        Editor {
            text: String::new(),
            epoch: String::new(),
            rev: 0,
            client: client.to_owned(),
            seq: 0,
            in_flight: None,
            vain: None,
            waiting: VecDeque::new(),
            open: false,
            made: 0,
            waiting_made: VecDeque::new(),
            sent: vec![0],
        }
    }

    /// What it shows.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether others know everything that was typed here.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_none() && self.waiting.is_empty()
    }

    /// The name under which it writes.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The revision that it has taken in.
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// What it names to resume; `None` before it has seen anything.
    pub fn position(&self) -> Option<String> {
        (!self.epoch.is_empty()).then(|| format!("{}:{}", self.epoch, self.rev))
    }

    /// How many of the edits made here are known to whoever has received the operation with this sequence.
    pub fn sent_with(&self, seq: u64) -> usize {
        usize::try_from(seq).ok().and_then(|seq| self.sent.get(seq)).copied().unwrap_or_default()
    }

    /// Somebody types.
    pub fn edit(&mut self, operation: Operation) {
        self.text = apply(&self.text, &operation).expect("an edit of the text that is shown");
        self.made += 1;
        match (self.waiting.back_mut(), self.waiting_made.back_mut()) {
            (Some(last), Some(made)) if self.open => {
                *last = compose(last, &operation, Bias::Early).expect("it follows the one before");
                *made = self.made;
            }
            _ => {
                self.waiting.push_back(operation);
                self.waiting_made.push_back(self.made);
            }
        }
        self.open = true;
    }

    /// What is typed next is sent apart from what was typed so far.
    pub fn seal(&mut self) {
        self.open = false;
    }

    /// The next operation to send, if none is in flight: the fields of `doc.submit` that tell of the edit.
    pub fn submit(&mut self) -> Option<Value> {
        while self.in_flight.is_none() {
            let operation = self.waiting.pop_front()?;
            let made = self.waiting_made.pop_front()?;
            if self.waiting.is_empty() {
                self.open = false;
            }
            if operation.is_empty() {
                // Typed and deleted again: nobody needs to hear of it, so it counts as known.
                *self.sent.last_mut()? = made;
            } else {
                self.seq += 1;
                self.sent.push(made);
                self.in_flight = Some((self.seq, operation));
                return self.resubmit();
            }
        }
        None
    }

    /// What is in flight, again: after a reconnect nobody knows whether it arrived. The identity makes it safe.
    pub fn resubmit(&self) -> Option<Value> {
        let (seq, operation) = self.in_flight.as_ref()?;
        let op: Value = serde_json::from_str(&operation.to_json()).expect("the engine writes JSON");
        Some(json!({"rev": self.rev, "epoch": self.epoch, "op": op, "client": self.client, "seq": seq}))
    }

    /// Takes the text as it is now. Edits that wait would have to be rebased, which no story needs yet.
    pub fn load(&mut self, snapshot: &Value) -> Result<(), String> {
        if !self.is_settled() {
            return Err(format!("a snapshot came while edits were pending: {snapshot}"));
        }
        self.text = snapshot["content"].as_str().ok_or("a snapshot without content")?.to_owned();
        self.epoch = snapshot["epoch"].as_str().ok_or("a snapshot without an epoch")?.to_owned();
        self.rev = snapshot["rev"].as_u64().ok_or("a snapshot without a revision")?;
        Ok(())
    }

    /// Takes in an answer that says that there was nothing left to do at a revision: others had deleted the same. No
    /// event will tell of it.
    pub fn was_in_vain(&mut self, seq: u64, rev: u64) -> Result<(), String> {
        self.vain = Some((seq, rev));
        self.forget_what_was_in_vain()
    }

    /// Until the revision has come, what is in flight still changes what arrives.
    fn forget_what_was_in_vain(&mut self) -> Result<(), String> {
        let Some((seq, rev)) = self.vain.filter(|(_, rev)| *rev <= self.rev) else { return Ok(()) };
        self.vain = None;
        match self.in_flight.take_if(|(sent, _)| *sent == seq) {
            Some((_, operation)) if !operation.is_empty() => {
                Err(format!("nothing was left to do at revision {rev}, but here it is {}", operation.to_json()))
            }
            _ => Ok(()),
        }
    }

    /// Takes in a `doc.applied`, one's own or somebody else's. An error is a broken promise of the product.
    pub fn receive(&mut self, event: &Value) -> Result<(), String> {
        let (from, rev) = (event["from"].as_u64(), event["rev"].as_u64());
        if from != Some(self.rev) || rev != Some(self.rev + 1) {
            return Err(format!("a hole or a repetition: at revision {} there came {event}", self.rev));
        }
        let arrived = Operation::parse(event["op"].to_string().as_bytes(), Unit::Utf16, &Bounds::default())
            .map_err(|refusal| format!("{refusal}: {event}"))?;
        let own_seq = (event["client"] == self.client.as_str()).then(|| event["seq"].as_u64()).flatten();
        match (own_seq, self.in_flight.take()) {
            (Some(seq), Some((sent, operation))) if seq == sent => {
                if operation != arrived {
                    return Err(format!("applied otherwise than transformed here: {} as {event}", operation.to_json()));
                }
            }
            (Some(_), in_flight) => {
                return Err(format!("an own operation applied twice, or never sent: {event}, in flight {in_flight:?}"));
            }
            (None, in_flight) => self.take_over(arrived, in_flight)?,
        }
        self.rev += 1;
        self.epoch = event["epoch"].as_str().ok_or_else(|| format!("no epoch in {event}"))?.to_owned();
        self.forget_what_was_in_vain()
    }

    /// Carries somebody else's operation past everything that is pending here.
    fn take_over(&mut self, arrived: Operation, in_flight: Option<(u64, Operation)>) -> Result<(), String> {
        let mut arrived = arrived;
        self.in_flight = in_flight.map(|(seq, operation)| {
            let (operation, past) = both(&operation, &arrived);
            arrived = past;
            (seq, operation)
        });
        for operation in &mut self.waiting {
            let (after, past) = both(operation, &arrived);
            *operation = after;
            arrived = past;
        }
        self.text = apply(&self.text, &arrived)
            .ok_or_else(|| format!("{} does not fit the text at revision {}", arrived.to_json(), self.rev))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(from: u64, op: Value, client: &str, seq: u64) -> Value {
        json!({"event":"doc.applied","from":from,"rev":from + 1,"epoch":"1.00000001","op":op,"client":client,"seq":seq})
    }

    #[test]
    fn what_is_typed_while_one_is_in_flight_waits_as_one() {
        let mut editor = Editor::new("c1");
        editor.edit(replace(0, 0, "a"));
        assert_eq!(editor.submit().unwrap()["op"], json!(["a"]));
        editor.edit(replace(1, 0, "b"));
        editor.edit(replace(2, 0, "c"));
        assert_eq!(editor.submit(), None);
        editor.receive(&applied(0, json!(["a"]), "c1", 1)).unwrap();
        assert_eq!(editor.submit().unwrap()["op"], json!([1, "bc"]));
    }

    #[test]
    fn what_is_sealed_is_sent_apart() {
        let mut editor = Editor::new("c1");
        editor.edit(replace(0, 0, "a"));
        editor.seal();
        editor.edit(replace(1, 0, "b"));
        assert_eq!(editor.submit().unwrap()["op"], json!(["a"]));
        editor.receive(&applied(0, json!(["a"]), "c1", 1)).unwrap();
        assert_eq!(editor.submit().unwrap()["op"], json!([1, "b"]));
    }

    #[test]
    fn what_others_deleted_first_is_known_once_their_edit_has_come() {
        let mut editor = Editor::new("c1");
        editor.load(&json!({"content": "ab", "epoch": "1.00000001", "rev": 1})).unwrap();
        editor.edit(replace(0, 1, ""));
        editor.submit().unwrap();
        editor.was_in_vain(1, 2).unwrap();
        assert!(!editor.is_settled());
        editor.receive(&applied(1, json!([-1]), "c2", 1)).unwrap();
        assert_eq!((editor.text(), editor.is_settled()), ("b", true));
        editor.edit(replace(0, 0, "x"));
        editor.submit().unwrap();
        assert!(editor.was_in_vain(2, 2).is_err());
    }

    #[test]
    fn others_edits_pass_what_is_pending() {
        let mut editor = Editor::new("c1");
        editor.edit(replace(0, 0, "mine"));
        editor.submit().unwrap();
        editor.edit(replace(4, 0, "!"));
        editor.receive(&applied(0, json!(["yours "]), "c2", 1)).unwrap();
        assert_eq!(editor.text(), "mine!yours ");
        assert!(editor.receive(&applied(0, json!(["x"]), "c2", 2)).is_err(), "a repetition is noticed");
        assert!(editor.receive(&applied(2, json!(["x"]), "c2", 2)).is_err(), "a hole is noticed");
    }
}
