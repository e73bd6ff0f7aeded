//! The wiring: one configuration becomes shards, sources, a log each, and HTTP over all of them.
//!
//! Start: lock the data directory, recover every log, bind every address, then start the shards;
//! anything that fails says so before any source runs. Stop: sources and HTTP first, then what was
//! taken is written and synced, acknowledged, and the threads end.

mod answers;
mod backend;
pub mod flows;
mod ingest;
mod recovery;
mod shard_main;
mod sink;
mod site;
mod stages;
mod tag_routes;

pub use site::IoChoice;

use config::Config;
use recovery::Logs;
use shard::{ShardSender, ShardThread};
use shard_main::ShardParts;
use site::Site;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use uring::IoMode;

/// How often the main thread looks whether a shard has ended by itself.
const WATCH: Duration = Duration::from_millis(200);

/// How long a port may stay taken at start: a killed predecessor's is free within milliseconds.
const PORT_PATIENCE: Duration = Duration::from_secs(3);

/// A running Millstream.
pub struct Server {
    site: Arc<Site>,
    shards: Vec<ShardThread>,
    http: SocketAddr,
    native: SocketAddr,
    mode: IoMode,
    /// Held until the end: one process a data directory.
    _logs: uring::disk::DirectoryLock,
}

/// A small runtime for what is no shard: commands, the demo's plant.
pub fn small_runtime() -> Result<tokio::runtime::Runtime, String> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| format!("cannot start a runtime: {error}"))
}

/// Ends when the process is asked to stop: Ctrl-C, or SIGTERM.
pub async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

/// Starts everything that a configuration asks for; `demo` has the switches of a simulated plant.
///
/// # Errors
/// A sentence: what failed, where, and what to do. Nothing runs then.
pub fn start(config: Config, io: IoChoice, demo: Option<SocketAddr>) -> Result<Server, String> {
    let mode = io.mode()?;
    let cores = uring::thread::available_cores();
    let count = config.cores.count.unwrap_or(cores.len()).max(1);
    if count > cores.len() {
        tracing::warn!(shards = count, cores = cores.len(), "more shards than cores: they share, and none is pinned");
    }
    for sentence in config.inactive() {
        tracing::info!("{sentence}");
    }
    let logs = recovery::open(&config.server.data_dir, count, &recovery::rollups(&config))?;
    let journal = flows::open(&config.server.data_dir, &config)?;
    let http = listen("HTTP", config.server.http)?;
    let native = listen("native frames", config.server.native)?;
    let http_address = http.local_addr().map_err(|error| error.to_string())?;
    let native_address = native.local_addr().map_err(|error| error.to_string())?;

    let mut site = Site::new(config, &logs, &cores, mode, http_address);
    if let Some(switches) = demo {
        site.set_demo(switches);
    }
    let site = Arc::new(site);
    let Logs { lock, live, histories } = logs;
    let backend = Arc::new(backend::SiteBackend::new(Arc::clone(&site)));
    let router = http::router(backend, Arc::new(flows::SiteFlows::new(Arc::clone(&site))), site.http_limits());
    let mut parts = ShardParts::all(&site, live, histories, (http, http_address), (native, native_address))?;
    if let Some(home) = parts.get_mut(flows::HOME.0 as usize) {
        home.take_journal(journal);
    }
    let mut shards = Vec::with_capacity(count);
    for part in parts {
        let mut settings = shard::Settings::new(part.shard(), mode);
        settings.core = site.shards()[part.shard().0 as usize].core;
        let (id, router) = (part.shard(), router.clone());
        let thread = shard::spawn_thread(settings, move |context| part.build(context, router));
        let thread = thread.map_err(|error| format!("cannot start the thread of shard {id}: {error}"))?;
        site.set_sender(thread.sender());
        shards.push(thread);
    }
    let server = Server { site, shards, http: http_address, native: native_address, mode, _logs: lock };
    server.wait_ready()
}

/// The first listener of an address that every shard will share. Sharing would let another program
/// share it too, so it is first made sure that nobody has it. The kernel frees the sockets of a
/// killed process's rings only a moment after the process is gone, hence the patience.
fn listen(what: &str, at: SocketAddr) -> Result<std::net::TcpListener, String> {
    let start = std::time::Instant::now();
    let failed = |error: std::io::Error| {
        let advice = "stop what uses that port, or change [server] in the configuration";
        format!("cannot listen for {what} on {at}: {error}; {advice}")
    };
    loop {
        let alone = std::net::TcpListener::bind(at).map(drop).and_then(|()| std::net::UdpSocket::bind(at).map(drop));
        match alone {
            Ok(()) => return uring::net::listen(at, true).map_err(failed),
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < PORT_PATIENCE => {
                std::thread::sleep(WATCH / 4);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

impl Server {
    /// Waits until every shard has built its stages, or says why one has not.
    fn wait_ready(mut self) -> Result<Server, String> {
        while !self.site.shards().iter().all(|port| port.view.ready.get()) {
            if let Some(at) = self.shards.iter().position(ShardThread::is_finished) {
                let ended = self.shards.swap_remove(at).join();
                self.close();
                return Err(ended
                    .err()
                    .map_or_else(|| "a shard ended before it began".into(), |error| error.to_string()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(self)
    }

    /// Where HTTP is answered.
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where native frames are taken.
    pub const fn native(&self) -> SocketAddr {
        self.native
    }

    /// Says on standard output where everything is.
    pub fn announce(&self) {
        println!("Dashboard and API: http://{}/", self.http);
        println!("Native frames:     {} (TCP and UDP)", self.native);
        println!("{} on {}; Ctrl-C stops it", shards_word(self.shards.len()), self.mode);
    }

    /// Runs until Ctrl-C or SIGTERM, then drains, syncs and ends.
    ///
    /// # Errors
    /// A shard ended by itself, or could not finish; a sentence.
    pub fn run_until_signal(self) -> Result<(), String> {
        let runtime = small_runtime()?;
        let asked = runtime.block_on(async {
            let watch = async {
                while !self.shards.iter().any(ShardThread::is_finished) {
                    tokio::time::sleep(WATCH).await;
                }
            };
            tokio::select! {
                () = signalled() => true,
                () = watch => false,
            }
        });
        if asked {
            tracing::info!("stopping: what was taken is written and synced first");
        }
        self.close();
        let ended: Vec<String> =
            self.shards.into_iter().filter_map(|thread| thread.join().err()).map(|error| error.to_string()).collect();
        match (asked, ended.is_empty()) {
            (true, true) => Ok(()),
            (false, true) => Err("a shard ended by itself".into()),
            (_, false) => Err(ended.join("; ")),
        }
    }

    fn close(&self) {
        self.site.stop();
        self.shards.iter().map(ShardThread::sender).for_each(|sender: ShardSender| sender.close());
    }
}

fn shards_word(count: usize) -> String {
    if count == 1 { "1 shard".into() } else { format!("{count} shards") }
}
