//! The pass of one shard: what a frame or a poll goes through between its source and the log.
//!
//! Order: check the owner, dedupe, deadband, definitions, log append, latest value, rollup. The
//! append comes before the values show, so nothing is ever visible that the log has refused.
//!
//! Invariants
//! - P1: a position that was answered covers all frames that were taken up to then.
//! - P2: samples taken = samples stored; samples refused are counted and become gap records.
//! - P3: no call blocks. The disk is driven by [`Pass::poll`] alone.
//!
//! It does not know sockets, protocols or HTTP.

use crate::dedupe::Admission;
use crate::directory::{LogStatus, ShardView};
use crate::gaps::WaitingGaps;
use crate::sources::SourceBook;
use crate::state::State;
use env::disk::Disk;
use frame::{Builder, Frame, Scan, View, check};
use log::{Health, Recovered, Span, Writer};
use model::{
    CommitError, Gap, GapReason, LogPosition, ProducerId, Reading, Refused, Run, Sequence, SourceId, SourceState,
    TagDeclaration, TagId, TextId, TimestampNs,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Readings that go into one frame; 40,000 × 24 bytes stay below the longest frame.
const READINGS_PER_FRAME: usize = 40_000;
/// Rest after a table of the tags was made for readers: at least twenty times what the tail that
/// changed costs to be copied, and for each chunk of the table twenty times what it costs to be shared.
/// So a plant that registers its tags in many calls does not spend its time on tables, and a new one
/// is seen at most 3 ms late with a million tags.
const TABLE_REST_NS: u64 = 2_000_000;
const TABLE_REST_PER_CHUNK_NS: u64 = 2_000;
/// Gaps that are written at once.
const GAPS_PER_APPEND: usize = 256;

/// What became of a producer's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// In the log's hands; durable once the log is durable up to the position.
    Stored {
        /// That position.
        position: LogPosition,
    },
    /// It was there already.
    Duplicate,
}

/// Why a producer's frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeError {
    /// The log takes nothing now; the frame may come again.
    Refused(Refused),
    /// The producer has not said hello here.
    UnknownProducer,
    /// A tag in the frame is not one of the producer's source.
    ForeignTag {
        /// The first tag of the frame.
        tag: TagId,
    },
    /// A text number in the frame was never registered.
    BadText {
        /// The tag's number.
        tag: TagId,
    },
    /// Only scan and samples may be sent.
    NotTelemetry,
}

/// The pass of one shard.
pub struct Pass {
    state: State,
    log: Writer,
    view: Arc<ShardView>,
    book: SourceBook,
    waiting: WaitingGaps,
    /// Sequences that were given up; they reach the log with their gaps.
    given_up: BTreeMap<ProducerId, Sequence>,
    builder: Builder,
    scan: Scan,
    kept: Vec<usize>,
    waiters: Vec<(LogPosition, Waker)>,
    /// Sources that the log knew before this start, until their "not running" gap is said.
    unwatched: Vec<SourceId>,
    unwatched_since: Option<TimestampNs>,
    /// Texts that readers were given; there are never fewer.
    texts_shown: usize,
    tags_changed: bool,
    /// When readers may be given a new table of the tags, monotonic ns.
    tags_due_ns: u64,
    closing: bool,
}

impl Pass {
    /// The pass over what was recovered. Rotten stretches of the log become gaps of every source.
    #[must_use]
    pub fn new(mut state: State, log: Writer, recovered: &Recovered, view: Arc<ShardView>) -> Pass {
        state.go_live();
        let sources: Vec<SourceId> = (0..state.definitions.sources().len() as u32).map(SourceId).collect();
        let mut waiting = WaitingGaps::default();
        for fence in recovered.rot.iter().filter(|fence| fence.loses_data()) {
            for source in &sources {
                let gap = crate::gaps::rot(*source, fence);
                if !state.gaps.contains(&gap) {
                    waiting.push(gap);
                }
            }
        }
        Pass {
            state,
            log,
            view,
            book: SourceBook::default(),
            waiting,
            given_up: BTreeMap::new(),
            builder: Builder::new(),
            scan: Scan { source_time_ns: i64::MIN, ..Scan::default() },
            kept: Vec::new(),
            waiters: Vec::new(),
            unwatched: sources,
            unwatched_since: recovered.last_received,
            texts_shown: 0,
            tags_changed: true,
            tags_due_ns: 0,
            closing: false,
        }
    }

