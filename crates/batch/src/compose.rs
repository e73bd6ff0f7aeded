//! From rows and figures to a document that can be sent, or an error that says what is over a bound.

use crate::{
    correction::Correction,
    csv_document, json_document,
    row::{Figure, Format, Head, Row, Spec},
    sheet::Sheet,
    totals::Totals,
};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use std::{fmt, io};

/// Rows of one document. A shift of eight hours with 30 documents a second has fewer.
pub const ROWS_MAX: usize = 1_000_000;
/// Bytes of one document before it is packed: 64 MiB, what business systems take in one request.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// Different top-level fields of all rows.
pub const COLUMNS_MAX: usize = 1024;
/// Figures of one document.
pub const FIGURES_MAX: usize = 100_000;
/// Longest file name without its ending, in bytes; file systems take 255.
const FILE_NAME_BYTES_MAX: usize = 200;
/// Operating system "unknown" in a gzip header (RFC 1952, 2.3.1): the same bytes everywhere.
const GZIP_OS_UNKNOWN: u8 = 255;
/// Level of packing: the usual trade of size for time.
const GZIP_LEVEL: u32 = 6;

/// A document that can be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The body.
    pub bytes: Vec<u8>,
    /// Its media type; `application/gzip` where it is packed.
    pub content_type: &'static str,
    /// The same for the same run: batch, period and number, with an ending.
    pub file_name: String,
    /// Control totals of what it holds.
    pub totals: Totals,
    /// New control totals of the whole period; only of a correction.
    pub period: Option<Totals>,
    /// SHA-256 of the body, in hexadecimal.
    pub sha256: String,
}

/// Why there is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComposeError {
    /// More than [`ROWS_MAX`] rows.
    TooManyRows {
        /// How many.
        count: usize,
    },
    /// More than [`FIGURES_MAX`] figures.
    TooManyFigures {
        /// How many.
        count: usize,
    },
    /// More than [`COLUMNS_MAX`] different fields.
    TooManyColumns {
        /// How many.
        count: usize,
    },
    /// More than [`DOCUMENT_BYTES_MAX`] bytes.
    TooLarge,
    /// A row of a record that the batch does not name.
    Record {
        /// Name of the record.
        record: String,
        /// The row's id.
        id: String,
    },
    /// A field is both grouped by and summed.
    GroupedAndSummed {
        /// That field.
        field: String,
    },
    /// A correction whose head names no run that it corrects.
    CorrectsNothing,
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComposeError::TooManyRows { count } => {
                write!(f, "the batch has {count} rows of at most {ROWS_MAX}; run it more often, over shorter periods")
            }
            ComposeError::TooManyFigures { count } => {
                write!(f, "the batch has {count} figures of at most {FIGURES_MAX}; narrow the globs of its rollups")
            }
            ComposeError::TooManyColumns { count } => write!(
                f,
                "the batch's rows have {count} different fields of at most {COLUMNS_MAX}; check what posts these \
                 records, or split the batch by record"
            ),
            ComposeError::TooLarge => write!(
                f,
                "the batch's document has more than {} MiB; run it more often, over shorter periods",
                DOCUMENT_BYTES_MAX >> 20
            ),
            ComposeError::Record { record, id } => {
                write!(f, "row {id:?} is of record {record:?}, which the batch does not name; add it to its records")
            }
            ComposeError::GroupedAndSummed { field } => {
                write!(f, "field {field:?} is grouped by and summed; take it out of group_by or out of totals")
            }
            ComposeError::CorrectsNothing => f.write_str("a correction must name the run that it corrects"),
        }
    }
}

impl std::error::Error for ComposeError {}

/// What both formats write.
pub(crate) struct Content<'a> {
    pub(crate) head: &'a Head,
    pub(crate) group_by: &'a [String],
    /// Names of all top-level fields that have a column, ascending.
    pub(crate) fields: Vec<&'a str>,
    pub(crate) sheet: &'a Sheet<'a>,
    pub(crate) removed: Vec<&'a Row>,
    pub(crate) period: Option<&'a Totals>,
}

