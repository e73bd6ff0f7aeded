//! What HTTP asks, answered over the shards.

use crate::server::site::{ShardPort, Site};
use crate::server::{answers, ingest};
use config::SourceKind;
use env::Clock;
use futures_util::future::BoxFuture;
use http::{
    Backend, CoreInfo, IngestError, IngestSample, Latest, LogInfo, QueryError, ReceiveInfo, RollupsAnswer,
    RollupsQuery, SamplesAnswer, SamplesQuery, SourceInfo, StageInfo, TagMeta,
};
use model::{Glob, Quality, TagId, TimestampNs, Value, ValueKind};
use pipeline::tags::{TagChunk, TagInfo};
use pipeline::{ShardView, TagTable};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use uring::clock::SystemClock;

/// Whether this program counts how often it asks for memory (`main`).
const COUNTS_ALLOCATIONS: bool = cfg!(feature = "count-allocations");
/// Rates are means over at least this long.
const RATE_OVER: Duration = Duration::from_secs(1);
/// Tags that are looked at in one go.
const PART_TAGS: usize = 256;
/// Parts of a chunk.
const CHUNK_PARTS: usize = pipeline::tags::CHUNK.div_ceil(PART_TAGS);
/// A polled tag is stale after so many missed polls, and never before [`STALE_MIN`].
const STALE_POLLS: u32 = 5;
const STALE_MIN: Duration = Duration::from_secs(2);

/// The backend over all shards.
pub struct SiteBackend {
    site: Arc<Site>,
    stale: HashMap<String, i64>,
    metas: Vec<Mutex<Metas>>,
    rates: Vec<Mutex<Rates>>,
}

/// Metadata of a shard's tags; only that of chunks that changed is made again.
#[derive(Default)]
struct Metas {
    of: Option<Arc<TagTable>>,
    metas: Arc<MetaTable>,
}

/// Metadata of the tags in use, by chunk and number.
#[derive(Default)]
struct MetaTable(Vec<MetaChunk>);

struct MetaChunk {
    of: Arc<TagChunk>,
    metas: Arc<[(u32, Arc<TagMeta>)]>,
}

impl MetaTable {
    fn get(&self, id: TagId) -> Option<&Arc<TagMeta>> {
        let metas = &self.0.get(id.0 as usize / pipeline::tags::CHUNK)?.metas;
        metas.binary_search_by_key(&id.0, |(number, _)| *number).ok().map(|at| &metas[at].1)
    }

    /// How many parts there are.
    const fn parts(&self) -> usize {
        self.0.len() * CHUNK_PARTS
    }

    /// Some tags that follow each other.
    fn part(&self, part: usize) -> &[(u32, Arc<TagMeta>)] {
        let Some(chunk) = self.0.get(part / CHUNK_PARTS) else { return &[] };
        let from = (part % CHUNK_PARTS * PART_TAGS).min(chunk.metas.len());
        &chunk.metas[from..(from + PART_TAGS).min(chunk.metas.len())]
    }
}

struct Rates {
    at: Instant,
    totals: [u64; 3],
    rates: [f64; 3],
}

