//! Events: read by offset, published once, and followed live.

mod fake;

use fake::{
    Fake,
    client::{PATIENCE, Rig, read_until},
};
use millstream_http::{FlowError, Limits, Refusal};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

fn offsets(list: &Json) -> Vec<u64> {
    list.as_array().expect("a list").iter().map(|one| one["offset"].as_u64().expect("an offset")).collect()
}

#[tokio::test]
async fn events_are_read_by_offset() {
    let rig = Rig::start().await;
    let page = rig.get("/v1/events?limit=2").await.json();
    assert_eq!((offsets(&page["events"]), &page["next"]), (vec![10, 11], &json!(12)));
    let rest = rig.get("/v1/events?from=12").await.json();
    assert_eq!((offsets(&rest["events"]), &rest["next"]), (vec![12, 13, 14], &json!(126)));
    assert_eq!(rest["gap"], Json::Null);
    let event = &rest["events"][0];
    assert_eq!((&event["specversion"], &event["datacontenttype"]), (&json!("1.0"), &json!("application/json")));
    assert_eq!((&event["type"], &event["severity"]), (&json!("machine-fault"), &json!(900)));
    assert!(event.get("subject").is_none(), "attributes that are not there are left out");
    assert_eq!(rig.get("/v1/events?from=now").await.json(), json!({ "events": [], "next": 126, "gap": null }));
    rig.flows.raise("x-1", "order-late");
    let late = rig.get("/v1/events?type=order-late").await.json();
    assert_eq!(offsets(&late["events"]), [126]);
    rig.flows.forget(13);
    let after = rig.get("/v1/events?from=11").await.json();
    assert_eq!((&after["gap"], offsets(&after["events"])), (&json!({ "from": 11, "to": 13 }), vec![13, 14, 126]));
    for wrong in ["from=yesterday", "from=-1", "limit=0", "limit=10001"] {
        rig.get(&format!("/v1/events?{wrong}")).await.problem(400, "bad-parameter");
    }
    let csv = rig.call("GET", "/v1/events?limit=1", &[("Accept", "text/csv")], "").await;
    assert!(csv.body.starts_with("offset,time,type,source,id,subject,severity,data\r\n13,"), "{}", csv.body);
}

#[tokio::test]
async fn an_event_is_published_once() {
    let rig = Rig::start().await;
    let body = r#"{"id":"b-1","source":"mes/line1","type":"order-late","severity":300,"data":{"minutes":12}}"#;
    let first = rig.post("/v1/events", body).await;
    assert_eq!(first.status, 202);
    assert_eq!(first.json(), json!([{ "id": "b-1", "offset": 126, "duplicate": false }]));
    assert_eq!(rig.post("/v1/events", body).await.json(), json!([{ "id": "b-1", "offset": 126, "duplicate": true }]));
    let other = body.replace("mes/line1", "mes/line2");
    assert_eq!(rig.post("/v1/events", &other).await.json()[0]["duplicate"], false, "the pair with the source counts");
    let both = rig.post("/v1/events", &format!("[{body},{}]", body.replace("b-1", "b-2"))).await.json();
    assert_eq!((&both[0]["duplicate"], &both[1]["duplicate"]), (&json!(true), &json!(false)));
    let stored = rig.get("/v1/events?from=126&limit=1").await.json()["events"][0].clone();
    assert_eq!((&stored["data"]["minutes"], &stored["severity"]), (&json!(12), &json!(300)));
    assert_eq!(rig.post("/v1/events", "[]").await.json(), json!([]));
}

