//! A write of one tag or several while it is carried out.
//!
//! Invariants
//! - B1: each tag is told of once: by its request's outcome, or by what ends the command.
//! - B2: what was under way when the command ended is in doubt; what waited was not sent.
//!
//! It does not choose when anything is sent: [`crate::command`] does.

use crate::exception::command_exception;
use crate::gather::Part as Row;
use crate::session::Outcome;
use crate::write::Write;
use model::device::{DeviceAnswer, DeviceError};
use std::collections::VecDeque;

/// A write of one tag or several, as requests to the units that have them.
#[derive(Debug)]
pub(crate) struct Writes {
    /// Whether each is answered for.
    several: bool,
    /// What became of each; `None` while it waits or is under way.
    outcomes: Vec<Option<Result<(), DeviceError>>>,
    pub(crate) waiting: VecDeque<Row>,
    pub(crate) under_way: usize,
    pub(crate) sent: bool,
}

impl Writes {
    pub(crate) fn new(several: bool, count: usize, waiting: VecDeque<Row>) -> Writes {
        Writes { several, outcomes: vec![None; count], waiting, under_way: 0, sent: false }
    }

    /// The next request that its unit takes.
    pub(crate) fn begin(&mut self, takes: impl Fn(usize) -> bool) -> Option<Row> {
        let at = self.waiting.iter().position(|row| takes(row.unit))?;
        let row = self.waiting.remove(at)?;
        self.under_way += 1;
        self.sent = true;
        Some(row)
    }

    fn tell(&mut self, row: &Row, outcome: &Result<(), DeviceError>) {
        for place in row.places() {
            if let Some(slot) = self.outcomes.get_mut(place) {
                *slot = Some(outcome.clone());
            }
        }
    }

    /// Ends what waits for units of which `why` has something to say.
    pub(crate) fn give_up(&mut self, why: impl Fn(usize) -> Option<DeviceError>) {
        for row in std::mem::take(&mut self.waiting) {
            match why(row.unit) {
                Some(error) => self.tell(&row, &Err(error)),
                None => self.waiting.push_back(row),
            }
        }
    }

    pub(crate) fn on_outcome(&mut self, row: Row, outcome: Outcome<'_>) {
        self.under_way = self.under_way.saturating_sub(1);
        // The device says that it did nothing (K2).
        let again = match outcome {
            Outcome::Exception(0x01) if row.each.len() == 1 => {
                row.write.as_several().map(|write| vec![Row { write, ..row.clone() }])
            }
            Outcome::Exception(0x01..=0x03) => row.apart(),
            _ => None,
        };
        if let Some(again) = again {
            again.into_iter().rev().for_each(|row| self.waiting.push_front(row));
            self.sent = self.under_way > 0 || self.outcomes.iter().any(Option::is_some);
            return;
        }
        self.tell(&row, &written(&row.write, outcome));
        if matches!(outcome, Outcome::TimedOut { .. }) {
            let why = "it did not answer an earlier write of the same call, and nothing more was sent to it";
            self.give_up(|unit| (unit == row.unit).then(|| DeviceError::NotConnected { why: why.into() }));
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }

    /// What became of all; what waits ends as `rest`, and what is under way is in doubt.
    pub(crate) fn take_outcome(&mut self, rest: DeviceError) -> Result<DeviceAnswer, DeviceError> {
        let unsent = match rest {
            DeviceError::Timeout { .. } => DeviceError::Timeout { sent: false },
            other => other,
        };
        self.give_up(|_| Some(unsent.clone()));
        let outcomes = std::mem::take(&mut self.outcomes).into_iter();
        let mut outcomes = outcomes.map(|told| told.unwrap_or(Err(DeviceError::Timeout { sent: true })));
        if self.several {
            return Ok(DeviceAnswer::Each { sent: true, outcomes: outcomes.collect() });
        }
        outcomes.next().unwrap_or(Err(unsent)).map(|()| DeviceAnswer::Written)
    }
}

/// What became of a write.
fn written(write: &Write, outcome: Outcome<'_>) -> Result<(), DeviceError> {
    Err(match outcome {
        Outcome::Written => return Ok(()),
        Outcome::Exception(0x01) if matches!(write, Write::Mask { .. }) => DeviceError::Unsupported {
            what: "the device has no mask write (function 22), without which one bit of a register cannot be written \
                   and its neighbours left alone; let the device offer a coil, or a register of its own for it"
                .into(),
        },
        Outcome::Exception(code) => exception(code),
        Outcome::Misconfirmed => DeviceError::InDoubt {
            why: "the device confirmed another address or value than was written; check the device or gateway".into(),
        },
        Outcome::TimedOut { .. } => DeviceError::Timeout { sent: true },
        Outcome::Closed | Outcome::Data(_) => {
            DeviceError::InDoubt { why: "the connection went before the answer came".into() }
        }
    })
}

/// A device's refusal.
pub(crate) fn exception(code: u8) -> DeviceError {
    DeviceError::Device { code: format!("{code:02X}"), text: command_exception(code).into() }
}
