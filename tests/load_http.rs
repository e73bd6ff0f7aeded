//! `loadgen http` against the real binary: what it says was acknowledged is there, in both formats and
//! both loops. The scripts that put Millstream beside others at least read as scripts.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Server, loadgen};

const SOURCE: &str = "[[source]]\nname = \"rig\"\nkind = \"native\"\npath = \"site/rig\"\n";
const CONNECTIONS: u64 = 2;
/// Bodies of 20 of them: the last one of each round is shorter.
const TAGS: u64 = 50;

/// Loads a server for a moment; answers loadgen's report and whether it ended well.
fn load(server: &Server, path: &str, more: &[&str]) -> (Value, bool) {
    let mut command = loadgen();
    command.args(["http", "--url", &server.url(path), "--connections", "2", "--tags", "50", "--body", "20"]);
    command.args(["--seconds", "0.3", "--json", "--server-pid", &server.pid().to_string()]).args(more);
    let output = command.output().expect("loadgen starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (report, output.status.success())
}

/// How many samples of the load the server has.
fn stored(server: &Server) -> u64 {
    let now = client::now();
    let (from, to) = (now.plus_ns(-3_600_000_000_000).0, now.plus_ns(3_600_000_000_000).0);
    let count = |connection, tag| {
        let tag = format!("site/rig/loadgen/c{connection}/t{tag}/v");
        let page = server.get(&format!("/v1/samples?tag={tag}&from={from}&to={to}&limit=100000"));
        assert!(page["next"].is_null(), "more samples than this test is made for");
        page["samples"].as_array().expect("samples").len() as u64
    };
    (0..CONNECTIONS).flat_map(|connection| (0..TAGS).map(move |tag| (connection, tag))).map(|(c, t)| count(c, t)).sum()
}

#[test]
fn what_loadgen_http_had_acknowledged_is_there() {
    for (path, more) in [
        ("/write?db=rig", &["--every", "10ms"][..]),
        ("/api/v2/write?bucket=rig", &["--rate", "20000"]),
        ("/v1/ingest", &["--format", "json"]),
    ] {
        let server = Server::start(SOURCE);
        let (report, went_well) = load(&server, path, more);
        assert!(went_well, "{report}\n{}", server.log());
        let acknowledged = report["samples_all"].as_u64().expect("a count");
        assert!(acknowledged > 0, "{report}");
        assert_eq!(stored(&server), acknowledged, "{path}: {report}");
        assert!(report["due_to_acknowledged"]["p50_ns"].as_u64().is_some_and(|ns| ns > 0), "{report}");
        assert!(report["server_cpu_s"].is_number(), "{report}");
    }
}

#[test]
fn what_is_refused_is_not_counted() {
    let server = Server::start(SOURCE);
    let (report, went_well) = load(&server, "/write?db=nobody", &[]);
    assert!(!went_well, "{report}");
    assert_eq!((&report["samples_all"], &report["samples"]), (&0.into(), &0.into()));
    assert!(report["refused"].as_u64().is_some_and(|count| count > 0), "{report}");
    assert!(report["refusal"].as_str().is_some_and(|why| why.starts_with("status 404")), "{report}");
}

#[test]
fn the_scripts_beside_others_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let files = fs::read_dir(folder).expect("files").map(|entry| entry.expect("one").path());
    let scripts: Vec<_> = files.filter(|file| file.extension().is_some_and(|extension| extension == "sh")).collect();
    assert!(scripts.iter().any(|script| script.ends_with("victoria_metrics.sh")), "{scripts:?}");
    for script in scripts {
        let checked = Command::new("bash").arg("-n").arg(&script).output().expect("bash starts");
        assert!(checked.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&checked.stderr));
    }
}
