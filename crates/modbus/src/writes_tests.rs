//! Writes of several tags through the whole state machine.

use super::{Mood, Rig, device, named};
use crate::gaps::Moment;
use crate::loss::Loss;
use crate::settings::{source, tag};
use config::{Area, ModbusSource, RegisterType};
use model::Value;
use model::device::{Answering, DeviceAnswer, DeviceCommand, DeviceError, WRITE_TAGS_MAX};

/// A device with so many tags in a row from register 100 on, and three coils.
fn row(count: u16, depth: u8) -> ModbusSource {
    let words = (0..count).map(|at| named(&format!("r{at}"), tag(Area::HoldingRegister, 100 + at, RegisterType::U16)));
    let coils = (0..3).map(|at| named(&format!("c{at}"), tag(Area::Coil, at, RegisterType::Bool)));
    let last = named("beyond", tag(Area::HoldingRegister, 1000, RegisterType::U16));
    ModbusSource { depth: Some(depth), ..source(1, 1, words.chain(coils).chain([last]).collect()) }
}

fn command(tags: &[(&str, Value)], dry: bool) -> DeviceCommand {
    DeviceCommand::WriteEach {
        writes: tags.iter().map(|(tag, value)| ((*tag).to_owned(), value.clone())).collect(),
        dry,
    }
}

/// Values 1000 and on for the first so many words.
fn words(count: u16) -> DeviceCommand {
    let write = |at: u16| (format!("r{at}"), Value::I64(i64::from(at) + 1000));
    DeviceCommand::WriteEach { writes: (0..count).map(write).collect(), dry: false }
}

fn each(rig: &mut Rig, answering: &mut Answering, ms: u64) -> (bool, Vec<Result<(), DeviceError>>) {
    match rig.outcome(answering, ms) {
        Ok(DeviceAnswer::Each { sent, outcomes }) => (sent, outcomes),
        other => panic!("each is answered for: {other:?}"),
    }
}

fn writes(rig: &Rig) -> Vec<(u8, u16)> {
    rig.asked.iter().filter(|(_, code, _)| *code > 4).map(|(_, code, address)| (*code, *address)).collect()
}

#[test]
fn what_lies_in_a_row_is_one_request() {
    let mut rig = Rig::new(&row(200, 1));
    let mut writing = rig.command(words(200), 500);
    assert_eq!(each(&mut rig, &mut writing, 20), (true, vec![Ok(()); 200]));
    assert_eq!(writes(&rig), [(0x10, 100), (0x10, 223)], "123 registers are the most of one request");
    assert!((0..200).all(|at| rig.registers.get(&(1, 100 + at)) == Some(&(1000 + at))));
    rig.asked.clear();
    let mixed = [("c1", Value::Bool(true)), ("r7", Value::I64(1)), ("c0", Value::Bool(true)), ("r5", Value::I64(2))];
    let mut writing = rig.command(command(&mixed, false), 500);
    assert_eq!(each(&mut rig, &mut writing, 20), (true, vec![Ok(()); 4]));
    assert_eq!(writes(&rig), [(6, 105), (6, 107), (0x0F, 0)]);
    assert_eq!((rig.coils.get(&(1, 0)), rig.coils.get(&(1, 1))), (Some(&true), Some(&true)));
    rig.run(600);
    assert_eq!((rig.said.counted("commands_done"), rig.said.counted("commands_failed")), (2, 0));
}

/// 1. A device knows only the functions for single values; then it does not take the address of one tag.
/// 2. Each tag is written by itself, and the one that cannot be is told of.
/// 3. What function is missing is known the next time.
#[test]
fn a_row_that_is_refused_goes_out_tag_by_tag() {
    let mut rig = Rig::new(&row(3, 1));
    rig.moods.insert(1, Mood::Lacks(0x10));
    for expected in [&[(0x10, 100), (6, 100), (6, 101), (6, 102)][..], &[(6, 100), (6, 101), (6, 102)]] {
        rig.asked.clear();
        let mut writing = rig.command(words(3), 500);
        assert_eq!(each(&mut rig, &mut writing, 50), (true, vec![Ok(()); 3]));
        assert_eq!(writes(&rig), expected);
    }
    let mut settings = row(3, 1);
    settings.tags.push(named("edge", tag(Area::HoldingRegister, 999, RegisterType::U16)));
    let mut rig = Rig::new(&settings);
    let reaching = [("beyond", Value::I64(1)), ("edge", Value::I64(2)), ("r0", Value::I64(3))];
    let mut writing = rig.command(command(&reaching, false), 500);
    let (sent, outcomes) = each(&mut rig, &mut writing, 50);
    assert!(matches!(&outcomes[..], [Err(DeviceError::Device { code, .. }), Ok(()), Ok(())] if sent && code == "02"));
    assert_eq!(writes(&rig), [(6, 100), (0x10, 999), (6, 999), (6, 1000)]);
    assert_eq!((rig.registers.get(&(1, 999)), rig.registers.get(&(1, 100))), (Some(&2), Some(&3)));
}

#[test]
fn requests_of_one_write_are_under_way_together_and_of_two_are_not() {
    let mut settings = row(40, 4);
    settings.max_registers = 1;
    let mut rig = Rig::new(&settings);
    rig.run(50);
    rig.asked.clear();
    let (mut one, mut other) = (rig.command(words(6), 500), rig.command(words(2), 500));
    assert_eq!(writes(&rig).len(), 4, "as many as the depth");
    rig.run(1);
    let writes_now = writes(&rig);
    assert_eq!(writes_now[4..], [(6, 104), (6, 105)], "the second waits for the first: {writes_now:?}");
    assert_eq!(each(&mut rig, &mut one, 20), (true, vec![Ok(()); 6]));
    assert_eq!(each(&mut rig, &mut other, 20), (true, vec![Ok(()); 2]));
}

