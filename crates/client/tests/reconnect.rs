//! A producer against a server of its own kind that breaks connections, restarts and refuses.

use frame::{Builder, FrameError, FrameKind, Refuse, Registered, Splitter, View, Welcome};
use millstream_client::{
    ConnectError, DatagramProducer, Options, Producer, Sample, SendError, Sequence, TagId, TagRequest, ValueKind,
    WaitError, now,
};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the fake server has on its "disk".
#[derive(Default)]
struct Disk {
    stored: Vec<u64>,
    duplicates: u64,
    tags: HashMap<String, u32>,
    connections: u64,
    /// The next registration breaks the connection.
    breaks: bool,
}

struct Server {
    address: SocketAddr,
    disk: Arc<Mutex<Disk>>,
}

/// Serves; connection `n` breaks after `frames_of(n)` telemetry frames, each acknowledged at once.
fn serve(frames_of: impl Fn(u64) -> u64 + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let disk = Arc::new(Mutex::new(Disk::default()));
    let shared = Arc::clone(&disk);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = {
                let mut disk = shared.lock().expect("whole");
                disk.connections += 1;
                disk.connections
            };
            let _ = converse(stream.expect("accepted"), &shared, frames_of(connection));
        }
    });
    Server { address, disk }
}

struct Over;

impl From<FrameError> for Over {
    fn from(_: FrameError) -> Over {
        panic!("a producer sends whole frames");
    }
}

fn converse(mut stream: TcpStream, disk: &Mutex<Disk>, frames: u64) -> std::io::Result<()> {
    let (mut splitter, mut chunk, mut left) = (Splitter::new(), [0; 5_000], frames);
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        let mut answers = Builder::new();
        let more = splitter.push::<Over>(&chunk[..count], |frame| {
            let disk = &mut *disk.lock().expect("whole");
            let durable = Sequence(disk.stored.last().copied().unwrap_or(0));
            match frame.view() {
                View::Hello(hello) if &*hello.source == "rig" => {
                    let welcome = Welcome { path: "plant/rig".to_owned(), frame_bytes_max: 1 << 20, tags_max: 10 };
                    answers.welcome(frame.producer(), durable, &welcome).expect("short");
                }
                View::Hello(_) => {
                    let refuse = Refuse { reason: "this server has: rig".to_owned(), retry: false };
                    answers.refuse(frame.producer(), Sequence(0), &refuse).expect("short");
                }
                View::Register(_) if std::mem::take(&mut disk.breaks) => return Err(Over),
                View::Register(register) => {
                    let next = disk.tags.len() as u32;
                    let mut tags = Vec::new();
                    for (i, tag) in register.tags.iter().enumerate() {
                        tags.push(*disk.tags.entry(tag.name.to_string()).or_insert(next + i as u32));
                    }
                    let answer = Registered { request: register.request.to_native(), tags, texts: vec![] };
                    answers.registered(frame.producer(), Sequence(0), &answer).expect("short");
                }
                View::Refuse(_) => return Err(Over),
                _ => {
                    if left == 0 {
                        return Err(Over);
                    }
                    left -= 1;
                    let sequence = frame.sequence();
                    if sequence <= durable {
                        disk.duplicates += 1;
                    } else {
                        disk.stored.push(sequence.0);
                        answers.bare(FrameKind::Ack, frame.producer(), sequence).expect("short");
                    }
                }
            }
            Ok(())
        });
        stream.write_all(answers.bytes())?;
        if more.is_err() {
            return Ok(());
        }
    }
}

fn options() -> Options {
    Options { pause_first: Duration::from_millis(1), chunk_bytes: 300, ..Options::new(5, "rig") }
}

fn tags() -> Vec<TagRequest> {
    ["a", "b", "c"].map(|name| TagRequest::new(name, ValueKind::F64).unit("mm/s")).to_vec()
}

#[test]
fn what_breaks_is_resumed_and_everything_arrives_once_in_order() {
    let server = serve(|connection| connection * 13 % 40);
    let options = Options { in_flight_bytes_max: 2_000, ..options() };
    let mut producer = Producer::connect(&server.address.to_string(), options).expect("there");
    let tags = producer.register(&tags()).expect("registered");
    assert_eq!((tags.as_slice(), producer.path()), ([TagId(0), TagId(1), TagId(2)].as_slice(), "plant/rig"));
    for i in 0..500_u64 {
        let sequence = if i % 2 == 0 {
            producer.scan(tags[0], Some(now()), &[1.0, 2.0, i as f64]).expect("taken")
        } else {
            producer.samples(&[Sample::new(tags[1], None, i as f64)]).expect("taken")
        };
        assert_eq!(sequence, Sequence(i + 1));
        if i % 7 == 0 {
            producer.poll().expect("no end");
        }
    }
    producer.wait_acknowledged(producer.last(), Duration::from_secs(20)).expect("acknowledged");
    assert_eq!((producer.acknowledged(), producer.in_flight_bytes()), (Sequence(500), 0));
    let disk = server.disk.lock().expect("whole");
    assert_eq!(disk.stored, (1..=500).collect::<Vec<u64>>());
    assert!(producer.stats().reconnects > 5 && producer.stats().forgotten == 0);
    assert_eq!((producer.stats().frames, producer.stats().samples), (500, 1_000));
}