    /// What is known.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Samples that rules and synchronisation want to see.
    pub const fn watch(&mut self) -> &mut crate::watch::Watch {
        &mut self.state.watch
    }

    /// What other threads see.
    #[must_use]
    pub const fn view(&self) -> &Arc<ShardView> {
        &self.view
    }

    /// Takes over dedupe state that another log holds: the producer's shard has changed.
    pub fn adopt_producer(&mut self, producer: ProducerId, last: Sequence) {
        self.state.producers.stored(producer, last);
    }

    // ---- sources -------------------------------------------------------------------------------

    /// Makes a source known. For a source that Millstream itself watches (polls, subscribes to) the
    /// time since the log's last entry is a gap: nobody watched.
    pub fn source(&mut self, name: &str, watched: bool, now: TimestampNs) -> SourceId {
        let id = self.state.definitions.source(name);
        self.book.open(id, name, now);
        self.tags_changed = true;
        if let Some(at) = self.unwatched.iter().position(|known| *known == id) {
            self.unwatched.swap_remove(at);
            if let (true, Some(from)) = (watched, self.unwatched_since.filter(|from| *from < now)) {
                let (tags, reason) = (None, GapReason::NotRunning);
                self.waiting.push(Gap { source: id, tags, from, to: now, reason, count: None });
            }
        }
        id
    }

    /// Makes tags known.
    ///
    /// # Errors
    /// [`Refused::Limit`]; nothing is then declared.
    pub fn declare(&mut self, source: SourceId, tags: &[TagDeclaration]) -> Result<Vec<TagId>, Refused> {
        self.tags_changed = true;
        self.state.declare(source, tags)
    }

    /// Takes readings through the pass; answers the position that must be durable for them.
    ///
    /// # Errors
    /// [`Refused`]: none was taken.
    pub fn submit(&mut self, now: TimestampNs, readings: &[Reading]) -> Result<LogPosition, Refused> {
        if self.closing {
            return Err(Refused::Closed);
        }
        self.kept.clear();
        let all = if self.state.has_deadbands() { readings } else { &[] };
        if all.is_empty() {
            self.kept.extend(0..readings.len()); // nothing is asked of each
        }
        for (i, reading) in all.iter().enumerate() {
            let value = reading.value.as_ref().and_then(model::Value::as_f64);
            let text = matches!(reading.value, Some(model::Value::Text(_)));
            if text || self.state.deadband(reading.tag).passes(now, value, reading.quality) {
                self.kept.push(i);
            } else {
                self.state.seen(reading.tag, now);
                self.view.totals.suppressed.add(1);
            }
        }
        let kept = std::mem::take(&mut self.kept);
        let outcome = kept.chunks(READINGS_PER_FRAME).try_for_each(|part| self.store(now, readings, part));
        self.kept = kept;
        outcome.map(|()| self.log.end())
    }

    /// As [`submit`](Self::submit), of a run of good values: its bits become a scan as they are.
    ///
    /// # Errors
    /// [`Refused`]: none was taken.
    pub fn submit_run(&mut self, now: TimestampNs, run: Run<'_>) -> Result<LogPosition, Refused> {
        let count = run.bits.len();
        let is_plain = count <= READINGS_PER_FRAME && self.state.stores_run(run.kind, run.first, count);
        if self.closing || !is_plain {
            return self.submit(now, &run.readings().collect::<Vec<_>>());
        }
        self.scan.tag_first = run.first.0;
        self.scan.values.clear();
        self.scan.values.extend_from_slice(run.bits);
        let mut bytes = std::mem::take(&mut self.builder);
        bytes.clear();
        let encoded = bytes.scan(ProducerId::SELF, Sequence(0), &self.scan).map(drop).map_err(|_| Refused::Limit);
        let outcome = encoded.and_then(|()| self.append(bytes.bytes(), now));
        self.builder = bytes;
        outcome
    }

    fn store(&mut self, now: TimestampNs, readings: &[Reading], kept: &[usize]) -> Result<(), Refused> {
        let state = &mut self.state;
        self.builder.clear();
        crate::encode::readings(&mut self.builder, state, kept.iter().map(|i| &readings[*i]), kept.len())?;
        let bytes = std::mem::take(&mut self.builder);
        let outcome = self.append(bytes.bytes(), now);
        self.builder = bytes;
        outcome?;
        let banded: &[usize] = if self.state.has_deadbands() { kept } else { &[] };
        for i in banded {
            let reading = &readings[*i];
            let value = reading.value.as_ref().and_then(model::Value::as_f64);
            self.state.deadband_stored(reading.tag, now, value, reading.quality);
        }
        Ok(())
    }

