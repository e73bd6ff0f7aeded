use super::*;
use crate::codec::Function;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn settings(depth: u8) -> SessionSettings {
    SessionSettings { timeout_ns: 100 * MS, depth: Depth::told(depth), connect_delay_ns: 0, request_delay_ns: 0 }
}

fn ask(unit: u8, quantity: u16) -> ReadRequest {
    ReadRequest { unit, function: Function::ReadHoldingRegisters, address: 0, quantity }
}

/// What became of a ticket: its data, an exception, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Data(Vec<u8>),
    Written,
    Misconfirmed,
    Exception(u8),
    TimedOut(bool),
    Closed,
}

struct Bench {
    session: Session,
    ends: Vec<(u64, End)>,
}

impl Bench {
    fn open(settings: SessionSettings) -> Bench {
        let mut session = Session::new(settings, 1);
        assert!(session.begin_connect(0));
        session.on_connected(0);
        session.expect(units(&[1]));
        Bench { session, ends: Vec::new() }
    }

    fn send(&mut self, now_ns: u64, ticket: u64, request: ReadRequest) -> u16 {
        let before = self.session.outbox().len();
        assert!(self.session.send(now_ns, ticket, request, false));
        let frame = &self.session.outbox()[before..];
        let transaction = u16::from_be_bytes([frame[0], frame[1]]);
        self.session.sent(usize::MAX);
        transaction
    }

    fn write(&mut self, now_ns: u64, ticket: u64, request: &WriteRequest) -> u16 {
        let before = self.session.outbox().len();
        assert!(self.session.send_write(now_ns, ticket, request, false));
        let frame = &self.session.outbox()[before..];
        let transaction = u16::from_be_bytes([frame[0], frame[1]]);
        self.session.sent(usize::MAX);
        transaction
    }

    fn bytes(&mut self, now_ns: u64, bytes: &[u8]) -> &mut Bench {
        let ends = &mut self.ends;
        self.session.on_bytes(now_ns, bytes, &mut |ticket, _, outcome| ends.push((ticket, end(outcome))));
        self
    }

    fn time(&mut self, now_ns: u64) -> &mut Bench {
        let ends = &mut self.ends;
        self.session.on_time(now_ns, &mut |ticket, _, outcome| ends.push((ticket, end(outcome))));
        self
    }

    fn counted(&mut self, counter: Counter) -> u64 {
        self.session.counters().get(counter)
    }
}

fn end(outcome: Outcome<'_>) -> End {
    match outcome {
        Outcome::Data(data) => End::Data(data.to_vec()),
        Outcome::Written => End::Written,
        Outcome::Misconfirmed => End::Misconfirmed,
        Outcome::Exception(code) => End::Exception(code),
        Outcome::TimedOut { burst } => End::TimedOut(burst),
        Outcome::Closed => End::Closed,
    }
}

fn units(ids: &[u8]) -> UnitSet {
    let mut set = UnitSet::default();
    ids.iter().for_each(|id| set.insert(*id));
    set
}

fn answer(transaction: u16, unit: u8, registers: &[u16]) -> Vec<u8> {
    let data: Vec<u8> = registers.iter().flat_map(|r| r.to_be_bytes()).collect();
    let mut pdu = vec![3, data.len() as u8];
    pdu.extend(data);
    frame(transaction, unit, &pdu)
}

fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let [t1, t0] = transaction.to_be_bytes();
    let mut bytes = vec![t1, t0, 0, 0, 0, pdu.len() as u8 + 1, unit];
    bytes.extend(pdu);
    bytes
}

#[test]
fn answers_out_of_order_find_their_requests() {
    let mut bench = Bench::open(settings(4));
    let ids: Vec<u16> = (0..4).map(|i| bench.send(0, i, ask(1, 1))).collect();
    assert!(!bench.session.can_send(0));
    let mut stream = Vec::new();
    for i in [3, 0, 2, 1] {
        stream.extend(answer(ids[i], 1, &[i as u16]));
    }
    bench.bytes(MS, &stream);
    let data = |i: u8| End::Data(vec![0, i]);
    assert_eq!(bench.ends, [(3, data(3)), (0, data(0)), (2, data(2)), (1, data(1))]);
    assert_eq!((bench.counted(Counter::Answers), bench.session.in_flight()), (4, 0));
}

