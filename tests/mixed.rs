//! `loadgen mixed` against the real binary: every lane does work, and its page needs nothing else.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Server, free_port, loadgen};

/// The sections that `loadgen mixed` asks for, with what it sends to at a port.
fn sections(folder: &Path, bind: &str) -> String {
    let file = folder.join("sections.toml");
    let mut command = loadgen();
    command.args(["mixed", "--tags", "20", "--subscribers", "5", "--bind", bind, "--config"]).arg(&file);
    assert!(command.status().expect("loadgen starts").success());
    fs::read_to_string(file).expect("sections")
}

fn mixed(server: &Server, bind: &str) -> Command {
    let mut command = loadgen();
    command.args(["mixed", "--tags", "20", "--connections", "2", "--subscribers", "5", "--rate", "20000", "--json"]);
    command.args(["--bind", bind, "--address", &format!("127.0.0.1:{}", server.native)]);
    command.args(["--http", &format!("127.0.0.1:{}", server.http), "--server-pid", &server.pid().to_string()]);
    command
}

#[test]
fn every_lane_does_work_and_the_page_needs_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let bind = format!("127.0.0.1:{}", free_port());
    let server = Server::start(&sections(folder.path(), &bind));
    let page = folder.path().join("report.html");
    let output = mixed(&server, &bind).args(["--seconds", "2", "--html"]).arg(&page).output().expect("loadgen starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((&report["problems"], output.status.code()), (&serde_json::json!([]), Some(0)));
    let lanes = report["lanes"].as_array().expect("lanes");
    let names: Vec<&str> = lanes.iter().filter_map(|lane| lane["lane"].as_str()).collect();
    assert_eq!(names, ["telemetry", "events", "queries", "requests", "batch"]);
    for lane in lanes {
        assert!(lane["latency"]["count"].as_u64().is_some_and(|count| count > 0), "{lane}");
        assert_eq!((&lane["errors"], lane["done_by_second"].as_array().map(Vec::len)), (&Value::from(0), Some(2)));
    }
    let kinds = lanes[2]["kinds"].as_array().expect("kinds of questions");
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    let cores = report["server"]["cores"].as_array().expect("cores");
    let visible = &cores[0]["frame_to_visible"]["in_run"]["polls"];
    assert!(visible.as_u64().is_some_and(|frames| frames > 0), "{visible}");
    assert!(report["server"]["cpu_s"].as_f64().is_some_and(|cpu| cpu > 0.0));

    let page = fs::read_to_string(page).expect("a page");
    assert_eq!(page.matches("<svg").count(), 1 + 2 * lanes.len());
    for foreign in ["<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(foreign), "the page holds {foreign}");
    }
    assert!(names.iter().all(|name| page.contains(name)));
}

#[test]
fn lanes_can_be_left_out_and_a_server_without_the_sections_is_a_problem_with_its_reason() {
    let bind = format!("127.0.0.1:{}", free_port());
    let server = Server::start("");
    let output =
        mixed(&server, &bind).args(["--lanes", "requests", "--seconds", "0.3"]).output().expect("loadgen starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((output.status.code(), report["lanes"].as_array().map(Vec::len)), (Some(1), Some(1)));
    let first = report["lanes"][0]["first_error"].as_str().expect("an error");
    assert!(first.contains("POST /v1/requests/mixed-request: status 404"), "{first}");
}
