//! How long a caller will wait: `Prefer: wait=` (RFC 7240, 4.3).

use std::time::Duration;

/// Longest wait that is read; more is this. The flow's own timeout is the limit in any case.
pub const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// The wait that the value of a `Prefer` header asks for: the first `wait` among its preferences, in
/// whole seconds. `None` where there is none, or it cannot be read: a preference may be ignored.
#[must_use]
pub fn asked_wait(prefer: &str) -> Option<Duration> {
    let wait = prefer.split(',').find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"'))
    })?;
    if wait.is_empty() || !wait.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // digits only, so what cannot be read is too large
    let seconds = wait.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_found_among_other_preferences() {
        for (header, expected) in [
            ("wait=10", Some(10)),
            ("respond-async, wait=10", Some(10)),
            ("Wait = \"3\"; x=1, wait=5", Some(3)),
            ("wait=0", Some(0)),
            ("wait=99999999999999999999999", Some(86_400)),
            ("wait", None),
            ("wait=", None),
            ("wait=-1", None),
            ("wait=1.5", None),
            ("waiting=1", None),
            ("", None),
        ] {
            assert_eq!(asked_wait(header), expected.map(Duration::from_secs), "{header}");
        }
    }
}
