//! How many requests may be under way at once on one connection: told, or found out.
//!
//! Purpose: where the configuration gives a depth, keep it, and go back to one request at a time for
//! a while after a burst was lost. Where it gives none, begin with one, and try 2, 4, 8, 16 in quiet
//! moments: keep a depth that makes the device answer faster, step back from one that it does not
//! stand, and remember that.
//!
//! A step is tried only while cycles are long enough to fill it. What is compared is the time of an answer
//! while there was always something to ask, over stretches: a burst of requests from the first, sent when
//! none was under way, to the last answer, or a part of a burst that lasts. So a cycle of eight requests
//! says as much as a second of a device that is asked without a pause. The best stretch counts, of three at
//! least, and of as many more (up to a limit) as it takes until a second one comes near it: a moment in
//! which the machine did something else, or the link was slow, does not decide.
//!
//! Invariants
//! - W1: no more requests are under way than [`Depth::now`] says, which is from 1 to the most.
//! - W2: a depth that is not proven is only tried while nothing else is wrong with the device, and
//!   ends with the first sign of trouble.
//! - W3: while commands wait or are under way, no depth is tried ([`Depth::hold`]): a write that a
//!   device loses is not sent again.
//! - W4: a depth that failed or gained nothing is left alone for ten minutes, longer each time.
//!
//! It sends nothing and reads no clock; [`crate::session`] tells it what happens.

/// Stretches that a depth is measured over; the best counts.
const STRETCHES: u32 = 3;
/// Stretches after which the best counts though no other comes near it.
const STRETCHES_MAX: u32 = 9;
/// Answers after which a burst that lasts is cut into stretches, at least.
const STRETCH_ANSWERS: u32 = 32;
/// Time after which it is, at least, in nanoseconds: 5 ms.
const STRETCH_NS: u64 = 5_000_000;
/// Time without trouble before a step is tried, in nanoseconds: 1 s.
const CALM_NS: u64 = 1_000_000_000;
/// Time at a step that was worth it before the next is tried, in nanoseconds: 0.5 s. What a device loses
/// shows late, and bursts a second apart have their rest anyway.
const DWELL_NS: u64 = 500_000_000;
/// A step is kept where the time of an answer falls to this part of what it was, in percent; and two
/// stretches agree where the better is not below this part of the other.
const GAIN_PERCENT: u128 = 87;
/// One request at a time after trouble at a depth that was found, in nanoseconds: 10 s.
const REST_NS: u64 = 10_000_000_000;
/// First and longest time in which a step that failed is not tried again: 10 min, 1 day.
const BARRED_NS: (u64, u64) = (600_000_000_000, 86_400_000_000_000);
/// First and longest time without pipelining after a burst was lost at a depth that was told: one
/// minute, one hour.
const FALLBACK_NS: (u64, u64) = (60_000_000_000, 3_600_000_000_000);

/// What a device did that pipelining may be to blame for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A request of a burst was not answered, others were.
    Lost,
    /// It broke the protocol.
    Protocol,
    /// It closed the connection while several requests were under way.
    Closed,
    /// It answered that it is busy, or a gateway that it does not reach the unit, while several were
    /// under way.
    Busy,
    /// A unit answered a later request before an earlier one.
    OutOfOrder,
}

/// Time of an answer while there was always something to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pace {
    /// When the present stretch began.
    began_ns: Option<u64>,
    last_ns: u64,
    answers: u32,
    /// It began with none under way, so that it ends as a whole burst.
    is_burst: bool,
    stretches: u32,
    /// The two best, in picoseconds.
    best_ps: Option<u64>,
    second_ps: Option<u64>,
    /// Answers of the longest, and when the last one ended.
    longest: u32,
    ended_ns: u64,
}

impl Pace {
    /// A request goes, `idle`: none was under way.
    fn on_send(&mut self, now_ns: u64, idle: bool, fill: u8) {
        // An answer and the request that it lets go have the same moment: that burst goes on.
        if idle && (self.began_ns.is_none() || now_ns != self.last_ns) {
            if self.is_burst && self.answers >= u32::from(fill) {
                self.end_stretch();
            }
            (self.began_ns, self.last_ns, self.answers, self.is_burst) = (Some(now_ns), now_ns, 0, true);
        }
    }

