//! What the server says of itself: `/v1/cores`, looked at twice.
//!
//! Its distributions count since the server started. Of the time between two looks only what adds up
//! can be told: how many, their sum, and how many lie in each bucket. Percentiles are since the start.

use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;

/// How long the server may take to answer: a core that is full makes it wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before a server that may be starting is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// The distributions of a core beside its stages.
const OF_A_CORE: [&str; 2] = ["frame_to_visible", "cycle"];
/// What is handed on of a distribution since the start.
const SINCE_START: [&str; 7] = ["polls", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns"];

/// Asks the server about itself.
pub(super) struct Server {
    agent: Agent,
    base: String,
}

impl Server {
    pub(super) fn new(http: std::net::SocketAddr) -> Server {
        let config = Agent::config_builder().timeout_global(Some(PATIENCE)).build();
        Server { agent: config.into(), base: format!("http://{http}") }
    }

    /// The same of a server that may be starting.
    pub(super) fn get_at_last(&self, path: &str) -> Result<Value, String> {
        let start = Instant::now();
        loop {
            match self.get(path) {
                Err(_) if start.elapsed() < PATIENCE => thread::sleep(PAUSE),
                result => return result,
            }
        }
    }

    /// JSON of a path, or why there is none.
    pub(super) fn get(&self, path: &str) -> Result<Value, String> {
        let url = format!("{}{path}", self.base);
        let answer = self.agent.get(&url).call().and_then(|mut answer| answer.body_mut().read_json());
        answer.map_err(|error| format!("{url}: {error}"))
    }
}

/// All cores, with what came between two looks.
pub(super) fn between(before: &Value, after: &Value) -> Value {
    let cores = after.as_array().map_or(&[][..], Vec::as_slice);
    let earlier = |shard: &Value| before.as_array()?.iter().find(|core| core["shard"] == *shard);
    cores.iter().map(|core| core_between(earlier(&core["shard"]).unwrap_or(&Value::Null), core)).collect()
}

fn core_between(before: &Value, core: &Value) -> Value {
    let mut shown = json!({ "shard": core["shard"], "io": core["io"], "log": core["log"]["health"] });
    for name in OF_A_CORE {
        shown[name] = distribution(&before[name], &core[name]);
    }
    let known = before["stages"].as_array().map_or(&[][..], Vec::as_slice);
    let stages = core["stages"].as_array().map_or(&[][..], Vec::as_slice);
    let earlier = |stage: &Value| known.iter().find(|one| one["name"] == stage["name"] && one["lane"] == stage["lane"]);
    shown["stages"] = stages.iter().map(|stage| distribution(earlier(stage).unwrap_or(&Value::Null), stage)).collect();
    shown
}

fn distribution(before: &Value, after: &Value) -> Value {
    let difference = |name: &str| number(&after[name]).saturating_sub(number(&before[name]));
    let polls = difference("polls");
    let old = before["buckets"].as_array().map_or(&[][..], Vec::as_slice);
    let buckets = after["buckets"].as_array().map_or(&[][..], Vec::as_slice).iter().enumerate().map(|(at, bucket)| {
        let count = number(&bucket[1]).saturating_sub(old.get(at).map_or(0, |old| number(&old[1])));
        json!([bucket[0], count])
    });
    let since_start: serde_json::Map<String, Value> =
        SINCE_START.iter().map(|name| ((*name).to_owned(), after[*name].clone())).collect();
    json!({
        "lane": after["lane"],
        "name": after["name"],
        "in_run": {
            "polls": polls,
            "sum_ns": difference("sum_ns"),
            "mean_ns": difference("sum_ns").checked_div(polls),
            "buckets": buckets.collect::<Vec<_>>(),
        },
        "since_start": since_start,
    })
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_adds_up_is_told_for_the_run_and_percentiles_since_the_start() {
        let core = |polls: u64, sum: u64, low: u64| {
            let one = json!({ "lane": "request", "name": "http", "polls": polls, "sum_ns": sum, "p50_ns": 7,
                "buckets": [[1_000, low], [null, polls - low]] });
            json!([{ "shard": 0, "stages": [one], "cycle": one, "frame_to_visible": one }])
        };
        let found = between(&core(10, 1_000, 4), &core(30, 5_000, 14));
        let stage = &found[0]["stages"][0];
        assert_eq!((&stage["in_run"]["polls"], &stage["in_run"]["mean_ns"]), (&json!(20), &json!(200)));
        assert_eq!(stage["in_run"]["buckets"], json!([[1_000, 10], [null, 10]]));
        assert_eq!(stage["since_start"]["p50_ns"], json!(7));
        // a stage that came up meanwhile counts from nothing
        let fresh = between(&Value::Null, &core(3, 30, 3));
        assert_eq!(fresh[0]["cycle"]["in_run"]["polls"], json!(3));
    }
}
