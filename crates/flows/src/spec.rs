//! What a flow is told: which messages it wants, how they become calls, and how it treats its target.
//!
//! Invariant J4: how a message is mapped depends on the message and on the definition that held when
//! it was published, and on nothing else. A definition that changes is journalled, and what was
//! published before goes on with the old one, so every try of a delivery has the same body.

use crate::message::{Message, MessageKind, hash64, idempotency_key};
use bytes::Bytes;
use delivery::{Offset, Policy};
use expr::{Expr, Template};
use model::Glob;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest input that a failed mapping keeps for a person to see, in bytes.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// Which of the patterns a flow belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `[[subscriber]]`
    Event,
    /// `[[sync]]`
    Sync,
    /// `[[batch]]`
    Batch,
}

impl Pattern {
    /// The word in answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Pattern::Event => "event",
            Pattern::Sync => "sync",
            Pattern::Batch => "batch",
        }
    }
}

/// Which messages a flow wants.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Those of one stream.
    Stream(String),
    /// Changes of the tags that match.
    Tags(Glob),
}

impl Wanted {
    /// Whether a message of this stream is wanted.
    #[must_use]
    pub fn takes(&self, stream: &str) -> bool {
        match self {
            Wanted::Stream(wanted) => wanted == stream,
            Wanted::Tags(glob) => {
                MessageKind::of(stream).is_some_and(|(kind, path)| kind == MessageKind::Tag && glob.matches(path))
            }
        }
    }
}

/// Where a flow begins that the journal does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the next message.
    Now,
    /// With the oldest that is kept.
    Earliest,
    /// Behind this offset.
    After(Offset),
}

/// How an in-doubt delivery is settled by asking.
#[derive(Clone, Debug)]
pub struct Probe {
    /// HTTP method.
    pub method: String,
    /// Address, with fields of the message.
    pub address: Template,
    /// True where the delivery took effect; over `status` and `answer`.
    pub done: Expr,
}

/// How both sides are compared.
#[derive(Clone, Debug)]
pub struct Reconcile {
    /// How often, ns.
    pub every_ns: u64,
    /// Where the other side is asked; `{key}` is the key.
    pub address: Template,
    /// The other side's figure, over `answer` and `status`.
    pub theirs: Expr,
    /// What each record adds, or the newest record's figure.
    pub ours: Ours,
    /// Difference that is none.
    pub tolerance: f64,
    /// Send again what differs?
    pub resend: bool,
    /// A key is compared only when its last message is this old, ns.
    pub settle_ns: u64,
}

/// Our figure of a key.
#[derive(Clone, Debug)]
pub enum Ours {
    /// The sum of this over all records of the key.
    Sum(Expr),
    /// This of the newest record.
    Last(Expr),
}

/// One flow.
#[derive(Clone, Debug)]
pub struct FlowSpec {
    /// Unique name.
    pub name: String,
    /// Its pattern.
    pub pattern: Pattern,
    /// What it takes.
    pub wanted: Wanted,
    /// Where it begins.
    pub begin: Begin,
    /// How it maps.
    pub definition: DefinitionText,
    /// A 2xx answer is good only where this is true; over `status` and `answer`.
    pub success: Option<Expr>,
    /// Settles what is in doubt.
    pub probe: Option<Probe>,
    /// Compares both sides.
    pub reconcile: Option<Reconcile>,
    /// Retries, concurrency, breaker, rate.
    pub policy: Policy,
    /// The target in words, without secrets.
    pub target: String,
}

impl FlowSpec {
    /// Whether anything of this flow looks into an answer beyond its status.
    #[must_use]
    pub const fn reads_answers(&self) -> bool {
        self.success.is_some()
            || self.probe.is_some()
            || self.reconcile.is_some()
            || matches!(self.pattern, Pattern::Batch)
    }
}

/// How messages become calls, as text: what is journalled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionText {
    /// Only where this is true.
    pub when: Option<String>,
    /// What orders.
    pub key: Option<String>,
    /// What the body is.
    pub body: Option<String>,
    /// HTTP method; empty for other targets.
    pub method: String,
    /// Address with `{fields}`.
    pub address: String,
}

/// How messages become calls.
#[derive(Clone, Debug)]
pub struct Definition {
    text: DefinitionText,
    when: Option<Expr>,
    key: Option<Expr>,
    /// The key where it only names a field, as most do: read in place, without the interpreter.
    key_path: Option<Vec<String>>,
    body: Option<Expr>,
    address: Option<Template>,
}

