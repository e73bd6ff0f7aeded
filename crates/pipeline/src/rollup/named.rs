//! The windows that `[[rollup]]` sections name: all nine aggregates, for the tags that match.
//!
//! Invariants
//! - R3: a window that is whole says what its stored samples say, whatever order they came in. What
//!   memory cannot tell by itself (a sample older than one that its window has, one that came later
//!   than the rollup waits for) makes its window not whole, and a query then reads the log.
//! - R4: memory is bounded by [`NAMED_WINDOWS_MAX`] windows a shard, shared evenly by all rollups of
//!   all tags. From when on a tag's windows are complete is always known, and what was before.
//!
//! - R5: a sample is added once, however many rollups match its tag: where the width of one divides
//!   another's, a window of the narrower that is over is merged into the wider one's newest. So the
//!   newest window of a wider rollup is what was merged and what the newest of the narrower holds.
//!
//! A rollup of one second that wants no more than the one-second windows have gets no windows here.

use super::stretch::{Before, Point, Stretch};
use super::{Aggregate, WIDTH_NS};
use model::{Glob, TimestampNs};
use std::collections::VecDeque;
use std::num::NonZeroU32;

/// Windows of named rollups that one shard keeps in memory (136 bytes each: 68 MiB).
pub const NAMED_WINDOWS_MAX: usize = 1 << 19;
/// Most windows of one rollup of one tag: what a query may look through on the shard.
pub const NAMED_DEPTH_MAX: usize = 1 << 14;
/// Fewest windows of one rollup of one tag. Where even these find no room, a tag gets none.
const NAMED_DEPTH_MIN: usize = 4;

/// A rollup: which windows of which tags.
#[derive(Clone, Debug, PartialEq)]
pub struct RollupSpec {
    /// Its name.
    pub name: String,
    /// Which tags.
    pub glob: Glob,
    /// Width of a window in ns: whole seconds that divide a day.
    pub every_ns: i64,
    /// What is wanted of a window.
    pub aggregates: Vec<Aggregate>,
    /// A sample that arrives up to this long after its window's end still changes it, in ns, also
    /// when the tag's next window has begun. Before that, none is too late.
    pub late_ns: i64,
}

impl RollupSpec {
    /// Whether the one-second windows have all of it.
    fn is_basic(&self) -> bool {
        self.every_ns == WIDTH_NS && self.aggregates.iter().all(|aggregate| aggregate.is_basic())
    }
}

/// One window of one tag.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct NamedWindow {
    /// Its start.
    pub start: TimestampNs,
    /// Its samples.
    pub stretch: Stretch,
    /// How often late samples have changed it since the tag's next window began.
    pub revision: u32,
    /// Whether it says all that its samples say (R3).
    pub is_whole: bool,
}

impl NamedWindow {
    const fn new(start: TimestampNs) -> NamedWindow {
        NamedWindow { start, stretch: Stretch::EMPTY, revision: 0, is_whole: true }
    }

    #[inline]
    fn add(&mut self, point: Point) {
        self.is_whole &= self.stretch.add(point);
    }

    /// A window within it, behind all that it has.
    fn take_in(&mut self, part: &NamedWindow) {
        self.stretch.merge(&part.stretch);
        self.is_whole &= part.is_whole;
    }
}

const NONE: TimestampNs = TimestampNs(i64::MIN);
const NO_RING: u32 = u32::MAX;

/// The windows of one tag before its newest.
#[derive(Default)]
struct Ring {
    windows: VecDeque<NamedWindow>,
    complete_from: Option<TimestampNs>,
    /// What the windows that went left behind.
    before: Before,
    /// Whether that is not sure.
    is_before_lost: bool,
}

/// One rollup's windows: the newest of each tag in an array of its own, as with the one-second ones.
struct Book {
    spec: RollupSpec,
    /// By tag.
    ring_of: Vec<u32>,
    /// By tag: its ring, where samples come here and not by way of another book.
    direct_of: Vec<u32>,
    directs: usize,
    open: Vec<NamedWindow>,
    rings: Vec<Ring>,
    /// By ring: the book whose windows it is made of (R5).
    fed_by: Vec<Option<NonZeroU32>>,
}

