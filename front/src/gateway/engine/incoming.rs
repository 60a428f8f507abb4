//! What comes over a connection, whatever carries it.

use super::{End, Engine};
use crate::close::CloseReason;
use crate::gateway::link::Link;
use crate::gateway::packet::{Event, Namespace, Packet, Said, read};
use bytes::Bytes;
use std::sync::Arc;

/// Times that one connection may enter namespaces, in number: some pages leave and enter again as people move in them.
const ENTRIES_MAX: u32 = 64;

impl Engine {
    /// Takes in one text packet. Returns once there is room for the next.
    pub(in crate::gateway) async fn hear(self: &Arc<Self>, text: &str) {
        match text.as_bytes().first() {
            Some(b'2') => self.urge(Packet::text("3")),
            Some(b'3') => self.heard.notify_one(),
            Some(b'1') => self.end(End::Client(true)),
            Some(b'4') => match read(&text[1..]) {
                Ok(said) => self.take_in(said).await,
                // As servers of Socket.IO do: what follows may belong to it.
                Err(_) => self.end(End::Front(CloseReason::TooLarge)),
            },
            // Packets of an upgrade that is over, and what nobody knows.
            _ => {}
        }
    }

    async fn take_in(self: &Arc<Self>, said: Said<'_>) {
        match said {
            Said::Connect(name, auth) => self.enter(name, auth).await,
            Said::Disconnect(name) => {
                let link = Namespace::parse(name).and_then(|namespace| self.link(namespace));
                if let Some(link) = link {
                    link.end(true);
                }
            }
            Said::Event(event) if event.attachments > 0 => self.lock().partial = Some((event, Vec::new())),
            Said::Event(event) => self.pass_on(event, Vec::new()).await,
            Said::Ack => {}
        }
    }

    /// Takes in one binary packet.
    pub(in crate::gateway) async fn hear_binary(self: &Arc<Self>, bytes: Bytes) {
        let complete = {
            let mut state = self.lock();
            let Some((event, attachments)) = &mut state.partial else { return };
            attachments.push(bytes);
            let is_complete = attachments.len() == event.attachments;
            if is_complete { state.partial.take() } else { None }
        };
        if let Some((event, attachments)) = complete {
            self.pass_on(event, attachments).await;
        }
    }

    async fn pass_on(&self, event: Event, attachments: Vec<Bytes>) {
        let Some(link) = Namespace::parse(&event.namespace).and_then(|namespace| self.link(namespace)) else { return };
        let _held = Held::new(self);
        tokio::select! {
            () = self.gone.cancelled() => {}
            () = link.gone.cancelled() => {}
            () = link.hear(event, attachments) => {}
        }
    }

    async fn enter(self: &Arc<Self>, name: &str, auth: &str) {
        let Some(namespace) = Namespace::parse(name) else {
            // The name is the client's own text: only what can stand in a packet goes back.
            let name: String = name.chars().take(100).filter(|c| !c.is_control() && *c != ',').collect();
            return self.send(&[Packet::connect_error(&name, "Invalid namespace", "")]).await;
        };
        if self.link(namespace).is_some() || self.gone.is_cancelled() {
            return;
        }
        let entries = {
            let mut state = self.lock();
            state.entries += 1;
            state.entries
        };
        if entries > ENTRIES_MAX {
            // Comes again through the door, where attempts are counted.
            return self.end(End::Front(CloseReason::RateLimited));
        }
        let link = Link::start(self, namespace, auth);
        self.lock().links.push(link.clone());
        if self.gone.is_cancelled() {
            link.end(false);
        }
    }
}

/// The connection is not read. However that ends, it is read again.
struct Held<'a>(&'a Engine);

impl<'a> Held<'a> {
    fn new(engine: &'a Engine) -> Self {
        engine.lock().holds += 1;
        Held(engine)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock().holds -= 1;
    }
}
