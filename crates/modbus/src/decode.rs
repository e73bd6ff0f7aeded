//! Registers and bits as values.
//!
//! Purpose: one tag's bytes of an answer → value and quality.
//!
//! The order of bytes is named by what arrives for a value whose bytes are `A` (most significant)
//! to `D`; for four registers the same rule holds over the bytes `A` to `H`:
//!
//! | order | two registers | four registers | one register, bits, text |
//! |---|---|---|---|
//! | ABCD | `AB CD` | `AB CD EF GH` | high byte first |
//! | DCBA | `DC BA` | `HG FE DC BA` | low byte first |
//! | BADC | `BA DC` | `BA DC FE HG` | low byte first |
//! | CDAB | `CD AB` | `GH EF CD AB` | high byte first |
//!
//! So BADC swaps the bytes of each register, CDAB reverses the registers, DCBA does both.
//!
//! Invariants
//! - D1: a value is never made up: what a kind cannot hold gives no value and a bad quality.
//! - D2: a value that looks wrong (not a number, out of range) is kept and marked uncertain.

use crate::exception::{UNCERTAIN, UNCERTAIN_UNITS_EXCEEDED};
use config::{ModbusTag, RegisterType, WordOrder};
use model::{Quality, Value, ValueKind};

/// How a tag's bytes are read; everything of a [`ModbusTag`] that decoding needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    pub(crate) kind: RegisterType,
    pub(crate) order: WordOrder,
    pub(crate) bit: Option<u8>,
    pub(crate) scaling: Option<(f64, f64)>,
    range: Option<[f64; 2]>,
}

impl Spec {
    /// The specification of a configured tag.
    #[must_use]
    pub fn new(tag: &ModbusTag) -> Spec {
        let plain = tag.scale == 1.0 && tag.offset == 0.0;
        Spec {
            kind: tag.kind,
            order: tag.order,
            bit: tag.at.bit,
            scaling: (!plain).then_some((tag.scale, tag.offset)),
            range: tag.range,
        }
    }

    /// The kind of every value that [`Spec::registers`] makes: a scaled integer is an `F64`.
    #[must_use]
    pub const fn value_kind(&self) -> ValueKind {
        match self.kind {
            RegisterType::Bool => ValueKind::Bool,
            RegisterType::Text { .. } => ValueKind::Text,
            RegisterType::F32 | RegisterType::F64 => ValueKind::F64,
            _ if self.scaling.is_some() => ValueKind::F64,
            _ => ValueKind::I64,
        }
    }