impl SiteBackend {
    /// A backend over this site.
    pub fn new(site: Arc<Site>) -> SiteBackend {
        let stale = site.config().sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Modbus(modbus) => {
                let slowest =
                    modbus.tags.iter().filter_map(|tag| tag.every).max().unwrap_or_default().max(modbus.every);
                let after = (slowest * STALE_POLLS).max(STALE_MIN) + modbus.timeout;
                Some((source.name.clone(), i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)))
            }
            // a subscription says nothing while a value rests; its watchdog turns tags bad
            SourceKind::Opcua(_) | SourceKind::Native(_) => None,
        });
        let count = site.shards().len();
        let fresh = || Mutex::new(Rates { at: Instant::now(), totals: [0; 3], rates: [0.0; 3] });
        SiteBackend {
            stale: stale.collect(),
            metas: (0..count).map(|_| Mutex::default()).collect(),
            rates: (0..count).map(|_| fresh()).collect(),
            site,
        }
    }

    fn metas(&self, port: &ShardPort) -> (Arc<TagTable>, Arc<MetaTable>) {
        let table = port.view.tags();
        let mut known = self.metas[port.view.shard.0 as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if !known.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &table)) {
            let chunks = table.chunks().iter().enumerate().map(|(at, chunk)| {
                let before = known.metas.0.get(at).filter(|before| Arc::ptr_eq(&before.of, chunk));
                let meta = |tag: TagInfo<'_>| (tag.id.0, Arc::new(self.meta(&table, tag, port.view.shard.0)));
                let metas = before.map_or_else(|| chunk.in_use().map(meta).collect(), |known| Arc::clone(&known.metas));
                MetaChunk { of: Arc::clone(chunk), metas }
            });
            let metas = Arc::new(MetaTable(chunks.collect()));
            known.metas = metas;
            known.of = Some(Arc::clone(&table));
        }
        (table, Arc::clone(&known.metas))
    }

    /// Where a part of all tags lies: its shard, and its number there.
    fn part(&self, mut part: usize) -> Option<(&ShardPort, Arc<MetaTable>, usize)> {
        for port in self.site.shards() {
            let metas = self.metas(port).1;
            if part < metas.parts() {
                return Some((port, metas, part));
            }
            part -= metas.parts();
        }
        None
    }

    fn meta(&self, table: &TagTable, tag: TagInfo<'_>, shard: u16) -> TagMeta {
        let source = table.source_name(tag.source).to_owned();
        TagMeta {
            path: tag.path.to_owned(),
            kind: tag.kind,
            unit: tag.unit.to_owned(),
            range: tag.range,
            stale_after_ns: self.stale.get(&source).copied(),
            source,
            shard,
        }
    }

    fn rates(&self, view: &ShardView) -> [f64; 3] {
        let mut known = self.rates[view.shard.0 as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let passed = known.at.elapsed();
        if passed >= RATE_OVER {
            let totals = [view.totals.samples.get(), view.totals.frames.get(), view.totals.bytes.get()];
            let before = known.totals;
            known.rates = std::array::from_fn(|i| (totals[i] - before[i]) as f64 / passed.as_secs_f64());
            known.totals = totals;
            known.at = Instant::now();
        }
        known.rates
    }

    fn core(&self, port: &ShardPort) -> CoreInfo {
        let view = &port.view;
        let [samples_per_second, frames_per_second, bytes_per_second] = self.rates(view);
        let log = view.log();
        let fed = view.feeds();
        let fed = |name: &str| fed.get(name).copied().unwrap_or(0);
        let stats = port.sender().map(shard::ShardSender::stats);
        let stages = stats.iter().flat_map(|stats| &stats.stages);
        let distribution = |name, of: fn(&shard::ShardStats) -> &shard::Distribution| {
            let none = shard::Distribution::default();
            stage_info("telemetry", name, stats.as_deref().map_or(&none, of))
        };
        CoreInfo {
            shard: view.shard.0,
            core: port.core,
            io: match self.site.mode() {
                uring::IoMode::Uring => "io_uring",
                uring::IoMode::Epoll => "epoll",
            },
            samples_per_second,
            frames_per_second,
            bytes_per_second,
            samples_total: view.totals.samples.get(),
            tag_bytes: {
                let pipeline::TagBytes { definitions, latest, rollups } = view.tag_bytes();
                http::TagBytes { definitions, latest, rollups }
            },
            log: LogInfo {
                health: log.word.into(),
                reason: log.reason.clone(),
                durable: log.durable,
                end: log.end,
                segments: log.segments,
                bytes: log.bytes,
                syncs: log.syncs,
            },
            receive: ReceiveInfo {
                frames: fed("frames"),
                calls: fed("kernel_calls"),
                completions: fed("kernel_completions"),
            },
            allocations: COUNTS_ALLOCATIONS.then(|| stats.as_ref().map_or(0, |stats| stats.allocations)),
            stages: stages
                .map(|stage| StageInfo {
                    allocations: COUNTS_ALLOCATIONS.then_some(stage.allocations),
                    ..stage_info(stage.lane.name(), stage.name, &stage.poll)
                })
                .collect(),
            cycle: distribution("look-interval", |stats| &stats.look_interval),
            frame_to_visible: distribution("visible", |stats| &stats.frame_to_visible),
        }
    }
}

fn stage_info(lane: &'static str, name: &'static str, times: &shard::Distribution) -> StageInfo {
    StageInfo {
        lane: lane.into(),
        name: name.into(),
        polls: times.count,
        p50_ns: times.p50_ns,
        p90_ns: times.p90_ns,
        p99_ns: times.p99_ns,
        p999_ns: times.p999_ns,
        p9999_ns: times.p9999_ns,
        max_ns: times.max_ns,
        sum_ns: times.sum_ns,
        buckets: shard::BUCKETS_NS.into_iter().zip(times.buckets).collect(),
        allocations: None,
    }
}

