//! Wrong files: every problem at once, each at its place, with what would be right.

use millstream_config as config;

/// Problems as `line:column key`, with their texts.
fn problems(text: &str) -> Vec<(String, String)> {
    let problems = config::parse(text).expect_err("the file is wrong");
    for problem in &problems {
        assert!(!problem.what.is_empty() && !problem.fix.is_empty(), "{problem:?}");
    }
    problems.iter().map(|p| (format!("{}:{} {}", p.line, p.column, p.key), format!("{}; {}", p.what, p.fix))).collect()
}

/// Checks places and a part of each text, in file order.
#[track_caller]
fn expect(text: &str, expected: &[(&str, &str)]) {
    let found = problems(text);
    let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
    let wanted: Vec<&str> = expected.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, wanted, "{found:#?}");
    for ((place, text), (_, part)) in found.iter().zip(expected) {
        assert!(text.contains(part), "{place}: {text:?} lacks {part:?}");
    }
}

/// A Modbus source with these lines instead of a tag's.
fn modbus(tag: &str) -> String {
    format!(
        "[[source]]\nname = \"p\"\nkind = \"modbus\"\npath = \"a/b\"\naddress = \"tcp://h:502\"\n[[source.tag]]\n{tag}"
    )
}

#[test]
fn all_problems_of_a_file_come_at_once() {
    expect(
        r#"[server]
http = "0.0.0.0:8080"
native = "localhost:7070"
time_zone = "Amsterdam"
log = { sync = 5, segment = "8GiB", keep_bytez = "1GiB" }
dat_dir = "x"
[cores]
count = 0
[[rule]]
name = "r"
match = "a/**b"
kind = "high"
limit = 1
clear = 2
after = "5s"
[[shift]]
name = "s"
start = "6:00"
"#,
        &[
            ("2:8 server.http", "insecure_off_loopback = true"),
            ("3:10 server.native", "127.0.0.1:8080"),
            ("4:13 server.time_zone", "Europe/Amsterdam"),
            ("5:16 server.log.sync", "an integer, where a duration"),
            ("5:29 server.log.segment", "1MiB to 4GiB"),
            ("5:37 server.log.keep_bytez", "did you mean \"keep_bytes\"?"),
            ("6:1 server.dat_dir", "did you mean \"data_dir\"?"),
            ("8:9 cores.count", "1 to 256"),
            ("11:9 rule[0].match", "'**' as a whole segment"),
            ("14:9 rule[0].clear", "at most 1"),
            ("15:1 rule[0].after", "does not belong to kind = \"high\""),
            ("16:1 shift[0].end", "has no end"),
            ("18:9 shift[0].start", "HH:MM"),
        ],
    );
}

#[test]
fn unknown_keys_have_their_nearest() {
    expect(
        "[[sources]]\n[serwer]\n[xylophone]\n",
        &[
            ("1:3 sources", "did you mean \"source\"?"),
            ("2:2 serwer", "did you mean \"server\"?"),
            ("3:2 xylophone", "the keys here are server, cores, source"),
        ],
    );
    expect(
        &modbus("name = \"t\"\nat = \"input:1\"\ndead_band = 1\n"),
        &[("9:1 source[0].tag[0].dead_band", "did you mean \"deadband\"?")],
    );
}

#[test]
fn a_source_of_no_known_kind_has_no_other_problems_made_up() {
    expect(
        "[[source]]\nname = \"p\"\npath = \"a\"\nkind = \"modbuss\"\naddress = \"tcp://h\"\nadress = 1\n",
        &[("4:8 source[0].kind", "did you mean \"modbus\"?"), ("6:1 source[0].adress", "did you mean \"address\"?")],
    );
    expect("[[source]]\nname = \"p\"\npath = \"a\"\nevery = \"1s\"\n", &[("1:1 source[0].kind", "has no kind")]);
}

