//! A pass that takes everything down, and refuses when told to.

use model::{
    CommitError, Gap, Intake, LogPosition, Quality, Reading, Refused, Run, SourceId, SourceState, TagDeclaration,
    TagId, TimestampNs, Value,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::task::{Context, Poll};

/// What was said through the intake.
#[derive(Default)]
pub struct Recorder {
    pub tags: RefCell<Vec<TagDeclaration>>,
    pub readings: RefCell<Vec<(TimestampNs, Vec<Reading>)>>,
    pub gaps: RefCell<Vec<Gap>>,
    pub states: RefCell<Vec<SourceState>>,
    pub counts: RefCell<BTreeMap<&'static str, u64>>,
    pub figures: RefCell<BTreeMap<&'static str, u64>>,
    pub runs: Cell<u64>,
    pub refuse: Cell<Option<Refused>>,
    pub refuse_declare: Cell<bool>,
}

impl Intake for Recorder {
    fn source(&self, _: &str) -> Result<SourceId, Refused> {
        Ok(SourceId(1))
    }

    fn declare(&self, _: SourceId, tags: &[TagDeclaration]) -> Result<Vec<TagId>, Refused> {
        if self.refuse_declare.get() {
            return Err(Refused::Limit);
        }
        *self.tags.borrow_mut() = tags.to_vec();
        Ok((0..tags.len() as u32).map(TagId).collect())
    }

    fn submit(&self, _: SourceId, time: TimestampNs, readings: &[Reading]) -> Result<LogPosition, Refused> {
        if let Some(refused) = self.refuse.get() {
            return Err(refused);
        }
        self.readings.borrow_mut().push((time, readings.to_vec()));
        Ok(LogPosition(0))
    }

    fn submit_run(&self, source: SourceId, time: TimestampNs, run: Run<'_>) -> Result<LogPosition, Refused> {
        self.runs.set(self.runs.get() + 1);
        self.submit(source, time, &run.readings().collect::<Vec<_>>())
    }

    fn gap(&self, gap: Gap) {
        assert!(gap.from < gap.to, "an empty gap: {gap:?}");
        self.gaps.borrow_mut().push(gap);
    }

    fn state(&self, _: SourceId, state: SourceState) {
        self.states.borrow_mut().push(state);
    }

    fn count(&self, _: SourceId, counter: &'static str, by: u64) {
        *self.counts.borrow_mut().entry(counter).or_default() += by;
    }

    fn figure(&self, _: SourceId, name: &'static str, value: u64) {
        self.figures.borrow_mut().insert(name, value);
    }

    fn poll_durable(&self, _: LogPosition, _: &mut Context<'_>) -> Poll<Result<(), CommitError>> {
        Poll::Ready(Ok(()))
    }
}

#[allow(dead_code, reason = "not every test uses every question")]
impl Recorder {
    /// Every reading of a tag, in order: value and quality.
    pub fn of(&self, tag: u32) -> Vec<(Option<Value>, Quality)> {
        let all = self.readings.borrow();
        let readings = all.iter().flat_map(|(_, readings)| readings);
        readings.filter(|r| r.tag == TagId(tag)).map(|r| (r.value.clone(), r.quality)).collect()
    }

    /// The qualities of a tag without repeats.
    pub fn qualities(&self, tag: u32) -> Vec<Quality> {
        let mut qualities: Vec<Quality> = self.of(tag).into_iter().map(|(_, quality)| quality).collect();
        qualities.dedup();
        qualities
    }

    pub fn last(&self, tag: u32) -> Option<(Option<Value>, Quality)> {
        self.of(tag).pop()
    }

    pub fn counted(&self, counter: &str) -> u64 {
        self.counts.borrow().get(counter).copied().unwrap_or(0)
    }

    pub fn last_state(&self) -> Option<SourceState> {
        self.states.borrow().last().cloned()
    }
}