    /// Whether this is text, which [`Spec::text`] reads.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self.kind, RegisterType::Text { .. })
    }

    /// The value of register bytes as they came (V1.1b3, 6.3: high byte first). Too few bytes and
    /// text give no value and `BadDecodingError`.
    #[must_use]
    pub fn registers(&self, bytes: &[u8]) -> (Option<Value>, Quality) {
        let undecodable = (None, Quality::BAD_DECODING);
        match self.kind {
            RegisterType::Bool => self.word(bytes).map_or(undecodable, |word| {
                let on = self.bit.map_or(word != 0, |bit| word >> (bit & 15) & 1 == 1);
                (Some(Value::Bool(on)), Quality::GOOD)
            }),
            RegisterType::U16 => self.word(bytes).map_or(undecodable, |word| self.whole(i64::from(word))),
            RegisterType::I16 => self.word(bytes).map_or(undecodable, |word| self.whole(i64::from(word as i16))),
            RegisterType::U32 => self.two(bytes).map_or(undecodable, |raw| self.whole(i64::from(raw))),
            RegisterType::I32 => self.two(bytes).map_or(undecodable, |raw| self.whole(i64::from(raw as i32))),
            RegisterType::F32 => self.two(bytes).map_or(undecodable, |raw| self.real(f64::from(f32::from_bits(raw)))),
            RegisterType::U64 => self.four(bytes).map_or(undecodable, |raw| match (i64::try_from(raw), self.scaling) {
                (Ok(raw), _) => self.whole(raw),
                (Err(_), Some(_)) => self.real(raw as f64),
                (Err(_), None) => (None, Quality::BAD_OUT_OF_RANGE),
            }),
            RegisterType::I64 => self.four(bytes).map_or(undecodable, |raw| self.whole(raw as i64)),
            RegisterType::F64 => self.four(bytes).map_or(undecodable, |raw| self.real(f64::from_bits(raw))),
            RegisterType::Text { .. } => undecodable,
        }
    }

    /// The value of a coil or discrete input.
    #[must_use]
    pub const fn bit(&self, on: bool) -> (Option<Value>, Quality) {
        (Some(Value::Bool(on)), Quality::GOOD)
    }

    /// Text of register bytes, written into `text`: up to the first NUL, what is not UTF-8
    /// replaced by U+FFFD, trailing blanks taken off.
    pub fn text(&self, bytes: &[u8], scratch: &mut Vec<u8>, text: &mut String) {
        scratch.clear();
        for pair in bytes.chunks_exact(2) {
            let word = self.ordered([pair[0], pair[1]]);
            scratch.extend_from_slice(&word);
        }
        let end = scratch.iter().position(|byte| *byte == 0).unwrap_or(scratch.len());
        text.clear();
        for chunk in scratch[..end].utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text.truncate(text.trim_end().len());
    }

    pub(crate) fn ordered(&self, [high, low]: [u8; 2]) -> [u8; 2] {
        match self.order {
            WordOrder::Abcd | WordOrder::Cdab => [high, low],
            WordOrder::Badc | WordOrder::Dcba => [low, high],
        }
    }

    /// Whether a whole number is given as it comes: not scaled, and good whatever it is.
    pub(crate) const fn is_plain(&self) -> bool {
        self.scaling.is_none() && self.range.is_none()
    }

    #[inline]
    pub(crate) fn word(&self, bytes: &[u8]) -> Option<u16> {
        let word = *bytes.first_chunk::<2>()?;
        Some(u16::from_be_bytes(self.ordered(word)))
    }

    fn two(&self, bytes: &[u8]) -> Option<u32> {
        Some(self.ordered_two(u32::from_be_bytes(*bytes.first_chunk::<4>()?)))
    }

    fn four(&self, bytes: &[u8]) -> Option<u64> {
        Some(self.ordered_four(u64::from_be_bytes(*bytes.first_chunk::<8>()?)))
    }

    /// Two registers as they arrive, put in order; each order undoes itself.
    pub(crate) const fn ordered_two(&self, raw: u32) -> u32 {
        match self.order {
            WordOrder::Abcd => raw,
            WordOrder::Dcba => raw.swap_bytes(),
            WordOrder::Cdab => raw.rotate_left(16),
            WordOrder::Badc => raw.swap_bytes().rotate_left(16),
        }
    }

    /// Four registers as they arrive, put in order; each order undoes itself.
    pub(crate) const fn ordered_four(&self, raw: u64) -> u64 {
        const LOW: u64 = 0x00FF_00FF_00FF_00FF;
        let reversed = raw.swap_bytes();
        match self.order {
            WordOrder::Abcd => raw,
            WordOrder::Dcba => reversed,
            WordOrder::Badc => (raw & LOW) << 8 | raw >> 8 & LOW,
            WordOrder::Cdab => (reversed & LOW) << 8 | reversed >> 8 & LOW,
        }
    }

    fn whole(&self, raw: i64) -> (Option<Value>, Quality) {
        match self.scaling {
            Some(_) => self.real(raw as f64),
            None => (Some(Value::I64(raw)), self.range_quality(raw as f64)),
        }
    }

    fn real(&self, raw: f64) -> (Option<Value>, Quality) {
        let value = self.scaling.map_or(raw, |(scale, offset)| raw * scale + offset);
        let quality = if value.is_finite() { self.range_quality(value) } else { UNCERTAIN };
        (Some(Value::F64(value)), quality)
    }

    fn range_quality(&self, value: f64) -> Quality {
        match self.range {
            Some([low, high]) if value < low || value > high => UNCERTAIN_UNITS_EXCEEDED,
            _ => Quality::GOOD,
        }
    }
}

/// Bit `index` of an answer to a read of bits (V1.1b3, 6.1: least significant bit first); `None`
/// past its end.
#[must_use]
pub fn bit_at(bytes: &[u8], index: usize) -> Option<bool> {
    bytes.get(index / 8).map(|byte| byte >> (index % 8) & 1 == 1)
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
