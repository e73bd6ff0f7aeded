use super::*;
use crate::codec::Function;
use crate::recorder::Recorder;
use crate::settings::{source, tag};
use config::{Area, RegisterType};
use model::{GapReason, Quality, Refused, TimestampNs, Value};
use proptest::strategy::Strategy;
use std::time::Duration;

const MS: u64 = 1_000_000;

/// What a scripted device does with a request.
enum Reply {
    /// Registers that hold their own address, or bits that are set where their address is odd.
    Own,
    /// [`Reply::Own`] with the highest bit of each register.
    High,
    Exception(u8),
    Silence,
    /// [`Reply::Own`], after so many milliseconds more than usual.
    After(u64),
    Close,
}

/// A poller over simulated time, with a device that answers within one millisecond.
struct Rig<F> {
    poller: Poller,
    said: Recorder,
    device: F,
    now_ns: u64,
    up: bool,
    answers: Vec<(u64, Vec<u8>)>,
    asked: Vec<(u64, ReadRequest)>,
}

impl<F: FnMut(u64, &ReadRequest) -> Reply> Rig<F> {
    fn new(settings: &ModbusSource, device: F) -> Rig<F> {
        let count = settings.units.len() * settings.tags.len();
        let ids: Vec<TagId> = (0..count as u32).map(TagId).collect();
        let poller = Poller::new(settings, SourceId(1), &ids, 0);
        Rig { poller, said: Recorder::default(), device, now_ns: 0, up: true, answers: Vec::new(), asked: Vec::new() }
    }

    fn now(&self) -> Moment {
        Moment { mono_ns: self.now_ns, wall: TimestampNs(1_000_000_000_000 + self.now_ns as i64) }
    }

    /// Runs until so many milliseconds after the start.
    fn until(&mut self, ms: u64) {
        let mut still = 0;
        while self.now_ns < ms * MS {
            self.step();
            let answer = self.answers.iter().map(|(at, _)| *at).min().unwrap_or(u64::MAX);
            let next = self.poller.next_ns(self.now()).min(answer);
            still = if next > self.now_ns { 0 } else { still + 1 };
            assert!(still < 5, "the poller would spin at {}", self.now_ns);
            self.now_ns = next.max(self.now_ns).min(ms * MS);
        }
        self.step();
    }

    fn step(&mut self) {
        let now = self.now();
        self.poller.on_time(now, &self.said);
        if self.poller.begin_connect(now) {
            if self.up {
                self.poller.on_connected(now, &self.said);
            } else {
                self.poller.on_lost(now, Loss::Connect("refused".into()), &self.said);
            }
        }
        self.take();
        self.answers.sort_by_key(|(at, _)| *at);
        while self.answers.first().is_some_and(|(at, _)| *at <= self.now_ns) {
            let (_, bytes) = self.answers.remove(0);
            self.poller.on_bytes(now, &bytes, &self.said);
            if self.poller.next_ns(now) <= self.now_ns {
                self.poller.on_time(now, &self.said);
            }
            self.take();
            self.poller.publish(now, &self.said);
        }
        if !self.poller.is_connected() {
            self.answers.clear();
        }
    }

    /// Lets the device see what was sent.
    fn take(&mut self) {
        let sent: Vec<[u8; 12]> = self.poller.outbox().as_chunks::<12>().0.to_vec();
        self.poller.sent(sent.len() * 12);
        for frame in sent {
            let function = Function::ALL[usize::from(frame[7]) - 1];
            let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            let request = ReadRequest { unit: frame[6], function, address: word(8), quantity: word(10) };
            self.asked.push((self.now_ns, request));
            let (pdu, more) = match (self.device)(self.now_ns / MS, &request) {
                Reply::Own => (own(&request), 0),
                Reply::High => {
                    let mut pdu = own(&request);
                    pdu[2..].iter_mut().step_by(2).for_each(|high| *high |= 0x80);
                    (pdu, 0)
                }
                Reply::After(ms) => (own(&request), ms),
                Reply::Exception(code) => (vec![frame[7] | 0x80, code], 0),
                Reply::Silence => continue,
                Reply::Close => {
                    let now = self.now();
                    self.poller.on_lost(now, Loss::ClosedByPeer, &self.said);
                    return;
                }
            };
            let mut bytes = vec![frame[0], frame[1], 0, 0, 0, pdu.len() as u8 + 1, frame[6]];
            bytes.extend(pdu);
            self.answers.push((self.now_ns + MS + more * MS, bytes));
        }
    }

