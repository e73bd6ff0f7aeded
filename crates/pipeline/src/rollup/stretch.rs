//! What consecutive samples of a tag add up to, so that every aggregate of any span can be told.
//!
//! A [`Stretch`] holds what lies between its first and its last sample and nothing of what is
//! around it: two that follow each other make one ([`Stretch::merge`] is associative), and only
//! [`Stretch::finish`] looks at the span's ends and at what held before ([`Before`]). A window, a
//! shift, and a single sample are all stretches.
//!
//! The rules, in the words of OPC 10000-13:
//! - `TreatUncertainAsBad` is false (4.2.1.2): what is not bad counts, in every aggregate.
//! - Values are stepped: one holds until the next sample, of whatever quality. A bad sample ends
//!   the value before it, and nothing holds until the next sample that is not bad.
//! - `TimeAverage` weighs each number by how long it held; time without a number does not count.
//! - `PercentGood` is the share of the span during which the newest sample was not bad; time before
//!   the first sample that is known is not good.
//! - `Start` and `End` are the first and last number within the span.
//! - `Delta` is of counters: the last number less the last one before the span, so that spans that
//!   adjoin add up; less the first within it where none before is known. A number below the one
//!   before it means that the counter began again, and counts from zero.
//! - A text, and a number that is none (NaN), have a quality and are counted; they have no value.

use model::TimestampNs;

/// One sample, as aggregates see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Its time.
    pub time: TimestampNs,
    /// Its number; NaN where it has none. Means nothing where it is bad.
    pub number: f64,
    /// Whether its quality is not bad.
    pub usable: bool,
}

impl Point {
    /// Whether it has a value to calculate with.
    #[must_use]
    #[inline]
    pub const fn is_number(&self) -> bool {
        self.usable && !self.number.is_nan()
    }
}

/// What a tag's samples before a span leave to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Before {
    /// The newest sample.
    pub held: Option<Point>,
    /// The newest sample with a number: where a delta starts.
    pub base: Option<Point>,
}

impl Before {
    /// Takes in a sample; of two with one time the one that is given later counts.
    pub fn note(&mut self, point: Point) {
        if self.held.is_none_or(|held| point.time >= held.time) {
            self.held = Some(point);
        }
        if point.is_number() && self.base.is_none_or(|base| point.time >= base.time) {
            self.base = Some(point);
        }
    }

    /// What of it is not older than a time.
    #[must_use]
    pub fn since(&self, time: TimestampNs) -> Before {
        let young = |point: &Point| point.time >= time;
        Before { held: self.held.filter(young), base: self.base.filter(young) }
    }

    /// What both know.
    #[must_use]
    pub fn newest(mut self, other: &Before) -> Before {
        other.base.into_iter().chain(other.held).for_each(|point| self.note(point));
        self
    }
}

/// What consecutive samples add up to. 120 bytes; what every sample changes stands together.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Stretch {
    /// Time of the last sample.
    end: TimestampNs,
    /// Last number.
    last: f64,
    /// Number × ns, from `begin` to `end`.
    area: f64,
    sum: f64,
    min: f64,
    max: f64,
    /// What counters showed when they began again, added up.
    resets: f64,
    /// Samples that are not bad.
    count: u32,
    /// Those of them that have no number.
    blanks: u32,
    /// Whether the last sample is not bad.
    end_usable: bool,
    /// Whether the last sample has a number.
    end_number: bool,
    /// Time of the first sample, of whatever quality; behind `end` where there is none.
    begin: TimestampNs,
    first: f64,
    first_time: TimestampNs,
    /// Time of the last number, where the last sample has none.
    last_time: TimestampNs,
    /// Time without a number, from `begin` to `end`, in ns.
    blank_ns: i64,
    /// Time that was bad, from `begin` to `end`, in ns.
    bad_ns: i64,
}

/// From one time to another, in ns; 0 where that one is not later.
#[inline]
fn ns(from: TimestampNs, to: TimestampNs) -> i64 {
    to.0.saturating_sub(from.0).max(0)
}

impl Default for Stretch {
    fn default() -> Stretch {
        Stretch::EMPTY
    }
}

impl Stretch {
    /// No samples.
    pub const EMPTY: Stretch = Stretch {
        end: TimestampNs(i64::MIN),
        last: f64::NAN,
        area: 0.0,
        sum: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        count: 0,
        blanks: 0,
        end_usable: false,
        end_number: false,
        begin: TimestampNs(i64::MAX),
        first: f64::NAN,
        first_time: TimestampNs(i64::MAX),
        last_time: TimestampNs(i64::MIN),
        blank_ns: 0,
        bad_ns: 0,
        resets: 0.0,
    };

