//! Batches: when they run, over which period, how often, and what comes late.

mod support;

use batch::ReconciliationState;
use env::disk::DiskError;
use flows::runs::{Cause, Run, RunError, Schedule};
use flows::{Settings, desk::AuditLine};
use model::TimestampNs;
use serde_json::{Value, json};
use sim::{Crash, Faults};
use support::world::{Fault, kept};
use support::{HOUR, MINUTE, MS, S, World, plan};

fn at(text: &str) -> TimestampNs {
    TimestampNs::parse_rfc3339(text).expect("a time")
}

fn world(begin: &str, schedule: Schedule) -> World {
    World::at(at(begin), 1, kept(), move || {
        let batch = plan::batch_spec("book", schedule.clone(), 5 * MINUTE, 12 * HOUR);
        Settings { batches: plan::batches(vec![batch]), ..plan::settings(vec![plan::batch_flow("book")]) }
    })
}

fn put(world: &mut World, id: &str, quantity: u64, time: &str) {
    let now = world.now();
    world.desk.put_records("receipt", vec![plan::receipt(id, "line1", quantity, at(time))], now).expect("taken");
}

fn run_to(world: &mut World, time: &str) {
    let ns = at(time).0 - world.now().0;
    world.run(u64::try_from(ns).expect("later"));
}

/// Runs, oldest first.
fn runs(world: &World) -> Vec<Run> {
    let mut runs: Vec<Run> = world.ledger.runs.values().cloned().collect();
    runs.sort_by_key(|run| run.sequence);
    runs
}

fn document(world: &World, run: &Run) -> Value {
    serde_json::from_slice(&world.documents[&run.sha256]).expect("a document")
}

#[test]
fn the_night_in_which_clocks_change_has_seven_hours() {
    let mut world = world("2026-03-28T20:00:00Z", Schedule::Shifts);
    world.target("book").answer = json!({ "rows": 2 });
    run_to(&mut world, "2026-03-28T21:01:00Z");
    put(&mut world, "before", 1, "2026-03-28T20:59:59Z");
    put(&mut world, "first", 2, "2026-03-28T21:00:00Z");
    run_to(&mut world, "2026-03-29T04:00:10Z");
    put(&mut world, "last", 3, "2026-03-29T03:59:59Z");
    put(&mut world, "behind", 4, "2026-03-29T04:00:00Z");
    run_to(&mut world, "2026-03-29T04:10:00Z");
    world.settle();
    let runs = runs(&world);
    let night = runs.iter().find(|run| run.label.ends_with("night")).expect("a night");
    assert_eq!((night.label.as_str(), night.cause), ("2026-03-28 night", Cause::Schedule));
    assert_eq!((night.from_ns, night.to_ns), (at("2026-03-28T21:00:00Z").0, at("2026-03-29T04:00:00Z").0));
    assert_eq!(night.to_ns - night.from_ns, 7 * HOUR as i64);
    assert_eq!(night.totals.as_ref().map(|totals| totals.rows), Some(2));
    assert_eq!(night.reconciliation.as_ref().map(|found| found.state), Some(ReconciliationState::Matched));
    let late = runs.iter().find(|run| run.label.ends_with("late")).expect("a late shift");
    assert_eq!(late.reconciliation.as_ref().map(|found| found.state), Some(ReconciliationState::Differs));
    assert_eq!(world.target("book").effects.len(), runs.len());
    let body = world.target("book").effects.last().map(|effect| effect.body.clone());
    assert_eq!(body, Some(format!("document {}", night.sha256)));
    world.crash(Crash::Power);
    let kept: Vec<Run> = world.desk.batches().books()[0].runs().cloned().collect();
    assert!(runs.iter().all(|run| kept.contains(run)), "what the receiver said is known after a restart");
    world.check();
}

