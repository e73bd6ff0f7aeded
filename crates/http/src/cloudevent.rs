//! Events as they come in: JSON of ours, or CloudEvents 1.0.2 over HTTP in its structured, batched
//! and binary modes.
//!
//! Invariants
//! - W1: an event is taken with all that its publisher said of it, or refused with what is wrong;
//!   only `offset` is not kept, because it is given here.
//! - W2: an attribute is a line of text within [`ATTRIBUTE_BYTES_MAX`], so that it can stand in a
//!   header, in an event stream and in a log.
//!
//! It deliberately knows JSON data only: other media types are refused, never guessed at.

use crate::{
    body::{Documents, Places},
    business::NewEvent,
    limits::{ATTRIBUTE_BYTES_MAX, EXTENSIONS_MAX},
    problem::{Problem, short},
};
use axum::http::{HeaderMap, StatusCode, header};
use model::TimestampNs;
use serde_json::{Map, Value};

/// How a body holds events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One event or an array of them; `specversion` may be left out.
    Plain,
    /// One CloudEvent (JSON format, section 3).
    Structured,
    /// An array of CloudEvents (JSON format, section 4).
    Batch,
    /// The body is the data, the attributes are headers (HTTP binding, section 3.1).
    Binary,
}

impl Mode {
    /// Reads the headers.
    ///
    /// # Errors
    /// 415 where the media type is another than JSON.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Mode, Problem> {
        let text = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
        let media = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let json = media.is_empty() || media == "application/json" || media.ends_with("+json");
        match media.as_str() {
            "application/cloudevents+json" => return Ok(Mode::Structured),
            "application/cloudevents-batch+json" => return Ok(Mode::Batch),
            other if other.starts_with("application/cloudevents") => return Err(not_json(other)),
            _ => {}
        }
        if headers.keys().any(|name| name.as_str().starts_with("ce-")) {
            return if json { Ok(Mode::Binary) } else { Err(not_json(&media)) };
        }
        // Anything else is read as JSON: curl's -d calls it a form.
        Ok(Mode::Plain)
    }
}

fn not_json(media: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media-type",
        "The media type is not taken",
        format!("events hold JSON here, not {}; send application/json or application/cloudevents+json", short(media)),
    )
}

/// Events that are made of what was parsed in one poll.
const EVENTS_PER_POLL: usize = 8;

/// The events of a body that holds them whole.
///
/// # Errors
/// A [`Problem`] that names the event that is wrong.
pub(crate) async fn events(mode: Mode, documents: Documents, key: Option<&str>) -> Result<Vec<NewEvent>, Problem> {
    let Documents { values, places } = documents;
    match (mode, &places) {
        (Mode::Batch, Places::Elements) | (Mode::Plain | Mode::Structured, Places::One) => {}
        (Mode::Plain, Places::Elements) => {}
        (Mode::Batch, _) => return Err(Problem::body("a batch of CloudEvents is one JSON array; send an array")),
        (Mode::Structured, _) => {
            return Err(Problem::body(
                "application/cloudevents+json is one event; send several as application/cloudevents-batch+json",
            ));
        }
        _ => return Err(Problem::body("several events are sent as one JSON array; put them in [ ]")),
    }
    let many = !matches!(places, Places::One);
    let mut events = Vec::with_capacity(values.len());
    for (item, value) in values.into_iter().enumerate() {
        if item > 0 && item.is_multiple_of(EVENTS_PER_POLL) {
            tokio::task::yield_now().await;
        }
        let own = key.map(|key| if many { format!("{key}-{}", item + 1) } else { key.to_owned() });
        events.push(event(mode, value, own).map_err(|reason| places.wrong(item, &reason))?);
    }
    Ok(events)
}

/// The event of headers and a body that is its data.
///
/// # Errors
/// A [`Problem`] that names the attribute that is wrong.
pub(crate) fn binary(headers: &HeaderMap, data: &str, key: Option<String>) -> Result<NewEvent, Problem> {
    let mut attributes = Map::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let text = value.to_str().ok().and_then(decoded).ok_or_else(|| {
            Problem::body(format!("the header ce-{name} is no percent-encoded UTF-8 (CloudEvents HTTP, 3.1.3.2)"))
        })?;
        if attributes.insert(name.to_owned(), Value::String(text)).is_some() {
            return Err(Problem::body(format!("the header ce-{name} stands twice; send it once")));
        }
    }
    if !data.trim().is_empty() {
        let parsed = serde_json::from_str::<Value>(data);
        let value = parsed.map_err(|error| Problem::body(format!("the body is no JSON: {error}")))?;
        attributes.insert("data".to_owned(), value);
    }
    // Numbers of a header are texts; the one that we know is read as a number.
    if let Some(severity) = attributes.get("severity").and_then(Value::as_str).and_then(|text| text.parse::<u64>().ok())
    {
        attributes.insert("severity".to_owned(), severity.into());
    }
    event(Mode::Binary, Value::Object(attributes), key).map_err(|reason| Places::One.wrong(0, &reason))
}

