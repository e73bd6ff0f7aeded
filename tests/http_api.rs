//! The HTTP API of a running server: what was sent in is answered, in order, page by page, in
//! rollups and after a crash, and what is wrong is refused with words that help.

mod support;

use client::{Options, Producer, TagRequest, ValueKind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use support::history::{Stored, ns};
use support::{PATIENCE, Server, wait_for};

const SOURCE: &str = "[[source]]\nname = \"rig\"\nkind = \"native\"\npath = \"site/rig\"\n";
const SECOND_NS: i64 = 1_000_000_000;
const JSON: &str = "application/json";

/// Posts a body; answers status, media type and text.
fn post(server: &Server, path: &str, media: &str, body: &str) -> (u16, String, String) {
    let request = ureq::post(server.url(path)).config().http_status_as_error(false).build();
    let mut answer = request.content_type(media).send(body).expect("an answer");
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    (answer.status().as_u16(), kind, answer.body_mut().read_to_string().expect("text"))
}

/// Posts what must be taken.
fn ingest(server: &Server, media: &str, body: &str) {
    let (status, _, said) = post(server, "/v1/ingest", media, body);
    assert_eq!(status, 204, "{said}\n{}", server.log());
}

/// A GET of anything: status, media type and text.
fn get(server: &Server, path: &str, accept: &str) -> (u16, String, String) {
    wait_for(path, || {
        let request = ureq::get(server.url(path)).config().http_status_as_error(false).build();
        let mut answer = request.header("Accept", accept).call().ok()?;
        let kind = answer.headers().get("content-type")?.to_str().ok()?.to_owned();
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().ok()?;
        (status != 503).then_some((status, kind, text))
    })
}

/// A refusal as problem details (RFC 9457) with this status, whose text names all of these words.
fn refused((status, kind, text): (u16, String, String), expected: u16, words: &[&str]) {
    assert_eq!((status, kind.as_str()), (expected, "application/problem+json"), "{text}");
    let problem: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(problem["status"], expected, "{problem}");
    assert!(problem["type"].as_str().is_some_and(|kind| kind.starts_with("urn:millstream:problem:")), "{problem}");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(words.iter().all(|word| detail.contains(word)), "{detail:?} does not name {words:?}");
}

/// What a tag is sent: a saw tooth four times a second over half a minute, with a late sample, two
/// of one time, and one that its sender calls bad, in the order of sending.
fn sent(now: i64) -> Vec<(i64, f64, bool)> {
    let start = (now / (10 * SECOND_NS) - 12) * 10 * SECOND_NS + 125_000_000;
    let mut all: Vec<(i64, f64, bool)> = (0..120_i64)
        .filter(|i| *i != 50)
        .map(|i| (start + i * SECOND_NS / 4, (i % 17) as f64 * 1.5 - 4.0, i != 33))
        .collect();
    all.push((start + 50 * SECOND_NS / 4, 77.25, true));
    all.push((start + 50 * SECOND_NS / 4, -77.25, true));
    all
}

/// Count, min, max, average and last by window, of what is not bad.
fn windows(stored: &[(i64, f64, bool)], every_s: i64) -> BTreeMap<i64, (u64, [f64; 4])> {
    let mut grouped: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for (time, value, _) in stored.iter().filter(|sample| sample.2) {
        grouped.entry(time.div_euclid(every_s * SECOND_NS) * every_s * SECOND_NS).or_default().push(*value);
    }
    let row = |values: Vec<f64>| {
        let fold = |f: fn(f64, f64) -> f64| values.iter().copied().reduce(f).unwrap_or(f64::NAN);
        let average = values.iter().sum::<f64>() / values.len() as f64;
        (values.len() as u64, [fold(f64::min), fold(f64::max), average, fold(|_, last| last)])
    };
    grouped.into_iter().map(|(start, values)| (start, row(values))).collect()
}

/// Everything that the API says about a tag, against what was sent.
fn answers_are(server: &Server, tag: &str, sent: &[(i64, f64, bool)]) {
    let mut expected = sent.to_vec();
    expected.sort_by_key(|sample| sample.0);
    let (from, to) = (expected[0].0, expected[expected.len() - 1].0 + 1);
    let as_sent = |sample: &Stored| (sample.time, sample.value.as_f64(), sample.is_good());
    // a bad sample has no value to show
    let shown: Vec<_> = expected.iter().map(|(time, value, good)| (*time, good.then_some(*value), *good)).collect();
    for limit in [7, 50, 100_000] {
        let stored: Vec<_> = server.history_by(tag, from, to, limit).samples.iter().map(as_sent).collect();
        let differs = stored.iter().zip(&shown).find(|(stored, sent)| stored != sent);
        assert_eq!((differs, stored.len()), (None, shown.len()), "{tag} in pages of {limit}: stored and sent");
    }
    let part: Vec<_> = server.history(tag, shown[10].0, shown[20].0).samples.iter().map(as_sent).collect();
    assert_eq!(part, shown[10..20], "{tag}: from is in, to is out");
    for every in [1, 10] {
        let answer = server.ask(&format!("/v1/rollups?tag={tag}&from={from}&to={to}&every={every}s"));
        let expected = windows(&expected, every);
        let rows = answer["rollups"].as_array().expect("rows");
        assert_eq!(rows.len(), expected.len(), "{tag} every {every} s: {answer}");
        for (row, (start, (count, numbers))) in rows.iter().zip(expected) {
            assert_eq!((ns(&row["time"]), row["count"].as_u64()), (start, Some(count)), "{row}");
            for (name, number) in ["min", "max", "avg", "last"].iter().zip(numbers) {
                let said = row[*name].as_f64().unwrap_or(f64::NAN);
                assert!((said - number).abs() < 1e-9, "{tag} every {every} s: {name} is {said}, not {number}: {row}");
            }
        }
    }
}

/// 1. Samples go in as a JSON array and as NDJSON, in an order of which their times know nothing.
/// 2. Latest, samples in pages and rollups are what the test makes of what it sent.
/// 3. The server is killed and started again: the same, now from what it recovered.
/// 4. More samples, and the same again: recovered and new ones stand in one answer.
fn what_was_sent_is_answered(cores: usize, io: &str) {
    let mut server = Server::start_with(SOURCE, cores, io);
    let now = server.now();
    let mut all = sent(now);
    let tags: Vec<String> = (0..4).map(|i| format!("site/rig/wave{i}")).collect();
    let row = |tag: &String, (time, value, good): &(i64, f64, bool)| {
        json!({ "tag": tag, "time": time, "value": value, "quality": if *good { "Good" } else { "Bad" } }).to_string()
    };
    for (half, media, joint) in [(&all[..60], JSON, ","), (&all[60..], "application/x-ndjson", "\n")] {
        let rows: Vec<String> = half.iter().flat_map(|sample| tags.iter().map(move |tag| row(tag, sample))).collect();
        let body = if media == JSON { format!("[{}]", rows.join(joint)) } else { rows.join(joint) };
        ingest(&server, media, &body);
    }
    let newest = all.iter().max_by_key(|sample| sample.0).expect("samples").1;
    for tag in &tags {
        let latest = server.latest(tag).expect("a latest value");
        assert_eq!(latest["kind"], "f64", "{latest}");
        answers_are(&server, tag, &all);
    }
    server.kill();
    server.run();
    tags.iter().for_each(|tag| answers_are(&server, tag, &all));
    let late = (all[20].0 + 1_000_000, newest + 0.5, true);
    let fresh = (server.now() / SECOND_NS * SECOND_NS - 3 * SECOND_NS, 1234.5, true);
    let rows: Vec<String> =
        [late, fresh].iter().flat_map(|sample| tags.iter().map(move |tag| row(tag, sample))).collect();
    ingest(&server, JSON, &format!("[{}]", rows.join(",")));
    all.extend([late, fresh]);
    for tag in &tags {
        answers_are(&server, tag, &all);
        let latest = server.latest(tag).expect("a latest value");
        assert_eq!((&latest["value"], &latest["quality"]), (&1234.5.into(), &"Good".into()), "{latest}");
    }
}

#[test]
fn what_was_sent_is_answered_also_after_a_kill() {
    what_was_sent_is_answered(1, "auto");
}

#[test]
fn what_was_sent_is_answered_also_after_a_kill_with_two_shards() {
    what_was_sent_is_answered(2, "auto");
}

#[test]
fn what_was_sent_is_answered_also_after_a_kill_with_epoll() {
    what_was_sent_is_answered(2, "epoll");
}

/// Influx's line protocol is how Telegraf and many devices write; `db` names the native source.
#[test]
fn line_protocol_is_taken_below_the_source_that_db_names() {
    let server = Server::start(SOURCE);
    let time = server.now() - SECOND_NS;
    let lines = format!(
        "machine,line=1,cell=a temperature=21.5,count=7i,on=t,note=\"a, b\" {time}\n# a comment\n\nplain v=1 {time}\n"
    );
    let (status, _, said) = post(&server, "/write?db=rig", "text/plain", &lines);
    assert_eq!(status, 204, "{said}");
    for (tag, kind, value) in [
        ("machine/a/1/temperature", "f64", json!(21.5)),
        ("machine/a/1/count", "i64", json!(7)),
        ("machine/a/1/on", "bool", json!(true)),
        ("machine/a/1/note", "text", json!("a, b")),
        ("plain/v", "f64", json!(1.0)),
    ] {
        let latest = server.latest(&format!("site/rig/{tag}")).unwrap_or_else(|| panic!("no tag {tag}"));
        assert_eq!((&latest["value"], &latest["kind"]), (&value, &kind.into()), "{latest}");
        assert_eq!(ns(&latest["source_time"]), time, "{latest}");
    }
    let seconds = format!("plain v=2 {}\n", time / SECOND_NS);
    let (status, _, said) = post(&server, "/api/v2/write?bucket=rig&precision=s", "text/plain", &seconds);
    assert_eq!(status, 204, "{said}");
    refused(post(&server, "/write?db=nobody", "text/plain", &lines), 404, &["nobody", "rig"]);
    refused(post(&server, "/write", "text/plain", &lines), 400, &["db", "rig"]);
    refused(post(&server, "/write?db=rig", "text/plain", "good v=1\nbad\n"), 400, &["line 2"]);
    assert!(server.latest("site/rig/good/v").is_none(), "a part of a wrong body was taken");
}

#[test]
fn what_is_wrong_is_refused_as_a_whole_with_what_would_be_right() {
    let server = Server::start(SOURCE);
    let good = "{\"tag\":\"site/rig/a\",\"value\":1}";
    let send = |body: &str| post(&server, "/v1/ingest", JSON, body);
    refused(send(&format!("[{good},{{\"tag\":\"elsewhere/a\",\"value\":1}}]")), 422, &["element 2", "site/rig"]);
    refused(send(&format!("[{good}")), 400, &["element"]);
    refused(send("[{\"tag\":\"site/rig/a\",\"valu\":1}]"), 400, &["element 1", "valu"]);
    refused(send("[{\"tag\":\"site/rig/a\",\"value\":null}]"), 400, &["element 1", "value"]);
    refused(send("[{\"tag\":\"site/rig/a b\",\"value\":1}]"), 400, &["element 1"]);
    refused(send(&format!("{good}\nnot JSON\n")), 400, &["line 2"]);
    assert!(server.latest("site/rig/a").is_none(), "a part of a wrong body was taken");
    ingest(&server, JSON, &format!("[{good}]"));
    refused(send("[{\"tag\":\"site/rig/a\",\"value\":\"text\"}]"), 422, &["site/rig/a", "i64", "text"]);
    refused(get(&server, "/v1/latest?mach=**", JSON), 400, &["mach", "match"]);
    refused(get(&server, "/v1/samples?tag=site/rig/b", JSON), 404, &["site/rig/b", "site/rig/a"]);
    refused(get(&server, "/v1/samples?tag=site/rig/a&from=yesterday", JSON), 400, &["yesterday"]);
    refused(get(&server, "/v1/samples?tag=site/rig/a&after=7", JSON), 400, &["after"]);
    refused(get(&server, "/v1/rollups?tag=site/rig/a&every=1500ms", JSON), 400, &["1500ms"]);
    refused(get(&server, "/v1/latest", "image/png"), 406, &["text/csv"]);
    refused(get(&server, "/v1/nothing", JSON), 404, &["/v1/nothing"]);
    assert_eq!(server.latest("site/rig/a").expect("it is there")["value"], 1);
}

#[test]
fn every_kind_of_value_comes_back_as_it_was_also_as_csv() {
    let mut server = Server::start(SOURCE);
    let time = server.now() - SECOND_NS;
    let values = [
        ("whole", "i64", json!(-9_007_199_254_740_993_i64)),
        ("real", "f64", json!(0.1)),
        ("yes", "bool", json!(true)),
        ("text", "text", json!("=1+1, \"quoted\" é")),
    ];
    let rows = values.each_ref().map(|(n, _, v)| json!({ "tag": format!("site/rig/{n}"), "value": v, "time": time }));
    ingest(&server, JSON, &json!(rows).to_string());
    for restarted in [false, true] {
        for (name, kind, value) in &values {
            let tag = format!("site/rig/{name}");
            let latest = server.latest(&tag).expect("a value");
            assert_eq!((&latest["kind"], &latest["value"]), (&json!(kind), value), "restarted: {restarted}");
            assert_eq!(server.history(&tag, time, time + 1).samples[0].value, *value, "restarted: {restarted}");
        }
        let (_, kind, text) = get(&server, "/v1/latest?match=site/rig/*", "text/csv");
        assert!(kind.starts_with("text/csv") && text.starts_with("tag,time,"), "{kind}: {text}");
        assert_eq!(text.lines().count(), 1 + values.len(), "{text}");
        assert!(text.contains("\"'=1+1, \"\"quoted\"\" é\""), "a formula stands in the CSV: {text}");
        let path = format!("/v1/samples?tag=site/rig/whole&from={time}&to=now");
        let (_, _, text) = get(&server, &path, "text/csv");
        assert!(text.starts_with("time,source_time,value,quality\r\n") && text.contains(",-9007199254740993,Good"));
        let rows = server.ask(&format!("/v1/rollups?tag=site/rig/yes&from={time}&every=1s"))["rollups"].clone();
        assert_eq!((&rows[0]["count"], &rows[0]["avg"]), (&json!(1), &json!(1.0)), "true counts as 1: {rows}");
        server.kill();
        server.run();
    }
}

/// The lines of Prometheus text: every sample's family has a TYPE line before it, and its value is a number.
#[test]
fn metrics_openapi_and_health_are_what_other_programs_read() {
    let server = Server::start(SOURCE);
    ingest(&server, JSON, "[{\"tag\":\"site/rig/a\",\"value\":1}]");
    assert_eq!(get(&server, "/healthz", JSON).0, 200);
    assert_eq!(get(&server, "/readyz", JSON).0, 200);
    let (status, kind, text) = get(&server, "/metrics", "text/plain");
    assert!(status == 200 && kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let mut families: BTreeSet<String> = BTreeSet::new();
    let mut samples = 0;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# HELP")) {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge", "summary", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(name.to_owned()), "{name} has two TYPE lines");
            continue;
        }
        let name = line.split(['{', ' ']).next().expect("a name");
        let base = ["_sum", "_count", "_bucket"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(families.contains(name) || families.contains(base), "no TYPE before {line}");
        let value = line.rsplit(' ').next().expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        samples += 1;
    }
    assert!(samples > 20 && text.contains("millstream_source_state{source=\"rig\""), "{text}");
    let document = server.ask("/openapi.json");
    let paths = document["paths"].as_object().expect("paths");
    for path in ["/healthz", "/readyz", "/metrics", "/v1/latest", "/v1/samples", "/v1/rollups", "/v1/tags"] {
        assert!(paths[path]["get"]["summary"].is_string(), "{path} is not described");
    }
    for path in ["/v1/ingest", "/write", "/api/v2/write"] {
        assert!(paths[path]["post"]["responses"]["204"].is_object(), "{path} is not described");
    }
    assert!(paths.contains_key("/v1/stream") && document["openapi"].as_str().is_some_and(|v| v.starts_with('3')));
}

#[test]
fn a_stream_says_what_changed() {
    let server = Server::start_with(SOURCE, 2, "auto");
    ingest(&server, JSON, "[{\"tag\":\"site/rig/a\",\"value\":1},{\"tag\":\"site/rig/b\",\"value\":5}]");
    let request = ureq::get(server.url("/v1/stream?match=site/rig/*")).config().timeout_recv_body(Some(PATIENCE));
    let answer = request.build().call().expect("a stream");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut lines = BufReader::new(answer.into_body().into_reader()).lines();
    let mut event = || loop {
        let line = lines.next().expect("the stream goes on").expect("text");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str::<Value>(data).expect("JSON");
        }
    };
    let value =
        |rows: &Value, tag: &str| rows.as_array()?.iter().find(|row| row["tag"] == tag).map(|row| row["value"].clone());
    let first = event();
    assert_eq!(value(&first, "site/rig/a"), Some(json!(1)), "{first}");
    assert_eq!(value(&first, "site/rig/b"), Some(json!(5)), "{first}");
    ingest(&server, JSON, "[{\"tag\":\"site/rig/a\",\"value\":2}]");
    let second = event();
    assert_eq!((value(&second, "site/rig/a"), value(&second, "site/rig/b")), (Some(json!(2)), None), "{second}");
}

