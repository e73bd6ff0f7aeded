//! Every way in which a business system fails, met by every pattern at once: in the end nothing is
//! lost, nothing is out of order per key, and each delivery has one effect, however often it was
//! tried. What counts is what the systems say that took effect.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::business::{HASTY, complete, ledger, same_on_every_try, wait_long};
use support::history::ns;
use support::site::Site;
use support::{Server, wait_for};

const KEYS: [&str; 3] = ["a", "b", "c"];
/// Messages of each key while the systems fail, and before.
const DURING: u64 = 12;
const BEFORE: u64 = 3;

/// An event to the CMMS, a receipt to the ERP, a batch of receipts to the ERP, a question to the WMS.
fn sections(site: &Site) -> String {
    let (erp, wms, cmms) = (site.erp().url, site.wms().url, site.cmms().url);
    format!(
        r#"
[[subscriber]]
name  = "tickets"
event = "machine-fault"
to    = {{ http = "{cmms}/tickets" }}
body  = "{{'key': event.source, 'n': event.data.n}}"
{HASTY}
[[record]]
name = "receipt"
id   = "id"

[[sync]]
name = "stock"
on   = {{ record = "receipt" }}
key  = "record.key"
to   = {{ http = "{erp}/stock/receipts" }}
body = "{{'material': record.key, 'quantity': record.n, 'key': record.key, 'n': record.n}}"
{HASTY}
[[batch]]
name    = "report"
at      = "manual"
records = ["receipt"]
totals  = ["n"]
format  = "json"
to      = {{ http = "{erp}/batches" }}
{HASTY}
[[request]]
name    = "availability"
to      = {{ http = "{wms}/stock/{{material}}", method = "GET" }}
timeout = "400ms"
breaker = {{ failures = 3, open = "300ms", open_max = "300ms" }}
"#
    )
}

/// Publishes numbers `from..=to` of every key, each message `times` times over.
fn publish(server: &Server, from: u64, to: u64, times: usize) {
    for n in from..=to {
        for key in KEYS {
            let id = format!("{key}-{n}");
            let event = json!({ "id": id, "source": key, "type": "machine-fault", "data": { "n": n } });
            let receipt = json!({ "id": id, "key": key, "n": n });
            for time in 0..times {
                let published = server.put("/v1/events", &event).body;
                let written = server.put("/v1/records/receipt", &receipt).body;
                let again = (&published[0]["duplicate"], &written[0]["duplicate"]);
                assert_eq!(again, (&json!(time > 0), &json!(time > 0)), "{published} {written}");
            }
        }
    }
}

fn ask(server: &Server) -> support::business::Answer {
    server.post("/v1/requests/availability", &json!({ "material": "steel" }))
}

/// 1. Everything works.
/// 2. The systems fail in one way, and messages, a batch and questions come all the while.
/// 3. The systems are mended: everything is in effect, once, in order, with control totals that hold,
///    and questions are answered.
fn systems_fail(order: &Value, problems: &[&str]) {
    let site = Site::start();
    let server = Server::start_in("UTC", &sections(&site));
    let began = server.now();
    let right = site.wms().get("/stock/steel");
    publish(&server, 1, BEFORE, 1);
    assert_eq!(ask(&server).body, right);
    wait_for("it works", || {
        (site.erp().effects("/stock/receipts").len() == KEYS.len() * BEFORE as usize).then_some(())
    });

    for system in [site.erp(), site.wms(), site.cmms()] {
        system.fault(order);
    }
    let is_twice = order["mode"] == "twice";
    publish(&server, BEFORE + 1, BEFORE + DURING, if is_twice { 2 } else { 1 });
    let period = json!({ "from": (began - 1_000_000_000).to_string(), "to": (server.now() + 1).to_string() });
    let run = server.put("/v1/batches/report/run", &period).body;
    if !is_twice {
        fails_and_says_so(&server, &site, problems);
    }

    for system in [site.erp(), site.wms(), site.cmms()] {
        system.mode("ok");
    }
    let all = complete(&KEYS.iter().map(|key| ((*key).to_owned(), BEFORE + DURING)).collect());
    let (erp, cmms) = (site.erp(), site.cmms());
    let settled = || {
        let shown = server.flow("stock")["backlog"] == 0 && server.flow("tickets")["backlog"] == 0;
        (shown && erp.effects("/batches").len() == 1 && server.flow("report")["backlog"] == 0).then_some(())
    };
    wait_long("everything is delivered", settled);
    assert_eq!(ledger(&cmms.bodies("/tickets")), all, "events after {order}");
    assert_eq!(ledger(&erp.bodies("/stock/receipts")), all, "receipts after {order}");
    let tries = ["/stock/receipts", "/batches"].map(|path| same_on_every_try(&erp.received(path)));
    let tickets = same_on_every_try(&cmms.received("/tickets"));
    println!("{order}: at most {tries:?} tries of a receipt and of the batch, {tickets} of a ticket");
    batch_is_whole(&erp.bodies("/batches"), &run);
    let dead = server.get("/v1/dead-letters");
    assert_eq!(dead, json!([]), "an outage makes no dead letter");
    wait_for("questions are answered again", || Some(ask(&server)).filter(|answer| answer.body == right));
    retry_after_was_kept(order, &erp.received("/stock/receipts"));
}