    fn finish(&mut self) {
        let now = self.now();
        self.poller.finish(now, &self.said);
    }

    fn gap_count(&self, reason: GapReason) -> u64 {
        self.said.gaps.borrow().iter().filter(|gap| gap.reason == reason).filter_map(|gap| gap.count).sum()
    }
}

fn own(request: &ReadRequest) -> Vec<u8> {
    let mut data = vec![0; request.answer_bytes()];
    for i in 0..usize::from(request.quantity) {
        let address = request.address + i as u16;
        if request.function.is_bits() {
            data[i / 8] |= u8::from(address % 2 == 1) << (i % 8);
        } else {
            data[i * 2..i * 2 + 2].copy_from_slice(&address.to_be_bytes());
        }
    }
    let mut pdu = vec![request.function.code(), data.len() as u8];
    pdu.extend(data);
    pdu
}

fn holding(address: u16) -> config::ModbusTag {
    tag(Area::HoldingRegister, address, RegisterType::U16)
}

#[test]
fn a_healthy_source_reads_every_tag_every_cycle_in_one_submit() {
    let tags = vec![
        holding(7),
        holding(3),
        tag(Area::Coil, 5, RegisterType::Bool),
        tag(Area::InputRegister, 9, RegisterType::U32),
    ];
    let mut rig = Rig::new(&source(502, 1, tags), |_, _| Reply::Own);
    rig.until(990);
    rig.finish();
    let readings = rig.said.readings.borrow();
    assert_eq!(readings.len(), 10);
    for (_, cycle) in readings.iter() {
        let seen: Vec<_> = cycle.iter().map(|r| (r.tag.0, r.value.clone(), r.quality)).collect();
        let good = |tag, value| (tag, Some(value), Quality::GOOD);
        assert_eq!(
            seen,
            [
                good(0, Value::I64(7)),
                good(1, Value::I64(3)),
                good(2, Value::Bool(true)),
                good(3, Value::I64(0x0009_000A)),
            ]
        );
    }
    assert_eq!(rig.said.counted("polls"), 30);
    assert_eq!((rig.said.counted("answers"), rig.said.counted("bytes_out")), (30, 360));
    assert!(rig.said.gaps.borrow().is_empty());
    let states = rig.said.states.borrow();
    assert!(matches!(states[0], SourceState::Starting { .. }), "{states:?}");
    assert_eq!(states.last(), Some(&SourceState::Running));
}

/// The answer to the next request of a rig, taken off before the poller has it.
fn next_answer<F: FnMut(u64, &ReadRequest) -> Reply>(rig: &mut Rig<F>) -> Vec<u8> {
    while rig.answers.is_empty() {
        rig.now_ns += MS;
        rig.step();
    }
    rig.answers.remove(0).1
}

#[test]
fn the_next_request_goes_before_an_answer_is_decoded() {
    let mut rig = Rig::new(&source(502, 1, vec![holding(0), holding(200)]), |_, _| Reply::Own);
    for (cycle, is_last) in [(0, false), (0, true), (1, false), (1, true)] {
        let bytes = next_answer(&mut rig);
        let now = rig.now();
        rig.poller.on_bytes(now, &bytes, &rig.said);
        assert_eq!(rig.poller.outbox().len(), if is_last { 0 } else { 12 }, "the next one of the cycle");
        assert_eq!(rig.said.readings.borrow().len(), cycle);
        assert!(rig.poller.publish(now, &rig.said) && !rig.poller.publish(now, &rig.said));
        assert_eq!(rig.said.readings.borrow().len(), cycle + usize::from(is_last), "a cycle is submitted as a whole");
        rig.take();
    }
}

