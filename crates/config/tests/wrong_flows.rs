//! Wrong files of the five patterns: each problem at its place, with what would be right.

use millstream_config as config;

/// Checks places and a part of each text, in file order.
#[track_caller]
fn expect(text: &str, expected: &[(&str, &str)]) {
    let problems = config::parse(text).expect_err("the file is wrong");
    let places: Vec<String> = problems.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.key)).collect();
    let wanted: Vec<&str> = expected.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, wanted, "{problems:#?}");
    for (problem, (_, part)) in problems.iter().zip(expected) {
        let said = format!("{}; {}", problem.what, problem.fix);
        assert!(!problem.fix.is_empty() && said.contains(part), "{said:?} lacks {part:?}");
    }
}

/// A subscriber to a folder with this line.
fn subscriber(line: &str) -> String {
    format!("[[subscriber]]\nname = \"s\"\nevent = \"e\"\nto = {{ folder = \"x\" }}\n{line}\n")
}

/// A subscriber to this target, in line 4.
fn to(target: &str) -> String {
    format!("[[subscriber]]\nname = \"s\"\nevent = \"e\"\nto = {{ {target} }}\n")
}

const RECORD: &str = "[[record]]\nname = \"r\"\nid = \"i\"\n";

/// A sync of `on` with these lines, after a record; its lines begin with 4.
fn sync(on: &str, lines: &str) -> String {
    format!("{RECORD}[[sync]]\nname = \"y\"\non = {{ {on} }}\n{lines}\n")
}

/// A source with a set point, a switch and a browsed folder, and this request from line 18 on.
fn request(lines: &str) -> String {
    format!(
        "[[source]]\nname = \"o\"\nkind = \"opcua\"\npath = \"a\"\naddress = \"opc.tcp://h:4840\"\nsecurity = \"None\"\ntag = [{{ name = \"sp\", node = \"i=1\" }}]\nbrowse = [{{ name = \"zones\", node = \"i=2\" }}]\n[[source]]\nname = \"m\"\nkind = \"modbus\"\npath = \"b\"\naddress = \"tcp://h\"\ntag = [{{ name = \"on\", at = \"coil:1\" }}]\n[[request]]\nname = \"q\"\n{lines}\n"
    )
}

#[test]
fn an_expression_is_compiled_and_its_fault_has_a_place() {
    expect(&subscriber("when = 'event.severity >'"), &[("5:25 subscriber[0].when", "no CEL expression")]);
    expect(
        &subscriber("body = \"{'a': event.id,, }\""),
        &[("5:24 subscriber[0].body", "the variables here are event")],
    );
    expect(&subscriber("when = ''"), &[("5:8 subscriber[0].when", "empty expression")]);
    expect(&subscriber("when = 5"), &[("5:8 subscriber[0].when", "where a text (CEL expression) belongs")]);
    let long = format!("when = \"{} true\"", "true && ".repeat(600));
    expect(&subscriber(&long), &[("5:8 subscriber[0].when", "longer than 4096 bytes")]);
}

#[test]
fn places_within_escaped_and_folded_texts() {
    expect(&subscriber("when = \"\\\"°\\\" == evnt.id\""), &[("5:18 subscriber[0].when", "did you mean \"event\"?")]);
    expect(
        &subscriber("when = '''\nevent.severity > 1 &&\n  evnt.id != '' '''"),
        &[("7:3 subscriber[0].when", "there is no variable \"evnt\" here")],
    );
    expect(
        &subscriber("when = \"\"\"event.severity > 1 && \\\n    severity < 5\"\"\""),
        &[("6:5 subscriber[0].when", "a text stands in quotes")],
    );
}

