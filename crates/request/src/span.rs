//! Spans of time in words.

/// `250 ms`, `2 s`, `1.5 s`: milliseconds below a second, else seconds with at most one digit.
pub(crate) fn words(ns: u64) -> String {
    let ms = ns.div_ceil(1_000_000);
    match ms {
        0..1_000 => format!("{ms} ms"),
        _ if ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        _ => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
    }
}

/// Whole seconds, rounded up, for `Retry-After` (RFC 9110, 10.2.3); at least one.
pub(crate) fn seconds_up(ns: u64) -> u64 {
    ns.div_ceil(1_000_000_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        for (ns, expected) in [
            (0, "0 ms"),
            (1, "1 ms"),
            (250_000_000, "250 ms"),
            (1_000_000_000, "1 s"),
            (1_540_000_000, "1.5 s"),
            (600_000_000_000, "600 s"),
        ] {
            assert_eq!(words(ns), expected);
        }
        assert_eq!((seconds_up(0), seconds_up(1), seconds_up(2_000_000_001)), (1, 1, 3));
    }
}
