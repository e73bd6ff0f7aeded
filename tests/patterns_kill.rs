//! Millstream is killed with SIGKILL at any moment while publishers publish, systems fail and mend,
//! batches are made and a device is written: what was answered is in effect exactly once, in order
//! per key; every record is in one document of its period; no value reaches a device that the audit
//! does not know.
//!
//! The moments come from a seed that is printed; `PATTERNS_SEED` runs it again.

mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::business::{HASTY, Random, System, complete, ledger, post, same_on_every_try, wait_long};
use support::history::ns;
use support::site::Site;
use support::{Server, wait_for};

/// Kills that each pattern must live through while it is at work.
const KILLS: u64 = 30;
/// Kills while a device is written: cheap ones.
const DEVICE_KILLS: u64 = 100;
/// Kills after which something is wrong with the test.
const KILLS_MAX: u64 = 200;

fn seed() -> u64 {
    let told = std::env::var("PATTERNS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed =
        told.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64));
    println!("PATTERNS_SEED={seed}");
    seed
}

fn sections(site: &Site) -> String {
    let (erp, wms, cmms, portal) = (site.erp().url, site.wms().url, site.cmms().url, site.portal().url);
    let mut text = String::new();
    for (name, to) in [
        ("tickets", format!("{cmms}/tickets")),
        ("plan", format!("{erp}/plan/changes")),
        ("delays", format!("{portal}/delays")),
    ] {
        text += &format!(
            "[[subscriber]]\nname = {name:?}\nevent = \"machine-fault\"\nto = {{ http = {to:?} }}\n\
             body = \"{{'key': event.source, 'n': event.data.n}}\"\n{HASTY}\n"
        );
    }
    for record in ["receipt", "labour"] {
        text += &format!("[[record]]\nname = {record:?}\nid = \"id\"\n\n");
    }
    text += &format!(
        "[[sync]]\nname = \"stock\"\non = {{ record = \"receipt\" }}\nkey = \"record.key\"\n\
         to = {{ http = \"{erp}/stock/receipts\" }}\n\
         body = \"{{'material': record.key, 'quantity': record.n, 'key': record.key, 'n': record.n}}\"\n{HASTY}\n"
    );
    for (name, at) in [("minutely", "* * * * *"), ("desk", "manual")] {
        text += &format!(
            "[[batch]]\nname = {name:?}\nat = {at:?}\nrecords = [\"labour\"]\ntotals = [\"hours\"]\nformat = \"json\"\n\
             to = {{ http = \"{erp}/batches\" }}\n{HASTY}\n"
        );
    }
    text + &format!(
        "[[request]]\nname = \"availability\"\nto = {{ http = \"{wms}/stock/{{material}}\", method = \"GET\" }}\n\
         timeout = \"400ms\"\nbreaker = {{ failures = 5, open = \"50ms\", open_max = \"100ms\" }}\n"
    )
}

/// Threads that go on until they are told to stop.
#[derive(Clone, Default)]
struct Stop(Arc<Mutex<bool>>);

impl Stop {
    fn is_set(&self) -> bool {
        *self.0.lock().expect("no thread panics with it")
    }

    fn set(&self) {
        *self.0.lock().expect("no thread panics with it") = true;
    }
}

/// What is published: the path, and the number's body, made once.
type Make = fn(&str, u64) -> Value;

/// Publishes 1, 2, 3 … of a key; each again with the same id and body until it is answered. Answers
/// the last number.
fn publisher(url: String, key: &'static str, make: Make, stop: Stop, seed: u64) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let (mut random, mut n) = (Random(seed), 0);
        while !stop.is_set() {
            n += 1;
            let body = make(key, n);
            // nobody there, or too busy: the same once more, also when it is time to stop
            while !post(&url, &[], &body).is_some_and(|answer| answer.is_good()) {
                std::thread::sleep(Duration::from_millis(10 + random.below(40)));
            }
            std::thread::sleep(Duration::from_millis(50 + random.below(250)));
        }
        n
    })
}