/// A message could not be mapped; its delivery is a dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct MappingError {
    /// The expression or address that failed.
    pub expression: String,
    /// What it was given, shortened.
    pub input: String,
    /// What went wrong.
    pub what: String,
}

/// A call as it goes out.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// HTTP method; empty for other targets.
    pub method: String,
    /// Address: a URL, topic, subject or file name.
    pub address: String,
    /// Media type of the body.
    pub content_type: String,
    /// What is sent.
    pub body: Payload,
    /// The same on every try.
    pub idempotency_key: String,
    /// The message's id.
    pub message: String,
    /// The name of a batch's document, where it is one.
    pub file_name: Option<String>,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// These bytes.
    Bytes(Bytes),
    /// A batch's document, kept beside the journal under its SHA-256.
    Document {
        /// Hexadecimal SHA-256: the file's name.
        sha256: String,
    },
}

impl Definition {
    /// Compiles a definition.
    ///
    /// # Errors
    /// The sentence of the compiler; a configuration that was checked has none.
    pub fn compile(text: DefinitionText) -> Result<Definition, String> {
        let expression = |text: &Option<String>| text.as_deref().map(Expr::compile).transpose();
        let compiled = |text: &Option<String>| expression(text).map_err(|error| error.to_string());
        let address = Template::parse(&text.address).map_err(|error| error.to_string())?;
        Ok(Definition {
            when: compiled(&text.when)?,
            key: compiled(&text.key)?,
            key_path: text.key.as_deref().and_then(field_path),
            body: compiled(&text.body)?,
            address: Some(address),
            text,
        })
    }

    /// As it is journalled.
    #[must_use]
    pub const fn text(&self) -> &DefinitionText {
        &self.text
    }

    /// Whether a message is wanted.
    ///
    /// # Errors
    /// [`MappingError`]
    pub fn is_wanted(&self, message: &Message) -> Result<bool, MappingError> {
        let Some(when) = &self.when else { return Ok(true) };
        with_variables(message, |variables| when.eval_bool(variables))
            .map_err(|what| failed(when.text(), message, what))
    }

    /// What orders a message, as text.
    ///
    /// # Errors
    /// [`MappingError`]
    pub fn key(&self, message: &Message) -> Result<String, MappingError> {
        if let Some(text) = self.key_path.as_deref().and_then(|path| text_at(message, path)) {
            return Ok(text.to_owned());
        }
        if let Some(key) = &self.key {
            return with_variables(message, |variables| key.eval_text(variables))
                .map_err(|what| failed(key.text(), message, what));
        }
        let field = match message.kind() {
            MessageKind::Event => "source",
            MessageKind::Record => match message.body.get("key") {
                None | Some(Value::Null) => "id",
                Some(Value::String(key)) => return Ok(key.clone()),
                Some(key) => return Ok(key.to_string()),
            },
            MessageKind::Tag => "tag",
            MessageKind::Batch => "batch",
        };
        Ok(message.body.get(field).and_then(Value::as_str).unwrap_or(message.name()).to_owned())
    }

    /// The call that a message becomes; `corrected` replaces the body, and `replay` makes it another
    /// request.
    ///
    /// # Errors
    /// [`MappingError`]
    pub fn render(
        &self,
        flow: &str,
        message: &Message,
        corrected: Option<(&Value, u32)>,
    ) -> Result<Rendered, MappingError> {
        let mapped = match (&corrected, &self.body) {
            (Some((body, _)), _) => Some((*body).clone()),
            (None, Some(body)) => Some(
                with_variables(message, |variables| body.eval(variables))
                    .map_err(|what| failed(body.text(), message, what))?,
            ),
            (None, None) => None,
        };
        let (content_type, payload) = payload(message, mapped);
        Ok(Rendered {
            method: self.text.method.clone(),
            address: self.address(message)?,
            content_type,
            body: payload,
            idempotency_key: idempotency_key(flow, &message.identity(), corrected.map(|(_, replay)| replay)),
            message: message.id.clone(),
            file_name: message.body.pointer("/document/file_name").and_then(Value::as_str).map(str::to_owned),
        })
    }

    fn address(&self, message: &Message) -> Result<String, MappingError> {
        match &self.address {
            None => Ok(self.text.address.clone()),
            Some(template) => fill(template, &self.text.address, message),
        }
    }
}

