//! The writer: what is appended is gathered into batches, written, synced in groups, and only then
//! durable.
//!
//! Life of a batch: *open* (frames are copied in) → *waiting* (sealed off, no place yet) → *placed*
//! (header and checksum made for a file and offset, given to the disk) → *written* → *durable*. A
//! failure moves every placed batch of the file, and of later files, back to waiting (L2).
//!
//! Invariants, beside those of the crate
//! - W1: `queue` is in the order of positions; placed batches stand before waiting ones.
//! - W2: at most one sync of a file is under way. Linux reports a writeback error once for each open
//!   file: of two syncs at a time one may miss it and seem to succeed. Writes go on meanwhile, so
//!   the next sync covers all that gathered: that is the group commit.
//! - W3: a batch is placed in a segment only after the file was created and its header and
//!   prologue stand before it. The prologue is made one part a poll, because telemetry waits for
//!   each poll; data waits meanwhile.
//! - W4: the frames of one append stand in one batch, unless they are longer than any batch.
//!
//! It deliberately does not retry on a file, does not read, and never blocks.

mod batch;
mod blocks;
mod complete;
mod fault;
mod flow;
mod head;
mod live;
mod pad;
mod retain;

use crate::span::SegmentIndex;
use crate::stats::SYNC_SAMPLES_MAX;
use crate::{Health, Recovered, Settings, Span, Stats};
use batch::{Batch, Open};
use blocks::Blocks;
pub use blocks::{LENT_BLOCK_BYTES, LENT_BLOCKS};
use env::disk::{Disk, FileNumber, OpId};
use fault::Retry;
use frame::Builder;
use live::{Live, Op};
use model::{LogPosition, Refused, TimestampNs, limits};
use retain::{Preparing, Removal, Retired};
use std::collections::{BTreeMap, VecDeque};

/// Waiting bytes at which a batch is written without waiting for `sync_ns`.
const GROUP_BYTES: usize = 512 << 10;
/// Batches that are sealed early (by time or [`GROUP_BYTES`]) while this many are not yet durable
/// would only make more small writes; beyond it the open batch grows to its limit instead.
const PIPELINE_BATCHES_MAX: usize = 8;
/// A batch of more than one append grows no further than this: what is behind is then written in
/// pieces that still fit a core's second cache.
const BATCH_BYTES_FULL: usize = 1 << 20;
/// Writes at the disk at one time.
const WRITES_MAX: usize = 8;
/// A segment holds at least this many times the bytes of its prologue: with a million tags that is as
/// long as a whole segment, and would be most of what is written.
const PROLOGUE_SHARE: u64 = 4;
/// Segments that are created, written, synced or closed at one time.
const LIVE_SEGMENTS_MAX: usize = 4;
/// After data, a mark carries the known-durable position forward this long after the last batch.
const MARK_NS: u64 = 1_000_000_000;
/// While idle, a mark says "running" this often: what bounds the gap that a crash leaves.
const HEARTBEAT_NS: u64 = 10_000_000_000;

/// Appends frames to a log and makes them durable in groups.
pub struct Writer {
    settings: Settings,
    open: Open,
    queue: VecDeque<Batch>,
    live: VecDeque<Live>,
    index: VecDeque<SegmentIndex>,
    ops: BTreeMap<OpId, Op>,
    blocks: Blocks,
    builder: Builder,
    durable: LogPosition,
    /// The known-durable position that the newest placed batch carries.
    marked: LogPosition,
    /// Bytes of frames that are not durable.
    in_flight: usize,
    writes_in_flight: usize,
    directory_sync: bool,
    next_op: u64,
    next_key: u64,
    next_file: FileNumber,
    /// What recovery answered: the first number to take, and where the log ended.
    first_file: FileNumber,
    started: LogPosition,
    placed_ns: u64,
    now_ns: u64,
    /// Monotonic time of the first poll, and the running time of the log then.
    began_ns: Option<u64>,
    running_ns: u64,
    health: Health,
    retry: Retry,
    /// Whether the next segment replaces what an earlier one may hold: after a failure, and the
    /// first one of a writer, for even a final mark that recovery found may be gone after the next
    /// power cut.
    replaces: bool,
    /// Somebody waits for what is in the open batch.
    hurried: bool,
    removal: Removal,
    /// Files that the next segments use again.
    retired: Vec<Retired>,
    preparing: Preparing,
    closing: bool,
    final_mark: FinalMark,
    stats: Stats,
    sync_ns: Vec<u64>,
}

/// How far closing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FinalMark {
    Wanted,
    Queued,
    Durable,
}

