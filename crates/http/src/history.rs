//! `/v1/samples` and `/v1/rollups`: what is stored of one tag, and the gaps that touch that time.
//!
//! In CSV the gaps do not fit the columns; `Millstream-Gaps` says how many there are, and
//! `Link: …; rel="next"` stands for `next`.

use crate::{
    backend::{Cursor, GapInfo, QueryError, RollupRow, RollupsQuery, Sample, SamplesQuery},
    encode::{self, Format, Frame, JsonValue, QualityName, Row, Time, csv_plain, csv_value},
    limits::{ROWS_DEFAULT, ROWS_MAX},
    problem::{Problem, short},
    query::{Params, duration_ns},
    routes,
    state::App,
    tags::next_link,
};
use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use model::TimestampNs;
use serde::Serialize;
use serde_json::json;

/// How many gaps touch the asked time.
const GAPS: HeaderName = HeaderName::from_static("millstream-gaps");
const SECOND_NS: i64 = 1_000_000_000;

impl Row for Sample {
    fn json(&self, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct SampleJson<'a> {
            time: Time,
            #[serde(skip_serializing_if = "Option::is_none")]
            source_time: Option<Time>,
            value: JsonValue<'a>,
            quality: QualityName,
        }
        let sample = SampleJson {
            time: Time(self.time),
            source_time: self.source_time.map(Time),
            value: JsonValue(self.value.as_ref()),
            quality: QualityName(self.quality),
        };
        encode::to_json(&sample, out);
    }

    fn csv(&self, out: &mut Vec<u8>) {
        csv_plain(format_args!("{},", self.time), out);
        if let Some(time) = self.source_time {
            csv_plain(time, out);
        }
        out.push(b',');
        csv_value(self.value.as_ref(), out);
        csv_plain(format_args!(",{}", self.quality), out);
    }
}

/// `GET /v1/samples`.
pub(crate) async fn samples(
    State(app): State<App>,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::SAMPLES, query.as_deref())?;
    let tag = params.required("tag", "riverside/press/line1/press1/temperature")?.to_owned();
    let (from, to) = params.range(app.backend.now())?;
    let limit = params.number("limit", ROWS_DEFAULT, 1, ROWS_MAX)?;
    let after = match params.get("after") {
        None => None,
        Some(text) => Some(text.parse::<Cursor>().map_err(|()| {
            Problem::parameter(format!("after={} is no cursor; give the `next` of the answer before", short(text)))
        })?),
    };
    let asked = SamplesQuery { tag: tag.clone(), from, to, limit, after };
    let answer = within(&app, &tag, app.backend.samples(asked)).await?;
    let head = format!(r#"{{"tag":{},"from":"{from}","to":"{to}","samples":["#, json!(tag));
    let next = answer.next.map(|cursor| cursor.to_string());
    let tail = format!("],\n\"gaps\":{},\"next\":{}}}\n", gaps_json(&answer.gaps), json!(next));
    let frame = Frame { json_head: head, json_tail: tail, csv_head: "time,source_time,value,quality".to_owned() };
    let mut response = encode::rows(format, frame, answer.samples);
    note(&mut response, answer.gaps.len(), next.map(|next| next_link(&uri, "after", &next)));
    Ok(response)
}

/// A column of rollup rows.
#[derive(Clone, Copy, PartialEq)]
enum Aggregate {
    Count,
    Min,
    Max,
    Average,
    Last,
    First,
    Delta,
    TimeAverage,
    PercentGood,
}

