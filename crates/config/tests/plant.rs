//! The reference configuration loads unchanged, and means what it says.

use std::time::Duration;

use millstream_config as config;

use config::{
    Aggregate, Area, BatchAt, Compress, Condition, Conflict, HttpAuth, NamespaceRef, NodeIdentifier, RegisterType,
    RequestAction, Secret, SecurityMode, SourceKind, StartAt, SyncOn, TargetKind, WordOrder,
};

const PLANT: &str = include_str!("plant.toml");

fn plant() -> config::Config {
    config::parse(PLANT).unwrap_or_else(|problems| panic!("{}", config::render(&problems, "plant.toml", PLANT)))
}

#[test]
fn server_and_cores() {
    let plant = plant();
    assert_eq!(plant.server.http.to_string(), "127.0.0.1:8080");
    assert_eq!(plant.server.native.to_string(), "127.0.0.1:7070");
    assert_eq!(plant.server.time_zone, "Europe/Amsterdam");
    assert_eq!(plant.server.data_dir.to_str(), Some("data"));
    assert_eq!(plant.server.log.sync, Duration::from_millis(5));
    assert_eq!(plant.server.log.segment_bytes, 64 << 20);
    assert_eq!(plant.server.log.keep, Duration::from_secs(7 * 86_400));
    assert_eq!(plant.server.log.keep_bytes, 20 << 30);
    let journal = &plant.server.journal;
    assert_eq!((journal.keep, journal.keep_bytes), (Duration::from_secs(30 * 86_400), 4 << 30));
    assert_eq!((journal.segment_bytes, journal.backlog_bytes), (16 << 20, 4 << 30));
    assert!(!plant.server.insecure);
    assert_eq!(plant.cores.count, Some(2));
}

#[test]
fn the_press_is_modbus() {
    let plant = plant();
    let press = &plant.sources[0];
    assert_eq!((press.name.as_str(), press.path.as_str()), ("press1", "riverside/press/line1/press1"));
    let SourceKind::Modbus(modbus) = &press.kind else { panic!("{press:?}") };
    assert_eq!((modbus.address.host.as_str(), modbus.address.port), ("127.0.0.1", 5021));
    assert_eq!((modbus.units.len(), modbus.units[0].unit_id, &modbus.units[0].name), (1, 1, &None));
    assert_eq!((modbus.every, modbus.timeout), (Duration::from_millis(100), Duration::from_secs(1)));
    assert_eq!((modbus.depth, modbus.depth_max, modbus.coalesce_gap), (None, 16, None));
    assert_eq!((modbus.max_registers, modbus.max_bits), (125, 2000));
    assert_eq!((modbus.busy_retries, modbus.demote_after), (2, 3));
    assert_eq!((modbus.demote_for, modbus.demote_max), (Duration::from_secs(10), Duration::from_secs(300)));
    let [temperature, pressure, vibration, cycles, running, fault] = &modbus.tags[..] else { panic!() };
    assert_eq!(temperature.at.to_string(), "holding:0 (40001)");
    assert_eq!((temperature.kind, temperature.order), (RegisterType::F32, WordOrder::Abcd));
    assert_eq!((temperature.range, temperature.deadband), (Some([0.0, 250.0]), 0.1));
    assert_eq!(temperature.unit.as_deref(), Some("°C"));
    assert_eq!((pressure.at.area, pressure.at.address, pressure.scale), (Area::InputRegister, 10, 0.1));
    assert_eq!((pressure.offset, pressure.deadband, pressure.heartbeat), (0.0, 0.0, Duration::from_secs(60)));
    assert_eq!((vibration.order, cycles.kind), (WordOrder::Cdab, RegisterType::U32));
    assert_eq!((running.at.area, running.kind), (Area::Coil, RegisterType::Bool));
    assert_eq!((fault.at.address, fault.at.bit), (30, Some(3)));
}

