//! The CSV document (RFC 4180): one table, so that any tool loads it, with the kind of each line in
//! its first column.
//!
//! Columns: [`FIXED_COLUMNS`], then the rows' top-level fields, ascending. A field that has the name
//! of a fixed column is called `body.<name>`. Lines, in this order:
//!
//! | `line` | what it says |
//! |---|---|
//! | `head` | one line for each member of the run's head: its name in `id`, its value in `value` |
//! | `row` | one document: `record`, `id`, `version`, `time`, `offset`, its fields |
//! | `group` | right behind the rows that it sums: `record`, `count`, the key in the fields of `group_by`, sums in the others |
//! | `removed` | a correction only: `record`, `id` and last `version` of a document that is no longer of the period |
//! | `figure` | `record` is the aggregate, `id` the tag; `value`, `unit`, `percent_good` |
//! | `total` | for each record: `record`, `count` of rows, hash total in `value`, sums in the fields; last the whole, with an empty `record` |
//! | `period` | a correction only: as `total`, of the whole period after it |
//!
//! Invariants
//! - V1: a text cell that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`,
//!   tab or carriage return, perhaps behind apostrophes) has one apostrophe more in front. Numbers
//!   have none. Taking one apostrophe from what matches `'+[=+-@\t\r]…` gives the text back.
//! - V2: every line has every column.
//!
//! Sums of the same field in two records share a column, never a line.

use crate::{
    compose::{Bounded, ComposeError, Content},
    row::shown,
    sheet::{Placed, object, text_of},
    totals::{Group, Sum, Totals},
};
use csv::{QuoteStyle, Terminator, WriterBuilder};
use serde_json::Value;
use std::collections::BTreeMap;

/// The first columns of every CSV document.
pub const FIXED_COLUMNS: [&str; 10] =
    ["line", "record", "id", "version", "time", "offset", "count", "value", "unit", "percent_good"];

/// Places in [`FIXED_COLUMNS`].
const RECORD: usize = 1;
const ID: usize = 2;
const VERSION: usize = 3;
const TIME: usize = 4;
const OFFSET: usize = 5;
const COUNT: usize = 6;
const VALUE: usize = 7;
const UNIT: usize = 8;
const PERCENT_GOOD: usize = 9;

/// A table being written.
struct Table<'a> {
    writer: csv::Writer<Bounded>,
    /// Column of each field.
    columns: BTreeMap<&'a str, usize>,
    cells: Vec<String>,
    lines: u64,
}

/// The document's bytes, and its lines behind the first.
pub(crate) fn write(content: &Content<'_>) -> Result<(Vec<u8>, u64), ComposeError> {
    let mut table = Table::new(content)?;
    table.head(content)?;
    table.rows(content)?;
    for row in &content.removed {
        table.text(RECORD, &row.record);
        table.text(ID, &row.id);
        table.plain(VERSION, row.version.to_string());
        table.end("removed")?;
    }
    let totals = &content.sheet.totals;
    for figure in &totals.figures {
        table.text(RECORD, &figure.aggregate);
        table.text(ID, &figure.tag);
        table.text(UNIT, &figure.unit);
        table.plain(VALUE, figure.value.map(number).unwrap_or_default());
        table.plain(PERCENT_GOOD, figure.percent_good.map(number).unwrap_or_default());
        table.end("figure")?;
    }
    table.totals("total", totals)?;
    if let Some(period) = content.period {
        table.totals("period", period)?;
    }
    let lines = table.lines;
    let bounded = table.writer.into_inner().map_err(|_| ComposeError::TooLarge)?;
    Ok((bounded.bytes, lines))
}

