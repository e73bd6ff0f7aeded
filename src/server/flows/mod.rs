//! The flows' shard: the journal, the desk over it, and what carries out what the desk wants.
//!
//! The journal belongs to one shard (docs/adr/007-journal.md). Other shards, HTTP connections among
//! them, reach it by posting a job ([`FlowHandle::call`]).

mod compose;
mod definition;
mod demo;
pub mod devices;
mod drive;
mod figures;
mod lists;
mod port;
mod reconcile;
mod requests;
mod secrets;
mod shapes;
mod targets;
mod trace;
mod watch;

pub use drive::FlowStage;
pub use port::SiteFlows;
pub use watch::watch;

use crate::server::site::Site;
use config::Config;
use env::Clock;
use flows::alarm_book::alarm_id;
use flows::desk::Desk;
use flows::journal::{JOURNAL, Journal, visit_entry};
use flows::{Recovery, configure};
use http::FlowError;
use model::{LogPosition, ShardId, TimestampNs};
use requests::Requests;
use shard::{Lane, ShardContext, ShardSender};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use targets::FlowTarget;
use tokio::sync::{Notify, oneshot};
use uring::clock::SystemClock;
use uring::disk::{DirectoryStorage, create_directory_durable};

/// The shard that the journal belongs to.
pub const HOME: ShardId = ShardId(0);
/// The journal's directory below the data directory.
const DIRECTORY: &str = "journal";
/// Batches of the journal from this length on, bytes, fill whole blocks: at most twice as much is written, and
/// the disk takes them past the page cache.
const WHOLE_BLOCKS_FROM: usize = 2 << 10;
/// Documents of batches, below the data directory.
const DOCUMENTS: &str = "documents";

thread_local! {
    static LOCAL: RefCell<Option<Rc<FlowShard>>> = const { RefCell::new(None) };
}

/// The flows on the thread of their shard.
pub struct FlowShard {
    /// Everything that is a fold over the journal.
    pub desk: RefCell<Desk>,
    disk: RefCell<Box<dyn env::disk::Disk>>,
    storage: Arc<DirectoryStorage>,
    documents: PathBuf,
    /// Something may be to do for whoever drives the desk.
    pub wanted: Rc<Notify>,
    /// Steps of the desk so far.
    steps: Cell<u32>,
    targets: Vec<Rc<FlowTarget>>,
    /// Request/reply.
    pub requests: Requests,
    /// Whose turn it is to publish events, and to bring documents: one call of each kind after the other.
    publishing: tokio::sync::Mutex<()>,
    recording: tokio::sync::Mutex<()>,
    site: Arc<Site>,
    context: ShardContext,
}

impl FlowShard {
    /// Runs on the flows' shard; `None` elsewhere, or when it has ended.
    pub fn with<T>(on: impl FnOnce(&Rc<FlowShard>) -> T) -> Option<T> {
        let local = LOCAL.with(|local| local.borrow().clone());
        local.map(|local| on(&local))
    }

    /// Waits until the journal is durable up to an offset.
    pub async fn durable(&self, offset: delivery::Offset) -> Result<(), FlowError> {
        self.wanted.notify_one();
        let durable = std::future::poll_fn(|cx| self.desk.borrow_mut().poll_durable(offset, cx)).await;
        durable.map_err(|_| FlowError::Closed)
    }

    fn now() -> TimestampNs {
        SystemClock.wall()
    }
}

/// The way to the flows from any thread.
#[derive(Clone, Default)]
pub struct FlowHandle {
    sender: Arc<OnceLock<ShardSender>>,
    /// Alarms that were active when the journal was recovered, by id.
    active: Arc<OnceLock<HashSet<String>>>,
}

impl FlowHandle {
    /// The flows' shard has started.
    pub fn set_sender(&self, sender: ShardSender) {
        let _ = self.sender.set(sender);
    }

    /// Whether the journal is recovered, so that it is known what was active.
    pub fn is_recovered(&self) -> bool {
        self.active.get().is_some()
    }

    /// Whether a rule's alarm on a tag was active when the server last ran.
    pub fn was_active(&self, rule: &str, tag: &str) -> bool {
        self.active.get().is_some_and(|active| active.contains(&alarm_id(rule, tag)))
    }

    /// Runs a future on the flows' shard, in the request lane, and answers what it answers. Once
    /// posted it runs to its end, whether or not anybody still waits.
    pub async fn call<T, F>(
        &self,
        name: &'static str,
        on: impl FnOnce(Rc<FlowShard>) -> F + Send + 'static,
    ) -> Result<T, FlowError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, FlowError>> + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let sender = self.sender.get().ok_or(FlowError::Closed)?;
        let job = move |context: &ShardContext| {
            let Some(flow) = FlowShard::with(Rc::clone) else { return };
            let work = on(flow);
            context.spawn(Lane::Request, name, async move { drop(reply.send(work.await)) });
        };
        sender.post(Box::new(job)).map_err(|_| FlowError::Busy)?;
        answer.await.map_err(|_| FlowError::Closed)?
    }

    /// Posts something to the flows' shard that nobody waits for; `false` where it takes nothing.
    pub fn post(&self, on: impl FnOnce(&Rc<FlowShard>) + Send + 'static) -> bool {
        let job = move |_: &ShardContext| {
            let _ = FlowShard::with(on);
        };
        self.sender.get().is_some_and(|sender| sender.post(Box::new(job)).is_ok())
    }
}

