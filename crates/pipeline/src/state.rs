//! Everything that the pass knows, and how one frame changes it.
//!
//! Invariant S1: [`State::absorb`] is the only way in which a stored frame takes effect. It runs
//! when a frame is stored and again, in the same order, when the log is recovered: what a query
//! answers after a restart is what it would have answered before.

use crate::deadband::Deadband;
use crate::dedupe::ProducerTable;
use crate::definitions::Definitions;
use crate::gaps::ShownGaps;
use crate::pages::Pages;
use crate::rollup::stretch::Point;
use crate::rollup::{RollupSpec, Rollups, WIDTH_NS};
use crate::tags::TagInfo;
use crate::timeline::{Timeline, sample_time, sample_time_ns};
use crate::watch::{Watch, Watched};
use frame::{ArchivedTagRecord, Frame, SampleView, SamplesView, ScanView, View};
use model::{ProducerId, Quality, Sequence, SourceId, TagDeclaration, TagId, TagPath, TextId, TimestampNs, ValueKind};
use ring::{Latest, LatestWriter, Stamp};
use std::collections::HashMap;
use std::ops::Range;

/// What the pass looks up for every sample: one small entry a tag, by number.
#[derive(Clone, Copy)]
struct TagState {
    kind: ValueKind,
    /// It has a deadband.
    is_banded: bool,
    source: SourceId,
}

impl TagState {
    /// Of no source.
    const UNKNOWN: TagState = TagState { kind: ValueKind::F64, is_banded: false, source: SourceId(u32::MAX) };
}

/// Tags at one time with one quality that are taken together where they stand in a row in a frame of
/// samples; fewer are cheaper one by one.
const RUN_MIN: usize = 4;

/// Bytes of memory that the tags of a shard take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagBytes {
    /// Names, kinds, units, ranges, owners and deadbands, and the index by name.
    pub definitions: usize,
    /// Latest values.
    pub latest: usize,
    /// Windows, one-second and named.
    pub rollups: usize,
}

/// When samples of a frame came, and when they were.
#[derive(Clone, Copy)]
struct Arrival {
    received: TimestampNs,
    /// What the samples are found under.
    time: TimestampNs,
    /// Where the one-second window of that time begins.
    start: TimestampNs,
}

/// What is counted for a source.
#[derive(Clone, Copy, Default)]
struct SourceTotals {
    last_data: Option<TimestampNs>,
    samples: u64,
}

/// What one shard knows: definitions, dedupe, latest values, rollups, times and gaps.
pub struct State {
    /// What the numbers mean.
    pub definitions: Definitions,
    /// Last stored sequence of every producer.
    pub producers: ProducerTable,
    /// One-second windows, and those of named rollups.
    pub rollups: Rollups,
    /// Where sample times lie in the log.
    pub timeline: Timeline,
    /// Gaps that queries show.
    pub gaps: ShownGaps,
    /// Samples that rules and synchronisation want to see.
    pub watch: Watch,
    latest: LatestWriter,
    /// Pages of 32 KiB.
    tags: Pages<TagState, 4096>,
    /// Of the tags that have one.
    deadbands: HashMap<TagId, Deadband>,
    per_source: Vec<SourceTotals>,
    samples: u64,
    recovering: bool,
}

impl State {
    /// Nothing known yet; latest values go to this table.
    #[must_use]
    pub fn new(latest: LatestWriter) -> State {
        State {
            definitions: Definitions::default(),
            producers: ProducerTable::default(),
            rollups: Rollups::default(),
            timeline: Timeline::default(),
            gaps: ShownGaps::default(),
            watch: Watch::default(),
            latest,
            tags: Pages::default(),
            deadbands: HashMap::new(),
            per_source: Vec::new(),
            samples: 0,
            recovering: true,
        }
    }

    /// Recovery is over: from now on values are as fresh as they look.
    pub fn go_live(&mut self) {
        self.recovering = false;
    }

    /// The rollups that have a name. To be said before the log is recovered; what was absorbed before
    /// is not in their windows, and queries of it read the log.
    pub fn configure_rollups(&mut self, specs: Vec<RollupSpec>) {
        self.rollups.configure(specs);
        let since = self.timeline.newest();
        for id in 0..self.definitions.tags().len() as u32 {
            if let Some(tag) = self.definitions.tag(TagId(id)).filter(|tag| !tag.path.is_empty()) {
                self.rollups.named.declare(id, tag.path, since);
            }
        }
    }

