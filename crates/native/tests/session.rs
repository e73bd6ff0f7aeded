//! One session against a fake sink: handshake, acknowledgement after durable, resume, order, holding.

mod support;

use millstream_native::{Counters, Limits, ProtocolError, Session, Verdict};
use proptest::prelude::*;
use support::*;

struct Talk {
    session: Session,
    sink: FakeSink,
    counters: Counters,
}

impl Talk {
    fn new() -> Talk {
        Talk { session: Session::new(Limits::default()), sink: FakeSink::default(), counters: Counters::default() }
    }

    fn opened(acks: bool) -> Talk {
        let mut talk = Talk::new();
        talk.say(&hello(PRODUCER, "rig", acks));
        assert_eq!(talk.heard(), [Said::Welcome(0)]);
        talk
    }

    /// The same producer on a new connection.
    fn again(self) -> Talk {
        Talk { session: Session::new(Limits::default()), ..self }
    }

    fn say(&mut self, bytes: &[u8]) -> Verdict {
        self.session.on_bytes(bytes, &mut self.sink, NOW, &mut self.counters)
    }

    fn sync(&mut self) {
        self.sink.sync();
        self.session.on_durable(model::LogPosition(self.sink.durable), &mut self.counters);
    }

    fn heard(&mut self) -> Vec<Said> {
        let all = said(self.session.outgoing());
        self.session.sent();
        all
    }

    fn refused(&mut self) -> String {
        match self.heard().pop() {
            Some(Said::Refuse(reason, _)) => reason,
            other => panic!("a refusal was expected, not {other:?}"),
        }
    }
}

#[test]
fn acknowledges_only_after_durable_and_once_per_commit() {
    let mut talk = Talk::opened(true);
    assert_eq!(talk.say(&register(PRODUCER, &["a", "b"])), Verdict::Open);
    assert_eq!(talk.heard(), [Said::Registered(vec![0, 1])]);
    for sequence in 1..=3 {
        talk.say(&scan(PRODUCER, sequence, 2));
    }
    assert!(talk.heard().is_empty() && talk.session.is_waiting());
    talk.sync();
    assert_eq!(talk.heard(), [Said::Ack(3)]);
    assert!(!talk.session.is_waiting());
    talk.sync();
    assert!(talk.heard().is_empty());
    assert_eq!((talk.counters.frames, talk.counters.samples, talk.counters.acks), (3, 6, 1));
}

/// Numbers are told when they are durable, in order, and telemetry goes on meanwhile: a registration
/// that waited for its sync once held up every connection of its shard.
#[test]
fn registrations_wait_for_the_disk_without_holding_anything_up() {
    let mut talk = Talk::opened(true);
    talk.sink.registers_at = 500;
    assert_eq!(talk.say(&register(PRODUCER, &["a", "b"])), Verdict::Open);
    talk.sink.registers_at = 600;
    assert_eq!(talk.say(&register(PRODUCER, &["c"])), Verdict::Open);
    assert_eq!(talk.say(&scan(PRODUCER, 1, 2)), Verdict::Open);
    assert!(talk.heard().is_empty() && talk.session.is_waiting());
    talk.session.on_durable(model::LogPosition(599), &mut talk.counters);
    assert_eq!(talk.heard(), [Said::Registered(vec![0, 1]), Said::Ack(1)]);
    talk.session.on_durable(model::LogPosition(600), &mut talk.counters);
    assert_eq!(talk.heard(), [Said::Registered(vec![2])]);
    let max = Limits::default().registers_waiting_max;
    talk.sink.registers_at = 700;
    (0..max).for_each(|_| assert_eq!(talk.say(&register(PRODUCER, &["c"])), Verdict::Open));
    assert_eq!(talk.say(&register(PRODUCER, &["c"])), Verdict::Held, "what waits is bounded");
}

#[test]
fn a_partial_commit_acknowledges_its_part() {
    let mut talk = Talk::opened(true);
    for sequence in 1..=4 {
        talk.say(&scan(PRODUCER, sequence, 1));
    }
    talk.session.on_durable(model::LogPosition(299), &mut talk.counters);
    assert_eq!(talk.heard(), [Said::Ack(2)]);
}

