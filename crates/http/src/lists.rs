//! Lists of the flows: plain arrays as JSON, chosen columns as CSV, and the way to the next page.

use crate::{
    business::Page,
    encode::{self, Format, Frame, Row, csv_plain, csv_text},
    limits::{ATTRIBUTE_BYTES_MAX, LIST_DEFAULT, LIST_MAX},
    problem::{Problem, short},
    query::Params,
    tags::next_link,
};
use axum::{
    http::{HeaderValue, Uri, header},
    response::Response,
};
use serde::Serialize;
use serde_json::Value;

/// A row that knows its columns.
struct Listed<T> {
    row: T,
    columns: &'static str,
}

impl<T: Serialize + Send + 'static> Row for Listed<T> {
    fn json(&self, out: &mut Vec<u8>) {
        encode::to_json(&self.row, out);
    }

    fn csv(&self, out: &mut Vec<u8>) {
        let row = serde_json::to_value(&self.row).unwrap_or_default();
        for (at, column) in self.columns.split(',').enumerate() {
            if at > 0 {
                out.push(b',');
            }
            match &row[column] {
                Value::Null => {}
                Value::String(text) => csv_text(text, out),
                Value::Array(_) | Value::Object(_) => csv_text(&row[column].to_string(), out),
                plain => csv_plain(plain, out),
            }
        }
    }
}

/// An answer of rows; `columns` are the members that CSV shows, parted by commas.
pub(crate) fn all<T: Serialize + Send + 'static>(format: Format, columns: &'static str, rows: Vec<T>) -> Response {
    framed(format, Frame::array(columns), columns, rows)
}

/// An answer of rows within a frame of its own.
pub(crate) fn framed<T: Serialize + Send + 'static>(
    format: Format,
    frame: Frame,
    columns: &'static str,
    rows: Vec<T>,
) -> Response {
    encode::rows(format, frame, rows.into_iter().map(|row| Listed { row, columns }).collect())
}

/// An answer of a page, with a Link to the next one (RFC 8288).
pub(crate) fn page<T: Serialize + Send + 'static>(
    format: Format,
    columns: &'static str,
    page: Page<T>,
    uri: &Uri,
) -> Response {
    let mut response = all(format, columns, page.rows);
    let next = page.next.map(|next| next_link(uri, "after", &next));
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert(header::LINK, next);
    }
    response
}

/// How many rows are wanted.
pub(crate) fn limit(params: &Params) -> Result<usize, Problem> {
    params.number("limit", LIST_DEFAULT, 1, LIST_MAX)
}

/// A text that is compared with what is kept; an empty one is none.
pub(crate) fn text(params: &Params, name: &str) -> Result<Option<String>, Problem> {
    let Some(text) = params.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.len() > ATTRIBUTE_BYTES_MAX {
        return Err(Problem::parameter(format!("{name} is longer than {ATTRIBUTE_BYTES_MAX} bytes; shorten it")));
    }
    Ok(Some(text.to_owned()))
}

/// Words of a closed vocabulary, parted by commas; empty where none is given.
pub(crate) fn words<T: Copy>(
    params: &Params,
    name: &str,
    known: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<Vec<T>, Problem> {
    let given = params.get(name).unwrap_or("").split(',').map(str::trim).filter(|word| !word.is_empty());
    given
        .map(|given| {
            known.iter().copied().find(|one| word(*one) == given).ok_or_else(|| {
                let words: Vec<&str> = known.iter().map(|one| word(*one)).collect();
                Problem::parameter(format!(
                    "{name} holds {}; write some of {}, parted by commas",
                    short(given),
                    words.join(", ")
                ))
            })
        })
        .collect()
}
