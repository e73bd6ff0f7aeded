//! Samples in: `/v1/ingest` (JSON array or NDJSON) and the Influx write calls.
//!
//! Invariants
//! - I1: 204 is sent only after [`Backend::ingest`](crate::Backend::ingest) said that everything is
//!   durable; a wait that ran out is a 504 that says the outcome is unknown.
//! - I2: memory is bounded before a body is read: by its own limit, and by that of all bodies
//!   together. Compressed bodies are refused, so that a small one cannot become a large one.
//! - I3: a body with one wrong line is refused as a whole, and the answer names the line.

use crate::{
    backend::{IngestError, IngestSample},
    body::{self, Held, json_error},
    known::Reader,
    limits::{INGEST_SAMPLES_MAX, LINE_BYTES_MAX},
    line,
    problem::{Problem, short},
    query::Params,
    routes,
    state::App,
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
};
use model::{Quality, Refused, TagPath, TimestampNs, Value, limits::TEXT_BYTES_MAX};
use serde::Deserialize;
use serde_json::Value as Json;

/// Lines or elements that are read in one poll.
const ROWS_PER_POLL: usize = 128;

/// `POST /v1/ingest`.
pub(crate) async fn ingest(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    Params::read(&routes::INGEST, query.as_deref())?;
    let held = text(&app, &headers, body).await?;
    let text = held.text.as_str();
    let samples =
        if text.trim_start().starts_with('[') { array(&app, text).await? } else { ndjson(&app, text).await? };
    commit(&app, samples, held).await
}

/// `POST /write`.
pub(crate) async fn write(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let params = Params::read(&routes::WRITE, query.as_deref())?;
    write_lines(app, params, headers, body).await
}

/// `POST /api/v2/write`.
pub(crate) async fn write_v2(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let params = Params::read(&routes::API_V2_WRITE, query.as_deref())?;
    write_lines(app, params, headers, body).await
}

/// Samples and, for each, the line or element that it came from (1-based).
#[derive(Default)]
struct Batch {
    samples: Vec<IngestSample>,
    places: Vec<u32>,
    /// `line` or `element`.
    place_word: &'static str,
}

impl Batch {
    fn of(place_word: &'static str) -> Batch {
        Batch { place_word, ..Batch::default() }
    }

    fn push(&mut self, app: &App, place: usize, sample: IngestSample) -> Result<(), Problem> {
        if self.samples.len() == INGEST_SAMPLES_MAX {
            app.counters.limit("ingest-samples");
            return Err(Problem::too_large(format!(
                "the body holds more than {INGEST_SAMPLES_MAX} samples; send it in several parts"
            )));
        }
        if let Value::Text(text) = &sample.value
            && text.len() > TEXT_BYTES_MAX
        {
            let reason = format!("the text has {} bytes; at most {TEXT_BYTES_MAX} are taken", text.len());
            return Err(self.wrong(place, &reason));
        }
        self.samples.push(sample);
        self.places.push(u32::try_from(place).unwrap_or(u32::MAX));
        Ok(())
    }

    /// The problem of a place in the body.
    fn wrong(&self, place: usize, reason: &str) -> Problem {
        let word = self.place_word;
        Problem::body(format!("{word} {place}: {reason}. Nothing of the body was taken; correct it and send all again"))
            .with(word, place)
    }
}

/// A tag's path.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn path(tag: &str) -> Result<TagPath, String> {
    TagPath::new(tag).map_err(|error| format!("tag {}: {error}", short(tag)))
}

/// A sample as it stands in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSample {
    tag: String,
    #[serde(default)]
    time: Option<Json>,
    value: Json,
    #[serde(default)]
    quality: Option<Json>,
}

