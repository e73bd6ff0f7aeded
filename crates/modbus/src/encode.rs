//! Values as registers and bits: the way back of [`crate::decode`].
//!
//! Purpose: one tag's value → the write that makes the device hold it.
//!
//! Invariants
//! - E1: what is written decodes to the value again, to the step of the tag's scale or the
//!   precision of its type; a value for which that cannot be is refused. Nothing wraps.
//! - E2: a write touches the registers or bits of its tag and no others: one bit of a register is
//!   written by mask, never by reading the register and writing it back.

use crate::decode::Spec;
use crate::plan::Point;
use crate::write::{WRITE_REGISTERS_MAX, Write};
use config::{Area, RegisterType};
use model::Value;

/// Why a value cannot be written to a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The tag cannot be written.
    NotWritable(&'static str),
    /// The value is of a kind that the tag does not take.
    Kind {
        /// What it takes.
        expected: &'static str,
    },
    /// The value does not fit the registers.
    Range {
        /// What they take.
        fits: String,
    },
}

/// The write that makes a device hold a value.
///
/// # Errors
/// [`Unfit`]
pub fn write(point: &Point, value: &Value) -> Result<Write, Unfit> {
    let (spec, address) = (&point.spec, point.address);
    match point.area {
        Area::DiscreteInput => Err(Unfit::NotWritable("a discrete input can only be read (Modbus data model)")),
        Area::InputRegister => Err(Unfit::NotWritable("an input register can only be read (Modbus data model)")),
        Area::Coil => Ok(Write::Coil { address, on: truth(value)? }),
        Area::HoldingRegister if point.end() > 65_536 => {
            Err(Unfit::NotWritable("its registers reach past the last address, 65535"))
        }
        Area::HoldingRegister => match (spec.kind, spec.bit) {
            (RegisterType::Bool, Some(bit)) => {
                let bit = u16::from_be_bytes(spec.ordered((1_u16 << (bit & 15)).to_be_bytes()));
                Ok(Write::Mask { address, and: !bit, or: if truth(value)? { bit } else { 0 } })
            }
            _ => {
                let words = words(spec, value)?;
                Ok(match words[..] {
                    [word] => Write::Register { address, word },
                    _ => Write::Registers { address, words },
                })
            }
        },
    }
}

/// The registers that hold a value, in the order in which they go out.
fn words(spec: &Spec, value: &Value) -> Result<Vec<u16>, Unfit> {
    let one = |word: u16| vec![u16::from_be_bytes(spec.ordered(word.to_be_bytes()))];
    let two = |raw: u32| in_registers(&spec.ordered_two(raw).to_be_bytes());
    let four = |raw: u64| in_registers(&spec.ordered_four(raw).to_be_bytes());
    match spec.kind {
        RegisterType::Bool => Ok(one(u16::from(truth(value)?))),
        RegisterType::U16 => Ok(one(whole(spec, value, 0, u16::MAX.into())? as u16)),
        RegisterType::I16 => Ok(one(whole(spec, value, i16::MIN.into(), i16::MAX.into())? as u16)),
        RegisterType::U32 => Ok(two(whole(spec, value, 0, u32::MAX.into())? as u32)),
        RegisterType::I32 => Ok(two(whole(spec, value, i32::MIN.into(), i32::MAX.into())? as u32)),
        RegisterType::U64 => {
            // without a scale more could not be read back: a whole number here has 63 bits
            let most = if spec.scaling.is_some() { u64::MAX.into() } else { i64::MAX.into() };
            Ok(four(whole(spec, value, 0, most)? as u64))
        }
        RegisterType::I64 => Ok(four(whole(spec, value, i64::MIN.into(), i64::MAX.into())? as u64)),
        RegisterType::F32 => {
            let single = raw(spec, value)? as f32;
            let fits = || real_fits(spec, f64::from(f32::MIN), f64::from(f32::MAX));
            if single.is_finite() { Ok(two(single.to_bits())) } else { Err(fits()) }
        }
        RegisterType::F64 => {
            let double = raw(spec, value)?;
            let fits = || real_fits(spec, f64::MIN, f64::MAX);
            if double.is_finite() { Ok(four(double.to_bits())) } else { Err(fits()) }
        }
        RegisterType::Text { registers } => text(spec, value, usize::from(registers)),
    }
}

fn in_registers(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
}

/// A truth value; 0 and 1 stand for it too.
fn truth(value: &Value) -> Result<bool, Unfit> {
    match value {
        Value::Bool(on) => Ok(*on),
        Value::I64(0) => Ok(false),
        Value::I64(1) => Ok(true),
        Value::F64(v) if *v == 0.0 => Ok(false),
        Value::F64(v) if *v == 1.0 => Ok(true),
        _ => Err(Unfit::Kind { expected: "true or false" }),
    }
}

fn number(value: &Value) -> Result<f64, Unfit> {
    match value {
        Value::F64(v) => Ok(*v),
        Value::I64(v) => Ok(*v as f64),
        Value::Bool(_) | Value::Text(_) => Err(Unfit::Kind { expected: "a number" }),
    }
}

/// The number that the registers hold for a value: scale and offset undone.
fn raw(spec: &Spec, value: &Value) -> Result<f64, Unfit> {
    let number = number(value)?;
    Ok(spec.scaling.map_or(number, |(scale, offset)| (number - offset) / scale))
}

/// The whole number that the registers hold for a value: with a scale the nearest step, without
/// one the value itself.
fn whole(spec: &Spec, value: &Value, least: i128, most: i128) -> Result<i128, Unfit> {
    let refused = || Unfit::Range { fits: whole_fits(spec, least, most) };
    let raw = match (value, spec.scaling) {
        (Value::I64(v), None) => i128::from(*v),
        _ => {
            let raw = raw(spec, value)?;
            let nearest = if spec.scaling.is_some() { raw.round() } else { raw };
            if !nearest.is_finite() || nearest.fract() != 0.0 {
                return Err(refused());
            }
            nearest as i128 // ends at the limits of i128, which are no register's
        }
    };
    if (least..=most).contains(&raw) { Ok(raw) } else { Err(refused()) }
}

fn whole_fits(spec: &Spec, least: i128, most: i128) -> String {
    match spec.scaling {
        None => format!("whole numbers from {least} to {most}"),
        Some((scale, offset)) => {
            let ends = [least, most].map(|end| end as f64 * scale + offset);
            format!("numbers from {} to {} in steps of {}", ends[0].min(ends[1]), ends[0].max(ends[1]), scale.abs())
        }
    }
}

fn real_fits(spec: &Spec, least: f64, most: f64) -> Unfit {
    let scaled = if spec.scaling.is_some() { " before scaling" } else { "" };
    Unfit::Range { fits: format!("finite numbers from {least:e} to {most:e}{scaled}") }
}

/// Text, filled up with NUL.
fn text(spec: &Spec, value: &Value, registers: usize) -> Result<Vec<u16>, Unfit> {
    let Value::Text(text) = value else {
        return Err(Unfit::Kind { expected: "text" });
    };
    let bytes = registers * 2;
    if registers > WRITE_REGISTERS_MAX {
        return Err(Unfit::NotWritable("it is longer than one write may be, 123 registers"));
    }
    if text.len() > bytes || text.contains('\0') || text.ends_with(char::is_whitespace) {
        return Err(Unfit::Range { fits: format!("text of at most {bytes} bytes without NUL and trailing blanks") });
    }
    let mut filled = text.as_bytes().to_vec();
    filled.resize(bytes, 0);
    Ok(filled.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(spec.ordered(*pair))).collect())
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
