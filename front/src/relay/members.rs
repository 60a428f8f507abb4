//! What is known of each member of a room, by its number: a sorted list.
//!
//! Most rooms have one member or a few, and a front has a room for each of its users: a hash table begins with four places
//! and doubles. Numbers grow, so whoever comes is added at the end; whoever leaves a room of ten thousand moves at most
//! 160 KB, some ten microseconds.

use super::room::MemberId;

/// Something for each member, in the order in which they came.
#[derive(Debug)]
pub(super) struct Members<T>(Vec<(MemberId, T)>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Members(Vec::new())
    }
}

impl<T> Members<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, member: MemberId) -> bool {
        self.find(member).is_ok()
    }

    pub(super) fn get(&self, member: MemberId) -> Option<&T> {
        self.0.get(self.find(member).ok()?).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, member: MemberId) -> Option<&mut T> {
        let at = self.find(member).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// In the place of what was there.
    pub(super) fn insert(&mut self, member: MemberId, value: T) {
        match self.find(member) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact((self.0.len() / 4).max(1));
                }
                self.0.insert(at, (member, value));
            }
        }
    }

    pub(super) fn remove(&mut self, member: MemberId) -> Option<T> {
        let at = self.find(member).ok()?;
        let (_, value) = self.0.remove(at);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (MemberId, &T)> {
        self.0.iter().map(|(member, value)| (*member, value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (MemberId, &mut T)> {
        self.0.iter_mut().map(|(member, value)| (*member, value))
    }

    fn find(&self, member: MemberId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&member, |(member, _)| *member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_one_value_whatever_the_order_in_which_they_come() {
        let mut members = Members::default();
        for member in [5, 1, 9, 7, 1] {
            members.insert(member, member * 10);
        }
        members.insert(7, 0);
        assert_eq!(members.iter().collect::<Vec<_>>(), [(1, &10), (5, &50), (7, &0), (9, &90)]);
        assert_eq!((members.remove(5), members.remove(5)), (Some(50), None));
        assert!(members.contains(9) && !members.contains(5));
        *members.get_mut(9).unwrap() += 1;
        assert_eq!((members.get(9), members.get(8), members.len()), (Some(&91), None, 3));
    }
}