/// The windows of all rollups of a shard.
#[derive(Default)]
pub struct Named {
    books: Vec<Book>,
    /// By tag: whether its rollups were looked for.
    known: Vec<bool>,
    /// By tag: whether it has any.
    has_any: Vec<bool>,
    rings: usize,
    /// Bytes that the rings' windows take.
    window_bytes: isize,
    late_dropped: u64,
    /// Samples of a run that do not belong to the newest window: book and tag. Its memory is used again.
    elsewhere: Vec<(usize, u32, Point)>,
}

impl Named {
    /// The rollups that there are, in place of those before. Tags must be [declared](Self::declare)
    /// again.
    pub fn configure(&mut self, specs: Vec<RollupSpec>) {
        let mut books: Vec<Book> = specs.into_iter().filter(|spec| !spec.is_basic()).map(Book::new).collect();
        // the widest first: a query takes the first that fits, which has the fewest windows; and whoever feeds a
        // book stands behind it
        books.sort_by_key(|book| std::cmp::Reverse(book.spec.every_ns));
        *self = Named { books, ..Named::default() };
    }

    /// Finds the rollups of a tag. A tag that is known is not looked at again: its path stays. Where
    /// samples may have come before, they came before `since`.
    pub fn declare(&mut self, tag: u32, path: &str, since: Option<TimestampNs>) {
        let at = tag as usize;
        if self.books.is_empty() || self.known.get(at).is_some_and(|known| *known) {
            return;
        }
        if self.known.len() <= at {
            self.known.resize(at + 1, false);
            self.has_any.resize(at + 1, false);
        }
        let mut any = false;
        for book in self.books.iter_mut().filter(|book| book.spec.glob.matches(path)) {
            if (self.rings + 1) * NAMED_DEPTH_MIN > NAMED_WINDOWS_MAX {
                tracing::warn!(path, rollup = book.spec.name, "no room for its windows; queries will read the log");
                continue;
            }
            self.rings += 1;
            any = true;
            book.give_ring(at, since);
        }
        self.known[at] = true;
        self.has_any[at] = any;
        (0..self.books.len()).for_each(|book| self.find_feeder(book, tag));
    }

    /// Finds the widest book that can feed another with a tag's windows.
    fn find_feeder(&mut self, at: usize, tag: u32) {
        let (wider, narrower) = self.books.split_at_mut(at + 1);
        let book = &mut wider[at];
        let Some(ring) = book.ring_of(tag) else { return };
        let every_ns = book.spec.every_ns;
        let feeds = |other: &Book| {
            other.spec.every_ns < every_ns && every_ns % other.spec.every_ns == 0 && other.ring_of(tag).is_some()
        };
        let feeder = narrower.iter().position(feeds).and_then(|behind| NonZeroU32::new((at + 1 + behind) as u32));
        book.fed_by[ring] = feeder;
        if feeder.is_none() {
            let tags = book.direct_of.len().max(tag as usize + 1);
            book.direct_of.resize(tags, NO_RING);
            book.direct_of[tag as usize] = ring as u32;
            book.directs += 1;
        }
    }

