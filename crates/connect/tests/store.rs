//! The object store target against moto's S3, and against stores that misbehave.

mod support;

use connect::{CallError, Conflict, Refusal, Reply, SecretText, StoreSettings, StoreTarget, Target, classify};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use support::raw::{Raw, answer, read_request};
use support::{Peer, acked, call, free_port, is_in_doubt, peer_or_say_so, run, status, with_body};

const SECRET: &str = "hunter2";

fn settings(endpoint: &str) -> StoreSettings {
    let mut settings = StoreSettings::new("plant", "millstream", SecretText::new(SECRET));
    settings.endpoint = Some(endpoint.to_owned());
    settings.prefix = "reports/early".to_owned();
    settings
}

fn target(endpoint: &str) -> StoreTarget {
    StoreTarget::new(settings(endpoint)).expect("a target")
}

/// Asks moto itself, which looks at no signature.
fn ask(port: u16, line: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\nauthorization: AWS x:y\r\n\r\n"
    )
    .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    text
}

#[test]
fn an_object_is_put_once_however_often_it_is_tried() {
    let Some(program) = peer_or_say_so("moto_server") else { return };
    let port = free_port();
    let moto = Peer::start(Command::new(program).args(["-H", "127.0.0.1", "-p", &port.to_string()]), port);
    let endpoint = format!("http://127.0.0.1:{port}");
    let target = target(&endpoint);
    let rows = "order;hours\n4711;7.5\n".repeat(5_000);
    let report = || {
        let mut report = with_body("shift_2026-03-29.csv", rows.clone());
        report.content_type = "text/csv".to_owned();
        report
    };
    run(async {
        let exchange = target.call(report()).await;
        let Err(CallError::Refused { of: Refusal::Target, what }) = &exchange.result else { panic!("{exchange:?}") };
        assert!(what.contains("404") && what.contains("NoSuchBucket"), "{what}");

        assert!(ask(port, "PUT /plant").starts_with("HTTP/1.1 200"));
        let exchange = target.call(report()).await;
        assert!(
            acked(&exchange).starts_with("reports/early/shift_2026-03-29.csv stored, 105000 bytes"),
            "{exchange:?}"
        );
        assert_eq!(exchange.sent, format!("PUT shift_2026-03-29.csv in {endpoint}/plant/reports/early"));
        assert!(!format!("{exchange:?} {target:?}").contains(SECRET));
        let again = target.call(report()).await;
        assert!(acked(&again).ends_with("was there already, with the same content"), "{again:?}");

        for other in ["other".to_owned(), rows.replace('7', "8"), String::new()] {
            let exchange = target.call(with_body("shift_2026-03-29.csv", other)).await;
            assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })), "{exchange:?}");
        }
        let mut plain = settings(&endpoint);
        plain.conditional = false;
        let plain = StoreTarget::new(plain).expect("a target");
        assert!(acked(&plain.call(report()).await).contains("stored"));

        for name in ["../escape", "a/b", "", "ä"] {
            let exchange = target.call(with_body(name, "x")).await;
            assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })), "{exchange:?}");
        }
    });
    let stored = ask(port, "GET /plant/reports/early/shift_2026-03-29.csv");
    let (head, body) = stored.split_once("\r\n\r\n").expect("an answer");
    assert!(head.to_ascii_lowercase().contains("content-type: text/csv"), "{head}");
    assert_eq!(body, rows);
    assert_eq!(ask(port, "GET /plant").matches("<Key>").count(), 1);

    moto.kill();
    let exchange = run(target.call(report()));
    assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
}

#[test]
fn a_put_is_signed_and_conditional() {
    let raw = Raw::http(|_, _| answer("200 OK", "etag: \"abc\"\r\n", ""));
    let exchange = run(target(&raw.url("")).call(call("a.json")));
    assert!(acked(&exchange).ends_with("etag \"abc\""), "{exchange:?}");
    let seen = &raw.seen()[0];
    assert_eq!(seen.line(), "PUT /plant/reports/early/a.json HTTP/1.1");
    assert_eq!(seen.header("if-none-match"), Some("*"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    let signed = seen.header("authorization").expect("a signature");
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=millstream/"), "{signed}");
    assert_eq!(seen.body, b"{\"quantity\":5}");
}

#[test]
fn a_store_without_conditions_gets_the_same_bytes_again() {
    let raw = Raw::http(|request, _| match request.header("if-none-match") {
        Some(_) => answer("501 Not Implemented", "", "<Error><Code>NotImplemented</Code></Error>"),
        None => answer("200 OK", "etag: \"abc\"\r\n", ""),
    });
    let target = target(&raw.url(""));
    assert!(acked(&run(target.call(call("a.json")))).contains("stored"));
    assert_eq!(raw.seen().len(), 2);
    assert_eq!(raw.seen()[0].body, raw.seen()[1].body);
}

#[test]
fn what_the_store_says_is_told_and_tried_once() {
    let raw = Raw::http(|_, _| answer("503 Slow Down", "retry-after: 9\r\n", "<Error><Code>SlowDown</Code></Error>"));
    let exchange = run(target(&raw.url("")).call(call("a.json")));
    assert_eq!((status(&exchange), raw.seen().len()), (503, 1));
    let wait = Some(9_000_000_000);
    assert_eq!(classify(&exchange, Conflict::Rejected), delivery::Outcome::Unavailable { retry_after_ns: wait });
    assert!(exchange.excerpt.contains("SlowDown"));
    let raw = Raw::http(|_, _| answer("403 Forbidden", "", "<Error><Code>RequestTimeTooSkewed</Code></Error>"));
    let exchange = run(target(&raw.url("")).call(call("a.json")));
    assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Target, .. })), "{exchange:?}");
    let raw = Raw::http(|_, _| answer("302 Found", "location: http://127.0.0.1:9/\r\n", ""));
    let exchange = run(target(&raw.url("")).call(call("a.json")));
    assert_eq!(status(&exchange), 302);
}

#[test]
fn what_breaks_off_is_in_doubt_and_what_is_endless_ends() {
    for bytes in [b"".as_slice(), b"\0garbage", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"] {
        let raw = Raw::start(move |_, mut stream, _| {
            read_request(&mut stream);
            let _ = stream.write_all(bytes);
        });
        let exchange = run(target(&raw.url("")).call(call("a.json")));
        assert!(is_in_doubt(&exchange), "{exchange:?}");
    }
    let flood = Raw::start(|_, mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let exchange = run(target(&flood.url("")).call(call("a.json")));
    let Ok(Reply::Answered { status: 500, body, .. }) = &exchange.result else { panic!("{exchange:?}") };
    assert_eq!(body.len(), 64 << 10);
}
