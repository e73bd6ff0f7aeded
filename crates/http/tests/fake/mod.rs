//! A plant made of sine waves: a [`Backend`] for tests and for looking at the dashboard.

#![allow(dead_code, reason = "shared by several test binaries and an example, each using a part")]

pub mod client;
pub mod flows;
pub mod story;

use futures_util::future::BoxFuture;
use hdrhistogram::Histogram;
use millstream_http::*;
use model::{Glob, Quality, TimestampNs, Value, ValueKind};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

pub const SECOND: i64 = 1_000_000_000;

/// What a fake tag does.
pub struct FakeTag {
    pub meta: Arc<TagMeta>,
    middle: f64,
    swing: f64,
    period_s: f64,
    pub quality: Quality,
    /// Confirmed last so many seconds ago.
    pub age_s: i64,
}

pub struct Fake {
    pub tags: Vec<FakeTag>,
    by_path: HashMap<String, usize>,
    /// Values that stand still because a test set them.
    pub set: Mutex<HashMap<String, (TimestampNs, Value)>>,
    /// What was ingested.
    pub ingested: Mutex<Vec<IngestSample>>,
    /// Commits resolve while this is true.
    pub committing: watch::Sender<bool>,
    /// What the next ingest is refused with.
    pub refusal: Mutex<Option<IngestError>>,
    pub reasons: Mutex<Vec<String>>,
    started: TimestampNs,
    /// Time stands still here where it is set.
    pub clock: Mutex<Option<TimestampNs>>,
}

impl Fake {
    /// The plant, with `extra` more tags of a vibration rig.
    pub fn plant(extra: usize) -> Fake {
        let mut fake = Fake {
            tags: Vec::new(),
            by_path: HashMap::new(),
            set: Mutex::default(),
            ingested: Mutex::default(),
            committing: watch::Sender::new(true),
            refusal: Mutex::default(),
            reasons: Mutex::default(),
            started: wall(),
            clock: Mutex::default(),
        };
        for press in 1..=4 {
            let at = format!("riverside/press/line1/press{press}");
            let source = format!("press{press}");
            let f = f64::from(press);
            fake.tag(
                &format!("{at}/temperature"),
                &source,
                "°C",
                Some([20.0, 210.0]),
                150.0 + 9.0 * f,
                30.0,
                240.0 + f,
            );
            fake.tag(&format!("{at}/pressure"), &source, "bar", Some([0.0, 180.0]), 110.0, 55.0, 37.0 + 3.0 * f);
            fake.tag(&format!("{at}/vibration"), &source, "mm/s", Some([0.0, 4.5]), 2.2, 0.9 + 0.3 * f, 61.0 - f);
            fake.tag_of(ValueKind::I64, &format!("{at}/cycles"), &source);
            fake.tag_of(ValueKind::Bool, &format!("{at}/running"), &source);
            fake.tag_of(ValueKind::Text, &format!("{at}/state"), &source);
        }
        for zone in 1..=12 {
            let path = format!("riverside/paint/line1/oven/zone{zone}");
            let f = f64::from(zone);
            fake.tag(&path, "oven", "°C", Some([160.0, 200.0]), 178.0 + f, 4.0, 300.0 + 11.0 * f);
        }
        for meter in 1..=8 {
            let at = format!("riverside/utilities/energy/meter{meter}");
            let f = f64::from(meter);
            fake.tag(
                &format!("{at}/power"),
                "energy-meters",
                "kW",
                Some([0.0, 90.0]),
                40.0 + 4.0 * f,
                12.0,
                130.0 + 7.0 * f,
            );
            fake.tag(&format!("{at}/energy"), "energy-meters", "kWh", None, 120_000.0 * f, 50.0, 4000.0);
        }
        for n in 0..extra {
            let path = format!("riverside/vibration/rig{:03}/axis{:03}", n / 100, n % 100);
            fake.tag(&path, "vibration-rig", "mm/s", None, 1.0, 0.5, 7.0 + (n % 13) as f64);
        }
        for tag in &mut fake.tags {
            match tag.meta.path.as_str() {
                path if path.contains("press3/") => (tag.quality, tag.age_s) = (Quality::BAD_NO_COMMUNICATION, 43),
                path if path.contains("meter7/") => tag.quality = Quality::UNCERTAIN_LAST_USABLE,
                path if path.ends_with("oven/zone5") => tag.age_s = 95,
                _ => {}
            }
        }
        fake
    }

