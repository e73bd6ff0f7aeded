//! What must hold of every document: it says what went in, always in the same bytes.

use batch::{Figure, Format, Head, Row, Spec, Totals, compose, compose_correction, diff, hash_of};
use model::TimestampNs;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const RECORDS: [&str; 3] = ["labour", "consumption", "yield"];

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,3}",
        "[-=+@'\",;\r\n\t é0-9]{0,6}",
        any::<String>().prop_map(|text| text.chars().take(8).collect()),
    ]
}

/// A number as a person posts it: an amount with few decimals, of either sign, or a whole one.
fn numbers() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-1_000_000_i64..1_000_000, 0..5_u32).prop_map(|(units, scale)| {
            let text = format!("{units}e-{scale}");
            serde_json::from_str(&text).expect("a JSON number")
        }),
        any::<i64>().prop_map(|n| json!(n)),
        any::<u64>().prop_map(|n| json!(n)),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => numbers(),
        3 => texts().prop_map(Value::String),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => texts().prop_map(|text| json!([text, {"a": 1}])),
    ]
}

fn bodies() -> impl Strategy<Value = Value> {
    let fields = prop::sample::select(&["hours", "kg", "work_order", "note", "id", "body.id", "=x"][..]);
    prop::collection::vec((fields, values()), 0..6).prop_map(|members| {
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
    })
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let one = (prop::sample::select(&RECORDS[..]), "[a-f]{1,2}", 1..4_u64, any::<i64>(), any::<u64>(), bodies())
        .prop_map(|(record, id, version, time, offset, body)| Row {
            record: record.to_owned(),
            id,
            version,
            time: TimestampNs(time),
            offset,
            body,
        });
    // offsets are unique in a journal
    prop::collection::vec(one, 0..30).prop_map(|mut rows| {
        rows.iter_mut().enumerate().for_each(|(i, row)| row.offset = i as u64);
        rows
    })
}

fn figures() -> impl Strategy<Value = Vec<Figure>> {
    let one = ("[a-c]{1,2}", any::<Option<f64>>(), any::<Option<f64>>()).prop_map(|(tag, value, percent_good)| {
        Figure { tag, unit: "kWh".to_owned(), aggregate: "delta".to_owned(), value, percent_good }
    });
    prop::collection::vec(one, 0..5)
}

fn spec(format: Format, grouped: bool) -> Spec {
    Spec {
        name: "shift-report".to_owned(),
        records: RECORDS.map(str::to_owned).to_vec(),
        group_by: if grouped { vec!["work_order".to_owned()] } else { Vec::new() },
        totals: Vec::new(),
        format,
        gzip: false,
    }
}

fn head() -> Head {
    Head {
        run_id: "r".to_owned(),
        batch: "shift-report".to_owned(),
        label: "-label".to_owned(),
        from: TimestampNs(0),
        to: TimestampNs(1),
        sequence: 1,
        cause: "manual".to_owned(),
        correction_of: Some("q".to_owned()),
        created: TimestampNs(2),
    }
}

/// Newest versions, found by looking at all of them.
fn newest(rows: &[Row]) -> Vec<&Row> {
    let beaten = |row: &Row| {
        rows.iter().any(|other| {
            (&other.record, &other.id) == (&row.record, &row.id)
                && (other.version, other.offset) > (row.version, row.offset)
        })
    };
    rows.iter().filter(|row| !beaten(row)).collect()
}

/// A number as units of 10^-4, by way of its text.
fn units(number: &serde_json::Number) -> i128 {
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{fraction:0<4}");
    assert!(fraction.len() <= 4, "{text}");
    digits.parse().expect("digits")
}

