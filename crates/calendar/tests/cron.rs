//! Cron expressions: what they mean, and what is none.

use calendar::{Cron, CronError, Zone};
use model::TimestampNs;

fn at(text: &str) -> TimestampNs {
    TimestampNs::parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is RFC 3339"))
}

fn next(cron: &str, after: &str) -> Option<TimestampNs> {
    Cron::parse(cron).expect(cron).next(&Zone::new("UTC").expect("known"), at(after))
}

#[test]
fn fields_mean_what_posix_says() {
    // 2026-11-25 is a Wednesday
    for (cron, expected) in [
        ("* * * * *", "2026-11-25T10:31:00Z"),
        ("*/15 * * * *", "2026-11-25T10:45:00Z"),
        ("0 6 * * *", "2026-11-26T06:00:00Z"),
        ("0 6 * * mon-fri", "2026-11-26T06:00:00Z"),
        ("0 6 * * SAT,sun", "2026-11-28T06:00:00Z"),
        ("0 6 * * 7", "2026-11-29T06:00:00Z"),
        ("0 6 * * 0", "2026-11-29T06:00:00Z"),
        ("0 6 * * 5-7", "2026-11-27T06:00:00Z"),
        ("0 0 1 * *", "2026-12-01T00:00:00Z"),
        ("0 0 1 jan *", "2027-01-01T00:00:00Z"),
        ("0,30 6-22/2 * * *", "2026-11-25T12:00:00Z"),
        ("59 23 31 12 *", "2026-12-31T23:59:00Z"),
        ("0 0 31 * *", "2026-12-31T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        // either the day or the weekday, where both are restricted
        ("0 0 13 * fri", "2026-11-27T00:00:00Z"),
        ("0 0 30 * fri", "2026-11-27T00:00:00Z"),
        ("0 0 28 2 fri", "2027-02-05T00:00:00Z"),
        ("0 0 31 2 mon", "2027-02-01T00:00:00Z"),
        // both, where one begins with a star: an odd day that is a Friday
        ("0 0 */2 * fri", "2026-11-27T00:00:00Z"),
        ("0 0 */3 * fri", "2026-12-04T00:00:00Z"),
        // 29 February on a Sunday, across 2100, which is no leap year
        ("0 0 29 2 */7", "2032-02-29T00:00:00Z"),
    ] {
        assert_eq!(next(cron, "2026-11-25T10:30:00Z"), Some(at(expected)), "{cron}");
    }
    assert_eq!(next("0 0 29 2 */7", "2088-02-29T00:00:00Z"), Some(at("2128-02-29T00:00:00Z")));
    assert_eq!(next("* * * * *", "2026-11-25T10:30:59.999999999Z"), Some(at("2026-11-25T10:31:00Z")));
    assert_eq!(next("* * * * *", "2262-04-11T23:47:00Z"), None);
}

#[test]
fn previous_is_at_or_before() {
    let cron = Cron::parse("0 6 * * *").expect("good");
    let utc = Zone::new("UTC").expect("known");
    assert_eq!(cron.previous(&utc, at("2026-11-25T06:00:00Z")), Some(at("2026-11-25T06:00:00Z")));
    assert_eq!(cron.previous(&utc, at("2026-11-25T05:59:59.999999999Z")), Some(at("2026-11-24T06:00:00Z")));
    assert_eq!(cron.previous(&utc, TimestampNs(i64::MIN)), None);
    assert!(cron.previous(&utc, TimestampNs(i64::MAX)).is_some());
}

#[test]
fn what_is_no_cron_expression_is_refused_in_words() {
    for wrong in [
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "x * * * *",
        "+5 * * * *",
        "5/2 * * * *",
        "1,,2 * * * *",
        "*/60 * * * *",
        "- * * * *",
        "1- * * * *",
        "* * * mon *",
        "* * * * jan",
        "1/2/3 * * * *",
        "999 * * * *",
    ] {
        assert!(matches!(Cron::parse(wrong), Err(CronError::Field { .. })), "{wrong}: {:?}", Cron::parse(wrong));
    }
    for (wrong, count) in [("", 0), ("* * * *", 4), ("* * * * * *", 6)] {
        assert_eq!(Cron::parse(wrong), Err(CronError::Fields { count }));
    }
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 */2"] {
        assert_eq!(Cron::parse(never), Err(CronError::Never), "{never}");
    }
    assert!(matches!(Cron::parse(&"1,".repeat(1000)), Err(CronError::TooLong { bytes: 2000 })));
    let error = Cron::parse("0 25 * * *").expect_err("no such hour");
    assert!(error.to_string().starts_with("\"25\" cannot be the hour; write *, numbers of 0 to 23"));
    assert_eq!(Cron::parse("  0  6 * *   mon ").expect("good").text(), "0 6 * * mon");
}
