//! The server is killed while a producer writes; what was acknowledged is there afterwards. The
//! long runs are `cargo xtask killsweep` and `powercut`; this is their smallest form, on both ways
//! to the kernel.

mod support;

use std::process::Stdio;
use support::{Guard, Server, loadgen, wait_for};

const SOURCE: &str = "[[source]]\nname = \"rig\"\nkind = \"native\"\npath = \"site/rig\"\n";

fn killed_three_times(io: &str) {
    let mut server = Server::start_with(SOURCE, 2, io);
    let mut verify = loadgen();
    verify.args(["verify", "--source", "rig", "--seconds", "4", "--json"]);
    verify.args(["--address", &format!("127.0.0.1:{}", server.native), "--http", &server.url("")]);
    let mut verify = Guard(verify.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("loadgen starts"));
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(600));
        server.kill();
        server.run();
    }
    let status = wait_for("loadgen verify ends", || verify.0.try_wait().expect("a state"));
    let mut said = String::new();
    if let Some(mut out) = verify.0.stdout.take() {
        std::io::Read::read_to_string(&mut out, &mut said).expect("text");
    }
    assert!(status.success(), "{said}\n{}", server.log());
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_with_epoll() {
    killed_three_times("epoll");
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_with_the_best_that_the_kernel_allows() {
    killed_three_times("auto");
}

/// A second server on the same data says who has it, and the first goes on.
#[test]
fn a_data_directory_has_one_owner() {
    let server = Server::start(SOURCE);
    let text = std::fs::read_to_string(server.folder.path().join("millstream.toml")).expect("a file");
    let other = text.replace(&server.http.to_string(), &support::free_port().to_string());
    let other = other.replace(&server.native.to_string(), &support::free_port().to_string());
    let file = server.folder.path().join("other.toml");
    std::fs::write(&file, other).expect("written");
    let output = support::millstream().arg("run").arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&server.pid().to_string()), "the owner is not named:\n{said}");
    assert!(server.try_get("/readyz").is_some());
}

/// SIGTERM drains and ends with 0; the log is closed in order.
#[test]
fn it_stops_in_order_when_asked() {
    let mut server = Server::start(SOURCE);
    let body = "[{\"tag\":\"site/rig/a\",\"value\":1.5},{\"tag\":\"site/rig/b\",\"value\":true}]";
    let sent = ureq::post(server.url("/v1/ingest")).content_type("application/json").send(body).expect("taken");
    assert_eq!(sent.status().as_u16(), 204);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let data = server.folder.path().join("data");
    let output = support::millstream().args(["log", "verify", "--json"]).arg(&data).output().expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report[0]["sound"], &report[0]["clean"]), (&true.into(), &true.into()), "{report}");
    server.run();
    let latest = server.latest("site/rig/a").expect("it is still there");
    assert_eq!(latest["value"], 1.5);
    assert_eq!(latest["quality"], "UncertainLastUsableValue", "nobody has confirmed it since the start");
}

/// Seen once: after a kill the newest batches lie above the log's known-durable mark, are written
/// again before they count, and queries did not see them for some milliseconds, though the server
/// said that it was ready. 1. Ingest, 2. kill at once, 3. start, 4. ask as soon as it is ready.
#[test]
fn what_was_acknowledged_is_readable_as_soon_as_it_is_ready_again() {
    let mut server = Server::start(SOURCE);
    for round in 1..=10 {
        let sample = format!("[{{\"tag\":\"site/rig/a\",\"value\":{round}.5}}]");
        let sent = ureq::post(server.url("/v1/ingest")).content_type("application/json").send(&sample).expect("taken");
        assert_eq!(sent.status().as_u16(), 204);
        server.kill();
        server.run();
        let answer = server.get("/v1/samples?tag=site/rig/a&from=-10m&to=now");
        let stored = answer["samples"].as_array().expect("samples").len();
        assert_eq!(stored, round, "acknowledged samples are missing after kill {round}");
    }
}
