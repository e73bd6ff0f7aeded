//! Bytes of the write requests, and whether an answer confirms them.
//!
//! Purpose: encode functions 05, 06, 0F, 10 and 16 (hexadecimal) and check their answers.
//! Standard: *Modbus Application Protocol V1.1b3*, 6.5, 6.6, 6.11, 6.12 and 6.16.
//!
//! Invariants
//! - W1: an answer confirms a write only when unit, function, length, and the address and values
//!   (or count) that it names are those of the request.
//! - W2: no request is longer than a frame may be ([`crate::codec::ADU_BYTES_MAX`]).
//!
//! It does not know what the values mean: see [`crate::encode`].

use crate::codec::{Adu, MBAP_BYTES, Mismatch};

/// Most registers of one write (V1.1b3, 6.12).
pub const WRITE_REGISTERS_MAX: usize = 123;
/// Most coils of one write (V1.1b3, 6.11).
pub const WRITE_COILS_MAX: usize = 1968;

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// 05, one coil.
    Coil {
        /// The coil, from 0.
        address: u16,
        /// On or off.
        on: bool,
    },
    /// 06, one holding register.
    Register {
        /// The register, from 0.
        address: u16,
        /// Its new value.
        word: u16,
    },
    /// 0F, coils in a row; at most [`WRITE_COILS_MAX`], what is more is not sent.
    Coils {
        /// The first one.
        address: u16,
        /// Their new values.
        on: Vec<bool>,
    },
    /// 10, holding registers in a row; at most [`WRITE_REGISTERS_MAX`], what is more is not sent.
    Registers {
        /// The first one.
        address: u16,
        /// Their new values.
        words: Vec<u16>,
    },
    /// 16, bits of one holding register: (old AND `and`) OR (`or` AND NOT `and`).
    Mask {
        /// The register.
        address: u16,
        /// Bits that stay.
        and: u16,
        /// Bits that are set, of those that do not stay.
        or: u16,
    },
}

impl Write {
    /// The function code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Write::Coil { .. } => 0x05,
            Write::Register { .. } => 0x06,
            Write::Coils { .. } => 0x0F,
            Write::Registers { .. } => 0x10,
            Write::Mask { .. } => 0x16,
        }
    }

    /// The same write by the function for several, for a device that does not offer the one for
    /// one; `None` where there is none.
    #[must_use]
    pub fn as_several(&self) -> Option<Write> {
        match *self {
            Write::Coil { address, on } => Some(Write::Coils { address, on: vec![on] }),
            Write::Register { address, word } => Some(Write::Registers { address, words: vec![word] }),
            _ => None,
        }
    }

    /// What it touches.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        let (is_bits, address, count) = match self {
            Write::Coil { address, .. } => (true, *address, 1),
            Write::Coils { address, on } => (true, *address, on.len() as u32),
            Write::Register { address, .. } | Write::Mask { address, .. } => (false, *address, 1),
            Write::Registers { address, words } => (false, *address, words.len() as u32),
        };
        Extent { is_bits, address, count }
    }

    /// Whether both touch a coil, a register, or, where both are masks, a bit of one.
    #[must_use]
    pub fn overlaps(&self, other: &Write) -> bool {
        let (ours, theirs) = (self.extent(), other.extent());
        let meet = ours.is_bits == theirs.is_bits
            && u32::from(ours.address) < theirs.end()
            && u32::from(theirs.address) < ours.end();
        match (self, other) {
            (Write::Mask { and, .. }, Write::Mask { and: more, .. }) => meet && !and & !more != 0,
            _ => meet,
        }
    }

    /// What the answer repeats after its function code.
    fn repeated(&self) -> ([u8; 6], u8) {
        let (address, second, third) = match *self {
            Write::Coil { address, on } => (address, if on { 0xFF00 } else { 0 }, None),
            Write::Register { address, word } => (address, word, None),
            Write::Coils { address, ref on } => (address, on.len().min(WRITE_COILS_MAX) as u16, None),
            Write::Registers { address, ref words } => (address, words.len().min(WRITE_REGISTERS_MAX) as u16, None),
            Write::Mask { address, and, or } => (address, and, Some(or)),
        };
        let ([a1, a0], [b1, b0], [c1, c0]) =
            (address.to_be_bytes(), second.to_be_bytes(), third.unwrap_or(0).to_be_bytes());
        ([a1, a0, b1, b0, c1, c0], if third.is_some() { 6 } else { 4 })
    }

    /// What the request has after that: the values in a row, behind their length.
    fn values(&self) -> Vec<u8> {
        let data: Vec<u8> = match self {
            Write::Coil { .. } | Write::Register { .. } | Write::Mask { .. } => return Vec::new(),
            Write::Coils { on, .. } => {
                let bit = |(i, on): (usize, &bool)| u8::from(*on) << i;
                on[..on.len().min(WRITE_COILS_MAX)]
                    .chunks(8)
                    .map(|eight| eight.iter().enumerate().map(bit).sum())
                    .collect()
            }
            Write::Registers { words, .. } => {
                words.iter().take(WRITE_REGISTERS_MAX).flat_map(|word| word.to_be_bytes()).collect()
            }
        };
        let mut values = vec![data.len() as u8];
        values.extend(data);
        values
    }
}

