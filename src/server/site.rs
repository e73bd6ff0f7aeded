//! What all shards share: the configuration, each other's views, and who owns which tag.
//!
//! Nothing here is touched on the telemetry path; the one lock is taken when a tag is registered.

use crate::commands::kind_word;
use crate::server::flows::{self, FlowHandle};
use crate::server::recovery::{Logs, OpenLog};
use config::{Config, Source, SourceKind};
use model::ShardId;
use pipeline::{ShardView, TagTable};
use shard::ShardSender;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::watch;
use uring::IoMode;

/// `--io`
#[derive(Clone, Copy, Debug)]
pub enum IoChoice {
    /// io_uring where it is allowed, else epoll.
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

impl FromStr for IoChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<IoChoice, String> {
        match text {
            "auto" => Ok(IoChoice::Auto),
            "uring" => Ok(IoChoice::Uring),
            "epoll" => Ok(IoChoice::Epoll),
            _ => Err("say auto, uring or epoll".into()),
        }
    }
}

impl IoChoice {
    /// The mode for this machine.
    ///
    /// # Errors
    /// io_uring was asked for and is not allowed here; the likely cause.
    pub fn mode(self) -> Result<IoMode, String> {
        match (self, uring::probe()) {
            (IoChoice::Epoll, _) => Ok(IoMode::Epoll),
            (_, Ok(())) => Ok(IoMode::Uring),
            (IoChoice::Auto, Err(unavailable)) => {
                tracing::warn!("io_uring cannot be used: {unavailable}; going on with epoll");
                Ok(IoMode::Epoll)
            }
            (IoChoice::Uring, Err(unavailable)) => Err(format!("io_uring cannot be used: {unavailable}")),
        }
    }
}

/// One shard from outside.
pub struct ShardPort {
    /// What it publishes.
    pub view: Arc<ShardView>,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    sender: OnceLock<ShardSender>,
    /// Logs of shards that are no more, which this one reads.
    pub histories: Vec<TagTable>,
}

impl ShardPort {
    /// The way to it; `None` while it starts.
    pub fn sender(&self) -> Option<&ShardSender> {
        self.sender.get()
    }
}

/// A native source.
#[derive(Clone, Debug)]
pub struct NativeSite {
    /// Its name.
    pub name: String,
    /// Tags are registered below this path.
    pub path: String,
    /// Most tags.
    pub tags_max: u32,
    /// Most producers.
    pub producers_max: u32,
    /// Whether it takes datagrams.
    pub udp: bool,
}

/// What all shards share.
pub struct Site {
    config: Config,
    shards: Vec<ShardPort>,
    native: Vec<NativeSite>,
    /// Tags of native sources that were registered since the start: which shard has them.
    owners: Mutex<Owners>,
    stop: watch::Sender<bool>,
    flows: FlowHandle,
    demo: Option<DemoSwitches>,
    mode: IoMode,
    http: SocketAddr,
}

/// The switches of the demo's plant, and how its systems were told to behave.
pub struct DemoSwitches {
    /// Where they are.
    pub switches: SocketAddr,
    modes: Mutex<BTreeMap<String, String>>,
}

impl DemoSwitches {
    /// Business systems that can be told to misbehave.
    pub const SYSTEMS: [&str; 5] = ["erp", "wms", "mes", "cmms", "portal"];

    /// A system was told to behave so.
    pub fn told(&self, system: &str, mode: &str) {
        let mut modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        modes.insert(system.to_owned(), mode.to_owned());
    }

    /// How each was told to behave.
    pub fn modes(&self) -> BTreeMap<String, String> {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tags by the hashes of their paths: with a million of them, the odds that any two have one hash are
/// one in forty million; the later would then count as registered already. They lie in parts that
/// grow on their own, so that no registration waits for all to be moved.
struct Owners {
    hashes: RandomState,
    parts: Vec<HashMap<u64, ShardId, Hashed>>,
    counts: HashMap<String, u32>,
}

/// Parts of the owners.
const OWNER_PARTS: usize = 256;

impl Default for Owners {
    fn default() -> Owners {
        let parts = (0..OWNER_PARTS).map(|_| HashMap::default()).collect();
        Owners { hashes: RandomState::new(), parts, counts: HashMap::new() }
    }
}

impl Owners {
    fn find(&self, tag: &str) -> Option<ShardId> {
        let hash = self.hashes.hash_one(tag);
        self.parts[hash as usize % OWNER_PARTS].get(&hash).copied()
    }

    fn insert(&mut self, tag: &str, shard: ShardId) {
        let hash = self.hashes.hash_one(tag);
        self.parts[hash as usize % OWNER_PARTS].insert(hash, shard);
    }
}

/// Takes a number that is a hash for its hash.
#[derive(Default)]
struct HashedNumber(u64);

type Hashed = BuildHasherDefault<HashedNumber>;

impl Hasher for HashedNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        // the low bits chose the part, so all of a part's numbers have the same
        self.0 = number.rotate_right(OWNER_PARTS.trailing_zeros());
    }
}