    /// Appends Millstream's own frames and absorbs them.
    fn append(&mut self, frames: &[u8], received: TimestampNs) -> Result<LogPosition, Refused> {
        self.save_definitions(received)?;
        let position = self.log.append(frames, received)?;
        let before = self.state.samples();
        let mut rest = frames;
        while !rest.is_empty() {
            let Ok(frame) = check(rest) else { break };
            self.state.absorb(frame, received);
            self.view.totals.frames.add(1);
            rest = &rest[frame.bytes().len()..];
        }
        self.view.totals.bytes.add(frames.len() as u64);
        self.view.totals.samples.add(self.state.samples() - before);
        Ok(position)
    }

    /// The definitions that the log does not hold yet go before what uses them.
    fn save_definitions(&mut self, received: TimestampNs) -> Result<(), Refused> {
        if !self.state.definitions.has_unsaved() {
            return Ok(());
        }
        let mut bytes = Builder::new();
        self.state.definitions.encode_unsaved(&mut bytes).map_err(|_| Refused::Limit)?;
        self.log.append(bytes.bytes(), received)?;
        self.state.definitions.mark_saved();
        Ok(())
    }

    /// Records a gap; it reaches the log as soon as the log takes it.
    pub fn gap(&mut self, gap: Gap) {
        if gap.reason == GapReason::Shed {
            self.view.totals.refused.add(gap.count.unwrap_or(1));
        }
        self.waiting.push(gap);
    }

    /// Sets a source's state; answers its name where the word changed.
    pub fn set_state(&mut self, source: SourceId, state: SourceState, now: TimestampNs) -> Option<String> {
        let name = self.state.definitions.source_name(source).to_owned();
        self.book.set(source, &name, state, now).then_some(name)
    }

    /// Adds to a source's counter.
    pub fn count(&mut self, source: SourceId, counter: &'static str, by: u64, now: TimestampNs) {
        let name = self.state.definitions.source_name(source);
        self.book.count(source, name, counter, by, now);
    }

    /// Sets a source's figure.
    pub fn figure(&mut self, source: SourceId, figure: &'static str, value: u64, now: TimestampNs) {
        let name = self.state.definitions.source_name(source);
        self.book.figure(source, name, figure, value, now);
    }

    // ---- producers -----------------------------------------------------------------------------

    /// Opens a producer of a native source; answers its last stored sequence.
    ///
    /// # Errors
    /// [`Refused::Limit`] with too many producers.
    pub fn open(&mut self, producer: ProducerId, source: SourceId) -> Result<Sequence, Refused> {
        self.state.producers.open(producer, source)
    }

    /// Numbers for texts that a producer will use.
    ///
    /// # Errors
    /// [`Refused::Limit`]
    pub fn texts(&mut self, texts: &[&str]) -> Result<Vec<TextId>, Refused> {
        texts.iter().map(|text| self.state.definitions.text(text)).collect()
    }

