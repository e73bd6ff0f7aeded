//! What must hold in every zone, on every date: shifts tile time, and cron runs when a scan of all
//! minutes says so.

use calendar::{Cron, Period, Shift, ShiftCalendar, Zone};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use model::TimestampNs;
use proptest::prelude::*;

const MINUTE_NS: i64 = 60_000_000_000;
const DAY_NS: i64 = 1_440 * MINUTE_NS;
/// 2000-01-01 and 2050-01-01, in days since 1970.
const DAYS: std::ops::Range<i64> = 10_957..29_220;

const ZONES: [&str; 9] = [
    "Europe/Amsterdam",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "UTC",
    "America/St_Johns",
    "Africa/Casablanca",
    "Pacific/Apia",
    "America/Santiago",
];

/// Days of clock changes of the zones above, so that many cases lie on one.
const CHANGES: [i64; 6] = [20_541, 20_751, 20_520, 20_758, 20_730, 15_337];

fn zones() -> impl Strategy<Value = Zone> {
    prop::sample::select(&ZONES[..]).prop_map(|name| Zone::new(name).expect("known"))
}

fn days() -> impl Strategy<Value = i64> {
    prop_oneof![DAYS, (prop::sample::select(&CHANGES[..]), -2..3_i64).prop_map(|(day, by)| day + by)]
}

fn shifts(bounds: &[u16]) -> Vec<Shift> {
    let time = |minute: u16| (u8::try_from(minute / 60).expect("< 24"), u8::try_from(minute % 60).expect("< 60"));
    let after = bounds.iter().cycle().skip(1);
    bounds
        .iter()
        .zip(after)
        .enumerate()
        .map(|(i, (start, end))| Shift {
            name: format!("s{i}"),
            start: time(*start),
            end: time(*end),
            days: [true; 7],
            except: Vec::new(),
        })
        .collect()
}

fn bounds() -> impl Strategy<Value = Vec<u16>> {
    // many boundaries between midnight and four, where clocks change
    let minute = prop_oneof![0..1_440_u16, 0..240_u16];
    prop::collection::btree_set(minute, 1..5).prop_map(|set| set.into_iter().collect())
}

proptest! {
    #[test]
    fn shifts_that_adjoin_tile_time(zone in zones(), day in days(), span in 1..20_i64, bounds in bounds()) {
        let calendar = ShiftCalendar::new(zone, shifts(&bounds)).expect("good");
        let (after, until) = (TimestampNs(day * DAY_NS), TimestampNs((day + span) * DAY_NS));
        let periods = calendar.periods_ending(after, until);
        for period in &periods {
            prop_assert!(period.from < period.to && period.to > after && period.to <= until);
        }
        for pair in periods.windows(2) {
            prop_assert_eq!(pair[0].to, pair[1].from, "{} and {}", &pair[0].label, &pair[1].label);
        }
        let labels: std::collections::BTreeSet<_> = periods.iter().map(|period| &period.label).collect();
        prop_assert_eq!(labels.len(), periods.len());
        // the edges: what ends first lies over `after`, what ends next over `until`
        let first = calendar.next_end(after).expect("there is always a next");
        prop_assert!(first.from <= after && after < first.to);
        if let Some(found) = periods.first() {
            prop_assert_eq!(found, &first);
        }
        let next = calendar.next_end(until).expect("there is always a next");
        prop_assert!(periods.last().is_none_or(|last| last.to == next.from));
        prop_assert_eq!(calendar.current(until), vec![next]);
    }

    #[test]
    fn splitting_a_span_gives_the_same_periods(zone in zones(), day in days(), cut in 0..(5 * DAY_NS), bounds in bounds()) {
        let mut all = shifts(&bounds);
        all.push(Shift { name: "long".to_owned(), start: (23, 0), end: (22, 30), days: [true, false, true, true, false, false, true], except: Vec::new() });
        let calendar = ShiftCalendar::new(zone, all).expect("good");
        let (after, until) = (TimestampNs(day * DAY_NS), TimestampNs((day + 5) * DAY_NS));
        let middle = after.plus_ns(cut);
        let whole = calendar.periods_ending(after, until);
        let parts: Vec<Period> = calendar.periods_ending(after, middle).into_iter().chain(calendar.periods_ending(middle, until)).collect();
        prop_assert_eq!(&whole, &parts);
        // next_end walks the same ends
        let mut at = after;
        let mut ends: Vec<_> = whole.iter().map(|period| period.to).collect();
        ends.dedup();
        for end in ends {
            let next = calendar.next_end(at).expect("one more");
            prop_assert_eq!(next.to, end);
            at = next.to;
        }
    }
}