    /// Whether it holds no sample at all.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.end < self.begin
    }

    /// Samples that are not bad.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether any sample has a number.
    #[must_use]
    pub const fn has_number(&self) -> bool {
        self.count > self.blanks
    }

    /// Time of the last number.
    const fn last_time(&self) -> TimestampNs {
        if self.end_number { self.end } else { self.last_time }
    }

    /// Time of the first sample, of whatever quality.
    #[must_use]
    pub fn begin(&self) -> Option<TimestampNs> {
        (!self.is_empty()).then_some(self.begin)
    }

    /// Time of the last sample, of whatever quality.
    #[must_use]
    pub fn end(&self) -> Option<TimestampNs> {
        (!self.is_empty()).then_some(self.end)
    }

    /// Takes in the next sample. One that is older than the last is counted, but what depends on
    /// the order of samples is wrong from then on; answers false then.
    #[inline]
    pub fn add(&mut self, point: Point) -> bool {
        if !(self.end_number && point.is_number() && point.time >= self.end) {
            return self.add_any(point);
        }
        self.area += self.last * ns(self.end, point.time) as f64;
        self.end = point.time;
        self.count = self.count.saturating_add(1);
        self.add_number(point.number);
        true
    }

    /// The first sample, one behind a gap, one without a number, one that is late.
    fn add_any(&mut self, point: Point) -> bool {
        let ordered = point.time >= self.end;
        let (is_number, newest) = (point.is_number(), point.time >= self.last_time());
        if ordered {
            self.hold_until(point.time);
            (self.last_time, self.end) = (self.last_time(), point.time);
            (self.end_usable, self.end_number) = (point.usable, is_number);
        }
        self.begin = self.begin.min(point.time);
        self.count = self.count.saturating_add(u32::from(point.usable));
        self.blanks = self.blanks.saturating_add(u32::from(point.usable && !is_number));
        if is_number && point.time < self.first_time {
            (self.first, self.first_time) = (point.number, point.time);
        }
        if is_number && newest {
            self.add_number(point.number);
            self.last_time = point.time;
        } else if is_number {
            self.min = self.min.min(point.number);
            self.max = self.max.max(point.number);
            self.sum += point.number;
        }
        ordered
    }

    /// A number that is newer than those before.
    #[inline]
    fn add_number(&mut self, number: f64) {
        // plain comparisons, because a number is never NaN here; none is a branch, which noise would make
        // the processor guess wrong every other time
        self.min = if number < self.min { number } else { self.min };
        self.max = if number > self.max { number } else { self.max };
        self.sum += number;
        self.resets += if number < self.last { self.last } else { 0.0 };
        self.last = number;
    }

    /// What was last holds until this time.
    #[inline]
    fn hold_until(&mut self, time: TimestampNs) {
        let ns = if self.is_empty() { 0 } else { ns(self.end, time) };
        if !self.end_usable {
            self.bad_ns += ns;
        }
        if !self.end_number {
            self.blank_ns += ns;
        } else if ns > 0 {
            self.area += self.last * ns as f64;
        }
    }

    /// Takes in what follows.
    pub fn merge(&mut self, next: &Stretch) {
        if next.is_empty() {
            return;
        }
        self.hold_until(next.begin);
        self.area += next.area;
        self.blank_ns += next.blank_ns;
        self.bad_ns += next.bad_ns;
        self.count = self.count.saturating_add(next.count);
        self.blanks = self.blanks.saturating_add(next.blanks);
        self.min = self.min.min(next.min);
        self.max = self.max.max(next.max);
        self.sum += next.sum;
        self.begin = self.begin.min(next.begin);
        let last_time = if next.has_number() { next.last_time() } else { self.last_time() };
        self.end = next.end;
        (self.end_usable, self.end_number) = (next.end_usable, next.end_number);
        self.last_time = last_time;
        if next.has_number() {
            if next.first_time < self.first_time {
                (self.first, self.first_time) = (next.first, next.first_time);
            }
            if next.first < self.last {
                self.resets += self.last;
            }
            self.resets += next.resets;
            self.last = next.last;
        }
    }

    /// What it leaves to a span that begins behind it.
    pub fn leave_to(&self, before: &mut Before) {
        if self.has_number() {
            before.note(Point { time: self.last_time(), number: self.last, usable: true });
        }
        if !self.is_empty() {
            let number = if self.end_number { self.last } else { f64::NAN };
            before.note(Point { time: self.end, number, usable: self.end_usable });
        }
    }

    /// The aggregates of the span `[from, to)` in which all of its samples lie.
    #[must_use]
    pub fn finish(&self, from: TimestampNs, to: TimestampNs, before: &Before) -> Aggregates {
        let numbers = self.has_number();
        let mut whole = *self;
        whole.hold_until(to);
        let (begin, own_ns) = if self.is_empty() { (to, 0) } else { (self.begin, ns(self.begin, to)) };
        let (mut good_ns, mut covered_ns) = (own_ns - whole.bad_ns, own_ns - whole.blank_ns);
        let lead_ns = ns(from, begin);
        if let Some(held) = before.held {
            good_ns += if held.usable { lead_ns } else { 0 };
            if held.is_number() && lead_ns > 0 {
                whole.area += held.number * lead_ns as f64;
                covered_ns += lead_ns;
            }
        }
        let start = before.base.map(|base| base.number);
        let delta = match start {
            Some(start) if numbers => {
                let again = if self.first < start { start } else { 0.0 };
                Some(self.last - start + again + self.resets)
            }
            Some(_) => Some(0.0),
            None => numbers.then_some(self.last - self.first + self.resets),
        };
        let width_ns = ns(from, to);
        Aggregates {
            count: u64::from(self.count),
            min: numbers.then_some(self.min),
            max: numbers.then_some(self.max),
            average: numbers.then(|| self.sum / f64::from(self.count - self.blanks)),
            time_average: (covered_ns > 0).then(|| whole.area / covered_ns as f64),
            first: numbers.then_some(self.first),
            last: numbers.then_some(self.last),
            delta,
            percent_good: (width_ns > 0).then(|| 100.0 * good_ns as f64 / width_ns as f64),
            first_time: numbers.then_some(self.first_time),
            last_time: numbers.then_some(self.last_time()),
        }
    }
}

