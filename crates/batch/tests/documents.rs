//! What a receiver gets: the documents byte for byte, corrections, bounds.

use batch::{
    ComposeError, Correction, Figure, Format, Head, ROWS_MAX, Row, Spec, compose, compose_correction, diff, hash_of,
    totals,
};
use model::TimestampNs;
use serde_json::{Value, json};

fn at(text: &str) -> TimestampNs {
    TimestampNs::parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is RFC 3339"))
}

fn spec(format: Format) -> Spec {
    Spec {
        name: "shift-report".to_owned(),
        records: ["labour", "consumption", "yield"].map(str::to_owned).to_vec(),
        group_by: vec!["work_order".to_owned()],
        totals: Vec::new(),
        format,
        gzip: false,
    }
}

fn head() -> Head {
    Head {
        run_id: "shift-report-17".to_owned(),
        batch: "shift-report".to_owned(),
        label: "2026-03-28 night".to_owned(),
        from: at("2026-03-28T22:00:00+01:00"),
        to: at("2026-03-29T06:00:00+02:00"),
        sequence: 17,
        cause: "schedule".to_owned(),
        correction_of: None,
        created: at("2026-03-29T06:02:00.5+02:00"),
    }
}

fn row(record: &str, id: &str, version: u64, body: Value) -> Row {
    let time = at("2026-03-29T03:30:00Z");
    Row { record: record.to_owned(), id: id.to_owned(), version, time, offset: 100 + version, body }
}

fn rows() -> Vec<Row> {
    vec![
        row("labour", "L2", 1, json!({"work_order": "WO-1001", "hours": 0.2, "who": "=SUM(A1)"})),
        row("yield", "Y1", 1, json!({"work_order": "WO-1002", "pieces": 412, "note": "said \"ok\",\r\nleft"})),
        row("labour", "L1", 1, json!({"work_order": "WO-1001", "hours": 9.0, "who": "old"})),
        row("labour", "L1", 2, json!({"work_order": "WO-1001", "hours": 0.1, "who": "Ann"})),
        row("labour", "L3", 1, json!({"hours": 1, "id": "own", "parts": [1, {"a": null}]})),
    ]
}

fn figures() -> Vec<Figure> {
    let figure = |tag: &str, value, percent_good| Figure {
        tag: tag.to_owned(),
        unit: "kWh".to_owned(),
        aggregate: "delta".to_owned(),
        value,
        percent_good,
    };
    vec![figure("riverside/m2/energy", None, Some(0.0)), figure("riverside/m1/energy", Some(12.5), Some(100.0))]
}

fn text(document: &batch::Document) -> String {
    String::from_utf8(document.bytes.clone()).expect("UTF-8")
}

#[test]
fn a_csv_document_says_all_of_itself() {
    let document = compose(&spec(Format::Csv), &head(), &rows(), &figures()).expect("fits");
    let of = |ids: &[(&str, &str)]| ids.iter().map(|(record, id)| hash_of(record, id)).sum::<u64>() % (1 << 53);
    let (labour, yielded) = (of(&[("labour", "L1"), ("labour", "L2"), ("labour", "L3")]), of(&[("yield", "Y1")]));
    let all = (labour + yielded) % (1 << 53);
    let expected = [
        "line,record,id,version,time,offset,count,value,unit,percent_good,hours,body.id,note,parts,pieces,who,work_order",
        "head,,run_id,,,,,shift-report-17,,,,,,,,,",
        "head,,batch,,,,,shift-report,,,,,,,,,",
        "head,,label,,,,,2026-03-28 night,,,,,,,,,",
        "head,,from,,,,,2026-03-28T21:00:00Z,,,,,,,,,",
        "head,,to,,,,,2026-03-29T04:00:00Z,,,,,,,,,",
        "head,,sequence,,,,,17,,,,,,,,,",
        "head,,cause,,,,,schedule,,,,,,,,,",
        "head,,correction_of,,,,,,,,,,,,,,",
        "head,,created,,,,,2026-03-29T04:02:00.5Z,,,,,,,,,",
        "row,labour,L3,1,2026-03-29T03:30:00Z,101,,,,,1,own,,\"[1,{\"\"a\"\":null}]\",,,",
        "group,labour,,,,,1,,,,1,,,,,,",
        "row,labour,L1,2,2026-03-29T03:30:00Z,102,,,,,0.1,,,,,Ann,WO-1001",
        "row,labour,L2,1,2026-03-29T03:30:00Z,101,,,,,0.2,,,,,'=SUM(A1),WO-1001",
        "group,labour,,,,,2,,,,0.3,,,,,,WO-1001",
        "row,yield,Y1,1,2026-03-29T03:30:00Z,101,,,,,,,\"said \"\"ok\"\",",
        "left\",,412,,WO-1002",
        "group,yield,,,,,1,,,,,,,,412,,WO-1002",
        "figure,delta,riverside/m1/energy,,,,,12.5,kWh,100.0,,,,,,,",
        "figure,delta,riverside/m2/energy,,,,,,kWh,0.0,,,,,,,",
        "total,consumption,,,,,0,0,,,,,,,,,",
        &format!("total,labour,,,,,3,{labour},,,1.3,,,,,,"),
        &format!("total,yield,,,,,1,{yielded},,,,,,,412,,"),
        &format!("total,,,,,,4,{all},,,,,,,,,"),
        "",
    ];
    assert_eq!(text(&document).split("\r\n").collect::<Vec<_>>(), expected);
    assert_eq!(document.content_type, "text/csv; charset=utf-8; header=present");
    assert_eq!(document.file_name, "shift-report_2026-03-28-night_17.csv");
    // one line of text more than lines: one cell holds a line break
    assert_eq!((document.totals.rows, document.totals.lines, document.totals.hash), (4, 22, all));
    assert_eq!(document.sha256.len(), 64);
}

