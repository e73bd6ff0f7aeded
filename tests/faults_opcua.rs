//! The oven over OPC UA: its values come and move; when its server goes, its tags turn Bad and say
//! why, nothing else is touched, and all of it comes back by itself with a gap record.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use support::history::ns;
use support::site::Site;
use support::{Server, wait_for};

const TIMING: &str = "publishing = \"200ms\"\nsampling = \"100ms\"\nkeep_alive = \"1s\"\nwatchdog = \"3s\"\nqueue = 10";
const ZONES: usize = 12;
/// State and set point stand beside the zones.
const TAGS: usize = ZONES + 2;
const PRESS: &str = "site/press2/temperature";

fn start(site: &Site) -> Server {
    let server = Server::start(&(site.oven(TIMING) + &site.press(2, "every = \"1s\"\ntimeout = \"20s\"")));
    server.all_good("site/oven/**", TAGS);
    server.all_good("site/press2/*", 6);
    server
}

/// The zones' values by tag.
fn zones(server: &Server) -> BTreeMap<String, f64> {
    let all = server.ask("/v1/latest?match=site/oven/zones/**");
    let zone = |latest: &Value| Some((latest["tag"].as_str()?.to_owned(), latest["value"].as_f64()?));
    all.as_array().expect("a list").iter().filter_map(zone).collect()
}

#[test]
fn every_zone_the_state_and_the_set_point_are_good_and_the_zones_move() {
    let site = Site::start();
    let server = start(&site);
    let first = zones(&server);
    assert_eq!(first.len(), ZONES, "{first:?}");
    assert!(first.values().all(|celsius| (0.0..300.0).contains(celsius)), "{first:?}");
    wait_for("every zone has another value", || {
        let now = zones(&server);
        first.iter().all(|(tag, value)| now.get(tag).is_some_and(|now| now != value)).then_some(())
    });
    let state = server.latest("site/oven/state").expect("the state");
    assert_eq!((&state["kind"], &state["quality"]), (&"i64".into(), &"Good".into()), "{state}");
    let set_point = server.latest("site/oven/setpoint").expect("the set point");
    assert!(set_point["value"].as_f64().is_some_and(|celsius| celsius > 0.0), "{set_point}");
    assert!(set_point["unit"].as_str().is_some_and(|unit| unit.contains('C')), "the server's unit: {set_point}");
    let source = wait_for("the source runs", || Some(server.source("oven")).filter(|it| it["state"] == "running"));
    assert_eq!(source["tags"], TAGS, "{source}");
    // the times are the server's own: a second look at one zone never goes back
    let tag = first.keys().next().expect("a zone");
    let times: Vec<i64> = server.history(tag, 0, server.now()).samples.iter().map(|sample| sample.time).collect();
    assert!(times.len() > 1 && times.is_sorted(), "{times:?}");
}

/// A subscription ends without a word when its server is switched off: a client that only waits for
/// notifications shows the last temperature as good for ever.
#[test]
fn a_stopped_oven_turns_bad_with_a_reason_and_comes_back_by_itself() {
    let site = Site::start();
    let server = start(&site);
    let broken_at = server.now();
    site.switch("oven", "stop");
    let reason = wait_for("every tag of the oven is bad and the source says why", || {
        let source = server.source("oven");
        let bad = server.qualities("site/oven/**").iter().filter(|quality| quality.starts_with("Bad")).count();
        let reason = source["reason"].as_str().unwrap_or_default().to_owned();
        (bad == TAGS && source["state"] != "running" && !reason.is_empty()).then_some(reason)
    });
    let address = site.at.oven.trim_start_matches("opc.tcp://").split('/').next().expect("host and port").to_owned();
    assert!(reason.contains(&address), "the reason does not say where: {reason}");
    let last = |server: &Server| ns(&server.latest(PRESS).expect("the press")["seen"]);
    let before = last(&server);
    wait_for("the press is polled meanwhile", || (last(&server) > before).then_some(()));
    let mended_at = server.now();
    site.switch("oven", "ok");
    server.all_good("site/oven/**", TAGS);
    let values = zones(&server);
    wait_for("the zones move again", || (zones(&server) != values).then_some(()));
    wait_for("the source runs again", || (server.source("oven")["state"] == "running").then_some(()));

    for tag in values.keys().map(String::as_str).chain(["site/oven/state", "site/oven/setpoint"]) {
        let history = server.history(tag, broken_at, server.now());
        let bad = history.samples.iter().find(|sample| sample.quality.starts_with("Bad")).expect("a bad sample").time;
        let from = history.gaps.iter().map(|gap| gap.from).min().unwrap_or(i64::MAX);
        let to = history.gaps.iter().map(|gap| gap.to).max().unwrap_or(i64::MIN);
        assert!(from <= bad && to >= mended_at, "{tag}: bad since {bad}, mended at {mended_at}: {:?}", history.gaps);
        assert!(history.gaps.iter().all(|gap| gap.reason == "not-connected"), "{tag}: {:?}", history.gaps);
    }
    let press = server.history(PRESS, broken_at, server.now());
    assert!(press.samples.len() > 1 && press.samples.iter().all(|sample| sample.is_good()), "{press:?}");
    assert!(press.gaps.is_empty(), "the press has gaps: {:?}", press.gaps);
}
