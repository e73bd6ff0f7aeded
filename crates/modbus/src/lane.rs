//! One unit's tags of one cycle time: the cycle under way, and what is known of each request.
//!
//! Purpose: begin a cycle, take each request's answer or failure, end the cycle; turn answers
//! into readings and failures into bad readings (once) and gaps.
//!
//! Invariants
//! - A1: at most one cycle is under way; each of its requests ends answered or failed.
//! - A2: a tag is told to be bad once for each reason, and every missed poll is counted in a gap.
//! - A3: readings wait no longer than [`HOLD_NS`] for the rest of their cycle.
//! - A4: an answer is booked when it comes, and decoded by [`Lane::publish`], when the next requests are
//!   on their way; whatever else is said of the lane's tags is said after it (B1).
//!
//! It does not choose when to send, and knows nothing of other units: see [`crate::poller`].

use crate::array::Array;
use crate::counters::Counter;
use crate::exception::Failure;
use crate::gaps::{GapRun, LOOK_EVERY_NS, Moment, Span, tag_runs};
use crate::harvest::Harvest;
use crate::layout::Group;
use crate::outlet::{Out, Tags, UNTOLD};
use crate::plan::{Block, blocks, split};
use crate::schedule::Timing;
use model::{Quality, TagId, TimestampNs};
use std::collections::VecDeque;

/// Longest time that a reading waits for others of its cycle, in nanoseconds: 10 ms.
pub const HOLD_NS: u64 = 10_000_000;
/// Values that are submitted though their cycle goes on: enough that a frame's own cost does not count, and
/// few enough that they lie in the core's cache, and that the device does not wait for them.
const VALUES_MAX: usize = 1024;
/// Most readings of tags that are told to be bad at once; a frame of them stays far below `FRAME_BYTES_MAX`.
const TOLD_MAX: usize = 4096;
/// First and longest wait before a lastingly refused request is tried again: 10 s, 5 min.
const HELD_NS: (u64, u64) = (10_000_000_000, 300_000_000_000);
/// First and longest wait before split requests are joined again for a try: 10 min, 6 h.
const REJOIN_NS: (u64, u64) = (600_000_000_000, 21_600_000_000_000);

/// One request, and what is known of it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) block: Block,
    array: Option<Array>,
    pub(crate) failure: Option<Failure>,
    held_until_ns: u64,
    held_ns: u64,
    timeouts: u8,
    retries: u8,
    failed_now: bool,
    gap: GapRun,
}

impl Request {
    fn new(block: Block, group: &Group, tags: &Tags) -> Request {
        Request {
            block,
            array: Array::of(&block, &group.plan.points, tags),
            failure: None,
            held_until_ns: 0,
            held_ns: HELD_NS.0,
            timeouts: 0,
            retries: 0,
            failed_now: false,
            gap: GapRun::default(),
        }
    }

    fn hold(&mut self, now_ns: u64) {
        self.held_until_ns = now_ns.saturating_add(self.held_ns);
        self.held_ns = self.held_ns.saturating_mul(2).min(HELD_NS.1);
    }

    fn runs(&self, group: &Group, tags: &Tags) -> Vec<(TagId, u32)> {
        let points = self.block.points(&group.plan.points);
        tag_runs(&mut points.iter().filter_map(|point| tags.ids.get(point.tag as usize).copied()).collect())
    }
}

/// One unit's tags of one cycle time.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) timing: Timing,
    pub(crate) requests: Vec<Request>,
    pub(crate) queue: VecDeque<u32>,
    pub(crate) in_flight: u32,
    pub(crate) active: bool,
    began: TimestampNs,
    answered: u32,
    failed: u32,
    start: usize,
    harvest: Harvest,
    /// The cycle is over, and its readings are to be submitted.
    is_complete: bool,
    runs: Vec<(TagId, u32)>,
    missed: GapRun,
    skipped: GapRun,
    shed: GapRun,
    on_time_in_row: u32,
    /// A cycle was due while the one under way was not over, and begins as soon as that is.
    behind: bool,
    look_at_ns: Option<u64>,
    all_told: Option<Quality>,
    rejoin_at_ns: Option<u64>,
    rejoin_ns: u64,
    /// Points that begin a request since one that went across was refused, sorted.
    cuts: Vec<u32>,
    /// The group was planned anew.
    replanned: bool,
}