    /// Samples absorbed since the start, recovered ones not counted.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// When a source last had data. `None`: never.
    #[must_use]
    pub fn last_data(&self, source: SourceId) -> Option<TimestampNs> {
        self.per_source.get(source.0 as usize).and_then(|totals| totals.last_data)
    }

    /// Samples of a source since the start, recovered ones not counted.
    #[must_use]
    pub fn source_samples(&self, source: SourceId) -> u64 {
        self.per_source.get(source.0 as usize).map_or(0, |totals| totals.samples)
    }

    /// What is known of a tag now.
    #[must_use]
    pub fn latest(&self, tag: TagId) -> Option<Latest> {
        self.latest.read(tag.0)
    }

    /// The deadband of a tag.
    #[must_use]
    pub fn deadband(&self, tag: TagId) -> Deadband {
        self.deadbands.get(&tag).copied().unwrap_or_default()
    }

    /// Whether any tag has a deadband.
    #[must_use]
    pub fn has_deadbands(&self) -> bool {
        !self.deadbands.is_empty()
    }

    /// A reading of this tag was stored.
    pub fn deadband_stored(&mut self, tag: TagId, at: TimestampNs, value: Option<f64>, quality: Quality) {
        if let Some(band) = self.deadbands.get_mut(&tag) {
            band.stored(at, value, quality);
        }
    }

    /// A reading of this tag came and was within its deadband.
    pub fn seen(&self, tag: TagId, at: TimestampNs) {
        self.latest.touch(tag.0, at.0);
    }

    /// Bytes of memory that tags take: definitions, latest values, and windows.
    #[must_use]
    pub fn tag_bytes(&self) -> TagBytes {
        TagBytes {
            definitions: self.definitions.tags().bytes()
                + self.tags.bytes()
                + self.deadbands.capacity() * size_of::<(TagId, Deadband)>(),
            latest: self.latest.bytes(),
            rollups: self.rollups.bytes() + self.rollups.named.bytes(),
        }
    }

    /// The kind of a tag, if it is known.
    #[must_use]
    #[inline]
    pub fn kind(&self, tag: TagId) -> Option<ValueKind> {
        self.tags.get(tag.0 as usize).map(|tag| tag.kind)
    }

    /// The kind of all tags of a run, where they are known and of one kind.
    #[must_use]
    #[inline]
    pub fn kind_of_run(&self, first: TagId, count: usize) -> Option<ValueKind> {
        let kind = self.kind(first)?;
        let all = |run: &[TagState]| run.iter().fold(true, |all, tag| all & (tag.kind == kind));
        self.run(first, count)?.all(all).then_some(kind)
    }

    /// Whether all tags of a run are known, of this kind, and without a deadband.
    #[must_use]
    pub fn stores_run(&self, kind: ValueKind, first: TagId, count: usize) -> bool {
        let all = |run: &[TagState]| run.iter().fold(true, |all, tag| all & (tag.kind == kind) & !tag.is_banded);
        self.run(first, count).is_some_and(|mut pieces| pieces.all(all))
    }

    /// Whether a run of tags is known and belongs to a source.
    #[must_use]
    #[inline]
    pub fn owns_run(&self, source: SourceId, first: TagId, count: usize) -> bool {
        // no early end: the compiler compares several tags at once
        let all = |run: &[TagState]| run.iter().fold(true, |all, tag| all & (tag.source == source));
        self.run(first, count).is_some_and(|mut pieces| pieces.all(all))
    }

    /// Whether a run of tags has one whose values are texts.
    #[must_use]
    #[inline]
    pub fn has_text(&self, first: TagId, count: usize) -> bool {
        let any = |run: &[TagState]| run.iter().fold(false, |any, tag| any | (tag.kind == ValueKind::Text));
        self.run(first, count).is_some_and(|mut pieces| pieces.any(any))
    }

    /// Whether all samples are of kind `F64` and of tags of a source: one pass, and no early end.
    #[must_use]
    pub(crate) fn are_numbers_of(&self, source: SourceId, samples: SamplesView<'_>) -> bool {
        samples.iter().fold(true, |all, (tag, ..)| {
            let tag = self.tags.get(tag.0 as usize).copied().unwrap_or(TagState::UNKNOWN);
            all & (tag.source == source) & (tag.kind == ValueKind::F64)
        })
    }

