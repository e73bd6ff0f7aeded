use super::*;
use config::{ModbusTag, RegisterAddress, WordOrder};
use model::Quality;
use proptest::prelude::*;
use std::time::Duration;

const ORDERS: [WordOrder; 4] = [WordOrder::Abcd, WordOrder::Dcba, WordOrder::Badc, WordOrder::Cdab];

fn tag(area: Area, address: u16, kind: RegisterType) -> ModbusTag {
    ModbusTag {
        name: "t".into(),
        at: RegisterAddress { area, address, bit: None },
        kind,
        order: WordOrder::Abcd,
        scale: 1.0,
        offset: 0.0,
        unit: None,
        range: None,
        deadband: 0.0,
        heartbeat: Duration::ZERO,
        every: None,
    }
}

fn point(tag: &ModbusTag) -> Point {
    Point::new(0, tag).expect("registers hold registers")
}

fn holding(kind: RegisterType) -> ModbusTag {
    tag(Area::HoldingRegister, 40, kind)
}

fn scaled(kind: RegisterType, scale: f64, offset: f64) -> ModbusTag {
    ModbusTag { scale, offset, ..holding(kind) }
}

/// The registers that a write leaves in the device.
fn registers(write: &Write) -> Vec<u8> {
    match write {
        Write::Register { word, .. } => word.to_be_bytes().to_vec(),
        Write::Registers { words, .. } => words.iter().flat_map(|word| word.to_be_bytes()).collect(),
        other => panic!("{other:?} writes no whole registers"),
    }
}

fn there_and_back(tag: &ModbusTag, value: &Value) -> Option<Value> {
    let point = point(tag);
    let write = write(&point, value).unwrap_or_else(|unfit| panic!("{value:?} as {:?}: {unfit:?}", tag.kind));
    let bytes = registers(&write);
    if point.spec.is_text() {
        let (mut scratch, mut text) = (Vec::new(), String::new());
        point.spec.text(&bytes, &mut scratch, &mut text);
        return Some(Value::Text(text.into()));
    }
    point.spec.registers(&bytes).0
}

fn refused(tag: &ModbusTag, value: &Value) -> Unfit {
    write(&point(tag), value).expect_err("it does not fit")
}

#[test]
fn the_ends_of_every_whole_type_fit_and_the_next_do_not() {
    for (kind, least, most) in [
        (RegisterType::U16, 0_i64, 65_535),
        (RegisterType::I16, -32_768, 32_767),
        (RegisterType::U32, 0, 4_294_967_295),
        (RegisterType::I32, -2_147_483_648, 2_147_483_647),
        (RegisterType::U64, 0, i64::MAX),
        (RegisterType::I64, i64::MIN, i64::MAX),
    ] {
        for order in ORDERS {
            let tag = ModbusTag { order, ..holding(kind) };
            for value in [least, most] {
                assert_eq!(there_and_back(&tag, &Value::I64(value)), Some(Value::I64(value)), "{kind:?} {order:?}");
            }
        }
        for outside in [least.checked_sub(1), most.checked_add(1)].into_iter().flatten() {
            let unfit = refused(&holding(kind), &Value::I64(outside));
            assert_eq!(unfit, Unfit::Range { fits: format!("whole numbers from {least} to {most}") });
        }
        for outside in [f64::NAN, f64::INFINITY, 1e30, -1e30, 0.5] {
            let unfit = refused(&holding(kind), &Value::F64(outside));
            assert!(matches!(unfit, Unfit::Range { .. }), "{outside} as {kind:?}: {unfit:?}");
        }
        assert_eq!(there_and_back(&holding(kind), &Value::F64(100.0)), Some(Value::I64(100)));
    }
}

#[test]
fn a_scale_is_undone_to_its_step_and_never_wraps() {
    let tenths = scaled(RegisterType::I16, 0.1, 0.0);
    assert_eq!(write(&point(&tenths), &Value::F64(21.3)), Ok(Write::Register { address: 40, word: 213 }));
    assert_eq!(write(&point(&tenths), &Value::F64(21.34)), Ok(Write::Register { address: 40, word: 213 }));
    assert_eq!(write(&point(&tenths), &Value::I64(-21)), Ok(Write::Register { address: 40, word: 65_326 }));
    let unfit = refused(&tenths, &Value::F64(3_276.8));
    let Unfit::Range { fits } = unfit else { panic!("{unfit:?}") };
    assert!(fits.starts_with("numbers from -3276.8") && fits.ends_with("in steps of 0.1"), "{fits}");
    let offset = scaled(RegisterType::U16, 0.5, -40.0);
    assert_eq!(write(&point(&offset), &Value::F64(-40.0)), Ok(Write::Register { address: 40, word: 0 }));
    assert!(matches!(refused(&offset, &Value::F64(-40.5)), Unfit::Range { .. }));
    let wide = scaled(RegisterType::U64, 2.0, 0.0);
    assert!(matches!(refused(&wide, &Value::F64(4e19)), Unfit::Range { .. }));
    assert!(matches!(refused(&scaled(RegisterType::U16, 0.0, 0.0), &Value::F64(1.0)), Unfit::Range { .. }));
}