#[tokio::test]
async fn an_idempotency_key_stands_for_an_id() {
    let rig = Rig::start().await;
    let body = r#"{"source":"mes","type":"order-late"}"#;
    let key = [("Idempotency-Key", "\"8e03978e\"")];
    let first = rig.call("POST", "/v1/events", &key, body).await.json();
    assert_eq!((&first[0]["id"], &first[0]["duplicate"]), (&json!("8e03978e"), &json!(false)));
    let again = rig.call("POST", "/v1/events", &[("Idempotency-Key", "8e03978e")], body).await.json();
    assert_eq!(again[0]["duplicate"], true);
    let own = r#"{"id":"own","source":"mes","type":"order-late"}"#;
    let many = rig.call("POST", "/v1/events", &key, &format!("[{body},{own},{body}]")).await.json();
    let ids: Vec<&str> = many.as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, ["8e03978e-1", "own", "8e03978e-3"]);
    let made = rig.post("/v1/events", body).await.json();
    assert!(made[0]["id"].as_str().is_some_and(|id| id.starts_with("made-")), "without either, the port makes one");
    for wrong in ["", "\"\"", &"k".repeat(1_025)] {
        rig.call("POST", "/v1/events", &[("Idempotency-Key", wrong)], body).await.problem(400, "bad-header");
    }
}

#[tokio::test]
async fn cloudevents_come_structured_batched_and_binary() {
    let rig = Rig::start().await;
    let one = r#"{"specversion":"1.0","id":"c-1","source":"//erp/orders","type":"com.erp.order","subject":"WO-7",
        "time":"2026-01-31T12:00:00+01:00","datacontenttype":"application/json; charset=utf-8","traceparent":"00-ab-cd-01",
        "offset":99,"data":{"n":1}}"#;
    let structured = [("Content-Type", "application/cloudevents+json; charset=UTF-8")];
    assert_eq!(rig.call("POST", "/v1/events", &structured, one).await.status, 202);
    let batch = [("Content-Type", "application/cloudevents-batch+json")];
    let two = format!("[{},{}]", one.replace("c-1", "c-2"), one.replace("c-1", "c-3"));
    assert_eq!(rig.call("POST", "/v1/events", &batch, &two).await.json().as_array().map(Vec::len), Some(2));
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "c-4"),
        ("ce-source", "//erp/orders"),
        ("ce-type", "com.erp.order"),
        ("ce-subject", "WO-7"),
        ("ce-time", "2026-01-31T11:00:00Z"),
        ("ce-severity", "700"),
        ("ce-traceparent", "Z%C3%BCrich%20%22x%22"),
        ("Content-Type", "application/vnd.erp+json"),
    ];
    assert_eq!(rig.call("POST", "/v1/events", &binary, "{\"n\":1}").await.status, 202);
    let events = rig.get("/v1/events?from=126").await.json()["events"].clone();
    let events = events.as_array().expect("a list");
    assert_eq!(events.len(), 4);
    for event in events {
        assert_eq!((&event["source"], &event["subject"]), (&json!("//erp/orders"), &json!("WO-7")));
        assert_eq!(event["time"], "2026-01-31T11:00:00.000000000Z");
        assert_eq!(event["data"], json!({ "n": 1 }));
    }
    assert_eq!(events[0]["traceparent"], "00-ab-cd-01", "attributes of others are kept");
    assert_eq!((&events[3]["severity"], &events[3]["traceparent"]), (&json!(700), &json!("Zürich \"x\"")));
    assert_eq!(events[0]["offset"], 126, "the offset is given here");
    // An event without data, in binary mode without a body.
    let bare = &binary[..4];
    let bare: Vec<(&str, &str)> = bare.iter().map(|(n, v)| (*n, if *n == "ce-id" { "c-5" } else { *v })).collect();
    assert_eq!(rig.call("POST", "/v1/events", &bare, "").await.status, 202);
}