fn shown(units: i128) -> String {
    let (sign, units) = (if units < 0 { "-" } else { "" }, units.unsigned_abs());
    let text = format!("{sign}{}.{:04}", units / 10_000, units % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The cell of a text or number, read back as the layout says: one apostrophe off what is guarded.
fn unguarded(cell: &str) -> &str {
    let guarded = cell.starts_with('\'') && cell.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r']);
    if guarded { &cell[1..] } else { cell }
}

fn expected_cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

struct Parsed {
    columns: Vec<String>,
    lines: Vec<csv::StringRecord>,
}

impl Parsed {
    fn of(bytes: &[u8]) -> Parsed {
        let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(bytes);
        let columns = reader.headers().expect("headers").iter().map(str::to_owned).collect();
        let lines = reader.records().map(|line| line.expect("as many cells as columns")).collect();
        Parsed { columns, lines }
    }

    /// Where a field stands. `id` is a fixed column, so the field is `body.id`, unless that is a
    /// field of its own.
    fn column(&self, field: &str, rows: &[&Row]) -> Option<usize> {
        let present = |name: &str| rows.iter().any(|row| row.body.get(name).is_some());
        let name = match field {
            "id" if present("body.id") => "body.body.id",
            "id" => "body.id",
            other => other,
        };
        let at = self.columns.iter().skip(batch::FIXED_COLUMNS.len()).position(|column| unguarded(column) == name);
        at.filter(|_| present(field)).map(|at| at + batch::FIXED_COLUMNS.len())
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a csv::StringRecord> {
        self.lines.iter().filter(move |line| &line[0] == kind)
    }
}

fn check_totals(totals: &Totals, newest: &[&Row], grouped: bool) -> Result<(), TestCaseError> {
    prop_assert_eq!(totals.rows, newest.len() as u64);
    let hash = newest.iter().fold(0_u128, |sum, row| sum + u128::from(hash_of(&row.record, &row.id))) % (1 << 53);
    prop_assert_eq!(u128::from(totals.hash), hash);
    let mut sums: BTreeMap<String, (i128, u64)> = BTreeMap::new();
    for row in newest {
        for (field, value) in row.body.as_object().expect("an object") {
            if let Value::Number(number) = value
                && !(grouped && field == "work_order")
            {
                let sum = sums.entry(format!("{}.{field}", row.record)).or_default();
                *sum = (sum.0 + units(number), sum.1 + 1);
            }
        }
    }
    let ours: Vec<_> =
        totals.sums.iter().map(|(name, sum)| (name.clone(), sum.sum.clone(), sum.count, sum.exact)).collect();
    let reference: Vec<_> = sums.into_iter().map(|(name, (sum, count))| (name, shown(sum), count, true)).collect();
    prop_assert_eq!(ours, reference);
    let in_groups: u64 = totals.groups.iter().map(|group| group.rows).sum();
    prop_assert_eq!(in_groups, if grouped { totals.rows } else { 0 });
    Ok(())
}

proptest! {
    #[test]
    fn totals_are_those_of_a_slow_reference(rows in rows(), figures in figures(), grouped in any::<bool>()) {
        let totals = batch::totals(&spec(Format::Csv, grouped), &rows, &figures).expect("fits");
        check_totals(&totals, &newest(&rows), grouped)?;
        prop_assert_eq!(totals.figures.len(), figures.len());
        let back: Totals = serde_json::from_str(&serde_json::to_string(&totals).expect("JSON")).expect("own JSON");
        prop_assert_eq!(back.sums, totals.sums);
    }

    #[test]
    fn csv_reads_back_to_the_same_cells(rows in rows(), figures in figures(), grouped in any::<bool>()) {
        let document = compose(&spec(Format::Csv, grouped), &head(), &rows, &figures).expect("fits");
        let parsed = Parsed::of(&document.bytes);
        prop_assert_eq!(parsed.lines.len() as u64, document.totals.lines);
        let names: std::collections::BTreeSet<_> = parsed.columns.iter().collect();
        prop_assert_eq!(names.len(), parsed.columns.len(), "two columns of one name: {:?}", &parsed.columns);
        let newest = newest(&rows);
        prop_assert_eq!(parsed.of_kind("row").count(), newest.len());
        for row in &newest {
            let line = parsed.of_kind("row").find(|line| line[1] == row.record && line[2] == row.id).expect("it is there");
            prop_assert_eq!(&line[3], &row.version.to_string());
            prop_assert_eq!(TimestampNs::parse_rfc3339(&line[4]), Some(row.time));
            for field in ["hours", "kg", "work_order", "note", "id", "body.id", "=x"] {
                let Some(column) = parsed.column(field, &newest) else {
                    prop_assert!(row.body.get(field).is_none());
                    continue;
                };
                let cell = &line[column];
                let value = row.body.get(field);
                if value.is_some_and(Value::is_number) {
                    prop_assert_eq!(cell, &expected_cell(value));
                } else {
                    prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
                    prop_assert_eq!(unguarded(cell), &expected_cell(value));
                }
            }
        }
        for (line, group) in parsed.of_kind("group").zip(&document.totals.groups) {
            prop_assert_eq!(&line[6], &group.rows.to_string());
            for (field, sum) in &group.sums {
                prop_assert_eq!(&line[parsed.column(field, &newest).expect("summed")], &sum.sum);
            }
        }
        let last = parsed.of_kind("total").last().expect("the whole");
        prop_assert_eq!((&last[6], &last[7]), (&*document.totals.rows.to_string(), &*document.totals.hash.to_string()));
    }

    #[test]
    fn the_same_input_makes_the_same_bytes(
        (rows, shuffled) in rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        (figures, mixed) in figures().prop_flat_map(|figures| (Just(figures.clone()), Just(figures).prop_shuffle())),
        gzip in any::<bool>(), json in any::<bool>(),
    ) {
        let format = if json { Format::Json } else { Format::Csv };
        let spec = Spec { gzip, ..spec(format, true) };
        let document = compose(&spec, &head(), &rows, &figures).expect("fits");
        let again = compose(&spec, &head(), &shuffled, &mixed).expect("fits");
        prop_assert_eq!(&document.bytes, &again.bytes);
        prop_assert_eq!(document, again);
    }

    #[test]
    fn a_correction_makes_before_into_now(before in rows(), now in rows(), json in any::<bool>()) {
        let correction = diff(&before, &now);
        let mut mended: BTreeMap<(String, String), (u64, Value)> = BTreeMap::new();
        let place = |row: &Row| (row.record.clone(), row.id.clone());
        for row in newest(&before) {
            mended.insert(place(row), (row.version, row.body.clone()));
        }
        for row in &correction.removed {
            prop_assert!(mended.remove(&place(row)).is_some());
        }
        for row in &correction.added {
            prop_assert!(mended.insert(place(row), (row.version, row.body.clone())).is_none());
        }
        for row in &correction.changed {
            let old = mended.insert(place(row), (row.version, row.body.clone()));
            prop_assert!(old.is_some_and(|old| old != (row.version, row.body.clone())));
        }
        let expected: BTreeMap<_, _> = newest(&now).into_iter().map(|row| (place(row), (row.version, row.body.clone()))).collect();
        prop_assert_eq!(mended, expected);
        let spec = spec(if json { Format::Json } else { Format::Csv }, true);
        let document = compose_correction(&spec, &head(), &correction, &now, &[]).expect("fits");
        prop_assert_eq!(document.totals.rows as usize, correction.added.len() + correction.changed.len());
        check_totals(document.period.as_ref().expect("of a correction"), &newest(&now), true)?;
    }
}
