//! What comes in: events, records, changes of tags, edges of rules.

use super::Desk;
use crate::entry::Draft;
use crate::message::{self, ID_BYTES_MAX, MessageKind};
use crate::records::{DOCUMENTS_MAX, Standing, Wrong};
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

/// Where one of a call's events or documents stands.
#[derive(Clone, Copy)]
enum Place {
    /// It is this one of those that are written now.
    New(usize),
    /// It is the same as this one of those.
    Again(usize),
    /// It was there already.
    Known(Offset),
}

impl Place {
    fn offset(self, written: &[Offset]) -> Offset {
        match self {
            Place::New(at) | Place::Again(at) => written.get(at).copied().unwrap_or_default(),
            Place::Known(offset) => offset,
        }
    }
}

impl Desk {
    /// Publishes events, all or none. What is answered counts once the journal is durable up to the
    /// highest offset.
    ///
    /// # Errors
    /// [`PublishError`]: none was taken.
    pub fn publish(&mut self, events: Vec<Event>, now: TimestampNs) -> Result<Vec<Published>, PublishError> {
        self.check_room()?;
        let wrong: Vec<(usize, Wrong)> = events.iter().enumerate().filter_map(|(i, e)| Some((i, wrong(e)?))).collect();
        if !wrong.is_empty() || events.len() > EVENTS_MAX {
            return Err(PublishError::Invalid(wrong));
        }
        let mut drafts: Vec<Draft> = Vec::new();
        let mut places: Vec<(String, Place)> = Vec::with_capacity(events.len());
        for event in events {
            let stream = MessageKind::Event.stream(&event.kind);
            let id = message_id(&event.source, &event.id);
            let again = || drafts.iter().position(|draft| draft.stream == stream && draft.id == id);
            let place = match self.ids.find(&stream, &id).map(Place::Known).or_else(|| again().map(Place::Again)) {
                Some(place) => place,
                None => {
                    drafts.push(draft(&event, &id));
                    Place::New(drafts.len() - 1)
                }
            };
            places.push((event.id, place));
        }
        let offsets = self.append(drafts, now).map_err(PublishError::Refused)?;
        let answer = |(id, place): (String, Place)| Published {
            id,
            offset: place.offset(&offsets),
            duplicate: !matches!(place, Place::New(_)),
        };
        Ok(places.into_iter().map(answer).collect())
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
        self.check_room()?;
        let spec = self.entities.iter().find(|spec| spec.name == entity).ok_or(PublishError::UnknownEntity)?;
        let mut wrong = Vec::new();
        let mut ids = Vec::with_capacity(documents.len());
        if documents.len() > DOCUMENTS_MAX {
            let text = format!("{} documents; at most {DOCUMENTS_MAX} are taken at once", documents.len());
            return Err(PublishError::Invalid(vec![(0, Wrong { path: String::new(), text })]));
        }
        for (place, document) in documents.iter().enumerate() {
            match spec.check(document) {
                Ok(id) => ids.push(id),
                Err(places) => wrong.extend(places.into_iter().map(|one| (place, one))),
            }
        }
        if !wrong.is_empty() {
            return Err(PublishError::Invalid(wrong));
        }
        let mut drafts = Vec::new();
        let mut fresh: Vec<(String, u64, Value)> = Vec::new();
        let mut places: Vec<(String, u64, Place)> = Vec::with_capacity(documents.len());
        for (id, document) in ids.into_iter().zip(documents) {
            // within one call, the last of an id is what the next one is compared with
            let before = fresh.iter().rposition(|(known, ..)| *known == id);
            let (version, place) = match before.map(|at| (at, &fresh[at])) {
                Some((at, (_, version, body))) if *body == document => (*version, Place::Again(at)),
                Some((_, (_, version, _))) => (version + 1, Place::New(drafts.len())),
                None => match self.records.standing(entity, &id, &document) {
                    Standing::Known(mark) => (mark.version, Place::Known(mark.offset)),
                    Standing::Version(version) => (version, Place::New(drafts.len())),
                },
            };
            if matches!(place, Place::New(_)) {
                let (time, key) = (spec.time_of(&document, now), spec.key_of(&document));
                drafts.push(message::record_draft(entity, &id, version, time, &key, &document));
                fresh.push((id.clone(), version, document));
            }
            places.push((id, version, place));
        }
        let offsets = self.append(drafts, now).map_err(PublishError::Refused)?;
        for ((id, version, document), offset) in fresh.into_iter().zip(&offsets) {
            self.records.put(entity, &id, version, &document, *offset);
            let time = self.entities.iter().find(|spec| spec.name == entity).map_or(now, |s| s.time_of(&document, now));
            self.batches.on_record(entity, time, now);
        }
        let answer = |(id, version, place): (String, u64, Place)| Written {
            id,
            version,
            offset: place.offset(&offsets),
            duplicate: !matches!(place, Place::New(_)),
        };
        Ok(places.into_iter().map(answer).collect())
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

    fn check_room(&self) -> Result<(), PublishError> {
        if self.is_backlog_full() { Err(PublishError::BacklogFull) } else { Ok(()) }
    }
}

/// The pair of source and id names an event (CloudEvents 1.0, section 3.1.1).
fn message_id(source: &str, id: &str) -> String {
    format!("{source}#{id}")
}

fn draft(event: &Event, id: &str) -> Draft {
    let mut more = event.extensions.clone();
    let mut put = |name: &str, value: Value| drop(more.insert(name.to_owned(), value));
    put("subject", event.subject.clone().map_or(Value::Null, Value::from));
    put("severity", event.severity.map_or(Value::Null, Value::from));
    put("message", event.message.clone().map_or(Value::Null, Value::from));
    put("data", event.data.clone());
    let body = message::event_body(&event.id, &event.source, &event.kind, event.time, more);
    message::event_draft(&event.kind, id, event.time, &body)
}

fn wrong(event: &Event) -> Option<Wrong> {
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
