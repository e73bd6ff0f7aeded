//! One place watches and governs the five patterns: flows are paused and go on, a failed delivery is
//! looked at, corrected and replayed, a message is followed by its id, and who did what is recorded.

mod support;

use serde_json::{Value, json};
use support::business::HASTY;
use support::site::Site;
use support::{Server, wait_for};

const FLOW: &str = "goods-receipt-to-erp";

fn receipt(id: &str, material: &str, quantity: u64) -> Value {
    json!({ "receipt_id": id, "material": material, "quantity": quantity })
}

fn audited(server: &Server, what: &str, about: &str) -> Value {
    wait_for(&format!("the audit has {what:?} of {about}"), || {
        let is_it = |line: &Value| line["what"] == what && (line["flow"] == about || line["target"] == about);
        server.audit().into_iter().find(is_it)
    })
}

/// 1. A value rises above its limit and comes back below it, but not to where the alarm clears.
/// 2. The server is killed. Started again it sees the value between the two: the alarm is still active.
/// 3. The value falls below where it clears: the alarm is normal, after one event in all.
#[test]
fn an_alarm_between_limit_and_clear_outlives_a_crash() {
    let sections = "[[source]]\nname = \"lab\"\nkind = \"native\"\npath = \"lab\"\n\n\
         [[rule]]\nname = \"hot\"\nmatch = \"lab/**\"\nkind = \"high\"\nlimit = 180.0\nclear = 175.0\n\
         event = \"overheat\"\n";
    let mut server = Server::start(sections);
    let value = |server: &Server, value: f64| {
        server.put("/v1/ingest", &json!([{ "tag": "lab/kiln", "value": value }]));
    };
    let state = |server: &Server| server.ask("/v1/alarms")[0]["state"].as_str().map(str::to_owned);
    value(&server, 190.0);
    wait_for("the alarm is active", || state(&server).filter(|state| state == "unacknowledged"));
    value(&server, 177.0);
    server.kill();
    server.run();
    value(&server, 178.0);
    wait_for("the new value is seen", || (server.latest("lab/kiln")?["value"] == 178.0).then_some(()));
    value(&server, 179.0);
    wait_for("and the next", || (server.latest("lab/kiln")?["value"] == 179.0).then_some(()));
    assert_eq!(state(&server).as_deref(), Some("unacknowledged"), "it holds between limit and clear");
    value(&server, 170.0);
    wait_for("it clears", || state(&server).filter(|state| state == "cleared-unacknowledged"));
    let events = server.ask("/v1/events?type=overheat");
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1), "{events}");
}

/// 1. A flow is paused: it says by whom, what comes waits, other flows go on.
/// 2. It is still paused after a crash.
/// 3. It is resumed, and what waited goes out.
#[test]
fn a_paused_flow_waits_and_goes_on() {
    let site = Site::start();
    let (erp, portal) = (site.erp(), site.portal());
    let mut server = Server::start_in("UTC", &site.reference());
    let paused =
        server.put(&format!("/v1/flows/{FLOW}/pause"), &json!({ "by": "anna", "comment": "stocktaking" })).body;
    assert_eq!((&paused["state"], &paused["paused_by"]), (&json!("paused"), &json!("anna")), "{paused}");
    for n in 1..=3 {
        server.put("/v1/records/goods-receipt", &receipt(&format!("R{n}"), "steel", n));
    }
    let event = json!({ "id": "1", "source": "press", "type": "machine-fault", "severity": 900, "message": "stop", "data": {} });
    server.put("/v1/events", &event);
    wait_for("others go on", || (portal.bodies("/delays").len() == 1).then_some(()));
    server.kill();
    server.run();
    wait_for("it is paused, and three wait", || {
        let flow = server.flow(FLOW);
        (flow["state"] == "paused" && flow["paused_by"] == "anna" && flow["backlog"] == 3).then_some(())
    });
    assert_eq!(erp.received("/stock/receipts"), Vec::<Value>::new());
    server.put(&format!("/v1/flows/{FLOW}/resume"), &json!({ "by": "ben" }));
    wait_for("what waited goes out", || (erp.bodies("/stock/receipts").len() == 3).then_some(()));
    assert_eq!(
        wait_for("it runs", || Some(server.flow(FLOW)).filter(|flow| flow["state"] == "running"))["paused_by"],
        Value::Null
    );
    assert_eq!(audited(&server, "pause flow", FLOW)["who"], "anna");
    assert_eq!(audited(&server, "resume flow", FLOW)["who"], "ben");
}