#[test]
fn a_late_answer_is_counted_and_never_data() {
    let mut bench = Bench::open(settings(1));
    let old = bench.send(0, 1, ask(1, 1));
    bench.time(100 * MS);
    assert_eq!(bench.ends, [(1, End::TimedOut(false))]);
    let new = bench.send(100 * MS, 2, ask(1, 1));
    assert_ne!(old, new);
    bench.bytes(150 * MS, &answer(old, 1, &[7]));
    assert_eq!(bench.ends.len(), 1);
    bench.bytes(160 * MS, &answer(new, 1, &[8]));
    assert_eq!(bench.ends[1], (2, End::Data(vec![0, 8])));
    assert_eq!((bench.counted(Counter::LateReplies), bench.counted(Counter::UnknownReplies)), (1, 0));
    assert!(bench.session.is_connected());
}

#[test]
fn unknown_and_doubled_answers_are_counted_and_never_data() {
    let mut bench = Bench::open(settings(1));
    let id = bench.send(0, 1, ask(1, 1));
    bench.bytes(MS, &answer(id.wrapping_add(99), 1, &[5]));
    assert!(bench.ends.is_empty());
    let twice = [answer(id, 1, &[6]), answer(id, 1, &[6])].concat();
    bench.bytes(MS, &twice);
    assert_eq!(bench.ends, [(1, End::Data(vec![0, 6]))]);
    assert_eq!(bench.counted(Counter::UnknownReplies), 2);
    assert!(bench.session.is_connected());
}

#[test]
fn a_mismatched_answer_closes_the_connection_and_is_never_data() {
    for wrong in [
        |id| answer(id, 2, &[1]),
        |id| answer(id, 1, &[1, 2]),
        |id| frame(id, 1, &[4, 2, 0, 1]),
        |id| frame(id, 1, &[0x84, 2]),
        |id| frame(id, 1, &[3]),
    ] {
        let mut bench = Bench::open(settings(4));
        let id = bench.send(0, 1, ask(1, 1));
        bench.send(0, 2, ask(1, 1));
        bench.bytes(MS, &wrong(id));
        assert_eq!(bench.ends, [(1, End::Closed), (2, End::Closed)]);
        assert!(!bench.session.is_connected() && bench.session.outbox().is_empty());
        assert_eq!((bench.counted(Counter::BadFrames), bench.session.depth()), (1, 1));
    }
}

#[test]
fn garbage_closes_the_connection_and_it_is_made_again_after_a_back_off() {
    let mut bench = Bench::open(settings(1));
    bench.send(0, 1, ask(1, 1));
    bench.bytes(MS, b"HTTP/1.1 400 Bad Request\r\n");
    assert_eq!(bench.ends, [(1, End::Closed)]);
    assert!(matches!(bench.session.loss(), Some(Loss::Frame(_))));
    assert!(!bench.session.begin_connect(2 * MS));
    let at = bench.session.next_ns(2 * MS).expect("the next try");
    assert!(at > 100 * MS && at <= 251 * MS, "{at}");
    assert!(bench.session.begin_connect(at));
    bench.session.on_connected(at);
    assert_eq!(bench.counted(Counter::Reconnects), 1);
}

