//! What came in at the receivers, and whether it is everything, once, and in order.
//!
//! Each event has a key and a number within its key, from 0. Every receiver must see every number
//! of every key, the numbers of one key in their order.

use crate::timeline::Timeline;
use crate::window::Window;

/// One delivery as a receiver read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Which receiver.
    pub(crate) receiver: usize,
    /// Which key.
    pub(crate) key: usize,
    /// Number within the key, from 0.
    pub(crate) number: u64,
    /// When the event was due, nanoseconds of the run's clock.
    pub(crate) due_ns: u64,
}

/// One receiver's view of one key.
#[derive(Clone, Debug, Default)]
struct Place {
    /// A bit for each number that came.
    seen: Vec<u64>,
    count: u64,
    /// The number after the highest that came.
    next: u64,
}

/// Everything that came in.
pub(crate) struct Ledger {
    keys: usize,
    /// Receiver by receiver, key by key.
    places: Vec<Place>,
    /// Events that were published and acknowledged.
    pub(crate) published: u64,
    /// Deliveries, each counted once.
    pub(crate) received: u64,
    /// Deliveries that came again: allowed by "at least once", and counted.
    pub(crate) duplicates: u64,
    /// Deliveries that came behind a later one of their key.
    pub(crate) reordered: u64,
    /// Requests that are nothing of this run.
    pub(crate) strangers: u64,
    /// Due to received.
    pub(crate) latency: Timeline,
}

impl Ledger {
    /// Latencies count of events that are due in the window.
    pub(crate) fn new(receivers: usize, keys: usize, window: Window) -> Ledger {
        Ledger {
            keys,
            places: vec![Place::default(); receivers * keys],
            published: 0,
            received: 0,
            duplicates: 0,
            reordered: 0,
            strangers: 0,
            latency: Timeline::new(window),
        }
    }

    /// A delivery that was read whole at `now_ns`.
    pub(crate) fn note(&mut self, delivery: Delivery, now_ns: u64) {
        let place = match self.places.get_mut(delivery.receiver * self.keys + delivery.key) {
            Some(place) if delivery.key < self.keys => place,
            _ => {
                self.strangers += 1;
                return;
            }
        };
        let (word, bit) = ((delivery.number / 64) as usize, 1 << (delivery.number % 64));
        if place.seen.len() <= word {
            place.seen.resize(word + 1, 0);
        }
        if place.seen[word] & bit != 0 {
            self.duplicates += 1;
            return;
        }
        place.seen[word] |= bit;
        place.count += 1;
        if delivery.number < place.next {
            self.reordered += 1;
        }
        place.next = place.next.max(delivery.number + 1);
        self.received += 1;
        self.latency.record(delivery.due_ns, now_ns, 1);
    }

    /// Deliveries of acknowledged events that have not come.
    pub(crate) fn missing(&self) -> u64 {
        let expected = |key: usize| numbers(self.published, self.keys, key);
        let places = self.places.iter().enumerate();
        places.map(|(at, place)| expected(at % self.keys).saturating_sub(place.count)).sum()
    }
}

/// How many of the first `events` events are of a key.
fn numbers(events: u64, keys: usize, key: usize) -> u64 {
    let keys = keys as u64;
    events / keys + u64::from(events % keys > key as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_doubled_out_of_order_or_strange_is_told_apart() {
        let window = Window::starting_now(1.0);
        let delivery = |receiver, key, number| Delivery { receiver, key, number, due_ns: window.begin_ns };
        let mut ledger = Ledger::new(2, 2, window);
        // five events: numbers 0, 1, 2 of key 0 and 0, 1 of key 1
        ledger.published = 5;
        assert_eq!(ledger.missing(), 10);
        for (receiver, key, number) in [(0, 0, 0), (0, 0, 2), (0, 0, 1), (0, 1, 0), (0, 1, 0), (0, 1, 1), (1, 0, 0)] {
            ledger.note(delivery(receiver, key, number), 2_000);
        }
        ledger.note(delivery(0, 2, 0), 2_000);
        ledger.note(delivery(7, 0, 0), 2_000);
        assert_eq!((ledger.received, ledger.duplicates, ledger.reordered, ledger.strangers), (6, 1, 1, 2));
        assert_eq!(ledger.missing(), 4);
        assert_eq!(ledger.latency.whole.len(), 6);
    }
}
