//! The flows, their deliveries and dead letters, batches, traces and the audit.

mod fake;

use fake::{
    Fake, SECOND,
    client::Rig,
    story::{DEAD, DEAD_AGAIN},
};
use millstream_http::{DeadState, FlowError, FlowState, Limits, Refusal};
use model::TimestampNs;
use serde_json::{Value as Json, json};
use std::time::Duration;

fn names(list: &Json) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn telemetry_stands_first_and_every_flow_has_the_same_members() {
    let rig = Rig::start().await;
    let list = rig.get("/v1/flows").await.json();
    let names = names(&list);
    assert_eq!(names[0], "press1");
    assert_eq!(names.last().map(String::as_str), Some("shift-report"));
    let patterns: Vec<&str> =
        list.as_array().expect("a list").iter().filter_map(|one| one["pattern"].as_str()).collect();
    let first_other = patterns.iter().position(|pattern| *pattern != "telemetry").expect("other flows");
    assert!(patterns[first_other..].iter().all(|pattern| *pattern != "telemetry"));
    let members = |flow: &Json| -> Vec<String> { flow.as_object().expect("an object").keys().cloned().collect() };
    for flow in list.as_array().expect("a list") {
        assert_eq!(members(flow), members(&list[0]), "{}", flow["name"]);
    }
    let press3 = list.as_array().expect("a list").iter().find(|flow| flow["name"] == "press3").expect("press3");
    assert_eq!(press3["state"], "stopped");
    assert!(press3["reason"].as_str().is_some_and(|reason| reason.contains("connection refused")), "{press3}");
    assert_eq!(press3["last_error"]["text"], press3["reason"]);
    let cmms = list.as_array().expect("a list").iter().find(|flow| flow["name"] == "cmms-ticket").expect("cmms");
    assert_eq!((&cmms["state"], &cmms["breaker"], &cmms["backlog"]), (&json!("degraded"), &json!("open"), &json!(42)));
}