/// One figure of a span, by the definitions of OPC 10000-13; the rules stand at the head of this
/// module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aggregate {
    /// Count.
    Count,
    /// Minimum.
    Min,
    /// Maximum.
    Max,
    /// Average.
    Average,
    /// TimeAverage.
    TimeAverage,
    /// Start.
    First,
    /// End.
    Last,
    /// Delta.
    Delta,
    /// PercentGood.
    PercentGood,
}

impl Aggregate {
    /// Every aggregate with its word in configuration and API.
    pub const ALL: [(&'static str, Aggregate); 9] = [
        ("count", Aggregate::Count),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
        ("average", Aggregate::Average),
        ("time_average", Aggregate::TimeAverage),
        ("first", Aggregate::First),
        ("last", Aggregate::Last),
        ("delta", Aggregate::Delta),
        ("percent_good", Aggregate::PercentGood),
    ];

    /// The aggregate of a word.
    #[must_use]
    pub fn named(word: &str) -> Option<Aggregate> {
        Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, aggregate)| *aggregate)
    }

    /// Whether the one-second windows have it.
    #[must_use]
    pub const fn is_basic(self) -> bool {
        matches!(self, Self::Count | Self::Min | Self::Max | Self::Average | Self::Last)
    }
}

impl Aggregates {
    /// One of them; `None` where the span has nothing to say.
    #[must_use]
    pub fn get(&self, aggregate: Aggregate) -> Option<f64> {
        match aggregate {
            Aggregate::Count => Some(self.count as f64),
            Aggregate::Min => self.min,
            Aggregate::Max => self.max,
            Aggregate::Average => self.average,
            Aggregate::TimeAverage => self.time_average,
            Aggregate::First => self.first,
            Aggregate::Last => self.last,
            Aggregate::Delta => self.delta,
            Aggregate::PercentGood => self.percent_good,
        }
    }
}

