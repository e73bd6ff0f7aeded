//! Messages: what is published once and delivered to every flow that wants it.
//!
//! A message's stream says what it is: `event/<type>`, `record/<entity>`, `tag/<path>` or
//! `batch/<name>`. Its id is the same for ever, and with the stream it is what duplicates are
//! known by.

use crate::entry::{Draft, EntryKind, Stored};
use bytes::Bytes;
use delivery::Offset;
use model::TimestampNs;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// Longest message id, in bytes.
pub const ID_BYTES_MAX: usize = 1024;

/// What kind of thing was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// An event, from a rule or from outside.
    Event,
    /// A version of a business document.
    Record,
    /// A new value of a tag.
    Tag,
    /// A batch's document.
    Batch,
}

impl MessageKind {
    const ALL: [(MessageKind, &'static str); 4] = [
        (MessageKind::Event, "event"),
        (MessageKind::Record, "record"),
        (MessageKind::Tag, "tag"),
        (MessageKind::Batch, "batch"),
    ];

    /// The word in streams and answers.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("event", |(_, word)| word)
    }

    /// The stream of this kind and name.
    #[must_use]
    pub fn stream(self, name: &str) -> String {
        format!("{}/{name}", self.word())
    }

    /// Kind and name of a stream.
    #[must_use]
    pub fn of(stream: &str) -> Option<(MessageKind, &str)> {
        let (word, name) = stream.split_once('/')?;
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(kind, _)| (*kind, name))
    }
}

/// One published thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its offset in the journal.
    pub offset: Offset,
    /// Its name, the same for ever.
    pub id: String,
    /// `event/<type>`, `record/<entity>`, `tag/<path>` or `batch/<name>`.
    pub stream: String,
    /// When it happened.
    pub time: TimestampNs,
    /// What it says; an object whose fields depend on the kind.
    pub body: Value,
    /// Length of the body as it is stored, in bytes.
    pub bytes: usize,
    /// What it is as an event in its envelope, once somebody has asked.
    pub(crate) envelope: OnceLock<Bytes>,
}

impl Message {
    /// A message as it was read back.
    #[must_use]
    pub fn read(stored: &Stored<'_>) -> Option<Message> {
        (stored.kind == EntryKind::Message).then(|| Message {
            offset: stored.offset,
            id: stored.id().to_owned(),
            stream: stored.stream().to_owned(),
            time: stored.time(),
            body: stored.json(),
            bytes: stored.bytes().len(),
            envelope: OnceLock::new(),
        })
    }

    /// What a receiver knows it by. Versions of a document and a tag's changes may come again under
    /// an id that retention has taken, or within one tick of a clock, so what they say is part of it.
    #[must_use]
    pub fn identity(&self) -> String {
        match self.kind() {
            MessageKind::Event | MessageKind::Batch => self.id.clone(),
            MessageKind::Record | MessageKind::Tag => format!("{}@{:016x}", self.id, hash64(&self.body.to_string())),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        MessageKind::of(&self.stream).map_or(MessageKind::Event, |(kind, _)| kind)
    }

    /// Event type, entity, tag path or batch name.
    #[must_use]
    pub fn name(&self) -> &str {
        MessageKind::of(&self.stream).map_or("", |(_, name)| name)
    }

    /// The variables of expressions over it.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, &Value)> {
        let field = |name: &str| self.body.get(name).unwrap_or(&Value::Null);
        match self.kind() {
            MessageKind::Event => vec![("event", &self.body)],
            MessageKind::Record => vec![("record", field("record"))],
            MessageKind::Tag => {
                vec![
                    ("tag", field("tag")),
                    ("value", field("value")),
                    ("quality", field("quality")),
                    ("time", field("time")),
                ]
            }
            MessageKind::Batch => vec![("batch", &self.body)],
        }
    }

    /// The object that an address's `{fields}` are taken from, and that goes out where no body is
    /// mapped.
    #[must_use]
    pub fn object(&self) -> &Value {
        match self.kind() {
            MessageKind::Record => self.body.get("record").unwrap_or(&self.body),
            _ => &self.body,
        }
    }
}

/// An event's body: the attributes of CloudEvents 1.0 beside what rules add.
#[must_use]
pub fn event_body(id: &str, source: &str, kind: &str, time: TimestampNs, more: Map<String, Value>) -> Value {
    let mut body = more;
    for (name, value) in [("id", id), ("source", source), ("type", kind)] {
        body.insert(name.to_owned(), Value::from(value));
    }
    body.insert("time".to_owned(), Value::from(time.to_string()));
    Value::Object(body)
}

/// The draft of an event.
#[must_use]
pub fn event_draft(kind: &str, id: &str, time: TimestampNs, body: &Value) -> Draft {
    Draft::new(EntryKind::Message, time, 0, MessageKind::Event.stream(kind), body).named(id)
}

/// What is written of a version of a record.
#[must_use]
pub fn record_body(entity: &str, id: &str, version: u64, key: Value, record: Value) -> Value {
    let mut body = Map::new();
    let texts = [("entity", Value::from(entity)), ("id", Value::from(id)), ("version", Value::from(version))];
    for (name, value) in texts.into_iter().chain([("key", key), ("record", record)]) {
        body.insert(name.to_owned(), value);
    }
    Value::Object(body)
}