impl Writer {
    /// A writer that goes on where recovery ended. It never appends to an old segment: it starts a
    /// fresh one, and logs again there what recovery kept but does not know to be durable.
    #[must_use]
    pub fn new(settings: Settings, recovered: &Recovered) -> Writer {
        let queue: VecDeque<Batch> =
            recovered.tail.iter().zip(0..).map(|(tail, key)| Batch::again(tail, key)).collect();
        Writer {
            open: Open::new(recovered.end),
            in_flight: queue.iter().map(Batch::body_bytes).sum(),
            next_key: queue.len() as u64,
            queue,
            live: VecDeque::new(),
            index: recovered.segments.iter().cloned().collect(),
            ops: BTreeMap::new(),
            blocks: Blocks::default(),
            builder: Builder::new(),
            durable: recovered.durable,
            marked: recovered.durable,
            writes_in_flight: 0,
            directory_sync: false,
            next_op: 1,
            next_file: recovered.next_file,
            first_file: recovered.next_file,
            started: recovered.end,
            placed_ns: 0,
            now_ns: 0,
            began_ns: None,
            running_ns: recovered.running_ns,
            health: Health::Good,
            retry: Retry::default(),
            replaces: true,
            hurried: false,
            removal: Removal::default(),
            retired: Vec::new(),
            preparing: Preparing::default(),
            closing: false,
            final_mark: FinalMark::Wanted,
            stats: Stats::default(),
            sync_ns: Vec::new(),
            settings,
        }
    }

    /// Copies one or more whole checked frames into the open batch, stamps them with their time of
    /// arrival, and answers the position that must be durable for all of them to be.
    ///
    /// # Errors
    /// [`Refused::Busy`] where too much waits for the disk, [`Refused::Disk`] where that is so
    /// because it is full or failing, [`Refused::Closed`] after [`close`](Self::close). None of
    /// the frames was then taken.
    ///
    /// # Panics
    /// Where `frames` is not made of whole frames: only checked frames may be stored.
    pub fn append(&mut self, frames: &[u8], received: TimestampNs) -> Result<LogPosition, Refused> {
        self.append_within(frames, received, self.settings.sync_ns)
    }

    /// [`append`](Self::append) of what may wait `within_ns` for company, where that is longer than the `sync_ns` of
    /// the settings: what nobody waits for needs no write and no sync of its own. Whatever comes after it takes it
    /// along.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    ///
    /// # Panics
    /// As [`append`](Self::append).
    pub fn append_within(
        &mut self,
        frames: &[u8],
        received: TimestampNs,
        within_ns: u64,
    ) -> Result<LogPosition, Refused> {
        if self.closing {
            return Err(Refused::Closed);
        }
        if self.in_flight + frames.len() > limits::BYTES_IN_FLIGHT_MAX {
            self.stats.refused += 1;
            return Err(if self.health.is_good() { Refused::Busy } else { Refused::Disk });
        }
        if !self.open.is_empty() && self.open.body_bytes() + frames.len() > BATCH_BYTES_FULL {
            self.seal();
        }
        let due_ns = self.now_ns.saturating_add(within_ns.max(self.settings.sync_ns));
        let mut rest = frames;
        while !rest.is_empty() {
            let room = limits::BATCH_BYTES_MAX - self.open.body_bytes();
            let (fits, count) = batch::whole_frames(rest, room);
            if count == 0 {
                self.seal();
                continue;
            }
            self.open.push(&rest[..fits], count, received, due_ns);
            rest = &rest[fits..];
        }
        self.in_flight += frames.len();
        Ok(self.end())
    }

    /// Somebody waits for what was appended last: it is written without waiting for company where nothing
    /// else is on its way to the disk, and right behind that where something is.
    pub fn hurry(&mut self) {
        self.hurried = !self.open.is_empty();
    }

    /// Takes completions, seals, submits writes and syncs, rolls segments, removes what need not be
    /// kept. Never blocks. `now_ns` is monotonic. Answers how much was done.
    ///
    /// `prologue` gives what every segment begins with, in as many parts as keep this call short:
    /// it is asked for part 0, 1, … of one segment, one in a call, and answers whether there are
    /// more. A part holds what is true when it is asked for. What is appended while they are made
    /// stands behind all of them; dedupe state of everything appended so far belongs into the last.
    pub fn poll(
        &mut self,
        now_ns: u64,
        wall: TimestampNs,
        disk: &mut dyn Disk,
        prologue: &mut dyn FnMut(&mut Builder, usize) -> bool,
    ) -> usize {
        self.now_ns = self.now_ns.max(now_ns);
        if self.began_ns.is_none() {
            self.began_ns = Some(self.now_ns);
            self.placed_ns = self.now_ns;
            self.open.due_ns = self.open.due_ns.max(self.now_ns.saturating_add(self.settings.sync_ns));
        }
        self.blocks.borrow(disk);
        let mut work = 0;
        while let Some(completion) = disk.poll_completion() {
            self.complete(completion, wall, disk);
            work += 1;
        }
        work += self.advance();
        work += self.gather(wall);
        work += self.place(wall, disk, prologue);
        work += self.sync(disk);
        work += self.tidy(disk);
        self.blocks.give_back(self.now_ns);
        work + self.retain(disk)
    }