/// Tags are registered, the connection breaks while others are asked for, and on the new one the
/// first are asked for again and then the others: each answer is told from the other.
#[test]
fn a_registration_that_breaks_off_is_asked_again() {
    let server = serve(|_| u64::MAX);
    let mut producer = Producer::connect(&server.address.to_string(), options()).expect("there");
    producer.register(&tags()).expect("registered");
    server.disk.lock().expect("whole").breaks = true;
    let more = producer.register(&[TagRequest::new("d", ValueKind::F64)]).expect("registered after all");
    assert_eq!((more.as_slice(), producer.stats().reconnects), ([TagId(3)].as_slice(), 1));
}

#[test]
fn a_program_that_starts_again_goes_on_behind_its_last_frame() {
    let server = serve(|_| u64::MAX);
    let address = server.address.to_string();
    for round in 0..3 {
        let mut producer = Producer::connect(&address, options()).expect("there");
        assert_eq!(producer.acknowledged(), Sequence(round * 2));
        producer.scan(TagId(0), None, &[true]).expect("taken");
        let last = producer.scan(TagId(0), None, &[7_i64]).expect("taken");
        producer.wait_acknowledged(last, Duration::from_secs(5)).expect("acknowledged");
    }
    assert_eq!(server.disk.lock().expect("whole").stored, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_server_with_other_numbers_for_the_same_tags_is_not_sent_to() {
    let server = serve(|connection| if connection == 1 { 1 } else { u64::MAX });
    let mut producer = Producer::connect(&server.address.to_string(), options()).expect("there");
    let tags = producer.register(&tags()).expect("registered");
    producer.scan(tags[0], None, &[1.0]).expect("taken");
    producer.wait_acknowledged(Sequence(1), Duration::from_secs(5)).expect("acknowledged");
    server.disk.lock().expect("whole").tags = HashMap::from([("other".to_owned(), 0)]);
    producer.scan(tags[0], None, &[2.0]).expect("taken");
    let error = producer.wait_acknowledged(Sequence(2), Duration::from_secs(5)).expect_err("data was replaced");
    assert!(matches!(error, WaitError::Disconnected { .. }), "{error}");
    assert!(error.to_string().contains("another number"), "{error}");
    assert!(matches!(producer.flush(), Err(SendError::Disconnected { retry: false, .. })));
    assert_eq!(server.disk.lock().expect("whole").stored, [1]);
}

#[test]
fn errors_say_where_and_what_to_do() {
    let server = serve(|_| u64::MAX);
    let address = server.address.to_string();
    let error = Producer::connect(&address, Options::new(5, "rgi")).err().expect("refused");
    assert!(matches!(error, ConnectError::Refused { retry: false, .. }));
    assert!(error.to_string().contains("this server has: rig") && error.to_string().contains(&address), "{error}");

    let free = TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound").to_string();
    let error = Producer::connect(&free, options()).err().expect("nobody there");
    assert!(error.retry() && error.to_string().contains(&free), "{error}");
    assert!(matches!(Producer::connect("nonsense", options()), Err(ConnectError::Address { .. })));

    let mut producer = Producer::connect(&address, options()).expect("there");
    assert!(matches!(producer.samples(&[]), Err(SendError::Empty)));
    let error = producer.scan(TagId(0), None, &vec![0.0; 200_000]).expect_err("over a MiB");
    assert!(error.to_string().contains("fewer samples"), "{error}");
    let patience = Duration::from_millis(20);
    assert!(matches!(producer.wait_acknowledged(Sequence(9), patience), Err(WaitError::TimedOut { .. })));
}

#[test]
fn no_room_and_no_answer_ends_after_the_patience() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let address = listener.local_addr().expect("bound").to_string();
    let silent = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("one comes");
        let welcome = Welcome { path: "x".to_owned(), frame_bytes_max: 1 << 20, tags_max: 1 };
        let mut answer = Builder::new();
        answer.welcome(model::ProducerId(5), Sequence(0), &welcome).expect("short");
        stream.write_all(answer.bytes()).expect("written");
        stream
    });
    let options = Options { in_flight_bytes_max: 500, patience: Duration::from_millis(50), ..options() };
    let mut producer = Producer::connect(&address, options).expect("welcomed");
    let error = (0..100).find_map(|_| producer.scan(TagId(0), None, &[1.0]).err()).expect("it fills up");
    assert!(matches!(error, SendError::Full { .. }), "{error}");
    drop(silent.join().expect("fine"));
}

#[test]
fn datagrams_hold_whole_frames_and_say_who_sends() {
    let server = serve(|_| u64::MAX);
    let socket = UdpSocket::bind(server.address).expect("the same port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let mut producer = DatagramProducer::connect(&server.address.to_string(), options()).expect("there");
    let tags = producer.register(&tags()).expect("registered");
    for i in 0..200 {
        producer.scan(tags[0], Some(now()), &[f64::from(i), 2.0]).expect("taken");
    }
    producer.flush().expect("sent");
    let (mut sequences, mut hellos, mut chunk) = (Vec::new(), 0, [0; 2_000]);
    while sequences.len() < 200 {
        let count = socket.recv(&mut chunk).expect("a datagram");
        assert!(count <= 1_400);
        let mut splitter = Splitter::new();
        let read = splitter.push::<FrameError>(&chunk[..count], |frame| {
            match frame.kind() {
                FrameKind::Hello => hellos += 1,
                _ => sequences.push(frame.sequence().0),
            }
            Ok(())
        });
        assert_eq!((read, splitter.pending_bytes()), (Ok(()), 0));
    }
    assert_eq!(sequences, (1..=200).collect::<Vec<u64>>());
    assert!(hellos >= 1);
}
