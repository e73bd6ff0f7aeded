//! What one call publishes: made ready one by one, then written at once.
//!
//! Purpose: a call may bring a thousand documents, and telemetry waits for whatever runs on its core. Checking,
//! hashing and serializing are done for one of them at a time, with a pause wherever the caller wants one; what is
//! left for the end is one append and a few words for each.
//!
//! Invariants
//! - J21: making ready changes nothing. A group is written whole or not at all.
//! - J22: a group that another one of its kind was written before, since it was begun, is refused: what it says
//!   of duplicates and versions may not hold any more. Callers take turns ([`Desk::begin_events`]).

use super::publish::{self, EVENTS_MAX, Event, PublishError, Published, Written};
use super::{Desk, id_name};
use crate::entry::Draft;
use crate::journal::Entries;
use crate::message::{self, Message, MessageKind};
use crate::records::{DOCUMENTS_MAX, Named, Standing, Wrong};
use delivery::Offset;
use model::{Refused, TimestampNs};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// What a group is of; also its place in the desk's counts of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Events = 0,
    Records = 1,
}

/// A call's messages while they are made ready. Drop it, and nothing has happened.
pub struct Group {
    kind: Kind,
    /// The kind of document, by its place; of events 0.
    entity: usize,
    /// Groups of this kind that were written before it was begun.
    began: u64,
    entries: Entries,
    /// Those that are new, in the order of `entries`.
    fresh: Vec<Fresh>,
    places: Vec<(String, u64, Place)>,
    /// By the name that duplicates are known by: the newest of `fresh`.
    newest: HashMap<u128, usize>,
    wrong: Vec<(usize, Wrong)>,
    /// Events or documents that were added.
    count: usize,
}

/// A message that is written now; its offset is not known yet.
struct Fresh {
    name: u128,
    version: u64,
    message: Arc<Message>,
    /// What a document is known by, and its business time.
    document: Option<(Named, TimestampNs)>,
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

impl Group {
    fn new(kind: Kind, entity: usize, began: u64) -> Group {
        let (entries, newest) = (Entries::default(), HashMap::new());
        let (fresh, places, wrong) = (Vec::new(), Vec::new(), Vec::new());
        Group { kind, entity, began, entries, fresh, places, newest, wrong, count: 0 }
    }

    /// Counts one more; `None` where there are too many, which is said once.
    fn count_one(&mut self, most: usize) -> Option<usize> {
        let at = self.count;
        self.count += 1;
        if at == most {
            let text = format!("at most {most} are taken at once; send the others in another call");
            self.wrong.push((at, Wrong { path: String::new(), text }));
        }
        (at < most).then_some(at)
    }

    /// Puts one that is new behind the others. `known_by`: what the next of this call is compared with.
    fn put(
        &mut self,
        (id, version, known_by): (String, u64, u128),
        mut draft: Draft,
        body: Value,
        document: Option<(Named, TimestampNs)>,
    ) {
        if self.entries.push(&mut draft).is_err() {
            let text = "it is longer than an entry of the journal may be; send less in one".to_owned();
            self.wrong.push((self.count - 1, Wrong { path: String::new(), text }));
            return;
        }
        let name = id_name(&draft.stream, &draft.id);
        let Draft { id: message_id, stream, time, .. } = draft;
        let (offset, bytes, envelope) = (Offset(0), draft.body.len(), OnceLock::new());
        let message = Arc::new(Message { offset, id: message_id, stream, time, body, bytes, envelope });
        let at = self.fresh.len();
        self.newest.insert(known_by, at);
        self.fresh.push(Fresh { name, version, message, document });
        self.places.push((id, version, Place::New(at)));
    }
}

impl Desk {
    /// Begins a call that publishes events. Whoever begins a group writes or drops it before the next one of
    /// its kind is begun; else the later one is refused (J22).
    ///
    /// # Errors
    /// [`PublishError::BacklogFull`].
    pub fn begin_events(&self) -> Result<Group, PublishError> {
        self.check_room()?;
        Ok(Group::new(Kind::Events, 0, self.groups[Kind::Events as usize]))
    }

    /// Makes one event ready. What is wrong with it is said when the group is written.
    pub fn add_event(&self, group: &mut Group, event: Event) {
        let Some(at) = group.count_one(EVENTS_MAX) else { return };
        if let Some(wrong) = publish::wrong(&event) {
            group.wrong.push((at, wrong));
        }
        self.pause();
        if !group.wrong.is_empty() {
            return;
        }
        let id = publish::message_id(&event.source, &event.id);
        let name = id_name(&MessageKind::Event.stream(&event.kind), &id);
        let known = self.ids.find_name(name).map(Place::Known);
        match known.or_else(|| group.newest.get(&name).copied().map(Place::Again)) {
            Some(place) => group.places.push((event.id, 1, place)),
            None => {
                let (kind, time, event_id) = (event.kind.clone(), event.time, event.id.clone());
                let body = publish::body(event);
                self.pause();
                let draft = message::event_draft(&kind, &id, time, &body);
                self.pause();
                group.put((event_id, 1, name), draft, body, None);
            }
        }
    }