#[test]
fn without_acks_none_is_ever_sent() {
    let mut talk = Talk::opened(false);
    talk.say(&scan(PRODUCER, 1, 1));
    assert!(!talk.session.is_waiting());
    talk.sync();
    assert!(talk.heard().is_empty());
    assert_eq!(talk.sink.sequences(), [1]);
}

/// The failure: a program dies 1 ms after it sent frame 5, before the sync (1). It starts again
/// without memory and says Hello (2). A Welcome of "4 is durable" lets it number new data 5 (3),
/// which the server then takes for the old 5 and drops (4).
#[test]
fn the_welcome_waits_until_what_came_before_is_durable() {
    let mut talk = Talk::opened(true);
    for sequence in 1..=5 {
        talk.say(&scan(PRODUCER, sequence, 1));
    }
    let mut talk = talk.again();
    assert_eq!(talk.say(&hello(PRODUCER, "rig", true)), Verdict::Open);
    assert!(talk.heard().is_empty());
    talk.sync();
    assert_eq!(talk.heard(), [Said::Welcome(5)]);
    talk.say(&scan(PRODUCER, 6, 1));
    talk.sync();
    assert_eq!(talk.heard(), [Said::Ack(6)]);
}

#[test]
fn what_is_sent_twice_counts_once_and_is_acknowledged_again() {
    let mut talk = Talk::opened(true);
    for sequence in 1..=5 {
        talk.say(&scan(PRODUCER, sequence, 1));
    }
    talk.sync();
    let mut talk = talk.again();
    talk.say(&hello(PRODUCER, "rig", true));
    assert_eq!(talk.heard(), [Said::Welcome(5)]);
    for sequence in 3..=7 {
        talk.say(&scan(PRODUCER, sequence, 1));
    }
    talk.sync();
    assert_eq!(talk.heard(), [Said::Ack(7)]);
    assert_eq!(talk.sink.sequences(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(talk.counters.duplicates, 3);
}

#[test]
fn a_sequence_that_does_not_grow_ends_the_connection() {
    for (first, second) in [(2, 1), (2, 2), (1, 0)] {
        let mut talk = Talk::opened(true);
        talk.say(&scan(PRODUCER, first, 1));
        assert_eq!(talk.say(&scan(PRODUCER, second, 1)), Verdict::Close);
        assert!(talk.refused().contains("number frames upwards"));
        assert_eq!(talk.counters.protocol_errors_of(ProtocolError::Order), 1);
        assert_eq!(talk.say(&scan(PRODUCER, 9, 1)), Verdict::Close);
        assert_eq!(talk.sink.sequences(), [first]);
    }
}

#[test]
fn what_breaks_the_protocol_is_refused_by_name() {
    let other = model::ProducerId(78);
    let many: Vec<String> = (0..101).map(|i| format!("t{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let cases: [(&str, Vec<u8>, ProtocolError); 7] = [
        ("two Hellos", hello(PRODUCER, "rig", true), ProtocolError::Hello),
        ("another producer", scan(other, 1, 1), ProtocolError::Producer),
        ("an Ack from a producer", bare(frame::FrameKind::Ack, PRODUCER), ProtocolError::Kind),
        ("a Mark from a producer", bare(frame::FrameKind::Mark, PRODUCER), ProtocolError::Kind),
        ("too many tags", register(PRODUCER, &many), ProtocolError::Register),
        ("a bad name", register(PRODUCER, &[""]), ProtocolError::Register),
        ("no frame", vec![7; 64], ProtocolError::Frame),
    ];
    for (what, bytes, error) in cases {
        let mut talk = Talk::opened(true);
        assert_eq!(talk.say(&bytes), Verdict::Close, "{what}");
        assert!(!talk.refused().is_empty(), "{what}");
        assert_eq!(talk.counters.protocol_errors_of(error), 1, "{what}");
    }
}

#[test]
fn before_the_handshake_nothing_but_hello_is_taken() {
    for bytes in [scan(PRODUCER, 1, 1), register(PRODUCER, &["a"]), bare(frame::FrameKind::Ack, PRODUCER)] {
        let mut talk = Talk::new();
        assert_eq!(talk.say(&bytes), Verdict::Close);
        assert!(talk.refused().contains("Hello"));
        assert!(talk.sink.stored.is_empty());
    }
    let mut talk = Talk::new();
    assert_eq!(talk.say(&hello(model::ProducerId(0), "rig", true)), Verdict::Close);
    let mut talk = Talk::new();
    assert_eq!(talk.say(&hello(PRODUCER, "rgi", true)), Verdict::Close);
    assert!(talk.refused().contains("this server has: rig"));
    assert_eq!(talk.counters.refused, 1);
}

#[test]
fn registrations_are_bounded_over_the_whole_connection() {
    let mut talk = Talk::opened(true);
    for i in 0..100 {
        assert_eq!(talk.say(&register(PRODUCER, &[&format!("t{}", i % 7)])), Verdict::Open);
    }
    assert_eq!(talk.say(&register(PRODUCER, &["one-more"])), Verdict::Close);
}

#[test]
fn an_unknown_tag_ends_the_connection() {
    let mut talk = Talk::opened(true);
    let scan = frame::Scan { tag_first: 1_000, values: vec![1], ..frame::Scan::default() };
    let bytes = frame::Builder::new().scan(PRODUCER, model::Sequence(1), &scan).expect("fits").bytes().to_vec();
    assert_eq!(talk.say(&bytes), Verdict::Close);
    assert!(talk.refused().contains("tag number 1000"));
}

#[test]
fn what_a_busy_pass_does_not_take_is_held_and_goes_on_in_order() {
    let mut talk = Talk::opened(true);
    talk.sink.room = Some(2);
    let stream: Vec<u8> = (1..=5).flat_map(|s| scan(PRODUCER, s, 3)).collect();
    assert_eq!(talk.say(&stream), Verdict::Held);
    assert_eq!(talk.say(&scan(PRODUCER, 6, 3)), Verdict::Held);
    assert_eq!(talk.session.resume(&mut talk.sink, NOW, &mut talk.counters), Verdict::Held);
    assert_eq!(talk.sink.sequences(), [1, 2]);
    talk.sink.room = None;
    assert_eq!(talk.session.resume(&mut talk.sink, NOW, &mut talk.counters), Verdict::Open);
    assert_eq!(talk.sink.sequences(), [1, 2, 3, 4, 5, 6]);
    assert_eq!((talk.session.pending_bytes(), talk.counters.shed_frames), (0, 0));
}

#[test]
fn what_is_held_is_bounded() {
    let mut talk = Talk::opened(true);
    talk.sink.busy = true;
    let frame = scan(PRODUCER, 1, 60_000);
    while talk.say(&frame) == Verdict::Held {
        assert!(talk.session.pending_bytes() <= Limits::default().held_bytes_max);
    }
    assert!(matches!(talk.heard().pop(), Some(Said::Refuse(_, true))));
}

#[test]
fn fire_and_forget_frames_are_shed_and_counted() {
    let mut talk = Talk::opened(false);
    talk.sink.busy = true;
    assert_eq!(talk.say(&scan(PRODUCER, 1, 3)), Verdict::Open);
    talk.sink.busy = false;
    talk.say(&scan(PRODUCER, 2, 3));
    assert_eq!((talk.counters.shed_frames, talk.counters.shed_samples), (1, 3));
    assert_eq!((talk.sink.shed.as_slice(), talk.sink.sequences().as_slice()), ([1].as_slice(), [2].as_slice()));
}

#[test]
fn a_connection_of_another_shard_is_given_away_with_every_byte() {
    let mut talk = Talk::new();
    talk.sink.shard = Some(model::ShardId(1));
    let mut stream = hello(PRODUCER, "rig", false);
    stream.extend(scan(PRODUCER, 1, 4));
    let (head, tail) = stream.split_at(60);
    assert_eq!(talk.say(head), Verdict::Open);
    assert_eq!(talk.say(&tail[..100]), Verdict::HandOver(model::ShardId(1)));
    assert_eq!(talk.say(&tail[100..]), Verdict::HandOver(model::ShardId(1)));
    let unread = talk.session.into_unread();
    assert_eq!(unread, stream);

    talk.session = Session::adopted(Limits::default(), unread);
    talk.sink.shard = None;
    assert_eq!(talk.session.resume(&mut talk.sink, NOW, &mut talk.counters), Verdict::Open);
    assert_eq!(talk.heard(), [Said::Welcome(0)]);
    assert_eq!(talk.sink.sequences(), [1]);
}

/// A stream with a bit of everything, and an end that is one of several.
fn stream(end: u8) -> Vec<u8> {
    let mut bytes = hello(PRODUCER, "rig", true);
    bytes.extend(register(PRODUCER, &["a", "b", "c"]));
    bytes.extend((1..=20).flat_map(|s| scan(PRODUCER, s, (s % 5 + 1) as usize)));
    match end {
        0 => {}
        1 => bytes.extend([0xAA; 70]),
        2 => bytes.extend(scan(PRODUCER, 3, 1)),
        _ => bytes.extend(bare(frame::FrameKind::Mark, PRODUCER)),
    }
    bytes
}

/// Says a stream in pieces of the given lengths, the last one repeated.
fn say_in_pieces(bytes: &[u8], cuts: &[usize], room: Option<usize>) -> (Vec<Said>, Vec<u64>, Counters) {
    let mut talk = Talk::new();
    talk.sink.room = room;
    let (mut rest, mut i) = (bytes, 0);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(cuts[i.min(cuts.len() - 1)].clamp(1, rest.len()));
        talk.say(piece);
        (rest, i) = (tail, i + 1);
    }
    talk.sink.room = None;
    talk.session.resume(&mut talk.sink, NOW, &mut talk.counters);
    talk.sync();
    (talk.heard(), talk.sink.sequences(), talk.counters)
}

proptest! {
    #[test]
    fn every_split_gives_the_same(
        cuts in proptest::collection::vec(1_usize..400, 1..40),
        end in 0_u8..4,
        room in proptest::option::of(0_usize..20),
    ) {
        let bytes = stream(end);
        let whole = say_in_pieces(&bytes, &[bytes.len()], None);
        prop_assert_eq!(&say_in_pieces(&bytes, &cuts, None), &whole);
        prop_assert_eq!(&say_in_pieces(&bytes, &cuts, room), &whole);
    }

    #[test]
    fn hostile_bytes_never_panic_and_never_store(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let mut talk = Talk::new();
        talk.say(&bytes);
        prop_assert!(talk.sink.stored.is_empty());
    }

    #[test]
    fn a_damaged_stream_stores_only_whole_frames_in_order(
        end in 0_u8..4,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in 1_usize..300,
    ) {
        let mut bytes = stream(end);
        for (at, xor) in damage {
            let at = at.index(bytes.len());
            bytes[at] ^= xor;
        }
        let (_, stored, _) = say_in_pieces(&bytes, &[cut], None);
        let expected: Vec<u64> = (1..=stored.len() as u64).collect();
        prop_assert_eq!(stored, expected);
    }

    #[test]
    fn an_acknowledged_frame_is_a_durable_one(
        steps in proptest::collection::vec((1_u64..4, any::<bool>(), 0_u64..500), 1..100),
    ) {
        let mut talk = Talk::opened(true);
        let (mut sequence, mut acked) = (0, 0);
        for (grow, reconnect, synced) in steps {
            sequence += grow;
            talk.say(&scan(PRODUCER, sequence, 1));
            talk.sink.durable = (talk.sink.durable + synced).min(talk.sink.end);
            talk.session.on_durable(model::LogPosition(talk.sink.durable), &mut talk.counters);
            if reconnect {
                talk = talk.again();
                talk.say(&hello(PRODUCER, "rig", true));
                talk.sync();
            }
            for said in talk.heard() {
                let (Said::Ack(s) | Said::Welcome(s)) = said else { panic!("{said:?}") };
                let durable = talk.sink.durable;
                prop_assert!(talk.sink.position_of.range(..=(PRODUCER.0, s)).all(|(_, p)| *p <= durable));
                prop_assert!(s >= acked);
                acked = s;
            }
        }
    }
}