    /// When [`poll`](Self::poll) must be called again even if nothing happens, monotonic ns;
    /// `None` where only completions are waited for, and after it is closed.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        if self.closing && self.final_mark == FinalMark::Durable {
            return None; // only completions are waited for
        }
        if self.began_ns.is_none() {
            return Some(0);
        }
        let idle = self.queue.is_empty() && self.open.is_empty();
        let segment = self.current().is_none().then_some(self.retry.at_ns);
        let group = (!self.open.is_empty() && self.queue.len() < PIPELINE_BATCHES_MAX).then(|| self.seal_due_ns());
        let begun = self.current().is_some_and(Live::is_begun);
        let head = self.makes_head().then_some(self.now_ns);
        let mark =
            (idle && (begun || self.closing)).then(|| if self.closing { self.now_ns } else { self.mark_due_ns() });
        let segment = segment.filter(|_| self.live.len() < LIVE_SEGMENTS_MAX);
        let removal = self.retention_due_ns();
        [segment, head, group, mark, removal, self.blocks.due_ns()].into_iter().flatten().min()
    }

    /// Everything up to here is on disk.
    #[must_use]
    pub fn durable(&self) -> LogPosition {
        self.durable
    }

    /// Position after the last appended frame.
    #[must_use]
    pub fn end(&self) -> LogPosition {
        self.open.position_end()
    }

    /// Whether half of what may wait for the disk does: pause the senders.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.in_flight >= limits::BYTES_IN_FLIGHT_MAX / 2
    }

    /// How the disk is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Takes no more frames; [`poll`](Self::poll) then writes and syncs what waits, and a final
    /// mark. While the disk is full or failing this goes on until it is not.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Whether everything is on disk, the final mark too, and every file closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing && self.final_mark == FinalMark::Durable && self.live.is_empty() && self.ops.is_empty()
    }

    /// Keeps every segment that holds something behind this position; `None`: age and size decide.
    pub fn hold(&mut self, position: Option<LogPosition>) {
        self.settings.hold = position;
    }

    /// Durable batches that hold positions behind `after`, oldest first; at most about `bytes_max`
    /// bytes of them, but at least one where there is one.
    #[must_use]
    pub fn spans_after(&self, after: LogPosition, bytes_max: u64) -> Vec<Span> {
        let mut bytes = 0;
        let all = self.index.iter().flat_map(|segment| &segment.spans).filter(|span| span.to > after);
        let fits = all.take_while(|span| {
            let fits = bytes == 0 || bytes + span.bytes <= bytes_max;
            bytes += span.bytes;
            fits
        });
        fits.copied().collect()
    }

    /// The first position that is still stored.
    #[must_use]
    pub fn oldest(&self) -> LogPosition {
        self.index.front().map_or(self.durable, |segment| segment.from)
    }

    /// Durable batches whose received times touch the closed range, oldest first.
    #[must_use]
    pub fn spans(&self, from: TimestampNs, to: TimestampNs) -> Vec<Span> {
        let all = self.index.iter().flat_map(|segment| &segment.spans);
        all.filter(|span| span.touches(from, to)).copied().collect()
    }

    /// Counters since the writer was made.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Segments on disk, the open one included.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.index.len()
    }

    /// Bytes on disk, the open segment included.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.index.iter().map(|segment| segment.bytes).sum()
    }

    /// Hands over the latencies of the syncs since the last call, ns; at most 1024 are kept.
    pub fn drain_sync_ns(&mut self, on: &mut dyn FnMut(u64)) {
        self.sync_ns.drain(..).for_each(on);
    }

    fn note_sync_ns(&mut self, ns: u64) {
        if self.sync_ns.len() < SYNC_SAMPLES_MAX {
            self.sync_ns.push(ns);
        }
    }

    fn seal_due_ns(&self) -> u64 {
        let hurried = self.hurried && self.queue.is_empty();
        if self.open.body_bytes() >= GROUP_BYTES || self.closing || hurried { self.now_ns } else { self.open.due_ns }
    }

    fn mark_due_ns(&self) -> u64 {
        self.placed_ns + if self.durable > self.marked { MARK_NS } else { HEARTBEAT_NS }
    }

    /// Running time of the log now (`layout`, "Running time").
    fn running_now_ns(&self) -> u64 {
        self.running_ns + (self.now_ns - self.began_ns.unwrap_or(self.now_ns))
    }

    fn current(&self) -> Option<&Live> {
        self.live.back().filter(|live| live.takes_batches())
    }

    fn op_id(&mut self) -> OpId {
        let id = OpId(self.next_op);
        self.next_op += 1;
        id
    }

    fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }
}