#[test]
fn with_one_that_cannot_be_nothing_is_sent() {
    let mut settings = device(1);
    settings.tags.push(named("word", tag(Area::HoldingRegister, 11, RegisterType::U16)));
    let mut rig = Rig::new(&settings);
    rig.run(5);
    rig.asked.clear();
    let mut told = |tags: &[(&str, Value)], dry: bool| {
        let mut writing = rig.command(command(tags, dry), 500);
        let (sent, outcomes) = each(&mut rig, &mut writing, 0);
        assert!(!sent);
        outcomes
    };
    let fine = ("count", Value::I64(7));
    let wrong =
        told(&[fine.clone(), ("input", Value::I64(1)), ("limti", Value::I64(1)), ("tenths", Value::F64(4e3))], false);
    assert!(
        matches!(
            &wrong[..],
            [
                Ok(()),
                Err(DeviceError::NotWritable { .. }),
                Err(DeviceError::UnknownTag { .. }),
                Err(DeviceError::OutOfRange { .. })
            ]
        ),
        "{wrong:?}"
    );
    let clash = told(&[("word", Value::I64(1)), fine.clone(), ("limit", Value::F64(2.0))], false);
    assert!(
        matches!(&clash[..], [Err(DeviceError::Unsupported { what }), Ok(()), Err(DeviceError::Unsupported { .. })]
            if what.contains("\"limit\"") && what.contains("\"word\"")),
        "{clash:?}"
    );
    assert_eq!(told(&[fine.clone(), ("run", Value::Bool(true))], true), [Ok(()), Ok(())], "only looked at");
    assert_eq!(told(&[], false), []);
    let many =
        DeviceCommand::WriteEach { writes: vec![("count".into(), Value::I64(1)); WRITE_TAGS_MAX + 1], dry: false };
    let mut writing = rig.command(many, 500);
    assert!(matches!(rig.outcome(&mut writing, 0), Err(DeviceError::Unsupported { .. })));
    assert!(writes(&rig).is_empty(), "{:?}", rig.asked);
}

/// 1. A device takes a request and never answers.
/// 2. What was sent is in doubt; what was not is not sent after that, and says so.
#[test]
fn silence_leaves_doubt_of_what_was_sent_and_sends_no_more() {
    let mut settings = row(40, 2);
    settings.max_registers = 1;
    let mut rig = Rig::new(&settings);
    rig.run(50);
    rig.moods.insert(1, Mood::Silent);
    let mut writing = rig.command(words(4), 5_000);
    let (sent, outcomes) = each(&mut rig, &mut writing, 1_000);
    let in_doubt: Vec<bool> = outcomes.iter().map(|one| one.as_ref().is_err_and(DeviceError::is_in_doubt)).collect();
    assert_eq!((sent, in_doubt), (true, vec![true, true, false, false]), "{outcomes:?}");
    assert!(matches!(&outcomes[3], Err(DeviceError::NotConnected { .. })));
    // by the deadline, which comes before the device is given up
    let mut rig = Rig::new(&settings);
    rig.run(50);
    rig.moods.insert(1, Mood::Silent);
    let mut writing = rig.command(words(4), 50);
    let (_, outcomes) = each(&mut rig, &mut writing, 60);
    let (late, unsent) = (DeviceError::Timeout { sent: true }, DeviceError::Timeout { sent: false });
    assert_eq!(outcomes, [late.clone(), late, unsent.clone(), unsent].map(Err));
}

#[test]
fn a_connection_that_breaks_tells_what_was_sent_from_what_was_not() {
    let mut settings = row(40, 2);
    settings.max_registers = 1;
    let mut rig = Rig::new(&settings);
    rig.run(50);
    let mut writing = rig.command(words(6), 500);
    rig.run(1);
    let now: Moment = rig.now();
    rig.poller.on_lost(now, Loss::ClosedByPeer, &rig.said);
    let (sent, outcomes) = each(&mut rig, &mut writing, 0);
    assert!(sent && outcomes[..2] == [Ok(()), Ok(())], "{outcomes:?}");
    assert!(outcomes[2..4].iter().all(|one| matches!(one, Err(DeviceError::InDoubt { .. }))), "{outcomes:?}");
    assert!(outcomes[4..].iter().all(|one| matches!(one, Err(DeviceError::NotConnected { .. }))), "{outcomes:?}");
}

#[test]
fn a_unit_that_is_only_probed_takes_nothing_and_the_others_do() {
    let tags = vec![named("limit", tag(Area::HoldingRegister, 10, RegisterType::U16))];
    let mut rig = Rig::new(&source(1, 2, tags));
    rig.moods.insert(2, Mood::Silent);
    rig.run(5_000);
    let both = [("u1/limit", Value::I64(1)), ("u2/limit", Value::I64(2))];
    rig.asked.clear();
    let mut writing = rig.command(command(&both, false), 500);
    let (sent, outcomes) = each(&mut rig, &mut writing, 0);
    assert!(matches!(&outcomes[..], [Ok(()), Err(DeviceError::NotConnected { .. })] if !sent), "{outcomes:?}");
    assert!(writes(&rig).is_empty());
}