/// An address filled from a message: its own fields, beside `id` and `name`.
pub(crate) fn fill(template: &Template, text: &str, message: &Message) -> Result<String, MappingError> {
    if template.fields().is_empty() {
        return Ok(text.to_owned());
    }
    template.fill(message.object()).map_err(|error| failed(text, message, error.to_string()))
}

fn payload(message: &Message, mapped: Option<Value>) -> (String, Payload) {
    let json = "application/json".to_owned();
    if let Some(mapped) = mapped {
        return match mapped {
            Value::String(text) => ("text/plain; charset=utf-8".to_owned(), Payload::Bytes(text.into())),
            other => (json, Payload::Bytes(other.to_string().into())),
        };
    }
    match (message.kind(), message.body.pointer("/document/sha256").and_then(Value::as_str)) {
        (MessageKind::Batch, Some(sha256)) => {
            let kind = message.body.pointer("/document/content_type").and_then(Value::as_str);
            (kind.unwrap_or("application/octet-stream").to_owned(), Payload::Document { sha256: sha256.to_owned() })
        }
        (MessageKind::Event, _) => {
            let event = crate::message::cloud_event(message);
            ("application/cloudevents+json; charset=utf-8".to_owned(), Payload::Bytes(event))
        }
        _ => (json, Payload::Bytes(message.object().to_string().into())),
    }
}

/// The parts of an expression that names a field and nothing else, such as `event.data.line`.
fn field_path(expression: &str) -> Option<Vec<String>> {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let parts: Vec<&str> = expression.trim().split('.').collect();
    let is_path = parts.len() > 1 && parts.iter().all(|part| is_name(part));
    is_path.then(|| parts.into_iter().map(str::to_owned).collect())
}

/// The text at a path; what is no text, or not there, is the interpreter's to judge.
fn text_at<'a>(message: &'a Message, path: &[String]) -> Option<&'a str> {
    let (variable, fields) = path.split_first()?;
    let (_, value) = message.variables().into_iter().find(|(name, _)| name == variable)?;
    fields.iter().try_fold(value, |value, field| value.get(field))?.as_str()
}

fn with_variables<T>(
    message: &Message,
    eval: impl FnOnce(&[(&str, &Value)]) -> Result<T, expr::EvalError>,
) -> Result<T, String> {
    eval(&message.variables()).map_err(|error| error.to_string())
}

fn failed(expression: &str, message: &Message, what: String) -> MappingError {
    let mut input =
        Value::Object(message.variables().into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect())
            .to_string();
    if input.len() > INPUT_BYTES_MAX {
        let end = (0..=INPUT_BYTES_MAX).rev().find(|at| input.is_char_boundary(*at)).unwrap_or(0);
        input.truncate(end);
        input.push('…');
    }
    MappingError { expression: expression.to_owned(), input, what }
}

/// What orders a delivery inside the engine.
#[must_use]
pub fn order(key: &str) -> u64 {
    hash64(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TimestampNs;
    use serde_json::json;

    fn key(expression: &str) -> Result<String, MappingError> {
        let text = DefinitionText { key: Some(expression.to_owned()), ..DefinitionText::default() };
        let definition = Definition::compile(text).expect("it compiles");
        let body = json!({ "source": "press", "severity": 500, "data": { "line": "l1", "parts": [1] } });
        let (id, stream) = ("press#1".to_owned(), "event/fault".to_owned());
        definition.key(&Message {
            offset: Offset(1),
            id,
            stream,
            time: TimestampNs(0),
            body,
            bytes: 0,
            envelope: Default::default(),
        })
    }

    #[test]
    fn a_key_that_names_a_field_is_what_the_interpreter_makes_of_it() {
        // behind the `+ ""` stands the interpreter in any case
        for field in ["event.source", "event.data.line"] {
            assert!(field_path(field).is_some());
            assert_eq!(key(field), key(&format!("{field} + \"\"")), "{field}");
        }
        assert_eq!(key("event.severity"), Ok("500".to_owned()));
        for wrong in ["event.missing", "event.data", "event.data.parts", "event.source.more"] {
            assert_eq!(key(wrong).map_err(|error| error.expression), Err(wrong.to_owned()));
        }
        for other in ["event", "event.source + 'x'", "event.data['line']", "1.5", "event..source"] {
            assert_eq!(field_path(other), None, "{other}");
        }
    }
}