impl Aggregate {
    /// What is answered where nothing is asked for: what memory has at once.
    const DEFAULT: usize = 5;
    const ALL: [(&'static str, Aggregate); 9] = [
        ("count", Aggregate::Count),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
        ("avg", Aggregate::Average),
        ("last", Aggregate::Last),
        ("first", Aggregate::First),
        ("delta", Aggregate::Delta),
        ("time_average", Aggregate::TimeAverage),
        ("percent_good", Aggregate::PercentGood),
    ];

    fn read(list: Option<&str>) -> Result<Vec<(&'static str, Aggregate)>, Problem> {
        let Some(list) = list else { return Ok(Self::ALL[..Self::DEFAULT].to_vec()) };
        let mut wanted: Vec<(&'static str, Aggregate)> = Vec::new();
        for name in list.split(',').map(str::trim) {
            let name = if name == "average" { "avg" } else { name };
            let Some(known) = Self::ALL.iter().find(|(known, _)| *known == name) else {
                return Err(Problem::parameter(format!(
                    "agg holds {}; write some of count, min, max, avg, last, first, delta, time_average, percent_good, parted by commas",
                    short(name)
                )));
            };
            if !wanted.contains(known) {
                wanted.push(*known);
            }
        }
        Ok(wanted)
    }

    fn of(self, row: &RollupRow) -> f64 {
        match self {
            Aggregate::Count => row.count as f64,
            Aggregate::Min => row.min,
            Aggregate::Max => row.max,
            Aggregate::Average => row.average,
            Aggregate::Last => row.last,
            Aggregate::First => row.first,
            Aggregate::Delta => row.delta,
            Aggregate::TimeAverage => row.time_average,
            Aggregate::PercentGood => row.percent_good,
        }
    }
}

/// A rollup row and the columns that are wanted of it.
struct Columns {
    row: RollupRow,
    wanted: std::sync::Arc<[(&'static str, Aggregate)]>,
}

impl Row for Columns {
    fn json(&self, out: &mut Vec<u8>) {
        csv_plain(format_args!("{{\"time\":\"{}\"", self.row.start), out);
        for (name, aggregate) in self.wanted.iter() {
            csv_plain(format_args!(",\"{name}\":"), out);
            match aggregate {
                Aggregate::Count => encode::to_json(&self.row.count, out),
                other => encode::to_json(&Some(other.of(&self.row)).filter(|v| v.is_finite()), out),
            }
        }
        out.push(b'}');
    }

    fn csv(&self, out: &mut Vec<u8>) {
        csv_plain(self.row.start, out);
        for (_, aggregate) in self.wanted.iter() {
            out.push(b',');
            match aggregate {
                Aggregate::Count => csv_plain(self.row.count, out),
                other if other.of(&self.row).is_finite() => csv_plain(other.of(&self.row), out),
                _ => {}
            }
        }
    }
}

/// `GET /v1/rollups`.
pub(crate) async fn rollups(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::ROLLUPS, query.as_deref())?;
    let tag = params.required("tag", "riverside/press/line1/press1/temperature")?.to_owned();
    let (from, to) = params.range(app.backend.now())?;
    let every = params.get("every").unwrap_or("1m");
    let every_ns = duration_ns(every).filter(|ns| *ns >= SECOND_NS && ns % SECOND_NS == 0).ok_or_else(|| {
        Problem::parameter(format!("every={} is not a whole number of seconds; write e.g. every=1m", short(every)))
    })?;
    let wanted = Aggregate::read(params.get("agg"))?;
    let windows = (i128::from(to.0) - i128::from(from.0)) / i128::from(every_ns);
    if windows > ROWS_MAX as i128 {
        app.counters.limit("rollup-rows");
        return Err(Problem::parameter(format!(
            "this asks for {windows} windows; at most {ROWS_MAX} are answered: take a larger every or a shorter time"
        ))
        .with("maximum", ROWS_MAX));
    }
    let start = from.window_start(every_ns);
    let all = wanted.iter().any(|one| !Aggregate::ALL[..Aggregate::DEFAULT].contains(one));
    let asked = RollupsQuery { tag: tag.clone(), from: start, to, every_ns, all };
    let answer = within(&app, &tag, app.backend.rollups(asked)).await?;
    let names: String = wanted.iter().map(|(name, _)| format!(",{name}")).collect();
    let head = format!(
        r#"{{"tag":{},"from":"{start}","to":"{to}","every_ms":{},"rollups":["#,
        json!(tag),
        every_ns / 1_000_000
    );
    let tail = format!("],\n\"gaps\":{}}}\n", gaps_json(&answer.gaps));
    let frame = Frame { json_head: head, json_tail: tail, csv_head: format!("time{names}") };
    let wanted: std::sync::Arc<[_]> = wanted.into();
    let rows = answer.rows.into_iter().map(|row| Columns { row, wanted: wanted.clone() }).collect();
    let mut response = encode::rows(format, frame, rows);
    note(&mut response, answer.gaps.len(), None);
    Ok(response)
}

/// Says in the headers how many gaps there are and where the next page is.
fn note(response: &mut Response, gaps: usize, next: Option<String>) {
    let headers = response.headers_mut();
    headers.insert(GAPS, HeaderValue::from(gaps));
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        headers.insert(header::LINK, next);
    }
}

fn gaps_json(gaps: &[GapInfo]) -> serde_json::Value {
    let time = |time: TimestampNs| time.to_string();
    gaps.iter()
        .map(|gap| {
            json!({
                "source": gap.source, "from": time(gap.from), "to": time(gap.to),
                "reason": gap.reason, "count": gap.count,
            })
        })
        .collect()
}

/// Waits for a query within its time, and says in HTTP's words why it has no answer.
async fn within<T>(app: &App, tag: &str, query: impl Future<Output = Result<T, QueryError>>) -> Result<T, Problem> {
    let limit = app.limits.query_timeout;
    let Ok(answer) = tokio::time::timeout(limit, query).await else {
        app.counters.limit("query-time");
        return Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "query-timeout",
            "The query took too long",
            format!("no answer within {} s; ask for a shorter time or a smaller limit", limit.as_secs()),
        ));
    };
    answer.map_err(|error| match error {
        QueryError::UnknownTag { nearest } => {
            let advice = match nearest {
                Some(near) => format!("did you mean {near:?}?"),
                None => "GET /v1/tags lists the known ones".to_owned(),
            };
            let detail = format!("there is no tag {}; {advice}", short(tag));
            Problem::new(StatusCode::NOT_FOUND, "unknown-tag", "The tag is unknown", detail)
        }
        QueryError::NotNumeric => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not-numeric",
            "The tag's values are text",
            format!("{} holds text, of which there are no rollups; ask /v1/samples for it", short(tag)),
        ),
        QueryError::Busy => {
            app.counters.limit("queries");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many queries wait",
                "too many queries wait for an answer; try again in a second",
            )
            .retry_after(1)
        }
        QueryError::Failed(reason) => {
            tracing::error!(?tag, %reason, "a query failed");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "query-failed", "The store could not be read", reason)
        }
        QueryError::Closed => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "Millstream is stopping",
            "Millstream is shutting down; try again when it is back",
        )
        .retry_after(5),
    })
}
