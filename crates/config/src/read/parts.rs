//! Parts that several sections share: names, ranges, secrets, targets, retries.

use std::collections::HashMap;
use std::path::PathBuf;

use toml::de::DeValue;

use super::convert::{self, Raw};
use super::row::Row;
use crate::flow::{Breaker, Retry};
use crate::table::Kind;
use crate::{Secret, Target};

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

/// What stands for a target, or a part of one, that could not be read.
fn no_target() -> Target {
    Target::Folder { path: PathBuf::new() }
}

/// `to`, of one of the kinds `allowed`.
pub(super) fn target(row: &Row<'_>, allowed: &[&str]) -> Target {
    let Some(to) = row.table("to") else { return no_target() };
    let Some(kind) = to.variant() else { return no_target() };
    if !allowed.contains(&kind) {
        let what = format!("{} cannot go to {kind}", row.title());
        to.refuse_key(kind, &what, &format!("write a target with {}", convert::one_of(allowed)));
    }
    match kind {
        "http" => Target::Http {
            url: to.required_text("http"),
            method: to.choice("method", &METHODS).unwrap_or_default().to_owned(),
            token: secret(&to, "token"),
        },
        "nats" => Target::Nats {
            url: to.required_text("nats"),
            subject: to.required_text("subject"),
            token: secret(&to, "token"),
        },
        "mqtt" => {
            if to.has("token") && !to.has("user") {
                to.refuse_key("token", "token is the password of a user, and there is no user", "add user = \"name\"");
            }
            Target::Mqtt {
                url: to.required_text("mqtt"),
                topic: to.required_text("topic"),
                user: to.text("user"),
                token: secret(&to, "token"),
            }
        }
        _ => Target::Folder { path: PathBuf::from(to.required_text("folder")) },
    }
}

const METHODS: [(&str, &str); 5] =
    [("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE")];

/// Kinds of targets for deliveries.
pub(super) const DELIVERY: &[&str] = &["http", "nats", "mqtt", "folder"];

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
    row.with_table("breaker", |breaker| Breaker {
        failures: breaker.whole("failures").unwrap_or_default(),
        open: breaker.duration("open"),
    })
}
