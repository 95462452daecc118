//! Connections of peers that do not take part in a session: bounded, so that nobody can use up a
//! device's files and memory by knocking.
//!
//! Each kind has its places. A newcomer is always let in; if all places are taken, the peer with the
//! most of them loses its oldest, so that one that takes many cannot drive out one that takes few.

use std::collections::{BTreeMap, VecDeque};

use edgeld_runtime::wire::NodeId;
use tokio::task::AbortHandle;

/// Guests of one kind, the oldest first.
pub(super) struct Guests<T> {
    limit: usize,
    places: VecDeque<(NodeId, T)>,
}

impl<T> Guests<T> {
    /// No guests, and at most `limit`.
    pub(super) fn new(limit: usize) -> Guests<T> {
        Guests { limit, places: VecDeque::new() }
    }

    /// Lets one in; returns the one that has to go.
    pub(super) fn admit(&mut self, node: NodeId, guest: T) -> Option<T> {
        self.places.push_back((node, guest));
        if self.places.len() <= self.limit {
            return None;
        }
        let mut held: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (node, _) in &self.places {
            *held.entry(*node).or_default() += 1;
        }
        let most = held.values().copied().max()?;
        let victim = self.places.iter().position(|(node, _)| held[node] == most)?;
        self.places.remove(victim).map(|(_, guest)| guest)
    }

    /// Keeps those that `stays` says.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        self.places.retain(|(_, guest)| stays(guest));
    }

    /// Takes those that `leaves` says.
    pub(super) fn take(&mut self, leaves: impl Fn(&T) -> bool) -> Vec<T> {
        let places = std::mem::take(&mut self.places).into_iter();
        let (taken, kept): (Vec<_>, Vec<_>) = places.partition(|(_, guest)| leaves(guest));
        self.places = kept.into();
        taken.into_iter().map(|(_, guest)| guest).collect()
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

impl Guests<AbortHandle> {
    /// Lets a task in, and ends the one that has to go.
    pub(super) fn admit_task(&mut self, node: NodeId, task: AbortHandle) {
        self.retain(|task| !task.is_finished());
        if let Some(victim) = self.admit(node, task) {
            victim.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_most_places_loses_the_oldest() {
        let mut guests = Guests::new(4);
        let (honest, greedy) = (NodeId(1), NodeId(2));
        assert_eq!(guests.admit(greedy, 0), None);
        assert_eq!(guests.admit(honest, 1), None);
        assert_eq!(guests.admit(greedy, 2), None);
        assert_eq!(guests.admit(greedy, 3), None);
        assert_eq!(
            (4..8).filter_map(|number| guests.admit(greedy, number)).collect::<Vec<_>>(),
            [0, 2, 3, 4]
        );
        assert_eq!(guests.admit(honest, 8), Some(5));
        assert_eq!(guests.len(), 4);
        assert_eq!(guests.take(|number| number % 2 == 1), [1, 7]);
        guests.retain(|number| *number > 6);
        assert_eq!(guests.len(), 1);
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let mut guests = Guests::new(3);
        let ended = (0..1000).filter_map(|number| guests.admit(NodeId(number), number));
        assert_eq!(ended.collect::<Vec<_>>(), (0..997).collect::<Vec<_>>());
        assert_eq!(guests.len(), 3);
    }
}
