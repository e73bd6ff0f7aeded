//! The five patterns as they happen in the plant, with the configuration that the documentation
//! shows: each is driven through the real binary, the named system is broken, and what counts is what
//! the other side received: the ERP, the WMS, the MES, the CMMS, the portal, the oven.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::business::{Answer, HASTY, post, same_on_every_try, tuned, wait_long};
use support::history::ns;
use support::site::Site;
use support::{Server, wait_for};

const MINUTE_NS: i64 = 60_000_000_000;
const PRESS: &str = "riverside/press/line1/press";

fn start(site: &Site) -> Server {
    let server = Server::start_in("Europe/Amsterdam", &site.reference());
    site.feed(&server);
    server
}

/// Waits until so many bodies took effect on a path, and answers them.
fn effects(system: &support::business::System, path: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} effects on {path}"), || Some(system.bodies(path)).filter(|all| all.len() >= count))
}

fn texts<'v>(all: &'v [Value], field: &str) -> Vec<&'v str> {
    all.iter().map(|one| one[field].as_str().unwrap_or_default()).collect()
}

// ---- telemetry ----------------------------------------------------------------------------------

/// 1. Presses, oven and meters send; nobody waits for a consumer: every business system is down.
/// 2. What was acknowledged is there after a crash.
/// 3. A press falls silent: what is missing is counted by its source, and a gap says so.
#[test]
fn telemetry_is_kept_when_acknowledged_and_counted_when_not() {
    let site = Site::start();
    for system in [site.erp(), site.wms(), site.mes(), site.cmms(), site.portal()] {
        system.mode("down");
    }
    let mut server = start(&site);
    let machines = [
        (format!("{PRESS}1/*"), 6),
        ("riverside/utilities/energy/**".into(), 16),
        ("riverside/paint/line1/oven/zones/*".into(), 12),
    ];
    machines.iter().for_each(|(glob, count)| server.all_good(glob, *count));
    let sample = json!([{ "tag": "riverside/vibration/rig1", "value": 4.25 }]);
    assert_eq!(server.post("/v1/ingest", &sample).status, 204);
    server.kill();
    server.run();
    let stored = server.history("riverside/vibration/rig1", 0, server.now()).samples;
    assert_eq!(stored.iter().map(|one| one.value.clone()).collect::<Vec<_>>(), [json!(4.25)]);
    machines.iter().for_each(|(glob, count)| server.all_good(glob, *count));

    // a counter that is still 0 is not shown
    let timeouts = |server: &Server| server.source("press1")["counters"]["timeouts"].as_u64().unwrap_or_default();
    let before = timeouts(&server);
    site.switch("press/1", "silent");
    wait_for("what is missing is counted", || (timeouts(&server) > before).then_some(()));
    site.switch("press/1", "ok");
    server.all_good(&format!("{PRESS}1/*"), 6);
    let gaps = server.history(&format!("{PRESS}1/pressure"), 0, server.now()).gaps;
    assert!(gaps.iter().any(|gap| gap.count > Some(0)), "{gaps:?}");
}

// ---- request/reply ------------------------------------------------------------------------------

fn ask(server: &Server, name: &str) -> Answer {
    server.post(&format!("/v1/requests/{name}"), &json!({ "material": "steel-blank-a" }))
}

