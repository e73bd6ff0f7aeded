//! Values, types and times, by table.

use super::*;
use opcua::types::{Array, ByteString, DateTime, ExtensionObject, LocalizedText, UAString, VariantScalarTypeId};

#[test]
fn ticks_since_1601_become_nanoseconds_since_1970() {
    for (ticks, expected) in [
        (UNIX_EPOCH_TICKS, Some(0)),
        (UNIX_EPOCH_TICKS + 1, Some(100)),
        (UNIX_EPOCH_TICKS - 10_000_000, Some(-1_000_000_000)),
        (133_500_000_000_000_000, Some(1_705_526_400_000_000_000)),
        (0, None),
        (-5, None),
        (i64::MAX, None),
        (2_650_467_743_990_000_000, None), // 9999-12-31T23:59:59
    ] {
        assert_eq!(unix_ns(ticks), expected.map(TimestampNs), "{ticks}");
    }
}

#[test]
fn times_that_mean_none_are_none() {
    let with = |at: Option<DateTime>| DataValue { source_timestamp: at, ..DataValue::default() };
    assert_eq!(source_time(&with(None)), None);
    assert_eq!(source_time(&with(Some(DateTime::epoch()))), None);
    assert_eq!(source_time(&with(Some(DateTime::endtimes()))), None);
    let mut value = with(Some(DateTime::ymd_hms(2026, 1, 31, 12, 0, 0)));
    assert_eq!(source_time(&value).map(|t| t.to_string()).as_deref(), Some("2026-01-31T12:00:00.000000000Z"));
    value.source_picoseconds = Some(4_299);
    assert_eq!(source_time(&value).map(|t| t.to_string()).as_deref(), Some("2026-01-31T12:00:00.000000042Z"));
}

#[test]
fn the_overflow_bit_counts_with_and_without_its_info_type() {
    for (bits, overflowed, stored) in [
        (0, false, 0),
        (0x480, true, 0x480),
        (0x80, true, 0x480),
        (0x400, false, 0x400),
        (0x4090_0480, true, 0x4090_0480),
        (0x880, false, 0x880),
        (0x8034_0000, false, 0x8034_0000),
    ] {
        assert_eq!(quality(StatusCode::from(bits)), (Quality(stored), overflowed), "{bits:#x}");
        assert_eq!(Quality(stored).overflowed(), overflowed);
    }
}

#[test]
fn data_types_have_the_kind_of_the_table() {
    use TypeSays::{Kind, LookFurther};
    for (id, expected) in [
        (1, Kind(ValueKind::Bool)),
        (2, Kind(ValueKind::I64)),
        (9, Kind(ValueKind::I64)),
        (29, Kind(ValueKind::I64)),
        (10, Kind(ValueKind::F64)),
        (11, Kind(ValueKind::F64)),
        (290, Kind(ValueKind::F64)),
        (12, Kind(ValueKind::Text)),
        (21, Kind(ValueKind::Text)),
        (294, Kind(ValueKind::Text)),
        (24, LookFurther),
        (26, LookFurther),
        (852, LookFurther),
    ] {
        assert_eq!(kind_of_type(&NodeId::new(0, id)), expected, "i={id}");
    }
    for id in [15, 22, 23, 25, 50] {
        assert!(matches!(kind_of_type(&NodeId::new(0, id)), TypeSays::Refused(_)), "i={id}");
    }
    assert_eq!(kind_of_type(&NodeId::new(3, 1)), LookFurther, "another namespace's i=1 is no Boolean");
}

#[test]
fn values_become_their_kind_or_say_why_not() {
    let text = |t: &str| Ok(Some(Value::Text(t.into())));
    let localized = LocalizedText { locale: "en".into(), text: "warm".into() };
    for (variant, kind, expected) in [
        (Variant::Double(1.5), ValueKind::F64, Ok(Some(Value::F64(1.5)))),
        (Variant::Float(0.5), ValueKind::F64, Ok(Some(Value::F64(0.5)))),
        (Variant::Int32(-3), ValueKind::F64, Ok(Some(Value::F64(-3.0)))),
        (Variant::Int32(-3), ValueKind::I64, Ok(Some(Value::I64(-3)))),
        (Variant::UInt64(i64::MAX as u64), ValueKind::I64, Ok(Some(Value::I64(i64::MAX)))),
        (Variant::UInt64(1 << 63), ValueKind::I64, Err(Unreadable::TooLarge)),
        (Variant::Double(1.0), ValueKind::I64, Err(Unreadable::OtherType)),
        (Variant::Boolean(true), ValueKind::Bool, Ok(Some(Value::Bool(true)))),
        (Variant::Int32(1), ValueKind::Bool, Err(Unreadable::OtherType)),
        (Variant::String("a".into()), ValueKind::Text, text("a")),
        (Variant::String(UAString::null()), ValueKind::Text, text("")),
        (Variant::LocalizedText(Box::new(localized)), ValueKind::Text, text("warm")),
        (Variant::StatusCode(StatusCode::BadTimeout), ValueKind::Text, text("BadTimeout")),
        (Variant::String("x".repeat(2000).into()), ValueKind::Text, Err(Unreadable::TooLong)),
        (Variant::ByteString(ByteString::null()), ValueKind::Text, Err(Unreadable::OtherType)),
        (Variant::Variant(Box::new(Variant::Byte(7))), ValueKind::I64, Ok(Some(Value::I64(7)))),
        (Variant::Empty, ValueKind::F64, Ok(None)),
    ] {
        assert_eq!(value(&variant, kind), expected, "{variant:?} as {kind:?}");
    }
}

#[test]
fn arrays_structures_and_nested_variants_are_refused() {
    let array = Array::new(VariantScalarTypeId::Int32, vec![Variant::Int32(1)]).expect("valid");
    let nested = Variant::Variant(Box::new(Variant::Variant(Box::new(Variant::Int32(1)))));
    for variant in [
        Variant::Array(Box::new(array)),
        Variant::ExtensionObject(ExtensionObject::null()),
        Variant::ByteString(ByteString::null()),
        nested,
    ] {
        assert!(matches!(kind_of_value(&variant), TypeSays::Refused(_)), "{variant:?}");
        assert_eq!(value(&variant, ValueKind::I64), Err(Unreadable::OtherType));
    }
    assert_eq!(kind_of_value(&Variant::Int16(3)), TypeSays::Kind(ValueKind::I64));
    assert_eq!(kind_of_value(&Variant::Empty), TypeSays::LookFurther);
}

#[test]
fn a_data_value_says_what_can_be_trusted() {
    let read = |value: Option<Variant>, status: u32| {
        let data = DataValue { value, status: Some(StatusCode::from(status)), ..DataValue::default() };
        let (value, quality, overflowed, unreadable) = data_value(&data, ValueKind::I64);
        (value, quality.0, overflowed, unreadable)
    };
    assert_eq!(read(Some(Variant::Int32(5)), 0), (Some(Value::I64(5)), 0, false, None));
    assert_eq!(read(Some(Variant::Int32(5)), 0x80), (Some(Value::I64(5)), 0x480, true, None));
    assert_eq!(read(None, 0x800A_0000), (None, 0x800A_0000, false, None));
    assert_eq!(read(None, 0), (None, BAD_NO_DATA.0, false, None));
    assert_eq!(read(Some(Variant::Double(1.0)), 0x8034_0000), (None, 0x8034_0000, false, None));
    assert_eq!(
        read(Some(Variant::UInt64(u64::MAX)), 0),
        (None, Quality::BAD_OUT_OF_RANGE.0, false, Some(Unreadable::TooLarge))
    );
}