#[tokio::test]
async fn a_wrong_event_refuses_the_body_and_is_named() {
    let rig = Rig::start().await;
    let good = r#"{"source":"mes","type":"t"}"#;
    for (body, word) in [
        (String::new(), "empty"),
        (format!("[{good},{{\"source\":\"mes\"}}]"), "element 2: type is missing"),
        (format!("[{good},7]"), "element 2: an event is an object"),
        (format!("[{good}"), "element 1: neither"),
        (format!("[{good}] x"), "follows the end"),
        (format!("{good}\n{good}"), "one JSON array"),
        ("{\"source\":1,\"type\":\"t\"}".to_owned(), "source is no text"),
        ("{\"source\":\"\",\"type\":\"t\"}".to_owned(), "source is empty"),
        ("{\"source\":\"a\\nb\",\"type\":\"t\"}".to_owned(), "control"),
        ("{\"source\":\"mes\",\"type\":\"t\",\"specversion\":\"0.3\"}".to_owned(), "write \"1.0\""),
        ("{\"source\":\"mes\",\"type\":\"t\",\"time\":\"noon\"}".to_owned(), "RFC 3339"),
        ("{\"source\":\"mes\",\"type\":\"t\",\"severity\":0}".to_owned(), "1 to 1000"),
        ("{\"source\":\"mes\",\"type\":\"t\",\"severity\":1001}".to_owned(), "1 to 1000"),
        ("{\"source\":\"mes\",\"type\":\"t\",\"work_order\":\"x\"}".to_owned(), "in data"),
        ("{\"source\":\"mes\",\"type\":\"t\",\"minutes\":1.5}".to_owned(), "in data"),
        ("{\"source\":\"mes\",\"type\":\"t\",\"data_base64\":\"AA==\"}".to_owned(), "as JSON"),
        ("{\"source\":\"mes\",\"type\":\"t\",\"datacontenttype\":\"text/xml\"}".to_owned(), "application/json"),
        (format!("{{\"source\":\"{}\",\"type\":\"t\"}}", "s".repeat(1_025)), "at most 1024"),
        ("[".repeat(100_000), "element 1"),
    ] {
        let detail = rig.post("/v1/events", &body).await.problem(400, "bad-body");
        assert!(detail.contains(word), "{detail} does not hold {word}");
    }
    for (media, status, kind) in [
        ("application/cloudevents+xml", 415, "media-type"),
        ("application/cloudevents+json", 400, "bad-body"),
        ("application/cloudevents-batch+json", 400, "bad-body"),
    ] {
        rig.call("POST", "/v1/events", &[("Content-Type", media)], good).await.problem(status, kind);
    }
    let binary = |extra: (&'static str, &'static str)| {
        [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "mes"), ("ce-type", "t"), extra]
    };
    rig.call("POST", "/v1/events", &binary(("Content-Type", "text/plain")), "x").await.problem(415, "media-type");
    rig.call("POST", "/v1/events", &binary(("ce-subject", "%f")), "1").await.problem(400, "bad-body");
    rig.call("POST", "/v1/events", &binary(("ce-id", "2")), "1").await.problem(400, "bad-body");
    rig.call("POST", "/v1/events", &[("ce-id", "1"), ("ce-source", "mes")], "1").await.problem(400, "bad-body");
    assert_eq!(rig.flows.state().next, 126, "nothing of a refused body is taken");
}

#[tokio::test]
async fn events_are_bounded() {
    let rig = Rig::start().await;
    let event = |n: usize| format!("{{\"id\":\"{n}\",\"source\":\"mes\",\"type\":\"t\"}}");
    let of = |count: usize| format!("[{}]", (0..count).map(event).collect::<Vec<_>>().join(","));
    assert_eq!(rig.post("/v1/events", &of(1_000)).await.json().as_array().map(Vec::len), Some(1_000));
    rig.post("/v1/events", &of(1_001)).await.problem(413, "body-too-large");
    let long = |bytes: usize| format!("{{\"source\":\"mes\",\"type\":\"t\",\"data\":\"{}\"}}", "x".repeat(bytes));
    let detail = rig.post("/v1/events", &long(300_000)).await.problem(400, "bad-body");
    assert!(detail.contains("at most 262144"), "{detail}");
    rig.post("/v1/events", &" ".repeat((8 << 20) + 1)).await.problem(413, "body-too-large");
    let many: String = (0..33).map(|n| format!("\"a{n}\":1,")).collect();
    let detail = rig.post("/v1/events", &format!("{{{many}\"source\":\"m\",\"type\":\"t\"}}")).await;
    assert!(detail.problem(400, "bad-body").contains("at most 32"));
    *rig.flows.failure.lock().expect("lock") = Some(FlowError::Refused(Refusal::Disk));
    rig.post("/v1/events", &event(1)).await.problem(503, "disk");
    let metrics = rig.get("/metrics").await.body;
    for name in ["documents", "document-bytes", "documents-body-bytes", "journal-disk"] {
        assert!(metrics.contains(&format!("millstream_http_limits_total{{limit=\"{name}\"}} 1")), "{name} is counted");
    }
}

