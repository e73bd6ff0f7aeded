//! The seam to the pass: what the wiring implements, and what it may answer.

use frame::Frame;
use model::{LogPosition, PathError, ProducerId, Refused, Sequence, ShardId, TagId, TextId, TimestampNs, ValueKind};
use std::fmt;

/// Where a session's frames go: the pass and the log of its shard. No call blocks.
pub trait FrameSink {
    /// A producer introduces itself for a source. Called for every `Hello`, also of a producer that
    /// is known; the producer belongs to that source from then on.
    ///
    /// # Errors
    /// [`Refusal`]; with `WrongShard` the connection is handed over, with `Later` it waits, with
    /// anything else it is refused.
    fn open(&mut self, producer: ProducerId, source: &str) -> Result<Opened, Refusal>;

    /// Makes tags (names below the source's path) and texts known; the same name gives the same
    /// number for ever, and tags that are all new get consecutive ones. Answers in order, and the
    /// position that must be durable before the producer may hear it.
    ///
    /// # Errors
    /// [`Refusal`]; then none of them was registered. With `Later` it is asked again.
    fn register(
        &mut self,
        producer: ProducerId,
        source: &str,
        tags: &[TagWanted<'_>],
        texts: &[&str],
    ) -> Result<Registered, Refusal>;

    /// Takes one telemetry frame through the pass into the log. Frames at or below the producer's
    /// last stored sequence are duplicates and change nothing; a hole in the sequences becomes a gap
    /// record here.
    ///
    /// # Errors
    /// [`TakeError`]; then nothing of the frame was taken.
    fn take(&mut self, frame: Frame<'_>, received: TimestampNs) -> Result<Taken, TakeError>;

    /// A fire-and-forget frame that [`take`](Self::take) refused is given up: to be counted by source
    /// and recorded as a gap ([`model::GapReason::Shed`]). Its sequence will not come again.
    fn shed(&mut self, frame: Frame<'_>, received: TimestampNs);

    /// A producer's connection ended; the reason is for a person. Not called for datagrams.
    fn closed(&mut self, producer: ProducerId, reason: &str) {
        let _ = (producer, reason);
    }

    /// Everything of the log below this position is on disk.
    fn durable(&self) -> LogPosition;

    /// Whether [`take`](Self::take) would say `Busy` now.
    fn is_busy(&self) -> bool;
}

/// Answer to a good `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Path below which the producer may register tags.
    pub path: String,
    /// Highest sequence of this producer that the log has taken, durable or not; 0 for none.
    pub last: Sequence,
    /// Position that must be durable for `last` to be: 0 where `last` is 0, and the log's end is
    /// always right otherwise. The `Welcome`
    /// of a producer that wants acknowledgements waits for it, so that a producer that restarts
    /// without its memory cannot take numbers again that are on their way to the disk.
    pub position: LogPosition,
    /// Tags that the source may have in all.
    pub tags_max: u32,
    /// Whether the source takes datagrams.
    pub datagrams: bool,
}

/// One tag that a producer wants to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagWanted<'a> {
    /// Path below the source's path; not yet checked.
    pub name: &'a str,
    /// What its values are.
    pub kind: ValueKind,
    /// Engineering unit; empty where there is none.
    pub unit: &'a str,
}

/// Numbers for what was asked, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// One for each tag.
    pub tags: Vec<TagId>,
    /// One for each text.
    pub texts: Vec<TextId>,
    /// What gives these numbers their meaning lies below this position of the log. Registrations of
    /// many connections that wait for one sync share it.
    pub position: LogPosition,
}

/// What became of a frame. Either way it may be acknowledged once `position` is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new and on its way to the disk.
    Stored {
        /// Everything of it lies below this position of the log.
        position: LogPosition,
    },
    /// It was taken before.
    Duplicate {
        /// The first copy lies below this position; the log's end is always right.
        position: LogPosition,
    },
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeError {
    /// The pass takes nothing now (`Busy`, `Disk`: held or shed), or no more (`Closed`, `Limit`).
    Refused(Refused),
    /// The producer has not introduced itself to this shard.
    UnknownProducer,
    /// A tag of the frame does not exist or belongs to another source.
    UnknownTag {
        /// Its number.
        tag: TagId,
    },
    /// A value is not what its tag's kind allows, e.g. a text number that was never registered.
    BadValue {
        /// The tag's number.
        tag: TagId,
    },
}

