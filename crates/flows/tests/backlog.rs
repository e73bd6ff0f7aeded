//! What waits: long backlogs, backlogs that are full, and a journal that takes nothing.

mod support;

use flows::desk::PublishError;
use flows::outlet::Pause;
use flows::spec::{Pattern, Wanted};
use model::{Glob, Refused};
use serde_json::json;
use sim::{Crash, Faults};
use support::target::Mood;
use support::world::kept;
use support::{MS, S, World, plan};

fn pause(world: &mut World, flow: &str, paused: bool) {
    let now = world.now();
    let pause = paused.then(|| Pause { by: "ann".to_owned(), comment: None, at_ns: now.0 });
    world.desk.set_paused(flow, pause, "ann", now).expect("taken");
}

/// Events that wait for the slow flow; `MILLSTREAM_BACKLOG=1000000` makes it a million.
fn backlog_length() -> u64 {
    let wanted = std::env::var("MILLSTREAM_BACKLOG").ok();
    wanted.map_or(200_000, |count| count.parse().expect("MILLSTREAM_BACKLOG is a number of events"))
}

#[test]
fn a_long_backlog_of_one_flow_is_not_held_in_memory_and_delays_no_other() {
    const CALL: u64 = 500;
    let count = backlog_length().next_multiple_of(CALL);
    let log = log::Settings { segment_bytes: 4 << 20, sync_ns: MS, ..kept() };
    let mut world = World::new(1, log, || {
        let mut flows = vec![plan::subscriber("slow", "stop"), plan::subscriber("live", "stop")];
        for flow in &mut flows {
            flow.definition.body = Some("{'n': event.data.n}".to_owned());
            flow.policy.concurrency = 64;
            flow.policy.window = 1_024;
        }
        plan::settings(flows)
    });
    world.ledger.is_off = true;
    pause(&mut world, "slow", true);
    world.durable();
    for call in 0..count / CALL {
        let now = world.now();
        let events = (call * CALL..(call + 1) * CALL)
            .map(|n| plan::event("stop", &format!("e{n}"), &format!("line{}", n % 100), now, None, json!({ "n": n })));
        world.desk.publish(events.collect(), now).expect("taken");
        let live = |world: &mut World| world.target("live").effects.len() as u64 == (call + 1) * CALL;
        world.until("the live one has it", live);
        assert!(world.now().0 - now.0 < S as i64, "the live one waits for nobody: {} ns", world.now().0 - now.0);
    }
    assert!(world.most_held <= 1_024, "{}", world.most_held);
    let waiting = world.desk.outlets()[0].backlog();
    assert_eq!((waiting, world.target("slow").calls), (count, 0));
    pause(&mut world, "slow", false);
    world.settle();
    assert!(world.most_held <= 1_024, "{}", world.most_held);
    let effects = std::mem::take(&mut world.target("slow").effects);
    assert_eq!(effects.len() as u64, count);
    let mut last = vec![0; 100];
    for effect in &effects {
        let n = serde_json::from_str::<serde_json::Value>(&effect.body).expect("JSON")["n"].as_u64().expect("a number");
        let key = (n % 100) as usize;
        assert!(last[key] < effect.offset, "in order of its key");
        last[key] = effect.offset;
    }
    world.check();
}

#[test]
fn a_full_backlog_refuses_and_goes_on_by_itself() {
    let mut world = World::new(2, kept(), || {
        let tags = plan::flow("mirror", Pattern::Sync, Wanted::Tags(Glob::new("plant/**")));
        let settings = plan::settings(vec![plan::subscriber("maint", "stop"), tags]);
        flows::Settings { backlog_bytes: 64 << 10, ..settings }
    });
    world.target("maint").mood = Mood::Down;
    let mut taken = 0;
    loop {
        let now = world.now();
        let event = plan::event("stop", &format!("e{taken}"), "line1", now, None, json!({ "n": taken }));
        match world.desk.publish(vec![event], now) {
            Ok(_) => taken += 1,
            Err(error) => {
                assert_eq!(error, PublishError::BacklogFull);
                break;
            }
        }
        world.go_on();
        assert!(taken < 10_000, "it is never full");
    }
    let now = world.now();
    assert_eq!(world.desk.tag_changed("plant/a", &json!(1), "Good", now, now), Err(Refused::Busy));
    assert_eq!(
        world.desk.put_records("receipt", vec![plan::receipt("r1", "a", 1, now)], now),
        Err(PublishError::BacklogFull)
    );
    world.durable();
    world.crash(Crash::Power);
    assert!(world.desk.is_backlog_full(), "a restart makes no room");
    world.target("maint").mood = Mood::Up;
    world.settle();
    world.run(2 * S);
    let now = world.now();
    world.publish(plan::event("stop", "last", "line1", now, None, json!({ "n": 0 })));
    world.desk.tag_changed("plant/a", &json!(1), "Good", now, now).expect("taken");
    world.settle();
    assert_eq!(world.target("maint").effects.len(), taken + 1);
    assert_eq!(world.target("mirror").effects.len(), 1);
    world.check();
}