    /// Whether no tag has a rollup.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rings == 0
    }

    /// Whether any tag of a run has a rollup.
    #[must_use]
    #[inline]
    pub fn touches(&self, first: u32, count: usize) -> bool {
        let from = (first as usize).min(self.has_any.len());
        let to = (first as usize + count).min(self.has_any.len());
        self.has_any[from..to].contains(&true)
    }

    /// Whether a tag has a rollup.
    #[must_use]
    #[inline]
    pub fn has(&self, tag: u32) -> bool {
        self.has_any.get(tag as usize).copied().unwrap_or(false)
    }

    /// Takes in the samples of consecutive tags at one time that arrived at another.
    pub fn add_run(
        &mut self,
        first: u32,
        time: TimestampNs,
        received: TimestampNs,
        points: impl Iterator<Item = Point> + Clone,
    ) {
        let mut elsewhere = std::mem::take(&mut self.elsewhere);
        for (at, book) in self.books.iter_mut().enumerate().filter(|(_, book)| book.directs > 0) {
            let start = time.window_start(book.spec.every_ns);
            let rings = book.direct_of.get(first as usize..).unwrap_or_default();
            for (behind, (ring, point)) in rings.iter().zip(points.clone()).enumerate() {
                let Some(open) = book.open.get_mut(*ring as usize) else { continue };
                if open.start == start {
                    open.add(point);
                } else {
                    elsewhere.push((at, first + behind as u32, point));
                }
            }
        }
        elsewhere.drain(..).for_each(|(at, tag, point)| self.add_elsewhere(at, tag, point, received));
        self.elsewhere = elsewhere;
    }

    /// A sample that does not belong to the newest window of a book.
    #[cold]
    fn add_elsewhere(&mut self, at: usize, tag: u32, point: Point, received: TimestampNs) {
        let book = &self.books[at];
        let Some(ring) = book.ring_of(tag) else { return };
        let start = point.time.window_start(book.spec.every_ns);
        if start > book.open[ring].start {
            self.advance(at, tag, point.time);
            let open = &mut self.books[at].open[ring];
            if open.start == start {
                open.add(point);
            }
        } else {
            self.add_before(at, tag, point, received);
        }
    }

    /// A sample that is older than the newest window of a book, or than that of the book that feeds it.
    fn add_before(&mut self, at: usize, tag: u32, point: Point, received: TimestampNs) {
        let depth = self.depth();
        let book = &mut self.books[at];
        let Some(ring) = book.ring_of(tag) else { return };
        let start = point.time.window_start(book.spec.every_ns);
        let (ring, open) = (&mut book.rings[ring], &mut book.open[ring]);
        if start == open.start {
            open.add(point); // its feeder has passed it; those that this book feeds get it with the window
            return;
        }
        if start > open.start {
            ring.is_before_lost = true; // it has no window yet, because samples that are not known may be in it
        } else {
            let is_late = received > start.plus_ns(book.spec.every_ns).plus_ns(book.spec.late_ns);
            self.window_bytes -= ring.window_bytes();
            self.late_dropped += u64::from(ring.add_before(start, point, is_late));
            ring.shorten(depth, book.spec.every_ns);
            self.window_bytes += ring.window_bytes();
        }
        for fed in (0..at).rev() {
            if self.feeds(at, fed, tag) {
                self.add_before(fed, tag, point, received);
            }
        }
    }

    /// A tag's newest window of a book is over: the one of this time begins, here and where it is fed.
    fn advance(&mut self, at: usize, tag: u32, time: TimestampNs) {
        let depth = self.depth();
        let Some(ring) = self.books[at].ring_of(tag) else { return };
        let over = self.books[at].open[ring];
        for fed in (0..at).rev() {
            if !self.feeds(at, fed, tag) {
                continue;
            }
            let book = &mut self.books[fed];
            let Some(open) = book.ring_of(tag).and_then(|ring| book.open.get_mut(ring)) else { continue };
            if over.start != NONE && open.start == over.start.window_start(book.spec.every_ns) {
                open.take_in(&over);
            }
            if time.window_start(book.spec.every_ns) > open.start {
                self.advance(fed, tag, time);
            }
        }
        let book = &mut self.books[at];
        let (every_ns, ring, open) = (book.spec.every_ns, &mut book.rings[ring], &mut book.open[ring]);
        self.window_bytes -= ring.window_bytes();
        ring.begin(open, time.window_start(every_ns));
        ring.shorten(depth, every_ns);
        self.window_bytes += ring.window_bytes();
    }

    /// Whether a book's windows of a tag are made of another's.
    fn feeds(&self, at: usize, fed: usize, tag: u32) -> bool {
        let book = &self.books[fed];
        book.ring_of(tag).and_then(|ring| book.fed_by[ring]).is_some_and(|feeder| feeder.get() as usize == at)
    }

    /// Windows of one rollup of one tag.
    fn depth(&self) -> usize {
        (NAMED_WINDOWS_MAX / self.rings.max(1)).clamp(NAMED_DEPTH_MIN, NAMED_DEPTH_MAX)
    }

    /// The windows of a book and tag: those before, and the newest as it is now.
    fn ring(&self, at: usize, tag: u32) -> Option<(&Ring, NamedWindow)> {
        let book = &self.books[at];
        let ring = book.ring_of(tag)?;
        let mut open = book.open[ring];
        if let Some((_, newest)) = book.fed_by[ring].and_then(|feeder| self.ring(feeder.get() as usize, tag))
            && newest.start != NONE
            && newest.start.window_start(book.spec.every_ns) == open.start
        {
            open.take_in(&newest);
        }
        Some((&book.rings[ring], open))
    }

    /// Bytes of memory that these windows take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let book = |book: &Book| {
            let tags = (book.ring_of.capacity() + book.direct_of.capacity()) * size_of::<u32>();
            let windows = book.open.capacity() * size_of::<NamedWindow>() + book.rings.capacity() * size_of::<Ring>();
            tags + windows + book.fed_by.capacity() * size_of::<Option<NonZeroU32>>()
        };
        let lists = self.known.capacity() + self.has_any.capacity() + self.books.iter().map(book).sum::<usize>();
        lists + usize::try_from(self.window_bytes).unwrap_or(0)
    }

    /// Samples that came later than their rollup waits for; counted once for each rollup. They are
    /// in the log.
    #[must_use]
    pub const fn late_dropped(&self) -> u64 {
        self.late_dropped
    }

    /// The windows of one rollup of a tag that are in memory, oldest first.
    pub fn windows(&self, rollup: &str, tag: u32) -> impl Iterator<Item = NamedWindow> {
        let book = self.books.iter().position(|book| book.spec.name == rollup);
        book.and_then(|book| self.ring(book, tag)).into_iter().flat_map(|(ring, open)| ring.and(open))
    }

    /// Hands over the windows of a tag that make up `[from, to)`, and answers what was before. They
    /// are of a width that divides `every_ns`, where rows of that width are wanted.
    ///
    /// `None`: memory cannot tell, and what was handed over is to be forgotten; the log can.
    pub fn read(
        &self,
        tag: u32,
        (from, to): (TimestampNs, TimestampNs),
        every_ns: Option<i64>,
        on: &mut dyn FnMut(&NamedWindow),
    ) -> Option<Before> {
        let fits = |book: &Book| every_ns.is_none_or(|every_ns| every_ns % book.spec.every_ns == 0);
        let found = self.books.iter().enumerate().filter(|(_, book)| fits(book)).find_map(|(at, book)| {
            let (ring, open) = self.ring(at, tag)?;
            let before = ring.covers(open, from, to, book.spec.every_ns)?;
            Some((ring, open, before, from.window_start(book.spec.every_ns)))
        });
        let (ring, open, before, first) = found?;
        ring.within(open, first, to).for_each(|window| on(&window));
        Some(before)
    }
}

