//! What publisher and subscribers share.

use super::ledger::{Delivery, Ledger};
use crate::args::Fanout;
use crate::listener::{NO_CONTENT, Request};
use crate::window::Window;
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One run: its name, its clock, and what came in.
pub(crate) struct Run {
    name: String,
    pub(crate) window: Window,
    receivers: u64,
    ledger: Mutex<Ledger>,
}

impl Run {
    pub(crate) fn new(options: &Fanout, window: Window) -> Run {
        let (receivers, keys) = (options.receivers as usize, options.keys as usize);
        Run {
            // Another run's deliveries that come late are told apart by it.
            name: format!("{:x}", client::now().0),
            window,
            receivers: u64::from(options.receivers),
            ledger: Mutex::new(Ledger::new(receivers, keys, window)),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Counters are whole after every call, so what a panicked thread left can be read.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call to a subscriber; every delivery gets the same answer.
    pub(crate) fn take(&self, request: &Request<'_>) -> &'static [u8] {
        let delivery = self.delivery(request);
        let now_ns = self.window.now_ns();
        let mut ledger = self.ledger();
        match delivery {
            Some(delivery) => ledger.note(delivery, now_ns),
            None => ledger.strangers += 1,
        }
        NO_CONTENT
    }

    /// The delivery that a call is, if it is one of this run.
    fn delivery(&self, request: &Request<'_>) -> Option<Delivery> {
        let receiver = request.path.strip_prefix("/r/")?.parse().ok()?;
        let event: Value = serde_json::from_slice(request.body).ok()?;
        let data = &event["data"];
        let number = |name: &str| data[name].as_u64();
        (data["run"] == self.name).then_some(())?;
        Some(Delivery {
            receiver,
            key: usize::try_from(number("key")?).ok()?,
            number: number("number")?,
            due_ns: number("due_ns")?,
        })
    }

    pub(super) fn set_published(&self, events: u64) {
        self.ledger().published = events;
    }

    /// Events that are published and not everywhere yet.
    pub(super) fn under_way(&self) -> u64 {
        let ledger = self.ledger();
        (ledger.published * self.receivers).saturating_sub(ledger.received).div_ceil(self.receivers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    #[test]
    fn deliveries_of_this_run_are_told_from_others() {
        let Command::Fanout(options) = Args::parse_from(["loadgen", "fanout"]).command else { panic!("fanout") };
        let run = Run::new(&options, Window::starting_now(1.0));
        let body = format!(r#"{{"data":{{"run":"{}","key":3,"number":7,"due_ns":9}}}}"#, run.name());
        let request = |path, body| run.delivery(&Request { path, body });
        let delivery = Delivery { receiver: 12, key: 3, number: 7, due_ns: 9 };
        assert_eq!(request("/r/12", body.as_bytes()), Some(delivery));
        assert_eq!(request("/elsewhere", body.as_bytes()), None);
        assert_eq!(request("/r/12", br#"{"data":{"run":"x","key":3,"number":7,"due_ns":9}}"#), None);
    }
}
