//! The NATS target against nats-server with JetStream, and against servers that misbehave.

mod support;

use async_nats::jetstream::{self, stream};
use connect::{CallError, NatsAuth, NatsSettings, NatsTarget, Refusal, SecretText, Target};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use support::raw::{Raw, until_closed};
use support::{
    Peer, acked, call, free_port, hasty, is_in_doubt, is_unsent, peer_or_say_so, pem_path, run, tls, until_acked,
    with_body,
};

const TOKEN: &str = "hunter2";

/// nats-server with JetStream in a folder of its own.
struct Nats {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    secure: bool,
}

impl Nats {
    fn new(program: PathBuf, secure: bool) -> Nats {
        let nats = Nats { program, folder: tempfile::tempdir().expect("a folder"), port: free_port(), secure };
        // one setting a line: this server's parser takes no two in a block's line
        let mut text = format!(
            "listen: 127.0.0.1:{}\nmax_payload: 20000\njetstream {{\n  store_dir: {:?}\n}}\n",
            nats.port,
            nats.folder.path().join("data").display().to_string()
        );
        text += &format!("authorization {{\n  token: {TOKEN}\n}}\n");
        if secure {
            let path = |name| pem_path(name).display().to_string();
            text += &format!("tls {{\n  cert_file: {:?}\n  key_file: {:?}\n", path("server.pem"), path("server.key"));
            text += &format!("  ca_file: {:?}\n  verify: true\n}}\n", path("ca.pem"));
        }
        fs::write(nats.folder.path().join("nats.conf"), text).expect("written");
        nats
    }

    fn start(&self) -> Peer {
        Peer::start(Command::new(&self.program).arg("-c").arg(self.folder.path().join("nats.conf")), self.port)
    }

    fn settings(&self) -> NatsSettings {
        let scheme = if self.secure { "tls" } else { "nats" };
        let mut settings = NatsSettings::new(format!("{scheme}://localhost:{}", self.port));
        settings.auth = NatsAuth::Token(SecretText::new(TOKEN));
        if self.secure {
            settings.tls = tls(true);
        }
        settings
    }

    fn target(&self) -> NatsTarget {
        NatsTarget::new(self.settings()).expect("a target")
    }

    /// A stream for subjects below `plant`.
    async fn stream(&self) -> stream::Stream {
        let options = async_nats::ConnectOptions::new().token(TOKEN.to_owned());
        let client = options.connect(format!("127.0.0.1:{}", self.port)).await.expect("connected");
        let config = stream::Config {
            name: "EVENTS".to_owned(),
            subjects: vec!["plant.>".to_owned()],
            max_message_size: 10_000,
            ..stream::Config::default()
        };
        jetstream::new(client).get_or_create_stream(config).await.expect("a stream")
    }
}

#[test]
fn a_message_is_stored_once_however_often_it_is_sent() {
    let Some(program) = peer_or_say_so("nats-server") else { return };
    let nats = Nats::new(program, false);
    let _running = nats.start();
    run(async {
        let mut stream = nats.stream().await;
        let target = nats.target();
        let mut event = call("plant.events");
        event.headers = vec![("source".to_owned(), "press1".to_owned())];
        let exchange = target.call(event.clone()).await;
        assert_eq!(acked(&exchange), "stream EVENTS, sequence 1");
        assert_eq!(exchange.sent, format!("PUB plant.events at nats://localhost:{}", nats.port));
        assert!(!format!("{exchange:?} {target:?}").contains(TOKEN));
        assert_eq!(acked(&target.call(event).await), "stream EVENTS, which had it already, sequence 1");
        let mut other = call("plant.events");
        other.idempotency_key = None;
        assert_eq!(acked(&target.call(other).await), "stream EVENTS, sequence 2");
        assert_eq!(stream.info().await.expect("facts").state.messages, 2);
        let first = stream.get_raw_message(1).await.expect("the message");
        assert_eq!(first.payload, "{\"quantity\":5}");
        for (name, value) in [("Nats-Msg-Id", "key-1"), ("Content-Type", "application/json"), ("source", "press1")] {
            assert_eq!(first.headers.get(name).map(|found| found.as_str()), Some(value), "{name}");
        }
        let second = stream.get_raw_message(2).await.expect("the message");
        assert_eq!(second.headers.get("Nats-Msg-Id").map(|found| found.as_str()), Some("message-1"));
    });
}

