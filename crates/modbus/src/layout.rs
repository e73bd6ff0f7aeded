//! A source's tags: what is declared of them, and the requests that read them.
//!
//! Purpose: everything that follows from the configuration alone, made once.
//!
//! Invariants
//! - L1: tags are declared unit by unit, each unit's in file order, so that ids of new tags are
//!   consecutive and a cycle's readings are mostly a run of them.

use crate::plan::{Limits, Plan, Point, blocks, plan};
use config::ModbusSource;
use model::{PathError, TagDeclaration, TagPath};
use std::{collections::BTreeMap, time::Duration};

/// A duration in nanoseconds, held within 64 bits (584 years).
#[must_use]
pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The tags of one unit that are polled together.
#[derive(Clone, Debug)]
pub struct Group {
    /// Time between two polls, in nanoseconds.
    pub every_ns: u64,
    /// Points and requests.
    pub plan: Plan,
    /// What the requests were planned by.
    pub limits: Limits,
}

impl Group {
    /// Plans the requests anew with another gap; the points stay.
    pub fn replan(&mut self, gap: u16) {
        self.limits.gap = gap;
        self.plan.blocks = blocks(&self.plan.points, &self.limits, &[]);
    }
}

/// Unused registers that are read along while the device's costs are not known.
pub const GAP_FIRST: u16 = 16;

/// The groups of every unit, the fastest first, and the tags that nothing can read.
#[must_use]
pub fn groups(settings: &ModbusSource) -> (Vec<Group>, Vec<u32>) {
    let mut by_time: BTreeMap<u64, Vec<Point>> = BTreeMap::new();
    let mut refused = Vec::new();
    for (tag, index) in settings.tags.iter().zip(0..) {
        match Point::new(index, tag) {
            Some(point) => by_time.entry(ns(tag.every.unwrap_or(settings.every))).or_default().push(point),
            None => refused.push(index),
        }
    }
    let limits = Limits {
        gap: settings.coalesce_gap.unwrap_or(GAP_FIRST),
        registers: settings.max_registers,
        bits: settings.max_bits,
    };
    let mut groups = Vec::with_capacity(by_time.len());
    for (every_ns, points) in by_time {
        let plan = plan(points, &limits);
        refused.extend(&plan.refused);
        if !plan.points.is_empty() {
            groups.push(Group { every_ns, plan, limits });
        }
    }
    (groups, refused)
}

/// What is declared: for every unit its tags in file order. A tag's path is `path[/unit]/tag`.
///
/// # Errors
/// The path that is not valid, and what is wrong with it.
pub fn declarations(path: &str, settings: &ModbusSource) -> Result<Vec<TagDeclaration>, (String, PathError)> {
    let mut declared = Vec::with_capacity(settings.units.len() * settings.tags.len());
    for unit in &settings.units {
        for tag in &settings.tags {
            let text = match &unit.name {
                Some(unit) => format!("{path}/{unit}/{}", tag.name),
                None => format!("{path}/{}", tag.name),
            };
            let path = TagPath::new(&text).map_err(|error| (text, error))?;
            declared.push(TagDeclaration {
                path,
                kind: crate::decode::Spec::new(tag).value_kind(),
                unit: tag.unit.clone().unwrap_or_default(),
                range: tag.range,
                deadband: tag.deadband,
                heartbeat_ns: i64::try_from(ns(tag.heartbeat)).unwrap_or(i64::MAX),
            });
        }
    }
    Ok(declared)
}
