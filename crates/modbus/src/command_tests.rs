//! Commands through the whole state machine, over simulated time, against a device that keeps
//! what is written.

use super::*;
use crate::codec::Splitter;
use crate::gaps::Moment;
use crate::loss::Loss;
use crate::poller::{COMMANDS_IN_ROW_MAX, Poller};
use crate::recorder::Recorder;
use crate::settings::{source, tag};
use config::{Area, ModbusTag, RegisterType};
use model::device::{Answering, Commander, Commands, commands};
use model::{SourceId, TagId, TimestampNs};
use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const MS: u64 = 1_000_000;
/// Addresses of the device; one past the end is exception 02.
const END: u16 = 1000;

/// What the device does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Works,
    Silent,
    Refuses(u8),
    /// Does not know a function.
    Lacks(u8),
    /// Confirms another value.
    Wrong,
}

/// A poller, its commands, and a device that answers after one millisecond.
struct Rig {
    poller: Poller,
    said: Recorder,
    commander: Commander,
    commands: Commands,
    now_ns: u64,
    moods: BTreeMap<u8, Mood>,
    registers: BTreeMap<(u8, u16), u16>,
    coils: BTreeMap<(u8, u16), bool>,
    asked: Vec<(u8, u8, u16)>,
    answers: Vec<(u64, Vec<u8>)>,
}

impl Rig {
    fn new(settings: &ModbusSource) -> Rig {
        let count = settings.units.len() * settings.tags.len();
        let ids: Vec<TagId> = (0..count as u32).map(TagId).collect();
        let (commander, commands) = commands(200);
        let mut rig = Rig {
            poller: Poller::new(settings, SourceId(1), &ids, 0),
            said: Recorder::default(),
            commander,
            commands,
            now_ns: 0,
            moods: BTreeMap::new(),
            registers: BTreeMap::new(),
            coils: BTreeMap::new(),
            asked: Vec::new(),
            answers: Vec::new(),
        };
        rig.connect();
        rig
    }

    fn connect(&mut self) {
        assert!(self.poller.begin_connect(self.now()));
        self.poller.on_connected(self.now(), &self.said);
        self.take();
    }

    fn now(&self) -> Moment {
        Moment { mono_ns: self.now_ns, wall: TimestampNs(1_000_000_000_000 + self.now_ns as i64) }
    }

    /// Gives a command with a deadline so many milliseconds from now.
    fn command(&mut self, command: DeviceCommand, within_ms: u64) -> Answering {
        let answering = self.commander.submit(command, self.now_ns + within_ms * MS);
        self.feed();
        self.take();
        answering
    }

    fn write(&mut self, tag: &str, value: Value) -> Answering {
        self.command(DeviceCommand::Write { tag: tag.into(), value }, 500)
    }

    fn read(&mut self, tags: &[&str]) -> Answering {
        self.command(DeviceCommand::Read { tags: tags.iter().map(|tag| (*tag).to_owned()).collect() }, 500)
    }