#[test]
fn what_is_done_is_no_backlog_after_a_restart() {
    const BACKLOG_BYTES: u64 = 512 << 10;
    let mut world = World::new(3, kept(), || {
        let settings = plan::settings(vec![plan::subscriber("maint", "stop"), plan::subscriber("idle", "other")]);
        flows::Settings { backlog_bytes: BACKLOG_BYTES, ..settings }
    });
    while world.desk.journal().end().0 < 2 * BACKLOG_BYTES {
        for _ in 0..50 {
            let now = world.now();
            let id = format!("e{}", world.desk.published);
            world.publish(plan::event("stop", &id, &id, now, None, json!({ "n": 0 })));
        }
        world.settle();
        world.run(S);
    }
    let calls = world.target("maint").calls;
    world.crash(Crash::Power);
    assert!(!world.desk.is_backlog_full(), "low {}, end {}", world.desk.low(), world.desk.journal().end());
    pause(&mut world, "maint", true);
    let now = world.now();
    world.publish(plan::event("stop", "new", "new", now, None, json!({ "n": 0 })));
    pause(&mut world, "maint", false);
    world.settle();
    assert_eq!(world.target("maint").calls, calls + 1);
    world.check();
}

#[test]
fn while_the_journal_takes_nothing_nothing_starts() {
    let log = log::Settings { segment_bytes: 4 << 20, ..kept() };
    let mut world = World::new(4, log, || plan::settings(vec![plan::subscriber("maint", "stop")]));
    world.target("maint").mood = Mood::Down;
    let now = world.now();
    world.publish(plan::event("stop", "first", "line1", now, None, json!({ "n": 0 })));
    world.run(S);
    let full = Faults { capacity: Some(world.disk.used_bytes()), delay_ns: (MS / 10, MS), ..Faults::default() };
    *world.disk.faults() = full;
    let mut taken = Vec::new();
    let long = "x".repeat(200 << 10);
    let refused = loop {
        let (now, id) = (world.now(), format!("e{}", taken.len()));
        let event = plan::event("stop", &id, &id, now, None, json!({ "n": 0, "long": long }));
        match world.desk.publish(vec![event], now) {
            Ok(published) => taken.push(published[0].offset),
            Err(refused) => break refused,
        }
        world.step(MS);
        assert!(taken.len() < 2_000, "it takes everything");
    };
    assert!(matches!(refused, PublishError::Refused(Refused::Disk | Refused::Busy)), "{refused:?}");
    // the attempts of the first one fill what is left; then it is not tried any more
    for n in 0..10_000 {
        let now = world.now();
        if world.desk.set_paused("maint", None, &format!("ann{n}{}", "y".repeat(5_000)), now).is_err() {
            break;
        }
    }
    world.run(5 * S);
    let calls = world.target("maint").calls;
    world.run(60 * S);
    assert_eq!(world.target("maint").calls, calls, "nothing starts");
    let now = world.now();
    assert!(world.desk.publish(vec![plan::event("stop", "late", "line1", now, None, json!({}))], now).is_err());
    assert_eq!(world.ledger.messages.len(), 1, "and nothing of it was acknowledged");
    *world.disk.faults() = Faults { delay_ns: (MS / 10, MS), ..Faults::default() };
    world.target("maint").mood = Mood::Up;
    world.until("all is delivered", |world| world.is_settled());
    assert_eq!(world.target("maint").effects.len(), taken.len() + 1);
    world.check();
}

/// Nobody waits for the end of a delivery, so it needs no write and no sync of its own; a message does.
#[test]
fn the_end_of_a_delivery_waits_for_company_and_a_message_does_not() {
    let log = log::Settings { sync_ns: MS, ..kept() };
    let mut world = World::new(23, log, || plan::settings(vec![plan::subscriber("maint", "stop")]));
    let unhurried = flows::journal::UNHURRIED_NS;
    world.durable();
    for n in 1..=10_u64 {
        let now = world.now();
        let message = world.publish(plan::event("stop", &format!("e{n}"), "line1", now, None, json!({ "n": n })));
        world.until("it is durable", |world| world.desk.journal().durable() >= message);
        assert!(world.now().0 - now.0 < unhurried as i64 / 2, "a message waits for no company");
        world.until("it is delivered", |world| world.desk.outlets()[0].backlog() == 0);
        let (ended, end) = (world.now(), world.desk.journal().end());
        assert!(end > message, "its end is written");
        world.until("the end is durable", |world| world.desk.journal().durable() >= end);
        assert!(world.now().0 - ended.0 >= unhurried as i64 / 2, "its end waits for company");
    }
    // and goes with the next message
    let now = world.now();
    world.publish(plan::event("stop", "e11", "line1", now, None, json!({})));
    world.until("it is delivered", |world| world.desk.outlets()[0].backlog() == 0);
    let end = world.desk.journal().end();
    let now = world.now();
    let message = world.publish(plan::event("stop", "e12", "line1", now, None, json!({})));
    world.until("it is durable", |world| world.desk.journal().durable() >= message);
    assert!(world.desk.journal().durable() >= end && world.now().0 - now.0 < unhurried as i64 / 2);
    world.settle();
    world.check();
}
