//! The report as one HTML page that needs nothing else: no address outside, no script.

use super::plot::{self, CURVE, Curve};
use crate::report::{time, whole};
use serde_json::Value;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
/// A colour for each lane, told apart by those who see colours differently (Okabe and Ito).
const COLOURS: [(&str, &str); 5] = [
    ("telemetry", "#0072b2"),
    ("events", "#d55e00"),
    ("queries", "#009e73"),
    ("requests", "#9a6a00"),
    ("batch", "#a0508a"),
];
/// Stages that are listed, those that took most of the core first.
const STAGES_SHOWN: usize = 16;

/// The whole page.
pub(super) fn html(report: &Value) -> String {
    let mut page = String::new();
    let at = text(&report["at"]);
    // Writing to a text cannot fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Millstream: all lanes at once, {at}</title><style>{STYLE}</style></head><body><main>\
         <header><h1>All lanes at once</h1><p class=\"when\">{at} · Millstream {} · loadgen {}</p></header>",
        text(&report["server"]["version"]),
        text(&report["loadgen"])
    );
    page.push_str(&verdict(report));
    page.push_str(&summary(report));
    page.push_str(&latencies(report));
    page.push_str(&seconds(report));
    page.push_str(&server(report));
    page.push_str(&surroundings(report));
    let raw = serde_json::to_string_pretty(report).unwrap_or_default();
    let _ = writeln!(
        page,
        "<details><summary>The whole report as JSON</summary><pre>{}</pre></details></main></body></html>",
        escaped(&raw)
    );
    page
}

fn verdict(report: &Value) -> String {
    let problems: Vec<String> =
        list(&report["problems"]).map(|problem| format!("<li>{}</li>", text(problem))).collect();
    match problems.is_empty() {
        true => "<p class=\"good\">Nothing failed, is missing or out of order.</p>".to_owned(),
        false => format!("<div class=\"bad\"><p>Not as it should be:</p><ul>{}</ul></div>", problems.concat()),
    }
}

/// A row for each lane, and for each kind of call where there are several.
fn summary(report: &Value) -> String {
    let mut rows = String::new();
    for lane in list(&report["lanes"]) {
        let name = text(&lane["lane"]);
        let unit = text(&lane["unit"]);
        let _ = write!(
            rows,
            "<tr><th scope=\"row\"><i style=\"background:{}\"></i>{name}</th><td>{} {unit}/s</td><td class=\"what\">{}</td>{}<td>{}</td></tr>",
            colour(&name),
            figure(lane["per_s"].as_f64()),
            text(&lane["latency_of"]),
            percentile_cells(&lane["latency"]),
            lane["errors"]
        );
        if lane["lane"] == "telemetry" {
            let own = percentile_cells(&lane["behind_schedule"]);
            let _ = write!(
                rows,
                "<tr class=\"part\"><th scope=\"row\"></th><td></td><td class=\"what\">of it the sender's own delay</td>{own}<td></td></tr>"
            );
        }
        for kind in list(&lane["kinds"]).filter(|_| lane["lane"] == "queries") {
            let _ = write!(
                rows,
                "<tr class=\"part\"><th scope=\"row\"></th><td>{}/s</td><td class=\"what\">{}</td>{}<td></td></tr>",
                figure(kind["per_s"].as_f64()),
                text(&kind["kind"]),
                percentile_cells(&kind["latency"])
            );
        }
    }
    format!(
        "<h2>Lanes</h2><div class=\"wide\"><table><thead><tr><th>lane</th><th>throughput</th><th class=\"what\">latency</th>{}<th>errors</th></tr></thead><tbody>{rows}</tbody></table></div>",
        head_cells()
    )
}

fn latencies(report: &Value) -> String {
    let names: Vec<String> = list(&report["lanes"]).map(|lane| text(&lane["lane"])).collect();
    let curves: Vec<Curve<'_>> = list(&report["lanes"])
        .zip(&names)
        .filter(|(lane, _)| !lane["latency"].is_null())
        .map(|(lane, name)| Curve { name, colour: colour(name), ns: percentiles(&lane["latency"]) })
        .collect();
    format!(
        "<h2>Latency by percentile</h2><figure>{}</figure>",
        plot::curves("latency by percentile, each lane", &curves, axis_time)
    )
}

fn seconds(report: &Value) -> String {
    let mut plots = String::new();
    for lane in list(&report["lanes"]) {
        let (name, unit) = (text(&lane["lane"]), text(&lane["unit"]));
        let values = |key: &str| list(&lane[key]).map(Value::as_f64).collect::<Vec<_>>();
        for (key, what, shown) in [
            ("done_by_second", format!("{name}: {unit} each second"), shown_count as fn(f64) -> String),
            ("p99_ns_by_second", format!("{name}: p99 of latency, each second"), axis_time),
        ] {
            let svg = plot::by_second(&what, &values(key), 1.0, colour(&name), shown);
            let _ = write!(plots, "<figure><figcaption>{what}</figcaption>{svg}</figure>");
        }
    }
    format!("<h2>Second by second</h2><div class=\"pairs\">{plots}</div>")
}

