//! Lists of deliveries, looked for a part at a time.
//!
//! Invariant J23: a part looks at a bounded number of deliveries. What ends meanwhile is shown as it is when its
//! row is made, or not at all; nothing is shown twice.

use super::Desk;
use crate::letters::delivery_name;
use crate::outlet::Row;
use delivery::{DeliveryId, Offset};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Deliveries that are looked at in one part.
const LOOKED_PER_PART: usize = 64;

/// Which deliveries are wanted; what is `None` or empty wants all.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// The flow, by its place in the configuration.
    pub flow: Option<usize>,
    /// What orders them.
    pub key: Option<String>,
    /// The message's id.
    pub message: Option<String>,
    /// The message's offset.
    pub offset: Option<Offset>,
    /// Their states, as the words of [`Row::state`].
    pub states: Vec<&'static str>,
}

/// Where a delivery stands in a list: the newest message first, of one message the flows as they are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    id: Reverse<DeliveryId>,
    flow: usize,
}

/// A list while it is put together.
pub struct DeliveryList {
    filter: DeliveryFilter,
    after: Option<Place>,
    limit: usize,
    /// The flow that is looked through, and which of its deliveries are still to be looked at.
    flow: usize,
    ids: Option<Vec<DeliveryId>>,
    /// The first ones of those that are wanted, one more than `limit`.
    found: BTreeSet<Place>,
}

impl DeliveryList {
    /// The places that were found, and the name of the last one where there are more.
    #[must_use]
    pub fn page(self, desk: &Desk) -> (Vec<Place>, Option<String>) {
        let is_more = self.found.len() > self.limit;
        let places: Vec<Place> = self.found.into_iter().take(self.limit).collect();
        let next = places.last().filter(|_| is_more).and_then(|place| desk.name_of(*place));
        (places, next)
    }
}

impl Desk {
    /// Begins a list of at most `limit` deliveries, behind the one that is named `after`; `None` where that is no
    /// delivery's name.
    #[must_use]
    pub fn list_deliveries(&self, filter: DeliveryFilter, after: Option<&str>, limit: usize) -> Option<DeliveryList> {
        let after = match after {
            Some(name) => Some(self.place_of(name)?),
            None => None,
        };
        let flow = filter.flow.unwrap_or(0);
        Some(DeliveryList { filter, after, limit, flow, ids: None, found: BTreeSet::new() })
    }

    /// Looks at some more deliveries; `false` where all were looked at.
    pub fn look_on(&self, list: &mut DeliveryList) -> bool {
        let Some(outlet) = self.outlets.get(list.flow) else { return false };
        let ids = list.ids.get_or_insert_with(|| outlet.ids());
        for id in ids.drain(ids.len().saturating_sub(LOOKED_PER_PART)..) {
            let place = Place { id: Reverse(id), flow: list.flow };
            let DeliveryFilter { key, message, offset, states, .. } = &list.filter;
            let is_behind = list.after.is_none_or(|after| place > after);
            if !is_behind || offset.is_some_and(|offset| id.offset != offset) {
                continue;
            }
            let is_wanted = outlet.look(id).is_some_and(|look| {
                key.as_ref().is_none_or(|key| look.key == key)
                    && message.as_ref().is_none_or(|message| look.message == message)
                    && (states.is_empty() || states.contains(&look.state))
            });
            if is_wanted {
                list.found.insert(place);
            }
            if list.found.len() > list.limit.saturating_add(1) {
                list.found.pop_last();
            }
        }
        if ids.is_empty() {
            (list.flow, list.ids) = (list.flow + 1, None);
        }
        list.filter.flow.is_none_or(|flow| flow == list.flow) && list.flow < self.outlets.len()
    }

    /// The flow and the row of a delivery, as it is now.
    #[must_use]
    pub fn delivery(&self, place: Place) -> Option<(&str, Row)> {
        let outlet = self.outlets.get(place.flow)?;
        Some((outlet.spec.name.as_str(), outlet.row_of(place.id.0)?))
    }

    /// The state of a delivery that is held, or ended lately, by its name.
    #[must_use]
    pub fn delivery_state(&self, name: &str) -> Option<&str> {
        let place = self.place_of(name)?;
        self.outlets.get(place.flow)?.look(place.id.0).map(|look| look.state)
    }

    fn name_of(&self, place: Place) -> Option<String> {
        self.outlets.get(place.flow).map(|outlet| delivery_name(&outlet.spec.name, place.id.0))
    }

    /// Reads [`delivery_name`].
    fn place_of(&self, name: &str) -> Option<Place> {
        let (flow, numbers) = name.rsplit_once('@')?;
        let (offset, replay) = numbers.split_once('.').unwrap_or((numbers, "0"));
        let id = DeliveryId { offset: Offset(offset.parse().ok()?), replay: replay.parse().ok()? };
        Some(Place { id: Reverse(id), flow: self.flow(flow)? })
    }
}
