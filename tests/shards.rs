//! Two shards: every tag lies on one of them, and what is asked of one shard's HTTP is answered
//! for both.

mod support;

use std::collections::HashMap;
use support::{Server, wait_for};

#[test]
fn tags_of_one_device_lie_on_one_shard() {
    let fleet = tempfile::tempdir().expect("a folder");
    let file = fleet.path().join("fleet.toml");
    let mut generator = support::loadgen();
    generator.args(["modbus", "--devices", "12", "--tags", "10", "--seconds", "120", "--config"]).arg(&file);
    let _fleet = support::Peer::start(&mut generator);
    let text = wait_for("the fleet", || std::fs::read_to_string(&file).ok().filter(|text| text.contains("[[source]]")));
    let sources = &text[text.find("[[source]]").expect("sources")..];
    let native = "\n[[source]]\nname = \"rig\"\nkind = \"native\"\npath = \"site/rig\"\n";
    let server = Server::start_with(&format!("{sources}{native}"), 2, "auto");
    wait_for("all devices answer", || {
        let all = server.get("/v1/latest?match=**&limit=10000");
        let good = all.as_array()?.iter().filter(|latest| latest["quality"] == "Good").count();
        (good == 120).then_some(())
    });
    let tags = server.get("/v1/tags?match=**&limit=10000");
    let mut shards: HashMap<String, Vec<u64>> = HashMap::new();
    for tag in tags.as_array().expect("tags") {
        let source = tag["source"].as_str().expect("a source").to_owned();
        shards.entry(source).or_default().push(tag["shard"].as_u64().expect("a shard"));
    }
    assert_eq!(shards.len(), 12);
    for (source, on) in &shards {
        assert!(on.iter().all(|shard| shard == &on[0]), "{source} lies on several shards: {on:?}");
    }
    let used: std::collections::BTreeSet<u64> = shards.values().map(|on| on[0]).collect();
    assert_eq!(used.len(), 2, "one shard does all the work");
}
