//! The layout as data: what `docs/format.md` shows is generated from here and tested.

use crate::header;
use crate::payload::{ArchivedEntry, ArchivedGapRecord, ArchivedSamples, ArchivedScan, ArchivedStoredSample};
use std::fmt::Write;
use std::mem::{offset_of, size_of};

/// One field of a structure.
pub struct Field {
    /// Its name in the docs.
    pub name: &'static str,
    /// First byte, from the structure's start.
    pub offset: usize,
    /// Its size in bytes.
    pub bytes: usize,
    /// What it holds.
    pub meaning: &'static str,
}

/// One structure.
pub struct Structure {
    /// Its name in the docs.
    pub name: &'static str,
    /// Its size in bytes.
    pub bytes: usize,
    /// Its fields in order.
    pub fields: Vec<Field>,
}

const fn field(name: &'static str, offset: usize, bytes: usize, meaning: &'static str) -> Field {
    Field { name, offset, bytes, meaning }
}

/// Every fixed structure of a frame, with the offsets that the compiler gave it.
#[must_use]
pub fn structures() -> Vec<Structure> {
    vec![
        header_structure(),
        scan_structure(),
        sample_structure(),
        samples_structure(),
        gap_structure(),
        entry_structure(),
    ]
}

fn header_structure() -> Structure {
    Structure {
        name: "Frame header",
        bytes: header::HEADER_BYTES,
        fields: vec![
            field("magic", 0, 4, "`MSF1`"),
            field("length", header::AT_LENGTH, 4, "whole frame in bytes, a multiple of 16"),
            field("kind", header::AT_KIND, 1, "what it carries"),
            field("version", header::AT_VERSION, 1, "1"),
            field("flags", header::AT_FLAGS, 2, "0"),
            field("crc32c", header::AT_CRC, 4, "over bytes 0..12, 16..32 and 40..length"),
            field("producer", header::AT_PRODUCER, 8, "who sent it; 0 is Millstream itself"),
            field("sequence", header::AT_SEQUENCE, 8, "number within the producer, from 1, without holes"),
            field("received_ns", header::AT_RECEIVED, 8, "server time of arrival; 0 on the wire, written on arrival"),
            field("payload_bytes", header::AT_PAYLOAD_BYTES, 4, "the archive's length without padding"),
            field("reserved", header::AT_RESERVED, 4, "0"),
        ],
    }
}

fn scan_structure() -> Structure {
    type S = ArchivedScan;
    Structure {
        name: "Scan (root, at the end of the payload)",
        bytes: size_of::<S>(),
        fields: vec![
            field("source_time_ns", offset_of!(S, source_time_ns), 8, "ns since 1970 UTC; i64::MIN: none"),
            field("tag_first", offset_of!(S, tag_first), 4, "tag of the first value"),
            field("values", offset_of!(S, values), 8, "relative pointer and count of 8-byte values"),
            field(
                "qualities",
                offset_of!(S, qualities),
                8,
                "relative pointer and count of StatusCodes; 0 of them: all Good",
            ),
        ],
    }
}

fn sample_structure() -> Structure {
    type S = ArchivedStoredSample;
    Structure {
        name: "Sample",
        bytes: size_of::<S>(),
        fields: vec![
            field("source_time_ns", offset_of!(S, source_time_ns), 8, "ns since 1970 UTC; i64::MIN: none"),
            field("value", offset_of!(S, value), 8, "the value's 64 bits"),
            field("tag", offset_of!(S, tag), 4, "tag number"),
            field("quality", offset_of!(S, quality), 4, "OPC UA StatusCode"),
        ],
    }
}

fn samples_structure() -> Structure {
    Structure {
        name: "Samples (root, at the end of the payload)",
        bytes: size_of::<ArchivedSamples>(),
        fields: vec![field(
            "samples",
            offset_of!(ArchivedSamples, samples),
            8,
            "relative pointer and count of 24-byte samples",
        )],
    }
}

fn gap_structure() -> Structure {
    type S = ArchivedGapRecord;
    Structure {
        name: "Gap (root, at the end of the payload)",
        bytes: size_of::<S>(),
        fields: vec![
            field("from_ns", offset_of!(S, from_ns), 8, "server time from which data is missing"),
            field("to_ns", offset_of!(S, to_ns), 8, "server time until which data is missing"),
            field("count", offset_of!(S, count), 8, "missing samples or polls; u64::MAX: unknown"),
            field("source", offset_of!(S, source), 4, "source number"),
            field("tag_first", offset_of!(S, tag_first), 4, "first tag, where tag_count is not 0"),
            field("tag_count", offset_of!(S, tag_count), 4, "consecutive tags; 0: the whole source"),
            field("reason", offset_of!(S, reason), 1, "reason number"),
        ],
    }
}

fn entry_structure() -> Structure {
    type S = ArchivedEntry;
    Structure {
        name: "Entry (root, at the end of the payload)",
        bytes: size_of::<S>(),
        fields: vec![
            field("time_ns", offset_of!(S, time_ns), 8, "when it happened, ns since 1970 UTC"),
            field("key", offset_of!(S, key), 8, "hash of what orders it; 0: nothing does"),
            field("kind", offset_of!(S, kind), 1, "entry kind"),
            field("stream", offset_of!(S, stream), 8, "what it belongs to, as text"),
            field("id", offset_of!(S, id), 8, "its own name, as text"),
            field("body", offset_of!(S, body), 8, "relative pointer and count of bytes: JSON"),
        ],
    }
}

/// The tables of `docs/format.md`, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    for structure in structures() {
        let _ = writeln!(text, "**{}**, {} bytes\n", structure.name, structure.bytes);
        text.push_str("| offset | bytes | field | meaning |\n|---:|---:|---|---|\n");
        for f in structure.fields {
            let _ = writeln!(text, "| {} | {} | `{}` | {} |", f.offset, f.bytes, f.name, f.meaning);
        }
        text.push('\n');
    }
    text
}

const _: () = assert!(size_of::<ArchivedStoredSample>() == crate::payload::SAMPLE_BYTES);
