//! Samples in: after the commit, all or none, within limits.

mod fake;

use fake::{
    Fake,
    client::{PATIENCE, Rig},
};
use millstream_http::{IngestError, Limits};
use model::{Quality, Refused, TimestampNs, Value};
use proptest::prelude::*;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

#[tokio::test]
async fn the_answer_waits_for_the_commit() {
    let rig = Rig::start().await;
    rig.fake.committing.send_replace(false);
    let body = r#"[{"tag":"a/b","value":1.5}]"#;
    let mut stream = rig.connect().await;
    let head = format!("POST /v1/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
    let mut answer = [0; 64];
    let early = timeout(Duration::from_millis(300), stream.read(&mut answer)).await;
    assert!(early.is_err(), "an answer came before the commit");
    assert_eq!(rig.fake.ingested.lock().expect("lock").len(), 1, "the backend had it all the while");
    rig.fake.committing.send_replace(true);
    let read = timeout(PATIENCE, stream.read(&mut answer)).await.expect("in time").expect("readable");
    assert!(answer[..read].starts_with(b"HTTP/1.1 204 "));
}

#[tokio::test]
async fn an_array_and_ndjson_mean_the_same() {
    let rig = Rig::start().await;
    let rows = [
        r#"{"tag":"a/b","value":1.5,"time":"1970-01-01T00:00:01Z"}"#,
        r#"{"tag":"a/c","value":7,"time":5,"quality":"Uncertain"}"#,
        r#"{"tag":"a/d","value":true,"quality":2147483648}"#,
        r#"{"tag":"a/e","value":"text"}"#,
    ];
    for body in [format!("[{}]", rows.join(",\n")), rows.join("\n"), format!("{}\r\n\r\n", rows.join("\r\n"))] {
        assert_eq!(rig.post("/v1/ingest", &body).await.status, 204);
        let taken = std::mem::take(&mut *rig.fake.ingested.lock().expect("lock"));
        let seen: Vec<_> = taken.iter().map(|one| (one.time.map(|t| t.0), one.value.clone(), one.quality.0)).collect();
        assert_eq!(
            seen,
            [
                (Some(1_000_000_000), Value::F64(1.5), 0),
                (Some(5), Value::I64(7), 0x4000_0000),
                (None, Value::Bool(true), 0x8000_0000),
                (None, Value::Text("text".into()), 0),
            ]
        );
    }
    assert_eq!(rig.post("/v1/ingest", "[]").await.status, 204);
    assert_eq!(rig.post("/v1/ingest", "").await.status, 204);
}

#[tokio::test]
async fn a_wrong_row_refuses_the_body_and_is_named() {
    let rig = Rig::start().await;
    let good = r#"{"tag":"a/b","value":1}"#;
    for (body, place) in [
        (format!("[{good},{{\"tag\":\"a b\",\"value\":1}}]"), "element 2: tag"),
        (format!("[{good},{{\"tag\":\"a\"}}]"), "element 2: missing field `value`"),
        (format!("[{good},{good}"), "element 2: neither"),
        (format!("[{good} {good}]"), "element 1: neither"),
        (format!("[{good},]"), "element 2"),
        (format!("[{good}] x"), "follows the end"),
        ("[".to_owned(), "element 1: the array has no end"),
        (format!("{good}\n{{\"tag\":\"a/b\",\"valeu\":1}}"), "line 2: unknown field"),
        (format!("{good}\n{{\"tag\":\"a/b\",\"value\":null}}"), "line 2: value is"),
        (format!("{good}\n{{\"tag\":\"a/b\",\"value\":18446744073709551615}}"), "line 2: value 18446744073709551615"),
        (format!("{good}\n{{\"tag\":\"a/b\",\"value\":1,\"time\":\"noon\"}}"), "line 2: time"),
        (format!("{good}\n{{\"tag\":\"a/b\",\"value\":1,\"quality\":\"Nice\"}}"), "line 2: quality"),
        (format!("{{\"tag\":\"a/b\",\"value\":\"{}\"}}", "x".repeat(2_000)), "line 1: the text has 2000 bytes"),
        ("[".repeat(100_000), "element 1"),
    ] {
        let detail = rig.post("/v1/ingest", &body).await.problem(400, "bad-body");
        assert!(detail.contains(place), "{detail} does not hold {place}");
    }
    assert!(rig.fake.ingested.lock().expect("lock").is_empty(), "nothing of a refused body is taken");
}

#[tokio::test]
async fn what_the_backend_refuses_is_said() {
    let rig = Rig::start().await;
    let body = "{\"tag\":\"a/b\",\"value\":1}\n\n{\"tag\":\"a/c\",\"value\":1}";
    for (refusal, status, kind, word) in [
        (IngestError::Sample { index: 1, reason: "no such tag".into() }, 422, "sample-refused", "line 3: no such tag"),
        (IngestError::Refused(Refused::Busy), 429, "busy", "slow down"),
        (IngestError::Refused(Refused::Disk), 503, "disk", "disk"),
        (IngestError::Refused(Refused::Limit), 422, "tag-limit", "limit"),
        (IngestError::Refused(Refused::Closed), 503, "stopping", "shutting down"),
    ] {
        *rig.fake.refusal.lock().expect("lock") = Some(refusal);
        let answer = rig.post("/v1/ingest", body).await;
        assert!(answer.problem(status, kind).contains(word), "{}", answer.body);
        assert_eq!(answer.headers.contains_key("retry-after"), status != 422);
    }
}

#[tokio::test]
async fn line_protocol_lands_below_the_native_source() {
    let rig = Rig::start().await;
    let body = "# a comment\nmachine,line=2,hall=b\\ 1 temp=21.5,count=3i 1500\n\nmachine on=t\n";
    for address in ["/write?db=vibration-rig&precision=ms", "/api/v2/write?bucket=vibration-rig&org=x&precision=ms"] {
        assert_eq!(rig.post(address, body).await.status, 204, "{address}");
        let taken = std::mem::take(&mut *rig.fake.ingested.lock().expect("lock"));
        let seen: Vec<_> = taken.iter().map(|one| (one.tag.as_str(), one.time, one.value.clone())).collect();
        let time = Some(TimestampNs(1_500_000_000));
        assert_eq!(
            seen,
            [
                ("riverside/vibration/machine/b%201/2/temp", time, Value::F64(21.5)),
                ("riverside/vibration/machine/b%201/2/count", time, Value::I64(3)),
                ("riverside/vibration/machine/on", None, Value::Bool(true)),
            ]
        );
        assert!(taken.iter().all(|one| one.quality == Quality::GOOD));
    }
    let detail = rig.post("/write?db=vibration-rig", "m f=1\nm f=\n").await.problem(400, "bad-body");
    assert!(detail.starts_with("line 2: f="), "{detail}");
    let detail = rig.post("/write?db=nowhere", "m f=1").await.problem(404, "unknown-source");
    assert!(detail.contains("vibration-rig") || detail.contains("native"), "{detail}");
    rig.post("/write", "m f=1").await.problem(400, "bad-parameter");
    rig.post("/write?db=vibration-rig&precision=day", "m f=1").await.problem(400, "bad-parameter");
    rig.post("/write?db=vibration-rig&bucked=x", "m f=1").await.problem(400, "unknown-parameter");
    assert!(rig.fake.ingested.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn bodies_are_bounded_before_they_are_read() {
    let limits =
        Limits { ingest_body_bytes_max: 100_000, body_timeout: Duration::from_millis(300), ..Limits::default() };
    let rig = Rig::with(limits, Fake::plant(0)).await;
    rig.post("/v1/ingest", &" ".repeat(100_001)).await.problem(413, "body-too-large");
    let long = format!("{{\"tag\":\"a/b\",\"value\":\"{}\"}}", "x".repeat(70_000));
    assert!(rig.post("/v1/ingest", &long).await.problem(400, "bad-body").contains("at most 65536"));
    let zipped = rig.call("POST", "/v1/ingest", &[("Content-Encoding", "gzip")], "x").await;
    zipped.problem(415, "compressed-body");
    let broken = rig.call("POST", "/v1/ingest", &[], "\u{0}").await;
    broken.problem(400, "bad-body");
    // A body that never comes whole.
    let mut stream = rig.connect().await;
    let head = "POST /v1/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n[";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time").expect("readable");
    assert!(answer.starts_with(b"HTTP/1.1 408 "));
    let metrics = rig.get("/metrics").await.body;
    for name in ["ingest-body-bytes", "line-bytes", "body-time"] {
        assert!(metrics.contains(&format!("millstream_http_limits_total{{limit=\"{name}\"}} 1")), "{name} is counted");
    }
}

#[tokio::test]
async fn a_commit_that_never_comes_is_not_a_success() {
    let limits = Limits { commit_timeout: Duration::from_millis(100), ..Limits::default() };
    let rig = Rig::with(limits, Fake::plant(0)).await;
    rig.fake.committing.send_replace(false);
    let detail = rig.post("/v1/ingest", "{\"tag\":\"a/b\",\"value\":1}").await.problem(504, "commit-timeout");
    assert!(detail.contains("not known"), "{detail}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Whatever comes, the answer is a success or a problem, never a panic or a hang.
    #[test]
    fn no_body_breaks_ingest(body in r#"[\[\]{}",:a-z0-9\\. \n=]{0,200}"#) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let rig = Rig::start().await;
            for path in ["/v1/ingest", "/write?db=vibration-rig"] {
                let answer = rig.post(path, &body).await;
                assert!(answer.status == 204 || answer.status == 400, "{}", answer.status);
            }
        });
    }
}
