//! `loadgen verify` against a server of this file's own, honest or with one planted fault: a check
//! that cannot catch a planted fault proves nothing.

use frame::{Builder, FrameError, FrameKind, Registered, Splitter, View, Welcome};
use model::{Sequence, TimestampNs};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

/// What the server stored: by tag number, source time and bits in log order.
#[derive(Default)]
struct Store {
    last: u64,
    tags: Vec<(String, u8)>,
    samples: HashMap<u32, Vec<(i64, u64)>>,
    connections: u64,
}

/// What is done to the stored samples before they are served.
type Fault = fn(&mut Vec<(i64, u64)>);

fn start(fault: Fault) -> (String, String) {
    let store = Arc::new(Mutex::new(Store::default()));
    let native = TcpListener::bind("127.0.0.1:0").expect("free");
    let http = TcpListener::bind("127.0.0.1:0").expect("free");
    let at = (native.local_addr().expect("bound").to_string(), http.local_addr().expect("bound").to_string());
    let shared = Arc::clone(&store);
    thread::spawn(move || {
        for stream in native.incoming() {
            shared.lock().expect("whole").connections += 1;
            let _ = converse(stream.expect("accepted"), &shared);
        }
    });
    thread::spawn(move || {
        for stream in http.incoming() {
            let _ = serve(stream.expect("accepted"), &store, fault);
        }
    });
    at
}

struct Over;

impl From<FrameError> for Over {
    fn from(_: FrameError) -> Over {
        Over
    }
}

/// Takes frames; the first connection breaks after 30 of them, like a server that is killed.
fn converse(mut stream: TcpStream, store: &Mutex<Store>) -> std::io::Result<()> {
    let (mut splitter, mut chunk, mut frames) = (Splitter::new(), vec![0; 7_000], 0);
    loop {
        let count = stream.read(&mut chunk)?;
        let mut answers = Builder::new();
        let read = splitter.push::<Over>(&chunk[..count], |frame| {
            let store = &mut *store.lock().expect("whole");
            let producer = frame.producer();
            match frame.view() {
                View::Hello(_) => {
                    let welcome = Welcome { path: "plant/rig".to_owned(), frame_bytes_max: 1 << 20, tags_max: 100 };
                    answers.welcome(producer, Sequence(store.last), &welcome).expect("short");
                }
                View::Register(register) => {
                    let mut tags = Vec::new();
                    for tag in register.tags.iter() {
                        let name = tag.name.to_string();
                        let known = store.tags.iter().position(|(n, _)| *n == name);
                        tags.push(known.unwrap_or(store.tags.len()) as u32);
                        if known.is_none() {
                            store.tags.push((name, tag.kind));
                        }
                    }
                    let answer = Registered { request: register.request.to_native(), tags, texts: vec![] };
                    answers.registered(producer, Sequence(0), &answer).expect("short");
                }
                View::Scan(_) | View::Samples(_) => {
                    frames += 1;
                    if frames > 30 && store.connections == 1 {
                        return Err(Over);
                    }
                    keep(store, frame);
                    answers.bare(FrameKind::Ack, producer, Sequence(store.last)).expect("short");
                }
                _ => return Err(Over),
            }
            Ok(())
        });
        stream.write_all(answers.bytes())?;
        if read.is_err() || count == 0 {
            return Ok(());
        }
    }
}

fn keep(store: &mut Store, frame: frame::Frame<'_>) {
    if frame.sequence().0 <= store.last {
        return;
    }
    store.last = frame.sequence().0;
    match frame.view() {
        View::Scan(scan) => {
            let time = scan.source_time().expect("given").0;
            for (i, value) in scan.values().iter().enumerate() {
                let tag = scan.tag_first().0 + i as u32;
                store.samples.entry(tag).or_default().push((time, value.to_native()));
            }
        }
        View::Samples(samples) => {
            for (tag, time, value, _) in samples.iter() {
                store.samples.entry(tag.0).or_default().push((time.expect("given").0, value));
            }
        }
        _ => {}
    }
}

/// Answers one request for samples: pages of at most 7, cut by a count.
fn serve(mut stream: TcpStream, store: &Mutex<Store>, fault: Fault) -> std::io::Result<()> {
    let mut request = vec![0; 4_000];
    let count = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..count]).into_owned();
    let query = request.split_whitespace().nth(1).and_then(|path| path.split_once('?')).expect("a query").1;
    let parameter = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
    let tag = parameter("tag").expect("asked for a tag").strip_prefix("plant/rig/").expect("below the path");
    let after: usize = parameter("after").map_or(0, |after| after.parse().expect("ours"));
    let store = store.lock().expect("whole");
    let number = store.tags.iter().position(|(name, _)| name == tag).expect("known");
    let mut samples = store.samples[&(number as u32)].clone();
    if tag == "verify/t1-i64" {
        fault(&mut samples);
    }
    let page: Vec<Value> = samples[after..]
        .iter()
        .take(7)
        .map(|(time, bits)| {
            let time = TimestampNs(*time).to_string();
            let value = match store.tags[number].1 {
                0 => json!(f64::from_bits(*bits)),
                1 => json!(*bits as i64),
                _ => json!(*bits == 1),
            };
            json!({ "time": time, "source_time": time, "value": value, "quality": "Good" })
        })
        .collect();
    let next = (after + 7 < samples.len()).then(|| (after + 7).to_string());
    let body = json!({ "samples": page, "gaps": [], "next": next }).to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

/// Exit code and report.
fn verify(fault: Fault) -> (Option<i32>, Value) {
    let (native, http) = start(fault);
    let state = std::env::temp_dir().join(format!("loadgen-verify-{}.json", native.replace(':', "-")));
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["verify", "--address", &native, "--http", &http, "--samples", "300", "--tags", "3", "--rate", "max"])
        .args(["--json", "--state"])
        .arg(&state)
        .output()
        .expect("it starts");
    let told = std::fs::read_to_string(&state).expect("a state file");
    let _ = std::fs::remove_file(&state);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["phase"], &told["acknowledged"]), (&json!("done"), &json!(300)));
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

fn faults(report: &Value) -> [u64; 4] {
    ["lost", "duplicated", "altered", "reordered"].map(|name| report["findings"][name].as_u64().expect("a count"))
}

#[test]
fn an_honest_server_that_breaks_once_is_found_good() {
    let (code, report) = verify(|_| ());
    assert_eq!((code, faults(&report)), (Some(0), [0, 0, 0, 0]), "{report}");
    assert_eq!((&report["written"], &report["findings"]["found"]), (&json!(300), &json!(300)));
    assert_eq!(report["reconnects"], json!(1));
}

fn remove_one(samples: &mut Vec<(i64, u64)>) {
    samples.remove(40);
}

#[test]
fn every_planted_fault_is_caught_by_its_name() {
    let planted: [(Fault, [u64; 4]); 5] = [
        (remove_one, [1, 0, 0, 0]),
        (|samples| samples.truncate(90), [10, 0, 0, 0]),
        (|samples| samples.insert(21, samples[20]), [0, 1, 0, 0]),
        (|samples| samples[50].1 += 1, [0, 0, 1, 0]),
        (|samples| samples.swap(60, 61), [0, 0, 0, 1]),
    ];
    for (i, (fault, expected)) in planted.into_iter().enumerate() {
        let (code, report) = verify(fault);
        assert_eq!((code, faults(&report)), (Some(1), expected), "fault {i}: {report}");
        assert!(report["findings"]["examples"][0].as_str().is_some_and(|e| e.contains("plant/rig/verify/t1-i64")));
    }
}