impl Lane {
    pub(crate) fn new(group: &Group, tags: &Tags, timing: Timing) -> Lane {
        let points = &group.plan.points;
        let mut ids = points.iter().filter_map(|point| tags.ids.get(point.tag as usize).copied()).collect();
        Lane {
            timing,
            requests: group.plan.blocks.iter().map(|block| Request::new(*block, group, tags)).collect(),
            queue: VecDeque::new(),
            in_flight: 0,
            active: false,
            began: TimestampNs(0),
            answered: 0,
            failed: 0,
            start: 0,
            harvest: Harvest::default(),
            is_complete: false,
            runs: tag_runs(&mut ids),
            missed: GapRun::default(),
            skipped: GapRun::default(),
            shed: GapRun::default(),
            on_time_in_row: 0,
            behind: false,
            look_at_ns: None,
            all_told: None,
            rejoin_at_ns: None,
            rejoin_ns: REJOIN_NS.0,
            cuts: Vec::new(),
            replanned: false,
        }
    }

    /// Begins a cycle; `missed` due times passed unseen before it.
    pub(crate) fn begin(&mut self, missed: u64, group: &Group, tags: &mut Tags, out: &mut Out<'_>) {
        if missed > 0 {
            self.skip(missed, out);
        } else {
            self.on_time_in_row += 1;
            if self.on_time_in_row > 1 {
                out.gap(&self.runs, self.skipped.end(out.now));
            }
        }
        self.rejoin(group, tags, out);
        self.active = true;
        self.began = out.now.wall;
        (self.answered, self.failed) = (0, 0);
        let len = self.requests.len();
        for i in (0..len).map(|i| (self.start + i) % len) {
            let request = &mut self.requests[i];
            request.retries = 0;
            request.failed_now = request.held_until_ns > out.now.mono_ns;
            if request.failed_now {
                self.failed += 1;
            } else {
                self.queue.push_back(i as u32);
            }
        }
        self.end_if_done(group, tags, out);
        if !self.active {
            self.publish(group, tags, out);
        }
    }

    /// Joins what was split, now and then, to see whether the device takes it now; follows a new plan,
    /// but for what was split.
    fn rejoin(&mut self, group: &Group, tags: &Tags, out: &mut Out<'_>) {
        if self.rejoin_at_ns.is_some_and(|at| at <= out.now.mono_ns) {
            self.rejoin_at_ns = None;
            self.cuts.clear();
        } else if !self.replanned {
            return;
        }
        self.replanned = false;
        for request in &mut self.requests {
            if request.gap.is_open() {
                out.gap(&request.runs(group, tags), request.gap.end(out.now));
            }
        }
        let blocks = blocks(&group.plan.points, &group.limits, &self.cuts);
        self.requests = blocks.into_iter().map(|block| Request::new(block, group, tags)).collect();
        self.start = 0;
    }

    /// The group was planned anew: the next cycle follows it.
    pub(crate) const fn replan(&mut self) {
        self.replanned = true;
    }

    /// Counts due polls that were skipped because the one before was still under way, but for one that
    /// can begin late, right after it.
    pub(crate) fn skip(&mut self, missed: u64, out: &mut Out<'_>) {
        let is_late = self.active && missed > 0 && !std::mem::replace(&mut self.behind, true);
        let missed = missed - u64::from(is_late);
        if missed == 0 {
            return;
        }
        self.on_time_in_row = 0;
        out.counters.add(Counter::CyclesSkipped, missed);
        let from = self.missed_from(missed, out.now);
        let span = self.skipped.miss(out.now, from, model::GapReason::CycleSkipped, missed);
        out.gap(&self.runs, span);
        self.look(out.now);
    }

