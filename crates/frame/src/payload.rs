//! What stands behind the header, by kind. `docs/format.md` shows the archived offsets.
//!
//! Owned types; their archived forms are what is on the wire and on disk (rkyv 0.8, little-endian,
//! 32-bit relative pointers, root at the end of the payload).

use rkyv::{Archive, Deserialize, Serialize};

/// Bytes of one archived [`StoredSample`].
pub const SAMPLE_BYTES: usize = 24;
/// `GapRecord::count` where the number is not known.
pub const UNKNOWN_COUNT: u64 = u64::MAX;

/// One time, a run of consecutive tags: the natural shape of a poll.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct Scan {
    /// When the values were, ns since 1970 UTC, as the producer says. `i64::MIN`: it says nothing.
    pub source_time_ns: i64,
    /// Number of the first tag; value `i` belongs to tag `tag_first + i`.
    pub tag_first: u32,
    /// Values as 64 bits each; the tag's kind says how to read them.
    pub values: Vec<u64>,
    /// OPC UA StatusCode of each value; empty means that all are Good.
    pub qualities: Vec<u32>,
}

/// One sample: 24 bytes.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq)]
#[rkyv(derive(Clone, Copy, Debug))]
pub struct StoredSample {
    /// When the value was, ns since 1970 UTC, as the producer says. `i64::MIN`: it says nothing.
    pub source_time_ns: i64,
    /// The value's 64 bits.
    pub value: u64,
    /// The tag's number.
    pub tag: u32,
    /// OPC UA StatusCode.
    pub quality: u32,
}

/// Any tags, any times.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct Samples {
    /// In the producer's order.
    pub samples: Vec<StoredSample>,
}

/// A time without data.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct GapRecord {
    /// From this server time on, ns.
    pub from_ns: i64,
    /// Until just before this server time, ns.
    pub to_ns: i64,
    /// Samples or polls that are missing; [`UNKNOWN_COUNT`] where nobody knows.
    pub count: u64,
    /// Source number.
    pub source: u32,
    /// First tag, meaningful where `tag_count` is not 0.
    pub tag_first: u32,
    /// Consecutive tags; 0 means the whole source.
    pub tag_count: u32,
    /// `model::GapReason` as a number.
    pub reason: u8,
}

/// One source.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct SourceRecord {
    /// Its number in this log.
    pub id: u32,
    /// Its configured name.
    pub name: String,
}

/// Sources that this log knows.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct Sources {
    /// In any order.
    pub sources: Vec<SourceRecord>,
}

/// One tag.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct TagRecord {
    /// Its number in this log.
    pub id: u32,
    /// Number of its source.
    pub source: u32,
    /// `model::ValueKind` as a number.
    pub kind: u8,
    /// Its path.
    pub path: String,
    /// Engineering unit; empty where there is none.
    pub unit: String,
    /// Normal range, low and high; both NaN where there is none.
    pub range: [f64; 2],
}

/// Tags that this log knows.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct Tags {
    /// In any order.
    pub tags: Vec<TagRecord>,
}

/// One interned text.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct TextRecord {
    /// Its number in this log.
    pub id: u32,
    /// The text.
    pub text: String,
}

/// Texts that this log knows.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct Texts {
    /// In any order.
    pub texts: Vec<TextRecord>,
}

/// The last frame of one producer that the log holds.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq)]
pub struct ProducerMark {
    /// Who.
    pub producer: u64,
    /// Its highest stored sequence.
    pub sequence: u64,
}

/// Dedupe state, carried into each new segment so that retention cannot forget it.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct Producers {
    /// In any order.
    pub producers: Vec<ProducerMark>,
}

/// One entry of the flows' journal. Its fields are what a journal is searched by; what stands in the
/// body is for whoever knows the kind.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct Entry {
    /// When it happened, ns since 1970 UTC.
    pub time_ns: i64,
    /// Hash of what orders it; 0 where nothing does.
    pub key: u64,
    /// Its kind; `docs/format.md` lists them.
    pub kind: u8,
    /// What it belongs to, e.g. `event/machine-fault` or `record/goods-receipt`.
    pub stream: String,
    /// Its own name, the same for ever.
    pub id: String,
    /// JSON (RFC 8259).
    pub body: Vec<u8>,
}

/// First frame of a connection. The header's producer says who.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Hello {
    /// Configured name of the native source.
    pub source: String,
    /// Whether acknowledgements are wanted; without them frames are fire-and-forget.
    pub acks: bool,
    /// A name for people, shown with the connection.
    pub name: String,
}

/// Answer to [`Hello`]. The header's sequence is the last one that is durable: go on after it.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Welcome {
    /// Path below which tags may be registered.
    pub path: String,
    /// Longest frame that is taken, in bytes.
    pub frame_bytes_max: u32,
    /// Tags that the source may have in all.
    pub tags_max: u32,
}

/// One tag that a producer wants to use.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct TagRequest {
    /// Path below the source's path, e.g. `rig1/bearing2/rms`.
    pub name: String,
    /// `model::ValueKind` as a number.
    pub kind: u8,
    /// Engineering unit; empty where there is none.
    pub unit: String,
}

/// One text that a producer wants to use as a value.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct TextRequest {
    /// The text.
    pub text: String,
}

/// Tags and texts that a producer will use. Tags that are all new get consecutive numbers.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct Register {
    /// Echoed in the answer.
    pub request: u32,
    /// Tags.
    pub tags: Vec<TagRequest>,
    /// Texts.
    pub texts: Vec<TextRequest>,
}

/// Answer to [`Register`], in its order. A producer may use a number only after this answer.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct Registered {
    /// Which request.
    pub request: u32,
    /// Number of each tag.
    pub tags: Vec<u32>,
    /// Number of each text.
    pub texts: Vec<u32>,
}

/// Why a connection is closed by the side that sends this.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Refuse {
    /// What happened and what to do, for a person.
    pub reason: String,
    /// Whether trying again later can help.
    pub retry: bool,
}