    fn on_answer(&mut self, now_ns: u64, fill: u8) {
        let Some(began_ns) = self.began_ns else {
            (self.began_ns, self.last_ns) = (Some(now_ns), now_ns);
            return;
        };
        self.answers += 1;
        self.last_ns = now_ns;
        let is_long = self.answers >= STRETCH_ANSWERS.max(u32::from(fill));
        if is_long && now_ns.saturating_sub(began_ns) >= STRETCH_NS {
            self.end_stretch();
            (self.began_ns, self.answers, self.is_burst) = (Some(now_ns), 0, false);
        }
    }

    fn end_stretch(&mut self) {
        let Some(began_ns) = self.began_ns else { return };
        let pace_ps = self.last_ns.saturating_sub(began_ns).saturating_mul(1_000) / u64::from(self.answers.max(1));
        self.stretches += 1;
        (self.longest, self.ended_ns) = (self.longest.max(self.answers), self.last_ns);
        let worse_ps = self.best_ps.map(|best_ps| best_ps.max(pace_ps));
        self.best_ps = Some(self.best_ps.map_or(pace_ps, |best_ps| best_ps.min(pace_ps)));
        self.second_ps = [self.second_ps, worse_ps].into_iter().flatten().min();
    }

    /// The best stretch, once there are enough.
    fn known_ps(&self) -> Option<u64> {
        let (best_ps, second_ps) = (self.best_ps?, self.second_ps?);
        let is_known = self.stretches >= STRETCHES && !is_faster(best_ps, second_ps);
        (is_known || self.stretches >= STRETCHES_MAX).then_some(best_ps)
    }

    /// Measures anew, from the next burst or answer on.
    fn restart(&mut self) {
        *self = Pace::default();
    }

    /// Measures anew, from the burst on that just begins, if one does.
    fn restart_at(&mut self, began_ns: Option<u64>) {
        let is_burst = began_ns.is_some();
        *self = Pace { began_ns, last_ns: began_ns.unwrap_or_default(), is_burst, ..Pace::default() };
    }
}

/// Whether a pace is so much better than another that it is not chance.
fn is_faster(pace_ps: u64, than_ps: u64) -> bool {
    u128::from(pace_ps) * 100 <= u128::from(than_ps) * GAIN_PERCENT
}

/// Requests under way at once, of one connection; it outlives the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    most: u8,
    told: bool,
    proven: u8,
    trial: Option<u8>,
    held: bool,
    /// The least depth that failed or gained nothing, until when it is left alone, and how long the next time.
    barred: Option<(u8, u64)>,
    barred_ns: u64,
    rest_until_ns: u64,
    fallback_ns: u64,
    calm_since_ns: u64,
    step_from_ns: u64,
    pace: Pace,
    /// Pace at the proven depth, in picoseconds.
    base_ps: Option<u64>,
}

impl Depth {
    /// A depth that the configuration gives, from 1.
    #[must_use]
    pub fn told(depth: u8) -> Depth {
        Depth::new(depth, true, depth)
    }

    /// A depth that is to be found out, up to `most`.
    #[must_use]
    pub fn found(most: u8) -> Depth {
        Depth::new(most, false, 1)
    }

    fn new(most: u8, told: bool, proven: u8) -> Depth {
        Depth {
            most: most.max(1),
            told,
            proven: proven.max(1),
            trial: None,
            held: false,
            barred: None,
            barred_ns: BARRED_NS.0,
            rest_until_ns: 0,
            fallback_ns: FALLBACK_NS.0,
            calm_since_ns: 0,
            step_from_ns: 0,
            pace: Pace::default(),
            base_ps: None,
        }
    }

    /// Requests that may be under way now.
    #[must_use]
    pub const fn now(&self, now_ns: u64) -> u8 {
        if now_ns < self.rest_until_ns {
            return 1;
        }
        match self.trial {
            Some(trial) if !self.held => trial,
            _ => self.proven,
        }
    }

    /// The depth that is kept: told, or the last step that was worth it.
    #[must_use]
    pub const fn proven(&self) -> u8 {
        self.proven
    }

    /// The step that is being tried.
    #[must_use]
    pub const fn trial(&self) -> Option<u8> {
        self.trial
    }

    /// The step that failed or gained nothing and is left alone for now.
    #[must_use]
    pub fn barred(&self) -> Option<u8> {
        self.barred.map(|(depth, _)| depth)
    }

    /// Commands wait or are under way, or do not any more: meanwhile nothing is tried (W3).
    pub fn hold(&mut self, held: bool) {
        if std::mem::replace(&mut self.held, held) != held {
            self.pace.restart();
        }
    }