/// Each flow fails several times, and questions get one of these problems, which names the WMS.
fn fails_and_says_so(server: &Server, site: &Site, problems: &[&str]) {
    let wms = site.wms().url;
    let mut met = BTreeMap::new();
    wait_for("the circuit opens", || {
        let answer = ask(server);
        assert!(answer.status >= 500, "an answer of a system that fails: {answer:?}");
        let named = answer.body["system"].as_str().unwrap_or_default().contains(&wms);
        assert!(named, "the WMS is not named: {answer:?}");
        *met.entry(answer.problem().to_owned()).or_insert(0) += 1;
        met.contains_key("circuit-open").then_some(())
    });
    met.remove("circuit-open");
    assert!(
        !met.is_empty() && met.keys().all(|kind| problems.contains(&kind.as_str())),
        "{met:?} are not {problems:?}"
    );
    for flow in ["tickets", "stock", "report"] {
        server.fails(flow, 2);
    }
}

/// One document, with all receipts and totals that say so.
fn batch_is_whole(documents: &[Value], run: &Value) {
    let [document] = documents else { panic!("{} documents", documents.len()) };
    let rows = document["rows"].as_array().expect("rows");
    let bodies: Vec<Value> = rows.iter().map(|row| row["body"].clone()).collect();
    let count = KEYS.len() as u64 * (BEFORE + DURING);
    assert_eq!(bodies.len() as u64, count, "{document}");
    let sum: u64 = bodies.iter().filter_map(|body| body["n"].as_u64()).sum();
    assert_eq!(document["totals"]["rows"], count);
    assert_eq!(document["totals"]["sums"]["receipt.n"]["sum"], sum.to_string(), "{}", document["totals"]);
    assert_eq!(document["head"]["run_id"], run["id"], "{}", document["head"]);
    assert!(ns(&run["created"]) > 0);
}

/// A receiver that asks for a second gets at least that: by its own clock, between two tries of one
/// delivery.
fn retry_after_was_kept(order: &Value, received: &[Value]) {
    if order["mode"] != "429" && order["mode"] != "503" {
        return;
    }
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    let mut pauses = 0;
    for request in received {
        let key = request["idempotency_key"].as_str().expect("a key");
        let time = request["time_unix_ms"].as_u64().expect("a time");
        if let Some(before) = refused.remove(key) {
            assert!(time - before >= 1_000, "tried again after {} ms: {request}", time - before);
            pauses += 1;
        }
        if request["status"].as_u64().is_some_and(|status| status >= 400) {
            refused.insert(key, time);
        }
    }
    assert!(pauses > 0, "nothing was tried again");
}

#[test]
fn systems_that_are_down() {
    systems_fail(&json!({ "mode": "down" }), &["upstream-unreachable"]);
}

/// They work, and answer after everybody has given up: every delivery is in doubt and has its effect.
#[test]
fn systems_that_are_slow() {
    systems_fail(&json!({ "mode": "slow", "delay_ms": 700 }), &["timeout"]);
}

#[test]
fn systems_that_hang() {
    systems_fail(&json!({ "mode": "hang" }), &["timeout"]);
}

#[test]
fn systems_that_answer_429() {
    systems_fail(&json!({ "mode": "429", "delay_ms": 1000 }), &["upstream-error"]);
}

#[test]
fn systems_that_answer_500() {
    systems_fail(&json!({ "mode": "500" }), &["upstream-error"]);
}

#[test]
fn systems_that_answer_503() {
    systems_fail(&json!({ "mode": "503", "delay_ms": 1000 }), &["upstream-error"]);
}

/// They work, and close the connection in place of an answer.
#[test]
fn systems_that_reset_connections() {
    systems_fail(&json!({ "mode": "reset" }), &["upstream-unreachable"]);
}

/// Publishers that deliver everything twice, at the same time as nothing else is wrong.
#[test]
fn publishers_that_deliver_twice() {
    systems_fail(&json!({ "mode": "twice" }), &[]);
}
