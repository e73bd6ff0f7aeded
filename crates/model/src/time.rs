//! Time as the frames carry it.

use std::fmt;

/// Nanoseconds since 1970-01-01T00:00:00Z (UTC, leap seconds not counted, as POSIX does).
///
/// Source time is kept where the device gives it; server time is always there. Source time never
/// orders the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampNs(pub i64);

/// Nanoseconds in a second.
pub const SECOND_NS: i64 = 1_000_000_000;

impl TimestampNs {
    /// The start of the window of `width_ns` that holds this time (floor, also before 1970).
    #[must_use]
    #[inline]
    pub const fn window_start(self, width_ns: i64) -> TimestampNs {
        TimestampNs(self.0.div_euclid(width_ns) * width_ns)
    }

    /// This time plus a number of nanoseconds, held within the range of the type.
    #[must_use]
    #[inline]
    pub const fn plus_ns(self, ns: i64) -> TimestampNs {
        TimestampNs(self.0.saturating_add(ns))
    }
}

impl fmt::Display for TimestampNs {
    /// RFC 3339 in UTC with nanoseconds, `2026-01-31T12:00:00.000000000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.div_euclid(86_400 * SECOND_NS));
        let of_day = self.0.rem_euclid(86_400 * SECOND_NS);
        let (second, fraction) = (of_day / SECOND_NS, of_day % SECOND_NS);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{fraction:09}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// Year, month and day of a day number (days since 1970-01-01), proleptic Gregorian.
/// H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
const fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Day number (days since 1970-01-01) of a date, proleptic Gregorian (Hinnant, `days_from_civil`).
const fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

impl TimestampNs {
    /// Reads an RFC 3339 time (`2026-01-31T12:00:00.5+01:00`, `…Z`; a space for the `T` is taken).
    /// `None` where it is not one, or lies outside what 64-bit nanoseconds hold (1677 to 2262).
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<TimestampNs> {
        let b = text.as_bytes();
        if !text.is_ascii() || b.len() < 20 || b[4] != b'-' || b[7] != b'-' || b[13] != b':' || b[16] != b':' {
            return None;
        }
        if !matches!(b[10], b'T' | b't' | b' ') {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<i64> {
            let part = text.get(from..to)?;
            part.bytes().all(|c| c.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let days = day_number(year, month, day);
        if civil(days) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let digits = if b[19] == b'.' { b[20..].iter().take_while(|c| c.is_ascii_digit()).count() } else { 0 };
        if b[19] == b'.' && (digits == 0 || digits > 9) {
            return None;
        }
        let fraction = match digits {
            0 => 0,
            n => number(20, 20 + n)? * 10_i64.pow(9 - n as u32),
        };
        let zone = &text[if digits == 0 { 19 } else { 20 + digits }..];
        let offset_s = match zone.as_bytes() {
            b"Z" | b"z" => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|c| c.is_ascii_digit()) => {
                let two = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
                let seconds = two(h1, h2) * 3600 + two(m1, m2) * 60;
                if *sign == b'-' { -seconds } else { seconds }
            }
            _ => return None,
        };
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
        seconds.checked_mul(SECOND_NS)?.checked_add(fraction).map(TimestampNs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rfc3339_before_and_after_the_epoch() {
        assert_eq!(TimestampNs(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(TimestampNs(-1).to_string(), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(TimestampNs(1_709_164_800 * SECOND_NS).to_string(), "2024-02-29T00:00:00.000000000Z");
    }

    #[test]
    fn reads_what_it_shows_and_offsets() {
        for ns in [0, -1, 1, 1_790_000_000_123_456_789, -7_000_000_000_000_000_001] {
            assert_eq!(TimestampNs::parse_rfc3339(&TimestampNs(ns).to_string()), Some(TimestampNs(ns)));
        }
        let zoned = TimestampNs::parse_rfc3339("2026-01-31T13:00:00.5+01:00").map(|t| t.to_string());
        assert_eq!(zoned.as_deref(), Some("2026-01-31T12:00:00.500000000Z"));
        for wrong in [
            "",
            "2026-02-30T00:00:00Z",
            "2026-01-31",
            "2026-01-31T25:00:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00.Z",
        ] {
            assert_eq!(TimestampNs::parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn window_start_floors_below_zero_too() {
        assert_eq!(TimestampNs(1_999).window_start(1_000), TimestampNs(1_000));
        assert_eq!(TimestampNs(-1).window_start(1_000), TimestampNs(-1_000));
    }
}
