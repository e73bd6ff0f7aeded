//! Alarms: published once, acted upon, and found again as they were.

mod support;

use alarms::{Input, State};
use flows::desk::ActionError;
use model::TimestampNs;
use serde_json::json;
use sim::Crash;
use support::world::kept;
use support::{HOUR, MINUTE, World, judge, plan};

const ID: &str = "hot/plant/line1/heat";

fn world(seed: u64) -> World {
    World::new(seed, kept(), || flows::Settings {
        alarms: plan::rules(&["hot"], "alarm"),
        ..plan::settings(vec![plan::subscriber("pager", "alarm")])
    })
}

fn edge(world: &mut World, is_hot: bool) {
    let now = world.now();
    let input = match is_hot {
        true => Input::Active { at: now, value: Some(json!(190.5)), text: "too hot".to_owned() },
        false => Input::Normal { at: now, value: Some(json!(20.0)) },
    };
    world.desk.on_edge("hot", "plant/line1/heat", "°C", &input, now);
}

fn ids(world: &World) -> Vec<String> {
    let events = world.ledger.messages.values().filter(|known| known.stream == "event/alarm");
    events.map(|known| known.id.clone()).collect()
}

fn state(world: &World) -> State {
    world.desk.alarms().get(ID).expect("an alarm").state()
}

fn check(world: &World) {
    let mut objections = Vec::new();
    judge::recovered(world, &mut objections);
    assert_eq!(objections, Vec::<String>::new());
    world.check();
}

#[test]
fn an_activation_is_published_once_wherever_a_crash_falls() {
    for steps in 0..30 {
        for crash in [Crash::Kill, Crash::Power] {
            let mut world = world(steps);
            world.settle();
            edge(&mut world, true);
            (0..steps).for_each(|_| world.go_on());
            world.crash(crash);
            // whoever watches the tag says again how it is
            edge(&mut world, true);
            world.settle();
            assert_eq!(ids(&world), [format!("plant/line1#{ID}#1")], "after {steps} steps and {crash:?}");
            assert_eq!(world.target("pager").effects.len(), 1, "after {steps} steps and {crash:?}");
            edge(&mut world, false);
            edge(&mut world, true);
            world.settle();
            assert_eq!(ids(&world).len(), 2);
            assert_eq!(world.desk.alarms().get(ID).map(alarms::Alarm::count), Some(2));
            world.crash(crash);
            check(&world);
        }
    }
}

#[test]
fn what_people_do_is_written_down_and_holds_over_a_restart() {
    let mut world = world(1);
    edge(&mut world, true);
    let (now, by) = (world.now(), || "bob".to_owned());
    let comment = Some("seen".to_owned());
    world.desk.act(ID, &Input::Acknowledge { by: by(), comment }, now).expect("taken");
    assert_eq!(state(&world), State::Acknowledged);
    let again = world.desk.act(ID, &Input::Acknowledge { by: by(), comment: None }, now);
    assert!(matches!(again, Err(ActionError::Alarm(alarms::Refused::NotUnacknowledged))), "{again:?}");
    assert_eq!(world.desk.act("hot/nothing", &Input::Unshelve { by: by() }, now), Err(ActionError::Unknown));
    let until = now.plus_ns(HOUR as i64);
    world.desk.act(ID, &Input::Shelve { by: by(), until, comment: None }, now).expect("taken");
    world.settle();
    world.crash(Crash::Power);
    check(&world);
    assert_eq!(state(&world), State::Shelved);
    // while it is on the shelf nobody is told
    edge(&mut world, false);
    edge(&mut world, true);
    world.run(MINUTE);
    assert_eq!(ids(&world).len(), 1);
    world.crash(Crash::Kill);
    check(&world);
    // its time ends by itself, and what is active then is told
    world.run(2 * HOUR);
    assert_eq!((state(&world), ids(&world).len()), (State::Unacknowledged, 2));
    let lines: Vec<(&str, &str, &str)> =
        world.ledger.audits.iter().map(|line| (line.who.as_str(), line.what.as_str(), line.target.as_str())).collect();
    assert_eq!(lines, [("bob", "alarm acknowledged", ID), ("bob", "alarm shelved", ID)]);
    assert_eq!(world.ledger.audits[0].before, json!("unacknowledged"));
    assert_eq!(world.ledger.audits[0].after, json!("acknowledged"));
    assert_eq!(world.ledger.audits[0].comment.as_deref(), Some("seen"));
    world.settle();
    world.crash(Crash::Power);
    check(&world);
}

#[test]
fn alarms_outlive_the_entries_that_made_them() {
    let log = log::Settings { segment_bytes: 8 << 10, keep_bytes: 16 << 10, ..kept() };
    let mut world = World::new(2, log, || flows::Settings {
        alarms: plan::rules(&["hot"], "alarm"),
        ..plan::settings(vec![plan::subscriber("pager", "alarm"), plan::subscriber("maint", "stop")])
    });
    edge(&mut world, true);
    let now = world.now();
    world.desk.act(ID, &Input::OutOfService { by: "ann".to_owned(), comment: None }, now).expect("taken");
    for n in 0..800 {
        let now: TimestampNs = world.now();
        world.publish(plan::event("stop", &format!("e{n}"), "line1", now, None, json!({ "n": n })));
        if n % 20 == 0 {
            world.settle();
            world.run(2 * support::S);
        }
    }
    world.settle();
    assert!(world.oldest().0 > 50_000, "{}", world.oldest());
    world.crash(Crash::Power);
    check(&world);
    assert_eq!(state(&world), State::OutOfService);
}
