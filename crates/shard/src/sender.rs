//! The way to a shard from any thread.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use model::ShardId;
use ring::{Flag, Inbox, InboxSender, inbox};
use uring::WakeFd;

use crate::{context::ShardContext, stats::ShardStats};

/// What is posted to a shard: run once, on its thread, between two looks at telemetry. It should
/// take microseconds; what takes longer spawns a task.
pub type Job = Box<dyn FnOnce(&ShardContext) + Send>;

/// Why a job was not taken. The job was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostError {
    /// The inbox is full: the caller sheds or tries again later.
    Full,
    /// The shard has ended.
    Ended,
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PostError::Full => "the shard's inbox is full",
            PostError::Ended => "the shard has ended",
        })
    }
}

impl std::error::Error for PostError {}

/// Speaks to a shard, from any thread.
#[derive(Clone)]
pub struct ShardSender {
    inbox: InboxSender<Job>,
    shared: Arc<Shared>,
}

struct Shared {
    id: ShardId,
    wake: WakeFd,
    closing: Flag,
    ended: Flag,
    /// Held for the length of a pointer copy; the shard only tries to take it.
    stats: Mutex<Arc<ShardStats>>,
}

impl ShardSender {
    pub(crate) fn new(id: ShardId, inbox_jobs: usize, wake: WakeFd) -> (ShardSender, Inbox<Job>) {
        let ringer = wake.clone();
        let (sender, receiver) = inbox(inbox_jobs, move || ringer.wake());
        let stats = Mutex::new(Arc::new(ShardStats::empty(id)));
        let shared = Arc::new(Shared { id, wake, closing: Flag::new(), ended: Flag::new(), stats });
        (ShardSender { inbox: sender, shared }, receiver)
    }

    /// Which shard this speaks to.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.shared.id
    }

    /// Has a job run on the shard.
    ///
    /// # Errors
    /// [`PostError`]
    pub fn post(&self, job: Job) -> Result<(), PostError> {
        if self.shared.ended.get() {
            return Err(PostError::Ended);
        }
        self.inbox.push(job).map_err(|_| PostError::Full)
    }

    /// What the shard last said about itself.
    #[must_use]
    pub fn stats(&self) -> Arc<ShardStats> {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins the shard's end: its stages take nothing new, finish, and the thread ends (S5).
    pub fn close(&self) {
        self.shared.closing.set(true);
        self.shared.wake.wake();
    }

    /// Has the shard look at its stages: for what another thread left them in a queue of their own.
    pub fn wake(&self) {
        self.shared.wake.wake();
    }

    pub(crate) fn closing(&self) -> bool {
        self.shared.closing.get()
    }

    pub(crate) fn set_ended(&self) {
        self.shared.ended.set(true);
    }

    /// Publishes unless a reader is just copying the pointer; then next time.
    pub(crate) fn publish(&self, stats: ShardStats) {
        if let Ok(mut published) = self.shared.stats.try_lock() {
            *published = Arc::new(stats);
        }
    }
}

impl fmt::Debug for ShardSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardSender").field("shard", &self.shared.id).finish_non_exhaustive()
    }
}
