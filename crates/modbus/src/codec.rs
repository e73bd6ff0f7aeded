//! Bytes of Modbus TCP: requests out, answers in.
//!
//! Purpose: encode the four read requests, cut a byte stream into frames, and check an answer
//! against the request it claims to answer. Standards: *Modbus Messaging on TCP/IP Implementation
//! Guide V1.0b* (MBAP header, 3.1.3) and *Modbus Application Protocol V1.1b3* (6.1 to 6.4, 7).
//!
//! Invariants
//! - C1: no input makes anything here panic, allocate, or wait for more than 260 bytes.
//! - C2: the frames found do not depend on how the stream was cut into reads.
//! - C3: an answer is data only when unit, function and length are those of the request.
//!
//! It does not know transactions, time or sockets: that is [`crate::session`].

use config::Area;
use std::fmt;

/// Bytes of the MBAP header (Messaging on TCP/IP V1.0b, 3.1.3).
pub const MBAP_BYTES: usize = 7;
/// Longest frame: MBAP header and a PDU of 253 bytes (V1.1b3, 4.1).
pub const ADU_BYTES_MAX: usize = 260;
/// Bytes of every read request: MBAP header, function, address, quantity.
pub const REQUEST_BYTES: usize = 12;
/// Most registers of one read (V1.1b3, 6.3).
pub const REGISTERS_MAX: u16 = 125;
/// Most bits of one read (V1.1b3, 6.1).
pub const BITS_MAX: u16 = 2000;

/// Smallest and largest value of the MBAP length field: unit and function, unit and 253 bytes.
const LENGTH: std::ops::RangeInclusive<u16> = 2..=254;

/// The four read functions (V1.1b3, 6.1 to 6.4); the number is the function code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Function {
    /// 01, read coils.
    ReadCoils = 1,
    /// 02, read discrete inputs.
    ReadDiscreteInputs = 2,
    /// 03, read holding registers.
    ReadHoldingRegisters = 3,
    /// 04, read input registers.
    ReadInputRegisters = 4,
}

impl Function {
    /// All four, by function code.
    pub const ALL: [Function; 4] = [
        Function::ReadCoils,
        Function::ReadDiscreteInputs,
        Function::ReadHoldingRegisters,
        Function::ReadInputRegisters,
    ];

    /// The function code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether it reads bits, not registers.
    #[must_use]
    pub const fn is_bits(self) -> bool {
        matches!(self, Function::ReadCoils | Function::ReadDiscreteInputs)
    }

    /// Bytes of data of the answer to a read of so many: two a register, or one for eight bits.
    #[must_use]
    pub const fn answer_bytes(self, quantity: u16) -> usize {
        if self.is_bits() { quantity.div_ceil(8) as usize } else { quantity as usize * 2 }
    }

    /// The area that it reads.
    #[must_use]
    pub const fn area(self) -> Area {
        match self {
            Function::ReadCoils => Area::Coil,
            Function::ReadDiscreteInputs => Area::DiscreteInput,
            Function::ReadHoldingRegisters => Area::HoldingRegister,
            Function::ReadInputRegisters => Area::InputRegister,
        }
    }

    /// The function that reads an area.
    #[must_use]
    pub const fn of(area: Area) -> Function {
        match area {
            Area::Coil => Function::ReadCoils,
            Area::DiscreteInput => Function::ReadDiscreteInputs,
            Area::HoldingRegister => Function::ReadHoldingRegisters,
            Area::InputRegister => Function::ReadInputRegisters,
        }
    }
}

/// One read request, without its transaction id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Unit identifier, 1 to 255.
    pub unit: u8,
    /// What is read.
    pub function: Function,
    /// First register or bit, from 0.
    pub address: u16,
    /// How many registers or bits, from 1.
    pub quantity: u16,
}

impl ReadRequest {
    /// The frame that asks this (Messaging on TCP/IP V1.0b, 3.1.3).
    #[must_use]
    pub const fn encode(&self, transaction: u16) -> [u8; REQUEST_BYTES] {
        let [t1, t0] = transaction.to_be_bytes();
        let [a1, a0] = self.address.to_be_bytes();
        let [q1, q0] = self.quantity.to_be_bytes();
        [t1, t0, 0, 0, 0, 6, self.unit, self.function.code(), a1, a0, q1, q0]
    }

    /// Bytes of data that the right answer holds: two a register, or one for eight bits.
    #[must_use]
    pub const fn answer_bytes(&self) -> usize {
        self.function.answer_bytes(self.quantity)
    }
}

/// One whole frame of the stream, its header taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adu<'a> {
    /// Transaction identifier.
    pub transaction: u16,
    /// Unit identifier.
    pub unit: u8,
    /// Function code and data, 1 to 253 bytes.
    pub pdu: &'a [u8],
}

