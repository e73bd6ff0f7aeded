//! What came back against what was written, tag by tag.
//!
//! Invariant: every sample that comes back is judged once: as itself, a repeat, one out of order, or
//! altered (no such time, another value, another quality). What was acknowledged and did not come is
//! lost.

use crate::series::Series;
use client::TimestampNs;
use serde_json::{Value, json};

/// Examples that are kept; the rest is only counted.
const EXAMPLES_MAX: usize = 20;

/// Counts over all tags, with examples.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Samples read back, older runs' left out.
    pub(crate) read: u64,
    /// Samples that were written and are there, each once.
    pub(crate) found: u64,
    /// Acknowledged and not there.
    pub(crate) lost: u64,
    /// There more than once.
    pub(crate) duplicated: u64,
    /// There with another value, time or quality.
    pub(crate) altered: u64,
    /// There behind a later one.
    pub(crate) reordered: u64,
    /// Written, never acknowledged, and there: nothing wrong with it.
    pub(crate) unacknowledged_found: u64,
    /// The first of what is wrong, in words.
    pub(crate) examples: Vec<String>,
}

impl Findings {
    pub(crate) fn is_good(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.altered == 0 && self.reordered == 0
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "read": self.read,
            "found": self.found,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "altered": self.altered,
            "reordered": self.reordered,
            "unacknowledged_found": self.unacknowledged_found,
            "examples": self.examples,
        })
    }

    fn example(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what());
        }
    }
}

/// One sample as it came back.
#[derive(Clone, Debug)]
pub(crate) struct Read<'a> {
    pub(crate) source_time: Option<TimestampNs>,
    pub(crate) value: &'a Value,
    pub(crate) quality: &'a str,
}

/// The comparison of one tag.
pub(crate) struct TagCheck<'f> {
    findings: &'f mut Findings,
    series: Series,
    tag: usize,
    path: String,
    /// Whether each number came.
    seen: Vec<bool>,
    highest: Option<u64>,
    acknowledged: u64,
}

impl<'f> TagCheck<'f> {
    /// `written` samples were sent, the first `acknowledged` of them acknowledged.
    pub(crate) fn new(
        findings: &'f mut Findings,
        series: Series,
        tag: usize,
        path: &str,
        written: u64,
        acknowledged: u64,
    ) -> TagCheck<'f> {
        let seen = vec![false; usize::try_from(written).unwrap_or(usize::MAX)];
        TagCheck { findings, series, tag, path: path.to_owned(), seen, highest: None, acknowledged }
    }

    /// Judges the next sample.
    pub(crate) fn on_sample(&mut self, read: &Read<'_>) {
        if read.source_time.is_some_and(|time| time.0 < self.series.start_ns) {
            return; // of an older run
        }
        self.findings.read += 1;
        let (tag, path) = (self.tag, &self.path);
        let index = read.source_time.and_then(|time| self.series.index(time));
        let Some(index) = index.filter(|index| (*index as usize) < self.seen.len()) else {
            self.findings.altered += 1;
            self.findings.example(|| format!("{path}: a sample of {:?} that was never written", read.source_time));
            return;
        };
        let time = self.series.time(index);
        if !self.series.is_value(tag, index, read.value) || read.quality != "Good" {
            self.findings.altered += 1;
            let wanted = self.series.shown(tag, index);
            let (value, quality) = (read.value, read.quality);
            self.findings
                .example(|| format!("{path}: sample {index} of {time} is {value} ({quality}) and was {wanted} (Good)"));
        }
        if std::mem::replace(&mut self.seen[index as usize], true) {
            self.findings.duplicated += 1;
            self.findings.example(|| format!("{path}: sample {index} of {time} is there twice"));
            return;
        }
        self.findings.found += 1;
        self.findings.unacknowledged_found += u64::from(index >= self.acknowledged);
        match self.highest {
            Some(highest) if index < highest => {
                self.findings.reordered += 1;
                self.findings.example(|| format!("{path}: sample {index} of {time} comes behind sample {highest}"));
            }
            _ => self.highest = Some(index),
        }
    }

    /// All of the tag was read.
    pub(crate) fn finish(self) {
        let acknowledged = usize::try_from(self.acknowledged).unwrap_or(usize::MAX).min(self.seen.len());
        for index in (0..acknowledged).filter(|index| !self.seen[*index]) {
            self.findings.lost += 1;
            let (path, time) = (&self.path, self.series.time(index as u64));
            self.findings.example(|| format!("{path}: sample {index} of {time} was acknowledged and is not there"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Raw;

    const SERIES: Series = Series { start_ns: 1_000_000, seed: 3 };

    /// Checks tag 1 (whole numbers) of five written and four acknowledged samples.
    fn check(read: &[(u64, i64)]) -> Findings {
        let mut findings = Findings::default();
        let mut check = TagCheck::new(&mut findings, SERIES, 1, "a/b", 5, 4);
        for (index, more) in read {
            let Raw(bits) = SERIES.bits(1, *index);
            let value = json!(bits as i64 + more);
            let source_time = Some(SERIES.time(*index));
            check.on_sample(&Read { source_time, value: &value, quality: "Good" });
        }
        check.finish();
        findings
    }

    fn counts(findings: &Findings) -> [u64; 6] {
        let f = findings;
        [f.found, f.lost, f.duplicated, f.altered, f.reordered, f.unacknowledged_found]
    }

    #[test]
    fn what_is_whole_is_good() {
        let findings = check(&[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]);
        assert_eq!(counts(&findings), [5, 0, 0, 0, 0, 1]);
        assert!(findings.is_good() && findings.examples.is_empty());
        assert!(check(&[(0, 0), (1, 0), (2, 0), (3, 0)]).is_good(), "what was not acknowledged may be missing");
    }

    #[test]
    fn each_fault_has_its_name() {
        assert_eq!(counts(&check(&[(0, 0), (1, 0), (3, 0)])), [3, 1, 0, 0, 0, 0]);
        assert_eq!(counts(&check(&[(0, 0), (1, 0), (1, 0), (2, 0), (3, 0)])), [4, 0, 1, 0, 0, 0]);
        assert_eq!(counts(&check(&[(0, 0), (1, 7), (2, 0), (3, 0)])), [4, 0, 0, 1, 0, 0]);
        assert_eq!(counts(&check(&[(0, 0), (2, 0), (1, 0), (3, 0)])), [4, 0, 0, 0, 1, 0]);
        assert_eq!(counts(&check(&[(0, 0), (1, 0), (2, 0), (3, 0), (9, 0)])), [4, 0, 0, 1, 0, 0]);
        let findings = check(&[]);
        assert_eq!((findings.lost, findings.examples.len()), (4, 4));
        assert!(findings.examples[0].contains("acknowledged and is not there"));
    }

    #[test]
    fn bad_quality_and_strange_times_are_alterations_and_older_runs_are_nothing() {
        let mut findings = Findings::default();
        let mut check = TagCheck::new(&mut findings, SERIES, 1, "a/b", 5, 0);
        let Raw(bits) = SERIES.bits(1, 0);
        let value = json!(bits as i64);
        check.on_sample(&Read { source_time: Some(SERIES.time(0)), value: &value, quality: "Bad" });
        check.on_sample(&Read { source_time: None, value: &value, quality: "Good" });
        check.on_sample(&Read { source_time: Some(SERIES.time(1).plus_ns(1)), value: &value, quality: "Good" });
        check.on_sample(&Read { source_time: Some(TimestampNs(5)), value: &value, quality: "Good" });
        check.finish();
        assert_eq!((findings.altered, findings.read), (3, 3));
    }
}
