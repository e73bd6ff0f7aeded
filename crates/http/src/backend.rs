//! The port: what HTTP asks of the rest of Millstream, and nothing else.
//!
//! Purpose: the wiring implements [`Backend`] over the shards, a test implements it over a few
//! vectors, and neither side sees the other's types.
//!
//! Invariants
//! - B1: [`Backend::ingest`] resolves to `Ok` only after the samples are durable; HTTP answers 204
//!   on nothing else.
//! - B2: the calls that are not futures read shared memory and never wait for another shard.
//! - B3: what is answered is bounded by the query's `limit`; the rest is had with `next`.
//!
//! It deliberately knows no HTTP: no status code, no header, no JSON.

use futures_util::future::BoxFuture;
use hdrhistogram::Histogram;
use model::{Glob, Quality, Refused, TagPath, TimestampNs, Value, ValueKind};
use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

/// A short text that is mostly known when Millstream is built.
pub type Word = Cow<'static, str>;

/// What is known of a tag beside its values. Shared, so that an answer costs no copy of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TagMeta {
    /// Its path.
    pub path: String,
    /// What its values are.
    pub kind: ValueKind,
    /// Engineering unit; empty where there is none.
    pub unit: String,
    /// Normal range in engineering units, low and high.
    pub range: Option<[f64; 2]>,
    /// Name of its source.
    pub source: String,
    /// The shard that owns it.
    pub shard: u16,
    /// A value that was not confirmed for longer than this is stale, in nanoseconds; `None` where
    /// nobody knows how often it should come.
    pub stale_after_ns: Option<i64>,
}

/// The latest known of one tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// Which tag.
    pub tag: Arc<TagMeta>,
    /// Server time of the last stored sample.
    pub time: TimestampNs,
    /// Time that the device gave to it, where it gave one.
    pub source_time: Option<TimestampNs>,
    /// The value; `None` where none was ever received.
    pub value: Option<Value>,
    /// How far to trust it.
    pub quality: Quality,
    /// Server time at which the source last confirmed it, also where the deadband kept it from
    /// being stored. Its age is what tells stale from steady.
    pub seen: TimestampNs,
}

/// Where a page of samples ended. The time is that of the last sample given; the position is the
/// backend's own (two samples may share a time) and means nothing to anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Server time of the last sample that was given.
    pub time: TimestampNs,
    /// What tells samples of the same time apart, e.g. a log position or a count.
    pub position: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time.0, self.position)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Cursor, ()> {
        let (time, position) = text.split_once('.').ok_or(())?;
        let time = TimestampNs(time.parse().map_err(|_| ())?);
        Ok(Cursor { time, position: position.parse().map_err(|_| ())? })
    }
}

/// Which samples are wanted: server time in `[from, to)`, oldest first.
#[derive(Clone, Debug)]
pub struct SamplesQuery {
    /// The tag's path.
    pub tag: String,
    /// From this server time on.
    pub from: TimestampNs,
    /// Until just before this server time.
    pub to: TimestampNs,
    /// At most so many.
    pub limit: usize,
    /// Go on behind this place.
    pub after: Option<Cursor>,
}

/// One stored sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Server time.
    pub time: TimestampNs,
    /// The device's time, where it gave one.
    pub source_time: Option<TimestampNs>,
    /// The value; `None` where there was only a quality.
    pub value: Option<Value>,
    /// How far to trust it.
    pub quality: Quality,
}

/// A time without data, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct GapInfo {
    /// Name of the source whose data is missing.
    pub source: String,
    /// From this server time on.
    pub from: TimestampNs,
    /// Until just before this server time.
    pub to: TimestampNs,
    /// Why, e.g. `queue-overflow` ([`model::GapReason::name`]).
    pub reason: Word,
    /// How many samples or polls are missing, where that is known.
    pub count: Option<u64>,
}

