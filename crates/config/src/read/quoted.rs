//! Places within a TOML string: from a place in what the string means to the place in the file,
//! past quotes, escapes and folded lines.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

/// Where in `file` the byte `at` of `text` stands, which is what the string at `span` means. The
/// string's beginning where that cannot be told (in a file with broken syntax).
pub(super) fn offset(file: &str, span: &Range<usize>, text: &str, at: usize) -> usize {
    let found = file.get(span.clone()).and_then(|raw| walk(raw, text, at));
    found.map_or(span.start, |within| span.start + within)
}

fn walk(raw: &str, text: &str, at: usize) -> Option<usize> {
    let delimiters = ["\"\"\"", "'''", "\"", "'"];
    let open = delimiters.into_iter().find(|open| raw.starts_with(open))?;
    let (basic, many_lines) = (open.starts_with('"'), open.len() == 3);
    let mut rest = raw.char_indices().peekable();
    for _ in 0..open.len() {
        rest.next();
    }
    if many_lines {
        // A line end right after the opening quotes is no part of the text.
        rest.next_if(|(_, c)| *c == '\r');
        rest.next_if(|(_, c)| *c == '\n');
    }
    for (index, meant) in text.char_indices() {
        if basic {
            skip_folded_lines(&mut rest);
        }
        let (place, c) = *rest.peek()?;
        if index >= at {
            return Some(place);
        }
        rest.next();
        match c {
            '\\' if basic => skip_escape(&mut rest),
            // Where a line end of two characters means one.
            '\r' if meant == '\n' => drop(rest.next_if(|(_, c)| *c == '\n')),
            _ => {}
        }
    }
    rest.peek().map(|(place, _)| *place)
}

/// A backslash at the end of a line takes all white space up to the next character away.
fn skip_folded_lines(rest: &mut Peekable<CharIndices<'_>>) {
    loop {
        let mut ahead = rest.clone();
        let backslash = ahead.next().is_some_and(|(_, c)| c == '\\');
        if !backslash || !ahead.next().is_some_and(|(_, c)| c.is_whitespace()) {
            return;
        }
        rest.next();
        while rest.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    }
}

/// What follows a backslash: one character, or the digits of a code point.
fn skip_escape(rest: &mut Peekable<CharIndices<'_>>) {
    let digits = match rest.next() {
        Some((_, 'x')) => 2,
        Some((_, 'u')) => 4,
        Some((_, 'U')) => 8,
        _ => 0,
    };
    for _ in 0..digits {
        rest.next_if(|(_, c)| c.is_ascii_hexdigit());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in the file from the place of `needle` in the text on.
    fn seen(toml: &str, needle: &str) -> String {
        let file = format!("key = {toml}\n");
        let table: toml::Table = file.parse().expect("right TOML");
        let text = table["key"].as_str().expect("a text").to_owned();
        let at = text.find(needle).unwrap_or(text.len());
        let start = offset(&file, &(6..6 + toml.len()), &text, at);
        file[start..6 + toml.len()].to_owned()
    }

    #[test]
    fn places_within_strings() {
        assert_eq!(seen("'a + b'", "b"), "b'");
        assert_eq!(seen("\"a + b\"", "a"), "a + b\"");
        assert_eq!(seen("\"°\\\"\\u00e9\\U0001F600 b\"", "b"), "b\"");
        assert_eq!(seen("\"a\\\\b\"", "\\"), "\\\\b\"");
        assert_eq!(seen("\"\"\"\na\n + b\"\"\"", "b"), "b\"\"\"");
        assert_eq!(seen("\"\"\"\r\na\r\n + b\"\"\"", "b"), "b\"\"\"");
        assert_eq!(seen("\"\"\"a \\\n   \n  + \\\n b\"\"\"", "b"), "b\"\"\"");
        assert_eq!(seen("'''\n\\a\n'b'''", "b"), "b'''");
        assert_eq!(seen("'ab'", "no such thing"), "'");
    }

    #[test]
    fn a_broken_string_has_its_beginning() {
        assert_eq!(offset("key = é", &(6..7), "abc", 1), 6);
        assert_eq!(offset("key = abc", &(6..9), "abc", 1), 6);
        assert_eq!(offset("key = 'a'", &(6..9), "abcdef", 5), 6);
    }
}
