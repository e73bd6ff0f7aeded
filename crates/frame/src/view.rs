//! Reading a checked frame in place.
#![expect(unsafe_code, reason = "a checked frame's archive is accessed without a second check (F1)")]

use crate::check::Frame;
use crate::header::FrameKind;
use crate::payload::{
    ArchivedEntry, ArchivedGapRecord, ArchivedHello, ArchivedProducers, ArchivedRefuse, ArchivedRegister,
    ArchivedRegistered, ArchivedSamples, ArchivedScan, ArchivedSources, ArchivedStoredSample, ArchivedTags,
    ArchivedTexts, ArchivedWelcome, UNKNOWN_COUNT,
};
use model::{Gap, GapReason, Quality, SourceId, TagId, TimestampNs};
use rkyv::rend::{u32_le, u64_le};

/// A frame's payload, typed, still in the buffer that the frame lies in.
#[derive(Clone, Copy)]
pub enum View<'a> {
    /// [`FrameKind::Scan`]
    Scan(ScanView<'a>),
    /// [`FrameKind::Samples`]
    Samples(SamplesView<'a>),
    /// [`FrameKind::Gap`]
    Gap(Gap),
    /// [`FrameKind::Sources`]
    Sources(&'a ArchivedSources),
    /// [`FrameKind::Tags`]
    Tags(&'a ArchivedTags),
    /// [`FrameKind::Texts`]
    Texts(&'a ArchivedTexts),
    /// [`FrameKind::Producers`]
    Producers(&'a ArchivedProducers),
    /// [`FrameKind::Mark`]
    Mark,
    /// [`FrameKind::Entry`]
    Entry(&'a ArchivedEntry),
    /// [`FrameKind::Hello`]
    Hello(&'a ArchivedHello),
    /// [`FrameKind::Welcome`]
    Welcome(&'a ArchivedWelcome),
    /// [`FrameKind::Register`]
    Register(&'a ArchivedRegister),
    /// [`FrameKind::Registered`]
    Registered(&'a ArchivedRegistered),
    /// [`FrameKind::Ack`]
    Ack,
    /// [`FrameKind::Refuse`]
    Refuse(&'a ArchivedRefuse),
}

impl<'a> Frame<'a> {
    /// The payload.
    #[must_use]
    pub fn view(&self) -> View<'a> {
        macro_rules! archive {
            ($archived:ty) => {
                // SAFETY: `check` validated this very archive type over these very bytes for this
                // kind, and a `Frame` cannot be made in any other way (F1).
                unsafe { rkyv::access_unchecked::<$archived>(self.payload()) }
            };
        }
        match self.kind() {
            FrameKind::Scan => View::Scan(ScanView { scan: archive!(ArchivedScan) }),
            FrameKind::Samples => View::Samples(SamplesView { samples: archive!(ArchivedSamples).samples.as_slice() }),
            FrameKind::Gap => View::Gap(gap(archive!(ArchivedGapRecord))),
            FrameKind::Sources => View::Sources(archive!(ArchivedSources)),
            FrameKind::Tags => View::Tags(archive!(ArchivedTags)),
            FrameKind::Texts => View::Texts(archive!(ArchivedTexts)),
            FrameKind::Producers => View::Producers(archive!(ArchivedProducers)),
            FrameKind::Mark => View::Mark,
            FrameKind::Entry => View::Entry(archive!(ArchivedEntry)),
            FrameKind::Hello => View::Hello(archive!(ArchivedHello)),
            FrameKind::Welcome => View::Welcome(archive!(ArchivedWelcome)),
            FrameKind::Register => View::Register(archive!(ArchivedRegister)),
            FrameKind::Registered => View::Registered(archive!(ArchivedRegistered)),
            FrameKind::Ack => View::Ack,
            FrameKind::Refuse => View::Refuse(archive!(ArchivedRefuse)),
        }
    }

    /// Samples in this frame; 0 for kinds that hold none.
    #[must_use]
    pub fn sample_count(&self) -> usize {
        match self.view() {
            View::Scan(scan) => scan.len(),
            View::Samples(samples) => samples.len(),
            _ => 0,
        }
    }
}

fn gap(record: &ArchivedGapRecord) -> Gap {
    let tag_count = record.tag_count.to_native();
    let count = record.count.to_native();
    Gap {
        source: SourceId(record.source.to_native()),
        tags: (tag_count > 0).then(|| (TagId(record.tag_first.to_native()), tag_count)),
        from: TimestampNs(record.from_ns.to_native()),
        to: TimestampNs(record.to_ns.to_native()),
        reason: GapReason::from_u8(record.reason).unwrap_or(GapReason::Unreadable),
        count: (count != UNKNOWN_COUNT).then_some(count),
    }
}

fn source_time(ns: i64) -> Option<TimestampNs> {
    (ns != i64::MIN).then_some(TimestampNs(ns))
}

/// A scan in place.
#[derive(Clone, Copy)]
pub struct ScanView<'a> {
    scan: &'a ArchivedScan,
}

#[expect(clippy::len_without_is_empty, reason = "a checked scan is never empty")]
impl<'a> ScanView<'a> {
    /// The producer's time of all values.
    #[must_use]
    #[inline]
    pub fn source_time(&self) -> Option<TimestampNs> {
        source_time(self.scan.source_time_ns.to_native())
    }

    /// Number of the first tag.
    #[must_use]
    #[inline]
    pub fn tag_first(&self) -> TagId {
        TagId(self.scan.tag_first.to_native())
    }

    /// How many values; at least one.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.scan.values.len()
    }

    /// The values' bits, little-endian in place.
    #[must_use]
    #[inline]
    pub fn values(&self) -> &'a [u64_le] {
        self.scan.values.as_slice()
    }

    /// StatusCodes, one a value; empty means that all are Good.
    #[must_use]
    #[inline]
    pub fn qualities(&self) -> &'a [u32_le] {
        self.scan.qualities.as_slice()
    }

    /// Bits and quality of the value at an index below [`len`](Self::len).
    ///
    /// # Panics
    /// Beyond the end.
    #[must_use]
    #[inline]
    pub fn at(&self, index: usize) -> (u64, Quality) {
        let quality = self.scan.qualities.get(index).map_or(0, |q| q.to_native());
        (self.scan.values[index].to_native(), Quality(quality))
    }
}

/// General samples in place.
#[derive(Clone, Copy)]
pub struct SamplesView<'a> {
    samples: &'a [ArchivedStoredSample],
}

/// One sample in place.
#[derive(Clone, Copy)]
pub struct SampleView<'a>(&'a ArchivedStoredSample);

#[expect(clippy::len_without_is_empty, reason = "checked samples are never empty")]
impl<'a> SamplesView<'a> {
    /// How many; at least one.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// In the producer's order: tag, its time, bits, quality.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (TagId, Option<TimestampNs>, u64, Quality)> + 'a {
        self.samples.iter().map(SampleView).map(|sample| {
            let time = source_time(sample.source_time_ns());
            (TagId(sample.tag()), time, sample.bits(), sample.quality())
        })
    }

    /// The sample at an index below [`len`](Self::len).
    ///
    /// # Panics
    /// Beyond the end.
    #[must_use]
    #[inline]
    pub fn at(&self, index: usize) -> SampleView<'a> {
        SampleView(&self.samples[index])
    }

    /// How many samples from an index below [`len`](Self::len) on say together what a scan says:
    /// consecutive tags at one time with one quality. At least one.
    ///
    /// # Panics
    /// Beyond the end.
    #[must_use]
    #[inline]
    pub fn run_len(&self, index: usize) -> usize {
        let (first, tag) = (&self.samples[index], self.samples[index].tag.to_native());
        let goes_on = |(next, tag): (&ArchivedStoredSample, u64)| {
            u64::from(next.tag.to_native()) == tag
                && next.source_time_ns == first.source_time_ns
                && next.quality == first.quality
        };
        // nearly always enough where tags are in no order
        if self.samples.get(index + 1).is_none_or(|next| next.tag.to_native() != tag.wrapping_add(1)) {
            return 1;
        }
        1 + self.samples[index + 1..].iter().zip(u64::from(tag) + 1..).take_while(|next| goes_on(*next)).count()
    }
}

impl SampleView<'_> {
    /// The tag's number.
    #[must_use]
    #[inline]
    pub fn tag(&self) -> u32 {
        self.0.tag.to_native()
    }

    /// The producer's time, ns since 1970 UTC; `i64::MIN` where it says none.
    #[must_use]
    #[inline]
    pub fn source_time_ns(&self) -> i64 {
        self.0.source_time_ns.to_native()
    }

    /// The value's 64 bits.
    #[must_use]
    #[inline]
    pub fn bits(&self) -> u64 {
        self.0.value.to_native()
    }

    /// OPC UA StatusCode.
    #[must_use]
    #[inline]
    pub fn quality(&self) -> Quality {
        Quality(self.0.quality.to_native())
    }
}
