//! What is kept of an answer, and of another's error text: short, and harmless to print.

/// Most bytes that are kept of an answer for the attempt's log.
pub const EXCERPT_BYTES_MAX: usize = 2 << 10;
/// Most bytes of the text of an error.
const TEXT_BYTES_MAX: usize = 512;

/// The beginning of an answer: at most [`EXCERPT_BYTES_MAX`] bytes of UTF-8, with control
/// characters (those that turn text round, too) escaped as in Rust, and bytes that are no UTF-8 as
/// U+FFFD. It ends with `…` where something is left out.
#[must_use]
pub fn excerpt(bytes: &[u8]) -> String {
    printable(bytes, EXCERPT_BYTES_MAX)
}

/// The same for the text of an error.
pub(crate) fn short(text: &str) -> String {
    printable(text.as_bytes(), TEXT_BYTES_MAX)
}

fn printable(bytes: &[u8], max: usize) -> String {
    const MORE: char = '…';
    if bytes.len() <= max - MORE.len_utf8() && bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    // every character that is shown stands for at least one byte: no need to look further
    let seen = &bytes[..bytes.len().min(max + 1)];
    let mut text = String::with_capacity(seen.len());
    for chunk in seen.utf8_chunks() {
        let broken = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for character in chunk.valid().chars().chain(broken) {
            let escaped =
                if is_harmless(character) { character.to_string() } else { character.escape_default().to_string() };
            if text.len() + escaped.len() > max - MORE.len_utf8() {
                text.push(MORE);
                return text;
            }
            text.push_str(&escaped);
        }
    }
    text
}

/// Printable, and not one of the marks that turn the direction of what follows.
fn is_harmless(character: char) -> bool {
    let turns = matches!(character, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !turns && character != '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_controls_are_escaped() {
        assert_eq!(excerpt("{\"ok\":true} Größe".as_bytes()), "{\"ok\":true} Größe");
        assert_eq!(excerpt(b"a\r\n\x1b[31mred\0"), "a\\r\\n\\u{1b}[31mred\\u{0}");
        assert_eq!(excerpt("\u{202e}evil".as_bytes()), "\\u{202e}evil");
        assert_eq!(excerpt(b"\xff\xfeok"), "\u{fffd}\u{fffd}ok");
    }

    #[test]
    fn it_is_bounded_whatever_comes() {
        for bytes in [vec![b'x'; 100_000], vec![0; 100_000], vec![0xff; 100_000], "ß".repeat(9_999).into_bytes()] {
            let text = excerpt(&bytes);
            assert!(text.len() <= EXCERPT_BYTES_MAX, "{}", text.len());
            assert!(text.ends_with('…'));
        }
        let whole = "x".repeat(EXCERPT_BYTES_MAX - 3);
        assert_eq!(excerpt(whole.as_bytes()), whole);
    }
}
