//! What a restart finds: the same from the newest segments as from the whole journal.

mod support;

use alarms::Input;
use delivery::Offset;
use flows::Settings;
use flows::desk::{DeliveryFilter, Desk};
use flows::outlet::{Pause, Row};
use flows::spec::{Begin, Pattern, Wanted};
use model::{Glob, TimestampNs};
use serde_json::json;
use sim::{Crash, SimClock, SimDisk};
use std::cell::Cell;
use std::rc::Rc;
use support::ledger::Ledger;
use support::target::Mood;
use support::world::{Fault, kept, recover};
use support::{MS, S, World, plan};

fn settings() -> Settings {
    let cron = calendar::Cron::parse("* * * * *").expect("a schedule");
    let batch = plan::batch_spec("book", flows::runs::Schedule::Cron(cron), S, support::HOUR);
    let mut tags = plan::flow("mirror", Pattern::Sync, Wanted::Tags(Glob::new("plant/**")));
    tags.policy.coalesce = true;
    let mut flows = vec![plan::subscriber("maint", "stop"), plan::subscriber("pager", "alarm"), tags];
    flows.extend([plan::subscriber("idle", "stop"), plan::batch_flow("book")]);
    Settings {
        alarms: plan::rules(&["hot", "cold"], "alarm"),
        batches: plan::batches(vec![batch]),
        ..plan::settings(flows)
    }
}

/// Everything that is known of a desk, in words.
/// One flow's deliveries, the newest first.
fn deliveries(desk: &Desk, flow: usize) -> Vec<Row> {
    let filter = DeliveryFilter { flow: Some(flow), ..DeliveryFilter::default() };
    let mut list = desk.list_deliveries(filter, None, usize::MAX - 1).expect("there is no place to begin behind");
    while desk.look_on(&mut list) {}
    let (places, next) = list.page(desk);
    assert_eq!(next, None);
    places.into_iter().filter_map(|place| desk.delivery(place)).map(|(_, row)| row).collect()
}

fn told(disk: &mut SimDisk, now: TimestampNs) -> Vec<String> {
    let (mut desk, _) =
        recover(disk, &kept(), &settings, now, &mut Ledger { is_off: true, ..Ledger::default() }, Fault::None);
    let clock = SimClock::new(now);
    // the windows fill from the journal; nobody carries the calls out
    for _ in 0..500 {
        use env::Clock;
        clock.advance(MS);
        disk.set_now(clock.monotonic_ns());
        while desk.step(clock.monotonic_ns(), clock.wall(), disk) {}
        for wanted in desk.wanted_reads() {
            let found = wanted.run(disk);
            desk.on_read(found, clock.wall());
        }
    }
    let mut told = Vec::new();
    for (at, row) in desk.rows(now).into_iter().enumerate() {
        told.push(format!("{} {:?} backlog {} dead {}", row.name, row.paused, row.backlog, row.dead));
        let unsettled = deliveries(&desk, at)
            .into_iter()
            .filter(|row| row.state == "in-flight" || row.next_ns.is_some() || row.state == "waiting");
        told.extend(
            unsettled.map(|row| format!("{} {} {:?}", row.id, row.key, row.attempts.last().map(|line| line.number))),
        );
    }
    told.extend(desk.letters().map(|letter| format!("{letter:?}")));
    told.extend(desk.alarms().iter().map(|alarm| alarm.to_json().to_string()));
    told.extend(desk.batches().books()[0].runs().map(|run| format!("{run:?}")));
    told.push(format!("next run {:?}", desk.batches().next_run(0)));
    // a tag that is as it was is no change
    let end = desk.journal().end();
    for line in 0..5 {
        let path = format!("plant/line{line}/speed");
        desk.tag_changed(&path, &json!(line), "Good", now, now).expect("taken");
    }
    assert_eq!(desk.journal().end(), end, "the tags are known");
    told.sort();
    told
}

