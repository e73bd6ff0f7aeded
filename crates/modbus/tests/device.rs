//! The source against devices that misbehave, over real sockets.

mod support;

use config::{Area, RegisterType};
use millstream_modbus::exception::Failure;
use model::{GapReason, Quality, Refused, SourceState, Value};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;
use support::recorder::Recorder;
use support::settings::{source, tag};
use support::{Act, Asked, Device, run_until, run_with};

fn holding(address: u16) -> config::ModbusTag {
    tag(Area::HoldingRegister, address, RegisterType::U16)
}

/// A source that polls often, with a short timeout.
fn quick(port: u16, units: u8, tags: Vec<config::ModbusTag>) -> config::ModbusSource {
    config::ModbusSource {
        every: Duration::from_millis(20),
        timeout: Duration::from_millis(80),
        demote_for: Duration::from_millis(500),
        ..source(port, units, tags)
    }
}

fn good(recorder: &Recorder, tag: u32) -> usize {
    recorder.of(tag).iter().filter(|(value, _)| value.is_some()).count()
}

/// Every value that a tag ever had is the address of its register: data of no other request.
fn assert_own(recorder: &Recorder, tag: u32, address: i64) {
    for (value, _) in recorder.of(tag) {
        assert!(value.is_none() || value == Some(Value::I64(address)), "tag {tag} had {value:?}, not {address}");
    }
}

fn own(asked: Asked) -> Vec<Act> {
    vec![Act::Send(asked.own())]
}

#[test]
fn every_split_of_an_answer_gives_the_same_values() {
    let mut cut = 0;
    let device = Device::start(move |asked| {
        let bytes = asked.own();
        cut = (cut + 1) % bytes.len();
        vec![Act::Send(bytes[..cut].to_vec()), Act::Wait(1), Act::Send(bytes[cut..].to_vec())]
    });
    let tags = vec![holding(0), holding(1), tag(Area::HoldingRegister, 2, RegisterType::U32)];
    let said = run_until(vec![quick(device.port, 1, tags)], |r| good(&r[0], 2) > 40);
    assert_own(&said[0], 0, 0);
    assert_own(&said[0], 1, 1);
    assert_own(&said[0], 2, 0x0002_0003);
    assert_eq!((said[0].counted("bad_frames"), said[0].counted("timeouts")), (0, 0));
}

#[test]
fn an_answer_with_a_wrong_transaction_id_is_never_data() {
    let device = Device::start(|mut asked| {
        asked.transaction = asked.transaction.wrapping_add(1);
        own(asked)
    });
    let said = run_until(vec![quick(device.port, 1, vec![holding(7)])], |r| r[0].counted("unknown_replies") > 3);
    assert_eq!(good(&said[0], 0), 0);
    assert!(said[0].qualities(0).starts_with(&[Quality::BAD_TIMEOUT]));
}

#[test]
fn a_late_answer_is_never_data_of_another_request() {
    // A device that lags one answer behind: every answer comes after its timeout, while the next
    // request (of another register) is under way.
    let mut requests = 0;
    let device = Device::start(move |asked| {
        requests += 1;
        if requests % 4 == 0 { vec![Act::Wait(100), Act::Send(asked.own())] } else { own(asked) }
    });
    let lagging = quick(device.port, 1, vec![holding(7), holding(500)]);
    let said =
        run_until(vec![lagging], |r| r[0].counted("late_replies") > 3 && good(&r[0], 0) > 3 && good(&r[0], 1) > 3);
    assert_own(&said[0], 0, 7);
    assert_own(&said[0], 1, 500);
    assert!(said[0].counted("timeouts") > 3);
}

#[test]
fn doubled_answers_are_dropped_and_counted() {
    let device = Device::start(|asked| vec![Act::Send([asked.own(), asked.own()].concat())]);
    let tags = vec![holding(7), holding(500)];
    let said = run_until(vec![quick(device.port, 1, tags)], |r| r[0].counted("unknown_replies") > 10);
    assert_own(&said[0], 0, 7);
    assert_own(&said[0], 1, 500);
    assert_eq!(said[0].counted("reconnects"), 0);
}

