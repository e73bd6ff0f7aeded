//! What a closed loop of calls came to.

use crate::hiccup::histogram;
use crate::timeline::Timeline;
use crate::window::Window;
use hdrhistogram::Histogram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was done, how long it took, and what went wrong.
pub(super) struct Account {
    pub(super) timeline: Timeline,
    /// The same by kind of call.
    pub(super) kinds: Vec<(&'static str, Histogram<u64>)>,
    /// Bytes of the answers, or of the documents.
    pub(super) bytes: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

impl Account {
    fn done(&mut self, kind: &'static str, due_ns: u64, now_ns: u64, bytes: usize) {
        if !self.timeline.record(due_ns, now_ns, 1) {
            return;
        }
        let at = match self.kinds.iter().position(|(known, _)| *known == kind) {
            Some(at) => at,
            None => {
                self.kinds.push((kind, histogram()));
                self.kinds.len() - 1
            }
        };
        self.kinds[at].1.saturating_record(now_ns.saturating_sub(due_ns).max(1));
        self.bytes += bytes as u64;
    }

    pub(super) fn failed(&mut self, why: String) {
        self.errors += 1;
        self.first_error.get_or_insert(why);
    }
}

/// An account that several write into.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) window: Window,
    account: Arc<Mutex<Account>>,
}

impl Shared {
    pub(super) fn new(window: Window) -> Shared {
        let account =
            Account { timeline: Timeline::new(window), kinds: Vec::new(), bytes: 0, errors: 0, first_error: None };
        Shared { window, account: Arc::new(Mutex::new(account)) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Account> {
        // Counters are whole after every call, so what a panicked thread left can be read.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a call that began at `due_ns` ended: the bytes that came back, or what was wrong.
    /// Errors of the warm-up count, too.
    pub(super) fn note(&self, kind: &'static str, due_ns: u64, result: Result<usize, String>) {
        let now_ns = self.window.now_ns();
        match result {
            Ok(bytes) => self.lock().done(kind, due_ns, now_ns, bytes),
            Err(why) => self.lock().failed(why),
        }
    }
}
