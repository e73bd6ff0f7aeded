//! The one check of outside bytes.

use crate::header::{self, ALIGN, FrameKind, HEADER_BYTES, Header, MAGIC, VERSION};
use crate::payload::{
    ArchivedEntry, ArchivedGapRecord, ArchivedHello, ArchivedProducers, ArchivedRefuse, ArchivedRegister,
    ArchivedRegistered, ArchivedSamples, ArchivedScan, ArchivedSources, ArchivedTags, ArchivedTexts, ArchivedWelcome,
};
use model::{GapReason, ProducerId, Sequence, TimestampNs, ValueKind, limits};
use rkyv::rancor;
use std::fmt;

/// Why bytes are not a frame. All of them mean: close this connection, or fence these stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Fewer bytes than a header or than the header says.
    Short,
    /// The buffer does not start at a multiple of [`ALIGN`].
    Misaligned,
    /// The first four bytes are not `MSF1`.
    Magic,
    /// Another version of the layout.
    Version {
        /// The version found.
        found: u8,
    },
    /// No such kind.
    Kind {
        /// The number found.
        found: u8,
    },
    /// The length is too small, too large or no multiple of [`ALIGN`].
    Length {
        /// The length found, in bytes.
        found: u32,
    },
    /// Reserved bits are not zero, or the payload's length does not fit the frame's.
    Header,
    /// The checksum does not match.
    Checksum,
    /// The payload is no valid archive of its kind.
    Payload,
    /// A field of the payload is out of its bounds.
    Bounds,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Short => f.write_str("the bytes end before the frame does"),
            FrameError::Misaligned => f.write_str("the frame does not start at a multiple of 16 bytes"),
            FrameError::Magic => f.write_str("this is not a frame: it does not begin with MSF1"),
            FrameError::Version { found } => {
                write!(f, "the frame has layout version {found}; this server speaks version {VERSION}")
            }
            FrameError::Kind { found } => write!(f, "there is no frame kind {found}"),
            FrameError::Length { found } => write!(
                f,
                "the frame's length of {found} bytes is not a multiple of 16 between {HEADER_BYTES} and {}",
                limits::FRAME_BYTES_MAX
            ),
            FrameError::Header => f.write_str("the frame's header contradicts itself"),
            FrameError::Checksum => f.write_str("the frame's checksum does not match; bytes were damaged on the way"),
            FrameError::Payload => f.write_str("the frame's payload is not a valid archive of its kind"),
            FrameError::Bounds => f.write_str("a field of the frame's payload is out of bounds"),
        }
    }
}

impl std::error::Error for FrameError {}

/// A checked frame in place: these bytes passed [`check`] (invariant F1).
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    header: Header,
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<'a> Frame<'a> {
    /// All bytes, header and padding included.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The header's fields.
    #[must_use]
    pub const fn header(&self) -> Header {
        self.header
    }

    /// What it carries.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        self.header.kind
    }

    /// Who sent it.
    #[must_use]
    pub const fn producer(&self) -> ProducerId {
        self.header.producer
    }

    /// Its number within the producer.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.header.sequence
    }

    /// When the server took it.
    #[must_use]
    pub const fn received(&self) -> TimestampNs {
        self.header.received
    }

    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..HEADER_BYTES + self.header.payload_bytes]
    }
}

/// Reads the length of the frame that starts here. `None`: not enough bytes to tell.
///
/// # Errors
/// [`FrameError`] where these bytes cannot start a frame; nothing is allocated on their word.
pub fn check_length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let seen = bytes.len().min(4);
    if bytes[..seen] != MAGIC.to_le_bytes()[..seen] {
        return Err(FrameError::Magic);
    }
    if bytes.len() < header::AT_LENGTH + 4 {
        return Ok(None);
    }
    let found = header::u32_at(bytes, header::AT_LENGTH);
    let length = found as usize;
    if !(HEADER_BYTES..=limits::FRAME_BYTES_MAX).contains(&length) || !length.is_multiple_of(ALIGN) {
        return Err(FrameError::Length { found });
    }
    Ok(Some(length))
}

/// Checks the frame that starts at the beginning of `bytes`: header, checksum, archive and bounds.
/// `bytes` may go on behind the frame.
///
/// # Errors
/// [`FrameError`] says what is wrong; [`FrameError::Short`] where more bytes are needed.
pub fn check(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let length = check_length(bytes)?.ok_or(FrameError::Short)?;
    let bytes = bytes.get(..length).ok_or(FrameError::Short)?;
    if !bytes.as_ptr().addr().is_multiple_of(ALIGN) {
        return Err(FrameError::Misaligned);
    }
    let header = check_header(bytes, length)?;
    if header::checksum(bytes) != header.crc {
        return Err(FrameError::Checksum);
    }
    let frame = Frame { bytes, header };
    check_payload(&frame)?;
    Ok(frame)
}

