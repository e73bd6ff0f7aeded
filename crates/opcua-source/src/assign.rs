//! Millstream's values as OPC UA's: the way back of `convert`.
//!
//! Purpose: a value → the variant of exactly the data type that a node or argument takes; servers
//! refuse any other (OPC 10000-4, 5.11.4.4: BadTypeMismatch).
//!
//! Invariants
//! - G1: a value that the type does not hold is refused, never cut, wrapped or rounded; but a
//!   number becomes the nearest Float.
//! - G2: what is not finite is not written.

use model::device::DeviceError;
use model::{TimestampNs, Value};
use opcua::types::{DateTime, Guid, LocalizedText, NodeId, UAString, Variant, VariantScalarTypeId as Scalar};
use std::str::FromStr;

/// 1970-01-01 in ticks of 100 ns since 1601-01-01.
const UNIX_EPOCH_TICKS: i64 = 116_444_736_000_000_000;

/// The built-in type of a data type of OPC UA's own namespace, where it has one: of the type
/// itself, or of its base (OPC 10000-6, 5.1.2; OPC 10000-5, 12).
pub(crate) fn scalar_of_type(data_type: &NodeId) -> Option<Scalar> {
    if data_type.namespace != 0 {
        return None;
    }
    match data_type.as_u32()? {
        29 => Some(Scalar::Int32),     // Enumeration
        290 => Some(Scalar::Double),   // Duration
        294 => Some(Scalar::DateTime), // UtcTime
        295 => Some(Scalar::String),   // LocaleId
        number @ 1..=25 if number != 24 => Scalar::try_from(number).ok(),
        _ => None,
    }
}

/// The built-in type in which a value goes out where nobody says which is wanted.
pub(crate) fn plain(value: &Value) -> Variant {
    match value {
        Value::F64(v) => Variant::Double(*v),
        Value::I64(v) => Variant::Int64(*v),
        Value::Bool(v) => Variant::Boolean(*v),
        Value::Text(v) => Variant::String(UAString::from(&**v)),
    }
}

/// A value as a variant of a type. `what` names the tag or argument in a refusal.
///
/// # Errors
/// [`DeviceError::WrongKind`], [`DeviceError::OutOfRange`], or [`DeviceError::Unsupported`] for a
/// type that no value here can be.
pub(crate) fn variant(what: &str, value: &Value, to: Scalar) -> Result<Variant, DeviceError> {
    let asks = Ask { what, value };
    Ok(match to {
        Scalar::Boolean => Variant::Boolean(asks.truth()?),
        Scalar::SByte => Variant::SByte(asks.whole()?),
        Scalar::Byte => Variant::Byte(asks.whole()?),
        Scalar::Int16 => Variant::Int16(asks.whole()?),
        Scalar::UInt16 => Variant::UInt16(asks.whole()?),
        Scalar::Int32 => Variant::Int32(asks.whole()?),
        Scalar::UInt32 => Variant::UInt32(asks.whole()?),
        Scalar::Int64 => Variant::Int64(asks.whole()?),
        Scalar::UInt64 => Variant::UInt64(asks.whole()?),
        Scalar::Float => {
            let single = asks.number()? as f32;
            if !single.is_finite() {
                return Err(asks.outside(format!("finite numbers from {:e} to {:e}", f32::MIN, f32::MAX)));
            }
            Variant::Float(single)
        }
        Scalar::Double => Variant::Double(asks.number()?),
        Scalar::String => Variant::String(UAString::from(asks.text()?)),
        Scalar::LocalizedText => Variant::from(LocalizedText::new("", asks.text()?)),
        Scalar::DateTime => Variant::from(asks.time()?),
        Scalar::Guid => match Guid::from_str(asks.text()?) {
            Ok(guid) => Variant::from(guid),
            Err(_) => return Err(asks.outside("a GUID, 8-4-4-4-12 hexadecimal digits".to_owned())),
        },
        other => {
            return Err(DeviceError::Unsupported {
                what: format!("{what} is of type {other}, which cannot be written from here; give it another variable"),
            });
        }
    })
}