impl Book {
    fn new(spec: RollupSpec) -> Book {
        Book {
            spec,
            ring_of: Vec::new(),
            direct_of: Vec::new(),
            directs: 0,
            open: Vec::new(),
            rings: Vec::new(),
            fed_by: Vec::new(),
        }
    }

    fn give_ring(&mut self, tag: usize, since: Option<TimestampNs>) {
        if self.ring_of.len() <= tag {
            self.ring_of.resize(tag + 1, NO_RING);
        }
        self.ring_of[tag] = self.open.len() as u32;
        self.open.push(NamedWindow::new(NONE));
        let complete_from = since.map(|since| since.window_start(self.spec.every_ns).plus_ns(self.spec.every_ns));
        self.fed_by.push(None);
        self.rings.push(Ring { complete_from, is_before_lost: since.is_some(), ..Ring::default() });
    }

    fn ring_of(&self, tag: u32) -> Option<usize> {
        self.ring_of.get(tag as usize).map(|ring| *ring as usize).filter(|ring| *ring < self.rings.len())
    }
}

impl Ring {
    fn window_bytes(&self) -> isize {
        (self.windows.capacity() * size_of::<NamedWindow>()) as isize
    }

    /// The newest window is over, and the one with this start, which is behind it, begins; unless there may have
    /// been samples in it that are not known.
    fn begin(&mut self, open: &mut NamedWindow, start: TimestampNs) {
        if self.complete_from.is_some_and(|from| start < from) {
            self.is_before_lost = true;
            return;
        }
        if open.start != NONE {
            self.windows.push_back(*open);
        }
        *open = NamedWindow::new(start);
    }

