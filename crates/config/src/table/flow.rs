//! Keys of the business side: subscribers, requests, records, syncs, batches, shifts, forwards.

use super::analysis::AGGREGATES;
use super::{
    By, CEL, DAY, Duration, Form, GLOB, HOUR, Key, Kind, MILLISECOND, NAME, SECRET, Section, Variant, Variants, YEAR,
    between, up_to,
};

/// Most names in a list of records, fields or rollups.
const NAMES_MAX: usize = 256;

static RETRY: Section = Section {
    title: "retry",
    doc: "How a delivery is tried again: waits double from `first` to `max`.",
    keys: &[
        Key::new("attempts", Kind::Whole { min: 1, max: 1_000_000 }, "Most tries before the dead letters.").whole(12),
        Key::new("first", between(MILLISECOND, HOUR), "Wait after the first failure.").text("500ms"),
        Key::new("max", between(MILLISECOND, DAY), "Longest wait; at least `first`.").text("1m"),
    ],
    variants: None,
    later: None,
};

static BREAKER: Section = Section {
    title: "breaker",
    doc: "A circuit breaker: after so many failures in a row calls are refused at once for a while.",
    keys: &[
        Key::new("failures", Kind::Whole { min: 1, max: 1_000 }, "Failures in a row that open it.").whole(5),
        Key::new("open", between(MILLISECOND, DAY), "Time that it stays open before one call tries.").text("10s"),
    ],
    variants: None,
    later: None,
};

pub(super) static TARGET: Section = Section {
    title: "to",
    doc: "Where something is sent. Millstream sends nowhere but to the targets of this file.",
    keys: &[],
    variants: Some(Variants { by: By::Presence, of: TARGETS }),
    later: None,
};

const TARGETS: &[Variant] = &[
    Variant {
        name: "http",
        doc: "an HTTP call",
        keys: &[
            Key::new(
                "http",
                Kind::Text(Form::HttpUrl),
                "Absolute URL; `{name}` in it stands for a field of a request's body.",
            ),
            Key::new("method", Kind::Choice(&["GET", "POST", "PUT", "PATCH", "DELETE"]), "Method.").text("POST"),
            Key::new("token", Kind::Table(&SECRET), "Bearer token.").optional("no Authorization header"),
        ],
    },
    Variant {
        name: "nats",
        doc: "a NATS subject",
        keys: &[
            Key::new("nats", Kind::Text(Form::NatsUrl), "Server address."),
            Key::new("subject", Kind::Text(Form::Subject), "Subject that is published to."),
            Key::new("token", Kind::Table(&SECRET), "Authentication token.").optional("no authentication"),
        ],
    },
    Variant {
        name: "mqtt",
        doc: "an MQTT topic, at QoS 1",
        keys: &[
            Key::new("mqtt", Kind::Text(Form::MqttUrl), "Broker address."),
            Key::new("topic", Kind::Text(Form::Path), "Topic that is published to."),
            Key::new("user", Kind::Text(Form::Plain), "User name.").optional("no authentication"),
            Key::new("token", Kind::Table(&SECRET), "Password of the user.").optional("no password"),
        ],
    },
    Variant {
        name: "folder",
        doc: "a directory, one file per delivery",
        keys: &[Key::new("folder", Kind::Text(Form::File), "Directory that the files are put into.")],
    },
];

const TO: Kind = Kind::Table(&TARGET);
const TIMEOUT: Kind = between(MILLISECOND, Duration::from_secs(600));
const RETRY_DOC: &str = "How a delivery is tried again.";
const EXPIRE_DOC: &str = "Age at which what is undelivered goes to the dead letters.";