struct Ask<'a> {
    what: &'a str,
    value: &'a Value,
}

impl Ask<'_> {
    fn wrong(&self, expected: &str) -> DeviceError {
        DeviceError::WrongKind { what: self.what.to_owned(), expected: expected.to_owned(), got: self.value.kind() }
    }

    fn outside(&self, fits: String) -> DeviceError {
        DeviceError::OutOfRange { what: self.what.to_owned(), value: self.value.to_string(), fits }
    }

    /// A truth value; 0 and 1 stand for it too.
    fn truth(&self) -> Result<bool, DeviceError> {
        match self.value {
            Value::Bool(on) => Ok(*on),
            Value::I64(0) => Ok(false),
            Value::I64(1) => Ok(true),
            Value::F64(v) if *v == 0.0 => Ok(false),
            Value::F64(v) if *v == 1.0 => Ok(true),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn whole<T: TryFrom<i128> + Limits>(&self) -> Result<T, DeviceError> {
        let refused = || self.outside(format!("whole numbers from {} to {}", T::LEAST, T::MOST));
        let whole = match self.value {
            Value::I64(v) => i128::from(*v),
            Value::F64(v) if v.is_finite() && v.fract() == 0.0 => *v as i128, // ends at the limits of i128
            Value::F64(_) => return Err(refused()),
            _ => return Err(self.wrong("a whole number")),
        };
        T::try_from(whole).map_err(|_| refused())
    }

    fn number(&self) -> Result<f64, DeviceError> {
        let number = match self.value {
            Value::F64(v) => *v,
            Value::I64(v) => *v as f64,
            _ => return Err(self.wrong("a number")),
        };
        if number.is_finite() { Ok(number) } else { Err(self.outside("finite numbers".to_owned())) }
    }

    fn text(&self) -> Result<&str, DeviceError> {
        match self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong("text")),
        }
    }

    fn time(&self) -> Result<DateTime, DeviceError> {
        let refused = || self.outside("a time as RFC 3339, e.g. 2026-01-31T12:00:00Z, from 1677 to 2262".to_owned());
        let at = TimestampNs::parse_rfc3339(self.text()?).ok_or_else(refused)?;
        Ok(DateTime::from(at.0.div_euclid(100) + UNIX_EPOCH_TICKS))
    }
}

/// The ends of a whole type, for words.
trait Limits {
    const LEAST: i128;
    const MOST: i128;
}

