//! The table of keys: every section and key of the file with its type, default, limits and meaning.
//!
//! This is the single place where a key is named. Reading looks its types, defaults and limits up
//! here, an unknown key is compared with what stands here, and the JSON Schema and the reference
//! are written from here.
//!
//! What it does not do: relations between keys (a range and its order, a name that another section
//! must have) are checked where they are read.

mod analysis;
mod batch;
mod flow;
mod form;
mod request;
mod server;
mod source;
mod target;

use std::time::Duration;

pub(crate) use form::Form;
use target::{SECRET, TARGET};

/// A table of the file, or of a part of it.
#[derive(Debug)]
pub(crate) struct Section {
    /// How people call it: `[[source]]`, `to`.
    pub title: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Keys that it may have whatever its variant.
    pub keys: &'static [Key],
    /// Keys that depend on a choice.
    pub variants: Option<Variants>,
    /// Why it is only checked and does nothing yet.
    pub later: Option<&'static str>,
}

/// Keys that depend on a choice.
#[derive(Debug)]
pub(crate) struct Variants {
    /// What chooses.
    pub by: By,
    /// The choices.
    pub of: &'static [Variant],
}

/// What chooses a variant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By {
    /// The value of this key.
    Value(&'static str),
    /// The one key that is present, of those that the variants are named after.
    Presence,
}

/// One choice.
#[derive(Debug)]
pub(crate) struct Variant {
    /// The value or the key that chooses it.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Keys that it adds.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What happens without it.
    pub need: Need,
    /// What it means.
    pub doc: &'static str,
}

/// What happens when a key is left out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// That is a problem.
    Required,
    /// Something that this text describes.
    Optional(&'static str),
    /// It counts as this.
    Default(Preset),
}

/// A default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Preset {
    Text(&'static str),
    Whole(i64),
    Number(f64),
    Switch(bool),
    List(&'static [&'static str]),
}

/// What a key holds, with its limits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Text of a certain form.
    Text(Form),
    /// A CEL expression over these variables, with one that is right.
    Expression { over: &'static [&'static str], sample: &'static str },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An integer.
    Whole { min: i64, max: i64 },
    /// A finite number.
    Number { min: f64, max: f64 },
    /// true or false.
    Switch,
    /// A duration.
    Duration { min: Duration, max: Duration },
    /// A number of bytes.
    Size { min: u64, max: u64 },
    /// Two numbers, the lower first.
    Range,
    /// A list of texts or words.
    List { of: &'static Kind, min: usize, max: usize },
    /// `"now"`, `"earliest"` or an offset.
    StartAt,
    /// Unit ids with names: `{ 1 = "meter1" }`.
    Units,
    /// Names of one form with texts of another: `{ name = "text" }`.
    Texts { names: Form, of: Form, max: usize },
    /// Any table, taken as JSON.
    Json,
    /// A table.
    Table(&'static Section),
    /// Tables, each `[[name]]`.
    Tables { of: &'static Section, max: usize },
}

impl Key {
    pub(crate) const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, need: Need::Required, doc }
    }

    pub(crate) const fn optional(mut self, without: &'static str) -> Self {
        self.need = Need::Optional(without);
        self
    }

    pub(crate) const fn text(mut self, default: &'static str) -> Self {
        self.need = Need::Default(Preset::Text(default));
        self
    }

    pub(crate) const fn whole(mut self, default: i64) -> Self {
        self.need = Need::Default(Preset::Whole(default));
        self
    }

    pub(crate) const fn number(mut self, default: f64) -> Self {
        self.need = Need::Default(Preset::Number(default));
        self
    }

    pub(crate) const fn switch(mut self, default: bool) -> Self {
        self.need = Need::Default(Preset::Switch(default));
        self
    }

    pub(crate) const fn list(mut self, default: &'static [&'static str]) -> Self {
        self.need = Need::Default(Preset::List(default));
        self
    }
}

/// Most entries of a section other than sources and rules.
const ENTRIES_MAX: usize = 1_000;
/// Most shifts: three a day for each of twenty lines.
const SHIFTS_MAX: usize = 64;
/// Most rules.
const RULES_MAX: usize = 10_000;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// From zero to `max`.
const fn up_to(max: Duration) -> Kind {
    Kind::Duration { min: Duration::ZERO, max }
}

/// From `min` to `max`.
const fn between(min: Duration, max: Duration) -> Kind {
    Kind::Duration { min, max }
}

const NAME: Kind = Kind::Text(Form::Name);
const GLOB: Kind = Kind::Text(Form::Glob);
const NUMBER: Kind = Kind::Number { min: f64::MIN, max: f64::MAX };

/// An expression over variables.
const fn cel(over: &'static [&'static str], sample: &'static str) -> Kind {
    Kind::Expression { over, sample }
}

/// Zero or more.
const AMOUNT: Kind = Kind::Number { min: 0.0, max: f64::MAX };

/// The whole file.
pub(crate) static FILE: Section = Section {
    title: "the file",
    doc: "The configuration of a Millstream server.",
    keys: &[
        Key::new("server", Kind::Table(&server::SERVER), "Where data lies and where Millstream listens.")
            .optional("its defaults"),
        Key::new("cores", Kind::Table(&server::CORES), "How many shards run.").optional("its defaults"),
        Key::new(
            "source",
            Kind::Tables { of: &source::SOURCE, max: crate::SOURCES_MAX },
            "Devices, servers and producers.",
        )
        .optional("none"),
        Key::new("rollup", Kind::Tables { of: &analysis::ROLLUP, max: ENTRIES_MAX }, "Windows over samples.")
            .optional("none"),
        Key::new(
            "rule",
            Kind::Tables { of: &analysis::RULE, max: RULES_MAX },
            "Conditions that raise alarms and events.",
        )
        .optional("none"),
        Key::new("subscriber", Kind::Tables { of: &flow::SUBSCRIBER, max: ENTRIES_MAX }, "Receivers of events.")
            .optional("none"),
        Key::new(
            "request",
            Kind::Tables { of: &request::REQUEST, max: ENTRIES_MAX },
            "Request/reply with systems and devices.",
        )
        .optional("none"),
        Key::new("record", Kind::Tables { of: &batch::RECORD, max: ENTRIES_MAX }, "Kinds of business documents.")
            .optional("none"),
        Key::new("sync", Kind::Tables { of: &flow::SYNC, max: ENTRIES_MAX }, "Synchronisation with business systems.")
            .optional("none"),
        Key::new("batch", Kind::Tables { of: &batch::BATCH, max: ENTRIES_MAX }, "What goes out gathered.")
            .optional("none"),
        Key::new("shift", Kind::Tables { of: &batch::SHIFT, max: SHIFTS_MAX }, "Parts of the working day.")
            .optional("none"),
        Key::new("forward", Kind::Tables { of: &flow::FORWARD, max: ENTRIES_MAX }, "Sites above this one.")
            .optional("none"),
    ],
    variants: None,
    later: None,
};

impl Section {
    /// Every key that the section may have in any variant.
    pub(crate) fn all_keys(&self) -> impl Iterator<Item = &'static Key> + '_ {
        let variants = self.variants.as_ref().map_or(&[] as &[Variant], |v| v.of);
        self.keys.iter().chain(variants.iter().flat_map(|v| v.keys))
    }
}

#[cfg(test)]
mod tests;
