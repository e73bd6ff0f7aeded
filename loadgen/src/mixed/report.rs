//! The report: one JSON value, from which text and page are made.

use super::account::Shared;
use super::options::{Lane, Options};
use super::{Events, Measured};
use crate::drive::Outcome;
use crate::hiccup::histogram;
use crate::machine;
use crate::report::{percentiles_json, time, whole};
use crate::timeline::Timeline;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Everything that is told of a run.
pub(super) fn json(options: &Options, measured: &mut Measured) -> Value {
    let mut lanes = Vec::new();
    if let Some(telemetry) = &mut measured.telemetry {
        lanes.push(of_telemetry(telemetry, options));
    }
    if let Some(events) = &measured.events {
        lanes.push(of_events(events, options));
    }
    let accounts = &measured.accounts;
    for (lane, account, what) in [
        (Lane::Queries, &accounts.queries, "asked to answered"),
        (Lane::Requests, &accounts.requests, "asked to replied"),
        (Lane::Batch, &accounts.batch, "asked for to document received"),
    ] {
        if options.drives(lane) {
            lanes.push(of_calls(lane, account, what, options));
        }
    }
    let used = &measured.used;
    let known = !used.server.is_empty();
    let others = used.core_busy_ns.filter(|_| known).map(|busy| busy.saturating_sub(used.server_ns()));
    let by_thread: Vec<Value> =
        used.server.iter().map(|(name, ns)| json!({ "thread": name, "cpu_s": *ns as f64 / 1e9 })).collect();
    let [before, after] = &measured.hiccups;
    json!({
        "problems": problems(&lanes, measured, options),
        "at": client::now().to_string(),
        "lanes": lanes,
        "server": {
            "version": measured.version,
            "looked_at_for_s": measured.seconds,
            "cpu_s": known.then(|| used.server_ns() as f64 / 1e9),
            "cpu_s_by_thread": by_thread,
            "core_busy_s": used.core_busy_ns.map(|ns| ns as f64 / 1e9),
            "core_used_by_others_s": others.map(|ns| ns as f64 / 1e9),
            "cores": measured.cores,
        },
        "own_cpu_s": used.own_ns as f64 / 1e9,
        "hiccups_before": before.json(),
        "hiccups_after": after.json(),
        "machine": machine::facts(),
        "loadgen": env!("CARGO_PKG_VERSION"),
        "options": options.shown(),
    })
}

/// What every lane has: `unit` is what its throughput counts, `what` where its latency begins and ends.
fn lane(lane: Lane, unit: &str, what: &str, seconds: f64, timeline: &mut Timeline) -> Value {
    let mut shown = timeline.json();
    shown["lane"] = json!(lane.name());
    shown["unit"] = json!(unit);
    shown["latency_of"] = json!(what);
    shown["done"] = json!(timeline.done);
    shown["per_s"] = json!(timeline.done as f64 / seconds);
    shown["errors"] = json!(0);
    shown["first_error"] = Value::Null;
    shown
}

fn of_telemetry(outcome: &mut Result<Outcome, String>, options: &Options) -> Value {
    match outcome {
        Ok(outcome) => {
            let what = "frame due to acknowledged";
            let mut shown = lane(Lane::Telemetry, "samples", what, outcome.seconds, &mut outcome.latency);
            shown["frames_per_s"] = json!(outcome.frames as f64 / outcome.seconds);
            shown["bytes_per_s"] = json!(outcome.bytes as f64 / outcome.seconds);
            shown["behind_schedule"] = percentiles_json(&outcome.behind);
            shown["unacknowledged_frames"] = json!(outcome.unacknowledged_frames);
            shown["reconnects"] = json!(outcome.reconnects);
            shown
        }
        Err(why) => failed(Lane::Telemetry, why, options),
    }
}

fn of_events(events: &Events, options: &Options) -> Value {
    let mut ledger = events.run.ledger();
    let mut shown = lane(Lane::Events, "deliveries", "due to received", options.seconds, &mut ledger.latency);
    shown["events_published"] = json!(ledger.published);
    shown["received"] = json!(ledger.received);
    shown["missing"] = json!(events.missing);
    shown["reordered"] = json!(ledger.reordered);
    shown["duplicates"] = json!(ledger.duplicates);
    shown["strangers"] = json!(ledger.strangers);
    match &events.published {
        Ok(published) => {
            shown["due_to_published"] = percentiles_json(&published.latency);
            shown["calls_again"] = json!(published.again);
        }
        Err(why) => {
            shown["errors"] = json!(1);
            shown["first_error"] = json!(why);
        }
    }
    shown
}

fn of_calls(of: Lane, account: &Shared, what: &str, options: &Options) -> Value {
    let unit = if of == Lane::Batch { "documents" } else { "calls" };
    let mut account = account.lock();
    let mut shown = lane(of, unit, what, options.seconds, &mut account.timeline);
    shown["errors"] = json!(account.errors);
    shown["first_error"] = json!(account.first_error);
    shown["bytes"] = json!(account.bytes);
    let kinds = account.kinds.iter();
    shown["kinds"] = kinds
        .map(|(name, latency)| json!({ "kind": name, "per_s": latency.len() as f64 / options.seconds, "latency": percentiles_json(latency) }))
        .collect();
    shown
}

