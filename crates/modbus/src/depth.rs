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
//! says as much as a second of a device that is asked without a pause. Stretches at the depth that is proven
//! and at the step take turns; each pair is won or lost, and it is the lead that decides: what a machine or a
//! link does meanwhile meets both, single strokes of luck do not decide, and where the pairs agree a few are
//! enough.
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

/// Pairs won more than lost with which a step is kept, and lost more than won with which it is left alone:
/// to be wrong with the latter costs more.
const LEAD: (i8, i8) = (2, -6);
/// Answers after which a burst that lasts is cut into stretches, at least.
const STRETCH_ANSWERS: u32 = 32;
/// Time after which it is, at least, in nanoseconds: 5 ms.
const STRETCH_NS: u64 = 5_000_000;
/// Time without trouble before a step is tried, in nanoseconds: 1 s.
const CALM_NS: u64 = 1_000_000_000;
/// Time at a step that was worth it before the next is tried, in nanoseconds: 0.5 s. What a device loses
/// shows late, and bursts a second apart have their rest anyway.
const DWELL_NS: u64 = 500_000_000;
/// A pair is won where the time of an answer is at most this part of that at the proven depth, in percent.
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
    /// Answers that still belong to the depth before.
    skip: u8,
    ended: Option<Stretch>,
}

/// A stretch that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    pace_ps: u64,
    answers: u32,
    ended_ns: u64,
}

/// A step that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    depth: u8,
    /// Pairs won more than lost.
    lead: i8,
    /// Pace at the proven depth just before, in picoseconds; `None`: it is the proven depth's turn.
    base_ps: Option<u64>,
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
            if self.skip == 0 {
                (self.began_ns, self.last_ns) = (Some(now_ns), now_ns);
            }
            self.skip = self.skip.saturating_sub(1);
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
        self.ended = Some(Stretch { pace_ps, answers: self.answers, ended_ns: self.last_ns });
    }

    /// Measures anew, from the next burst or answer on.
    fn restart(&mut self) {
        *self = Pace::default();
    }

    /// Measures anew, from the burst on that just begins, if one does; else after so many answers, when the
    /// pipeline has another depth.
    fn restart_at(&mut self, began_ns: Option<u64>, skip: u8) {
        let is_burst = began_ns.is_some();
        *self = Pace { began_ns, last_ns: began_ns.unwrap_or_default(), is_burst, skip, ..Pace::default() };
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
    trial: Option<Trial>,
    held: bool,
    /// The least depth that failed or gained nothing, until when it is left alone, and how long the next time.
    barred: Option<(u8, u64)>,
    barred_ns: u64,
    rest_until_ns: u64,
    fallback_ns: u64,
    calm_since_ns: u64,
    step_from_ns: u64,
    pace: Pace,
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
        }
    }

    /// Requests that may be under way now.
    #[must_use]
    pub const fn now(&self, now_ns: u64) -> u8 {
        if now_ns < self.rest_until_ns {
            return 1;
        }
        match self.trial {
            Some(Trial { depth, base_ps: Some(_), .. }) if !self.held => depth,
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
    pub fn trial(&self) -> Option<u8> {
        self.trial.map(|trial| trial.depth)
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

    /// Takes in a stretch that ended; `burst_ns`: a burst begins.
    fn decide(&mut self, now_ns: u64, burst_ns: Option<u64>) -> bool {
        let Some(stretch) = self.pace.ended else { return false };
        self.pace.restart_at(burst_ns, self.fill());
        let Some(trial) = &mut self.trial else { return self.try_next(now_ns, &stretch) };
        let Some(base_ps) = trial.base_ps.take() else {
            trial.base_ps = Some(stretch.pace_ps);
            return true;
        };
        trial.lead += if is_faster(stretch.pace_ps, base_ps) { 1 } else { -1 };
        let Trial { depth, lead, .. } = *trial;
        if lead >= LEAD.0 {
            (self.proven, self.trial) = (depth, None);
            self.step_from_ns = stretch.ended_ns.saturating_add(DWELL_NS);
            self.try_next(now_ns, &stretch);
        } else if lead <= LEAD.1 {
            self.trial = None;
            self.bar(depth, now_ns);
            self.calm_since_ns = now_ns;
        }
        true
    }

    /// Answers that a burst must have for its pace to say something about the step in question.
    fn fill(&self) -> u8 {
        self.trial().or_else(|| self.step()).unwrap_or(self.proven)
    }

    /// The step after the proven depth.
    fn step(&self) -> Option<u8> {
        let next = self.proven.saturating_mul(2).min(self.most);
        (next > self.proven).then_some(next)
    }

    /// Tries the next step, if it may be; the stretch was at the proven depth.
    fn try_next(&mut self, now_ns: u64, stretch: &Stretch) -> bool {
        if self.barred.is_some_and(|(_, until_ns)| until_ns <= now_ns) {
            self.barred = None;
        }
        let quiet =
            now_ns >= self.rest_until_ns.max(self.step_from_ns) && now_ns.saturating_sub(self.calm_since_ns) >= CALM_NS;
        let fits = |step: &u8| stretch.answers >= u32::from(*step);
        let step = self.step().filter(|step| quiet && self.barred.is_none_or(|(barred, _)| *step < barred));
        self.trial = step.filter(fits).map(|depth| Trial { depth, lead: 0, base_ps: Some(stretch.pace_ps) });
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
            Some(trial) => self.bar(trial.depth, now_ns),
            // Out of order is what the transaction ids are for; only what is tried is judged by it.
            None if self.proven == 1 || trouble == Trouble::OutOfOrder => return false,
            None => {
                self.bar(self.proven, now_ns);
                self.proven /= 2;
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
