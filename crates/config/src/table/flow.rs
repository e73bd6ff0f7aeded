//! Keys of deliveries: subscribers, syncs and forwards, and how they are tried.

use super::target::ANSWERED;
use super::{
    AMOUNT, By, DAY, Duration, Form, GLOB, HOUR, Key, Kind, MILLISECOND, NAME, SECOND, Section, TARGET, Variant,
    Variants, YEAR, between, cel, up_to,
};

pub(super) static RETRY: Section = Section {
    title: "retry",
    doc: "How a delivery is tried again: waits double from `first` to `max`, each with full jitter. A target that cannot be reached uses up no tries.",
    keys: &[
        Key::new("attempts", Kind::Whole { min: 1, max: 1_000_000 }, "Most tries before the dead letters.").whole(12),
        Key::new("first", between(MILLISECOND, HOUR), "Wait after the first failure.").text("500ms"),
        Key::new("max", between(MILLISECOND, DAY), "Longest wait; at least `first`.").text("1m"),
    ],
    variants: None,
    later: None,
};

pub(super) static BREAKER: Section = Section {
    title: "breaker",
    doc: "A circuit breaker: after so many failures in a row nothing is tried for a while, and calls are refused at once.",
    keys: &[
        Key::new("failures", Kind::Whole { min: 1, max: 1_000 }, "Failures in a row that open it.").whole(5),
        Key::new("open", between(MILLISECOND, DAY), "Time that it stays open before one call tries.").text("10s"),
        Key::new(
            "open_max",
            between(MILLISECOND, DAY),
            "The longest that this time grows to; it doubles while the calls that try fail. At least `open`.",
        )
        .optional("5 minutes, or `open` where that is longer"),
    ],
    variants: None,
    later: None,
};

pub(super) const TO: Kind = Kind::Table(&TARGET);
pub(super) const TIMEOUT: Kind = between(MILLISECOND, Duration::from_secs(600));
pub(super) const RETRY_DOC: &str = "How a delivery is tried again.";
pub(super) const BREAKER_DOC: &str = "Circuit breaker of the receiver.";
const EXPIRE: Kind = between(SECOND, YEAR);
const EXPIRE_DOC: &str = "Age at which what is undelivered goes to the dead letters; longer than `timeout`.";
const DRAIN_RATE: Kind = Kind::Whole { min: 1, max: 100_000 };
const DRAIN_RATE_DOC: &str = "Most deliveries of a backlog that begin per second; what is new is not held back by it.";
const WINDOW: Kind = Kind::Whole { min: 64, max: 65_536 };
const WINDOW_DOC: &str = "Deliveries that are held in memory at once; what is beyond waits in the journal.";

const EVENT: &[&str] = &["event"];
const RECORD: &[&str] = &["record"];
/// What an expression of a sync may name; which of it depends on what sets the sync off.
const MESSAGE: &[&str] = &["record", "tag", "value", "quality", "time", "event"];

pub(super) static SUBSCRIBER: Section = Section {
    title: "[[subscriber]]",
    doc: "One receiver of an event, with a cursor, retries and dead letters of its own.",
    keys: &[
        Key::new("name", NAME, "Name, unique among all flows."),
        Key::new("event", NAME, "Name of the event, from a rule or from `POST /v1/events`."),
        Key::new("from", Kind::StartAt, "Where a new subscriber begins: `\"now\"`, `\"earliest\"`, or an offset.")
            .text("now"),
        Key::new("when", cel(EVENT, "event.severity >= 800"), "Only events for which this CEL expression is true.")
            .optional("every event"),
        Key::new("key", cel(EVENT, "event.source"), "CEL expression whose value orders: order is kept per key.")
            .text("event.source"),
        Key::new("to", TO, "Receiver."),
        Key::new("body", cel(EVENT, "{'text': event.message}"), "CEL expression that makes the body.")
            .optional("the whole event as JSON"),
        Key::new("retry", Kind::Table(&RETRY), RETRY_DOC).optional("its defaults"),
        Key::new("breaker", Kind::Table(&BREAKER), BREAKER_DOC).optional("its defaults"),
        Key::new("timeout", TIMEOUT, "Deadline of one try.").text("10s"),
        Key::new("expire", EXPIRE, EXPIRE_DOC).optional("never by age"),
        Key::new("drain_rate", DRAIN_RATE, DRAIN_RATE_DOC).whole(1_000),
        Key::new("window", WINDOW, WINDOW_DOC).whole(4_096),
    ],
    variants: None,
    later: None,
};