#[test]
fn variables_are_those_of_the_place() {
    expect(&subscriber("key = 'record.id'"), &[("5:8 subscriber[0].key", "the variables here are event")]);
    expect(
        &sync("record = \"r\"", "to = { folder = \"x\" }\nkey = \"tag\"\nwhen = \"event.id != ''\"\nbody = \"record\""),
        &[("8:8 sync[0].key", "the variables here are record"), ("9:9 sync[0].when", "no variable \"event\"")],
    );
    expect(
        &sync("tag = \"a/*\"", "to = { folder = \"x\" }\nkey = \"record.id\""),
        &[("8:8 sync[0].key", "tag, value, quality, time")],
    );
    let rule =
        "[[rule]]\nname = \"r\"\nmatch = \"**\"\nkind = \"expression\"\nwhen = \"vaule > 1\"\nmessage = \"limt\"\n";
    expect(
        rule,
        &[("5:9 rule[0].when", "did you mean \"value\"?"), ("6:12 rule[0].message", "did you mean \"limit\"?")],
    );
    expect(
        &to("http = \"http://h\", success = \"code == 200\""),
        &[("4:38 subscriber[0].to.success", "status, answer")],
    );
    assert!(
        config::parse(&subscriber("when = '[1, 2].exists(x, x == event.n) && \"record\" != event.record'")).is_ok()
    );
}

#[test]
fn templates_choose_no_host_and_name_known_fields() {
    expect(&to("http = \"http://{source}/x\""), &[("4:15 subscriber[0].to.http", "may not choose where it goes")]);
    expect(&to("http = \"http://h/{a b}\""), &[("4:15 subscriber[0].to.http", "white space")]);
    expect(&to("http = \"http://h/{a\""), &[("4:25 subscriber[0].to.http", "not well-formed")]);
    expect(
        &sync("tag = \"a\"", "to = { http = \"http://h/{value}/{tagg}\" }"),
        &[("7:33 sync[0].to.http", "did you mean {tag}?")],
    );
    let batch = "[[batch]]\nname = \"b\"\nat = \"manual\"\nrecords = [\"r\"]\nto = { http = \"http://h/{id}\" }\n";
    expect(&(RECORD.to_owned() + batch), &[("8:25 batch[0].to.http", "write the URL without fields")]);
}

#[test]
fn targets_say_once_who_they_are() {
    expect(
        &to("http = \"http://h\", token = { env = \"A\" }, basic = { user = \"u:v\", password = \"hunter2\" }"),
        &[
            ("4:50 subscriber[0].to.basic", "only one of them may"),
            ("4:67 subscriber[0].to.basic.user", "no colon"),
            ("4:85 subscriber[0].to.basic.password", "a secret may not stand in the configuration"),
        ],
    );
    expect(
        &to("http = \"http://h\", oauth2 = { client_id = \"c\", client_secret = { env = \"S\" } }"),
        &[("4:36 subscriber[0].to.oauth2.token_url", "has no token_url")],
    );
    expect(
        &to("http = \"http://h\", client_cert = \"c.pem\", ca = \"ca.pem\""),
        &[
            ("4:27 subscriber[0].to.client_cert", "without client_key"),
            ("4:27 subscriber[0].to.client_cert", "without https"),
            ("4:50 subscriber[0].to.ca", "without https"),
        ],
    );
    expect(
        &to("http = \"http://h\", headers = { Authorization = \"x\", X-A = \"a\", x-a = \"b\", B = \"\\u00e9\" }"),
        &[
            ("4:39 subscriber[0].to.headers.Authorization", "token, basic or oauth2"),
            ("4:71 subscriber[0].to.headers.x-a", "set twice"),
            ("4:86 subscriber[0].to.headers.B", "plain ASCII"),
        ],
    );
    expect(
        &to("http = \"http://h\", conflict = \"don\""),
        &[("4:38 subscriber[0].to.conflict", "did you mean \"done\"?")],
    );
    expect(&to("folder = \"x\", concurrency = 0"), &[("4:36 subscriber[0].to.concurrency", "1 to 1000")]);
    expect(&to("mqtt = \"mqtt://h\", topic = \"t\", ca = \"c\""), &[("4:40 subscriber[0].to.ca", "without mqtts")]);
    expect(&to("nats = \"nats://h\", subject = \"s\", user = \"u\""), &[("4:42 subscriber[0].to.user", "no password")]);
    expect(
        &to("s3 = \"https://h\", access_key = \"a\", secret_key = \"b\""),
        &[("4:13 subscriber[0].to.s3", "names no bucket"), ("4:57 subscriber[0].to.secret_key", "{ env = \"NAME\" }")],
    );
}

