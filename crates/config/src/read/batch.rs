//! Reads what is gathered: records, batches and shifts.

use std::collections::{HashMap, HashSet};

use super::convert::nearest;
use super::parts::{FlowNames, Names, breaker, json, retry};
use super::row::Row;
use super::target::{Sender, target};
use crate::batch::{
    Batch, BatchAt, BatchFormat, BatchRollup, Compress, Date, Day, Record, Shift, ShiftException, TimeOfDay,
};

pub(super) fn records(root: &Row<'_>) -> Vec<Record> {
    let mut names = Names::default();
    let rows = root.tables("record");
    rows.iter()
        .map(|row| Record {
            name: names.take(row),
            id: row.required_text("id"),
            key: row.text("key"),
            time: row.text("time"),
            schema: json(row, "schema"),
        })
        .collect()
}

const FORMATS: [(&str, BatchFormat); 3] =
    [("csv", BatchFormat::Csv), ("json", BatchFormat::Json), ("parquet", BatchFormat::Parquet)];

const COMPRESSIONS: [(&str, Compress); 2] = [("none", Compress::None), ("gzip", Compress::Gzip)];

pub(super) fn batches(root: &Row<'_>, names: &mut FlowNames, records: &[Record], shifts: &[Shift]) -> Vec<Batch> {
    let rows = root.tables("batch");
    rows.iter().map(|row| batch(row, names, records, shifts)).collect()
}

fn batch(row: &Row<'_>, names: &mut FlowNames, records: &[Record], shifts: &[Shift]) -> Batch {
    let at = row.parsed("at", str::parse::<BatchAt>);
    if at == Some(BatchAt::ShiftEnd) && shifts.is_empty() {
        row.refuse("at", "there is no shift that could end", "add a [[shift]], or write a cron expression");
    }
    let taken = batch_records(row, records);
    let rollups: Vec<BatchRollup> = row.tables("rollups").iter().filter_map(batch_rollup).collect();
    if !row.has("records") && !row.has("rollups") {
        row.refuse(
            "records",
            &format!("{} has nothing in it", row.title()),
            "add records = [\"…\"] or rollups = [{ … }]",
        );
    }
    let (group_by, totals) = fields(row);
    let format = row.choice("format", &FORMATS).unwrap_or(BatchFormat::Csv);
    let compress = row.choice("compress", &COMPRESSIONS).unwrap_or(Compress::None);
    if format == BatchFormat::Parquet && compress != Compress::None {
        let what = "compress: a Parquet file is compressed within, column by column";
        row.refuse("compress", what, "write compress = \"none\", or remove it");
    }
    Batch {
        name: names.take(row, "[[batch]]"),
        at: at.unwrap_or(BatchAt::ShiftEnd),
        delay: row.duration("delay"),
        correct: row.duration("correct"),
        records: taken,
        rollups,
        group_by,
        totals,
        format,
        compress,
        to: target(row, Sender::Batch),
        retry: retry(row),
        breaker: breaker(row),
        timeout: row.duration("timeout"),
    }
}

fn batch_records(row: &Row<'_>, records: &[Record]) -> Vec<String> {
    let known: HashSet<&str> = records.iter().map(|record| record.name.as_str()).collect();
    let mut taken = Vec::new();
    for (index, (name, at)) in row.list("records").into_iter().enumerate() {
        if !known.contains(name.as_str()) {
            let fix = match nearest(&name, records.iter().map(|record| record.name.as_str())) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "write the name of a [[record]] of this file".to_owned(),
            };
            let key = format!("{}[{index}]", row.path_of("records"));
            row.cx.report(&at, &key, &format!("there is no record {name:?}"), &fix);
        }
        taken.push(name);
    }
    taken
}

/// `group_by` and `totals`: fields of records, no field both.
fn fields(row: &Row<'_>) -> (Vec<String>, Vec<String>) {
    for name in ["group_by", "totals"] {
        if row.has(name) && !row.has("records") {
            let what = format!("{name} names fields of records, and {} has none", row.title());
            row.refuse_key(name, &what, "add records = [\"…\"], or remove it");
        }
    }
    let group_by: Vec<String> = row.list("group_by").into_iter().map(|(field, _)| field).collect();
    let mut totals = Vec::new();
    for (index, (field, at)) in row.list("totals").into_iter().enumerate() {
        if group_by.contains(&field) {
            let key = format!("{}[{index}]", row.path_of("totals"));
            let what = format!("totals: rows are grouped by {field:?}, which so is not summed up");
            row.cx.report(&at, &key, &what, "name it in one of group_by and totals");
        }
        totals.push(field);
    }
    (group_by, totals)
}

fn batch_rollup(row: &Row<'_>) -> Option<BatchRollup> {
    let match_ = row.text("match");
    let aggregate = row.choice("aggregate", &crate::Aggregate::ALL);
    Some(BatchRollup { match_: match_?, aggregate: aggregate? })
}

const DAYS: [(&str, Day); 7] = [
    ("mon", Day::Mon),
    ("tue", Day::Tue),
    ("wed", Day::Wed),
    ("thu", Day::Thu),
    ("fri", Day::Fri),
    ("sat", Day::Sat),
    ("sun", Day::Sun),
];

pub(super) fn shifts(root: &Row<'_>) -> Vec<Shift> {
    const MIDNIGHT: TimeOfDay = TimeOfDay { hour: 0, minute: 0 };
    let mut names = Names::default();
    let rows = root.tables("shift");
    let day = |word: &str| DAYS.iter().find(|(known, _)| *known == word).map(|(_, day)| *day);
    rows.iter()
        .map(|row| Shift {
            name: names.take(row),
            start: row.parsed("start", str::parse).unwrap_or(MIDNIGHT),
            end: row.parsed("end", str::parse).unwrap_or(MIDNIGHT),
            days: row.list("days").iter().filter_map(|(word, _)| day(word)).collect(),
            except: exceptions(row),
        })
        .collect()
}

fn exceptions(shift: &Row<'_>) -> Vec<ShiftException> {
    let mut lines: HashMap<Date, u32> = HashMap::new();
    let mut exceptions = Vec::new();
    for row in shift.tables("except") {
        for (name, other) in [("start", "end"), ("end", "start")] {
            if row.has(name) && !row.has(other) {
                let fix = format!("add {other} = \"HH:MM\", or remove {name} if there is no shift on that date");
                row.refuse_key(name, &format!("{name} stands without {other}"), &fix);
            }
        }
        let hours = row.parsed("start", str::parse).zip(row.parsed("end", str::parse));
        let Some(date) = row.parsed("date", str::parse::<Date>) else { continue };
        let line = row.cx.line(row.span("date").start);
        match lines.get(&date) {
            Some(before) => {
                let what = format!("{date} is an exception already, in line {before}");
                row.refuse("date", &what, "write each date once; a second shift of the day is a [[shift]] of its own");
            }
            None => drop(lines.insert(date, line)),
        }
        exceptions.push(ShiftException { date, hours });
    }
    exceptions
}
