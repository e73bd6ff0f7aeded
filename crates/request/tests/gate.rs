//! The way in: bulkhead, circuit, deadline.

use delivery::{BreakerPolicy, BreakerState};
use model::TimestampNs;
use request::{Gate, GateCounts, GateOutcome, GatePolicy, GateRefusal, System, Ticket};
use std::time::Duration;

const SECOND: i64 = 1_000_000_000;

fn at(seconds: i64) -> TimestampNs {
    TimestampNs(seconds * SECOND)
}

fn wms() -> System {
    System { name: "wms".to_owned(), address: "127.0.0.1:9102".to_owned() }
}

fn gate(max_in_flight: u32) -> Gate {
    let breaker = BreakerPolicy { failures: 3, open_ns: 10 * SECOND as u64, open_max_ns: 60 * SECOND as u64 };
    Gate::new(GatePolicy { timeout_ns: 2 * SECOND as u64, max_in_flight, breaker }, wms())
}

fn enter(gate: &mut Gate, now: i64) -> Ticket {
    gate.enter(at(now), None).expect("there is a place")
}

#[test]
fn one_more_than_may_be_is_refused_at_once() {
    let mut gate = gate(2);
    let (one, two) = (enter(&mut gate, 0), enter(&mut gate, 0));
    assert_eq!(gate.enter(at(0), None), Err(GateRefusal::Busy { limit: 2 }));
    assert_eq!(gate.in_flight(), 2);
    gate.leave(one, GateOutcome::Answered, at(1));
    let three = enter(&mut gate, 1);
    gate.leave(two, GateOutcome::Refused, at(1));
    gate.leave(three, GateOutcome::Abandoned, at(1));
    assert_eq!(gate.in_flight(), 0);
    let expected = GateCounts { answered: 1, refused: 1, abandoned: 1, busy: 1, ..GateCounts::default() };
    assert_eq!(gate.counts(), expected);
}

#[test]
fn the_lesser_time_is_the_deadline() {
    let mut gate = gate(9);
    for (asked, deadline, shortened) in
        [(None, 2_000, false), (Some(500), 500, true), (Some(2_000), 2_000, false), (Some(60_000), 2_000, false)]
    {
        let ticket = gate.enter(at(100), asked.map(Duration::from_millis)).expect("there is a place");
        assert_eq!(
            (ticket.deadline, ticket.shortened),
            (at(100).plus_ns(deadline * 1_000_000), shortened),
            "{asked:?}"
        );
        gate.leave(ticket, GateOutcome::Answered, at(100));
    }
    assert_eq!(gate.enter(at(100), Some(Duration::ZERO)), Err(GateRefusal::NoTime));
    let ticket = enter(&mut gate, 100);
    assert_eq!(ticket.remaining(at(101)), Some(Duration::from_secs(1)));
    assert_eq!((ticket.remaining(at(102)), ticket.remaining(at(103))), (None, None));
    let failure = gate.timeout(&ticket, at(100));
    assert_eq!(
        failure.to_string(),
        "wms (127.0.0.1:9102) did not answer within 2 s; check the system, or raise the request's timeout"
    );
}

/// An outage: 1. the warehouse fails three times. 2. It is left alone, and callers hear so at once, with its
/// name. 3. After ten seconds one call tries; it fails, and the wait doubles. 4. The next one works.
#[test]
fn a_failing_system_is_left_alone_and_tried_again() {
    let mut gate = gate(9);
    for _ in 0..3 {
        let ticket = enter(&mut gate, 0);
        gate.leave(ticket, GateOutcome::Unreachable, at(1));
    }
    assert_eq!(gate.enter(at(2), None), Err(GateRefusal::Open { until: at(11), system: wms() }));
    let trial = enter(&mut gate, 11);
    assert!(trial.trial);
    assert!(matches!(gate.enter(at(11), None), Err(GateRefusal::Open { .. })), "one trial at a time");
    gate.leave(trial, GateOutcome::TimedOut, at(13));
    let refused = gate.enter(at(32), None).expect_err("twice ten seconds");
    assert_eq!(refused, GateRefusal::Open { until: at(33), system: wms() });
    let problem = refused.failure(at(32)).problem();
    assert_eq!((problem.kind, problem.status, problem.retry_after_s), ("circuit-open", 503, Some(1)));
    assert_eq!(problem.system, Some(wms()));
    let trial = enter(&mut gate, 33);
    gate.leave(trial, GateOutcome::Answered, at(34));
    assert_eq!(gate.breaker(), BreakerState::Closed);
}