/// One field as text, and the numbers that it stands for.
fn field(low: u8, high: u8, star: u32) -> impl Strategy<Value = (String, Vec<u8>)> {
    let all = move || (low..=high).collect::<Vec<_>>();
    let one = (low..=high).prop_map(|n| (n.to_string(), vec![n]));
    let range = (low..=high, low..=high, 1..=high.clamp(1, 20)).prop_map(|(a, b, step)| {
        let (a, b) = (a.min(b), a.max(b));
        (format!("{a}-{b}/{step}"), (a..=b).step_by(usize::from(step)).collect())
    });
    let every = (1..=high.clamp(1, 30))
        .prop_map(move |step| (format!("*/{step}"), (low..=high).step_by(usize::from(step)).collect()));
    let list = prop::collection::vec(low..=high, 1..4)
        .prop_map(|list| (list.iter().map(u8::to_string).collect::<Vec<_>>().join(","), list));
    prop_oneof![star => Just(()).prop_map(move |()| ("*".to_owned(), all())), 2 => one, 1 => range, 1 => every, 1 => list]
}

/// A cron expression read a second way: lists of numbers, and a scan over every minute.
#[derive(Debug)]
struct Reference {
    text: String,
    lists: [Vec<u8>; 5],
    either: bool,
}

fn references() -> impl Strategy<Value = Reference> {
    (field(0, 59, 1), field(0, 23, 2), field(1, 31, 8), field(1, 12, 12), field(0, 7, 6)).prop_map(
        |(m, h, d, mo, w)| Reference {
            text: [&m.0, &h.0, &d.0, &mo.0, &w.0].map(String::as_str).join(" "),
            either: !d.0.starts_with('*') && !w.0.starts_with('*'),
            lists: [m.1, h.1, d.1, mo.1, w.1],
        },
    )
}

impl Reference {
    fn matches(&self, wall: DateTime) -> bool {
        let has = |field: usize, number: i8| self.lists[field].iter().any(|n| i16::from(*n) == i16::from(number));
        let weekday = wall.weekday().to_sunday_zero_offset();
        let (day, week) = (has(2, wall.day()), has(4, weekday) || (weekday == 0 && has(4, 7)));
        has(0, wall.minute())
            && has(1, wall.hour())
            && has(3, wall.month())
            && if self.either { day || week } else { day && week }
    }

    /// Runs in `(after, until]`: at every minute look at the wall clock; a time that it shows for the
    /// first time runs, and so does what it jumped over.
    fn runs(&self, zone: &TimeZone, after: i64, until: i64) -> Vec<i64> {
        let wall = |at: i64| zone.to_datetime(Timestamp::from_nanosecond(i128::from(at)).expect("in range"));
        let first = after.div_euclid(MINUTE_NS) * MINUTE_NS;
        // the highest that the clock showed before: what is not above it was there already
        let mut shown = (1..=1_500).map(|back| wall(first - back * MINUTE_NS)).max().expect("some");
        let mut runs = Vec::new();
        for at in (first..=until).step_by(usize::try_from(MINUTE_NS).expect("fits")) {
            let now = wall(at);
            let mut due = false;
            while shown < now {
                shown = shown.checked_add(jiff::Span::new().minutes(1)).expect("in range");
                due |= self.matches(shown);
            }
            if due && at > after {
                runs.push(at);
            }
        }
        runs
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn cron_runs_when_a_scan_of_all_minutes_says_so(
        reference in references(), name in prop::sample::select(&ZONES[..]), day in days(), part in 0..DAY_NS
    ) {
        let Ok(cron) = Cron::parse(&reference.text) else { return Ok(()) };
        let zone = Zone::new(name).expect("known");
        let (after, until) = (day * DAY_NS + part, day * DAY_NS + part + 3 * DAY_NS);
        let expected = reference.runs(&TimeZone::get(name).expect("known"), after, until);
        let mut found = Vec::new();
        let mut at = TimestampNs(after);
        while let Some(next) = cron.next(&zone, at).filter(|next| next.0 <= until) {
            prop_assert!(next > at);
            prop_assert_eq!(cron.previous(&zone, next), Some(next));
            prop_assert!(cron.previous(&zone, next.plus_ns(-1)).is_none_or(|before| before <= at || at.0 == after));
            found.push(next.0);
            at = next;
        }
        prop_assert_eq!(found, expected, "{}", &reference.text);
    }
}
