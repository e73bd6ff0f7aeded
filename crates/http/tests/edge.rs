//! Strangers, floods and slow peers: who is kept out, and that everybody else is served meanwhile.

mod fake;

use fake::{
    Fake,
    client::{PATIENCE, Rig, read_until},
};
use millstream_http::Limits;
use model::{TimestampNs, Value};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

const TEMPERATURE: &str = "riverside/press/line1/press1/temperature";

#[tokio::test]
async fn other_pages_and_other_names_are_refused() {
    let rig = Rig::start().await;
    let own = format!("http://{}", rig.address);
    let host = rig.address.to_string();
    let table: &[(&[(&str, &str)], u16)] = &[
        (&[], 204),
        (&[("Host", "localhost")], 204),
        (&[("Host", &host), ("Origin", &own)], 204),
        (&[("Host", "evil.example")], 403),
        (&[("Host", "evil.example:8080"), ("Origin", "http://evil.example:8080")], 403),
        (&[("Host", "")], 403),
        (&[("Host", "localhost"), ("Host", "evil.example")], 403),
        (&[("Origin", "http://evil.example")], 403),
        (&[("Origin", "http://localhost:3000")], 403),
        (&[("Origin", "null")], 403),
        (&[("Sec-Fetch-Site", "cross-site")], 403),
        (&[("Sec-Fetch-Site", "same-origin")], 204),
        (&[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")], 403),
    ];
    for (headers, status) in table {
        let answer = rig.call("POST", "/v1/ingest", headers, "{\"tag\":\"a/b\",\"value\":1}").await;
        assert_eq!(answer.status, *status, "{headers:?}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{headers:?}");
    }
    let foreign = [("Origin", "http://evil.example")];
    rig.call("GET", "/v1/stream", &foreign, "").await.problem(403, "origin");
    let followed = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")];
    assert_eq!(rig.call("GET", "/", &followed, "").await.status, 200, "a link from elsewhere may be followed");
}

#[tokio::test]
async fn configured_names_are_ours() {
    let limits = Limits { hosts: vec!["edge1.plant.local".to_owned()], ..Limits::default() };
    let rig = Rig::with(limits, Fake::plant(0)).await;
    assert_eq!(rig.call("GET", "/healthz", &[("Host", "edge1.plant.local:8080")], "").await.status, 200);
    rig.call("GET", "/healthz", &[("Host", "edge2.plant.local")], "").await.problem(403, "host");
}

#[tokio::test]
async fn a_stream_says_everything_once_and_then_what_changed() {
    let rig = Rig::start().await;
    let set = |ns: i64, value: f64| {
        let mut set = rig.fake.set.lock().expect("lock");
        for press in 1..=4 {
            let tag = format!("riverside/press/line1/press{press}/temperature");
            set.entry(tag).or_insert((TimestampNs(1), Value::F64(1.0)));
        }
        set.insert(TEMPERATURE.to_owned(), (TimestampNs(ns), Value::F64(value)));
    };
    set(1, f64::NAN);
    let mut stream = rig.connect().await;
    let head = "GET /v1/stream?match=**/temperature HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let first = read_until(&mut stream, "]\n\n").await;
    assert!(first.contains("content-type: text/event-stream") && first.contains("\nid: "), "{first}");
    assert_eq!(first.matches("\"tag\":").count(), 4, "{first}");
    assert!(first.contains("event: latest\n") && first.contains("\"value\":null"));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let started = Instant::now();
    for n in 0..40 {
        set(2 + n, 20.0 + n as f64);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let later = read_until(&mut stream, "59.0").await;
    assert_eq!(later.matches("\"tag\":").count(), later.matches("press1/temperature").count(), "only what changed");
    let events = later.matches("event: latest").count();
    let allowed = started.elapsed().as_millis() / 250 + 2;
    assert!(events as u128 <= allowed, "{events} events, {allowed} allowed");
}

#[tokio::test]
async fn a_stream_carries_states_heartbeats_and_ends_with_the_server() {
    let short = Duration::from_millis(300);
    // The time for a head must not end a stream, which has its head behind it.
    let limits = Limits { heartbeat: short * 3, header_timeout: short, ..Limits::default() };
    let mut rig = Rig::with(limits, Fake::plant(0)).await;
    let mut states = rig.connect().await;
    let head = "GET /v1/stream?with=status,sources,cores HTTP/1.1\r\nHost: localhost\r\n\r\n";
    states.write_all(head.as_bytes()).await.expect("sent");
    let text = read_until(&mut states, "event: cores").await;
    assert!(text.contains("event: status") && text.contains("event: sources"), "{text}");
    let mut quiet = rig.connect().await;
    quiet.write_all(b"GET /v1/stream?match=nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    read_until(&mut quiet, ": alive\n\n").await;
    rig.stop().await;
    let mut rest = Vec::new();
    timeout(PATIENCE, quiet.read_to_end(&mut rest)).await.expect("the stream ends").expect("cleanly");
    assert!(rest.ends_with(b"0\r\n\r\n"), "the last chunk says that this is the end");
}

#[tokio::test]
async fn streams_are_bounded_and_given_back() {
    let limits = Limits { streams_max: 2, heartbeat: Duration::from_millis(100), ..Limits::default() };
    let rig = Rig::with(limits, Fake::plant(0)).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = rig.connect().await;
        stream.write_all(b"GET /v1/stream?match=none HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
        read_until(&mut stream, "retry:").await;
        open.push(stream);
    }
    rig.get("/v1/stream").await.problem(503, "streams");
    drop(open);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = rig.connect().await;
        stream.write_all(b"GET /v1/stream?match=none HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
        if read_until(&mut stream, "\r\n").await.contains(" 200 ") {
            break;
        }
        assert!(Instant::now() < deadline, "the places of closed streams are free again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Fault 65: heads that come byte by byte, and connections that idle, are closed in time.
#[tokio::test]
async fn slow_heads_and_idlers_are_closed() {
    let limits = Limits { header_timeout: Duration::from_millis(400), ..Limits::default() };
    let rig = Rig::with(limits, Fake::plant(0)).await;
    let mut slow = rig.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.expect("sent");
    let mut idle = rig.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    read_until(&mut idle, "\"ok\"").await;
    let mut silent = rig.connect().await;
    for stream in [&mut slow, &mut idle, &mut silent] {
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "a peer that says nothing more was kept");
        assert_eq!(rig.get("/healthz").await.status, 200, "others are served");
    }
}

/// Fault 67: a flood is refused with an answer, and places come back.
#[tokio::test]
async fn connections_are_bounded() {
    let rig = Rig::with(Limits { connections_max: 10, ..Limits::default() }, Fake::plant(0)).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut stream = rig.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
        read_until(&mut stream, "\"ok\"").await;
        held.push(stream);
    }
    let mut refused = rig.connect().await;
    assert!(read_until(&mut refused, "connections").await.starts_with("HTTP/1.1 503 "));
    drop(held);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let metrics = rig.get("/metrics").await.body;
    assert!(metrics.contains("millstream_http_limits_total{limit=\"connections\"} 1"));
    assert!(metrics.contains("millstream_http_connections 1\n"), "closed ones are given back");
}

/// Fault 66: heads that are too large.
#[tokio::test]
async fn large_heads_are_refused() {
    let rig = Rig::start().await;
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "y".repeat(200_000));
    for headers in [many, long] {
        let mut stream = rig.connect().await;
        drop(stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes()).await);
        let mut answer = Vec::new();
        drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time"));
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(rig.get("/healthz").await.status, 200);
}

/// A reader that takes nothing is closed, so that it holds no buffers for ever.
#[tokio::test]
async fn a_peer_that_takes_nothing_is_closed() {
    let limits = Limits { idle_timeout: Duration::from_millis(300), ..Limits::default() };
    let rig = Rig::with(limits, Fake::plant(60_000)).await;
    let mut stream = rig.connect().await;
    stream.write_all(b"GET /v1/latest HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let deadline = Instant::now() + PATIENCE;
    while !rig.get("/metrics").await.body.contains("millstream_http_connections 1\n") {
        assert!(Instant::now() < deadline, "the connection is held");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