    /// A sample of a window before the newest. Answers whether it came too late.
    fn add_before(&mut self, start: TimestampNs, point: Point, is_late: bool) -> bool {
        if self.complete_from.is_some_and(|from| start < from) {
            // beyond memory: the log has it, and it may be newer than what is known to be before
            self.is_before_lost = true;
            return is_late;
        }
        let window = self.window(start);
        if is_late {
            window.is_whole = false;
        } else {
            window.add(point);
            window.revision = window.revision.saturating_add(1);
        }
        is_late
    }

    /// The window with this start, made where there is none.
    fn window(&mut self, start: TimestampNs) -> &mut NamedWindow {
        let at = self.windows.partition_point(|window| window.start < start);
        if self.windows.get(at).is_none_or(|window| window.start != start) {
            self.windows.insert(at, NamedWindow::new(start));
        }
        &mut self.windows[at]
    }

    /// Lets the oldest windows go until there are fewer than `depth`.
    fn shorten(&mut self, depth: usize, every_ns: i64) {
        while self.windows.len() >= depth {
            let Some(gone) = self.windows.pop_front() else { return };
            gone.stretch.leave_to(&mut self.before);
            let tells_all = gone.is_whole && gone.stretch.has_number();
            self.is_before_lost = !gone.is_whole || (self.is_before_lost && !tells_all);
            self.complete_from = Some(gone.start.plus_ns(every_ns));
        }
    }

    /// All windows, oldest first.
    fn and(&self, open: NamedWindow) -> impl DoubleEndedIterator<Item = NamedWindow> {
        self.windows.iter().copied().chain(Some(open).filter(|open| open.start != NONE))
    }

    /// Those that start in `[first, to)`.
    fn within(&self, open: NamedWindow, first: TimestampNs, to: TimestampNs) -> impl Iterator<Item = NamedWindow> {
        let at = self.windows.partition_point(|window| window.start < first);
        let open = Some(open).filter(|open| open.start != NONE && open.start >= first);
        self.windows.range(at..).copied().chain(open).take_while(move |window| window.start < to)
    }

