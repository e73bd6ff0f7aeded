//! Keys of `[[request]]`.

use super::flow::{BREAKER, TIMEOUT, TO};
use super::{AMOUNT, By, DAY, Duration, Form, Key, Kind, MILLISECOND, NAME, Section, Variant, Variants, between, cel};

/// Most tags of an interlock.
const INTERLOCK_TAGS_MAX: usize = 32;
/// Most points that one request writes.
const POINTS_MAX: usize = 1_000;
/// Most tags that one request reads.
const READ_TAGS_MAX: usize = 256;

pub(super) static REQUEST: Section = Section {
    title: "[[request]]",
    doc: "Request/reply: `POST /v1/requests/{name}` asks a system, or reads, writes or calls a device.",
    keys: &[
        Key::new("name", NAME, "Name, unique among all flows."),
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
        Key::new("schema", Kind::Json, "JSON Schema that the caller's body must satisfy.").optional("any JSON"),
        Key::new(
            "body",
            cel(&["request"], "{'material': request.material}"),
            "CEL expression that makes the body; only with `to`.",
        )
        .optional("the caller's body"),
        Key::new(
            "answer",
            cel(&["answer", "status", "request"], "{'on_hand': answer.on_hand}"),
            "CEL expression that makes what the caller gets.",
        )
        .optional("the other side's answer as it is"),
        Key::new(
            "cache",
            between(MILLISECOND, DAY),
            "An answer up to this old may stand in, marked as such, while the other side is down; only with `to`.",
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
            Variant {
                name: "write_points",
                doc: "writes several points of devices in one call",
                keys: &[Key::new(
                    "write_points",
                    Kind::Table(&WRITE_POINTS),
                    "The points that may be written, each with its limits and the check afterwards.",
                )],
            },
            Variant {
                name: "read",
                doc: "reads tags of a device",
                keys: &[Key::new("read", Kind::Table(&READ), "The tags.")],
            },
            Variant {
                name: "call",
                doc: "calls a method of an OPC UA server",
                keys: &[Key::new("call", Kind::Table(&CALL), "The method and its arguments.")],
            },
        ],
    }),
    later: None,
};

static WRITE: Section = Section {
    title: "write",
    doc: "A write to one tag of a device. There is no other way to write to a device. What does not pass is refused before anything is sent, and every call leaves an audit record.",
    keys: &WRITE_KEYS,
    variants: None,
    later: None,
};

/// What may be written to a tag.
const WRITE_KEYS: [Key; 10] = [
    Key::new("source", NAME, "Name of the source."),
    Key::new(
        "tag",
        Kind::Text(Form::TagName),
        "The tag, relative to the source's path: `setpoint`, or `meter1/limit` where the source has units.",
    ),
    Key::new("range", Kind::Range, "Lowest and highest value that may be written.")
        .optional("allowed only for Modbus `bool` and `text`"),
    Key::new("step", AMOUNT, "Most that one write may change the value by; above 0.")
        .optional("anything within `range`"),
    Key::new("rate", Kind::Table(&RATE), "Most writes in a time.").optional("no limit"),
    Key::new("interlock", Kind::Table(&INTERLOCK), "What must be true of the plant.").optional("nothing"),
    Key::new("expect", Kind::Switch, "Must the caller send the old value that it expects?").switch(false),
    Key::new("read_back", between(MILLISECOND, Duration::from_secs(600)), "Read back within this time and compare.")
        .optional("not read back"),
    Key::new(
        "tolerance",
        AMOUNT,
        "Difference up to which two numbers are the same, in the comparisons of `read_back` and `expect`.",
    )
    .number(0.0),
    Key::new("revert", Kind::Table(&REVERT), "May a caller ask that the old value comes back by itself?")
        .optional("no"),
];

static WRITE_POINTS: Section = Section {
    title: "write_points",
    doc: "A write to several tags of devices in one call: `{\"points\": {NAME: value, …}}`. All of them are checked before anything is sent, and where one does not pass none is written.",
    keys: &[
        Key::new(
            "max_points",
            Kind::Whole { min: 1, max: POINTS_MAX as i64 },
            "Most points of one call; a call with more is refused.",
        )
        .whole(100),
        Key::new("point", Kind::Tables { of: &POINT, max: POINTS_MAX }, "What may be written. Nothing else is."),
    ],
    variants: None,
    later: None,
};

static POINT: Section = Section {
    title: "[[request.write_points.point]]",
    doc: "A point that may be written: a tag with the same safety envelope as `write` has.",
    keys: &with_name(WRITE_KEYS),
    variants: None,
    later: None,
};

const fn with_name(keys: [Key; 10]) -> [Key; 11] {
    let name = Key::new("name", Kind::Text(Form::TagName), "What callers name it by, unique in the request.")
        .optional("`tag`");
    let [a, b, c, d, e, f, g, h, i, j] = keys;
    [name, a, b, c, d, e, f, g, h, i, j]
}

static RATE: Section = Section {
    title: "rate",
    doc: "Most writes in a time.",
    keys: &[
        Key::new("writes", Kind::Whole { min: 1, max: 1_000 }, "How many."),
        Key::new("per", between(MILLISECOND, DAY), "The time that they are counted over."),
    ],
    variants: None,
    later: None,
};

static INTERLOCK: Section = Section {
    title: "interlock",
    doc: "What must be true of the plant before a device is written, told by live values.",
    keys: &[
        Key::new(
            "when",
            cel(&["value"], "value < 200"),
            "CEL expression that must be true, over the aliases of `tags`, too; `value` is what would be written.",
        ),
        Key::new(
            "tags",
            Kind::Texts { names: Form::Alias, of: Form::Path, max: INTERLOCK_TAGS_MAX },
            "Tags that the expression names by alias, with their whole paths.",
        ),
        Key::new("max_age", between(MILLISECOND, DAY), "A value that is older, or not good, refuses the write.")
            .text("5s"),
    ],
    variants: None,
    later: None,
};

static REVERT: Section = Section {
    title: "revert",
    doc: "The automatic way back to the old value.",
    keys: &[
        Key::new("max", between(Duration::from_millis(100), DAY), "The longest time that a caller may ask for."),
        Key::new(
            "default",
            between(Duration::from_millis(100), DAY),
            "The time when the caller asks for none; at most `max`.",
        )
        .optional("the new value stays"),
    ],
    variants: None,
    later: None,
};

static READ: Section = Section {
    title: "read",
    doc: "Reads tags of a device.",
    keys: &[
        Key::new("source", NAME, "Name of the source."),
        Key::new(
            "tags",
            Kind::List { of: &Kind::Text(Form::TagName), min: 1, max: READ_TAGS_MAX },
            "The tags, relative to the source's path.",
        ),
        Key::new("max_age", between(MILLISECOND, DAY), "A live value that is at most this old will do.")
            .optional("the device is asked each time"),
    ],
    variants: None,
    later: None,
};

static CALL: Section = Section {
    title: "call",
    doc: "Calls a method of an OPC UA server.",
    keys: &[
        Key::new("source", NAME, "Name of the source, of kind `opcua`."),
        Key::new("object", Kind::Text(Form::Node), "Object that the method belongs to."),
        Key::new("method", Kind::Text(Form::Node), "The method."),
        Key::new(
            "arguments",
            cel(&["request"], "[request.recipe, 20.0]"),
            "CEL expression that makes the list of input arguments.",
        )
        .optional("no arguments"),
    ],
    variants: None,
    later: None,
};
