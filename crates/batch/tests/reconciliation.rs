//! A receiver's answer against what was sent.

use batch::{Format, ReconciliationState, Row, Spec, Totals, reconcile, totals};
use model::TimestampNs;
use serde_json::{Value, json};

fn sent() -> Totals {
    let spec = Spec {
        name: "shift-report".to_owned(),
        records: vec!["labour".to_owned(), "yield".to_owned()],
        group_by: Vec::new(),
        totals: Vec::new(),
        format: Format::Csv,
        gzip: false,
    };
    let row = |record: &str, id: &str, body| Row {
        record: record.to_owned(),
        id: id.to_owned(),
        version: 1,
        time: TimestampNs(0),
        offset: 1,
        body,
    };
    let rows = [
        row("labour", "1", json!({"hours": 0.1})),
        row("labour", "2", json!({"hours": 0.2})),
        row("yield", "1", json!({"pieces": 412, "big": 1e300})),
    ];
    Totals { lines: 19, ..totals(&spec, &rows, &[]).expect("fits") }
}

fn state(answer: &Value) -> ReconciliationState {
    reconcile(&sent(), Some(answer)).state
}

#[test]
fn what_an_answer_says_decides() {
    use ReconciliationState::{Differs, Matched, Unconfirmed};
    let (hash, off) = (sent().hash, sent().hash + 1);
    for (answer, expected) in [
        (json!({"rows": 3}), Matched),
        (json!({"rows": 3.0}), Matched),
        (json!({"rows": "3"}), Matched),
        // the receiver counted every line behind the first
        (json!({"batch": "B-000001", "accepted": true, "bytes": 1200, "rows": 19}), Matched),
        (json!({"rows": 2}), Differs),
        (json!({"rows": -3}), Differs),
        (json!({"rows": 3.5}), Differs),
        (json!({"rows": [1, 2, 3]}), Differs),
        (json!({"rows": 3, "hash": hash}), Matched),
        (json!({"rows": 3, "hash": off}), Differs),
        (json!({"totals": {"rows": 3, "records": {"labour": 2, "yield": 1}}}), Matched),
        (json!({"totals": {"rows": 3, "records": {"labour": 2, "yield": 0}}}), Differs),
        (json!({"totals": {"records": {"scrap": 1}}}), Differs),
        (json!({"totals": {"sums": {"labour.hours": "0.30"}}}), Matched),
        (json!({"totals": {"sums": {"labour.hours": 0.30000000000000004}}}), Matched),
        (json!({"totals": {"sums": {"labour.hours": "0.30000000000000004"}}}), Differs),
        (json!({"totals": {"sums": {"labour.hours": 0.3001}}}), Differs),
        (json!({"totals": {"sums": {"yield.big": 1e300}}}), Matched),
        (json!({"totals": {"sums": {"yield.scrap": 0}}}), Differs),
        (json!({"totals": {"labour.hours": 0.3, "currency": "EUR"}}), Matched),
        (json!({"totals": {"labour.hours": 0.4}}), Differs),
        (json!({"totals": sent()}), Matched),
        (json!({"rows": null, "accepted": true}), Unconfirmed),
        (json!({"totals": 3}), Unconfirmed),
        (json!({"totals": {"other.field": 3}}), Unconfirmed),
        (json!({}), Unconfirmed),
        (json!([3]), Unconfirmed),
        (json!("3"), Unconfirmed),
    ] {
        assert_eq!(state(&answer), expected, "{answer}");
    }
    assert_eq!(reconcile(&sent(), None).state, Unconfirmed);
}

#[test]
fn differences_are_named_with_both_sides() {
    let answer = json!({"rows": 2, "totals": {"sums": {"labour.hours": 0.2, "yield.pieces": "412"}}});
    let outcome = reconcile(&sent(), Some(&answer));
    assert_eq!(outcome.compared, 3);
    let shown: Vec<_> =
        outcome.differences.iter().map(|d| (d.what.as_str(), d.sent.as_str(), d.answered.as_str())).collect();
    assert_eq!(shown, [("rows", "3", "2"), ("totals.sums.labour.hours", "0.3", "0.2")]);
    assert_eq!(
        serde_json::to_value(&outcome).expect("JSON")["state"],
        json!("differs"),
        "as it stands in the API's answer"
    );
}

#[test]
fn a_hostile_answer_costs_little_room() {
    let sums: serde_json::Map<String, Value> =
        (0..1000).map(|i| (format!("{i}{}", "x".repeat(500)), json!("y".repeat(500)))).collect();
    let outcome = reconcile(&sent(), Some(&json!({"totals": {"sums": sums}})));
    assert_eq!((outcome.differences.len(), outcome.more, outcome.compared), (batch::DIFFERENCES_MAX, 900, 1000));
    assert!(outcome.differences.iter().all(|d| d.what.len() <= 100 && d.answered.len() <= 100));
}
