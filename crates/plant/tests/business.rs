//! The business systems over HTTP, well and broken.

mod wire;

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::{call, http, plant, switch};

const RECEIPT: &str = r#"{"material": "M 1", "quantity": 40, "receipt": "R-1"}"#;

#[tokio::test]
async fn a_key_has_one_effect_and_one_answer() {
    let plant = plant().await;
    let erp = plant.addresses().erp;
    let headers = [("idempotency-key", "k-1"), ("authorization", "Bearer demo"), ("content-type", "application/json")];
    let first = http(erp, "POST", "/stock/receipts", &headers, RECEIPT).await.expect("answers");
    assert_eq!((first.status, &first.body["on_hand"]), (201, &json!(40.0)));
    let again = http(erp, "POST", "/stock/receipts", &headers, RECEIPT).await.expect("answers");
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let other = http(erp, "POST", "/stock/receipts", &headers, r#"{"x": 1}"#).await.expect("answers");
    assert_eq!(other.status, 422);

    let stock = call(erp, "GET", "/stock/M%201", "").await;
    assert_eq!(stock.body["on_hand"], json!(40.0));
    let received = call(erp, "GET", "/_received?path=/stock/receipts", "").await;
    let requests = received.body["requests"].as_array().expect("a list");
    let statuses: Vec<_> = requests.iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, [json!(201), json!(201), json!(422)]);
    assert_eq!(requests[0]["authorization"], "Bearer demo");
    assert_eq!(requests[0]["body"]["receipt"], "R-1");
    assert_eq!(requests[1]["replayed"], json!(true));
    let effects = call(erp, "GET", "/_effects", "").await;
    assert_eq!(effects.body["total"], json!(1));
    assert_eq!(effects.body["effects"][0]["idempotency_key"], "k-1");
    plant.stop().await;
}

