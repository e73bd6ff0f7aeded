//! Rows as JSON or CSV, written in pieces.
//!
//! Invariants
//! - E1: at most [`ROWS_PER_PIECE`] rows are written between two chances for the telemetry lane, and none behind
//!   [`BYTES_PER_PIECE`]: a long answer is a stream that yields, not one long poll and one large buffer.
//! - E2: a text that came from outside never starts a formula in a spreadsheet (CSV), and never
//!   leaves its quotes.
//! - E3: NaN and infinities are `null` in JSON and empty in CSV; the quality says why.

use crate::problem::Problem;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream};
use model::{Quality, TimestampNs, Value};
use serde::{Serialize, Serializer};
use std::{convert::Infallible, io::Write as _};

/// Rows that are written in one poll: some 50 µs of work.
pub(crate) const ROWS_PER_PIECE: usize = 256;

/// So much is written in one poll, and the rest of the row that passes it.
const BYTES_PER_PIECE: usize = 16 << 10;

/// What the caller wants to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// `text/csv`.
    Csv,
}

impl Format {
    /// Reads the Accept header; JSON where it says nothing.
    ///
    /// # Errors
    /// 406 where it takes neither.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Format, Problem> {
        let accepts: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
        let mut ranges = accepts.iter().flat_map(|v| v.split(',')).map(|v| v.split(';').next().unwrap_or("").trim());
        let mut nothing = true;
        for range in ranges.by_ref().filter(|range| !range.is_empty()) {
            nothing = false;
            match range {
                "text/csv" => return Ok(Format::Csv),
                "application/json" | "application/*" | "*/*" | "text/html" => return Ok(Format::Json),
                _ => {}
            }
        }
        if nothing {
            return Ok(Format::Json);
        }
        Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "not-acceptable",
            "None of the accepted formats can be made",
            "this call answers application/json or text/csv; name one of them in the Accept header",
        ))
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8",
        })
    }
}

/// A row that can be written both ways.
pub(crate) trait Row: Send + 'static {
    /// One JSON value.
    fn json(&self, out: &mut Vec<u8>);
    /// The fields of one CSV line, without its end.
    fn csv(&self, out: &mut Vec<u8>);
}

/// Before, between and behind the rows.
pub(crate) struct Frame {
    /// JSON up to and with the `[` of the rows.
    pub(crate) json_head: String,
    /// JSON from the `]` of the rows on.
    pub(crate) json_tail: String,
    /// Names of the CSV's columns.
    pub(crate) csv_head: String,
}

impl Frame {
    /// A plain array.
    pub(crate) fn array(csv_head: &str) -> Frame {
        Frame { json_head: "[".to_owned(), json_tail: "]\n".to_owned(), csv_head: csv_head.to_owned() }
    }
}

/// An answer of rows, in pieces where it is long.
pub(crate) fn rows<R: Row>(format: Format, frame: Frame, rows: Vec<R>) -> Response {
    let mut writer = Writer { format, frame, rows: rows.into_iter(), state: State::Head };
    let first = writer.piece().unwrap_or_default();
    let body = match writer.state {
        State::Done => Body::from(first),
        _ => {
            let pieces = stream::unfold(writer, |mut writer| async move {
                tokio::task::yield_now().await;
                writer.piece().map(|piece| (piece, writer))
            });
            Body::from_stream(stream::once(async { first }).chain(pieces).map(Ok::<_, Infallible>))
        }
    };
    ([(header::CONTENT_TYPE, format.content_type())], body).into_response()
}

enum State {
    Head,
    Rows { first: bool },
    Done,
}

struct Writer<R> {
    format: Format,
    frame: Frame,
    rows: std::vec::IntoIter<R>,
    state: State,
}

impl<R: Row> Writer<R> {
    fn piece(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(ROWS_PER_PIECE * 96);
        let mut first = match self.state {
            State::Head => {
                match self.format {
                    Format::Json => out.extend_from_slice(self.frame.json_head.as_bytes()),
                    Format::Csv => {
                        out.extend_from_slice(self.frame.csv_head.as_bytes());
                        out.extend_from_slice(b"\r\n");
                    }
                }
                true
            }
            State::Rows { first } => first,
            State::Done => return None,
        };
        for row in self.rows.by_ref().take(ROWS_PER_PIECE) {
            match self.format {
                Format::Json => {
                    out.extend_from_slice(if first { b"\n" } else { b",\n" });
                    row.json(&mut out);
                }
                Format::Csv => {
                    row.csv(&mut out);
                    out.extend_from_slice(b"\r\n");
                }
            }
            first = false;
            if out.len() >= BYTES_PER_PIECE {
                break;
            }
        }
        self.state = State::Rows { first };
        if self.rows.len() == 0 {
            if self.format == Format::Json {
                out.extend_from_slice(self.frame.json_tail.as_bytes());
            }
            self.state = State::Done;
        }
        Some(out.into())
    }
}

/// A small JSON answer.
pub(crate) fn json(value: &impl Serialize) -> Response {
    let mut out = Vec::new();
    to_json(value, &mut out);
    json_text(out.into())
}

