//! Reads `[[rollup]]` and `[[rule]]`.

use std::time::Duration;

use super::parts::Names;
use super::row::Row;
use crate::quantity::show_duration;
use crate::{Aggregate, Condition, Rollup, Rule};

/// Most windows of a rollup that late samples may hold open for one tag.
const LATE_WINDOWS_MAX: u32 = 3_600;
const DAY_SECONDS: u64 = 86_400;

pub(super) fn rollups(root: &Row<'_>) -> Vec<Rollup> {
    let mut names = Names::default();
    root.tables("rollup").iter().map(|row| rollup(row, &mut names)).collect()
}

fn rollup(row: &Row<'_>, names: &mut Names) -> Rollup {
    let every = row.duration("every");
    let even = every.subsec_nanos() == 0 && every.as_secs() != 0 && DAY_SECONDS.is_multiple_of(every.as_secs());
    if !every.is_zero() && !even {
        let what = format!("every: windows of {} do not divide a day evenly", show_duration(every));
        row.refuse(
            "every",
            &what,
            "write whole seconds that divide a day, for instance \"1s\", \"10s\", \"1m\", \"15m\" or \"1h\"",
        );
    }
    let late = row.duration("late");
    let late_max = every.saturating_mul(LATE_WINDOWS_MAX);
    if !every.is_zero() && late > late_max {
        let what =
            format!("late: {} would hold more than {LATE_WINDOWS_MAX} windows open for each tag", show_duration(late));
        row.refuse("late", &what, &format!("write at most {}, or longer windows", show_duration(late_max)));
    }
    let aggregates = row.list("aggregates");
    let aggregates = aggregates.iter().filter_map(|(word, _)| aggregate(word)).collect();
    Rollup { name: names.take(row), match_: row.required_text("match"), every, aggregates, late }
}

fn aggregate(word: &str) -> Option<Aggregate> {
    Aggregate::ALL.iter().find(|(known, _)| *known == word).map(|(_, aggregate)| *aggregate)
}

pub(super) fn rules(root: &Row<'_>) -> Vec<Rule> {
    let mut names = Names::default();
    root.tables("rule").iter().map(|row| rule(row, &mut names)).collect()
}

fn rule(row: &Row<'_>, names: &mut Names) -> Rule {
    Rule {
        name: names.take(row),
        match_: row.required_text("match"),
        condition: row.variant().map_or(Condition::Change, |kind| condition(row, kind)),
        on_delay: row.duration("on_delay"),
        off_delay: row.duration("off_delay"),
        severity: row.whole("severity").unwrap_or_default(),
        event: row.text("event"),
        message: row.expression("message"),
        latch: row.switch("latch"),
        confirm: row.switch("confirm"),
        re_alarm: row.optional_duration("re_alarm"),
    }
}

fn condition(row: &Row<'_>, kind: &str) -> Condition {
    match kind {
        "high" => {
            let (limit, clear) = limits(row, |limit, clear| clear <= limit, "at most");
            Condition::High { limit, clear }
        }
        "low" => {
            let (limit, clear) = limits(row, |limit, clear| clear >= limit, "at least");
            Condition::Low { limit, clear }
        }
        "rate" => Condition::Rate { limit: row.number("limit").unwrap_or_default(), over: row.duration("over") },
        "deviation" => {
            let (limit, clear) = limits(row, |limit, clear| clear <= limit, "at most");
            Condition::Deviation { setpoint: row.number("setpoint").unwrap_or_default(), limit, clear }
        }
        "bit" => Condition::Bit { bit: row.whole("bit").unwrap_or_default(), state: row.switch("state") },
        "stale" => Condition::Stale { after: row.optional_duration("after").unwrap_or(Duration::ZERO) },
        "expression" => Condition::Expression { when: row.expression("when").unwrap_or_default() },
        _ => Condition::Change,
    }
}

/// `limit` and `clear`, which has to be on its right side.
fn limits(row: &Row<'_>, right: impl Fn(f64, f64) -> bool, word: &str) -> (f64, f64) {
    let (limit, clear) = (row.number("limit"), row.number("clear"));
    if let (Some(limit), Some(clear)) = (limit, clear)
        && !right(limit, clear)
    {
        let what = format!("clear: {clear} is on the wrong side of limit, {limit}");
        row.refuse("clear", &what, &format!("write {word} {limit}"));
    }
    let limit = limit.unwrap_or_default();
    (limit, clear.unwrap_or(limit))
}
