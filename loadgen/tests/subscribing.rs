//! `loadgen opcua --measure` beside `loadgen subscribe`, both as they are run by hand. Nothing here
//! depends on how fast anything is.

use serde_json::Value;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

fn loadgen(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

fn run(arguments: &str) -> Output {
    loadgen(arguments).output().expect("it starts")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound").port()
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn whoever_subscribes_is_measured_between_it_and_the_server() {
    let port = free_port();
    let fleet = "--devices 3 --tags 500 --every 200ms --publishing 100ms";
    let line = format!("subscribe --address opc.tcp://127.0.0.1:{port}/fleet --seconds 60 {fleet}");
    let client = Running(loadgen(&line).spawn().expect("it starts"));
    let pid = client.0.id();
    let line = format!("opcua --measure --json --port {port} --points 2 --seconds 1 --server-pid {pid} {fleet}");
    // the points are nobody's here: every variable's value is what is waited for
    let output = run(&line);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("no {name} in {report}"));
    assert_eq!((number("variables"), number("items_made"), number("written_values")), (1500.0, 1500.0, 0.0));
    assert!(number("values_per_s") > 0.0 && number("changes_per_s") > 0.0, "{report}");
    assert!(number("server_cpu_ns_per_value") > 0.0 && number("message_values_max") >= 1.0, "{report}");
    assert!(report["interval_deviation"]["p99_ns"].is_u64() && report["source_to_handed_on"]["p50_ns"].is_u64());
    // without the points not all items that were asked for stand, and nobody gave an address to read from
    assert!(report["subscribed_ns"].is_null() && report["stored"].is_null() && report["commands"].is_null());
}

#[test]
fn a_configuration_for_a_fixed_port_is_written_without_a_server() {
    let file = std::env::temp_dir().join(format!("loadgen-subscribing-{}.toml", std::process::id()));
    let output =
        run(&format!("opcua --port 21840 --devices 2 --tags 3 --points 2 --config-only --config {}", file.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&file).expect("written");
    let _ = std::fs::remove_file(&file);
    assert!(text.contains("\"opc.tcp://127.0.0.1:21840/fleet\"") && text.matches("{name=").count() == 8, "{text}");
    assert_eq!(text.matches("[[request]]").count(), 3);
}

#[test]
fn wrong_usage_is_2() {
    for wrong in [
        "opcua --measure",
        "opcua --measure --seconds 0",
        "opcua --config-only",
        "opcua --commands 5",
        "opcua --measure --seconds 1 --commands 5",
        "opcua --measure --seconds 1 --http 127.0.0.1:1 --commands -5",
        "subscribe",
        "subscribe --address opc.tcp://127.0.0.1:1 --seconds 0",
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong}");
    }
}
