//! Values, types and times of OPC UA as Millstream's.
//!
//! | OPC UA data type | kind |
//! |---|---|
//! | Float, Double, Duration | f64 |
//! | SByte … UInt64, Enumeration | i64; a UInt64 above 2⁶³−1 cannot be read |
//! | Boolean | bool |
//! | String, LocalizedText, QualifiedName, Guid, DateTime, NodeId, XmlElement, StatusCode | text |
//! | arrays, structures, ByteString, DataValue, DiagnosticInfo, Decimal | refused, with a reason |
//!
//! An abstract or vendor's type is decided by its base type, or by the value that the node has now.
//!
//! Invariants
//! - T1: a conversion that would change a value is refused instead, but for integers as `f64`.
//! - T2: a time that OPC UA uses for "none" (1601, 9999) is none (OPC 10000-6, 5.2.2.5).

use model::{Quality, TimestampNs, Value, ValueKind, limits};
use opcua::types::{DataValue, NodeId, StatusCode, Variant};
use std::fmt;

/// 1970-01-01 in ticks of 100 ns since 1601-01-01.
const UNIX_EPOCH_TICKS: i64 = 116_444_736_000_000_000;
/// Nanoseconds of a tick.
const TICK_NS: i64 = 100;
/// The overflow bit of a DataValue's status (OPC 10000-4, 7.39.1).
const OVERFLOW: u32 = 0x80;
/// InfoType: 00 not used, 01 DataValue (OPC 10000-4, 7.39.1).
const INFO_TYPE: u32 = 0xC00;
/// InfoType DataValue.
const INFO_TYPE_DATA_VALUE: u32 = 0x400;
/// BadNoData: a value was promised by a good status and is not there.
const BAD_NO_DATA: Quality = Quality(0x809B_0000);

/// Nanoseconds since 1970 of 100-ns ticks since 1601; `None` for "no time" and for what 64-bit
/// nanoseconds do not hold (before 1677, after 2262).
pub(crate) const fn unix_ns(ticks: i64) -> Option<TimestampNs> {
    if ticks <= 0 {
        return None;
    }
    match (ticks - UNIX_EPOCH_TICKS).checked_mul(TICK_NS) {
        Some(ns) => Some(TimestampNs(ns)),
        None => None,
    }
}

/// When the device says that a value was; 10-ps units are cut to nanoseconds.
pub(crate) fn source_time(value: &DataValue) -> Option<TimestampNs> {
    let at = unix_ns(value.source_timestamp.as_ref()?.ticks())?;
    Some(at.plus_ns(i64::from(value.source_picoseconds.unwrap_or(0)) / 100))
}

/// A status as a quality, and whether it says that the server's queue overflowed. The bit counts
/// with InfoType DataValue, as the standard asks, and with InfoType "not used", which is how
/// async-opcua's server sends it; the stored quality then has both.
pub(crate) fn quality(status: StatusCode) -> (Quality, bool) {
    let bits = status.bits();
    let overflowed = bits & OVERFLOW != 0 && matches!(bits & INFO_TYPE, 0 | INFO_TYPE_DATA_VALUE);
    (Quality(if overflowed { bits | INFO_TYPE_DATA_VALUE } else { bits }), overflowed)
}

/// What a data type says about the kind of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeSays {
    /// This kind.
    Kind(ValueKind),
    /// Nothing certain: look at the base type or the value.
    LookFurther,
    /// It cannot be a tag.
    Refused(&'static str),
}

/// The kind of a data type of OPC UA's own namespace (OPC 10000-6, 5.1.2 and OPC 10000-5, 12).
pub(crate) fn kind_of_type(data_type: &NodeId) -> TypeSays {
    if data_type.namespace != 0 {
        return TypeSays::LookFurther;
    }
    match data_type.as_u32() {
        Some(1) => TypeSays::Kind(ValueKind::Bool),
        Some(2..=9 | 27..=29) => TypeSays::Kind(ValueKind::I64),
        Some(10 | 11 | 290) => TypeSays::Kind(ValueKind::F64),
        Some(12..=14 | 16..=21 | 294 | 295) => TypeSays::Kind(ValueKind::Text),
        Some(15) => TypeSays::Refused("a ByteString has no kind of value here"),
        Some(22) => TypeSays::Refused("structures are not taken; subscribe to the variables of their fields instead"),
        Some(23 | 25) => TypeSays::Refused("DataValue and DiagnosticInfo are not taken"),
        Some(50) => TypeSays::Refused("Decimal is not taken"),
        _ => TypeSays::LookFurther,
    }
}

/// The kind of a value; `LookFurther` where there is none.
pub(crate) fn kind_of_value(value: &Variant) -> TypeSays {
    match value {
        Variant::Empty => TypeSays::LookFurther,
        Variant::Boolean(_) => TypeSays::Kind(ValueKind::Bool),
        Variant::SByte(_)
        | Variant::Byte(_)
        | Variant::Int16(_)
        | Variant::UInt16(_)
        | Variant::Int32(_)
        | Variant::UInt32(_)
        | Variant::Int64(_)
        | Variant::UInt64(_) => TypeSays::Kind(ValueKind::I64),
        Variant::Float(_) | Variant::Double(_) => TypeSays::Kind(ValueKind::F64),
        Variant::Array(_) => TypeSays::Refused("its value is an array; name one element's variable instead"),
        Variant::ExtensionObject(_) => {
            TypeSays::Refused("structures are not taken; subscribe to the variables of their fields instead")
        }
        Variant::Variant(inner) if !matches!(**inner, Variant::Variant(_)) => kind_of_value(inner),
        other if text(other).is_some() => TypeSays::Kind(ValueKind::Text),
        _ => TypeSays::Refused("its value has no kind here"),
    }
}