fn event(key: &str, n: u64) -> Value {
    json!({ "id": format!("{key}-{n}"), "source": key, "type": "machine-fault", "data": { "n": n } })
}

fn receipt(key: &str, n: u64) -> Value {
    json!({ "id": format!("{key}-{n}"), "key": key, "n": n })
}

fn labour_at(key: &str, n: u64, back: Duration) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") - back;
    let time = model::TimestampNs(now.as_nanos() as i64).to_string();
    json!({ "id": format!("{key}-{n}"), "time": time, "hours": 0.25 })
}

fn labour(key: &str, n: u64) -> Value {
    labour_at(key, n, Duration::ZERO)
}

/// Of a period that was closed long ago.
fn late_labour(key: &str, n: u64) -> Value {
    labour_at(key, n, Duration::from_secs(1800))
}

/// Asks for material; what is answered with 200 must be what the WMS says. Answers how many were.
fn asker(server: &Server, right: Value, stop: Stop) -> JoinHandle<u64> {
    let url = server.url("/v1/requests/availability");
    std::thread::spawn(move || {
        let mut answered = 0;
        while !stop.is_set() {
            if let Some(answer) = post(&url, &[], &json!({ "material": "steel" })) {
                assert!(answer.status != 200 || answer.body == right, "a guess: {answer:?}");
                answered += u64::from(answer.status == 200);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        answered
    })
}

/// Breaks and mends systems; all work when it ends.
fn vandal(systems: Vec<System>, stop: Stop, seed: u64) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut random = Random(seed);
        let orders = [
            json!({ "mode": "500", "count": 3 }),
            json!({ "mode": "503", "count": 1 }),
            json!({ "mode": "429", "count": 1 }),
            json!({ "mode": "slow", "delay_ms": 700, "count": 4 }),
            json!({ "mode": "reset", "count": 3 }),
            json!({ "mode": "hang" }),
            json!({ "mode": "down" }),
        ];
        while !stop.is_set() {
            let system = &systems[random.below(systems.len() as u64) as usize];
            system.fault(&orders[random.below(orders.len() as u64) as usize]);
            std::thread::sleep(Duration::from_millis(100 + random.below(500)));
            system.mode("ok");
            std::thread::sleep(Duration::from_millis(random.below(500)));
        }
    })
}

/// Flows of each pattern that had something to do in this life of the server.
fn at_work(server: &Server) -> BTreeSet<String> {
    let Some(flows) = server.try_get("/v1/flows") else { return BTreeSet::new() };
    let busy =
        |flow: &&Value| ["delivered", "attempts_failed", "backlog"].iter().any(|what| flow[*what].as_u64() > Some(0));
    let flows = flows.as_array().expect("a list").iter().filter(busy);
    flows.filter_map(|flow| flow["pattern"].as_str().map(str::to_owned)).collect()
}

/// Kills and starts until every pattern has lived through enough of it.
fn kill_often(server: &mut Server, random: &mut Random) {
    let mut lived: BTreeMap<String, u64> = BTreeMap::new();
    let mut kills = 0;
    while ["event", "sync", "batch", "request"].iter().any(|pattern| lived.get(*pattern) < Some(&KILLS)) {
        std::thread::sleep(Duration::from_millis(150 + random.below(1_700)));
        for pattern in at_work(server) {
            *lived.entry(pattern).or_default() += 1;
        }
        std::thread::sleep(Duration::from_millis(random.below(60)));
        server.kill();
        kills += 1;
        server.run();
        assert!(kills < KILLS_MAX, "{lived:?} after {kills} kills\n{}", server.log());
    }
    println!("{kills} kills; at work meanwhile: {lived:?}");
}