/// A stream that is no Modbus TCP any more. There is no way to find the next frame in it, so the
/// connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The protocol identifier is not 0.
    Protocol {
        /// What stood there.
        protocol: u16,
    },
    /// The length field is outside 2 to 254.
    Length {
        /// What stood there.
        length: u16,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Protocol { protocol } => {
                write!(f, "the peer sent protocol id {protocol}, not 0, so it does not speak Modbus TCP")
            }
            FrameError::Length { length } => {
                write!(f, "the peer sent a frame of length {length}, outside 2 to 254")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// Cuts a byte stream into frames, however it was cut into reads.
#[derive(Clone, Debug)]
pub struct Splitter {
    held: [u8; ADU_BYTES_MAX],
    len: usize,
    given: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Splitter { held: [0; ADU_BYTES_MAX], len: 0, given: false }
    }
}

impl Splitter {
    /// Forgets what was held; for a new connection.
    pub fn reset(&mut self) {
        self.len = 0;
        self.given = false;
    }

    /// The next whole frame, or `None` when `input` is used up. Whole frames are given where they
    /// lie in `input`; only a frame that was cut is copied.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection; after it, only [`Splitter::reset`] makes sense.
    pub fn next_frame<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Adu<'a>>, FrameError> {
        if self.given {
            self.reset();
        }
        if self.len == 0
            && let Some(bytes) = frame_bytes(input)?
            && let Some((frame, rest)) = input.split_at_checked(bytes)
        {
            *input = rest;
            return Ok(Some(adu(frame)));
        }
        loop {
            let wanted = frame_bytes(&self.held[..self.len])?.unwrap_or(MBAP_BYTES);
            if self.len >= wanted && self.len >= MBAP_BYTES {
                self.given = true;
                return Ok(Some(adu(&self.held[..self.len])));
            }
            let take = (wanted - self.len).min(input.len());
            let (now, rest) = input.split_at(take);
            self.held[self.len..self.len + take].copy_from_slice(now);
            self.len += take;
            *input = rest;
            if take == 0 {
                return Ok(None);
            }
        }
    }
}

/// Bytes of the frame that begins here; `None` while the header is not whole.
fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    if let [_, _, p1, p0, ..] = bytes {
        let protocol = u16::from_be_bytes([*p1, *p0]);
        if protocol != 0 {
            return Err(FrameError::Protocol { protocol });
        }
    }
    let [_, _, _, _, l1, l0, _, ..] = bytes else { return Ok(None) };
    let length = u16::from_be_bytes([*l1, *l0]);
    if !LENGTH.contains(&length) {
        return Err(FrameError::Length { length });
    }
    Ok(Some(MBAP_BYTES - 1 + usize::from(length)))
}

/// A whole frame's parts; `frame` holds at least 8 bytes.
fn adu(frame: &[u8]) -> Adu<'_> {
    Adu { transaction: u16::from_be_bytes([frame[0], frame[1]]), unit: frame[6], pdu: &frame[MBAP_BYTES..] }
}

/// What an answer says that really answers its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The bytes of the registers (big-endian) or bits (least significant first).
    Data(&'a [u8]),
    /// An exception code (V1.1b3, 7).
    Exception(u8),
}

/// An answer that carries the transaction id of a request, but is not its answer. Nothing on that
/// connection can be trusted any more: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Another unit.
    Unit {
        /// Asked.
        asked: u8,
        /// Answered.
        answered: u8,
    },
    /// Another function.
    Function {
        /// Asked.
        asked: u8,
        /// Answered.
        answered: u8,
    },
    /// Another number of bytes.
    Length {
        /// Bytes of data that the request asks for.
        asked: usize,
        /// Bytes of data that came.
        answered: usize,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Unit { asked, answered } => write!(f, "unit {asked} was asked and unit {answered} answered"),
            Mismatch::Function { asked, answered } => {
                write!(f, "function {asked} was asked and function {answered} answered")
            }
            Mismatch::Length { asked, answered } => {
                write!(f, "{asked} bytes of data were asked for and {answered} came")
            }
        }
    }
}

impl std::error::Error for Mismatch {}

/// Checks a frame against the request whose transaction id it carries.
///
/// # Errors
/// [`Mismatch`]: it is not that request's answer.
pub fn check<'a>(request: &ReadRequest, frame: &Adu<'a>) -> Result<Answer<'a>, Mismatch> {
    if frame.unit != request.unit {
        return Err(Mismatch::Unit { asked: request.unit, answered: frame.unit });
    }
    let asked = request.function.code();
    let (answered, body) = frame.pdu.split_first().map_or((0, frame.pdu), |(code, body)| (*code, body));
    if answered == asked | 0x80 {
        return match body {
            [code] => Ok(Answer::Exception(*code)),
            _ => Err(Mismatch::Length { asked: 1, answered: body.len() }),
        };
    }
    if answered != asked {
        return Err(Mismatch::Function { asked, answered });
    }
    let bytes = request.answer_bytes();
    match body.split_first() {
        Some((count, data)) if usize::from(*count) == bytes && data.len() == bytes => Ok(Answer::Data(data)),
        _ => Err(Mismatch::Length { asked: bytes, answered: body.len().saturating_sub(1) }),
    }
}

/// Entry for a fuzz target: reads any bytes as a stream, whole and cut at `cut`, and checks every
/// frame against requests. Panics where the frames found depend on the cut (C2).
pub fn fuzz_stream(bytes: &[u8], cut: usize) {
    let whole = frames(&[bytes]);
    let (head, tail) = bytes.split_at(cut.min(bytes.len()));
    assert_eq!(whole, frames(&[head, tail]), "the frames found depend on how the stream was cut");
}

/// Transaction, unit and PDU of every frame, and the error that ended the stream.
type Found = (Vec<(u16, u8, Vec<u8>)>, Option<FrameError>);

fn frames(parts: &[&[u8]]) -> Found {
    let mut splitter = Splitter::default();
    let mut found = Vec::new();
    for part in parts {
        let mut input = *part;
        loop {
            match splitter.next_frame(&mut input) {
                Ok(Some(frame)) => {
                    for function in Function::ALL {
                        let request = ReadRequest { unit: frame.unit, function, address: 0, quantity: 3 };
                        let _ = check(&request, &frame);
                    }
                    found.push((frame.transaction, frame.unit, frame.pdu.to_vec()));
                }
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
