//! The binary itself: measuring the discarding receiver, its JSON, and its exit codes.

use serde_json::Value;
use std::process::{Command, Output};

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().expect("it starts")
}

#[test]
fn the_limit_is_measured_for_both_kinds_and_several_connections() {
    for kind in ["scan", "samples"] {
        let output = loadgen(&[
            "native",
            "--limit",
            "--rounds",
            "2",
            "--seconds",
            "0.3",
            "--connections",
            "3",
            "--tags",
            "500",
            "--frame",
            "250",
            "--kind",
            kind,
            "--json",
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let limits = report["limit"].as_array().expect("a list");
        assert_eq!((limits.len(), &report["ratio"]), (2, &Value::Null));
        for limit in limits {
            assert!(limit["samples_per_s"].as_f64().is_some_and(|rate| rate > 10_000.0), "{limit}");
            assert!(limit["bytes"].as_u64() > limit["samples"].as_u64(), "{limit}");
        }
    }
}

#[test]
fn wrong_usage_is_2_and_failure_is_1() {
    for wrong in [
        vec!["native"],
        vec!["native", "--limit", "--tags", "10", "--frame", "20"],
        vec!["native", "--limit", "--rate", "fast"],
        vec!["verify", "--seconds", "1", "--samples", "5"],
        vec!["nonsense"],
    ] {
        assert_eq!(loadgen(&wrong).status.code(), Some(2), "{wrong:?}");
    }
    let output = loadgen(&["native", "--address", "127.0.0.1:1", "--seconds", "0.1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no connection to Millstream at 127.0.0.1:1"));
}