#[test]
fn what_is_shown_of_a_line_hides_its_secrets() {
    let text = to("s3 = \"https://h/buc\", access_key = \"a\", secret_key = \"hunter2\"");
    let problems = config::parse(&text).expect_err("a secret in the file");
    assert!(!config::render(&problems, "f", &text).contains("hunter2"));
    let text = to("http = \"http://h\", headers = { Authorization = \"hunter2\" }");
    let problems = config::parse(&text).expect_err("a secret in the file");
    assert!(!config::render(&problems, "f", &text).contains("hunter2"));
}

#[test]
fn deliveries_have_limits_that_go_together() {
    expect(&subscriber("timeout = \"10s\"\nexpire = \"10s\""), &[("6:10 subscriber[0].expire", "more than 10s")]);
    expect(&subscriber("expire = \"5s\""), &[("5:10 subscriber[0].expire", "(timeout)")]);
    expect(&subscriber("window = 63"), &[("5:10 subscriber[0].window", "64 to 65536")]);
    expect(&subscriber("drain_rate = 0"), &[("5:14 subscriber[0].drain_rate", "1 to 100000")]);
    expect(
        &(to("folder = \"x\", concurrency = 100") + "window = 64\n"),
        &[("5:10 subscriber[0].window", "less than the concurrency")],
    );
    expect(
        &subscriber("breaker = { open = \"10s\", open_max = \"5s\" }"),
        &[("5:38 subscriber[0].breaker.open_max", "at least open")],
    );
}

#[test]
fn probes_and_reconciliations_need_somebody_to_ask() {
    let ask = "probe = { http = \"http://h/{i}\", done = \"status == 200\" }\nreconcile = { http = \"http://h/{key}\", theirs = \"answer\", last = \"record.l\" }";
    expect(
        &sync("record = \"r\"", &format!("to = {{ folder = \"x\" }}\n{ask}")),
        &[("8:1 sync[0].probe", "a to with http"), ("9:1 sync[0].reconcile", "a to with http")],
    );
    let http = "to = { http = \"http://h\" }\n";
    expect(&sync("event = \"e\"", &format!("{http}{ask}")), &[("9:1 sync[0].reconcile", "on = { record")]);
    expect(
        &sync("record = \"r\"", &format!("{http}reconcile = {{ http = \"http://h/{{id}}\", theirs = \"answer\" }}")),
        &[("8:13 sync[0].reconcile", "names none of \"sum\" or \"last\""), ("8:32 sync[0].reconcile.http", "key")],
    );
    expect(
        &sync(
            "record = \"r\"",
            &format!(
                "{http}coalesce = true\nreconcile = {{ http = \"http://h\", theirs = \"a\", sum = \"record.q\", tolerance = -1 }}"
            ),
        ),
        &[
            ("9:22 sync[0].reconcile.http", "put {key} where"),
            ("9:44 sync[0].reconcile.theirs", "the variables here are answer"),
            ("9:48 sync[0].reconcile.sum", "coalesce"),
            ("9:78 sync[0].reconcile.tolerance", "0 or more"),
        ],
    );
    expect(
        &sync("event = \"e\", tag = \"t\"", "to = { folder = \"x\" }"),
        &[("6:8 sync[0].on.event", "only one of them may")],
    );
}