    /// What was before `[from, to)`, if memory has all of that range and no window reaches beyond it.
    fn covers(&self, open: NamedWindow, from: TimestampNs, to: TimestampNs, every_ns: i64) -> Option<Before> {
        let first = from.window_start(every_ns);
        if self.complete_from.is_some_and(|complete| complete > first) {
            return None;
        }
        let inside = |window: NamedWindow| {
            let (begin, end) = (window.stretch.begin(), window.stretch.end());
            window.is_whole && begin.is_none_or(|begin| begin >= from) && end.is_none_or(|end| end < to)
        };
        if !self.within(open, first, to).all(inside) {
            return None;
        }
        let mut before = Before::default();
        for window in self.and(open).rev().skip_while(|window| window.start >= first) {
            if !window.is_whole {
                return None;
            }
            window.stretch.leave_to(&mut before);
            if before.base.is_some() {
                return Some(before);
            }
        }
        (!self.is_before_lost).then(|| before.newest(&self.before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = WIDTH_NS;

    fn minute(aggregates: &[Aggregate], late_s: i64) -> RollupSpec {
        let aggregates = aggregates.to_vec();
        RollupSpec { name: "minute".into(), glob: Glob::new("a/**"), every_ns: 60 * S, aggregates, late_ns: late_s * S }
    }

    fn add(named: &mut Named, tag: u32, time: i64, received: i64, number: f64) {
        let (time, received) = (TimestampNs(time * S), TimestampNs(received * S));
        named.add_run(tag, time, received, std::iter::once(Point { time, number, usable: true }));
    }

    fn one(late_s: i64) -> Named {
        let mut named = Named::default();
        named.configure(vec![minute(&[Aggregate::Delta], late_s)]);
        named.declare(3, "a/x", None);
        named
    }

    #[test]
    fn tags_get_their_rollups_by_their_path_once() {
        let mut named = one(10);
        named.declare(4, "b/x", None);
        named.declare(3, "b/other", None);
        assert!(named.touches(0, 4) && !named.touches(4, 10) && !named.touches(0, 3));
        assert_eq!(named.rings, 1);
        add(&mut named, 4, 1, 1, 5.0);
        assert_eq!((named.windows("minute", 3).count(), named.windows("minute", 4).count()), (0, 0));
    }

    #[test]
    fn what_the_one_second_windows_have_is_not_kept_twice() {
        let mut named = Named::default();
        let second = |aggregates| RollupSpec { every_ns: S, ..minute(aggregates, 10) };
        named.configure(vec![second(&[Aggregate::Count, Aggregate::Average, Aggregate::Last])]);
        assert_eq!(named.books.len(), 0);
        named.configure(vec![second(&[Aggregate::Count, Aggregate::First]), minute(&[Aggregate::Count], 10)]);
        assert_eq!(named.books.iter().map(|book| book.spec.every_ns).collect::<Vec<_>>(), [60 * S, S]);
    }

    #[test]
    fn a_late_sample_raises_the_revision_and_one_that_is_too_late_is_counted() {
        let mut named = one(30);
        add(&mut named, 3, 10, 10, 1.0);
        add(&mut named, 3, 70, 70, 2.0);
        add(&mut named, 3, 50, 90, 3.0);
        let first = named.windows("minute", 3).next().expect("there");
        assert_eq!((first.revision, first.is_whole, first.stretch.count()), (1, true, 2));
        add(&mut named, 3, 20, 90, 4.0);
        let first = named.windows("minute", 3).next().expect("there");
        assert_eq!((first.revision, first.is_whole, first.stretch.count()), (2, false, 3), "older than one it has");
        add(&mut named, 3, 40, 91, 4.0);
        let first = named.windows("minute", 3).next().expect("there");
        assert_eq!((first.revision, first.stretch.count(), named.late_dropped()), (2, 3, 1));
    }

    #[test]
    fn a_dropped_sample_makes_memory_say_that_it_does_not_know() {
        let mut named = one(0);
        add(&mut named, 3, 70, 70, 2.0);
        add(&mut named, 3, 130, 130, 2.0);
        let asks = |named: &Named, from: i64, to: i64| {
            let range = (TimestampNs(from * S), TimestampNs(to * S));
            named.read(3, range, None, &mut |_| ()).is_some()
        };
        assert!(asks(&named, 0, 180));
        add(&mut named, 3, 10, 130, 9.0);
        assert_eq!(named.late_dropped(), 1);
        assert!(!asks(&named, 0, 180) && !asks(&named, 0, 60));
        assert!(!asks(&named, 60, 120), "it is what holds when the next window begins");
        assert!(asks(&named, 120, 180), "what a number in memory parts from it is still known");
    }

    #[test]
    fn memory_is_bounded_and_knows_what_was_before() {
        let mut named = one(0);
        let windows = NAMED_DEPTH_MAX as i64 + 10;
        (0..windows).for_each(|n| add(&mut named, 3, n * 60, n * 60, n as f64));
        assert_eq!(named.windows("minute", 3).count(), NAMED_DEPTH_MAX);
        let (from, to) = (TimestampNs(10 * 60 * S), TimestampNs(windows * 60 * S));
        let before = named.read(3, (from, to), Some(120 * S), &mut |_| ()).expect("complete");
        assert_eq!(before.base.map(|point| point.number), Some(9.0));
        assert_eq!(named.read(3, (from.plus_ns(-1), to), None, &mut |_| ()), None);
        assert_eq!(named.read(3, (from, to), Some(90 * S), &mut |_| ()), None, "90 s are not made of minutes");
        // A sample beyond memory may be newer than what is known to be before.
        add(&mut named, 3, 9 * 60 + 30, windows * 60, 5.0);
        assert_eq!(named.read(3, (from, to), None, &mut |_| ()), None);
        add(&mut named, 3, windows * 60, windows * 60, 5.0);
        let from = from.plus_ns(60 * S);
        let before = named.read(3, (from, to), None, &mut |_| ()).expect("the window that went tells it again");
        assert_eq!(before.base.map(|point| point.number), Some(10.0));
    }

    /// R5: rollups that feed each other say what each says alone, with samples that come late, twice, bad, or
    /// from before what is known; what is whole alone is whole then, too.
    #[test]
    fn rollups_that_are_fed_say_what_they_say_alone() {
        let widths = [1, 2, 3, 6, 60, 90];
        let spec = |width: i64| RollupSpec {
            name: format!("{width}"),
            every_ns: width * S,
            ..minute(&[Aggregate::Delta], width % 7)
        };
        let mut late = 0;
        for seed in 0..60_u64 {
            let since = (seed % 3 == 0).then_some(TimestampNs(10 * S));
            let of = |specs: Vec<RollupSpec>| {
                let mut named = Named::default();
                named.configure(specs);
                (0..3).for_each(|tag| named.declare(tag, "a/x", since));
                named
            };
            let mut all = of(widths.map(spec).to_vec());
            let mut alone: Vec<Named> = widths.iter().map(|width| of(vec![spec(*width)])).collect();
            let mut random = seed;
            let mut next = |below: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % below
            };
            let mut now = 0;
            for _ in 0..400 {
                now += next(3) as i64 * S / 2;
                let back = if next(10) == 0 { next(40) as i64 * S / 2 } else { 0 };
                let (time, received) = (TimestampNs((now - back).max(0)), TimestampNs(now));
                let number = if next(20) == 0 { f64::NAN } else { next(100) as f64 };
                let point = Point { time, number, usable: next(12) > 0 };
                let (first, count) = (next(3) as u32, 1 + next(3) as usize);
                for named in alone.iter_mut().chain([&mut all]) {
                    named.add_run(first, time, received, std::iter::repeat_n(point, count));
                }
            }
            for (width, alone) in widths.iter().zip(&alone) {
                for tag in 0..3 {
                    let of = |named: &Named| named.windows(&width.to_string(), tag).collect::<Vec<_>>();
                    let (fed, alone) = (of(&all), of(alone));
                    assert_eq!(fed.len(), alone.len());
                    for (fed, alone) in fed.iter().zip(&alone) {
                        assert_eq!((fed.start, fed.revision), (alone.start, alone.revision), "{width} s, seed {seed}");
                        assert!(fed.is_whole || !alone.is_whole, "{width} s, seed {seed}");
                        if alone.is_whole {
                            let end = alone.start.plus_ns(width * S);
                            let said =
                                |window: &NamedWindow| window.stretch.finish(window.start, end, &Before::default());
                            assert_eq!(said(fed), said(alone), "{width} s, seed {seed}");
                        }
                    }
                }
            }
            assert_eq!(all.late_dropped(), alone.iter().map(Named::late_dropped).sum::<u64>());
            late += all.late_dropped();
            let asks = |named: &Named, from: i64, to: i64| {
                named.read(1, (TimestampNs(from * S), TimestampNs(to * S)), Some(60 * S), &mut |_| ()).is_some()
            };
            for (from, to) in [(0, 60), (0, 180), (60, 120), (60, 600)] {
                let any_alone = alone.iter().any(|alone| asks(alone, from, to));
                assert!(asks(&all, from, to) || !any_alone, "{from} to {to}, seed {seed}");
            }
        }
        assert!(late > 0, "nothing came too late");
    }
}
