//! The MQTT target against mosquitto, and against brokers that misbehave.

mod support;

use connect::{CallError, Conflict, MqttSettings, MqttTarget, Refusal, SecretText, Target, classify};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use support::raw::{Raw, until_closed};
use support::{
    Peer, acked, call, free_port, hasty, is_unsent, peer_or_say_so, pem_path, run, tls, until_acked, with_body,
};

const PASSWORD: &str = "hunter2";

/// mosquitto with one user, who may write below `plant/` only.
struct Mosquitto {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

impl Mosquitto {
    fn new(program: PathBuf, secure: bool) -> Mosquitto {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let users = Command::new("mosquitto_passwd").args(["-b", "-c", &file("users"), "mill", PASSWORD]).status();
        assert!(users.expect("mosquitto_passwd runs").success());
        fs::write(folder.path().join("rights"), "user mill\ntopic readwrite plant/#\n").expect("written");
        let mut text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nacl_file {}\nmax_packet_size 20000\n",
            file("users"),
            file("rights")
        );
        // started by root, it would become a user who may not read the folder
        text += "user root\n";
        if secure {
            let path = |name| pem_path(name).display().to_string();
            text += &format!("cafile {}\ncertfile {}\n", path("ca.pem"), path("server.pem"));
            text += &format!("keyfile {}\nrequire_certificate true\n", path("server.key"));
        }
        fs::write(folder.path().join("mosquitto.conf"), text).expect("written");
        Mosquitto { program, folder, port }
    }

    fn start(&self) -> Peer {
        let file = self.folder.path().join("mosquitto.conf");
        Peer::start(Command::new(&self.program).arg("-c").arg(file), self.port)
    }

    fn target(&self, scheme: &str) -> MqttTarget {
        let mut settings = MqttSettings::new(format!("{scheme}://localhost:{}", self.port), "millstream-test");
        settings.user = Some("mill".to_owned());
        settings.password = Some(SecretText::new(PASSWORD));
        settings.tls = tls(true);
        MqttTarget::new(settings).expect("a target")
    }

    /// Listens to a topic; the first line says that it does.
    fn listen(&self, topic: &str) -> Listener {
        // line by line: into a pipe it would keep its first lines to itself
        let mut process = Command::new("stdbuf")
            .args([
                "-oL",
                "mosquitto_sub",
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-u",
                "mill",
                "-P",
                PASSWORD,
                "-V",
                "5",
            ])
            .args(["-q", "1", "-d", "-t", topic, "-F", "got %q %C %P %p"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub starts");
        let lines = BufReader::new(process.stdout.take().expect("its output"));
        let mut listener = Listener { process, lines };
        listener.line("Subscribed");
        listener
    }
}

struct Listener {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Listener {
    /// The next line that holds this.
    fn line(&mut self, needle: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).expect("text") > 0, "it ended before {needle}");
            if line.contains(needle) {
                return line.trim().to_owned();
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_message_arrives_with_its_id_and_type() {
    let Some(program) = peer_or_say_so("mosquitto") else { return };
    let broker = Mosquitto::new(program, false);
    let _running = broker.start();
    let mut listener = broker.listen("plant/events");
    let target = broker.target("mqtt");
    let mut event = call("plant/events");
    event.headers = vec![("source".to_owned(), "press1".to_owned())];
    let exchange = run(target.call(event));
    assert_eq!(acked(&exchange), "PUBACK");
    assert_eq!(exchange.sent, format!("PUBLISH plant/events at mqtt://localhost:{}", broker.port));
    assert!(!format!("{exchange:?} {target:?}").contains(PASSWORD));
    let got = listener.line("got");
    assert!(got.starts_with("got 1 application/json "), "{got}");
    for part in ["id:message-1", "idempotency-key:key-1", "source:press1", "{\"quantity\":5}"] {
        assert!(got.contains(part), "{part} is not in {got}");
    }
}

#[test]
fn many_at_once_share_one_connection() {
    let Some(program) = peer_or_say_so("mosquitto") else { return };
    let broker = Mosquitto::new(program, false);
    let _running = broker.start();
    let mut listener = broker.listen("plant/many");
    let target = broker.target("mqtt");
    run(async {
        let calls = (0..300).map(|number| target.call(with_body("plant/many", format!("n{number}."))));
        for exchange in futures_util::future::join_all(calls).await {
            acked(&exchange);
        }
    });
    let mut got: Vec<String> =
        (0..300).map(|_| listener.line("got").rsplit(' ').next().expect("a body").to_owned()).collect();
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 300);
}

#[test]
fn what_the_broker_does_not_take_is_refused() {
    let Some(program) = peer_or_say_so("mosquitto") else { return };
    let broker = Mosquitto::new(program, false);
    let _running = broker.start();
    let target = broker.target("mqtt");
    run(async {
        let exchange = target.call(call("elsewhere/events")).await;
        assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Target, .. })), "{exchange:?}");
        let exchange = target.call(with_body("plant/big", vec![b'x'; 30_000])).await;
        assert!(matches!(exchange.result, Err(CallError::TooLarge { max: 20_000, .. })), "{exchange:?}");
        for topic in ["plant/#", "plant/+/x", "", "a\0b"] {
            let exchange = target.call(call(topic)).await;
            assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })), "{exchange:?}");
        }
        acked(&target.call(call("plant/events")).await);
    });
    let mut settings = MqttSettings::new(format!("mqtt://127.0.0.1:{}", broker.port), "other");
    settings.user = Some("mill".to_owned());
    settings.password = Some(SecretText::new("wrong"));
    let exchange = run(MqttTarget::new(settings).expect("a target").call(call("plant/events")));
    assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Target, .. })), "{exchange:?}");
}

