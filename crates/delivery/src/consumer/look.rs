//! What can be seen.

use super::{Consumer, Held};
use crate::breaker::BreakerState;
use crate::policy::{DeliveryId, Offset};
use crate::view::{Counts, ItemState, ItemView};
use model::TimestampNs;

impl Consumer {
    /// Whether the window is full of what waits behind keys that are held up (E6).
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.room() == 0 && self.in_flight == 0 && self.ready.is_empty()
    }

    /// Starts nothing until it is resumed; what is under way goes on.
    pub const fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on.
    pub const fn resume(&mut self) {
        self.paused = false;
    }

    /// Whether it is paused.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Everything up to here has ended, or was none of ours (E5).
    #[must_use]
    pub const fn low(&self) -> Offset {
        self.low
    }

    /// Everything up to here was offered or passed over.
    #[must_use]
    pub const fn scanned(&self) -> Offset {
        self.scanned
    }

    /// Whether a delivery is held.
    #[must_use]
    pub fn is_pending(&self, id: DeliveryId) -> bool {
        self.held.contains_key(&id)
    }

    /// Items that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many are, and ended, how.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let in_flight = u64::from(self.in_flight);
        let waiting = (self.held.len() as u64).saturating_sub(in_flight + self.retrying);
        Counts { waiting, in_flight, retrying: self.retrying, in_doubt: self.in_doubt, ..self.counts }
    }

    /// When the oldest held item was published; replays count where nothing else is held.
    #[must_use]
    pub fn oldest(&self) -> Option<TimestampNs> {
        let first = self.unsettled.first().map(|offset| DeliveryId { offset: *offset, replay: 0 });
        match first {
            Some(id) => self.held.get(&id).map(|held| held.item.time),
            None => self.held.values().map(|held| held.item.time).min(),
        }
    }

    /// How the breaker is.
    #[must_use]
    pub const fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// What is held, in no order.
    pub fn ids(&self) -> impl Iterator<Item = DeliveryId> {
        self.held.keys().copied()
    }

    /// What is held, as it can be seen, in no order.
    pub fn items(&self) -> impl Iterator<Item = ItemView> {
        self.ids().filter_map(|id| self.item(id))
    }

    /// One of those.
    #[must_use]
    pub fn item(&self, id: DeliveryId) -> Option<ItemView> {
        let held = self.held.get(&id)?;
        Some(ItemView {
            id,
            key: held.item.key,
            time: held.item.time,
            state: match held {
                Held { in_flight: true, .. } => ItemState::InFlight,
                Held { in_doubt: true, .. } => ItemState::InDoubt,
                Held { attempts: 0, .. } => ItemState::Waiting,
                _ => ItemState::Retrying,
            },
            attempts: held.attempts,
            next: held.next,
        })
    }
}