macro_rules! limits {
    ($($of:ty),*) => {
        $(impl Limits for $of {
            const LEAST: i128 = <$of>::MIN as i128;
            const MOST: i128 = <$of>::MAX as i128;
        })*
    };
}
limits!(i8, u8, i16, u16, i32, u32, i64, u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert;
    use model::ValueKind;
    use opcua::types::DataTypeId;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn every_type_takes_its_ends_and_refuses_the_next() {
        for (to, least, most) in [
            (Scalar::SByte, -128_i64, 127_i64),
            (Scalar::Byte, 0, 255),
            (Scalar::Int16, -32_768, 32_767),
            (Scalar::UInt16, 0, 65_535),
            (Scalar::Int32, -2_147_483_648, 2_147_483_647),
            (Scalar::UInt32, 0, 4_294_967_295),
            (Scalar::Int64, i64::MIN, i64::MAX),
            (Scalar::UInt64, 0, i64::MAX),
        ] {
            for value in [least, most] {
                let made = variant("x", &Value::I64(value), to).expect("it fits");
                assert_eq!(made.scalar_type_id(), Some(to));
                assert_eq!(convert::value(&made, ValueKind::I64), Ok(Some(Value::I64(value))));
            }
            let outside = [least.checked_sub(1), most.checked_add(1).filter(|_| to != Scalar::UInt64)];
            for value in outside.into_iter().flatten() {
                let error = variant("tag \"x\"", &Value::I64(value), to).expect_err("outside");
                assert!(matches!(&error, DeviceError::OutOfRange { .. }), "{error}");
                assert!(error.to_string().contains(&least.to_string()), "{error}");
            }
            assert!(variant("x", &Value::F64(100.0), to).is_ok());
            for wrong in [Value::F64(0.5), Value::F64(f64::NAN), Value::F64(1e300)] {
                let error = variant("x", &wrong, to).expect_err("not whole");
                assert!(matches!(error, DeviceError::OutOfRange { .. }), "{wrong} as {to}");
            }
            assert!(matches!(variant("x", &text("1"), to), Err(DeviceError::WrongKind { .. })));
        }
    }

    #[test]
    fn numbers_texts_truths_and_times_become_their_own() {
        assert_eq!(variant("x", &Value::I64(180), Scalar::Double), Ok(Variant::Double(180.0)));
        assert_eq!(variant("x", &Value::F64(0.1), Scalar::Float), Ok(Variant::Float(0.1)));
        assert!(matches!(variant("x", &Value::F64(1e39), Scalar::Float), Err(DeviceError::OutOfRange { .. })));
        assert!(matches!(variant("x", &Value::F64(f64::NAN), Scalar::Double), Err(DeviceError::OutOfRange { .. })));
        assert_eq!(variant("x", &Value::Bool(true), Scalar::Boolean), Ok(Variant::Boolean(true)));
        assert_eq!(variant("x", &Value::I64(0), Scalar::Boolean), Ok(Variant::Boolean(false)));
        assert!(matches!(variant("x", &Value::I64(2), Scalar::Boolean), Err(DeviceError::WrongKind { .. })));
        assert!(matches!(variant("x", &Value::Bool(true), Scalar::Double), Err(DeviceError::WrongKind { .. })));
        assert_eq!(variant("x", &text("idle"), Scalar::String), Ok(Variant::from("idle")));
        let localized = variant("x", &text("idle"), Scalar::LocalizedText).expect("text");
        assert_eq!(convert::value(&localized, ValueKind::Text), Ok(Some(text("idle"))));
        let time = variant("x", &text("2026-01-31T12:00:00.5Z"), Scalar::DateTime).expect("a time");
        let Variant::DateTime(time) = time else { panic!("{time:?}") };
        assert_eq!(convert::unix_ns(time.ticks()), TimestampNs::parse_rfc3339("2026-01-31T12:00:00.5Z"));
        assert!(matches!(variant("x", &text("noon"), Scalar::DateTime), Err(DeviceError::OutOfRange { .. })));
        let guid = text("09087e75-8e5e-499b-954f-f2a9603db28a");
        assert!(matches!(variant("x", &guid, Scalar::Guid), Ok(Variant::Guid(_))));
        assert!(matches!(variant("x", &text("z"), Scalar::Guid), Err(DeviceError::OutOfRange { .. })));
        assert!(matches!(variant("x", &text("z"), Scalar::ByteString), Err(DeviceError::Unsupported { .. })));
    }

    #[test]
    fn declared_types_are_known_by_name_and_abstract_ones_are_not() {
        let of = |id: DataTypeId| scalar_of_type(&id.into());
        assert_eq!(of(DataTypeId::Double), Some(Scalar::Double));
        assert_eq!(of(DataTypeId::Enumeration), Some(Scalar::Int32));
        assert_eq!(of(DataTypeId::Duration), Some(Scalar::Double));
        assert_eq!(of(DataTypeId::UtcTime), Some(Scalar::DateTime));
        for abstract_type in [DataTypeId::BaseDataType, DataTypeId::Number, DataTypeId::Integer] {
            assert_eq!(of(abstract_type), None);
        }
        assert_eq!(scalar_of_type(&NodeId::new(2, 11)), None, "a vendor's type of the same number");
        assert_eq!(plain(&Value::I64(7)), Variant::Int64(7));
    }
}
