//! Fixed dates on which clocks are set forward and back, in zones that do it each in their own way.

use calendar::{Change, Cron, Exception, Period, Shift, ShiftCalendar, ShiftError, Zone, ZoneError};
use model::TimestampNs;

const HOUR_NS: i64 = 3_600_000_000_000;

fn at(text: &str) -> TimestampNs {
    TimestampNs::parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is RFC 3339"))
}

fn zone(name: &str) -> Zone {
    Zone::new(name).expect("in the zone data")
}

fn shift(name: &str, start: (u8, u8), end: (u8, u8)) -> Shift {
    Shift { name: name.to_owned(), start, end, days: [true; 7], except: Vec::new() }
}

fn three(name: &str) -> ShiftCalendar {
    let shifts =
        vec![shift("early", (6, 0), (14, 0)), shift("late", (14, 0), (22, 0)), shift("night", (22, 0), (6, 0))];
    ShiftCalendar::new(zone(name), shifts).expect("good shifts")
}

fn hours(period: &Period) -> f64 {
    (period.to.0 - period.from.0) as f64 / HOUR_NS as f64
}

/// Labels and hours of the periods that ended in a span.
fn ended(calendar: &ShiftCalendar, after: &str, until: &str) -> Vec<(String, f64)> {
    calendar.periods_ending(at(after), at(until)).iter().map(|p| (p.label.clone(), hours(p))).collect()
}

fn rows(expected: &[(&str, f64)]) -> Vec<(String, f64)> {
    expected.iter().map(|(label, hours)| ((*label).to_owned(), *hours)).collect()
}

#[test]
fn a_night_through_spring_has_seven_hours_and_through_autumn_nine() {
    let amsterdam = three("Europe/Amsterdam");
    assert_eq!(
        ended(&amsterdam, "2026-03-28T22:00:00+01:00", "2026-03-29T22:00:00+02:00"),
        rows(&[("2026-03-28 night", 7.0), ("2026-03-29 early", 8.0), ("2026-03-29 late", 8.0)])
    );
    assert_eq!(
        ended(&amsterdam, "2026-10-24T22:00:00+02:00", "2026-10-25T22:00:00+01:00"),
        rows(&[("2026-10-24 night", 9.0), ("2026-10-25 early", 8.0), ("2026-10-25 late", 8.0)])
    );
    let night = amsterdam.next_end(at("2026-03-28T23:30:00+01:00")).expect("a shift ends");
    assert_eq!((night.from, night.to), (at("2026-03-28T21:00:00Z"), at("2026-03-29T04:00:00Z")));

    let new_york = three("America/New_York");
    assert_eq!(
        ended(&new_york, "2026-03-08T00:00:00-05:00", "2026-03-08T06:00:00-04:00"),
        rows(&[("2026-03-07 night", 7.0)])
    );
    assert_eq!(
        ended(&new_york, "2026-11-01T00:00:00-04:00", "2026-11-01T06:00:00-05:00"),
        rows(&[("2026-10-31 night", 9.0)])
    );
}