#[test]
fn only_what_says_something_of_the_system_moves_its_circuit() {
    use GateOutcome::{Abandoned, BadAnswer, Failed, NotSent, Refused, TimedOut};
    for (outcome, asked, opens) in [
        (Failed, None, true),
        (BadAnswer, None, true),
        (TimedOut, None, true),
        // the caller gave less time than the system may take
        (TimedOut, Some(Duration::from_millis(1)), false),
        (Refused, None, false),
        (NotSent, None, false),
        (Abandoned, None, false),
    ] {
        let mut gate = gate(9);
        for _ in 0..3 {
            let ticket = gate.enter(at(0), asked).expect("there is a place");
            gate.leave(ticket, outcome, at(1));
        }
        assert_eq!(gate.breaker() != BreakerState::Closed, opens, "{outcome:?}");
    }
    // what says nothing does not forgive failures either, and a trial without outcome is made again
    let mut gate = gate(9);
    for outcome in [Failed, Failed, Abandoned, Failed] {
        let ticket = enter(&mut gate, 0);
        gate.leave(ticket, outcome, at(0));
    }
    assert_ne!(gate.breaker(), BreakerState::Closed);
    for _ in 0..2 {
        let trial = enter(&mut gate, 10);
        assert!(trial.trial);
        gate.leave(trial, Abandoned, at(10));
    }
}

/// A call of before the circuit opened fails late, while a trial is under way: it is no verdict on
/// the trial, and the wait does not double.
#[test]
fn a_late_failure_is_not_the_trials() {
    let mut gate = gate(9);
    let late = enter(&mut gate, 0);
    for _ in 0..3 {
        let ticket = enter(&mut gate, 0);
        gate.leave(ticket, GateOutcome::Failed, at(0));
    }
    let trial = enter(&mut gate, 10);
    gate.leave(late, GateOutcome::TimedOut, at(11));
    assert_eq!(gate.breaker(), BreakerState::HalfOpen);
    gate.leave(trial, GateOutcome::Answered, at(11));
    assert_eq!(gate.breaker(), BreakerState::Closed);
}

#[test]
fn a_full_house_does_not_use_up_the_trial() {
    let mut gate = gate(1);
    let slow = enter(&mut gate, 0);
    gate.leave(slow, GateOutcome::Failed, at(0));
    for _ in 0..2 {
        let ticket = enter(&mut gate, 0);
        gate.leave(ticket, GateOutcome::Failed, at(0));
    }
    let trial = enter(&mut gate, 10);
    gate.leave(trial, GateOutcome::NotSent, at(10));
    let trial = enter(&mut gate, 10);
    assert!(trial.trial && gate.enter(at(10), None).is_err());
    gate.leave(trial, GateOutcome::Answered, at(10));
    assert!(gate.enter(at(10), None).is_ok());
}

/// Seen once: whoever was refused while a trial was under way was told to come back in ten minutes,
/// when a lost trial is given up, and an order waited on though the system was long back.
#[test]
fn who_is_refused_by_a_trial_is_sent_away_no_longer_than_it_takes() {
    let mut gate = gate(9);
    for _ in 0..3 {
        let ticket = enter(&mut gate, 0);
        gate.leave(ticket, GateOutcome::Failed, at(0));
    }
    let open = gate.enter(at(4), None).expect_err("it is open");
    assert_eq!(open, GateRefusal::Open { until: at(10), system: wms() });
    let trial = enter(&mut gate, 10);
    let refused = gate.enter(at(11), None).expect_err("a trial is under way");
    assert_eq!(refused, GateRefusal::Open { until: at(13), system: wms() });
    gate.leave(trial, GateOutcome::Answered, at(12));
    assert!(gate.enter(at(12), None).is_ok());
}
