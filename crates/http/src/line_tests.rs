use super::*;
use proptest::prelude::*;

fn path(line: &Line) -> String {
    line.segments.join("/")
}

#[test]
fn reads_what_the_protocol_allows() {
    let f = Value::F64;
    let text = |t: &str| Value::Text(t.into());
    type Row = (&'static str, &'static str, Vec<(&'static str, Value)>, Option<i64>);
    let table: &[Row] = &[
        ("m f=1", "m", vec![("f", f(1.0))], None),
        ("m,b=2,a=1 f=1.5 10", "m/1/2", vec![("f", f(1.5))], Some(10)),
        ("m f=-1e3,g=2i,h=3u", "m", vec![("f", f(-1000.0)), ("g", Value::I64(2)), ("h", Value::I64(3))], None),
        ("m a=t,b=FALSE", "m", vec![("a", Value::Bool(true)), ("b", Value::Bool(false))], None),
        (r#"m s="a \"b\" c, d=e \\ f" 5"#, "m", vec![("s", text(r#"a "b" c, d=e \ f"#))], Some(5)),
        (r"my\ m,line\ no=a\,b\=c f=1", "my%20m/a,b=c", vec![("f", f(1.0))], None),
        ("m,host=a/b f=1", "m/a%2Fb", vec![("f", f(1.0))], None),
        ("m,pct=5% a+b=1", "m/5%25", vec![("a%2Bb", f(1.0))], None),
        ("  m f=1 \r", "m", vec![("f", f(1.0))], None),
        ("maß,ort=Köln größe=1i -5", "maß/Köln", vec![("größe", Value::I64(1))], Some(-5)),
        (r"c:\dir f=1", r"c:\dir", vec![("f", f(1.0))], None),
    ];
    for (text, expected, fields, time) in table {
        let line = parse(text, 1).expect(text).expect("a line");
        assert_eq!(path(&line), *expected, "{text}");
        let expected: Vec<(String, Value)> = fields.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        assert_eq!(line.fields, expected, "{text}");
        assert_eq!(line.time.map(|t| t.0), *time, "{text}");
    }
}

#[test]
fn refuses_what_it_would_have_to_guess() {
    for text in [
        "m",
        "m ",
        ",a=1 f=1",
        "m, f=1",
        "m,a f=1",
        "m,a= f=1",
        "m,a=1,a=2 f=1",
        "m f",
        "m f=",
        "m =1",
        "m f=1x",
        "m f=nan",
        "m f=inf",
        "m f=1e999",
        "m f=9223372036854775808i",
        "m f=9223372036854775808u",
        "m f=-1u",
        "m f=\"open",
        "m f=\"a\"b",
        "m f=1 soon",
        "m f=1 1 1",
        "m f=1 9223372036854775808",
    ] {
        let answer = parse(text, 1);
        assert!(answer.is_err(), "{text:?} was read as {answer:?}");
    }
    assert!(parse("m f=1 9223372036854775807", 1_000_000_000).is_err(), "a time out of range is refused");
}

#[test]
fn comments_and_empty_lines_are_no_lines() {
    for text in ["", "   ", "# m f=1", "\r"] {
        assert_eq!(parse(text, 1), Ok(None));
    }
}

#[test]
fn precision_multiplies() {
    for (word, ns) in [("ns", 7), ("us", 7_000), ("ms", 7_000_000), ("s", 7_000_000_000)] {
        let unit = precision_ns(word).expect("known");
        assert_eq!(parse("m f=1 7", unit).expect("read").expect("line").time, Some(TimestampNs(ns)));
    }
    assert_eq!(precision_ns("fortnight"), None);
}

#[test]
fn a_line_end_parts_only_outside_of_texts() {
    let body = "a f=1\nb s=\"x\ny\" 2\n\nc 5\"=3\nd f=4";
    let parts: Vec<&str> = lines(body).collect();
    assert_eq!(parts, ["a f=1", "b s=\"x\ny\" 2", "", "c 5\"=3", "d f=4"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn no_text_panics(text in r#"[ -~\n\t=,"\\0-9iutfeE.é€😀]{0,80}"#) {
        for line in lines(&text) {
            drop(parse(line, 1_000));
        }
    }

    #[test]
    fn what_is_read_is_always_a_valid_path(name in "[a-z/+#* %é\u{7f}\u{85}]{1,12}", value in any::<f64>()) {
        prop_assume!(value.is_finite());
        let escaped = name.replace(' ', "\\ ");
        if let Ok(Some(line)) = parse(&format!("m,k={escaped} f={value}"), 1) {
            let path = format!("{}/{}", path(&line), line.fields[0].0);
            prop_assert!(model::TagPath::new(&path).is_ok(), "{path}");
            prop_assert_eq!(line.fields[0].1.clone(), Value::F64(value));
        }
    }
}