/// Tags of a source that are in use.
fn tags_of(table: &TagTable, source: &str) -> usize {
    let at = table.sources.iter().position(|name| **name == *source);
    at.and_then(|at| table.counts.get(at)).map_or(0, |count| *count as usize)
}

/// Looks at every tag in use of all shards; other work on the core, telemetry first, comes between.
pub async fn each_tag(site: &Site, mut on: impl FnMut(TagInfo<'_>)) {
    for port in site.shards() {
        let table = port.view.tags();
        for (number, tag) in table.in_use().enumerate() {
            if number % PART_TAGS == PART_TAGS - 1 {
                tokio::task::yield_now().await;
            }
            on(tag);
        }
    }
}

/// What a safety envelope asks of a tag: its value, how good that is, and when its source was last heard of
/// it. A request asks for a few tags and must not be longer for a plant of many, so nothing that describes
/// tags is made for it.
pub fn live_of(site: &Site, path: &str) -> Option<(Option<Value>, Quality, TimestampNs)> {
    let found = site.shards().iter().find_map(|port| {
        let table = port.view.tags();
        let tag = table.find(path)?;
        Some((port, tag.id.0, table.source_name(tag.source).to_owned()))
    });
    let (port, id, source) = found?;
    let Some(cell) = port.view.latest.read(id) else { return Some((None, Quality::BAD_WAITING, TimestampNs(0))) };
    let quality = Quality(cell.quality);
    let value = value_of(&port.view.texts(), cell.kind, cell.bits).filter(|_| !quality.is_bad());
    // a server that sends changes only confirms a steady value with any other sign of life
    let sends_changes = |one: &config::Source| one.name == source && matches!(one.kind, SourceKind::Opcua(_));
    let heard = site.config().sources.iter().any(sends_changes).then(|| {
        let home = site.shards()[site.shard_of_source(&source).0 as usize].view.sources();
        let running = home.iter().find(|one| *one.name == *source && one.state.word() == "running");
        running.and_then(|one| one.last_data)
    });
    let seen = TimestampNs(cell.seen_ns);
    Some((value, quality, heard.flatten().map_or(seen, |heard| heard.max(seen))))
}

fn value_of(texts: &[Arc<str>], kind: ValueKind, bits: u64) -> Option<Value> {
    match kind {
        ValueKind::Text => texts.get(bits as usize).map(|text| Value::Text(Arc::clone(text))),
        kind => Value::from_bits(kind, bits),
    }
}

/// What a tag is now, as HTTP shows it: a bad value is no value.
fn latest_of(view: &ShardView, texts: &[Arc<str>], tag: Arc<TagMeta>, id: u32) -> Latest {
    let Some(cell) = view.latest.read(id) else {
        let (none, quality) = (TimestampNs(0), Quality::BAD_WAITING);
        return Latest { tag, time: none, source_time: None, value: None, quality, seen: none };
    };
    let quality = Quality(cell.quality);
    let value = value_of(texts, cell.kind, cell.bits);
    Latest {
        tag,
        time: TimestampNs(cell.server_time_ns),
        source_time: (cell.source_time_ns != i64::MIN).then_some(TimestampNs(cell.source_time_ns)),
        value: value.filter(|_| !quality.is_bad()),
        quality,
        seen: TimestampNs(cell.seen_ns),
    }
}

impl Backend for SiteBackend {
    fn pause(&self) {
        shard::pause();
    }

    fn tags(&self, glob: &Glob, part: usize) -> Option<Vec<Arc<TagMeta>>> {
        let (_, metas, part) = self.part(part)?;
        Some(metas.part(part).iter().map(|(_, tag)| tag).filter(|tag| glob.matches(&tag.path)).cloned().collect())
    }

    fn latest(&self, glob: &Glob, part: usize) -> Option<Vec<Latest>> {
        if let Some(path) = glob.literal() {
            return (part == 0).then(|| self.latest_of(&[path.to_owned()]).into_iter().flatten().collect());
        }
        let (port, metas, part) = self.part(part)?;
        let texts = port.view.texts();
        let matching = metas.part(part).iter().filter(|(_, tag)| glob.matches(&tag.path));
        Some(matching.map(|(id, tag)| latest_of(&port.view, &texts, Arc::clone(tag), *id)).collect())
    }

    fn latest_of(&self, paths: &[String]) -> Vec<Option<Latest>> {
        let tables: Vec<_> =
            self.site.shards().iter().map(|port| (port, self.metas(port), port.view.texts())).collect();
        let find = |path: &String| {
            tables.iter().find_map(|(port, (table, metas), texts)| {
                let id = table.find(path)?.id;
                Some(latest_of(&port.view, texts, Arc::clone(metas.get(id)?), id.0))
            })
        };
        paths.iter().map(find).collect()
    }

    fn samples(&self, query: SamplesQuery) -> BoxFuture<'static, Result<SamplesAnswer, QueryError>> {
        Box::pin(answers::samples(Arc::clone(&self.site), query))
    }

    fn rollups(&self, query: RollupsQuery) -> BoxFuture<'static, Result<RollupsAnswer, QueryError>> {
        Box::pin(answers::rollups(Arc::clone(&self.site), query))
    }

    fn ingest(&self, samples: Vec<IngestSample>) -> BoxFuture<'static, Result<(), IngestError>> {
        Box::pin(ingest::ingest(Arc::clone(&self.site), samples))
    }

    fn native_prefix(&self, name: &str) -> Option<String> {
        self.site.native_by_name(name).map(|native| native.path.clone())
    }

    fn sources(&self) -> Vec<SourceInfo> {
        let shards = self.site.shards();
        let describe = |(source, kind, address): (&config::Source, &'static str, String)| {
            let home = self.site.shard_of_source(&source.name);
            let port = &shards[home.0 as usize];
            let status = port.view.sources().iter().find(|status| *status.name == *source.name).cloned();
            let mut counters: Vec<(String, u64)> = status
                .iter()
                .flat_map(|s| s.counters.iter().map(|(name, count)| ((*name).to_owned(), *count)))
                .collect();
            let figures =
                status.iter().flat_map(|s| s.figures.iter().map(|(name, value)| ((*name).to_owned(), *value)));
            let figures = figures.collect();
            let mut last_data = status.as_ref().and_then(|status| status.last_data);
            if kind == "native" {
                for port in shards {
                    let all = port.view.sources();
                    let here = all.iter().find(|status| *status.name == *source.name);
                    last_data = last_data.max(here.and_then(|status| status.last_data));
                    if port.view.shard != home {
                        let elsewhere = here.into_iter().flat_map(|status| &status.counters);
                        add(&mut counters, elsewhere.map(|(name, count)| (*name, *count)));
                    }
                    add(&mut counters, port.view.feeds().iter().map(|(name, count)| (*name, *count)));
                }
            }
            let tags = shards.iter().map(|port| tags_of(&port.view.tags(), &source.name)).sum();
            SourceInfo {
                name: source.name.clone(),
                kind: kind.into(),
                path: source.path.clone(),
                address,
                shard: home.0,
                state: status.as_ref().map_or("starting", |status| status.state.word()).into(),
                reason: status.as_ref().map(|status| status.state.reason().to_owned()).unwrap_or_default(),
                since: status.as_ref().map(|status| status.since).unwrap_or_default(),
                last_data,
                tags,
                counters,
                figures,
            }
        };
        self.site.sources().map(describe).collect()
    }

    fn cores(&self) -> Vec<CoreInfo> {
        self.site.shards().iter().map(|port| self.core(port)).collect()
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        let mut reasons = Vec::new();
        for port in self.site.shards() {
            let log = port.view.log();
            if !port.view.ready.get() {
                reasons.push(format!("shard {} is still starting", port.view.shard));
            }
            if !matches!(log.word, "healthy" | "") {
                reasons.push(format!("shard {} acknowledges nothing: {}", port.view.shard, log.reason));
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn demo(&self) -> Option<http::Demo> {
        let demo = self.site.demo()?;
        let systems = crate::server::site::DemoSwitches::SYSTEMS.map(str::to_owned).to_vec();
        Some(http::Demo { systems, modes: demo.modes() })
    }

    fn inactive(&self) -> Vec<String> {
        let short = |sentence: String| {
            let name = sentence.split_once(" is checked").map_or(sentence.as_str(), |(name, _)| name);
            name.replacen("[[", "", 1).replacen("]]", "", 1)
        };
        self.site.config().inactive().into_iter().map(short).collect()
    }

    fn time_zone(&self) -> String {
        self.site.config().server.time_zone.clone()
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn now(&self) -> TimestampNs {
        SystemClock.wall()
    }
}

/// Adds counters to those of the same names.
fn add<'c>(to: &mut Vec<(String, u64)>, counters: impl Iterator<Item = (&'c str, u64)>) {
    for (name, count) in counters {
        match to.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known += count,
            None => to.push((name.to_owned(), count)),
        }
    }
}
