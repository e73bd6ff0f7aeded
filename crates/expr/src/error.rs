//! What is said when an expression or a template is refused, or fails.

use std::fmt;

/// Most characters of a line that an error shows.
const SHOWN_CHARS: usize = 100;

/// A text is not an expression or not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// The whole text.
    pub text: String,
    /// Line in it, from 1.
    pub line: u32,
    /// Character of the line, from 1.
    pub column: u32,
    /// What is wrong there.
    pub what: String,
}

impl CompileError {
    /// An error at a byte of the text; a place past the end is the end.
    pub(crate) fn at(text: &str, byte: usize, what: impl Into<String>) -> CompileError {
        let mut end = byte.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u32 + 1;
        CompileError { text: text.to_owned(), line, column, what: what.into() }
    }
}

impl fmt::Display for CompileError {
    /// What is wrong, then the line with a caret below the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}, column {})", self.what, self.line, self.column)?;
        let line = self.text.lines().nth(self.line as usize - 1).unwrap_or("");
        if line.trim().is_empty() {
            return Ok(());
        }
        let place = self.column as usize - 1;
        let from = place.saturating_sub(SHOWN_CHARS / 2);
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let shown: String = line.chars().skip(from).take(SHOWN_CHARS).map(visible).collect();
        let mark = if from > 0 { "…" } else { "" };
        write!(f, "\n  {mark}{shown}\n  {}^", " ".repeat(mark.chars().count() + place - from))
    }
}

impl std::error::Error for CompileError {}

/// An expression or a template has no result over these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// The text of the expression or template.
    pub expression: String,
    /// What happened, and what helps.
    pub what: String,
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.expression.chars().take(SHOWN_CHARS).collect();
        let mark = if shown.len() < self.expression.len() { "…" } else { "" };
        write!(f, "`{shown}{mark}`: {}", self.what)
    }
}

impl std::error::Error for EvalError {}
