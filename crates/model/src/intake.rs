//! The seam between a source and the pass: what a source may say, and what it hears back.

use crate::{Gap, GapReason, LogPosition, Quality, SourceId, TagId, TimestampNs, Value, ValueKind};
use std::{
    fmt,
    task::{Context, Poll},
};

/// A tag that a source brings: checked path, kind, and what a person wants to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TagDeclaration {
    /// Its path.
    pub path: crate::TagPath,
    /// What its values are.
    pub kind: ValueKind,
    /// Engineering unit, e.g. `°C`; empty where there is none.
    pub unit: String,
    /// Normal range in engineering units, low and high.
    pub range: Option<[f64; 2]>,
    /// A change of less than this is not stored (absolute, engineering units); 0 stores everything.
    pub deadband: f64,
    /// A value within the deadband is stored again after this many nanoseconds; 0 means never.
    pub heartbeat_ns: i64,
}

/// One value of one tag, as a source read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Whose.
    pub tag: TagId,
    /// When the device says it was; `None` where it says nothing (Modbus).
    pub source_time: Option<TimestampNs>,
    /// What; `None` where there is only a quality, and the last value stands.
    pub value: Option<Value>,
    /// How far to trust it.
    pub quality: Quality,
}

/// Values of consecutive tags at one moment, all of one kind and all good: what most polls bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// Tag of the first value; value `i` is that of the tag with the number `first + i`.
    pub first: TagId,
    /// What the tags were declared as; not text.
    pub kind: ValueKind,
    /// 64 bits of each value ([`Value::bits`]).
    pub bits: &'a [u64],
}

impl Run<'_> {
    /// The same as readings.
    pub fn readings(&self) -> impl Iterator<Item = Reading> {
        let tags = (self.first.0..).map(TagId);
        tags.zip(self.bits).map(|(tag, bits)| Reading {
            tag,
            source_time: None,
            value: Value::from_bits(self.kind, *bits),
            quality: Quality::GOOD,
        })
    }
}

/// How a source is, in words that a person can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Being connected, browsed or subscribed.
    Starting {
        /// What is being done.
        doing: String,
    },
    /// Data flows.
    Running,
    /// Data flows in part; the reason says what is missing.
    Degraded {
        /// What is missing and why.
        reason: String,
    },
    /// No data; it is tried again by itself.
    Down {
        /// What happened, and what to look at.
        reason: String,
    },
}

impl SourceState {
    /// One word for it: `starting`, `running`, `degraded`, `down`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            SourceState::Starting { .. } => "starting",
            SourceState::Running => "running",
            SourceState::Degraded { .. } => "degraded",
            SourceState::Down { .. } => "down",
        }
    }

    /// The reason or activity; empty while it runs.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            SourceState::Starting { doing } => doing,
            SourceState::Running => "",
            SourceState::Degraded { reason } | SourceState::Down { reason } => reason,
        }
    }
}

/// Why the pass takes no more now. The source keeps what it can and says the rest as a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too much waits for the disk: back pressure. Try again when `poll_durable` moves.
    Busy,
    /// The disk is full or failing; goes on by itself when that is mended.
    Disk,
    /// Shutting down.
    Closed,
    /// A limit on tags or texts is reached.
    Limit,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Busy => "too much waits for the disk; slow down and try again",
            Refused::Disk => "the disk is full or failing; free space or replace it, Millstream goes on by itself",
            Refused::Closed => "Millstream is shutting down",
            Refused::Limit => "a limit on tags or texts is reached; see the limits in docs/configuration.md",
        })
    }
}

impl std::error::Error for Refused {}

/// Why a commit will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// The shard stopped before the position was durable.
    Closed,
}

/// What a source may say to its shard's pass. One per shard, on the shard's own thread; none of
/// its calls blocks or waits.
pub trait Intake {
    /// Makes a source known by its configured name; the same name gives the same id for ever.
    ///
    /// # Errors
    /// [`Refused::Limit`] where the log knows too many.
    fn source(&self, name: &str) -> Result<SourceId, Refused>;

    /// Makes tags of a source known; the same path gives the same id for ever. The ids of paths
    /// that are all new are consecutive. Answers in the order of the declarations.
    ///
    /// # Errors
    /// [`Refused::Limit`] where there are too many tags; none of them is then declared.
    fn declare(&self, source: SourceId, tags: &[TagDeclaration]) -> Result<Vec<TagId>, Refused>;

    /// Takes readings of one moment through the pass: deadband, latest value, rollup, log.
    /// Answers the position that must be durable for all of them to be.
    ///
    /// # Errors
    /// [`Refused`]: none of them was taken; the caller says what was lost as a gap.
    fn submit(&self, source: SourceId, server_time: TimestampNs, readings: &[Reading]) -> Result<LogPosition, Refused>;

    /// As [`Intake::submit`], of a run.
    ///
    /// # Errors
    /// [`Refused`]: none of them was taken.
    fn submit_run(&self, source: SourceId, server_time: TimestampNs, run: Run<'_>) -> Result<LogPosition, Refused> {
        self.submit(source, server_time, &run.readings().collect::<Vec<_>>())
    }

    /// Records a gap. Kept aside and merged while the log takes nothing, so it cannot be refused.
    fn gap(&self, gap: Gap);

    /// How the source is now; shown, and logged when the word changes.
    fn state(&self, source: SourceId, state: SourceState);

    /// Adds to a source's counter (`polls`, `timeouts`, `cycles_skipped`, `late_replies`, …);
    /// shown in `/metrics` by source and counter name.
    fn count(&self, source: SourceId, counter: &'static str, by: u64);

    /// A figure of the source as it is now (`depth`, `coalesce_gap`, …): replaces the last one of that
    /// name; shown in `/v1/sources`, and in `/metrics` by source and name.
    fn figure(&self, _source: SourceId, _name: &'static str, _value: u64) {}

    /// Ready once everything up to the position is durable.
    fn poll_durable(&self, position: LogPosition, cx: &mut Context<'_>) -> Poll<Result<(), CommitError>>;
}

/// Waits until everything up to a position is durable.
///
/// # Errors
/// [`CommitError`] where the shard stopped first.
pub async fn durable(intake: &dyn Intake, position: LogPosition) -> Result<(), CommitError> {
    std::future::poll_fn(|cx| intake.poll_durable(position, cx)).await
}

impl Gap {
    /// A gap of a whole source with a known count.
    #[must_use]
    pub const fn of_source(source: SourceId, from: TimestampNs, to: TimestampNs, reason: GapReason, count: u64) -> Gap {
        Gap { source, tags: None, from, to, reason, count: Some(count) }
    }
}
