//! Dead letters: deliveries that were given up, kept whole until somebody has seen to them.
//!
//! Invariants
//! - J5: nothing that is open is ever dropped. When there are too many, the flows that would make
//!   more are stopped and say so.
//! - J6: a letter is complete in itself: message, request, every attempt and the answers, so that
//!   it can be shown and replayed after the journal's older segments are gone.

use crate::message::Message;
use crate::trail::AttemptLine;
use delivery::{DeliveryId, Offset};
use model::TimestampNs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// Open dead letters of all flows together.
pub const LETTERS_MAX: usize = 10_000;
/// Bytes of all letters together.
pub const LETTERS_BYTES_MAX: usize = 64 << 20;
/// Letters that were seen to and are still shown.
const CLOSED_MAX: usize = 1_000;

/// What has become of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LetterState {
    /// Nobody has seen to it.
    Open,
    /// It was sent again.
    Replayed,
    /// Somebody decided that it need not be sent.
    Discarded,
}

impl LetterState {
    /// The word in answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            LetterState::Open => "open",
            LetterState::Replayed => "replayed",
            LetterState::Discarded => "discarded",
        }
    }
}

/// What was sent, as text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SentRequest {
    /// HTTP method; empty for other targets.
    pub method: String,
    /// Address.
    pub url: String,
    /// Media type.
    pub content_type: String,
    /// The body, shortened where it is long.
    pub body: String,
    /// Hexadecimal SHA-256 of the whole body.
    pub sha256: String,
    /// What the receiver knows this very body by.
    #[serde(default)]
    pub idempotency_key: String,
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// `<flow>@<offset>`, with `.<replay>` where it was a replay.
    pub id: String,
    /// The flow.
    pub flow: String,
    /// The message's offset.
    pub offset: u64,
    /// Which replay; 0: the first delivery.
    pub replay: u32,
    /// The message's id.
    pub message: String,
    /// The message's stream.
    pub stream: String,
    /// What ordered it.
    pub key: String,
    /// When the message was published, ns since 1970 UTC.
    pub published_ns: i64,
    /// When it was given up, ns since 1970 UTC.
    pub time_ns: i64,
    /// Why: `rejected`, `attempts`, `expired` or `mapping`.
    pub reason: String,
    /// What was sent last, or would have been; `None` where it could not be mapped.
    pub request: Option<SentRequest>,
    /// The message.
    pub message_body: Value,
    /// Every attempt that is kept.
    pub attempts: Vec<AttemptLine>,
    /// The expression that failed, where one did.
    pub expression: Option<String>,
    /// What it was given.
    pub input: Option<String>,
    /// What has become of it.
    pub state: LetterState,
    /// Deliveries that replayed it.
    pub replays: Vec<String>,
    /// Who saw to it.
    pub by: Option<String>,
}

/// The name of a delivery in answers.
#[must_use]
pub fn delivery_name(flow: &str, id: DeliveryId) -> String {
    match id.replay {
        0 => format!("{flow}@{}", id.offset.0),
        replay => format!("{flow}@{}.{replay}", id.offset.0),
    }
}

impl Letter {
    /// The delivery that it was.
    #[must_use]
    pub const fn delivery(&self) -> DeliveryId {
        DeliveryId { offset: Offset(self.offset), replay: self.replay }
    }

    /// The message that it holds.
    #[must_use]
    pub fn to_message(&self) -> Message {
        Message {
            envelope: std::sync::OnceLock::new(),
            offset: Offset(self.offset),
            id: self.message.clone(),
            stream: self.stream.clone(),
            time: TimestampNs(self.published_ns),
            bytes: self.message_body.to_string().len(),
            body: self.message_body.clone(),
        }
    }
}

struct Kept {
    letter: Letter,
    /// Offset of the entry that says it; moved on when the entry is written again.
    at: Offset,
    bytes: usize,
    /// Its replay has not ended: a restart needs it.
    awaited: bool,
}

/// Where a letter stands among the others: the offset of its first entry, and its id.
pub type LetterPlace = (u64, String);

/// All letters, by time.
#[derive(Default)]
pub struct Letters {
    kept: BTreeMap<LetterPlace, Kept>,
    names: BTreeMap<String, u64>,
    open: usize,
    /// Open ones by flow.
    open_by_flow: HashMap<String, usize>,
    awaited: usize,
    bytes: usize,
    /// Letters that were seen to and then forgotten, to keep the list short.
    pub forgotten: u64,
}

