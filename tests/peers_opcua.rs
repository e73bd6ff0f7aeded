//! OPC UA servers that nobody here wrote: asyncua and node-opcua, 500 changing variables each. What
//! Millstream shows in the end is compared one by one with what the server holds, and what it
//! stored on the way must be that variable's own values, in order.

mod support;

use serde_json::{Map, Value};
use std::process::Command;
use support::{Peer, Server, free_port, peers_or_say_so, target, wait_for};

const COUNT: usize = 500;
/// Value of variable i at tick n: i * SPREAD + n.
const SPREAD: f64 = 1e6;

fn sections(name: &str, port: u16) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\nkind = \"opcua\"\naddress = \"opc.tcp://127.0.0.1:{port}/peer\"\n\
         security = \"None\"\npath = \"peer/{name}\"\npublishing = \"200ms\"\nsampling = \"100ms\"\nqueue = 10\n\n\
         [[source.browse]]\nnode = \"nsu=urn:peer;s=Vars\"\nname = \"vars\"\n"
    )
}

/// Subscribes, lets the peer change its variables, and compares.
fn follow(name: &str, port: u16, peer: &mut Peer) {
    while peer.line() != "ready" {}
    let server = Server::start(&sections(name, port));
    wait_for("all variables are subscribed", || (good(&server, name).len() == COUNT).then_some(()));
    peer.go();
    let held = peer.json();
    let held = held.as_object().expect("an object");
    assert_eq!(held.len(), COUNT);
    wait_for("Millstream shows what the peer holds", || {
        let shown = good(&server, name);
        held.iter()
            .all(|(tag, value)| shown.get(tag).is_some_and(|shown| shown.as_f64() == value.as_f64()))
            .then_some(())
    });
    for i in [0, 1, 250, 499] {
        stored_in_order(&server, name, i);
    }
}

fn good(server: &Server, name: &str) -> Map<String, Value> {
    let all = server.get(&format!("/v1/latest?match=peer/{name}/**&limit=10000"));
    let all = all.as_array().expect("a list");
    let good = all.iter().filter(|latest| latest["quality"] == "Good");
    let short =
        |latest: &Value| latest["tag"].as_str().and_then(|tag| tag.rsplit('/').next()).unwrap_or_default().to_owned();
    good.map(|latest| (short(latest), latest["value"].clone())).collect()
}

fn stored_in_order(server: &Server, name: &str, i: usize) {
    let path = server.get(&format!("/v1/tags?match=peer/{name}/**/v{i}"));
    let path = path[0]["tag"].as_str().or(path[0]["path"].as_str()).expect("a tag").to_owned();
    let answer = server.get(&format!("/v1/samples?tag={path}&from=-10m&to=now&limit=100000"));
    let samples = answer["samples"].as_array().expect("samples");
    let ticks: Vec<f64> = samples
        .iter()
        .filter(|sample| sample["quality"] == "Good")
        .filter_map(|sample| sample["value"].as_f64())
        .map(|value| value - i as f64 * SPREAD)
        .collect();
    assert!(ticks.len() > 3, "v{i}: only {} samples are stored", ticks.len());
    assert!(ticks.iter().all(|tick| (0.0..1000.0).contains(tick)), "v{i} holds another variable's value: {ticks:?}");
    assert!(ticks.windows(2).all(|pair| pair[0] <= pair[1]), "v{i} is out of order: {ticks:?}");
    assert!(samples.iter().all(|sample| sample["source_time"].is_string()), "v{i} lacks source times");
}

#[test]
fn follows_500_variables_of_asyncua() {
    if !peers_or_say_so("venv") {
        return;
    }
    let port = free_port();
    let mut python = Command::new(target().join("peers/venv/bin/python"));
    python.arg("tests/peers/asyncua_server.py").args([&port.to_string(), &COUNT.to_string(), "400", "20"]);
    follow("asyncua", port, &mut Peer::start(&mut python));
}

#[test]
fn follows_500_variables_of_node_opcua() {
    if !peers_or_say_so("npm") {
        return;
    }
    let port = free_port();
    let pki = tempfile::tempdir().expect("a folder");
    let mut node = Command::new("node");
    node.arg("tests/peers/node_opcua_server.js").arg(target().join("peers/npm/node_modules"));
    node.args([&port.to_string(), &COUNT.to_string(), "200", "40"]).arg(pki.path());
    follow("node-opcua", port, &mut Peer::start(&mut node));
}
