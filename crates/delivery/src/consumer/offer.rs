//! What goes in.

use super::{Consumer, Held, expires};
use crate::policy::{DeliveryId, Full, Item, Offset};
use model::TimestampNs;

impl Consumer {
    /// How many more items it would take; 0 where the bytes are at their limit, too.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.bytes >= self.policy.window_bytes && !self.held.is_empty() {
            return 0;
        }
        (self.policy.window as usize).saturating_sub(self.held.len())
    }

    /// Offers the next item, in the order of offsets. What has ended already is passed over.
    ///
    /// # Errors
    /// [`Full`]: it was not taken.
    pub fn offer(&mut self, item: Item, now: TimestampNs) -> Result<(), Full> {
        let _ = now;
        if item.offset <= self.scanned {
            return Ok(());
        }
        if !self.is_new(item.offset) {
            self.skip_to(item.offset);
            return Ok(());
        }
        if self.room() == 0 {
            return Err(Full);
        }
        self.scanned = item.offset;
        self.unsettled.insert(item.offset);
        self.settle_low();
        self.hold(DeliveryId { offset: item.offset, replay: 0 }, item);
        Ok(())
    }

    /// Orders a delivery again: it goes behind what waits for its key, and takes room even where
    /// there is none, since a person asked for it.
    pub fn offer_again(&mut self, item: Item, replay: u32) {
        let id = DeliveryId { offset: item.offset, replay };
        if replay > 0 && !self.held.contains_key(&id) {
            self.hold(id, item);
        }
    }

    /// Everything up to here that was not offered is none of this consumer's.
    pub fn skip_to(&mut self, offset: Offset) {
        self.scanned = self.scanned.max(offset);
        self.settle_low();
        // what was tried before a restart and is no longer offered would be carried for ever
        while let Some(first) = self.carried.first_entry()
            && first.key().replay == 0
            && first.key().offset <= self.scanned
        {
            first.remove();
        }
    }

    fn hold(&mut self, id: DeliveryId, item: Item) {
        let carried = self.carried.remove(&id);
        let held = Held {
            item,
            attempts: carried.map_or(0, |carried| carried.attempts),
            counted: carried.map_or(0, |carried| carried.counted),
            failures: 0,
            in_flight: false,
            in_doubt: carried.is_some_and(|carried| carried.in_doubt),
            probing: false,
            next: None,
            expires: expires(&self.policy, &item),
            seen_delivered: None,
        };
        self.bytes += item.bytes;
        self.in_doubt += u64::from(held.in_doubt);
        self.retrying += u64::from(held.is_retrying());
        self.expiries.extend(held.expires.map(|due| (due, id)));
        self.held.insert(id, held);
        let entry = self.keys.entry(item.key).or_default();
        entry.queue.push_back(id);
        if self.policy.coalesce && entry.queue.len() > 1 {
            self.crowded.insert(item.key);
        }
        self.give_turn(item.key);
    }
}