#[test]
fn modbus_addresses_and_types_must_go_together() {
    for (tag, place, part) in [
        ("name = \"t\"\nat = \"holding:65535\"\ntype = \"f32\"", "8:6 source[0].tag[0].at", "up to 65534"),
        ("name = \"t\"\nat = \"holding:1\"\ntype = \"bool\"", "8:6 source[0].tag[0].at", "holding:1.0"),
        ("name = \"t\"\nat = \"holding:1.2\"\ntype = \"u16\"", "9:8 source[0].tag[0].type", "one bit"),
        ("name = \"t\"\nat = \"coil:1\"\ntype = \"u16\"", "9:8 source[0].tag[0].type", "coil:1 (00002)"),
        ("name = \"t\"\nat = \"coil:1.1\"", "8:6 source[0].tag[0].at", "\"coil:1\""),
        ("name = \"t\"\nat = \"40000\"", "8:6 source[0].tag[0].at", "40001 to 49999"),
        ("name = \"t\"\nat = \"coil:1\"\nscale = 2", "9:1 source[0].tag[0].scale", "no meaning for a bool"),
        ("name = \"t\"\nat = \"input:1\"\nscale = 0", "9:9 source[0].tag[0].scale", "other than 0"),
        ("name = \"t\"\nat = \"input:1\"\ntype = \"text\"", "9:8 source[0].tag[0].type", "registers = 8"),
        ("name = \"t\"\nat = \"input:1\"\nregisters = 2", "9:1 source[0].tag[0].registers", "only for"),
        ("name = \"t\"\nat = \"input:1\"\nrange = [2, 2]", "9:9 source[0].tag[0].range", "lower number first"),
        ("name = \"t\"\nat = \"input:1\"\nrange = [2]", "9:9 source[0].tag[0].range", "two numbers"),
        ("name = \"t\"\nat = \"input:1\"\ndeadband = -1", "9:12 source[0].tag[0].deadband", "0 or more"),
        ("name = \"t\"\nat = \"input:1\"\noffset = nan", "9:10 source[0].tag[0].offset", "infinite or none"),
    ] {
        expect(&modbus(tag), &[(place, part)]);
    }
    let read = config::parse(&modbus(
        "name = \"t\"\nat = \"40001\"\n[[source.tag]]\nname = \"u\"\nat = \"coil:1\"\n[[source.tag]]\nname = \"v\"\nat = \"input:5\"\ntype = \"text\"\nregisters = 8\n",
    ));
    let read = read.expect("right");
    let config::SourceKind::Modbus(source) = &read.sources[0].kind else { panic!() };
    let kinds: Vec<_> = source.tags.iter().map(|tag| tag.kind).collect();
    use config::RegisterType::{Bool, Text, U16};
    assert_eq!(kinds, [U16, Bool, Text { registers: 8 }]);
}

#[test]
fn units_of_a_modbus_source() {
    let with = |line: &str| {
        format!("[[source]]\nname = \"p\"\nkind = \"modbus\"\npath = \"a\"\naddress = \"tcp://h\"\n{line}\n")
    };
    expect(&with("unit_id = 0"), &[("6:11 source[0].unit_id", "broadcast")]);
    expect(&with("unit_id = 256"), &[("6:11 source[0].unit_id", "1 to 255")]);
    expect(&with("units = {}"), &[("6:9 source[0].units", "no unit")]);
    expect(&with("units = { 0 = \"a\" }"), &[("6:11 source[0].units.0", "broadcast")]);
    expect(
        &with("units = { 1 = \"a\", 2 = \"a\", 300 = \"c\", 3 = \"x/y\", 4 = 4 }"),
        &[
            ("6:24 source[0].units.2", "both called"),
            ("6:29 source[0].units.300", "no unit id"),
            ("6:44 source[0].units.3", "more than one path segment"),
            ("6:55 source[0].units.4", "no text"),
        ],
    );
    expect(&with("unit_id = 1\nunits = { 1 = \"a\" }"), &[("6:1 source[0].unit_id", "keep one")]);
}

