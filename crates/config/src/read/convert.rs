//! From TOML values and defaults to checked values, by kind.

use std::time::Duration;

use toml::de::DeValue;

use super::expression;
use crate::problem::Invalid;
use crate::quantity::{duration, show_duration, show_size, size};
use crate::table::{Key, Kind, Need, Preset, Section};

/// A value as it stands in the file, or a default, before its meaning is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Raw<'v> {
    Text(&'v str),
    Whole(i64),
    Number(f64),
    Switch(bool),
    /// Something else; the word for it.
    Other(&'static str),
}

impl<'v> Raw<'v> {
    pub(crate) fn of(value: &'v DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other("an integer of more than 64 bits"), Self::Whole),
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Self::Number(number),
                _ => Self::Other("a number that is infinite or none"),
            },
            DeValue::Boolean(value) => Self::Switch(*value),
            DeValue::Datetime(_) => Self::Other("a date or time without quotes"),
            DeValue::Array(_) => Self::Other("a list"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }

    /// A default as a value; a list has no single one.
    pub(crate) fn of_preset(preset: Preset) -> Self {
        match preset {
            Preset::Text(text) => Raw::Text(text),
            Preset::Whole(number) => Raw::Whole(number),
            Preset::Number(number) => Raw::Number(number),
            Preset::Switch(value) => Raw::Switch(value),
            Preset::List(_) => Raw::Other("a list"),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Raw::Text(_) => "a text",
            Raw::Whole(_) => "an integer",
            Raw::Number(_) => "a number",
            Raw::Switch(_) => "true or false",
            Raw::Other(word) => word,
        }
    }
}

/// The wrong type. Never repeats the value, which may be a secret that slipped to the wrong place.
fn mismatch(kind: &Kind, raw: Raw<'_>) -> Invalid {
    Invalid::new(format!("this is {}, where {} belongs", raw.word(), word(kind)), format!("write {}", sample(kind)))
}

/// What a kind is called, with its article.
pub(crate) fn word(kind: &Kind) -> String {
    match kind {
        Kind::Text(form) => format!("a text ({})", form.word()),
        Kind::Expression { .. } => "a text (CEL expression)".to_owned(),
        Kind::Choice(_) => "one of a few words".to_owned(),
        Kind::Whole { .. } => "an integer".to_owned(),
        Kind::Number { .. } => "a number".to_owned(),
        Kind::Switch => "true or false".to_owned(),
        Kind::Duration { .. } => "a duration in quotes".to_owned(),
        Kind::Size { .. } => "a size in quotes".to_owned(),
        Kind::Range => "a list of two numbers".to_owned(),
        Kind::List { .. } => "a list".to_owned(),
        Kind::StartAt => "\"now\", \"earliest\" or an offset".to_owned(),
        Kind::Units => "a table of unit ids and names".to_owned(),
        Kind::Texts { names, of, .. } => format!("a table of {}s and {}s", names.word(), of.word()),
        Kind::Json => "a table".to_owned(),
        Kind::Table(_) => "a table".to_owned(),
        Kind::Tables { .. } => "a list of tables".to_owned(),
    }
}

/// Something right of a kind, as TOML.
pub(crate) fn sample(kind: &Kind) -> String {
    match kind {
        Kind::Text(form) => format!("{:?}", form.sample()),
        Kind::Expression { sample, .. } => format!("{sample:?}"),
        Kind::Choice(words) => one_of(words),
        Kind::Whole { min, max } => (*min).max(1).min(*max).to_string(),
        Kind::Number { .. } => "10.5".to_owned(),
        Kind::Switch => "true or false".to_owned(),
        Kind::Duration { .. } => "a duration such as \"500ms\" or \"5s\"".to_owned(),
        Kind::Size { .. } => "a size such as \"64MiB\"".to_owned(),
        Kind::Range => "two numbers, for instance [0, 100]".to_owned(),
        Kind::List { of, .. } => match of {
            Kind::Choice(words) => format!("a list of {}", one_of(words)),
            other => format!("a list, for instance [{}]", sample(other)),
        },
        Kind::StartAt => "\"now\", \"earliest\" or an offset such as 1000".to_owned(),
        Kind::Units => "{ 1 = \"meter1\", 2 = \"meter2\" }".to_owned(),
        Kind::Texts { names, of, .. } => format!("{{ {} = {:?} }}", names.sample(), of.sample()),
        Kind::Json => "{ … }".to_owned(),
        Kind::Table(section) => table_sample(section),
        Kind::Tables { of, .. } => format!("{} entries", of.title),
    }
}

fn table_sample(section: &Section) -> String {
    let first = section.variants.as_ref().and_then(|variants| variants.of.first());
    let extra: &[Key] = first.map_or(&[], |variant| variant.keys);
    let needed = section.keys.iter().chain(extra).filter(|key| matches!(key.need, Need::Required));
    let parts: Vec<String> = needed.map(|key| format!("{} = {}", key.name, sample(&key.kind))).collect();
    if parts.is_empty() { "{ … }".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

pub(crate) fn text<'v>(kind: &Kind, raw: Raw<'v>) -> Result<&'v str, Invalid> {
    match (kind, raw) {
        (Kind::Text(form), Raw::Text(text)) => form.check(text).map(|()| text),
        _ => Err(mismatch(kind, raw)),
    }
}

/// A text whose form the caller checks by reading it.
pub(crate) fn unchecked_text<'v>(kind: &Kind, raw: Raw<'v>) -> Result<&'v str, Invalid> {
    match raw {
        Raw::Text(text) => Ok(text),
        _ => Err(mismatch(kind, raw)),
    }
}

