//! What a client that always comes back knows, and what it does with what it is told. No network here:
//! [`crate::resuming`] carries the frames.
//!
//! It keeps a position per stream and every write that was not answered, and writes all it sees into a history before
//! it thinks about it. It writes to a log one thing at a time, since a sequence that is overtaken by a later one may
//! be refused; and one operation at a time per document, as an editor does.

mod shown;
mod writing;

use crate::editor::Editor;
use crate::history::{Event, Fact, Identity, Recorder};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use shown::Message;
pub use shown::{known_messages, shown_people};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stoa_core::epoch::Position;

/// The document of every room.
pub const DOCUMENT: &str = "main";
/// One accepted message in so many is sent again later, with the same identity.
const AGAIN_ONE_IN: u32 = 12;
/// Pause before a write that was refused for now is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// Messages that are remembered in case that they are lost, in number: fewer than the sequences that a stream remembers.
const ACCEPTED_MAX: usize = 48;
/// What was accepted and is not seen after this time may be lost: it is sent again.
const UNSEEN_MAX: Duration = Duration::from_secs(3);

/// What a client does in a room.
#[derive(Debug, Clone)]
pub struct Role {
    /// The room.
    pub room: String,
    /// Mean time between two messages; `None`: it only reads.
    pub posts_every: Option<Duration>,
    /// How many bytes its messages have.
    pub body_bytes: usize,
    /// It only posts, and changes nothing of what was said.
    pub only_posts: bool,
    /// Mean time between two edits; `None`: it has the document closed.
    pub edits_every: Option<Duration>,
}

/// What a reply is the answer to.
enum Asked {
    Write { room: usize, identity: Identity, again: bool },
    Submit { room: usize, identity: Identity },
    Nothing,
}

/// A write to a log.
#[derive(Clone)]
struct Write {
    identity: Identity,
    /// Its fields, beside the room and the identity.
    fields: Value,
}

/// A message that was accepted.
struct Accepted {
    write: Write,
    at: Position,
    /// When the answer came; `None` once its event came, too.
    unseen_since: Option<Instant>,
}

struct Document {
    editor: Editor,
    every: Duration,
    next_at: Instant,
    /// When what is in flight has to be sent again; `None` while an answer is awaited.
    send_at: Option<Instant>,
}

struct Room {
    name: String,
    /// Position per stream that it holds.
    held: BTreeMap<Arc<str>, Position>,
    people: BTreeMap<String, u64>,
    posts: Option<(Duration, usize)>,
    next_at: Instant,
    seq: u64,
    unanswered: Option<(Write, Option<Instant>)>,
    again: Vec<(Instant, Write)>,
    only_posts: bool,
    /// The last messages that were accepted, by their sequences: a primary may be lost together with them.
    accepted: VecDeque<Accepted>,
    /// The sequences of its last messages that came, and the revisions at which they stand.
    seen: BTreeMap<u64, u64>,
    /// What was lost, or may have been: sent again before anything new.
    lost: VecDeque<Write>,
    messages: BTreeMap<u64, Message>,
    own: Vec<u64>,
    document: Option<Document>,
}

/// The client.
pub struct Reader {
    /// Its user, and the id of its writes.
    pub name: Arc<str>,
    recorder: Recorder,
    rng: SmallRng,
    rooms: Vec<Room>,
    asked: HashMap<u64, Asked>,
    next_id: u64,
}

impl Reader {
    /// A client that has seen nothing.
    pub fn new(name: &str, roles: &[Role], recorder: Recorder, seed: u64) -> Reader {
        let now = Instant::now();
        let room = |role: &Role| Room {
            name: role.room.clone(),
            held: BTreeMap::new(),
            people: BTreeMap::new(),
            posts: role.posts_every.map(|every| (every, role.body_bytes)),
            next_at: now,
            seq: 0,
            unanswered: None,
            again: Vec::new(),
            only_posts: role.only_posts,
            accepted: VecDeque::new(),
            seen: BTreeMap::new(),
            lost: VecDeque::new(),
            messages: BTreeMap::new(),
            own: Vec::new(),
            document: role.edits_every.map(|every| Document {
                editor: Editor::new(name),
                every,
                next_at: now,
                send_at: None,
            }),
        };
        Reader {
            name: name.into(),
            recorder,
            rng: SmallRng::seed_from_u64(seed),
            rooms: roles.iter().map(room).collect(),
            asked: HashMap::new(),
            next_id: 1,
        }
    }