impl Letters {
    /// A letter as an entry says that it is now.
    pub fn put(&mut self, letter: Letter, at: Offset, bytes: usize) {
        let first = *self.names.entry(letter.id.clone()).or_insert(at.0);
        let name = (first, letter.id.clone());
        let before = self.kept.remove(&name);
        let is_replayed = |letter: &Letter| letter.state == LetterState::Replayed;
        // one that is written again is as it was
        let same = before.as_ref().filter(|before| is_replayed(&before.letter));
        let awaited = is_replayed(&letter) && same.is_none_or(|before| before.awaited);
        if let Some(before) = before {
            if before.letter.state == LetterState::Open {
                self.open -= 1;
                if let Some(open) = self.open_by_flow.get_mut(&before.letter.flow) {
                    *open -= 1;
                }
            }
            self.awaited -= usize::from(before.awaited);
            self.bytes -= before.bytes;
        }
        if letter.state == LetterState::Open {
            self.open += 1;
            *self.open_by_flow.entry(letter.flow.clone()).or_default() += 1;
        }
        self.awaited += usize::from(awaited);
        self.bytes += bytes;
        self.kept.insert(name, Kept { letter, at, bytes, awaited });
        self.forget();
    }

    /// The replay of a letter has ended.
    pub(crate) fn release(&mut self, id: &str) {
        let Some(first) = self.names.get(id) else { return };
        if let Some(kept) = self.kept.get_mut(&(*first, id.to_owned())) {
            self.awaited -= usize::from(std::mem::take(&mut kept.awaited));
        }
        self.forget();
    }

    /// The journal was read: replays of these letters have not ended, and no others.
    pub(crate) fn await_only(&mut self, ids: &std::collections::BTreeSet<String>) {
        for kept in self.kept.values_mut() {
            kept.awaited = ids.contains(&kept.letter.id);
        }
        self.awaited = self.kept.values().filter(|kept| kept.awaited).count();
        self.forget();
    }

    fn forget(&mut self) {
        let is_done = |kept: &Kept| kept.letter.state != LetterState::Open && !kept.awaited;
        while self.kept.len().saturating_sub(self.open + self.awaited) > CLOSED_MAX {
            let closed = self.kept.iter().find(|(_, kept)| is_done(kept));
            let Some(name) = closed.map(|(name, _)| name.clone()) else { return };
            if let Some(kept) = self.kept.remove(&name) {
                self.bytes -= kept.bytes;
                self.names.remove(&name.1);
                self.forgotten += 1;
            }
        }
    }

