//! Checks of texts: names, paths, globs, fields, addresses.
//!
//! Paths follow the MQTT and Sparkplug rule, so that every tag can be forwarded as it is called.

use std::net::SocketAddr;

use crate::problem::Invalid;

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 64;
/// Longest path of a tag, in bytes; the same as the data model's.
pub(crate) const PATH_BYTES_MAX: usize = 512;
/// Longest plain text, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Longest unit, in characters.
const UNIT_CHARS_MAX: usize = 32;
/// Longest field name, in characters.
const FIELD_CHARS_MAX: usize = 128;

pub(crate) fn refuse(text: &str, what: &str, fix: &str) -> Result<(), Invalid> {
    Err(Invalid::new(format!("{text:?} {what}"), fix))
}

pub(crate) fn check_name(text: &str) -> Result<(), Invalid> {
    let right = "write letters, digits, '_' and '-', for instance \"press1\"";
    if text.is_empty() {
        return refuse(text, "is an empty name", right);
    }
    if text.len() > NAME_CHARS_MAX {
        return refuse(text, &format!("is longer than {NAME_CHARS_MAX} characters"), "write a shorter name");
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
        Some(c) => refuse(text, &format!("holds {c:?}, which names may not"), right),
        None => Ok(()),
    }
}

pub(crate) fn check_path(text: &str) -> Result<(), Invalid> {
    segments(text, "path", |c| matches!(c, '+' | '#' | '*'))
}

/// One segment of a path.
pub(crate) fn check_segment(text: &str) -> Result<(), Invalid> {
    check_path(text)?;
    if text.contains('/') {
        return refuse(text, "is more than one path segment", "write one segment, without '/'");
    }
    Ok(())
}

pub(crate) fn check_glob(text: &str) -> Result<(), Invalid> {
    segments(text, "glob", |c| matches!(c, '+' | '#'))?;
    if text.split('/').any(|segment| segment.contains("**") && segment != "**") {
        return refuse(
            text,
            "has '**' within a segment",
            "write '**' as a whole segment (\"site/**\"), and '*' within one (\"site/press*/temperature\")",
        );
    }
    Ok(())
}

fn segments(text: &str, word: &str, forbidden: impl Fn(char) -> bool) -> Result<(), Invalid> {
    if text.is_empty() {
        return refuse(
            text,
            &format!("is an empty {word}"),
            "write segments parted by '/', for instance \"site/area/line1\"",
        );
    }
    if text.len() > PATH_BYTES_MAX {
        return refuse(text, &format!("is longer than {PATH_BYTES_MAX} bytes"), "write a shorter one");
    }
    if let Some(c) = text.chars().find(|c| forbidden(*c) || c.is_whitespace() || c.is_control()) {
        let fix = format!("leave {c:?} out: a {word} holds no '+', '#', white space or control character");
        return refuse(text, &format!("holds {c:?}, which a {word} may not"), &fix);
    }
    if text.split('/').any(str::is_empty) {
        return refuse(text, "has an empty segment", "remove the extra '/': none at either end, never two in a row");
    }
    Ok(())
}

pub(crate) fn socket(text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| {
        Invalid::new(
            format!("{text:?} is no IP address with a port"),
            "write an address and a port, for instance \"127.0.0.1:8080\" or \"[::1]:8080\" (no host names)",
        )
    })
}

pub(crate) fn check_time_zone(text: &str) -> Result<(), Invalid> {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    let parts = text.split('/').count();
    if text == "UTC" || (text.len() <= 64 && (2..=3).contains(&parts) && text.split('/').all(plain)) {
        return Ok(());
    }
    refuse(text, "is no IANA time zone", "write Area/City, for instance \"Europe/Amsterdam\", or \"UTC\"")
}

pub(crate) fn check_file(text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        return refuse(text, "is no file path", "write a path, for instance \"data\" or \"/var/lib/millstream\"");
    }
    Ok(())
}

pub(crate) fn check_variable(text: &str) -> Result<(), Invalid> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first || text.len() > 255 || text.chars().any(|c| !(c.is_ascii_alphanumeric() || c == '_')) {
        // Somebody may have written the secret itself here: it is not repeated.
        return Err(Invalid::new(
            "this is no name of an environment variable",
            "write the variable's name, not its value: letters, digits and '_', for instance \"PLANT_TOKEN\"",
        ));
    }
    Ok(())
}

pub(crate) fn check_field(text: &str) -> Result<(), Invalid> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !first || !rest || text.len() > FIELD_CHARS_MAX {
        return refuse(
            text,
            "is no field name",
            "write letters, digits, '_', '.' and '-', for instance \"work_order\"",
        );
    }
    Ok(())
}

/// Words that CEL keeps for itself, and what an interlock names already.
const ALIASES_TAKEN: [&str; 23] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "value",
    "request",
];

pub(crate) fn check_alias(text: &str) -> Result<(), Invalid> {
    let right = "write letters, digits and '_', not beginning with a digit, for instance \"oven_door\"";
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first || text.len() > NAME_CHARS_MAX || text.chars().any(|c| !(c.is_ascii_alphanumeric() || c == '_')) {
        return refuse(text, "is no name that an expression can use", right);
    }
    if ALIASES_TAKEN.contains(&text) {
        return refuse(text, "has a meaning of its own in an expression", "write another alias");
    }
    Ok(())
}

pub(crate) fn check_unit(text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.chars().count() > UNIT_CHARS_MAX || text.chars().any(char::is_control) {
        return refuse(
            text,
            "is no unit",
            &format!("write 1 to {UNIT_CHARS_MAX} characters, for instance \"°C\" or \"mm/s\""),
        );
    }
    Ok(())
}

pub(crate) fn check_plain(text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let what = format!("the text is empty, longer than {TEXT_BYTES_MAX} bytes, or holds control characters");
        return Err(Invalid::new(what, "write a plain text"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_and_paths() {
        for right in ["**", "a/*/b", "a/pr*s/**", "a/**/b"] {
            assert_eq!(check_glob(right), Ok(()), "{right}");
        }
        for wrong in ["", "a//b", "/a", "a/", "a/b**", "a b", "a/+", "#"] {
            assert!(check_glob(wrong).is_err(), "{wrong}");
        }
        assert!(check_path("a/*").is_err());
        assert!(check_segment("a/b").is_err());
    }

    #[test]
    fn aliases_are_names_that_an_expression_can_use() {
        for right in ["door", "_x", "oven_2"] {
            assert_eq!(check_alias(right), Ok(()), "{right}");
        }
        for wrong in ["", "2x", "a-b", "a.b", "in", "value", "é"] {
            assert!(check_alias(wrong).is_err(), "{wrong}");
        }
    }
}
