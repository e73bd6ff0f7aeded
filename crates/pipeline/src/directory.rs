//! What other threads may see of a shard: published snapshots and lock-free cells.
//!
//! Invariant V1: readers never make the shard wait. Tables are published behind an atomic
//! pointer, the tags' in chunks of which only those are new that changed, at most once a duty cycle and only when they changed; values are seqlock cells; totals
//! are single-writer counters.

use crate::state::TagBytes;
pub use crate::tags::TagTable;
use arc_swap::ArcSwap;
use model::{ShardId, SourceState, TimestampNs};
use ring::{Counter, Flag, LatestReader};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How one source is, as last published.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// Configured name.
    pub name: Arc<str>,
    /// How it is.
    pub state: SourceState,
    /// Since when it is so.
    pub since: TimestampNs,
    /// When it last had data.
    pub last_data: Option<TimestampNs>,
    /// Its counters by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// Its figures as they are now, by name.
    pub figures: BTreeMap<&'static str, u64>,
}

/// The log as last published.
#[derive(Clone, Debug, Default)]
pub struct LogStatus {
    /// `healthy`, `full` or `failing`.
    pub word: &'static str,
    /// Why it is not good; empty otherwise.
    pub reason: String,
    /// Everything before this position is durable.
    pub durable: u64,
    /// Everything before this position was taken.
    pub end: u64,
    /// Segment files.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Completed syncs.
    pub syncs: u64,
}

/// Totals of one shard since its start. Written by the shard only.
#[derive(Default)]
pub struct Totals {
    /// Samples stored.
    pub samples: Counter,
    /// Frames stored.
    pub frames: Counter,
    /// Bytes given to the log.
    pub bytes: Counter,
    /// Readings within their deadband.
    pub suppressed: Counter,
    /// Frames that came again.
    pub duplicates: Counter,
    /// Samples refused or shed, all reasons; each is in a gap record too.
    pub refused: Counter,
    /// Gap records written.
    pub gaps: Counter,
}

/// What other threads see of one shard.
pub struct ShardView {
    /// Which.
    pub shard: ShardId,
    /// Latest values by tag number.
    pub latest: LatestReader,
    /// Totals since the start.
    pub totals: Totals,
    /// Whether recovery is done and sources run.
    pub ready: Flag,
    tags: ArcSwap<TagTable>,
    texts: ArcSwap<Vec<Arc<str>>>,
    sources: ArcSwap<Vec<SourceStatus>>,
    log: ArcSwap<LogStatus>,
    tag_bytes: ArcSwap<TagBytes>,
    feeds: ArcSwap<BTreeMap<&'static str, u64>>,
}

impl ShardView {
    /// A shard that has nothing to show yet.
    #[must_use]
    pub fn new(shard: ShardId, latest: LatestReader) -> ShardView {
        ShardView {
            shard,
            latest,
            totals: Totals::default(),
            ready: Flag::default(),
            tags: ArcSwap::default(),
            texts: ArcSwap::default(),
            sources: ArcSwap::default(),
            log: ArcSwap::default(),
            tag_bytes: ArcSwap::default(),
            feeds: ArcSwap::default(),
        }
    }

    /// Its tags.
    #[must_use]
    pub fn tags(&self) -> Arc<TagTable> {
        self.tags.load_full()
    }

    /// Its texts, by text number.
    #[must_use]
    pub fn texts(&self) -> Arc<Vec<Arc<str>>> {
        self.texts.load_full()
    }

    /// Its sources.
    #[must_use]
    pub fn sources(&self) -> Arc<Vec<SourceStatus>> {
        self.sources.load_full()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> Arc<LogStatus> {
        self.log.load_full()
    }

    /// Memory that its tags take.
    #[must_use]
    pub fn tag_bytes(&self) -> TagBytes {
        **self.tag_bytes.load()
    }

    /// Counters of the shard's native connections, by name.
    #[must_use]
    pub fn feeds(&self) -> Arc<BTreeMap<&'static str, u64>> {
        self.feeds.load_full()
    }

    pub(crate) fn publish_tag_bytes(&self, bytes: TagBytes) {
        self.tag_bytes.store(Arc::new(bytes));
    }

    pub(crate) fn publish_feeds(&self, feeds: BTreeMap<&'static str, u64>) {
        self.feeds.store(Arc::new(feeds));
    }

    pub(crate) fn publish_tags(&self, table: TagTable) {
        self.tags.store(Arc::new(table));
    }

    pub(crate) fn publish_texts(&self, texts: Vec<Arc<str>>) {
        self.texts.store(Arc::new(texts));
    }

    pub(crate) fn publish_sources(&self, sources: Vec<SourceStatus>) {
        self.sources.store(Arc::new(sources));
    }

    pub(crate) fn publish_log(&self, log: LogStatus) {
        self.log.store(Arc::new(log));
    }
}