    fn tag_of(&mut self, kind: ValueKind, path: &str, source: &str) {
        self.tag(path, source, "", None, 1_000.0, 900.0, 120.0);
        let last = self.tags.last_mut().expect("just pushed");
        last.meta = Arc::new(TagMeta { kind, ..(*last.meta).clone() });
    }

    #[expect(clippy::too_many_arguments, reason = "one line a tag reads best")]
    fn tag(&mut self, path: &str, source: &str, unit: &str, range: Option<[f64; 2]>, middle: f64, swing: f64, s: f64) {
        let meta = TagMeta {
            path: path.to_owned(),
            kind: ValueKind::F64,
            unit: unit.to_owned(),
            range,
            source: source.to_owned(),
            shard: u16::from(source != "oven"),
            stale_after_ns: Some(10 * SECOND),
        };
        self.by_path.insert(path.to_owned(), self.tags.len());
        let quality = Quality::GOOD;
        self.tags.push(FakeTag { meta: Arc::new(meta), middle, swing, period_s: s, quality, age_s: 0 });
    }

    pub fn find(&self, path: &str) -> Option<&FakeTag> {
        self.by_path.get(path).map(|at| &self.tags[*at])
    }

    fn at(&self, tag: &FakeTag, time: TimestampNs) -> Value {
        let t = time.0 as f64 / 1e9;
        let phase = t / tag.period_s * std::f64::consts::TAU;
        let noise = ((time.0 / 100_000_000).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64) >> 40) as f64 / 8_388_608.0;
        let v = tag.middle + tag.swing * (phase.sin() * 0.8 + (phase * 5.3).sin() * 0.15 + noise * 0.06);
        match tag.meta.kind {
            ValueKind::F64 => Value::F64(v),
            ValueKind::I64 => Value::I64(time.0 / SECOND / 12 % 100_000),
            ValueKind::Bool => Value::Bool(phase.sin() > -0.6),
            ValueKind::Text => Value::Text(if phase.sin() > -0.6 { "Running" } else { "Setup" }.into()),
        }
    }

    fn latest_at(&self, tag: &FakeTag, now: TimestampNs) -> Latest {
        if let Some((time, value)) = self.set.lock().expect("lock").get(&tag.meta.path) {
            let value = Some(value.clone());
            return Latest {
                tag: tag.meta.clone(),
                time: *time,
                source_time: None,
                value,
                quality: tag.quality,
                seen: now,
            };
        }
        let every = if tag.meta.path.contains("energy") { SECOND } else { SECOND / 10 };
        let time = now.plus_ns(-tag.age_s * SECOND).window_start(every);
        let source_time = (tag.meta.source == "oven").then(|| time.plus_ns(-3_000_000));
        let value = Some(self.at(tag, time));
        Latest { tag: tag.meta.clone(), time, source_time, value, quality: tag.quality, seen: time }
    }

    fn gaps(&self, source: &str, from: TimestampNs, to: TimestampNs) -> Vec<GapInfo> {
        let now = self.now();
        let gap = |a: TimestampNs, b: TimestampNs, reason: &'static str, count| GapInfo {
            source: source.to_owned(),
            from: a,
            to: b,
            reason: reason.into(),
            count,
        };
        let ten = now.window_start(600 * SECOND);
        let mut gaps = vec![gap(ten.plus_ns(-300 * SECOND), ten.plus_ns(-240 * SECOND), "timeout", Some(600))];
        if source == "press3" {
            gaps.push(gap(now.plus_ns(-43 * SECOND), now, "not-connected", None));
        }
        gaps.retain(|gap| gap.to > from && gap.from < to);
        gaps
    }
}

pub fn wall() -> TimestampNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    TimestampNs(since.as_nanos() as i64)
}

fn stage(lane: &'static str, name: &'static str, middle_ns: u64) -> StageInfo {
    let mut histogram = Histogram::<u64>::new_with_max(10_000_000_000, 3).expect("bounds");
    for n in 1..2_000_u64 {
        let spread = if n % 100 == 0 { n / 20 } else { 1 + n % 5 };
        histogram.saturating_record(middle_ns * spread / 2);
    }
    StageInfo::from_histogram(lane, name, &histogram)
}

/// Tags of a part: few, so that parts have to be put together.
const PART_TAGS: usize = 7;

impl Backend for Fake {
    fn tags(&self, glob: &Glob, part: usize) -> Option<Vec<Arc<TagMeta>>> {
        let tags = self.tags.chunks(PART_TAGS).nth(part)?;
        Some(tags.iter().filter(|tag| glob.matches(&tag.meta.path)).map(|tag| tag.meta.clone()).collect())
    }