/// Samples in time order, the gaps that touch the asked time, and where to go on.
#[derive(Clone, Debug, Default)]
pub struct SamplesAnswer {
    /// Oldest first.
    pub samples: Vec<Sample>,
    /// Oldest first.
    pub gaps: Vec<GapInfo>,
    /// Set where the limit cut the answer short.
    pub next: Option<Cursor>,
}

/// Which rollup windows are wanted: those that start in `[from, to)`, oldest first.
#[derive(Clone, Debug)]
pub struct RollupsQuery {
    /// The tag's path.
    pub tag: String,
    /// From this server time on; a multiple of `every_ns`.
    pub from: TimestampNs,
    /// Until just before this server time.
    pub to: TimestampNs,
    /// Width of a window in nanoseconds: a whole number of seconds, at least 1 s.
    pub every_ns: i64,
    /// Whether the figures beyond count, min, max, average and last are wanted, too; they may need the
    /// log to be read.
    pub all: bool,
}

/// One window of `every_ns` that holds at least one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RollupRow {
    /// Start of the window.
    pub start: TimestampNs,
    /// Samples in it.
    pub count: u64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Arithmetic mean.
    pub average: f64,
    /// Last value.
    pub last: f64,
    /// First value; NaN where it was not asked for, as the following are.
    pub first: f64,
    /// How far a counter went (OPC 10000-13, Delta; a decrease counts from zero).
    pub delta: f64,
    /// Mean weighted by how long each value held (TimeAverage).
    pub time_average: f64,
    /// Share of the window that was good, 0 to 100 (PercentGood).
    pub percent_good: f64,
}

/// Windows in time order and the gaps that touch the asked time.
#[derive(Clone, Debug, Default)]
pub struct RollupsAnswer {
    /// Oldest first; windows without samples are absent.
    pub rows: Vec<RollupRow>,
    /// Oldest first.
    pub gaps: Vec<GapInfo>,
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// There is no such tag.
    UnknownTag {
        /// A known path that looks like it.
        nearest: Option<String>,
    },
    /// The tag's values are text; there is nothing to average.
    NotNumeric,
    /// Too many queries wait; try again.
    Busy,
    /// The store could not be read; what happened, in words.
    Failed(String),
    /// Millstream is shutting down.
    Closed,
}

/// One sample that came in over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct IngestSample {
    /// The tag's path.
    pub tag: TagPath,
    /// Source time; `None` means now.
    pub time: Option<TimestampNs>,
    /// What.
    pub value: Value,
    /// How far to trust it.
    pub quality: Quality,
}

/// Why an ingest was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngestError {
    /// One sample cannot be taken.
    Sample {
        /// Its place in the list, 0-based.
        index: usize,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// The shard takes nothing now.
    Refused(Refused),
}

/// A source and how it is.
#[derive(Clone, Debug)]
pub struct SourceInfo {
    /// Its configured name.
    pub name: String,
    /// `modbus`, `opcua` or `native`.
    pub kind: Word,
    /// Path below which its tags stand.
    pub path: String,
    /// Where it is met; empty for sources that come to us.
    pub address: String,
    /// The shard that owns it.
    pub shard: u16,
    /// `starting`, `running`, `degraded` or `down` ([`model::SourceState::word`]).
    pub state: Word,
    /// What happened and what to look at; empty while it runs.
    pub reason: String,
    /// Since when it is so.
    pub since: TimestampNs,
    /// Server time of its last data.
    pub last_data: Option<TimestampNs>,
    /// How many tags it has.
    pub tags: usize,
    /// Counters by name, ever growing. Where there is one named `samples`, the dashboard shows its rate.
    pub counters: Vec<(String, u64)>,
    /// Figures as they are now, by name: what was found out of a device.
    pub figures: Vec<(String, u64)>,
}

/// How a shard's log is.
#[derive(Clone, Debug)]
pub struct LogInfo {
    /// One word: `healthy`, `full`, `failing`, …
    pub health: Word,
    /// What happened and what to do; empty while it is healthy.
    pub reason: String,
    /// Everything up to this position is on disk.
    pub durable: u64,
    /// Everything up to this position was appended.
    pub end: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Syncs so far.
    pub syncs: u64,
}