/// Why a value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is of another type than the tag.
    OtherType,
    /// It is a whole number that 64 bits with a sign do not hold.
    TooLarge,
    /// It is a text longer than [`limits::TEXT_BYTES_MAX`].
    TooLong,
}

impl Unreadable {
    /// The quality that the tag gets instead of the value.
    pub(crate) const fn quality(self) -> Quality {
        match self {
            Unreadable::OtherType => Quality::BAD_TYPE_MISMATCH,
            Unreadable::TooLarge | Unreadable::TooLong => Quality::BAD_OUT_OF_RANGE,
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::OtherType => f.write_str("the value is of another type than the tag"),
            Unreadable::TooLarge => f.write_str("the whole number does not fit 64 bits with a sign"),
            Unreadable::TooLong => write!(f, "the text is longer than {} bytes", limits::TEXT_BYTES_MAX),
        }
    }
}

/// A value as one of a kind; `None` where there is none.
///
/// # Errors
/// [`Unreadable`] where it is not of the kind, or outside our limits.
pub(crate) fn value(variant: &Variant, kind: ValueKind) -> Result<Option<Value>, Unreadable> {
    if let Variant::Variant(inner) = variant {
        if matches!(**inner, Variant::Variant(_)) {
            return Err(Unreadable::OtherType);
        }
        return value(inner, kind);
    }
    if matches!(variant, Variant::Empty) {
        return Ok(None);
    }
    match kind {
        ValueKind::Bool => match variant {
            Variant::Boolean(v) => Ok(Some(Value::Bool(*v))),
            _ => Err(Unreadable::OtherType),
        },
        ValueKind::I64 => integer(variant).map(|v| Some(Value::I64(v))),
        ValueKind::F64 => match variant {
            Variant::Float(v) => Ok(Some(Value::F64(f64::from(*v)))),
            Variant::Double(v) => Ok(Some(Value::F64(*v))),
            Variant::UInt64(v) => Ok(Some(Value::F64(*v as f64))),
            other => integer(other).map(|v| Some(Value::F64(v as f64))),
        },
        ValueKind::Text => {
            let text = text(variant).ok_or(Unreadable::OtherType)?;
            if text.len() > limits::TEXT_BYTES_MAX {
                return Err(Unreadable::TooLong);
            }
            Ok(Some(Value::Text(text.into())))
        }
    }
}

fn integer(variant: &Variant) -> Result<i64, Unreadable> {
    match variant {
        Variant::SByte(v) => Ok(i64::from(*v)),
        Variant::Byte(v) => Ok(i64::from(*v)),
        Variant::Int16(v) => Ok(i64::from(*v)),
        Variant::UInt16(v) => Ok(i64::from(*v)),
        Variant::Int32(v) => Ok(i64::from(*v)),
        Variant::UInt32(v) => Ok(i64::from(*v)),
        Variant::Int64(v) => Ok(*v),
        Variant::UInt64(v) => i64::try_from(*v).map_err(|_| Unreadable::TooLarge),
        Variant::Boolean(v) => Ok(i64::from(*v)),
        _ => Err(Unreadable::OtherType),
    }
}

fn text(variant: &Variant) -> Option<String> {
    Some(match variant {
        Variant::String(v) => v.as_ref().to_owned(),
        Variant::XmlElement(v) => v.to_string(),
        Variant::LocalizedText(v) => v.text.as_ref().to_owned(),
        Variant::QualifiedName(v) => v.name.as_ref().to_owned(),
        Variant::Guid(v) => v.to_string(),
        Variant::DateTime(v) => v.to_rfc3339(),
        Variant::NodeId(v) => v.to_string(),
        Variant::ExpandedNodeId(v) => v.to_string(),
        Variant::StatusCode(v) => Quality(v.bits()).to_string(),
        _ => return None,
    })
}

/// A DataValue as value and quality. A value that cannot be read becomes a Bad quality and its
/// reason; a Good status without a value becomes BadNoData.
pub(crate) fn data_value(data: &DataValue, kind: ValueKind) -> (Option<Value>, Quality, bool, Option<Unreadable>) {
    let (quality, overflowed) = quality(data.status.unwrap_or(StatusCode::Good));
    let read = data.value.as_ref().map_or(Ok(None), |variant| value(variant, kind));
    match read {
        Ok(None) if quality.is_good() => (None, BAD_NO_DATA, overflowed, None),
        Ok(value) => (value, quality, overflowed, None),
        // A bad status says enough by itself, whatever stands beside it.
        Err(_) if quality.is_bad() => (None, quality, overflowed, None),
        Err(why) => (None, why.quality(), overflowed, Some(why)),
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
