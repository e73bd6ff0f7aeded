//! The source against the server of tokio-modbus, whose codec is not ours: every kind, order and
//! area, joined into requests in many ways, must give what stands in the server's memory.

mod support;

use config::{Area, ModbusTag, RegisterType, WordOrder};
use model::Value;
use std::future::{Ready, ready};
use std::sync::mpsc;
use support::recorder::Recorder;
use support::run_until;
use support::settings::{source, tag};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// Addresses of the server; one past the end is exception 02.
const ADDRESSES: u16 = 3000;

/// A register by area and address: SplitMix64 of both.
fn word(area: u8, address: u16) -> u16 {
    let mut z = (u64::from(area) << 32 | u64::from(address)).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 27)) as u16
}

struct Memory;

impl Service for Memory {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, asked: Self::Request) -> Self::Future {
        let words = |area, from: u16, count: u16| -> Result<Vec<u16>, ExceptionCode> {
            let end = from.checked_add(count).filter(|end| *end <= ADDRESSES);
            end.map(|end| (from..end).map(|a| word(area, a)).collect()).ok_or(ExceptionCode::IllegalDataAddress)
        };
        let bits = |area, from, count| -> Result<Vec<bool>, ExceptionCode> {
            Ok(words(area, from, count)?.into_iter().map(|word| word & 1 == 1).collect())
        };
        ready(match asked.request {
            Request::ReadCoils(from, count) => bits(0, from, count).map(Response::ReadCoils),
            Request::ReadDiscreteInputs(from, count) => bits(1, from, count).map(Response::ReadDiscreteInputs),
            Request::ReadInputRegisters(from, count) => words(3, from, count).map(Response::ReadInputRegisters),
            Request::ReadHoldingRegisters(from, count) => words(4, from, count).map(Response::ReadHoldingRegisters),
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

/// Starts the server on a thread of its own; it lives as long as the test.
fn serve() -> u16 {
    let (say, port) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            say.send(listener.local_addr().expect("bound").port()).expect("the test listens");
            let server = Server::new(listener);
            let connected =
                |stream, address| async move { accept_tcp_connection(stream, address, |_| Ok(Some(Memory))) };
            let _ = server.serve(&connected, |_| ()).await;
        });
    });
    port.recv().expect("the server starts")
}

fn number(area: Area) -> u8 {
    match area {
        Area::Coil => 0,
        Area::DiscreteInput => 1,
        Area::InputRegister => 3,
        Area::HoldingRegister => 4,
    }
}

/// The value that memory holds, worked out from the names of the orders.
fn expected(tag: &ModbusTag) -> Value {
    let area = number(tag.at.area);
    let registers = if matches!(tag.kind, RegisterType::Bool) { 1 } else { tag.kind.registers() };
    let sent: Vec<u8> = (0..registers).flat_map(|i| word(area, tag.at.address + i).to_be_bytes()).collect();
    let name = match (tag.order, sent.len()) {
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
    let mut value = vec![0; sent.len()];
    name.bytes().zip(&sent).for_each(|(letter, byte)| value[usize::from(letter - b'A')] = *byte);
    let raw = value.iter().fold(0_u64, |raw, byte| raw << 8 | u64::from(*byte));
    let scaled = |raw: f64| Value::F64(raw * tag.scale + tag.offset);
    let whole = |raw: i64| if tag.scale == 1.0 && tag.offset == 0.0 { Value::I64(raw) } else { scaled(raw as f64) };
    match tag.kind {
        RegisterType::Bool if !tag.at.area.is_registers() => Value::Bool(word(area, tag.at.address) & 1 == 1),
        RegisterType::Bool => Value::Bool(raw >> tag.at.bit.unwrap_or(0) & 1 == 1),
        RegisterType::U16 | RegisterType::U32 => whole(raw as i64),
        RegisterType::I16 => whole(i64::from(raw as u16 as i16)),
        RegisterType::I32 => whole(i64::from(raw as u32 as i32)),
        RegisterType::I64 => whole(raw as i64),
        RegisterType::F32 => scaled(f64::from(f32::from_bits(raw as u32))),
        _ => scaled(f64::from_bits(raw)),
    }
}

/// Tags of every kind, order and area, thrown over the addresses.
fn tags(seed: u8) -> Vec<ModbusTag> {
    let kinds = [
        RegisterType::Bool,
        RegisterType::U16,
        RegisterType::I16,
        RegisterType::U32,
        RegisterType::I32,
        RegisterType::I64,
        RegisterType::F32,
        RegisterType::F64,
    ];
    let orders = [WordOrder::Abcd, WordOrder::Dcba, WordOrder::Badc, WordOrder::Cdab];
    let areas = [Area::Coil, Area::DiscreteInput, Area::InputRegister, Area::HoldingRegister];
    let pick = |i: u16, what: u8| usize::from(word(seed.wrapping_add(10 + what), i));
    (0..400)
        .map(|i| {
            let area = areas[pick(i, 0) % areas.len()];
            let kind = if area.is_registers() { kinds[pick(i, 1) % kinds.len()] } else { RegisterType::Bool };
            let mut tag = tag(area, (pick(i, 2) % (usize::from(ADDRESSES) - 4)) as u16, kind);
            tag.name = format!("tag{i}");
            tag.order = orders[pick(i, 3) % orders.len()];
            if pick(i, 4) % 3 == 0 {
                (tag.scale, tag.offset) = (0.25, -7.0);
            }
            if area.is_registers() && kind == RegisterType::Bool {
                tag.at.bit = Some((pick(i, 5) % 16) as u8);
            }
            tag
        })
        .collect()
}

fn assert_memory(said: &Recorder, tags: &[ModbusTag]) {
    for (tag, id) in tags.iter().zip(0..) {
        let value = said.last(id).and_then(|(value, _)| value).unwrap_or_else(|| panic!("{} has no value", tag.at));
        let same = match (&value, &expected(tag)) {
            (Value::F64(ours), Value::F64(theirs)) => {
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan())
            }
            (ours, theirs) => ours == theirs,
        };
        assert!(same, "{} {:?} {:?}: {value:?}, not {:?}", tag.at, tag.kind, tag.order, expected(tag));
    }
}

#[test]
fn every_kind_and_order_is_what_the_reference_server_holds() {
    let port = serve();
    for (seed, depth, gap, registers) in [(0, 1, 16, 125), (1, 4, 0, 125), (2, 16, 100, 20), (3, 2, 3, 4)] {
        let tags = tags(seed);
        let mut settings = source(port, 1, tags.clone());
        (settings.depth, settings.coalesce_gap, settings.max_registers) = (Some(depth), Some(gap), registers);
        (settings.every, settings.timeout) = (std::time::Duration::from_secs(1), std::time::Duration::from_secs(10));
        let said = run_until(vec![settings], |r| (0..400).all(|tag| r[0].last(tag).is_some()));
        assert_memory(&said[0], &tags);
    }
}

#[test]
fn a_request_past_the_end_is_split_and_only_its_own_tags_are_bad() {
    let port = serve();
    let ends = [ADDRESSES - 3, ADDRESSES - 1, ADDRESSES + 1].map(|a| tag(Area::HoldingRegister, a, RegisterType::U16));
    let said = run_until(vec![source(port, 1, ends.to_vec())], |r| {
        (0..3).all(|tag| r[0].of(tag).len() > usize::from(tag < 2) * 3)
    });
    assert_memory(&said[0], &ends[..2]);
    assert_eq!(said[0].of(2), [(None, model::Quality::BAD_NODE_ID_UNKNOWN)]);
}