#[test]
fn writes_have_an_envelope_that_can_be_kept() {
    let write = |rest: &str| request(&format!("write = {{ source = \"o\", tag = \"sp\", range = [0, 9], {rest} }}"));
    expect(&write("step = 0"), &[("17:60 request[0].write.step", "above 0")]);
    expect(&write("tolerance = 1"), &[("17:53 request[0].write.tolerance", "nothing is compared")]);
    expect(
        &write("rate = { writes = 0 }"),
        &[("17:60 request[0].write.rate.per", "has no per"), ("17:71 request[0].write.rate.writes", "1 to 1000")],
    );
    expect(
        &write("revert = { max = \"1m\", default = \"2m\" }"),
        &[("17:86 request[0].write.revert.default", "at most 1m")],
    );
    expect(
        &write("interlock = { when = \"in_x && dor\", tags = { dor = \"a/spp\", in = \"a/sp\", in_x = 5 } }"),
        &[
            ("17:104 request[0].write.interlock.tags.dor", "did you mean \"a/sp\"?"),
            ("17:113 request[0].write.interlock.tags.in", "a meaning of its own"),
            ("17:133 request[0].write.interlock.tags.in_x", "where a text (path) belongs"),
        ],
    );
    expect(
        &write("interlock = { when = \"dor == true && value > 1\", tags = { door = \"a/zones/x\" } }"),
        &[("17:75 request[0].write.interlock.when", "did you mean \"door\"?")],
    );
    expect(
        &write("interlock = { when = \"true\", tags = {} }"),
        &[("17:89 request[0].write.interlock.tags", "1 to 32")],
    );
    expect(
        &request("write = { source = \"m\", tag = \"on\", step = 1 }"),
        &[("17:37 request[0].write.step", "no number")],
    );
}

#[test]
fn devices_are_read_and_called_as_they_can_be() {
    expect(
        &request(
            "read = { source = \"o\", tags = [\"spp\", \"zones/x\", \"sp\"] }\nbody = \"request\"\ncache = \"1s\"",
        ),
        &[
            ("17:32 request[0].read.tags[0]", "did you mean \"sp\"?"),
            ("18:1 request[0].body", "no meaning for a read"),
            ("19:1 request[0].cache", "no meaning for a read"),
        ],
    );
    expect(&request("read = { source = \"o\", tags = [] }"), &[("17:31 request[0].read.tags", "1 to 256")]);
    expect(
        &request("call = { source = \"m\", object = \"x\", method = \"i=1\", arguments = \"[input]\" }"),
        &[
            ("17:19 request[0].call.source", "name an opcua source"),
            ("17:33 request[0].call.object", "nsu=URI;s=Name"),
            ("17:68 request[0].call.arguments", "the variables here are request"),
        ],
    );
    expect(
        &request("to = { http = \"http://h\", concurrency = 3 }\nread = { source = \"o\", tags = [\"sp\"] }"),
        &[("17:27 request[0].to.concurrency", "max_in_flight"), ("18:1 request[0].read", "only one of them may")],
    );
}

#[test]
fn points_are_each_one_tag_with_one_name() {
    let points = |rest: &str| request(&format!("[request.write_points]\n{rest}"));
    let sp = "{ source = \"o\", tag = \"sp\", range = [0, 9] }";
    let on = |rest: &str| format!("{{ source = \"m\", tag = \"on\"{rest} }}");
    assert!(config::parse(&points(&format!("point = [{sp}, {}]", on("")))).is_ok());
    expect(&points("max_points = 5"), &[("17:1 request[0].write_points.point", "has no point")]);
    expect(&points("point = []"), &[("18:9 request[0].write_points.point", "writes nothing")]);
    expect(
        &points(&format!("point = [{sp}]\nmax_points = 1001")),
        &[("19:14 request[0].write_points.max_points", "1 to 1000")],
    );
    expect(
        &points(&format!("point = [{sp},\n{sp}]")),
        &[("19:23 request[0].write_points.point[1].tag", "another point of this request")],
    );
    expect(
        &points(&format!("point = [{sp},\n{}]", on(", name = \"sp\""))),
        &[("19:36 request[0].write_points.point[1].name", "a name of its own")],
    );
    expect(
        &points("point = [{ source = \"o\", tag = \"spp\" },\n{ source = \"o\", tag = \"sp\" }]"),
        &[
            ("18:32 request[0].write_points.point[0].tag", "did you mean \"sp\"?"),
            ("19:1 request[0].write_points.point[1].range", "needs the range"),
        ],
    );
    expect(
        &points(&format!("point = [{}]", on(", name = \"a b\", nam = 1"))),
        &[
            ("18:45 request[0].write_points.point[0].name", "which a path may not"),
            ("18:52 request[0].write_points.point[0].nam", "did you mean \"name\"?"),
        ],
    );
    expect(&request("write_points = 5"), &[("17:16 request[0].write_points", "where a table belongs")]);
    let beside = format!("write_points = {{ point = [{sp}] }}\nbody = \"request\"");
    expect(&request(&beside), &[("18:1 request[0].body", "no meaning for a write_points")]);
}

