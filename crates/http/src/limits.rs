//! What bounds the HTTP side, as named constants; [`Limits`] holds those that a test or a wiring changes.
//!
//! Every limit is counted when it is hit (`millstream_http_limits_total{limit=…}`), under the name
//! that stands in `name`.

use std::time::Duration;

/// Connections at the same time.
pub const CONNECTIONS_MAX: usize = 512;
/// Connections of one address, so that one client leaves room for others. Loopback is exempt: the
/// machine's own operator must get in.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 128;
/// Of all connections, so many are kept for loopback.
pub const CONNECTIONS_RESERVED: usize = 8;
/// Bytes of a request's head, and of what is buffered of an answer per connection.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header lines of a request.
pub const HEADERS_MAX: usize = 64;
/// Bytes of an ingest body.
pub const INGEST_BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes of all bodies that are being read or committed: four of the longest.
pub const INGEST_BYTES_IN_FLIGHT_MAX: usize = 4 * INGEST_BODY_BYTES_MAX;
/// Samples in one ingest body.
pub const INGEST_SAMPLES_MAX: usize = 100_000;
/// Bytes of one line of NDJSON or line protocol.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of names of line protocol that are kept with their paths: some hundred thousand names.
pub const NAMES_BYTES_MAX: usize = 32 << 20;
/// Samples or rows in an answer where the caller names no limit.
pub const ROWS_DEFAULT: usize = 10_000;
/// Samples or rows in an answer.
pub const ROWS_MAX: usize = 100_000;
/// Event streams at the same time.
pub const STREAMS_MAX: usize = 64;
/// Tags of one event stream.
pub const STREAM_TAGS_MAX: usize = 10_000;
/// Globs of one request.
pub const GLOBS_MAX: usize = 16;
/// Bytes of one glob or search text: twice the longest path.
pub const GLOB_BYTES_MAX: usize = 2 * model::limits::PATH_BYTES_MAX;
/// Rows of a list of the flows (deliveries, events, records, …) where the caller names no limit.
pub const LIST_DEFAULT: usize = 1_000;
/// Rows of a list of the flows.
pub const LIST_MAX: usize = 10_000;
/// Bytes of a page of the flows' journal in memory; one row that is longer comes alone.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// Deliveries that the answer about one flow shows.
pub const DELIVERIES_SHOWN_MAX: usize = 100;
/// Runs that the answer about a batch shows.
pub const RUNS_SHOWN_MAX: usize = 50;
/// Events or documents in one body.
pub const DOCUMENTS_MAX: usize = 1_000;
/// Bytes of one event or document.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Bytes of a body of events or documents.
pub const DOCUMENTS_BODY_BYTES_MAX: usize = 8 << 20;
/// Bytes of a request's body, or of what replaces a dead letter's.
pub const REQUEST_BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a body that says who acts and why.
pub const ACTION_BODY_BYTES_MAX: usize = 16 << 10;
/// Characters of a person's name.
pub const BY_CHARS_MAX: usize = 120;
/// Characters of a comment.
pub const COMMENT_CHARS_MAX: usize = 2_000;
/// Bytes of an `Idempotency-Key`, and of an event's text attributes.
pub const ATTRIBUTE_BYTES_MAX: usize = 1_024;
/// Attributes of an event beside those that CloudEvents names.
pub const EXTENSIONS_MAX: usize = 32;
/// The longest that `Prefer: wait=` is taken for, and that a request is waited for.
pub const REQUEST_WAIT_MAX: Duration = Duration::from_secs(300);
/// Wrong places that a refusal lists.
pub const WRONG_PLACES_MAX: usize = 100;
/// Events that an event stream reads at once.
pub const STREAM_EVENTS_PER_PAGE: usize = 64;
/// Alarms that the dashboard's stream lists.
pub const STREAM_ALARMS_TOP: usize = 50;
/// Times in a second that a stream says what changed.
pub const STREAM_HZ: u32 = 4;

/// The limits of one router and its connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// [`CONNECTIONS_PER_ADDRESS_MAX`].
    pub connections_per_address_max: usize,
    /// [`STREAMS_MAX`].
    pub streams_max: usize,
    /// [`INGEST_BODY_BYTES_MAX`].
    pub ingest_body_bytes_max: usize,
    /// A request's head must have come within this time; also how long a connection may idle
    /// between two requests.
    pub header_timeout: Duration,
    /// A request's body must have come within this time.
    pub body_timeout: Duration,
    /// A client that takes nothing of its answer for so long is closed.
    pub idle_timeout: Duration,
    /// A query is answered within this time, or refused.
    pub query_timeout: Duration,
    /// A commit is awaited for so long.
    pub commit_timeout: Duration,
    /// After a stop, connections have so long to finish.
    pub stop_timeout: Duration,
    /// How often a stream says that it is alive.
    pub heartbeat: Duration,
    /// Host names or addresses, without port, that this server is reached under beside loopback
    /// and the address of the connection itself. Others are refused (DNS rebinding).
    pub hosts: Vec<String>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            streams_max: STREAMS_MAX,
            ingest_body_bytes_max: INGEST_BODY_BYTES_MAX,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            query_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(15),
            hosts: Vec::new(),
        }
    }
}