#[test]
fn meters_oven_and_rig() {
    let plant = plant();
    let SourceKind::Modbus(meters) = &plant.sources[1].kind else { panic!() };
    assert_eq!(meters.units.len(), 8);
    assert_eq!((meters.units[7].unit_id, meters.units[7].name.as_deref()), (8, Some("meter8")));
    let SourceKind::Opcua(oven) = &plant.sources[2].kind else { panic!() };
    assert_eq!((oven.security.policy.as_str(), oven.security.mode), ("None", SecurityMode::None));
    assert_eq!((oven.publishing, oven.sampling), (Duration::from_millis(100), Duration::from_millis(50)));
    assert_eq!((oven.queue, oven.watchdog, oven.timeout), (10, Duration::from_secs(10), Duration::from_secs(5)));
    assert_eq!(oven.tags[0].node.namespace, NamespaceRef::Uri("urn:riverside:oven".into()));
    assert_eq!(oven.tags[0].node.identifier, NodeIdentifier::Text("Zone1.Temperature".into()));
    assert_eq!((oven.browse[0].name.as_str(), oven.browse[0].max), ("zones", 10_000));
    let SourceKind::Native(rig) = &plant.sources[3].kind else { panic!() };
    assert_eq!((rig.tags_max, rig.producers_max, rig.udp), (100_000, 1024, true));
}

#[test]
fn rollups_and_rules() {
    let plant = plant();
    assert_eq!(plant.rollups[0].every, Duration::from_secs(1));
    assert_eq!(plant.rollups[1].aggregates.len(), 9);
    assert_eq!(plant.rollups[1].aggregates[8], Aggregate::PercentGood);
    assert_eq!(plant.rules[0].condition, Condition::High { limit: 180.0, clear: 175.0 });
    assert_eq!(plant.rules[1].condition, Condition::Expression { when: "value == true".into() });
    assert_eq!(plant.rules[2].condition, Condition::Stale { after: Duration::from_secs(5) });
    assert_eq!(plant.rules[2].severity, 500);
    assert_eq!((plant.rules[0].re_alarm, plant.rules[0].confirm), (None, false));
}

#[test]
fn the_business_side() {
    let plant = plant();
    let TargetKind::Http(http) = &plant.subscribers[0].to.kind else { panic!() };
    assert_eq!((http.url.as_str(), http.method.as_str()), ("http://127.0.0.1:9104/tickets", "POST"));
    let token = Secret::Env { name: "CMMS_TOKEN".into(), default: Some("demo".into()) };
    assert_eq!(http.auth, HttpAuth::Bearer(token));
    assert_eq!((http.conflict, &http.success, http.headers.len()), (Conflict::Reject, &None, 0));
    assert!(!format!("{plant:?}").contains("demo\""), "a secret's default is printed");
    assert_eq!((plant.subscribers[0].from, plant.subscribers[0].retry.attempts), (StartAt::Now, 12));
    let first = &plant.subscribers[0];
    assert_eq!((first.key.as_str(), first.drain_rate, first.window), ("event.source", 1_000, 4_096));
    assert_eq!((first.to.concurrency, first.breaker.failures), (8, 5));
    assert_eq!(first.breaker.open_max, Duration::from_secs(300));
    let RequestAction::Write(write) = &plant.requests[1].action else { panic!() };
    assert_eq!(
        (&write.step, &write.interlock, &write.rate, write.expect, write.tolerance),
        (&None, &None, &None, false, 0.0)
    );
    assert_eq!((write.range, write.read_back), (Some([20.0, 240.0]), Some(Duration::from_secs(1))));
    assert_eq!(plant.records[0].schema.as_ref().map(|s| s["required"][2].clone()), Some("quantity".into()));
    assert_eq!(plant.syncs[1].on, SyncOn::Tag("riverside/paint/line1/oven/state".into()));
    assert!(plant.syncs[1].coalesce && plant.syncs[1].probe.is_none() && plant.syncs[1].reconcile.is_none());
    assert_eq!((&plant.records[0].key, &plant.records[0].time), (&None, &None));
    assert_eq!((plant.batches[0].correct, plant.batches[0].compress), (Duration::from_secs(86_400), Compress::None));
    assert!(plant.batches[0].totals.is_empty() && plant.shifts[0].except.is_empty());
    assert_eq!((plant.shifts.len(), plant.shifts[2].end.hour), (3, 6));
    assert_eq!((plant.batches[0].at.clone(), plant.batches[0].records.len()), (BatchAt::ShiftEnd, 3));
}