/// A producer that was cut off does not know which of its frames are stored, and sends them again:
/// counted twice they would double a shift's production.
///
/// 1. Scans are sent, acknowledged and read back; the server is killed and started under the
///    producer, which goes on by itself.
/// 2. A connection by hand sends all its frames once more, with other values, and a new one.
/// 3. Only the new one is stored.
fn native_frames_are_counted_once(cores: usize, io: &str) {
    const PRODUCER: u64 = 77;
    let mut server = Server::start_with(SOURCE, cores, io);
    let address = format!("127.0.0.1:{}", server.native);
    let mut producer = Producer::connect(&address, Options::new(PRODUCER, "rig")).expect("a connection");
    let requests = ["a", "b"].map(|name| TagRequest::new(format!("native/{name}"), ValueKind::F64).unit("mm/s"));
    let tags = producer.register(&requests).expect("numbers");
    let start = client::now().0 - 100 * SECOND_NS;
    for i in 0..60 {
        if i == 30 {
            server.kill();
            server.run();
        }
        let time = client::TimestampNs(start + i * SECOND_NS);
        let sent = producer.scan(tags[0], Some(time), &[i as f64, -(i as f64)]).expect("taken");
        producer.flush().expect("written");
        if i % 20 == 19 {
            producer.wait_acknowledged(sent, PATIENCE).expect("an acknowledgement");
        }
    }
    assert!(producer.stats().reconnects > 0 && producer.acknowledged() == producer.last());
    let last = producer.last().0;
    drop(producer);

    let mut frames = frame::Builder::new();
    let hello = frame::Hello { source: "rig".into(), acks: true, name: "by hand".into() };
    let id = client::ProducerId(PRODUCER);
    frames.hello(id, client::Sequence(0), &hello).expect("a frame");
    for sequence in 1..=last + 1 {
        let time = start + (sequence as i64 - 1) * SECOND_NS;
        let values = vec![1e6_f64.to_bits(); 2];
        let scan = frame::Scan { source_time_ns: time, tag_first: tags[0].0, values, qualities: vec![] };
        frames.scan(id, client::Sequence(sequence), &scan).expect("a frame");
    }
    let mut stream = TcpStream::connect(&address).expect("a connection");
    stream.write_all(frames.bytes()).expect("written");
    // a value is shown when it is there, and is found in the past when it is on the disk
    let past = |tag: &str| server.history(&format!("site/rig/native/{tag}"), start, server.now()).samples;
    wait_for("the new frame is stored", || past("b").iter().any(|sample| sample.value == 1e6).then_some(()));
    for (tag, sign) in [("a", 1.0), ("b", -1.0)] {
        let values: Vec<f64> = past(tag).iter().filter_map(|sample| sample.value.as_f64()).collect();
        let expected: Vec<f64> = (0..60).map(|i| sign * f64::from(i)).chain([1e6]).collect();
        assert_eq!(values, expected, "native/{tag}");
    }
    let counters = server.source("rig")["counters"].clone();
    wait_for(&format!("the repeats are counted: {counters}"), || {
        (server.source("rig")["counters"]["duplicates"].as_u64() >= Some(last)).then_some(())
    });
}

#[test]
fn native_frames_are_acknowledged_and_counted_once() {
    native_frames_are_counted_once(1, "auto");
}

#[test]
fn native_frames_are_acknowledged_and_counted_once_with_two_shards_and_epoll() {
    native_frames_are_counted_once(2, "epoll");
}
