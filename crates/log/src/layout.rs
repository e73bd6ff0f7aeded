//! The files of a log, normatively. The log part of `docs/format.md` is [`markdown`].
//!
//! All numbers are little-endian; times are ns since 1970 UTC; CRC32C is Castagnoli (RFC 3720 B.4).
//!
//! # Directory
//! One directory a shard. Segment files are named by their number in 20 digits with `.seg`; numbers
//! only grow, and numbers may be left out. A file with `.free` in place of `.seg` belongs to no
//! segment: it held one that retention took away, and waits to be used again. It may be removed at any
//! time, and is when a log is taken into use.
//!
//! # Segment
//! A header of [`SEGMENT_HEADER_BYTES`], then batches end to end, then the end of the file. A
//! segment is written once, front to back, by one writer, and never after a write or sync of it failed.
//! Where flag bit 1 says that its file was used before, bytes of an older segment may stand behind its
//! last batch. None of them is a whole batch of this segment: a batch names its file's number.
//!
//! # Batch
//! A header of [`BATCH_HEADER_BYTES`], then whole frames end to end. Both are multiples of 16 bytes,
//! so every frame starts at a multiple of 16 bytes of the file and is read in place. The checksum
//! covers header and body, and so the shard, file and offset where the batch must stand; with
//! `previous_crc` a batch names the one before it (the first names the segment header).
//!
//! Kinds: 1 *data*: frames as they were appended. 2 *prologue*: definitions that hold for the
//! segment and dedupe state; only at the start of a segment. 3 *mark*: one Mark frame, written a
//! second after the log fell idle and every ten seconds while it is. 4 *final*: a mark, the last
//! thing that a writer closed in order writes. 5 *pad*: zeros up to a multiple of 4096 bytes of the
//! file, before and behind a large data batch, so that a disk can write it past the page cache.
//!
//! # Positions
//! A position counts the bytes of the frames in data batches, over all segments. A frame's position
//! is the one after it: it is durable when the log is durable up to there. Headers and the other
//! kinds of batch count nothing. Positions never mean other bytes later: what is logged again after
//! a failure, or after a restart, keeps its positions.
//!
//! # Reading
//! Segments are read in the order of their numbers. Where two hold the same positions, the later
//! one wins where it is whole and the earlier one serves where not (the bytes are the same).
//! *Known durable* is the highest `durable` of any whole header. Where positions are missing:
//! below known durable it is damage, is fenced and reported, and reading goes on at the next whole
//! batch (found by trying each multiple of 16 bytes); at or above it, it is the torn tail of a
//! crash: the log ends there, and everything behind is cut off before the log is used again.
//! What lies between known durable and the end is logged again into the next segment, because a
//! sync that failed before the crash may have left it in memory only, and a later sync says nothing
//! about it.
//!
//! A damaged stretch that holds no missing positions is reported without loss, except where a later
//! segment with flag bit 0 starts at or before it: that one was begun to log the same positions
//! again, after a failure or a restart.
//!
//! A *Producers* frame of a prologue says what held when the log ended at `as_of`. It counts only
//! where the log was stored up to there: `as_of` is at or below the end that is found, and at or
//! below `started` of every segment of a later writer (`segment` - `ordinal` names the writer).
//! Otherwise it speaks of frames that a crash took before they were stored.
//!
//! # Running time
//! `running_ns` counts how long this log has been written to, by clocks that cannot jump: monotonic
//! time within a life; from one life to the next it goes on from the last segment's value plus the
//! steps between its batches' received times, none counted for more than thirty seconds. Retention
//! by age uses it alone, so no clock that jumps, either way, ever removes data; time in which
//! Millstream was off makes nothing older.

use frame::layout::{Field, Structure};
use std::fmt::Write;

/// Length of a segment's header in bytes; the first batch starts here.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Length of a batch's header in bytes; its frames start here.
pub const BATCH_HEADER_BYTES: usize = 80;
/// Batches start at multiples of this many bytes.
pub const ALIGN: usize = 16;
/// Version of the format that this code reads and writes.
pub const VERSION: u8 = 1;

pub(crate) const SEGMENT_MAGIC: u32 = u32::from_le_bytes(*b"MSL1");
pub(crate) const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"MSB1");

/// Offsets in a segment's header.
pub(crate) mod segment {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 4;
    pub(crate) const FLAGS: usize = 5;
    pub(crate) const SHARD: usize = 6;
    pub(crate) const SEGMENT: usize = 8;
    pub(crate) const POSITION: usize = 16;
    pub(crate) const DURABLE: usize = 24;
    pub(crate) const CREATED: usize = 32;
    pub(crate) const RUNNING: usize = 40;
    pub(crate) const STARTED: usize = 48;
    pub(crate) const ORDINAL: usize = 56;
    pub(crate) const CRC: usize = 60;
}