impl JsonSample {
    fn sample(self) -> Result<IngestSample, String> {
        let value = match self.value {
            Json::Bool(v) => Value::Bool(v),
            Json::String(v) => Value::Text(v.into()),
            Json::Number(v) if v.is_u64() && v.as_i64().is_none() => {
                return Err(format!("value {v} is larger than a 64-bit signed number; write it as {v}.0"));
            }
            Json::Number(v) => match (v.as_i64(), v.as_f64()) {
                (Some(v), _) => Value::I64(v),
                (None, Some(v)) if v.is_finite() => Value::F64(v),
                _ => return Err(format!("value {v} is no number that 64 bits hold")),
            },
            other => {
                return Err(format!("value is {}; write a number, true, false or a text", short(&other.to_string())));
            }
        };
        let time = match self.time {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) => Some(
                TimestampNs::parse_rfc3339(&text)
                    .ok_or_else(|| format!("time {} is not RFC 3339; write 2026-01-31T12:00:00Z", short(&text)))?,
            ),
            Some(Json::Number(number)) => {
                Some(TimestampNs(number.as_i64().ok_or("time is no whole number of nanoseconds since 1970")?))
            }
            Some(_) => return Err("time is neither an RFC 3339 text nor nanoseconds since 1970".to_owned()),
        };
        let quality = match self.quality {
            None | Some(Json::Null) => Some(Quality::GOOD),
            Some(Json::String(text)) => Quality::parse(&text),
            Some(Json::Number(number)) => number.as_u64().and_then(|n| u32::try_from(n).ok()).map(Quality),
            Some(_) => None,
        };
        let quality = quality.ok_or("quality is no StatusCode; write a name such as \"Good\" or its number")?;
        Ok(IngestSample { tag: path(&self.tag)?, time, value, quality })
    }
}

/// Reads a JSON array element by element, so that a long one yields and a wrong one has a number.
async fn array(app: &App, text: &str) -> Result<Batch, Problem> {
    let mut batch = Batch::of("element");
    let mut rest = text.trim_start().strip_prefix('[').unwrap_or("").trim_start();
    let mut place = 0;
    if let Some(end) = rest.strip_prefix(']') {
        return trailing(end).map(|()| batch);
    }
    loop {
        place += 1;
        let mut elements = serde_json::Deserializer::from_str(rest).into_iter::<JsonSample>();
        let sample = match elements.next() {
            Some(Ok(element)) => element.sample().map_err(|reason| batch.wrong(place, &reason))?,
            Some(Err(error)) => return Err(batch.wrong(place, &json_error(&error))),
            None => return Err(batch.wrong(place, "the array has no end; write ']'")),
        };
        let read = elements.byte_offset();
        batch.push(app, place, sample)?;
        rest = rest.get(read..).unwrap_or("").trim_start();
        if let Some(end) = rest.strip_prefix(']') {
            return trailing(end).map(|()| batch);
        }
        rest = match rest.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None => return Err(batch.wrong(place, "neither ',' nor ']' follows")),
        };
        if place % ROWS_PER_POLL == 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn trailing(end: &str) -> Result<(), Problem> {
    if end.trim().is_empty() {
        return Ok(());
    }
    Err(Problem::body(format!("{} follows the end of the array; send one array", short(end.trim()))))
}

async fn ndjson(app: &App, text: &str) -> Result<Batch, Problem> {
    let mut batch = Batch::of("line");
    for (at, line) in text.split('\n').enumerate() {
        let place = at + 1;
        if line.trim().is_empty() {
            continue;
        }
        line_length(app, &batch, place, line)?;
        let sample = serde_json::from_str::<JsonSample>(line).map_err(|error| json_error(&error));
        let sample = sample.and_then(JsonSample::sample).map_err(|reason| batch.wrong(place, &reason))?;
        batch.push(app, place, sample)?;
        if place.is_multiple_of(ROWS_PER_POLL) {
            tokio::task::yield_now().await;
        }
    }
    Ok(batch)
}

fn line_length(app: &App, batch: &Batch, place: usize, line: &str) -> Result<(), Problem> {
    if line.len() <= LINE_BYTES_MAX {
        return Ok(());
    }
    app.counters.limit("line-bytes");
    Err(batch.wrong(place, &format!("it has {} bytes; at most {LINE_BYTES_MAX} are taken", line.len())))
}

async fn write_lines(app: App, params: Params, headers: HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    let word = params.get("precision").unwrap_or("ns");
    let unit_ns = line::precision_ns(word).ok_or_else(|| {
        Problem::parameter(format!("precision={} is unknown; write ns, us, ms, s, m or h", short(word)))
    })?;
    let prefix = prefix(&app, &params)?;
    let held = text(&app, &headers, body).await?;
    let mut batch = Batch::of("line");
    let mut reader = Reader::new(&prefix, unit_ns, line::is_plain(&held.text));
    let mut lines = line::lines(&held.text);
    let mut place = 1;
    while some_lines(&app, &mut batch, &mut reader, &mut lines, &mut place)? {
        tokio::task::yield_now().await;
    }
    drop(lines);
    commit(&app, batch, held).await
}

/// Reads as many lines as one poll may; whether there are more.
fn some_lines<'b>(
    app: &App,
    batch: &mut Batch,
    reader: &mut Reader<'_>,
    lines: &mut impl Iterator<Item = &'b str>,
    place: &mut usize,
) -> Result<bool, Problem> {
    let mut names = app.names();
    for _ in 0..ROWS_PER_POLL {
        let Some(line) = lines.next() else { return Ok(false) };
        line_length(app, batch, *place, line)?;
        let time = reader.read(&mut names, line).map_err(|reason| batch.wrong(*place, &reason))?;
        for (tag, value) in reader.fields.drain(..) {
            batch.push(app, *place, IngestSample { tag, time, value, quality: Quality::GOOD })?;
        }
        *place += 1 + line.matches('\n').count();
    }
    Ok(true)
}

