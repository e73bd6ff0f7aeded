//! What goes to the pass: readings in order, with the acknowledgement that each message is owed.
//!
//! Invariants
//! - E1: parcels go in the order in which they came; a refusal for back pressure holds all of them.
//! - E2: a message's acknowledgement enters the ledger only with the position that its readings were
//!   given; a parcel that is shed is a gap and is never acknowledged.

use crate::ledger::{Ack, Ledger};
use model::{Gap, GapReason, Intake, Reading, Refused, SourceId, TimestampNs};
use std::collections::VecDeque;

/// Readings of one moment.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// The readings.
    pub(crate) readings: Vec<Reading>,
    /// When they arrived.
    pub(crate) at: TimestampNs,
    /// What may be acknowledged once they are durable.
    pub(crate) ack: Option<Ack>,
}

/// How handing over went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left.
    All,
    /// The pass takes no more now; try again.
    Busy,
    /// The pass is shutting down.
    Closed,
}

/// Parcels that wait to be taken.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parcels: VecDeque<Parcel>,
}

impl Outbox {
    /// Adds a parcel; one without readings is dropped, and its acknowledgement is free at once.
    pub(crate) fn push(&mut self, parcel: Parcel, ledger: &mut Ledger) {
        if !parcel.readings.is_empty() {
            self.parcels.push_back(parcel);
        } else if let Some(ack) = parcel.ack {
            ledger.empty(ack);
        }
    }

    /// Whether something waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// The waiting messages' subscriptions are gone: their readings stay, their acknowledgements not.
    pub(crate) fn forget_acks(&mut self) {
        for parcel in &mut self.parcels {
            parcel.ack = None;
        }
    }

    /// Hands over what the pass takes.
    pub(crate) fn flush(&mut self, intake: &dyn Intake, source: SourceId, ledger: &mut Ledger) -> Flushed {
        while let Some(parcel) = self.parcels.front() {
            match intake.submit(source, parcel.at, &parcel.readings) {
                Ok(position) => {
                    if let Some(ack) = parcel.ack {
                        ledger.taken(ack, position);
                    }
                }
                Err(Refused::Busy) => return Flushed::Busy,
                Err(Refused::Closed) => return Flushed::Closed,
                Err(Refused::Disk | Refused::Limit) => {
                    let count = parcel.readings.len() as u64;
                    intake.count(source, "shed", count);
                    intake.gap(Gap::of_source(source, parcel.at, parcel.at.plus_ns(1), GapReason::Shed, count));
                }
            }
            self.parcels.pop_front();
        }
        Flushed::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{CommitError, LogPosition, Quality, SourceState, TagDeclaration, TagId};
    use std::cell::RefCell;
    use std::task::{Context, Poll};

    /// Answers each submit with the next of a list.
    struct Scripted {
        answers: RefCell<VecDeque<Result<LogPosition, Refused>>>,
        gaps: RefCell<Vec<Gap>>,
    }

    impl Intake for Scripted {
        fn source(&self, _: &str) -> Result<SourceId, Refused> {
            Ok(SourceId(1))
        }
        fn declare(&self, _: SourceId, _: &[TagDeclaration]) -> Result<Vec<TagId>, Refused> {
            Ok(Vec::new())
        }
        fn submit(&self, _: SourceId, _: TimestampNs, _: &[Reading]) -> Result<LogPosition, Refused> {
            self.answers.borrow_mut().pop_front().unwrap_or(Err(Refused::Busy))
        }
        fn gap(&self, gap: Gap) {
            self.gaps.borrow_mut().push(gap);
        }
        fn state(&self, _: SourceId, _: SourceState) {}
        fn count(&self, _: SourceId, _: &'static str, _: u64) {}
        fn poll_durable(&self, _: LogPosition, _: &mut Context<'_>) -> Poll<Result<(), CommitError>> {
            Poll::Pending
        }
    }

    fn parcel(number: u32) -> Parcel {
        let reading = Reading { tag: TagId(1), source_time: None, value: None, quality: Quality::GOOD };
        let ack = Some(Ack { subscription: 1, number });
        Parcel { readings: vec![reading], at: TimestampNs(i64::from(number)), ack }
    }

    #[test]
    fn back_pressure_holds_everything_in_order_and_shed_is_never_acknowledged() {
        let script = [Ok(LogPosition(10)), Err(Refused::Busy), Err(Refused::Disk), Ok(LogPosition(30))];
        let intake = Scripted { answers: RefCell::new(script.into()), gaps: RefCell::default() };
        let (mut outbox, mut ledger) = (Outbox::default(), Ledger::default());
        for number in 1..=3 {
            outbox.push(parcel(number), &mut ledger);
        }
        assert_eq!(outbox.flush(&intake, SourceId(1), &mut ledger), Flushed::Busy);
        assert_eq!((ledger.waiting_count(), outbox.is_empty()), (1, false));
        assert_eq!(outbox.flush(&intake, SourceId(1), &mut ledger), Flushed::All);
        ledger.durable(LogPosition(u64::MAX));
        let acks: Vec<u32> = ledger.take().iter().map(|ack| ack.number).collect();
        assert_eq!(acks, [1, 3]);
        let gaps = intake.gaps.borrow();
        assert_eq!((gaps.len(), gaps[0].reason, gaps[0].count), (1, GapReason::Shed, Some(1)));
    }

    #[test]
    fn a_message_without_readings_is_free_at_once() {
        let (mut outbox, mut ledger) = (Outbox::default(), Ledger::default());
        outbox.push(Parcel { readings: Vec::new(), ..parcel(1) }, &mut ledger);
        assert!(outbox.is_empty() && ledger.has_ready());
    }
}
