//! Requests that wait, first come first served, by served name.
//!
//! Pure. A place in the queue is a number that a request keeps: one that comes back after a
//! failed try stands where it stood.

use std::collections::{BTreeMap, HashMap};

/// The order of arrival, over all names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

/// The queues of all served names, each holding a `T` a waiting request.
#[derive(Debug)]
pub struct Queues<T> {
    by_name: HashMap<String, BTreeMap<Place, T>>,
    next: u64,
}

impl<T> Default for Queues<T> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), next: 0 }
    }
}

impl<T> Queues<T> {
    /// A place behind all others.
    pub fn place(&mut self) -> Place {
        self.next += 1;
        Place(self.next)
    }

    /// Puts a request in the queue of a name, at its place.
    pub fn enter(&mut self, name: &str, place: Place, waiter: T) {
        self.by_name.entry(name.to_owned()).or_default().insert(place, waiter);
    }

    /// Takes a request out again; nothing if it is no longer there.
    pub fn leave(&mut self, name: &str, place: Place) -> Option<T> {
        let queue = self.by_name.get_mut(name)?;
        let waiter = queue.remove(&place);
        if queue.is_empty() {
            self.by_name.remove(name);
        }
        waiter
    }

    /// Takes everyone out, in order.
    pub fn leave_all(&mut self, name: &str) -> Vec<T> {
        self.by_name.remove(name).unwrap_or_default().into_values().collect()
    }

    /// Offers each in order what `offer` may have, and takes those out who got something.
    pub fn serve<G>(&mut self, name: &str, mut offer: impl FnMut(Place, &T) -> Option<G>) -> Vec<(T, G)> {
        let Some(queue) = self.by_name.get_mut(name) else { return vec![] };
        let grants: Vec<(Place, G)> = queue
            .iter()
            .filter_map(|(place, waiter)| offer(*place, waiter).map(|grant| (*place, grant)))
            .collect();
        grants
            .into_iter()
            .filter_map(|(place, grant)| self.leave(name, place).map(|waiter| (waiter, grant)))
            .collect()
    }

    /// How many wait for a name.
    pub fn len(&self, name: &str) -> usize {
        self.by_name.get(name).map_or(0, BTreeMap::len)
    }

    /// How many wait for a name before `place`.
    pub fn ahead(&self, name: &str, place: Place) -> usize {
        self.by_name.get(name).map_or(0, |queue| queue.range(..place).count())
    }

    /// The names that are waited for.
    pub fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_and_a_place_is_kept() {
        let mut queues = Queues::default();
        let places: Vec<Place> = (0..3).map(|_| queues.place()).collect();
        for (i, place) in places.iter().enumerate() {
            queues.enter("m", *place, i);
        }
        let mut room = 1;
        let mut offer = |_: Place, _: &usize| {
            let grant = (room > 0).then_some(());
            room -= i32::from(room > 0);
            grant
        };
        assert_eq!(queues.serve("m", &mut offer), [(0, ())]);
        assert_eq!(queues.ahead("m", places[2]), 1);
        queues.enter("m", places[0], 0);
        assert_eq!(queues.ahead("m", places[2]), 2);
        assert_eq!(queues.leave("m", places[1]), Some(1));
        assert_eq!(queues.leave_all("m"), [0, 2]);
        assert_eq!(queues.len("m"), 0);
        assert!(queues.names().is_empty());
    }

    #[test]
    fn one_who_is_skipped_does_not_hold_up_the_rest() {
        let mut queues = Queues::default();
        for waiter in ["sequence", "call", "sequence"] {
            let place = queues.place();
            queues.enter("m", place, waiter);
        }
        let served = queues.serve("m", |_, waiter| (*waiter == "call").then_some(()));
        assert_eq!(served, [("call", ())]);
        assert_eq!(queues.len("m"), 2);
    }
}