/// Traffic of every kind, until it has come to rest.
fn traffic_of_every_kind(world: &mut World) {
    for round in 0..12_u64 {
        for n in 0..20 {
            let now = world.now();
            let note = if n == 7 { "poison" } else { "fine" };
            let id = format!("e{round}.{n}");
            world.publish(plan::event("stop", &id, &format!("line{}", n % 4), now, Some(700), json!({ "note": note })));
            let document = plan::receipt(&format!("r{n}"), "line1", round, now);
            world.desk.put_records("receipt", vec![document], now).expect("taken");
        }
        for line in 0..5 {
            let now = world.now();
            let value = if round == 11 { line } else { round * 10 + line };
            world.desk.tag_changed(&format!("plant/line{line}/speed"), &json!(value), "Good", now, now).expect("taken");
        }
        let now = world.now();
        let is_hot = round % 2 == 0;
        for (rule, input) in [
            ("hot", Input::Active { at: now, value: None, text: "hot".to_owned() }),
            ("hot", Input::Normal { at: now, value: None }),
            ("cold", Input::Active { at: now, value: None, text: "cold".to_owned() }),
        ] {
            if is_hot || rule == "hot" {
                world.desk.on_edge(rule, "plant/line1/heat", "°C", &input, now);
            }
        }
        world.run(40 * S);
        world.settle();
    }
}

#[test]
fn the_newest_segments_say_the_same_as_the_whole_journal() {
    let log = log::Settings { segment_bytes: 8 << 10, ..kept() };
    let mut world = World::new(9, log.clone(), settings);
    traffic_of_every_kind(&mut world);
    let now = world.now();
    world
        .desk
        .act("cold/plant/line1/heat", &Input::Acknowledge { by: "bob".to_owned(), comment: None }, now)
        .expect("taken");
    let open = world.desk.letters().last().map(|letter| letter.id.clone()).expect("a letter");
    world.desk.discard(&open, "ann", None, now).expect("discarded");
    let pause = Pause { by: "ann".to_owned(), comment: None, at_ns: now.0 };
    world.desk.set_paused("idle", Some(pause), "ann", now).expect("paused");
    world.target("maint").mood = Mood::Down;
    for n in 0..10 {
        let now = world.now();
        world.publish(plan::event(
            "stop",
            &format!("last{n}"),
            &format!("line{n}"),
            now,
            Some(700),
            json!({ "note": "fine" }),
        ));
    }
    world.run(5 * S);
    world.durable();
    world.check();
    let now = world.now();
    let whole = told(&mut world.disk.copy().crash(Crash::Kill), now);
    // the same journal once more, and retention takes what it may
    let mut disk = world.disk.copy().crash(Crash::Kill);
    let few = log::Settings { keep_bytes: 1, ..log };
    let (mut desk, _) =
        recover(&mut disk, &few, &settings, now, &mut Ledger { is_off: true, ..Ledger::default() }, Fault::None);
    let end = desk.journal().end();
    desk.set_paused("maint", None, "ann", now).expect("taken");
    let clock = SimClock::new(now);
    for _ in 0..3_000 {
        use env::Clock;
        clock.advance(20 * MS);
        disk.set_now(clock.monotonic_ns());
        while desk.step(clock.monotonic_ns(), now, &mut disk) {}
        for wanted in desk.wanted_reads() {
            let found = wanted.run(&disk);
            desk.on_read(found, now);
        }
        drop(desk.drain_sends());
    }
    // the hold moves with time
    for second in 0..120 {
        use env::Clock;
        clock.advance(S);
        disk.set_now(clock.monotonic_ns());
        let now = now.plus_ns(second * S as i64 / 1_000);
        while desk.step(clock.monotonic_ns(), now, &mut disk) {}
        desk.step(clock.monotonic_ns(), now.plus_ns(2 * S as i64), &mut disk);
    }
    assert!(desk.journal().oldest().0 > end.0 / 4, "{} of {end} are gone", desk.journal().oldest());
    let newest = told(&mut disk.crash(Crash::Kill), now);
    assert_eq!(newest, whole);
}