    /// Counts due polls that were not made because of `failure`, and tells the tags.
    pub(crate) fn miss(&mut self, missed: u64, failure: Failure, group: &Group, tags: &mut Tags, out: &mut Out<'_>) {
        let from = self.missed_from(missed, out.now);
        self.miss_from(from, missed, failure, out);
        self.tell_all(failure, group, tags, out);
    }

    fn miss_from(&mut self, from: TimestampNs, missed: u64, failure: Failure, out: &mut Out<'_>) {
        out.counters.add(Counter::PollsFailed, missed);
        let span = self.missed.miss(out.now, from, failure.gap(), missed);
        out.gap(&self.runs, span);
        self.look(out.now);
    }

    fn missed_from(&self, missed: u64, now: Moment) -> TimestampNs {
        let before_ns = self.timing.every_ns().saturating_mul(missed.saturating_sub(1));
        now.wall.plus_ns(-i64::try_from(before_ns).unwrap_or(i64::MAX))
    }

    fn look(&mut self, now: Moment) {
        self.look_at_ns.get_or_insert(now.mono_ns.saturating_add(LOOK_EVERY_NS));
    }

    /// A request's data; [`Lane::publish`] makes readings of it.
    pub(crate) fn on_data(&mut self, at: u32, data: &[u8], group: &Group, tags: &Tags, out: &mut Out<'_>) -> bool {
        let Some(request) = self.requests.get_mut(at as usize) else { return false };
        debug_assert!(!self.is_complete, "the readings of the cycle before were submitted");
        let mended = request.failure.take().is_some();
        (request.timeouts, request.held_ns) = (0, HELD_NS.0);
        let (block, array) = (request.block, request.array);
        self.answered += 1;
        self.all_told = None;
        self.harvest.note(out.now);
        self.harvest.push(block, array, data);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.end_if_done(group, tags, out);
        mended
    }

    /// Makes values of the answers that came, and submits them where they are enough or complete.
    pub(crate) fn publish(&mut self, group: &Group, tags: &mut Tags, out: &mut Out<'_>) {
        self.harvest.decode(&group.plan.points, tags, out.text);
        if self.is_complete || self.harvest.len() >= VALUES_MAX {
            self.flush(group, tags, out);
        }
    }

    /// A request failed. True where that was not known.
    pub(crate) fn on_failure(
        &mut self,
        at: u32,
        failure: Failure,
        group: &Group,
        tags: &mut Tags,
        out: &mut Out<'_>,
    ) -> bool {
        let news = self.fail(at, failure, group, tags, out);
        if failure.is_lasting()
            && let Some(request) = self.requests.get_mut(at as usize)
        {
            request.hold(out.now.mono_ns);
        }
        self.land(group, tags, out);
        news
    }

    /// A request was not answered: the rest of the cycle is given up, and the next one begins
    /// after it, so that a request that a device always ignores does not shadow the others. One
    /// that is ignored more than `hold_after` times in a row is held.
    pub(crate) fn on_timeout(
        &mut self,
        at: u32,
        hold_after: u8,
        failure: Failure,
        group: &Group,
        tags: &mut Tags,
        out: &mut Out<'_>,
    ) -> bool {
        self.start = at as usize + 1;
        if let Some(request) = self.requests.get_mut(at as usize) {
            request.timeouts = request.timeouts.saturating_add(1);
            if request.timeouts > hold_after {
                request.hold(out.now.mono_ns);
            }
        }
        let news = self.fail(at, failure, group, tags, out);
        self.abandon(failure, group, tags, out);
        self.land(group, tags, out);
        news
    }

    /// A request under way has failed.
    fn land(&mut self, group: &Group, tags: &mut Tags, out: &mut Out<'_>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.end_if_done(group, tags, out);
        self.publish(group, tags, out);
    }

    /// Sends a request again in this cycle, if it was not sent more than `most` times again.
    pub(crate) fn retry(&mut self, at: u32, most: u8) -> Option<u8> {
        let request = self.requests.get_mut(at as usize).filter(|request| request.retries < most)?;
        request.retries += 1;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.queue.push_front(at);
        Some(request.retries)
    }