/// Upper bounds of the buckets that stage times are shown in, in nanoseconds: half decades from
/// 1 µs to 1 s. The same everywhere, so that shards and releases can be added up.
pub const BUCKETS_NS: [u64; 13] = [
    1_000,
    3_000,
    10_000,
    30_000,
    100_000,
    300_000,
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
];

/// How long the polls of one stage took.
#[derive(Clone, Debug)]
pub struct StageInfo {
    /// Its lane: `telemetry`, `request`, `event`, `batch`.
    pub lane: Word,
    /// Its name.
    pub name: Word,
    /// How often it was polled.
    pub polls: u64,
    /// Half of its polls took at most this.
    pub p50_ns: u64,
    /// 90 % took at most this.
    pub p90_ns: u64,
    /// 99 % took at most this.
    pub p99_ns: u64,
    /// 99.9 % took at most this.
    pub p999_ns: u64,
    /// 99.99 % took at most this.
    pub p9999_ns: u64,
    /// The longest: the bound on how long it kept the others waiting.
    pub max_ns: u64,
    /// All of them together.
    pub sum_ns: u64,
    /// Upper bound ([`BUCKETS_NS`], then `u64::MAX`) and how many polls lie in that bucket alone.
    pub buckets: Vec<(u64, u64)>,
    /// Times that its polls asked for memory, where the program was built to count that.
    pub allocations: Option<u64>,
}

impl StageInfo {
    /// Reads a histogram of nanoseconds.
    #[must_use]
    pub fn from_histogram(lane: impl Into<Word>, name: impl Into<Word>, histogram: &Histogram<u64>) -> StageInfo {
        let mut buckets: Vec<(u64, u64)> = BUCKETS_NS.iter().chain([&u64::MAX]).map(|upper| (*upper, 0)).collect();
        for value in histogram.iter_recorded() {
            let at = buckets.partition_point(|(upper, _)| *upper < value.value_iterated_to());
            if let Some(bucket) = buckets.get_mut(at) {
                bucket.1 += value.count_at_value();
            }
        }
        StageInfo {
            lane: lane.into(),
            name: name.into(),
            polls: histogram.len(),
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            p9999_ns: histogram.value_at_quantile(0.9999),
            max_ns: histogram.max(),
            sum_ns: (histogram.mean() * histogram.len() as f64) as u64,
            buckets,
            allocations: None,
        }
    }
}

/// Bytes of memory that the tags of a shard take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TagBytes {
    /// Names, kinds, units, ranges, owners, and the index by name.
    pub definitions: usize,
    /// Latest values.
    pub latest: usize,
    /// Windows of rollups, open and past.
    pub rollups: usize,
}

/// What receiving native frames asks of the kernel, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveInfo {
    /// Frames taken.
    pub frames: u64,
    /// System calls made to receive them and to acknowledge: `io_uring_enter`, or those of epoll.
    pub calls: u64,
    /// Completions that these brought, or sockets found ready.
    pub completions: u64,
}

/// One shard and how it does.
#[derive(Clone, Debug)]
pub struct CoreInfo {
    /// Its number.
    pub shard: u16,
    /// The core that its thread is pinned to, where it is.
    pub core: Option<usize>,
    /// `io_uring` or `epoll`.
    pub io: &'static str,
    /// Samples taken in a second, over the last seconds.
    pub samples_per_second: f64,
    /// Frames taken in a second.
    pub frames_per_second: f64,
    /// Frame bytes taken in a second.
    pub bytes_per_second: f64,
    /// Samples taken since the start.
    pub samples_total: u64,
    /// Memory that its tags take.
    pub tag_bytes: TagBytes,
    /// Its log.
    pub log: LogInfo,
    /// What receiving native frames asks of the kernel.
    pub receive: ReceiveInfo,
    /// Times that its thread asked for memory, where the program was built to count that.
    pub allocations: Option<u64>,
    /// Its stages.
    pub stages: Vec<StageInfo>,
    /// The time between two looks at telemetry.
    pub cycle: StageInfo,
    /// From the source time of native frames to when their values can be read. Says something where
    /// the sender's clock and this machine's agree.
    pub frame_to_visible: StageInfo,
}

