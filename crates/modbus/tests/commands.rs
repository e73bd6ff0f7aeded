//! Commands through the whole source against the server of tokio-modbus, whose codec is not ours:
//! what is written stands in its memory as the names of types and orders say.

mod support;

use config::{Area, ModbusSource, ModbusTag, RegisterType, WordOrder};
use env::Clock;
use model::device::{Commander, DeviceAnswer, DeviceCommand, DeviceError, commands};
use model::{Quality, SourceState, Value};
use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use support::recorder::Recorder;
use support::settings::{source, tag};
use support::{RealClock, SleepAlarm};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// Addresses of the server; one past the end is exception 02.
const ADDRESSES: u16 = 3000;
/// Longest wait for what should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server holds, by unit and address, and the functions it was asked for.
#[derive(Default)]
struct Memory {
    registers: BTreeMap<(u8, u16), u16>,
    coils: BTreeMap<(u8, u16), bool>,
    writes: Vec<u8>,
}

#[derive(Clone, Default)]
struct Plc(Arc<Mutex<Memory>>);

impl Plc {
    fn words(&self, unit: u8, from: u16, count: u16) -> Vec<u16> {
        let memory = self.0.lock().expect("not poisoned");
        (from..from + count).map(|at| memory.registers.get(&(unit, at)).copied().unwrap_or(0)).collect()
    }

    fn writes(&self) -> Vec<u8> {
        self.0.lock().expect("not poisoned").writes.clone()
    }

    fn answer(&self, asked: &SlaveRequest<'static>) -> Result<Response, ExceptionCode> {
        let unit = asked.slave;
        let end = |from: u16, count: usize| {
            let within = usize::from(from) + count <= usize::from(ADDRESSES);
            within.then_some(()).ok_or(ExceptionCode::IllegalDataAddress)
        };
        let mut memory = self.0.lock().expect("not poisoned");
        let register = |memory: &Memory, at: u16| memory.registers.get(&(unit, at)).copied().unwrap_or(0);
        if !matches!(asked.request, Request::ReadCoils(..) | Request::ReadHoldingRegisters(..)) {
            memory.writes.push(asked.request.function_code().value());
        }
        match &asked.request {
            Request::ReadCoils(from, count) => {
                end(*from, usize::from(*count))?;
                let coil = |at| memory.coils.get(&(unit, at)).copied().unwrap_or(false);
                Ok(Response::ReadCoils((*from..from + count).map(coil).collect()))
            }
            Request::ReadHoldingRegisters(from, count) => {
                end(*from, usize::from(*count))?;
                let words = (*from..from + count).map(|at| register(&memory, at)).collect();
                Ok(Response::ReadHoldingRegisters(words))
            }
            Request::WriteSingleCoil(at, on) => {
                end(*at, 1)?;
                memory.coils.insert((unit, *at), *on);
                Ok(Response::WriteSingleCoil(*at, *on))
            }
            Request::WriteSingleRegister(at, word) => {
                end(*at, 1)?;
                memory.registers.insert((unit, *at), *word);
                Ok(Response::WriteSingleRegister(*at, *word))
            }
            Request::WriteMultipleRegisters(from, words) => {
                end(*from, words.len())?;
                memory.registers.extend((*from..).map(|at| (unit, at)).zip(words.iter().copied()));
                Ok(Response::WriteMultipleRegisters(*from, words.len() as u16))
            }
            Request::MaskWriteRegister(at, and, or) => {
                end(*at, 1)?;
                let new = (register(&memory, *at) & and) | (or & !and);
                memory.registers.insert((unit, *at), new);
                Ok(Response::MaskWriteRegister(*at, *and, *or))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }
}

impl Service for Plc {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, asked: Self::Request) -> Self::Future {
        ready(self.answer(&asked))
    }
}

/// Starts the server on a thread of its own; it lives as long as the test.
fn serve(plc: Plc) -> u16 {
    let (say, port) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            say.send(listener.local_addr().expect("bound").port()).expect("the test listens");
            let server = Server::new(listener);
            let connected = |stream, address| {
                let plc = plc.clone();
                async move { accept_tcp_connection(stream, address, move |_| Ok(Some(plc.clone()))) }
            };
            let _ = server.serve(&connected, |_| ()).await;
        });
    });
    port.recv().expect("the server starts")
}

