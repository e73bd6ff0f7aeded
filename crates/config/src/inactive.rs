//! What a configuration asks for that is checked, but does nothing yet.

use std::time::Duration;

use crate::table::{FILE, Kind};
use crate::{Config, quantity};

/// Windows of this length are made; longer ones come later.
const ROLLUP_NOW: Duration = Duration::from_secs(1);

impl Config {
    /// One sentence for each entry whose engine is not there yet, in the order of the file's
    /// sections. Empty when everything that is configured acts.
    #[must_use]
    pub fn inactive(&self) -> Vec<String> {
        let mut sentences: Vec<String> = Vec::new();
        for rollup in self.rollups.iter().filter(|rollup| rollup.every != ROLLUP_NOW) {
            let now = quantity::show_duration(ROLLUP_NOW);
            sentences.push(sentence(
                "rollup",
                &rollup.name,
                &format!("windows longer than {now} come with a later release"),
            ));
        }
        let mut add = |section: &'static str, names: &mut dyn Iterator<Item = &String>| {
            let Some(reason) = later(section) else { return };
            sentences.extend(names.map(|name| sentence(section, name, reason)));
        };
        add("rule", &mut self.rules.iter().map(|entry| &entry.name));
        add("subscriber", &mut self.subscribers.iter().map(|entry| &entry.name));
        add("request", &mut self.requests.iter().map(|entry| &entry.name));
        add("record", &mut self.records.iter().map(|entry| &entry.name));
        add("sync", &mut self.syncs.iter().map(|entry| &entry.name));
        add("shift", &mut self.shifts.iter().map(|entry| &entry.name));
        add("batch", &mut self.batches.iter().map(|entry| &entry.name));
        add("forward", &mut self.forwards.iter().map(|entry| &entry.name));
        sentences
    }
}

fn sentence(section: &str, name: &str, reason: &str) -> String {
    format!("[[{section}]] {name} is checked but not active: {reason}")
}

/// Why a section does nothing yet.
fn later(section: &str) -> Option<&'static str> {
    let key = FILE.keys.iter().find(|key| key.name == section)?;
    match key.kind {
        Kind::Tables { of, .. } => of.later,
        _ => None,
    }
}