/// Offsets in a batch's header.
pub(crate) mod batch {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 4;
    pub(crate) const KIND: usize = 5;
    pub(crate) const SHARD: usize = 6;
    pub(crate) const SEGMENT: usize = 8;
    pub(crate) const OFFSET: usize = 16;
    pub(crate) const POSITION: usize = 24;
    pub(crate) const DURABLE: usize = 32;
    pub(crate) const AS_OF: usize = 40;
    pub(crate) const RECEIVED_FIRST: usize = 48;
    pub(crate) const RECEIVED_LAST: usize = 56;
    pub(crate) const BODY_BYTES: usize = 64;
    pub(crate) const FRAMES: usize = 68;
    pub(crate) const PREVIOUS_CRC: usize = 72;
    pub(crate) const CRC: usize = 76;
}

const fn field(name: &'static str, offset: usize, bytes: usize, meaning: &'static str) -> Field {
    Field { name, offset, bytes, meaning }
}

/// Every fixed structure of a segment file.
#[must_use]
pub fn structures() -> Vec<Structure> {
    vec![segment_structure(), batch_structure()]
}

fn segment_structure() -> Structure {
    Structure {
        name: "Segment header",
        bytes: SEGMENT_HEADER_BYTES,
        fields: vec![
            field("magic", segment::MAGIC, 4, "`MSL1`"),
            field("version", segment::VERSION, 1, "1"),
            field(
                "flags",
                segment::FLAGS,
                1,
                "bit 0: from its position on it replaces what earlier segments hold; bit 1: its file was used before",
            ),
            field("shard", segment::SHARD, 2, "whose log"),
            field("segment", segment::SEGMENT, 8, "the file's number"),
            field("position", segment::POSITION, 8, "position before its first data batch"),
            field("durable", segment::DURABLE, 8, "everything up to this position is known to be durable"),
            field("created_ns", segment::CREATED, 8, "server time of its creation"),
            field("running_ns", segment::RUNNING, 8, "running time of the log at its creation"),
            field("started", segment::STARTED, 8, "end of the log when its writer was started"),
            field("ordinal", segment::ORDINAL, 4, "how many numbers its writer had taken before this one"),
            field("crc32c", segment::CRC, 4, "over bytes 0..60"),
        ],
    }
}

fn batch_structure() -> Structure {
    Structure {
        name: "Batch header",
        bytes: BATCH_HEADER_BYTES,
        fields: vec![
            field("magic", batch::MAGIC, 4, "`MSB1`"),
            field("version", batch::VERSION, 1, "1"),
            field("kind", batch::KIND, 1, "1 data, 2 prologue, 3 mark, 4 final, 5 pad"),
            field("shard", batch::SHARD, 2, "whose log"),
            field("segment", batch::SEGMENT, 8, "the file's number"),
            field("offset", batch::OFFSET, 8, "where in the file this header starts"),
            field("position", batch::POSITION, 8, "position before its first frame"),
            field("durable", batch::DURABLE, 8, "everything up to this position is known to be durable"),
            field("as_of", batch::AS_OF, 8, "end of the log, stored or not yet, when the batch was made"),
            field("received_first_ns", batch::RECEIVED_FIRST, 8, "earliest received time of its frames"),
            field("received_last_ns", batch::RECEIVED_LAST, 8, "latest received time of its frames"),
            field(
                "body_bytes",
                batch::BODY_BYTES,
                4,
                "bytes behind the header: frames, or a pad's zeros; a multiple of 16",
            ),
            field("frames", batch::FRAMES, 4, "how many frames"),
            field("previous_crc", batch::PREVIOUS_CRC, 4, "`crc32c` of the batch before, or of the segment header"),
            field("crc32c", batch::CRC, 4, "over bytes 0..76 and the body"),
        ],
    }
}

/// The log part of `docs/format.md`: the rules above and the tables, as Markdown.
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
    text.push_str(&rules());
    text
}

/// The module's own text without its first paragraph, headings one level down.
fn rules() -> String {
    let mut text = String::new();
    let lines = include_str!("layout.rs").lines().map_while(|line| line.strip_prefix("//!"));
    for line in lines.skip_while(|line| !line.starts_with(" All numbers")) {
        let line = line.strip_prefix(' ').unwrap_or(line).replace("[`", "`").replace("`]", "`");
        let _ = writeln!(text, "{}{line}", if line.starts_with('#') { "##" } else { "" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_fill_their_structures_without_holes() {
        for structure in structures() {
            let mut at = 0;
            for f in &structure.fields {
                assert_eq!(f.offset, at, "{}.{}", structure.name, f.name);
                at += f.bytes;
            }
            assert_eq!(at, structure.bytes, "{}", structure.name);
        }
    }

    #[test]
    fn the_rules_are_in_the_markdown() {
        let text = markdown();
        assert!(text.contains("| 76 | 4 | `crc32c` |"));
        assert!(text.contains("### Running time"));
        assert!(!text.contains("use frame::layout"));
    }
}