/// Why a tag is not this shard's.
#[derive(Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// It is registered on another shard.
    Elsewhere(ShardId),
    /// The source has as many tags as it may.
    Limit,
}

impl Site {
    /// A site whose shards are about to start.
    pub fn new(config: Config, logs: &Logs, cores: &[usize], mode: IoMode, http: SocketAddr) -> Site {
        let (live, histories, count) = (&logs.live, &logs.histories, logs.live.len());
        let native = config.sources.iter().filter_map(native_site).collect();
        let port = |(at, log): (usize, &OpenLog)| ShardPort {
            view: Arc::clone(&log.view),
            core: (count <= cores.len()).then(|| cores[at]),
            sender: OnceLock::new(),
            histories: histories.iter().skip(at).step_by(count).map(OpenLog::table).collect(),
        };
        Site {
            shards: live.iter().enumerate().map(port).collect(),
            config,
            native,
            owners: Mutex::default(),
            stop: watch::Sender::new(false),
            flows: FlowHandle::default(),
            demo: None,
            mode,
            http,
        }
    }

    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// This is the demo: its plant's switches are here.
    pub fn set_demo(&mut self, switches: SocketAddr) {
        self.demo = Some(DemoSwitches { switches, modes: Mutex::default() });
    }

    /// The demo's switches.
    pub const fn demo(&self) -> Option<&DemoSwitches> {
        self.demo.as_ref()
    }

    /// The way to the flows.
    pub const fn flows(&self) -> &FlowHandle {
        &self.flows
    }

    /// Every shard.
    pub fn shards(&self) -> &[ShardPort] {
        &self.shards
    }

    /// How the kernel is reached.
    pub const fn mode(&self) -> IoMode {
        self.mode
    }

    /// Limits of HTTP.
    pub fn http_limits(&self) -> http::Limits {
        http::Limits { hosts: vec![self.http.to_string(), self.http.ip().to_string()], ..http::Limits::default() }
    }

    /// A shard has started.
    pub fn set_sender(&self, sender: ShardSender) {
        if sender.id() == flows::HOME {
            self.flows.set_sender(sender.clone());
        }
        let _ = self.shards[sender.id().0 as usize].sender.set(sender);
    }

    /// The native sources.
    pub fn native(&self) -> &[NativeSite] {
        &self.native
    }

    /// A native source by name.
    pub fn native_by_name(&self, name: &str) -> Option<&NativeSite> {
        self.native.iter().find(|native| native.name == name)
    }

    /// The shard of a source: the same for the same name and number of shards.
    pub fn shard_of_source(&self, name: &str) -> ShardId {
        self.shard_of(name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        }))
    }

    /// The shard of a producer: a producer is a device, so all that it sends lands on one shard.
    pub fn shard_of_producer(&self, producer: model::ProducerId) -> ShardId {
        self.shard_of(producer.0)
    }

    fn shard_of(&self, number: u64) -> ShardId {
        // SplitMix64's finaliser (Steele, Lea, Flood 2014): neighbours fall apart
        let mut mixed = number;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ShardId(((mixed ^ (mixed >> 31)) % self.shards.len() as u64) as u16)
    }

    /// Makes a tag of a native source this shard's, if it is no other's. A tag never lies on two.
    pub fn claim(&self, source: &NativeSite, tag: &str, shard: ShardId) -> Result<(), ClaimError> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        match owners.find(tag) {
            Some(owner) if owner == shard => return Ok(()),
            Some(owner) => return Err(ClaimError::Elsewhere(owner)),
            None => {}
        }
        let count = owners.counts.get(&source.name).copied().unwrap_or(0);
        if count >= source.tags_max {
            return Err(ClaimError::Limit);
        }
        owners.counts.insert(source.name.clone(), count + 1);
        owners.insert(tag, shard);
        Ok(())
    }

    /// The shard that a tag of a native source was registered on since the start.
    pub fn owner(&self, tag: &str) -> Option<ShardId> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).find(tag)
    }

    /// Sources and HTTP are to stop.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends when sources and HTTP are to stop.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stop = self.stop.subscribe();
        async move {
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// Sources as configured, with their word and address.
    pub fn sources(&self) -> impl Iterator<Item = (&Source, &'static str, String)> {
        self.config.sources.iter().map(|source| {
            let address = match &source.kind {
                SourceKind::Modbus(modbus) => modbus.address.to_string(),
                SourceKind::Opcua(opcua) => opcua.address.clone(),
                SourceKind::Native(_) => String::new(),
            };
            (source, kind_word(&source.kind), address)
        })
    }
}

fn native_site(source: &Source) -> Option<NativeSite> {
    match &source.kind {
        SourceKind::Native(native) => Some(NativeSite {
            name: source.name.clone(),
            path: source.path.clone(),
            tags_max: native.tags_max,
            producers_max: native.producers_max,
            udp: native.udp,
        }),
        _ => None,
    }
}
