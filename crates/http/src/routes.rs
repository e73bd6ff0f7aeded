//! The one table of routes: the router, the OpenAPI document, the check of query parameters and
//! the test that walks every route are all made from it.

use crate::{history, ingest, openapi, state::App, stream, system, tags};
use axum::routing::{MethodRouter, get, post};

mod flows;

pub(crate) use flows::*;

/// Where a parameter stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Query,
    Path,
    Header,
}

/// A parameter.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) about: &'static str,
    /// An example that works on any plant; also what the route test asks with.
    pub(crate) example: &'static str,
    pub(crate) required: bool,
    /// May stand several times.
    pub(crate) repeats: bool,
}

const fn optional(name: &'static str, about: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, about, example, required: false, repeats: false }
}

const fn required(name: &'static str, about: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, about, example, required: true, repeats: false }
}

const fn in_path(name: &'static str, about: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Path, about, example, required: true, repeats: false }
}

const fn header(name: &'static str, about: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Header, about, example, required: false, repeats: false }
}

const fn repeated(name: &'static str, about: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, about, example, required: false, repeats: true }
}

/// What a call answers when it goes well. The texts name schemas.
pub(crate) enum Answer {
    /// JSON, or CSV on request, of this schema.
    Rows(&'static str),
    /// An array of these as JSON, or CSV on request.
    List(&'static str),
    /// The same, or server-sent events on request.
    Events(&'static str),
    /// JSON only, of this schema.
    Json(&'static str),
    /// 202 with one of these.
    Accepted(&'static str),
    /// 202 with an array of these.
    AcceptedList(&'static str),
    /// 201, or 200 where all was there already, with an array of these.
    Written(&'static str),
    /// Another media type.
    Media(&'static str),
    /// 204.
    Nothing,
}

/// What a call takes.
pub(crate) struct Payload {
    /// Media types and the schema of each; an empty one is text.
    pub(crate) types: &'static [(&'static str, &'static str)],
    /// An example of the first of them that works on any plant.
    pub(crate) example: &'static str,
    /// May not be left out.
    pub(crate) required: bool,
}

/// One call.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// For POST.
    pub(crate) body: Option<Payload>,
    pub(crate) answer: Answer,
    pub(crate) handler: fn() -> MethodRouter<App>,
}

const MATCH: Parameter = repeated("match", "Glob over tag paths: `*` within a segment, `**` any number of them", "**");
const SEARCH: Parameter = optional("search", "Any part of the path, case ignored", "press");
const LIMIT: Parameter = optional("limit", "At most so many rows", "100");
const AFTER_TAG: Parameter = optional("after", "Go on behind this tag (sort=tag only)", "a");
const OFFSET: Parameter = optional("offset", "Leave out so many rows", "0");
const FROM: Parameter = optional("from", "From this server time on; RFC 3339, relative or ns", "-15m");
const TO: Parameter = optional("to", "Until just before this server time", "now");
const TAG: Parameter = required("tag", "The tag's path", "riverside/press/line1/press1/temperature");
const PRECISION: Parameter = optional("precision", "Unit of the times: ns, us, ms, s, m or h", "ns");
const LINE_BODY: Option<Payload> = Some(Payload {
    types: &[("text/plain", "")],
    example: "machine,line=1 temperature=21.5 1790000000000000000\n",
    required: true,
});

pub(crate) static HEALTHZ: Route = Route {
    method: "get",
    path: "/healthz",
    summary: "The process answers",
    parameters: &[],
    body: None,
    answer: Answer::Json("Status"),
    handler: || get(system::healthz),
};

pub(crate) static READYZ: Route = Route {
    method: "get",
    path: "/readyz",
    summary: "Millstream can do its work; 503 with the reasons where it cannot",
    parameters: &[],
    body: None,
    answer: Answer::Json("Status"),
    handler: || get(system::readyz),
};

pub(crate) static METRICS: Route = Route {
    method: "get",
    path: "/metrics",
    summary: "Prometheus text",
    parameters: &[],
    body: None,
    answer: Answer::Media("text/plain; version=0.0.4"),
    handler: || get(system::metrics),
};

pub(crate) static OPENAPI: Route = Route {
    method: "get",
    path: "/openapi.json",
    summary: "This description",
    parameters: &[],
    body: None,
    answer: Answer::Media("application/json"),
    handler: || get(openapi::document),
};

pub(crate) static STATUS: Route = Route {
    method: "get",
    path: "/v1/status",
    summary: "Version, server time, time zone, readiness, and what is configured but not active yet",
    parameters: &[],
    body: None,
    answer: Answer::Json("Status"),
    handler: || get(system::status),
};

pub(crate) static TAGS: Route = Route {
    method: "get",
    path: "/v1/tags",
    summary: "Tag metadata, by path",
    parameters: &[MATCH, SEARCH, LIMIT, AFTER_TAG, OFFSET],
    body: None,
    answer: Answer::List("Tag"),
    handler: || get(tags::tags),
};

pub(crate) static LATEST: Route = Route {
    method: "get",
    path: "/v1/latest",
    summary: "Latest value of each tag",
    parameters: &[
        MATCH,
        SEARCH,
        optional("quality", "Only these: good, uncertain, bad, or abnormal (not good)", "abnormal"),
        optional("sort", "tag (default), quality (worst first) or age (oldest first)", "tag"),
        LIMIT,
        AFTER_TAG,
        OFFSET,
    ],
    body: None,
    answer: Answer::List("Latest"),
    handler: || get(tags::latest),
};

pub(crate) static SAMPLES: Route = Route {
    method: "get",
    path: "/v1/samples",
    summary: "Raw samples of a tag in time order, with the gaps that touch the time",
    parameters: &[TAG, FROM, TO, LIMIT, optional("after", "The `next` of the answer before", "0.0")],
    body: None,
    answer: Answer::Rows("Samples"),
    handler: || get(history::samples),
};

pub(crate) static ROLLUPS: Route = Route {
    method: "get",
    path: "/v1/rollups",
    summary: "Rollup rows of a tag: windows of `every`, empty ones left out",
    parameters: &[
        TAG,
        FROM,
        TO,
        optional("every", "Width of a window: a whole number of seconds", "1m"),
        optional(
            "agg",
            "Columns, parted by commas: count, min, max, avg, last, first, delta, time_average, percent_good",
            "avg,min,max",
        ),
    ],
    body: None,
    answer: Answer::Rows("Rollups"),
    handler: || get(history::rollups),
};

pub(crate) static STREAM: Route = Route {
    method: "get",
    path: "/v1/stream",
    summary: "Server-sent events: `latest` with the rows that changed, at most four times a second",
    parameters: &[
        MATCH,
        repeated("tag", "A tag's very path", "a/b"),
        optional(
            "with",
            "Beside values, once a second: status, sources, cores, flows, alarms, seen (parted by commas)",
            "status,sources",
        ),
    ],
    body: None,
    answer: Answer::Media("text/event-stream"),
    handler: || get(stream::stream),
};

pub(crate) static SOURCES: Route = Route {
    method: "get",
    path: "/v1/sources",
    summary: "Every source with its state, reason and counters",
    parameters: &[],
    body: None,
    answer: Answer::Json("Sources"),
    handler: || get(system::sources),
};

pub(crate) static CORES: Route = Route {
    method: "get",
    path: "/v1/cores",
    summary: "Every core with its rates, its log and how long the polls of each stage took",
    parameters: &[],
    body: None,
    answer: Answer::Json("Cores"),
    handler: || get(system::cores),
};

pub(crate) static INGEST: Route = Route {
    method: "post",
    path: "/v1/ingest",
    summary: "Samples in: a JSON array or NDJSON; 204 once all of them are on disk",
    parameters: &[],
    body: Some(Payload {
        types: &[("application/json", "IngestSamples"), ("application/x-ndjson", "IngestSample")],
        example: r#"[{"tag":"riverside/vibration/rig1","time":"2026-01-31T12:00:00Z","value":1.5,"quality":"Good"}]"#,
        required: true,
    }),
    answer: Answer::Nothing,
    handler: || post(ingest::ingest),
};

pub(crate) static WRITE: Route = Route {
    method: "post",
    path: "/write",
    summary: "Influx line protocol; `db` names a native source; 204 once all of it is on disk",
    parameters: &[
        optional("db", "Name of a native source", "vibration-rig"),
        optional("bucket", "The same, by its newer name", "vibration-rig"),
        PRECISION,
        optional("rp", "Taken and ignored", "autogen"),
        optional("consistency", "Taken and ignored", "one"),
        optional("u", "Taken and ignored", ""),
        optional("p", "Taken and ignored", ""),
    ],
    body: LINE_BODY,
    answer: Answer::Nothing,
    handler: || post(ingest::write),
};

pub(crate) static API_V2_WRITE: Route = Route {
    method: "post",
    path: "/api/v2/write",
    summary: "Influx line protocol; `bucket` names a native source; 204 once all of it is on disk",
    parameters: &[
        optional("bucket", "Name of a native source", "vibration-rig"),
        optional("db", "The same, by its older name", "vibration-rig"),
        PRECISION,
        optional("org", "Taken and ignored", "plant"),
        optional("orgID", "Taken and ignored", "1"),
    ],
    body: LINE_BODY,
    answer: Answer::Nothing,
    handler: || post(ingest::write_v2),
};

/// Every call of the API. The dashboard's files are in `assets`.
pub(crate) static ROUTES: &[&Route] = &[
    &HEALTHZ,
    &READYZ,
    &METRICS,
    &OPENAPI,
    &STATUS,
    &TAGS,
    &LATEST,
    &SAMPLES,
    &ROLLUPS,
    &STREAM,
    &SOURCES,
    &CORES,
    &INGEST,
    &WRITE,
    &API_V2_WRITE,
    &FLOWS,
    &FLOW,
    &FLOW_PAUSE,
    &FLOW_RESUME,
    &DELIVERIES,
    &DEAD_LETTERS,
    &DEAD_LETTERS_REPLAY,
    &DEAD_LETTER,
    &DEAD_LETTER_REPLAY,
    &DEAD_LETTER_DISCARD,
    &TRACE,
    &BATCHES,
    &BATCH_RUN,
    &ALARMS,
    &ALARM_JOURNAL,
    &ALARM_ACTION,
    &EVENTS,
    &EVENTS_PUBLISH,
    &REQUEST,
    &RECORDS,
    &RECORDS_WRITE,
    &AUDIT,
    &DEMO,
];
