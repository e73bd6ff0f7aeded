//! Keys of `[[rollup]]` and `[[rule]]`.

use super::{
    AMOUNT, By, DAY, Duration, GLOB, Key, Kind, NAME, NUMBER, SECOND, Section, Variant, Variants, between, cel, up_to,
};

/// The words of aggregates; `crate::Aggregate::ALL` gives them their meaning.
pub(super) const AGGREGATES: &[&str] =
    &["count", "min", "max", "average", "time_average", "first", "last", "delta", "percent_good"];

const MATCH: &str = "Which tags, by path: `*` is one segment or a part of one, `**` any number of segments.";

pub(super) static ROLLUP: Section = Section {
    title: "[[rollup]]",
    doc: "Windows over samples, aligned to the Unix epoch in UTC.",
    keys: &[
        Key::new("name", NAME, "Unique name among rollups."),
        Key::new("match", GLOB, MATCH),
        Key::new("every", between(SECOND, DAY), "Length of a window, in whole seconds that divide a day."),
        Key::new(
            "aggregates",
            Kind::List { of: &Kind::Choice(AGGREGATES), min: 1, max: 9 },
            "What is kept of each window, by the definitions of OPC 10000-13.",
        )
        .list(&["count", "min", "max", "average", "last"]),
        Key::new("late", up_to(DAY), "A sample that comes up to this long after its window's end still changes it.")
            .text("10s"),
    ],
    variants: None,
    later: None,
};

pub(super) static RULE: Section = Section {
    title: "[[rule]]",
    doc: "A condition over tags that raises an alarm, in the words of ISA-18.2.",
    keys: &[
        Key::new("name", NAME, "Unique name among rules."),
        Key::new("match", GLOB, MATCH),
        Key::new(
            "kind",
            Kind::Choice(&["high", "low", "rate", "deviation", "change", "bit", "stale", "expression"]),
            "Condition.",
        ),
        Key::new("on_delay", up_to(DAY), "The condition must hold this long before the alarm becomes active.")
            .text("0s"),
        Key::new("off_delay", up_to(DAY), "The condition must be gone this long before the alarm clears.").text("0s"),
        Key::new("severity", Kind::Whole { min: 1, max: 1000 }, "Least 1, most 1000, as in OPC 10000-9.").whole(500),
        Key::new("event", NAME, "Event that is published when it becomes active.").optional("no event"),
        Key::new("message", cel(MESSAGE, "tag + ' is too hot'"), "CEL expression that makes the event's text.")
            .optional("a text made from the rule and the value"),
        Key::new("latch", Kind::Switch, "Does it stay active until an operator acknowledges it?").switch(false),
        Key::new("confirm", Kind::Switch, "Must an operator confirm what was done, after it was acknowledged?")
            .switch(false),
        Key::new("re_alarm", between(SECOND, DAY), "While it stays active, it counts as new again after this long.")
            .optional("never"),
    ],
    variants: Some(Variants { by: By::Value("kind"), of: CONDITIONS }),
    later: None,
};

/// What a rule's condition may name.
const SAMPLE: &[&str] = &["value", "quality", "tag", "time"];
/// What a rule's text may name.
const MESSAGE: &[&str] = &["rule", "tag", "value", "unit", "time", "limit", "severity"];

const CONDITIONS: &[Variant] = &[
    Variant {
        name: "high",
        doc: "The value is above `limit`, until it is below `clear`.",
        keys: &[
            Key::new("limit", NUMBER, "Active above this."),
            Key::new("clear", NUMBER, "Clear below this; at most `limit`.").optional("`limit`"),
        ],
    },
    Variant {
        name: "low",
        doc: "The value is below `limit`, until it is above `clear`.",
        keys: &[
            Key::new("limit", NUMBER, "Active below this."),
            Key::new("clear", NUMBER, "Clear above this; at least `limit`.").optional("`limit`"),
        ],
    },
    Variant {
        name: "rate",
        doc: "The value changes faster than `limit` a second, up or down.",
        keys: &[
            Key::new("limit", AMOUNT, "Most change per second."),
            Key::new("over", between(Duration::from_millis(100), DAY), "Over which the change is measured.")
                .text("10s"),
        ],
    },
    Variant {
        name: "deviation",
        doc: "The value is further than `limit` from `setpoint`.",
        keys: &[
            Key::new("setpoint", NUMBER, "What the value should be."),
            Key::new("limit", AMOUNT, "How far it may be from that."),
            Key::new("clear", AMOUNT, "Clear when it is nearer than this; at most `limit`.").optional("`limit`"),
        ],
    },
    Variant { name: "change", doc: "The value differs from the one before.", keys: &[] },
    Variant {
        name: "bit",
        doc: "A bit of an integer value has a state.",
        keys: &[
            Key::new("bit", Kind::Whole { min: 0, max: 63 }, "Bit, 0 the least significant."),
            Key::new("state", Kind::Switch, "Active when the bit is this.").switch(true),
        ],
    },
    Variant {
        name: "stale",
        doc: "No sample for a while.",
        keys: &[Key::new("after", between(Duration::from_millis(100), DAY), "Longest silence.")],
    },
    Variant {
        name: "expression",
        doc: "A CEL expression is true.",
        keys: &[Key::new("when", cel(SAMPLE, "value > 10"), "The expression.")],
    },
];
