//! `[server]` and `[cores]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[server]`: where data lies and where Millstream listens.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Directory of logs and snapshots; relative to the working directory unless absolute.
    pub data_dir: PathBuf,
    /// Address of HTTP: API, dashboard, metrics. Default 127.0.0.1:8080.
    pub http: SocketAddr,
    /// Address of native frames, TCP and UDP alike. Default 127.0.0.1:7070.
    pub native: SocketAddr,
    /// IANA time zone of shifts and schedules; default `UTC`.
    pub time_zone: String,
    /// How the telemetry log is kept.
    pub log: LogSettings,
    /// How the journal of the flows is kept.
    pub journal: JournalSettings,
    /// `insecure_off_loopback`: the addresses may leave loopback though nothing protects them.
    pub insecure: bool,
}

/// `[server] log`: commit and retention of the telemetry log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSettings {
    /// Longest wait before what was appended is synced to disk. Default 5 ms.
    pub sync: Duration,
    /// Size at which a segment is closed and the next begins. Default 64 MiB.
    pub segment_bytes: u64,
    /// Age at which closed segments may go. Default 7 days.
    pub keep: Duration,
    /// Size of the whole log at which its oldest closed segments go. Default 20 GiB.
    pub keep_bytes: u64,
}

/// `[server] journal`: retention of the journal, where messages, deliveries, alarms and the audit
/// trail stand.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalSettings {
    /// Age at which closed segments may go, once every flow is past them. Default 30 days.
    pub keep: Duration,
    /// Size of the journal at which its oldest closed segments go, once every flow is past them.
    /// Default 4 GiB; at least two segments.
    pub keep_bytes: u64,
    /// Size at which a segment is closed and the next begins. Default 16 MiB.
    pub segment_bytes: u64,
    /// What may wait in the journal for flows that are behind (a target that cannot be reached)
    /// before new messages are refused. Default 4 GiB; at least two segments.
    pub backlog_bytes: u64,
}

/// `[cores]`: how many shards run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// Number of shards, 1 to 256; `None`: one per core that the process may use.
    pub count: Option<usize>,
}