    /// What the shell does with commands that wait.
    fn feed(&mut self) {
        while self.poller.has_room() {
            let Some(pending) = self.commands.try_next() else { return };
            self.poller.on_command(self.now(), pending, &self.said);
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.now_ns + ms * MS;
        let mut still = 0;
        loop {
            self.poller.on_time(self.now(), &self.said);
            self.take();
            while let Some(at) = self.answers.iter().position(|(at, _)| *at <= self.now_ns) {
                let (_, bytes) = self.answers.remove(at);
                self.poller.on_bytes(self.now(), &bytes, &self.said);
                self.take();
                self.poller.publish(self.now(), &self.said);
            }
            self.feed();
            self.take();
            if self.now_ns >= end {
                return;
            }
            let answer = self.answers.iter().map(|(at, _)| *at).min().unwrap_or(u64::MAX);
            let next = self.poller.next_ns(self.now()).min(answer).min(end);
            still = if next > self.now_ns { 0 } else { still + 1 };
            assert!(still < 5, "the poller would spin at {}", self.now_ns);
            self.now_ns = next.max(self.now_ns);
        }
    }

    fn outcome(&mut self, answering: &mut Answering, ms: u64) -> Result<DeviceAnswer, DeviceError> {
        for _ in 0..=ms {
            if let Poll::Ready(outcome) = pin!(&mut *answering).poll(&mut Context::from_waker(Waker::noop())) {
                return outcome;
            }
            self.run(1);
        }
        panic!("no answer within {ms} ms");
    }

    /// Lets the device see what was sent.
    fn take(&mut self) {
        let sent = self.poller.outbox().to_vec();
        self.poller.sent(sent.len());
        let (mut splitter, mut input) = (Splitter::default(), &sent[..]);
        let mut frames = Vec::new();
        while let Some(frame) = splitter.next_frame(&mut input).expect("our own frames") {
            frames.push((frame.transaction, frame.unit, frame.pdu.to_vec()));
        }
        for (transaction, unit, pdu) in frames {
            self.asked.push((unit, pdu[0], u16::from_be_bytes([pdu[1], pdu[2]])));
            let Some(answer) = self.serve(unit, &pdu) else { continue };
            let mut bytes = transaction.to_be_bytes().to_vec();
            bytes.extend([0, 0, 0, answer.len() as u8 + 1, unit]);
            bytes.extend(answer);
            self.answers.push((self.now_ns + MS, bytes));
        }
    }

    fn serve(&mut self, unit: u8, pdu: &[u8]) -> Option<Vec<u8>> {
        let code = pdu[0];
        let refuse = |exception| Some(vec![code | 0x80, exception]);
        let mood = self.moods.get(&unit).copied().unwrap_or(Mood::Works);
        match mood {
            Mood::Silent => return None,
            Mood::Refuses(exception) => return refuse(exception),
            Mood::Lacks(lacking) if lacking == code => return refuse(1),
            _ => {}
        }
        let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
        let (address, second) = (word(1), word(3));
        let count = if matches!(code, 5 | 6 | 0x16) { 1 } else { second };
        if address.saturating_add(count) > END {
            return refuse(2);
        }
        let register = |at: u16| self.registers.get(&(unit, at)).copied().unwrap_or(0);
        match code {
            1 | 2 => {
                let mut bits = vec![0_u8; usize::from(count.div_ceil(8))];
                for i in 0..count {
                    let on = self.coils.get(&(unit, address + i)).copied().unwrap_or(false);
                    bits[usize::from(i / 8)] |= u8::from(on) << (i % 8);
                }
                return Some([vec![code, bits.len() as u8], bits].concat());
            }
            3 | 4 => {
                let data: Vec<u8> = (0..count).flat_map(|i| register(address + i).to_be_bytes()).collect();
                return Some([vec![code, data.len() as u8], data].concat());
            }
            5 => drop(self.coils.insert((unit, address), second == 0xFF00)),
            6 => drop(self.registers.insert((unit, address), second)),
            0x0F => (0..count).for_each(|i| {
                let on = pdu[6 + usize::from(i / 8)] >> (i % 8) & 1 == 1;
                self.coils.insert((unit, address + i), on);
            }),
            0x10 => (0..count).for_each(|i| {
                self.registers.insert((unit, address + i), word(6 + usize::from(i) * 2));
            }),
            0x16 => {
                let new = (register(address) & second) | (word(5) & !second);
                self.registers.insert((unit, address), new);
            }
            _ => return refuse(1),
        }
        let mut answer = pdu[..if code == 0x16 { 7 } else { 5 }].to_vec();
        if mood == Mood::Wrong {
            answer[4] ^= 1;
        }
        Some(answer)
    }

    fn codes(&self) -> Vec<u8> {
        self.asked.iter().map(|(_, code, _)| *code).collect()
    }
}

fn named(name: &str, tag: ModbusTag) -> ModbusTag {
    ModbusTag { name: name.into(), ..tag }
}

/// A device with one tag of each sort, polled each 100 ms.
fn device(units: u8) -> ModbusSource {
    let mut bit = named("bit", tag(Area::HoldingRegister, 30, RegisterType::Bool));
    bit.at.bit = Some(3);
    let mut tenths = named("tenths", tag(Area::HoldingRegister, 40, RegisterType::I16));
    tenths.scale = 0.1;
    let tags = vec![
        named("limit", tag(Area::HoldingRegister, 10, RegisterType::F32)),
        named("count", tag(Area::HoldingRegister, 20, RegisterType::U16)),
        bit,
        tenths,
        named("run", tag(Area::Coil, 5, RegisterType::Bool)),
        named("input", tag(Area::InputRegister, 0, RegisterType::U16)),
        named("beyond", tag(Area::HoldingRegister, END, RegisterType::U16)),
        named("name", tag(Area::HoldingRegister, 50, RegisterType::Text { registers: 4 })),
    ];
    source(1, units, tags)
}

#[test]
fn every_sort_of_tag_is_written_and_reads_back() {
    let mut rig = Rig::new(&device(1));
    for (tag, value, code) in [
        ("limit", Value::F64(12.5), 0x10),
        ("count", Value::I64(65_535), 0x06),
        ("bit", Value::Bool(true), 0x16),
        ("tenths", Value::F64(-0.5), 0x06),
        ("run", Value::Bool(true), 0x05),
        ("name", Value::Text("press 1".into()), 0x10),
    ] {
        rig.asked.clear();
        let mut writing = rig.write(tag, value.clone());
        assert_eq!(rig.outcome(&mut writing, 50), Ok(DeviceAnswer::Written), "{tag}");
        assert!(rig.codes().contains(&code), "{tag}: {:?}", rig.asked);
        let mut reading = rig.read(&[tag]);
        let read = rig.outcome(&mut reading, 50).expect("reads");
        assert_eq!(read, DeviceAnswer::Values(vec![(tag.into(), Some(value), Quality::GOOD)]));
    }
    assert_eq!(rig.registers.get(&(1, 30)), Some(&0x0008));
    rig.run(600);
    assert_eq!((rig.said.counted("commands_done"), rig.said.counted("commands_failed")), (12, 0));
    assert_eq!(rig.said.counted("command_requests"), 12);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    let mut rig = Rig::new(&device(1));
    rig.run(5);
    rig.asked.clear();
    let refused = |rig: &mut Rig, tag: &str, value| {
        let mut writing = rig.write(tag, value);
        rig.outcome(&mut writing, 0).expect_err("refused at once")
    };
    let unknown = refused(&mut rig, "limti", Value::I64(1));
    assert_eq!(unknown, DeviceError::UnknownTag { tag: "limti".into(), nearest: Some("limit".into()) });
    assert!(matches!(refused(&mut rig, "input", Value::I64(1)), DeviceError::NotWritable { .. }));
    assert!(matches!(refused(&mut rig, "count", Value::I64(65_536)), DeviceError::OutOfRange { .. }));
    assert!(matches!(refused(&mut rig, "count", Value::Text("1".into())), DeviceError::WrongKind { .. }));
    assert!(matches!(refused(&mut rig, "tenths", Value::F64(4000.0)), DeviceError::OutOfRange { .. }));
    let call = DeviceCommand::Call { object: "i=1".into(), method: "i=2".into(), arguments: vec![] };
    let mut calling = rig.command(call, 500);
    assert!(matches!(rig.outcome(&mut calling, 0), Err(DeviceError::Unsupported { .. })));
    let many = DeviceCommand::Read { tags: vec!["count".into(); READ_TAGS_MAX + 1] };
    let mut reading = rig.command(many, 500);
    assert!(matches!(rig.outcome(&mut reading, 0), Err(DeviceError::Unsupported { .. })));
    let mut nothing = rig.read(&[]);
    assert_eq!(rig.outcome(&mut nothing, 0), Ok(DeviceAnswer::Values(vec![])));
    assert!(rig.asked.is_empty(), "{:?}", rig.asked);
}

#[test]
fn a_write_overtakes_reads_and_both_overtake_polls() {
    let mut rig = Rig::new(&device(1));
    rig.run(250);
    // All wait behind the request that is under way: the device has a depth of one.
    let mut reading = rig.read(&["limit"]);
    let mut writing = rig.write("count", Value::I64(7));
    let before = rig.asked.len();
    assert_eq!(rig.outcome(&mut writing, 20), Ok(DeviceAnswer::Written));
    assert!(rig.outcome(&mut reading, 20).is_ok());
    let codes = rig.codes();
    assert!(codes[before..].starts_with(&[6, 3]) || codes[before - 1..].starts_with(&[3, 6]), "{codes:?}");
}

#[test]
fn commands_without_end_delay_polls_and_never_stop_them() {
    // Polls always wait: a cycle of several requests is due each millisecond.
    let mut settings = device(1);
    (settings.every, settings.coalesce_gap) = (std::time::Duration::from_millis(1), Some(0));
    let mut rig = Rig::new(&settings);
    let mut waiting: Vec<Answering> = (0..100).map(|value| rig.write("count", Value::I64(value))).collect();
    rig.run(20);
    rig.asked.clear();
    for _ in 0..10 {
        rig.run(50);
        waiting.extend((0..60).map(|value| rig.write("count", Value::I64(value))));
    }
    let is_poll = |asked: &(u8, u8, u16)| asked.1 <= 4;
    let longest = rig.asked.split(is_poll).map(<[_]>::len).max().unwrap_or(0);
    assert!(longest <= COMMANDS_IN_ROW_MAX as usize, "{longest} commands in a row");
    assert!(rig.asked.iter().filter(|asked| is_poll(asked)).count() > 40);
    assert!(rig.asked.iter().filter(|asked| !is_poll(asked)).count() > 200);
}

#[test]
fn a_device_without_the_single_functions_gets_those_for_several() {
    for (lacks, tag, value, several) in [(6, "count", Value::I64(9), 0x10), (5, "run", Value::Bool(true), 0x0F)] {
        let mut rig = Rig::new(&device(1));
        rig.moods.insert(1, Mood::Lacks(lacks));
        for (round, codes) in [(0, vec![lacks, several]), (1, vec![several])] {
            rig.asked.clear();
            let mut writing = rig.write(tag, value.clone());
            assert_eq!(rig.outcome(&mut writing, 50), Ok(DeviceAnswer::Written), "round {round}");
            let writes: Vec<u8> = rig.codes().into_iter().filter(|code| *code > 4).collect();
            assert_eq!(writes, codes, "round {round}");
        }
    }
}

#[test]
fn a_bit_is_not_written_without_a_mask_write() {
    let mut rig = Rig::new(&device(1));
    rig.moods.insert(1, Mood::Lacks(0x16));
    let mut writing = rig.write("bit", Value::Bool(true));
    let error = rig.outcome(&mut writing, 50).expect_err("not offered");
    assert!(matches!(&error, DeviceError::Unsupported { what } if what.contains("mask write")), "{error}");
    assert_eq!(rig.codes().iter().filter(|code| **code > 4).count(), 1);
}

#[test]
fn exceptions_come_back_with_their_code_and_name() {
    for (code, shown, name, doubt) in [
        (2, "02", "illegal data address", false),
        (3, "03", "illegal data value", false),
        (4, "04", "server device failure", false),
        (6, "06", "server device busy", false),
        (0x0B, "0B", "gateway target device failed to respond", true),
    ] {
        let mut rig = Rig::new(&device(1));
        rig.run(5);
        rig.moods.insert(1, Mood::Refuses(code));
        let mut writing = rig.write("count", Value::I64(1));
        let error = rig.outcome(&mut writing, 100).expect_err("refused");
        let DeviceError::Device { code: said, text } = &error else { panic!("{error:?}") };
        assert!(said == shown && text.starts_with(name), "{error}");
        assert_eq!(error.is_in_doubt(), doubt, "{error}");
        assert_eq!(rig.codes().iter().filter(|code| **code == 6).count(), 1, "a write is never sent again");
    }
}

#[test]
fn a_read_of_several_units_says_of_each_tag_what_it_has() {
    let mut rig = Rig::new(&device(3));
    rig.registers.insert((2, 20), 4711);
    rig.coils.insert((3, 5), true);
    let tags = ["u2/count", "u3/run", "u1/beyond", "u2/count", "u2/name"];
    let mut reading = rig.read(&tags);
    let Ok(DeviceAnswer::Values(values)) = rig.outcome(&mut reading, 100) else { panic!("it reads") };
    let names: Vec<&str> = values.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, tags);
    let values: Vec<_> = values.into_iter().map(|(_, value, quality)| (value, quality)).collect();
    assert_eq!(values[0], (Some(Value::I64(4711)), Quality::GOOD));
    assert_eq!(values[1], (Some(Value::Bool(true)), Quality::GOOD));
    assert_eq!(values[2], (None, Quality::BAD_NODE_ID_UNKNOWN));
    assert_eq!(values[3], values[0]);
    assert_eq!(values[4], (Some(Value::Text("".into())), Quality::GOOD));
    let mut beyond = rig.read(&["u1/beyond"]);
    let error = rig.outcome(&mut beyond, 100).expect_err("nothing of it can be read");
    assert!(matches!(&error, DeviceError::Device { code, .. } if code == "02"), "{error}");
    let mut unknown = rig.read(&["u9/count"]);
    let error = rig.outcome(&mut unknown, 0).expect_err("no such unit");
    assert!(matches!(error, DeviceError::UnknownTag { nearest: Some(_), .. }), "{error}");
}