#[test]
fn answers_out_of_order_find_their_requests() {
    let mut held: Vec<Asked> = Vec::new();
    let device = Device::start(move |asked| {
        held.push(asked);
        if held.len() < 4 {
            return Vec::new();
        }
        held.drain(..).rev().map(|asked| Act::Send(asked.own())).collect()
    });
    let tags = (0..4).map(|i| holding(i * 300)).collect();
    let mut pipelined = quick(device.port, 1, tags);
    (pipelined.depth, pipelined.timeout) = (Some(4), Duration::from_secs(5));
    let said = run_until(vec![pipelined], |r| good(&r[0], 3) > 20);
    for tag in 0..4 {
        assert_own(&said[0], tag, i64::from(tag) * 300);
        assert_eq!(said[0].qualities(tag), [Quality::GOOD]);
    }
}

#[test]
fn garbage_and_mismatches_close_the_connection_and_it_recovers() {
    for fault in 0..6 {
        let device = Device::start(move |asked| {
            if asked.connection > 0 {
                return own(asked);
            }
            let bytes = match fault {
                0 => b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(),
                1 => [&asked.own()[..2], &[0, 1], &asked.own()[4..]].concat(),
                2 => Asked { unit: asked.unit + 1, ..asked }.own(),
                3 => Asked { function: 4, ..asked }.own(),
                4 => Asked { quantity: asked.quantity + 1, ..asked }.own(),
                _ => [&asked.own()[..4], &[255, 255], &asked.own()[6..]].concat(),
            };
            vec![Act::Send(bytes)]
        });
        let said = run_until(vec![quick(device.port, 1, vec![holding(7)])], |r| good(&r[0], 0) > 3);
        assert_own(&said[0], 0, 7);
        assert_eq!((said[0].counted("bad_frames"), said[0].counted("reconnects")), (1, 1), "fault {fault}");
    }
}

#[test]
fn exceptions_are_qualities_of_their_tags_only() {
    for code in 1..=0x0B {
        let device = Device::start(move |asked| match asked.address {
            7 => vec![Act::Send(asked.exception(code))],
            _ => own(asked),
        });
        let tags = vec![holding(7), holding(500)];
        let said = run_until(vec![quick(device.port, 1, tags)], |r| !r[0].of(0).is_empty() && good(&r[0], 1) > 3);
        assert_eq!(said[0].of(0), [(None, Failure::Exception(code).quality())], "code {code:#04X}");
        assert_own(&said[0], 1, 500);
    }
}

#[test]
fn a_device_that_takes_connections_and_says_nothing_is_down_with_a_reason() {
    let device = Device::start(|_| Vec::new());
    let down = |r: &[Rc<Recorder>]| matches!(r[0].last_state(), Some(SourceState::Down { .. }));
    let said = run_until(vec![quick(device.port, 1, vec![holding(7)])], down);
    assert_eq!(said[0].qualities(0), [Quality::BAD_TIMEOUT, Quality::BAD_NO_COMMUNICATION]);
    let reason = said[0].last_state().map(|state| state.reason().to_owned()).unwrap_or_default();
    assert!(reason.contains("nothing answers") && reason.contains("check"), "{reason}");
    assert!(said[0].gaps.borrow().iter().any(|gap| gap.reason == GapReason::Timeout));
}

#[test]
fn one_byte_at_a_time_is_a_timeout_not_a_wait_for_ever() {
    let device = Device::start(|asked| match asked.address {
        7 => asked.own().into_iter().flat_map(|byte| [Act::Send(vec![byte]), Act::Wait(10)]).collect(),
        _ => own(asked),
    });
    let tags = vec![holding(7), holding(500)];
    let said = run_until(vec![quick(device.port, 1, tags)], |r| r[0].counted("late_replies") > 0 && good(&r[0], 1) > 0);
    assert_eq!(good(&said[0], 0), 0);
    assert_own(&said[0], 1, 500);
}

