//! Several points written in one call, through the real binary, to devices that nobody here wrote:
//! what the device then holds is read by a client that is not Millstream.

mod support;

use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use support::business::Answer;
use support::{Peer, Server, free_port, peers_or_say_so, target, wait_for};

const PATH: &str = "/v1/requests/recipe";

/// A Modbus source with so many words from register 40 on, a coil, and one register that is not there.
fn modbus(port: u16, words: usize) -> String {
    let mut text = format!(
        "[[source]]\nname = \"plc\"\nkind = \"modbus\"\naddress = \"tcp://127.0.0.1:{port}\"\npath = \"site/plc\"\n\
         every = \"100ms\"\ndepth = 4\ntimeout = \"2s\"\n"
    );
    let mut tag = |name: &str, at: &str, kind: &str| {
        let _ = write!(text, "\n[[source.tag]]\nname = {name:?}\nat = {at:?}\ntype = {kind:?}\n");
    };
    (0..words).for_each(|at| tag(&format!("w{at}"), &format!("holding:{}", 40 + at), "u16"));
    tag("real", "holding:200", "f32");
    tag("run", "coil:3", "bool");
    tag("missing", "holding:60000", "u16");
    text
}

/// A request that writes these points, each within 0 to 1000 where it is a number.
fn request(source: &str, numbers: &[String], rest: &str) -> String {
    let mut text =
        "\n[[request]]\nname = \"recipe\"\ntimeout = \"5s\"\n\n[request.write_points]\npoint = [\n".to_owned();
    for tag in numbers {
        let _ = writeln!(text, "  {{ source = {source:?}, tag = {tag:?}, range = [0, 1000], read_back = \"1s\" }},");
    }
    text + rest + "]\n"
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}{at}")).collect()
}

/// Holding registers of unit 1, asked by hand (Modbus Application Protocol V1.1b3, 6.3).
fn registers(port: u16, from: u16, count: u8) -> Vec<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the device listens");
    let [high, low] = from.to_be_bytes();
    stream.write_all(&[0, 1, 0, 0, 0, 6, 1, 3, high, low, 0, count]).expect("asked");
    let mut answer = vec![0; 9 + 2 * usize::from(count)];
    stream.read_exact(&mut answer).expect("answered");
    answer[9..].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

/// The audit's lines of device writes, oldest first, once there are so many.
fn lines(server: &Server, count: usize) -> Vec<Value> {
    wait_for("the audit's lines", || {
        let mut lines: Vec<Value> =
            server.audit().into_iter().filter(|line| line["what"] == "device writes by recipe").collect();
        lines.reverse();
        (lines.len() >= count).then_some(lines)
    })
}

fn outcome(line: &Value) -> &str {
    line["outcome"].as_str().expect("a text").split(" (").next().expect("a part")
}

/// 1. Twenty words in a row, a float and a coil are written in one call: the device has them all.
/// 2. Of a call with one point out of range, one of another kind and one that nobody allows, nothing is
///    written, and each is named.
/// 3. A point that the device does not take fails by itself, the others are written, and both caller and
///    audit are told so.
#[test]
fn pymodbus_takes_a_batch_of_points_all_or_none_of_what_is_safe() {
    if !peers_or_say_so("venv") {
        return;
    }
    let port = free_port();
    let mut python = Command::new(target().join("peers/venv/bin/python"));
    let mut peer = Peer::start(python.arg("tests/peers/pymodbus_server.py").args([&port.to_string(), "11"]));
    peer.json();
    let numbers: Vec<String> = names("w", 20).into_iter().chain(["real".to_owned()]).collect();
    let rest = "  { name = \"start\", source = \"plc\", tag = \"run\", read_back = \"1s\" },\n  \
                { source = \"plc\", tag = \"missing\", range = [0, 9] },\n";
    let server = Server::start(&(modbus(port, 20) + &request("plc", &numbers, rest)));
    wait_for("the device is read", || server.latest("site/plc/w19").filter(|latest| latest["quality"] == "Good"));

    let mut points: Map<String, Value> = (0..20).map(|at| (format!("w{at}"), json!(at * 3 + 1))).collect();
    points.extend([("real".to_owned(), json!({ "value": 12.5 })), ("site/plc/run".to_owned(), json!(true))]);
    let done = server.put(PATH, &json!({ "points": points }));
    assert_eq!(done.body["outcome"], "verified", "{done:?}");
    let expected: Vec<u16> = (0..20).map(|at| at * 3 + 1).collect();
    assert_eq!(registers(port, 40, 20), expected);
    assert_eq!(registers(port, 200, 2), [0x4148, 0], "12.5 as binary32");
    let real = &done.body["points"]["real"];
    assert_eq!(
        (&real["written"], &real["read_back"], &real["outcome"]),
        (&json!(12.5), &json!(12.5), &json!("verified"))
    );
    assert_eq!(done.body["points"]["start"]["read_back"], true, "{done:?}");
    let told = lines(&server, 2);
    assert_eq!((outcome(&told[0]), outcome(&told[1])), ("intended", "verified"));
    assert_eq!((&told[0]["after"]["site/plc/w2"], &told[1]["after"]["site/plc/w2"]["value"]), (&json!(7), &json!(7)));

    let wrong = json!({ "points": { "w0": 5, "w1": 1001, "w2": "fast", "real": 1, "stat": true } });
    let refused = server.post(PATH, &wrong);
    assert_eq!((refused.status, refused.problem()), (422, "invalid"), "{refused:?}");
    assert_eq!(refused.body["errors"][0]["path"], "/points/stat");
    assert!(refused.body["errors"][0]["text"].as_str().is_some_and(|text| text.contains("\"start\"")), "{refused:?}");
    let wrong = json!({ "points": { "w0": 5, "w1": 1001, "w2": "fast", "real": 1 } });
    let refused = server.post(PATH, &wrong);
    assert_eq!((refused.status, refused.problem()), (422, "points-refused"), "{refused:?}");
    let named: Vec<[&Value; 2]> =
        refused.body["errors"].as_array().expect("errors").iter().map(|one| [&one["point"], &one["kind"]]).collect();
    assert_eq!(named, [[&json!("w1"), &json!("out-of-range")], [&json!("w2"), &json!("wrong-kind")]]);
    assert_eq!(registers(port, 40, 20), expected, "nothing was written");

    let partly = server.post(PATH, &json!({ "points": { "w0": 500, "missing": 5 } }));
    assert_eq!((partly.status, partly.problem()), (502, "points-failed"), "{partly:?}");
    assert_eq!(partly.body["points"]["w0"]["outcome"], "verified", "{partly:?}");
    let missing = &partly.body["points"]["missing"];
    assert_eq!((&missing["outcome"], &missing["kind"]), (&json!("failed"), &json!("device")), "{partly:?}");
    assert_eq!(registers(port, 40, 1), [500]);
    let told = lines(&server, 5);
    let outcomes: Vec<&str> = told.iter().map(|line| outcome(line).split(':').next().expect("a word")).collect();
    assert_eq!(outcomes, ["intended", "verified", "refused", "intended", "partial"]);
    let detail = &told[4]["after"]["site/plc/missing"];
    assert!(detail["what"].as_str().is_some_and(|what| what.contains("02")), "{}", told[4]);
}