#[test]
fn one_silent_unit_keeps_the_connection_and_all_silent_close_it() {
    let mut bench = Bench::open(settings(1));
    bench.session.expect(units(&[1, 2, 3]));
    let mut now = 0;
    for round in 0..20 {
        bench.send(now, 1, ask(1, 1));
        now += 100 * MS;
        bench.time(now);
        assert!(bench.session.is_connected(), "round {round}");
        let id = bench.send(now, 2, ask(2, 1));
        bench.bytes(now, &answer(id, 2, &[1]));
    }
    for unit in [1, 2, 3] {
        assert!(bench.session.is_connected());
        bench.send(now, u64::from(unit), ask(unit, 1));
        now += 100 * MS;
        bench.time(now);
    }
    assert!(!bench.session.is_connected());
    assert_eq!(bench.session.loss(), Some(&Loss::Silent));
}

#[test]
fn a_burst_that_loses_answers_falls_back_to_one_at_a_time_and_tries_again_later() {
    let mut bench = Bench::open(settings(4));
    let first = bench.send(0, 0, ask(1, 1));
    (1..4).for_each(|i| {
        bench.send(0, i, ask(1, 1));
    });
    bench.bytes(MS, &answer(first, 1, &[1]));
    bench.time(100 * MS);
    let lost = |ticket| (ticket, End::TimedOut(true));
    assert_eq!(bench.ends[1..], [lost(1), lost(2), lost(3)]);
    assert_eq!((bench.session.depth(), bench.counted(Counter::DepthFallbacks)), (1, 1));
    bench.send(101 * MS, 5, ask(1, 1));
    assert!(!bench.session.can_send(101 * MS));
    assert!(bench.session.can_send(61_000 * MS), "after a minute the depth is tried again");
    assert_eq!(bench.session.depth(), 4);
}

#[test]
fn a_flood_of_unasked_answers_closes_the_connection() {
    let mut bench = Bench::open(settings(1));
    let flood: Vec<u8> = (0..300).flat_map(|i| answer(40_000 + i, 1, &[0])).collect();
    bench.bytes(MS, &flood);
    assert_eq!(bench.session.loss(), Some(&Loss::Flood));
}

#[test]
fn given_up_ids_are_not_used_again_while_a_late_answer_may_come() {
    let mut bench = Bench::open(settings(1));
    let old = bench.send(0, 0, ask(1, 1));
    bench.time(100 * MS);
    for i in 0..70_000_u32 {
        let id = bench.send(100 * MS, 1, ask(1, 1));
        assert_ne!(id, old, "request {i}");
        bench.bytes(100 * MS, &answer(id, 1, &[0]));
    }
}

#[test]
fn delays_are_kept() {
    let delays = SessionSettings { connect_delay_ns: 50 * MS, request_delay_ns: 20 * MS, ..settings(1) };
    let mut bench = Bench::open(delays);
    assert!(!bench.session.can_send(0));
    assert_eq!(bench.session.next_ns(0), Some(50 * MS));
    bench.time(50 * MS);
    let id = bench.send(50 * MS, 0, ask(1, 1));
    bench.bytes(60 * MS, &answer(id, 1, &[0]));
    assert!(!bench.session.can_send(79 * MS) && bench.session.can_send(80 * MS));
}

/// One thing that may happen to a session.
#[derive(Clone, Debug)]
enum Event {
    Send(u8, u16),
    Right(usize),
    Late(usize),
    Bytes(Vec<u8>),
    Wait(u64),
    Reconnect,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1u8..4, 1u16..5).prop_map(|(unit, quantity)| Event::Send(unit, quantity)),
        3 => any::<usize>().prop_map(Event::Right),
        1 => any::<usize>().prop_map(Event::Late),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Event::Bytes),
        2 => (0u64..150).prop_map(|ms| Event::Wait(ms * MS)),
        1 => Just(Event::Reconnect),
    ]
}

