//! The journal: a log of entries, appended in groups, each group whole or not at all in memory.
//!
//! Invariants
//! - J2: an offset that was answered names this entry for ever; it is durable once
//!   [`Journal::durable`] has reached it, and only then may anybody be told of it.
//! - J3: nothing here blocks; the disk is driven by [`Journal::poll`] alone.
//!
//! It does not know what an entry means.

use crate::entry::{Draft, Stored};
use delivery::Offset;
use env::disk::{Disk, FileNumber, Storage};
use frame::{Builder, Frame, View};
use log::{Health, Span, Writer};
use model::{CommitError, LogPosition, ProducerId, Refused, Sequence, ShardId, TimestampNs};
use std::ops::ControlFlow;
use std::task::{Context, Poll, Waker};

/// The number that stands in the journal's headers where a telemetry log has its shard's.
pub const JOURNAL: ShardId = ShardId(u16::MAX);

/// How long an entry that nobody waits for may wait for company, ns. What a crash takes of them is done again, so
/// it also bounds how much that is.
pub const UNHURRIED_NS: u64 = 20_000_000;

/// Entries as they will stand in the journal: put together one by one, appended at once.
#[derive(Default)]
pub struct Entries {
    builder: Builder,
    /// Where each ends, in bytes behind the beginning of the first.
    ends: Vec<u64>,
}

impl Entries {
    /// Adds one behind the others.
    ///
    /// # Errors
    /// [`Refused::Limit`]: it is too long for a frame; the others are as they were.
    pub fn push(&mut self, draft: &mut Draft) -> Result<(), Refused> {
        let built = draft.with_payload(|entry| self.builder.entry(ProducerId::SELF, Sequence(0), entry).is_ok());
        if !built {
            return Err(Refused::Limit);
        }
        self.ends.push(self.builder.bytes().len() as u64);
        Ok(())
    }

    /// Where each ends, in bytes behind the beginning of the first.
    #[must_use]
    pub fn ends(&self) -> &[u64] {
        &self.ends
    }

    fn clear(&mut self) {
        self.builder.clear();
        self.ends.clear();
    }
}

/// Appends entries and makes them durable.
pub struct Journal {
    log: Writer,
    /// Those of one call; its memory is used again.
    entries_now: Entries,
    waiters: Vec<(LogPosition, Waker)>,
    entries: u64,
}

impl Journal {
    /// A journal over a log.
    #[must_use]
    pub fn new(log: Writer) -> Journal {
        Journal { log, entries_now: Entries::default(), waiters: Vec::new(), entries: 0 }
    }

    /// Appends entries; answers the offset of each.
    ///
    /// # Errors
    /// [`Refused`]: none was taken. [`Refused::Limit`] where one is too long for a frame.
    pub fn append(&mut self, drafts: &mut [Draft], now: TimestampNs) -> Result<Vec<Offset>, Refused> {
        self.put(drafts, now, 0)
    }

