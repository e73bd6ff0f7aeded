//! The recovery ladder, over simulated time.

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

fn at(ms: u64) -> Now {
    Now { mono: ms * MS, wall: wall(ms) }
}

/// Wall time lies somewhere else than monotonic time.
fn wall(ms: u64) -> TimestampNs {
    TimestampNs(1_700_000_000_000_000_000 + (ms * MS) as i64)
}

fn machine() -> Supervisor {
    let timing = Timing { watchdog_ns: 10 * SECOND, close_ns: 5 * SECOND, connect_ns: 60 * SECOND };
    Supervisor::new(timing, at(0))
}

/// A machine that runs with subscriptions 1 and 2 since `ms`.
fn running(ms: u64) -> Supervisor {
    let mut m = machine();
    assert_eq!(m.on(at(0), 0, Event::Start), [Action::Connect]);
    assert_eq!(m.on(at(ms), 0, Event::Up { reactivated: false }), [Action::Prepare]);
    assert_eq!(m.on(at(ms), 0, Event::Prepared { subscriptions: vec![1, 2] }), []);
    assert!(m.is_running());
    m
}

fn hear(m: &mut Supervisor, ms: u64) {
    for subscription in [1, 2] {
        assert_eq!(m.on(at(ms), 0, Event::Heard { subscription }), []);
    }
}

fn gap(from: u64, to: u64) -> Action {
    Action::Gap { from: wall(from), to: wall(to) }
}

/// Lets a waiting machine come to its next attempt.
fn until_attempt(m: &mut Supervisor) -> (u64, Vec<Action>) {
    let due = m.next_attempt().expect("it waits");
    let ms = due.div_ceil(MS);
    (ms, m.on(at(ms), 0, Event::Tick))
}

#[test]
fn a_quick_start_says_no_gap() {
    let mut m = running(200);
    hear(&mut m, 300);
    assert_eq!(m.deadline(), 10_300 * MS);
}

#[test]
fn a_server_that_is_not_there_at_start_is_a_gap_and_bad_after_the_watchdog() {
    let mut m = machine();
    m.on(at(0), 0, Event::Start);
    assert_eq!(m.on(at(10), 0, Event::Down), []);
    assert_eq!(until_attempt(&mut m), (260, vec![Action::Connect]));
    assert_eq!(m.on(at(300), 0, Event::Down), []);
    assert_eq!(m.on(at(10_000), 0, Event::Tick), [Action::Connect, Action::MarkBad, gap(0, 10_000)]);
    assert_eq!(m.on(at(10_001), 0, Event::Down), []);
    assert_eq!(m.on(at(20_000), 0, Event::Tick)[1..], [gap(10_000, 20_000)]);
    m.on(at(20_100), 0, Event::Up { reactivated: false });
    assert_eq!(m.on(at(20_200), 0, Event::Prepared { subscriptions: vec![1] }), [gap(20_000, 20_200)]);
}

#[test]
fn a_short_loss_that_resumes_with_everything_is_no_gap() {
    let mut m = running(0);
    hear(&mut m, 1_000);
    assert_eq!(m.on(at(1_500), 0, Event::Down), []);
    let (ms, actions) = until_attempt(&mut m);
    assert_eq!(actions, [Action::Connect]);
    assert_eq!(m.on(at(ms + 10), 0, Event::Up { reactivated: true }), [Action::Resume]);
    assert_eq!(m.on(at(ms + 20), 0, Event::Resumed), []);
    assert!(m.is_running());
}

#[test]
fn a_restarted_server_is_a_gap_from_the_last_word_to_the_new_subscriptions() {
    let mut m = running(0);
    hear(&mut m, 1_000);
    m.on(at(1_500), 0, Event::Down);
    let (ms, _) = until_attempt(&mut m);
    assert_eq!(m.on(at(ms), 0, Event::Up { reactivated: false }), [Action::Prepare]);
    assert_eq!(m.on(at(3_000), 0, Event::Prepared { subscriptions: vec![9] }), [gap(1_000, 3_000)]);
}

