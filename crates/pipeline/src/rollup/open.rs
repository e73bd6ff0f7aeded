//! The open one-second window of every tag, laid out for scans.
//!
//! A scan brings one time for a run of tags, so tags that follow each other nearly always agree in
//! how many values their windows hold and in the time of the last. A block keeps that once while all
//! of its tags agree, and a scan then touches 32 bytes a tag in place of 56. A value that comes for
//! one tag alone ends the agreement until the next window, and only blocks in which that happens have
//! room for a tally of each tag. Where a window begins follows from the time of its last value.
//!
//! Invariant: while a block's tags agree, `agreed` is the tally of each, and `own` means nothing;
//! while they do not, `own` is there.

use super::{WIDTH_NS, Window};
use crate::pages::Pages;
use model::TimestampNs;

/// Tags of a block.
pub(super) const LANES: usize = 16;

/// So many blocks before a scan comes to one, its memory is asked for.
const AHEAD_BLOCKS: usize = 8;

/// So many tags' windows stay in a core's caches from scan to scan.
const CACHED_TAGS: usize = 1 << 16;

/// What a window is besides its numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    count: u64,
    last_time: TimestampNs,
}

impl Tally {
    /// No window is open.
    const NONE: Tally = Tally { count: 0, last_time: TimestampNs(i64::MIN) };

    /// A window with one value.
    pub(super) const fn first(time: TimestampNs) -> Tally {
        Tally { count: 1, last_time: time }
    }

    /// Where the window begins. Means nothing where none is open.
    pub(super) const fn start(self) -> TimestampNs {
        self.last_time.window_start(WIDTH_NS)
    }

    /// Whether the window is the one that begins there.
    #[inline]
    const fn is_of(self, start: TimestampNs) -> bool {
        // one comparison: what lies before the start, as all that is no time does, becomes too large
        (self.last_time.0.wrapping_sub(start.0) as u64) < WIDTH_NS as u64
    }

    /// Takes in a value of this window; answers whether it is the newest.
    #[inline]
    fn add(&mut self, time: TimestampNs) -> bool {
        let is_newest = time >= self.last_time;
        self.count += 1;
        self.last_time = if is_newest { time } else { self.last_time };
        is_newest
    }
}

/// The numbers of a window.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Numbers {
    // not beside `max`: the compiler would make one comparison of two, with twice the instructions
    min: f64,
    sum: f64,
    max: f64,
    last: f64,
}

impl Numbers {
    pub(super) const EMPTY: Numbers = Numbers { min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0, last: f64::NAN };

    /// As [`Window::add`].
    #[inline]
    fn add(&mut self, value: f64, is_newest: bool) {
        self.min = if value < self.min { value } else { self.min };
        self.max = if value > self.max { value } else { self.max };
        self.sum += value;
        self.last = if is_newest { value } else { self.last };
    }

    /// The window of these numbers.
    pub(super) const fn window(self, tally: Tally) -> Window {
        let (Tally { count, last_time }, Numbers { min, max, sum, last }) = (tally, self);
        Window { start: tally.start(), count, min, max, sum, last, last_time }
    }
}

/// The tallies of a block whose tags do not agree.
#[repr(align(64))]
struct Own([Tally; LANES]);

/// The open windows of consecutive tags. No tag's numbers lie on two cache lines, nor does what is
/// behind them.
#[repr(C, align(32))]
struct Block {
    numbers: [Numbers; LANES],
    agreed: Option<Tally>,
    own: Option<Box<Own>>,
}

const _: () = assert!(size_of::<Block>() == 34 * LANES && size_of::<Own>() == 16 * LANES);

impl Block {
    const EMPTY: Block = Block { numbers: [Numbers::EMPTY; LANES], agreed: Some(Tally::NONE), own: None };

    fn tally(&self, lane: usize) -> Tally {
        self.agreed.unwrap_or_else(|| self.own.as_ref().map_or(Tally::NONE, |own| own.0[lane]))
    }

    fn window(&self, lane: usize) -> Option<Window> {
        let tally = self.tally(lane);
        (tally != Tally::NONE).then(|| self.numbers[lane].window(tally))
    }

    /// Whether every tag's window begins before a time that a window begins at.
    fn is_before(&self, start: TimestampNs) -> bool {
        match self.agreed {
            Some(tally) => tally.last_time < start,
            None => (0..LANES).all(|lane| self.tally(lane).last_time < start),
        }
    }

    /// Takes in a value of a tag, where the block's tags do not agree and it belongs into the tag's
    /// open window; answers whether that is so.
    #[inline(always)]
    fn add_apart(&mut self, lane: usize, start: TimestampNs, time: TimestampNs, value: f64) -> bool {
        if let (None, Some(own)) = (&self.agreed, &mut self.own) {
            let tally = &mut own.0[lane];
            if tally.is_of(start) {
                self.numbers[lane].add(value, tally.add(time));
                return true;
            }
        }
        false
    }

