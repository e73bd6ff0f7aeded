//! Checks of what leads outside: URLs and their templates, buckets, subjects, headers.
//!
//! Where something goes is decided by the file alone: a template may fill in path and query, never
//! the host.

use std::str::FromStr;

use crate::modbus::split_host_port;
use crate::names::refuse;
use crate::problem::Invalid;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;
/// Longest name of a header, in bytes.
const HEADER_NAME_BYTES_MAX: usize = 64;
/// Longest value of a header, in bytes.
const HEADER_VALUE_BYTES_MAX: usize = 1024;
/// Longest prefix of object names, in bytes; a key of S3 has at most 1024.
const PREFIX_BYTES_MAX: usize = 512;

pub(crate) fn check_url(text: &str, schemes: &[&str]) -> Result<(), Invalid> {
    let right = format!("write an absolute URL that begins with {}://", schemes.join(":// or "));
    let Some((scheme, rest)) = text.split_once("://") else {
        return refuse(text, "is no absolute URL", &right);
    };
    if !schemes.contains(&scheme) {
        return refuse(text, &format!("begins with {scheme}://"), &right);
    }
    if text.len() > URL_BYTES_MAX || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse(
            text,
            &format!("is longer than {URL_BYTES_MAX} bytes or holds white space"),
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

pub(crate) fn check_http(text: &str) -> Result<(), Invalid> {
    check_url(text, &["http", "https"])
}

/// A URL with `{name}` in path and query. Whether the fields are well-formed is not looked at here.
pub(crate) fn check_template(text: &str) -> Result<(), Invalid> {
    let authority = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    if authority.contains(['{', '}']) && !authority.contains('@') {
        return refuse(
            text,
            "has a field in its host",
            "write the host itself: what is sent may not choose where it goes",
        );
    }
    check_http(text)
}

/// `https://host[:port]/bucket/prefix`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct S3Place {
    /// `https://host[:port]`
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    /// Without `/` at either end.
    pub(crate) prefix: String,
}

impl FromStr for S3Place {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        check_http(text)?;
        let right = "write https://host/bucket or https://host/bucket/prefix";
        let bad = |what: &str| Invalid::new(format!("{text:?} {what}"), right);
        if text.contains(['?', '#']) {
            return Err(bad("has a query or a fragment"));
        }
        let authority = text.find("://").map_or(0, |at| at + 3);
        let path = text[authority..].find('/').map_or(text.len(), |length| authority + length);
        let (endpoint, path) = text.split_at(path);
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let ends = bucket.starts_with(letter) && bucket.ends_with(letter);
        if !(3..=63).contains(&bucket.len()) || !ends || bucket.chars().any(|c| !letter(c) && !matches!(c, '.' | '-')) {
            let what = "names no bucket, which is 3 to 63 lower-case letters, digits, '.' and '-'";
            return Err(bad(what));
        }
        if prefix.len() > PREFIX_BYTES_MAX || (!prefix.is_empty() && prefix.split('/').any(str::is_empty)) {
            return Err(bad("has a prefix that is too long, or has '//' in it"));
        }
        if prefix.contains(['{', '}']) {
            return Err(bad("has a field in it, which only HTTP URLs may"));
        }
        Ok(Self { endpoint: endpoint.to_owned(), bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// Headers that Millstream or HTTP itself sets, and those that hold secrets, in lower case.
const HEADERS_TAKEN: [&str; 14] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "host",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "idempotency-key",
    "traceparent",
];

/// RFC 9110, 5.1: a token.
pub(crate) fn check_header_name(text: &str) -> Result<(), Invalid> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || text.len() > HEADER_NAME_BYTES_MAX || !text.chars().all(token) {
        return refuse(text, "is no name of a header", "write letters, digits and '-', for instance \"X-Plant\"");
    }
    let lower = text.to_ascii_lowercase();
    if !HEADERS_TAKEN.contains(&lower.as_str()) {
        return Ok(());
    }
    let fix = match lower.as_str() {
        "authorization" => "write token, basic or oauth2 instead, with the secret by reference",
        _ => "remove it, or name another header",
    };
    refuse(text, "is a header that cannot be set here", fix)
}

/// RFC 9110, 5.5: a field value, of ASCII only.
pub(crate) fn check_header_value(text: &str) -> Result<(), Invalid> {
    let visible = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if text.is_empty() || text.len() > HEADER_VALUE_BYTES_MAX || !visible || text.trim() != text {
        // It may be a secret in the wrong place: it is not repeated.
        let what = format!(
            "the value of the header is empty, longer than {HEADER_VALUE_BYTES_MAX} bytes, begins or ends with a space, or is not plain ASCII"
        );
        return Err(Invalid::new(what, "write visible ASCII, for instance \"riverside\""));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        let refused = check_url("http://user:hunter2@host/", &["http"]).err();
        assert!(refused.is_some_and(|e| !e.to_string().contains("hunter2")));
    }

    #[test]
    fn a_template_does_not_choose_the_host() {
        for right in ["http://h/{a}", "https://h:1/{a}/x?y={b.c}", "http://h?{a}"] {
            assert!(check_template(right).is_ok(), "{right}");
        }
        for wrong in ["http://{a}/x", "http://h{a}:80/x", "http://h:{a}", "ftp://h/{a}"] {
            assert!(check_template(wrong).is_err(), "{wrong}");
        }
        let refused = check_template("http://user:hunter2{a}@host/").err();
        assert!(refused.is_some_and(|e| !e.to_string().contains("hunter2")));
    }

    #[test]
    fn places_of_an_object_store() {
        let place = |text: &str| text.parse::<S3Place>().map(|p| (p.endpoint, p.bucket, p.prefix));
        let of = |a: &str, b: &str, c: &str| Ok((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(place("https://s3.x:9000/plant/a/b/"), of("https://s3.x:9000", "plant", "a/b"));
        assert_eq!(place("http://[::1]:9000/plant"), of("http://[::1]:9000", "plant", ""));
        for wrong in [
            "https://s3.x",
            "https://s3.x/",
            "https://s3.x/Ab",
            "https://s3.x/ab",
            "https://s3.x/-abc",
            "https://s3.x/abc//d",
            "https://s3.x/abc/d?e",
            "https://s3.x/abc/{d}",
            "s3://abc/d",
        ] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_are_no_way_to_set_what_is_set_already() {
        for right in ["X-Plant", "accept", "Content-Type"] {
            assert_eq!(check_header_name(right), Ok(()), "{right}");
        }
        for wrong in ["", "a b", "a:", "Authorization", "HOST", "Idempotency-Key", "é"] {
            assert!(check_header_name(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", " a", "a ", "a\r\nb: c", "é"] {
            assert!(check_header_value(wrong).is_err(), "{wrong:?}");
        }
    }
}