#[test]
fn a_resumed_long_outage_is_a_gap_and_values_are_read_again() {
    let mut m = running(0);
    hear(&mut m, 1_000);
    m.on(at(1_500), 0, Event::Down);
    until_attempt(&mut m);
    assert_eq!(m.on(at(11_000), 0, Event::Tick), [Action::MarkBad, gap(1_000, 11_000)]);
    assert_eq!(m.on(at(12_000), 0, Event::Tick), []);
    assert_eq!(m.on(at(12_000), 0, Event::Up { reactivated: true }), [Action::Resume]);
    assert_eq!(m.on(at(12_100), 0, Event::Resumed), [gap(11_000, 12_100), Action::Reread]);
}

#[test]
fn one_silent_subscription_of_two_trips_the_watchdog() {
    let mut m = running(0);
    for ms in [3_000, 6_000, 9_000] {
        assert_eq!(m.on(at(ms), 0, Event::Heard { subscription: 1 }), []);
    }
    assert_eq!(m.deadline(), 10_000 * MS);
    assert_eq!(m.on(at(10_000), 0, Event::Tick), [Action::Close, Action::MarkBad, gap(0, 10_000)]);
    assert_eq!(m.on(at(10_100), 0, Event::Tick), [], "marked once");
}

#[test]
fn silence_after_resuming_makes_everything_anew() {
    let mut m = running(0);
    assert_eq!(m.on(at(10_000), 0, Event::Tick)[0], Action::Close);
    m.on(at(10_010), 0, Event::Down);
    until_attempt(&mut m);
    assert_eq!(m.on(at(11_000), 0, Event::Up { reactivated: true }), [Action::Resume]);
    m.on(at(11_010), 0, Event::Resumed);
    assert_eq!(m.on(at(21_010), 0, Event::Tick)[0], Action::Close);
    m.on(at(21_020), 0, Event::Down);
    until_attempt(&mut m);
    assert_eq!(m.on(at(24_000), 0, Event::Up { reactivated: true }), [Action::Prepare]);
}

#[test]
fn a_connection_that_does_not_close_is_abandoned() {
    let mut m = running(0);
    m.on(at(10_000), 0, Event::Tick);
    assert_eq!(m.on(at(14_999), 0, Event::Tick), []);
    assert_eq!(m.on(at(15_000), 0, Event::Tick), [Action::Abandon]);
    let (ms, actions) = until_attempt(&mut m);
    assert_eq!(actions[0], Action::Connect);
    assert_eq!(m.on(at(ms), 0, Event::Up { reactivated: true }), [Action::Prepare], "nothing is left to resume");
}

#[test]
fn an_attempt_that_hangs_is_abandoned() {
    let mut m = machine();
    m.on(at(0), 0, Event::Start);
    assert!(m.on(at(60_000), 0, Event::Tick).contains(&Action::Abandon));
    assert!(m.next_attempt().is_some());
}

#[test]
fn a_lost_subscription_is_made_anew_on_the_same_session() {
    let mut m = running(0);
    hear(&mut m, 2_000);
    assert_eq!(m.on(at(2_500), 0, Event::SubscriptionGone), []);
    let (ms, actions) = until_attempt(&mut m);
    assert_eq!(actions, [Action::Prepare]);
    assert_eq!(m.on(at(ms + 50), 0, Event::Prepared { subscriptions: vec![3] }), [gap(2_000, ms + 50)]);
}

#[test]
fn a_lost_session_closes_the_connection_and_starts_new() {
    let mut m = running(0);
    assert_eq!(m.on(at(100), 0, Event::SessionGone), [Action::Close]);
    m.on(at(110), 0, Event::Down);
    until_attempt(&mut m);
    assert_eq!(m.on(at(2_000), 0, Event::Up { reactivated: true }), [Action::Prepare]);
}