/// 1. Publishers publish events, receipts and working hours, of now and of a closed period; somebody
///    asks for material; systems break and mend.
/// 2. Millstream is killed and started at random.
/// 3. Everybody stops, the systems work: what was answered is in effect once, in order; every hour is
///    in one document of its period; what was asked was never answered with a guess.
#[test]
fn killed_at_any_moment() {
    let seed = seed();
    let mut random = Random(seed);
    let site = Site::start();
    let mut server = Server::start_in("UTC", &sections(&site));
    let right = site.wms().get("/stock/steel");
    let period = json!({ "from": "-50m", "to": "-10m" });
    server.put("/v1/batches/desk/run", &period);

    let (stop, events, records) = (Stop::default(), server.url("/v1/events"), server.url("/v1/records"));
    let mut start =
        |url: &str, key, make: Make| publisher(url.to_owned(), key, make, stop.clone(), random.below(u64::MAX));
    let faults = ["press1", "press2", "press3"].map(|key| (key, start(&events, key, event)));
    let receipts = ["a", "b", "c"].map(|key| (key, start(&format!("{records}/receipt"), key, receipt)));
    let hours = [("now", labour as Make), ("late", late_labour)]
        .map(|(key, make)| (key, start(&format!("{records}/labour"), key, make)));
    let asking = asker(&server, right, stop.clone());
    let breaking =
        vandal(vec![site.erp(), site.cmms(), site.portal(), site.wms()], stop.clone(), random.below(u64::MAX));
    kill_often(&mut server, &mut random);
    stop.set();
    breaking.join().expect("the systems work");
    let answered = asking.join().expect("no guess");
    let last = |threads: [(&'static str, JoinHandle<u64>); 3]| -> BTreeMap<String, u64> {
        threads.into_iter().map(|(key, thread)| (key.to_owned(), thread.join().expect("published"))).collect()
    };
    let (faults, receipts) = (complete(&last(faults)), complete(&last(receipts)));
    let [now, late] = hours.map(|(_, thread)| thread.join().expect("published"));

    for (system, path, wanted) in [
        (site.cmms(), "/tickets", &faults),
        (site.erp(), "/plan/changes", &faults),
        (site.portal(), "/delays", &faults),
        (site.erp(), "/stock/receipts", &receipts),
    ] {
        let count: usize = wanted.values().map(Vec::len).sum();
        wait_long(&format!("{count} effects on {path}"), || (system.effects(path).len() >= count).then_some(()));
        assert_eq!(&ledger(&system.bodies(path)), wanted, "{path}");
        let tries = same_on_every_try(&system.received(path));
        println!("{path}: {count} effects, at most {tries} tries of one");
    }
    documents_hold_every_hour(&site, now, late);
    assert_eq!(server.get("/v1/dead-letters"), json!([]));
    println!("{answered} questions answered");
    assert!(answered > 0);
}

/// What documents of one batch say: runs by period, and how often each record is in them.
fn read(documents: &[Value], batch: &str) -> (BTreeMap<(i64, i64), u64>, BTreeMap<String, u64>) {
    let (mut runs, mut records) = (BTreeMap::new(), BTreeMap::new());
    for document in documents.iter().filter(|document| document["head"]["batch"] == batch) {
        let head = &document["head"];
        if head["correction_of"].is_null() {
            *runs.entry((ns(&head["from"]), ns(&head["to"]))).or_default() += 1;
        }
        for row in document["rows"].as_array().expect("rows") {
            *records.entry(row["id"].as_str().expect("an id").to_owned()).or_default() += 1;
        }
    }
    (runs, records)
}

fn documents_hold_every_hour(site: &Site, now: u64, late: u64) {
    let erp = site.erp();
    let every =
        |key: &str, count: u64| (1..=count).map(|n| (format!("{key}-{n}"), 1)).collect::<BTreeMap<String, u64>>();
    let (wanted_now, wanted_late) = (every("now", now), every("late", late));
    wait_long("every hour is in a document", || {
        let documents = erp.bodies("/batches");
        let (_, minutely) = read(&documents, "minutely");
        let (_, desk) = read(&documents, "desk");
        (wanted_now.keys().all(|id| minutely.contains_key(id)) && wanted_late.keys().all(|id| desk.contains_key(id)))
            .then_some(())
    });
    let documents = erp.bodies("/batches");
    let (runs, records) = read(&documents, "minutely");
    let mut end = 0;
    for ((from, to), times) in &runs {
        assert_eq!(*times, 1, "the period from {from} to {to} has {times} runs");
        assert!(*from >= end && from < to, "periods overlap: {runs:?}");
        end = *to;
    }
    assert_eq!(records, wanted_now, "minutely");
    println!("minutely: {} runs; {} documents in all, {now} and {late} hours in them", runs.len(), documents.len());
    let (runs, records) = read(&documents, "desk");
    assert_eq!((runs.len(), runs.values().sum::<u64>()), (1, 1), "{runs:?}");
    assert_eq!(records, wanted_late, "desk");
    same_on_every_try(&erp.received("/batches"));
}

/// A tag of the oven and one request that writes it.
fn oven(site: &Site) -> String {
    format!(
        "[[source]]\nname = \"oven\"\nkind = \"opcua\"\naddress = {:?}\nsecurity = \"None\"\npath = \"site/oven\"\n\
         publishing = \"100ms\"\n\n[[source.tag]]\nname = \"setpoint\"\nnode = \"nsu=urn:riverside:oven;s=SetPoint\"\n\n\
         [[request]]\nname = \"oven-setpoint\"\ntimeout = \"3s\"\n\
         write = {{ source = \"oven\", tag = \"setpoint\", range = [20, 240], read_back = \"1s\" }}\n",
        site.at.oven
    )
}

/// 1. A caller writes one set point after the other, each another value.
/// 2. Millstream is killed at a random moment of a write.
/// 3. Whatever the oven then has was intended, and the audit says so; a write that was answered is
///    there, unless a later one followed it; no write was made twice.
#[test]
fn killed_while_it_writes_to_a_device() {
    let mut random = Random(seed());
    let site = Site::start();
    let mut server = Server::start_in("UTC", &oven(&site));
    let url = server.url("/v1/requests/oven-setpoint");
    let value = |n: u64| 20.0 + n as f64 / 16.0;
    let (mut n, mut answered, mut unanswered_but_done, mut answered_in_time) = (0, 0, 0, 0);
    for kill in 1..=DEVICE_KILLS {
        let took = wait_for("the oven takes writes", || {
            n += 1;
            let began = Instant::now();
            let answer = post(&url, &[], &json!({ "value": value(n) }))?;
            answer.is_good().then(|| {
                answered = n;
                began.elapsed()
            })
        });
        n += 1;
        let (at, body) = (url.clone(), json!({ "value": value(n) }));
        let writing = std::thread::spawn(move || post(&at, &[], &body).is_some_and(|answer| answer.is_good()));
        std::thread::sleep(took * random.below(100) as u32 / 100);
        server.kill();
        if writing.join().expect("no panic") {
            answered = n;
            answered_in_time += 1;
        }
        let there = site.set_point();
        server.run();
        let intended = server.audit().iter().any(|line| {
            line["after"] == there && line["outcome"].as_str().is_some_and(|outcome| outcome.starts_with("intended"))
        });
        assert!(intended, "kill {kill}: the oven has {there}, which nobody meant to write:\n{:?}", server.audit());
        assert!(
            there >= value(answered) && there <= value(n),
            "kill {kill}: the oven has {there}, answered was {}",
            value(answered)
        );
        unanswered_but_done += u64::from(there > value(answered));
    }
    let lines = server.audit();
    for wanted in 1..=n {
        let times = lines
            .iter()
            .filter(|line| {
                line["after"] == value(wanted) && line["outcome"].as_str().is_some_and(|o| o.starts_with("intended"))
            })
            .count();
        assert!(times <= 1, "the write of {} was intended {times} times", value(wanted));
    }
    println!(
        "{DEVICE_KILLS} kills, {n} writes; of those met by a kill {answered_in_time} were answered, and \
         {unanswered_but_done} had their effect and no answer"
    );
}