/// The coils or registers that a write touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Coils; else registers.
    pub is_bits: bool,
    /// The first one.
    pub address: u16,
    /// How many.
    pub count: u32,
}

impl Extent {
    /// The address after the last one.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.address as u32 + self.count
    }
}

/// One write request, without its transaction id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRequest {
    /// Unit identifier, 1 to 255.
    pub unit: u8,
    /// What is written.
    pub write: Write,
}

impl WriteRequest {
    /// Adds the frame that asks this (Messaging on TCP/IP V1.0b, 3.1.3).
    pub fn encode(&self, transaction: u16, out: &mut Vec<u8>) {
        let (repeated, len) = self.write.repeated();
        let values = self.write.values();
        let [t1, t0] = transaction.to_be_bytes();
        let length = 2 + u16::from(len) + values.len() as u16;
        let [l1, l0] = length.to_be_bytes();
        out.reserve(MBAP_BYTES - 1 + usize::from(length));
        out.extend([t1, t0, 0, 0, l1, l0, self.unit, self.write.code()]);
        out.extend(&repeated[..usize::from(len)]);
        out.extend(values);
    }

    /// What its answer must look like.
    #[must_use]
    pub fn echo(&self) -> Echo {
        let (repeated, len) = self.write.repeated();
        Echo { unit: self.unit, code: self.write.code(), repeated, len }
    }
}

/// What the answer to a write must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    unit: u8,
    code: u8,
    repeated: [u8; 6],
    len: u8,
}

/// What an answer to a write says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// What was asked is written.
    Asked,
    /// Another address or value is said to be written. The frame is whole, so the connection can
    /// still be trusted, but not that the right thing was written.
    Other,
    /// An exception code (V1.1b3, 7).
    Exception(u8),
}

impl Echo {
    /// The unit that is written to.
    #[must_use]
    pub const fn unit(&self) -> u8 {
        self.unit
    }