#[test]
fn a_block_that_the_device_refuses_is_taken_apart() {
    let mut settings = device(1);
    settings.tags.push(named("last", tag(Area::HoldingRegister, END - 1, RegisterType::U16)));
    let mut rig = Rig::new(&settings);
    rig.registers.insert((1, END - 1), 5);
    let mut reading = rig.read(&["last", "beyond"]);
    let Ok(DeviceAnswer::Values(values)) = rig.outcome(&mut reading, 100) else { panic!("one of them reads") };
    assert_eq!(values[0], ("last".into(), Some(Value::I64(5)), Quality::GOOD));
    assert_eq!(values[1], ("beyond".into(), None, Quality::BAD_NODE_ID_UNKNOWN));
}

#[test]
fn a_silent_device_ends_a_command_by_its_deadline_and_says_whether_it_was_sent() {
    let mut rig = Rig::new(&device(1));
    rig.run(250);
    rig.moods.insert(1, Mood::Silent);
    let write = |value| DeviceCommand::Write { tag: "count".into(), value: Value::I64(value) };
    // The timeout of a request is 200 ms; the second waits behind the first.
    let mut first = rig.command(write(1), 50);
    let mut second = rig.command(write(2), 30);
    assert_eq!(rig.outcome(&mut second, 32), Err(DeviceError::Timeout { sent: false }));
    assert_eq!(rig.outcome(&mut first, 32), Err(DeviceError::Timeout { sent: true }));
    let writes = rig.codes().iter().filter(|code| **code == 6).count();
    assert_eq!(writes, 1);
    let mut third = rig.command(write(3), 5_000);
    let error = rig.outcome(&mut third, 1_000).expect_err("silent");
    assert!(matches!(error, DeviceError::Timeout { .. } | DeviceError::NotConnected { .. }), "{error}");
}

