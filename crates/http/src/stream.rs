//! `/v1/stream`: server-sent events (WHATWG HTML, section 9.2) with what changed.
//!
//! Events
//! - `latest`: a JSON array of rows whose value, quality or time changed, all of them at first.
//! - `seen`: `[[tag, seen], …]` of rows that were confirmed without a change (where `with=seen`).
//! - `status`, `sources`, `cores`, `flows`: as their own calls answer, once a second (where `with`
//!   names them).
//! - `alarms`: `{"states","priorities","list"}`, counts and the most urgent alarms, as often.
//!
//! Invariants
//! - S1: at most [`STREAM_HZ`] times a second, whatever the rate beneath: a reader sees the newest
//!   value, not every value. A slow reader gets fewer events, never a growing queue.
//! - S2: an event holds at most [`ROWS_PER_PIECE`] rows, and the telemetry lane has its chance
//!   between two of them.

use crate::{
    alarms,
    backend::Latest,
    encode::{self, ROWS_PER_PIECE, Time},
    flows,
    limits::{GLOB_BYTES_MAX, STREAM_HZ, STREAM_TAGS_MAX},
    problem::{Problem, short},
    query::Params,
    routes,
    state::App,
    system,
    tags::LatestJson,
};
use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use model::{Glob, Quality, TimestampNs, Value};
use std::{collections::BTreeSet, collections::VecDeque, convert::Infallible, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, Interval, MissedTickBehavior},
};

/// How often the globs are matched again, so that new tags show up.
const MATCH_EVERY: Duration = Duration::from_secs(5);
/// Flows and alarms are waited for so long.
const WITH_PATIENCE: Duration = Duration::from_millis(250);
/// How often `with` events come.
const WITH_EVERY: Duration = Duration::from_secs(1);

/// `GET /v1/stream`.
pub(crate) async fn stream(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(&routes::STREAM, query.as_deref())?;
    let with = With::read(params.get("with"))?;
    let exact: Vec<String> = params.all("tag").map(str::to_owned).collect();
    if exact.len() > STREAM_TAGS_MAX || exact.iter().any(|tag| tag.len() > GLOB_BYTES_MAX) {
        return Err(Problem::parameter(format!("at most {STREAM_TAGS_MAX} tags are streamed; ask for fewer")));
    }
    let everything = exact.is_empty() && with == With::default();
    let globs = params.globs()?.unwrap_or_else(|| if everything { vec![Glob::new("**")] } else { Vec::new() });
    let seat = Seat::take(&app)?;
    let feed = Feed::new(app, globs, exact, with, seat);
    let body = Body::from_stream(stream::unfold(feed, |mut feed| async move {
        feed.next().await.map(|bytes| (Ok::<Bytes, Infallible>(bytes), feed))
    }));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// The place of one open stream; given back when dropped.
pub(crate) struct Seat {
    app: App,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Takes one.
    ///
    /// # Errors
    /// A [`Problem`] where all are taken.
    pub(crate) fn take(app: &App) -> Result<Seat, Problem> {
        let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
            app.counters.limit("streams");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "streams",
                "Too many event streams are open",
                format!("{} event streams are open; close one, or ask without a stream", app.limits.streams_max),
            )
            .retry_after(5)
        })?;
        app.counters.add(|sums| sums.streams_open += 1);
        Ok(Seat { app: app.clone(), _permit: permit })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.app.counters.add(|sums| sums.streams_open -= 1);
    }
}

/// What comes beside values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct With {
    status: bool,
    sources: bool,
    cores: bool,
    flows: bool,
    alarms: bool,
    seen: bool,
}

impl With {
    fn read(list: Option<&str>) -> Result<With, Problem> {
        let mut with = With::default();
        for word in list.unwrap_or("").split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "status" => with.status = true,
                "sources" => with.sources = true,
                "cores" => with.cores = true,
                "flows" => with.flows = true,
                "alarms" => with.alarms = true,
                "seen" => with.seen = true,
                other => {
                    let given = short(other);
                    return Err(Problem::parameter(format!(
                        "with holds {given}; write status, sources, cores, flows, alarms or seen"
                    )));
                }
            }
        }
        Ok(with)
    }
}

/// What a reader was told last of a tag.
#[derive(Clone)]
struct Told {
    time: TimestampNs,
    value: Option<Value>,
    quality: Quality,
}

impl Told {
    /// Whether nothing changed since; a NaN that stays one did not change.
    fn is_still(&self, row: &Latest) -> bool {
        let same = match (&self.value, &row.value) {
            (Some(Value::F64(a)), Some(Value::F64(b))) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        };
        same && self.time == row.time && self.quality == row.quality
    }
}

/// One reader's stream.
struct Feed {
    app: App,
    globs: Vec<Glob>,
    exact: Vec<String>,
    with: With,
    paths: Vec<String>,
    told: Vec<Option<Told>>,
    seen: Vec<TimestampNs>,
    tick: Interval,
    matched: Option<Instant>,
    with_sent: Option<Instant>,
    written: Instant,
    waiting: VecDeque<Bytes>,
    stopping: watch::Receiver<bool>,
    greeted: bool,
    _seat: Seat,
}

