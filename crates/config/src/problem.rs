//! What is wrong with a file, for a person: where, what, and what would be right.

use std::fmt;

/// One thing that is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Dotted path of the key, entries of lists from 0: `source[2].tag[0].at`. Empty for the file.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}; {}", self.line, self.column, self.what, self.fix)
    }
}

/// Why a text is no value of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub fix: String,
}

impl Invalid {
    pub(crate) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.fix)
    }
}

impl std::error::Error for Invalid {}

/// The problems for a terminal: each with its line of the file and a mark below the place.
#[must_use]
pub fn render(problems: &[Problem], file_name: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    for problem in problems {
        let Problem { line, column, what, fix, .. } = problem;
        out.push_str(&format!("{file_name}:{line}:{column}: {what}\n"));
        if let Some(content) = lines.get((*line as usize).wrapping_sub(1)) {
            excerpt(&mut out, *line, *column, content);
        }
        out.push_str(&format!("  right: {fix}\n\n"));
    }
    let count = problems.len();
    out.push_str(&format!("{count} problem{} in {file_name}\n", if count == 1 { "" } else { "s" }));
    out
}

/// Most characters of a line that are shown: a file may be one line of megabytes.
const EXCERPT_CHARS_MAX: usize = 120;

fn excerpt(out: &mut String, line: u32, column: u32, content: &str) {
    let column = column.saturating_sub(1) as usize;
    let skipped = column.saturating_sub(EXCERPT_CHARS_MAX - 20);
    // A tab is as wide as a terminal likes; one space each keeps the mark in its place. Control
    // characters of a broken file must not reach the terminal.
    let shown: String =
        masked(content).skip(skipped).take(EXCERPT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let gutter = format!("{line:>5} | ");
    let blank = " ".repeat(gutter.chars().count().saturating_sub(2));
    out.push_str(&format!("{gutter}{}\n{blank}| {}^\n", shown.trim_end(), " ".repeat(column - skipped)));
}

/// Words after which a quoted text of a line may be a secret.
const SECRET_WORDS: [&str; 6] = ["token", "password", "default", "secret", "_key", "headers"];

/// The characters of a line, with `*` for each of a quoted text that may be a secret: what is shown
/// may end in a log.
fn masked(content: &str) -> impl Iterator<Item = char> {
    let from = SECRET_WORDS.iter().filter_map(|word| content.find(word)).min().unwrap_or(content.len());
    let mut quote = None;
    content.char_indices().map(move |(index, c)| match quote {
        Some(open) if c == open => {
            quote = None;
            c
        }
        Some(_) if index > from => '*',
        None if matches!(c, '"' | '\'') => {
            quote = Some(c);
            c
        }
        _ => c,
    })
}

/// Where the lines of a text begin.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        Self { text, starts: std::iter::once(0).chain(after).collect() }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// Line and column of a byte offset, both from 1; the column counts characters.
    pub(crate) fn place(&self, offset: usize) -> (u32, u32) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        // The parser's offsets may fall within a character of a broken text.
        let column = self.text.as_bytes()[start..offset].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        (narrow(line), narrow(column + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters() {
        let lines = Lines::new("a\n°C = 1\n\n");
        assert_eq!(lines.place(0), (1, 1));
        assert_eq!(lines.place(2), (2, 1));
        assert_eq!(lines.place(4), (2, 2));
        assert_eq!(lines.place(5), (2, 3));
        assert_eq!(lines.place(1_000), (4, 1));
        assert_eq!(Lines::new("").place(5), (1, 1));
    }

    #[test]
    fn a_problem_is_shown_with_its_line_and_no_secret() {
        let text = "[server]\nx = { password = \"hunter2\", odd = 1 }\n";
        let problem = Problem {
            line: 2,
            column: 27,
            key: "server.x".into(),
            what: "unknown key".into(),
            fix: "remove it".into(),
        };
        let shown = render(&[problem], "plant.toml", text);
        assert_eq!(
            shown,
            "plant.toml:2:27: unknown key\n    2 | x = { password = \"*******\", odd = 1 }\n      |                           ^\n  right: remove it\n\n1 problem in plant.toml\n"
        );
    }
}
