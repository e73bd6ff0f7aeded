//! Expressions as people write them into the configuration: what they give, and what they say
//! when they do not.

use expr::{Expr, RESULT_BYTES_MAX, STEPS_MAX};
use serde_json::{Value, json};

fn vars() -> Value {
    json!({
        "value": 181.5,
        "whole": 5,
        "large": 18_446_744_073_709_551_615_u64,
        "on": true,
        "quality": "Good",
        "tag": "riverside/press/line1/p1/temperature",
        "event": {"severity": 800, "source": "p1", "message": "too hot", "id": "e-1", "type": "machine-fault"},
        "record": {"material": "M-1", "quantity": 2.5, "receipt_id": "R1", "pieces": 3, "note": null},
        "rows": [{"n": 1}, {"n": 2.5}, {"n": 4}],
        "names": ["a", "b", "c"],
    })
}

fn eval(text: &str) -> Result<Value, String> {
    let all = vars();
    let named: Vec<(&str, &Value)> = all.as_object().expect("an object").iter().map(|(k, v)| (k.as_str(), v)).collect();
    Expr::compile(text).map_err(|e| e.to_string())?.eval(&named).map_err(|e| e.what)
}

fn gives(text: &str, expected: Value) {
    assert_eq!(eval(text), Ok(expected), "{text}");
}

fn fails(text: &str, said: &str) {
    let error = eval(text).expect_err(text);
    assert!(error.contains(said), "{text}: {error}");
}

#[test]
fn comparisons_take_whole_numbers_and_doubles_together() {
    for text in [
        "value > 180",
        "value >= 181.5",
        "180 < value",
        "event.severity >= 800",
        "event.severity >= 799.5",
        "event.severity == 800.0",
        "whole == 5.0",
        "5.0 == whole",
        "5u == whole",
        "on == true",
        "!(on == false)",
        "large > whole",
        "large > value",
        "value < large",
        "quality == 'Good'",
        "quality in ['Good', 'Uncertain']",
        "whole in [5.0]",
        "record.note == null",
        "on != null",
    ] {
        gives(text, json!(true));
    }
}

#[test]
fn arithmetic_takes_whole_numbers_and_doubles_together() {
    gives("record.quantity * 2", json!(5.0));
    gives("2 * record.quantity", json!(5.0));
    gives("record.pieces * 2", json!(6));
    gives("whole + 1", json!(6));
    gives("whole - 7", json!(-2));
    gives("7 / 2", json!(3));
    gives("7 / 2.0", json!(3.5));
    gives("7 % 4", json!(3));
    gives("large - 1", json!(18_446_744_073_709_551_614_u64));
    gives("whole + 1u", json!(6));
    gives("-whole", json!(-5));
    gives("'a' + 'b'", json!("ab"));
    gives("[1] + [2.5]", json!([1, 2.5]));
    gives("rows.map(r, r.n * 2)", json!([2, 5.0, 8]));
    fails("9223372036854775807 + 1", "too large for a whole number");
    fails("large * 2u", "too large");
    fails("1 / 0", "division by zero");
    fails("value % 2", "whole numbers only");
    fails("1.0 / 0", "not a number that JSON has");
    fails("'n: ' + 5", "'+' cannot take text and whole number; string(x)");
    fails("quality * 2", "'*' cannot take text and whole number");
    fails("on - 1", "'-' cannot take true or false and whole number");
}

#[test]
fn maps_make_json() {
    gives(
        "{'asset': event.source, 'priority': event.severity, 'text': event.message, 'event_id': event.id}",
        json!({"asset": "p1", "priority": 800, "text": "too hot", "event_id": "e-1"}),
    );
    gives(
        "{'m': record.material, 'q': record.quantity, 'l': [1, null, true]}",
        json!({"m": "M-1", "q": 2.5, "l": [1, null, true]}),
    );
    gives("{1: 'a', true: 'b'}", json!({"1": "a", "true": "b"}));
    gives("b'abc'", json!("YWJj"));
    gives("event", vars()["event"].clone());
}

