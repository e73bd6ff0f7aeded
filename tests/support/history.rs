//! What a server says about the past of a tag, read page by page, with times as numbers.

use super::{Server, wait_for};
use model::TimestampNs;
use serde_json::Value;

/// One stored sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Nanoseconds since 1970.
    pub time: i64,
    /// The value; null where there is none.
    pub value: Value,
    /// Its quality by name.
    pub quality: String,
}

impl Stored {
    /// Whether it is what the device said.
    pub fn is_good(&self) -> bool {
        self.quality.starts_with("Good")
    }
}

/// One gap record.
#[derive(Clone, Debug, PartialEq)]
pub struct GapSeen {
    /// Nanoseconds since 1970.
    pub from: i64,
    /// Nanoseconds since 1970.
    pub to: i64,
    /// Why, by name.
    pub reason: String,
    /// How many are missing.
    pub count: Option<u64>,
}

/// Samples and gaps of a tag.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of the answers.
    pub samples: Vec<Stored>,
    /// Each once.
    pub gaps: Vec<GapSeen>,
}

/// A time of an answer in nanoseconds since 1970.
pub fn ns(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is no time"));
    TimestampNs::parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is no RFC 3339")).0
}

impl Server {
    /// JSON of a path, asked again while the server is too busy to answer.
    pub fn ask(&self, path: &str) -> Value {
        wait_for(path, || self.try_get(path))
    }

    /// The server's own time, nanoseconds since 1970.
    pub fn now(&self) -> i64 {
        ns(&self.ask("/v1/status")["now"])
    }

    /// A source as `/v1/sources` shows it.
    pub fn source(&self, name: &str) -> Value {
        let all = self.ask("/v1/sources");
        let found = all.as_array().expect("sources").iter().find(|source| source["name"] == name);
        found.unwrap_or_else(|| panic!("no source {name}: {all}")).clone()
    }

    /// Qualities of all tags that match.
    pub fn qualities(&self, glob: &str) -> Vec<String> {
        let all = self.ask(&format!("/v1/latest?match={glob}&limit=10000"));
        let quality = |latest: &Value| latest["quality"].as_str().unwrap_or_default().to_owned();
        all.as_array().expect("a list").iter().map(quality).collect()
    }

    /// Waits until so many tags match and all of them are good.
    pub fn all_good(&self, glob: &str, count: usize) {
        wait_for(&format!("{count} good tags of {glob}"), || {
            let all = self.qualities(glob);
            (all.len() == count && all.iter().all(|quality| quality == "Good")).then_some(())
        });
    }

    /// Everything that is stored of a tag in `[from, to)`, nanoseconds since 1970.
    pub fn history(&self, tag: &str, from: i64, to: i64) -> History {
        self.history_by(tag, from, to, 10_000)
    }

    /// The same with so many samples a page.
    pub fn history_by(&self, tag: &str, from: i64, to: i64, limit: usize) -> History {
        let mut history = History::default();
        let mut after = String::new();
        loop {
            let page = self.ask(&format!("/v1/samples?tag={tag}&from={from}&to={to}&limit={limit}{after}"));
            let samples = page["samples"].as_array().expect("samples");
            assert!(samples.len() <= limit, "{} samples where {limit} were asked for", samples.len());
            history.samples.extend(samples.iter().map(stored));
            for gap in page["gaps"].as_array().expect("gaps").iter().map(gap) {
                if !history.gaps.contains(&gap) {
                    history.gaps.push(gap);
                }
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return history,
            }
        }
    }
}

fn stored(sample: &Value) -> Stored {
    let quality = sample["quality"].as_str().expect("a quality").to_owned();
    Stored { time: ns(&sample["time"]), value: sample["value"].clone(), quality }
}

fn gap(gap: &Value) -> GapSeen {
    let reason = gap["reason"].as_str().expect("a reason").to_owned();
    GapSeen { from: ns(&gap["from"]), to: ns(&gap["to"]), reason, count: gap["count"].as_u64() }
}
