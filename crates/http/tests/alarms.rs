//! Alarms: the list, what an operator does, the alarm journal, and their part of the stream.

mod fake;

use fake::{
    client::{Rig, read_until},
    story::{OVERHEATS, PRESS_FAULT},
};
use millstream_http::{AlarmAction, AlarmState, FlowError};
use model::TimestampNs;
use serde_json::{Value as Json, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// An id as it stands in a path.
fn encoded(id: &str) -> String {
    id.replace('/', "%2F")
}

fn ids(list: &Json) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn alarms_are_filtered_by_state_and_tag() {
    let rig = Rig::start().await;
    let all = rig.get("/v1/alarms").await.json();
    assert_eq!(all.as_array().map(Vec::len), Some(4));
    assert_eq!((&all[0]["id"], &all[0]["priority"]), (&json!(PRESS_FAULT), &json!("critical")));
    assert_eq!((&all[0]["shelved"], &all[0]["value"]), (&Json::Null, &json!(true)));
    let standing = rig.get("/v1/alarms?state=unacknowledged,acknowledged").await.json();
    assert_eq!(ids(&standing), [PRESS_FAULT, OVERHEATS]);
    let energy = rig.get("/v1/alarms?match=riverside/utilities/**").await.json();
    assert_eq!(energy[0]["state"], "normal");
    assert_eq!(energy.as_array().map(Vec::len), Some(1));
    assert_eq!(rig.get("/v1/alarms?limit=1").await.json().as_array().map(Vec::len), Some(1));
    let detail = rig.get("/v1/alarms?state=loud").await.problem(400, "bad-parameter");
    assert!(detail.contains("cleared-unacknowledged"), "{detail}");
    let csv = rig.call("GET", "/v1/alarms", &[("Accept", "text/csv")], "").await.body;
    assert!(csv.starts_with("id,rule,tag,event,severity,priority,state,"), "{csv}");
}

#[tokio::test]
async fn an_id_with_slashes_reaches_its_alarm() {
    let rig = Rig::start().await;
    let address = "/v1/alarms/press-faults%2Friverside%2Fpress%2Fline1%2Fpress1%2Ffault/ack";
    let alarm = rig.post(address, r#"{"by":"M. Jansen","comment":"on my way"}"#).await.json();
    assert_eq!((&alarm["id"], &alarm["state"]), (&json!(PRESS_FAULT), &json!("acknowledged")));
    assert_eq!((&alarm["by"], &alarm["comment"]), (&json!("M. Jansen"), &json!("on my way")));
    let detail = rig.post(address, "").await.problem(409, "conflict");
    assert!(detail.contains("acknowledged already"), "{detail}");
    let unknown = "/v1/alarms/press-faults%2Friverside%2Fpress%2Fline1%2Fpress9%2Ffault/ack";
    let detail = rig.post(unknown, "").await.problem(404, "unknown-alarm");
    assert!(detail.contains("did you mean"), "{detail}");
    // Without the encoding it is another path.
    rig.post(&format!("/v1/alarms/{PRESS_FAULT}/ack"), "").await.problem(404, "not-found");
}

#[tokio::test]
async fn every_action_is_taken_as_what_it_is() {
    let rig = Rig::start().await;
    let now = TimestampNs(1_790_000_000_000_000_000);
    *rig.fake.clock.lock().expect("lock") = Some(now);
    let id = encoded(PRESS_FAULT);
    let hour = TimestampNs(now.0 + 3_600_000_000_000);
    let until = format!("{{\"until\":\"{hour}\"}}");
    let table = [
        ("ack", "", AlarmAction::Acknowledge, AlarmState::Acknowledged),
        ("confirm", "{}", AlarmAction::Confirm, AlarmState::Acknowledged),
        ("shelve", r#"{"for":"15m"}"#, AlarmAction::ShelveFor(Duration::from_secs(900)), AlarmState::Shelved),
        ("unshelve", "", AlarmAction::Unshelve, AlarmState::Unacknowledged),
        ("shelve", &until, AlarmAction::ShelveUntil(hour), AlarmState::Shelved),
        ("shelve", r#"{"once":true}"#, AlarmAction::ShelveOnce, AlarmState::Shelved),
        ("suppress", "", AlarmAction::Suppress, AlarmState::Suppressed),
        ("unsuppress", "", AlarmAction::Unsuppress, AlarmState::Unacknowledged),
        ("out-of-service", "", AlarmAction::OutOfService, AlarmState::OutOfService),
        ("in-service", "", AlarmAction::InService, AlarmState::Unacknowledged),
        ("reset", "", AlarmAction::Reset, AlarmState::Unacknowledged),
    ];
    for (word, body, action, state) in &table {
        let answer = rig.post(&format!("/v1/alarms/{id}/{word}"), body).await;
        assert_eq!(answer.status, 200, "{word}: {}", answer.body);
        assert_eq!(answer.json()["state"], state.word(), "{word}");
        assert_eq!(rig.flows.state().actions.last(), Some(action), "{word}");
    }
    let shelved = rig.post(&format!("/v1/alarms/{id}/shelve"), r#"{"once":true,"by":"M. Jansen"}"#).await.json();
    assert_eq!(shelved["shelved"], json!({ "kind": "one-shot", "until": null, "by": "M. Jansen" }));
}

#[tokio::test]
async fn what_is_wrong_with_an_action_is_said() {
    let rig = Rig::start().await;
    let id = encoded(PRESS_FAULT);
    for (body, word) in [
        ("", "how long"),
        ("{}", "how long"),
        (r#"{"once":false}"#, "how long"),
        (r#"{"for":"15m","once":true}"#, "exclude"),
        (r#"{"for":"15m","until":"2099-01-01T00:00:00Z"}"#, "exclude"),
        (r#"{"for":"soon"}"#, "15m"),
        (r#"{"for":"0s"}"#, "15m"),
        (r#"{"for":"-15m"}"#, "15m"),
        (r#"{"until":"2001-01-01T00:00:00Z"}"#, "passed"),
        (r#"{"until":"noon"}"#, "RFC 3339"),
        (r#"{"duration":"15m"}"#, "unknown field"),
    ] {
        let detail = rig.post(&format!("/v1/alarms/{id}/shelve"), body).await.problem(400, "bad-body");
        assert!(detail.contains(word), "{body}: {detail} does not hold {word}");
    }
    let answer = rig.post(&format!("/v1/alarms/{id}/shelve"), r#"{"for":"2d"}"#).await;
    answer.problem(422, "invalid");
    assert_eq!(answer.json()["errors"], json!([{ "path": "/for", "text": "at most 24h" }]));
    let detail = rig.post(&format!("/v1/alarms/{id}/ack"), r#"{"for":"15m"}"#).await.problem(400, "bad-body");
    assert!(detail.contains("belong to shelve"), "{detail}");
    let detail = rig.post(&format!("/v1/alarms/{id}/acknowlege"), "").await.problem(404, "unknown-action");
    assert!(detail.contains("one of ack, confirm"), "{detail}");
    let detail = rig.post(&format!("/v1/alarms/{id}/unshelf"), "").await.problem(404, "unknown-action");
    assert!(detail.contains("did you mean \"unshelve\""), "{detail}");
    assert_eq!(rig.flows.state().actions.len(), 1, "only the one that the port itself refused reached it");
}

#[tokio::test]
async fn the_alarm_journal_says_who_did_what() {
    let rig = Rig::start().await;
    for (id, word) in [(PRESS_FAULT, "ack"), (OVERHEATS, "suppress"), (PRESS_FAULT, "suppress")] {
        rig.post(&format!("/v1/alarms/{}/{word}", encoded(id)), r#"{"by":"M. Jansen"}"#).await;
    }
    let all = rig.get("/v1/alarms/journal").await.json();
    assert_eq!(ids(&all), [PRESS_FAULT, OVERHEATS, PRESS_FAULT]);
    assert_eq!((&all[2]["what"], &all[2]["by"]), (&json!("Acknowledge"), &json!("M. Jansen")));
    let one = rig.get(&format!("/v1/alarms/journal?id={OVERHEATS}")).await.json();
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    assert_eq!(rig.get("/v1/alarms/journal?limit=1").await.json()[0]["state"], "suppressed");
    rig.get("/v1/alarms/journal?from=soon").await.problem(400, "bad-parameter");
}

#[tokio::test]
async fn the_one_stream_carries_flows_and_alarms() {
    let rig = Rig::start().await;
    let mut stream = rig.connect().await;
    stream.write_all(b"GET /v1/stream?with=flows,alarms HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let text = read_until(&mut stream, "\"device-silent at riverside/press").await;
    assert!(text.contains("event: flows\n") && text.contains("event: alarms\n"), "{text}");
    assert!(!text.contains("event: latest"), "nobody asked for values");
    let data = |event: &str| -> Json {
        let after = text.split(&format!("event: {event}\n")).nth(1).expect("the event");
        let line = after.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
        serde_json::from_str(line).expect("JSON")
    };
    let flows = data("flows");
    assert_eq!((&flows[0]["pattern"], &flows[0]["name"]), (&json!("telemetry"), &json!("press1")));
    let alarms = data("alarms");
    assert_eq!((&alarms["states"]["unacknowledged"], &alarms["states"]["shelved"]), (&json!(1), &json!(0)));
    assert_eq!(alarms["priorities"], json!({ "critical": 1, "high": 1, "medium": 1, "low": 0 }));
    assert_eq!(ids(&alarms["list"]).len(), 3, "normal ones are left out");
    // The flows fail once; the stream goes on with what it has, and the next second asks again.
    *rig.flows.failure.lock().expect("lock") = Some(FlowError::Busy);
    read_until(&mut stream, "event: flows\n").await;
    rig.get("/v1/stream?with=flow").await.problem(400, "bad-parameter");
}