    /// The `connect` frame of a new connection; its id is 0.
    pub fn connect(&mut self, token: &str) -> Value {
        self.asked.clear();
        let mut resume = Map::new();
        for room in &self.rooms {
            let mut positions: Map<String, Value> =
                room.held.iter().map(|(stream, at)| (stream.to_string(), json!(at.to_string()))).collect();
            if room.document.is_some() {
                positions.entry(format!("doc:{DOCUMENT}")).or_insert(Value::Null);
            }
            resume.insert(room.name.clone(), json!({"positions": positions, "presence": {"data": {}}}));
        }
        json!({"id": 0, "do": "connect", "token": token, "resume": resume})
    }

    /// Takes in the answer to `connect`. What was not answered before is to be sent again now. `Err`: come back later.
    pub fn connected(&mut self, answer: &Value) -> Result<(), String> {
        if let Some(error) = answer.get("error") {
            return Err(error.to_string());
        }
        let now = Instant::now();
        let mut trouble = Ok(());
        for at in 0..self.rooms.len() {
            let part = &answer["ok"]["rooms"][self.rooms[at].name.as_str()];
            let Some(streams) = part["streams"].as_object() else {
                trouble = Err(part.to_string());
                continue;
            };
            streams.iter().for_each(|(stream, part)| self.take_part(at, stream, part));
            let room = &mut self.rooms[at];
            room.unanswered.iter_mut().for_each(|(_, send_at)| *send_at = Some(now));
            room.document.iter_mut().for_each(|document| document.send_at = Some(now));
        }
        trouble
    }

    /// Takes in one frame of an established connection.
    pub fn take(&mut self, frame: &Value) {
        if let Some(name) = frame["event"].as_str() {
            let room = self.rooms.iter().position(|room| frame["room"] == room.name.as_str());
            let (Some(room), Some(stream)) = (room, frame["stream"].as_str()) else { return };
            match name {
                "room.resync" => self.take_part(room, stream, frame),
                "room.reset" => {
                    let gone = |held: &Arc<str>| stream.is_empty() || **held == *stream;
                    let gone: Vec<Arc<str>> = self.rooms[room].held.keys().filter(|held| gone(held)).cloned().collect();
                    gone.iter().for_each(|stream| self.lose(room, stream));
                }
                _ => self.take_event(room, stream, frame),
            }
        } else if let Some(asked) = frame["id"].as_u64().and_then(|id| self.asked.remove(&id)) {
            self.take_answer(asked, frame);
        } else {
            self.recorder.note(&self.name, format!("a frame that nobody waited for: {frame}"));
        }
    }

    /// The frames that are due, and when to ask again. Without `writing` nothing new is written.
    pub fn due(&mut self, now: Instant, writing: bool) -> (Vec<Value>, Instant) {
        let mut frames = Vec::new();
        let mut wake_at = now + Duration::from_millis(200);
        for room in 0..self.rooms.len() {
            self.due_writes(room, now, writing, &mut frames);
            self.due_edits(room, now, writing, &mut frames);
            let room = &self.rooms[room];
            let posts = room.posts.filter(|_| writing && room.unanswered.is_none()).map(|_| room.next_at);
            let post = room.unanswered.as_ref().and_then(|(_, send_at)| *send_at);
            let again = room.again.iter().map(|(at, _)| *at);
            let edits = room.document.iter().flat_map(|d| [d.send_at, writing.then_some(d.next_at)]).flatten();
            wake_at = posts.into_iter().chain(post).chain(again).chain(edits).fold(wake_at, Instant::min);
        }
        (frames, wake_at)
    }

    /// A `ping`, to learn whether the front still answers.
    pub fn ping(&mut self) -> Value {
        self.ask(Asked::Nothing, json!({"do": "ping"}))
    }

    /// Whether all that it wrote is known to the server.
    pub fn is_settled(&self) -> bool {
        self.rooms.iter().all(|room| {
            let edited = room.document.as_ref().is_none_or(|document| document.editor.is_settled());
            room.unanswered.is_none() && room.lost.is_empty() && edited
        })
    }

    /// The positions it holds, by room and stream.
    pub fn positions(&self) -> BTreeMap<Arc<str>, Position> {
        let all = self.rooms.iter().flat_map(|room| room.held.iter().map(move |(stream, at)| (room, stream, at)));
        all.map(|(room, stream, at)| (full_name(&room.name, stream), *at)).collect()
    }

