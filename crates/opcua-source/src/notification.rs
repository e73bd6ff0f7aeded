//! A notification message as readings (OPC 10000-4, 7.20 and 7.21).
//!
//! Invariants
//! - R1: every value of the message becomes one reading, in the message's order, or is counted.
//! - R2: a lost value that the server tells of (overflow bit) is named by its tag.
//!
//! What it does not do: it submits nothing; events are not subscribed to and are skipped.

use crate::convert::{self, Unreadable};
use model::{Reading, TagId, ValueKind};
use opcua::types::{DataChangeNotification, DataValue, NotificationMessage, StatusChangeNotification, StatusCode};

/// What a message held.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Its values.
    pub(crate) readings: Vec<Reading>,
    /// Tags whose queue at the server overflowed.
    pub(crate) overflowed: Vec<TagId>,
    /// Tags whose value could not be read, and why.
    pub(crate) unreadable: Vec<(TagId, Unreadable)>,
    /// The subscription itself changed: it timed out, or another client took it.
    pub(crate) status_change: Option<StatusCode>,
    /// Values of items that nobody knows here (deleted a moment ago).
    pub(crate) strangers: u64,
}

impl Content {
    /// Adds one value of a tag.
    pub(crate) fn push(&mut self, tag: TagId, kind: ValueKind, data: &DataValue) {
        let (value, quality, overflowed, unreadable) = convert::data_value(data, kind);
        if overflowed {
            self.overflowed.push(tag);
        }
        if let Some(why) = unreadable {
            self.unreadable.push((tag, why));
        }
        self.readings.push(Reading { tag, source_time: convert::source_time(data), value, quality });
    }
}

/// Whether a message is a keep-alive: it carries nothing but the next sequence number.
pub(crate) fn is_keep_alive(message: &NotificationMessage) -> bool {
    message.notification_data.as_ref().is_none_or(Vec::is_empty)
}

/// Reads a message; `tag_of` knows the tags by client handle.
pub(crate) fn read(message: NotificationMessage, tag_of: impl Fn(u32) -> Option<(TagId, ValueKind)>) -> Content {
    let mut content = Content::default();
    for data in message.notification_data.unwrap_or_default() {
        if let Some(change) = data.inner_as::<StatusChangeNotification>() {
            content.status_change = Some(change.status);
        }
        let Some(changes) = data.into_inner_as::<DataChangeNotification>() else {
            continue;
        };
        let changes = changes.monitored_items.unwrap_or_default();
        content.readings.reserve(changes.len());
        for change in changes {
            match tag_of(change.client_handle) {
                Some((tag, kind)) => content.push(tag, kind, &change.value),
                None => content.strangers += 1,
            }
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Quality, Value};
    use opcua::types::{DateTime, MonitoredItemNotification, Variant};

    fn change(client_handle: u32, value: Variant, status: u32) -> MonitoredItemNotification {
        let value = DataValue { value: Some(value), status: Some(StatusCode::from(status)), ..DataValue::default() };
        MonitoredItemNotification { client_handle, value }
    }

    fn tag_of(handle: u32) -> Option<(TagId, ValueKind)> {
        (1..=2).contains(&handle).then_some((TagId(handle + 100), ValueKind::I64))
    }

    #[test]
    fn values_become_readings_and_losses_are_named() {
        let changes = vec![
            change(1, Variant::Int32(5), 0),
            change(2, Variant::Int32(6), 0x480),
            change(1, Variant::UInt64(u64::MAX), 0),
            change(9, Variant::Int32(7), 0),
        ];
        let message = NotificationMessage::data_change(3, DateTime::now(), changes, Vec::new());
        assert!(!is_keep_alive(&message));
        let content = read(message, tag_of);
        let values: Vec<_> = content.readings.iter().map(|r| (r.tag.0, r.value.clone(), r.quality)).collect();
        assert_eq!(
            values,
            [
                (101, Some(Value::I64(5)), Quality::GOOD),
                (102, Some(Value::I64(6)), Quality(0x480)),
                (101, None, Quality::BAD_OUT_OF_RANGE),
            ]
        );
        assert_eq!(content.overflowed, [TagId(102)]);
        assert_eq!(content.unreadable, [(TagId(101), Unreadable::TooLarge)]);
        assert_eq!((content.strangers, content.status_change), (1, None));
    }

    #[test]
    fn keep_alives_and_status_changes_are_told_apart() {
        assert!(is_keep_alive(&NotificationMessage::keep_alive(4, DateTime::now())));
        let message = NotificationMessage::status_change(4, DateTime::now(), StatusCode::BadTimeout);
        assert!(!is_keep_alive(&message));
        let content = read(message, tag_of);
        assert_eq!(content.status_change, Some(StatusCode::BadTimeout));
        assert!(content.readings.is_empty());
    }
}