    fn are_numbers(&self, samples: SamplesView<'_>) -> bool {
        samples.iter().all(|(tag, ..)| self.kind(tag) == Some(ValueKind::F64))
    }

    #[inline]
    fn run(&self, first: TagId, count: usize) -> Option<impl Iterator<Item = &[TagState]>> {
        let from = first.0 as usize;
        self.tags.pieces(from..from + count)
    }

    /// Whether these bits stand for a text that was never interned.
    #[must_use]
    #[inline]
    pub fn is_bad_text(&self, tag: TagId, bits: u64) -> bool {
        self.kind(tag) == Some(ValueKind::Text) && bits >= self.definitions.texts().len() as u64
    }

    /// Makes tags known and sets their deadbands.
    ///
    /// # Errors
    /// [`model::Refused::Limit`]
    pub fn declare(&mut self, source: SourceId, tags: &[TagDeclaration]) -> Result<Vec<TagId>, model::Refused> {
        let ids = self.definitions.declare(source, tags)?;
        for (id, tag) in ids.iter().zip(tags) {
            self.rollups.named.declare(id.0, tag.path.as_str(), None);
            if tag.deadband > 0.0 {
                self.deadbands.insert(*id, Deadband::new(tag.deadband, tag.heartbeat_ns));
            } else {
                self.deadbands.remove(id); // everything passes, and nothing is to be remembered
            }
            self.note_tag(*id, tag.kind, source);
        }
        Ok(ids)
    }

    fn note_tag(&mut self, id: TagId, kind: ValueKind, source: SourceId) {
        let wanted = id.0 as usize + 1;
        let is_banded = self.deadbands.contains_key(&id);
        self.tags.grow(wanted, || TagState::UNKNOWN);
        if let Some(tag) = self.tags.get_mut(id.0 as usize) {
            *tag = TagState { kind, is_banded, source };
        }
    }

    /// Takes in a stored frame that arrived at a time (S1).
    pub fn absorb(&mut self, frame: Frame<'_>, received: TimestampNs) {
        let are_numbers = match frame.view() {
            View::Samples(samples) => self.are_numbers(samples),
            _ => false,
        };
        self.absorb_known(frame, received, are_numbers);
    }

    /// As [`absorb`](Self::absorb), of a frame of which it is known whether it has samples that are
    /// all of kind `F64` and of known tags.
    pub(crate) fn absorb_known(&mut self, frame: Frame<'_>, received: TimestampNs, are_numbers: bool) {
        match frame.view() {
            View::Scan(scan) => self.scan(scan, received),
            View::Samples(samples) if are_numbers => self.samples_view::<true>(samples, received),
            View::Samples(samples) => self.samples_view::<false>(samples, received),
            View::Gap(gap) => self.gaps.push(gap),
            View::Sources(all) => {
                all.sources.iter().for_each(|s| self.definitions.put_source(SourceId(s.id.to_native()), &s.name));
            }
            View::Tags(all) => all.tags.iter().for_each(|tag| self.put_tag(tag)),
            View::Texts(all) => {
                all.texts.iter().for_each(|t| self.definitions.put_text(TextId(t.id.to_native()), &t.text));
            }
            View::Producers(all) => {
                for mark in all.producers.iter() {
                    let producer = ProducerId(mark.producer.to_native());
                    self.producers.stored(producer, Sequence(mark.sequence.to_native()));
                }
            }
            _ => {}
        }
        if frame.kind().is_telemetry() && frame.producer() != ProducerId::SELF {
            self.producers.stored(frame.producer(), frame.sequence());
        }
    }

    fn put_tag(&mut self, tag: &ArchivedTagRecord) {
        let (Some(kind), Ok(path)) = (ValueKind::from_u8(tag.kind), TagPath::new(&tag.path)) else { return };
        let (id, source) = (TagId(tag.id.to_native()), SourceId(tag.source.to_native()));
        if id.0 >= model::limits::TAGS_MAX {
            return;
        }
        let (low, high) = (tag.range[0].to_native(), tag.range[1].to_native());
        let range = (!low.is_nan() && !high.is_nan()).then_some([low, high]);
        let (path, unit) = (path.as_str(), tag.unit.as_str());
        self.rollups.named.declare(id.0, path, None);
        self.definitions.put_tag(&TagInfo { id, source, kind, path, unit, range });
        self.note_tag(id, kind, source);
    }

