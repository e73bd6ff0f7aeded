//! A look over a text before the parser sees it.
//!
//! The parser and everything after it recurse once per operator of a chain and per bracket; a
//! stack that overflows ends the process. So the depth that a text can lead to is bounded here,
//! without recursion, by counting what makes trees deep.

use crate::error::CompileError;

/// Most bytes of an expression or template.
pub const TEXT_BYTES_MAX: usize = 16 << 10;

/// How deep an expression may be: an operator, a `.` or an `in` counts 1, an open bracket or
/// a `?` counts 10; what commas and closed brackets leave behind does not count. A unit costs
/// the parser about 1 KiB of stack.
pub const NESTING_MAX: u32 = 400;

/// What an open bracket or a conditional counts.
const BRACKET_UNITS: u32 = 10;

/// Operators of two characters.
const PAIRS: [&[u8]; 6] = [b"&&", b"||", b"==", b"!=", b"<=", b">="];

/// Refuses what is empty, too long or too deep, and texts and brackets that do not end.
pub(crate) fn check(text: &str) -> Result<(), CompileError> {
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("the expression has {} bytes, more than the {TEXT_BYTES_MAX} that one may have", text.len());
        return Err(CompileError { text: String::new(), line: 1, column: 1, what });
    }
    if text.trim().is_empty() {
        return Err(CompileError::at(text, 0, "the expression is empty"));
    }
    let mut depth = Depth { levels: vec![0], total: 0 };
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => at = end_of_line(bytes, at),
            b'\'' | b'"' => at = end_of_text(text, at, false)?,
            c if c.is_ascii_alphabetic() || c == b'_' => {
                at += bytes[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'_').count();
                let word = &text[start..at];
                if matches!(bytes.get(at), Some(b'\'' | b'"')) && word.len() <= 2 && word.contains(['r', 'R']) {
                    at = end_of_text(text, at, true)?;
                } else if word == "in" {
                    depth.add(1);
                }
            }
            b'(' | b'[' | b'{' => {
                depth.open();
                at += 1;
            }
            b')' | b']' | b'}' => {
                depth.close();
                at += 1;
            }
            b',' => {
                depth.comma();
                at += 1;
            }
            b'?' => {
                depth.add(BRACKET_UNITS);
                at += 1;
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'<' | b'>' | b'=' | b'&' | b'|' | b'.' => {
                at += if bytes.get(at..at + 2).is_some_and(|pair| PAIRS.contains(&pair)) { 2 } else { 1 };
                depth.add(1);
            }
            _ => at += 1,
        }
        if depth.total > NESTING_MAX {
            let what = "the expression is nested too deeply here, or has too many operators in one chain; split it";
            return Err(CompileError::at(text, start, what));
        }
    }
    Ok(())
}

/// What counts at each open bracket, and their sum.
struct Depth {
    levels: Vec<u32>,
    total: u32,
}

impl Depth {
    fn add(&mut self, units: u32) {
        self.total += units;
        if let Some(last) = self.levels.last_mut() {
            *last += units;
        }
    }

    fn open(&mut self) {
        self.levels.push(BRACKET_UNITS);
        self.total += BRACKET_UNITS;
    }

    /// A bracket too many is left to the parser, which names it.
    fn close(&mut self) {
        if self.levels.len() > 1 {
            self.total -= self.levels.pop().unwrap_or(0);
            // a.b(…).c(…) is a chain: each pair of brackets makes it one deeper
            self.add(1);
        }
    }

    fn comma(&mut self) {
        let keep = if self.levels.len() > 1 { BRACKET_UNITS } else { 0 };
        if let Some(last) = self.levels.last_mut() {
            self.total -= last.saturating_sub(keep);
            *last = (*last).min(keep);
        }
    }
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|c| matches!(c, b'\n' | b'\r')).map_or(bytes.len(), |n| from + n)
}

/// The byte after a text that starts with the quote at `from`.
fn end_of_text(text: &str, from: usize, raw: bool) -> Result<usize, CompileError> {
    let bytes = text.as_bytes();
    let quote = bytes[from];
    let triple = bytes[from..].starts_with(&[quote; 3]);
    let mut at = from + if triple { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if !raw => at += 2,
            b'\n' | b'\r' if !triple => break,
            c if c == quote && !triple => return Ok(at + 1),
            c if c == quote && bytes[at..].starts_with(&[quote; 3]) => return Ok(at + 3),
            _ => at += 1,
        }
    }
    Err(CompileError::at(text, from, "the text that starts here does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_say_what_they_limit() {
        assert!(check(&"a".repeat(TEXT_BYTES_MAX)).is_ok());
        let long = check(&"a".repeat(TEXT_BYTES_MAX + 1)).unwrap_err();
        assert!(long.what.contains("16385 bytes"), "{long}");
        assert!(check(" \n\t").unwrap_err().what.contains("empty"));
        let open = check("'a' + 'b").unwrap_err();
        assert_eq!((open.line, open.column), (1, 7));
    }

    #[test]
    fn depth_is_of_the_deepest_path_and_not_of_all_together() {
        assert!(check(&vec!["a"; 401].join("+")).is_ok());
        assert!(check(&vec!["a"; 402].join("+")).is_err());
        let wide = vec!["'k': record.field + 1"; 500].join(", ");
        assert!(check(&format!("{{{wide}}}")).is_ok());
        assert!(check(&"(".repeat(40)).is_ok() && check(&"(".repeat(41)).is_err());
        assert!(check(&vec!["a"; 402].join(" in ")).is_err());
        assert!(check(&format!("a{}", ".f()".repeat(201))).is_err());
        assert!(check(&format!("a{}", "[0]".repeat(402))).is_err());
        assert!(check(&"a ? b : ".repeat(41)).is_err());
    }

    #[test]
    fn what_stands_in_texts_and_comments_does_not_count() {
        let dots = ".".repeat(1000);
        for quoted in [
            format!("'{dots}'"),
            format!("\"{dots}\""),
            format!("'''{dots}\n'{dots}'''"),
            format!("r'{dots}\\'"),
            format!("'\\'{dots}'"),
            format!("a // {dots}"),
        ] {
            assert!(check(&quoted).is_ok(), "{quoted}");
        }
        // a name that ends in r is not the mark of a raw text
        assert!(check(&format!("har'\\'{dots}'")).is_ok());
    }
}