/// What the server says of its cores.
fn server(report: &Value) -> String {
    let mut out = String::new();
    for core in list(&report["server"]["cores"]) {
        let mut rows = String::new();
        for (key, name) in [("frame_to_visible", "frame to visible"), ("cycle", "between two looks at telemetry")] {
            rows.push_str(&stage_row(&core[key], name));
        }
        let mut stages: Vec<&Value> = list(&core["stages"]).collect();
        stages.sort_by_key(|stage| std::cmp::Reverse(stage["in_run"]["sum_ns"].as_u64()));
        for stage in stages.into_iter().filter(|stage| stage["in_run"]["polls"] != 0).take(STAGES_SHOWN) {
            rows.push_str(&stage_row(stage, &format!("{} · {}", text(&stage["lane"]), text(&stage["name"]))));
        }
        let _ = write!(
            out,
            "<h3>Shard {} ({}, log {})</h3><div class=\"wide\"><table><thead><tr><th>stage</th><th>polls in this run</th><th>took</th><th>mean</th>{}</tr></thead><tbody>{rows}</tbody></table></div>",
            core["shard"],
            text(&core["io"]),
            text(&core["log"]),
            head_cells()
        );
    }
    if out.is_empty() {
        return String::new();
    }
    format!(
        "<h2>The server's own figures</h2><p>How many, how long in all and the mean are of this run; percentiles are \
         since the server started. A stage's longest poll is how long telemetry may have had to wait for it.</p>{out}"
    )
}

fn stage_row(stage: &Value, name: &str) -> String {
    let (run, since) = (&stage["in_run"], &stage["since_start"]);
    format!(
        "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td><td>{}</td>{}</tr>",
        figure(run["polls"].as_f64()),
        shown_ns(&run["sum_ns"]),
        shown_ns(&run["mean_ns"]),
        percentile_cells(since)
    )
}

/// Processor time, hiccups, machine and options.
fn surroundings(report: &Value) -> String {
    let server = &report["server"];
    let mut rows = String::new();
    let seconds = |value: &Value| value.as_f64().map(|s| format!("{s:.2} s"));
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(rows, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
        }
    };
    row("looked at for", seconds(&server["looked_at_for_s"]));
    row("processor time of the server", seconds(&server["cpu_s"]));
    for thread in list(&server["cpu_s_by_thread"]) {
        row(&format!("&emsp;{}", text(&thread["thread"])), seconds(&thread["cpu_s"]));
    }
    row("its core busy", seconds(&server["core_busy_s"]));
    row("its core used by others", seconds(&server["core_used_by_others_s"]));
    row("processor time of loadgen", seconds(&report["own_cpu_s"]));
    for key in ["machine", "options"] {
        for (name, value) in report[key].as_object().into_iter().flatten() {
            let value = if value.is_string() { text(value) } else { escaped(&value.to_string()) };
            row(&name.replace('_', " "), Some(value));
        }
    }
    let hiccups = [("before", "hiccups_before"), ("after", "hiccups_after")].map(|(name, key)| {
        let row = |what: &str, value: &Value| {
            format!("<tr><th scope=\"row\">{name}, {what}</th>{}</tr>", percentile_cells(value))
        };
        row("gaps", &report[key]) + &row("late", &report[key]["late"])
    });
    format!(
        "<h2>Machine</h2><p>Hiccups of the platform, as a thread sees them that does nothing else than look at the \
         clock: the gaps between two looks, and how late it hears who comes at a fixed time. No latency is better than these.</p><div class=\"wide\"><table><thead><tr><th>hiccups</th>{}</tr></thead><tbody>{}</tbody></table></div>\
         <div class=\"wide\"><table class=\"facts\"><tbody>{rows}</tbody></table></div>",
        head_cells(),
        hiccups.concat()
    )
}

fn head_cells() -> String {
    CURVE.iter().map(|name| format!("<th>{name}</th>")).collect()
}

fn percentile_cells(of: &Value) -> String {
    let shown = |ns: &Option<f64>| ns.map_or("–".to_owned(), shown_time);
    named_percentiles(of).iter().map(|ns| format!("<td>{}</td>", shown(ns))).collect()
}

fn percentiles(of: &Value) -> Vec<f64> {
    named_percentiles(of).into_iter().flatten().collect()
}

/// Those of [`CURVE`], by the names that loadgen and the server give them.
fn named_percentiles(of: &Value) -> [Option<f64>; 6] {
    [&["p50_ns"][..], &["p90_ns"], &["p99_ns"], &["p99_9_ns", "p999_ns"], &["p99_99_ns", "p9999_ns"], &["max_ns"]]
        .map(|names| names.iter().find_map(|name| of[*name].as_f64()))
}

fn colour(lane: &str) -> &'static str {
    COLOURS.iter().find(|(name, _)| *name == lane).map_or("#555", |(_, colour)| colour)
}

fn figure(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 10.0 && value > 0.0 => format!("{value:.1}"),
        value => value.map_or("–".to_owned(), whole),
    }
}

fn shown_ns(ns: &Value) -> String {
    ns.as_u64().map_or("–".to_owned(), time)
}

fn shown_time(ns: f64) -> String {
    if ns < 1.0 { "0".to_owned() } else { time(ns as u64) }
}

/// A round time at an axis.
fn axis_time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{} µs", (ns / 1e2).round() / 10.0),
        ns if ns < 1e9 => format!("{} ms", (ns / 1e5).round() / 10.0),
        ns => format!("{} s", (ns / 1e7).round() / 100.0),
    }
}

fn shown_count(count: f64) -> String {
    match count {
        count if count >= 1e6 => format!("{:.1} M", count / 1e6),
        count if count >= 1e4 => format!("{:.0} k", count / 1e3),
        count => whole(count),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A text of the report as HTML shows it.
fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_server_says_is_text_and_nothing_else() {
        let report = json!({ "at": "<now>", "problems": ["queries: 1 errors, the first: <script>alert(1)</script>"],
            "lanes": [{ "lane": "queries", "unit": "calls", "per_s": 3.0, "errors": 1 }] });
        let page = html(&report);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
        assert!(!page.contains("NaN"));
    }
}