impl<'a> Table<'a> {
    fn new(content: &Content<'a>) -> Result<Table<'a>, ComposeError> {
        let mut names: Vec<String> = FIXED_COLUMNS.map(str::to_owned).to_vec();
        let mut columns = BTreeMap::new();
        for field in &content.fields {
            let mut name = (*field).to_owned();
            while names.contains(&name) || (name != *field && content.fields.binary_search(&name.as_str()).is_ok()) {
                name.insert_str(0, "body.");
            }
            columns.insert(*field, names.len());
            names.push(name);
        }
        let mut builder = WriterBuilder::new();
        builder.terminator(Terminator::CRLF).quote_style(QuoteStyle::Necessary).flexible(true);
        let mut writer = builder.from_writer(Bounded::default());
        let names: Vec<String> = names.iter().map(|name| guarded(name)).collect();
        writer.write_record(&names).map_err(|_| ComposeError::TooLarge)?;
        Ok(Table { writer, columns, cells: vec![String::new(); names.len()], lines: 0 })
    }

    /// Ends a line; the next one begins empty.
    fn end(&mut self, line: &str) -> Result<(), ComposeError> {
        self.cells[0] = line.to_owned();
        // a line of any length is taken, so what fails is the bound on bytes
        self.writer.write_record(&self.cells).map_err(|_| ComposeError::TooLarge)?;
        self.cells.iter_mut().for_each(String::clear);
        self.lines += 1;
        Ok(())
    }

    fn text(&mut self, column: usize, text: &str) {
        self.cells[column] = guarded(text);
    }

    fn plain(&mut self, column: usize, number: String) {
        self.cells[column] = number;
    }

    fn head(&mut self, content: &Content<'_>) -> Result<(), ComposeError> {
        let head = content.head;
        for (name, value) in [
            ("run_id", head.run_id.as_str()),
            ("batch", &head.batch),
            ("label", &head.label),
            ("from", &shown(head.from)),
            ("to", &shown(head.to)),
            ("sequence", &head.sequence.to_string()),
            ("cause", &head.cause),
            ("correction_of", head.correction_of.as_deref().unwrap_or_default()),
            ("created", &shown(head.created)),
        ] {
            self.text(ID, name);
            self.text(VALUE, value);
            self.end("head")?;
        }
        Ok(())
    }

    /// Rows, each group's line behind its own.
    fn rows(&mut self, content: &Content<'_>) -> Result<(), ComposeError> {
        let mut groups = content.sheet.totals.groups.iter();
        let runs = content.sheet.rows.chunk_by(|a, b| a.key == b.key && a.row.record == b.row.record);
        for run in runs {
            run.iter().try_for_each(|placed| self.row(placed))?;
            if let Some(group) = groups.next() {
                self.group(content, group, &run[0])?;
            }
        }
        Ok(())
    }

    fn row(&mut self, Placed { row, .. }: &Placed<'_>) -> Result<(), ComposeError> {
        self.text(RECORD, &row.record);
        self.text(ID, &row.id);
        self.plain(VERSION, row.version.to_string());
        self.plain(TIME, shown(row.time));
        self.plain(OFFSET, row.offset.to_string());
        for (field, value) in object(row) {
            let column = self.columns[field.as_str()];
            match value {
                Value::Number(number) => self.plain(column, number.to_string()),
                value => self.text(column, &text_of(value).unwrap_or_default()),
            }
        }
        self.end("row")
    }

    fn group(&mut self, content: &Content<'_>, group: &Group, first: &Placed<'_>) -> Result<(), ComposeError> {
        self.text(RECORD, &group.record);
        self.plain(COUNT, group.rows.to_string());
        for (field, value) in content.group_by.iter().zip(&first.key) {
            let column = self.columns.get(field.as_str()).copied();
            let is_number = first.row.body.get(field).is_some_and(Value::is_number);
            match (column, value) {
                (Some(column), Some(value)) if is_number => self.plain(column, value.clone()),
                (Some(column), Some(value)) => self.text(column, value),
                _ => {}
            }
        }
        self.sums(group.sums.iter().map(|(field, sum)| (field.as_str(), sum)));
        self.end("group")
    }

    fn sums<'b>(&mut self, sums: impl Iterator<Item = (&'b str, &'b Sum)>) {
        for (field, sum) in sums {
            if let Some(column) = self.columns.get(field).copied() {
                self.plain(column, sum.sum.clone());
            }
        }
    }

    fn totals(&mut self, line: &str, totals: &Totals) -> Result<(), ComposeError> {
        for (record, rows) in &totals.records {
            self.text(RECORD, record);
            self.plain(COUNT, rows.to_string());
            self.plain(VALUE, totals.hashes.get(record).copied().unwrap_or_default().to_string());
            let of_record = totals
                .sums
                .iter()
                .filter_map(|(name, sum)| Some((name.strip_prefix(record.as_str())?.strip_prefix('.')?, sum)));
            self.sums(of_record);
            self.end(line)?;
        }
        self.plain(COUNT, totals.rows.to_string());
        self.plain(VALUE, totals.hash.to_string());
        self.end(line)
    }
}

/// A finite number as JSON shows it, so that both formats say the same.
fn number(value: f64) -> String {
    serde_json::Number::from_f64(value).map(|number| number.to_string()).unwrap_or_default()
}

/// A text that no spreadsheet takes for a formula (V1).
fn guarded(text: &str) -> String {
    let formula = text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text_and_names_stay() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+31 6", "'+31 6"),
            ("-", "'-"),
            ("@cmd", "'@cmd"),
            ("\tx", "'\tx"),
            ("'=x", "''=x"),
            ("'s-Hertogenbosch", "'s-Hertogenbosch"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(guarded(text), expected);
        }
    }
}