    fn latest(&self, glob: &Glob, part: usize) -> Option<Vec<Latest>> {
        let now = self.now();
        let matching = self.tags.chunks(PART_TAGS).nth(part)?.iter().filter(|tag| glob.matches(&tag.meta.path));
        Some(matching.map(|tag| self.latest_at(tag, now)).collect())
    }

    fn latest_of(&self, paths: &[String]) -> Vec<Option<Latest>> {
        let now = self.now();
        paths.iter().map(|path| self.find(path).map(|tag| self.latest_at(tag, now))).collect()
    }

    fn samples(&self, query: SamplesQuery) -> BoxFuture<'static, Result<SamplesAnswer, QueryError>> {
        let Some(tag) = self.find(&query.tag) else {
            let nearest = query.tag.starts_with("river").then(|| self.tags[0].meta.path.clone());
            return Box::pin(std::future::ready(Err(QueryError::UnknownTag { nearest })));
        };
        let step = SECOND / 10;
        let gaps = self.gaps(&tag.meta.source, query.from, query.to);
        let mut time = query.from.plus_ns(step - 1).window_start(step);
        if let Some(after) = query.after {
            time = after.time.plus_ns(step);
        }
        let mut answer = SamplesAnswer { gaps, ..SamplesAnswer::default() };
        let end = query.to.min(self.now());
        while time < end {
            if answer.samples.len() == query.limit {
                answer.next = answer.samples.last().map(|last| Cursor { time: last.time, position: 0 });
                break;
            }
            if !answer.gaps.iter().any(|gap| gap.from <= time && time < gap.to) {
                let value = Some(self.at(tag, time));
                answer.samples.push(Sample { time, source_time: None, value, quality: Quality::GOOD });
            }
            time = time.plus_ns(step);
        }
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn rollups(&self, query: RollupsQuery) -> BoxFuture<'static, Result<RollupsAnswer, QueryError>> {
        let Some(tag) = self.find(&query.tag) else {
            return Box::pin(std::future::ready(Err(QueryError::UnknownTag { nearest: None })));
        };
        if tag.meta.kind == ValueKind::Text {
            return Box::pin(std::future::ready(Err(QueryError::NotNumeric)));
        }
        let gaps = self.gaps(&tag.meta.source, query.from, query.to);
        let mut rows = Vec::new();
        let mut start = query.from;
        let end = query.to.min(self.now());
        while start < end {
            let v = self.at(tag, start.plus_ns(query.every_ns / 2)).as_f64().expect("numeric");
            let wide = if tag.meta.kind == ValueKind::F64 { tag.swing } else { 0.0 };
            let spread = wide * 0.06 * (1.0 + (query.every_ns as f64 / 6e10).min(4.0));
            if !gaps.iter().any(|gap| gap.from <= start && start < gap.to) {
                rows.push(RollupRow {
                    start,
                    count: 10,
                    min: v - spread,
                    max: v + spread,
                    average: v,
                    last: v,
                    first: v,
                    delta: 0.0,
                    time_average: v,
                    percent_good: 100.0,
                });
            }
            start = start.plus_ns(query.every_ns);
        }
        Box::pin(std::future::ready(Ok(RollupsAnswer { rows, gaps })))
    }

    fn ingest(&self, samples: Vec<IngestSample>) -> BoxFuture<'static, Result<(), IngestError>> {
        if let Some(refusal) = self.refusal.lock().expect("lock").clone() {
            return Box::pin(std::future::ready(Err(refusal)));
        }
        self.ingested.lock().expect("lock").extend(samples);
        let mut committing = self.committing.subscribe();
        Box::pin(async move {
            let open = committing.wait_for(|open| *open).await.is_ok();
            if open { Ok(()) } else { Err(IngestError::Refused(model::Refused::Closed)) }
        })
    }

    fn native_prefix(&self, name: &str) -> Option<String> {
        (name == "vibration-rig").then(|| "riverside/vibration".to_owned())
    }

    fn sources(&self) -> Vec<SourceInfo> {
        let now = self.now();
        let ran_s = (now.0 - self.started.0) / SECOND + 3_600;
        let mut sources: Vec<SourceInfo> = Vec::new();
        for tag in &self.tags {
            if let Some(source) = sources.iter_mut().find(|source| source.name == tag.meta.source) {
                source.tags += 1;
                continue;
            }
            let name = tag.meta.source.as_str();
            let (state, reason, age) = match name {
                "press3" => (
                    "down",
                    "no connection to 127.0.0.1:5023 (connection refused); tried again every 2 s. Check the PLC's power and network.",
                    43,
                ),
                "energy-meters" => {
                    ("degraded", "unit 7 answers with \"gateway target failed\" since 12:04; 7 of 8 meters run", 600)
                }
                _ => ("running", "", 3_600),
            };
            let (kind, address) = match name {
                "oven" => ("opcua", "opc.tcp://127.0.0.1:4840/plant"),
                "vibration-rig" => ("native", ""),
                _ => ("modbus", "tcp://127.0.0.1:5021"),
            };
            let polls = (ran_s * 10) as u64;
            let taken = ((now.0 - self.started.0) / (SECOND / 60)) as u64 + 216_000;
            let mut counters = vec![("samples".to_owned(), if name == "press3" { 216_000 } else { taken })];
            if kind == "modbus" {
                counters.extend([
                    ("polls".to_owned(), polls),
                    ("timeouts".to_owned(), if name == "press3" { 21 } else { 0 }),
                    ("cycles_skipped".to_owned(), if name == "press1" { 600 } else { 0 }),
                ]);
            }
            sources.push(SourceInfo {
                name: name.to_owned(),
                kind: kind.into(),
                path: tag.meta.path.rsplit_once('/').map_or("", |(path, _)| path).to_owned(),
                address: address.to_owned(),
                shard: tag.meta.shard,
                state: state.into(),
                reason: reason.to_owned(),
                since: now.plus_ns(-age * SECOND),
                last_data: Some(now.plus_ns(-if name == "press3" { 43 * SECOND } else { SECOND / 8 })),
                tags: 1,
                counters,
                figures: if kind == "modbus" { vec![("depth".to_owned(), 4)] } else { Vec::new() },
            });
        }
        sources
    }

    fn cores(&self) -> Vec<CoreInfo> {
        let ran = (self.now().0 - self.started.0) as f64 / 1e9;
        let core = |shard: u16| CoreInfo {
            shard,
            core: Some(usize::from(shard)),
            io: if shard == 0 { "io_uring" } else { "epoll" },
            samples_per_second: 412_000.0 + 60_000.0 * (ran / 9.0 + f64::from(shard)).sin(),
            frames_per_second: 410.0 + 60.0 * (ran / 9.0).sin(),
            bytes_per_second: 3.3e6 + 4e5 * (ran / 9.0).sin(),
            tag_bytes: TagBytes { definitions: 60_000, latest: 12_500, rollups: 70_000 },
            samples_total: 91_234_567 + (ran * 412_000.0) as u64,
            log: LogInfo {
                health: if shard == 0 { "healthy" } else { "full" }.into(),
                reason: if shard == 0 {
                    ""
                } else {
                    "no space left on /var/lib/millstream; telemetry is not acknowledged until there is room"
                }
                .to_owned(),
                durable: 3_221_225_472 + (ran * 3.3e6) as u64,
                end: 3_221_291_008 + (ran * 3.3e6) as u64,
                segments: 49,
                bytes: 3_221_291_008,
                syncs: 81_234 + (ran * 180.0) as u64,
            },
            receive: ReceiveInfo { frames: 12_345_678, calls: 2_345_678, completions: 7_345_678 },
            allocations: None,
            stages: vec![
                stage("telemetry", "frames", 6_000),
                stage("telemetry", "modbus", 11_000),
                stage("telemetry", "log", 4_000),
                stage("request", "http", 90_000),
                stage("batch", "rollup flush", 40_000),
            ],
            cycle: stage("all", "cycle", 14_000),
            frame_to_visible: stage("telemetry", "visible", 9_000),
        };
        vec![core(0), core(1)]
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        let reasons = self.reasons.lock().expect("lock").clone();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn inactive(&self) -> Vec<String> {
        let names = [
            "request \"material-availability\"",
            "subscriber \"cmms\"",
            "subscriber \"portal\"",
            "sync \"stock\"",
            "batch \"shift\"",
        ];
        names.map(str::to_owned).to_vec()
    }

    fn time_zone(&self) -> String {
        "Europe/Amsterdam".to_owned()
    }

    fn version(&self) -> &'static str {
        "0.1.0"
    }

    fn now(&self) -> TimestampNs {
        self.clock.lock().expect("lock").unwrap_or_else(wall)
    }
}