pub(super) static SUBSCRIBER: Section = Section {
    title: "[[subscriber]]",
    doc: "One receiver of an event, with a cursor, retries and dead letters of its own.",
    keys: &[
        Key::new("name", NAME, "Unique name among subscribers."),
        Key::new("event", NAME, "Name of the event, from a rule or from `POST /v1/events`."),
        Key::new("from", Kind::StartAt, "Where a new subscriber begins: `\"now\"`, `\"earliest\"`, or an offset.")
            .text("now"),
        Key::new("when", CEL, "Only events for which this CEL expression over `event` is true.")
            .optional("every event"),
        Key::new("to", TO, "Receiver."),
        Key::new("body", CEL, "CEL expression over `event` that makes the body.").optional("the whole event as JSON"),
        Key::new("retry", Kind::Table(&RETRY), RETRY_DOC).optional("its defaults"),
        Key::new("timeout", TIMEOUT, "Deadline of one try.").text("10s"),
        Key::new("expire", between(Duration::from_secs(1), YEAR), EXPIRE_DOC).optional("never by age"),
    ],
    variants: None,
    later: Some("events come with a later release"),
};

pub(super) static REQUEST: Section = Section {
    title: "[[request]]",
    doc: "Request/reply: `POST /v1/requests/{name}` asks a system or writes to a device.",
    keys: &[
        Key::new("name", NAME, "Unique name among requests."),
        Key::new("timeout", TIMEOUT, "Longest time for an answer; the caller may ask for less.").text("5s"),
        Key::new(
            "max_in_flight",
            Kind::Whole { min: 1, max: 10_000 },
            "Calls that may be under way at once; what is beyond is refused.",
        )
        .whole(64),
        Key::new("breaker", Kind::Table(&BREAKER), "Circuit breaker.").optional("its defaults"),
        Key::new("role", Kind::Choice(&["viewer", "operator", "engineer", "admin"]), "Least role that may call.")
            .text("operator"),
        Key::new("body", CEL, "CEL expression over `request` that makes the body.").optional("the caller's body"),
        Key::new(
            "cache",
            between(MILLISECOND, DAY),
            "An answer up to this old may stand in, marked as such, while the other side is down.",
        )
        .optional("never"),
    ],
    variants: Some(Variants {
        by: By::Presence,
        of: &[
            Variant { name: "to", doc: "asks a system", keys: &[Key::new("to", TO, "The system; only `http`.")] },
            Variant {
                name: "write",
                doc: "writes to a device",
                keys: &[Key::new("write", Kind::Table(&WRITE), "The tag, its limits, and the check afterwards.")],
            },
        ],
    }),
    later: Some("request/reply comes with a later release"),
};

static WRITE: Section = Section {
    title: "write",
    doc: "A write to one tag of a device. There is no other way to write to a device.",
    keys: &[
        Key::new("source", NAME, "Name of the source."),
        Key::new(
            "tag",
            Kind::Text(Form::TagName),
            "The tag, relative to the source's path: `setpoint`, or `meter1/limit` where the source has units.",
        ),
        Key::new("range", Kind::Range, "Lowest and highest value that may be written.")
            .optional("allowed only for Modbus `bool` and `text`"),
        Key::new(
            "read_back",
            between(MILLISECOND, Duration::from_secs(600)),
            "Read back within this time and compare.",
        )
        .optional("not read back"),
    ],
    variants: None,
    later: None,
};

pub(super) static RECORD: Section = Section {
    title: "[[record]]",
    doc: "A kind of business document, taken at `POST /v1/records/{name}`.",
    keys: &[
        Key::new("name", NAME, "Unique name among records."),
        Key::new(
            "id",
            Kind::Text(Form::Field),
            "Field whose value identifies a document; the same id twice counts once.",
        ),
        Key::new("schema", Kind::Json, "JSON Schema that documents must satisfy.")
            .optional("any JSON object with the id"),
    ],
    variants: None,
    later: Some("records come with a later release"),
};

static SYNC_ON: Section = Section {
    title: "on",
    doc: "What sets a sync off.",
    keys: &[],
    variants: Some(Variants {
        by: By::Presence,
        of: &[
            Variant { name: "record", doc: "a document", keys: &[Key::new("record", NAME, "Name of a `[[record]]`.")] },
            Variant {
                name: "tag",
                doc: "a new value",
                keys: &[Key::new("tag", GLOB, "Path of a tag, or a glob over tags.")],
            },
        ],
    }),
    later: None,
};

