//! No text and no value makes an expression or a template panic.

use expr::{Expr, Template};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Pieces that texts of expressions are made of, right and wrong.
const PIECES: &[&str] = &[
    "a",
    "b",
    "event",
    ".",
    ".?",
    "[",
    "]",
    "[?",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    "!",
    " in ",
    " ",
    "\n",
    "'x'",
    "\"y\"",
    "'",
    "\"",
    "'''",
    "r'",
    "b'",
    "\\",
    "1",
    "2.5",
    "1u",
    "0x",
    "1e999",
    "9223372036854775808",
    "true",
    "null",
    "size(",
    ".map(x,",
    ".filter(x,",
    ".all(x,",
    "has(",
    ".exists(",
    "type",
    "int(",
    "//",
    "@",
    "#",
    "`",
    "ü",
    "😀",
    "\0",
    "_",
    "math.",
    "optional.",
    "Thing{",
    ".replace(",
    "'\\u00'",
    "'\\xzz'",
    "b'\\377'",
    "\u{feff}",
    "a.b.c",
    "-1",
    "--",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Expressions that compile, over `a` and `b`.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("a.b".to_owned()),
        Just("null".to_owned()),
        any::<i32>().prop_map(|n| n.to_string()),
        any::<u32>().prop_map(|n| format!("{n}u")),
        any::<i16>().prop_map(|n| format!("{n}.5")),
        Just("'x'".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let sign = prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", "<=", "&&", "||", "in"]);
        let one = prop::sample::select(vec![
            "size(#)",
            "string(#)",
            "int(#)",
            "double(#)",
            "!(#)",
            "-(#)",
            "[#]",
            "{'a': #}",
            "(#).map(x, x)",
            "(#).filter(x, x == a)",
            "(#).all(x, x > b)",
            "(#)[0]",
            "(#).a",
            "has((#).a)",
            "(#).?a.orValue(1)",
            "max(#, b)",
            "math.abs(#)",
            "math.round(#)",
            "(#).join()",
            "(#).split('')",
            "(#).replace('x', 'yy')",
            "type(#) == int",
            "min(#)",
            "(#).substring(1)",
            "(#).charAt(0)",
            "math.sqrt(#)",
            "bytes(#)",
        ]);
        prop_oneof![
            (two, sign).prop_map(|((l, r), sign)| format!("({l}) {sign} ({r})")),
            (inner, one).prop_map(|(x, shape)| shape.replace('#', &x)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_text_compiles_or_is_refused(text in ".{0,60}") {
        compiles_or_says_where(&text);
    }

    #[test]
    fn any_pieces_compile_or_are_refused(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..25)) {
        compiles_or_says_where(&pieces.concat());
    }

    #[test]
    fn any_expression_over_any_value_gives_json_or_an_error(text in expression(), a in value(), b in value()) {
        let compiled = Expr::compile(&text).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let vars = [("a", &a), ("b", &b)];
        let first = compiled.eval(&vars);
        prop_assert_eq!(&first, &compiled.eval(&vars), "the same values give the same");
        if let Err(error) = first {
            prop_assert!(!error.what.contains("interpreter failed"), "{}", error);
        }
    }

    #[test]
    fn a_variable_comes_out_as_it_went_in(a in value()) {
        prop_assert_eq!(Expr::compile("a").unwrap().eval(&[("a", &a)]), Ok(a.clone()));
        prop_assert_eq!(Expr::compile("{'k': [a]}").unwrap().eval(&[("a", &a)]), Ok(json!({"k": [a]})));
    }

    #[test]
    fn mixed_comparison_is_that_of_doubles(x in -1000_i64..1000, y in -1000.0..1000.0_f64) {
        let (a, b) = (json!(x), json!(y));
        let vars = [("a", &a), ("b", &b)];
        prop_assert_eq!(Expr::compile("a < b").unwrap().eval_bool(&vars), Ok((x as f64) < y));
        prop_assert_eq!(Expr::compile("b >= a").unwrap().eval_bool(&vars), Ok(y >= x as f64));
        prop_assert_eq!(Expr::compile("a + b").unwrap().eval_number(&vars), Ok(x as f64 + y));
        prop_assert_eq!(Expr::compile("b * a").unwrap().eval_number(&vars), Ok(y * x as f64));
    }

    #[test]
    fn templates_are_read_or_refused(text in "[{}a-c. ü]{0,20}") {
        match Template::parse(&text) {
            Ok(template) => prop_assert_eq!(template.text(), text),
            Err(error) => prop_assert!(error.to_string().contains(&error.what)),
        }
    }

    #[test]
    fn templates_round_trip(parts in prop::collection::vec(("[^{}]{0,8}", "[a-z_]{1,6}", ".{1,12}"), 1..5)) {
        let mut text = String::new();
        let mut object = serde_json::Map::new();
        for (index, (plain, name, value)) in parts.iter().enumerate() {
            text.push_str(&format!("{plain}{{{name}{index}}}"));
            object.insert(format!("{name}{index}"), json!(value));
        }
        let template = Template::parse(&text).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(template.fields().len(), parts.len());
        let object = Value::Object(object);
        let raw: String = parts.iter().map(|(plain, _, value)| format!("{plain}{value}")).collect();
        prop_assert_eq!(template.fill_raw(&object).map_err(|e| e.what), Ok(raw));
        if parts.iter().all(|(_, _, value)| value != "." && value != "..") {
            let filled = template.fill(&object).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let mut rest = filled.as_str();
            for (plain, _, value) in &parts {
                rest = rest.strip_prefix(plain.as_str()).ok_or_else(|| TestCaseError::fail("plain text"))?;
                let (decoded, left) = decode(rest, value.len());
                prop_assert_eq!(&decoded, value.as_bytes());
                rest = left;
            }
            prop_assert_eq!(rest, "");
        }
    }
}

fn compiles_or_says_where(text: &str) {
    match Expr::compile(text) {
        Ok(compiled) => {
            let one = json!(1);
            let _ = compiled.eval(&[("a", &one), ("event", &json!({"a": [1, "x"]}))]);
        }
        Err(error) => {
            assert!(error.line >= 1 && error.column >= 1 && !error.what.is_empty(), "{text:?}: {error:?}");
            assert!(error.line as usize <= text.matches('\n').count() + 1, "{text:?}: {error:?}");
            let _ = error.to_string();
        }
    }
}

/// So many bytes out of a percent-encoded text, and what follows.
fn decode(text: &str, bytes: usize) -> (Vec<u8>, &str) {
    let (mut out, mut at) = (Vec::new(), 0);
    while out.len() < bytes && at < text.len() {
        if text.as_bytes()[at] == b'%' {
            out.push(u8::from_str_radix(&text[at + 1..at + 3], 16).expect("two hex digits"));
            at += 3;
        } else {
            out.push(text.as_bytes()[at]);
            at += 1;
        }
    }
    (out, &text[at..])
}
