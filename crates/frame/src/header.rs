//! The 48 bytes before every payload.

use crate::crc::crc32c;
use model::{ProducerId, Sequence, TimestampNs};

/// Frames start at multiples of this many bytes and are a multiple of it long.
pub const ALIGN: usize = 16;
/// Length of the header in bytes; the payload starts here.
pub const HEADER_BYTES: usize = 48;
/// Version of the layout that this code reads and writes.
pub const VERSION: u8 = 1;
/// First four bytes of every frame: `MSF1`.
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"MSF1");

pub(crate) const AT_LENGTH: usize = 4;
pub(crate) const AT_KIND: usize = 8;
pub(crate) const AT_VERSION: usize = 9;
pub(crate) const AT_FLAGS: usize = 10;
pub(crate) const AT_CRC: usize = 12;
pub(crate) const AT_PRODUCER: usize = 16;
pub(crate) const AT_SEQUENCE: usize = 24;
pub(crate) const AT_RECEIVED: usize = 32;
pub(crate) const AT_PAYLOAD_BYTES: usize = 40;
pub(crate) const AT_RESERVED: usize = 44;

/// What a frame carries. Kinds below 32 are stored in the log; the others live on a connection only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// One time, a run of consecutive tags.
    Scan = 1,
    /// Any tags, any times.
    Samples = 2,
    /// A time without data.
    Gap = 3,
    /// Sources and their numbers.
    Sources = 4,
    /// Tags, their numbers and what they mean.
    Tags = 5,
    /// Interned texts.
    Texts = 6,
    /// Producers and the last sequence of each that the log holds.
    Producers = 7,
    /// No payload: "running, nothing else to say"; carries time and the durable mark forward.
    Mark = 8,
    /// One entry of the flows' journal: a message, an outcome, a snapshot.
    Entry = 9,
    /// Producer to server: who I am, which source, what I want acknowledged.
    Hello = 32,
    /// Server to producer: where to go on.
    Welcome = 33,
    /// Producer to server: tags and texts that I will use.
    Register = 34,
    /// Server to producer: their numbers.
    Registered = 35,
    /// Server to producer: everything up to the header's sequence is durable. No payload.
    Ack = 36,
    /// Either way: I close this connection because.
    Refuse = 37,
}

impl FrameKind {
    const ALL: [FrameKind; 15] = [
        FrameKind::Scan,
        FrameKind::Samples,
        FrameKind::Gap,
        FrameKind::Sources,
        FrameKind::Tags,
        FrameKind::Texts,
        FrameKind::Producers,
        FrameKind::Mark,
        FrameKind::Entry,
        FrameKind::Hello,
        FrameKind::Welcome,
        FrameKind::Register,
        FrameKind::Registered,
        FrameKind::Ack,
        FrameKind::Refuse,
    ];

    /// The kind of a wire number; `None` where there is none.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<FrameKind> {
        let mut i = 0;
        while i < Self::ALL.len() {
            if Self::ALL[i] as u8 == number {
                return Some(Self::ALL[i]);
            }
            i += 1;
        }
        None
    }

    /// Whether the log stores this kind.
    #[must_use]
    pub const fn is_stored(self) -> bool {
        (self as u8) < 32
    }

    /// Whether a producer may send it as data (scan and samples).
    #[must_use]
    pub const fn is_telemetry(self) -> bool {
        matches!(self, FrameKind::Scan | FrameKind::Samples)
    }
}

/// A header's fields, read from bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whole frame in bytes, header and padding included.
    pub length: usize,
    /// What it carries.
    pub kind: FrameKind,
    /// CRC32C (Castagnoli, RFC 3720 B.4) over all bytes but this field and `received`.
    pub crc: u32,
    /// Who sent it; 0 is Millstream itself.
    pub producer: ProducerId,
    /// Its number within the producer.
    pub sequence: Sequence,
    /// When the server took it; 0 on the wire.
    pub received: TimestampNs,
    /// The archive's length in bytes, without padding.
    pub payload_bytes: usize,
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The frame's checksum over everything but the checksum itself and `received_ns` (invariant F4).
pub(crate) fn checksum(frame: &[u8]) -> u32 {
    crc32c(&[&frame[..AT_CRC], &frame[AT_PRODUCER..AT_RECEIVED], &frame[AT_PAYLOAD_BYTES..]])
}

/// Writes the time of arrival into a frame's header. The checksum does not cover it (F4).
///
/// # Panics
/// If `frame` is shorter than a header; callers hold a checked frame's bytes.
pub fn stamp_received(frame: &mut [u8], received: TimestampNs) {
    frame[AT_RECEIVED..AT_RECEIVED + 8].copy_from_slice(&received.0.to_le_bytes());
}
