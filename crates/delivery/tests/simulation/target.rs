//! A target that is up, down, slow, hangs, is busy, loses answers and refuses poison.

use delivery::{DeliveryId, Outcome, SplitMix64};

/// One millisecond, ns.
pub const MS: i64 = 1_000_000;
/// One second, ns.
pub const S: i64 = 1_000 * MS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Up,
    Down,
    Slow,
    Hangs,
    Busy,
}

/// A call under way.
#[derive(Clone, Debug)]
pub struct Call {
    pub answer_at: i64,
    pub outcome: Outcome,
    /// It arrives: at once, or with the answer.
    pub arrives: Option<bool>,
}

pub struct Target {
    pub mode: Mode,
    pub mode_until: i64,
    /// What is poison no longer is.
    pub is_cured: bool,
}

fn chance(random: &mut SplitMix64, percent: u64) -> bool {
    random.up_to(99) < percent
}

impl Target {
    pub fn turn(&mut self, now: i64, random: &mut SplitMix64) {
        if now < self.mode_until {
            return;
        }
        let modes = [Mode::Up, Mode::Up, Mode::Up, Mode::Down, Mode::Slow, Mode::Hangs, Mode::Busy];
        self.mode = modes[random.up_to(6) as usize];
        self.mode_until = now + random.up_to(120 * S as u64) as i64;
    }

    /// What will come of a call that starts now.
    pub fn call(
        &self,
        id: DeliveryId,
        probe: bool,
        arrived: bool,
        timeout: i64,
        now: i64,
        random: &mut SplitMix64,
    ) -> Call {
        let soon = now + (random.up_to(50) as i64) * MS + 1;
        let answer = |answer_at, outcome, arrives| Call { answer_at, outcome, arrives };
        let asked = |random: &mut SplitMix64| {
            let longest = if chance(random, 2) { 7_200 } else { 20 };
            Some(random.up_to(longest) * S as u64)
        };
        match self.mode {
            Mode::Down if chance(random, 50) => answer(soon, Outcome::Unavailable { retry_after_ns: None }, None),
            Mode::Down => answer(now + timeout, Outcome::Unavailable { retry_after_ns: None }, None),
            Mode::Busy if chance(random, 80) => {
                answer(soon, Outcome::Unavailable { retry_after_ns: asked(random) }, None)
            }
            Mode::Hangs if probe => answer(now + timeout, Outcome::ProbeUnknown, None),
            Mode::Hangs => answer(now + timeout, Outcome::InDoubt, chance(random, 50).then_some(true)),
            mode => {
                let takes = if mode == Mode::Slow { random.up_to(2 * timeout as u64) as i64 + 1 } else { soon - now };
                let late = takes > timeout;
                if probe {
                    let said = if arrived { Outcome::ProbeDone } else { Outcome::ProbeNotDone };
                    let said = if late || chance(random, 5) { Outcome::ProbeUnknown } else { said };
                    return answer(now + takes.min(timeout), said, None);
                }
                let (outcome, arrives) = self.treat(id, asked(random), random);
                let outcome = if late { Outcome::InDoubt } else { outcome };
                // what arrives only with its answer is lost in a crash, the rest is not
                let at_once = late || outcome == Outcome::InDoubt || chance(random, 50);
                answer(now + takes.min(timeout), outcome, arrives.then_some(at_once))
            }
        }
    }

    /// A live target and one message: what it says, and whether it took effect.
    fn treat(&self, id: DeliveryId, asked: Option<u64>, random: &mut SplitMix64) -> (Outcome, bool) {
        let poison = if self.is_cured { 99 } else { SplitMix64::new(id.offset.0).up_to(99) };
        match (poison, random.up_to(99)) {
            (0, _) => (Outcome::Rejected, false),
            (1 | 2, _) => (Outcome::Failed { retry_after_ns: None }, false),
            (3, _) => (Outcome::InDoubt, false),
            (4, _) => (Outcome::Unavailable { retry_after_ns: None }, false),
            (5, _) => (Outcome::Unmapped, false),
            (_, 0..2) => (Outcome::InDoubt, true),
            (_, 2..4) => (Outcome::Failed { retry_after_ns: None }, false),
            (_, 4) => (Outcome::Failed { retry_after_ns: asked }, false),
            (_, 5) => (Outcome::Unavailable { retry_after_ns: asked }, false),
            _ => (Outcome::Delivered, true),
        }
    }
}