#[test]
fn a_flow_that_was_away_is_found_again_when_only_newer_segments_are_left() {
    let log = log::Settings { segment_bytes: 8 << 10, ..kept() };
    let is_there = Rc::new(Cell::new(true));
    let told = Rc::clone(&is_there);
    let mut world = World::new(4, log, move || {
        let mut flows = vec![plan::subscriber("maint", "stop")];
        if told.get() {
            let mut extra = plan::subscriber("extra", "stop");
            extra.begin = Begin::Now;
            flows.push(extra);
        }
        plan::settings(flows)
    });
    let mut number = 0;
    let mut traffic = |world: &mut World, count: u64| {
        for _ in 0..count {
            number += 1;
            let now = world.now();
            let id = format!("e{number}");
            world.publish(plan::event(
                "stop",
                &id,
                &format!("line{}", number % 4),
                now,
                Some(700),
                json!({ "n": number }),
            ));
            if number % 10 == 0 {
                world.run(S / 4);
            }
        }
        world.run(S);
    };
    traffic(&mut world, 100);
    world.target("extra").mood = Mood::Down;
    traffic(&mut world, 100);
    is_there.set(false);
    world.crash(Crash::Power);
    let away = world.desk.journal().end();
    traffic(&mut world, 200);
    is_there.set(true);
    world.crash(Crash::Power);
    let back = world.desk.journal().end();
    world.target("extra").mood = Mood::Up;
    world.settle();
    assert_eq!(world.target("extra").effects.len(), 400, "what came while it was away, too");
    // now the segments go in which it was known, and those remain of when it was away
    world.target("extra").mood = Mood::Down;
    traffic(&mut world, 20);
    world.kept.keep_bytes = 1;
    world.crash(Crash::Kill);
    world.until("the first segments are gone", |world| world.desk.journal().oldest() >= away);
    let calls_before = world.target("extra").effects.len();
    world.crash(Crash::Kill);
    assert!(world.desk.journal().oldest() < back, "{} {back}", world.desk.journal().oldest());
    world.target("extra").mood = Mood::Up;
    world.settle();
    assert_eq!(world.target("extra").effects.len(), calls_before + 20);
    assert_eq!(world.ledger.begun["extra"].1, 1, "it was begun once");
    world.check();
}

#[test]
fn thousands_of_ends_above_one_that_is_stuck_outlive_it() {
    let log = log::Settings { segment_bytes: 64 << 10, keep_bytes: 256 << 10, ..kept() };
    let mut world = World::new(6, log, || {
        let mut maint = plan::subscriber("maint", "stop");
        maint.definition.body = Some("{'n': event.data.n}".to_owned());
        (maint.policy.attempts, maint.policy.breaker.failures) = (u32::MAX, u32::MAX);
        (maint.policy.concurrency, maint.policy.window) = (64, 256);
        plan::settings(vec![maint])
    });
    world.target("maint").stuck = Some("\"n\":0}".to_owned());
    let mut published = 0_u64;
    let mut traffic = |world: &mut World, count: u64| {
        let now = world.now();
        let events = (published..published + count).map(|n| {
            plan::event(
                "stop",
                &format!("e{n}"),
                &format!("s{}", n % 50 + u64::from(n == 0) * 99),
                now,
                None,
                json!({ "n": n }),
            )
        });
        world.desk.publish(events.collect(), now).expect("taken");
        published += count;
        let all = published as usize;
        world.until("all but one", |world| world.target("maint").effects.len() + 1 >= all);
    };
    for _ in 0..12 {
        traffic(&mut world, 1_000);
    }
    world.run(5 * S);
    assert_eq!(world.oldest(), Offset(0), "the first one is needed");
    world.target("maint").stuck = None;
    world.settle();
    world.until("its segment is gone", |world| world.oldest() > Offset(100_000));
    world.crash(Crash::Power);
    world.settle();
    traffic(&mut world, 10);
    world.settle();
    assert_eq!(world.target("maint").effects.len(), 12_010);
    assert!(world.target("maint").arrived.values().all(|count| *count == 1), "nothing was sent again");
    world.check();
}