#[test]
fn what_no_stream_takes_is_refused_with_advice() {
    let Some(program) = peer_or_say_so("nats-server") else { return };
    let nats = Nats::new(program, false);
    let _running = nats.start();
    run(async {
        let _stream = nats.stream().await;
        let target = nats.target();
        let exchange = target.call(call("elsewhere.events")).await;
        let Err(CallError::Refused { of: Refusal::Target, what }) = &exchange.result else { panic!("{exchange:?}") };
        assert!(what.contains("elsewhere.events") && what.contains("create one"), "{what}");
        let exchange = target.call(with_body("plant.big", vec![b'x'; 30_000])).await;
        assert!(matches!(exchange.result, Err(CallError::TooLarge { max: 20_000, .. })), "{exchange:?}");
        // the stream's own limit
        let exchange = target.call(with_body("plant.big", vec![b'x'; 15_000])).await;
        assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })), "{exchange:?}");
        for subject in ["", "plant.*", "plant.>", "$JS.API.STREAM.DELETE.EVENTS", "a b", "plant.a\r\nPUB x 0"] {
            let exchange = target.call(call(subject)).await;
            assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })), "{exchange:?}");
        }
        let mut other = nats.settings();
        other.stream = Some("ORDERS".to_owned());
        let exchange = NatsTarget::new(other).expect("a target").call(call("plant.events")).await;
        assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })), "{exchange:?}");
        let mut right = nats.settings();
        right.stream = Some("EVENTS".to_owned());
        acked(&NatsTarget::new(right).expect("a target").call(call("plant.events")).await);
        for auth in [NatsAuth::None, NatsAuth::Token(SecretText::new("wrong"))] {
            let mut wrong = nats.settings();
            wrong.auth = auth;
            let exchange = NatsTarget::new(wrong).expect("a target").call(call("plant.events")).await;
            assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Target, .. })), "{exchange:?}");
        }
    });
}

/// 1. A message is stored.
/// 2. The server freezes, so the next one is sent and not answered.
/// 3. It is killed: in doubt.
/// 4. While it is away nothing is sent.
/// 5. It is back: the message goes in, once.
#[test]
fn a_server_that_dies_leaves_doubt_and_comes_back() {
    let Some(program) = peer_or_say_so("nats-server") else { return };
    let nats = Nats::new(program, false);
    let running = nats.start();
    run(async {
        let stream = nats.stream().await;
        drop(stream);
        let target = nats.target();
        let second = || {
            let mut second = call("plant.2");
            second.idempotency_key = Some("key-2".to_owned());
            second
        };
        acked(&target.call(call("plant.1")).await);
        running.freeze();
        assert_eq!(target.call(hasty("plant.1")).await.result, Err(CallError::Timeout { sent: true }));
        let kill = async {
            tokio::time::sleep(support::SHORT).await;
            running.kill();
        };
        let (exchange, ()) = tokio::join!(target.call(second()), kill);
        assert!(matches!(exchange.result, Err(CallError::Lost { .. })), "{exchange:?}");
        let exchange = target.call(second()).await;
        assert!(is_unsent(&exchange), "{exchange:?}");
        let _running = nats.start();
        until_acked(&target, second).await;
        acked(&target.call(second()).await);
        let mut stream = nats.stream().await;
        assert_eq!(stream.info().await.expect("facts").state.messages, 2);
    });
}