#[test]
fn an_answer_after_the_deadline_frees_the_connection_and_answers_nobody() {
    let mut rig = Rig::new(&device(1));
    rig.run(250);
    let mut late = rig.command(DeviceCommand::Write { tag: "count".into(), value: Value::I64(1) }, 0);
    let ended = rig.outcome(&mut late, 1).expect_err("its deadline is now");
    assert!(matches!(ended, DeviceError::Timeout { .. }), "{ended}");
    let mut next = rig.write("count", Value::I64(2));
    assert_eq!(rig.outcome(&mut next, 20), Ok(DeviceAnswer::Written));
    assert_eq!(rig.registers.get(&(1, 20)), Some(&2));
}

#[test]
fn a_lost_connection_leaves_a_sent_write_in_doubt_and_refuses_the_rest() {
    let mut rig = Rig::new(&device(1));
    rig.run(250);
    let mut sent = rig.write("count", Value::I64(1));
    let mut waiting = rig.write("count", Value::I64(2));
    rig.run(0);
    let mut reading = rig.read(&["count"]);
    while !rig.codes().contains(&6) {
        rig.run(1);
    }
    rig.answers.clear();
    rig.poller.on_lost(rig.now(), Loss::ClosedByPeer, &rig.said);
    let doubt = rig.outcome(&mut sent, 0).expect_err("not answered");
    assert!(matches!(doubt, DeviceError::InDoubt { .. }), "{doubt}");
    for answering in [&mut waiting, &mut reading] {
        let error = rig.outcome(answering, 0).expect_err("not sent");
        assert!(matches!(&error, DeviceError::NotConnected { why } if why.contains("closed")), "{error}");
    }
    let mut away = rig.write("count", Value::I64(3));
    assert!(matches!(rig.outcome(&mut away, 0), Err(DeviceError::NotConnected { .. })));
    rig.now_ns += 10_000 * MS;
    rig.connect();
    let mut again = rig.write("count", Value::I64(4));
    assert_eq!(rig.outcome(&mut again, 50), Ok(DeviceAnswer::Written));
    assert_eq!(rig.codes().iter().filter(|code| **code == 6).count(), 2, "one before the loss, one after");
}

