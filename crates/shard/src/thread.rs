//! A shard's thread, from start to end.

use std::{any::Any, error::Error, fmt, io, thread::JoinHandle};

use model::ShardId;
use ring::Inbox;
use uring::{IoMode, WakeFd};

use crate::{
    context::ShardContext,
    cycle::Cycle,
    helper::Helper,
    sender::{Job, ShardSender},
    stage::Stage,
};

/// What a shard is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub id: ShardId,
    /// The core it is bound to; `None` leaves that to the kernel.
    pub core: Option<usize>,
    /// How it speaks to the kernel.
    pub mode: IoMode,
    /// A poll that takes longer is an overrun: counted, and named in the log.
    pub quantum_ns: u64,
    /// After this long [`ShardContext::need_preempt`] asks a long loop to yield.
    pub slice_ns: u64,
    /// Pieces of work that a telemetry stage does in one poll.
    pub stage_budget: usize,
    /// Telemetry goes round at most this often, and at most a quantum, before the lower lanes have
    /// their turn.
    pub telemetry_rounds_max: u32,
    /// Jobs that may wait in the inbox.
    pub inbox_jobs: usize,
    /// How long the stages may take to finish after [`ShardSender::close`].
    pub drain_ns: u64,
}

impl Settings {
    /// The settings of a shard that is not bound to a core: quantum 1 ms, slice 25 µs, stages of
    /// 32, 4 rounds, 4096 jobs, 10 s to finish.
    #[must_use]
    pub fn new(id: ShardId, mode: IoMode) -> Settings {
        Settings {
            id,
            core: None,
            mode,
            quantum_ns: 1_000_000,
            slice_ns: 25_000,
            stage_budget: 32,
            telemetry_rounds_max: 4,
            inbox_jobs: 4096,
            drain_ns: 10_000_000_000,
        }
    }
}

/// What builds a shard's stages says: the stages in the order of their polls, or why there are none.
pub type BuildResult = Result<Vec<Box<dyn Stage>>, Box<dyn Error + Send + Sync>>;

/// Why a shard ended otherwise than asked to.
#[derive(Debug)]
pub enum ShardError {
    /// It could not be started: core, ring, descriptors.
    Start {
        /// Which shard.
        shard: ShardId,
        /// What failed.
        error: io::Error,
    },
    /// Its stages could not be built.
    Build {
        /// Which shard.
        shard: ShardId,
        /// What the builder said.
        error: Box<dyn Error + Send + Sync>,
    },
    /// A stage or a posted job panicked.
    Panicked {
        /// Which shard.
        shard: ShardId,
        /// The panic's message.
        message: String,
    },
    /// Stages had not finished when their time was over.
    NotDrained {
        /// Which shard.
        shard: ShardId,
        /// The stages' names.
        stages: Vec<&'static str>,
    },
}

impl fmt::Display for ShardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardError::Start { shard, error } => write!(f, "shard {shard} cannot start: {error}"),
            ShardError::Build { shard, error } => write!(f, "shard {shard} cannot start: {error}"),
            ShardError::Panicked { shard, message } => {
                write!(f, "shard {shard} stopped on a broken invariant: {message}")
            }
            ShardError::NotDrained { shard, stages } => {
                write!(f, "shard {shard} ended before these had finished: {}", stages.join(", "))
            }
        }
    }
}

impl Error for ShardError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ShardError::Start { error, .. } => Some(error),
            ShardError::Build { error, .. } => Some(&**error),
            ShardError::Panicked { .. } | ShardError::NotDrained { .. } => None,
        }
    }
}

/// A shard that was started.
#[derive(Debug)]
pub struct ShardThread {
    sender: ShardSender,
    thread: JoinHandle<Result<(), ShardError>>,
}

impl ShardThread {
    /// The way to it.
    #[must_use]
    pub fn sender(&self) -> ShardSender {
        self.sender.clone()
    }

    /// Whether it has ended, asked to or not.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end; ask for that with [`ShardSender::close`].
    ///
    /// # Errors
    /// [`ShardError`]
    pub fn join(self) -> Result<(), ShardError> {
        let shard = self.sender.id();
        self.thread
            .join()
            .unwrap_or_else(|panic| Err(ShardError::Panicked { shard, message: panic_text(&*panic).to_owned() }))
    }
}

/// Starts a shard on a thread of its own. `build` runs on that thread, inside its runtime, and makes
/// the telemetry stages; whatever it spawns begins to run after it.
///
/// # Errors
/// The thread cannot be made. What fails on the thread comes out of [`ShardThread::join`].
pub fn spawn_thread(
    settings: Settings,
    build: impl FnOnce(&ShardContext) -> BuildResult + Send + 'static,
) -> io::Result<ShardThread> {
    let wake = WakeFd::new()?;
    let (sender, inbox) = ShardSender::new(settings.id, settings.inbox_jobs, wake.clone());
    let for_thread = sender.clone();
    let thread = std::thread::Builder::new().name(format!("shard-{}", settings.id)).spawn(move || {
        // Set however the thread ends, also by a panic.
        let _ended = Ended(for_thread.clone());
        run(settings, for_thread, inbox, wake, build)
    })?;
    Ok(ShardThread { sender, thread })
}

fn run(
    settings: Settings,
    sender: ShardSender,
    inbox: Inbox<Job>,
    wake: WakeFd,
    build: impl FnOnce(&ShardContext) -> BuildResult,
) -> Result<(), ShardError> {
    let (shard, core, mode) = (settings.id, settings.core, settings.mode);
    let failed = |error| ShardError::Start { shard, error };
    if let Some(core) = core {
        uring::thread::pin_to_core(core).map_err(failed)?;
    }
    let helper = Helper::start(shard, core).map_err(failed)?;
    uring::block_on(mode, async {
        let context = ShardContext::new(settings, sender, helper, wake.clone());
        let _entered = context.enter();
        let stages = build(&context).map_err(|error| ShardError::Build { shard, error })?;
        context.inner.stages.install(stages, &context.inner.meters);
        let cycle = Cycle::new(context.clone(), inbox, wake).map_err(failed)?;
        let end = cycle.run().await;
        // While the runtime is still there: stages may hold what lives in it.
        context.inner.stages.drop_all();
        end.map_err(|stages| {
            tracing::error!(shard = shard.0, ?stages, "the shard ended before these stages had finished");
            ShardError::NotDrained { shard, stages }
        })
    })
    .map_err(failed)?
}

struct Ended(ShardSender);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.set_ended();
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}
