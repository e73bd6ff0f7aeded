//! Frames: rkyv archives behind a fixed header, checked once and read in place from there on.
//!
//! Purpose: the one layout of what producers send, what the log stores and what queries read.
//! `docs/format.md` is the normative description; its offset tables come from [`layout`].
//!
//! Invariants
//! - F1: a [`Frame`] exists only for bytes that passed [`check`]; the type is the proof. This is the
//!   only crate that reads an archive unchecked, and only behind that proof.
//! - F2: every frame is a multiple of [`ALIGN`] bytes long, so that frames laid end to end in an
//!   aligned buffer are all aligned, in a receive buffer as in the log.
//! - F3: a hot frame (scan, samples) holds fixed-width numbers only; text is an interned id.
//! - F4: the checksum covers every byte but `received_ns`, which the server writes on arrival and
//!   the log's batch checksum covers at rest.
//!
//! It deliberately does not know sockets, files or what a tag means.

mod build;
mod check;
mod crc;
mod header;
pub mod layout;
mod payload;
mod splitter;
mod view;

pub use build::{Builder, EncodeError};
pub use check::{Frame, FrameError, check, check_length, mend_checksum};
pub use crc::{Crc32c, crc32c, crc32c_joined};
pub use header::{ALIGN, FrameKind, HEADER_BYTES, Header, VERSION, stamp_received};
pub use payload::{
    ArchivedEntry, ArchivedTagRecord, Entry, GapRecord, Hello, ProducerMark, Producers, Refuse, Register, Registered,
    SAMPLE_BYTES, Samples, Scan, SourceRecord, Sources, StoredSample, TagRecord, TagRequest, Tags, TextRecord,
    TextRequest, Texts, UNKNOWN_COUNT, Welcome,
};
pub use splitter::Splitter;
pub use view::{SampleView, SamplesView, ScanView, View};
