//! The HTTP target against servers that behave, and against servers that do not.

mod support;

use connect::{
    CallError, Conflict, EXCERPT_BYTES_MAX, HttpSettings, HttpTarget, Refusal, Reply, SecretText, Target, classify,
};
use std::io::Write;
use std::time::Duration;
use support::raw::{Raw, answer, read_request, until_closed};
use support::{call, hasty, is_in_doubt, is_unsent, run, status, with_body};

fn target(raw: &Raw) -> HttpTarget {
    HttpTarget::new(HttpSettings::new(raw.url("/"))).expect("a target")
}

#[test]
fn a_request_is_what_the_call_says() {
    let raw = Raw::http(|_, _| answer("201 Created", "content-type: application/json\r\n", "{\"id\":7}"));
    let mut settings = HttpSettings::new(raw.url("/stock/{material}?key=hidden"));
    settings.headers =
        vec![("x-site".to_owned(), SecretText::new("riverside")), ("x-flow".to_owned(), SecretText::new("a"))];
    assert!(!format!("{settings:?}").contains("hidden") && !format!("{settings:?}").contains("riverside"));
    let target = HttpTarget::new(settings).expect("a target");
    let mut put = call(raw.url("/stock/47%2F11?key=hidden"));
    put.method = "PUT".to_owned();
    put.timeout = Duration::MAX;
    put.headers = vec![("X-Flow".to_owned(), "b".to_owned())];
    let exchange = run(target.call(put));
    let Ok(Reply::Answered { status: 201, content_type, body, complete: true, .. }) = &exchange.result else {
        panic!("{exchange:?}")
    };
    assert_eq!((content_type.as_deref(), &body[..]), (Some("application/json"), b"{\"id\":7}".as_slice()));
    assert_eq!(exchange.excerpt, "{\"id\":7}");
    assert_eq!(exchange.sent, format!("PUT {}", raw.url("/stock/47%2F11?key=***")));
    assert_eq!(target.describe(), raw.url("/stock/{material}?key=***"));
    let seen = &raw.seen()[0];
    assert_eq!(seen.line(), "PUT /stock/47%2F11?key=hidden HTTP/1.1");
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "14"),
        ("idempotency-key", "key-1"),
        ("x-site", "riverside"),
        ("x-flow", "b"),
        ("host", &raw.address.to_string()),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert_eq!(seen.header("transfer-encoding"), None);
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.body, b"{\"quantity\":5}");
}

#[test]
fn a_get_has_no_body_and_connections_are_used_again() {
    let raw = Raw::http(|_, _| answer("200 OK", "", "[]"));
    let target = target(&raw);
    run(async {
        for _ in 0..3 {
            let mut get = with_body(raw.url("/stock/1"), "");
            get.method = "GET".to_owned();
            get.content_type = String::new();
            assert_eq!(status(&target.call(get).await), 200);
        }
    });
    assert_eq!((raw.seen().len(), raw.connected()), (3, 1));
    let seen = &raw.seen()[0];
    assert_eq!((seen.line(), seen.header("content-type")), ("GET /stock/1 HTTP/1.1", None));
}