/// 1. The ERP plans a work order, asks, gets the WMS's answer and releases it.
/// 2. The WMS fails: the ERP hears who is at fault, releases nothing, and the circuit opens: the WMS
///    is left alone. A stored answer stands in only where that is configured, and says so.
/// 3. The WMS hangs: the answer comes within the caller's time.
/// 4. The WMS is back: the order is released.
#[test]
fn material_is_asked_for_before_a_work_order_is_released() {
    let site = Site::start();
    let (erp, wms) = (site.erp(), site.wms());
    let cached = format!(
        "\n[[request]]\nname = \"availability-or-stored\"\nto = {{ http = \"{}/stock/{{material}}\", method = \"GET\" }}\n\
         cache = \"5m\"\n",
        wms.url
    );
    let text = site.reference().replace("open = \"10s\"", "open = \"300ms\", open_max = \"300ms\"") + &cached;
    let server = Server::start_in("Europe/Amsterdam", &text);
    site.feed(&server);
    let right = wms.get("/stock/steel-blank-a");
    erp.post("/work-orders", &json!({ "work_order": "WO-1", "material": "steel-blank-a", "quantity": 10 }));
    let asked = |order: &str| {
        let all = erp.get("/_asked")["asked"].as_array().expect("a list").clone();
        all.into_iter().find(|one| one["work_order"] == order).expect("it was asked")
    };
    let first = wait_for("WO-1 is released", || Some(asked("WO-1")).filter(|one| one["released"] == true));
    assert_eq!(first["available"].as_f64(), right["available"].as_f64());
    assert_eq!(ask(&server, "availability-or-stored").body, right);

    wms.mode("500");
    erp.post("/work-orders", &json!({ "work_order": "WO-2", "material": "steel-blank-a", "quantity": 10 }));
    let refused = wait_for("the ERP hears of it", || Some(asked("WO-2")).filter(|one| one["status"].is_number()));
    assert_eq!(refused["released"], false, "{refused}");
    let open = wait_for("the circuit opens", || {
        Some(ask(&server, "material-availability")).filter(|one| one.problem() == "circuit-open")
    });
    assert_eq!(open.status, 503, "{open:?}");
    assert!(open.headers.contains_key("retry-after"), "{open:?}");
    let system = open.body["system"].as_str().expect("a system");
    assert!(system.contains(&wms.url), "{system} is not the WMS");
    let stored = ask(&server, "availability-or-stored");
    assert_eq!((stored.status, &stored.body), (200, &right), "{stored:?}");
    assert!(stored.headers.contains_key("millstream-stale") && stored.headers.contains_key("age"), "{stored:?}");
    let fresh_is_stale = ask(&server, "material-availability");
    assert!(!fresh_is_stale.is_good(), "a guess: {fresh_is_stale:?}");

    wms.mode("hang");
    let path = server.url("/v1/requests/material-availability");
    let late = wait_for("a call gets through to the WMS", || {
        let answer = post(&path, &[("Prefer", "wait=1")], &json!({ "material": "steel-blank-a" }))?;
        (answer.problem() == "timeout").then_some(answer)
    });
    assert_eq!(late.status, 504, "{late:?}");
    assert!(late.body["system"].as_str().expect("a system").contains(&wms.url), "{late:?}");
    assert_eq!(asked("WO-2")["released"], false);

    wms.mode("ok");
    let released = wait_for("WO-2 is released", || Some(asked("WO-2")).filter(|one| one["released"] == true));
    assert_eq!(released["available"].as_f64(), right["available"].as_f64());
}

/// The circuit keeps the WMS from being asked: no request reaches it while it is open.
#[test]
fn an_open_circuit_leaves_the_system_alone() {
    let site = Site::start();
    let wms = site.wms();
    let server = Server::start_in("UTC", &site.reference().replace("open = \"10s\"", "open = \"1h\""));
    wms.mode("500");
    wait_for("the circuit opens", || (ask(&server, "material-availability").problem() == "circuit-open").then_some(()));
    for _ in 0..20 {
        assert_eq!(ask(&server, "material-availability").problem(), "circuit-open");
    }
    assert_eq!(wms.received("/stock/steel-blank-a").len(), 5, "five failures open it");
}

/// 1. A set point within its range is written, read back, and is what the oven has.
/// 2. One outside is refused, and the oven has the old one.
/// 3. The audit has all of it: who, what it was, what it became.
#[test]
fn the_ovens_set_point_is_written_within_its_range_and_audited() {
    let site = Site::start();
    let server = start(&site);
    server.all_good("riverside/paint/line1/oven/setpoint", 1);
    let before = site.set_point();
    let wanted = if before == 200.0 { 190.0 } else { 200.0 };
    let write = |value: f64| server.post("/v1/requests/oven-setpoint", &json!({ "value": value }));
    let done = write(wanted);
    assert!(done.is_good(), "{done:?}\n{}", server.log());
    assert_eq!(
        (&done.body["before"], &done.body["written"], &done.body["read_back"]),
        (&json!(before), &json!(wanted), &json!(wanted))
    );
    assert_eq!(site.set_point(), wanted);
    let refused = write(300.0);
    assert!((400..500).contains(&refused.status) && refused.problem() == "out-of-range", "{refused:?}");
    assert_eq!(site.set_point(), wanted, "nothing was written");
    let line = |outcome: &str| {
        let is_it = |one: &&Value| one["outcome"].as_str().is_some_and(|text| text.starts_with(outcome));
        wait_for(outcome, || server.audit().iter().find(is_it).cloned())
    };
    for (outcome, after) in [("intended", wanted), ("verified", wanted), ("refused", 300.0)] {
        let line = line(outcome);
        assert_eq!(line["after"], after, "{line}");
        assert_eq!(line["target"], "riverside/paint/line1/oven/setpoint", "{line}");
        assert!(
            line["who"].is_string() && line["what"].as_str().is_some_and(|what| what.contains("oven-setpoint")),
            "{line}"
        );
        assert!(outcome == "refused" || line["before"] == before, "{line}");
    }
}