#[test]
fn floats_take_what_their_precision_holds() {
    for order in ORDERS {
        for kind in [RegisterType::F32, RegisterType::F64] {
            let tag = ModbusTag { order, ..holding(kind) };
            assert_eq!(there_and_back(&tag, &Value::F64(-123.5)), Some(Value::F64(-123.5)));
            assert_eq!(there_and_back(&tag, &Value::I64(180)), Some(Value::F64(180.0)));
            for value in [f64::NAN, f64::NEG_INFINITY] {
                assert!(matches!(refused(&tag, &Value::F64(value)), Unfit::Range { .. }));
            }
        }
    }
    assert!(matches!(refused(&holding(RegisterType::F32), &Value::F64(1e39)), Unfit::Range { .. }));
    assert_eq!(refused(&holding(RegisterType::F32), &Value::Bool(true)), Unfit::Kind { expected: "a number" });
}

#[test]
fn one_bit_is_a_mask_and_its_neighbours_stay() {
    for order in ORDERS {
        for bit in 0..16 {
            let mut tag = ModbusTag { order, ..holding(RegisterType::Bool) };
            tag.at.bit = Some(bit);
            for on in [true, false] {
                let Ok(Write::Mask { address: 40, and, or }) = write(&point(&tag), &Value::Bool(on)) else {
                    panic!("a bit is written by mask");
                };
                for old in [0_u16, 0xFFFF, 0x1234] {
                    let new = (old & and) | (or & !and);
                    assert!((old ^ new).count_ones() <= 1);
                    let read = point(&tag).spec.registers(&new.to_be_bytes());
                    assert_eq!(read, (Some(Value::Bool(on)), Quality::GOOD), "{order:?} bit {bit}");
                }
            }
        }
    }
    let whole = holding(RegisterType::Bool);
    assert_eq!(write(&point(&whole), &Value::I64(1)), Ok(Write::Register { address: 40, word: 1 }));
    assert_eq!(refused(&whole, &Value::I64(2)), Unfit::Kind { expected: "true or false" });
}

#[test]
fn only_coils_and_holding_registers_are_written() {
    let coil = tag(Area::Coil, 3, RegisterType::Bool);
    assert_eq!(write(&point(&coil), &Value::Bool(true)), Ok(Write::Coil { address: 3, on: true }));
    for (area, kind) in [(Area::DiscreteInput, RegisterType::Bool), (Area::InputRegister, RegisterType::U16)] {
        let unfit = refused(&tag(area, 3, kind), &Value::I64(1));
        assert!(matches!(unfit, Unfit::NotWritable(_)), "{unfit:?}");
    }
    let last = tag(Area::HoldingRegister, 65_535, RegisterType::U32);
    assert!(matches!(refused(&last, &Value::I64(1)), Unfit::NotWritable(_)));
}

#[test]
fn text_is_filled_up_and_never_cut() {
    for order in ORDERS {
        let tag = ModbusTag { order, ..holding(RegisterType::Text { registers: 4 }) };
        for text in ["", "A", "Ab12", "Öl-12b", "12345678"] {
            assert_eq!(there_and_back(&tag, &Value::Text(text.into())), Some(Value::Text(text.into())));
        }
        for text in ["123456789", "a\0b", "blank "] {
            assert!(matches!(refused(&tag, &Value::Text(text.into())), Unfit::Range { .. }), "{text:?}");
        }
        assert_eq!(refused(&tag, &Value::I64(1)), Unfit::Kind { expected: "text" });
    }
    let long = holding(RegisterType::Text { registers: 124 });
    assert!(matches!(refused(&long, &Value::Text("x".into())), Unfit::NotWritable(_)));
}

proptest! {
    /// E1: what is accepted decodes to the same value, to half a step of the scale.
    #[test]
    fn what_is_accepted_reads_back(
        kind in 0_usize..8, order in 0_usize..4, value in any::<f64>(), scale in -100.0_f64..100.0, offset in -1e6_f64..1e6,
    ) {
        let kinds = [
            RegisterType::U16, RegisterType::I16, RegisterType::U32, RegisterType::I32,
            RegisterType::U64, RegisterType::I64, RegisterType::F32, RegisterType::F64,
        ];
        let tag = ModbusTag { order: ORDERS[order], ..scaled(kinds[kind], scale, offset) };
        for value in [value, value % 1e5] {
            if let Ok(write) = write(&point(&tag), &Value::F64(value)) {
                let read = point(&tag).spec.registers(&registers(&write)).0.and_then(|read| read.as_f64());
                let read = read.expect("a number");
                let step = if kind < 6 { scale.abs() * 0.5001 } else { 0.0 };
                // half a step, and what floating-point arithmetic of this size loses on both ways
                let lost = (value.abs() + offset.abs()) * if kind == 6 { 1e-6 } else { 1e-12 } + scale.abs() * 1e-30;
                prop_assert!((read - value).abs() <= step + lost, "{value} became {read} with scale {scale}, offset {offset}");
            }
        }
    }
}