/// The aggregates of one tag over one span. The rules stand at the head of this module; `None`
/// where the span has nothing to say, never a zero in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Aggregates {
    /// Samples that are not bad (Count).
    pub count: u64,
    /// Lowest number (Minimum).
    pub min: Option<f64>,
    /// Highest number (Maximum).
    pub max: Option<f64>,
    /// Mean of the numbers, each counted once (Average).
    pub average: Option<f64>,
    /// Mean of the numbers, each weighed by how long it held (TimeAverage, stepped).
    pub time_average: Option<f64>,
    /// First number (Start).
    pub first: Option<f64>,
    /// Last number (End).
    pub last: Option<f64>,
    /// How far a counter went (Delta). 0 where it is known from before and said nothing.
    pub delta: Option<f64>,
    /// Share of the span that was not bad, 0 to 100 (PercentGood). `None` for a span without time.
    pub percent_good: Option<f64>,
    /// Time of `first`.
    pub first_time: Option<TimestampNs>,
    /// Time of `last`.
    pub last_time: Option<TimestampNs>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = 1_000_000_000;

    fn point(seconds: i64, number: f64) -> Point {
        Point { time: TimestampNs(seconds * S), number, usable: true }
    }

    fn bad(seconds: i64) -> Point {
        Point { time: TimestampNs(seconds * S), number: 0.0, usable: false }
    }

    fn of(points: &[Point]) -> Stretch {
        let mut stretch = Stretch::EMPTY;
        assert!(points.iter().all(|point| stretch.add(*point)), "in order");
        stretch
    }

    fn span(points: &[Point], from: i64, to: i64, before: &[Point]) -> Aggregates {
        let mut known = Before::default();
        before.iter().for_each(|point| known.note(*point));
        of(points).finish(TimestampNs(from * S), TimestampNs(to * S), &known)
    }

    #[test]
    fn each_value_holds_until_the_next_sample() {
        let all = span(&[point(2, 10.0), point(8, 20.0)], 0, 10, &[point(-5, 4.0)]);
        assert_eq!(all.time_average, Some((2.0 * 4.0 + 6.0 * 10.0 + 2.0 * 20.0) / 10.0));
        assert_eq!((all.average, all.percent_good), (Some(15.0), Some(100.0)));
        assert_eq!((all.first, all.last), (Some(10.0), Some(20.0)));
        assert_eq!((all.first_time, all.last_time), (Some(TimestampNs(2 * S)), Some(TimestampNs(8 * S))));
    }

    #[test]
    fn nothing_holds_before_the_first_sample_nor_behind_a_bad_one() {
        let all = span(&[point(2, 10.0), bad(4), point(8, 20.0)], 0, 10, &[]);
        assert_eq!(all.time_average, Some((2.0 * 10.0 + 2.0 * 20.0) / 4.0));
        assert_eq!((all.count, all.percent_good), (2, Some(40.0)));
        let none = span(&[bad(4)], 0, 10, &[]);
        assert_eq!((none.count, none.min, none.time_average, none.delta), (0, None, None, None));
        assert_eq!(none.percent_good, Some(0.0));
        let held = span(&[], 0, 10, &[point(-1, 3.0)]);
        assert_eq!((held.count, held.time_average, held.percent_good), (0, Some(3.0), Some(100.0)));
        assert_eq!(span(&[], 0, 10, &[point(-2, 3.0), bad(-1)]).percent_good, Some(0.0));
    }

    #[test]
    fn a_delta_starts_before_the_span_and_counts_from_zero_after_a_reset() {
        let counter = [point(1, 105.0), point(3, 112.0), point(5, 4.0), point(7, 9.0)];
        assert_eq!(span(&counter, 0, 10, &[]).delta, Some(7.0 + 4.0 + 5.0));
        assert_eq!(span(&counter, 0, 10, &[point(-9, 100.0)]).delta, Some(12.0 + 4.0 + 5.0));
        assert_eq!(span(&counter, 0, 10, &[point(-9, 100.0), bad(-3)]).delta, Some(21.0), "bad ones do not start it");
        assert_eq!(span(&counter[..1], 0, 10, &[point(-9, 900.0)]).delta, Some(105.0), "it began again in between");
        assert_eq!(span(&[], 0, 10, &[point(-9, 900.0)]).delta, Some(0.0));
        assert_eq!(span(&counter[..1], 0, 10, &[]).delta, Some(0.0), "one number of which nothing is known");
    }

    #[test]
    fn a_text_has_a_quality_and_a_count_and_no_value() {
        let text = |seconds| point(seconds, f64::NAN);
        let all = span(&[text(2), point(4, 6.0), text(6)], 0, 10, &[]);
        assert_eq!((all.count, all.average, all.time_average), (3, Some(6.0), Some(6.0)));
        assert_eq!((all.percent_good, all.delta), (Some(80.0), Some(0.0)));
        let only = span(&[text(2)], 0, 10, &[]);
        assert_eq!((only.count, only.min, only.last, only.time_average, only.delta), (1, None, None, None, None));
    }

    #[test]
    fn a_span_without_time_has_no_share() {
        assert_eq!(span(&[], 5, 5, &[point(1, 1.0)]).percent_good, None);
    }

    /// The rules said plainly, sample by sample, without merging.
    pub(crate) fn slowly(points: &[Point], from: i64, to: i64) -> Aggregates {
        let inside: Vec<&Point> = points.iter().filter(|p| from <= p.time.0 && p.time.0 < to).collect();
        let numbers: Vec<&&Point> = inside.iter().filter(|p| p.is_number()).collect();
        let values = || numbers.iter().map(|p| p.number);
        let (mut area, mut covered, mut good) = (0.0, 0, 0);
        for (at, p) in points.iter().enumerate() {
            let ends = points.get(at + 1).map_or(i64::MAX, |next| next.time.0).min(to);
            let ns = ends.saturating_sub(p.time.0.max(from)).max(0);
            good += if p.usable { ns } else { 0 };
            if p.is_number() {
                area += p.number * ns as f64;
                covered += ns;
            }
        }
        let base = points.iter().rfind(|p| p.is_number() && p.time.0 < from).map(|p| p.number);
        let chain: Vec<f64> = base.into_iter().chain(values()).collect();
        let steps = chain.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] });
        Aggregates {
            count: inside.iter().filter(|p| p.usable).count() as u64,
            min: values().reduce(f64::min),
            max: values().reduce(f64::max),
            average: (!numbers.is_empty()).then(|| values().sum::<f64>() / numbers.len() as f64),
            time_average: (covered > 0).then(|| area / covered as f64),
            first: values().next(),
            last: values().next_back(),
            delta: (!chain.is_empty()).then(|| steps.sum()),
            percent_good: (to > from).then(|| 100.0 * good as f64 / (to - from) as f64),
            first_time: numbers.first().map(|p| p.time),
            last_time: numbers.last().map(|p| p.time),
        }
    }

    fn near(a: Option<f64>, b: Option<f64>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * b.abs().max(1.0),
            (a, b) => a == b,
        }
    }

    pub(crate) fn same(a: &Aggregates, b: &Aggregates) -> bool {
        let exact = (a.count, a.min, a.max, a.first, a.last, a.first_time, a.last_time)
            == (b.count, b.min, b.max, b.first, b.last, b.first_time, b.last_time);
        let pairs = [(a.average, b.average), (a.time_average, b.time_average), (a.delta, b.delta)];
        exact && near(a.percent_good, b.percent_good) && pairs.into_iter().all(|(a, b)| near(a, b))
    }

    fn points() -> impl Strategy<Value = Vec<Point>> {
        let number = prop_oneof![4 => -50.0..1000.0_f64, 1 => Just(f64::NAN)];
        let point = (0..100_i64, number, prop::bool::weighted(0.8));
        let point = point.prop_map(|(time, number, usable)| Point { time: TimestampNs(time * S / 4), number, usable });
        prop::collection::vec(point, 0..60).prop_map(|mut points| {
            points.sort_by_key(|point| point.time);
            points
        })
    }

    proptest! {
        /// Merged in any parts, a span says what its samples say one by one.
        #[test]
        fn parts_say_what_the_samples_say(
            points in points(), from in 0..60_i64, width in 0..50_i64, cuts in prop::collection::vec(0..60_usize, 0..6)
        ) {
            let (from, to) = (from * S / 4, (from + width) * S / 4);
            let mut before = Before::default();
            points.iter().filter(|p| p.time.0 < from).for_each(|p| before.note(*p));
            let inside: Vec<Point> = points.iter().filter(|p| from <= p.time.0 && p.time.0 < to).copied().collect();
            let mut whole = Stretch::EMPTY;
            let mut part = Stretch::EMPTY;
            for (at, point) in inside.iter().enumerate() {
                if cuts.contains(&at) {
                    whole.merge(&std::mem::take(&mut part));
                }
                part.add(*point);
            }
            whole.merge(&part);
            let (fast, slow) = (whole.finish(TimestampNs(from), TimestampNs(to), &before), slowly(&points, from, to));
            prop_assert!(same(&fast, &slow), "{fast:?} for {slow:?}");
        }

        /// Adjoining spans add up.
        #[test]
        fn deltas_of_adjoining_spans_add_up(points in points(), cut in 1..24_i64) {
            let delta = |from, to| {
                let mut before = Before::default();
                points.iter().filter(|p| p.time.0 < from).for_each(|p| before.note(*p));
                let inside: Vec<Point> = points.iter().filter(|p| from <= p.time.0 && p.time.0 < to).copied().collect();
                of(&inside).finish(TimestampNs(from), TimestampNs(to), &before).delta.unwrap_or_default()
            };
            let (left, right, whole) = (delta(0, cut * S), delta(cut * S, 30 * S), delta(0, 30 * S));
            prop_assert!((left + right - whole).abs() <= 1e-6 * whole.abs().max(1.0), "{left} + {right} for {whole}");
        }
    }
}
