//! The command line as a person meets it: what it says, and how it ends.

mod support;

use std::process::Output;
use support::millstream;

fn run(arguments: &[&str]) -> Output {
    millstream().args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_reference_configuration_has_no_problem() {
    let output = run(&["check", "docs/examples/plant.toml"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout), text(&output.stderr)),
        (Some(0), String::new(), String::new())
    );
}

#[test]
fn every_error_of_a_file_comes_at_once_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.toml");
    let wrong = "[server]\nhtpp = \"127.0.0.1:8080\"\n\n[[source]]\nname = \"press1\"\nkind = \"modbus\"\n\
                 address = \"tcp://127.0.0.1:5021\"\npath = \"a//b\"\nevery = \"fast\"\n\n[[source.tag]]\nname = \"t\"\nat = \"holding:70000\"\n";
    std::fs::write(&file, wrong).expect("written");
    let output = run(&["check", &file.display().to_string()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in [":2:1:", "did you mean \"http\"", ":8:8:", ":9:9:", ":13:6:"] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
    let json = run(&["check", &file.display().to_string(), "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(listed["problems"].as_array().is_some_and(|problems| problems.len() >= 4), "{listed}");
}

#[test]
fn a_starter_file_checks_clean_and_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("millstream.toml").display().to_string();
    assert_eq!(run(&["init", &file]).status.code(), Some(0));
    assert_eq!(run(&["check", &file]).status.code(), Some(0));
    let again = run(&["init", &file]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("stays as it is"));
}

#[test]
fn the_schema_is_json_schema() {
    let output = run(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(schema["$schema"].as_str().is_some_and(|draft| draft.contains("2020-12")));
}

#[test]
fn wrong_usage_ends_with_2_and_says_why() {
    for arguments in
        [&["run", "no-such-file.toml"][..], &["flow"], &["log", "verify", "no-such-folder"], &["browse", "ftp://x"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
}