    /// [`append`](Self::append) of entries that nobody waits for: they wait up to [`UNHURRIED_NS`] for company.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_unhurried(&mut self, drafts: &mut [Draft], now: TimestampNs) -> Result<Vec<Offset>, Refused> {
        self.put(drafts, now, UNHURRIED_NS)
    }

    fn put(&mut self, drafts: &mut [Draft], now: TimestampNs, within_ns: u64) -> Result<Vec<Offset>, Refused> {
        let mut entries = std::mem::take(&mut self.entries_now);
        entries.clear();
        let built = drafts.iter_mut().try_for_each(|draft| entries.push(draft));
        let appended = built.and_then(|()| self.put_entries(&entries, now, within_ns));
        let answer = appended.map(|begin| entries.ends.iter().map(|end| Offset(begin.0 + end)).collect());
        self.entries_now = entries;
        answer
    }

    /// Appends entries that were put together before, all or none; answers the offset that they begin behind.
    ///
    /// # Errors
    /// [`Refused`]: none was taken.
    pub fn append_entries(&mut self, entries: &Entries, now: TimestampNs) -> Result<Offset, Refused> {
        self.put_entries(entries, now, 0)
    }

    fn put_entries(&mut self, entries: &Entries, now: TimestampNs, within_ns: u64) -> Result<Offset, Refused> {
        let begin = self.end();
        self.log.append_within(entries.builder.bytes(), now, within_ns)?;
        self.entries += entries.ends.len() as u64;
        Ok(begin)
    }

    /// Drives the disk; `snapshot` gives what every segment begins with. Answers the work done.
    pub fn poll(
        &mut self,
        now_ns: u64,
        wall: TimestampNs,
        disk: &mut dyn Disk,
        snapshot: &mut dyn FnMut(&mut Builder),
    ) -> usize {
        let before = self.log.durable();
        let work = self.log.poll(now_ns, wall, disk, &mut |builder, _| {
            snapshot(builder);
            false // in one part: what it says must all hold at one time
        });
        if self.log.durable() > before || self.log.is_closed() {
            self.wake();
        }
        work
    }

    fn wake(&mut self) {
        let (durable, closed) = (self.log.durable(), self.log.is_closed());
        self.waiters.retain(|(position, waker)| {
            let wait = *position > durable && !closed;
            if !wait {
                waker.wake_by_ref();
            }
            wait
        });
    }

    /// Ready once everything up to an offset is durable.
    pub fn poll_durable(&mut self, offset: Offset, cx: &mut Context<'_>) -> Poll<Result<(), CommitError>> {
        if self.durable() >= offset {
            return Poll::Ready(Ok(()));
        }
        if self.log.is_closed() {
            return Poll::Ready(Err(CommitError::Closed));
        }
        let position = LogPosition(offset.0);
        if !self.waiters.iter().any(|(at, waker)| *at == position && waker.will_wake(cx.waker())) {
            self.waiters.push((position, cx.waker().clone()));
            self.log.hurry();
        }
        Poll::Pending
    }

    /// A file that should be made ahead ([`Writer::wants_prepared`]).
    pub fn wants_prepared(&mut self) -> Option<FileNumber> {
        self.log.wants_prepared()
    }

    /// It is there, or could not be made.
    pub fn prepared(&mut self, file: FileNumber, made: bool) {
        self.log.prepared(file, made);
    }

    /// Everything up to this offset is on disk.
    #[must_use]
    pub fn durable(&self) -> Offset {
        Offset(self.log.durable().0)
    }

    /// The offset of the newest entry.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.log.end().0)
    }

    /// Offsets up to this one are no longer stored.
    #[must_use]
    pub fn oldest(&self) -> Offset {
        Offset(self.log.oldest().0)
    }

    /// Keeps what lies behind an offset.
    pub fn hold(&mut self, offset: Offset) {
        self.log.hold(Some(LogPosition(offset.0)));
    }

    /// Where the durable entries behind an offset lie, at most about `bytes_max` bytes.
    #[must_use]
    pub fn spans_after(&self, offset: Offset, bytes_max: u64) -> Vec<Span> {
        self.log.spans_after(LogPosition(offset.0), bytes_max)
    }

    /// Where the durable entries that were written in a stretch of time lie.
    #[must_use]
    pub fn spans_between(&self, from: TimestampNs, to: TimestampNs) -> Vec<Span> {
        self.log.spans(from, to)
    }

    /// When [`poll`](Self::poll) must be called again even if nothing happens (monotonic ns).
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        self.log.deadline_ns()
    }

    /// Whether so much waits for the disk that publishers should pause.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.log.is_busy()
    }

    /// How the disk is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.log.health()
    }

    /// Bytes on disk.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.log.stored_bytes()
    }

    /// Segments on disk.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.log.segment_count()
    }

    /// Entries appended since the start.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Takes no more; what was taken is written and synced.
    pub fn close(&mut self) {
        self.log.close();
    }

    /// Whether everything is on disk and closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.log.is_closed()
    }
}

/// Visits the entry of a frame, if it is one.
pub fn visit_entry(frame: Frame<'_>, position: LogPosition, visit: &mut dyn FnMut(Stored<'_>)) {
    if let View::Entry(entry) = frame.view()
        && let Some(stored) = Stored::new(entry, Offset(position.0))
    {
        visit(stored.of_bytes(frame.bytes().len()));
    }
}

/// Reads spans and visits their entries in order, with the bytes that had to be read. Damaged
/// batches are passed over; the answer counts them.
///
/// # Errors
/// A sentence: a file cannot be opened.
pub fn read(
    storage: &dyn Storage,
    spans: &[Span],
    visit: &mut dyn FnMut(Stored<'_>) -> ControlFlow<()>,
) -> Result<usize, String> {
    let report = log::read(storage, spans, &mut |frame, position| {
        let mut flow = ControlFlow::Continue(());
        visit_entry(frame, position, &mut |stored| flow = visit(stored));
        flow
    });
    report.map(|report| report.fences.len()).map_err(|error| format!("the journal cannot be read: {error}"))
}