/// 1. A message is acknowledged.
/// 2. The broker freezes, so the next one is sent and not answered.
/// 3. It is killed: in doubt.
/// 4. While it is away nothing is sent.
/// 5. It is back: it goes on.
#[test]
fn a_broker_that_dies_leaves_doubt_and_comes_back() {
    let Some(program) = peer_or_say_so("mosquitto") else { return };
    let broker = Mosquitto::new(program, false);
    let running = broker.start();
    let target = broker.target("mqtt");
    run(async {
        acked(&target.call(call("plant/1")).await);
        running.freeze();
        assert_eq!(target.call(hasty("plant/2")).await.result, Err(CallError::Timeout { sent: true }));
        let second = target.call(call("plant/2"));
        let kill = async {
            tokio::time::sleep(support::SHORT).await;
            running.kill();
        };
        let (exchange, ()) = tokio::join!(second, kill);
        assert!(matches!(exchange.result, Err(CallError::Lost { .. })), "{exchange:?}");
        assert_eq!(classify(&exchange, Conflict::Rejected), delivery::Outcome::InDoubt);
        let exchange = target.call(call("plant/2")).await;
        assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
        let _running = broker.start();
        assert_eq!(until_acked(&target, || call("plant/2")).await, "PUBACK, nobody subscribes to it");
    });
}

#[test]
fn certificates_are_checked_on_both_sides() {
    let Some(program) = peer_or_say_so("mosquitto") else { return };
    let broker = Mosquitto::new(program, true);
    let _running = broker.start();
    let exchange = run(broker.target("mqtts").call(call("plant/events")));
    assert!(acked(&exchange).starts_with("PUBACK"));
    for tls in [tls(false), connect::Tls { ca_pem: Some(support::pem("other.pem")), identity: None }] {
        let mut settings = MqttSettings::new(format!("mqtts://localhost:{}", broker.port), "other");
        settings.tls = tls;
        let exchange = run(MqttTarget::new(settings).expect("a target").call(call("plant/events")));
        assert!(is_unsent(&exchange), "{exchange:?}");
    }
    let mut settings = MqttSettings::new("mqtts://localhost", "x");
    settings.tls = connect::Tls { ca_pem: None, ..tls(true) };
    assert!(matches!(MqttTarget::new(settings).map(drop), Err(CallError::Setup { .. })));
}