#[test]
fn what_a_stop_missed_is_caught_up_once() {
    let daily = Schedule::Cron(calendar::Cron::parse("0 6 * * *").expect("a schedule"));
    for (schedule, expected) in [(Schedule::Shifts, 9), (daily, 1)] {
        let mut world = world("2026-03-02T14:00:00Z", schedule);
        world.run(HOUR);
        put(&mut world, "r1", 5, "2026-03-02T14:30:00Z");
        world.settle();
        assert_eq!(runs(&world).len(), 0);
        world.clock.advance(3 * 24 * HOUR);
        world.crash(Crash::Power);
        world.run(20 * MINUTE);
        world.crash(Crash::Kill);
        world.run(20 * MINUTE);
        world.settle();
        let runs = runs(&world);
        assert_eq!(runs.len(), expected, "{runs:#?}");
        assert!(runs.iter().all(|run| run.cause == Cause::CatchUp));
        assert!(runs.windows(2).all(|pair| pair[0].to_ns == pair[1].from_ns), "each period once");
        let rows: u64 = runs.iter().filter_map(|run| run.totals.as_ref()).map(|totals| totals.rows).sum();
        assert_eq!((rows, world.target("book").effects.len()), (1, expected));
        world.check();
    }
}

#[test]
fn a_late_record_makes_a_correction_that_says_what_changed() {
    let mut world = world("2026-03-02T12:00:00Z", Schedule::Shifts);
    put(&mut world, "r1", 5, "2026-03-02T12:30:00Z");
    run_to(&mut world, "2026-03-02T13:10:00Z");
    world.settle();
    put(&mut world, "r1", 5, "2026-03-02T12:30:00Z");
    world.run(HOUR);
    assert_eq!(runs(&world).len(), 1, "the same document again changes nothing");
    put(&mut world, "r1", 7, "2026-03-02T12:30:00Z");
    put(&mut world, "r2", 1, "2026-03-02T12:59:59Z");
    world.run(HOUR);
    world.settle();
    let runs = runs(&world);
    assert_eq!(runs.len(), 2, "{runs:#?}");
    let (first, second) = (&runs[0], &runs[1]);
    assert_eq!((second.cause, second.correction_of.as_ref()), (Cause::Correction, Some(&first.id)));
    assert_eq!((second.from_ns, second.to_ns), (first.from_ns, first.to_ns));
    let correction = document(&world, second);
    assert_eq!(document(&world, first)["run"].get("correction_of").cloned().unwrap_or_default(), Value::Null);
    let text = correction.to_string();
    assert!(text.contains(&first.id) && text.contains("r2") && text.contains('7'), "{text}");
    // a crash looks once more, and finds nothing new
    world.crash(Crash::Power);
    world.run(HOUR);
    assert_eq!(self::runs(&world).len(), 2);
    // what comes after the time for corrections makes none
    run_to(&mut world, "2026-03-03T02:00:00Z");
    let before = self::runs(&world).len();
    put(&mut world, "r3", 1, "2026-03-02T12:10:00Z");
    world.run(HOUR);
    let corrections = self::runs(&world).into_iter().skip(before).filter(|run| run.cause == Cause::Correction);
    assert_eq!(corrections.count(), 0);
    world.check();
}

#[test]
fn a_record_that_is_not_durable_when_the_run_is_made_is_not_forgotten() {
    let mut world = world("2026-03-02T12:00:00Z", Schedule::Shifts);
    put(&mut world, "r1", 5, "2026-03-02T12:30:00Z");
    run_to(&mut world, "2026-03-02T13:04:50Z");
    let failing = DiskError::Failed("simulated I/O error".to_owned());
    *world.disk.faults() = Faults { sticky: Some(failing), delay_ns: (MS / 10, MS), ..Faults::default() };
    put(&mut world, "r2", 6, "2026-03-02T12:59:00Z");
    world.run(30 * S);
    *world.disk.faults() = Faults { delay_ns: (MS / 10, MS), ..Faults::default() };
    world.run(HOUR);
    world.settle();
    let newest = runs(&world).pop().expect("a run");
    assert!(document(&world, &newest).to_string().contains("r2"), "{newest:?}");
    assert_eq!(newest.cause, Cause::Correction);
    world.check();
}