    /// A letter by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Letter> {
        let first = *self.names.get(id)?;
        self.kept.get(&(first, id.to_owned())).map(|kept| &kept.letter)
    }

    /// Where a letter stands in the list.
    #[must_use]
    pub fn place_of(&self, id: &str) -> Option<LetterPlace> {
        self.names.get(id).map(|first| (*first, id.to_owned()))
    }

    /// The letters behind a place, whether or not one stands there still; newest first, with their places.
    pub fn behind(&self, place: Option<&LetterPlace>) -> impl Iterator<Item = (&LetterPlace, &Letter)> {
        let until = place.map_or(Bound::Unbounded, Bound::Excluded);
        self.kept.range((Bound::Unbounded, until)).rev().map(|(place, kept)| (place, &kept.letter))
    }

    /// All letters, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Letter> {
        self.kept.values().rev().map(|kept| &kept.letter)
    }

    /// Letters of one message in one flow: of its first delivery and of its replays.
    pub(crate) fn of(&self, flow: &str, offset: u64) -> impl Iterator<Item = &Letter> {
        let first = format!("{flow}@{offset}");
        // by their names: `/` comes behind `.`
        let replays = self.names.range(format!("{first}.")..format!("{first}/"));
        let names = self.names.get_key_value(&first).into_iter().chain(replays);
        names.filter_map(|(id, at)| self.kept.get(&(*at, id.clone()))).map(|kept| &kept.letter)
    }

    /// Letters that nobody has seen to.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// Open letters of one flow.
    #[must_use]
    pub fn open_of(&self, flow: &str) -> usize {
        self.open_by_flow.get(flow).copied().unwrap_or_default()
    }

    /// Bytes of all letters as they are stored.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is no room for another (J5).
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.open >= LETTERS_MAX || self.bytes >= LETTERS_BYTES_MAX
    }

    /// Everything behind this offset is needed: the oldest entry that a letter stands in lies there.
    #[must_use]
    pub fn needed_behind(&self) -> Option<Offset> {
        self.kept.values().map(|kept| Offset(kept.at.0.saturating_sub(1))).min()
    }

    /// Letters whose entries stand at or before an offset, to be written again; at most `limit`.
    #[must_use]
    pub fn before(&self, offset: Offset, limit: usize) -> Vec<Letter> {
        self.kept.values().filter(|kept| kept.at <= offset).take(limit).map(|kept| kept.letter.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(offset: u64, state: LetterState) -> Letter {
        Letter {
            id: format!("erp@{offset}"),
            flow: "erp".into(),
            offset,
            replay: 0,
            message: format!("m{offset}"),
            stream: "event/x".into(),
            key: "k".into(),
            published_ns: 1,
            time_ns: 2,
            reason: "refused".into(),
            request: None,
            message_body: Value::Null,
            attempts: Vec::new(),
            expression: None,
            input: None,
            state,
            replays: Vec::new(),
            by: None,
        }
    }

    #[test]
    fn a_letter_that_is_written_again_is_the_same_one() {
        let mut letters = Letters::default();
        letters.put(letter(1, LetterState::Open), Offset(10), 100);
        letters.put(letter(2, LetterState::Open), Offset(20), 100);
        assert_eq!(letters.before(Offset(10), 9).len(), 1);
        letters.put(letter(1, LetterState::Open), Offset(30), 100);
        assert_eq!((letters.open(), letters.needed_behind()), (2, Some(Offset(19))));
        assert_eq!(letters.iter().map(|l| l.offset).collect::<Vec<_>>(), [2, 1], "its place is by its first entry");
        letters.put(letter(1, LetterState::Discarded), Offset(40), 50);
        assert_eq!((letters.open(), letters.bytes), (1, 150));
        assert_eq!((letters.open_of("erp"), letters.open_of("wms")), (1, 0));
        let behind = |place: Option<&LetterPlace>| letters.behind(place).map(|(_, l)| l.offset).collect::<Vec<_>>();
        let places = ["erp@2", "erp@1"].map(|id| letters.place_of(id).expect("it is there"));
        assert_eq!([behind(None), behind(Some(&places[0])), behind(Some(&places[1]))], [vec![2, 1], vec![1], vec![]]);
        assert_eq!(behind(Some(&(11, String::new()))), [1], "nothing need stand there");
    }

    #[test]
    fn the_letters_of_a_message_are_found_by_its_flow_and_offset() {
        let mut letters = Letters::default();
        for (name, offset) in [("erp@1", 1), ("erp@1.2", 1), ("erp@1.10", 1), ("erp@10", 10), ("erp2@1", 1)] {
            letters.put(Letter { id: name.to_owned(), ..letter(offset, LetterState::Open) }, Offset(offset), 1);
        }
        let found = |flow, offset| letters.of(flow, offset).map(|letter| letter.id.as_str()).collect::<Vec<_>>();
        assert_eq!(found("erp", 1), ["erp@1", "erp@1.10", "erp@1.2"]);
        assert_eq!((found("erp", 10), found("erp", 2).len()), (vec!["erp@10"], 0));
    }

    #[test]
    fn only_letters_that_were_seen_to_are_forgotten() {
        let mut letters = Letters::default();
        for offset in 0..3_000 {
            let state = if offset % 2 == 0 { LetterState::Open } else { LetterState::Discarded };
            letters.put(letter(offset, state), Offset(offset), 10);
        }
        assert_eq!((letters.open(), letters.forgotten), (1_500, 500));
        assert!(letters.get("erp@0").is_some() && letters.get("erp@1").is_none());
    }

    #[test]
    fn letters_whose_replay_has_not_ended_are_not_forgotten() {
        let mut letters = Letters::default();
        for offset in 0..3_000 {
            letters.put(letter(offset, LetterState::Open), Offset(offset), 10);
            letters.put(letter(offset, LetterState::Replayed), Offset(5_000 + offset), 10);
        }
        assert_eq!((letters.iter().count(), letters.forgotten), (3_000, 0));
        letters.release("erp@0");
        letters.put(letter(0, LetterState::Replayed), Offset(9_000), 10);
        (1..2_000).for_each(|offset| letters.release(&format!("erp@{offset}")));
        assert_eq!((letters.forgotten, letters.get("erp@2000").is_some()), (1_000, true));
        letters.await_only(&["erp@2500".to_owned()].into());
        assert_eq!(letters.iter().count(), 1_001);
        assert!(letters.get("erp@2500").is_some());
    }
}