/// A source that runs, and a way to command it.
struct Bench {
    commander: Commander,
    said: Rc<Recorder>,
    clock: Rc<dyn Clock>,
}

impl Bench {
    async fn command(&self, command: DeviceCommand) -> Result<DeviceAnswer, DeviceError> {
        let deadline = self.clock.monotonic_ns() + 10_000_000_000;
        tokio::time::timeout(PATIENCE, self.commander.submit(command, deadline)).await.expect("it is answered")
    }

    async fn write(&self, tag: &str, value: Value) -> Result<DeviceAnswer, DeviceError> {
        self.command(DeviceCommand::Write { tag: tag.into(), value }).await
    }

    async fn read(&self, tags: &[String]) -> Vec<(Option<Value>, Quality)> {
        let answer = self.command(DeviceCommand::Read { tags: tags.to_vec() }).await.expect("it reads");
        let DeviceAnswer::Values(values) = answer else { panic!("a read answers values") };
        assert!(values.iter().map(|(name, ..)| name).eq(tags));
        values.into_iter().map(|(_, value, quality)| (value, quality)).collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Recorder) -> bool) {
        let begun = Instant::now();
        while !holds(&self.said) {
            assert!(begun.elapsed() < PATIENCE, "never: {what}; states {:?}", self.said.states.borrow());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Runs a source, and a test beside it on the same thread.
fn with_source<F: Future<Output = ()>>(settings: ModbusSource, test: impl FnOnce(Bench) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let clock: Rc<dyn Clock> = Rc::new(RealClock(Instant::now()));
        let (commander, commands) = commands(64);
        let said = Rc::new(Recorder::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let alarm = Box::new(SleepAlarm { clock: clock.clone(), sleep: None });
        let (intake, time) = (said.clone(), millstream_modbus::Time { clock: clock.clone(), alarm });
        let run = millstream_modbus::run("plc".into(), "site/plc".into(), settings, intake, time, stopped, commands);
        let running = tokio::task::spawn_local(run);
        test(Bench { commander: commander.clone(), said, clock: clock.clone() }).await;
        let late = commander.submit(DeviceCommand::Read { tags: vec![] }, u64::MAX);
        stop.send(()).expect("the source listens");
        running.await.expect("the source ends cleanly");
        // Answered by the source, or closed with it; never without an answer.
        assert!(matches!(late.await, Ok(DeviceAnswer::Values(_)) | Err(DeviceError::Closed)));
    });
}

const KINDS: [RegisterType; 8] = [
    RegisterType::U16,
    RegisterType::I16,
    RegisterType::U32,
    RegisterType::I32,
    RegisterType::U64,
    RegisterType::I64,
    RegisterType::F32,
    RegisterType::F64,
];
const ORDERS: [WordOrder; 4] = [WordOrder::Abcd, WordOrder::Dcba, WordOrder::Badc, WordOrder::Cdab];

/// A tag of every type and order, plain and scaled, four registers apart.
fn tags() -> Vec<ModbusTag> {
    let mut tags = Vec::new();
    for kind in KINDS {
        for order in ORDERS {
            for scaled in [false, true] {
                let mut tag = tag(Area::HoldingRegister, tags.len() as u16 * 4, kind);
                tag.order = order;
                if scaled {
                    (tag.scale, tag.offset) = (0.25, -7.0);
                }
                tags.push(tag);
            }
        }
    }
    tags
}

/// The registers that a raw value of a type takes, worked out from the names of the orders.
fn expected(kind: RegisterType, order: WordOrder, raw: f64) -> Vec<u16> {
    let bytes: Vec<u8> = match kind {
        RegisterType::U16 => (raw as u16).to_be_bytes().to_vec(),
        RegisterType::I16 => (raw as i16).to_be_bytes().to_vec(),
        RegisterType::U32 => (raw as u32).to_be_bytes().to_vec(),
        RegisterType::I32 => (raw as i32).to_be_bytes().to_vec(),
        RegisterType::U64 => (raw as u64).to_be_bytes().to_vec(),
        RegisterType::I64 => (raw as i64).to_be_bytes().to_vec(),
        RegisterType::F32 => (raw as f32).to_be_bytes().to_vec(),
        _ => raw.to_be_bytes().to_vec(),
    };
    let name = match (order, bytes.len()) {
        (WordOrder::Abcd | WordOrder::Cdab, 2) => "AB",
        (_, 2) => "BA",
        (WordOrder::Abcd, 4) => "ABCD",
        (WordOrder::Dcba, 4) => "DCBA",
        (WordOrder::Badc, 4) => "BADC",
        (WordOrder::Cdab, 4) => "CDAB",
        (WordOrder::Abcd, _) => "ABCDEFGH",
        (WordOrder::Dcba, _) => "HGFEDCBA",
        (WordOrder::Badc, _) => "BADCFEHG",
        (WordOrder::Cdab, _) => "GHEFCDAB",
    };
    let sent: Vec<u8> = name.bytes().map(|letter| bytes[usize::from(letter - b'A')]).collect();
    sent.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

fn is_signed(kind: RegisterType) -> bool {
    !matches!(kind, RegisterType::U16 | RegisterType::U32 | RegisterType::U64)
}

#[test]
fn every_type_and_order_is_written_as_its_name_says_and_reads_back() {
    for depth in [1, 4] {
        let plc = Plc::default();
        let (tags, port) = (tags(), serve(plc.clone()));
        let settings =
            ModbusSource { depth: Some(depth), timeout: Duration::from_secs(10), ..source(port, 1, tags.clone()) };
        with_source(settings, async |bench: Bench| {
            bench.until("polls", |said| said.last(0).is_some()).await;
            let mut names = Vec::new();
            let mut values = Vec::new();
            for (tag, i) in tags.iter().zip(1_i16..) {
                let raw = f64::from(if is_signed(tag.kind) && i % 2 == 0 { -30 * i } else { 40 * i });
                let is_plain = tag.scale == 1.0;
                let value = if is_plain { raw } else { raw * tag.scale + tag.offset };
                let whole = is_plain && !matches!(tag.kind, RegisterType::F32 | RegisterType::F64);
                let value = if whole { Value::I64(value as i64) } else { Value::F64(value) };
                assert_eq!(bench.write(&tag.name, value.clone()).await, Ok(DeviceAnswer::Written), "{tag:?}");
                let stands = plc.words(1, tag.at.address, tag.kind.registers());
                assert_eq!(stands, expected(tag.kind, tag.order, raw), "{:?} {:?} {value:?}", tag.kind, tag.order);
                names.push(tag.name.clone());
                values.push((Some(value), Quality::GOOD));
            }
            assert_eq!(bench.read(&names).await, values);
            bench
                .until("the polls see it", |said| (0..).zip(&values).all(|(tag, v)| said.last(tag).as_ref() == Some(v)))
                .await;
        });
        assert_eq!(plc.writes().len(), tags.len(), "no write was sent twice");
    }
}

#[test]
fn bits_coils_and_texts_are_written_and_nothing_beside_them() {
    let plc = Plc::default();
    let port = serve(plc.clone());
    plc.0.lock().expect("not poisoned").registers.insert((1, 30), 0b1010_0000_0101_0001);
    let mut bit = tag(Area::HoldingRegister, 30, RegisterType::Bool);
    bit.at.bit = Some(3);
    let text = tag(Area::HoldingRegister, 40, RegisterType::Text { registers: 5 });
    let tags = vec![bit, tag(Area::Coil, 9, RegisterType::Bool), text];
    with_source(source(port, 1, tags), async |bench: Bench| {
        bench.until("polls", |said| said.last_state() == Some(SourceState::Running)).await;
        assert_eq!(bench.write("holding30", Value::Bool(true)).await, Ok(DeviceAnswer::Written));
        assert_eq!(plc.words(1, 30, 1), [0b1010_0000_0101_1001]);
        assert_eq!(bench.write("holding30", Value::Bool(false)).await, Ok(DeviceAnswer::Written));
        assert_eq!(plc.words(1, 30, 1), [0b1010_0000_0101_0001]);
        assert_eq!(bench.write("coil9", Value::I64(1)).await, Ok(DeviceAnswer::Written));
        assert_eq!(bench.write("holding40", Value::Text("Öfen 7".into())).await, Ok(DeviceAnswer::Written));
        let read = bench.read(&["holding40", "coil9"].map(str::to_owned)).await;
        assert_eq!(read[0].0, Some(Value::Text("Öfen 7".into())));
        assert_eq!(read[1].0, Some(Value::Bool(true)));
    });
    assert_eq!(plc.writes(), [0x16, 0x16, 0x05, 0x10]);
}

#[test]
fn units_behind_a_gateway_are_written_by_their_names() {
    let plc = Plc::default();
    let limit = tag(Area::HoldingRegister, 5, RegisterType::U16);
    with_source(source(serve(plc.clone()), 3, vec![limit]), async |bench: Bench| {
        bench.until("polls", |said| said.last_state() == Some(SourceState::Running)).await;
        assert_eq!(bench.write("u2/holding5", Value::I64(7)).await, Ok(DeviceAnswer::Written));
        assert_eq!([1, 2, 3].map(|unit| plc.words(unit, 5, 1)[0]), [0, 7, 0]);
        let read = bench.read(&["u3/holding5", "u2/holding5"].map(str::to_owned)).await;
        assert_eq!([&read[0].0, &read[1].0], [&Some(Value::I64(0)), &Some(Value::I64(7))]);
        let error = bench.write("holding5", Value::I64(7)).await.expect_err("which unit?");
        assert!(matches!(&error, DeviceError::UnknownTag { nearest: Some(_), .. }), "{error}");
    });
}

#[test]
fn a_refusal_names_its_exception_and_the_polls_go_on() {
    let plc = Plc::default();
    let tags = vec![
        tag(Area::HoldingRegister, 5, RegisterType::U16),
        tag(Area::HoldingRegister, ADDRESSES, RegisterType::U16),
    ];
    with_source(source(serve(plc.clone()), 1, tags), async |bench: Bench| {
        bench.until("polls", |said| said.last(0).is_some_and(|(value, _)| value.is_some())).await;
        let error = bench.write("holding3000", Value::I64(1)).await.expect_err("no such register");
        let DeviceError::Device { code, text } = &error else { panic!("{error:?}") };
        assert!(code == "02" && text.starts_with("illegal data address"), "{error}");
        let read = bench.command(DeviceCommand::Read { tags: vec!["holding3000".into()] }).await;
        assert!(matches!(&read, Err(DeviceError::Device { code, .. }) if code == "02"), "{read:?}");
        let before = bench.said.of(0).len();
        bench.until("the polls go on", |said| said.of(0).len() > before + 2).await;
        assert_eq!(bench.said.counted("reconnects"), 0);
    });
}

#[test]
fn a_device_that_is_away_refuses_at_once_with_the_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    with_source(source(port, 1, vec![tag(Area::HoldingRegister, 5, RegisterType::U16)]), async |bench: Bench| {
        bench.until("a failure", |said| said.last_state().is_some_and(|state| state.word() == "down")).await;
        let error = bench.write("holding5", Value::I64(1)).await.expect_err("nobody is there");
        assert!(matches!(&error, DeviceError::NotConnected { why } if why.contains("refuses connections")), "{error}");
    });
}