#[test]
fn a_cycle_that_is_late_begins_before_the_one_before_is_decoded() {
    let mut rig = Rig::new(&source(502, 1, vec![holding(0)]), |_, _| Reply::Own);
    let bytes = next_answer(&mut rig);
    rig.now_ns += 110 * MS;
    let now = rig.now();
    rig.poller.on_time(now, &rig.said);
    rig.poller.on_bytes(now, &bytes, &rig.said);
    assert!(rig.poller.next_ns(now) <= now.mono_ns, "what ended let another begin");
    rig.poller.on_time(now, &rig.said);
    assert_eq!((rig.poller.outbox().len(), rig.said.readings.borrow().len()), (12, 0));
    rig.poller.publish(now, &rig.said);
    assert_eq!(rig.said.of(0), [(Some(Value::I64(0)), Quality::GOOD)]);
    rig.take();
    let bytes = next_answer(&mut rig);
    let now = rig.now();
    rig.poller.on_bytes(now, &bytes, &rig.said);
    rig.poller.on_bytes(now, &[], &rig.said);
    assert_eq!(rig.said.of(0).len(), 2, "other bytes come after what was published");
}

#[test]
fn what_came_before_the_connection_broke_is_published() {
    let mut rig = Rig::new(&source(502, 1, vec![holding(0), holding(200)]), |_, _| Reply::Own);
    let mut bytes = next_answer(&mut rig);
    bytes.extend_from_slice(b"HTTP/1.1 400 Bad Request");
    let now = rig.now();
    rig.poller.on_bytes(now, &bytes, &rig.said);
    assert!(!rig.poller.is_connected());
    assert_eq!(rig.said.of(0), [(Some(Value::I64(0)), Quality::GOOD)]);
    assert!(!rig.poller.publish(now, &rig.said), "it was published when the connection went");
}

#[test]
fn an_array_is_handed_on_as_a_run_and_what_is_not_good_of_it_as_readings() {
    let mut tags: Vec<_> = (0..40).map(holding).collect();
    tags.iter_mut().for_each(|tag| tag.range = Some([0.0, 30_000.0]));
    tags.push(tag(Area::Coil, 3, RegisterType::Bool));
    let mut rig = Rig::new(&source(502, 1, tags), |ms, _| match ms {
        0..300 => Reply::Own,
        300..600 => Reply::High,
        600..900 => Reply::Exception(4),
        _ => Reply::Own,
    });
    rig.until(1_200);
    for tag in 0..40 {
        let good = (Some(Value::I64(i64::from(tag))), Quality::GOOD);
        let high = (Some(Value::I64(i64::from(tag) + 0x8000)), crate::exception::UNCERTAIN_UNITS_EXCEEDED);
        let mut seen = rig.said.of(tag);
        seen.dedup();
        assert_eq!(seen, [good.clone(), high, (None, Quality::BAD_DEVICE_FAILURE), good], "tag {tag}");
    }
    assert!(rig.said.runs.get() >= 5, "{} runs", rig.said.runs.get());
}

#[test]
fn every_exception_is_the_quality_of_its_tags_only() {
    for code in 1..=0x0B {
        let tags = vec![holding(0), tag(Area::InputRegister, 0, RegisterType::U16)];
        let mut rig = Rig::new(&source(502, 1, tags), |_, request| match request.function {
            Function::ReadHoldingRegisters => Reply::Exception(code),
            _ => Reply::Own,
        });
        rig.until(3_000);
        let gateway = matches!(code, 0x0A | 0x0B);
        assert_eq!(rig.said.qualities(0), [Failure::Exception(code).quality()], "code {code:#04X}");
        assert_eq!(rig.said.of(0).len(), 1, "a bad reading is submitted once");
        assert!(rig.said.qualities(1).contains(&Quality::GOOD), "code {code:#04X}");
        if !gateway {
            assert_eq!(rig.said.qualities(1), [Quality::GOOD], "code {code:#04X}");
        }
        assert!(matches!(rig.said.last_state(), Some(SourceState::Degraded { .. })), "code {code:#04X}");
        rig.finish();
        let failed = rig.said.counted("polls_failed");
        let said = rig.gap_count(GapReason::DeviceError)
            + rig.gap_count(GapReason::Timeout)
            + rig.gap_count(GapReason::NotConnected);
        assert!(failed > 5 && said >= failed, "code {code:#04X}: {failed} failed, {said} said");
    }
}

#[test]
fn a_lastingly_refused_request_is_not_asked_in_every_cycle() {
    let mut rig = Rig::new(&source(502, 1, vec![holding(0)]), |_, _| Reply::Exception(2));
    rig.until(20_000);
    assert!(rig.asked.len() <= 3, "{} requests", rig.asked.len());
    assert_eq!(rig.said.qualities(0), [Quality::BAD_NODE_ID_UNKNOWN]);
}