pub(super) static SYNC: Section = Section {
    title: "[[sync]]",
    doc: "Keeps another system in step with records or tags.",
    keys: &[
        Key::new("name", NAME, "Unique name among syncs."),
        Key::new("on", Kind::Table(&SYNC_ON), "What sets it off."),
        Key::new("key", CEL, "CEL expression over `record` or `tag`; order is kept per key.")
            .optional("the record's id, or the tag"),
        Key::new("coalesce", Kind::Switch, "Does only the newest state of a key go out?").switch(false),
        Key::new("when", CEL, "Only where this CEL expression is true.").optional("always"),
        Key::new("to", TO, "Receiver."),
        Key::new("body", CEL, "CEL expression that makes the body.").optional("the whole record or sample as JSON"),
        Key::new("retry", Kind::Table(&RETRY), RETRY_DOC).optional("its defaults"),
        Key::new("timeout", TIMEOUT, "Deadline of one try.").text("10s"),
        Key::new("expire", between(Duration::from_secs(1), YEAR), EXPIRE_DOC).optional("never by age"),
    ],
    variants: None,
    later: Some("synchronisation comes with a later release"),
};

static BATCH_ROLLUP: Section = Section {
    title: "rollups",
    doc: "Figures that go into a batch.",
    keys: &[
        Key::new("match", GLOB, "Which tags."),
        Key::new("aggregate", Kind::Choice(AGGREGATES), "Which figure, over the batch's time."),
    ],
    variants: None,
    later: None,
};

pub(super) static BATCH: Section = Section {
    title: "[[batch]]",
    doc: "What gathered over a time goes out as one document with control totals.",
    keys: &[
        Key::new("name", NAME, "Unique name among batches."),
        Key::new(
            "at",
            Kind::Text(Form::Schedule),
            "When it runs: `shift-end`, or a cron expression of five fields in the server's time zone.",
        ),
        Key::new("delay", up_to(DAY), "Wait after that time for late records.").text("0s"),
        Key::new("records", Kind::List { of: &NAME, min: 0, max: NAMES_MAX }, "Names of `[[record]]`s that go in.")
            .list(&[]),
        Key::new("rollups", Kind::Tables { of: &BATCH_ROLLUP, max: NAMES_MAX }, "Rollup figures that go in.")
            .optional("none"),
        Key::new(
            "group_by",
            Kind::List { of: &Kind::Text(Form::Field), min: 0, max: NAMES_MAX },
            "Fields by which rows are summed up.",
        )
        .list(&[]),
        Key::new("format", Kind::Choice(&["csv", "json", "parquet"]), "Format of the document.").text("csv"),
        Key::new("to", TO, "Receiver."),
        Key::new("retry", Kind::Table(&RETRY), RETRY_DOC).optional("its defaults"),
        Key::new("timeout", TIMEOUT, "Deadline of one try.").text("1m"),
    ],
    variants: None,
    later: Some("batch comes with a later release"),
};

pub(super) static SHIFT: Section = Section {
    title: "[[shift]]",
    doc: "A part of the working day, in the server's time zone.",
    keys: &[
        Key::new("name", NAME, "Unique name among shifts."),
        Key::new("start", Kind::Text(Form::TimeOfDay), "When it begins."),
        Key::new("end", Kind::Text(Form::TimeOfDay), "When it ends; on the next day if not after `start`."),
        Key::new(
            "days",
            Kind::List { of: &Kind::Choice(&["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min: 1, max: 7 },
            "Days on which it begins.",
        )
        .list(&["mon", "tue", "wed", "thu", "fri", "sat", "sun"]),
    ],
    variants: None,
    later: Some("shifts come with batch, in a later release"),
};

pub(super) static FORWARD: Section = Section {
    title: "[[forward]]",
    doc: "Frames and events to a site above this one; the log is the buffer.",
    keys: &[
        Key::new("name", NAME, "Unique name among forwards."),
        Key::new("match", GLOB, "Which tags.").text("**"),
        Key::new("events", Kind::Switch, "Are events forwarded, too?").switch(true),
        Key::new("to", TO, "`nats` or `mqtt`."),
    ],
    variants: None,
    later: Some("forwarding comes with a later release"),
};
