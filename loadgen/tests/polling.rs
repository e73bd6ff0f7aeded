//! `loadgen modbus --measure` beside `loadgen poll`, both as they are run by hand, and a small server
//! of this file's own for the commands. Nothing here depends on how fast anything is.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

fn loadgen(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

fn run(arguments: &str) -> Output {
    loadgen(arguments).output().expect("it starts")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound").port()
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn poll(client: &str, port: u16, depth: u32) -> Running {
    let line = format!("poll --client {client} --address 127.0.0.1:{port} --depth {depth} --blocks 4 --seconds 60");
    Running(loadgen(&line).spawn().expect("it starts"))
}

fn measured(port: u16, pid: u32, more: &str) -> Value {
    let line = format!(
        "modbus --measure --json --devices 1 --tags 500 --every 1ms --seconds 0.3 --port {port} --server-pid {pid} {more}"
    );
    let output = run(&line);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn whoever_polls_is_measured_by_the_devices() {
    for (client, depth, more) in [("bare", 1, ""), ("bare", 16, "--round-trip 2ms"), ("tokio-modbus", 1, "--stride 5")]
    {
        let port = free_port();
        let client = poll(client, port, depth);
        let report = measured(port, client.0.id(), more);
        let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("no {name} in {report}"));
        assert_eq!(report["blocks"], 4, "{report}");
        assert!(number("polls_per_s") > 0.0 && number("server_cpu_ns_per_value") > 0.0, "{report}");
        let values = if more.starts_with("--stride") { 25.0 } else { 125.0 };
        assert!((number("values_per_s") / number("polls_per_s") - values).abs() < 0.01, "{report}");
        assert!(report["interval_deviation"]["p99_9_ns"].is_u64() && report["commands"].is_null(), "{report}");
    }
}

/// Answers every call, each with this status; every connection has a thread of its own.
fn answers(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || converse(stream.expect("accepted"), status));
        }
    });
    address
}

fn converse(mut stream: TcpStream, status: &str) {
    let (mut buffer, mut call) = ([0; 4_096], String::new());
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        call += &String::from_utf8_lossy(&buffer[..bytes]);
        let Some((head, body)) = call.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("told");
        if body.len() < length.parse().expect("a number") {
            continue;
        }
        let one = head.starts_with("POST /v1/requests/point-") && body.starts_with("{\"value\":");
        let several = head.starts_with("POST /v1/requests/points ")
            && ["t0", "t1", "t2"].iter().all(|tag| body.contains(&format!("\"{tag}\":")));
        assert!(one || several, "{call}");
        call.clear();
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
    }
}

#[test]
fn commands_are_timed_one_by_one_and_as_batches_and_a_refusal_fails() {
    let port = free_port();
    let client = poll("bare", port, 1);
    let http = answers("200 OK");
    let report = measured(port, client.0.id(), &format!("--commands 200 --points 3 --http {http}"));
    for what in ["single", "in_a_row", "at_once", "batch"] {
        assert!(report["commands"][what]["count"].as_u64().is_some_and(|count| count > 0), "{what}: {report}");
    }
    assert_eq!(report["commands"]["failed"], 0);

    let (port, http) = (free_port(), answers("403 Forbidden"));
    let _client = poll("bare", port, 1);
    let output = run(&format!("modbus --measure --devices 1 --seconds 0.2 --port {port} --commands 100 --http {http}"));
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("commands FAILED, the first with 403: {}"), "{told}");
}

#[test]
fn a_configuration_for_fixed_ports_is_written_without_devices() {
    let file = std::env::temp_dir().join(format!("loadgen-polling-{}.toml", std::process::id()));
    let output = run(&format!("modbus --port 21000 --devices 2 --tags 3 --points 2 --config {}", file.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&file).expect("written");
    let _ = std::fs::remove_file(&file);
    assert!(text.contains("[request.write_points]"), "both points in one call as well: {text}");
    assert!(text.contains("\"tcp://127.0.0.1:21001\"") && text.matches("[[request]]").count() == 3, "{text}");
}

#[test]
fn wrong_usage_is_2() {
    for wrong in [
        "modbus --measure",
        "modbus --measure --seconds 0",
        "modbus --commands 5",
        "modbus --port 21000",
        "modbus --measure --seconds 1 --port 65535 --devices 2",
        "modbus --measure --seconds 1 --commands -5",
        "poll --address 127.0.0.1:1 --client rtu",
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong}");
    }
}
