//! Targets that nobody here wrote, through the real binary: mosquitto, nats-server with JetStream, an
//! S3 store; and a folder. Each is killed and started again in between, and has everything in the end.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use support::business::{HASTY, kept_port};
use support::{Guard, PATIENCE, Server, target, wait_for};

/// Events before a broker is killed, and while it is away.
const EACH: u64 = 20;

/// A foreign peer's program. Says so where it is left out, and fails where it is required and missing.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // servers are not on everybody's path
    folders.extend([target().join("peers/venv/bin"), PathBuf::from("/usr/sbin")]);
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    match std::env::var("MILLSTREAM_PEERS").as_deref() {
        Ok("required") => assert!(found.is_some(), "{name} is required and not installed: cargo xtask peers"),
        Ok("skip") => {
            eprintln!("LEFT OUT: {name}, as asked");
            return None;
        }
        _ if found.is_none() => eprintln!("LEFT OUT: {name} is not installed; `cargo xtask test` installs and uses it"),
        _ => {}
    }
    found
}

/// Starts a peer and waits until it takes connections.
fn listening(command: &mut Command, port: u16) -> Guard {
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let guard = Guard(process.expect("the peer starts"));
    wait_for("the peer listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    guard
}

/// Publishes events with these numbers, all of one source.
fn publish(server: &Server, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        let event = json!({ "id": n.to_string(), "source": "press1", "type": "machine-fault", "data": { "n": n } });
        server.put("/v1/events", &event);
    }
}

fn subscriber(to: &str) -> String {
    format!(
        "[[subscriber]]\nname = \"peer\"\nevent = \"machine-fault\"\nto = {to}\n\
         body = \"{{'n': event.data.n}}\"\n{}",
        HASTY.replace("400ms", "2s")
    )
}

fn number(payload: &str) -> u64 {
    let body: Value = serde_json::from_str(payload).unwrap_or_else(|_| panic!("{payload} is no JSON"));
    body["n"].as_u64().expect("a number")
}

/// `mosquitto_sub` on a topic: the payloads as they come.
struct Listener {
    process: Child,
    payloads: Receiver<String>,
}

impl Listener {
    fn start(port: u16) -> Listener {
        let mut command = Command::new("stdbuf"); // line by line
        command.args(["-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", &port.to_string(), "-V", "5", "-q", "1"]);
        command.args(["-d", "-t", "plant/faults", "-F", "got %p"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("mosquitto_sub starts");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        while !lines.next().expect("it subscribes").expect("text").starts_with("Subscribed") {}
        let (out, payloads) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(payload) = line.strip_prefix("got ") {
                    let _ = out.send(payload.to_owned());
                }
            }
        });
        Listener { process, payloads }
    }

    /// Payloads until this number has come.
    fn until(&self, last: u64) -> Vec<u64> {
        let mut got = Vec::new();
        while got.last() != Some(&last) {
            got.push(number(
                &self.payloads.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{last} is missing: {got:?}")),
            ));
        }
        got
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In order, each at least once: QoS 1 may repeat.
fn in_order(mut got: Vec<u64>, wanted: std::ops::RangeInclusive<u64>) {
    got.dedup();
    assert_eq!(got, wanted.collect::<Vec<u64>>());
}

/// 1. Events arrive at a subscriber of the broker, in order.
/// 2. The broker is killed; events wait.
/// 3. The broker is back with a subscriber: what waited arrives, in order.
#[test]
fn mosquitto_gets_every_event_in_order() {
    let Some(broker) = program("mosquitto") else { return };
    let (port, folder) = (kept_port(), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("mosquitto.conf");
    // started by root, it would become a user who may not read the folder
    fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")).expect("written");
    let start = || listening(Command::new(&broker).arg("-c").arg(&file), port);
    let running = start();
    let listener = Listener::start(port);
    let server = Server::start_in(
        "UTC",
        &subscriber(&format!("{{ mqtt = \"mqtt://127.0.0.1:{port}\", topic = \"plant/faults\" }}")),
    );
    publish(&server, 1..=EACH);
    let mut got = listener.until(EACH);

    drop(running);
    publish(&server, EACH + 1..=2 * EACH);
    server.fails("peer", 2);
    // nobody hears what a broker without subscribers gets, so it gets it when there is one
    server.put("/v1/flows/peer/pause", &json!({ "by": "test" }));
    let _running = start();
    let listener = Listener::start(port);
    server.put("/v1/flows/peer/resume", &json!({ "by": "test" }));
    // a broker that dies between handing an event on and confirming it gets that one again
    got.extend(listener.until(2 * EACH));
    in_order(got, 1..=2 * EACH);
}

/// A connection to NATS by hand: its protocol is lines of text.
struct Nats(BufReader<TcpStream>);

impl Nats {
    fn connect(port: u16) -> Nats {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let mut nats = Nats(BufReader::new(stream));
        nats.send("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB answers 1\r\n");
        nats
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("sent");
    }

    /// Asks JetStream's API; `None` where it answers with an error.
    fn ask(&mut self, call: &str, body: &Value) -> Option<Value> {
        let body = body.to_string();
        self.send(&format!("PUB $JS.API.{call} answers {}\r\n{body}\r\n", body.len()));
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("an answer") > 0, "the server has gone");
            if line.starts_with("PING") {
                self.send("PONG\r\n");
            }
            let Some(length) = line.strip_prefix("MSG answers ").and_then(|rest| rest.trim().rsplit(' ').next()) else {
                continue;
            };
            let mut payload = vec![0; length.parse::<usize>().expect("a length") + 2];
            self.0.read_exact(&mut payload).expect("a payload");
            let answer: Value = serde_json::from_slice(&payload).expect("JSON");
            return answer["error"].is_null().then_some(answer);
        }
    }
}

