//! Influx line protocol: `measurement,tag=value field=1.5,other=2i 1790000000000000000`.
//!
//! A line becomes one sample for each field, under
//! `prefix/measurement/tagvalues-in-key-order/field`. What a path may not hold (white space, `/`,
//! `+`, `#`, `*`, control characters) is percent-encoded, so that two names never become one.
//!
//! Invariants
//! - L1: no input panics, and time grows with the line's length.
//! - L2: a number is taken exactly or refused: an unsigned value above i64's range is an error.
//!
//! It deliberately takes no comment for data, no duplicate tag key, and no batch in part: the
//! caller refuses the whole body when one line is wrong.

use model::{TimestampNs, Value};
use std::borrow::Cow;

/// One line, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// Measurement and tag values in the order of their keys, as path segments.
    pub(crate) segments: Vec<String>,
    /// Field names (as path segments) and values.
    pub(crate) fields: Vec<(String, Value)>,
    /// When, if the line says so.
    pub(crate) time: Option<TimestampNs>,
}

/// Nanoseconds in a unit of `precision`; `None` for a word that is none.
pub(crate) fn precision_ns(word: &str) -> Option<i64> {
    Some(match word {
        "" | "ns" | "n" => 1,
        "us" | "u" | "µ" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Reads one line; `None` for an empty line or a comment.
///
/// # Errors
/// What is wrong, and what would be right.
pub(crate) fn parse(line: &str, unit_ns: i64) -> Result<Option<Line>, String> {
    let line = line.trim_matches([' ', '\t', '\r']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut rest = Rest(line);
    let mut segments = vec![segment("the measurement", &rest.until(&[',', ' ']))?];
    let mut tags: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    while rest.skip(',') {
        let key = rest.until(&['=', ',', ' ']);
        if !rest.skip('=') || key.is_empty() {
            return Err("a tag stands without '='; write measurement,key=value field=1".to_owned());
        }
        let value = rest.until(&[',', ' ']);
        if tags.iter().any(|(other, _)| *other == key) {
            return Err(format!("the tag key {key:?} stands twice; give it once"));
        }
        tags.push((key, value));
    }
    tags.sort();
    for (key, value) in &tags {
        segments.push(segment(&format!("the value of tag {key:?}"), value)?);
    }
    if !rest.skip(' ') {
        return Err("no field follows the measurement; write measurement field=1".to_owned());
    }
    rest.skip_spaces();
    let fields = fields(&mut rest)?;
    rest.skip_spaces();
    let time = match rest.0 {
        "" => None,
        text => {
            let number: i64 = text
                .parse()
                .map_err(|_| format!("{} is not a time; write a whole number", crate::problem::short(text)))?;
            let ns = number.checked_mul(unit_ns).ok_or("the time lies outside 1677 to 2262; check precision")?;
            Some(TimestampNs(ns))
        }
    };
    Ok(Some(Line { segments, fields, time }))
}

fn fields(rest: &mut Rest<'_>) -> Result<Vec<(String, Value)>, String> {
    let mut fields = Vec::new();
    loop {
        let name = rest.until(&['=', ',', ' ']);
        if !rest.skip('=') {
            return Err(format!("the field {name:?} stands without '='; write {name}=1"));
        }
        let name = segment("a field's name", &name)?;
        let value = rest.value(&name)?;
        fields.push((name, value));
        if !rest.skip(',') {
            break;
        }
    }
    if !rest.0.is_empty() && !rest.0.starts_with(' ') {
        return Err(format!("{} follows a field; write ',' or a space before it", crate::problem::short(rest.0)));
    }
    Ok(fields)
}

/// A name as a path segment.
fn segment(what: &str, name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err(format!("{what} is empty; write measurement,key=value field=1"));
    }
    let forbidden = |c: char| matches!(c, '/' | '+' | '#' | '*' | '%') || c.is_whitespace() || c.is_control();
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if forbidden(c) {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Takes everything up to an unescaped one of `ends`, without the escapes (`\` before `,`, `=`,
    /// space or `\` itself only where one of these follows).
    fn until(&mut self, ends: &[char]) -> Cow<'a, str> {
        let mut escaped = false;
        let mut any = false;
        let end = self
            .0
            .find(|c: char| {
                let here = !escaped && ends.contains(&c);
                escaped = !escaped && c == '\\';
                any |= escaped;
                here
            })
            .unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        if !any {
            return Cow::Borrowed(taken);
        }
        let mut out = String::with_capacity(taken.len());
        let mut chars = taken.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '\\' && chars.peek().is_some_and(|next| matches!(next, ',' | '=' | ' ' | '\\')) {
                out.extend(chars.next());
            } else {
                out.push(c);
            }
        }
        Cow::Owned(out)
    }

    fn skip(&mut self, c: char) -> bool {
        self.0.strip_prefix(c).map(|rest| self.0 = rest).is_some()
    }

    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_start_matches(' ');
    }

    /// Takes a field's value.
    fn value(&mut self, name: &str) -> Result<Value, String> {
        if self.skip('"') {
            return self.text(name);
        }
        let end = self.0.find([',', ' ']).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        unquoted(text).ok_or_else(|| match text.strip_suffix('u').map(str::parse::<u64>) {
            Some(Ok(number)) => format!("{name}={number}u is larger than a 64-bit signed number; send it as a float"),
            _ => {
                let text = crate::problem::short(text);
                format!("{name}={text} is no value; write 1.5, 2i, 2u, t, f or \"text\"")
            }
        })
    }

    /// Takes the rest of a quoted text.
    fn text(&mut self, name: &str) -> Result<Value, String> {
        let mut out = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(Value::Text(out.into()));
                }
                '\\' => match chars.clone().next() {
                    Some((_, next @ ('"' | '\\'))) => {
                        out.push(next);
                        chars.next();
                    }
                    _ => out.push('\\'),
                },
                other => out.push(other),
            }
        }
        Err(format!("the text of {name} has no closing '\"'"))
    }
}

/// A value that is no text; `None` where it is none that 64 bits hold exactly.
pub(crate) fn unquoted(text: &str) -> Option<Value> {
    match text.as_bytes().last()? {
        b'0'..=b'9' | b'.' => {
            let number_like = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
            text.parse().ok().filter(|number: &f64| number_like && number.is_finite()).map(Value::F64)
        }
        b'i' => text[..text.len() - 1].parse().ok().map(Value::I64),
        b'u' => {
            text[..text.len() - 1].parse::<u64>().ok().and_then(|number| i64::try_from(number).ok()).map(Value::I64)
        }
        _ => match text {
            "t" | "T" | "true" | "True" | "TRUE" => Some(Value::Bool(true)),
            "f" | "F" | "false" | "False" | "FALSE" => Some(Value::Bool(false)),
            _ => None,
        },
    }
}

/// Whether a body holds no text, no escape and no white space but spaces and line ends: each `,`, `=`
/// and space in it means what it says.
pub(crate) fn is_plain(body: &str) -> bool {
    // All bytes are looked at, so that the compiler looks at many at once.
    !body.bytes().fold(false, |any, byte| any | matches!(byte, b'"' | b'\\' | b'\t' | b'\r'))
}

/// Parts a body into lines. A line end within a quoted text (one that follows a `=`) does not part.
pub(crate) fn lines(body: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(body);
    let has_texts = body.contains('"');
    std::iter::from_fn(move || {
        let text = rest?;
        match if has_texts { end(text) } else { text.find('\n') } {
            Some(end) => {
                rest = Some(&text[end + 1..]);
                Some(&text[..end])
            }
            None => {
                rest = None;
                Some(text)
            }
        }
    })
}

/// Where the first line ends.
fn end(body: &str) -> Option<usize> {
    let (mut quoted, mut escaped, mut before) = (false, false, b'\n');
    body.bytes().position(|b| {
        let here = b == b'\n' && !quoted;
        quoted = if quoted { b != b'"' || escaped } else { b == b'"' && before == b'=' };
        escaped = b == b'\\' && !escaped;
        before = b;
        here
    })
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