#[test]
fn a_json_document_says_the_same() {
    let document = compose(&spec(Format::Json), &head(), &rows(), &figures()).expect("fits");
    let whole: Value = serde_json::from_slice(&document.bytes).expect("JSON");
    let members: Vec<_> = whole.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(members, ["figures", "groups", "head", "rows", "totals"]);
    assert_eq!(whole["head"]["from"], "2026-03-28T21:00:00Z");
    assert_eq!(whole["head"]["correction_of"], Value::Null);
    let ids: Vec<_> = whole["rows"].as_array().expect("rows").iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["L3", "L1", "L2", "Y1"]);
    assert_eq!(whole["rows"][1]["body"]["hours"], json!(0.1));
    assert_eq!(whole["totals"]["records"], json!({"consumption": 0, "labour": 3, "yield": 1}));
    assert_eq!(whole["totals"]["sums"]["labour.hours"], json!({"sum": "1.3", "count": 3, "skipped": 0, "exact": true}));
    assert_eq!(whole["groups"][0]["key"], json!({"work_order": null}));
    assert_eq!(whole["groups"][1]["sums"]["hours"]["sum"], "0.3");
    assert_eq!(whole["figures"][1]["value"], Value::Null);
    assert_eq!(document.content_type, "application/json");
    // the totals of both formats are the same, but for the lines
    let csv = compose(&spec(Format::Csv), &head(), &rows(), &figures()).expect("fits");
    assert_eq!(batch::Totals { lines: 4, ..csv.totals }, document.totals);
    assert_eq!(totals(&spec(Format::Json), &rows(), &figures()), Ok(document.totals));
}

#[test]
fn named_totals_take_decimal_texts_and_leave_the_rest() {
    let spec = Spec { totals: vec!["amount".to_owned(), "labour.hours".to_owned()], ..spec(Format::Json) };
    let rows = [
        row("labour", "1", 1, json!({"amount": "12.10", "hours": 1, "other": 7})),
        row("labour", "2", 1, json!({"amount": "0.20", "hours": null})),
        row("yield", "1", 1, json!({"amount": "about 5", "hours": 3})),
    ];
    let totals = totals(&spec, &rows, &[]).expect("fits");
    let shown: Vec<_> =
        totals.sums.iter().map(|(name, sum)| (name.as_str(), sum.sum.as_str(), sum.count, sum.skipped)).collect();
    assert_eq!(shown, [("labour.amount", "12.3", 2, 0), ("labour.hours", "1", 1, 0), ("yield.amount", "0", 0, 1)]);
}

#[test]
fn a_packed_document_is_the_plain_one() {
    for format in [Format::Csv, Format::Json] {
        let plain = compose(&spec(format), &head(), &rows(), &figures()).expect("fits");
        let packed = compose(&Spec { gzip: true, ..spec(format) }, &head(), &rows(), &figures()).expect("fits");
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.bytes[..]), &mut unpacked).expect("gzip");
        assert_eq!(unpacked, plain.bytes);
        assert_eq!(packed.bytes[4..8], [0; 4], "no time in the header");
        assert_eq!(packed.content_type, "application/gzip");
        assert_eq!(packed.file_name, format!("{}.gz", plain.file_name));
        assert_eq!(packed.totals, plain.totals);
    }
}