// ---- batch --------------------------------------------------------------------------------------

/// A CSV document of a batch: its lines by kind, each with its cells by column.
fn lines(document: &Value) -> BTreeMap<String, Vec<BTreeMap<String, String>>> {
    let text = document.as_str().expect("CSV");
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<String>>());
    let columns = lines.next().expect("columns");
    let mut kinds: BTreeMap<String, Vec<BTreeMap<String, String>>> = BTreeMap::new();
    for cells in lines {
        assert_eq!(cells.len(), columns.len(), "{text}");
        kinds.entry(cells[0].clone()).or_default().push(columns.iter().cloned().zip(cells).collect());
    }
    kinds
}

fn head(document: &Value, name: &str) -> String {
    let lines = lines(document);
    lines["head"].iter().find(|line| line["id"] == name).map(|line| line["value"].clone()).unwrap_or_default()
}

/// One shift in place of three, which ends with a minute of the clock that is not too near.
fn with_a_shift_that_ends_soon(site: &Site) -> (String, i64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos() as i64;
    let end = ((now + MINUTE_NS / 2) / MINUTE_NS + 1) * MINUTE_NS;
    let clock = |time: i64| model::TimestampNs(time).to_string()[11..16].to_owned();
    let reference = site.reference();
    let from = reference.find("[[shift]]").expect("shifts");
    let to = reference.find("[[batch]]").expect("a batch");
    let shift =
        format!("[[shift]]\nname = \"early\"\nstart = {:?}\nend = {:?}\n\n", clock(end - 60 * MINUTE_NS), clock(end));
    let text =
        format!("{}{shift}{}", &reference[..from], &reference[to..]).replace("delay    = \"2m\"", "delay    = \"1s\"");
    (tuned(&text, "shift-report", &HASTY.replace("400ms", "2s")), end)
}

/// 1. The MES posts hours, consumption and yield through a shift; meters count energy.
/// 2. The shift ends while the ERP fails; then one batch is in effect there, with all entries, the
///    energy, and control totals that the ERP's own count confirms.
/// 3. An entry comes late: a correction names the run and holds that entry, and new totals.
#[test]
fn a_shift_becomes_one_batch_and_its_late_entry_a_correction() {
    let site = Site::start();
    let (erp, mes) = (site.erp(), site.mes());
    let (text, end) = with_a_shift_that_ends_soon(&site);
    let server = Server::start_in("UTC", &text);
    site.feed(&server);
    server.all_good("riverside/utilities/energy/*/energy", 8);
    erp.fault(&json!({ "mode": "500", "count": 2 }));
    let entry = |body: Value| mes.post("/entries", &body)["entry"].as_str().expect("an id").to_owned();
    let mut ids = Vec::new();
    for hours in [7.5, 8.0, 0.1] {
        ids.push(entry(json!({ "kind": "labour", "work_order": "WO-1001", "hours": hours })));
    }
    for (order, quantity) in [("WO-1001", 40), ("WO-1002", 2)] {
        ids.push(entry(
            json!({ "kind": "consumption", "work_order": order, "material": "steel-blank-a", "quantity": quantity }),
        ));
    }
    ids.push(entry(json!({ "kind": "yield", "work_order": "WO-1002", "good": 38, "scrap": 1 })));
    wait_for("the MES is acknowledged", || {
        (mes.get("/_posted")["posted"].as_array()?.iter().all(|one| one["state"] == "acknowledged")).then_some(())
    });
    assert!(server.now() < end, "the shift ended before its entries were there; the machine is too busy for this test");

    let documents = wait_long("the shift's batch", || Some(erp.bodies("/batches")).filter(|all| !all.is_empty()));
    let found = lines(&documents[0]);
    let mut rows: Vec<&str> = found["row"].iter().map(|row| row["id"].as_str()).collect();
    rows.sort_unstable();
    ids.sort_unstable();
    assert_eq!(rows, ids, "{}", documents[0]);
    let total = |record: &str| found["total"].iter().find(|line| line["record"] == record).expect("a total");
    assert_eq!((total("")["count"].as_str(), total("labour")["count"].as_str()), ("6", "3"));
    let energy = &found["figure"];
    assert_eq!(energy.len(), 8, "{energy:?}");
    for figure in energy {
        assert_eq!(figure["record"], "delta");
        let samples = server.history(&figure["id"], 0, end).samples;
        let value =
            |at: Option<&support::history::Stored>| at.and_then(|sample| sample.value.as_f64()).expect("a value");
        let used = value(samples.last()) - value(samples.first());
        let said: f64 = figure["value"].parse().expect("a number");
        assert!((said - used).abs() < 1e-6, "{}: {said} in the batch, {used} stored", figure["id"]);
    }
    assert_eq!(same_on_every_try(&erp.received("/batches")), 3, "two failures, then it is taken");
    let answer = erp.effects("/batches")[0]["answer"].clone();
    assert_eq!((&answer["rows"], &answer["stated_rows"]), (&json!(6), &json!(6)), "the ERP's own count");
    let run = wait_for("the run is reconciled", || {
        let batches = server.ask("/v1/batches");
        let run = batches[0]["runs"][0].clone();
        (run["reconciliation"]["state"] == "matched").then_some(run)
    });
    assert_eq!((&run["state"], ns(&run["period"]["to"])), (&json!("delivered"), end), "{run}");
    assert_eq!(head(&documents[0], "run_id"), run["id"].as_str().expect("an id"));

    let within = model::TimestampNs(end - MINUTE_NS).to_string();
    let late = entry(json!({ "kind": "labour", "work_order": "WO-1001", "hours": 1.25, "time": within }));
    let documents = wait_long("the correction", || Some(erp.bodies("/batches")).filter(|all| all.len() > 1));
    assert_eq!(documents.len(), 2, "one batch and one correction");
    let found = lines(&documents[1]);
    assert_eq!(head(&documents[1], "correction_of"), head(&documents[0], "run_id"));
    assert_eq!(found["row"].iter().map(|row| row["id"].as_str()).collect::<Vec<_>>(), [late.as_str()]);
    let period = found["period"].iter().find(|line| line["record"].is_empty()).expect("the period's totals");
    assert_eq!(period["count"], "7");
}

