//! `/v1/tags` and `/v1/latest`: filtered, sorted and paged here, so that a page of the dashboard
//! holds only what is visible.
//!
//! Paging is by `after` (the last tag of the page before, stable while tags come and go) or by
//! `offset` (for a table that jumps). `Millstream-Total` says how many rows match in all, and
//! `Link: …; rel="next"` where the next page is.

use crate::{
    backend::{Latest, TagMeta},
    encode::{self, Format, Frame, JsonValue, QualityName, Row, Time, csv_plain, csv_text, csv_value},
    limits::{GLOB_BYTES_MAX, ROWS_MAX},
    problem::{Problem, short},
    query::Params,
    routes,
    state::App,
};
use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::Response,
};
use model::Glob;
use serde::Serialize;
use std::{
    cmp::Ordering,
    collections::{HashSet, VecDeque},
    sync::Arc,
};

/// Rows that are merged in one go.
const MERGED_AT_ONCE: usize = 512;
/// How many rows match in all.
const TOTAL: HeaderName = HeaderName::from_static("millstream-total");

impl Row for Arc<TagMeta> {
    fn json(&self, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Tag<'a> {
            tag: &'a str,
            kind: &'static str,
            unit: &'a str,
            range: Option<[f64; 2]>,
            source: &'a str,
            shard: u16,
        }
        let tag = Tag {
            tag: &self.path,
            kind: self.kind.name(),
            unit: &self.unit,
            range: self.range,
            source: &self.source,
            shard: self.shard,
        };
        encode::to_json(&tag, out);
    }

    fn csv(&self, out: &mut Vec<u8>) {
        csv_text(&self.path, out);
        csv_plain(format_args!(",{},", self.kind.name()), out);
        csv_text(&self.unit, out);
        match self.range {
            Some([low, high]) => csv_plain(format_args!(",{low},{high},"), out),
            None => csv_plain(",,,", out),
        }
        csv_text(&self.source, out);
        csv_plain(format_args!(",{}", self.shard), out);
    }
}

/// A latest value as it goes over the wire; `brief` leaves out what a stream's reader knows.
#[derive(Serialize)]
pub(crate) struct LatestJson<'a> {
    tag: &'a str,
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_time: Option<Time>,
    value: JsonValue<'a>,
    quality: QualityName,
    unit: &'a str,
    seen: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_after_ms: Option<i64>,
}

impl<'a> LatestJson<'a> {
    /// Without what does not change with the value.
    pub(crate) fn brief(row: &'a Latest) -> LatestJson<'a> {
        LatestJson {
            tag: &row.tag.path,
            time: Time(row.time),
            source_time: row.source_time.map(Time),
            value: JsonValue(row.value.as_ref()),
            quality: QualityName(row.quality),
            unit: &row.tag.unit,
            seen: Time(row.seen),
            kind: None,
            range: None,
            source: None,
            stale_after_ms: None,
        }
    }

    fn full(row: &'a Latest) -> LatestJson<'a> {
        LatestJson {
            kind: Some(row.tag.kind.name()),
            range: row.tag.range,
            source: Some(&row.tag.source),
            stale_after_ms: row.tag.stale_after_ns.map(|ns| ns / 1_000_000),
            ..LatestJson::brief(row)
        }
    }
}

impl Row for Latest {
    fn json(&self, out: &mut Vec<u8>) {
        encode::to_json(&LatestJson::full(self), out);
    }

    fn csv(&self, out: &mut Vec<u8>) {
        csv_text(&self.tag.path, out);
        csv_plain(format_args!(",{},", self.time), out);
        if let Some(time) = self.source_time {
            csv_plain(time, out);
        }
        out.push(b',');
        csv_value(self.value.as_ref(), out);
        csv_plain(format_args!(",{},", self.quality), out);
        csv_text(&self.tag.unit, out);
        csv_plain(format_args!(",{}", self.seen), out);
    }
}

/// `GET /v1/tags`.
pub(crate) async fn tags(
    State(app): State<App>,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::TAGS, query.as_deref())?;
    let page = Page::of(&params)?;
    let search = search(&params)?;
    let of = |glob: &Glob, part| app.backend.tags(glob, part);
    let parts = gather(&params, of, |row| found(&search, &row.path), |row| &row.path).await?;
    let rows = sorted(parts, |a, b| a.path.cmp(&b.path)).await;
    Ok(page.answer(format, "tag,kind,unit,low,high,source,shard", rows, &uri, |row| &row.path))
}

/// `GET /v1/latest`.
pub(crate) async fn latest(
    State(app): State<App>,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::LATEST, query.as_deref())?;
    let page = Page::of(&params)?;
    let search = search(&params)?;
    let keep: fn(&Latest) -> bool = match params.get("quality") {
        None => |_| true,
        Some("good") => |row| row.quality.is_good(),
        Some("uncertain") => |row| row.quality.is_uncertain(),
        Some("bad") => |row| row.quality.is_bad(),
        Some("abnormal") => |row| !row.quality.is_good(),
        Some(other) => return Err(no_word("quality", other, "good, uncertain, bad or abnormal")),
    };
    let first: fn(&Latest, &Latest) -> Ordering = match params.get("sort") {
        None | Some("tag") => |_, _| Ordering::Equal,
        Some("quality") => |a, b| b.quality.cmp(&a.quality),
        Some("age") => |a, b| a.seen.cmp(&b.seen),
        Some(other) => return Err(no_word("sort", other, "tag, quality or age")),
    };
    let of = |glob: &Glob, part| app.backend.latest(glob, part);
    let wanted = |row: &Latest| keep(row) && found(&search, &row.tag.path);
    let parts = gather(&params, of, wanted, |row| &row.tag.path).await?;
    let rows = sorted(parts, |a, b| first(a, b).then_with(|| a.tag.path.cmp(&b.tag.path))).await;
    if page.after.is_some() && !matches!(params.get("sort"), None | Some("tag")) {
        return Err(Problem::parameter("after goes with sort=tag only; page other orders by offset"));
    }
    Ok(page.answer(format, "tag,time,source_time,value,quality,unit,seen", rows, &uri, |row| &row.tag.path))
}