    /// Puts the definitions on their way to the disk; a producer may hear its numbers only when the
    /// answered position is durable, or a crash could give them to other tags.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn seal_definitions(&mut self, now: TimestampNs) -> Result<LogPosition, Refused> {
        self.save_definitions(now)?;
        Ok(self.log.end())
    }

    /// Takes a producer's frame through the pass.
    ///
    /// # Errors
    /// [`TakeError`]: nothing was taken.
    pub fn take(&mut self, frame: Frame<'_>, received: TimestampNs) -> Result<Taken, TakeError> {
        let producer = frame.producer();
        let source = self.state.producers.source(producer).ok_or(TakeError::UnknownProducer)?;
        let admission = self.state.producers.admit(producer, frame.sequence());
        if admission == Admission::Duplicate {
            self.view.totals.duplicates.add(1);
            return Ok(Taken::Duplicate);
        }
        let are_numbers = self.check_owner(frame, source)?;
        if self.closing {
            return Err(TakeError::Refused(Refused::Closed));
        }
        self.save_definitions(received).map_err(TakeError::Refused)?;
        let position = match self.hole(admission, source, received) {
            None => self.log.append(frame.bytes(), received),
            Some(gap) => self.append_behind(&gap, frame, received),
        };
        let position = position.map_err(TakeError::Refused)?;
        let before = self.state.samples();
        self.state.absorb_known(frame, received, are_numbers);
        self.view.totals.samples.add(self.state.samples() - before);
        self.view.totals.frames.add(1);
        self.view.totals.bytes.add(frame.bytes().len() as u64);
        Ok(Taken::Stored { position })
    }

    /// Frames that never came are a gap up to the one that shows it.
    fn hole(&self, admission: Admission, source: SourceId, received: TimestampNs) -> Option<Gap> {
        let Admission::Hole { missing } = admission else { return None };
        let from = self.state.last_data(source).unwrap_or(received).min(received);
        Some(Gap::of_source(source, from, received, GapReason::LostInTransit, missing))
    }

    /// A frame with the gap that it shows before it, in one append: the log has both or none.
    fn append_behind(&mut self, gap: &Gap, frame: Frame<'_>, received: TimestampNs) -> Result<LogPosition, Refused> {
        let mut bytes = Builder::new();
        bytes.gap(gap).map_err(|_| Refused::Limit)?;
        let mut both = bytes.into_bytes();
        both.extend_from_slice(frame.bytes());
        let position = self.log.append(&both, received)?;
        self.state.gaps.push(*gap);
        self.view.totals.gaps.add(1);
        Ok(position)
    }

    /// A fire-and-forget frame of so many samples was given up: a gap, and its sequence will not come
    /// again. The log learns the sequence with the gap, so that no restart counts it a second time.
    pub fn shed(&mut self, producer: ProducerId, sequence: Sequence, samples: u64, received: TimestampNs) {
        let Some(source) = self.state.producers.source(producer) else { return };
        let admission = self.state.producers.admit(producer, sequence);
        if admission == Admission::Duplicate {
            return;
        }
        if let Some(hole) = self.hole(admission, source, received) {
            self.gap(hole);
        }
        self.gap(Gap::of_source(source, received, received, GapReason::Shed, samples));
        self.state.producers.stored(producer, sequence);
        self.given_up.insert(producer, sequence);
    }

    /// Whether all tags are the source's and all texts are known; answers whether a frame of samples
    /// has nothing but numbers.
    fn check_owner(&self, frame: Frame<'_>, source: SourceId) -> Result<bool, TakeError> {
        let bad_text = match frame.view() {
            View::Scan(scan) if self.state.owns_run(source, scan.tag_first(), scan.len()) => {
                if !self.state.has_text(scan.tag_first(), scan.len()) {
                    return Ok(false);
                }
                let values = scan.values().iter().enumerate();
                let tag = |i: usize| TagId(scan.tag_first().0 + i as u32);
                values
                    .map(|(i, bits)| (tag(i), bits.to_native()))
                    .find(|(tag, bits)| self.state.is_bad_text(*tag, *bits))
            }
            View::Scan(scan) => return Err(TakeError::ForeignTag { tag: scan.tag_first() }),
            View::Samples(samples) => {
                if self.state.are_numbers_of(source, samples) {
                    return Ok(true);
                }
                let is_foreign = |tag: &TagId| !self.state.owns_run(source, *tag, 1);
                if let Some(tag) = samples.iter().map(|sample| sample.0).find(is_foreign) {
                    return Err(TakeError::ForeignTag { tag });
                }
                samples
                    .iter()
                    .map(|sample| (sample.0, sample.2))
                    .find(|(tag, bits)| self.state.is_bad_text(*tag, *bits))
            }
            _ => return Err(TakeError::NotTelemetry),
        };
        bad_text.map_or(Ok(false), |(tag, _)| Err(TakeError::BadText { tag }))
    }

    // ---- the disk ------------------------------------------------------------------------------

    /// Drives the log: completions, writes, syncs, segments, waiting gaps. Wakes those whose
    /// position became durable and publishes what changed. Answers the work done.
    pub fn poll(&mut self, now_ns: u64, wall: TimestampNs, disk: &mut dyn Disk) -> usize {
        self.write_gaps(wall);
        let state = &mut self.state;
        let work = self.log.poll(now_ns, wall, disk, &mut |head: &mut Builder, part| {
            // the limits keep every definition far below a frame's length, so this cannot fail
            let more = state.definitions.encode_part(part, head).unwrap_or(false);
            if !more {
                let _ = state.producers.encode(head);
            }
            more
        });
        self.wake();
        if self.tags_changed && now_ns >= self.tags_due_ns {
            self.tags_changed = false;
            let definitions = &self.state.definitions;
            let table = definitions.table();
            let rest_ns = TABLE_REST_NS + table.chunks().len() as u64 * TABLE_REST_PER_CHUNK_NS;
            self.tags_due_ns = now_ns.saturating_add(rest_ns);
            self.view.publish_tags(table);
        }
        let texts = self.state.definitions.texts();
        if texts.len() > self.texts_shown {
            self.texts_shown = texts.len();
            self.view.publish_texts(texts.to_vec());
        }
        work
    }

    /// Somebody waits for what was taken last: it is written without waiting for company, where the disk is
    /// at rest, and behind what is under way where it is not.
    pub fn hurry(&mut self) {
        self.log.hurry();
    }

    fn write_gaps(&mut self, wall: TimestampNs) {
        while !self.waiting.waiting().is_empty() {
            let count = self.waiting.waiting().len().min(GAPS_PER_APPEND);
            let mut bytes = Builder::new();
            let encoded = self.waiting.waiting()[..count].iter().try_for_each(|gap| bytes.gap(gap).map(drop));
            let last = count == self.waiting.waiting().len();
            let marks = self.given_up.iter().filter(|_| last).map(|(producer, sequence)| (*producer, *sequence));
            let encoded = encoded.and_then(|()| crate::dedupe::encode_marks(marks, &mut bytes));
            if encoded.is_err() || self.append(bytes.bytes(), wall).is_err() {
                return; // they keep waiting, merged, until the log takes them
            }
            self.view.totals.gaps.add(count as u64);
            self.waiting.written(count);
            if last {
                self.given_up.clear();
            }
        }
    }

    fn wake(&mut self) {
        let durable = self.log.durable();
        let closed = self.log.is_closed();
        self.waiters.retain(|(position, waker)| {
            let wait = *position > durable && !closed;
            if !wait {
                waker.wake_by_ref();
            }
            wait
        });
    }

    /// Ready once everything up to the position is durable.
    pub fn poll_durable(&mut self, position: LogPosition, cx: &mut Context<'_>) -> Poll<Result<(), CommitError>> {
        if self.log.durable() >= position {
            return Poll::Ready(Ok(()));
        }
        if self.log.is_closed() {
            return Poll::Ready(Err(CommitError::Closed));
        }
        if !self.waiters.iter().any(|(at, waker)| *at == position && waker.will_wake(cx.waker())) {
            self.waiters.push((position, cx.waker().clone()));
        }
        Poll::Pending
    }

    /// Everything before this position is durable.
    #[must_use]
    pub fn durable(&self) -> LogPosition {
        self.log.durable()
    }

    /// Everything before this position was taken.
    #[must_use]
    pub fn end(&self) -> LogPosition {
        self.log.end()
    }

    /// Whether the senders should pause.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.log.is_busy()
    }

    /// When [`poll`](Self::poll) must be called again even if nothing happens (monotonic ns).
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let tags = self.tags_changed.then_some(self.tags_due_ns);
        [self.log.deadline_ns(), tags].into_iter().flatten().min()
    }

    /// The durable batches that arrived in a stretch of time.
    #[must_use]
    pub fn spans(&self, from: TimestampNs, to: TimestampNs) -> Vec<Span> {
        self.log.spans(from, to)
    }

    /// Takes nothing more; what was taken is written, synced, and a final mark.
    pub fn close(&mut self, wall: TimestampNs) {
        self.write_gaps(wall);
        self.closing = true;
        self.log.close();
    }

    /// Whether the log is closed and synced.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.log.is_closed()
    }

    /// Publishes what changes slowly: source states, counters, the log, and the counters of what
    /// feeds the pass.
    pub fn publish(&self, feeds: &BTreeMap<&'static str, u64>) {
        self.view.publish_sources(self.book.snapshot(|id| (self.state.last_data(id), self.state.source_samples(id))));
        self.view.publish_feeds(feeds.clone());
        self.view.publish_tag_bytes(self.state.tag_bytes());
        let (word, reason) = match self.log.health() {
            Health::Good => ("healthy", String::new()),
            Health::Full { since } => {
                ("full", format!("the disk is full since {since}; free space, Millstream goes on by itself"))
            }
            Health::Failing { since, why } => {
                ("failing", format!("the disk fails since {since}: {why}; look at the disk"))
            }
        };
        let stats = self.log.stats();
        self.view.publish_log(LogStatus {
            word,
            reason,
            durable: self.log.durable().0,
            end: self.log.end().0,
            segments: stats.segments,
            bytes: stats.bytes,
            syncs: stats.syncs,
        });
    }
}