#[test]
fn a_run_is_published_once_wherever_a_crash_falls() {
    for steps in 0..60 {
        let crash = if steps % 2 == 0 { Crash::Power } else { Crash::Kill };
        let mut world = world("2026-03-02T12:00:00Z", Schedule::Shifts);
        put(&mut world, "r1", 5, "2026-03-02T12:30:00Z");
        run_to(&mut world, "2026-03-02T13:04:59Z");
        world.until("it is due", |world| world.now() >= at("2026-03-02T13:05:00Z"));
        (0..steps).for_each(|_| world.go_on());
        world.crash(crash);
        world.run(10 * MINUTE);
        world.settle();
        let runs = runs(&world);
        assert_eq!(runs.len(), 1, "after {steps} steps and {crash:?}: {runs:#?}");
        let messages = world.ledger.messages.values().filter(|known| known.stream == "batch/book").count();
        assert_eq!((messages, world.target("book").effects.len()), (1, 1), "after {steps} steps and {crash:?}");
        assert_eq!(world.ledger.messages[&runs[0].offset].id, runs[0].id, "its offset is that of its message");
        world.check();
    }
}

#[test]
fn a_run_is_known_by_its_message_alone() {
    let mut world = world("2026-03-02T12:00:00Z", Schedule::Shifts);
    put(&mut world, "r1", 5, "2026-03-02T12:30:00Z");
    run_to(&mut world, "2026-03-02T13:10:00Z");
    world.settle();
    let before: Vec<Run> = world.desk.batches().books()[0].runs().cloned().collect();
    world.fault = Fault::RunsUnread;
    world.crash(Crash::Power);
    let after: Vec<Run> = world.desk.batches().books()[0].runs().cloned().collect();
    let told = |runs: &[Run]| runs.iter().map(|run| Run { reconciliation: None, ..run.clone() }).collect::<Vec<_>>();
    assert_eq!((after.len(), told(&after)), (1, told(&before)));
    world.run(HOUR);
    assert_eq!(world.target("book").effects.len(), 1, "and not made again");
    world.check();
}

#[test]
fn a_run_can_be_asked_for() {
    let mut world = world("2026-03-02T12:00:00Z", Schedule::Manual);
    put(&mut world, "r1", 5, "2026-03-02T12:30:00Z");
    world.settle();
    let now = world.now();
    assert_eq!(world.desk.order_run("nothing", None, now).err(), Some(RunError::Unknown));
    let (from, to) = (at("2026-03-02T12:00:00Z"), at("2026-03-02T13:00:00Z"));
    assert!(matches!(world.desk.order_run("book", Some((to, from)), now), Err(RunError::Period(_))));
    let order = world.desk.order_run("book", Some((from, to)), now).expect("an order");
    assert_eq!(world.desk.order_run("book", None, now).err(), Some(RunError::Busy));
    let run = world.make(&order, Some("ann")).expect("a run");
    assert_eq!((run.cause, run.totals.map(|totals| totals.rows)), (Cause::Manual, Some(1)));
    world.settle();
    let line: &AuditLine = world.ledger.audits.last().expect("a line");
    assert_eq!((line.who.as_str(), line.what.as_str(), &line.after), ("ann", "run batch", &json!(run.id)));
    // the last whole period, where nobody says which
    let now = world.now();
    let order = world.desk.order_run("book", None, now).expect("an order");
    assert!(order.run.label.ends_with("early") || order.run.label.ends_with("night"), "{}", order.run.label);
    world.desk.fail_run(order.batch, "the disk is full".to_owned(), now);
    assert_eq!(world.desk.batches().books()[0].failed.as_deref(), Some("the disk is full"));
    assert_eq!(world.target("book").effects.len(), 1);
    world.check();
}
