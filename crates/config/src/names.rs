//! Checks of texts: names, paths, globs, expressions, addresses.
//!
//! Paths follow the MQTT and Sparkplug rule, so that every tag can be forwarded as it is called.

use std::net::SocketAddr;

use crate::modbus::split_host_port;
use crate::problem::Invalid;

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 64;
/// Longest path of a tag, in bytes; the same as the data model's.
pub(crate) const PATH_BYTES_MAX: usize = 512;
/// Longest expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// Longest plain text, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Longest unit, in characters.
const UNIT_CHARS_MAX: usize = 32;
/// Longest field name, in characters.
const FIELD_CHARS_MAX: usize = 128;

fn refuse(text: &str, what: &str, fix: &str) -> Result<(), Invalid> {
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

/// Non-empty, with quotes and brackets that close. Whether it is right CEL is not known here.
pub(crate) fn check_expression(text: &str) -> Result<(), Invalid> {
    if text.trim().is_empty() {
        return refuse(
            text,
            "is an empty expression",
            "write a CEL expression, or leave the key out where it is optional",
        );
    }
    if text.len() > EXPRESSION_BYTES_MAX {
        return refuse(text, &format!("is longer than {EXPRESSION_BYTES_MAX} bytes"), "write a shorter expression");
    }
    let mut open: Vec<char> = Vec::new();
    let mut chars = text.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let raw = matches!(before, 'r' | 'R');
                if !skip_string(&mut chars, c, raw) {
                    return refuse(
                        text,
                        &format!("has a {c} that is never closed"),
                        &format!("close the string with {c}"),
                    );
                }
            }
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|c| *c != '\n').is_some() {},
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => {
                return refuse(text, &format!("has a {c} that closes nothing"), &format!("remove the {c} or open it"));
            }
            _ => {}
        }
        before = c;
    }
    match open.pop() {
        Some(c) => refuse(text, &format!("lacks a {c}"), &format!("close the bracket with {c}")),
        None => Ok(()),
    }
}

/// Skips what follows an opening quote up to its closing one; false when there is none.
fn skip_string(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char, raw: bool) -> bool {
    let triple = if chars.next_if_eq(&quote).is_some() {
        if chars.next_if_eq(&quote).is_none() {
            return true;
        }
        true
    } else {
        false
    };
    let needed = if triple { 3 } else { 1 };
    let mut run = 0;
    while let Some(c) = chars.next() {
        if c == '\\' && !raw {
            chars.next();
            run = 0;
        } else if c == quote {
            run += 1;
            if run == needed {
                return true;
            }
        } else {
            run = 0;
        }
    }
    false
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

pub(crate) fn check_url(text: &str, schemes: &[&str]) -> Result<(), Invalid> {
    let right = format!("write an absolute URL that begins with {}://", schemes.join(":// or "));
    let Some((scheme, rest)) = text.split_once("://") else {
        return refuse(text, "is no absolute URL", &right);
    };
    if !schemes.contains(&scheme) {
        return refuse(text, &format!("begins with {scheme}://"), &right);
    }
    if text.len() > 2048 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse(
            text,
            "is longer than 2048 bytes or holds white space",
            "percent-encode what is special in a URL",
        );
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.contains('@') {
        let fix = "leave user and password out of the URL; write token = { env = \"NAME\" }";
        // The text itself may hold a password: it is not repeated.
        return Err(Invalid::new("the URL holds a user or a password", fix));
    }
    if split_host_port(authority).is_none() {
        return refuse(text, "has no host, or a port that is not 1 to 65535", &right);
    }
    Ok(())
}

pub(crate) fn check_subject(text: &str) -> Result<(), Invalid> {
    let wrong = |part: &str| {
        part.is_empty() || part.chars().any(|c| matches!(c, '*' | '>') || c.is_whitespace() || c.is_control())
    };
    if text.len() > 255 || text.split('.').any(wrong) {
        return refuse(text, "is no NATS subject to publish to", "write words parted by '.', without '*' and '>'");
    }
    Ok(())
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
    fn expressions_must_close_what_they_open() {
        for right in [
            "value == true",
            "{'a': [1, 2], 'b': \"x)\"}",
            r"'it\'s'",
            "'''a 'quoted' word'''",
            "r'\\'",
            "'' + \"\"",
            "a // don't\n + b",
        ] {
            assert_eq!(check_expression(right), Ok(()), "{right}");
        }
        for wrong in ["", "  ", "(a", "a)", "[a)", "'a", "{'a: 1}", "'''a''"] {
            assert!(check_expression(wrong).is_err(), "{wrong}");
        }
    }

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
    fn a_password_in_a_url_is_not_repeated() {
        let refused = check_url("http://user:hunter2@host/", &["http"]).err();
        assert!(refused.is_some_and(|e| !e.to_string().contains("hunter2")));
    }
}