/// The path of the native source that `db` or `bucket` names.
fn prefix(app: &App, params: &Params) -> Result<String, Problem> {
    let named = ["db", "bucket"].into_iter().find_map(|name| params.get(name).filter(|value| !value.is_empty()));
    let known = || match app.backend.native_names().as_slice() {
        [] => "the configuration has no source of kind \"native\"; add one".to_owned(),
        names => format!("known are {}", names.join(", ")),
    };
    let Some(name) = named else {
        return Err(Problem::parameter(format!("db (or bucket) is missing; it names a native source: {}", known())));
    };
    app.backend.native_prefix(name).ok_or_else(|| {
        let detail = format!("there is no native source {}; {}", short(name), known());
        Problem::new(StatusCode::NOT_FOUND, "unknown-source", "The native source is unknown", detail)
    })
}

/// Reads a body of samples and counts its bytes.
async fn text(app: &App, headers: &HeaderMap, body: Body) -> Result<Held, Problem> {
    let held = body::text(app, headers, body, app.limits.ingest_body_bytes_max, "ingest-body-bytes").await?;
    app.counters.add(|sums| sums.ingest_bytes += held.text.len() as u64);
    Ok(held)
}

/// Hands the samples over and waits until they are durable.
async fn commit(app: &App, batch: Batch, held: Held) -> Result<StatusCode, Problem> {
    let count = batch.samples.len();
    if count == 0 {
        return Ok(StatusCode::NO_CONTENT);
    }
    let Batch { samples, places, place_word } = batch;
    let limit = app.limits.commit_timeout;
    let Ok(outcome) = tokio::time::timeout(limit, app.backend.ingest(samples)).await else {
        app.counters.limit("commit-time");
        return Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "commit-timeout",
            "The commit took too long",
            format!(
                "the disk did not confirm within {} s; whether the samples are stored is not known, send them again",
                limit.as_secs()
            ),
        ));
    };
    drop(held);
    match outcome {
        Ok(()) => {
            app.counters.add(|sums| sums.ingest_samples += count as u64);
            Ok(StatusCode::NO_CONTENT)
        }
        Err(IngestError::Sample { index, reason }) => {
            let place = places.get(index).copied().unwrap_or_default();
            Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "sample-refused",
                "A sample cannot be taken",
                format!("{place_word} {place}: {reason}. Nothing of the body was taken"),
            )
            .with(place_word, place))
        }
        Err(IngestError::Refused(refused)) => Err(refusal(app, refused)),
    }
}

fn refusal(app: &App, refused: Refused) -> Problem {
    let (status, kind, retry_s) = match refused {
        Refused::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy", Some(1)),
        Refused::Disk => (StatusCode::SERVICE_UNAVAILABLE, "disk", Some(30)),
        Refused::Closed => (StatusCode::SERVICE_UNAVAILABLE, "stopping", Some(5)),
        Refused::Limit => (StatusCode::UNPROCESSABLE_ENTITY, "tag-limit", None),
    };
    app.counters.limit(match refused {
        Refused::Busy => "ingest-back-pressure",
        Refused::Disk => "ingest-disk",
        Refused::Closed => "ingest-closed",
        Refused::Limit => "ingest-tags",
    });
    let problem = Problem::new(status, kind, "Samples are not taken now", refused.to_string());
    retry_s.into_iter().fold(problem, Problem::retry_after)
}