pub(crate) fn choice<'v>(kind: &Kind, raw: Raw<'v>) -> Result<&'v str, Invalid> {
    let Kind::Choice(words) = kind else { return Err(mismatch(kind, raw)) };
    let Raw::Text(text) = raw else { return Err(mismatch(kind, raw)) };
    if words.contains(&text) {
        return Ok(text);
    }
    let what = format!("{text:?} is not one of the words that may stand here");
    let fix = match nearest(text, words.iter().copied()) {
        Some(word) => format!("did you mean {word:?}? It is one of {}", one_of(words)),
        None => format!("write {}", one_of(words)),
    };
    Err(Invalid::new(what, fix))
}

pub(crate) fn whole(kind: &Kind, raw: Raw<'_>) -> Result<i64, Invalid> {
    match (kind, raw) {
        (Kind::Whole { min, max }, Raw::Whole(number)) if (*min..=*max).contains(&number) => Ok(number),
        (Kind::Whole { min, max }, Raw::Whole(number)) => Err(Invalid::new(
            format!("{number} is not {min} to {max}"),
            format!("write an integer from {min} to {max}"),
        )),
        _ => Err(mismatch(kind, raw)),
    }
}

pub(crate) fn number(kind: &Kind, raw: Raw<'_>) -> Result<f64, Invalid> {
    let value = match raw {
        // An i64 beyond 2^53 is rounded, as every reader of JSON does.
        Raw::Whole(number) => number as f64,
        Raw::Number(number) => number,
        _ => return Err(mismatch(kind, raw)),
    };
    match kind {
        Kind::Number { min, max } if value >= *min && value <= *max => Ok(value),
        Kind::Number { min, .. } => Err(Invalid::new(format!("{value} is too small"), format!("write {min} or more"))),
        _ => Err(mismatch(kind, raw)),
    }
}

pub(crate) fn switch(kind: &Kind, raw: Raw<'_>) -> Result<bool, Invalid> {
    match raw {
        Raw::Switch(value) => Ok(value),
        _ => Err(mismatch(kind, raw)),
    }
}

pub(crate) fn span_of_time(kind: &Kind, raw: Raw<'_>) -> Result<Duration, Invalid> {
    let (Kind::Duration { min, max }, Raw::Text(text)) = (kind, raw) else {
        return Err(mismatch(kind, raw));
    };
    let value = duration(text)?;
    if value < *min || value > *max {
        let (min, max) = (show_duration(*min), show_duration(*max));
        return Err(Invalid::new(
            format!("{text:?} is not {min} to {max}"),
            format!("write a duration from {min} to {max}"),
        ));
    }
    Ok(value)
}

pub(crate) fn bytes(kind: &Kind, raw: Raw<'_>) -> Result<u64, Invalid> {
    let (Kind::Size { min, max }, Raw::Text(text)) = (kind, raw) else {
        return Err(mismatch(kind, raw));
    };
    let value = size(text)?;
    if value < *min || value > *max {
        let (min, max) = (show_size(*min), show_size(*max));
        return Err(Invalid::new(
            format!("{text:?} is not {min} to {max}"),
            format!("write a size from {min} to {max}"),
        ));
    }
    Ok(value)
}

pub(crate) fn start_at(kind: &Kind, raw: Raw<'_>) -> Result<crate::StartAt, Invalid> {
    match raw {
        Raw::Text("now") => Ok(crate::StartAt::Now),
        Raw::Text("earliest") => Ok(crate::StartAt::Earliest),
        Raw::Text(text) => {
            Err(Invalid::new(format!("{text:?} is no place to begin"), format!("write {}", sample(kind))))
        }
        Raw::Whole(offset) => match u64::try_from(offset) {
            Ok(offset) => Ok(crate::StartAt::Offset(offset)),
            Err(_) => Err(Invalid::new(format!("offset {offset} is below 0"), format!("write {}", sample(kind)))),
        },
        _ => Err(mismatch(kind, raw)),
    }
}

/// A wrong type of a value that is no scalar.
pub(crate) fn not_a(kind: &Kind, value: &DeValue<'_>) -> Invalid {
    mismatch(kind, Raw::of(value))
}

/// Checks a scalar against its kind; what defaults and list entries must pass.
pub(crate) fn check(kind: &Kind, raw: Raw<'_>) -> Result<(), Invalid> {
    match kind {
        Kind::Text(_) => text(kind, raw).map(drop),
        Kind::Expression { over, .. } => {
            expression::check(unchecked_text(kind, raw)?, over).map_err(|fault| fault.invalid)
        }
        Kind::Choice(_) => choice(kind, raw).map(drop),
        Kind::Whole { .. } => whole(kind, raw).map(drop),
        Kind::Number { .. } => number(kind, raw).map(drop),
        Kind::Switch => switch(kind, raw).map(drop),
        Kind::Duration { .. } => span_of_time(kind, raw).map(drop),
        Kind::Size { .. } => bytes(kind, raw).map(drop),
        Kind::StartAt => start_at(kind, raw).map(drop),
        Kind::Range
        | Kind::List { .. }
        | Kind::Units
        | Kind::Texts { .. }
        | Kind::Json
        | Kind::Table(_)
        | Kind::Tables { .. } => Err(mismatch(kind, raw)),
    }
}

/// The known word that is nearest to a wrong one, if any is near.
pub(crate) fn nearest<'w>(wrong: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Comparing takes time by the product of the lengths; no word of the table is this long.
    if wrong.len() > 64 {
        return None;
    }
    let folded = wrong.to_lowercase().replace('-', "_");
    known
        .map(|word| (strsim::damerau_levenshtein(&folded, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= 1 + wrong.len().min(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
