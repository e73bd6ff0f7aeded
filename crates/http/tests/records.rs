//! Business documents in and out, and requests to systems.

mod fake;

use fake::{Fake, SECOND, client::Rig};
use millstream_http::{FlowError, Limits};
use serde_json::{Value as Json, json};
use std::time::Duration;

fn receipt(id: &str, quantity: f64) -> String {
    json!({ "receipt_id": id, "material": "M-1001", "quantity": quantity }).to_string()
}

fn ids(list: &Json) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn a_document_counts_once_and_keeps_its_versions() {
    let rig = Rig::start().await;
    let first = rig.post("/v1/records/goods-receipt", &receipt("GR-7", 5.0)).await;
    assert_eq!(first.status, 201);
    let expected =
        json!([{ "entity": "goods-receipt", "id": "GR-7", "version": 1, "offset": 126, "duplicate": false }]);
    assert_eq!(first.json(), expected);
    let again = rig.post("/v1/records/goods-receipt", &receipt("GR-7", 5.0)).await;
    assert_eq!((again.status, &again.json()[0]["duplicate"]), (200, &json!(true)));
    let changed = rig.post("/v1/records/goods-receipt", &receipt("GR-7", 6.0)).await;
    assert_eq!((changed.status, &changed.json()[0]["version"]), (201, &json!(2)));
    let latest = rig.get("/v1/records/goods-receipt?id=GR-7").await.json();
    assert_eq!((ids(&latest), &latest[0]["body"]["quantity"]), (vec!["GR-7"], &json!(6.0)));
    let all = rig.get("/v1/records/goods-receipt?id=GR-7&version=all").await.json();
    assert_eq!(all.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn an_array_and_lines_are_taken_all_or_none() {
    let rig = Rig::start().await;
    let (a, b) = (receipt("GR-8", 1.0), receipt("GR-9", 2.0));
    let array = rig.post("/v1/records/goods-receipt", &format!("[{a},\n{b}]")).await;
    assert_eq!((array.status, ids(&array.json())), (201, vec!["GR-8", "GR-9"]));
    let lines = rig.post("/v1/records/goods-receipt", &format!("{a}\r\n\r\n{}\n", receipt("GR-10", 3.0))).await;
    let written = lines.json();
    assert_eq!((&written[0]["duplicate"], &written[1]["duplicate"]), (&json!(true), &json!(false)));
    let pretty = "{\n  \"receipt_id\": \"GR-11\",\n  \"material\": \"M-1\",\n  \"quantity\": 1\n}\n";
    assert_eq!(ids(&rig.post("/v1/records/goods-receipt", pretty).await.json()), ["GR-11"]);
    let before = rig.flows.state().records.len();
    // The third line stands on line 4, because one is empty.
    let wrong = format!("{}\n{}\n\n{}", receipt("GR-12", 1.0), receipt("GR-13", -1.0), r#"{"quantity":0}"#);
    let answer = rig.post("/v1/records/goods-receipt", &wrong).await;
    assert!(answer.problem(422, "invalid").contains("3 places"), "{}", answer.body);
    let expected = json!([
        { "line": 2, "path": "/quantity", "text": "is not above 0" },
        { "line": 4, "path": "", "text": "receipt_id is missing" },
        { "line": 4, "path": "/quantity", "text": "is not above 0" },
    ]);
    assert_eq!(answer.json()["errors"], expected);
    let array = format!("[{},{}]", receipt("GR-12", 1.0), receipt("GR-13", -1.0));
    let answer = rig.post("/v1/records/goods-receipt", &array).await;
    assert_eq!(answer.json()["errors"], json!([{ "element": 2, "path": "/quantity", "text": "is not above 0" }]));
    assert_eq!(rig.flows.state().records.len(), before, "nothing of a refused body is taken");
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_body() {
    let rig = Rig::start().await;
    let key = [("Idempotency-Key", "wms-77")];
    let body = receipt("GR-20", 1.0);
    assert_eq!(rig.call("POST", "/v1/records/goods-receipt", &key, &body).await.status, 201);
    let again = rig.call("POST", "/v1/records/goods-receipt", &key, &body).await;
    assert_eq!((again.status, &again.json()[0]["duplicate"]), (200, &json!(true)));
    let other = rig.call("POST", "/v1/records/goods-receipt", &key, &receipt("GR-21", 1.0)).await;
    assert!(other.problem(409, "conflict").contains("other documents"));
}

#[tokio::test]
async fn what_is_no_document_is_said() {
    let rig = Rig::start().await;
    let good = receipt("GR-30", 1.0);
    for (body, word) in [
        (String::new(), "empty"),
        ("7".to_owned(), "an object"),
        (format!("[{good},[1]]"), "element 2: a document is an object"),
        (format!("{good}\n{{\"a\":"), "line 2"),
        (format!("{good}\n\n\nx"), "line 4"),
        (format!("{{\"receipt_id\":\"{}\"}}", "x".repeat(300_000)), "at most 262144"),
    ] {
        let detail = rig.post("/v1/records/goods-receipt", &body).await.problem(400, "bad-body");
        assert!(detail.contains(word), "{detail} does not hold {word}");
    }
    let many = "{}\n".repeat(1_001);
    rig.post("/v1/records/goods-receipt", &many).await.problem(413, "body-too-large");
    rig.post("/v1/records/goods-receipt", &" ".repeat((8 << 20) + 1)).await.problem(413, "body-too-large");
    let detail = rig.post("/v1/records/goods-reciept", &good).await.problem(404, "unknown-entity");
    assert!(detail.contains("did you mean \"goods-receipt\""), "{detail}");
    assert_eq!(rig.post("/v1/records/goods-receipt", "[]").await.json(), json!([]));
}

#[tokio::test]
async fn documents_are_read_by_id_key_time_and_page() {
    let rig = Rig::start().await;
    let lines: String = (100..110).map(|n| receipt(&format!("GR-{n}"), 1.0) + "\n").collect();
    rig.post("/v1/records/goods-receipt", &lines).await;
    let first = rig.get("/v1/records/goods-receipt?limit=6&key=M-1001").await;
    assert_eq!(ids(&first.json())[0], "GR-1");
    let next = first.headers["link"].split(['<', '>']).nth(1).expect("an address").to_owned();
    let second = rig.get(&next).await;
    assert_eq!(ids(&second.json()), ["GR-105", "GR-106", "GR-107", "GR-108", "GR-109"]);
    assert!(!second.headers.contains_key("link"));
    assert_eq!(rig.get("/v1/records/goods-receipt?key=M-2").await.json(), json!([]));
    *rig.fake.clock.lock().expect("lock") = Some(fake::wall().plus_ns(60 * SECOND));
    assert_eq!(rig.get("/v1/records/goods-receipt?from=-10s").await.json(), json!([]));
    assert_eq!(ids(&rig.get("/v1/records/goods-receipt?from=-10m&to=now").await.json()).len(), 11);
    rig.get("/v1/records/goods-receipt?from=now&to=-1m").await.problem(400, "bad-parameter");
    rig.get("/v1/records/goods-receipt?version=first").await.problem(400, "bad-parameter");
    rig.get("/v1/records/nothing").await.problem(404, "unknown-entity");
    let csv = rig.call("GET", "/v1/records/goods-receipt?id=GR-100", &[("Accept", "text/csv")], "").await;
    let lines: Vec<&str> = csv.body.split("\r\n").collect();
    assert_eq!(lines[0], "entity,id,version,time,offset,key,body");
    assert!(lines[1].starts_with("goods-receipt,GR-100,1,") && lines[1].contains("\"\"receipt_id\"\""), "{}", lines[1]);
}

#[tokio::test]
async fn a_request_answers_what_the_system_said() {
    let rig = Rig::start().await;
    let headers = [("Prefer", "respond-async, wait=2"), ("Idempotency-Key", "erp-1")];
    let answer = rig.call("POST", "/v1/requests/material-availability", &headers, r#"{"material":"M-1001"}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "material": "M-1001", "available": 12 })));
    assert!(!answer.headers.contains_key("age") && !answer.headers.contains_key("millstream-stale"));
    assert_eq!(answer.headers["preference-applied"], "wait=2");
    assert!(answer.headers["millstream-message"].starts_with("material-availability/"));
    let call = rig.flows.state().requests.pop().expect("the port was asked");
    assert_eq!((call.wait, call.idempotency_key.as_deref()), (Some(Duration::from_secs(2)), Some("erp-1")));
    assert_eq!(call.actor.by, "anonymous");
    let stale = rig.post("/v1/requests/material-availability", r#"{"material":"M-OLD"}"#).await;
    assert_eq!((&*stale.headers["age"], &*stale.headers["millstream-stale"]), ("90", "age=90"));
    assert_eq!(stale.json(), json!({ "material": "M-OLD", "available": 12 }), "the body is as the system gave it");
    assert_eq!(rig.flows.state().requests.pop().expect("asked").wait, None);
}

#[tokio::test]
async fn a_failed_request_names_the_system_at_fault() {
    let rig = Rig::start().await;
    for (material, status, kind, retry) in [
        ("M-DOWN", 503, "circuit-open", Some(10)),
        ("M-LATE", 504, "timeout", None),
        ("M-ODD", 502, "upstream-error", None),
    ] {
        let body = json!({ "material": material }).to_string();
        let answer = rig.post("/v1/requests/material-availability", &body).await;
        answer.problem(status, kind);
        let problem = answer.json();
        assert_eq!(problem["system"], "127.0.0.1:9102");
        assert_eq!(problem["target"], "GET http://127.0.0.1:9102/stock/M-DOWN");
        assert_eq!(problem["flow"], "material-availability");
        assert_eq!((&problem["elapsed_ms"], &problem["attempt"]), (&json!(1_999), &json!(2)));
        assert_eq!(problem["retry_after"], json!(retry));
        assert_eq!(answer.headers.get("retry-after").cloned(), retry.map(|seconds: u32| seconds.to_string()));
    }
    let answer = rig.post("/v1/requests/material-availability", "").await;
    answer.problem(422, "invalid");
    assert_eq!(answer.json()["errors"], json!([{ "path": "/material", "text": "is missing" }]));
    *rig.flows.failure.lock().expect("lock") =
        Some(FlowError::Forbidden { detail: "this needs the role operator".to_owned() });
    rig.post("/v1/requests/oven-setpoint", "{}").await.problem(403, "forbidden");
    let detail = rig.post("/v1/requests/material-avail", "{}").await.problem(404, "unknown-request");
    assert!(detail.contains("did you mean \"material-availability\""), "{detail}");
}

#[tokio::test]
async fn a_request_is_bounded_in_size_and_time() {
    let rig = Rig::with(Limits::default(), Fake::plant(0)).await;
    rig.post("/v1/requests/oven-setpoint", &" ".repeat((1 << 20) + 1)).await.problem(413, "body-too-large");
    rig.post("/v1/requests/oven-setpoint", "{").await.problem(400, "bad-body");
    for wrong in ["wait=0", "wait=301", "wait=soon", "wait=1.5"] {
        let answer = rig.call("POST", "/v1/requests/oven-setpoint", &[("Prefer", wrong)], "{}").await;
        answer.problem(400, "bad-header");
    }
    assert!(rig.flows.state().requests.is_empty(), "nothing of it reached the port");
    // A port that says nothing itself: the caller is not kept.
    rig.flows.answering.send_replace(false);
    let answer =
        rig.call("POST", "/v1/requests/material-availability", &[("Prefer", "wait=1")], r#"{"material":"M"}"#).await;
    assert!(answer.problem(504, "timeout").contains("not known"));
    assert_eq!(answer.json()["system"], "millstream");
}
