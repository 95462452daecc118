//! Recycles the memory of maps for the next layer and the next frame.
//!
//! Fresh memory costs as much as the arithmetic of a light layer, since the system clears every
//! page on first touch. A map whose last reader is done therefore returns its memory, and the next
//! map takes the smallest piece that fits, which is often still in a cache. After the first frames
//! of a program no map is allocated any more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::map::{Map, Place};
use super::storage;

/// A map takes memory of at most this many times its size; larger pieces wait for larger maps.
const SLACK: usize = 4;

/// Memory kept and in use together is at most this many times the most that was ever in use.
const KEPT: usize = 2;

/// A pool of memory for maps.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Sorted by length, shortest first.
    free: Vec<Vec<f32>>,
    /// Elements of the maps in use, now and at the peak.
    used: usize,
    most: usize,
    #[cfg(test)]
    allocations: u64,
}

impl Arena {
    /// How many times memory was allocated so far.
    #[cfg(test)]
    pub(crate) fn allocations(&self) -> u64 {
        self.lock().allocations
    }

    /// Takes back a map's memory, unless it is shared.
    pub(crate) fn give_back(&self, map: Map) {
        let mut state = self.lock();
        state.used = state.used.saturating_sub(map.as_slice().len());
        if let Some(elements) = map.into_elements() {
            let place = state.free.partition_point(|other| other.len() < elements.len());
            state.free.insert(place, elements);
            let mut total = state.used + state.free.iter().map(Vec::len).sum::<usize>();
            while total > KEPT * state.most {
                total -= state.free.remove(0).len();
            }
        }
    }

    /// A map with unspecified contents.
    pub(crate) fn map(&self, place: Place) -> Map {
        let len = place.axes().iter().product();
        let mut state = self.lock();
        state.used += len;
        state.most = state.most.max(state.used);
        let index = state.free.partition_point(|elements| elements.len() < len);
        let elements = match state.free.get(index) {
            Some(elements) if elements.len() <= SLACK * len => state.free.remove(index),
            _ => {
                #[cfg(test)]
                {
                    state.allocations += 1;
                }
                vec![0.0; len]
            }
        };
        drop(state);
        Map::of(place, storage::storage_of(place.axes(), elements))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The list is valid whatever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{ChannelRange, Region, RowRange};

    fn place(rows: u32) -> Place {
        let region = Region::new(ChannelRange::all(16), RowRange::all(rows));
        Place { region, width: 10, lanes: 16 }
    }

    #[test]
    fn what_was_given_back_is_taken_again() {
        let arena = Arena::default();
        for _ in 0..3 {
            let (a, b) = (arena.map(place(8)), arena.map(place(8)));
            arena.give_back(a);
            let small = arena.map(place(3));
            assert_eq!(small.as_slice().len(), 3 * 160);
            [b, small].into_iter().for_each(|map| arena.give_back(map));
        }
        assert_eq!(arena.allocations(), 2);
    }

    #[test]
    fn a_small_map_does_not_take_much_memory() {
        let arena = Arena::default();
        let large = arena.map(place(9));
        arena.give_back(large);
        let small = arena.map(place(2));
        assert_eq!(arena.allocations(), 2);
        arena.give_back(small);
    }

    #[test]
    fn little_more_is_kept_than_was_in_use() {
        let arena = Arena::default();
        for rows in 1..40 {
            let map = arena.map(place(rows));
            arena.give_back(map);
        }
        let state = arena.lock();
        assert!(state.free.iter().map(Vec::len).sum::<usize>() <= KEPT * state.most);
        assert_eq!(state.used, 0);
    }

    #[test]
    fn memory_that_is_shared_stays_where_it_is() {
        let arena = Arena::default();
        let map = arena.map(place(2));
        let mut copy = map.clone();
        copy.as_mut_slice()[0] = 7.0;
        let shared = map.clone();
        arena.give_back(map);
        arena.map(place(2)).as_mut_slice().fill(1.0);
        assert_eq!((copy.as_slice()[0], shared.as_slice()[0]), (7.0, 0.0));
    }
}