#[tokio::test]
async fn every_system_does_its_part() {
    let plant = plant().await;
    let at = plant.addresses().clone();
    let stock = call(at.wms, "GET", "/stock/steel-blank-a", "").await;
    assert_eq!(stock.status, 200);
    assert!(stock.body["available"].as_u64() >= Some(100), "{stock:?}");
    assert!(stock.body["location"].is_string());
    assert_eq!(call(at.wms, "GET", "/stock/unknown-1", "").await.status, 404);
    let machine = call(at.mes, "PUT", "/machines/oven", r#"{"state": 2}"#).await;
    assert_eq!(machine.body["state"]["state"], json!(2));
    let ticket = call(at.cmms, "POST", "/tickets", r#"{"asset": "press1"}"#).await;
    assert_eq!((ticket.status, &ticket.body["ticket"]), (201, &json!("T-000001")));
    let delay = call(at.portal, "POST", "/delays", r#"{"order": 1}"#).await;
    assert_eq!(delay.status, 201);
    let change = call(at.erp, "POST", "/plan/changes", r#"{"machine": "press1"}"#).await;
    assert_eq!(change.body["change"], "C-000001");
    let csv = [("content-type", "text/csv")];
    let batch = http(at.erp, "POST", "/batches", &csv, "a,b\n1,2\n3,4\n").await.expect("answers");
    assert_eq!((batch.status, &batch.body["rows"]), (201, &json!(2)));
    let orders = call(at.erp, "GET", "/work-orders", "").await;
    assert!(orders.body["work_orders"].as_array().is_some_and(|o| o.len() == 4));
    assert_eq!(call(at.erp, "POST", "/nonsense", "{}").await.status, 404);
    let bad = call(at.erp, "POST", "/stock/receipts", r#"{"material": "M"}"#).await;
    assert_eq!(bad.status, 422);
    plant.stop().await;
}

#[tokio::test]
async fn refusals_carry_retry_after_and_stop_after_their_count() {
    let plant = plant().await;
    let cmms = plant.addresses().cmms;
    let order = r#"{"mode": "503", "count": 2, "delay_ms": 2500}"#;
    assert_eq!(call(cmms, "POST", "/_faults", order).await.status, 200);
    for left in [json!(1), json!(null)] {
        let refused = call(cmms, "POST", "/tickets", "{}").await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.header("retry-after"), Some("3"));
        let now = call(cmms, "GET", "/_faults", "").await;
        assert_eq!(now.body["count"], left);
    }
    assert_eq!(call(cmms, "POST", "/tickets", "{}").await.status, 201);
    assert_eq!(call(cmms, "GET", "/_received", "").await.body["total"], json!(3));
    assert_eq!(call(cmms, "GET", "/_effects", "").await.body["total"], json!(1));
    for (mode, status) in [("429", 429), ("500", 500)] {
        switch(&plant, "/system/cmms", mode).await;
        assert_eq!(call(cmms, "POST", "/tickets", "{}").await.status, status);
    }
    let wrong = call(cmms, "POST", "/_faults", r#"{"mode": "dwon"}"#).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.body["detail"].as_str().is_some_and(|d| d.contains("down")));
    plant.stop().await;
}

#[tokio::test]
async fn a_slow_answer_comes_after_its_effect() {
    let plant = plant().await;
    let portal = plant.addresses().portal;
    call(portal, "POST", "/_faults", r#"{"mode": "slow", "delay_ms": 400, "count": 1}"#).await;
    let start = Instant::now();
    let (slow, effects) = tokio::join!(call(portal, "POST", "/delays", "{}"), async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        call(portal, "GET", "/_effects", "").await
    });
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!((slow.status, &effects.body["total"]), (201, &json!(1)));
    plant.stop().await;
}

#[tokio::test]
async fn down_closes_every_connection_and_the_switches_mend_it() {
    let plant = plant().await;
    let wms = plant.addresses().wms;
    let mut open = TcpStream::connect(wms).await.expect("connects");
    open.write_all(b"GET /stock/a HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sends");
    let mut buffer = [0; 1024];
    assert!(open.read(&mut buffer).await.expect("an answer") > 0);
    switch(&plant, "/system/wms", "down").await;
    let end = tokio::time::timeout(wire::PATIENCE, open.read(&mut buffer)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "still open: {end:?}");
    assert!(http(wms, "GET", "/stock/a", &[], "").await.is_none());
    assert!(http(wms, "GET", "/_received", &[], "").await.is_none());
    switch(&plant, "/system/wms", "ok").await;
    assert_eq!(call(wms, "GET", "/stock/a", "").await.status, 200);
    plant.stop().await;
}

#[tokio::test]
async fn a_hanging_request_is_received_has_no_effect_and_ends_with_the_fault() {
    let plant = plant().await;
    let erp = plant.addresses().erp;
    switch(&plant, "/system/erp", "hang").await;
    let (answer, ()) = tokio::join!(http(erp, "POST", "/stock/receipts", &[], RECEIPT), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let received = call(erp, "GET", "/_received", "").await;
        assert_eq!(received.body["total"], json!(1));
        assert_eq!(received.body["requests"][0]["status"], json!(null));
        assert_eq!(received.body["requests"][0]["fault"], "hang");
        switch(&plant, "/system/erp", "ok").await;
    });
    assert!(answer.is_none(), "a hanging request was answered: {answer:?}");
    assert_eq!(call(erp, "GET", "/_effects", "").await.body["total"], json!(0));
    plant.stop().await;
}

#[tokio::test]
async fn a_reset_connection_has_had_its_effect_and_a_repeat_finds_it() {
    let plant = plant().await;
    let erp = plant.addresses().erp;
    let order = r#"{"mode": "reset", "count": 1}"#;
    assert_eq!(call(erp, "POST", "/_faults", order).await.status, 200);
    let headers = [("idempotency-key", "k-9"), ("content-type", "application/json")];
    assert!(http(erp, "POST", "/stock/receipts", &headers, RECEIPT).await.is_none(), "no answer");
    let received = call(erp, "GET", "/_received", "").await;
    assert_eq!(received.body["requests"][0]["fault"], "reset");
    assert_eq!(received.body["requests"][0]["status"], json!(null));
    let again = http(erp, "POST", "/stock/receipts", &headers, RECEIPT).await.expect("answers");
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(call(erp, "GET", "/_effects", "").await.body["total"], json!(1));
    plant.stop().await;
}

#[tokio::test]
async fn a_poison_document_is_refused_and_the_others_are_not() {
    let plant = plant().await;
    let cmms = plant.addresses().cmms;
    let order = r#"{"mode": "refuse", "text": "poison"}"#;
    assert_eq!(call(cmms, "POST", "/_faults", order).await.body["text"], "poison");
    assert_eq!(call(cmms, "POST", "/tickets", r#"{"text": "poison"}"#).await.status, 422);
    assert_eq!(call(cmms, "POST", "/tickets", r#"{"text": "fine"}"#).await.status, 201);
    assert_eq!(call(cmms, "POST", "/tickets", r#"{"text": "poison"}"#).await.status, 422);
    assert_eq!(call(cmms, "GET", "/_effects", "").await.body["total"], json!(1));
    assert_eq!(call(cmms, "POST", "/_faults", r#"{"mode": "refuse"}"#).await.status, 422);
    plant.stop().await;
}

#[tokio::test]
async fn a_batch_is_answered_with_the_rows_that_it_has_and_that_it_states() {
    let plant = plant().await;
    let erp = plant.addresses().erp;
    let csv = [("content-type", "text/csv")];
    let kinded = "line,record,id,count\nrow,labour,L1,\nrow,labour,L2,\ntotal,,,3\n";
    let short = http(erp, "POST", "/batches", &csv, kinded).await.expect("answers");
    assert_eq!((&short.body["rows"], &short.body["stated_rows"]), (&json!(2), &json!(3)));
    assert_eq!(short.body["accepted"], json!(true));
    let json_batch = call(erp, "POST", "/batches", r#"{"rows": [1, 2], "totals": {"rows": 2}}"#).await;
    assert_eq!((&json_batch.body["rows"], &json_batch.body["stated_rows"]), (&json!(2), &json!(2)));
    plant.stop().await;
}