    /// Writes down what it shows in the end.
    pub fn record_what_is_shown(&self) {
        for room in &self.rooms {
            let people = shown_people(room.people.iter().map(|(user, connections)| (user.as_str(), *connections)));
            self.recorder.record(&self.name, &full_name(&room.name, "presence"), Fact::Shows(people));
            let messages = room.messages.iter().map(|(n, message)| (*n, message.shown())).collect();
            self.recorder.record(&self.name, &full_name(&room.name, "log"), Fact::Knows(messages));
            if let Some(document) = &room.document {
                let stream = full_name(&room.name, &format!("doc:{DOCUMENT}"));
                self.recorder.record(&self.name, &stream, Fact::Shows(document.editor.text().to_owned()));
            }
        }
    }

    fn ask(&mut self, asked: Asked, mut frame: Value) -> Value {
        frame["id"] = json!(self.next_id);
        self.asked.insert(self.next_id, asked);
        self.next_id += 1;
        frame
    }

    fn record(&self, room: usize, stream: &str, fact: Fact) {
        self.recorder.record(&self.name, &full_name(&self.rooms[room].name, stream), fact);
    }

    fn take_answer(&mut self, asked: Asked, frame: &Value) {
        let (ok, error) = (&frame["ok"], &frame["error"]);
        let at = position(ok);
        match asked {
            Asked::Nothing => {}
            Asked::Write { room, identity, again } => match at {
                Some(at) => self.write_is_accepted(room, identity, again, at, ok),
                None => {
                    let retry = self.refused(room, "log", identity, error);
                    if let Some((_, send_at)) = self.rooms[room].unanswered.as_mut().filter(|_| !again) {
                        *send_at = Some(Instant::now() + retry);
                    }
                }
            },
            Asked::Submit { room, identity } => {
                let stream = format!("doc:{DOCUMENT}");
                let Some(at) = at else {
                    let retry = self.refused(room, &stream, identity, error);
                    self.rooms[room].document.iter_mut().for_each(|d| d.send_at = Some(Instant::now() + retry));
                    return;
                };
                let vain = ok["op"].as_array().is_some_and(Vec::is_empty);
                let (seq, duplicate) = (identity.seq, ok["duplicate"] == true);
                let editor = self.rooms[room].document.as_mut().map(|document| &mut document.editor);
                let present = editor.filter(|editor| vain && editor.client() == &*identity.client);
                let taken = present.map_or(Ok(()), |editor| editor.was_in_vain(seq, at.rev));
                // Its event may be lost with a primary: then nobody would ever say so.
                let send_at = Instant::now() + UNSEEN_MAX;
                self.rooms[room].document.iter_mut().for_each(|document| document.send_at = Some(send_at));
                let item = (!vain).then_some(at.rev);
                self.record(room, &stream, Fact::Accepted { identity, at, item, touched: None, duplicate });
                self.note_broken(room, &stream, taken);
            }
        }
    }

    /// A write was accepted. Some are sent once more after a while, as if the answer had been lost.
    fn write_is_accepted(&mut self, room: usize, identity: Identity, again: bool, at: Position, ok: &Value) {
        let n = ok["n"].as_u64();
        // What changed nothing has no place in the stream.
        let changed = ok["changed"] != false;
        let is_post = ok.get("changed").is_none();
        if changed {
            let (item, touched) = if is_post { (n, None) } else { (None, n) };
            let (identity, duplicate) = (identity.clone(), ok["duplicate"] == true);
            self.record(room, "log", Fact::Accepted { identity, at, item, touched, duplicate });
        }
        if is_post {
            let sent = self.rooms[room].unanswered.as_ref().map(|(write, _)| write);
            if let Some(write) = sent.filter(|write| !again && write.identity == identity).cloned() {
                let is_kept = ok["duplicate"] == true;
                self.rooms[room].remember(write, at, is_kept);
            }
        }
        if again {
            return;
        }
        self.rooms[room].own.extend(n.filter(|_| is_post));
        if let Some((write, _)) = self.rooms[room].unanswered.take()
            && changed
            && self.rng.random_ratio(1, AGAIN_ONE_IN)
        {
            let at = Instant::now() + Duration::from_millis(self.rng.random_range(0..2_000));
            self.rooms[room].again.push((at, write));
        }
    }

