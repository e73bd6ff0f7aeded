//! Making frames.

use crate::header::{self, ALIGN, FrameKind, HEADER_BYTES, MAGIC, VERSION};
use crate::payload::{
    Entry, GapRecord, Hello, Producers, Refuse, Register, Registered, Samples, Scan, Sources, Tags, Texts,
    UNKNOWN_COUNT, Welcome,
};
use model::{Gap, ProducerId, Sequence, TimestampNs, limits};
use rkyv::api::high::HighSerializer;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Serialize, rancor};
use std::fmt;

/// A frame could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// It would be longer than `model::limits::FRAME_BYTES_MAX`; split it.
    TooLong {
        /// What it would have been, in bytes.
        bytes: usize,
    },
    /// The serializer refused (it does so only for an archive over 2 GiB).
    Serialize,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::TooLong { bytes } => write!(
                f,
                "the frame would have {bytes} bytes; at most {} are allowed: put fewer samples in one frame",
                limits::FRAME_BYTES_MAX
            ),
            EncodeError::Serialize => f.write_str("the frame cannot be serialized"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Appends frames to an aligned buffer that it owns. Cleared and used again, it does not allocate.
#[derive(Default)]
pub struct Builder {
    bytes: AlignedVec<64>,
}

macro_rules! encoders {
    ($($(#[$doc:meta])* $name:ident($payload:ty) = $kind:ident;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// [`EncodeError`]; the buffer is then as it was before.
            pub fn $name(
                &mut self,
                producer: ProducerId,
                sequence: Sequence,
                payload: &$payload,
            ) -> Result<&mut Self, EncodeError> {
                self.encode(FrameKind::$kind, producer, sequence, Some(payload))
            }
        )*
    };
}

impl Builder {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Builder {
        Builder::default()
    }

    /// All frames so far, end to end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the frames, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The buffer itself.
    #[must_use]
    pub fn into_bytes(self) -> AlignedVec<64> {
        self.bytes
    }

    encoders! {
        /// Appends a scan.
        scan(Scan) = Scan;
        /// Appends samples.
        samples(Samples) = Samples;
        /// Appends source definitions.
        sources(Sources) = Sources;
        /// Appends tag definitions.
        tags(Tags) = Tags;
        /// Appends text definitions.
        texts(Texts) = Texts;
        /// Appends dedupe state.
        producers(Producers) = Producers;
        /// Appends an entry of the journal.
        entry(Entry) = Entry;
        /// Appends a hello.
        hello(Hello) = Hello;
        /// Appends a welcome.
        welcome(Welcome) = Welcome;
        /// Appends a registration.
        register(Register) = Register;
        /// Appends the answer to a registration.
        registered(Registered) = Registered;
        /// Appends a refusal.
        refuse(Refuse) = Refuse;
    }

    /// Appends a gap record.
    ///
    /// # Errors
    /// [`EncodeError`]
    pub fn gap(&mut self, gap: &Gap) -> Result<&mut Self, EncodeError> {
        let (tag_first, tag_count) = gap.tags.map_or((0, 0), |(first, count)| (first.0, count));
        let record = GapRecord {
            from_ns: gap.from.0,
            to_ns: gap.to.0.max(gap.from.0),
            count: gap.count.unwrap_or(UNKNOWN_COUNT),
            source: gap.source.0,
            tag_first,
            tag_count,
            reason: gap.reason as u8,
        };
        self.encode(FrameKind::Gap, ProducerId::SELF, Sequence(0), Some(&record))
    }

    /// Appends a frame without a payload: [`FrameKind::Mark`] or [`FrameKind::Ack`].
    ///
    /// # Errors
    /// [`EncodeError`]
    pub fn bare(
        &mut self,
        kind: FrameKind,
        producer: ProducerId,
        sequence: Sequence,
    ) -> Result<&mut Self, EncodeError> {
        debug_assert!(matches!(kind, FrameKind::Mark | FrameKind::Ack));
        self.encode(kind, producer, sequence, None::<&Samples>)
    }

    /// Writes the arrival time into every frame of the buffer (frames that Millstream makes itself).
    pub fn stamp(&mut self, received: TimestampNs) {
        let mut at = 0;
        while let Some(length) = self.bytes.get(at..).filter(|b| !b.is_empty()).map(|b| header::u32_at(b, 4)) {
            header::stamp_received(&mut self.bytes[at..], received);
            at += length as usize;
        }
    }

    fn encode<T>(
        &mut self,
        kind: FrameKind,
        producer: ProducerId,
        sequence: Sequence,
        payload: Option<&T>,
    ) -> Result<&mut Self, EncodeError>
    where
        T: for<'w, 's> Serialize<HighSerializer<&'w mut AlignedVec<64>, ArenaHandle<'s>, rancor::Failure>>,
    {
        let start = self.bytes.len();
        self.bytes.resize(start + HEADER_BYTES, 0);
        if let Some(payload) = payload
            && rkyv::api::high::to_bytes_in::<_, rancor::Failure>(payload, &mut self.bytes).is_err()
        {
            self.bytes.resize(start, 0);
            return Err(EncodeError::Serialize);
        }
        let payload_bytes = self.bytes.len() - start - HEADER_BYTES;
        let length = (HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN);
        if length > limits::FRAME_BYTES_MAX {
            self.bytes.resize(start, 0);
            return Err(EncodeError::TooLong { bytes: length });
        }
        self.bytes.resize(start + length, 0);
        let frame = &mut self.bytes[start..];
        frame[..4].copy_from_slice(&MAGIC.to_le_bytes());
        frame[header::AT_LENGTH..][..4].copy_from_slice(&(length as u32).to_le_bytes());
        frame[header::AT_KIND] = kind as u8;
        frame[header::AT_VERSION] = VERSION;
        frame[header::AT_PRODUCER..][..8].copy_from_slice(&producer.0.to_le_bytes());
        frame[header::AT_SEQUENCE..][..8].copy_from_slice(&sequence.0.to_le_bytes());
        frame[header::AT_PAYLOAD_BYTES..][..4].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
        let crc = header::checksum(frame);
        frame[header::AT_CRC..][..4].copy_from_slice(&crc.to_le_bytes());
        Ok(self)
    }
}
