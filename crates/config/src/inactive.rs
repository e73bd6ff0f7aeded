//! What a configuration asks for that is checked, but does nothing yet.

use crate::table::{FILE, Kind};
use crate::{BatchFormat, Config};

/// Why a batch in Parquet does nothing yet.
const PARQUET: &str =
    "parquet comes with the archive; until then it sends nothing, so write format = \"csv\" or \"json\"";

impl Config {
    /// One sentence for each entry whose engine is not there yet, in the order of the file's
    /// sections. Empty when everything that is configured acts.
    #[must_use]
    pub fn inactive(&self) -> Vec<String> {
        let parquet = self.batches.iter().filter(|batch| batch.format == BatchFormat::Parquet);
        let mut sentences: Vec<String> = parquet.map(|batch| sentence("batch", &batch.name, PARQUET)).collect();
        if let Some(reason) = later("forward") {
            sentences.extend(self.forwards.iter().map(|forward| sentence("forward", &forward.name, reason)));
        }
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