    fn scan(&mut self, scan: ScanView<'_>, received: TimestampNs) {
        let source_time = scan.source_time();
        let time = sample_time(source_time, received);
        let (first, count) = (scan.tag_first().0, scan.len());
        if self.run(scan.tag_first(), count).is_none() {
            return;
        }
        let common = self.kind_of_run(scan.tag_first(), count);
        self.timeline.note(received, time, time);
        self.samples += if self.recovering { 0 } else { count as u64 };
        let (values, qualities, recovering) = (scan.values(), scan.qualities(), self.recovering);
        let quality = |i: usize| Quality(qualities.get(i).map_or(0, |quality| quality.to_native()));
        let bits = |i: usize| values[i].to_native();
        let stamp = |quality| Stamp {
            quality: shown(quality, recovering).0,
            source_time_ns: source_time.map_or(i64::MIN, |time| time.0),
            server_time_ns: received.0,
        };
        let State { tags, latest, rollups, .. } = self;
        let kind = |i: usize| tags.get(first as usize + i).map_or(ValueKind::F64, |tag| tag.kind);
        let number = |i: usize| as_number(kind(i), bits(i));
        if qualities.is_empty() && common == Some(ValueKind::F64) {
            // numbers that are all good: what most scans are, and nothing is asked of each
            latest.write_run(first, count, stamp(Quality(0)), |i| (bits(i), ValueKind::F64));
            rollups.add_run(first, count, time, |i| f64::from_bits(bits(i)));
        } else if qualities.is_empty() && common == Some(ValueKind::I64) {
            latest.write_run(first, count, stamp(Quality(0)), |i| (bits(i), ValueKind::I64));
            rollups.add_run(first, count, time, |i| bits(i) as i64 as f64);
        } else if qualities.is_empty() {
            latest.write_run(first, count, stamp(Quality(0)), |i| (bits(i), kind(i)));
            rollups.add_run(first, count, time, number);
        } else {
            for i in 0..count {
                latest.write(first + i as u32, stamp(quality(i)), bits(i), kind(i));
                if !quality(i).is_bad() {
                    rollups.add(first + i as u32, time, number(i));
                }
            }
        }
        if rollups.named.touches(first, count) {
            let point = |i: usize| Point { time, number: number(i), usable: !quality(i).is_bad() };
            rollups.named.add_run(first, time, received, (0..count).map(point));
        }
        self.note_data(first, count, received);
        if self.watch.touches(first, count) {
            self.watch_run(scan, received);
        }
    }

    /// Takes down the watched ones of a scan.
    #[cold]
    fn watch_run(&mut self, scan: ScanView<'_>, received: TimestampNs) {
        let first = scan.tag_first().0;
        for i in 0..scan.len() {
            let (tag, (bits, quality)) = (first + i as u32, scan.at(i));
            if self.watch.is_watched(tag) {
                let Some(kind) = self.kind(TagId(tag)) else { continue };
                self.watch.note(Watched { tag, kind, bits, quality, received });
            }
        }
    }

    /// Takes in samples; `NUMBERS` where all are numbers of known tags.
    #[inline(never)]
    fn samples_view<const NUMBERS: bool>(&mut self, samples: SamplesView<'_>, received: TimestampNs) {
        let (mut oldest, mut newest) = (TimestampNs(i64::MAX), TimestampNs(i64::MIN));
        let mut start = received.window_start(WIDTH_NS);
        let is_told = !self.rollups.named.is_idle() || !self.watch.is_idle();
        let (mut i, mut unknown) = (0, 0);
        while i < samples.len() {
            let sample = samples.at(i);
            let time = sample_time_ns(sample.source_time_ns(), received);
            oldest = oldest.min(time);
            newest = newest.max(time);
            if (time.0.wrapping_sub(start.0) as u64) >= WIDTH_NS as u64 {
                start = time.window_start(WIDTH_NS);
            }
            let at = Arrival { received, time, start };
            let count = if NUMBERS { samples.run_len(i) } else { 1 };
            i += count;
            if NUMBERS && count >= RUN_MIN {
                self.run_of_numbers(samples, i - count..i, at);
                continue;
            }
            for sample in (i - count..i).map(|i| samples.at(i)) {
                let kind = if NUMBERS { Some(ValueKind::F64) } else { self.kind(TagId(sample.tag())) };
                match kind {
                    Some(kind) => self.sample(sample, kind, at, is_told),
                    None => unknown += 1,
                }
            }
        }
        self.samples += if self.recovering { 0 } else { (samples.len() - unknown) as u64 };
        self.timeline.note(received, oldest, newest);
        self.note_data(samples.at(0).tag(), samples.len(), received);
    }

