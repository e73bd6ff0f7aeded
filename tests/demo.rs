//! The demo as a visitor meets it: one command, an address, values that move; it ends when asked,
//! and the next start has the past.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use support::demo::Demo;
use support::history::ns;
use support::wait_for;

/// Everything of the plant that must be good: six tags a press, two a meter, the oven's zones.
const PLANT: [(&str, usize); 3] =
    [("riverside/press/**", 24), ("riverside/utilities/energy/**", 16), ("riverside/paint/line1/oven/zones/**", 12)];
/// What a visitor sees move: the presses' temperatures and the oven's zones.
const MOVING: [(&str, usize); 2] =
    [("riverside/press/*/*/temperature", 4), ("riverside/paint/line1/oven/zones/**", 12)];

/// Values by tag.
fn values(demo: &Demo, glob: &str) -> BTreeMap<String, Value> {
    let all = demo.latest(glob);
    all.iter().map(|latest| (latest["tag"].as_str().unwrap_or_default().to_owned(), latest["value"].clone())).collect()
}

/// 1. The demo starts in an empty folder, prints its address, and every part of the plant is good.
/// 2. What should move moves.
/// 3. SIGTERM ends it with 0.
/// 4. Started again in the same folder it goes on, and answers what it stored before.
#[test]
fn the_demo_shows_a_plant_that_moves_stops_in_order_and_remembers() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(folder.path());
    for (glob, count) in PLANT {
        demo.good(glob, count);
    }
    for (glob, count) in MOVING {
        let first = values(&demo, glob);
        assert_eq!(first.len(), count, "{first:?}");
        wait_for(&format!("every value of {glob} has changed"), || {
            let now = values(&demo, glob);
            first.iter().all(|(tag, value)| now.get(tag).is_some_and(|now| now != value)).then_some(())
        });
    }
    let sources = wait_for("every source runs", || {
        let sources = demo.try_get("/v1/sources")?;
        sources.as_array()?.iter().all(|source| source["state"] == "running").then_some(sources)
    });
    assert_eq!(sources.as_array().map(Vec::len), Some(7), "four presses, meters, oven, rig: {sources}");
    let tag = "riverside/press/line1/press1/temperature";
    let before = wait_for("a stored sample", || first_sample(&demo, tag));
    let log = demo.log();
    assert_eq!(demo.stop(), Some(0), "{log}");

    let demo = Demo::start(folder.path());
    let again = wait_for("samples from before the start", || first_sample(&demo, tag));
    assert_eq!(again, before, "the first sample of the past is another one");
    for (glob, count) in PLANT {
        demo.good(glob, count);
    }
    let gaps = wait_for("the time between is a gap", || {
        let answer = demo.try_get(&format!("/v1/samples?tag={tag}&from=-10m&limit=1"))?;
        answer["gaps"].as_array().filter(|gaps| !gaps.is_empty()).cloned()
    });
    let stood = gaps.iter().find(|gap| gap["reason"] == "not-running").expect("nobody watched for a while");
    assert!(ns(&stood["from"]) > ns(&before["time"]), "{stood}");
    assert_eq!(demo.stop(), Some(0));
}

/// The oldest sample of a tag in the last ten minutes.
fn first_sample(demo: &Demo, tag: &str) -> Option<Value> {
    let answer = demo.try_get(&format!("/v1/samples?tag={tag}&from=-10m&limit=1"))?;
    answer["samples"].get(0).cloned()
}