#[test]
fn opc_ua_sources() {
    let with = |lines: &str| {
        format!("[[source]]\nname = \"o\"\nkind = \"opcua\"\npath = \"a\"\naddress = \"opc.tcp://h:4840\"\n{lines}\n")
    };
    expect(&with("security = \"Basic256/Sign\""), &[("6:12 source[0].security", "withdrawn")]);
    expect(&with("security = \"Basic256Sha256\""), &[("6:12 source[0].security", "without a mode")]);
    expect(&with(""), &[("1:1 source[0].security", "has no security")]);
    expect(&with("security = \"None\"\nqueue = 1"), &[("7:9 source[0].queue", "2 to 10000")]);
    expect(&with("security = \"None\"\nwatchdog = \"3s\""), &[("7:12 source[0].watchdog", "twice keep_alive")]);
    expect(
        &with("security = \"None\"\nuser = { name = \"u\", password = \"hunter2\" }"),
        &[("7:33 source[0].user.password", "{ env = \"NAME\" }")],
    );
    expect(
        &with(
            "security = \"None\"\n[[source.tag]]\nname = \"zones/a\"\nnode = \"Zone\"\n[[source.browse]]\nname = \"zones\"\nnode = \"i=85\"",
        ),
        &[("8:8 source[0].tag[0].name", "lies within a/zones"), ("9:8 source[0].tag[0].node", "s= text")],
    );
}

#[test]
fn nobody_has_a_path_that_somebody_else_has() {
    let tag = "[[source.tag]]\nname = \"t\"\nat = \"input:1\"\n";
    let source = |name: &str, path: &str| {
        format!("[[source]]\nname = \"{name}\"\nkind = \"modbus\"\npath = \"{path}\"\naddress = \"tcp://h\"\n{tag}")
    };
    expect(
        &(source("a", "x") + &source("b", "x")),
        &[("15:8 source[1].tag[0].name", "source[0].tag[0].name in line 7")],
    );
    expect(&(source("a", "x") + &source("a", "y")), &[("10:8 source[1].name", "already taken in line 2")]);
    let native =
        |name: &str, path: &str| format!("[[source]]\nname = \"{name}\"\nkind = \"native\"\npath = \"{path}\"\n");
    expect(&(native("a", "x") + &native("b", "x/y")), &[("8:8 source[1].path", "lies within x")]);
    expect(&(native("a", "x") + &native("b", "x")), &[("8:8 source[1].path", "already makes the tags below x")]);
    assert!(config::parse(&(native("a", "x") + &native("b", "xy"))).is_ok());
    let eight = source("a", "x").replace("[[source.tag]]", "units = { 1 = \"m1\", 2 = \"m2\" }\n[[source.tag]]") + tag;
    expect(&eight, &[("11:8 source[0].tag[1].name", "x/m1/t already exists")]);
}

#[test]
fn the_business_side_is_held_together() {
    let text = r#"
[[subscriber]]
name = "s"
event = "e"
from = -1
body = "{'a': (1}"
to = { http = "ftp://x", nats = "nats://x" }
retry = { first = "2m" }
[[sync]]
name = "y"
on = { record = "goods" }
to = { htp = "http://x" }
[[record]]
name = "good"
id = "i"
[[batch]]
name = "b"
at = "shift-end"
records = ["goody", "good", "good"]
to = { folder = "out" }
[[request]]
name = "w"
write = { source = "pp", tag = "t" }
[[request]]
name = "x"
to = { folder = "x" }
"#;
    expect(
        text,
        &[
            ("5:8 subscriber[0].from", "below 0"),
            ("6:17 subscriber[0].body", "missing ')'"),
            ("7:15 subscriber[0].to.http", "http:// or https://"),
            ("7:26 subscriber[0].to.nats", "only one of them may"),
            ("8:19 subscriber[0].retry.first", "longer than max"),
            ("11:17 sync[0].on.record", "did you mean \"good\"?"),
            ("12:6 sync[0].to", "names none of"),
            ("12:8 sync[0].to.htp", "did you mean \"http\"?"),
            ("18:6 batch[0].at", "[[shift]]"),
            ("19:12 batch[0].records[0]", "did you mean \"good\"?"),
            ("19:29 batch[0].records[2]", "twice"),
            ("23:20 request[0].write.source", "there is no source"),
            ("26:8 request[1].to.folder", "cannot go to folder"),
        ],
    );
}