    /// Values of consecutive tags, as a scan brings them.
    #[inline(never)]
    fn run_of_numbers(&mut self, samples: SamplesView<'_>, range: Range<usize>, at: Arrival) {
        let (first, count) = (samples.at(range.start), range.len());
        let (tag, usable) = (first.tag(), !first.quality().is_bad());
        let bits = |lane: usize| samples.at(range.start + lane).bits();
        let stamp = stamp(first, at, self.recovering);
        self.latest.write_run(tag, count, stamp, |lane| (bits(lane), ValueKind::F64));
        if usable {
            self.rollups.add_run(tag, count, at.time, |lane| f64::from_bits(bits(lane)));
        }
        if self.rollups.named.touches(tag, count) || self.watch.touches(tag, count) {
            range.clone().for_each(|i| self.tell(samples.at(i), ValueKind::F64, at));
        }
    }

    /// One sample: latest value and rollup.
    #[inline(always)]
    fn sample(&mut self, sample: SampleView<'_>, kind: ValueKind, at: Arrival, is_told: bool) {
        let (tag, bits) = (sample.tag(), sample.bits());
        self.latest.write(tag, stamp(sample, at, self.recovering), bits, kind);
        if !sample.quality().is_bad() {
            self.rollups.add_in(tag, at.start, at.time, as_number(kind, bits));
        }
        if is_told {
            self.tell(sample, kind, at);
        }
    }

    /// Tells those who want to know of a sample: rollups that have a name, and who watches its tag.
    #[inline(never)]
    fn tell(&mut self, sample: SampleView<'_>, kind: ValueKind, at: Arrival) {
        let (tag, bits, quality) = (sample.tag(), sample.bits(), sample.quality());
        if self.rollups.named.has(tag) {
            let point = Point { time: at.time, number: as_number(kind, bits), usable: !quality.is_bad() };
            self.rollups.named.add_run(tag, at.time, at.received, std::iter::once(point));
        }
        if self.watch.is_watched(tag) {
            self.watch.note(Watched { tag, kind, bits, quality, received: at.received });
        }
    }

    /// Samples of the source of a tag arrived; a frame holds those of one source only.
    fn note_data(&mut self, tag: u32, count: usize, received: TimestampNs) {
        let Some(source) = self.tags.get(tag as usize).map(|tag| tag.source.0 as usize) else { return };
        if source >= self.definitions.sources().len() {
            return;
        }
        if self.per_source.len() <= source {
            self.per_source.resize(source + 1, SourceTotals::default());
        }
        let totals = &mut self.per_source[source];
        totals.last_data = Some(received);
        totals.samples += if self.recovering { 0 } else { count as u64 };
    }
}

#[inline]
fn stamp(sample: SampleView<'_>, at: Arrival, recovering: bool) -> Stamp {
    Stamp {
        quality: shown(sample.quality(), recovering).0,
        source_time_ns: sample.source_time_ns(),
        server_time_ns: at.received.0,
    }
}

/// What is good in the log was good then; after a start it is the last usable value until its source
/// speaks again.
#[inline]
fn shown(quality: Quality, recovering: bool) -> Quality {
    if recovering && quality.is_good() { Quality::UNCERTAIN_LAST_USABLE } else { quality }
}

/// The number that rollups take from 64 bits.
#[must_use]
#[inline]
pub fn as_number(kind: ValueKind, bits: u64) -> f64 {
    if kind == ValueKind::F64 {
        return f64::from_bits(bits); // nearly all: a branch that is foreseen, no jump by a table
    }
    match kind {
        ValueKind::F64 => f64::from_bits(bits),
        ValueKind::I64 => bits as i64 as f64,
        ValueKind::Bool => f64::from(u8::from(bits != 0)),
        ValueKind::Text => f64::NAN,
    }
}