/// Opens a stream of events.
async fn follow(rig: &Rig, query: &str, headers: &str) -> TcpStream {
    let mut stream = rig.connect().await;
    let head =
        format!("GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

/// The ids of a stream's text, in its order.
fn told(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.trim().parse().ok()).collect()
}

#[tokio::test]
async fn a_stream_carries_what_is_kept_and_then_what_comes() {
    let rig = Rig::start().await;
    let mut stream = follow(&rig, "?from=earliest", "").await;
    let first = read_until(&mut stream, "\"e-5\"").await;
    assert!(first.contains("content-type: text/event-stream") && first.contains("event: machine-fault\n"), "{first}");
    assert_eq!(told(&first), [10, 11, 12, 13, 14]);
    let offset = rig.flows.raise("live", "machine-fault");
    let live = read_until(&mut stream, "\"live\"").await;
    assert_eq!(told(&live), [offset]);
    assert!(live.contains("event: machine-fault\ndata: {\"specversion\":\"1.0\",\"id\":\"live\""), "{live}");
}

#[tokio::test]
async fn a_stream_begins_with_now_where_nothing_is_said() {
    let rig = Rig::start().await;
    let mut stream = follow(&rig, "", "").await;
    read_until(&mut stream, "retry:").await;
    let deadline = Instant::now() + PATIENCE;
    while rig.flows.state().looks < 2 {
        assert!(Instant::now() < deadline, "the reader never looked");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let offset = rig.flows.raise("later", "machine-fault");
    assert_eq!(told(&read_until(&mut stream, "\"later\"").await), [offset]);
}

#[tokio::test]
async fn a_reader_goes_on_behind_what_it_got_last() {
    let rig = Rig::start().await;
    // The header stands over the address, as a browser that reconnects sends both.
    let mut stream = follow(&rig, "?from=earliest", "Last-Event-ID: 12\r\n").await;
    assert_eq!(told(&read_until(&mut stream, "id: 14\n").await), [13, 14]);
    let mut typed = follow(&rig, "?from=10&type=order-late", "").await;
    let offset = rig.flows.raise("x", "order-late");
    assert_eq!(told(&read_until(&mut typed, "\"x\"").await), [offset]);
    let refused = rig
        .call("GET", "/v1/events", &[("Accept", "text/event-stream"), ("Last-Event-ID", "abc")], "")
        .await
        .problem(400, "bad-header");
    assert!(refused.contains("no offset"), "{refused}");
    rig.call("GET", "/v1/events?from=x", &[("Accept", "text/event-stream")], "").await.problem(400, "bad-parameter");
}

#[tokio::test]
async fn what_retention_took_is_a_gap_and_never_silence() {
    let rig = Rig::start().await;
    rig.flows.forget(13);
    let mut stream = follow(&rig, "", "Last-Event-ID: 10\r\n").await;
    let text = read_until(&mut stream, "id: 14\n").await;
    assert!(text.contains("id: 12\nevent: gap\ndata: {\"from\":11,\"to\":13}\n\n"), "{text}");
    assert_eq!(told(&text), [12, 13, 14]);
    // Whoever comes back with the gap's own id misses nothing and is told nothing twice.
    let mut again = follow(&rig, "", "Last-Event-ID: 12\r\n").await;
    let text = read_until(&mut again, "id: 14\n").await;
    assert!(!text.contains("event: gap"), "{text}");
    // An offset of another journal.
    let mut other = follow(&rig, "?from=9000", "").await;
    let text = read_until(&mut other, "id: 14\n").await;
    assert!(text.contains("data: {\"from\":9000,\"to\":13}"), "{text}");
}

#[tokio::test]
async fn nothing_new_costs_heartbeats_and_no_looks() {
    let limits = Limits { heartbeat: Duration::from_millis(50), streams_max: 1, ..Limits::default() };
    let mut rig = Rig::with(limits, Fake::plant(0)).await;
    let mut stream = follow(&rig, "", "").await;
    for _ in 0..4 {
        read_until(&mut stream, ": alive\n\n").await;
    }
    let looks = rig.flows.state().looks;
    for _ in 0..4 {
        read_until(&mut stream, ": alive\n\n").await;
    }
    assert_eq!(rig.flows.state().looks, looks, "it waits to be called");
    // Something that is no event calls it once, and it goes on waiting.
    rig.flows.state().put_record("labour", "L-1", json!({ "entry_id": "L-1" }));
    rig.flows.grow();
    for _ in 0..8 {
        read_until(&mut stream, ": alive\n\n").await;
    }
    let after = rig.flows.state().looks;
    assert!((looks + 1..=looks + 3).contains(&after), "{looks} looks became {after}");
    let full = rig.call("GET", "/v1/events", &[("Accept", "text/event-stream")], "").await;
    full.problem(503, "streams");
    rig.stop().await;
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the stream ends").expect("cleanly");
    assert!(rest.ends_with(b"0\r\n\r\n"), "the last chunk says that this is the end");
}

#[tokio::test]
async fn a_busy_port_is_asked_again_and_a_broken_one_ends_the_stream() {
    let rig = Rig::start().await;
    *rig.flows.failure.lock().expect("lock") = Some(FlowError::Busy);
    let mut stream = follow(&rig, "?from=earliest", "").await;
    read_until(&mut stream, "id: 14\n").await;
    *rig.flows.failure.lock().expect("lock") = Some(FlowError::Failed("segment 4 is damaged".to_owned()));
    let mut broken = follow(&rig, "?from=earliest", "").await;
    let text = read_until(&mut broken, "0\r\n\r\n").await;
    assert!(text.contains("event: failure\ndata: \"the journal could not be read or written: segment 4"), "{text}");
}

/// Fault: a reader that takes nothing for a while.
/// 1. Far more is kept than sockets hold. 2. The reader stops reading. 3. Its server reads no
/// further in the log. 4. The reader goes on, and gets everything in order.
#[tokio::test]
async fn a_slow_reader_makes_no_queue_grow_and_misses_nothing() {
    const COUNT: u64 = 1_500;
    let rig = Rig::start().await;
    let first = {
        let mut state = rig.flows.state();
        let first = state.next;
        for n in 0..COUNT {
            let mut event = fake::story::event(first + n, &format!("big-{n}"), "big", fake::wall());
            event.data = json!("x".repeat(16_000));
            state.events.push(event);
        }
        state.next += COUNT;
        first
    };
    let mut stream = follow(&rig, &format!("?from={first}"), "").await;
    let mut text = read_until(&mut stream, "event: big\n").await;
    let mut before = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let looks = rig.flows.state().looks;
        if looks == before {
            break;
        }
        assert!(Instant::now() < deadline, "it reads on and on");
        before = looks;
    }
    assert!(before * 64 < COUNT, "{before} pages were read for a reader that takes nothing");
    let last = format!("\"big-{}\"", COUNT - 1);
    let mut bytes = vec![0; 256 << 10];
    while !text[text.len().saturating_sub(600 << 10)..].contains(&last) {
        let read = timeout(PATIENCE, stream.read(&mut bytes)).await.expect("in time").expect("readable");
        assert!(read > 0, "the stream ended early");
        text += std::str::from_utf8(&bytes[..read]).expect("ASCII");
    }
    let told = told(&text);
    assert_eq!((told.len() as u64, told.last()), (COUNT, Some(&(first + COUNT - 1))));
    assert!(told.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order, none left out");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Whatever comes, the answer is a success or a problem, never a panic or a hang.
    #[test]
    fn no_body_breaks_what_takes_documents(body in r#"[\[\]{}",:a-z0-9\\. \n=]{0,200}"#) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let rig = Rig::start().await;
            for path in ["/v1/events", "/v1/records/labour", "/v1/requests/oven-setpoint", "/v1/batches/shift-report/run"] {
                let answer = rig.post(path, &body).await;
                assert!(matches!(answer.status, 200..=202 | 400 | 422), "{path}: {}", answer.status);
            }
        });
    }
}
