//! What a system still has to send, and the journal of what it sent.
//!
//! Invariants:
//! - The first of a key that has not ended is sent before any other of that key.
//! - At most [`WAITING_MAX`] postings wait; the journal is bounded as every journal here, so a
//!   posting that waited while ten thousand others came is forgotten.

use std::collections::HashSet;

use axum::body::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::business::journal::{Entry, Journal};
use crate::physics::Rng;

/// Postings that wait for their acknowledgement.
const WAITING_MAX: usize = 1_000;
/// First and longest rest before a posting is tried again, ms.
const BACK_OFF_MS: (u64, u64) = (200, 5_000);
/// Longest `Retry-After` that is honoured, s.
const RETRY_AFTER_S_MAX: u64 = 60;
/// Answers that end a posting because no retry could change them.
const REFUSALS: [u16; 4] = [400, 413, 415, 422];

/// Something to be posted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    /// What it is, e.g. `goods-receipt`.
    pub(crate) kind: &'static str,
    /// Its business id.
    pub(crate) id: String,
    /// Path at the receiver.
    pub(crate) path: String,
    /// What orders it among others.
    pub(crate) key: String,
    /// The document.
    pub(crate) body: Value,
}

/// How a posting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PostingState {
    /// Not acknowledged yet.
    Waiting,
    /// Answered with 2xx as often as it should be.
    Acknowledged,
    /// The receiver does not take it.
    Refused,
}

/// A posting, as the journal shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Posting {
    /// Number of the posting at this system, from 1.
    pub(crate) seq: u64,
    /// What it is.
    pub(crate) kind: &'static str,
    /// Its business id.
    pub(crate) id: String,
    /// Path at the receiver.
    pub(crate) path: String,
    /// The same on every try.
    pub(crate) idempotency_key: String,
    /// The same on every try.
    pub(crate) body: Value,
    /// How it is.
    pub(crate) state: PostingState,
    /// Tries that were begun.
    pub(crate) tries: u64,
    /// Tries that were answered with 2xx.
    pub(crate) acknowledgements: u64,
    /// Status of the last answer.
    pub(crate) status: Option<u16>,
    /// Body of the last answer.
    pub(crate) answer: Value,
    /// What went wrong on the last try without an answer.
    pub(crate) error: Option<String>,
    /// When it was made, ms since the Unix epoch.
    pub(crate) created_unix_ms: u64,
    /// When it was acknowledged, ms since the Unix epoch.
    pub(crate) acknowledged_unix_ms: Option<u64>,
}

impl Entry for Posting {
    fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn path(&self) -> &str {
        &self.path
    }
}

/// A posting to send now.
#[derive(Debug, PartialEq)]
pub(crate) struct Dispatch {
    pub(crate) seq: u64,
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) body: Bytes,
}

/// An answer of the receiver.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) answer: Value,
    pub(crate) retry_after_s: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    seq: u64,
    key: String,
    due_ms: u64,
    back_off_ms: u64,
    under_way: bool,
    /// Acknowledgements that end it; decided when it is first sent.
    wanted: Option<u64>,
}

/// What waits, and what was.
#[derive(Debug)]
pub(crate) struct Outbox {
    journal: Journal<Posting>,
    waiting: Vec<Waiting>,
    rng: Rng,
}

impl Outbox {
    /// Empty.
    pub(crate) fn new(seed: u64) -> Self {
        Self { journal: Journal::new(), waiting: Vec::new(), rng: Rng::new(seed, 700) }
    }

    /// Whether another posting can wait.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Postings that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The journal.
    pub(crate) fn journal(&self) -> &Journal<Posting> {
        &self.journal
    }

    /// Takes a posting to be sent at once; answers its number.
    pub(crate) fn add(&mut self, draft: Draft, now_unix_ms: u64) -> u64 {
        let bytes = draft.body.to_string().len();
        let posting = Posting {
            seq: 0,
            kind: draft.kind,
            idempotency_key: draft.id.clone(),
            id: draft.id,
            path: draft.path,
            body: draft.body,
            state: PostingState::Waiting,
            tries: 0,
            acknowledgements: 0,
            status: None,
            answer: Value::Null,
            error: None,
            created_unix_ms: now_unix_ms,
            acknowledged_unix_ms: None,
        };
        let seq = self.journal.push(posting, bytes);
        let (due_ms, back_off_ms) = (0, BACK_OFF_MS.0);
        self.waiting.push(Waiting { seq, key: draft.key, due_ms, back_off_ms, under_way: false, wanted: None });
        seq
    }