    /// Writes a refusal down and gives the pause before the write is sent again.
    fn refused(&mut self, room: usize, stream: &str, identity: Identity, error: &Value) -> Duration {
        let code = error["code"].as_str().unwrap_or("no code").to_owned();
        self.record(room, stream, Fact::Refused { identity, code, retry: error["retry"] == true });
        error["retry_after_ms"].as_u64().map_or(RETRY_PAUSE, Duration::from_millis)
    }

    fn take_event(&mut self, room: usize, stream: &str, frame: &Value) {
        let Some(event) = Event::read(stream, frame) else { return };
        let Some(held) = self.rooms[room].held.get_mut(stream) else {
            // That a document was made is told to everybody; what is not open is not followed.
            return;
        };
        *held = event.to;
        let (identity, rev) = (event.identity.clone(), event.to.rev);
        self.record(room, stream, Fact::Delivered(event));
        let room_state = &mut self.rooms[room];
        if stream == "log" {
            identity
                .filter(|identity| *identity.client == *self.name)
                .iter()
                .for_each(|own| room_state.saw(own.seq, rev));
            room_state.take_message(frame);
        } else if stream == "presence" {
            // Who left and came back since `from` is in both lists.
            for left in frame["left"].as_array().into_iter().flatten() {
                room_state.people.remove(left["user"].as_str().unwrap_or_default());
            }
            for member in ["joined", "updated"].iter().flat_map(|list| frame[list].as_array().into_iter().flatten()) {
                room_state.take_member(member);
            }
        } else if let (Some(document), "doc.applied") =
            (&mut room_state.document, frame["event"].as_str().unwrap_or_default())
        {
            let taken = document.editor.receive(frame);
            self.note_broken(room, stream, taken);
        }
    }

    /// A stream's part of the answer to a join, or of a `room.resync`.
    fn take_part(&mut self, room: usize, stream: &str, part: &Value) {
        let at = position(part);
        match (part["outcome"].as_str(), at) {
            (Some("changes"), Some(at)) => {
                part["events"].as_array().into_iter().flatten().for_each(|event| self.take_event(room, stream, event));
                self.record(room, stream, Fact::Stands(at));
                // An epoch may begin without an event.
                self.rooms[room].held.insert(stream.into(), at);
            }
            (Some("snapshot"), Some(at)) => {
                let because = part["because"].as_str().unwrap_or("no reason").to_owned();
                let end = match because.as_str() {
                    "rollback" => part["history_end"].as_u64(),
                    "reset" => Some(0),
                    _ => None,
                };
                self.record(room, stream, Fact::Snapshot { because, at });
                self.rooms[room].held.insert(stream.into(), at);
                if let Some(end) = end.filter(|_| stream == "log") {
                    self.rooms[room].lose_after(end);
                }
                self.load(room, stream, part);
            }
            _ => self.lose(room, stream),
        }
    }

    fn load(&mut self, room: usize, stream: &str, part: &Value) {
        let name = self.name.clone();
        let room_state = &mut self.rooms[room];
        if stream == "log" {
            room_state.messages.clear();
            let messages = part["messages"].as_array().into_iter().flatten();
            room_state.messages = messages.filter_map(Message::read).collect();
        } else if stream == "presence" {
            room_state.people.clear();
            part["members"].as_array().into_iter().flatten().for_each(|member| room_state.take_member(member));
        } else if let Some(document) = room_state.document.as_mut().filter(|_| stream.starts_with("doc:")) {
            if !document.editor.is_settled() {
                // What was pending may have happened or not: somebody else goes on from the text as it is.
                let generation = document.editor.client().matches('+').count() + 1;
                document.editor = Editor::new(&format!("{name}{}", "+".repeat(generation)));
            }
            let taken = document.editor.load(part);
            self.note_broken(room, stream, taken);
        }
    }

    fn lose(&mut self, room: usize, stream: &str) {
        self.rooms[room].held.remove(stream);
        self.record(room, stream, Fact::Reset);
    }

    fn note_broken(&self, room: usize, stream: &str, taken: Result<(), String>) {
        if let Err(why) = taken {
            self.record(room, stream, Fact::Broken(why));
        }
    }
}

/// The name of a stream in a history.
pub fn full_name(room: &str, stream: &str) -> Arc<str> {
    format!("{room}/{stream}").into()
}

/// The position that a frame or a part of an answer leads to.
fn position(frame: &Value) -> Option<Position> {
    Some(Position { epoch: frame["epoch"].as_str()?.parse().ok()?, rev: frame["rev"].as_u64()? })
}
