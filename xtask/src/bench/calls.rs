//! `cargo xtask bench calls`: what calls that bring or show much cost telemetry.
//!
//! One shard on one core, nothing else running. Each call is made some times; of every stage that it set to work
//! the table shows how many polls that took and the longest of them, since telemetry waits for one poll and not
//! for the call.

use super::rig::{self, LOG, SERVER_CORE, core_of};
use super::table::{number, time};
use crate::fault::{Guard, Site};
use crate::shell::{Story, target};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Events, documents and rows of a call: as many as one may have.
const MANY: usize = 1_000;
/// A server's figures are published every 250 ms.
const PUBLISHED: Duration = Duration::from_millis(400);
/// A stage whose polls are all shorter is not shown.
const SHOWN_NS: f64 = 50_000.0;

/// By lane and name: polls, and the longest, in nanoseconds.
type Stages = BTreeMap<String, (f64, f64)>;

/// What is asked.
struct Call {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    /// Made anew for each time that it is asked.
    body: Option<fn(u32) -> Value>,
    status: u16,
}

const CALLS: [Call; 11] = [
    Call { name: "1,000 events", method: "POST", path: "/v1/events", body: Some(events), status: 202 },
    Call { name: "1,000 documents", method: "POST", path: "/v1/records/receipt", body: Some(documents), status: 201 },
    Call {
        name: "the same again",
        method: "POST",
        path: "/v1/records/receipt",
        body: Some(|_| documents(0)),
        status: 200,
    },
    get("a flow", "/v1/flows/portal"),
    get("1,000 deliveries", "/v1/deliveries?limit=1000"),
    get("1,000 events, read", "/v1/events?limit=1000"),
    get("1,000 documents, read", "/v1/records/receipt?limit=1000"),
    get("the alarms' journal", "/v1/alarms/journal"),
    get("the audit", "/v1/audit"),
    get("metrics", "/metrics"),
    get("OpenAPI", "/openapi.json"),
];

const fn get(name: &'static str, path: &'static str) -> Call {
    Call { name, method: "GET", path, body: None, status: 200 }
}

fn events(time: u32) -> Value {
    let event = |n| {
        json!({ "id": format!("{time}-{n}"), "source": "/plant/press/7", "type": "stop", "subject": format!("press-{}", n % 7),
            "severity": 500, "message": "it stopped", "data": { "order": n, "material": format!("M-{n}"), "quantity": n as f64 * 1.5 } })
    };
    (0..MANY).map(event).collect()
}

fn documents(time: u32) -> Value {
    let document = |n| {
        json!({ "receipt_id": format!("{time}-{n}"), "material": format!("M-{n}"), "quantity": n as f64 * 1.5,
            "more": { "lines": [1, 2, 3], "note": "as ordered" } })
    };
    (0..MANY).map(document).collect()
}

/// Measures and prints; fails where a call is not answered as it must be.
pub fn run(rounds: u32, is_built: bool) -> Result<(), Story> {
    rig::prepare("calls", is_built)?;
    let data = target().join("fault").join("calls-data");
    let _ = fs::remove_dir_all(&data);
    // nobody listens there: what is published waits, and can be listed
    let sections = "[cores]\ncount = 1\n\n[[record]]\nname = \"receipt\"\nid = \"receipt_id\"\n\n[[subscriber]]\n\
         name = \"portal\"\nevent = \"stop\"\nto = { http = \"http://127.0.0.1:9/portal\" }\n";
    let site = Site::new("calls", &data, "auto", LOG, sections)?;
    let mut server = Guard(site.start_on(SERVER_CORE)?);
    site.wait_ready(&mut server.0)?;
    println!("| call | times | answered in, middle | stages: polls, the longest |\n|---|---:|---:|---|");
    sleep(PUBLISHED);
    let mut worst = stages(&site)?;
    for call in &CALLS {
        let before = worst.clone();
        let mut took = Vec::new();
        for time in 0..rounds {
            let begun = Instant::now();
            call.make(&site, time)?;
            took.push(begun.elapsed().as_nanos() as f64);
        }
        sleep(PUBLISHED);
        worst = stages(&site)?;
        println!(
            "| {} | {rounds} | {} | {} |",
            call.name,
            time(super::table::median(took)),
            grown(&before, &worst).join(", ")
        );
    }
    println!("\nthe longest of a stage is of all calls so far; a row shows it where it grew by that call");
    drop(server);
    let _ = fs::remove_dir_all(&data);
    Ok(())
}

/// Stages whose longest poll grew, and is long.
fn grown(before: &Stages, after: &Stages) -> Vec<String> {
    let none = (0.0, 0.0);
    let grew = after.iter().map(|(name, now)| (name, *now, *before.get(name).unwrap_or(&none)));
    let grew = grew.filter(|(_, now, was)| now.0 > was.0 && now.1 > was.1 && now.1 > SHOWN_NS);
    grew.map(|(name, now, was)| format!("{name} {:.0}, {}", now.0 - was.0, time(now.1))).collect()
}

fn stages(site: &Site) -> Result<Stages, Story> {
    let core = core_of(site)?;
    let all = core["stages"].as_array().into_iter().flatten();
    let name = |stage: &Value| stage["name"].as_str().unwrap_or_default().to_owned();
    let mut stages = Stages::new();
    for stage in all {
        let one = stages.entry(name(stage)).or_default();
        *one = (one.0 + number(&stage["polls"]), one.1.max(number(&stage["max_ns"])));
    }
    Ok(stages)
}

impl Call {
    fn make(&self, site: &Site, time: u32) -> Result<(), Story> {
        let body = self.body.map(|body| body(time).to_string()).unwrap_or_default();
        let wrong = |error: std::io::Error| format!("{} did not answer: {error}", self.path);
        let mut stream = TcpStream::connect(site.http_address()).map_err(wrong)?;
        let head = format!(
            "{} {} HTTP/1.0\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.method,
            self.path,
            site.http_address(),
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).map_err(wrong)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(wrong)?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        if status == Some(self.status) {
            Ok(())
        } else {
            Err(format!("{}: {}", self.path, answer.chars().take(300).collect::<String>()))
        }
    }
}
