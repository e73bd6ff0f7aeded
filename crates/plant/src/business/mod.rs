//! The business systems: ERP, WMS, MES, CMMS and the customer portal.
//!
//! Purpose: real HTTP/JSON peers that remember what reached them and can be told to fail.
//!
//! Every system answers, beside its own paths:
//!
//! | call | answers |
//! |---|---|
//! | `GET /_received?after=&path=&limit=` | every request that reached it, oldest first |
//! | `GET /_effects?after=&path=&limit=` | what took effect: repeats of an Idempotency-Key count once |
//! | `GET /_faults`, `POST /_faults` | how it behaves; see [`faults`] |
//! | `GET /_posted?after=&path=&limit=` | what it posted by itself, with tries and answers; see [`feed`] |
//! | `GET /_asked?after=&limit=` | ERP: its questions before it released work orders, and the answers |
//!
//! Invariants:
//! - Every request is in the journal before it is answered, whatever the fault.
//! - One Idempotency-Key has one effect: a repeat gets the first answer with
//!   `Idempotency-Replayed: true`; the same key with another method, path or body answers 422
//!   (draft-ietf-httpapi-idempotency-key-header).
//! - A slow answer is slow *after* its effect, and a reset connection closed after it, as when a
//!   network eats the answer; 429, 500, 503, a refused and a hanging request have no effect.
//! - Journals are bounded in entries and in bytes; what was pushed out is counted.
//!
//! Any bearer token is accepted and recorded.

mod batch;
mod desk;
mod faults;
mod feed;
mod http;
mod journal;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;
use crate::web::Door;

use desk::{Answer, Desk};
use faults::Faults;
pub(crate) use faults::{FaultMode, FaultOrder};
pub(crate) use feed::{FeedTarget, SENDERS, run as run_feed};
pub(crate) use http::{order, router};
use journal::{Book, Effect, Journal, Kept, Request};

/// The business systems of the plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SystemName {
    /// Enterprise resource planning.
    Erp,
    /// Warehouse management.
    Wms,
    /// Manufacturing execution.
    Mes,
    /// Computerised maintenance management.
    Cmms,
    /// The customer portal.
    Portal,
}

impl SystemName {
    /// All systems.
    pub(crate) const ALL: [Self; 5] = [Self::Erp, Self::Wms, Self::Mes, Self::Cmms, Self::Portal];

    /// The name in paths and messages.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Erp => "erp",
            Self::Wms => "wms",
            Self::Mes => "mes",
            Self::Cmms => "cmms",
            Self::Portal => "portal",
        }
    }
}

/// One business system.
pub(crate) struct BusinessSystem {
    name: SystemName,
    books: Shared<Books>,
    faults: Shared<Faults>,
    cut: Shared<CancellationToken>,
    /// Something about what it sends changed.
    stirred: Notify,
}

struct Books {
    desk: Desk,
    received: Journal<Request>,
    effects: Journal<Effect>,
    keys: Book,
}

/// What to do with a request that has been taken in.
enum Verdict {
    Answer {
        answer: Answer,
        replayed: bool,
        delay: Duration,
    },
    Refuse {
        status: u16,
        retry_after_s: Option<u64>,
    },
    /// Close the connection.
    Reset,
    Hang,
}

impl BusinessSystem {
    /// A system that has seen nothing yet.
    pub(crate) fn new(name: SystemName, seed: u64) -> Self {
        Self {
            name,
            books: Shared::new(Books {
                desk: Desk::new(name, seed),
                received: Journal::new(),
                effects: Journal::new(),
                keys: Book::new(),
            }),
            faults: Shared::new(Faults::new()),
            cut: Shared::new(CancellationToken::new()),
            stirred: Notify::new(),
        }
    }

    /// Which system it is.
    pub(crate) fn name(&self) -> SystemName {
        self.name
    }

    /// How it behaves now.
    pub(crate) fn fault(&self) -> FaultOrder {
        self.faults.lock().order()
    }

    /// Makes it behave so from now on. Going down, and leaving a state in which requests hang
    /// or connections are refused, closes every open connection.
    pub(crate) fn set_fault(&self, order: FaultOrder) {
        let mode = order.mode;
        let before = self.faults.lock().set(order);
        let cuts = |mode| matches!(mode, FaultMode::Down | FaultMode::Hang);
        if mode == FaultMode::Down || (before != mode && cuts(before)) {
            let old = std::mem::replace(&mut *self.cut.lock(), CancellationToken::new());
            old.cancel();
        }
        self.stirred.notify_one();
    }