/// Base64 (RFC 4648).
fn decoded(text: &str) -> String {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.bytes().filter(|c| *c != b'=').map(|c| u32::from(value(c))).collect();
    let bytes = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        (0..group.len() - 1).map(move |at| (bits >> (16 - 8 * at)) as u8)
    });
    String::from_utf8(bytes.collect()).expect("text")
}

/// 1. Events are stored in the stream, in order.
/// 2. The server is killed; events wait.
/// 3. It is back: the stream has each event once, in order.
#[test]
fn jetstream_stores_every_event_once_in_order() {
    let Some(program) = program("nats-server") else { return };
    let (port, folder) = (kept_port(), tempfile::tempdir().expect("a folder"));
    let (file, data) = (folder.path().join("nats.conf"), folder.path().join("data").display().to_string());
    // one setting a line: this server's parser takes no two in a block's line
    fs::write(&file, format!("listen: 127.0.0.1:{port}\njetstream {{\n  store_dir: {data:?}\n}}\n")).expect("written");
    let start = || listening(Command::new(&program).arg("-c").arg(&file), port);
    let running = start();
    let stream = json!({ "name": "PLANT", "subjects": ["plant.>"], "storage": "file", "retention": "limits", "num_replicas": 1 });
    Nats::connect(port).ask("STREAM.CREATE.PLANT", &stream).expect("a stream");
    let to = format!("{{ nats = \"nats://127.0.0.1:{port}\", subject = \"plant.faults\", stream = \"PLANT\" }}");
    let server = Server::start_in("UTC", &subscriber(&to));
    publish(&server, 1..=EACH);
    let count =
        |nats: &mut Nats| nats.ask("STREAM.INFO.PLANT", &json!({})).and_then(|info| info["state"]["messages"].as_u64());
    wait_for("the events are stored", || (count(&mut Nats::connect(port)) == Some(EACH)).then_some(()));

    drop(running);
    publish(&server, EACH + 1..=2 * EACH);
    server.fails("peer", 2);
    let _running = start();
    let mut nats = Nats::connect(port);
    wait_for("what waited is stored", || (count(&mut nats) >= Some(2 * EACH)).then_some(()));
    wait_for("nothing waits", || (server.flow("peer")["backlog"] == 0).then_some(()));
    assert_eq!(count(&mut nats), Some(2 * EACH), "each once");
    let stored: Vec<u64> = (1..=2 * EACH)
        .map(|seq| {
            let found = nats.ask("STREAM.MSG.GET.PLANT", &json!({ "seq": seq })).expect("a message");
            number(&decoded(found["message"]["data"].as_str().expect("data")))
        })
        .collect();
    assert_eq!(stored, (1..=2 * EACH).collect::<Vec<u64>>());
}

const BATCH: &str = "[[record]]\nname = \"labour\"\nid = \"id\"\n\n[[batch]]\nname = \"report\"\nat = \"manual\"\n\
    correct = \"0s\"\nrecords = [\"labour\"]\ntotals = [\"hours\"]\n";

/// Posts an hour of work and has a batch made of it; answers the run.
fn run(server: &Server, id: &str) -> Value {
    server.put("/v1/records/labour", &json!({ "id": id, "hours": 7.5 }));
    let period = json!({ "from": "-1h", "to": (server.now() + 1).to_string() });
    server.put("/v1/batches/report/run", &period).body
}