#[test]
fn answers_are_told_as_they_are() {
    let raw = Raw::http(|request, _| match request.line() {
        line if line.contains("/429") => answer("429 Too Many Requests", "retry-after: 17\r\n", "slow down"),
        line if line.contains("/503") => answer(
            "503 Service Unavailable",
            "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:50:37 GMT\r\n",
            "",
        ),
        line if line.contains("/302") => answer("302 Found", "location: /elsewhere\r\n", ""),
        line if line.contains("/204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => answer("500 Oops", "retry-after: soon\r\n", "\u{1b}[31mstack\ntrace"),
    });
    let target = target(&raw);
    let told = |path: &str| {
        let exchange = run(target.call(call(raw.url(path))));
        let wait = match &exchange.result {
            Ok(Reply::Answered { retry_after, .. }) => *retry_after,
            other => panic!("{other:?}"),
        };
        (status(&exchange), wait.map(|wait| wait.as_secs()), exchange.excerpt)
    };
    assert_eq!(told("/429"), (429, Some(17), "slow down".to_owned()));
    assert_eq!(told("/503"), (503, Some(60), String::new()));
    assert_eq!(told("/204"), (204, None, String::new()));
    assert_eq!(told("/500"), (500, None, "\\u{1b}[31mstack\\ntrace".to_owned()));
    assert_eq!(told("/302"), (302, None, String::new()));
    assert!(raw.seen().iter().all(|request| !request.line().contains("elsewhere")), "a redirect was followed");
}

#[test]
fn nothing_is_sent_where_nobody_is() {
    // a port that was just given back, a name that never exists (RFC 2606)
    let unused = format!("http://127.0.0.1:{}/", support::free_port());
    for url in [unused.as_str(), "http://nobody.invalid/"] {
        let target = HttpTarget::new(HttpSettings::new(url)).expect("a target");
        for body in ["{}", ""] {
            let exchange = run(target.call(with_body(url, body)));
            assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
            assert_eq!(
                classify(&exchange, Conflict::Rejected),
                delivery::Outcome::Unavailable { retry_after_ns: None }
            );
        }
    }
}

#[test]
fn what_was_sent_and_not_answered_is_in_doubt() {
    let closes = Raw::start(|raw, mut stream, _| {
        raw.note(read_request(&mut stream).expect("a request"));
    });
    let exchange = run(target(&closes).call(call(closes.url("/"))));
    assert!(matches!(exchange.result, Err(CallError::Lost { .. })), "{exchange:?}");
    assert_eq!(classify(&exchange, Conflict::Rejected), delivery::Outcome::InDoubt);
    assert_eq!(closes.seen().len(), 1, "one call is one attempt");

    let silent = Raw::start(|_, mut stream, _| until_closed(&mut stream));
    for body in ["{}", ""] {
        let mut request = hasty(silent.url("/"));
        request.body = body.into();
        let exchange = run(target(&silent).call(request));
        assert_eq!(exchange.result, Err(CallError::Timeout { sent: true }));
    }
}

#[test]
fn a_deadline_before_the_request_began_leaves_no_doubt() {
    // it takes the connection and never shakes hands
    let silent = Raw::start(|_, mut stream, _| until_closed(&mut stream));
    let url = format!("https://{}/", silent.address);
    let target = HttpTarget::new(HttpSettings::new(&url)).expect("a target");
    let exchange = run(target.call(hasty(&url)));
    assert_eq!(exchange.result, Err(CallError::Timeout { sent: false }));
    // it speaks no TLS
    let plain = Raw::start(|_, mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let url = format!("https://{}/", plain.address);
    let target = HttpTarget::new(HttpSettings::new(&url)).expect("a target");
    let exchange = run(target.call(call(&url)));
    assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
}

#[test]
fn an_answer_that_is_none_is_in_doubt() {
    let mut wrong: Vec<Vec<u8>> = vec![
        b"\0\xff\x16\x03garbage".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"HTTP/9.9 200 OK\r\n\r\n".to_vec(),
        b"HTTP/1.1 20x OK\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nit breaks off".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n".to_vec(),
    ];
    wrong.push([b"HTTP/1.1 200 OK\r\n".as_slice(), &b"a: b\r\n".repeat(100_000), b"\r\n"].concat());
    wrong.push([b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'x'; 10 << 20]].concat());
    for bytes in wrong {
        let shown = connect::excerpt(&bytes[..bytes.len().min(60)]);
        let raw = Raw::start(move |_, mut stream, _| {
            read_request(&mut stream);
            let _ = stream.write_all(&bytes);
        });
        let exchange = run(target(&raw).call(call(raw.url("/"))));
        assert!(is_in_doubt(&exchange), "{shown}: {exchange:?}");
        assert!(exchange.excerpt.len() <= EXCERPT_BYTES_MAX);
    }
}

#[test]
fn endless_answers_end_at_the_cap_or_at_the_deadline() {
    // as fast as it goes: the cap
    let flood = Raw::start(|_, mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let mut settings = HttpSettings::new(flood.url("/"));
    settings.answer_bytes_max = 10_000;
    let exchange = run(HttpTarget::new(settings).expect("a target").call(call(flood.url("/"))));
    let Ok(Reply::Answered { status: 200, body, complete: false, .. }) = &exchange.result else {
        panic!("{exchange:?}")
    };
    assert_eq!(body.len(), 10_000);
    assert_eq!(classify(&exchange, Conflict::Rejected), delivery::Outcome::Delivered);

    // a byte now and then: the deadline
    let trickle = Raw::start(|_, mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let exchange = run(target(&trickle).call(hasty(trickle.url("/"))));
    assert!(matches!(exchange.result, Ok(Reply::Answered { status: 200, complete: false, .. })), "{exchange:?}");

    // a head that never ends, and interim answers without end: in doubt
    for part in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let endless = Raw::start(move |_, mut stream, _| {
            read_request(&mut stream);
            while stream.write_all(part.as_bytes()).is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let exchange = run(target(&endless).call(hasty(endless.url("/"))));
        assert!(is_in_doubt(&exchange), "{exchange:?}");
    }
}

#[test]
fn a_connection_that_is_closed_at_once_is_never_success() {
    let raw = Raw::start(|_, stream, _| drop(stream));
    let exchange = run(target(&raw).call(call(raw.url("/"))));
    assert!(is_unsent(&exchange) || is_in_doubt(&exchange), "{exchange:?}");
}

#[test]
fn a_call_goes_nowhere_else_and_says_nothing_between_the_lines() {
    let other = Raw::http(|_, _| answer("200 OK", "", ""));
    let raw = Raw::http(|_, _| answer("200 OK", "", ""));
    let target = target(&raw);
    let mut wrong = vec![call(other.url("/")), call("file:///etc/passwd"), call("")];
    let mut header = call(raw.url("/"));
    header.headers = vec![("x".to_owned(), "a\r\nhost: evil".to_owned())];
    wrong.push(header);
    let mut header = call(raw.url("/"));
    header.headers = vec![("Transfer-Encoding".to_owned(), "chunked".to_owned())];
    wrong.push(header);
    let mut method = call(raw.url("/"));
    method.method = "GET / HTTP/1.1\r\n".to_owned();
    wrong.push(method);
    let mut key = call(raw.url("/"));
    key.idempotency_key = Some("a\nb".to_owned());
    wrong.push(key);
    for call in wrong {
        let exchange = run(target.call(call));
        assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })), "{exchange:?}");
    }
    let exchange = run(target.call(call(raw.url(&format!("/{}", "x".repeat(10_000))))));
    assert!(matches!(exchange.result, Err(CallError::TooLarge { .. })), "{exchange:?}");
    assert_eq!((raw.connected(), other.connected()), (0, 0));
}
