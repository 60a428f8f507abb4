//! The slow, obvious twin of the presence rules: lists that are searched from one end to the other, and no memory of
//! what follows from them.

use std::collections::BTreeMap;
use stoa_core::presence::{KICKED_MAX, color};

/// The bounds of the small world: all of them are reached.
pub(crate) const CONNECTIONS_MAX: usize = 9;
pub(crate) const SEEN_MAX: usize = 3;
pub(crate) const CURSOR_MS: u64 = 60_000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Connection {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) node: String,
    pub(crate) status: String,
    pub(crate) data: String,
    pub(crate) private: String,
    pub(crate) since_ms: u64,
    pub(crate) active_ms: u64,
}

/// Somebody without a connection who may come back.
#[derive(Debug, Clone, PartialEq)]
struct Grace {
    ends_ms: u64,
    gone_ms: u64,
    status: String,
    data: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Twin {
    /// The one that changed last stands last.
    pub(crate) connections: Vec<Connection>,
    graces: BTreeMap<String, Grace>,
    leases: BTreeMap<String, u64>,
    /// Since when others see somebody who is here, or do not.
    since_ms: BTreeMap<String, u64>,
    /// Who left last stands last.
    pub(crate) seen: Vec<(String, u64)>,
    pub(crate) kicked: Vec<String>,
    pub(crate) typing: BTreeMap<String, u64>,
    pub(crate) cursors: BTreeMap<String, (String, String, u64)>,
}

impl Twin {
    fn of<'a>(&'a self, user: &'a str) -> impl DoubleEndedIterator<Item = &'a Connection> {
        self.connections.iter().filter(move |c| c.user == user)
    }
    pub(crate) fn count_of(&self, user: &str) -> usize {
        self.of(user).count()
    }
    pub(crate) fn find(&self, id: &str) -> Option<&Connection> {
        self.connections.iter().find(|c| c.id == id)
    }
    pub(crate) fn is_here(&self, user: &str) -> bool {
        self.count_of(user) > 0 || self.graces.contains_key(user)
    }
    pub(crate) fn status(&self, user: &str) -> String {
        if let Some(grace) = self.graces.get(user) {
            return grace.status.clone();
        }
        if self.of(user).any(|c| c.status == "invisible") {
            return "invisible".into();
        }
        self.of(user).rev().find(|c| c.status != "away").map_or("away".into(), |c| c.status.clone())
    }
    pub(crate) fn data(&self, user: &str) -> String {
        let grace = self.graces.get(user).map(|grace| grace.data.clone());
        grace.or(self.of(user).next_back().map(|c| c.data.clone())).unwrap_or_default()
    }
    pub(crate) fn since_ms(&self, user: &str) -> u64 {
        self.since_ms[user]
    }
    pub(crate) fn everybody(&self) -> Vec<String> {
        let mut users: Vec<String> = self.connections.iter().map(|c| c.user.clone()).collect();
        users.extend(self.graces.keys().cloned());
        users.sort();
        users.dedup();
        users
    }
    pub(crate) fn is_visible(&self, user: &str) -> bool {
        self.is_here(user) && self.status(user) != "invisible"
    }
    /// What others see, by user.
    pub(crate) fn visible(&self) -> BTreeMap<String, String> {
        let users = self.everybody().into_iter().filter(|user| self.is_visible(user));
        users
            .map(|user| {
                let json = format!(
                    "{{\"user\":\"{user}\",\"connections\":{},\"since_ms\":{},\"status\":\"{}\",\"color\":\"{}\",\"data\":{}}}",
                    self.count_of(&user),
                    self.since_ms[&user],
                    self.status(&user),
                    color(&user),
                    self.data(&user)
                );
                (user, json)
            })
            .collect()
    }
    pub(crate) fn last_seen_ms(&self, user: &str) -> Option<u64> {
        self.seen.iter().find(|(seen, _)| seen == user).map(|(_, at_ms)| *at_ms)
    }

    /// Changes the connections, and then says of everybody what that means.
    fn change(&mut self, at_ms: u64, change: impl FnOnce(&mut Twin)) {
        let before: BTreeMap<String, bool> =
            self.everybody().into_iter().map(|user| (user.clone(), self.is_visible(&user))).collect();
        change(self);
        for user in self.everybody() {
            if before.get(&user) != Some(&self.is_visible(&user)) {
                self.since_ms.insert(user.clone(), at_ms);
            }
            self.seen.retain(|(seen, _)| *seen != user);
        }
        let (connections, graces) = (&self.connections, &self.graces);
        let has_lease = |node: &String| connections.iter().any(|c| c.node == *node);
        self.leases.retain(|node, _| has_lease(node));
        self.since_ms.retain(|user, _| graces.contains_key(user) || connections.iter().any(|c| c.user == *user));
        let seen_by_others: Vec<String> = self.everybody().into_iter().filter(|user| self.is_visible(user)).collect();
        let types = |user: &String| seen_by_others.contains(user) && self.connections.iter().any(|c| c.user == *user);
        let points = |id: &String, user: &String| types(user) && self.connections.iter().any(|c| c.id == *id);
        let typing = self.typing.clone().into_iter().filter(|(user, _)| types(user)).collect();
        let cursors = self.cursors.clone().into_iter().filter(|(id, (user, ..))| points(id, user)).collect();
        (self.typing, self.cursors) = (typing, cursors);
    }