#[tokio::test]
async fn a_source_has_a_rate_once_it_was_looked_at_twice() {
    let rig = Rig::start().await;
    let at = |seconds: i64| {
        let started = fake::wall().plus_ns(seconds * SECOND);
        *rig.fake.clock.lock().expect("lock") = Some(started);
    };
    at(0);
    assert_eq!(rig.get("/v1/flows").await.json()[0]["rate"], Json::Null);
    at(10);
    let flow = rig.get("/v1/flows").await.json()[0].clone();
    let rate = flow["rate"].as_f64().expect("a rate");
    assert!((55.0..65.0).contains(&rate), "the fake brings 60 samples a second, not {rate}");
    assert_eq!(flow["spark"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn one_flow_has_its_definition_latencies_and_deliveries() {
    let rig = Rig::start().await;
    let flow = rig.get("/v1/flows/goods-receipt-to-erp").await.json();
    assert_eq!(flow["name"], "goods-receipt-to-erp");
    assert_eq!(flow["definition"]["to"]["http"], "POST http://127.0.0.1:9101/stock/receipts");
    assert_eq!(flow["latency"][3], json!({ "le_ms": null, "count": 1 }));
    assert_eq!(flow["deliveries"][0]["id"], "goods-receipt-to-erp@123");
    let source = rig.get("/v1/flows/oven").await.json();
    assert_eq!((&source["pattern"], &source["definition"]["kind"]), (&json!("telemetry"), &json!("opcua")));
    let detail = rig.get("/v1/flows/goods-reciept").await.problem(404, "unknown-flow");
    assert!(detail.contains("did you mean \"goods-receipt-to-erp\""), "{detail}");
    let detail = rig.get("/v1/flows/xyz").await.problem(404, "unknown-flow");
    assert!(detail.contains("GET /v1/flows"), "{detail}");
    rig.get("/v1/flows/%ff").await.problem(400, "bad-path");
    rig.get("/v1/flows?state=running").await.problem(400, "unknown-parameter");
}

#[tokio::test]
async fn pause_and_resume_say_who_did_it() {
    let rig = Rig::start().await;
    let body = r#"{"by":" M. Jansen ","comment":"the CMMS moves house"}"#;
    let flow = rig.post("/v1/flows/cmms-ticket/pause", body).await.json();
    assert_eq!((&flow["state"], &flow["paused_by"]), (&json!("paused"), &json!("M. Jansen")));
    let flow = rig.post("/v1/flows/cmms-ticket/resume", "").await.json();
    assert_eq!((&flow["state"], &flow["paused_by"]), (&json!("running"), &Json::Null));
    let audit = rig.get("/v1/audit").await.json();
    assert_eq!((&audit[0]["what"], &audit[0]["who"]), (&json!("resume"), &json!("anonymous")));
    assert_eq!((&audit[1]["who"], &audit[1]["flow"]), (&json!("M. Jansen"), &json!("cmms-ticket")));
    assert_eq!(audit[1]["after"], "the CMMS moves house");
    rig.post("/v1/flows/nowhere/pause", "").await.problem(404, "unknown-flow");
    let detail = rig.post("/v1/flows/press1/pause", "").await.problem(409, "conflict");
    assert!(detail.contains("telemetry"), "{detail}");
    let detail = rig.get("/v1/flows/cmms-ticket/pause").await.problem(405, "method");
    assert!(detail.contains("takes POST"), "{detail}");
}

#[tokio::test]
async fn a_body_that_says_who_acts_is_checked() {
    let rig = Rig::start().await;
    let long = "x".repeat(200);
    for (body, word) in [
        ("{\"by\":1}".to_owned(), "expected a string"),
        ("{\"who\":\"me\"}".to_owned(), "unknown field"),
        ("[".to_owned(), "EOF"),
        (format!("{{\"by\":\"{long}\"}}"), "longer than 120"),
        ("{\"comment\":\"a\\u0007b\"}".to_owned(), "control"),
    ] {
        let detail = rig.post("/v1/flows/cmms-ticket/pause", &body).await.problem(400, "bad-body");
        assert!(detail.contains(word), "{detail} does not hold {word}");
    }
    rig.post("/v1/flows/cmms-ticket/pause", &" ".repeat(20_000)).await.problem(413, "body-too-large");
    let state = rig.flows.state().flows.iter().find(|flow| flow.name == "cmms-ticket").map(|flow| flow.state);
    assert_eq!(state, Some(FlowState::Degraded), "nothing of it was done");
    let foreign = [("Origin", "http://evil.example")];
    rig.call("POST", "/v1/flows/cmms-ticket/pause", &foreign, "").await.problem(403, "origin");
}

#[tokio::test]
async fn deliveries_are_filtered_and_paged() {
    let rig = Rig::start().await;
    let first = rig.get("/v1/deliveries?flow=goods-receipt-to-erp&limit=15").await;
    let rows = first.json();
    assert_eq!(rows.as_array().map(Vec::len), Some(15));
    assert_eq!((&rows[0]["offset"], &rows[0]["attempts"][0]["outcome"]), (&json!(123), &json!("delivered")));
    let next = first.headers["link"].split(['<', '>']).nth(1).expect("an address").to_owned();
    let second = rig.get(&next).await;
    assert_eq!(second.json().as_array().map(Vec::len), Some(5));
    assert!(!second.headers.contains_key("link"), "there is no third page");
    let of = |query: &'static str| {
        let rig = &rig;
        async move { rig.get(&format!("/v1/deliveries?{query}")).await.json().as_array().map(Vec::len) }
    };
    assert_eq!(of("state=retrying").await, Some(1));
    assert_eq!(of("state=retrying,in-flight").await, Some(1));
    assert_eq!(of("state=in-doubt").await, Some(0));
    assert_eq!(of("message=riverside/press/line1/press1/1").await, Some(2));
    assert_eq!(of("key=M-1001&flow=goods-receipt-to-erp").await, Some(6));
    let detail = rig.get("/v1/deliveries?state=lost").await.problem(400, "bad-parameter");
    assert!(detail.contains("in-doubt"), "{detail}");
    rig.get("/v1/deliveries?limit=10001").await.problem(400, "bad-parameter");
    rig.get("/v1/deliveries?flow=nowhere").await.problem(404, "unknown-flow");
    assert_eq!(rig.get("/v1/deliveries?flow=press1").await.json(), json!([]), "a source delivers to nobody");
    assert_eq!(rig.get("/v1/dead-letters?flow=press1").await.json(), json!([]));
    rig.get(&format!("/v1/deliveries?key={}", "k".repeat(1_025))).await.problem(400, "bad-parameter");
    let csv = rig.call("GET", "/v1/deliveries?limit=1", &[("Accept", "text/csv")], "").await;
    assert!(csv.body.starts_with("id,flow,message,offset,stream,key,state,"), "{}", csv.body);
    assert_eq!(csv.body.split("\r\n").count(), 3, "{}", csv.body);
}

#[tokio::test]
async fn dead_letters_are_inspected_corrected_and_replayed() {
    let rig = Rig::start().await;
    let list = rig.get("/v1/dead-letters?flow=goods-receipt-to-erp&state=open").await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    // Ids come plain or percent-encoded, with or without a replay's number.
    for id in [DEAD, "goods-receipt-to-erp%40103", DEAD_AGAIN, "goods-receipt-to-erp%4097%2E1"] {
        let letter = rig.get(&format!("/v1/dead-letters/{id}")).await.json();
        assert_eq!(letter["state"], "open", "{id}");
        assert_eq!(letter["request"]["method"], "POST");
        assert_eq!(letter["attempts"][0]["answer"], "{\"error\":\"material is unknown\"}");
    }
    let body = r#"{"body":{"material":"M-1001","quantity":5},"by":"M. Jansen","comment":"wrong material"}"#;
    let letter = rig.post(&format!("/v1/dead-letters/{DEAD}/replay"), body).await.json();
    assert_eq!(letter["state"], "replayed");
    assert_eq!(letter["replays"], json!(["goods-receipt-to-erp@103.1"]));
    assert_eq!(letter["by"], "M. Jansen");
    assert_eq!(rig.flows.state().replayed, [Some(json!({ "material": "M-1001", "quantity": 5 }))]);
    let letter = rig.post(&format!("/v1/dead-letters/{DEAD_AGAIN}/discard"), "").await.json();
    assert_eq!((&letter["state"], &letter["by"]), (&json!("discarded"), &json!("anonymous")));
    rig.post(&format!("/v1/dead-letters/{DEAD_AGAIN}/replay"), "").await.problem(409, "conflict");
    rig.post(&format!("/v1/dead-letters/{DEAD}/discard"), "").await.problem(409, "conflict");
    rig.get("/v1/dead-letters/goods-receipt-to-erp@1").await.problem(404, "unknown-dead-letter");
    rig.post("/v1/dead-letters/none/replay", "").await.problem(404, "unknown-dead-letter");
    rig.get("/v1/dead-letters?state=open,replayed").await.problem(400, "bad-parameter");
    let large = format!("{{\"body\":\"{}\"}}", "x".repeat(1 << 20));
    rig.post(&format!("/v1/dead-letters/{DEAD}/replay"), &large).await.problem(413, "body-too-large");
}

#[tokio::test]
async fn dead_letters_are_replayed_by_filter_but_never_all_by_mistake() {
    let rig = Rig::start().await;
    rig.post("/v1/dead-letters/replay", "").await.problem(400, "bad-parameter");
    rig.post("/v1/dead-letters/replay?flow=", "").await.problem(400, "bad-parameter");
    rig.post("/v1/dead-letters/replay?flow=nowhere", "").await.problem(404, "unknown-flow");
    assert!(rig.flows.state().dead.iter().all(|letter| letter.state == DeadState::Open));
    let one = rig.post("/v1/dead-letters/replay?flow=goods-receipt-to-erp&reason=expired", "").await;
    assert_eq!(one.json(), json!({ "replayed": 1 }));
    let rest = rig.post("/v1/dead-letters/replay?key=M-9", r#"{"by":"M. Jansen"}"#).await;
    assert_eq!(rest.json(), json!({ "replayed": 1 }));
    assert_eq!(rig.post("/v1/dead-letters/replay?key=M-9", "").await.json(), json!({ "replayed": 0 }));
    assert_eq!(rig.get("/v1/audit?limit=1").await.json()[0]["who"], "M. Jansen");
}

#[tokio::test]
async fn a_message_is_traced_by_an_id_with_slashes() {
    let rig = Rig::start().await;
    for id in ["riverside/press/line1/press1/1", "riverside%2Fpress%2Fline1%2Fpress1%2F1"] {
        let trace = rig.get(&format!("/v1/trace/{id}")).await.json();
        assert_eq!(trace["message"]["id"], "riverside/press/line1/press1/1", "{id}");
        let flows: Vec<&str> =
            trace["deliveries"].as_array().expect("a list").iter().filter_map(|one| one["flow"].as_str()).collect();
        assert_eq!(flows, ["cmms-ticket", "erp-replan"]);
        assert_eq!(trace["steps"][1]["what"], "committed");
    }
    let detail = rig.get("/v1/trace/no/such%20thing").await.problem(404, "unknown-message");
    assert!(detail.contains("no/such thing"), "{detail}");
    rig.get("/v1/trace/").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_batch_runs_on_demand() {
    let rig = Rig::start().await;
    let batches = rig.get("/v1/batches").await.json();
    assert_eq!(batches[0]["runs"][0]["sequence"], 3);
    let body = r#"{"from":"2026-01-31T05:00:00Z","to":"2026-01-31T13:00:00Z","by":"M. Jansen"}"#;
    let answer = rig.post("/v1/batches/shift-report/run", body).await;
    assert_eq!(answer.status, 202);
    let run = answer.json();
    assert_eq!((&run["cause"], &run["sequence"]), (&json!("manual"), &json!(4)));
    assert_eq!(run["period"]["from"], "2026-01-31T05:00:00.000000000Z");
    assert_eq!(run["totals"]["quantity"], 4_711.5);
    assert_eq!(rig.post("/v1/batches/shift-report/run", "").await.status, 202, "the last whole period");
    rig.post("/v1/batches/shift-repot/run", "").await.problem(404, "unknown-batch");
    for wrong in [
        r#"{"from":"noon"}"#,
        r#"{"to":"2026-01-31T13:00:00Z"}"#,
        r#"{"from":"2026-01-31T13:00:00Z","to":"2026-01-31T05:00:00Z"}"#,
        r#"{"since":"2026-01-31T13:00:00Z"}"#,
    ] {
        rig.post("/v1/batches/shift-report/run", wrong).await.problem(400, "bad-body");
    }
    assert_eq!(rig.flows.state().batches[0].runs.len(), 5, "wrong ones ran nothing");
}

#[tokio::test]
async fn the_audit_is_newest_first_and_cut_by_time() {
    let rig = Rig::start().await;
    for by in ["first", "second", "third"] {
        rig.post("/v1/flows/cmms-ticket/pause", &format!("{{\"by\":\"{by}\"}}")).await;
    }
    let lines = rig.get("/v1/audit?limit=2").await.json();
    assert_eq!((&lines[0]["who"], &lines[1]["who"]), (&json!("third"), &json!("second")));
    let oldest = lines[1]["time"].as_str().expect("a time").to_owned();
    let before = rig.get(&format!("/v1/audit?to={oldest}")).await.json();
    assert_eq!((before.as_array().map(Vec::len), &before[0]["who"]), (Some(1), &json!("first")));
    *rig.fake.clock.lock().expect("lock") = Some(fake::wall().plus_ns(3_600 * SECOND));
    assert_eq!(rig.get("/v1/audit?from=-30m").await.json(), json!([]));
    rig.get("/v1/audit?from=now&to=-1m").await.problem(400, "bad-parameter");
    rig.get("/v1/audit?from=often").await.problem(400, "bad-parameter");
}

#[tokio::test]
async fn what_the_port_refuses_is_said() {
    let rig = Rig::start().await;
    for (failure, status, kind, word) in [
        (FlowError::Busy, 503, "busy", "too many"),
        (FlowError::Closed, 503, "stopping", "shutting down"),
        (FlowError::Failed("segment 4 is damaged".to_owned()), 500, "journal-failed", "segment 4"),
        (FlowError::Forbidden { detail: "this needs the role operator".to_owned() }, 403, "forbidden", "operator"),
        (FlowError::Refused(Refusal::Busy), 429, "busy", "slow down"),
        (FlowError::Refused(Refusal::Disk), 503, "disk", "free space"),
        (FlowError::Refused(Refusal::BacklogFull), 503, "backlog-full", "backlog"),
        (FlowError::Refused(Refusal::Closed), 503, "stopping", "shutting down"),
    ] {
        *rig.flows.failure.lock().expect("lock") = Some(failure);
        let answer = rig.post("/v1/flows/cmms-ticket/pause", "").await;
        assert!(answer.problem(status, kind).contains(word), "{}", answer.body);
        assert_eq!(answer.headers.contains_key("retry-after"), !matches!(status, 500 | 403));
    }
    assert_eq!(rig.post("/v1/flows/cmms-ticket/pause", "").await.status, 200);
}

#[tokio::test]
async fn a_port_that_never_answers_is_not_waited_for() {
    let short = Duration::from_millis(100);
    let limits = Limits { commit_timeout: short, query_timeout: short, ..Limits::default() };
    let rig = Rig::with(limits, Fake::plant(0)).await;
    rig.flows.answering.send_replace(false);
    rig.get("/v1/flows").await.problem(504, "query-timeout");
    let detail = rig.post("/v1/flows/cmms-ticket/pause", "").await.problem(504, "commit-timeout");
    assert!(detail.contains("not known"), "{detail}");
    assert_eq!(rig.get("/v1/latest?limit=1").await.status, 200, "telemetry is read all the same");
    assert_eq!(rig.get("/v1/status").await.json()["status"], "ready");
}

#[tokio::test]
async fn metrics_count_flows_alarms_and_the_journal() {
    let rig = Rig::start().await;
    let now = fake::wall();
    *rig.fake.clock.lock().expect("lock") = Some(now);
    {
        let mut state = rig.flows.state();
        state.flows[2].name = "cmms \"ticket\"\n\\".to_owned();
        state.flows[2].oldest = Some(TimestampNs(now.0 - 90 * SECOND));
    }
    let text = rig.get("/metrics").await.body;
    for wanted in [
        "millstream_flows_answered 1",
        "millstream_flow_state{flow=\"erp-replan\",pattern=\"event\",state=\"running\"} 1",
        "millstream_flow_breaker{flow=\"cmms \\\"ticket\\\"\\n\\\\\",pattern=\"event\",state=\"open\"} 1",
        "millstream_flow_backlog{flow=\"cmms \\\"ticket\\\"\\n\\\\\",pattern=\"event\"} 42",
        "millstream_flow_oldest_age_seconds{flow=\"cmms \\\"ticket\\\"\\n\\\\\",pattern=\"event\"} 90",
        "millstream_flow_oldest_age_seconds{flow=\"erp-replan\",pattern=\"event\"} 0",
        "millstream_flow_dead_letters_open{flow=\"goods-receipt-to-erp\",pattern=\"sync\"} 1",
        "millstream_flow_superseded_total{flow=\"oven-state-to-mes\",pattern=\"sync\"} 8",
        "millstream_flow_delivery_seconds_bucket{flow=\"shift-report\",pattern=\"batch\",le=\"0.1\"} 95",
        "millstream_flow_delivery_seconds_bucket{flow=\"shift-report\",pattern=\"batch\",le=\"+Inf\"} 100",
        "millstream_flow_delivery_seconds_sum{flow=\"shift-report\",pattern=\"batch\"} 1.5",
        "millstream_alarms{state=\"unacknowledged\"} 1",
        "millstream_alarms{state=\"suppressed\"} 0",
        "millstream_journal_bytes 4194304",
        "millstream_journal_first_offset 10",
    ] {
        assert!(text.contains(&format!("{wanted}\n")), "{wanted} is missing");
    }
    *rig.flows.failure.lock().expect("lock") = Some(FlowError::Closed);
    let text = rig.get("/metrics").await.body;
    assert!(text.contains("millstream_flows_answered 0\n") && !text.contains("millstream_flow_backlog"));
    assert!(text.contains("millstream_source_state"), "the rest is there all the same");
}
