//! Deliveries as they are shown: rows, and letters of those that could not be made.

use super::{Outlet, Pending};
use crate::letters::{Letter, LetterState, SentRequest, delivery_name};
use crate::message::Message;
use crate::spec::{Payload, Rendered};
use crate::trail::AttemptLine;
use delivery::{Attempted, DeadReason, DeliveryId, End, Settled};
use model::TimestampNs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Deliveries that have ended and are still shown.
const RECENT_MAX: usize = 200;
/// Longest request body that a dead letter shows, in bytes.
const SHOWN_BYTES_MAX: usize = 64 << 10;

/// A delivery as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `<flow>@<offset>[.<replay>]`
    pub id: String,
    /// The message's offset.
    pub offset: u64,
    /// The message's id.
    pub message: String,
    /// The message's stream.
    pub stream: String,
    /// What orders it.
    pub key: String,
    /// One word.
    pub state: String,
    /// When the message was published, ns.
    pub created_ns: i64,
    /// When something last happened, ns.
    pub updated_ns: i64,
    /// When it is tried next, ns.
    pub next_ns: Option<i64>,
    /// What the receiver knows it by.
    pub idempotency_key: String,
    /// Every attempt that is kept.
    pub attempts: Vec<AttemptLine>,
}

/// The body of a settled entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SettledBody {
    /// What the engine said.
    pub(crate) settled: Settled,
    /// The row, for answers after a restart.
    pub(crate) row: Row,
}

/// The body of an attempt's entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AttemptBody {
    /// What the engine said.
    pub(crate) attempted: Attempted,
    /// The attempt.
    pub(crate) line: AttemptLine,
}

impl Outlet {
    pub(super) fn remember(&mut self, id: DeliveryId, row: Row) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((id, row));
    }

    pub(super) fn letter(&self, settled: &Settled, pending: &Pending, now: TimestampNs) -> Letter {
        let message = &pending.message;
        let reason = match (&settled.end, &pending.mapping) {
            (End::Expired, _) => "expired",
            (_, Some(_)) => "mapping",
            (End::Dead { reason: DeadReason::Attempts { .. } }, _) => "attempts",
            _ => "rejected",
        };
        // made again as it was sent: the same definition makes the same call; after a restart it may end
        // without a try, and still was sent before
        let made = || pending.mapping.is_none().then(|| self.render(settled.id, pending).ok()).flatten();
        let before = pending.before.clone().filter(|_| pending.sent_as.is_none());
        let request = before.or_else(|| made().map(|call| shown(&call)));
        Letter {
            id: delivery_name(&self.spec.name, settled.id),
            flow: self.spec.name.clone(),
            offset: settled.id.offset.0,
            replay: settled.id.replay,
            message: message.id.clone(),
            stream: message.stream.clone(),
            key: pending.key.clone(),
            published_ns: message.time.0,
            time_ns: now.0,
            reason: reason.to_owned(),
            request,
            message_body: message.body.clone(),
            attempts: pending.attempts.clone(),
            expression: pending.mapping.as_ref().map(|error| error.expression.clone()),
            input: pending.mapping.as_ref().map(|error| error.input.clone()),
            state: LetterState::Open,
            replays: Vec::new(),
            by: None,
        }
    }

    pub(super) fn row(
        &self,
        id: DeliveryId,
        pending: impl Into<Parts>,
        state: &str,
        now: TimestampNs,
        next: Option<TimestampNs>,
    ) -> Row {
        let Parts { message, key, sent_as, attempts } = pending.into();
        let unsent = || crate::message::idempotency_key(&self.spec.name, &message.identity(), None);
        Row {
            id: delivery_name(&self.spec.name, id),
            offset: id.offset.0,
            message: message.id.clone(),
            stream: message.stream.clone(),
            key,
            state: state.to_owned(),
            created_ns: message.time.0,
            updated_ns: attempts.last().map_or(now.0, |line| line.at_ns),
            next_ns: next.map(|time| time.0),
            idempotency_key: sent_as.unwrap_or_else(unsent),
            attempts,
        }
    }

    /// Deliveries that are held, and the newest that have ended, in no order. One that came
    /// again may stand there twice.
    #[must_use]
    pub fn ids(&self) -> Vec<DeliveryId> {
        let ended = self.recent.iter().map(|(id, _)| *id).filter(|id| !self.consumer.is_pending(*id));
        self.consumer.ids().chain(ended).collect()
    }

    /// What a list is filtered by, of one of those.
    #[must_use]
    pub fn look(&self, id: DeliveryId) -> Option<Look<'_>> {
        if let Some((view, pending)) = self.consumer.item(id).zip(self.pending.get(&id)) {
            return Some(Look { key: &pending.key, message: &pending.message.id, state: view.state.word() });
        }
        self.ended(id).map(|row| Look { key: &row.key, message: &row.message, state: &row.state })
    }

    /// The whole of one of those.
    #[must_use]
    pub fn row_of(&self, id: DeliveryId) -> Option<Row> {
        match self.consumer.item(id).zip(self.pending.get(&id)) {
            Some((view, pending)) => Some(self.row(id, pending, view.state.word(), pending.message.time, view.next)),
            None => self.ended(id).cloned(),
        }
    }

    /// The newest of its name, which may have come again.
    fn ended(&self, id: DeliveryId) -> Option<&Row> {
        self.recent.iter().rev().find(|(ended, _)| *ended == id).map(|(_, row)| row)
    }
}

/// What a list of deliveries is filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look<'a> {
    /// What orders it.
    pub key: &'a str,
    /// The message's id.
    pub message: &'a str,
    /// One word.
    pub state: &'a str,
}

/// What a row shows of a delivery.
pub(super) struct Parts {
    message: Arc<Message>,
    key: String,
    sent_as: Option<String>,
    attempts: Vec<AttemptLine>,
}

impl From<Pending> for Parts {
    fn from(Pending { message, key, sent_as, attempts, .. }: Pending) -> Parts {
        Parts { message, key, sent_as, attempts }
    }
}

impl From<&Pending> for Parts {
    fn from(pending: &Pending) -> Parts {
        let Pending { message, key, sent_as, attempts, .. } = pending;
        Parts { message: Arc::clone(message), key: key.clone(), sent_as: sent_as.clone(), attempts: attempts.clone() }
    }
}

/// What was sent, for a person to look at.
fn shown(call: &Rendered) -> SentRequest {
    let body = match &call.body {
        Payload::Bytes(bytes) => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]);
            if bytes.len() > SHOWN_BYTES_MAX { format!("{text}…") } else { text.into_owned() }
        }
        Payload::Document { sha256 } => format!("document {sha256}"),
    };
    SentRequest {
        method: call.method.clone(),
        url: call.address.clone(),
        content_type: call.content_type.clone(),
        body,
        sha256: digest(&call.body),
        idempotency_key: call.idempotency_key.clone(),
    }
}

pub(super) fn digest(body: &Payload) -> String {
    match body {
        Payload::Document { sha256 } => sha256.clone(),
        Payload::Bytes(bytes) => {
            let digit = |four: u8| char::from_digit(u32::from(four), 16).unwrap_or('0');
            Sha256::digest(bytes).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
        }
    }
}