    /// The next posting that is due and the first of its key; it counts as under way. `twice`: one
    /// that is sent for the first time now must be acknowledged twice.
    pub(crate) fn take_due(&mut self, now_ms: u64, twice: bool) -> Option<Dispatch> {
        let Self { journal, waiting, .. } = self;
        waiting.retain(|waiting| waiting.under_way || journal.get_mut(waiting.seq).is_some());
        let mut before = HashSet::new();
        let first = waiting.iter_mut().filter(|waiting| before.insert(waiting.key.clone()));
        let mut due = first.filter(|waiting| !waiting.under_way && waiting.due_ms <= now_ms);
        let waiting = due.next()?;
        let posting = journal.get_mut(waiting.seq)?;
        waiting.under_way = true;
        waiting.wanted.get_or_insert(if twice { 2 } else { 1 });
        posting.tries += 1;
        let (path, key) = (posting.path.clone(), posting.idempotency_key.clone());
        Some(Dispatch { seq: waiting.seq, path, key, body: Bytes::from(posting.body.to_string()) })
    }

    /// A try ended.
    pub(crate) fn on_tried(&mut self, seq: u64, now_ms: u64, now_unix_ms: u64, tried: Result<Answered, String>) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.seq == seq) else { return };
        let waiting = &mut self.waiting[at];
        waiting.under_way = false;
        let Some(posting) = self.journal.get_mut(seq) else {
            self.waiting.remove(at);
            return;
        };
        let mut rest_ms = 0;
        match tried {
            Ok(Answered { status, answer, retry_after_s }) => {
                (posting.status, posting.answer, posting.error) = (Some(status), answer, None);
                if (200..300).contains(&status) {
                    posting.acknowledgements += 1;
                } else if REFUSALS.contains(&status) {
                    posting.state = PostingState::Refused;
                }
                rest_ms = retry_after_s.unwrap_or(0).min(RETRY_AFTER_S_MAX) * 1_000;
            }
            Err(error) => posting.error = Some(error),
        }
        let acknowledged = posting.status.is_some_and(|status| (200..300).contains(&status)) && posting.error.is_none();
        if acknowledged && posting.acknowledgements >= waiting.wanted.unwrap_or(1) {
            posting.state = PostingState::Acknowledged;
            posting.acknowledged_unix_ms = Some(now_unix_ms);
        }
        if posting.state != PostingState::Waiting {
            self.waiting.remove(at);
        } else if !acknowledged {
            // Half of the rest is by chance, so that systems do not knock in step.
            let half = waiting.back_off_ms / 2;
            let back_off_ms = half + (self.rng.unit() * half as f64) as u64;
            waiting.due_ms = now_ms + back_off_ms.max(rest_ms);
            waiting.back_off_ms = (waiting.back_off_ms * 2).min(BACK_OFF_MS.1);
        }
    }

    /// When the next posting is due; none while nothing waits.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let mut before = HashSet::new();
        let first = self.waiting.iter().filter(|waiting| before.insert(waiting.key.as_str()));
        first.filter(|waiting| !waiting.under_way).map(|waiting| waiting.due_ms).min()
    }

    /// Everything that rests is due now: the receiver is another one.
    pub(crate) fn retry_now(&mut self) {
        for waiting in &mut self.waiting {
            (waiting.due_ms, waiting.back_off_ms) = (0, BACK_OFF_MS.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn draft(id: &str, key: &str) -> Draft {
        Draft { kind: "x", id: id.to_owned(), path: "/x".to_owned(), key: key.to_owned(), body: json!({ "id": id }) }
    }

    fn answered(status: u16) -> Result<Answered, String> {
        Ok(Answered { status, answer: Value::Null, retry_after_s: None })
    }

    fn outbox(drafts: &[(&str, &str)]) -> Outbox {
        let mut outbox = Outbox::new(1);
        for (id, key) in drafts {
            outbox.add(draft(id, key), 0);
        }
        outbox
    }

    fn due(outbox: &mut Outbox, now_ms: u64) -> Vec<String> {
        std::iter::from_fn(|| outbox.take_due(now_ms, false)).map(|dispatch| dispatch.key).collect()
    }

    #[test]
    fn keys_keep_their_order_and_do_not_wait_for_each_other() {
        let mut outbox = outbox(&[("a1", "a"), ("a2", "a"), ("b1", "b")]);
        assert_eq!(due(&mut outbox, 0), ["a1", "b1"]);
        outbox.on_tried(3, 1, 1, answered(201));
        assert_eq!(due(&mut outbox, 1), [""; 0]);
        outbox.on_tried(1, 2, 2, answered(503));
        let again_ms = outbox.next_due_ms().expect("a1 is tried again");
        assert!((2 + 100..=2 + 200).contains(&again_ms), "{again_ms}");
        assert_eq!(due(&mut outbox, again_ms - 1), [""; 0]);
        assert_eq!(due(&mut outbox, again_ms), ["a1"]);
        outbox.on_tried(1, again_ms, 3, answered(200));
        assert_eq!(due(&mut outbox, again_ms), ["a2"]);
        let first = outbox.journal().after(0, None).next().cloned().expect("journalled");
        assert_eq!((first.tries, first.status, first.state), (2, Some(200), PostingState::Acknowledged));
    }

    #[test]
    fn back_off_doubles_to_its_limit_and_retry_after_is_a_floor() {
        let mut outbox = outbox(&[("a1", "a")]);
        let mut now_ms = 0;
        let mut rests = Vec::new();
        for _ in 0..8 {
            assert_eq!(due(&mut outbox, now_ms).len(), 1);
            outbox.on_tried(1, now_ms, 0, Err("no connection".to_owned()));
            let next_ms = outbox.next_due_ms().expect("tried again");
            rests.push(next_ms - now_ms);
            now_ms = next_ms;
        }
        assert!(rests[0] <= 200 && rests[7] >= 2_500 && rests[7] <= 5_000, "{rests:?}");
        assert_eq!(due(&mut outbox, now_ms).len(), 1);
        let slow = Answered { status: 429, answer: Value::Null, retry_after_s: Some(30) };
        outbox.on_tried(1, now_ms, 0, Ok(slow));
        assert_eq!(outbox.next_due_ms(), Some(now_ms + 30_000));
        outbox.retry_now();
        assert_eq!(due(&mut outbox, now_ms).len(), 1);
    }

    #[test]
    fn a_refusal_ends_its_posting_and_lets_the_next_go() {
        let mut outbox = outbox(&[("a1", "a"), ("a2", "a")]);
        assert_eq!(due(&mut outbox, 0), ["a1"]);
        outbox.on_tried(1, 0, 0, answered(422));
        assert_eq!(due(&mut outbox, 0), ["a2"]);
        outbox.on_tried(2, 0, 0, answered(404));
        assert_eq!(outbox.waiting(), 1, "a receiver that does not know the path may learn it");
    }

    #[test]
    fn twice_means_two_acknowledgements_with_one_key() {
        let mut outbox = outbox(&[("a1", "a"), ("a2", "a")]);
        let first = outbox.take_due(0, true).expect("due");
        outbox.on_tried(1, 0, 0, answered(201));
        let second = outbox.take_due(0, false).expect("due again at once");
        assert_eq!(first, second);
        outbox.on_tried(1, 0, 0, answered(500));
        assert!(outbox.take_due(0, false).is_none(), "the next of the key waits for the second time");
        let third = outbox.take_due(10_000, false).expect("due again");
        assert_eq!(first, third);
        outbox.on_tried(1, 10_000, 0, answered(200));
        assert_eq!(due(&mut outbox, 10_000), ["a2"]);
        let posting = outbox.journal().after(0, None).next().expect("journalled");
        assert_eq!((posting.tries, posting.acknowledgements), (3, 2));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = outbox(&[]);
        for number in 0..WAITING_MAX {
            assert!(outbox.has_room());
            outbox.add(draft(&number.to_string(), "a"), 0);
        }
        assert!(!outbox.has_room());
    }
}