#[test]
fn what_is_no_batch_is_refused_with_what_would_be_right() {
    let port = silent_device(Arc::default());
    let server = Server::start(
        &(modbus(port, 3) + &request("plc", &names("w", 3), "").replace("point = [", "max_points = 2\npoint = [")),
    );
    wait_for("the device is read", || server.latest("site/plc/w2").filter(|latest| latest["quality"] == "Good"));
    let told = |body: Value| {
        let Answer { status, body, .. } = server.post(PATH, &body);
        (status, body["detail"].as_str().unwrap_or_default().to_owned() + &body["errors"].to_string())
    };
    for (body, status, part) in [
        (json!({ "value": 5 }), 422, "{\"points\": {\"w0\": value"),
        (json!([1]), 422, "writes points"),
        (json!({ "points": {} }), 422, "at least one point"),
        (json!({ "points": { "w0": 1 }, "dry": true }), 422, "\"dry\" is not understood"),
        (json!({ "points": { "w0": { "valu": 1 } } }), 422, "a point has value, expected"),
        (json!({ "points": { "w0": null } }), 422, "a number, true or false"),
        (json!({ "points": { "w0": { "value": 1, "revert_after_s": 5 } } }), 422, "writes for good"),
        (json!({ "points": { "w0": 1, "site/plc/w0": 2 } }), 422, "the same point"),
        (json!({ "points": { "w0": 1, "w1": 1, "w2": 1 } }), 413, "3 points are more"),
    ] {
        let (found, text) = told(body.clone());
        assert!(found == status && text.contains(part), "{body}: {found} {text}");
    }
    assert!(server.get("/v1/audit").as_array().is_some_and(Vec::is_empty), "nothing was meant to be written");
    let metrics = ureq::get(server.url("/metrics")).call().expect("metrics").body_mut().read_to_string().expect("text");
    assert!(
        metrics.lines().any(|line| line.contains("request-points") && line.ends_with(" 1")),
        "the limit is counted"
    );
}