impl Feed {
    fn new(app: App, globs: Vec<Glob>, exact: Vec<String>, with: With, seat: Seat) -> Feed {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / STREAM_HZ);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = app.stopping.subscribe();
        Feed {
            app,
            globs,
            exact,
            with,
            paths: Vec::new(),
            told: Vec::new(),
            seen: Vec::new(),
            tick,
            matched: None,
            with_sent: None,
            written: Instant::now(),
            waiting: VecDeque::new(),
            stopping,
            greeted: false,
            _seat: seat,
        }
    }

    /// The next bytes; `None` when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            return Some(Bytes::from_static(b"retry: 2000\n\n"));
        }
        loop {
            if let Some(bytes) = self.waiting.pop_front() {
                self.written = Instant::now();
                tokio::task::yield_now().await;
                return Some(bytes);
            }
            if self.written.elapsed() >= self.app.limits.heartbeat {
                self.written = Instant::now();
                return Some(Bytes::from_static(b": alive\n\n"));
            }
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                _ = self.tick.tick() => {}
            }
            if self.matched.is_none_or(|at| at.elapsed() >= MATCH_EVERY) {
                self.match_again().await;
            }
            self.gather().await;
        }
    }

    /// Matches the globs again, keeping what the reader was told of tags that stay.
    async fn match_again(&mut self) {
        self.matched = Some(Instant::now());
        if self.globs.is_empty() && !self.paths.is_empty() {
            return;
        }
        let mut wanted: BTreeSet<String> = self.exact.iter().cloned().collect();
        for glob in &self.globs {
            for part in 0.. {
                let Some(tags) = self.app.backend.tags(glob, part) else { break };
                wanted.extend(tags.into_iter().map(|tag| tag.path.clone()));
                tokio::task::yield_now().await;
            }
        }
        if wanted.len() > STREAM_TAGS_MAX {
            self.app.counters.limit("stream-tags");
            let notice = format!(
                "{} tags match; the first {STREAM_TAGS_MAX} are streamed. Ask for fewer with match or tag.",
                wanted.len()
            );
            self.push("notice", &notice);
        }
        let wanted: Vec<String> = wanted.into_iter().take(STREAM_TAGS_MAX).collect();
        if wanted == self.paths {
            return;
        }
        let mut told = vec![None; wanted.len()];
        let mut seen = vec![TimestampNs(0); wanted.len()];
        for (at, path) in self.paths.iter().enumerate() {
            if let Ok(new) = wanted.binary_search(path) {
                told[new] = self.told[at].take();
                seen[new] = self.seen[at];
            }
        }
        (self.paths, self.told, self.seen) = (wanted, told, seen);
    }

    /// Puts what changed in the queue.
    async fn gather(&mut self) {
        let with_due = self.with_sent.is_none_or(|at| at.elapsed() >= WITH_EVERY);
        let mut confirmed: Vec<(String, Time)> = Vec::new();
        for start in (0..self.paths.len()).step_by(ROWS_PER_PIECE) {
            let end = (start + ROWS_PER_PIECE).min(self.paths.len());
            let rows = self.app.backend.latest_of(&self.paths[start..end]);
            let mut changed: Vec<&Latest> = Vec::new();
            for (at, row) in (start..end).zip(&rows).filter_map(|(at, row)| Some((at, row.as_ref()?))) {
                if !self.told[at].as_ref().is_some_and(|told| told.is_still(row)) {
                    self.told[at] = Some(Told { time: row.time, value: row.value.clone(), quality: row.quality });
                    self.seen[at] = row.seen;
                    changed.push(row);
                } else if self.with.seen && with_due && row.seen > self.seen[at] {
                    self.seen[at] = row.seen;
                    confirmed.push((row.tag.path.clone(), Time(row.seen)));
                }
            }
            if !changed.is_empty() {
                let rows: Vec<LatestJson<'_>> = changed.into_iter().map(LatestJson::brief).collect();
                self.push("latest", &rows);
            }
            if end < self.paths.len() {
                tokio::task::yield_now().await;
            }
        }
        if with_due {
            self.with_sent = Some(Instant::now());
            self.gather_with(&confirmed).await;
        }
    }

    async fn gather_with(&mut self, confirmed: &[(String, Time)]) {
        if !confirmed.is_empty() {
            self.push("seen", &confirmed);
        }
        if self.with.status {
            let status = system::status_json(&self.app);
            self.push("status", &status);
        }
        if self.with.sources {
            let sources = system::sources_json(&self.app);
            self.push("sources", &sources);
        }
        if self.with.cores {
            let cores = system::cores_json(&self.app);
            self.push("cores", &cores);
        }
        // The flows' shard may be slow; values go on all the same, and the next second asks again.
        if self.with.flows
            && let Ok(Ok(flows)) = tokio::time::timeout(WITH_PATIENCE, flows::every(&self.app)).await
        {
            self.push("flows", &flows);
        }
        if self.with.alarms
            && let Ok(Ok(alarms)) = tokio::time::timeout(WITH_PATIENCE, alarms::summary(&self.app)).await
        {
            self.push("alarms", &alarms);
        }
    }

    fn push(&mut self, event: &str, data: &impl serde::Serialize) {
        let mut out = Vec::with_capacity(1024);
        encode::csv_plain(format_args!("event: {event}\nid: {}\ndata: ", self.app.backend.now().0), &mut out);
        // JSON of ours has no line end in it, so one data line holds it.
        encode::to_json(data, &mut out);
        out.extend_from_slice(b"\n\n");
        self.waiting.push_back(out.into());
    }
}