/// The draft of a version of a record, around [`record_body`].
#[must_use]
pub fn record_draft(entity: &str, id: &str, version: u64, time: TimestampNs, body: &Value) -> Draft {
    Draft::new(EntryKind::Message, time, 0, MessageKind::Record.stream(entity), body)
        .named(format!("{entity}/{id}#{version}"))
}

/// The draft of a tag's change.
#[must_use]
pub fn tag_draft(path: &str, time: TimestampNs, value: &Value, quality: &str) -> Draft {
    let body = json!({ "tag": path, "value": value, "quality": quality, "time": time.to_string() });
    Draft::new(EntryKind::Message, time, 0, MessageKind::Tag.stream(path), &body).named(format!("{path}#{}", time.0))
}

/// The envelope of CloudEvents 1.0, around what a message says.
#[derive(Serialize)]
struct CloudEvent<'a> {
    // by name, as the fields of every other body
    data: &'a Value,
    datacontenttype: &'static str,
    id: &'a Value,
    message: &'a Value,
    offset: u64,
    severity: &'a Value,
    source: &'a Value,
    specversion: &'static str,
    subject: &'a Value,
    time: &'a Value,
    #[serde(rename = "type")]
    kind: &'a Value,
}

/// A message as an event in the envelope of CloudEvents 1.0, as JSON; made once for all who want it.
#[must_use]
pub fn cloud_event(message: &Message) -> Bytes {
    message.envelope.get_or_init(|| make_cloud_event(message)).clone()
}

fn make_cloud_event(message: &Message) -> Bytes {
    let field = |name: &str| message.body.get(name).unwrap_or(&Value::Null);
    let event = CloudEvent {
        data: field("data"),
        datacontenttype: "application/json",
        id: field("id"),
        message: field("message"),
        offset: message.offset.0,
        severity: field("severity"),
        source: field("source"),
        specversion: "1.0",
        subject: field("subject"),
        time: field("time"),
        kind: field("type"),
    };
    // JSON values and texts always serialize
    Bytes::from(serde_json::to_vec(&event).unwrap_or_default())
}

/// 64 bits of a text, the same on every machine and in every release: FNV-1a, then the finaliser
/// of `SplitMix64` (Steele, Lea, Flood 2014).
#[must_use]
pub fn hash64(text: &str) -> u64 {
    let mut mixed = text
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// 128 bits of SHA-256 over parts that are told apart: what duplicates are known by.
#[must_use]
pub fn hash128(parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    digest[..16].iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// The idempotency key of a delivery: from the flow and the message alone, so that every try, after
/// every restart, has the same. A body that was corrected by hand is another request, so it gets
/// another key.
#[must_use]
pub fn idempotency_key(flow: &str, message: &str, corrected: Option<u32>) -> String {
    let key = format!("{:032x}", hash128(&[flow.as_bytes(), message.as_bytes()]));
    match corrected {
        None => key,
        Some(replay) => format!("{key}-{replay}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_flow_and_message_alone() {
        let key = idempotency_key("erp", "goods-receipt/1#1", None);
        assert_eq!(key, idempotency_key("erp", "goods-receipt/1#1", None));
        assert_ne!(key, idempotency_key("wms", "goods-receipt/1#1", None));
        assert_ne!(idempotency_key("a", "bc", None), idempotency_key("ab", "c", None));
        assert_eq!(idempotency_key("erp", "goods-receipt/1#1", Some(2)), format!("{key}-2"));
    }

    #[test]
    fn an_event_goes_out_in_its_envelope() {
        let time = TimestampNs(1_790_000_000_000_000_000);
        let more = json!({ "data": { "line": 1 }, "severity": 500, "subject": null });
        let more = more.as_object().cloned().unwrap_or_default();
        let message = Message {
            offset: Offset(7),
            id: "press#1".to_owned(),
            stream: "event/fault".to_owned(),
            time,
            body: event_body("1", "press", "fault", time, more),
            bytes: 0,
            envelope: OnceLock::new(),
        };
        let told: Value = serde_json::from_slice(&cloud_event(&message)).expect("JSON");
        let expected = json!({
            "specversion": "1.0", "id": "1", "source": "press", "type": "fault", "subject": null,
            "time": time.to_string(), "datacontenttype": "application/json", "offset": 7, "severity": 500,
            "message": null, "data": { "line": 1 },
        });
        assert_eq!(told, expected);
        assert_eq!(cloud_event(&message), expected.to_string().into_bytes(), "fields stand by name");
    }

    #[test]
    fn streams_are_read_back() {
        assert_eq!(MessageKind::of("tag/a/b/c"), Some((MessageKind::Tag, "a/b/c")));
        assert_eq!(MessageKind::of(&MessageKind::Batch.stream("shift")), Some((MessageKind::Batch, "shift")));
        assert_eq!(MessageKind::of("nothing"), None);
    }
}
