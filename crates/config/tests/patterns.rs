//! The five patterns as a file says them, with every key.

use std::path::PathBuf;
use std::time::Duration;

use millstream_config as config;

use config::{
    BatchAt, Compress, Conflict, Date, HttpAuth, Ours, Repair, RequestAction, Role, Secret, ShiftException, StartAt,
    SyncOn, Target, TargetKind, TimeOfDay,
};

const PATTERNS: &str = include_str!("patterns.toml");

fn patterns() -> config::Config {
    config::parse(PATTERNS).unwrap_or_else(|p| panic!("{}", config::render(&p, "patterns.toml", PATTERNS)))
}

fn env(name: &str) -> Secret {
    Secret::Env { name: name.into(), default: None }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_journal_and_the_rules() {
    let config = patterns();
    let journal = &config.server.journal;
    assert_eq!((journal.keep, journal.keep_bytes), (seconds(7 * 86_400), 1 << 30));
    assert_eq!((journal.segment_bytes, journal.backlog_bytes), (32 << 20, 256 << 20));
    let rule = &config.rules[0];
    assert_eq!((rule.latch, rule.confirm, rule.re_alarm), (true, true, Some(seconds(900))));
    assert!(rule.message.as_ref().is_some_and(|text| text.starts_with("rule + ")));
}

#[test]
fn a_target_with_everything() {
    let config = patterns();
    let Target { kind: TargetKind::Http(http), concurrency: 4 } = &config.subscribers[0].to else { panic!() };
    assert_eq!((http.url.as_str(), http.method.as_str()), ("https://tickets.example/{source}/{data.line}", "PUT"));
    assert_eq!(http.auth, HttpAuth::Basic { user: "ms".into(), password: env("P") });
    let hmac = http.hmac.as_ref().expect("a signature");
    assert_eq!((&hmac.secret, hmac.header.as_str()), (&Secret::File("hmac.key".into()), "X-Hub-Signature-256"));
    let client = http.client.as_ref().expect("a certificate");
    assert_eq!((&client.cert, &client.key), (&PathBuf::from("client.pem"), &PathBuf::from("client.key")));
    assert_eq!(http.ca, Some(PathBuf::from("ca.pem")));
    let pairs = [("X-Plant", "riverside"), ("Accept", "application/json")];
    assert_eq!(http.headers, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(http.success.as_deref(), Some("status == 200 && answer.ok == true"));
    assert_eq!(http.conflict, Conflict::Done);
    let TargetKind::Http(http) = &config.subscribers[1].to.kind else { panic!() };
    let HttpAuth::OAuth2(oauth2) = &http.auth else { panic!("{:?}", http.auth) };
    assert_eq!((oauth2.token_url.as_str(), oauth2.client_id.as_str()), ("https://id.example/token", "ms"));
    assert_eq!((&oauth2.client_secret, oauth2.scope.as_deref()), (&env("S"), Some("plan.write")));
}

#[test]
fn targets_of_the_other_kinds() {
    let config = patterns();
    let TargetKind::Mqtt(mqtt) = &config.subscribers[2].to.kind else { panic!() };
    assert_eq!((mqtt.client_id.as_deref(), mqtt.ca.as_ref()), (Some("millstream-1"), Some(&PathBuf::from("ca.pem"))));
    assert_eq!((mqtt.user.as_deref(), &mqtt.token), (Some("ms"), &Some(env("M"))));
    let TargetKind::Nats(nats) = &config.subscribers[3].to.kind else { panic!() };
    assert_eq!((nats.stream.as_deref(), nats.user.as_deref()), (Some("PLANT"), Some("ms")));
    let TargetKind::S3(s3) = &config.syncs[3].to.kind else { panic!() };
    let place = (s3.endpoint.as_str(), s3.bucket.as_str(), s3.prefix.as_str());
    assert_eq!(place, ("https://s3.example:9000", "plant", "events/hot"));
    assert_eq!((s3.region.as_str(), s3.access_key.as_str(), &s3.secret_key), ("eu-west-1", "AK", &env("K")));
    let TargetKind::S3(s3) = &config.batches[0].to.kind else { panic!() };
    assert_eq!((s3.prefix.as_str(), s3.region.as_str()), ("", "us-east-1"));
}

#[test]
fn deliveries() {
    let config = patterns();
    let first = &config.subscribers[0];
    assert_eq!((first.key.as_str(), first.from), ("event.subject", StartAt::Offset(17)));
    assert_eq!((first.drain_rate, first.window, first.expire), (50, 64, Some(seconds(2 * 86_400))));
    assert_eq!((first.breaker.failures, first.breaker.open_max), (2, seconds(30)));
    let slow = &config.subscribers[4].breaker;
    assert_eq!((slow.open, slow.open_max), (seconds(3_600), seconds(3_600)), "the longest time follows `open`");
    let [sum, last, tag, event] = &config.syncs[..] else { panic!() };
    assert_eq!(tag.on, SyncOn::Tag("site/press/*/door".into()));
    assert_eq!(event.on, SyncOn::Event("hot".into()));
    let probe = sum.probe.as_ref().expect("a probe");
    assert_eq!((probe.method.as_str(), probe.done.as_str()), ("HEAD", "status == 200"));
    let reconcile = sum.reconcile.as_ref().expect("a reconciliation");
    assert_eq!((&reconcile.ours, reconcile.repair), (&Ours::Sum("record.quantity".into()), Repair::Resend));
    assert_eq!((reconcile.every, reconcile.settle, reconcile.tolerance), (seconds(600), seconds(30), 0.001));
    let reconcile = last.reconcile.as_ref().expect("a reconciliation");
    assert_eq!((&reconcile.ours, reconcile.repair), (&Ours::Last("record.level".into()), Repair::Report));
    assert_eq!((reconcile.every, reconcile.settle, reconcile.tolerance), (seconds(3_600), seconds(60), 0.0));
}

#[test]
fn requests() {
    let config = patterns();
    let [stock, setpoint, look, start, recipe] = &config.requests[..] else { panic!() };
    assert!(matches!(&stock.action, RequestAction::To(Target { kind: TargetKind::Http(_), .. })));
    assert_eq!(stock.schema.as_ref().map(|schema| schema["required"][0].clone()), Some("material".into()));
    assert!(stock.answer.is_some() && stock.role == Role::Viewer);
    let RequestAction::Write(write) = &setpoint.action else { panic!() };
    assert_eq!((write.step, write.expect, write.tolerance), (Some(10.0), true, 0.5));
    let rate = write.rate.as_ref().expect("a rate");
    assert_eq!((rate.writes, rate.per), (3, seconds(60)));
    let interlock = write.interlock.as_ref().expect("an interlock");
    let tags = [("door", "site/press/press1/door"), ("zone", "site/oven/zones/zone1")];
    assert_eq!(interlock.tags, tags.map(|(alias, path)| (alias.to_owned(), path.to_owned())));
    assert_eq!(interlock.max_age, seconds(2));
    let revert = write.revert.as_ref().expect("a way back");
    assert_eq!((revert.max, revert.default), (seconds(600), Some(seconds(60))));
    let RequestAction::Read(read) = &look.action else { panic!() };
    assert_eq!((read.tags.join(" "), read.max_age), ("setpoint zones/zone1".to_owned(), Some(seconds(1))));
    let RequestAction::Call(call) = &start.action else { panic!() };
    assert_eq!((call.method.to_string().as_str(), call.source.as_str()), ("nsu=urn:oven;s=StartCycle", "oven"));
    assert_eq!(call.arguments.as_deref(), Some("[request.recipe, 20.0]"));
    let RequestAction::WritePoints(recipe) = &recipe.action else { panic!() };
    let [oven, door] = &recipe.points[..] else { panic!() };
    assert_eq!((recipe.max_points, oven.name.as_str(), door.name.as_str()), (2, "setpoint", "press-door"));
    assert_eq!((oven.write.range, oven.write.step), (Some([20.0, 240.0]), Some(10.0)));
    assert_eq!(
        (door.write.source.as_str(), door.write.tag.as_str(), door.write.expect),
        ("press", "press1/door", true)
    );
}

#[test]
fn what_is_gathered() {
    let config = patterns();
    assert_eq!(
        (config.records[0].key.as_deref(), config.records[0].time.as_deref()),
        (Some("material"), Some("received"))
    );
    let christmas = ShiftException { date: Date { year: 2026, month: 12, day: 25 }, hours: None };
    let six = TimeOfDay { hour: 6, minute: 0 };
    let noon = TimeOfDay { hour: 12, minute: 0 };
    let eve = ShiftException { date: Date { year: 2026, month: 12, day: 31 }, hours: Some((six, noon)) };
    assert_eq!(config.shifts[0].except, [christmas, eve]);
    let [shift, manual] = &config.batches[..] else { panic!() };
    assert_eq!(
        (shift.compress, shift.correct, shift.totals.as_slice()),
        (Compress::Gzip, Duration::ZERO, &["quantity".to_owned()][..])
    );
    assert_eq!((shift.breaker.failures, manual.at.clone(), manual.correct), (9, BatchAt::Manual, seconds(86_400)));
    assert!(config.inactive().is_empty());
}