#[test]
fn writes_go_only_to_what_can_be_written_within_a_range() {
    let with = |write: &str| {
        modbus(
            "name = \"in\"\nat = \"input:1\"\n[[source.tag]]\nname = \"sp\"\nat = \"holding:1\"\n[[source.tag]]\nname = \"on\"\nat = \"coil:1\"\n",
        ) + &format!("[[request]]\nname = \"w\"\nwrite = {{ source = \"p\", {write} }}\n")
    };
    expect(&with("tag = \"in\", range = [0, 1]"), &[("17:31 request[0].write.tag", "cannot write")]);
    expect(&with("tag = \"sp\""), &[("17:9 request[0].write.range", "range = [low, high]")]);
    expect(&with("tag = \"spp\", range = [0, 1]"), &[("17:31 request[0].write.tag", "did you mean \"sp\"?")]);
    expect(&with("tag = \"on\", range = [0, 1]"), &[("17:37 request[0].write.range", "no number")]);
    assert!(config::parse(&with("tag = \"on\"")).is_ok());
}

#[test]
fn broken_syntax_hides_no_other_problem_and_makes_none_up() {
    expect(
        "[server]\nhttp = \"0.0.0.0:1\"\nnative = \n[[source]]\nname = \"a b\"\nkind = \"native\"\npath = \"x\n",
        &[
            ("2:8 server.http", "loopback"),
            ("3:10 ", "not TOML"),
            ("5:8 source[0].name", "names may not"),
            ("7:10 ", "not TOML"),
        ],
    );
    expect("[server]\ndata_dir = \"a\"\ndata_dir = \"b\"\n", &[("3:1 ", "duplicate key")]);
    expect(
        "server = 1\nsource = 2\n[[cores]]\n",
        &[
            ("1:10 server", "where a table belongs"),
            ("2:10 source", "where a list of tables belongs"),
            ("3:1 cores", "single brackets"),
        ],
    );
}

#[test]
fn columns_count_characters_and_lines_may_end_as_on_windows() {
    expect(
        "[server]\r\nlog = { 'säge' = 1, sync = \"x\" }\r\n",
        &[("2:9 server.log.säge", "unknown key"), ("2:28 server.log.sync", "no duration")],
    );
}

#[test]
fn a_byte_order_mark_does_no_harm() {
    assert!(config::parse("\u{feff}[server]\ndata_dir = \"x\"\n").is_ok());
}

#[test]
fn bounds_hold() {
    let sources = "[[source]]\n".repeat(config::SOURCES_MAX + 1);
    expect(&sources, &[("1:1 source", "at most 10000")]);
    let many = |count: usize| {
        let mut text = modbus("name = \"first\"\nat = \"input:0\"\n");
        for index in 1..count {
            text.push_str(&format!("[[source.tag]]\nname='{index}'\nat='3{:05}'\n", index % 65_536 + 1));
        }
        text
    };
    let unit = "address = \"tcp://h:502\"\n";
    let units: Vec<String> = (1..=200).map(|id| format!("{id} = \"u{id}\"")).collect();
    let units = format!("{unit}units = {{ {} }}\n", units.join(", "));
    assert!(config::parse(&many(500).replace(unit, &units)).is_ok());
    expect(&many(501).replace(unit, &units), &[("1:1 source[0].tag", "100200 tags")]);
    let huge = "#".repeat(config::FILE_BYTES_MAX + 1);
    expect(&huge, &[("1:1 ", "at most")]);
    let odd: String = (0..config::PROBLEMS_MAX + 5).map(|index| format!("k{index} = 1\n")).collect();
    let found = problems(&odd);
    assert_eq!(found.len(), config::PROBLEMS_MAX + 1);
    assert!(found.last().is_some_and(|(_, text)| text.starts_with("5 more problems")));
}

#[test]
fn a_long_value_is_not_repeated_whole() {
    let text = format!("[server]\ntime_zone = \"{}\"\n", "x".repeat(100_000));
    let problems = config::parse(&text).expect_err("no time zone");
    assert!(problems[0].what.len() < 2_000);
    assert!(config::render(&problems, "f", &text).len() < 2_000);
}
