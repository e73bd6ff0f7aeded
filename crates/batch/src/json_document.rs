//! The JSON document: `{head, rows, groups, figures, totals}`, and of a correction `removed` and
//! `period`, too.
//!
//! Sums are decimal texts, as a JSON number would lose digits in most readers.

use crate::{
    compose::{Bounded, ComposeError, Content},
    row::{Figure, Head, Row},
    totals::{Group, Sum, Totals},
};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Whole<'a> {
    head: &'a Head,
    rows: Vec<&'a Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<Vec<Removed<'a>>>,
    groups: &'a [Group],
    figures: &'a [Figure],
    totals: Control<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<Control<'a>>,
}

/// A document that is no longer of the period.
#[derive(Serialize)]
struct Removed<'a> {
    record: &'a str,
    id: &'a str,
    version: u64,
}

/// Control totals; groups and figures stand beside them.
#[derive(Serialize)]
struct Control<'a> {
    rows: u64,
    records: &'a BTreeMap<String, u64>,
    sums: &'a BTreeMap<String, Sum>,
    hash: u64,
    hashes: &'a BTreeMap<String, u64>,
}

impl<'a> Control<'a> {
    fn of(totals: &'a Totals) -> Control<'a> {
        let Totals { rows, records, sums, hash, hashes, .. } = totals;
        Control { rows: *rows, records, sums, hash: *hash, hashes }
    }
}

/// The document's bytes.
pub(crate) fn write(content: &Content<'_>) -> Result<Vec<u8>, ComposeError> {
    let totals = &content.sheet.totals;
    let removed = content.removed.iter().map(|row| Removed { record: &row.record, id: &row.id, version: row.version });
    let whole = Whole {
        head: content.head,
        rows: content.sheet.rows.iter().map(|placed| placed.row).collect(),
        removed: content.period.map(|_| removed.collect()),
        groups: &totals.groups,
        figures: &totals.figures,
        totals: Control::of(totals),
        period: content.period.map(Control::of),
    };
    let mut out = Bounded::default();
    // keys are texts and values plain, so what fails is the bound on bytes
    serde_json::to_writer(&mut out, &whole).map_err(|_| ComposeError::TooLarge)?;
    Ok(out.bytes)
}
