use super::*;
use config::{Area, RegisterAddress};
use std::time::Duration;

fn tag(kind: RegisterType, order: WordOrder) -> ModbusTag {
    ModbusTag {
        name: "t".into(),
        at: RegisterAddress { area: Area::HoldingRegister, address: 0, bit: None },
        kind,
        order,
        scale: 1.0,
        offset: 0.0,
        unit: None,
        range: None,
        deadband: 0.0,
        heartbeat: Duration::ZERO,
        every: None,
    }
}

const ORDERS: [WordOrder; 4] = [WordOrder::Abcd, WordOrder::Dcba, WordOrder::Badc, WordOrder::Cdab];

#[test]
fn every_order_of_two_and_four_registers_is_the_same_value() {
    let two = [[0x01, 0x02, 0x03, 0x04], [4, 3, 2, 1], [2, 1, 4, 3], [3, 4, 1, 2]];
    let four = [[1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1], [2, 1, 4, 3, 6, 5, 8, 7], [7, 8, 5, 6, 3, 4, 1, 2]];
    for (i, order) in ORDERS.into_iter().enumerate() {
        let u32_spec = Spec::new(&tag(RegisterType::U32, order));
        assert_eq!(u32_spec.registers(&two[i]), (Some(Value::I64(0x0102_0304)), Quality::GOOD), "{order:?}");
        let u64_spec = Spec::new(&tag(RegisterType::U64, order));
        assert_eq!(u64_spec.registers(&four[i]), (Some(Value::I64(0x0102_0304_0506_0708)), Quality::GOOD), "{order:?}");
        let one = if matches!(order, WordOrder::Abcd | WordOrder::Cdab) { [1, 2] } else { [2, 1] };
        let u16_spec = Spec::new(&tag(RegisterType::U16, order));
        assert_eq!(u16_spec.registers(&one), (Some(Value::I64(0x0102)), Quality::GOOD), "{order:?}");
    }
}

#[test]
fn floats_come_back_in_every_order() {
    for order in ORDERS {
        let f32_bytes = 123.5_f32.to_be_bytes();
        let [a, b, c, d] = f32_bytes;
        let sent = match order {
            WordOrder::Abcd => [a, b, c, d],
            WordOrder::Dcba => [d, c, b, a],
            WordOrder::Badc => [b, a, d, c],
            WordOrder::Cdab => [c, d, a, b],
        };
        let spec = Spec::new(&tag(RegisterType::F32, order));
        assert_eq!(spec.registers(&sent).0, Some(Value::F64(123.5)));
    }
    let spec = Spec::new(&tag(RegisterType::F64, WordOrder::Abcd));
    assert_eq!(spec.registers(&(-0.25_f64).to_be_bytes()).0, Some(Value::F64(-0.25)));
}

#[test]
fn signs_scales_and_kinds() {
    let plain = |kind| Spec::new(&tag(kind, WordOrder::Abcd));
    assert_eq!(plain(RegisterType::I16).registers(&[0xFF, 0xFE]).0, Some(Value::I64(-2)));
    assert_eq!(plain(RegisterType::U16).registers(&[0xFF, 0xFE]).0, Some(Value::I64(65_534)));
    assert_eq!(plain(RegisterType::I32).registers(&[0xFF; 4]).0, Some(Value::I64(-1)));
    assert_eq!(plain(RegisterType::U32).registers(&[0xFF; 4]).0, Some(Value::I64(0xFFFF_FFFF)));
    assert_eq!(plain(RegisterType::I64).registers(&[0xFF; 8]).0, Some(Value::I64(-1)));
    let scaled = Spec::new(&ModbusTag { scale: 0.5, offset: 10.0, ..tag(RegisterType::I16, WordOrder::Abcd) });
    assert_eq!(scaled.registers(&[0, 5]).0, Some(Value::F64(12.5)));
    assert_eq!((scaled.value_kind(), plain(RegisterType::I16).value_kind()), (ValueKind::F64, ValueKind::I64));
    let bit = |bit| {
        let mut one = tag(RegisterType::Bool, WordOrder::Abcd);
        one.at.bit = bit;
        Spec::new(&one).registers(&[0x80, 0x08]).0
    };
    assert_eq!((bit(Some(3)), bit(Some(4))), (Some(Value::Bool(true)), Some(Value::Bool(false))));
    assert_eq!((bit(Some(15)), bit(None)), (Some(Value::Bool(true)), Some(Value::Bool(true))));
}

#[test]
fn what_looks_wrong_is_kept_and_marked() {
    let float = Spec::new(&ModbusTag { range: Some([0.0, 250.0]), ..tag(RegisterType::F32, WordOrder::Abcd) });
    let (value, quality) = float.registers(&f32::NAN.to_be_bytes());
    assert!(matches!(value, Some(Value::F64(v)) if v.is_nan()) && quality == UNCERTAIN);
    assert_eq!(float.registers(&f32::INFINITY.to_be_bytes()).1, UNCERTAIN);
    assert_eq!(float.registers(&251.0_f32.to_be_bytes()), (Some(Value::F64(251.0)), UNCERTAIN_UNITS_EXCEEDED));
    assert_eq!(float.registers(&250.0_f32.to_be_bytes()).1, Quality::GOOD);
    let whole = Spec::new(&ModbusTag { range: Some([0.0, 9.0]), ..tag(RegisterType::I16, WordOrder::Abcd) });
    assert_eq!(whole.registers(&[0xFF, 0xFF]), (Some(Value::I64(-1)), UNCERTAIN_UNITS_EXCEEDED));
}

#[test]
fn what_cannot_be_held_is_no_value() {
    let spec = Spec::new(&tag(RegisterType::U64, WordOrder::Abcd));
    assert_eq!(spec.registers(&[0xFF; 8]), (None, Quality::BAD_OUT_OF_RANGE));
    for kind in [RegisterType::U16, RegisterType::U32, RegisterType::F64, RegisterType::Bool] {
        assert_eq!(Spec::new(&tag(kind, WordOrder::Abcd)).registers(&[1]), (None, Quality::BAD_DECODING));
    }
}

#[test]
fn text_stops_at_nul_and_survives_any_byte() {
    let read = |order, bytes: &[u8]| {
        let (mut scratch, mut text) = (Vec::new(), String::new());
        Spec::new(&tag(RegisterType::Text { registers: 4 }, order)).text(bytes, &mut scratch, &mut text);
        text
    };
    assert_eq!(read(WordOrder::Abcd, b"PUMP\0Xyz"), "PUMP");
    assert_eq!(read(WordOrder::Badc, b"UPPM12  "), "PUMP21");
    assert_eq!(read(WordOrder::Abcd, &[0xFF, b'a', 0xC3, 0xA9]), "\u{FFFD}aé");
    assert_eq!(read(WordOrder::Abcd, &[]), "");
}

#[test]
fn bits_count_from_the_least_significant() {
    assert_eq!(bit_at(&[0b0000_0101, 0x80], 0), Some(true));
    assert_eq!(bit_at(&[0b0000_0101, 0x80], 1), Some(false));
    assert_eq!(bit_at(&[0b0000_0101, 0x80], 15), Some(true));
    assert_eq!(bit_at(&[0b0000_0101, 0x80], 16), None);
}