#[test]
fn a_confirmation_of_something_else_is_doubt_and_keeps_the_connection() {
    let mut rig = Rig::new(&device(1));
    rig.moods.insert(1, Mood::Wrong);
    let mut writing = rig.write("count", Value::I64(6));
    let error = rig.outcome(&mut writing, 50).expect_err("not what was asked");
    assert!(error.is_in_doubt(), "{error}");
    assert!(rig.poller.is_connected());
}

#[test]
fn a_unit_that_is_only_probed_gets_no_command_and_the_others_do() {
    let mut rig = Rig::new(&device(2));
    rig.moods.insert(1, Mood::Silent);
    rig.run(3_000);
    assert!(rig.said.counted("demotions") > 0);
    rig.asked.clear();
    let mut dead = rig.write("u1/count", Value::I64(1));
    let error = rig.outcome(&mut dead, 0).expect_err("only probed");
    assert!(matches!(&error, DeviceError::NotConnected { why } if why.contains("u1 (unit 1)")), "{error}");
    let mut well = rig.write("u2/count", Value::I64(2));
    assert_eq!(rig.outcome(&mut well, 300), Ok(DeviceAnswer::Written));
    assert!(rig.asked.iter().all(|(unit, code, _)| *unit == 2 || *code <= 4), "{:?}", rig.asked);
}

#[test]
fn commands_are_held_up_to_a_limit_and_all_are_answered() {
    let mut rig = Rig::new(&device(1));
    rig.run(250);
    rig.moods.insert(1, Mood::Silent);
    let mut waiting: Vec<Answering> = (0..150).map(|_| rig.read(&["count"])).collect();
    assert!(!rig.poller.has_room());
    rig.moods.insert(1, Mood::Works);
    rig.run(900);
    for answering in &mut waiting {
        // Those of the first moments were not answered in time; none is without an answer.
        let outcome = rig.outcome(answering, 0);
        assert!(matches!(outcome, Ok(_) | Err(DeviceError::Timeout { .. })), "{outcome:?}");
    }
    assert!(rig.poller.has_room());
}

#[path = "writes_tests.rs"]
mod several;
