//! The log driven as a shard drives it: dedupe, append, acknowledge what is durable, record gaps.

use crate::system::{Contents, Found, Offer, Sent, Setup, StartError, Stored, StoredGap, System};
use env::Clock;
use frame::{Builder, Frame, FrameKind, ProducerMark, Producers, SourceRecord, Sources, View};
use log::{Fence, Settings, Writer};
use model::{Gap, GapReason, LogPosition, ProducerId, Sequence, ShardId, SourceId, TimestampNs};
use sim::{Crash, SimClock, SimDisk};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::rc::Rc;

/// The shard whose log it is.
pub const SHARD: ShardId = ShardId(5);

/// Parts of a segment's head before the last.
const HEAD_PARTS: usize = 3;

/// The last frame of one producer.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    sequence: Sequence,
    time_ns: i64,
}

/// A writer on a simulated disk, with what a pass keeps beside it.
pub struct LogSystem {
    writer: Writer,
    disk: SimDisk,
    clock: Rc<SimClock>,
    dedupe: BTreeMap<ProducerId, Last>,
    /// What waits to be durable, in the order of positions.
    waiting: VecDeque<(LogPosition, ProducerId, Sequence)>,
    /// Losses that are not recorded yet, by producer: `[from, to)` of source time.
    losses: BTreeMap<ProducerId, (i64, i64)>,
    /// Nobody is answered before this is durable.
    recovered_end: LogPosition,
    builder: Builder,
    segment_bytes: usize,
    /// Files may hold remains behind the last batch.
    retains: bool,
}

impl LogSystem {
    /// The writer, for what only the log has.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    fn is_ready(&self) -> bool {
        self.writer.durable() >= self.recovered_end
    }

    fn lose(&mut self, producer: ProducerId, from_ns: i64, to_ns: i64) {
        let loss = self.losses.entry(producer).or_insert((from_ns, to_ns));
        *loss = (loss.0.min(from_ns), loss.1.max(to_ns));
    }

    /// Appends a producer's loss as a gap record. False while the log takes nothing.
    fn record_loss(&mut self, producer: ProducerId) -> bool {
        let Some((from, to)) = self.losses.get(&producer).copied() else { return true };
        let gap = Gap {
            source: SourceId(producer.0 as u32),
            tags: None,
            from: TimestampNs(from),
            to: TimestampNs(to),
            reason: GapReason::Shed,
            count: None,
        };
        self.builder.clear();
        let built = self.builder.gap(&gap).is_ok();
        let taken = built && self.writer.append(self.builder.bytes(), self.clock.wall()).is_ok();
        if taken {
            self.losses.remove(&producer);
        }
        taken
    }
}