#[test]
fn lord_howe_changes_by_half_an_hour_and_others_not_at_all() {
    let lord_howe = three("Australia/Lord_Howe");
    assert_eq!(ended(&lord_howe, "2026-10-03T20:00:00Z", "2026-10-03T20:00:00Z"), rows(&[]));
    assert_eq!(ended(&lord_howe, "2026-10-03T18:00:00Z", "2026-10-03T19:00:00Z"), rows(&[("2026-10-03 night", 7.5)]));
    assert_eq!(ended(&lord_howe, "2026-04-04T19:00:00Z", "2026-04-04T19:30:00Z"), rows(&[("2026-04-04 night", 8.5)]));
    for name in ["Asia/Kolkata", "UTC"] {
        let calendar = three(name);
        let year = calendar.periods_ending(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        assert_eq!(year.len(), 365 * 3, "{name}");
        assert!(year.iter().all(|period| hours(period) == 8.0), "{name}");
    }
    let kolkata = three("Asia/Kolkata").current(at("2026-05-01T06:00:00+05:30"));
    assert_eq!(kolkata.iter().map(|p| p.label.as_str()).collect::<Vec<_>>(), ["2026-05-01 early"]);
}

/// A shift of one whole day lasts as long as that day.
#[test]
fn a_day_has_23_24_or_25_hours() {
    for (name, date, expected) in [
        ("Europe/Amsterdam", "2026-03-29", 23.0),
        ("Europe/Amsterdam", "2026-03-30", 24.0),
        ("Europe/Amsterdam", "2026-10-25", 25.0),
        ("America/New_York", "2026-03-08", 23.0),
        ("America/New_York", "2026-11-01", 25.0),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Pacific/Apia", "2011-12-29", 24.0),
    ] {
        let calendar = ShiftCalendar::new(zone(name), vec![shift("day", (0, 0), (0, 0))]).expect("good");
        let noon = at(&format!("{date}T00:00:00Z"));
        let days = calendar.periods_ending(noon.plus_ns(-48 * HOUR_NS), noon.plus_ns(72 * HOUR_NS));
        let day = days.iter().find(|period| period.label == format!("{date} day")).expect("it is a day");
        assert_eq!(hours(day), expected, "{name} {date}");
    }
    // Samoa left out 30 December 2011: no shift of that date, and no hole
    let apia = ShiftCalendar::new(zone("Pacific/Apia"), vec![shift("day", (0, 0), (0, 0))]).expect("good");
    let days = apia.periods_ending(at("2011-12-29T12:00:00Z"), at("2012-01-02T09:00:00Z"));
    assert_eq!(
        days.iter().map(|p| p.label.as_str()).collect::<Vec<_>>(),
        ["2011-12-29 day", "2011-12-31 day", "2012-01-01 day"]
    );
    assert!(days.windows(2).all(|pair| pair[0].to == pair[1].from));
}

#[test]
fn a_boundary_in_a_gap_is_the_first_instant_after_it_and_in_a_fold_the_first_occurrence() {
    let shifts =
        vec![shift("first", (18, 0), (2, 30)), shift("second", (2, 30), (3, 15)), shift("third", (3, 15), (18, 0))];
    let amsterdam = ShiftCalendar::new(zone("Europe/Amsterdam"), shifts).expect("good");
    let spring = amsterdam.periods_ending(at("2026-03-29T00:00:00Z"), at("2026-03-29T02:00:00Z"));
    let ends: Vec<_> = spring.iter().map(|period| (period.label.as_str(), period.to)).collect();
    assert_eq!(
        ends,
        [("2026-03-28 first", at("2026-03-29T01:00:00Z")), ("2026-03-29 second", at("2026-03-29T01:15:00Z"))]
    );
    let autumn = amsterdam.periods_ending(at("2026-10-25T00:00:00Z"), at("2026-10-25T03:00:00Z"));
    let ends: Vec<_> = autumn.iter().map(|period| (period.label.as_str(), period.to)).collect();
    assert_eq!(
        ends,
        [("2026-10-24 first", at("2026-10-25T00:30:00Z")), ("2026-10-25 second", at("2026-10-25T02:15:00Z"))]
    );
    // a shift that lies in the gap as a whole does not take place
    let gone = ShiftCalendar::new(zone("Europe/Amsterdam"), vec![shift("gone", (2, 10), (2, 50))]).expect("good");
    assert_eq!(ended(&gone, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z"), rows(&[("2026-03-30 gone", 2.0 / 3.0)]));
}

#[test]
fn days_and_exceptions_decide_when_a_shift_takes_place() {
    let mut early = shift("early", (6, 0), (14, 0));
    early.days = [true, true, true, true, true, false, false];
    early.except = vec![
        Exception { date: (2026, 5, 1), what: Change::Off },
        Exception { date: (2026, 5, 2), what: Change::Times { start: (7, 0), end: (12, 0) } },
    ];
    let calendar = ShiftCalendar::new(zone("Europe/Amsterdam"), vec![early.clone()]).expect("good");
    assert_eq!(
        ended(&calendar, "2026-04-29T22:00:00Z", "2026-05-04T22:00:00Z"),
        rows(&[("2026-04-30 early", 8.0), ("2026-05-02 early", 5.0), ("2026-05-04 early", 8.0)])
    );
    assert_eq!(calendar.current(at("2026-05-01T08:00:00Z")), []);
    // the end is not part of a period, the begin is
    let period = calendar.next_end(at("2026-05-04T12:00:00Z")).expect("the day after");
    assert_eq!(period.label, "2026-05-05 early");
    assert_eq!(calendar.current(period.from).len(), 1);
    assert_eq!(calendar.current(period.to), []);
    // only on one date, years away
    let only = Shift {
        days: [false; 7],
        except: vec![Exception { date: (2031, 2, 3), what: Change::Times { start: (22, 0), end: (6, 0) } }],
        ..early
    };
    let calendar = ShiftCalendar::new(zone("UTC"), vec![only]).expect("good");
    assert_eq!(calendar.next_end(at("2026-01-01T00:00:00Z")).map(|p| p.to), Some(at("2031-02-04T06:00:00Z")));
    assert_eq!(calendar.next_end(at("2031-02-04T06:00:00Z")), None);
}

#[test]
fn long_answers_are_cut_at_an_end_and_go_on_from_there() {
    let mut shifts =
        vec![shift("early", (6, 0), (14, 0)), shift("late", (14, 0), (22, 0)), shift("night", (22, 0), (6, 0))];
    shifts.push(shift("cleaning", (13, 0), (14, 0)));
    shifts.push(shift("office", (8, 0), (14, 0)));
    let calendar = ShiftCalendar::new(zone("Europe/Amsterdam"), shifts).expect("good");
    let (mut after, until) = (at("2026-01-01T00:00:00Z"), at("2031-01-01T00:00:00Z"));
    let mut labels = std::collections::BTreeSet::new();
    loop {
        let some = calendar.periods_ending(after, until);
        assert!(some.len() < calendar::PERIODS_MAX + calendar::SHIFTS_MAX);
        let Some(last) = some.last() else { break };
        assert!(some.windows(2).all(|pair| pair[0].to <= pair[1].to));
        after = last.to;
        for period in some {
            assert!(labels.insert(period.label.clone()), "{} twice", period.label);
        }
    }
    assert_eq!(labels.len(), (5 * 365 + 1) * 5);
    // 64-bit time from end to end: bounded, and no panic
    let ever = calendar.periods_ending(TimestampNs(i64::MIN), TimestampNs(i64::MAX));
    assert!(ever.len() >= calendar::PERIODS_MAX);
    assert_eq!(calendar.next_end(TimestampNs(i64::MAX)), None);
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let new = |shifts| ShiftCalendar::new(zone("UTC"), shifts);
    assert_eq!(new(vec![shift("a", (24, 0), (6, 0))]), Err(ShiftError::Time { name: "a".into(), time: (24, 0) }));
    assert_eq!(new(vec![shift("a", (1, 0), (2, 60))]), Err(ShiftError::Time { name: "a".into(), time: (2, 60) }));
    assert_eq!(new(vec![shift(" ", (1, 0), (2, 0))]), Err(ShiftError::Name { name: " ".into() }));
    let twice = vec![shift("a", (1, 0), (2, 0)), shift("a", (3, 0), (4, 0))];
    assert_eq!(new(twice), Err(ShiftError::Twice { name: "a".into() }));
    assert_eq!(
        new(vec![Shift { days: [false; 7], ..shift("a", (1, 0), (2, 0)) }]),
        Err(ShiftError::NoDay { name: "a".into() })
    );
    let off = Exception { date: (2026, 2, 29), what: Change::Off };
    let error = new(vec![Shift { except: vec![off], ..shift("a", (1, 0), (2, 0)) }]).expect_err("no leap year");
    assert_eq!(error.to_string(), "shift \"a\": the date 2026-02-29 does not exist; write a real date");
    let off = Exception { date: (2026, 2, 28), what: Change::Off };
    let error = new(vec![Shift { except: vec![off.clone(), off], ..shift("a", (1, 0), (2, 0)) }]);
    assert_eq!(error, Err(ShiftError::Date { name: "a".into(), date: (2026, 2, 28), twice: true }));
    assert_eq!(new(vec![shift("a", (1, 0), (2, 0)); 65]), Err(ShiftError::TooMany { count: 65 }));
    let Err(ZoneError::Unknown { name, .. }) = Zone::new("Europe/Amsterdm") else { panic!("there is no such zone") };
    assert_eq!(name, "Europe/Amsterdm");
    assert_eq!(zone("europe/amsterdam").name(), "Europe/Amsterdam");
}

#[test]
fn a_cron_time_in_the_gap_runs_once_after_it_and_in_the_fold_once() {
    let amsterdam = zone("Europe/Amsterdam");
    let half_past_two = Cron::parse("30 2 * * *").expect("good");
    let runs = |cron: &Cron, zone: &Zone, after: &str, count: usize| -> Vec<TimestampNs> {
        let first = cron.next(zone, at(after));
        std::iter::successors(first, |run| cron.next(zone, *run)).take(count).collect()
    };
    assert_eq!(
        runs(&half_past_two, &amsterdam, "2026-03-28T00:00:00Z", 3),
        [at("2026-03-28T01:30:00Z"), at("2026-03-29T01:00:00Z"), at("2026-03-30T00:30:00Z")]
    );
    assert_eq!(
        runs(&half_past_two, &amsterdam, "2026-10-24T12:00:00Z", 2),
        [at("2026-10-25T00:30:00Z"), at("2026-10-26T01:30:00Z")]
    );
    // from within the repeated hour, looking back: what ran in its first turn
    assert_eq!(half_past_two.previous(&amsterdam, at("2026-10-25T01:10:00Z")), Some(at("2026-10-25T00:30:00Z")));
    // four times that the gap swallows are one run
    let quarters = Cron::parse("*/15 * * * *").expect("good");
    assert_eq!(
        runs(&quarters, &amsterdam, "2026-03-29T00:45:00Z", 2),
        [at("2026-03-29T01:00:00Z"), at("2026-03-29T01:15:00Z")]
    );
    let lord_howe = zone("Australia/Lord_Howe");
    let quarter_past_two = Cron::parse("15 2 * * *").expect("good");
    assert_eq!(runs(&quarter_past_two, &lord_howe, "2026-10-03T00:00:00Z", 1), [at("2026-10-03T15:30:00Z")]);
    let new_york = zone("America/New_York");
    assert_eq!(runs(&half_past_two, &new_york, "2026-03-08T00:00:00Z", 1), [at("2026-03-08T07:00:00Z")]);
}

#[test]
fn cron_periods_go_from_run_to_run() {
    let cron = Cron::parse("0 6 * * mon-fri").expect("good");
    let zone = zone("Europe/Amsterdam");
    let periods = cron.periods_ending(&zone, "orders", at("2026-03-26T12:00:00Z"), at("2026-03-31T12:00:00Z"));
    let shown: Vec<_> = periods.iter().map(|period| (period.label.as_str(), hours(period))).collect();
    assert_eq!(
        shown,
        [("2026-03-26 06:00 orders", 24.0), ("2026-03-27 06:00 orders", 71.0), ("2026-03-30 06:00 orders", 24.0)]
    );
    assert!(periods.windows(2).all(|pair| pair[0].to == pair[1].from));
    // at the very end: exclusive below, inclusive above
    assert_eq!(cron.periods_ending(&zone, "orders", periods[0].to, periods[1].to), periods[1..2]);
}