    /// Begins a call that brings documents; see [`begin_events`](Self::begin_events).
    ///
    /// # Errors
    /// [`PublishError::BacklogFull`] and [`PublishError::UnknownEntity`].
    pub fn begin_records(&self, entity: &str) -> Result<Group, PublishError> {
        self.check_room()?;
        let at = self.entities.iter().position(|spec| spec.name == entity).ok_or(PublishError::UnknownEntity)?;
        Ok(Group::new(Kind::Records, at, self.groups[Kind::Records as usize]))
    }

    /// Makes one document ready; `now` is its time where it has none.
    pub fn add_record(&self, group: &mut Group, document: Value, now: TimestampNs) {
        let Some(at) = group.count_one(DOCUMENTS_MAX) else { return };
        let Some(spec) = self.entities.get(group.entity) else { return };
        let id = match spec.check(&document) {
            Ok(id) => id,
            Err(places) => return group.wrong.extend(places.into_iter().map(|one| (at, one))),
        };
        if !group.wrong.is_empty() {
            return;
        }
        self.pause();
        let named = Named::new(&spec.name, &id, &document);
        // within one call, the last of an id is what the next one is compared with
        let before = group.newest.get(&named.name).map(|at| (*at, &group.fresh[*at]));
        let (version, place) = match before {
            Some((at, fresh)) if fresh.document.is_some_and(|(known, _)| known == named) => {
                (fresh.version, Some(Place::Again(at)))
            }
            Some((_, fresh)) => (fresh.version + 1, None),
            None => match self.records.standing_of(&named) {
                Standing::Known(mark) => (mark.version, Some(Place::Known(mark.offset))),
                Standing::Version(version) => (version, None),
            },
        };
        match place {
            Some(place) => group.places.push((id, version, place)),
            None => {
                let (time, key) = (spec.time_of(&document, now), spec.key_of(&document));
                let body = message::record_body(&spec.name, &id, version, key, document);
                self.pause();
                let draft = message::record_draft(&spec.name, &id, version, time, &body);
                self.pause();
                group.put((id, version, named.name), draft, body, Some((named, time)));
            }
        }
    }

    /// Writes a group of events, all or none. What is answered counts once the journal is durable up to the
    /// highest offset.
    ///
    /// # Errors
    /// [`PublishError`]: none was taken. `Refused(Busy)` also where another group came before (J22).
    pub fn write_events(&mut self, group: Group, now: TimestampNs) -> Result<Vec<Published>, PublishError> {
        let written = self.write(group, now)?;
        Ok(written
            .into_iter()
            .map(|Written { id, offset, duplicate, .. }| Published { id, offset, duplicate })
            .collect())
    }

    /// Writes a group of documents; see [`write_events`](Self::write_events).
    ///
    /// # Errors
    /// As there.
    pub fn write_records(&mut self, group: Group, now: TimestampNs) -> Result<Vec<Written>, PublishError> {
        self.write(group, now)
    }

    fn write(&mut self, group: Group, now: TimestampNs) -> Result<Vec<Written>, PublishError> {
        self.check_room()?;
        if !group.wrong.is_empty() {
            return Err(PublishError::Invalid(group.wrong));
        }
        let Group { kind, entity, began, entries, fresh, places, .. } = group;
        if self.groups[kind as usize] != began {
            return Err(PublishError::Refused(Refused::Busy));
        }
        let begin = if fresh.is_empty() { Offset(0) } else { self.append_entries(&entries, now)? };
        self.groups[kind as usize] += u64::from(!fresh.is_empty());
        self.pause();
        let offset = |at: usize| Offset(begin.0 + entries.ends().get(at).copied().unwrap_or_default());
        for (at, Fresh { name, version, mut message, document }) in fresh.into_iter().enumerate() {
            if let Some(message) = Arc::get_mut(&mut message) {
                message.offset = offset(at);
            }
            self.note_named(name, message);
            self.pause();
            if let Some((named, time)) = document {
                self.records.put_named(&named, version, offset(at));
                self.batches.on_record(&self.entities[entity].name, time, now);
            }
        }
        let answer = |(id, version, place): (String, u64, Place)| Written {
            id,
            version,
            offset: match place {
                Place::New(at) | Place::Again(at) => offset(at),
                Place::Known(offset) => offset,
            },
            duplicate: !matches!(place, Place::New(_)),
        };
        Ok(places.into_iter().map(answer).collect())
    }

    /// What is owed comes first; see `append`.
    fn append_entries(&mut self, entries: &Entries, now: TimestampNs) -> Result<Offset, PublishError> {
        self.settle_owed(now).and_then(|()| self.journal.append_entries(entries, now)).map_err(PublishError::Refused)
    }
}