#[test]
fn flows_have_names_of_their_own() {
    let text = format!(
        "{}{RECORD}[[batch]]\nname = \"s\"\nat = \"manual\"\nrecords = [\"r\"]\nto = {{ folder = \"x\" }}\n[[source]]\nname = \"r\"\nkind = \"native\"\npath = \"a\"\n[[request]]\nname = \"r\"\nto = {{ http = \"http://h\" }}\n",
        subscriber("")
    );
    expect(
        &text,
        &[
            ("10:8 batch[0].name", "already taken in line 2, by a [[subscriber]]"),
            ("19:8 request[0].name", "already taken in line 15, by a [[source]]"),
        ],
    );
}

#[test]
fn batches_and_shifts() {
    let batch = |lines: &str| format!("{RECORD}[[batch]]\nname = \"b\"\nto = {{ folder = \"x\" }}\n{lines}\n");
    expect(
        &batch("at = \"manuel\"\nrecords = [\"r\"]\ncompress = \"gzip\"\nformat = \"parquet\""),
        &[("7:6 batch[0].at", "\"manual\""), ("9:12 batch[0].compress", "compressed within")],
    );
    expect(&batch("at = \"0 0 30 2 *\"\nrecords = [\"r\"]"), &[("7:6 batch[0].at", "no date")]);
    expect(
        &batch("at = \"manual\"\nrollups = [{ match = \"**\", aggregate = \"min\" }]\ntotals = [\"q\"]"),
        &[("9:1 batch[0].totals", "fields of records")],
    );
    expect(
        &batch("at = \"manual\"\nrecords = [\"r\"]\ngroup_by = [\"q\"]\ntotals = [\"p\", \"q\"]"),
        &[("10:16 batch[0].totals[1]", "one of group_by and totals")],
    );
    let shift =
        |except: &str| format!("[[shift]]\nname = \"s\"\nstart = \"06:00\"\nend = \"14:00\"\nexcept = [{except}]\n");
    expect(
        &shift("{ date = \"2026-02-30\" }, { date = 2026-12-25 }"),
        &[
            ("5:20 shift[0].except[0].date", "the month does not have"),
            ("5:45 shift[0].except[1].date", "without quotes"),
        ],
    );
    expect(
        &shift("{ date = \"2026-12-24\", start = \"06:00\" }, { date = \"2026-12-24\" }"),
        &[
            ("5:34 shift[0].except[0].start", "stands without end"),
            ("5:62 shift[0].except[1].date", "already, in line 5"),
        ],
    );
}

#[test]
fn the_journal_has_room_for_what_it_keeps() {
    expect(
        "[server]\njournal = { keep = \"1m\", segment = \"16MiB\", keep_bytes = \"16MiB\", backlog_bytes = \"20MiB\" }\n",
        &[
            ("2:20 server.journal.keep", "1h to 365d"),
            ("2:58 server.journal.keep_bytes", "keep_bytes = \"32MiB\""),
            ("2:83 server.journal.backlog_bytes", "backlog_bytes = \"32MiB\""),
        ],
    );
}