#[test]
fn every_function_that_is_documented_exists() {
    for (text, expected) in [
        ("size(names) + size('äb') + names.size()", json!(8)),
        ("int('7') + int(2.9)", json!(9)),
        ("uint(7)", json!(7)),
        ("double('2.5')", json!(2.5)),
        ("string(2.5) + string(3) + string(true)", json!("2.53true")),
        ("string(bytes('a'))", json!("a")),
        ("bool('true')", json!(true)),
        ("dyn(1)", json!(1)),
        ("type(1) == int", json!(true)),
        ("matches(tag, '^riverside/.*$') && tag.matches('press')", json!(true)),
        ("tag.contains('press') && tag.startsWith('river') && tag.endsWith('temperature')", json!(true)),
        ("'aB'.lowerAscii() + 'aB'.upperAscii() + ' x '.trim()", json!("abABx")),
        ("'hello'.substring(1, 3) + 'hello'.substring(4)", json!("elo")),
        ("'hello'.indexOf('l') + 'hello'.lastIndexOf('l')", json!(5)),
        ("'hello'.charAt(1)", json!("e")),
        ("'a-b'.replace('-', '+')", json!("a+b")),
        ("tag.split('/')[1]", json!("press")),
        ("names.join('-') + names.join()", json!("a-b-cabc")),
        ("[max(1, 2.5), min(3, 2), max([1, 7, 3]), min(1, 2, 0)]", json!([2.5, 2, 7, 0])),
        (
            "[math.abs(-1), math.ceil(1.2), math.floor(1.8), math.round(2.5), math.trunc(-1.5)]",
            json!([1, 2.0, 1.0, 3.0, -1.0]),
        ),
        ("[math.round(whole), math.floor(large)]", json!([5, 18_446_744_073_709_551_615_u64])),
        ("[math.sqrt(4.0), math.sign(-2), math.greatest(1, 2), math.least(1, 2)]", json!([2.0, -1, 2, 1])),
        ("[math.isNaN(1.0), math.isInf(1.0), math.isFinite(1.0)]", json!([false, false, true])),
        ("[math.bitAnd(6, 3), math.bitOr(6, 3), math.bitXor(6, 3), math.bitNot(0)]", json!([2, 7, 5, -1])),
        ("[math.bitShiftLeft(1, 3), math.bitShiftRight(8, 2)]", json!([8, 2])),
        ("has(record.quantity) && !has(record.gone)", json!(true)),
        ("rows.all(r, r.n > 0) && rows.exists(r, r.n == 2.5) && rows.exists_one(r, r.n > 3)", json!(true)),
        ("rows.filter(r, r.n > 2).map(r, r.n)", json!([2.5, 4])),
        ("rows.map(r, r.n > 2, r.n + 1)", json!([3.5, 5])),
        ("record.map(k, k == 'note', k)", json!(["note"])),
        ("record.?gone.orValue('none') + record.?material.orValue('none')", json!("noneM-1")),
        ("{'a': record.?gone, 'b': record.?pieces}", json!({"a": null, "b": 3})),
        ("[optional.of(1).hasValue(), optional.none().hasValue()]", json!([true, false])),
        ("optional.none().or(optional.of(2)).value()", json!(2)),
        ("on ? 'yes' : 'no'", json!("yes")),
        ("names[1] + names[?9].orValue('?')", json!("b?")),
    ] {
        gives(text, expected);
    }
}

#[test]
fn maps_are_iterated_in_the_order_of_their_keys() {
    gives("event.map(k, k)", json!(["id", "message", "severity", "source", "type"]));
    gives("{3: 'c', 1: 'a', 2: 'b'}.map(k, k)", json!([1, 2, 3]));
}