/// The journal, recovered before its shard starts.
pub struct OpenJournal {
    directory: PathBuf,
    documents: PathBuf,
    recovered: log::Recovered,
    recovery: Recovery,
}

/// Recovers the journal of a data directory.
///
/// # Errors
/// A sentence: what is wrong and what to do.
pub fn open(data_dir: &Path, config: &Config) -> Result<OpenJournal, String> {
    let (directory, documents) = (data_dir.join(DIRECTORY), data_dir.join(DOCUMENTS));
    for made in [&directory, &documents] {
        create_directory_durable(made).map_err(|error| format!("cannot create {}: {error}", made.display()))?;
    }
    let seed = SystemClock.monotonic_ns() ^ SystemClock.wall().0.cast_unsigned();
    let mut recovery = Recovery::new(configure::settings(config, seed)?)?;
    let mut storage = DirectoryStorage::new(&directory);
    let recovered = log::recover(&mut storage, JOURNAL, &mut |frame, position| {
        visit_entry(frame, position, &mut |stored| recovery.fold(stored));
    });
    let recovered =
        recovered.map_err(|error| format!("the journal in {} cannot be used: {error}", directory.display()))?;
    if let Some(torn) = &recovered.truncated {
        tracing::warn!("the journal's end was torn by a crash and was cut: {torn}");
    }
    for fence in &recovered.rot {
        tracing::error!("the journal is damaged and was fenced off: {fence}");
    }
    for name in &recovery.strangers {
        tracing::warn!(
            flow = name,
            "the journal knows a flow that is no longer configured; what it had not delivered stays undelivered"
        );
    }
    tracing::info!(entries = recovery.entries, end = recovered.end.0, clean = recovered.clean, "journal recovered");
    Ok(OpenJournal { directory, documents, recovered, recovery })
}

impl OpenJournal {
    /// Where the journal ends.
    pub const fn end(&self) -> LogPosition {
        self.recovered.end
    }

    /// Builds the flows on their shard's thread and spawns what drives them.
    ///
    /// # Errors
    /// The disk cannot be opened, or a target not be made.
    pub fn build(self, context: &ShardContext, site: &Arc<Site>) -> std::io::Result<FlowStage> {
        let told = &site.config().server.journal;
        let settings = log::Settings {
            segment_bytes: told.segment_bytes,
            sync_ns: site.config().server.log.sync.as_nanos() as u64,
            keep_ns: i64::try_from(told.keep.as_nanos()).unwrap_or(i64::MAX),
            keep_bytes: told.keep_bytes,
            hold: Some(LogPosition(0)),
            whole_blocks_from: WHOLE_BLOCKS_FROM,
            ..log::Settings::new(JOURNAL)
        };
        let mut journal = Journal::new(log::Writer::new(settings, &self.recovered));
        let storage = DirectoryStorage::new(&self.directory);
        // the first segment, too, is not to grow; telemetry is not there yet that could wait for it
        if let Some(file) = journal.wants_prepared().filter(|_| told.segment_bytes <= drive::AHEAD_BYTES_MAX) {
            journal.prepared(file, drive::make_ahead(&storage, file, told.segment_bytes));
        }
        let mut desk = self.recovery.finish(journal, FlowShard::now());
        desk.set_pause(shard::pause);
        let _ = site.flows().active.set(desk.alarms().active().map(str::to_owned).collect());
        let wanted = Rc::new(Notify::new());
        let disk = drive::open_disk(context, &self.directory, Rc::clone(&wanted))?;
        let targets = targets::all(site.config(), context).map_err(std::io::Error::other)?;
        let requests = Requests::new(site.config(), context).map_err(std::io::Error::other)?;
        let flow = Rc::new(FlowShard {
            desk: RefCell::new(desk),
            disk: RefCell::new(disk),
            storage: Arc::new(storage),
            documents: self.documents,
            wanted,
            steps: Cell::new(0),
            targets,
            requests,
            publishing: tokio::sync::Mutex::default(),
            recording: tokio::sync::Mutex::default(),
            site: Arc::clone(site),
            context: context.clone(),
        });
        LOCAL.with(|slot| *slot.borrow_mut() = Some(Rc::clone(&flow)));
        drive::spawn(&flow, context);
        reconcile::spawn(&flow, context);
        Ok(FlowStage::new(flow))
    }
}