/// `%41` in a header's text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let hex = |b: u8| char::from(b).to_digit(16);
                bytes.push((hex(*high)? * 16 + hex(*low)?) as u8);
                rest = after;
            }
            (b'%', _) => return None,
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn event(mode: Mode, value: Value, key: Option<String>) -> Result<NewEvent, String> {
    let Value::Object(mut given) = value else {
        return Err("an event is an object with source, type and data".to_owned());
    };
    match given.remove("specversion") {
        None if mode == Mode::Plain => {}
        None => return Err("specversion is missing; write \"1.0\"".to_owned()),
        Some(Value::String(version)) if version == "1.0" => {}
        Some(other) => return Err(format!("specversion {} is not known; write \"1.0\"", short(&other.to_string()))),
    }
    if given.contains_key("data_base64") {
        return Err("data_base64 is not taken; send data as JSON".to_owned());
    }
    match line(&mut given, "datacontenttype")? {
        Some(media) if !is_json(&media) => {
            return Err(format!("datacontenttype {} is not taken; send data as application/json", short(&media)));
        }
        _ => {}
    }
    let id = line(&mut given, "id")?.or(key);
    let source = line(&mut given, "source")?.ok_or("source is missing; say where it happened")?;
    let kind = line(&mut given, "type")?.ok_or("type is missing; say what happened")?;
    let subject = line(&mut given, "subject")?;
    let time = match line(&mut given, "time")? {
        None => None,
        Some(text) => Some(
            TimestampNs::parse_rfc3339(&text)
                .ok_or_else(|| format!("time {} is not RFC 3339; write 2026-01-31T12:00:00Z", short(&text)))?,
        ),
    };
    let severity = severity(given.remove("severity"))?;
    given.remove("offset");
    let data = given.remove("data").unwrap_or(Value::Null);
    let extensions = extensions(given)?;
    Ok(NewEvent { id, source, kind, subject, time, severity, extensions, data })
}

fn is_json(media: &str) -> bool {
    let media = media.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    media == "application/json" || media.ends_with("+json")
}

/// Takes a line of text out; `None` where it is not there.
fn line(given: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match given.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err(format!("{name} is empty; leave it out, or write a text")),
        Some(Value::String(text)) => check_line(name, &text).map(|()| Some(text)),
        Some(_) => Err(format!("{name} is no text; write it in quotes")),
    }
}

fn check_line(name: &str, text: &str) -> Result<(), String> {
    if text.len() > ATTRIBUTE_BYTES_MAX {
        return Err(format!("{name} has {} bytes; at most {ATTRIBUTE_BYTES_MAX} are taken", text.len()));
    }
    if text.contains(char::is_control) {
        return Err(format!("{name} holds control characters; write one line of text"));
    }
    Ok(())
}

fn severity(given: Option<Value>) -> Result<Option<u16>, String> {
    const MAX: u64 = 1_000;
    match given {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().filter(|severity| (1..=MAX).contains(severity)) {
            Some(severity) => Ok(u16::try_from(severity).ok()),
            None => {
                Err(format!("severity {} is not taken; write a whole number from 1 to 1000", short(&value.to_string())))
            }
        },
    }
}

/// What is left are extension attributes (CloudEvents section 3.1): names of lower-case letters and
/// digits, values that are texts, whole numbers or truth values.
fn extensions(given: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if given.len() > EXTENSIONS_MAX {
        return Err(format!("it has {} attributes of its own; at most {EXTENSIONS_MAX} are taken", given.len()));
    }
    for (name, value) in &given {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if name.is_empty() || name.len() > ATTRIBUTE_BYTES_MAX || !name.chars().all(plain) {
            return Err(format!(
                "{} is no name of an attribute (lower-case letters and digits); put what is known of the event in data",
                short(name)
            ));
        }
        match value {
            Value::String(text) => check_line(name, text)?,
            Value::Bool(_) => {}
            Value::Number(number) if number.is_i64() || number.is_u64() => {}
            _ => {
                return Err(format!(
                    "{name} is neither text, whole number nor truth value; put what is known of the event in data"
                ));
            }
        }
    }
    Ok(given)
}