impl System for LogSystem {
    fn start(mut disk: SimDisk, clock: Rc<SimClock>, setup: Setup) -> Result<(Self, Found), Box<StartError>> {
        let mut contents = Contents::default();
        let mut dedupe = BTreeMap::new();
        let recovered = log::recover(&mut disk, SHARD, &mut |frame, position| {
            take(&mut contents, frame, position);
            learn(&mut dedupe, frame);
        });
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => return Err(Box::new(StartError { why: error.to_string(), disk })),
        };
        let settings = Settings {
            segment_bytes: setup.segment_bytes,
            sync_ns: setup.sync_ns,
            whole_blocks_from: setup.whole_blocks_from,
            whole_blocks_again_from: setup.whole_blocks_from / 4,
            keep_bytes: setup.keep_bytes,
            ..Settings::new(SHARD)
        };
        let found =
            Found { contents, rot: recovered.rot.clone(), truncated: recovered.truncated.clone(), end: recovered.end };
        let system = LogSystem {
            writer: Writer::new(settings, &recovered),
            disk,
            clock,
            dedupe,
            waiting: VecDeque::new(),
            losses: BTreeMap::new(),
            recovered_end: recovered.end,
            builder: Builder::new(),
            segment_bytes: setup.segment_bytes as usize,
            retains: setup.keep_bytes > 0,
        };
        Ok((system, found))
    }

    fn resume(&self, producer: ProducerId) -> Option<Sequence> {
        self.is_ready().then(|| self.dedupe.get(&producer).map_or(Sequence(0), |last| last.sequence))
    }

    fn offer(&mut self, frame: &Sent) -> Offer {
        let last = self.dedupe.get(&frame.producer).copied().unwrap_or_default();
        if self.is_ready() && frame.sequence <= last.sequence {
            self.waiting.push_back((self.writer.end(), frame.producer, last.sequence));
            return Offer::Duplicate;
        }
        let ready = self.is_ready();
        if ready && !frame.acks && frame.sequence > last.sequence.next() {
            self.lose(frame.producer, last.time_ns + 1, frame.time_ns);
        }
        let in_order = !frame.acks || frame.sequence == last.sequence.next();
        let taken = ready && in_order && self.record_loss(frame.producer);
        let position = taken.then(|| self.writer.append(&frame.bytes, self.clock.wall())).and_then(Result::ok);
        let Some(position) = position else {
            if !frame.acks {
                self.lose(frame.producer, frame.time_ns, frame.time_ns + 1);
            }
            return Offer::Refused;
        };
        self.dedupe.insert(frame.producer, Last { sequence: frame.sequence, time_ns: frame.time_ns });
        if frame.acks {
            self.waiting.push_back((position, frame.producer, frame.sequence));
        }
        Offer::Taken(position)
    }

    fn step(&mut self, acknowledged: &mut Vec<(ProducerId, Sequence)>) {
        let now_ns = self.clock.monotonic_ns();
        self.disk.set_now(now_ns);
        let dedupe = &self.dedupe;
        let mut prologue = |builder: &mut Builder, part: usize| {
            // Parts without consequence before: what is offered while the head is made must survive.
            if part < HEAD_PARTS {
                let sources = Sources { sources: vec![SourceRecord { id: part as u32, name: "rig".repeat(part + 1) }] };
                let _ = builder.sources(ProducerId::SELF, Sequence(0), &sources);
                return true;
            }
            let marks = dedupe.iter().map(|(p, last)| ProducerMark { producer: p.0, sequence: last.sequence.0 });
            let producers = Producers { producers: marks.collect() };
            // A few producers always fit into a frame.
            let _ = builder.producers(ProducerId::SELF, Sequence(0), &producers);
            false
        };
        self.writer.poll(now_ns, self.clock.wall(), &mut self.disk, &mut prologue);
        // Now and then, so that segments begin in all three kinds of files; never where damage is to be seen
        // anywhere in a file: behind a segment's last batch it is none.
        if self.retains
            && self.writer.segment_count().is_multiple_of(3)
            && let Some(file) = self.writer.wants_prepared()
        {
            let made = self.disk.prepare(file, self.segment_bytes);
            self.writer.prepared(file, made);
        }
        let durable = self.writer.durable();
        while let Some((_, producer, sequence)) = self.waiting.pop_front_if(|(position, ..)| *position <= durable) {
            acknowledged.push((producer, sequence));
        }
        let lost: Vec<ProducerId> = self.losses.keys().copied().collect();
        if self.is_ready() && !self.writer.is_busy() {
            lost.into_iter().all(|producer| self.record_loss(producer));
        }
    }

    fn query(&self) -> Result<(Contents, Vec<Fence>), String> {
        let spans = self.writer.spans(TimestampNs(i64::MIN), TimestampNs(i64::MAX));
        let mut contents = Contents::default();
        let report = log::read(&self.disk, &spans, &mut |frame, position| {
            take(&mut contents, frame, position);
            ControlFlow::Continue(())
        });
        report.map(|report| (contents, report.fences)).map_err(|error| error.to_string())
    }

    fn oldest(&self) -> LogPosition {
        self.writer.oldest()
    }

    fn is_settled(&self) -> bool {
        let durable = self.writer.durable() == self.writer.end();
        durable && self.losses.is_empty() && self.waiting.is_empty() && self.writer.health().is_good()
    }

    fn close(&mut self) {
        self.writer.close();
    }

    fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }

    fn disk(&mut self) -> &mut SimDisk {
        &mut self.disk
    }

    fn crash(self, crash: Crash) -> SimDisk {
        self.disk.crash(crash)
    }
}

/// Rebuilds the dedupe state from a stored frame.
fn learn(dedupe: &mut BTreeMap<ProducerId, Last>, frame: Frame<'_>) {
    let mut raise = |producer: ProducerId, sequence: Sequence, time_ns: i64| {
        let last: &mut Last = dedupe.entry(producer).or_default();
        if sequence > last.sequence {
            last.sequence = sequence;
        }
        last.time_ns = last.time_ns.max(time_ns);
    };
    match frame.view() {
        View::Producers(producers) => {
            for mark in producers.producers.iter() {
                raise(ProducerId(mark.producer.to_native()), Sequence(mark.sequence.to_native()), 0);
            }
        }
        View::Scan(scan) => {
            let time_ns = scan.source_time().map_or(0, |time| time.0);
            raise(frame.producer(), frame.sequence(), time_ns);
        }
        View::Samples(samples) => {
            let time_ns = samples.iter().filter_map(|(_, time, ..)| time).map(|time| time.0).max();
            raise(frame.producer(), frame.sequence(), time_ns.unwrap_or(0));
        }
        _ => {}
    }
}

/// Notes a stored frame.
pub(crate) fn take(contents: &mut Contents, frame: Frame<'_>, position: LogPosition) {
    match frame.view() {
        View::Gap(gap) => {
            contents.gaps.push(StoredGap { source: gap.source, from_ns: gap.from.0, to_ns: gap.to.0 });
        }
        _ if frame.kind() == FrameKind::Scan || frame.kind() == FrameKind::Samples => {
            let mut bytes = frame.bytes().to_vec();
            frame::stamp_received(&mut bytes, TimestampNs(0));
            contents.frames.push(Stored { producer: frame.producer(), sequence: frame.sequence(), position, bytes });
        }
        _ => {}
    }
}