/// A batch's document in CSV names its run and holds these ids.
fn holds(document: &str, run: &Value, ids: &[&str]) {
    let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<String>>();
    let lines: Vec<Vec<String>> = document.lines().map(cells).collect();
    let head = lines.iter().find(|line| line[0] == "head" && line[2] == "run_id").expect("a head");
    assert_eq!(json!(head[7]), run["id"], "{document}");
    let rows: BTreeSet<&str> = lines.iter().filter(|line| line[0] == "row").map(|line| line[2].as_str()).collect();
    assert_eq!(rows, ids.iter().copied().collect(), "{document}");
}

/// 1. A batch is in the store.
/// 2. The store is killed; a batch waits.
/// 3. The store is back, empty as it then is: what waited is put, and nothing else.
#[test]
fn an_s3_store_gets_each_document() {
    let Some(program) = program("moto_server") else { return };
    let port = kept_port();
    let start = || {
        let running = listening(Command::new(&program).args(["-H", "127.0.0.1", "-p", &port.to_string()]), port);
        wait_for("a bucket", || ureq::put(format!("http://127.0.0.1:{port}/plant")).send_empty().ok());
        running
    };
    let object = |name: &str| {
        let address = format!("http://127.0.0.1:{port}/plant/reports/{name}");
        let request = ureq::get(address).header("Authorization", "AWS x:y");
        request.call().ok().and_then(|mut answer| answer.body_mut().read_to_string().ok())
    };
    let running = start();
    let to = format!(
        "to = {{ s3 = \"http://127.0.0.1:{port}/plant/reports\", access_key = \"AK\", secret_key = {{ env = \"MILLSTREAM_TEST_SECRET\", default = \"secret\" }} }}\n"
    );
    let server = Server::start_in("UTC", &format!("{BATCH}{to}{}", HASTY.replace("400ms", "5s")));
    let first = run(&server, "L1");
    let name = |run: &Value| {
        let deliveries = server.ask("/v1/deliveries?flow=report");
        let sent = deliveries.as_array()?.iter().find(|one| one["id"] == run["delivery"])?["attempts"]
            .as_array()?
            .last()?["sent"]
            .clone();
        Some(sent.as_str()?.strip_prefix("PUT ")?.split(' ').next()?.to_owned())
    };
    let document = wait_for("the first document", || object(&name(&first)?));
    holds(&document, &first, &["L1"]);
    // a store that dies before its answer is heard gets the document again
    wait_for("the answer is heard", || (server.flow("report")["backlog"] == 0).then_some(()));

    drop(running);
    let second = run(&server, "L2");
    server.fails("report", 2);
    let _running = start();
    let document = wait_for("the second document", || object(&name(&second)?));
    holds(&document, &second, &["L1", "L2"]);
    assert_eq!(object(&name(&first).expect("a name")), None, "what was settled is not sent again");
}

/// 1. A batch is in the folder as one whole file.
/// 2. The folder is gone, a file in its place; a batch waits.
/// 3. The folder is back: the batch is there, and no half file.
#[test]
fn a_folder_gets_each_document_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    fs::create_dir(&out).expect("a folder");
    let to = format!("to = {{ folder = {:?} }}\n", out.display().to_string());
    let server = Server::start_in("UTC", &format!("{BATCH}{to}{}", HASTY.replace("400ms", "5s")));
    let files = || -> Vec<String> {
        let Ok(entries) = fs::read_dir(&out) else { return Vec::new() };
        let path = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").path();
        let mut paths: Vec<PathBuf> =
            entries.map(path).filter(|path| path.extension().is_some_and(|end| end == "csv")).collect();
        paths.sort();
        paths.iter().map(|path| fs::read_to_string(path).expect("text")).collect()
    };
    let first = run(&server, "L1");
    let documents = wait_for("the first document", || Some(files()).filter(|files| !files.is_empty()));
    holds(&documents[0], &first, &["L1"]);

    let aside = folder.path().join("aside");
    fs::rename(&out, &aside).expect("moved");
    fs::write(&out, "in the way").expect("written");
    let second = run(&server, "L2");
    server.fails("report", 2);
    fs::remove_file(&out).expect("removed");
    fs::rename(&aside, &out).expect("back");
    let documents = wait_for("both documents", || Some(files()).filter(|files| files.len() == 2));
    holds(&documents[0], &first, &["L1"]);
    holds(&documents[1], &second, &["L1", "L2"]);
    let all = fs::read_dir(&out).expect("a folder").count();
    assert_eq!(all, 2, "there is more than the documents");
}