/// A JSON answer that is text already.
pub(crate) fn json_text(text: Bytes) -> Response {
    ([(header::CONTENT_TYPE, Format::Json.content_type())], text).into_response()
}

/// Appends a value as JSON.
pub(crate) fn to_json(value: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        // A Vec takes every write and our types have text keys; what is left is a bug of ours.
        tracing::error!(%error, "an answer could not be written as JSON");
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// Appends a CSV field of text: quoted where needed, and kept from being read as a formula
/// (a leading `=`, `+`, `-`, `@`, tab or line end gets a `'` before it).
pub(crate) fn csv_text(text: &str, out: &mut Vec<u8>) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let quoted = formula || text.contains(['"', ',', '\r', '\n', '\'', ';', '\t']);
    if !quoted {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    if formula {
        out.push(b'\'');
    }
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// Appends a CSV field of a value: numbers plain, text by [`csv_text`], nothing for nothing.
pub(crate) fn csv_value(value: Option<&Value>, out: &mut Vec<u8>) {
    match value {
        Some(Value::F64(v)) if !v.is_finite() => {}
        Some(Value::Text(text)) => csv_text(text, out),
        Some(value) => csv_plain(value, out),
        None => {}
    }
}

/// Appends what is known to need no quotes (a number, a time, a word of ours).
pub(crate) fn csv_plain(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    drop(write!(out, "{value}"));
}

/// A time in RFC 3339.
#[derive(Clone, Copy)]
pub(crate) struct Time(pub(crate) TimestampNs);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A quality as its symbolic name.
#[derive(Clone, Copy)]
pub(crate) struct QualityName(pub(crate) Quality);

impl Serialize for QualityName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A value as a JSON number, truth value or text; `null` where there is none or it is no number.
pub(crate) struct JsonValue<'a>(pub(crate) Option<&'a Value>);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(Value::F64(v)) if v.is_finite() => serializer.serialize_f64(*v),
            Some(Value::I64(v)) => serializer.serialize_i64(*v),
            Some(Value::Bool(v)) => serializer.serialize_bool(*v),
            Some(Value::Text(v)) => serializer.serialize_str(v),
            Some(Value::F64(_)) | None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> String {
        let mut out = Vec::new();
        csv_text(text, &mut out);
        String::from_utf8(out).expect("text stays text")
    }

    #[test]
    fn no_text_starts_a_formula_or_leaves_its_quotes() {
        for (text, expected) in [
            ("riverside/press", "riverside/press"),
            ("=1+1", "\"'=1+1\""),
            ("@sum", "\"'@sum\""),
            ("-2", "\"'-2\""),
            ("a\"b,c", "\"a\"\"b,c\""),
            ("\tx", "\"'\tx\""),
        ] {
            assert_eq!(csv(text), expected, "{text:?}");
        }
    }

    struct Long(usize);

    impl Row for Long {
        fn json(&self, out: &mut Vec<u8>) {
            to_json(&"x".repeat(self.0), out);
        }

        fn csv(&self, out: &mut Vec<u8>) {
            csv_text(&"x".repeat(self.0), out);
        }
    }

    /// The pieces of an answer of rows of a length.
    fn pieces(format: Format, rows: impl Iterator<Item = usize>) -> Vec<Bytes> {
        let rows: Vec<Long> = rows.map(Long).collect();
        let mut writer = Writer { format, frame: Frame::array("text"), rows: rows.into_iter(), state: State::Head };
        std::iter::from_fn(|| writer.piece()).collect()
    }

    #[test]
    fn long_rows_come_in_more_pieces_and_all_of_them_come() {
        let lengths = || (0..400).map(|n| n * 7 % 3_000);
        for (format, whole) in [(Format::Json, true), (Format::Csv, false)] {
            let pieces = pieces(format, lengths());
            assert!(pieces.len() > 30, "{} pieces", pieces.len());
            assert!(pieces.iter().all(|piece| piece.len() < BYTES_PER_PIECE + 3_100));
            let text = String::from_utf8(pieces.concat()).expect("text");
            if whole {
                let read: Vec<String> = serde_json::from_str(&text).expect("JSON");
                assert!(read.iter().map(String::len).eq(lengths()));
            } else {
                assert!(text.split("\r\n").skip(1).map(str::len).eq(lengths().chain([0])));
            }
        }
        assert_eq!(pieces(Format::Json, [1, 2].into_iter()), ["[\n\"x\",\n\"xx\"]\n"], "a short answer is one piece");
        assert_eq!(pieces(Format::Json, std::iter::empty()), ["[]\n"]);
    }

    #[test]
    fn values_that_json_cannot_hold_are_null_and_large_ones_are_exact() {
        let of = |value: Value| serde_json::to_string(&JsonValue(Some(&value))).expect("JSON");
        assert_eq!(of(Value::F64(f64::NAN)), "null");
        assert_eq!(of(Value::F64(f64::INFINITY)), "null");
        assert_eq!(of(Value::I64(i64::MAX)), "9223372036854775807");
        assert_eq!(of(Value::F64(0.1)), "0.1");
    }
}