proptest! {
    /// Whatever happens, every request ends once, and data only comes from the frame that was
    /// made for that very request.
    #[test]
    fn every_request_ends_once_and_data_is_its_own(depth in 1u8..17, events in proptest::collection::vec(event(), 1..120)) {
        let mut bench = Bench::open(settings(depth));
        let mut now = 0;
        let mut sent: Vec<(u16, u8, u16)> = Vec::new();
        for event in events {
            match event {
                Event::Send(unit, quantity) if bench.session.can_send(now) => {
                    let ticket = sent.len() as u64;
                    let id = bench.send(now, ticket, ask(unit, quantity));
                    sent.push((id, unit, quantity));
                }
                Event::Right(pick) | Event::Late(pick) if !sent.is_empty() => {
                    let ticket = pick % sent.len();
                    let (id, unit, quantity) = sent[ticket];
                    let marked: Vec<u16> = (0..quantity).map(|_| ticket as u16).collect();
                    bench.bytes(now, &answer(id, unit, &marked));
                }
                Event::Bytes(bytes) => { bench.bytes(now, &bytes); }
                Event::Wait(ns) => { now += ns; bench.time(now); }
                Event::Reconnect if bench.session.begin_connect(now) => bench.session.on_connected(now),
                _ => {}
            }
        }
        now += 1_000 * MS;
        bench.time(now);
        let mut tickets: Vec<u64> = bench.ends.iter().map(|(ticket, _)| *ticket).collect();
        tickets.sort_unstable();
        prop_assert_eq!(tickets, (0..sent.len() as u64).collect::<Vec<_>>());
        for (ticket, end) in &bench.ends {
            if let End::Data(data) = end {
                prop_assert_eq!(data.len(), usize::from(sent[*ticket as usize].2) * 2);
                let own = data.chunks(2).all(|r| u64::from(u16::from_be_bytes([r[0], r[1]])) == *ticket);
                prop_assert!(own, "data of another request: {:?}", data);
            }
        }
    }

    #[test]
    fn any_answers_are_survived(parts in proptest::collection::vec((0u16..20, 0u8..3, proptest::collection::vec(any::<u8>(), 1..30)), 0..20)) {
        let bytes: Vec<u8> = parts.iter().flat_map(|(id, unit, pdu)| frame(*id, *unit, pdu)).collect();
        fuzz_answers(&bytes);
    }
}

#[test]
fn a_write_ends_with_its_own_confirmation_among_reads() {
    let mut bench = Bench::open(settings(4));
    let write = |word| WriteRequest { unit: 1, write: Write::Register { address: 5, word } };
    let read = bench.send(0, 1, ask(1, 1));
    let first = bench.write(0, 2, &write(0x1234));
    let second = bench.write(0, 3, &write(9));
    bench.bytes(MS, &frame(second, 1, &[6, 0, 5, 0, 8]));
    bench.bytes(MS, &frame(first, 1, &[6, 0, 5, 0x12, 0x34]));
    bench.bytes(MS, &answer(read, 1, &[7]));
    let ends = [(3, End::Misconfirmed), (2, End::Written), (1, End::Data(vec![0, 7]))];
    assert_eq!(bench.ends, ends);
    let third = bench.write(2 * MS, 4, &write(1));
    bench.bytes(3 * MS, &frame(third, 1, &[0x86, 2]));
    assert_eq!(bench.ends[3], (4, End::Exception(2)));
    assert!(bench.session.is_connected());
    let fourth = bench.write(4 * MS, 5, &write(1));
    bench.bytes(5 * MS, &answer(fourth, 1, &[7]));
    assert_eq!(bench.ends[4], (5, End::Closed), "a read's answer is no write's");
    assert_eq!(bench.counted(Counter::BadFrames), 1);
}

#[test]
fn a_write_without_an_answer_is_a_timeout_and_its_late_answer_is_dropped() {
    let mut bench = Bench::open(settings(1));
    let write = WriteRequest { unit: 1, write: Write::Coil { address: 5, on: true } };
    let id = bench.write(0, 1, &write);
    assert!(!bench.session.can_send(0));
    bench.time(100 * MS);
    assert_eq!(bench.ends, [(1, End::TimedOut(false))]);
    bench.bytes(150 * MS, &frame(id, 1, &[5, 0, 5, 0xFF, 0]));
    assert_eq!((bench.ends.len(), bench.counted(Counter::LateReplies)), (1, 1));
}