    /// Takes a refused request apart and sends both parts in this cycle. False where it cannot be.
    pub(crate) fn split(&mut self, at: u32, group: &Group, tags: &Tags, out: &mut Out<'_>) -> bool {
        let Some(request) = self.requests.get_mut(at as usize) else { return false };
        let Some((head, tail)) = split(&request.block, &group.plan.points) else { return false };
        if request.gap.is_open() {
            out.gap(&request.runs(group, tags), request.gap.end(out.now));
        }
        (request.block, request.array) = (head, Array::of(&head, &group.plan.points, tags));
        if let Err(place) = self.cuts.binary_search(&tail.first) {
            self.cuts.insert(place, tail.first);
        }
        let second = self.requests.len() as u32;
        let mut request = Request::new(tail, group, tags);
        request.failure = self.requests[at as usize].failure;
        self.requests.push(request);
        self.queue.push_front(second);
        self.queue.push_front(at);
        self.in_flight = self.in_flight.saturating_sub(1);
        out.counters.add(Counter::Splits, 1);
        if self.rejoin_at_ns.is_none() {
            self.rejoin_at_ns = Some(out.now.mono_ns.saturating_add(self.rejoin_ns));
            self.rejoin_ns = self.rejoin_ns.saturating_mul(2).min(REJOIN_NS.1);
        }
        true
    }

    /// The unit answers again: what it did not answer before is asked again at once.
    pub(crate) fn forgive(&mut self, now_ns: u64) {
        for request in self.requests.iter_mut().filter(|request| request.timeouts > 0) {
            (request.timeouts, request.held_until_ns, request.held_ns) = (0, 0, HELD_NS.0);
        }
        self.timing.early(now_ns);
    }

    /// Gives up what was not sent of the cycle under way.
    pub(crate) fn abandon(&mut self, failure: Failure, group: &Group, tags: &mut Tags, out: &mut Out<'_>) {
        while let Some(at) = self.queue.pop_front() {
            self.fail(at, failure, group, tags, out);
        }
        self.end_if_done(group, tags, out);
        self.publish(group, tags, out);
    }

    fn fail(&mut self, at: u32, failure: Failure, group: &Group, tags: &mut Tags, out: &mut Out<'_>) -> bool {
        self.harvest.decode(&group.plan.points, tags, out.text);
        self.harvest.note(out.now);
        let Some(request) = self.requests.get_mut(at as usize) else { return false };
        let news = request.failure.replace(failure) != Some(failure);
        request.failed_now = true;
        let block = request.block;
        self.failed += 1;
        for point in block.points(&group.plan.points) {
            self.harvest.read(point.tag, None, failure.quality(), tags);
        }
        news
    }

    /// Tells every tag of the lane that it is bad, each once.
    pub(crate) fn tell_all(&mut self, failure: Failure, group: &Group, tags: &mut Tags, out: &mut Out<'_>) {
        let quality = failure.quality();
        if self.all_told == Some(quality) {
            return;
        }
        self.flush(group, tags, out);
        self.all_told = Some(quality);
        self.harvest.note(out.now);
        for points in group.plan.points.chunks(TOLD_MAX) {
            for point in points {
                self.harvest.read(point.tag, None, quality, tags);
            }
            self.flush(group, tags, out);
        }
    }

    fn end_if_done(&mut self, group: &Group, tags: &Tags, out: &mut Out<'_>) {
        let done = self.queue.is_empty() && self.in_flight == 0;
        if self.active && done {
            (self.active, self.is_complete) = (false, true);
            self.book(group, tags, out);
            // Longer than its time: the next begins at once, not at its next due time; but where something
            // failed, the device and who shares it get their rest.
            if std::mem::take(&mut self.behind) {
                if self.failed == 0 {
                    self.timing.early(out.now.mono_ns);
                } else {
                    self.skip(1, out);
                }
            }
        }
    }

