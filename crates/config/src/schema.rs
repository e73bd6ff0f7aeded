//! The JSON Schema of the file (draft 2020-12), from the table of keys.
//!
//! For editors: it knows every key, type, word and most limits. What relates one key to another is
//! only known to [`crate::parse`], which has the last word.

use serde_json::{Map, Value, json};

use crate::quantity::{show_duration, show_size};
use crate::read::EXPRESSION_BYTES_MAX;
use crate::table::{By, FILE, Key, Kind, Need, Preset, Section, Variant};

/// A duration: numbers, each with a unit.
const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(w|d|h|m|s|ms|us|ns))+$";
/// A size: a whole number with a unit.
const SIZE_PATTERN: &str = "^[0-9]+(TiB|GiB|MiB|KiB|TB|GB|MB|kB|B)$";

/// The JSON Schema of the configuration file.
#[must_use]
pub fn schema() -> Value {
    let mut defs = Map::new();
    let mut root = object(FILE.keys, None, None, &mut defs);
    root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("title".into(), "Millstream configuration".into());
    root.insert("description".into(), FILE.doc.into());
    root.insert("$defs".into(), Value::Object(defs));
    Value::Object(root)
}

/// A reference to a section, which is put among the definitions the first time.
fn reference(section: &'static Section, defs: &mut Map<String, Value>) -> Value {
    let slug = slug(section.title);
    if !defs.contains_key(&slug) {
        // A place first, so that a section that held itself would end.
        defs.insert(slug.clone(), Value::Null);
        let body = self::section(section, defs);
        defs.insert(slug.clone(), body);
    }
    json!({ "$ref": format!("#/$defs/{slug}") })
}

/// `[[source.tag]] (modbus)` as `source.tag.modbus`.
fn slug(title: &str) -> String {
    title.replace(['[', ']', '(', ')'], "").replace(' ', ".")
}

fn section(section: &'static Section, defs: &mut Map<String, Value>) -> Value {
    let mut body = match &section.variants {
        None => object(section.keys, None, None, defs),
        Some(variants) => {
            let choices = variants.of.iter().map(|variant| {
                let chosen_by = match variants.by {
                    By::Value(key) => Some(key),
                    By::Presence => None,
                };
                let mut choice = object(section.keys, Some(variant), chosen_by, defs);
                choice.insert("title".into(), variant.name.into());
                choice.insert("description".into(), variant.doc.into());
                Value::Object(choice)
            });
            let choices: Vec<Value> = choices.collect();
            let mut body = Map::new();
            body.insert("type".into(), "object".into());
            body.insert("oneOf".into(), choices.into());
            body
        }
    };
    let doc = match section.later {
        Some(later) => format!("{} Checked but not active yet: {later}.", section.doc),
        None => section.doc.to_owned(),
    };
    body.insert("description".into(), doc.into());
    Value::Object(body)
}

fn object(
    keys: &'static [Key],
    variant: Option<&'static Variant>,
    chosen_by: Option<&str>,
    defs: &mut Map<String, Value>,
) -> Map<String, Value> {
    let extra: &'static [Key] = variant.map_or(&[], |variant| variant.keys);
    let mut properties = Map::new();
    let mut required: Vec<Value> = Vec::new();
    for key in keys.iter().chain(extra) {
        let value = match variant {
            Some(variant) if chosen_by == Some(key.name) => json!({ "const": variant.name, "description": key.doc }),
            _ => property(key, defs),
        };
        properties.insert(key.name.into(), value);
        if matches!(key.need, Need::Required) {
            required.push(key.name.into());
        }
    }
    let mut object = Map::new();
    object.insert("type".into(), "object".into());
    object.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        object.insert("required".into(), Value::Array(required));
    }
    object.insert("additionalProperties".into(), false.into());
    object
}

fn property(key: &Key, defs: &mut Map<String, Value>) -> Value {
    let mut value = kind(&key.kind, defs);
    if let Value::Object(map) = &mut value {
        let doc = match limits_in_words(&key.kind) {
            Some(limits) => format!("{} ({limits})", key.doc),
            None => key.doc.to_owned(),
        };
        map.insert("description".into(), doc.into());
        if let Need::Default(preset) = key.need {
            map.insert("default".into(), default(preset));
        }
    }
    value
}

fn default(preset: Preset) -> Value {
    match preset {
        Preset::Text(text) => text.into(),
        Preset::Whole(number) => number.into(),
        Preset::Number(number) => number.into(),
        Preset::Switch(value) => value.into(),
        Preset::List(words) => words.into(),
    }
}

/// What JSON Schema cannot check.
fn limits_in_words(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Duration { min, max } => Some(format!("{} to {}", show_duration(*min), show_duration(*max))),
        Kind::Size { min, max } => Some(format!("{} to {}", show_size(*min), show_size(*max))),
        Kind::Expression { over, .. } => Some(format!("over {}", over.join(", "))),
        _ => None,
    }
}

fn kind(of: &Kind, defs: &mut Map<String, Value>) -> Value {
    match of {
        Kind::Text(form) => match form.pattern() {
            Some(pattern) => json!({ "type": "string", "pattern": pattern, "examples": [form.sample()] }),
            None => json!({ "type": "string", "minLength": 1, "examples": [form.sample()] }),
        },
        Kind::Expression { sample, .. } => {
            json!({ "type": "string", "minLength": 1, "maxLength": EXPRESSION_BYTES_MAX, "examples": [sample] })
        }
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number { min, .. } if *min == 0.0 => json!({ "type": "number", "minimum": 0 }),
        Kind::Number { .. } => json!({ "type": "number" }),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Duration { .. } => json!({ "type": "string", "pattern": DURATION_PATTERN }),
        Kind::Size { .. } => json!({ "type": "string", "pattern": SIZE_PATTERN }),
        Kind::Range => json!({ "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 }),
        Kind::List { of, min, max } => {
            let items = kind(of, defs);
            json!({ "type": "array", "items": items, "minItems": min, "maxItems": max, "uniqueItems": true })
        }
        Kind::StartAt => json!({ "oneOf": [{ "enum": ["now", "earliest"] }, { "type": "integer", "minimum": 0 }] }),
        Kind::Units => json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": "^([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$" },
            "additionalProperties": { "type": "string", "pattern": r"^[^/+#*\s]+$" },
        }),
        Kind::Texts { names, of, max } => json!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": max,
            "propertyNames": { "pattern": names.pattern().unwrap_or(".") },
            "additionalProperties": { "type": "string", "pattern": of.pattern().unwrap_or(".") },
        }),
        Kind::Json => json!({ "type": "object" }),
        Kind::Table(section) => reference(section, defs),
        Kind::Tables { of, max } => {
            let items = reference(of, defs);
            json!({ "type": "array", "items": items, "maxItems": max })
        }
    }
}