fn no_word(name: &str, given: &str, known: &str) -> Problem {
    Problem::parameter(format!("{name}={} is unknown; write {known}", short(given)))
}

/// The rows of all globs (of `**` where none is given) that are wanted, each tag once, part by part: other
/// work on the core, telemetry first, comes between two parts.
async fn gather<T>(
    params: &Params,
    of: impl Fn(&Glob, usize) -> Option<Vec<T>>,
    wanted: impl Fn(&T) -> bool,
    path: impl Fn(&T) -> &String,
) -> Result<Vec<Vec<T>>, Problem> {
    let globs = params.globs()?.unwrap_or_else(|| vec![Glob::new("**")]);
    let mut known: HashSet<String> = HashSet::new();
    let mut parts = Vec::new();
    for glob in &globs {
        for part in 0.. {
            let Some(mut rows) = of(glob, part) else { break };
            rows.retain(|row| wanted(row) && (globs.len() == 1 || known.insert(path(row).clone())));
            if !rows.is_empty() {
                parts.push(rows);
            }
            tokio::task::yield_now().await;
        }
    }
    Ok(parts)
}

/// One list in order, of parts in none, with other work between its steps.
async fn sorted<T>(parts: Vec<Vec<T>>, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let mut runs: VecDeque<Vec<T>> = parts.into();
    for run in &mut runs {
        run.sort_unstable_by(&order);
        tokio::task::yield_now().await;
    }
    loop {
        let Some(left) = runs.pop_front() else { return Vec::new() };
        let Some(right) = runs.pop_front() else { return left };
        let mut merged = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let Some(next) = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if order(a, b).is_le() => left.next(),
            (Some(_), None) => left.next(),
            _ => right.next(),
        } {
            merged.push(next);
            if merged.len().is_multiple_of(MERGED_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
        runs.push_back(merged);
    }
}

fn search(params: &Params) -> Result<Vec<String>, Problem> {
    let text = params.get("search").unwrap_or("");
    if text.len() > GLOB_BYTES_MAX {
        return Err(Problem::parameter(format!("search is longer than {GLOB_BYTES_MAX} bytes; shorten it")));
    }
    Ok(text.to_lowercase().split_whitespace().map(str::to_owned).collect())
}

/// Whether a path holds every word of the search.
fn found(words: &[String], path: &str) -> bool {
    if words.is_empty() {
        return true;
    }
    let path = path.to_lowercase();
    words.iter().all(|word| path.contains(word.as_str()))
}

struct Page<'a> {
    limit: usize,
    offset: usize,
    after: Option<&'a str>,
}

impl<'a> Page<'a> {
    fn of(params: &'a Params) -> Result<Page<'a>, Problem> {
        Ok(Page {
            limit: params.number("limit", ROWS_MAX, 1, ROWS_MAX)?,
            offset: params.number("offset", 0, 0, usize::MAX)?,
            after: params.get("after"),
        })
    }

    /// Cuts the page out of all rows and says in the headers what lies beyond.
    fn answer<R: Row>(
        &self,
        format: Format,
        columns: &str,
        mut rows: Vec<R>,
        uri: &Uri,
        path: impl Fn(&R) -> &String,
    ) -> Response {
        let total = rows.len();
        let passed = self.after.map_or(0, |after| rows.partition_point(|row| path(row).as_str() <= after));
        let start = passed.saturating_add(self.offset).min(total);
        rows.drain(..start);
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = if more && self.offset == 0 {
            rows.last().map(|row| next_link(uri, "after", path(row)))
        } else {
            more.then(|| next_link(uri, "offset", &(self.offset + self.limit).to_string()))
        };
        let mut response = encode::rows(format, Frame::array(columns), rows);
        let headers = response.headers_mut();
        headers.insert(TOTAL, HeaderValue::from(total));
        if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
            headers.insert(header::LINK, next);
        }
        response
    }
}

/// The request's own address with one parameter replaced, as a Link header (RFC 8288).
pub(crate) fn next_link(uri: &Uri, name: &str, value: &str) -> String {
    let kept =
        uri.query().unwrap_or("").split('&').filter(|part| !part.is_empty() && part.split('=').next() != Some(name));
    let query: String = kept.map(|part| format!("{part}&")).collect();
    format!("<{}?{query}{name}={}>; rel=\"next\"", uri.path(), percent_encoded(value))
}

/// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3) and the slash.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