#[test]
fn a_busy_device_is_asked_again_and_only_then_bad() {
    let mut asked = 0;
    let mut rig = Rig::new(&source(502, 1, vec![holding(0)]), |_, _| {
        asked += 1;
        if asked <= 2 { Reply::Exception(6) } else { Reply::Own }
    });
    rig.until(900);
    assert_eq!(rig.said.qualities(0), [Quality::GOOD]);
    drop(rig);
    let mut rig = Rig::new(&source(502, 1, vec![holding(0)]), |_, _| Reply::Exception(6));
    rig.until(900);
    assert_eq!(rig.said.of(0), [(None, Quality::BAD_RESOURCE_UNAVAILABLE)]);
}

#[test]
fn holes_are_learned_and_asked_again_much_later() {
    let tags = (0..20).map(|i| holding(i * 3)).collect();
    let mut slow = source(502, 1, tags);
    slow.every = Duration::from_secs(1);
    let mut rig = Rig::new(&slow, |ms, request| {
        let hole = (30..35).any(|a| a >= request.address && a < request.address + request.quantity);
        if hole && ms < 300_000 { Reply::Exception(2) } else { Reply::Own }
    });
    rig.until(10_000);
    for tag in 0..20 {
        let expected = if tag == 10 || tag == 11 { Quality::BAD_NODE_ID_UNKNOWN } else { Quality::GOOD };
        assert_eq!(rig.said.qualities(tag), [expected], "tag {tag}: a split is not a failure of its good tags");
    }
    let before = rig.asked.len();
    rig.until(20_000);
    assert!(rig.asked.len() - before <= 11 * 8, "the split is remembered: {}", rig.asked.len() - before);
    rig.until(700_000);
    assert_eq!(rig.said.qualities(10), [Quality::BAD_NODE_ID_UNKNOWN, Quality::GOOD]);
    assert_eq!(rig.asked.last().map(|(_, r)| r.quantity), Some(58), "the request is whole again");
}

#[test]
fn a_silent_device_turns_bad_in_time_and_recovers_by_itself() {
    let mut one = source(502, 1, vec![holding(0), tag(Area::InputRegister, 0, RegisterType::U16)]);
    one.every = Duration::from_secs(1);
    one.timeout = Duration::from_secs(1);
    let mut rig = Rig::new(&one, |ms, _| if (5_000..60_000).contains(&ms) { Reply::Silence } else { Reply::Own });
    rig.until(6_900);
    for tag in [0, 1] {
        assert_eq!(rig.said.last(tag), Some((None, Quality::BAD_TIMEOUT)), "bad within timeout and cycle");
    }
    rig.until(40_000);
    assert_eq!(rig.said.qualities(0), [Quality::GOOD, Quality::BAD_TIMEOUT, Quality::BAD_NO_COMMUNICATION]);
    assert!(matches!(rig.said.last_state(), Some(SourceState::Down { .. })));
    let said = rig.said.gaps.borrow().len();
    assert!((3..=20).contains(&said), "merged, but said every 10 s: {said}");
    rig.until(130_000);
    assert_eq!(rig.said.last(0), Some((Some(Value::I64(0)), Quality::GOOD)));
    assert_eq!(rig.said.last_state(), Some(SourceState::Running));
    rig.finish();
    let gaps: u64 =
        [GapReason::Timeout, GapReason::NotConnected, GapReason::CycleSkipped].map(|r| rig.gap_count(r)).iter().sum();
    let cycles = rig.said.of(0).iter().filter(|(value, _)| value.is_some()).count() as u64;
    assert!((130..=140).contains(&(cycles + gaps)), "every due poll is answered or said: {cycles} + {gaps}");
}

