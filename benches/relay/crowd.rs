//! Many come to one room at once, and everybody has to know everybody.
//!
//! Socket.IO has no presence of its own; beside Stoa stands what many write: the list for who comes, an event for everybody
//! for each who comes.

use crate::scenarios::PATIENCE;
use crate::server::Server;
use crate::wire::{Client, Wire};
use crate::{Figure, less};
use serde_json::Value;
use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};
use stoa_harness::front;
use tokio::task::{JoinSet, LocalSet, spawn_local};

/// Within this time all of them come.
const COMING: Duration = Duration::from_secs(2);
/// One in so many keeps the whole list; the others keep how many there are, which costs the generator less.
const SAMPLE: usize = 50;

/// What one of the crowd knows.
struct Witness {
    wire: Wire,
    /// Only of those who keep it.
    list: Option<HashSet<String>>,
    count: usize,
    /// Announcements of people.
    announcements: u64,
}

impl Witness {
    fn see(&mut self, frame: &[u8]) {
        match self.wire {
            Wire::Stoa => self.see_stoa(frame),
            Wire::Gateway | Wire::SocketIo => self.see_socket_io(frame),
        }
    }

    fn see_stoa(&mut self, frame: &[u8]) {
        let is_change = frame.starts_with(b"{\"event\":\"presence.changed\"");
        if is_change {
            self.announcements += 1;
        }
        let is_answer = frame.starts_with(b"{\"id\":1,");
        if !is_change && !is_answer {
            return;
        }
        let Some(list) = &mut self.list else {
            // A count stands in front of the people in both frames, and data has none.
            let at = frame.windows(8).position(|w| w == b"\"count\":").expect("a frame without its count");
            self.count = crate::wire::number_after(&frame[at..], b"\"count\":") as usize;
            return;
        };
        let frame: Value = serde_json::from_slice(frame).unwrap();
        let user = |member: &Value| member["user"].as_str().unwrap().to_owned();
        let people = |list: &Value| list.as_array().map_or(Vec::new(), |list| list.iter().map(user).collect());
        if is_answer {
            list.extend(people(&frame["ok"]["streams"]["presence"]["members"]));
        } else {
            people(&frame["left"]).iter().for_each(|user| _ = list.remove(user));
            list.extend(people(&frame["joined"]));
        }
        self.count = list.len();
    }

    fn see_socket_io(&mut self, frame: &[u8]) {
        let is_change = frame.starts_with(b"42[\"came\"");
        self.announcements += u64::from(is_change);
        let json = |at: usize| serde_json::from_slice::<Value>(&frame[at..]).unwrap();
        let name = |user: &Value| user.as_str().unwrap().to_owned();
        if is_change {
            match &mut self.list {
                Some(list) => _ = list.insert(name(&json(2)[1])),
                // Its own coming is announced as well, and stands in its list.
                None => self.count += 1,
            }
        } else if frame.starts_with(b"431[") {
            let people: Vec<String> = json(3)[0].as_array().unwrap().iter().map(name).collect();
            match &mut self.list {
                Some(list) => list.extend(people),
                None => self.count += people.len() - 1,
            }
        }
        if let Some(list) = &self.list {
            self.count = list.len();
        }
    }
}

/// `people` come to one room; the figures, once each of them knows of all.
pub(crate) async fn crowd(server: &Server, people: usize) -> Vec<Figure> {
    LocalSet::new()
        .run_until(async {
            let (wire, port) = (server.wire, server.port);
            let complete = Rc::new(Cell::new(0_usize));
            let most_announced = Rc::new(Cell::new(0_u64));
            let before = server.cpu_s();
            let began = tokio::time::Instant::now();
            let mut coming = JoinSet::new();
            for n in 0..people {
                let (complete, most_announced) = (complete.clone(), most_announced.clone());
                let token = front::token(&format!("user{n}"));
                coming.spawn_local(async move {
                    tokio::time::sleep_until(began + COMING * n as u32 / people as u32).await;
                    let list = (n % SAMPLE == 0).then(HashSet::new);
                    let mut witness = Witness { wire, list, count: 0, announcements: 0 };
                    let mut client =
                        Client::join_seeing(wire, port, &token, "square", true, |frame| witness.see(frame))
                            .await
                            .expect("somebody was refused");
                    spawn_local(async move {
                        while witness.count < people {
                            client.read(|frame| witness.see(frame)).await.expect("somebody was sent away");
                        }
                        assert_eq!(witness.count, people, "more people than came");
                        complete.set(complete.get() + 1);
                        most_announced.set(most_announced.get().max(witness.announcements));
                        // Stays, so that nobody is told that it left.
                        while client.read(|_| {}).await.is_ok() {}
                    });
                });
            }
            while let Some(come) = coming.join_next().await {
                come.unwrap();
            }
            let waiting = Instant::now();
            while complete.get() < people {
                assert!(waiting.elapsed() < PATIENCE * 3, "{} of {people} know of all", complete.get());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let (seconds, after) = (began.elapsed().as_secs_f64(), server.cpu_s());
            vec![
                less("s until each knows of all (they come within 2)", seconds),
                less("server CPU s", after.0 - before.0),
                less("Redis CPU s", after.1 - before.1),
                less("announcements to the first who came", most_announced.get() as f64),
            ]
        })
        .await
}
