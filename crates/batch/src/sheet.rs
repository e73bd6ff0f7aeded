//! Rows put in order, with their columns and totals: what both formats are written from.
//!
//! Invariants
//! - S1: rows are ascending by group key, record, id; so the order in which they came is nowhere
//!   seen (B1).
//! - S2: groups stand in the order of their rows, each with the rows that it sums right before it.

use crate::{
    compose::{COLUMNS_MAX, ComposeError, FIGURES_MAX, ROWS_MAX},
    row::{Figure, Row, Spec, newest},
    totals::{Adder, Group, Totals, add_hash, hash_of},
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A row with the text of its `group_by` fields.
pub(crate) struct Placed<'a> {
    pub(crate) key: Vec<Option<String>>,
    pub(crate) row: &'a Row,
}

/// Everything that a document says of its rows.
pub(crate) struct Sheet<'a> {
    pub(crate) rows: Vec<Placed<'a>>,
    /// Names of all top-level fields.
    pub(crate) fields: BTreeSet<&'a str>,
    pub(crate) totals: Totals,
}

impl<'a> Sheet<'a> {
    pub(crate) fn new(
        spec: &Spec,
        rows: impl Iterator<Item = &'a Row>,
        figures: &[Figure],
    ) -> Result<Sheet<'a>, ComposeError> {
        if let Some(field) = spec.group_by.iter().find(|field| spec.totals.contains(field)) {
            return Err(ComposeError::GroupedAndSummed { field: field.clone() });
        }
        if figures.len() > FIGURES_MAX {
            return Err(ComposeError::TooManyFigures { count: figures.len() });
        }
        let rows: Vec<&Row> = rows.collect();
        if let Some(row) = rows.iter().find(|row| !spec.records.contains(&row.record)) {
            return Err(ComposeError::Record { record: row.record.clone(), id: row.id.clone() });
        }
        let newest = newest(rows.into_iter());
        if newest.len() > ROWS_MAX {
            return Err(ComposeError::TooManyRows { count: newest.len() });
        }
        let mut rows: Vec<Placed<'a>> = newest.into_values().map(|row| Placed { key: key(spec, row), row }).collect();
        // records and ids are ascending already, and the sort is stable
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let fields: BTreeSet<&str> =
            rows.iter().flat_map(|placed| object(placed.row)).map(|(field, _)| field.as_str()).collect();
        if fields.len() > COLUMNS_MAX {
            return Err(ComposeError::TooManyColumns { count: fields.len() });
        }
        let totals = totals(spec, &rows, figures);
        Ok(Sheet { rows, fields, totals })
    }
}

/// The members of a row's body; none where it is no object.
pub(crate) fn object(row: &Row) -> impl Iterator<Item = (&String, &Value)> {
    row.body.as_object().into_iter().flat_map(Map::iter)
}

/// A value as the text of a cell: a text as it is, null as nothing, the rest as JSON.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn key(spec: &Spec, row: &Row) -> Vec<Option<String>> {
    spec.group_by.iter().map(|field| row.body.get(field).and_then(text_of)).collect()
}

/// Whether a field is summed; `Some(true)` where decimal texts count, too.
fn summed(spec: &Spec, record: &str, field: &str) -> Option<bool> {
    if spec.totals.is_empty() {
        return (!spec.group_by.iter().any(|by| by == field)).then_some(false);
    }
    let named =
        |name: &String| name == field || name.strip_prefix(record).and_then(|n| n.strip_prefix('.')) == Some(field);
    spec.totals.iter().any(named).then_some(true)
}

/// Sums of several fields.
type Adders<'a> = BTreeMap<&'a str, Adder>;

fn add<'a>(spec: &Spec, row: &'a Row, adders: &mut Adders<'a>) {
    for (field, value) in object(row) {
        if let Some(texts) = summed(spec, &row.record, field) {
            adders.entry(field).or_insert_with(Adder::new).take(value, texts);
        }
    }
}

/// Sums that are any: of fields that hold numbers, or that the configuration names.
fn sums<'a, 'b>(spec: &Spec, adders: &'b Adders<'a>) -> impl Iterator<Item = (&'a str, &'b Adder)> {
    let named = !spec.totals.is_empty();
    adders.iter().filter(move |(_, adder)| named || adder.is_numeric()).map(|(field, adder)| (*field, adder))
}

fn totals(spec: &Spec, rows: &[Placed<'_>], figures: &[Figure]) -> Totals {
    let none: BTreeMap<String, u64> = spec.records.iter().map(|record| (record.clone(), 0)).collect();
    let mut totals = Totals {
        rows: rows.len() as u64,
        lines: rows.len() as u64,
        records: none.clone(),
        hashes: none,
        groups: groups(spec, rows),
        figures: sorted(figures),
        ..Totals::default()
    };
    let mut adders: BTreeMap<&str, Adders<'_>> = BTreeMap::new();
    for Placed { row, .. } in rows {
        let hash = hash_of(&row.record, &row.id);
        totals.hash = add_hash(totals.hash, hash);
        *totals.records.entry(row.record.clone()).or_default() += 1;
        let of_record = totals.hashes.entry(row.record.clone()).or_default();
        *of_record = add_hash(*of_record, hash);
        add(spec, row, adders.entry(&row.record).or_default());
    }
    for (record, adders) in &adders {
        totals.sums.extend(sums(spec, adders).map(|(field, adder)| (format!("{record}.{field}"), adder.sum())));
    }
    totals
}

fn groups(spec: &Spec, rows: &[Placed<'_>]) -> Vec<Group> {
    if spec.group_by.is_empty() {
        return Vec::new();
    }
    let runs = rows.chunk_by(|a, b| a.key == b.key && a.row.record == b.row.record);
    let group = |run: &[Placed<'_>]| {
        let mut adders = Adders::new();
        run.iter().for_each(|placed| add(spec, placed.row, &mut adders));
        Group {
            key: spec.group_by.iter().cloned().zip(run[0].key.iter().cloned()).collect(),
            record: run[0].row.record.clone(),
            rows: run.len() as u64,
            sums: sums(spec, &adders).map(|(field, adder)| (field.to_owned(), adder.sum())).collect(),
        }
    };
    runs.map(group).collect()
}

/// Figures in order; what is not finite is no value, as JSON has none for it.
fn sorted(figures: &[Figure]) -> Vec<Figure> {
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let mut figures: Vec<Figure> = figures
        .iter()
        .map(|figure| Figure {
            value: finite(figure.value),
            percent_good: finite(figure.percent_good),
            ..figure.clone()
        })
        .collect();
    let bits = |value: Option<f64>| value.map(f64::to_bits);
    figures.sort_by(|a, b| {
        (&a.tag, &a.aggregate, &a.unit)
            .cmp(&(&b.tag, &b.aggregate, &b.unit))
            .then_with(|| (bits(a.value), bits(a.percent_good)).cmp(&(bits(b.value), bits(b.percent_good))))
    });
    figures
}
