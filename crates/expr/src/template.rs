//! Texts with places in them: `http://erp/stock/{material}`.
//!
//! A place names a field of an object, or a field of a field (`{order.id}`). A brace that is
//! meant as such is written twice, `{{` and `}}`.

use std::fmt;

use serde_json::Value;

use crate::error::{CompileError, EvalError};
use crate::scan::TEXT_BYTES_MAX;

/// A text with places for fields.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The way to a field, with dots.
    Field(String),
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Template {
    /// Reads a template of at most [`TEXT_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// Where a brace has no partner or what stands between is not the name of a field: letters,
    /// digits, `_` and `-`, with dots between the names.
    pub fn parse(text: &str) -> Result<Template, CompileError> {
        if text.len() > TEXT_BYTES_MAX {
            let what =
                format!("the template has {} bytes, more than the {TEXT_BYTES_MAX} that one may have", text.len());
            return Err(CompileError { text: String::new(), line: 1, column: 1, what });
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                plain.push(c);
                at += 2;
            } else if c == '{' {
                let end = rest.find('}').ok_or_else(|| CompileError::at(text, at, "this brace is not closed"))?;
                let name = &rest[1..end];
                if !is_way(name) {
                    let what = format!("'{name}' is not the name of a field, like material or order.id");
                    return Err(CompileError::at(text, at + 1, what));
                }
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Field(name.to_owned()));
                at += end + 1;
            } else if c == '}' {
                return Err(CompileError::at(text, at, "this brace closes nothing; a brace itself is written }}"));
            } else {
                plain.push(c);
                at += c.len_utf8();
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { text: text.to_owned(), parts })
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fields that it has places for, in order.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        self.parts
            .iter()
            .filter_map(|part| if let Part::Field(way) = part { Some(way.as_str()) } else { None })
            .collect()
    }

    /// The text with the fields of `object` in their places, each percent-encoded as one segment
    /// of a path (RFC 3986, 2.3: all but unreserved characters), so that no value can change
    /// which address is asked.
    ///
    /// # Errors
    /// Where a field is missing, or is null, a list or an object; where a segment would be
    /// empty, `.` or `..`, which address something else (RFC 3986, 5.2.4).
    pub fn fill(&self, object: &Value) -> Result<String, EvalError> {
        self.filled(object, |way, value| {
            let whole_segment = matches!(value, "" | "." | "..");
            if whole_segment {
                return Err(format!("'{way}' is '{value}', which would address something else"));
            }
            Ok(encode(value))
        })
    }

    /// The text with the fields as they are.
    ///
    /// # Errors
    /// Where a field is missing, or is null, a list or an object.
    pub fn fill_raw(&self, object: &Value) -> Result<String, EvalError> {
        self.filled(object, |_, value| Ok(value.to_owned()))
    }

    fn filled(&self, object: &Value, form: impl Fn(&str, &str) -> Result<String, String>) -> Result<String, EvalError> {
        let mut out = String::with_capacity(self.text.len() + 32);
        let failed = |what: String| EvalError { expression: self.text.clone(), what };
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(way) => {
                    let value = value_at(object, way).map_err(failed)?;
                    out.push_str(&form(way, &value).map_err(failed)?);
                }
            }
        }
        Ok(out)
    }
}

fn is_way(text: &str) -> bool {
    let name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    text.split('.').all(name)
}

/// The text of a field.
fn value_at(object: &Value, way: &str) -> Result<String, String> {
    let mut value = object;
    for (index, name) in way.split('.').enumerate() {
        value = value.get(name).ok_or_else(|| {
            let missing: Vec<&str> = way.split('.').take(index + 1).collect();
            format!("there is no field '{}'", missing.join("."))
        })?;
    }
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null => Err(format!("field '{way}' is null")),
        Value::Array(_) | Value::Object(_) => Err(format!("field '{way}' is a list or an object, not one value")),
    }
}

/// Percent-encodes all but unreserved characters.
fn encode(value: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_take_their_places() {
        let template = Template::parse("http://x/stock/{material}/{order.id}?{{n}}={n}").unwrap();
        assert_eq!(template.fields(), ["material", "order.id", "n"]);
        let object = json!({"material": "a/b ü~", "order": {"id": 7}, "n": 2.5});
        assert_eq!(template.fill(&object).unwrap(), "http://x/stock/a%2Fb%20%C3%BC~/7?{n}=2.5");
        assert_eq!(template.fill_raw(&object).unwrap(), "http://x/stock/a/b ü~/7?{n}=2.5");
    }

    #[test]
    fn what_is_missing_is_named() {
        let template = Template::parse("{order.id}").unwrap();
        assert!(template.fill(&json!({})).unwrap_err().what.contains("'order'"));
        assert!(template.fill(&json!({"order": {}})).unwrap_err().what.contains("'order.id'"));
        assert!(template.fill(&json!({"order": {"id": null}})).unwrap_err().what.contains("null"));
        assert!(template.fill(&json!({"order": {"id": [1]}})).unwrap_err().what.contains("list"));
        assert!(template.fill(&json!(7)).unwrap_err().what.contains("'order'"));
    }

    #[test]
    fn no_value_leaves_its_segment() {
        let template = Template::parse("http://x/{a}/stop").unwrap();
        for bad in ["", ".", ".."] {
            assert!(template.fill(&json!({ "a": bad })).is_err(), "{bad}");
        }
        assert_eq!(template.fill(&json!({"a": "../x?y#z"})).unwrap(), "http://x/..%2Fx%3Fy%23z/stop");
    }

    #[test]
    fn broken_templates_say_where() {
        for (text, column) in [("a{b", 2), ("a}b", 2), ("{}", 2), ("x{a b}", 3), ("{a..b}", 2), ("{{{a}", 0)] {
            match Template::parse(text) {
                Ok(template) => assert_eq!((column, template.fields()), (0, vec!["a"]), "{text}"),
                Err(error) => assert_eq!(error.column, column, "{error}"),
            }
        }
    }
}
