//! Keys of `[server]` and `[cores]`.

use super::{Form, HOUR, Key, Kind, MILLISECOND, SECOND, Section, YEAR, between};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

pub(super) static SERVER: Section = Section {
    title: "[server]",
    doc: "Where data lies and where Millstream listens.",
    keys: &[
        Key::new("data_dir", Kind::Text(Form::File), "Directory of logs and snapshots, relative to the working directory unless absolute.").text("data"),
        Key::new("http", Kind::Text(Form::Socket), "Address of HTTP: API, dashboard and metrics. Port 0 takes a free one.").text("127.0.0.1:8080"),
        Key::new("native", Kind::Text(Form::Socket), "Address of native frames, TCP and UDP alike. Port 0 takes a free one.").text("127.0.0.1:7070"),
        Key::new("time_zone", Kind::Text(Form::TimeZone), "IANA time zone of shifts and schedules.").text("UTC"),
        Key::new("log", Kind::Table(&LOG), "How the telemetry log is kept.").optional("its defaults"),
        Key::new("journal", Kind::Table(&JOURNAL), "How the journal of the flows is kept.").optional("its defaults"),
        Key::new(
            "insecure_off_loopback",
            Kind::Switch,
            "Lets `http` and `native` leave loopback although neither encryption nor tokens protect them yet: whoever reaches the port may read and write everything.",
        )
        .switch(false),
    ],
    variants: None,
    later: None,
};

static LOG: Section = Section {
    title: "log",
    doc: "Commit and retention of the telemetry log. The oldest closed segments go when `keep` or `keep_bytes` is passed, whichever comes first.",
    keys: &[
        Key::new(
            "sync",
            between(MILLISECOND, SECOND),
            "Longest wait before what was appended is synced to disk; one sync covers all that waited.",
        )
        .text("5ms"),
        Key::new(
            "segment",
            Kind::Size { min: MIB, max: 4 * GIB },
            "Size at which a segment is closed and the next begins; at least four times what is said at its head.",
        )
        .text("64MiB"),
        Key::new("keep", between(HOUR, YEAR), "Age at which closed segments go.").text("7d"),
        Key::new(
            "keep_bytes",
            Kind::Size { min: 16 * MIB, max: 1024 * TIB },
            "Size of the whole log at which its oldest closed segments go; at least two segments. Up to two files more wait to be used again by the next segments.",
        )
        .text("20GiB"),
    ],
    variants: None,
    later: None,
};

static JOURNAL: Section = Section {
    title: "journal",
    doc: "Retention of the journal, where messages, deliveries, alarms and the audit trail stand. What a flow has not finished with stays, whatever its age.",
    keys: &[
        Key::new("keep", between(HOUR, YEAR), "Age at which closed segments go.").text("30d"),
        Key::new(
            "keep_bytes",
            Kind::Size { min: 2 * MIB, max: 1024 * TIB },
            "Size of the whole journal at which its oldest closed segments go; at least two segments. Up to two files more wait to be used again by the next segments.",
        )
        .text("4GiB"),
        Key::new(
            "segment",
            Kind::Size { min: MIB, max: GIB },
            "Size at which a segment is closed and the next begins; at least four times what is said at its head. Up to 64 MiB, two files of this size are made ahead, where the disk has sixteen times the room.",
        )
        .text("16MiB"),
        Key::new(
            "backlog_bytes",
            Kind::Size { min: 2 * MIB, max: 1024 * TIB },
            "What may wait in the journal for flows that are behind, such as those whose target cannot be reached, before new messages are refused; at least two segments.",
        )
        .text("4GiB"),
    ],
    variants: None,
    later: None,
};

pub(super) static CORES: Section = Section {
    title: "[cores]",
    doc: "How many shards run, each one pinned thread on a core of its own.",
    keys: &[Key::new("count", Kind::Whole { min: 1, max: 256 }, "Number of shards.")
        .optional("every core that the process may use")],
    variants: None,
    later: None,
};