/// A device that answers reads with zeros and takes writes without an answer; it keeps them.
fn silent_device(writes: Arc<Mutex<Vec<Vec<u8>>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, writes) = (stream.expect("a connection"), Arc::clone(&writes));
            std::thread::spawn(move || {
                let mut head = [0; 7];
                while stream.read_exact(&mut head).is_ok() {
                    let mut pdu = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) - 1];
                    if stream.read_exact(&mut pdu).is_err() {
                        return;
                    }
                    if pdu[0] > 4 {
                        writes.lock().expect("no panic").push(pdu);
                        continue;
                    }
                    let count = usize::from(u16::from_be_bytes([pdu[3], pdu[4]]));
                    let bytes = if pdu[0] < 3 { count.div_ceil(8) } else { count * 2 };
                    let mut answer =
                        [&head[..4], &((bytes + 3) as u16).to_be_bytes(), &[1, pdu[0], bytes as u8]].concat();
                    answer.resize(answer.len() + bytes, 0);
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// 1. A device takes a batch and does not answer.
/// 2. Millstream is killed with SIGKILL meanwhile, and started again.
/// 3. The audit knows what was meant to be written, and that nothing came of it that anybody knows; it is
///    not sent again.
#[test]
fn killed_between_intention_and_result_the_audit_leaves_the_doubt() {
    let writes: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let port = silent_device(Arc::clone(&writes));
    let mut server = Server::start(&(modbus(port, 5) + &request("plc", &names("w", 5), "")));
    wait_for("the device is read", || server.latest("site/plc/w4").filter(|latest| latest["quality"] == "Good"));
    let url = server.url(PATH);
    let body = json!({ "points": { "w0": 10, "w1": 11, "w2": 12, "w3": 13, "w4": 14 } });
    let calling = std::thread::spawn(move || support::business::post(&url, &[], &body).map(|answer| answer.status));
    let sent = wait_for("the batch reaches the device", || writes.lock().expect("no panic").first().cloned());
    assert_eq!(sent, [&[0x10, 0, 40, 0, 5, 10][..], &[0, 10, 0, 11, 0, 12, 0, 13, 0, 14]].concat(), "one request");
    server.kill();
    assert_eq!(calling.join().expect("no panic"), None, "nobody was answered");
    server.run();
    let told = lines(&server, 1);
    assert_eq!((told.len(), outcome(&told[0])), (1, "intended"), "{told:?}");
    for at in 0..5 {
        assert_eq!(told[0]["after"][format!("site/plc/w{at}")], 10 + at);
    }
    wait_for("the device is read again", || server.latest("site/plc/w4").filter(|latest| latest["quality"] == "Good"));
    assert_eq!(writes.lock().expect("no panic").len(), 1, "it was not sent again");
    // alive, the same silence ends in doubt, and says so
    let silent = server.post(PATH, &json!({ "points": { "w0": 1, "w4": 2 } }));
    assert_eq!((silent.status, silent.problem()), (502, "points-failed"), "{silent:?}");
    let told = lines(&server, 3);
    assert_eq!((outcome(&told[1]), outcome(&told[2])), ("intended", "unknown"), "{told:?}");
}

/// 1. Forty variables of two types are written by one call of the Write service.
/// 2. One that the server does not let anybody write fails by itself.
#[test]
fn asyncua_takes_a_batch_of_points_by_one_write() {
    if !peers_or_say_so("venv") {
        return;
    }
    let port = free_port();
    let mut python = Command::new(target().join("peers/venv/bin/python"));
    let mut peer = Peer::start(python.arg("tests/peers/asyncua_points.py").args([&port.to_string(), "20"]));
    while peer.line() != "ready" {}
    let mut text = format!(
        "[[source]]\nname = \"oven\"\nkind = \"opcua\"\naddress = \"opc.tcp://127.0.0.1:{port}/peer\"\n\
         security = \"None\"\npath = \"site/oven\"\npublishing = \"100ms\"\nsampling = \"100ms\"\n"
    );
    let numbers: Vec<String> = [names("p", 20), names("n", 20), vec!["fixed".to_owned()]].concat();
    for name in &numbers {
        let _ = write!(text, "\n[[source.tag]]\nname = {name:?}\nnode = \"nsu=urn:peer;s={name}\"\n");
    }
    let server = Server::start(&(text + &request("oven", &numbers, "")));
    wait_for("the server is read", || server.latest("site/oven/n19").filter(|latest| latest["quality"] == "Good"));
    let points: Map<String, Value> = (0..20)
        .flat_map(|at| [(format!("p{at}"), json!(f64::from(at) + 0.25)), (format!("n{at}"), json!(at * 2))])
        .collect();
    let done = server.put(PATH, &json!({ "points": points }));
    assert_eq!(done.body["outcome"], "verified", "{done:?}");
    peer.go();
    let held = peer.json();
    for (name, value) in &points {
        assert_eq!(held["held"][name].as_f64(), value.as_f64(), "{name}");
    }
    assert_eq!(held["writes"], json!([40]), "one call");
    let partly = server.post(PATH, &json!({ "points": { "p0": 900, "fixed": 5, "n3": 33 } }));
    assert_eq!((partly.status, partly.problem()), (502, "points-failed"), "{partly:?}");
    assert_eq!(partly.body["points"]["fixed"]["outcome"], "failed", "{partly:?}");
    let unfit = server.post(PATH, &json!({ "points": { "p0": 1, "n3": 3.5 } }));
    assert_eq!((unfit.status, unfit.problem()), (422, "points-refused"), "{unfit:?}");
    assert_eq!(unfit.body["errors"][0]["point"], "n3", "{unfit:?}");
    peer.go();
    let held = peer.json();
    assert_eq!(
        (&held["held"]["p0"], &held["held"]["n3"], &held["held"]["fixed"]),
        (&json!(900.0), &json!(33), &json!(7.0))
    );
}