#[test]
fn errors_of_evaluation_say_what_and_where() {
    fails("record.gone", "'record.gone' is not there");
    fails("{'a': 1, 'b': record.batch.gone}", "'record.batch' is not there");
    fails("nothing > 1", "there is no 'nothing' here; there are: event");
    fails("value.x", "has no fields");
    fails("names[7]", "no element at that index");
    fails("quality < 3", "'<' cannot take text and whole number");
    fails("quality && on", "true or false");
    fails("size(7)", "'size()' cannot take whole number");
    fails("tag.startsWith(7)", "startsWith()");
    fails("type(1)", "JSON cannot hold");
    fails("max([])", "max() of an empty list");
    fails("rows.join(',')", "list of texts");
    fails("int('x')", "int()");
    fails("tag.matches('(')", "matches()");
    fails("optional.none().value()", "");
}

#[test]
fn typed_results_refuse_others() {
    let value = json!(181.5);
    let vars = [("value", &value)];
    let compile = |text: &str| Expr::compile(text).unwrap();
    assert_eq!(compile("value > 180").eval_bool(&vars), Ok(true));
    let error = compile("value").eval_bool(&vars).unwrap_err();
    assert_eq!(error.to_string(), "`value`: it must give true or false, and gave a number");
    assert_eq!(compile("value").eval_text(&vars).as_deref(), Ok("181.5"));
    assert_eq!(compile("7").eval_text(&vars).as_deref(), Ok("7"));
    assert_eq!(compile("'a'").eval_text(&vars).as_deref(), Ok("a"));
    assert_eq!(compile("value > 1").eval_text(&vars).as_deref(), Ok("true"));
    for text in ["null", "[1]", "{'a': 1}"] {
        assert!(compile(text).eval_text(&vars).is_err(), "{text}");
        assert!(compile(text).eval_number(&vars).is_err(), "{text}");
    }
    assert_eq!(compile("value * 2").eval_number(&vars), Ok(363.0));
    assert!(compile("'7'").eval_number(&vars).is_err());
}

#[test]
fn errors_of_compiling_show_the_place() {
    for (text, line, column, said) in [
        ("record.material +", 1, 18, "ends too early"),
        ("a + * b", 1, 5, "'*' is not expected here"),
        ("a +\n  b )", 2, 5, "')' is not expected here"),
        ("'ü' + )", 1, 7, "')' is not expected here"),
        ("'ü' + foo(1)", 1, 7, "no function foo()"),
        ("a.foo()", 1, 3, "no function .foo()"),
        ("math.foo(1)", 1, 6, "no function math.foo()"),
        ("timestamp('x')", 1, 1, "no function timestamp()"),
        ("Thing{a: 1}", 1, 6, "messages cannot be made"),
        ("a # b", 1, 3, "'#' is not expected here"),
        ("map(1)", 1, 1, "map() is not written like this"),
        ("has(a)", 1, 5, "has"),
        ("", 1, 1, "empty"),
        ("a + 'b", 1, 5, "does not end"),
        ("a.map(1, 2)", 1, 7, ""),
    ] {
        let error = Expr::compile(text).expect_err(text);
        assert!(error.what.contains(said), "{text}: {error}");
        assert_eq!((error.line, error.column), (line, column), "{error}");
    }
    let shown = Expr::compile("{'a': 1,\n 'b': record. }").unwrap_err().to_string();
    assert_eq!(shown, "'. }' is not expected here (line 2, column 15)\n   'b': record. }\n                ^");
}

#[test]
fn variables_are_the_free_ones() {
    for (text, expected) in [
        ("event.severity >= 800 && record.a == tag", vec!["event", "record", "tag"]),
        ("rows.map(r, r.n + offset)", vec!["offset", "rows"]),
        ("r + rows.map(r, r)[0]", vec!["r", "rows"]),
        ("a.map(x, b.map(y, x + y + z))", vec!["a", "b", "z"]),
        ("math.abs(math)", vec!["math"]),
        ("optional.of(x)", vec!["x"]),
        ("type(x) == int", vec!["x"]),
        ("has(a.b) ? size(c) : d[e]", vec!["a", "c", "d", "e"]),
        ("1 + 2", vec![]),
        ("{k: v}", vec!["k", "v"]),
    ] {
        assert_eq!(Expr::compile(text).unwrap().variables(), expected, "{text}");
    }
    // a variable may have the name of a type
    let kind = json!("order");
    assert_eq!(Expr::compile("type == 'order'").unwrap().eval(&[("type", &kind)]), Ok(json!(true)));
}