    /// Books the failures of a cycle that ended: one gap for all where nothing was answered, else
    /// one for each request that failed.
    fn book(&mut self, group: &Group, tags: &Tags, out: &mut Out<'_>) {
        let any_open = self.look_at_ns.is_some();
        if self.failed == 0 && !any_open {
            return;
        }
        let mut reasons = self.requests.iter().filter_map(|request| request.failure.filter(|_| request.failed_now));
        let first = reasons.next();
        let whole = first.filter(|first| self.answered == 0 && reasons.all(|other| other.gap() == first.gap()));
        match whole {
            Some(failure) => self.miss_from(self.began, 1, failure, out),
            None => out.gap(&self.runs, self.missed.end(out.now)),
        }
        for request in &mut self.requests {
            let failure = request.failure.filter(|_| request.failed_now && whole.is_none());
            let span = match failure {
                Some(failure) => {
                    out.counters.add(Counter::PollsFailed, 1);
                    self.look_at_ns.get_or_insert(out.now.mono_ns.saturating_add(LOOK_EVERY_NS));
                    request.gap.miss(out.now, self.began, failure.gap(), 1)
                }
                None => request.gap.end(out.now),
            };
            if span.is_some() {
                out.gap(&request.runs(group, tags), span);
            }
        }
    }

    /// Submits what was read; where it is refused, all is to be told again.
    fn flush(&mut self, group: &Group, tags: &mut Tags, out: &mut Out<'_>) {
        self.is_complete = false;
        self.harvest.decode(&group.plan.points, tags, out.text);
        if self.harvest.is_empty() {
            return;
        }
        let refused = self.harvest.submit(out.intake, out.source);
        let span = if refused == 0 {
            self.shed.end(out.now)
        } else {
            let count = refused as u64;
            out.counters.add(Counter::ReadingsShed, count);
            self.all_told = None;
            for point in &group.plan.points {
                if let Some(told) = tags.told.get_mut(point.tag as usize) {
                    *told = UNTOLD;
                }
            }
            self.look(out.now);
            self.shed.miss(out.now, self.harvest.wall(), model::GapReason::Shed, count)
        };
        out.gap(&self.runs, span);
    }

    /// Time went on: submits readings that waited long enough, says gaps that last.
    pub(crate) fn on_time(&mut self, group: &Group, tags: &mut Tags, out: &mut Out<'_>) {
        if !self.harvest.is_empty() && self.harvest.since_ns().saturating_add(HOLD_NS) <= out.now.mono_ns {
            self.flush(group, tags, out);
        }
        if self.look_at_ns.is_some_and(|at| at <= out.now.mono_ns) {
            self.look_at_ns = None;
            self.say(group, tags, out, |run, now| run.say(now));
        }
    }

    /// Says everything that is unsaid; for the end.
    pub(crate) fn finish(&mut self, group: &Group, tags: &mut Tags, out: &mut Out<'_>) {
        self.flush(group, tags, out);
        self.say(group, tags, out, |run, now| run.end(now));
    }

    fn say(
        &mut self,
        group: &Group,
        tags: &Tags,
        out: &mut Out<'_>,
        what: impl Fn(&mut GapRun, Moment) -> Option<Span>,
    ) {
        let mut open = false;
        for run in [&mut self.missed, &mut self.skipped, &mut self.shed] {
            out.gap(&self.runs, what(run, out.now));
            open |= run.is_open();
        }
        for request in self.requests.iter_mut().filter(|request| request.gap.is_open()) {
            let span = what(&mut request.gap, out.now);
            out.gap(&request.runs(group, tags), span);
            open |= request.gap.is_open();
        }
        if open {
            self.look(out.now);
        }
    }

    /// When [`Lane::on_time`] or its timing next has something to do. `idle`: a cycle could begin.
    pub(crate) fn next_ns(&self, idle: bool) -> u64 {
        let held = (!self.harvest.is_empty()).then(|| self.harvest.since_ns().saturating_add(HOLD_NS));
        let due = self.timing.next_ns(self.active || !idle);
        [held, self.look_at_ns].into_iter().flatten().fold(due, u64::min)
    }
}
