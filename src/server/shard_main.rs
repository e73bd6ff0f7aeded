//! One shard's thread: its stages, its sources, its HTTP connections.

use crate::server::flows::{self, FlowShard, OpenJournal};
use crate::server::recovery::{self, OpenLog};
use crate::server::sink::PassSink;
use crate::server::site::Site;
use crate::server::stages::{LogStage, NativeParts, NativeStage};
use crate::server::tag_routes::Routes;
use config::SourceKind;
use env::Clock;
use env::clock::Alarms;
use model::{Intake, LogPosition, ProducerId, Sequence, ShardId};
use pipeline::{Pass, ShardIntake, ShardView, State};
use ring::Flag;
use shard::{BuildResult, Lane, ShardContext, Stage};
use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use uring::clock::SystemClock;
use uring::disk::{DirectoryStorage, Lending};
use uring::net::NetOptions;

/// How often states, counters and the log's figures are published.
const PUBLISH: Duration = Duration::from_millis(250);

/// How long a start waits for what a crash left to be durable again, and how often it looks.
const SETTLE_NS: u64 = 10_000_000_000;
const SETTLE_LOOK: Duration = Duration::from_millis(2);

thread_local! {
    static LOCAL: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

/// What jobs that are posted to a shard find there.
pub struct Local {
    /// The pass.
    pub pass: Rc<RefCell<Pass>>,
    /// Native connections.
    pub native: Rc<RefCell<NativeParts>>,
    /// The log's files, for the helper thread.
    pub storage: Arc<DirectoryStorage>,
    /// Logs of shards that are no more.
    pub histories: Vec<History>,
    /// Where samples go that come over HTTP on this thread.
    pub routes: RefCell<Routes>,
}

/// A log that is only read.
pub struct History {
    /// What it says.
    pub state: State,
    /// Finds its batches.
    pub index: log::Writer,
    /// Its files.
    pub storage: Arc<DirectoryStorage>,
}

impl Local {
    /// Runs on this thread's shard; `None` on a thread that is none, or whose shard has ended.
    pub fn with<T>(on: impl FnOnce(&Local) -> T) -> Option<T> {
        let local = LOCAL.with(|local| local.borrow().clone());
        local.map(|local| on(&local))
    }
}

/// Everything that one shard is built from, made before its thread starts.
pub struct ShardParts {
    site: Arc<Site>,
    log: OpenLog,
    histories: Vec<OpenLog>,
    producers: Vec<(ProducerId, Sequence)>,
    http: TcpListener,
    native: TcpListener,
    datagrams: Option<UdpSocket>,
    journal: Option<OpenJournal>,
}

impl ShardParts {
    /// The parts of every shard. Each gets listeners of its own on the shared addresses.
    ///
    /// # Errors
    /// An address cannot be bound again; a sentence.
    pub fn all(
        site: &Arc<Site>,
        live: Vec<OpenLog>,
        histories: Vec<OpenLog>,
        http: (TcpListener, SocketAddr),
        native: (TcpListener, SocketAddr),
    ) -> Result<Vec<ShardParts>, String> {
        let count = live.len();
        let producers = recovery::producers(live.iter().chain(&histories));
        let mut apart: Vec<Vec<OpenLog>> = (0..count).map(|_| Vec::new()).collect();
        histories.into_iter().enumerate().for_each(|(at, log)| apart[at % count].push(log));
        let mut first = Some((http.0, native.0));
        let again =
            |at: SocketAddr| uring::net::listen(at, true).map_err(|error| format!("cannot listen on {at}: {error}"));
        let takes_datagrams = site.native().iter().any(|native| native.udp);
        let mut parts = Vec::with_capacity(count);
        for (log, histories) in live.into_iter().zip(apart) {
            let (http, native, datagrams) = match first.take() {
                Some((http, tcp)) => {
                    let socket = || uring::net::bind_datagrams(native.1, false);
                    let bound = takes_datagrams.then(socket).transpose();
                    (http, tcp, bound.map_err(|error| format!("cannot listen for datagrams on {}: {error}", native.1))?)
                }
                // one socket takes all datagrams; what belongs elsewhere is handed over
                None => (again(http.1)?, again(native.1)?, None),
            };
            let home = |producer: &ProducerId| site.shard_of_producer(*producer) == log.shard;
            let producers = producers.iter().filter(|(producer, _)| home(producer)).map(|(p, s)| (*p, *s)).collect();
            parts.push(ShardParts {
                site: Arc::clone(site),
                log,
                histories,
                producers,
                http,
                native,
                datagrams,
                journal: None,
            });
        }
        Ok(parts)
    }

    /// Makes this the shard that the flows belong to.
    pub fn take_journal(&mut self, journal: OpenJournal) {
        self.journal = Some(journal);
    }

    /// Which shard.
    pub const fn shard(&self) -> ShardId {
        self.log.shard
    }

    /// Builds the stages on the shard's thread and spawns what runs beside them.
    pub fn build(self, context: &ShardContext, router: http::Service) -> BuildResult {
        let (site, shard, view) = (self.site, self.log.shard, Arc::clone(&self.log.view));
        let now = SystemClock.wall();
        let settings = log_settings(&site, shard);
        let writer = log::Writer::new(settings.clone(), &self.log.recovered);
        let mut pass = Pass::new(self.log.state, writer, &self.log.recovered, Arc::clone(&view));
        self.producers.iter().for_each(|(producer, last)| pass.adopt_producer(*producer, *last));
        let pass = Rc::new(RefCell::new(pass));

        let completed = Arc::new(Flag::default());
        let (raised, notice) = (Arc::clone(&completed), context.notice());
        let notify = Arc::new(move || {
            raised.set(true);
            notice();
        });
        let lending = Lending { blocks: log::LENT_BLOCKS, block_bytes: log::LENT_BLOCK_BYTES };
        let disk = uring::disk::open_disk(context.mode(), &self.log.directory, lending, notify)?;
        let net = NetOptions { listener: Some(self.native), datagrams: self.datagrams, ..NetOptions::default() };
        let net = uring::net::open_net(context.mode(), net)?;
        let sink = PassSink::new(Rc::clone(&pass), Arc::clone(&site), context.clone(), now);
        let native = NativeStage::new(net, sink, Arc::clone(&site), Rc::clone(&pass));
        let history = |log: OpenLog| History {
            index: log::Writer::new(settings.clone(), &log.recovered),
            state: log.state,
            storage: Arc::new(DirectoryStorage::new(&log.directory)),
        };
        let local = Local {
            pass: Rc::clone(&pass),
            native: native.parts(),
            storage: Arc::new(DirectoryStorage::new(PathBuf::from(&self.log.directory))),
            histories: self.histories.into_iter().map(history).collect(),
            routes: RefCell::default(),
        };
        LOCAL.with(|slot| *slot.borrow_mut() = Some(Rc::new(local)));

        spawn_sources(context, &site, shard, &pass);
        context.spawn(Lane::Event, "watch", flows::watch(Rc::clone(&pass), Arc::clone(&site)));
        let journal_end = self.journal.as_ref().map(OpenJournal::end);
        let flow_stage = self.journal.map(|journal| journal.build(context, &site)).transpose()?;
        let flow = flow_stage.as_ref().map(|stage| Rc::clone(stage.flow())).zip(journal_end);
        let open = settle(Rc::clone(&pass), self.log.recovered.end, flow, view);
        spawn_http(context, &site, self.http, router, open)?;
        context.spawn(Lane::Batch, "publish", publish(Rc::clone(&pass), native.parts()));
        let mut stages: Vec<Box<dyn Stage>> =
            vec![Box::new(native), Box::new(LogStage::new(pass, disk, completed, shard))];
        stages.extend(flow_stage.map(|stage| Box::new(stage) as Box<dyn Stage>));
        Ok(stages)
    }
}

fn log_settings(site: &Site, shard: ShardId) -> log::Settings {
    let log = &site.config().server.log;
    log::Settings {
        segment_bytes: log.segment_bytes,
        sync_ns: log.sync.as_nanos() as u64,
        keep_ns: i64::try_from(log.keep.as_nanos()).unwrap_or(i64::MAX),
        keep_bytes: log.keep_bytes / site.shards().len() as u64,
        ..log::Settings::new(shard)
    }
}

fn spawn_sources(context: &ShardContext, site: &Arc<Site>, shard: ShardId, pass: &Rc<RefCell<Pass>>) {
    let clock: Rc<dyn Clock> = Rc::new(SystemClock);
    let kick = {
        let context = context.clone();
        Rc::new(move || context.kick())
    };
    let intake: Rc<dyn Intake> = Rc::new(ShardIntake::new(Rc::clone(pass), Rc::clone(&clock), kick));
    for source in site.config().sources.iter().filter(|source| site.shard_of_source(&source.name) == shard) {
        let (name, path) = (source.name.clone(), source.path.clone());
        let (intake, clock, stop) = (Rc::clone(&intake), Rc::clone(&clock), site.stopped());
        match &source.kind {
            SourceKind::Modbus(settings) => {
                let (commander, commands) = model::device::commands(model::device::COMMANDS_WAITING_MAX);
                flows::devices::register(&source.name, commander);
                let time = modbus::Time { clock, alarm: context.alarm() };
                let run = modbus::run(name, path, settings.clone(), intake, time, stop, commands);
                context.spawn(Lane::Telemetry, "modbus", run);
            }
            SourceKind::Opcua(settings) => {
                let pki = site.config().server.data_dir.join("pki").join(&source.name);
                let (commander, commands) = model::device::commands(model::device::COMMANDS_WAITING_MAX);
                flows::devices::register(&source.name, commander);
                let run = opcua_source::run(name, path, settings.clone(), pki, intake, clock, stop, commands);
                context.spawn(Lane::Telemetry, "opcua", run);
            }
            SourceKind::Native(_) => {} // native sources come to us: the native stage
        }
    }
}

fn spawn_http(
    context: &ShardContext,
    site: &Arc<Site>,
    listener: TcpListener,
    router: http::Service,
    open: impl Future<Output = ()> + 'static,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (on, stop) = (context.clone(), site.stopped());
    let spawn = move |connection: http::Connection| drop(on.spawn(Lane::Request, "http", connection));
    context.spawn(Lane::Request, "http-accept", async move {
        open.await;
        http::serve(listener, router, spawn, stop).await;
    });
    Ok(())
}

/// After a crash the log writes its newest batches again before it counts them as durable, and until
/// then queries do not see them: what was acknowledged before the crash would be missing. So HTTP
/// opens, and the shard is ready, when they are. A disk that takes nothing delays this, but not for
/// ever: what is readable is then served, and `/readyz` says what is wrong.
async fn settle(
    pass: Rc<RefCell<Pass>>,
    end: LogPosition,
    flow: Option<(Rc<FlowShard>, LogPosition)>,
    view: Arc<ShardView>,
) {
    let start = SystemClock.monotonic_ns();
    let unsettled = || {
        let journal = flow.as_ref().is_some_and(|(flow, end)| flow.desk.borrow().journal().durable().0 < end.0);
        journal || pass.borrow().durable() < end
    };
    while unsettled() && SystemClock.monotonic_ns() - start < SETTLE_NS {
        tokio::time::sleep(SETTLE_LOOK).await;
    }
    view.ready.set(true);
}

async fn publish(pass: Rc<RefCell<Pass>>, native: Rc<RefCell<NativeParts>>) {
    loop {
        {
            let counters = native.borrow().counters();
            pass.borrow_mut().publish(&counters);
        }
        tokio::time::sleep(PUBLISH).await;
    }
}
