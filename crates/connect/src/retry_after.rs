//! `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
//!
//! A date counts from the answer's own `Date` where there is one: clocks differ.

use std::time::Duration;

/// Longest time that is taken over; what is longer is cut to it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// Days before 1970-03-01 in the count of [`days`].
const DAYS_TO_EPOCH: i64 = 719_468;

/// Time from now on, or `None` where the field says nothing that can be read.
pub(crate) fn parse(field: &str, date: Option<&str>, now_unix_s: i64) -> Option<Duration> {
    let field = field.trim();
    let seconds = if !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit()) {
        // more digits than fit mean a long time
        field.parse::<u64>().unwrap_or(u64::MAX)
    } else {
        let base = date.and_then(unix_seconds).unwrap_or(now_unix_s);
        u64::try_from(unix_seconds(field)?.saturating_sub(base)).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// An IMF-fixdate (`Sun, 06 Nov 1994 08:49:37 GMT`), the one form of a date that RFC 9110 has
/// senders write.
fn unix_seconds(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.trim().split_once(", ")?.1.split(' ');
    let mut next = || parts.next();
    let day: i64 = next()?.parse().ok()?;
    let name = next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year: i64 = next()?.parse().ok()?;
    let mut clock = next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let right = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && clock.next().is_none();
    if !right || next()? != "GMT" || next().is_some() {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970-01-01 of a day of the Gregorian calendar, counted in years that begin in March,
/// so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - DAYS_TO_EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        assert_eq!(unix_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_seconds("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        for wrong in
            ["", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 25:49:37 GMT", "06 Nov 1994 08:49:37 GMT", ", , ,"]
        {
            assert_eq!(unix_seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn seconds_and_dates_are_times_from_now_on() {
        let seconds = |field, date| parse(field, date, 784_111_700).map(|time| time.as_secs());
        assert_eq!(seconds("120", None), Some(120));
        assert_eq!(seconds(" 0 ", None), Some(0));
        assert_eq!(seconds("99999999999999999999999", None), Some(24 * 3600));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT", None), Some(77));
        // its clock is 60 s behind ours: it means 17 s
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:20 GMT")), Some(17));
        assert_eq!(seconds("Sun, 06 Nov 1993 08:49:37 GMT", None), Some(0));
        for wrong in ["", "-1", "soon", "1.5"] {
            assert_eq!(seconds(wrong, None), None, "{wrong}");
        }
    }
}
