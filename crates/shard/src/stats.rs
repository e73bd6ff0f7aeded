//! What a shard says about itself: snapshots of its histograms, published for any thread.

use model::ShardId;

use crate::lane::Lane;

/// Upper bounds of the buckets that times are shown in, in nanoseconds: half decades from 1 µs to
/// 1 s, then everything. The same everywhere, so that shards and releases can be added up.
pub const BUCKETS_NS: [u64; 14] = [
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
    u64::MAX,
];

/// A distribution of times in nanoseconds, since the shard started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// How many were measured.
    pub count: u64,
    /// Half took no longer.
    pub p50_ns: u64,
    /// 90 % took no longer.
    pub p90_ns: u64,
    /// 99 % took no longer.
    pub p99_ns: u64,
    /// 99.9 % took no longer.
    pub p999_ns: u64,
    /// 99.99 % took no longer.
    pub p9999_ns: u64,
    /// None took longer.
    pub max_ns: u64,
    /// All of them together.
    pub sum_ns: u64,
    /// How many lie in each bucket of [`BUCKETS_NS`] alone.
    pub buckets: [u64; BUCKETS_NS.len()],
}

/// One stage or kind of task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageStats {
    /// Its name.
    pub name: &'static str,
    /// Its lane.
    pub lane: Lane,
    /// How long its polls took; of a telemetry stage, those that did work.
    pub poll: Distribution,
    /// Polls that took longer than the quantum.
    pub overruns: u64,
    /// Times that its polls asked for memory; 0 unless the program counts ([`ring::CountingAllocator`]).
    pub allocations: u64,
}

/// A shard's state at one moment; not older than the shard's last busy 250 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStats {
    /// Which shard.
    pub shard: ShardId,
    /// Stages and kinds of tasks, in the order in which they first came up.
    pub stages: Vec<StageStats>,
    /// Time between two looks at the telemetry stages while awake: the bound on what telemetry has
    /// to wait for everything else.
    pub look_interval: Distribution,
    /// From the time that a frame's sender gave it to when its values could be read
    /// ([`ShardContext::visible`](crate::ShardContext::visible)).
    pub frame_to_visible: Distribution,
    /// Duty cycles so far.
    pub cycles: u64,
    /// Times that the thread went to sleep.
    pub sleeps: u64,
    /// Times that it left the core to its helper while lower lanes had work.
    pub naps: u64,
    /// Posted jobs that were run.
    pub jobs: u64,
    /// Processor time of the thread.
    pub cpu_ns: u64,
    /// Times that the thread asked for memory; 0 unless the program counts.
    pub allocations: u64,
}

impl ShardStats {
    pub(crate) fn empty(shard: ShardId) -> ShardStats {
        ShardStats {
            shard,
            stages: Vec::new(),
            look_interval: Distribution::default(),
            frame_to_visible: Distribution::default(),
            cycles: 0,
            sleeps: 0,
            naps: 0,
            jobs: 0,
            cpu_ns: 0,
            allocations: 0,
        }
    }

    /// A stage or kind of task by its name.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&StageStats> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}
