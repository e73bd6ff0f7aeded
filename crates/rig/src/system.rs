//! What a system that takes frames directly must offer to be run by the rig: the log alone. The whole
//! way from a connection to the disk is `stack`.

use log::{Fence, Truncated};
use model::{LogPosition, ProducerId, Sequence, SourceId};
use sim::{Crash, SimClock, SimDisk};
use std::rc::Rc;

/// A frame as a producer sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Who sent it.
    pub producer: ProducerId,
    /// Its number.
    pub sequence: Sequence,
    /// Its source time, ns; unique and growing within the producer.
    pub time_ns: i64,
    /// Whether it is kept until it is acknowledged.
    pub acks: bool,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// What became of an offered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Taken, up to this position; an acknowledgement follows when it is durable.
    Taken(LogPosition),
    /// Was there already.
    Duplicate,
    /// Not taken. A producer with acknowledgements sends it again; of one without, the system
    /// records the loss as a gap.
    Refused,
}

/// A stored frame, as recovery or a query gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Who sent it.
    pub producer: ProducerId,
    /// Its number.
    pub sequence: Sequence,
    /// Position after it.
    pub position: LogPosition,
    /// The frame without its time of arrival.
    pub bytes: Vec<u8>,
}

/// A stored gap record: `[from, to)` of a source's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredGap {
    /// Whose.
    pub source: SourceId,
    /// From this time on, ns.
    pub from_ns: i64,
    /// Until just before this time, ns.
    pub to_ns: i64,
}

/// All that a system has stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Telemetry, in the order in which it is stored.
    pub frames: Vec<Stored>,
    /// Gap records, likewise.
    pub gaps: Vec<StoredGap>,
}

/// What a start found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Everything that was recovered.
    pub contents: Contents,
    /// Damage that was reported.
    pub rot: Vec<Fence>,
    /// The torn tail that was cut.
    pub truncated: Option<Truncated>,
    /// Where the log ends.
    pub end: LogPosition,
}

/// How a system is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Group commit, ns.
    pub sync_ns: u64,
    /// Batches of so many bytes fill whole blocks.
    pub whole_blocks_from: usize,
    /// Bytes above which the log alone removes its oldest segments; 0: it keeps all.
    pub keep_bytes: u64,
}

/// A start that failed, with the disk as it left it.
#[derive(Debug)]
pub struct StartError {
    /// What it said.
    pub why: String,
    /// The disk.
    pub disk: SimDisk,
}

/// A system under test.
pub trait System: Sized {
    /// Starts on a disk, empty or after a crash.
    ///
    /// # Errors
    /// [`StartError`] where it refuses to start.
    fn start(disk: SimDisk, clock: Rc<SimClock>, setup: Setup) -> Result<(Self, Found), Box<StartError>>;

    /// Where a producer goes on after a connection: its last durable sequence. `None` while the
    /// system does not know yet.
    fn resume(&self, producer: ProducerId) -> Option<Sequence>;

    /// Offers a frame.
    fn offer(&mut self, frame: &Sent) -> Offer;

    /// One duty cycle; appends what is acknowledged now, cumulative for each producer.
    fn step(&mut self, acknowledged: &mut Vec<(ProducerId, Sequence)>);

    /// Everything durable, as a query reads it, with the damage that it met.
    ///
    /// # Errors
    /// What the query said.
    fn query(&self) -> Result<(Contents, Vec<Fence>), String>;

    /// Retention may have removed everything up to here.
    fn oldest(&self) -> LogPosition;

    /// Whether nothing waits to become durable and the disk is well.
    fn is_settled(&self) -> bool;

    /// Stops in order; done when [`is_closed`](Self::is_closed).
    fn close(&mut self);

    /// Whether stopping is done.
    fn is_closed(&self) -> bool;

    /// The disk under it, to show faults.
    fn disk(&mut self) -> &mut SimDisk;

    /// Crashes; answers the disk that is left.
    fn crash(self, crash: Crash) -> SimDisk;
}