    /// Checks a frame against the write whose transaction id it carries.
    ///
    /// # Errors
    /// [`Mismatch`]: it is not that write's answer.
    pub fn check(&self, frame: &Adu<'_>) -> Result<Confirmed, Mismatch> {
        if frame.unit != self.unit {
            return Err(Mismatch::Unit { asked: self.unit, answered: frame.unit });
        }
        let (answered, body) = frame.pdu.split_first().map_or((0, frame.pdu), |(code, body)| (*code, body));
        if answered == self.code | 0x80 {
            return match body {
                [code] => Ok(Confirmed::Exception(*code)),
                _ => Err(Mismatch::Length { asked: 1, answered: body.len() }),
            };
        }
        if answered != self.code {
            return Err(Mismatch::Function { asked: self.code, answered });
        }
        let wanted = &self.repeated[..usize::from(self.len)];
        if body.len() != wanted.len() {
            return Err(Mismatch::Length { asked: wanted.len(), answered: body.len() });
        }
        Ok(if body == wanted { Confirmed::Asked } else { Confirmed::Other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{ADU_BYTES_MAX, Splitter};

    fn bytes(write: Write) -> Vec<u8> {
        let mut out = Vec::new();
        WriteRequest { unit: 17, write }.encode(0x1501, &mut out);
        out
    }

    fn head(length: u8, code: u8) -> Vec<u8> {
        vec![0x15, 0x01, 0, 0, 0, length, 17, code]
    }

    /// The examples of V1.1b3, 6.5, 6.6, 6.11, 6.12 and 6.16.
    #[test]
    fn requests_are_those_of_the_standard() {
        let tail = |head: Vec<u8>, tail: &[u8]| [head, tail.to_vec()].concat();
        assert_eq!(bytes(Write::Coil { address: 172, on: true }), tail(head(6, 5), &[0, 0xAC, 0xFF, 0]));
        assert_eq!(bytes(Write::Register { address: 1, word: 3 }), tail(head(6, 6), &[0, 1, 0, 3]));
        let on = [true, false, true, true, false, false, true, true, true, false].to_vec();
        assert_eq!(bytes(Write::Coils { address: 19, on }), tail(head(9, 0x0F), &[0, 0x13, 0, 10, 2, 0xCD, 1]));
        let words = vec![0x0A, 0x0102];
        assert_eq!(bytes(Write::Registers { address: 1, words }), tail(head(11, 16), &[0, 1, 0, 2, 4, 0, 0x0A, 1, 2]));
        let mask = Write::Mask { address: 4, and: 0xF2, or: 0x25 };
        assert_eq!(bytes(mask), tail(head(8, 0x16), &[0, 4, 0, 0xF2, 0, 0x25]));
    }

    #[test]
    fn the_longest_requests_fit_a_frame() {
        let registers = bytes(Write::Registers { address: 0, words: vec![1; 500] });
        let coils = bytes(Write::Coils { address: 0, on: vec![true; 5000] });
        assert_eq!((registers.len(), coils.len()), (ADU_BYTES_MAX - 1, ADU_BYTES_MAX - 1));
        for request in [registers, coils] {
            let mut input = &request[..];
            let frame = Splitter::default().next_frame(&mut input).expect("a frame").expect("whole").pdu.len();
            assert_eq!((frame, input.len()), (request.len() - 7, 0));
        }
    }

    #[test]
    fn only_the_write_itself_is_confirmed() {
        let write = Write::Registers { address: 300, words: vec![1, 2, 3] };
        let echo = WriteRequest { unit: 9, write }.echo();
        let check = |unit, pdu: &[u8]| echo.check(&Adu { transaction: 0, unit, pdu });
        assert_eq!(check(9, &[0x10, 1, 0x2C, 0, 3]), Ok(Confirmed::Asked));
        assert_eq!(check(9, &[0x10, 1, 0x2D, 0, 3]), Ok(Confirmed::Other));
        assert_eq!(check(9, &[0x10, 1, 0x2C, 0, 2]), Ok(Confirmed::Other));
        assert_eq!(check(9, &[0x90, 2]), Ok(Confirmed::Exception(2)));
        assert_eq!(check(8, &[0x10, 1, 0x2C, 0, 3]), Err(Mismatch::Unit { asked: 9, answered: 8 }));
        assert_eq!(check(9, &[0x06, 1, 0x2C, 0, 3]), Err(Mismatch::Function { asked: 0x10, answered: 6 }));
        assert_eq!(check(9, &[0x10, 1, 0x2C, 0]), Err(Mismatch::Length { asked: 4, answered: 3 }));
        assert_eq!(check(9, &[0x90, 2, 2]), Err(Mismatch::Length { asked: 1, answered: 2 }));
        assert_eq!(check(9, &[]), Err(Mismatch::Function { asked: 0x10, answered: 0 }));
        let mask = WriteRequest { unit: 9, write: Write::Mask { address: 4, and: 0xFFF7, or: 8 } }.echo();
        let pdu = [0x16, 0, 4, 0xFF, 0xF7, 0, 8];
        assert_eq!(mask.check(&Adu { transaction: 0, unit: 9, pdu: &pdu }), Ok(Confirmed::Asked));
    }

    #[test]
    fn a_single_write_can_be_said_as_several() {
        let one = Write::Register { address: 7, word: 9 }.as_several();
        assert_eq!(one, Some(Write::Registers { address: 7, words: vec![9] }));
        let coil = Write::Coil { address: 7, on: true }.as_several();
        assert_eq!(coil, Some(Write::Coils { address: 7, on: vec![true] }));
        assert_eq!(Write::Mask { address: 7, and: 0, or: 0 }.as_several(), None);
    }
}