// ---- events -------------------------------------------------------------------------------------

/// 1. A press faults: one event, one ticket, one change of plan, one delay.
/// 2. With the CMMS down more happens; ERP and portal have all of it, and the CMMS nothing.
/// 3. A subscriber is added by configuration alone, from the earliest event on.
/// 4. The CMMS is back and gets every event once, in order.
#[test]
fn a_press_faults_and_everybody_hears_once() {
    let site = Site::start();
    let (erp, cmms, portal) = (site.erp(), site.cmms(), site.portal());
    let mut server = start(&site);
    server.all_good(&format!("{PRESS}1/fault"), 1);
    server.all_good(&format!("{PRESS}2/fault"), 1);
    site.switch("press/1", "fault");
    let ticket = effects(&cmms, "/tickets", 1).remove(0);
    assert_eq!((&ticket["asset"], &ticket["priority"]), (&json!(format!("{PRESS}1")), &json!(900)), "{ticket}");
    let changes = effects(&erp, "/plan/changes", 1);
    let delays = effects(&portal, "/delays", 1);
    for heard in [&changes[0], &delays[0]] {
        assert_eq!((&heard["id"], &heard["type"]), (&ticket["event_id"], &json!("machine-fault")), "{heard}");
    }

    cmms.mode("down");
    site.switch("press/2", "fault");
    effects(&erp, "/plan/changes", 2);
    for (n, severity) in (1..=6).zip([900, 100].into_iter().cycle()) {
        let event = json!({ "id": n.to_string(), "source": "riverside/press/line1/press9", "type": "machine-fault", "severity": severity, "message": format!("fault {n}"), "data": {} });
        server.put("/v1/events", &event);
    }
    let everything = effects(&erp, "/plan/changes", 8);
    let severe: Vec<&Value> = everything.iter().filter(|event| event["severity"].as_u64() >= Some(800)).collect();
    assert_eq!(effects(&portal, "/delays", 5).iter().collect::<Vec<_>>(), severe, "the portal hears of what is severe");
    server.fails("cmms-ticket", 2);

    let added = format!(
        "\n[[subscriber]]\nname = \"quality\"\nevent = \"machine-fault\"\nfrom = \"earliest\"\n\
         to = {{ http = \"{}/delays?for=quality\" }}\nbody = \"{{'quality': event.id}}\"\n",
        portal.url
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    server.configure(&(server.configuration() + &added));
    server.run();
    let heard = effects(&portal, "/delays", 5 + 8);
    let quality: Vec<&str> = heard.iter().filter_map(|body| body["quality"].as_str()).collect();
    assert_eq!(quality, texts(&everything, "id"), "past events, in order");

    cmms.mode("ok");
    let tickets = effects(&cmms, "/tickets", 8);
    let of_press9 = |all: &[Value], source: &str, id: &str| -> Vec<Value> {
        all.iter().filter(|one| one[source] == "riverside/press/line1/press9").map(|one| one[id].clone()).collect()
    };
    assert_eq!(of_press9(&tickets, "asset", "event_id"), of_press9(&everything, "source", "id"));
    let mut ids = [texts(&tickets, "event_id"), texts(&everything, "id")];
    ids.iter_mut().for_each(|ids| ids.sort_unstable());
    assert_eq!(ids[0], ids[1], "every event once");
    assert_eq!((erp.bodies("/plan/changes").len(), portal.bodies("/delays").len()), (8, 13), "nobody hears twice");
    let events = server.get("/v1/events?type=machine-fault");
    assert_eq!(events["events"].as_array().map(Vec::len), Some(8), "published once each: {events}");
}

// ---- synchronisation ----------------------------------------------------------------------------

/// 1. Goods are received: the ERP's stock shows them.
/// 2. The WMS posts everything twice: it counts once.
/// 3. The ERP is down: receipts wait, and go out in order per material when it is back.
#[test]
fn goods_received_are_stock_in_the_erp() {
    let site = Site::start();
    let (erp, wms) = (site.erp(), site.wms());
    let server = start(&site);
    let receive = |material: &str, quantity: u64| {
        wms.post("/receipts", &json!({ "material": material, "quantity": quantity }))["receipt"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let stock = |material: &str| erp.get(&format!("/stock/{material}"))["on_hand"].clone();
    let mut sent: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    sent.entry("steel").or_default().push(receive("steel", 5));
    wait_for("the stock shows it", || (stock("steel") == 5.0).then_some(()));

    wms.mode("twice");
    sent.entry("steel").or_default().push(receive("steel", 7));
    wait_for("it was posted twice", || (wms.get("/_posted")["posted"][1]["acknowledgements"] == 2).then_some(()));
    wait_for("the stock shows it once", || (stock("steel") == 12.0).then_some(()));
    wms.mode("ok");

    erp.mode("down");
    for n in 0..6 {
        for material in ["steel", "powder"] {
            sent.entry(material).or_default().push(receive(material, 10 + n));
        }
    }
    wait_for("all of them wait", || (server.flow("goods-receipt-to-erp")["backlog"] == 12).then_some(()));
    erp.mode("ok");
    let arrived = effects(&erp, "/stock/receipts", 14);
    for (material, receipts) in &sent {
        let of_it: Vec<Value> = arrived.iter().filter(|one| one["material"] == *material).cloned().collect();
        assert_eq!(&texts(&of_it, "receipt"), receipts, "{material}, in order and once");
    }
    assert_eq!((stock("steel"), stock("powder")), (json!(12.0 + 75.0), json!(75.0)));
    same_on_every_try(&erp.received("/stock/receipts"));
}

/// Where the flow says so only the newest state goes out: the MES is down while a tag changes often.
#[test]
fn only_the_newest_state_goes_out() {
    let site = Site::start();
    let mes = site.mes();
    let rig = format!(
        "\n[[sync]]\nname = \"rig-to-mes\"\non = {{ tag = \"riverside/vibration/rig1\" }}\nkey = \"tag\"\ncoalesce = true\n\
         to = {{ http = \"{}/machines/rig\", method = \"PUT\" }}\nbody = \"{{'value': value}}\"\n{HASTY}",
        mes.url
    );
    let server = Server::start_in("UTC", &(site.reference() + &rig));
    let send = |value: u64| {
        assert_eq!(
            server.post("/v1/ingest", &json!([{ "tag": "riverside/vibration/rig1", "value": value }])).status,
            204
        )
    };
    let values = || mes.bodies("/machines/rig").iter().filter_map(|body| body["value"].as_u64()).collect::<Vec<u64>>();
    send(1);
    wait_for("the first state", || (values() == [1]).then_some(()));
    mes.mode("down");
    for value in 2..=9 {
        send(value);
        let newest = json!(value);
        wait_for("the state waits", || {
            let waiting = server.ask("/v1/deliveries?flow=rig-to-mes&limit=1");
            let message =
                server.try_get(&format!("/v1/trace/{}", waiting[0]["message"].as_str()?.replace('#', "%23")))?;
            (message["message"]["body"]["value"] == newest).then_some(())
        });
    }
    mes.mode("ok");
    wait_for("the newest state", || (values().last() == Some(&9)).then_some(()));
    let seen = values();
    assert!(seen.len() <= 3 && seen.is_sorted(), "the states between went out, too: {seen:?}");
    wait_for("the oven's own state", || (!mes.get("/machines")["oven"].is_null()).then_some(()));
}
