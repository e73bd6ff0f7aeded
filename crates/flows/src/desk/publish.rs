//! What comes in: events, records, changes of tags, edges of rules.

use super::Desk;
use crate::message::{self, ID_BYTES_MAX};
use crate::records::Wrong;
use delivery::Offset;
use model::{Refused, TimestampNs};
use serde_json::{Map, Value};

/// Events of one call.
pub const EVENTS_MAX: usize = 1_000;

/// An event that is to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its publisher's id.
    pub id: String,
    /// Where it happened.
    pub source: String,
    /// What happened.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened.
    pub time: TimestampNs,
    /// 1 to 1000.
    pub severity: Option<u16>,
    /// A sentence.
    pub message: Option<String>,
    /// Other attributes.
    pub extensions: Map<String, Value>,
    /// What is known of it.
    pub data: Value,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Its offset; of a duplicate, that of the first.
    pub offset: Offset,
    /// Whether it was there already.
    pub duplicate: bool,
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// Its offset; of a duplicate, that of the first.
    pub offset: Offset,
    /// Whether it was there already.
    pub duplicate: bool,
}

/// Why nothing was taken.
#[derive(Clone, Debug, PartialEq)]
pub enum PublishError {
    /// There is no such kind of document.
    UnknownEntity,
    /// Places that are wrong, by the document's or event's place in the call.
    Invalid(Vec<(usize, Wrong)>),
    /// The journal takes nothing now.
    Refused(Refused),
    /// Targets that take nothing hold back as much as they may.
    BacklogFull,
}

impl Desk {
    /// Publishes events, all or none. What is answered counts once the journal is durable up to the
    /// highest offset.
    ///
    /// # Errors
    /// [`PublishError`]: none was taken.
    pub fn publish(&mut self, events: Vec<Event>, now: TimestampNs) -> Result<Vec<Published>, PublishError> {
        let mut group = self.begin_events()?;
        events.into_iter().for_each(|event| self.add_event(&mut group, event));
        self.write_events(group, now)
    }

    /// Takes documents in, all or none; see [`publish`](Self::publish).
    ///
    /// # Errors
    /// [`PublishError`]: none was taken.
    pub fn put_records(
        &mut self,
        entity: &str,
        documents: Vec<Value>,
        now: TimestampNs,
    ) -> Result<Vec<Written>, PublishError> {
        let mut group = self.begin_records(entity)?;
        documents.into_iter().for_each(|document| self.add_record(&mut group, document, now));
        self.write_records(group, now)
    }

    /// A tag that some flow watches has another value. The same value again is no change, also after
    /// a restart.
    ///
    /// # Errors
    /// [`Refused`]: ask again with the newest value.
    pub fn tag_changed(
        &mut self,
        path: &str,
        value: &Value,
        quality: &str,
        time: TimestampNs,
        now: TimestampNs,
    ) -> Result<(), Refused> {
        let text = format!("{value}/{quality}");
        if self.tags.get(path) == Some(&text) {
            return Ok(());
        }
        if self.is_backlog_full() {
            return Err(Refused::Busy);
        }
        self.append(vec![message::tag_draft(path, time, value, quality)], now)?;
        self.tags.insert(path.to_owned(), text);
        Ok(())
    }

    pub(super) fn check_room(&self) -> Result<(), PublishError> {
        if self.is_backlog_full() { Err(PublishError::BacklogFull) } else { Ok(()) }
    }
}

/// The pair of source and id names an event (CloudEvents 1.0, section 3.1.1).
pub(super) fn message_id(source: &str, id: &str) -> String {
    format!("{source}#{id}")
}

/// What is written of an event.
pub(super) fn body(event: Event) -> Value {
    let mut more = event.extensions;
    let mut put = |name: &str, value: Value| drop(more.insert(name.to_owned(), value));
    put("subject", event.subject.map_or(Value::Null, Value::from));
    put("severity", event.severity.map_or(Value::Null, Value::from));
    put("message", event.message.map_or(Value::Null, Value::from));
    put("data", event.data);
    message::event_body(&event.id, &event.source, &event.kind, event.time, more)
}

/// What is wrong with an event.
pub(super) fn wrong(event: &Event) -> Option<Wrong> {
    let empty = |path: &str, text: &str| Some(Wrong { path: path.to_owned(), text: text.to_owned() });
    if event.id.is_empty() || event.id.len() > ID_BYTES_MAX / 2 {
        return empty("/id", "an id has 1 to 512 bytes");
    }
    if event.source.is_empty() || event.source.len() > ID_BYTES_MAX / 2 {
        return empty("/source", "a source has 1 to 512 bytes");
    }
    if event.kind.is_empty() || event.kind.len() > 256 {
        return empty("/type", "a type has 1 to 256 bytes");
    }
    if event.severity.is_some_and(|severity| !(1..=1000).contains(&severity)) {
        return empty("/severity", "a severity is 1 (least) to 1000 (most), as in OPC 10000-9");
    }
    let bytes = event.data.to_string().len() + Value::Object(event.extensions.clone()).to_string().len();
    if bytes > crate::records::DOCUMENT_BYTES_MAX {
        return empty("/data", "it is too long; at most 262,144 bytes are taken");
    }
    None
}
