//! The helper of a core: a thread for what cannot yield (compression, encoding, long queries).
//!
//! It runs on the shard's own core at idle priority, so the kernel lets the shard preempt it at
//! once and it gets what the shard leaves over. Where that is nothing because lower lanes never rest,
//! the shard naps for it (`cycle`, S6). One job at a time, in order.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
};

use model::ShardId;

use crate::thread::panic_text;

/// Jobs that may wait.
const JOBS_MAX: usize = 256;

type HelperJob = Box<dyn FnOnce() + Send>;

/// Gives jobs to a core's helper thread. The thread ends when the last of these is dropped and its
/// jobs are done.
#[derive(Clone)]
pub struct Helper {
    jobs: SyncSender<HelperJob>,
    under_way: Arc<UnderWay>,
}

/// What every job holds until it is done, beside the one that stands here.
#[derive(Default)]
struct UnderWay(Arc<()>);

/// The helper has as many jobs waiting as it may: shed, or try again later. The job was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelperFull;

impl fmt::Display for HelperFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{JOBS_MAX} background jobs are waiting on this core already")
    }
}

impl std::error::Error for HelperFull {}

impl Helper {
    pub(crate) fn start(shard: ShardId, core: Option<usize>) -> io::Result<Helper> {
        let (jobs, waiting) = sync_channel::<HelperJob>(JOBS_MAX);
        std::thread::Builder::new().name(format!("helper-{shard}")).spawn(move || {
            if let Some(core) = core
                && let Err(error) = uring::thread::pin_to_core(core)
            {
                tracing::warn!(shard = shard.0, %error, "the background helper runs on any core");
            }
            if let Err(error) = uring::thread::idle_priority() {
                tracing::warn!(shard = shard.0, %error, "the background helper runs at normal priority");
            }
            for job in waiting {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                    tracing::error!(shard = shard.0, story = panic_text(&*panic), "a background job panicked");
                }
            }
        })?;
        Ok(Helper { jobs, under_way: Arc::default() })
    }

    /// Has a job run in the background.
    ///
    /// # Errors
    /// [`HelperFull`]
    pub fn run(&self, job: Box<dyn FnOnce() + Send>) -> Result<(), HelperFull> {
        let held = Arc::clone(&self.under_way.0);
        let counted = move || {
            let _held = held;
            job();
        };
        self.jobs.try_send(Box::new(counted)).map_err(|refused| match refused {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => HelperFull,
        })
    }
}

impl Helper {
    /// Whether a job waits or runs.
    pub(crate) fn has_work(&self) -> bool {
        Arc::strong_count(&self.under_way.0) > 1
    }
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helper").finish_non_exhaustive()
    }
}