#[test]
fn many_at_once_are_all_stored() {
    let Some(program) = peer_or_say_so("nats-server") else { return };
    let nats = Nats::new(program, false);
    let _running = nats.start();
    run(async {
        let mut stream = nats.stream().await;
        let target = nats.target();
        let calls = (0..1000).map(|number| {
            let mut one = call("plant.many");
            one.idempotency_key = Some(format!("key-{number}"));
            target.call(one)
        });
        for exchange in futures_util::future::join_all(calls).await {
            acked(&exchange);
        }
        assert_eq!(stream.info().await.expect("facts").state.messages, 1000);
    });
}

#[test]
fn certificates_are_checked_on_both_sides() {
    let Some(program) = peer_or_say_so("nats-server") else { return };
    let nats = Nats::new(program, true);
    let _running = nats.start();
    run(async {
        // no stream: that it is refused for that shows that the connection stands
        let exchange = nats.target().call(call("plant.events")).await;
        assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Target, .. })), "{exchange:?}");
        for tls in [tls(false), connect::Tls { ca_pem: Some(support::pem("other.pem")), ..tls(true) }] {
            let mut settings = nats.settings();
            settings.tls = tls;
            let exchange = NatsTarget::new(settings).expect("a target").call(call("plant.events")).await;
            assert!(is_unsent(&exchange) || is_in_doubt(&exchange), "{exchange:?}");
        }
    });
}

#[test]
fn what_does_not_greet_gets_nothing() {
    let greetings: [&'static [u8]; 5] = [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"INFO {\r\n",
        b"\0\xff\xfe\r\n",
        b"-ERR 'maximum connections exceeded'\r\n",
    ];
    for greeting in greetings {
        let raw = Raw::start(move |_, mut stream, _| {
            let _ = stream.write_all(greeting);
        });
        let target = NatsTarget::new(NatsSettings::new(format!("nats://{}", raw.address))).expect("a target");
        let exchange = run(target.call(call("a")));
        assert!(is_unsent(&exchange), "{greeting:?}: {exchange:?}");
    }
    // it never says a word, or never ends its first line
    let silent = Raw::start(|_, mut stream, _| until_closed(&mut stream));
    let endless = Raw::start(|_, mut stream, _| {
        while stream.write_all(&[b'x'; 1024]).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    for raw in [silent, endless] {
        let target = NatsTarget::new(NatsSettings::new(format!("nats://{}", raw.address))).expect("a target");
        assert!(is_unsent(&run(target.call(hasty("a")))));
    }
    let nobody = NatsSettings::new(format!("nats://127.0.0.1:{}", free_port()));
    let exchange = run(NatsTarget::new(nobody).expect("a target").call(call("a")));
    assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
}

#[test]
fn what_greets_and_then_misbehaves_leaves_doubt() {
    const INFO: &[u8] =
        b"INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"max_payload\":1048576,\"headers\":true}\r\n";
    let endings: [&'static [u8]; 4] = [
        b"",
        b"\xff\0garbage\r\n",
        b"MSG _INBOX.x 1 99999999999999999999\r\n",
        b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n",
    ];
    for ending in endings {
        let raw = Raw::start(move |_, mut stream, _| {
            use std::io::{BufRead, BufReader};
            let _ = stream.write_all(INFO);
            let mut lines = BufReader::new(stream.try_clone().expect("a copy")).lines();
            while let Some(Ok(line)) = lines.next() {
                if line == "PING" {
                    let _ = stream.write_all(b"PONG\r\n");
                }
                if line.starts_with("HPUB") {
                    let _ = stream.write_all(ending);
                    return;
                }
            }
        });
        let target = NatsTarget::new(NatsSettings::new(format!("nats://{}", raw.address))).expect("a target");
        let exchange = run(target.call(call("a")));
        assert!(is_in_doubt(&exchange), "{ending:?}: {exchange:?}");
    }
}
