//! Gaps: a time for which there is no data, said instead of kept silent.

use crate::{SourceId, TagId, TimestampNs};

/// Why there is no data. The number is what stands on disk (docs/format.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GapReason {
    /// A poll got no answer in time.
    Timeout = 1,
    /// The device or its connection was not there.
    NotConnected = 2,
    /// The device answered with a protocol error.
    DeviceError = 3,
    /// A due poll was skipped because the one before was still under way.
    CycleSkipped = 4,
    /// The server's queue lost values (OPC UA overflow bit).
    QueueOverflow = 5,
    /// Notifications with these sequence numbers could not be had again.
    SequenceGap = 6,
    /// Millstream was not running.
    NotRunning = 7,
    /// Millstream refused or shed samples: a limit was reached, or the disk was full.
    Shed = 8,
    /// Stored bytes rotted; what they held is fenced off.
    Rot = 9,
    /// Frames of a fire-and-forget producer never arrived.
    LostInTransit = 10,
    /// A tag or sample could not be read by us (bad type, over a limit).
    Unreadable = 11,
}

impl GapReason {
    const ALL: [GapReason; 11] = [
        GapReason::Timeout,
        GapReason::NotConnected,
        GapReason::DeviceError,
        GapReason::CycleSkipped,
        GapReason::QueueOverflow,
        GapReason::SequenceGap,
        GapReason::NotRunning,
        GapReason::Shed,
        GapReason::Rot,
        GapReason::LostInTransit,
        GapReason::Unreadable,
    ];

    /// The reason of a stored number; `None` where there is none.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<GapReason> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// The name in answers, e.g. `queue-overflow`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            GapReason::Timeout => "timeout",
            GapReason::NotConnected => "not-connected",
            GapReason::DeviceError => "device-error",
            GapReason::CycleSkipped => "cycle-skipped",
            GapReason::QueueOverflow => "queue-overflow",
            GapReason::SequenceGap => "sequence-gap",
            GapReason::NotRunning => "not-running",
            GapReason::Shed => "shed",
            GapReason::Rot => "rot",
            GapReason::LostInTransit => "lost-in-transit",
            GapReason::Unreadable => "unreadable",
        }
    }
}

/// One gap: half-open in time, of a whole source or a run of its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose data is missing.
    pub source: SourceId,
    /// First tag and number of consecutive tags; `None` means every tag of the source.
    pub tags: Option<(TagId, u32)>,
    /// From this server time on.
    pub from: TimestampNs,
    /// Until just before this server time.
    pub to: TimestampNs,
    /// Why.
    pub reason: GapReason,
    /// How many are missing, where that is known: frames for [`GapReason::LostInTransit`], messages
    /// for [`GapReason::SequenceGap`], polls or samples for the others.
    pub count: Option<u64>,
}

impl Gap {
    /// Whether this gap says something about a tag in a time range `[from, to)`.
    #[must_use]
    pub fn touches(&self, tag: TagId, from: TimestampNs, to: TimestampNs) -> bool {
        let ours = self.tags.is_none_or(|(first, count)| tag.0.wrapping_sub(first.0) < count);
        ours && self.from < to && self.to >= from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_number() {
        for reason in GapReason::ALL {
            assert_eq!(GapReason::from_u8(reason as u8), Some(reason));
        }
        assert_eq!(GapReason::from_u8(0), None);
    }

    #[test]
    fn touches_only_its_tags_and_time() {
        let gap = Gap {
            source: SourceId(1),
            tags: Some((TagId(10), 2)),
            from: TimestampNs(100),
            to: TimestampNs(200),
            reason: GapReason::Timeout,
            count: None,
        };
        assert!(gap.touches(TagId(11), TimestampNs(150), TimestampNs(160)));
        assert!(!gap.touches(TagId(12), TimestampNs(150), TimestampNs(160)));
        assert!(!gap.touches(TagId(9), TimestampNs(150), TimestampNs(160)));
        assert!(!gap.touches(TagId(10), TimestampNs(201), TimestampNs(300)));
    }
}