/// The switches of the demo's plant.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Demo {
    /// Names of its business systems.
    pub systems: Vec<String>,
    /// How each behaves now, as far as it was set here.
    pub modes: std::collections::BTreeMap<String, String>,
}

/// What HTTP asks of Millstream. One for the process; its calls come from any shard.
pub trait Backend: Send + Sync + 'static {
    /// Called around what takes long on the thread and cannot be divided (a system call, a text to be read or
    /// written): somebody else may have its turn.
    fn pause(&self) {}

    /// Of one part of all tags those whose path matches, in any order; `None` behind the last part. A
    /// part is as long as telemetry may wait for one call.
    fn tags(&self, glob: &Glob, part: usize) -> Option<Vec<Arc<TagMeta>>>;

    /// Of one part of all tags the latest of those whose path matches, in any order; `None` behind the
    /// last part. Reads shared memory only.
    fn latest(&self, glob: &Glob, part: usize) -> Option<Vec<Latest>>;

    /// The latest of these very tags, in their order; `None` where a path is unknown. Asked four
    /// times a second for every open stream, so override it with a look-up by path.
    fn latest_of(&self, paths: &[String]) -> Vec<Option<Latest>> {
        let one = |path: &String| {
            let glob = Glob::new(path);
            let mut parts = (0..).map_while(|part| self.latest(&glob, part));
            parts.find_map(|rows| rows.into_iter().find(|row| row.tag.path == *path))
        };
        paths.iter().map(one).collect()
    }

    /// Stored samples of one tag and the gaps in that time, from whichever shard holds them.
    ///
    /// # Errors
    /// [`QueryError`] says why there is no answer.
    fn samples(&self, query: SamplesQuery) -> BoxFuture<'static, Result<SamplesAnswer, QueryError>>;

    /// Rollup windows of one tag and the gaps in that time.
    ///
    /// # Errors
    /// [`QueryError`] says why there is no answer.
    fn rollups(&self, query: RollupsQuery) -> BoxFuture<'static, Result<RollupsAnswer, QueryError>>;

    /// Takes samples in; resolves to `Ok` once all of them are durable. A whole number is fine for
    /// a tag of kind [`ValueKind::F64`].
    ///
    /// # Errors
    /// [`IngestError::Sample`]: nothing was taken. [`IngestError::Refused`]: some shards may have
    /// taken their part; the sender sends all of it again.
    fn ingest(&self, samples: Vec<IngestSample>) -> BoxFuture<'static, Result<(), IngestError>>;

    /// Path of the native source of this name; `None` where there is none. An Influx database or
    /// bucket names one.
    fn native_prefix(&self, name: &str) -> Option<String>;

    /// Names of the native sources, for an error that helps.
    fn native_names(&self) -> Vec<String> {
        self.sources().into_iter().filter(|source| source.kind == "native").map(|source| source.name).collect()
    }

    /// Every source, in the order of the configuration.
    fn sources(&self) -> Vec<SourceInfo>;

    /// Every shard, in order.
    fn cores(&self) -> Vec<CoreInfo>;

    /// Whether Millstream can do its work.
    ///
    /// # Errors
    /// The reasons why it cannot, each a sentence.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// Configured sections whose engine is not active yet, e.g. `subscriber "cmms"`.
    fn inactive(&self) -> Vec<String>;

    /// What the demo's plant offers to break: its systems and how each is now; `None` where this is
    /// no demo.
    fn demo(&self) -> Option<Demo> {
        None
    }

    /// The plant's time zone (IANA name), which the dashboard shows its times in.
    fn time_zone(&self) -> String {
        "UTC".to_owned()
    }

    /// Millstream's version.
    fn version(&self) -> &'static str;

    /// The server's clock.
    fn now(&self) -> TimestampNs;
}