/// A record comes late: 1. the night was sent; 2. a labour entry of it is posted in the morning, and
/// another one is mended; 3. the correction holds these two, and the new totals of the night.
#[test]
fn a_late_record_makes_a_correction() {
    let before = rows();
    let mut now = before.clone();
    now.push(row("consumption", "C1", 1, json!({"work_order": "WO-1001", "kg": 2.5})));
    now.push(row("labour", "L2", 2, json!({"work_order": "WO-1001", "hours": 0.4, "who": "Bob"})));
    now.retain(|row| row.id != "Y1");
    let correction = diff(&before, &now);
    let ids = |rows: &[Row]| rows.iter().map(|row| format!("{}@{}", row.id, row.version)).collect::<Vec<_>>();
    assert_eq!(ids(&correction.added), ["C1@1"]);
    assert_eq!(ids(&correction.changed), ["L2@2"]);
    assert_eq!(ids(&correction.removed), ["Y1@1"]);
    assert_eq!(correction.len(), 3);

    let first = head();
    let head = Head { sequence: 18, cause: "correction".to_owned(), correction_of: Some(first.run_id), ..head() };
    let document = compose_correction(&spec(Format::Csv), &head, &correction, &now, &figures()).expect("fits");
    assert_eq!((document.totals.rows, document.totals.sums["labour.hours"].sum.as_str()), (2, "0.4"));
    let period = document.period.as_ref().expect("of a correction");
    assert_eq!((period.rows, period.sums["labour.hours"].sum.as_str()), (4, "1.5"));
    assert_eq!(*period, totals(&spec(Format::Csv), &now, &figures()).expect("fits"));
    let text = text(&document);
    let kinds: Vec<_> = text.lines().skip(10).map(|line| line.split(',').next().unwrap_or_default()).collect();
    assert_eq!(
        kinds,
        [
            "row", "group", "row", "group", "removed", "figure", "figure", "total", "total", "total", "total",
            "period", "period", "period", "period"
        ]
    );
    assert!(text.contains("head,,correction_of,,,,,shift-report-17,"));
    assert!(text.contains("\r\nremoved,yield,Y1,1,"));

    let json = compose_correction(&spec(Format::Json), &head, &correction, &now, &figures()).expect("fits");
    let whole: Value = serde_json::from_slice(&json.bytes).expect("JSON");
    assert_eq!(whole["removed"], json!([{"record": "yield", "id": "Y1", "version": 1}]));
    assert_eq!(whole["period"]["sums"]["labour.hours"]["sum"], "1.5");

    let nothing = compose_correction(&spec(Format::Json), &first_head(), &correction, &now, &[]);
    assert_eq!(nothing, Err(ComposeError::CorrectsNothing));
}

fn first_head() -> Head {
    head()
}

#[test]
fn nothing_changed_is_no_correction() {
    let mut again = rows();
    again.reverse();
    // the same version elsewhere in the journal, as after a repeat
    again.iter_mut().for_each(|row| row.offset += 1000);
    assert_eq!(diff(&rows(), &again), Correction::default());
    assert!(diff(&rows(), &again).is_empty());
    assert_eq!(diff(&[], &rows()).added.len(), 4);
}

#[test]
fn what_is_over_a_bound_is_an_error_that_says_what_to_do() {
    let spec = spec(Format::Csv);
    let foreign = [row("invoice", "I1", 1, json!({}))];
    let error = compose(&spec, &head(), &foreign, &[]).expect_err("not a record of the batch");
    assert_eq!(
        error.to_string(),
        "row \"I1\" is of record \"invoice\", which the batch does not name; add it to its records"
    );
    let both = Spec { totals: vec!["work_order".to_owned()], ..spec.clone() };
    let field = "work_order".to_owned();
    assert_eq!(totals(&both, &[], &[]), Err(ComposeError::GroupedAndSummed { field }));
    let wide: serde_json::Map<String, Value> = (0..=batch::COLUMNS_MAX).map(|i| (format!("f{i}"), json!(i))).collect();
    let count = wide.len();
    assert_eq!(totals(&spec, &[row("labour", "1", 1, wide.into())], &[]), Err(ComposeError::TooManyColumns { count }));
    let figures = vec![figures()[0].clone(); batch::FIGURES_MAX + 1];
    assert_eq!(totals(&spec, &[], &figures), Err(ComposeError::TooManyFigures { count: figures.len() }));
    let many: Vec<Row> = (0..=ROWS_MAX).map(|i| row("labour", &i.to_string(), 1, Value::Null)).collect();
    assert_eq!(totals(&spec, &many, &[]), Err(ComposeError::TooManyRows { count: ROWS_MAX + 1 }));
    let large: Vec<Row> =
        (0..65).map(|i| row("labour", &i.to_string(), 1, json!({"text": "x".repeat(1 << 20)}))).collect();
    for format in [Format::Csv, Format::Json] {
        assert_eq!(compose(&self::spec(format), &head(), &large, &[]), Err(ComposeError::TooLarge), "{format:?}");
        assert!(compose(&self::spec(format), &head(), &large[..63], &[]).is_ok(), "{format:?}");
    }
}

#[test]
fn file_names_are_safe_and_bounded() {
    let odd = Head { batch: "../..\\x".to_owned(), label: "é /".repeat(100), ..head() };
    let name = compose(&spec(Format::Csv), &odd, &[], &[]).expect("fits").file_name;
    assert!(name.len() < 255 && name.ends_with("_17.csv"), "{name}");
    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) && !name.starts_with('.'), "{name}");
}