#[test]
fn evaluation_ends() {
    let list = Value::Array((0..200).map(|n| json!(n)).collect());
    let long = json!("x".repeat(1000));
    let vars = [("l", &list), ("s", &long)];
    let steps = format!("more than {STEPS_MAX} steps");
    let bytes = format!("{RESULT_BYTES_MAX} bytes that one may have");
    let doubling = |link: &str| format!("[s]{}", link.repeat(40));
    for (text, said) in [
        ("l.map(a, l.map(b, l.map(c, 1)))".to_owned(), &steps),
        ("l.map(a, l.map(b, l.filter(c, false)))".to_owned(), &steps),
        ("l.all(a, l.all(b, l.all(c, c >= 0)))".to_owned(), &steps),
        ("l.exists(a, l.exists(b, l.exists(c, c < 0)))".to_owned(), &steps),
        ("l.exists(a, l.exists(b, l.exists_one(c, c < 0)))".to_owned(), &steps),
        (doubling(".map(a, [a, a])"), &steps),
        (doubling(".map(a, {'a': a, 'b': a})"), &steps),
        (doubling(".map(a, a + a)"), &bytes),
        (doubling(".map(a, a.replace('x', 'xx'))"), &bytes),
        ("[s].map(a, l.map(b, a)).map(a, a.join(a[0])).map(a, a + a + a + a + a + a)".to_owned(), &bytes),
        (format!("[{}]", vec!["s"; 1100].join(", ")), &bytes),
    ] {
        let error = Expr::compile(&text).expect(&text).eval(&vars).expect_err(&text);
        assert!(error.what.contains(said.as_str()), "{error}");
    }
    // a fresh budget for each
    assert!(Expr::compile("l.map(a, a)").unwrap().eval(&vars).is_ok());
}

#[test]
fn values_that_are_too_deep_are_refused() {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let error = Expr::compile("v").unwrap().eval(&[("v", &deep)]).unwrap_err();
    assert!(error.what.contains("levels deep"), "{error}");
    assert!(Expr::compile("1").unwrap().eval(&[("v", &deep)]).is_ok());
}

#[test]
fn the_deepest_that_compiles_fits_a_small_stack() {
    let chains = [
        vec!["a"; 401].join("+"),
        vec!["a"; 401].join("<"),
        vec!["a"; 401].join("."),
        vec!["a"; 401].join(" in "),
        format!("{}a{}", "[".repeat(39), "]".repeat(39)),
        format!("{}a{}", "(".repeat(39), ")".repeat(39)),
        format!("{}a", "a ? a : ".repeat(39)),
        format!("{}a", "-!".repeat(200)),
        format!("a{}", ".size()".repeat(190)),
        format!("a{}", "[0]".repeat(390)),
        format!("[a]{}", ".map(a, a)".repeat(190)),
        format!("{}a{}", "[a].map(a, ".repeat(30), ")".repeat(30)),
        format!("{}a{}", "{'a': ".repeat(39), "}".repeat(39)),
        format!("{}1{}", "size(".repeat(39), ")".repeat(39)),
        format!("{}{}{}", "(a+".repeat(20), vec!["a"; 180].join("*"), ")".repeat(20)),
    ];
    let run = move || {
        let one = json!(1);
        for text in &chains {
            if let Ok(compiled) = Expr::compile(text) {
                let _ = compiled.eval(&[("a", &one)]);
            }
        }
        chains.iter().filter(|text| Expr::compile(text).is_ok()).count()
    };
    let compiled = std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
    assert!(compiled >= 12, "{compiled}");
}