    /// A request goes; `idle`: no other was under way. True where that changed what [`Depth::now`] says.
    pub fn on_send(&mut self, now_ns: u64, idle: bool) -> bool {
        if !self.is_measured() {
            return false;
        }
        self.pace.on_send(now_ns, idle, self.fill());
        idle && self.decide(now_ns, Some(now_ns))
    }

    /// A right answer came. True where that changed what [`Depth::now`] says.
    pub fn on_answer(&mut self, now_ns: u64) -> bool {
        if !self.is_measured() {
            return false;
        }
        self.pace.on_answer(now_ns, self.fill());
        self.decide(now_ns, None)
    }

    const fn is_measured(&self) -> bool {
        !self.told && self.most > 1 && !self.held
    }

    /// Decides on the step that is tried, or on trying one, where enough is known; `burst_ns`: a burst
    /// begins.
    fn decide(&mut self, now_ns: u64, burst_ns: Option<u64>) -> bool {
        let Some(pace_ps) = self.pace.known_ps() else { return false };
        let Pace { longest, ended_ns, .. } = self.pace;
        self.pace.restart_at(burst_ns);
        let Some(trial) = self.trial.take() else {
            self.base_ps = Some(pace_ps);
            return self.try_next(now_ns);
        };
        if self.base_ps.is_some_and(|base_ps| is_faster(pace_ps, base_ps)) {
            (self.proven, self.base_ps) = (trial, Some(pace_ps));
            self.step_from_ns = ended_ns.saturating_add(DWELL_NS);
            // What was measured is the base of the next step, where it was long enough to fill that.
            if self.step().is_some_and(|step| longest >= u32::from(step)) {
                self.try_next(now_ns);
            }
        } else {
            self.bar(trial, now_ns);
            self.calm_since_ns = now_ns;
        }
        true
    }

    /// Answers that a burst must have for its pace to say something about the step in question.
    fn fill(&self) -> u8 {
        self.trial.or_else(|| self.step()).unwrap_or(self.proven)
    }

    /// The step after the proven depth.
    fn step(&self) -> Option<u8> {
        let next = self.proven.saturating_mul(2).min(self.most);
        (next > self.proven).then_some(next)
    }

    fn try_next(&mut self, now_ns: u64) -> bool {
        if self.barred.is_some_and(|(_, until_ns)| until_ns <= now_ns) {
            self.barred = None;
        }
        let quiet =
            now_ns >= self.rest_until_ns.max(self.step_from_ns) && now_ns.saturating_sub(self.calm_since_ns) >= CALM_NS;
        self.trial = self.step().filter(|step| quiet && self.barred.is_none_or(|(barred, _)| *step < barred));
        self.trial.is_some()
    }

    fn bar(&mut self, depth: u8, now_ns: u64) {
        self.barred = Some((depth, now_ns.saturating_add(self.barred_ns)));
        self.barred_ns = self.barred_ns.saturating_mul(2).min(BARRED_NS.1);
    }

    /// Something else is wrong with the device: nothing is tried for a while.
    pub fn on_unrest(&mut self, now_ns: u64) {
        self.calm_since_ns = now_ns;
    }

    /// Pipelining may be to blame for something. True where less is under way at once from now on.
    pub fn on_trouble(&mut self, now_ns: u64, trouble: Trouble) -> bool {
        self.calm_since_ns = now_ns;
        if self.told {
            return matches!(trouble, Trouble::Lost | Trouble::Protocol) && self.fall_back(now_ns);
        }
        self.pace.restart();
        if now_ns < self.rest_until_ns {
            return false; // of the same burst
        }
        match self.trial.take() {
            Some(trial) => self.bar(trial, now_ns),
            // Out of order is what the transaction ids are for; only what is tried is judged by it.
            None if self.proven == 1 || trouble == Trouble::OutOfOrder => return false,
            None => {
                self.bar(self.proven, now_ns);
                (self.proven, self.base_ps) = (self.proven / 2, None);
            }
        }
        self.rest_until_ns = now_ns.saturating_add(REST_NS);
        true
    }

    /// One request at a time for a while, longer each time.
    fn fall_back(&mut self, now_ns: u64) -> bool {
        if self.proven == 1 || now_ns < self.rest_until_ns {
            return false;
        }
        self.rest_until_ns = now_ns.saturating_add(self.fallback_ns);
        self.fallback_ns = self.fallback_ns.saturating_mul(2).min(FALLBACK_NS.1);
        true
    }
}

#[cfg(test)]
#[path = "depth_tests.rs"]
mod tests;