/// Control totals alone, without a document.
///
/// # Errors
/// As [`compose`].
pub fn totals(spec: &Spec, rows: &[Row], figures: &[Figure]) -> Result<Totals, ComposeError> {
    Ok(Sheet::new(spec, rows.iter(), figures)?.totals)
}

/// The document of a run.
///
/// # Errors
/// [`ComposeError`] where something is over its bound or does not fit the batch.
pub fn compose(spec: &Spec, head: &Head, rows: &[Row], figures: &[Figure]) -> Result<Document, ComposeError> {
    let sheet = Sheet::new(spec, rows.iter(), figures)?;
    let fields = sheet.fields.iter().copied().collect();
    let content = Content { head, group_by: &spec.group_by, fields, sheet: &sheet, removed: Vec::new(), period: None };
    finish(spec, &content)
}

/// The document of a correction: the rows that are new or changed in full, the ids of those that
/// are gone, the totals of these rows, and the new totals of the period, whose rows are all in `now`.
///
/// # Errors
/// As [`compose`]; [`ComposeError::CorrectsNothing`] where the head names no run.
pub fn compose_correction(
    spec: &Spec,
    head: &Head,
    correction: &Correction,
    now: &[Row],
    figures: &[Figure],
) -> Result<Document, ComposeError> {
    if head.correction_of.is_none() {
        return Err(ComposeError::CorrectsNothing);
    }
    let rows = correction.added.iter().chain(correction.changed.iter());
    let sheet = Sheet::new(spec, rows, figures)?;
    let whole = Sheet::new(spec, now.iter(), figures)?;
    // sums of the period need their columns, also where no row of the correction has that field
    let fields = sheet.fields.union(&whole.fields).copied().collect();
    let period = whole.totals;
    let mut removed: Vec<&Row> = correction.removed.iter().collect();
    removed.sort_by(|a, b| (&a.record, &a.id).cmp(&(&b.record, &b.id)));
    let content = Content { head, group_by: &spec.group_by, fields, sheet: &sheet, removed, period: Some(&period) };
    Ok(Document { period: Some(period.clone()), ..finish(spec, &content)? })
}

fn finish(spec: &Spec, content: &Content<'_>) -> Result<Document, ComposeError> {
    let mut totals = content.sheet.totals.clone();
    let (plain, plain_type, ending) = match spec.format {
        Format::Csv => {
            let (bytes, lines) = csv_document::write(content)?;
            totals.lines = lines;
            (bytes, "text/csv; charset=utf-8; header=present", "csv")
        }
        Format::Json => (json_document::write(content)?, "application/json", "json"),
    };
    let name = file_name(content.head);
    let (bytes, content_type, file_name) = if spec.gzip {
        (packed(&plain), "application/gzip", format!("{name}.{ending}.gz"))
    } else {
        (plain, plain_type, format!("{name}.{ending}"))
    };
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Document { bytes, content_type, file_name, totals, period: None, sha256 })
}

/// A gzip member without time and system (RFC 1952).
fn packed(bytes: &[u8]) -> Vec<u8> {
    let header = GzBuilder::new().mtime(0).operating_system(GZIP_OS_UNKNOWN);
    let mut encoder = header.write(Vec::new(), Compression::new(GZIP_LEVEL));
    let written = io::Write::write_all(&mut encoder, bytes).and_then(|()| encoder.finish());
    written.expect("a Vec takes every byte")
}

/// `shift-report_2026-03-29-night_17`: safe in every file system and URL.
fn file_name(head: &Head) -> String {
    let safe = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' }).collect()
    };
    let mut name = format!("{}_{}", safe(&head.batch), safe(&head.label));
    let number = format!("_{}", head.sequence);
    name.truncate(FILE_NAME_BYTES_MAX - number.len());
    // never a hidden file, nor a way out of a folder
    let name = name.trim_start_matches('.');
    format!("{name}{number}")
}

/// Bytes up to [`DOCUMENT_BYTES_MAX`]; a write past that fails.
#[derive(Default)]
pub(crate) struct Bounded {
    pub(crate) bytes: Vec<u8>,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