    /// A tag's own tally and its numbers.
    fn part(&mut self, lane: usize) -> (&mut Tally, &mut Numbers) {
        let own = self.own.get_or_insert_with(|| Box::new(Own([Tally::NONE; LANES])));
        if let Some(agreed) = self.agreed.take() {
            own.0 = [agreed; LANES];
        }
        (&mut own.0[lane], &mut self.numbers[lane])
    }

    /// The agreed tally, where a value of this time is the newest of every tag in this window.
    fn agreed_at(&mut self, start: TimestampNs, time: TimestampNs) -> Option<&mut Tally> {
        self.agreed.as_mut().filter(|tally| tally.is_of(start) && tally.last_time <= time)
    }
}

/// What became of a value.
pub(super) enum Added {
    /// It is in the open window.
    Here,
    /// The open window begins later: it belongs into an older one.
    Older,
    /// It opened a window; this one was open before.
    Opened(Option<Window>),
}

/// What was open and is no more.
pub(super) enum Closed<'b> {
    /// The window of one tag of a block.
    Lane(usize, Window),
    /// Those of all of them.
    Block(Tally, &'b [Numbers; LANES]),
}

/// The open windows, by tag number.
#[derive(Default)]
pub(super) struct Open {
    /// Pages of 1024 tags.
    blocks: Pages<Block, 64>,
    tags: usize,
    /// Blocks that have a tally of each tag.
    apart: usize,
}

impl Open {
    /// Tags that there is room for.
    pub(super) fn tags(&self) -> usize {
        self.tags
    }

    pub(super) fn make_room(&mut self, tags: usize) {
        self.tags = self.tags.max(tags);
        self.blocks.grow(self.tags.div_ceil(LANES), || Block::EMPTY);
    }

    /// Bytes of memory that these take.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.bytes() + self.apart * size_of::<Own>()
    }

    /// The open window of a tag.
    pub(super) fn window(&self, tag: usize) -> Option<Window> {
        self.blocks.get(tag / LANES)?.window(tag % LANES)
    }

    /// Takes in one value of a window that begins at `start`, where that is simple: what most values
    /// meet that come alone. Answers whether it was.
    #[inline(always)]
    pub(super) fn add_here(&mut self, tag: usize, start: TimestampNs, time: TimestampNs, value: f64) -> bool {
        self.blocks.get_mut(tag / LANES).is_some_and(|block| block.add_apart(tag % LANES, start, time, value))
    }

    /// Takes in one value of a window that begins at `start`.
    pub(super) fn add(&mut self, tag: usize, start: TimestampNs, time: TimestampNs, value: f64) -> Added {
        let (Some(block), lane) = (self.blocks.get_mut(tag / LANES), tag % LANES) else { return Added::Here };
        self.apart += usize::from(block.own.is_none());
        let (tally, numbers) = block.part(lane);
        if tally.is_of(start) {
            numbers.add(value, tally.add(time));
            return Added::Here;
        }
        if tally.last_time > start {
            return Added::Older;
        }
        let closed = (*tally != Tally::NONE).then(|| numbers.window(*tally));
        (*tally, *numbers) = (Tally::first(time), Numbers::EMPTY);
        numbers.add(value, true);
        Added::Opened(closed)
    }

    /// Takes in the values of the tags from `first` on as far as a block's tags agree or can begin
    /// to; answers how many were taken. What was open before goes to `on_closed`, with its block.
    #[inline]
    pub(super) fn add_blocks(
        &mut self,
        first: usize,
        count: usize,
        (start, time): (TimestampNs, TimestampNs),
        value: impl Fn(usize) -> f64,
        mut on_closed: impl FnMut(usize, Closed<'_>),
    ) -> usize {
        if !first.is_multiple_of(LANES) {
            return 0;
        }
        let (mut taken, fetches) = (0, self.tags > CACHED_TAGS);
        while count - taken >= LANES {
            let at = (first + taken) / LANES;
            if fetches && let Some(ahead) = self.blocks.get(at + AHEAD_BLOCKS) {
                ring::fetch(ahead);
            }
            let Some(block) = self.blocks.get_mut(at) else { return taken };
            if let Some(tally) = block.agreed_at(start, time) {
                tally.add(time);
            } else if block.is_before(start) {
                match block.agreed {
                    Some(Tally::NONE) => {}
                    Some(tally) => on_closed(at, Closed::Block(tally, &block.numbers)),
                    None => (0..LANES)
                        .filter_map(|lane| Some(Closed::Lane(lane, block.window(lane)?)))
                        .for_each(|closed| on_closed(at, closed)),
                }
                block.agreed = Some(Tally::first(time));
                block.numbers = [Numbers::EMPTY; LANES];
            } else {
                return taken;
            }
            for (lane, numbers) in block.numbers.iter_mut().enumerate() {
                numbers.add(value(taken + lane), true);
            }
            taken += LANES;
        }
        taken
    }

    /// The tags from this one to the end of its block.
    pub(super) fn rest_of_block(tag: usize) -> usize {
        LANES - tag % LANES
    }
}
