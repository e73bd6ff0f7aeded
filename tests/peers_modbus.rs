//! Modbus devices that nobody here wrote: pymodbus and libmodbus. What Millstream shows is compared
//! value by value with what the peer says that it holds.

mod support;

use serde_json::{Map, Value};
use std::fmt::Write;
use std::process::Command;
use support::{Peer, Server, free_port, peers_or_say_so, target, wait_for};

/// A source for a peer's registers, one tag for each value that it holds.
fn source(name: &str, port: u16, held: &Map<String, Value>) -> String {
    let mut text = format!(
        "[[source]]\nname = \"{name}\"\nkind = \"modbus\"\naddress = \"tcp://127.0.0.1:{port}\"\n\
         path = \"peer/{name}\"\nevery = \"200ms\"\n"
    );
    for (tag, value) in held {
        let field = |key: &str| value[key].as_str().map(str::to_owned);
        let _ = write!(
            text,
            "\n[[source.tag]]\nname = \"{tag}\"\nat = {:?}\ntype = {:?}\n",
            field("at").expect("an address"),
            field("type").expect("a type")
        );
        if let Some(order) = field("order") {
            let _ = writeln!(text, "order = {order:?}");
        }
    }
    text
}

/// Waits until every tag is good, then compares each with what the peer holds.
fn compare(server: &Server, name: &str, held: &Map<String, Value>) {
    let shown = wait_for("every value of the peer is good", || {
        let all = server.get(&format!("/v1/latest?match=peer/{name}/**&limit=10000"));
        let all = all.as_array().expect("a list").clone();
        let good = all.iter().filter(|latest| latest["quality"] == "Good").count();
        (good == held.len()).then_some(all)
    });
    for latest in shown {
        let tag = latest["tag"].as_str().expect("a tag").rsplit('/').next().expect("a name").to_owned();
        let (ours, theirs) = (&latest["value"], &held[&tag]["value"]);
        let same = match (ours.as_f64(), theirs.as_f64()) {
            (Some(ours), Some(theirs)) => ours == theirs || (ours - theirs).abs() <= theirs.abs() * 1e-8,
            _ => ours == theirs,
        };
        assert!(same, "{tag}: Millstream shows {ours}, {name} holds {theirs}");
    }
}

/// Polls a peer in many small requests with the depth left out: it is found out, and whatever the peer
/// does with several requests at once, every value stays the one that it holds.
fn find_depth(name: &str, port: u16, held: &Map<String, Value>) {
    let few =
        source(name, port, held).replacen("every =", "max_registers = 4\nmax_bits = 4\ncoalesce_gap = 0\nevery =", 1);
    let server = Server::start(&few);
    compare(&server, name, held);
    let figure = |source: &Value, name: &str| source["figures"][name].as_u64().unwrap_or_default();
    let found = wait_for("depths are tried until one is the last", || {
        let source = server.source(name);
        let (kept, tried, barred) =
            (figure(&source, "depth"), figure(&source, "depth_tried"), figure(&source, "depth_barred"));
        (tried == 0 && (kept == 16 || barred > 0)).then_some((kept, barred))
    });
    eprintln!("{name}: {} requests at once, {} do not do", found.0, found.1);
    compare(&server, name, held);
    let source = server.source(name);
    assert_eq!(source["state"], "running", "{source}");
    assert!(source["counters"]["depth_trials"].as_u64() > Some(0), "{source}");
    assert_eq!(source["counters"]["bad_frames"].as_u64().unwrap_or_default(), 0, "{source}");
}

#[test]
fn every_type_and_word_order_of_pymodbus_reads_as_it_says() {
    if !peers_or_say_so("venv") {
        return;
    }
    let port = free_port();
    let mut python = Command::new(target().join("peers/venv/bin/python"));
    let mut peer = Peer::start(python.arg("tests/peers/pymodbus_server.py").args([&port.to_string(), "11"]));
    let held = peer.json();
    let held = held.as_object().expect("an object");
    assert!(held.len() > 100);
    let server = Server::start(&source("pymodbus", port, held));
    compare(&server, "pymodbus", held);
    drop(server);
    find_depth("pymodbus", port, held);
}

#[test]
fn every_area_and_float_order_of_libmodbus_reads_as_it_says() {
    if !peers_or_say_so("libmodbus_server") {
        return;
    }
    let port = free_port();
    let mut program = Command::new(target().join("peers/libmodbus_server"));
    let mut peer = Peer::start(program.args([&port.to_string(), "5"]));
    let held = peer.json();
    let held = held.as_object().expect("an object");
    assert!(held.len() > 100);
    let server = Server::start(&source("libmodbus", port, held));
    compare(&server, "libmodbus", held);
    drop(server);
    find_depth("libmodbus", port, held);
}

/// The independent client sees the same as we do: mbpoll reads our simulated press.
#[test]
fn mbpoll_reads_the_simulated_press() {
    if !peers_or_say_so("libmodbus_server") {
        return;
    }
    let fleet = Command::new(env!("CARGO_BIN_EXE_millstream")).arg("--version").output().expect("it runs");
    assert!(fleet.status.success());
    let mut generator = support::loadgen();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("fleet.toml");
    generator.args(["modbus", "--devices", "1", "--tags", "20", "--seconds", "30", "--config"]).arg(&file);
    let _fleet = Peer::start(&mut generator);
    let text = wait_for("the fleet's configuration", || {
        std::fs::read_to_string(&file).ok().filter(|text| text.contains("tcp://"))
    });
    let port =
        text.split("tcp://127.0.0.1:").nth(1).and_then(|rest| rest.split('"').next()).expect("a port").to_owned();
    let output = Command::new("mbpoll")
        .args(["-m", "tcp", "-a", "1", "-r", "1", "-c", "10", "-t", "4", "-p", &port, "-1", "127.0.0.1"])
        .output()
        .expect("mbpoll runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("[10]:"), "mbpoll could not read the fleet:\n{text}");
}