    /// Makes one thing to send, unless too many wait.
    fn make_one(&self) {
        self.books.lock().desk.make_one();
    }

    /// Tries again at once what rests after a failure.
    fn retry_now(&self) {
        self.books.lock().desk.outbox.retry_now();
    }

    /// How many postings were made and how many of them wait; none for a system that only receives.
    pub(crate) fn posted(&self) -> Option<(u64, usize)> {
        let books = self.books.lock();
        let outbox = &books.desk.outbox;
        SENDERS.contains(&self.name).then(|| (outbox.journal().total(), outbox.waiting()))
    }

    /// Takes in one request: journal, fault, idempotency, effect. Never waits.
    fn take_in(&self, mut request: Request, body: &[u8]) -> (u64, Verdict) {
        let (mode, delay) = self.faults.lock().take(body);
        request.fault = mode;
        let mut books = self.books.lock();
        let seq = books.received.push(request.clone(), request.body_bytes);
        let verdict = match mode {
            FaultMode::TooMany => Verdict::refuse(429, delay),
            FaultMode::Unavailable => Verdict::refuse(503, delay),
            FaultMode::Broken => Verdict::Refuse { status: 500, retry_after_s: None },
            FaultMode::Refuse => Verdict::Refuse { status: 422, retry_after_s: None },
            FaultMode::Hang | FaultMode::Down => Verdict::Hang,
            FaultMode::Reset => {
                books.decide(seq, &request);
                Verdict::Reset
            }
            FaultMode::Ok | FaultMode::Twice | FaultMode::Slow => {
                let (answer, replayed) = books.decide(seq, &request);
                let delay = if mode == FaultMode::Slow { delay } else { Duration::ZERO };
                Verdict::Answer { answer, replayed, delay }
            }
        };
        let status = match &verdict {
            Verdict::Answer { answer, .. } => Some(answer.status),
            Verdict::Refuse { status, .. } => Some(*status),
            Verdict::Reset | Verdict::Hang => None,
        };
        if let Some(kept) = books.received.get_mut(seq) {
            kept.status = status;
            kept.replayed = matches!(verdict, Verdict::Answer { replayed: true, .. });
        }
        drop(books);
        self.stirred.notify_one();
        (seq, verdict)
    }
}

impl Verdict {
    fn refuse(status: u16, delay: Duration) -> Self {
        Self::Refuse { status, retry_after_s: Some(delay.as_secs_f64().ceil().max(1.0) as u64) }
    }
}

impl Books {
    /// The answer to a request that the system is willing to serve, and whether it is a repeat.
    fn decide(&mut self, seq: u64, request: &Request) -> (Answer, bool) {
        let changes = !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        let key = request.idempotency_key.as_deref().filter(|_| changes);
        let fingerprint = fingerprint(request);
        if let Some(kept) = key.and_then(|key| self.keys.get(key)) {
            if kept.fingerprint != fingerprint {
                return (Answer::key_reused(), false);
            }
            return (kept.answer.clone(), true);
        }
        let answer = self.desk.answer(request);
        if changes && answer.is_success() {
            self.effects.push(
                Effect {
                    seq: 0,
                    request_seq: seq,
                    time_unix_ms: request.time_unix_ms,
                    method: request.method.clone(),
                    path: request.path.clone(),
                    idempotency_key: request.idempotency_key.clone(),
                    body: request.body.clone(),
                    answer: answer.body.clone(),
                },
                request.body_bytes,
            );
            if let Some(key) = key {
                self.keys.keep(key, Kept { fingerprint, answer: answer.clone() });
            }
        }
        (answer, false)
    }
}

impl Door for BusinessSystem {
    fn admits(&self) -> bool {
        self.faults.lock().admit()
    }

    fn cut(&self) -> CancellationToken {
        self.cut.lock().clone()
    }
}

fn fingerprint(request: &Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.method.hash(&mut hasher);
    request.path.hash(&mut hasher);
    request.body_hash.hash(&mut hasher);
    hasher.finish()
}

/// Now, milliseconds since the Unix epoch.
fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A JSON error: what happened, and what to do.
pub(crate) fn problem(error: &str, detail: &str) -> Value {
    serde_json::json!({ "error": error, "detail": detail })
}