#[test]
fn one_silent_unit_behind_a_gateway_leaves_the_others_alone() {
    let gateway = Device::start(|asked| if asked.unit == 2 { Vec::new() } else { own(asked) });
    let said = run_until(vec![quick(gateway.port, 4, vec![holding(7)])], |r| {
        r[0].counted("demotions") > 0 && [0, 2, 3].iter().all(|tag| good(&r[0], *tag) > 20)
    });
    assert_eq!(said[0].qualities(1), [Quality::BAD_TIMEOUT, Quality::BAD_NO_COMMUNICATION]);
    for tag in [0, 2, 3] {
        assert_eq!(said[0].qualities(tag), [Quality::GOOD]);
    }
    assert_eq!(said[0].counted("reconnects"), 0);
    let paths: Vec<String> = said[0].tags.borrow().iter().map(|tag| tag.path.to_string()).collect();
    assert_eq!(paths[1], "site/device/u2/holding7");
}

#[test]
fn a_device_that_closes_and_comes_back_is_read_again() {
    let mut requests = 0;
    let device = Device::start(move |asked| {
        requests += 1;
        if requests % 10 == 0 { vec![Act::Close] } else { own(asked) }
    });
    let said = run_until(vec![quick(device.port, 1, vec![holding(7)])], |r| r[0].counted("reconnects") > 2);
    assert!(said[0].qualities(0).contains(&Quality::BAD_NO_COMMUNICATION));
    assert_own(&said[0], 0, 7);
    assert!(said[0].gaps.borrow().iter().any(|gap| gap.reason == GapReason::NotConnected));
}

#[test]
fn a_device_that_is_not_there_yet_is_found_when_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        Device::on(TcpListener::bind(("127.0.0.1", port)).expect("the same port"), own)
    });
    let mut named = quick(port, 1, vec![holding(7)]);
    named.address.host = "localhost".into();
    let said = run_until(vec![named], |r| good(&r[0], 0) > 3);
    drop(late.join());
    let states = said[0].states.borrow();
    assert!(states.iter().any(|state| state.reason().contains("refuses connections")), "{states:?}");
    assert_eq!(states.last(), Some(&SourceState::Running));
    assert!(said[0].counted("connect_failures") > 0);
}

#[test]
fn a_device_that_floods_delays_no_other_and_is_cut_off() {
    let flood = Device::start(|asked| {
        let strange = Asked { transaction: asked.transaction.wrapping_add(7), ..asked };
        vec![Act::Send((0..2000).flat_map(|_| strange.own()).collect())]
    });
    let well = Device::start(own);
    let sources = vec![quick(flood.port, 1, vec![holding(7)]), quick(well.port, 1, vec![holding(7)])];
    let said = run_until(sources, |r| r[0].counted("bad_frames") > 1 && good(&r[1], 0) > 50);
    assert_eq!(good(&said[0], 0), 0);
    assert_eq!(said[1].qualities(0), [Quality::GOOD]);
}

#[test]
fn skipped_cycles_of_a_slow_device_are_counted_and_a_gap() {
    let device = Device::start(|asked| vec![Act::Wait(50), Act::Send(asked.own())]);
    let slow = quick(device.port, 1, vec![holding(7)]);
    let said = run_until(vec![slow], |r| good(&r[0], 0) > 5 && r[0].counted("cycles_skipped") > 5);
    let gaps = said[0].gaps.borrow();
    let gap_count: u64 =
        gaps.iter().filter(|gap| gap.reason == GapReason::CycleSkipped).filter_map(|gap| gap.count).sum();
    assert_eq!(gap_count, said[0].counted("cycles_skipped"));
}

#[test]
fn refused_declarations_are_said_and_the_stop_still_works() {
    let recorder = Rc::new(Recorder::default());
    recorder.refuse_declare.set(true);
    let down = |r: &[Rc<Recorder>]| matches!(r[0].last_state(), Some(SourceState::Down { .. }));
    let said = run_with(vec![quick(1, 1, vec![holding(7)])], vec![recorder], down);
    let reason = said[0].last_state().map(|state| state.reason().to_owned()).unwrap_or_default();
    assert!(reason.contains(&Refused::Limit.to_string()), "{reason}");
}