fn check_header(bytes: &[u8], length: usize) -> Result<Header, FrameError> {
    let version = bytes[header::AT_VERSION];
    if version != VERSION {
        return Err(FrameError::Version { found: version });
    }
    let kind = bytes[header::AT_KIND];
    let kind = FrameKind::from_u8(kind).ok_or(FrameError::Kind { found: kind })?;
    let payload_bytes = header::u32_at(bytes, header::AT_PAYLOAD_BYTES) as usize;
    let flags = [bytes[header::AT_FLAGS], bytes[header::AT_FLAGS + 1]];
    let padded = payload_bytes.checked_next_multiple_of(ALIGN);
    if flags != [0, 0] || header::u32_at(bytes, header::AT_RESERVED) != 0 || padded != Some(length - HEADER_BYTES) {
        return Err(FrameError::Header);
    }
    Ok(Header {
        length,
        kind,
        crc: header::u32_at(bytes, header::AT_CRC),
        producer: ProducerId(header::u64_at(bytes, header::AT_PRODUCER)),
        sequence: Sequence(header::u64_at(bytes, header::AT_SEQUENCE)),
        received: TimestampNs(header::u64_at(bytes, header::AT_RECEIVED) as i64),
        payload_bytes,
    })
}

fn check_payload(frame: &Frame<'_>) -> Result<(), FrameError> {
    macro_rules! archive {
        ($archived:ty) => {
            rkyv::access::<$archived, rancor::Failure>(frame.payload()).map_err(|_| FrameError::Payload)?
        };
    }
    let in_bounds = match frame.kind() {
        FrameKind::Scan => scan_in_bounds(archive!(ArchivedScan)),
        FrameKind::Samples => !archive!(ArchivedSamples).samples.is_empty(),
        FrameKind::Gap => {
            let gap = archive!(ArchivedGapRecord);
            GapReason::from_u8(gap.reason).is_some() && gap.from_ns <= gap.to_ns
        }
        FrameKind::Sources => archive!(ArchivedSources).sources.iter().all(|s| !s.name.is_empty()),
        FrameKind::Tags => archive!(ArchivedTags)
            .tags
            .iter()
            .all(|t| ValueKind::from_u8(t.kind).is_some() && model::TagPath::new(&t.path).is_ok()),
        FrameKind::Texts => archive!(ArchivedTexts).texts.iter().all(|t| t.text.len() <= limits::TEXT_BYTES_MAX),
        FrameKind::Producers => {
            let _ = archive!(ArchivedProducers);
            true
        }
        FrameKind::Entry => {
            let _ = archive!(ArchivedEntry);
            true
        }
        FrameKind::Hello => !archive!(ArchivedHello).source.is_empty(),
        FrameKind::Welcome => {
            let _ = archive!(ArchivedWelcome);
            true
        }
        FrameKind::Register => {
            let register = archive!(ArchivedRegister);
            register.tags.iter().all(|t| ValueKind::from_u8(t.kind).is_some())
                && register.texts.iter().all(|t| t.text.len() <= limits::TEXT_BYTES_MAX)
        }
        FrameKind::Registered => {
            let _ = archive!(ArchivedRegistered);
            true
        }
        FrameKind::Refuse => {
            let _ = archive!(ArchivedRefuse);
            true
        }
        FrameKind::Mark | FrameKind::Ack => frame.payload().is_empty(),
    };
    if in_bounds { Ok(()) } else { Err(FrameError::Bounds) }
}

fn scan_in_bounds(scan: &ArchivedScan) -> bool {
    let count = scan.values.len();
    let last = u64::from(scan.tag_first.to_native()) + count as u64;
    count > 0 && last <= u64::from(u32::MAX) && (scan.qualities.is_empty() || scan.qualities.len() == count)
}

/// Makes a frame's checksum match its bytes again, for fuzzing and for tools that mend what they
/// know to be damaged. Says nothing about the rest of the frame.
///
/// # Panics
/// If `frame` is shorter than a header.
pub fn mend_checksum(frame: &mut [u8]) {
    let crc = header::checksum(frame);
    frame[header::AT_CRC..header::AT_CRC + 4].copy_from_slice(&crc.to_le_bytes());
}