#[test]
fn one_silent_unit_behind_a_gateway_costs_the_others_nothing_lasting() {
    let mut gateway = source(502, 8, vec![holding(0)]);
    gateway.every = Duration::from_secs(1);
    let mut rig = Rig::new(&gateway, |_, request| if request.unit == 3 { Reply::Silence } else { Reply::Own });
    rig.until(60_000);
    assert_eq!(rig.said.qualities(2), [Quality::BAD_TIMEOUT, Quality::BAD_NO_COMMUNICATION]);
    for tag in [0, 1, 3, 4, 5, 6, 7] {
        assert_eq!(rig.said.qualities(tag), [Quality::GOOD]);
        assert!(rig.said.of(tag).len() >= 58, "tag {tag}: {}", rig.said.of(tag).len());
    }
    assert_eq!((rig.said.counted("reconnects"), rig.said.counted("demotions")), (0, 1));
    let to_silent = rig.asked.iter().filter(|(_, request)| request.unit == 3).count();
    assert!(to_silent <= 6, "a demoted unit is only probed: {to_silent} requests");
    match rig.said.last_state() {
        Some(SourceState::Degraded { reason }) => assert!(reason.contains("u3 (unit 3)"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_demoted_unit_comes_back_with_its_first_answer() {
    let gateway = source(502, 2, vec![holding(0), holding(200)]);
    let mut rig =
        Rig::new(&gateway, |ms, request| if request.unit == 2 && ms < 20_000 { Reply::Silence } else { Reply::Own });
    rig.until(45_000);
    assert_eq!(rig.said.last(2), Some((Some(Value::I64(0)), Quality::GOOD)));
    assert_eq!(rig.said.last(3), Some((Some(Value::I64(200)), Quality::GOOD)));
    assert_eq!(rig.said.last_state(), Some(SourceState::Running));
}

#[test]
fn a_request_that_is_always_ignored_does_not_shadow_the_others() {
    let tags = vec![holding(0), holding(200), holding(400)];
    let mut rig =
        Rig::new(&source(502, 1, tags), |_, request| if request.address == 0 { Reply::Silence } else { Reply::Own });
    rig.until(30_000);
    assert_eq!(rig.said.qualities(0), [Quality::BAD_TIMEOUT]);
    for tag in [1, 2] {
        assert_eq!(rig.said.last(tag).map(|(_, quality)| quality), Some(Quality::GOOD));
        assert!(rig.said.of(tag).len() > 200, "tag {tag}: {}", rig.said.of(tag).len());
    }
    assert_eq!(rig.said.counted("reconnects"), 0);
}

#[test]
fn a_slow_device_skips_cycles_and_counts_them() {
    let mut slow = source(502, 1, vec![holding(0)]);
    slow.timeout = Duration::from_secs(1);
    let mut rig = Rig::new(&slow, |_, _| Reply::After(250));
    rig.until(10_000);
    rig.finish();
    let (read, skipped) = (rig.said.of(0).len() as u64, rig.said.counted("cycles_skipped"));
    assert!((97..=101).contains(&(read + skipped)), "{read} read, {skipped} skipped");
    assert_eq!(rig.gap_count(GapReason::CycleSkipped), skipped);
    assert!(rig.said.gaps.borrow().len() <= 4, "merged: {}", rig.said.gaps.borrow().len());
}

#[test]
fn a_lost_connection_is_bad_then_good_again() {
    let mut rig =
        Rig::new(&source(502, 1, vec![holding(0)]), |ms, _| if ms == 500 { Reply::Close } else { Reply::Own });
    rig.until(400);
    rig.until(2_000);
    assert_eq!(rig.said.qualities(0), [Quality::GOOD, Quality::BAD_NO_COMMUNICATION, Quality::GOOD]);
    assert_eq!((rig.said.counted("reconnects"), rig.said.last_state()), (1, Some(SourceState::Running)));
    assert!(rig.gap_count(GapReason::NotConnected) >= 1);
}

#[test]
fn a_device_that_was_never_there_is_bad_once_with_a_gap_that_goes_on() {
    let mut rig = Rig::new(&source(502, 1, vec![holding(0)]), |_, _| Reply::Own);
    rig.up = false;
    rig.until(25_000);
    assert_eq!(rig.said.of(0), [(None, Quality::BAD_NO_COMMUNICATION)]);
    assert!(rig.said.gaps.borrow().len() >= 2);
    rig.up = true;
    rig.until(60_000);
    assert_eq!(rig.said.last_state(), Some(SourceState::Running));
    rig.finish();
    let read = rig.said.of(0).len() as u64 - 1;
    let missed = rig.gap_count(GapReason::NotConnected);
    assert!((597..=603).contains(&(read + missed)), "{read} read, {missed} missed");
}

#[test]
fn refused_readings_are_a_gap_and_bad_ones_are_told_again() {
    let mut rig =
        Rig::new(&source(502, 1, vec![holding(0)]), |ms, _| if ms < 500 { Reply::Own } else { Reply::Exception(4) });
    rig.until(300);
    rig.said.refuse.set(Some(Refused::Busy));
    rig.until(1_000);
    assert!(rig.said.qualities(0) == [Quality::GOOD]);
    rig.said.refuse.set(None);
    rig.until(2_000);
    assert_eq!(rig.said.qualities(0), [Quality::GOOD, Quality::BAD_DEVICE_FAILURE]);
    rig.finish();
    assert!(rig.said.counted("readings_shed") > 0);
    assert_eq!(rig.gap_count(GapReason::Shed), rig.said.counted("readings_shed"));
}

#[test]
fn a_pipelined_device_that_loses_bursts_is_read_whole_one_by_one() {
    let tags = (0..6).map(|i| holding(i * 200)).collect();
    let mut pipelined = source(502, 1, tags);
    pipelined.depth = Some(4);
    pipelined.every = Duration::from_secs(1);
    let mut last = u64::MAX;
    let mut rig = Rig::new(&pipelined, |ms, _| {
        let burst = std::mem::replace(&mut last, ms) == ms;
        if burst { Reply::Silence } else { Reply::Own }
    });
    rig.until(10_000);
    for tag in 0..6 {
        assert_eq!(rig.said.qualities(tag), [Quality::GOOD], "tag {tag}");
    }
    assert_eq!(rig.said.counted("depth_fallbacks"), 1);
}

/// A source whose depth is to be found out, with as many requests a cycle as tags.
fn probing(tags: u16) -> ModbusSource {
    let mut probing = source(502, 1, (0..tags).map(|i| holding(i * 200)).collect());
    (probing.depth, probing.every, probing.timeout) = (None, Duration::from_secs(1), Duration::from_millis(200));
    probing
}

/// Most requests that were sent within one millisecond.
fn burst_max(asked: &[(u64, ReadRequest)]) -> usize {
    asked.chunk_by(|one, next| one.0 / MS == next.0 / MS).map(<[_]>::len).max().unwrap_or_default()
}

#[test]
fn a_depth_is_found_out_for_a_device_that_stands_it() {
    let mut rig = Rig::new(&probing(40), |_, _| Reply::Own);
    rig.until(999);
    assert_eq!(burst_max(&rig.asked), 1, "nothing is tried in the first second");
    rig.until(60_000);
    assert_eq!((burst_max(&rig.asked), rig.poller.session().known_depth().proven()), (16, 16));
    assert_eq!((rig.said.counted("timeouts"), rig.said.counted("depth_fallbacks")), (0, 0));
    assert_eq!(rig.said.counted("depth_trials"), 4);
    assert_eq!(rig.said.figures.borrow()["depth"], 16);
}

/// A device of two connections' worth of buffers drops what it has no room for. Found out at the cost of
/// a few late answers, and of no value.
#[test]
fn a_device_that_loses_what_is_too_much_is_asked_less_and_read_whole() {
    for (bad, counter) in [((|| Reply::Silence) as fn() -> Reply, "timeouts"), (|| Reply::Exception(6), "exceptions")] {
        let mut seen = (u64::MAX, 0);
        let mut rig = Rig::new(&probing(40), move |ms, _| {
            seen = if seen.0 == ms { (ms, seen.1 + 1) } else { (ms, 1) };
            if seen.1 > 2 { bad() } else { Reply::Own }
        });
        rig.until(120_000);
        let known = *rig.poller.session().known_depth();
        assert_eq!((known.proven(), known.barred()), (2, Some(4)), "{counter}");
        assert_eq!((burst_max(&rig.asked), rig.said.counted("depth_fallbacks")), (4, 1), "{counter}");
        assert!((1..=3).contains(&rig.said.counted(counter)), "{counter}");
        for tag in 0..40 {
            assert_eq!(rig.said.qualities(tag), [Quality::GOOD], "tag {tag}, {counter}");
        }
    }
}

/// A device that takes one request at a time closes the connection when it gets more.
#[test]
fn a_device_that_closes_at_a_depth_closes_once() {
    let mut seen = (u64::MAX, 0);
    let mut rig = Rig::new(&probing(40), move |ms, _| {
        seen = if seen.0 == ms { (ms, seen.1 + 1) } else { (ms, 1) };
        if seen.1 > 1 { Reply::Close } else { Reply::Own }
    });
    rig.until(120_000);
    let known = *rig.poller.session().known_depth();
    assert_eq!((known.proven(), known.barred(), rig.said.counted("reconnects")), (1, Some(2), 1));
    assert_eq!(rig.said.counted("depth_fallbacks"), 1);
}

#[test]
fn a_gap_is_read_along_where_the_device_makes_it_worth_it() {
    // 20 unused registers between runs of 1, 10 and 40 tags: more than the first plan joins
    let places = (0..1).chain(21..31).chain(51..91);
    let mut measured = source(502, 1, places.map(holding).collect());
    (measured.coalesce_gap, measured.every, measured.timeout) = (None, Duration::from_secs(1), Duration::from_secs(5));
    for (register_ms, request_ms, joined) in [(1, 60, true), (2, 6, false)] {
        let mut rig =
            Rig::new(&measured, move |_, asked| Reply::After(request_ms + register_ms * u64::from(asked.quantity)));
        rig.until(60_000);
        let last: Vec<u16> = rig.asked.iter().rev().take(3).map(|(_, asked)| asked.quantity).collect();
        assert_eq!(last == [91; 3], joined, "{last:?}");
        assert_eq!(rig.said.counted("replans"), 1);
        let figures = rig.said.figures.borrow();
        assert_eq!(figures["register_ns"], register_ms * MS);
        assert!((1_000 * request_ms..=1_000 * request_ms + 1_000).contains(&figures["request_us"]), "{figures:?}");
        assert!(
            figures["coalesce_gap"] == request_ms / register_ms
                || figures["coalesce_gap"] == request_ms / register_ms + 1
                || !joined
        );
        assert_eq!(rig.said.qualities(50), [Quality::GOOD]);
    }
}

/// What a device refuses to read across stays apart when the requests are planned anew.
#[test]
fn a_hole_that_was_learned_outlasts_a_new_plan() {
    let places = (0..1).chain(11..31).chain(51..91);
    let mut measured = source(502, 1, places.map(holding).collect());
    (measured.coalesce_gap, measured.every, measured.timeout) = (None, Duration::from_secs(1), Duration::from_secs(5));
    let mut rig = Rig::new(&measured, |_, asked| {
        let end = asked.address + asked.quantity;
        if asked.address <= 5 && end > 5 { Reply::Exception(2) } else { Reply::After(60 + u64::from(asked.quantity)) }
    });
    rig.until(100_000);
    assert_eq!((rig.said.counted("replans"), rig.said.counted("exceptions")), (1, 1));
    let last: Vec<(u16, u16)> =
        rig.asked.iter().rev().take(2).map(|(_, asked)| (asked.address, asked.quantity)).collect();
    assert!(last.contains(&(0, 1)) && last.contains(&(11, 80)), "{last:?}");
}

#[test]
fn tags_with_their_own_time_are_polled_at_it() {
    let mut slow = holding(1);
    slow.every = Some(Duration::from_secs(1));
    let mut rig = Rig::new(&source(502, 1, vec![holding(0), slow]), |_, _| Reply::Own);
    rig.until(10_000);
    assert!((99..=101).contains(&rig.said.of(0).len()), "{}", rig.said.of(0).len());
    assert!((10..=11).contains(&rig.said.of(1).len()), "{}", rig.said.of(1).len());
}

#[test]
fn a_tag_that_no_request_can_read_is_bad_and_named() {
    let tags = vec![holding(0), tag(Area::HoldingRegister, 65_535, RegisterType::F32)];
    let mut rig = Rig::new(&source(502, 1, tags), |_, _| Reply::Own);
    rig.until(1_000);
    assert_eq!(rig.said.of(1), [(None, Quality::BAD_NOT_SUPPORTED)]);
    match rig.said.last_state() {
        Some(SourceState::Degraded { reason }) => assert!(reason.contains("holding:65535"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gateway_that_reports_a_silent_unit_has_it_demoted() {
    let gateway = source(502, 3, vec![holding(0), holding(200)]);
    let mut rig = Rig::new(&gateway, |_, request| if request.unit == 2 { Reply::Exception(0x0B) } else { Reply::Own });
    rig.until(9_000);
    assert_eq!(rig.said.qualities(2), [Quality::BAD_NO_COMMUNICATION]);
    assert!(rig.asked.iter().filter(|(_, request)| request.unit == 2).count() <= 4);
    assert_eq!((rig.said.qualities(0), rig.said.qualities(4)), (vec![Quality::GOOD], vec![Quality::GOOD]));
}

/// What a device does that behaves at random until a time, and well from then on.
fn random_reply(seed: u64, ms: u64, well_from_ms: u64, request: &ReadRequest) -> Reply {
    let mut z = seed ^ (ms << 20) ^ (u64::from(request.unit) << 8) ^ u64::from(request.address);
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    match z % 16 {
        _ if ms >= well_from_ms => Reply::Own,
        0 | 1 => Reply::Silence,
        2 | 3 => Reply::Exception((z >> 32) as u8 % 12),
        4 => Reply::After((z >> 32) % 600),
        5 if z >> 40 & 7 == 0 => Reply::Close,
        _ => Reply::Own,
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// Whatever a device does, no tag ever has another's value, every gap is counted, and when the
    /// device behaves again everything is read again.
    #[test]
    fn chaos_makes_no_wrong_value_and_everything_comes_back(
        seed in proptest::prelude::any::<u64>(), units in 1u8..5, depth in 1u8..6, delay_ms in 0u64..4,
        addresses in proptest::prop_oneof![
            3 => proptest::collection::vec(0u16..600, 1..12),
            1 => (16u16..60, 1u16..9).prop_map(|(count, step)| (0..count).map(|i| i * step).collect::<Vec<_>>()),
        ],
    ) {
        let mut chaotic = source(502, units, addresses.iter().map(|address| holding(*address)).collect());
        chaotic.every = Duration::from_millis(500);
        chaotic.depth = Some(depth);
        chaotic.request_delay = Duration::from_millis(delay_ms);
        chaotic.demote_max = Duration::from_secs(20);
        let mut rig = Rig::new(&chaotic, |ms, request| random_reply(seed, ms, 60_000, request));
        rig.until(400_000);
        for unit in 0..u32::from(units) {
            for (address, tag) in addresses.iter().zip(0..) {
                let id = unit * addresses.len() as u32 + tag;
                let wrong = rig.said.of(id).into_iter().find(|(value, _)| {
                    value.as_ref().is_some_and(|value| *value != Value::I64(i64::from(*address)))
                });
                proptest::prop_assert!(wrong.is_none(), "tag {} had {:?}", id, wrong);
                proptest::prop_assert_eq!(rig.said.last(id).map(|(_, quality)| quality), Some(Quality::GOOD));
            }
        }
        proptest::prop_assert_eq!(rig.said.last_state(), Some(SourceState::Running));
        rig.finish();
        let skipped = rig.said.counted("cycles_skipped");
        proptest::prop_assert_eq!(rig.gap_count(GapReason::CycleSkipped), skipped);
        let dues = 400_000 / 500;
        let early = rig.said.counted("reconnects") + rig.said.counted("connect_failures") + rig.said.counted("demotions") + 4;
        for id in 0..u32::from(units) * addresses.len() as u32 {
            let read = rig.said.of(id).iter().filter(|(value, _)| value.is_some()).count() as u64;
            let missed: u64 = rig.said.gaps.borrow().iter()
                .filter(|gap| gap.tags.is_some_and(|(first, count)| id >= first.0 && id < first.0 + count))
                .filter_map(|gap| gap.count).sum();
            let all = read + missed;
            proptest::prop_assert!(all + 3 >= dues && all <= dues + early, "tag {}: {} read, {} missed", id, read, missed);
        }
    }
}

#[test]
fn a_gateway_that_falls_silent_turns_all_its_units_bad_within_four_timeouts() {
    let mut gateway = source(502, 8, vec![holding(0)]);
    gateway.every = Duration::from_secs(1);
    let mut rig = Rig::new(&gateway, |ms, _| if ms >= 5_000 { Reply::Silence } else { Reply::Own });
    rig.until(5_000 + 1_000 + 4 * 200 + 10);
    for tag in 0..8 {
        let last = rig.said.last(tag).map(|(_, quality)| quality);
        assert_eq!(last, Some(Quality::BAD_NO_COMMUNICATION), "tag {tag}");
    }
    assert!(matches!(rig.said.last_state(), Some(SourceState::Down { .. })));
}