impl From<Refused> for TakeError {
    fn from(refused: Refused) -> Self {
        TakeError::Refused(refused)
    }
}

impl fmt::Display for TakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TakeError::Refused(refused) => refused.fmt(f),
            TakeError::UnknownProducer => f.write_str("this producer has not said Hello here; connect again"),
            TakeError::UnknownTag { tag } => {
                write!(f, "tag number {tag} is not one of this source; register the tag's name and use the answer")
            }
            TakeError::BadValue { tag } => {
                write!(f, "a value of tag number {tag} does not fit its kind; text values are numbers from a Register")
            }
        }
    }
}

impl std::error::Error for TakeError {}

/// Why a `Hello` or a `Register` is refused: what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No native source has this name.
    UnknownSource {
        /// The name asked for.
        name: String,
        /// Names of the native sources that there are.
        known: Vec<String>,
    },
    /// The source lives on another shard. The connection is handed over; no producer sees this.
    WrongShard(ShardId),
    /// This producer id already belongs to another source.
    OtherSource {
        /// The producer.
        producer: ProducerId,
        /// The source that it belongs to.
        source: String,
    },
    /// A limit would be passed.
    Limit {
        /// What there is too much of, e.g. `tags of source vibration-rig (tags_max)`.
        what: String,
        /// How many are allowed.
        limit: u64,
    },
    /// A tag's name is no path.
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: PathError,
    },
    /// A tag of this name exists with another kind.
    OtherKind {
        /// The name.
        name: String,
        /// The kind that it has.
        has: ValueKind,
        /// The kind asked for.
        wanted: ValueKind,
    },
    /// The log takes nothing at the moment; the session holds the frame and asks again.
    Later(Refused),
    /// Shutting down.
    Closing,
}

impl Refusal {
    /// Whether the producer should try again by itself.
    #[must_use]
    pub const fn retry(&self) -> bool {
        match self {
            Refusal::WrongShard(_) | Refusal::Later(_) | Refusal::Closing => true,
            Refusal::UnknownSource { .. }
            | Refusal::OtherSource { .. }
            | Refusal::Limit { .. }
            | Refusal::BadName { .. }
            | Refusal::OtherKind { .. } => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UnknownSource { name, known } if known.is_empty() => write!(
                f,
                "there is no native source {:?}, nor any other: add a [[source]] with kind = \"native\" to the \
                 server's configuration",
                clip(name)
            ),
            Refusal::UnknownSource { name, known } => {
                write!(f, "there is no native source {:?}; this server has: ", clip(name))?;
                for (i, name) in known.iter().take(8).enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, clip(name))?;
                }
                let more = known.len().saturating_sub(8);
                if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
            }
            Refusal::WrongShard(shard) => write!(f, "the source lives on shard {shard}; connect again"),
            Refusal::OtherSource { producer, source } => write!(
                f,
                "producer {producer} belongs to source {:?}; give each program a producer id of its own",
                clip(source)
            ),
            Refusal::Limit { what, limit } => {
                write!(f, "too many {what}: at most {limit} are allowed; use fewer, or raise it in the configuration")
            }
            Refusal::BadName { name, problem } => write!(f, "{:?} cannot name a tag: {problem}", clip(name)),
            Refusal::OtherKind { name, has, wanted } => write!(
                f,
                "tag {:?} exists with values of kind {}, not {}; use that kind or another name",
                clip(name),
                has.name(),
                wanted.name()
            ),
            Refusal::Later(refused) => refused.fmt(f),
            Refusal::Closing => f.write_str("Millstream is shutting down; connect again when it is back"),
        }
    }
}

impl std::error::Error for Refusal {}

/// As much of a peer's text as belongs into a message.
pub(crate) fn clip(text: &str) -> &str {
    match text.char_indices().nth(80) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}
