//! Where a unit's readings, gaps and counts go, and what was told of its tags.

use crate::counters::Counters;
use crate::gaps::{Moment, Span};
use model::{Gap, Intake, Quality, SourceId, TagId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was never told of a tag; no device or standard uses this code.
pub(crate) const UNTOLD: Quality = Quality(u32::MAX);

/// Where a lane's readings, gaps and counts go.
pub(crate) struct Out<'a> {
    pub(crate) intake: &'a dyn Intake,
    pub(crate) source: SourceId,
    pub(crate) now: Moment,
    pub(crate) counters: &'a mut Counters,
    pub(crate) text: &'a mut (Vec<u8>, String),
}

impl Out<'_> {
    pub(crate) fn gap(&self, runs: &[(TagId, u32)], span: Option<Span>) {
        let Some(Span { from, to, reason, count }) = span else { return };
        for run in runs {
            let (source, tags, count) = (self.source, Some(*run), Some(count));
            self.intake.gap(Gap { source, tags, from, to, reason, count });
        }
    }
}

/// One unit's tags: their ids, what was told of them last, and their last texts.
#[derive(Debug)]
pub(crate) struct Tags {
    pub(crate) ids: Vec<TagId>,
    pub(crate) told: Vec<Quality>,
    texts: BTreeMap<u32, Arc<str>>,
}

impl Tags {
    pub(crate) fn new(ids: &[TagId]) -> Tags {
        Tags { ids: ids.to_vec(), told: vec![UNTOLD; ids.len()], texts: BTreeMap::new() }
    }

    /// The same text as last time is the same allocation.
    pub(crate) fn text(&mut self, tag: u32, text: &str) -> Arc<str> {
        match self.texts.get(&tag) {
            Some(last) if **last == *text => last.clone(),
            _ => {
                let text: Arc<str> = text.into();
                self.texts.insert(tag, text.clone());
                text
            }
        }
    }
}