/// A lane that ended before its time.
fn failed(of: Lane, why: &str, options: &Options) -> Value {
    let window = crate::window::Window::starting_now(options.seconds);
    let mut shown = lane(of, "samples", "nothing", options.seconds, &mut Timeline::new(window));
    shown["behind_schedule"] = percentiles_json(&histogram());
    shown["errors"] = json!(1);
    shown["first_error"] = json!(why);
    shown
}

/// What is not as it should be, in sentences.
fn problems(lanes: &[Value], measured: &Measured, options: &Options) -> Vec<String> {
    let mut found = Vec::new();
    for lane in lanes {
        let name = lane["lane"].as_str().unwrap_or("");
        if let (Some(errors @ 1..), why) = (lane["errors"].as_u64(), &lane["first_error"]) {
            found.push(format!("{name}: {errors} errors, the first: {}", why.as_str().unwrap_or("")));
        }
        if lane["latency"].is_null() && lane["done"] == 0 {
            found.push(format!("{name}: nothing was done in the measured time"));
        }
        for (key, what) in [
            ("missing", "deliveries never came"),
            ("reordered", "deliveries came out of order"),
            ("unacknowledged_frames", "frames were never acknowledged"),
        ] {
            if let Some(count @ 1..) = lane[key].as_u64() {
                found.push(format!("{name}: {count} {what}"));
            }
        }
    }
    let requests = measured.accounts.requests.lock().timeline.whole.len();
    if options.drives(Lane::Requests) && measured.replies < requests {
        let replies = measured.replies;
        found.push(format!("requests: {requests} were replied to, but only {replies} came through to who replies"));
    }
    found
}

/// The report for a terminal.
pub(super) fn text(report: &Value) -> String {
    let mut out = String::new();
    for lane in report["lanes"].as_array().into_iter().flatten() {
        // Writing to a text cannot fail.
        let _ = writeln!(
            out,
            "{:<9}  {:>12} {}/s · {}: {}",
            lane["lane"].as_str().unwrap_or(""),
            whole(lane["per_s"].as_f64().unwrap_or(0.0)),
            lane["unit"].as_str().unwrap_or(""),
            lane["latency_of"].as_str().unwrap_or(""),
            percentiles(&lane["latency"]),
        );
        for kind in lane["kinds"].as_array().into_iter().flatten().filter(|_| lane["lane"] == "queries") {
            let (name, per_s) = (kind["kind"].as_str().unwrap_or(""), kind["per_s"].as_f64().unwrap_or(0.0));
            let _ = writeln!(out, "           {name}: {}/s · {}", whole(per_s), percentiles(&kind["latency"]));
        }
        if lane["lane"] == "telemetry" && !lane["behind_schedule"].is_null() {
            let _ = writeln!(out, "           of it the sender's own delay: {}", percentiles(&lane["behind_schedule"]));
        }
    }
    for core in report["server"]["cores"].as_array().into_iter().flatten() {
        for (name, shown) in [("frame_to_visible", "frame to visible"), ("cycle", "between two looks at telemetry")] {
            let since = percentiles(&core[name]["since_start"]);
            let _ = writeln!(out, "shard {}, since the server started: {shown}: {since}", core["shard"]);
        }
    }
    if let Some(cpu) = report["server"]["cpu_s"].as_f64() {
        let others = report["server"]["core_used_by_others_s"].as_f64();
        let others = others.map_or(String::new(), |others| format!(", its core by others {others:.2} s"));
        let _ = writeln!(
            out,
            "server: {cpu:.2} s CPU in {:.1} s{others}",
            report["server"]["looked_at_for_s"].as_f64().unwrap_or(0.0)
        );
    }
    for name in ["hiccups_before", "hiccups_after"] {
        let _ = writeln!(
            out,
            "{} (gaps between looks at the clock): {}; late for who comes at a fixed time: {}",
            name.replace('_', " "),
            percentiles(&report[name]),
            percentiles(&report[name]["late"])
        );
    }
    match report["problems"].as_array().map_or(&[][..], Vec::as_slice) {
        [] => out.push_str("nothing failed, is missing or out of order\n"),
        some => some.iter().filter_map(Value::as_str).for_each(|problem| {
            let _ = writeln!(out, "PROBLEM: {problem}");
        }),
    }
    out
}

/// Percentiles of a report in one line.
fn percentiles(of: &Value) -> String {
    let names = [("p50", "p50_ns"), ("p90", "p90_ns"), ("p99", "p99_ns"), ("max", "max_ns")];
    let rare = [("p99.9", ["p99_9_ns", "p999_ns"]), ("p99.99", ["p99_99_ns", "p9999_ns"])];
    let common = names[..3].iter().map(|(shown, name)| (*shown, of[*name].as_u64()));
    let rare = rare.iter().map(|(shown, names)| (*shown, names.iter().find_map(|name| of[*name].as_u64())));
    let all = common.chain(rare).chain([("max", of["max_ns"].as_u64())]);
    let shown: Vec<String> = all.filter_map(|(name, ns)| Some(format!("{name} {}", time(ns?)))).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(" · ") }
}