/// Reads one packet: its first byte, and what follows its length.
fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    let (kind, mut length, mut shift) = (byte[0], 0, 0);
    loop {
        stream.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
        if byte[0] < 128 {
            break;
        }
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).ok()?;
    Some((kind, rest))
}

/// A broker that greets, and does this with each message: its packet identifier is given.
fn fake(on_publish: impl Fn(&mut TcpStream, [u8; 2]) -> bool + Send + Sync + 'static) -> (Raw, MqttTarget) {
    let raw = Raw::start(move |_, mut stream, _| {
        packet(&mut stream);
        let _ = stream.write_all(&[0x20, 3, 0, 0, 0]);
        while let Some((kind, rest)) = packet(&mut stream) {
            let topic = 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            if kind >> 4 == 3 && !on_publish(&mut stream, [rest[topic], rest[topic + 1]]) {
                return;
            }
        }
    });
    let mut settings = MqttSettings::new(format!("mqtt://{}", raw.address), "x");
    settings.in_flight = 2;
    (raw.clone(), MqttTarget::new(settings).expect("a target"))
}

#[test]
fn only_the_acknowledgement_of_its_own_packet_counts() {
    let (_raw, target) = fake(|stream, id| stream.write_all(&[0x40, 4, id[0], id[1], 0x99, 0]).is_ok());
    let exchange = run(target.call(call("a")));
    assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })), "{exchange:?}");
    // the next number's: nobody waits for it, which ends the connection
    let (_raw, target) = fake(|stream, id| stream.write_all(&[0x40, 2, id[0], id[1].wrapping_add(1)]).is_ok());
    let exchange = run(target.call(call("a")));
    assert!(matches!(exchange.result, Err(CallError::Lost { .. })), "{exchange:?}");
    let (_raw, target) = fake(|_, _| false);
    let exchange = run(target.call(call("a")));
    assert!(matches!(exchange.result, Err(CallError::Lost { .. })), "{exchange:?}");
    let (_raw, target) = fake(|stream, _| stream.write_all(&[0xff; 64]).is_ok());
    let exchange = run(target.call(call("a")));
    assert!(matches!(exchange.result, Err(CallError::Lost { .. })), "{exchange:?}");
}

#[test]
fn a_broker_that_never_acknowledges_loses_its_connection() {
    let (raw, target) = fake(|_, _| true);
    run(async {
        for _ in 0..6 {
            let exchange = target.call(hasty("a")).await;
            assert!(support::is_in_doubt(&exchange), "{exchange:?}");
        }
    });
    assert_eq!(raw.connected(), 3, "each connection holds two");
}

#[test]
fn what_does_not_greet_gets_nothing() {
    let greetings: [&'static [u8]; 6] = [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\xff\xff\xff\x7f",
        b"\x20\x03\0\x97\0",
        b"\x40\x02\0\x01",
        b"\x20\x00",
    ];
    for greeting in greetings {
        let raw = Raw::start(move |_, mut stream, _| {
            packet(&mut stream);
            let _ = stream.write_all(greeting);
        });
        let target = MqttTarget::new(MqttSettings::new(format!("mqtt://{}", raw.address), "x")).expect("a target");
        let exchange = run(target.call(call("a")));
        assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{greeting:?}: {exchange:?}");
    }
    let silent = Raw::start(|_, mut stream, _| until_closed(&mut stream));
    let target = MqttTarget::new(MqttSettings::new(format!("mqtt://{}", silent.address), "x")).expect("a target");
    assert_eq!(run(target.call(hasty("a"))).result, Err(CallError::Timeout { sent: false }));
    let nobody = MqttSettings::new(format!("mqtt://127.0.0.1:{}", free_port()), "x");
    let exchange = run(MqttTarget::new(nobody).expect("a target").call(call("a")));
    assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
}