static SYNC_ON: Section = Section {
    title: "on",
    doc: "What sets a sync off, and so what its expressions are over.",
    keys: &[],
    variants: Some(Variants {
        by: By::Presence,
        of: &[
            Variant {
                name: "record",
                doc: "a document; expressions are over `record`",
                keys: &[Key::new("record", NAME, "Name of a `[[record]]`.")],
            },
            Variant {
                name: "tag",
                doc: "a new value; expressions are over `tag`, `value`, `quality` and `time`",
                keys: &[Key::new("tag", GLOB, "Path of a tag, or a glob over tags.")],
            },
            Variant {
                name: "event",
                doc: "an event; expressions are over `event`",
                keys: &[Key::new("event", NAME, "Name of the event, from a rule or from `POST /v1/events`.")],
            },
        ],
    }),
    later: None,
};

pub(super) static SYNC: Section = Section {
    title: "[[sync]]",
    doc: "Keeps another system in step with records, tags or events.",
    keys: &[
        Key::new("name", NAME, "Name, unique among all flows."),
        Key::new("on", Kind::Table(&SYNC_ON), "What sets it off."),
        Key::new("key", cel(MESSAGE, "record.material"), "CEL expression whose value orders: order is kept per key.")
            .optional("the record's `key` field or else its id, the tag, or the event's source"),
        Key::new("coalesce", Kind::Switch, "Does only the newest state of a key go out?").switch(false),
        Key::new("when", cel(MESSAGE, "record.quantity > 0"), "Only where this CEL expression is true.")
            .optional("always"),
        Key::new("to", TO, "Receiver."),
        Key::new("body", cel(MESSAGE, "{'material': record.material}"), "CEL expression that makes the body.")
            .optional("the whole record, sample or event as JSON"),
        Key::new("retry", Kind::Table(&RETRY), RETRY_DOC).optional("its defaults"),
        Key::new("breaker", Kind::Table(&BREAKER), BREAKER_DOC).optional("its defaults"),
        Key::new("timeout", TIMEOUT, "Deadline of one try.").text("10s"),
        Key::new("expire", EXPIRE, EXPIRE_DOC).optional("never by age"),
        Key::new("drain_rate", DRAIN_RATE, DRAIN_RATE_DOC).whole(1_000),
        Key::new("window", WINDOW, WINDOW_DOC).whole(4_096),
        Key::new("probe", Kind::Table(&PROBE), "Settles what was sent and not answered; only with an `http` target.")
            .optional("it is sent again, with the same idempotency key"),
        Key::new(
            "reconcile",
            Kind::Table(&RECONCILE),
            "Regular comparison of both sides; only with `on = { record = … }`.",
        )
        .optional("never"),
    ],
    variants: None,
    later: None,
};

static PROBE: Section = Section {
    title: "probe",
    doc: "Asks whether something that was sent and not answered took effect, with the credentials, certificates and headers of `to`.",
    keys: &[
        Key::new(
            "http",
            Kind::Text(Form::HttpTemplate),
            "Absolute URL; `{name}` and `{a.b}` in its path and query stand for fields of the record or event, or for `tag`, `value`, `quality` and `time`.",
        ),
        Key::new("method", Kind::Choice(&["GET", "HEAD", "POST"]), "Method.").text("GET"),
        Key::new("done", cel(ANSWERED, "status == 200"), "CEL expression that is true when it took effect."),
    ],
    variants: None,
    later: None,
};

static RECONCILE: Section = Section {
    title: "reconcile",
    doc: "Compares, key by key, what was sent with what the other side has, asked with the credentials, certificates and headers of `to`.",
    keys: &[
        Key::new("every", between(SECOND, YEAR), "How often.").text("1h"),
        Key::new(
            "http",
            Kind::Text(Form::HttpTemplate),
            "Absolute URL that is asked with GET; `{key}` in its path or query stands for the key.",
        ),
        Key::new("theirs", cel(&["answer"], "answer.on_hand"), "CEL expression that makes what the other side has."),
        Key::new("tolerance", AMOUNT, "Difference of two numbers up to which they are the same.").number(0.0),
        Key::new(
            "repair",
            Kind::Choice(&["report", "resend"]),
            "What happens with a difference: it is reported, or the key's records are sent again, too, under the idempotency keys that they had.",
        )
        .text("report"),
        Key::new("settle", up_to(DAY), "Keys with something under way, or younger than this, wait for the next time.")
            .text("1m"),
    ],
    variants: Some(Variants {
        by: By::Presence,
        of: &[
            Variant {
                name: "sum",
                doc: "what this side has is a sum over all records of the key",
                keys: &[Key::new(
                    "sum",
                    cel(RECORD, "record.quantity"),
                    "CEL expression that makes a number of a record.",
                )],
            },
            Variant {
                name: "last",
                doc: "what this side has is in the newest record of the key",
                keys: &[Key::new("last", cel(RECORD, "record.level"), "CEL expression over that record.")],
            },
        ],
    }),
    later: None,
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