#[test]
fn a_failed_preparation_is_tried_again_on_the_same_session() {
    let mut m = machine();
    m.on(at(0), 0, Event::Start);
    m.on(at(10), 0, Event::Up { reactivated: false });
    assert_eq!(m.on(at(20), 0, Event::Failed), []);
    assert_eq!(until_attempt(&mut m).1, [Action::Prepare]);
    assert_eq!(m.on(at(1_000), 0, Event::Down), [], "the connection may go meanwhile");
    assert_eq!(until_attempt(&mut m).1, [Action::Connect]);
}

#[test]
fn holding_back_is_not_silence() {
    let mut m = running(0);
    for ms in (0..60_000).step_by(1_000) {
        assert_eq!(m.on(at(ms), 0, Event::Held), []);
        assert_eq!(m.on(at(ms), 0, Event::Tick), []);
    }
}

#[test]
fn back_off_doubles_to_thirty_seconds_with_jitter_and_starts_over_after_data() {
    let mut m = running(0);
    let mut now = 0;
    let mut waits = Vec::new();
    for round in 0..10 {
        m.on(at(now), if round % 2 == 0 { 0 } else { u64::MAX }, Event::Down);
        let due = m.next_attempt().expect("it waits") / MS;
        waits.push(due - now);
        now = due + 1;
        m.on(at(now), 0, Event::Tick);
    }
    for (round, wait) in waits.iter().enumerate() {
        let full = (500 << round.min(6)).min(30_000);
        assert!((full / 2..=full).contains(wait), "round {round} waited {wait} ms");
    }
    m.on(at(now), 0, Event::Up { reactivated: false });
    m.on(at(now), 0, Event::Prepared { subscriptions: vec![1] });
    m.on(at(now), 0, Event::Heard { subscription: 1 });
    m.on(at(now), 0, Event::Down);
    assert_eq!(m.next_attempt().expect("it waits") / MS - now, 250);
}

#[test]
fn strangers_and_late_events_change_nothing() {
    let mut m = running(0);
    assert_eq!(m.on(at(1), 0, Event::Heard { subscription: 77 }), []);
    assert_eq!(m.on(at(1), 0, Event::Up { reactivated: true }), []);
    assert_eq!(m.on(at(1), 0, Event::Resumed), []);
    assert_eq!(m.on(at(1), 0, Event::Failed), []);
    assert_eq!(m.on(at(1), 0, Event::Prepared { subscriptions: vec![5] }), []);
    assert_eq!(m.deadline(), 10_000 * MS);
}

#[test]
fn a_wall_clock_that_goes_back_makes_no_gap_backwards() {
    let mut m = running(0);
    m.on(at(1_000), 0, Event::Down);
    until_attempt(&mut m);
    m.on(at(2_000), 0, Event::Up { reactivated: false });
    let back = Now { mono: 3_000 * MS, wall: TimestampNs(0) };
    assert_eq!(m.on(back, 0, Event::Prepared { subscriptions: vec![1] }), []);
}

#[test]
fn a_sick_connection_is_remade_and_its_subscriptions_resumed() {
    let mut m = running(0);
    assert_eq!(m.on(at(100), 0, Event::Sick), [Action::Close]);
    m.on(at(110), 0, Event::Down);
    until_attempt(&mut m);
    assert_eq!(m.on(at(2_000), 0, Event::Up { reactivated: true }), [Action::Resume]);
}

#[test]
fn a_server_that_keeps_alive_slowly_is_waited_for() {
    let mut m = running(0);
    m.expect_keep_alive(2 * SECOND);
    assert_eq!(m.deadline(), 10 * SECOND);
    m.expect_keep_alive(20 * SECOND);
    assert_eq!(m.deadline(), 40 * SECOND);
    m.adopt(at(50), 3);
    assert_eq!(m.on(at(100), 0, Event::Heard { subscription: 3 }), []);
}
