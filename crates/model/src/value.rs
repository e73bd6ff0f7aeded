//! Values: four kinds, each fits 64 bits in a frame (text as an interned id).

use std::{fmt, sync::Arc};

/// What a tag's values are. The number is what stands on the wire and on disk (docs/format.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ValueKind {
    /// IEEE 754 binary64.
    F64 = 0,
    /// Two's complement 64-bit integer.
    I64 = 1,
    /// 0 or 1.
    Bool = 2,
    /// An interned text; the 64 bits hold its `TextId`.
    Text = 3,
}

impl ValueKind {
    /// The kind of a wire number; `None` where there is none.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<ValueKind> {
        match number {
            0 => Some(ValueKind::F64),
            1 => Some(ValueKind::I64),
            2 => Some(ValueKind::Bool),
            3 => Some(ValueKind::Text),
            _ => None,
        }
    }

    /// The name in configuration and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ValueKind::F64 => "f64",
            ValueKind::I64 => "i64",
            ValueKind::Bool => "bool",
            ValueKind::Text => "text",
        }
    }
}

/// One value outside the hot path.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    F64(f64),
    /// A whole number.
    I64(i64),
    /// A truth value.
    Bool(bool),
    /// A text, at most [`crate::limits::TEXT_BYTES_MAX`] bytes.
    Text(Arc<str>),
}

impl Value {
    /// This value's kind.
    #[must_use]
    pub const fn kind(&self) -> ValueKind {
        match self {
            Value::F64(_) => ValueKind::F64,
            Value::I64(_) => ValueKind::I64,
            Value::Bool(_) => ValueKind::Bool,
            Value::Text(_) => ValueKind::Text,
        }
    }

    /// The 64 bits that a frame holds; `None` for text, which must be interned first.
    #[must_use]
    pub const fn bits(&self) -> Option<u64> {
        match self {
            Value::F64(v) => Some(v.to_bits()),
            Value::I64(v) => Some(*v as u64),
            Value::Bool(v) => Some(*v as u64),
            Value::Text(_) => None,
        }
    }

    /// The value of 64 bits of a numeric kind; `None` for text.
    #[must_use]
    pub const fn from_bits(kind: ValueKind, bits: u64) -> Option<Value> {
        match kind {
            ValueKind::F64 => Some(Value::F64(f64::from_bits(bits))),
            ValueKind::I64 => Some(Value::I64(bits as i64)),
            ValueKind::Bool => Some(Value::Bool(bits != 0)),
            ValueKind::Text => None,
        }
    }

    /// The number for arithmetic (rollups, deadbands): bool as 0 or 1, text as `None`.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::F64(v) => Some(*v),
            Value::I64(v) => Some(*v as f64),
            Value::Bool(v) => Some(f64::from(u8::from(*v))),
            Value::Text(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::F64(v) => write!(f, "{v}"),
            Value::I64(v) => write!(f, "{v}"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Text(v) => f.write_str(v),
        }
    }
}