/// 1. The ERP refuses one receipt: it is a dead letter with what was sent and what was answered, and
///    receipts of other materials go on.
/// 2. Its trace shows its way; the same after a crash.
/// 3. Its body is corrected and replayed: the ERP has it, once, and both tries are kept.
#[test]
fn a_dead_letter_is_inspected_corrected_and_replayed() {
    let site = Site::start();
    let erp = site.erp();
    let mut server = Server::start_in("UTC", &site.reference());
    erp.fault(&json!({ "mode": "refuse", "text": "poison" }));
    server.put("/v1/records/goods-receipt", &receipt("R1", "poison", 4));
    server.put("/v1/records/goods-receipt", &receipt("R2", "steel", 5));
    let first = |server: &Server| server.ask(&format!("/v1/dead-letters?flow={FLOW}"))[0].clone();
    let letter = wait_for("a dead letter", || Some(first(&server)).filter(|letter| letter.is_object()));
    wait_for("other materials go on", || (erp.get("/stock/steel")["on_hand"] == 5.0).then_some(()));
    assert_eq!(
        (&letter["state"], &letter["reason"], &letter["key"]),
        (&json!("open"), &json!("rejected"), &json!("poison")),
        "{letter}"
    );
    assert_eq!(letter["request"]["body"], json!({ "material": "poison", "quantity": 4, "receipt": "R1" }));
    assert_eq!(letter["request"]["url"], format!("{}/stock/receipts", erp.url));
    let attempts = letter["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 1, "{letter}");
    assert!(attempts[0]["outcome"].as_str().is_some_and(|outcome| outcome.contains("422")), "{letter}");
    assert!(attempts[0]["answer"].as_str().is_some_and(|answer| answer.contains("told to answer so")), "{letter}");

    // a letter is shown before it is durable; what is acknowledged behind it says that it is
    server.put("/v1/events", &json!({ "type": "nobody.asks", "source": "test", "id": "behind-the-letter" }));
    server.kill();
    server.run();
    assert_eq!(first(&server), letter, "the same after a crash");
    let id = letter["id"].as_str().expect("an id");
    let corrected = json!({ "material": "copper", "quantity": 4, "receipt": "R1" });
    let by = json!({ "by": "anna", "comment": "a typing error", "body": corrected });
    let replayed = server.put(&format!("/v1/dead-letters/{id}/replay"), &by).body;
    assert_eq!((&replayed["state"], &replayed["by"]), (&json!("replayed"), &json!("anna")), "{replayed}");
    wait_for("the ERP has it", || (erp.get("/stock/copper")["on_hand"] == 4.0).then_some(()));
    let tries: Vec<Value> =
        erp.received("/stock/receipts").into_iter().filter(|one| one["body"]["receipt"] == "R1").collect();
    assert_eq!(tries.len(), 2, "{tries:?}");
    assert_ne!(tries[0]["idempotency_key"], tries[1]["idempotency_key"], "another body is another request");
    assert_eq!(erp.effects("/stock/receipts").len(), 2);
    assert_eq!(audited(&server, "replay dead letter", id)["who"], "anna");
    followed(&server, &letter);
}

/// The trace of a message: where it came in, every delivery of it with every try.
fn followed(server: &Server, letter: &Value) {
    let message = letter["message"].as_str().expect("a message");
    let path = format!("/v1/trace/{}", message.replace('#', "%23"));
    let trace = wait_for("both deliveries are traced", || {
        let trace = server.ask(&path);
        let ended = trace["deliveries"].as_array()?.iter().filter(|one| one["state"] == "delivered").count();
        (ended == 1).then_some(trace)
    });
    assert_eq!((&trace["message"]["id"], &trace["message"]["kind"]), (&letter["message"], &json!("record")), "{trace}");
    assert!(trace["steps"].as_array().is_some_and(|steps| steps.len() >= 3), "{trace}");
    let deliveries = trace["deliveries"].as_array().expect("deliveries");
    let state = |replay: bool| {
        let of_it =
            deliveries.iter().find(|one| (one["id"] == letter["id"]) != replay).unwrap_or_else(|| panic!("{trace}"));
        let outcomes: Vec<&str> =
            of_it["attempts"].as_array().expect("attempts").iter().filter_map(|one| one["outcome"].as_str()).collect();
        (of_it["state"].as_str().expect("a state").to_owned(), outcomes.join(" "))
    };
    let (dead, refused) = state(false);
    assert!(dead == "dead" && refused.contains("422"), "{trace}");
    let (delivered, taken) = state(true);
    assert!(delivered == "delivered" && taken.contains("201"), "{trace}");
}

/// A body that cannot be made of a record is a dead letter with the expression and its input; when
/// the configuration is mended it is replayed with the new one.
#[test]
fn what_cannot_be_mapped_waits_with_its_expression_and_its_input() {
    let site = Site::start();
    let mes = site.mes();
    let sync = |body: &str| {
        format!(
            "[[record]]\nname = \"order\"\nid = \"id\"\n\n[[sync]]\nname = \"orders\"\non = {{ record = \"order\" }}\n\
             to = {{ http = \"{}/machines/{{id}}\", method = \"PUT\" }}\nbody = \"{body}\"\n{HASTY}",
            mes.url
        )
    };
    let (wrong, right) = (sync("{'unit': record.unit}"), sync("{'unit': 'pieces'}"));
    let mut server = Server::start_in("UTC", &wrong);
    server.put("/v1/records/order", &json!({ "id": "O1" }));
    let letter = wait_for("a dead letter", || Some(server.ask("/v1/dead-letters")[0].clone()).filter(Value::is_object));
    assert_eq!(letter["reason"], "mapping", "{letter}");
    assert_eq!(letter["expression"], "{'unit': record.unit}", "{letter}");
    assert_eq!(letter["input"]["record"], json!({ "id": "O1" }), "{letter}");
    assert_eq!(mes.received("/machines/O1"), Vec::<Value>::new());

    assert_eq!(server.stop(), Some(0), "{}", server.log());
    server.configure(&server.configuration().replace(&wrong, &right));
    server.run();
    assert_eq!(server.put("/v1/dead-letters/replay?flow=orders", &json!({ "by": "anna" })).body["replayed"], 1);
    wait_for("it is delivered", || (mes.bodies("/machines/O1") == [json!({ "unit": "pieces" })]).then_some(()));
    assert_eq!(server.ask("/v1/dead-letters?state=open"), json!([]));
    let behind = |list: &str, after: &str| {
        let call = ureq::get(server.url(&format!("/v1/{list}?after={after}"))).config().http_status_as_error(false);
        call.build().call().expect("an answer").status().as_u16()
    };
    let id = letter["id"].as_str().expect("an id");
    assert_eq!(behind("dead-letters", id), 200);
    for list in ["dead-letters", "deliveries"] {
        assert_eq!(behind(list, "nobody"), 422, "{list} that began anew would never end");
    }
}

/// Every flow of every pattern is in one list and in the metrics, with what it did.
#[test]
fn flows_and_metrics_show_every_pattern() {
    let site = Site::start();
    let server = Server::start_in("UTC", &site.reference());
    server.put("/v1/records/goods-receipt", &receipt("R1", "steel", 4));
    wait_for("a receipt is in the ERP", || (site.erp().bodies("/stock/receipts").len() == 1).then_some(()));
    server.put("/v1/requests/material-availability", &json!({ "material": "steel" }));
    let flows = server.ask("/v1/flows");
    let patterns: std::collections::BTreeSet<&str> =
        flows.as_array().expect("a list").iter().filter_map(|flow| flow["pattern"].as_str()).collect();
    assert_eq!(patterns.into_iter().collect::<Vec<_>>(), ["batch", "event", "request", "sync", "telemetry"]);
    wait_for("the metrics say so", || {
        let text = ureq::get(server.url("/metrics")).call().ok()?.body_mut().read_to_string().ok()?;
        let delivered = |flow: &str, pattern: &str, count: u64| {
            text.contains(&format!(
                "millstream_flow_delivered_total{{flow=\"{flow}\",pattern=\"{pattern}\"}} {count}\n"
            ))
        };
        let all = delivered(FLOW, "sync", 1) && delivered("material-availability", "request", 1);
        (all && delivered("shift-report", "batch", 0) && delivered("cmms-ticket", "event", 0)).then_some(())
    });
    let erp = server.flow(FLOW);
    assert_eq!((&erp["state"], &erp["delivered"], &erp["backlog"]), (&json!("running"), &json!(1), &json!(0)), "{erp}");
    assert!(
        erp["latency"].as_array().is_some_and(|buckets| buckets.iter().any(|bucket| bucket["count"] == 1)),
        "{erp}"
    );
}

/// 1. A thousand events, and a thousand documents, come in one call each; their target is down.
/// 2. All of them are shown in one list.
/// 3. None of it was one long poll, for which telemetry would have waited: what counts polls counts hundreds.
#[test]
fn what_brings_or_shows_much_lets_telemetry_in_between() {
    let sections = "[[record]]\nname = \"receipt\"\nid = \"receipt_id\"\n\n\
         [[subscriber]]\nname = \"portal\"\nevent = \"stop\"\nto = { http = \"http://127.0.0.1:9/portal\" }\n";
    let server = Server::start(sections);
    let event = |n: usize| json!({ "id": n.to_string(), "source": "press", "type": "stop", "data": { "n": n } });
    let taken = server.put("/v1/events", &(0..1_000).map(event).collect()).body;
    assert_eq!(taken.as_array().map(Vec::len), Some(1_000));
    let documents: Value = (0..1_000).map(|n| receipt(&format!("R{n}"), "steel", n)).collect();
    let taken = server.put("/v1/records/receipt", &documents).body;
    assert_eq!(taken[999]["version"], 1, "{}", taken[999]);
    let again = server.put("/v1/records/receipt", &documents).body;
    assert!(again.as_array().is_some_and(|all| all.iter().all(|one| one["duplicate"] == true)), "{again}");
    wait_for("a window of them waits", || {
        (server.ask("/v1/deliveries?limit=1000").as_array()?.len() == 1_000).then_some(())
    });
    let polls = |stage: &str| -> u64 {
        let cores = server.ask("/v1/cores");
        let stages = cores.as_array().into_iter().flatten().filter_map(|core| core["stages"].as_array()).flatten();
        stages.filter(|one| one["name"] == stage).filter_map(|one| one["polls"].as_u64()).sum()
    };
    for stage in ["publish", "put-records", "deliveries"] {
        wait_for(&format!("{stage} is hundreds of polls"), || (polls(stage) >= 250).then_some(()));
    }
    let refused = server.post("/v1/records/receipt", &json!({ "receipt_id": [] }));
    assert_eq!(refused.status, 422, "{}", refused.body);
}
