//! Parts that several sections share: names, ranges, secrets, retries, breakers, JSON.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::Context;
use super::convert::{self, Raw};
use super::row::Row;
use crate::flow::{Breaker, Retry};
use crate::table::Kind;
use crate::{Record, Secret};

/// Longest time that a circuit stays open, unless `open` is longer.
const OPEN_MAX: Duration = Duration::from_secs(300);

/// Names that must be unique within a section.
#[derive(Default)]
pub(super) struct Names {
    lines: HashMap<String, u32>,
}

impl Names {
    /// Reads `name` and reports it when it is taken. Empty where it is wrong.
    pub(super) fn take(&mut self, row: &Row<'_>) -> String {
        let name = row.required_text("name");
        if name.is_empty() {
            return name;
        }
        let line = row.cx.line(row.span("name").start);
        if let Some(taken) = self.lines.get(&name) {
            let what = format!("the name {name:?} is already taken in line {taken}");
            row.refuse("name", &what, "give each entry of a section a name of its own");
        } else {
            self.lines.insert(name.clone(), line);
        }
        name
    }
}

/// Names that must be unique over several sections, because `/v1/flows/{name}` knows all of them.
#[derive(Default)]
pub(super) struct FlowNames {
    taken: Vec<FlowName>,
}

struct FlowName {
    name: String,
    section: &'static str,
    at: Range<usize>,
    key: String,
}

impl FlowNames {
    /// Reads `name`. Empty where it is wrong.
    pub(super) fn take(&mut self, row: &Row<'_>, section: &'static str) -> String {
        let name = row.required_text("name");
        if !name.is_empty() {
            let (at, key) = (row.span("name"), row.path_of("name"));
            self.taken.push(FlowName { name: name.clone(), section, at, key });
        }
        name
    }

    /// Reports every name that stands in the file before: sections are not read in its order.
    pub(super) fn check(mut self, cx: &Context<'_>) {
        self.taken.sort_by_key(|taken| taken.at.start);
        let mut first: HashMap<&str, &FlowName> = HashMap::new();
        for taken in &self.taken {
            let Some(before) = first.get(taken.name.as_str()) else {
                first.insert(&taken.name, taken);
                continue;
            };
            let line = cx.line(before.at.start);
            let what = format!("the name {:?} is already taken in line {line}, by a {}", taken.name, before.section);
            let fix = "give it another: the API calls sources, subscribers, requests, syncs and batches by name alone";
            cx.report(&taken.at, &taken.key, &what, fix);
        }
    }
}

/// `[low, high]`.
pub(super) fn range(row: &Row<'_>, name: &str) -> Option<[f64; 2]> {
    let (key, value) = row.value(name)?;
    let DeValue::Array(array) = value.get_ref() else {
        row.refuse_type(key, value);
        return None;
    };
    let any = Kind::Number { min: f64::MIN, max: f64::MAX };
    let numbers: Vec<f64> =
        array.iter().filter_map(|entry| convert::number(&any, Raw::of(entry.get_ref())).ok()).collect();
    match numbers[..] {
        [low, high] if array.len() == 2 && low < high => return Some([low, high]),
        [low, high] if array.len() == 2 => {
            row.refuse(
                name,
                &format!("{name}: {low} is not below {high}"),
                "write the lower number first, for instance [0, 100]",
            );
        }
        _ => row.refuse(name, &format!("{name}: this is not two numbers"), "write two numbers, for instance [0, 100]"),
    }
    None
}

/// `{ env = … }` or `{ file = … }`. A secret in the file itself is refused, and never repeated.
pub(super) fn secret(row: &Row<'_>, name: &str) -> Option<Secret> {
    let (_, value) = row.value(name)?;
    if !value.get_ref().is_table() {
        let what = format!("{name}: a secret may not stand in the configuration");
        row.refuse(name, &what, &format!("write {name} = {{ env = \"NAME\" }} or {name} = {{ file = \"PATH\" }}"));
        return None;
    }
    let table = row.table(name)?;
    match table.variant()? {
        "env" => Some(Secret::Env { name: table.text("env")?, default: table.text("default") }),
        _ => Some(Secret::File(PathBuf::from(table.text("file")?))),
    }
}

/// `retry`, or its defaults.
pub(super) fn retry(row: &Row<'_>) -> Retry {
    row.with_table("retry", |retry| {
        let (first, max) = (retry.duration("first"), retry.duration("max"));
        if first > max && !max.is_zero() {
            let name = if retry.has("max") { "max" } else { "first" };
            retry.refuse(name, "retry: first is longer than max", "write a max that is at least first");
        }
        Retry { attempts: retry.whole("attempts").unwrap_or_default(), first, max }
    })
}

/// `breaker`, or its defaults.
pub(super) fn breaker(row: &Row<'_>) -> Breaker {
    row.with_table("breaker", |breaker| {
        let open = breaker.duration("open");
        let open_max = breaker.optional_duration("open_max");
        if open_max.is_some_and(|max| max < open) {
            breaker.refuse(
                "open_max",
                "breaker: open_max is shorter than open",
                "write an open_max that is at least open",
            );
        }
        Breaker {
            failures: breaker.whole("failures").unwrap_or_default(),
            open,
            open_max: open_max.unwrap_or(OPEN_MAX.max(open)),
        }
    })
}

/// Reports a name that nothing has.
pub(super) fn not_there(row: &Row<'_>, key: &str, what: &str, near: Option<&str>, section: &str) {
    let fix = match near {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("write the name of a {section} of this file"),
    };
    row.refuse(key, what, &fix);
}

/// The name of a record of this file.
pub(super) fn record(row: &Row<'_>, key: &str, records: &[Record]) -> String {
    let name = row.required_text(key);
    let known = || records.iter().map(|record| record.name.as_str());
    if !name.is_empty() && !known().any(|record| record == name) {
        let near = convert::nearest(&name, known());
        not_there(row, key, &format!("there is no record {name:?}"), near, "[[record]]");
    }
    name
}

/// A table, taken as JSON.
pub(super) fn json(row: &Row<'_>, name: &str) -> Option<serde_json::Value> {
    let (key, value) = row.value(name)?;
    if !value.get_ref().is_table() {
        row.refuse_type(key, value);
        return None;
    }
    let json = to_json(value.get_ref());
    if json.is_none() {
        row.refuse(
            name,
            &format!("{name}: a number in it is infinite, none, or beyond 64 bits"),
            "write finite numbers",
        );
    }
    json
}

/// TOML as JSON; `None` where a number has no JSON. Depth is bounded by the TOML parser.
fn to_json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => serde_json::Number::from_f64(number.as_str().parse().ok()?)?.into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(array) => {
            serde_json::Value::Array(array.iter().map(|entry| to_json(entry.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, entry)| Some((key.get_ref().to_string(), to_json(entry.get_ref())?)));
            serde_json::Value::Object(entries.collect::<Option<_>>()?)
        }
    })
}
