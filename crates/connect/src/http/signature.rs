//! The signature of a request, by which its receiver knows that it is ours and not old.
//!
//! Two headers are sent:
//! ```text
//! X-Signature-Timestamp: 1774742400                  seconds since 1970-01-01 UTC, when it was sent
//! X-Signature-256: sha256=<64 lower-case hex digits>
//! ```
//! The digits are HMAC-SHA256 (RFC 2104, FIPS 180-4) with the shared key over the text of the
//! timestamp as in the header, one full stop (0x2E), and the body's bytes as they are sent; an empty
//! body is no bytes. The receiver computes the same over what it got, compares in constant time, and
//! refuses timestamps that are far from its own clock: 5 minutes is a good tolerance, and the clocks
//! must be kept to it. Every attempt is signed anew, so timestamp and signature differ between
//! attempts of one delivery; body and `Idempotency-Key` do not.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use crate::SecretText;

/// Header of the signature where no other is configured, as it stands in an HTTP/1.1 head.
pub const SIGNATURE_HEADER: &str = "x-signature-256";
/// Header of the time that is part of what is signed.
pub const SIGNATURE_TIMESTAMP_HEADER: &str = "x-signature-timestamp";

/// The value of `X-Signature-256`: `sha256=` and 64 lower-case hex digits of
/// HMAC-SHA256(key, `timestamp.body`). `timestamp_s` are seconds since 1970-01-01 UTC.
#[must_use]
pub fn signature(key: &SecretText, timestamp_s: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).expect("HMAC takes keys of every length");
    mac.update(timestamp_s.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Signs a request, as of now, in a header of this name.
pub(super) fn sign(headers: &mut HeaderMap, name: &HeaderName, key: &SecretText, body: &[u8]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    headers.insert(HeaderName::from_static(SIGNATURE_TIMESTAMP_HEADER), HeaderValue::from(now));
    if let Ok(value) = HeaderValue::from_str(&signature(key, now, body)) {
        headers.insert(name.clone(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_openssl_makes_of_the_same() {
        // printf '1774742400.{"a":1}' | openssl dgst -sha256 -hmac key
        let made = signature(&SecretText::new("key"), 1_774_742_400, b"{\"a\":1}");
        assert_eq!(made, "sha256=f44d3cb0518aafe5ce6aa91ad0d983ce3532bebdbc81aa5e362e0f2bc6d39290");
        // printf '0.' | openssl dgst -sha256 -hmac key
        let made = signature(&SecretText::new("key"), 0, b"");
        assert_eq!(made, "sha256=85841b4efc3cd7776c3c8f9b7cca9e281c550e5d19889d78e9e669c6337f000d");
    }
}