    pub(crate) fn join(&mut self, connection: Connection, says: [Option<String>; 3], lease_ends_ms: u64) {
        self.change(connection.active_ms, |twin| {
            let known = twin.connections.iter().position(|c| c.id == connection.id);
            let mut joined = known.map_or_else(|| connection.clone(), |at| twin.connections.remove(at));
            joined.active_ms = connection.active_ms;
            let [status, data, private] = says;
            joined.status = status.unwrap_or(joined.status);
            joined.data = data.unwrap_or(joined.data);
            joined.private = private.unwrap_or(joined.private);
            let lease = twin.leases.entry(joined.node.clone()).or_default();
            *lease = lease_ends_ms.max(*lease);
            twin.graces.remove(&joined.user);
            twin.connections.push(joined);
        });
    }

    pub(crate) fn set(&mut self, id: &str, [status, data, private]: [Option<String>; 3], now_ms: u64) {
        self.change(now_ms, |twin| {
            let at = twin.connections.iter().position(|c| c.id == id).unwrap();
            let moves = data.is_some() || status.as_ref().is_some_and(|status| status != "away");
            let known = &mut twin.connections[at];
            known.active_ms = now_ms;
            known.status = status.unwrap_or(known.status.clone());
            known.data = data.unwrap_or(known.data.clone());
            known.private = private.unwrap_or(known.private.clone());
            if moves {
                let known = twin.connections.remove(at);
                twin.connections.push(known);
            }
        });
    }

    pub(crate) fn beat(&mut self, node: &str, lease_ends_ms: u64) -> usize {
        if let Some(lease) = self.leases.get_mut(node) {
            *lease = lease_ends_ms;
        }
        self.connections.iter().filter(|c| c.node == node).count()
    }

    /// Ends connections; who has no other leaves, or has a grace until `grace_ends_ms`.
    fn end(&mut self, ids: &[String], at_ms: u64, grace_ends_ms: Option<u64>) {
        let mut left: Vec<(String, u64)> = Vec::new();
        self.change(at_ms, |twin| {
            for user in twin.everybody() {
                let (status, data, since_ms) = (twin.status(&user), twin.data(&user), twin.since_ms[&user]);
                let before = twin.count_of(&user);
                twin.connections.retain(|c| c.user != user || !ids.contains(&c.id));
                if twin.count_of(&user) > 0 || before == 0 {
                    continue;
                }
                match grace_ends_ms {
                    Some(ends_ms) => {
                        twin.graces.insert(user, Grace { ends_ms, gone_ms: at_ms, status, data });
                    }
                    None if status == "invisible" => left.push((user, since_ms)),
                    None => left.push((user, at_ms)),
                }
            }
        });
        self.remember(left);
    }

    fn end_grace(&mut self, user: &str) {
        let since_ms = self.since_ms.get(user).copied();
        let Some(grace) = self.graces.remove(user) else { return };
        self.change(0, |_| {});
        let at_ms = if grace.status == "invisible" { since_ms.unwrap() } else { grace.gone_ms };
        self.remember(vec![(user.to_owned(), at_ms)]);
    }

    fn remember(&mut self, left: Vec<(String, u64)>) {
        self.seen.extend(left);
        let over = self.seen.len().saturating_sub(SEEN_MAX);
        self.seen.drain(..over);
    }

    pub(crate) fn leave(&mut self, id: &str, now_ms: u64, grace_ms: u64) {
        self.end(&[id.to_owned()], now_ms, (grace_ms > 0).then_some(now_ms + grace_ms));
    }

    /// Answers how many were listed.
    pub(crate) fn kick(&mut self, user: Option<&str>, id: Option<&str>, now_ms: u64) -> usize {
        // Those of a user are remembered in the order of their last change, the newest first.
        let mut ids: Vec<String> = user.into_iter().flat_map(|user| self.of(user)).map(|c| c.id.clone()).collect();
        ids.reverse();
        ids.extend(id.map(str::to_owned));
        let listed = ids.iter().filter(|id| self.find(id).is_some()).count();
        for id in &ids {
            if !self.kicked.contains(id) {
                self.kicked.push(id.clone());
                self.kicked.drain(..self.kicked.len().saturating_sub(KICKED_MAX));
            }
        }
        self.end(&ids, now_ms, None);
        if let Some(user) = user {
            self.end_grace(user);
        }
        listed
    }

    /// Ends what is due.
    pub(crate) fn due(&mut self, now_ms: u64) {
        loop {
            let lease = self.leases.iter().find(|(_, ends_ms)| **ends_ms <= now_ms).map(|(n, e)| (n.clone(), *e));
            let mut graces: Vec<(u64, String)> = self
                .graces
                .iter()
                .filter(|(_, g)| g.ends_ms <= now_ms)
                .map(|(user, g)| (g.ends_ms, user.clone()))
                .collect();
            if lease.is_none() && graces.is_empty() {
                break;
            }
            if let Some((node, ended_ms)) = lease {
                let ids: Vec<String> =
                    self.connections.iter().filter(|c| c.node == node).map(|c| c.id.clone()).collect();
                self.end(&ids, ended_ms, None);
                self.leases.remove(&node);
            }
            graces.sort();
            for (_, user) in graces {
                self.end_grace(&user);
            }
        }
        self.typing.retain(|_, ends_ms| *ends_ms > now_ms);
        self.cursors.retain(|_, (_, _, ends_ms)| *ends_ms > now_ms);
    }

    /// When the next thing ends.
    pub(crate) fn next_end_ms(&self) -> Option<u64> {
        let (leases, graces) = (self.leases.values().copied(), self.graces.values().map(|grace| grace.ends_ms));
        let cursors = self.cursors.values().map(|(_, _, ends_ms)| *ends_ms);
        leases.chain(graces).chain(self.typing.values().copied()).chain(cursors).min()
    }

    /// What a server forgets that starts, or takes over.
    pub(crate) fn forget_the_passing(&mut self) {
        self.typing.clear();
        self.cursors.clear();
    }
}
