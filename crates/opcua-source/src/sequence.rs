//! Which notification message comes next: sequence numbers of one subscription (OPC 10000-4, 7.8).
//!
//! A pure state machine: it is told the number of every message and of every keep-alive, and says
//! whether to take the message, drop it as one seen before, or fetch what is missing first.
//!
//! Invariants
//! - S1: a message is taken once; its number then counts as seen, however often it comes again.
//! - S2: nothing is taken past a hole: what is missing is asked for by Republish first, or given up
//!   by [`Sequence::give_up_to`], which the caller must say as a gap.
//! - S3: numbers run from 1 to `u32::MAX` and then begin at 1 again; 0 is no number.
//!
//! What it does not do: it holds no message and sends no request.

/// Numbers ahead of the expected one count as a hole up to here, and as seen before beyond it.
const HALF: u32 = u32::MAX / 2;

/// The number after this one; `u32::MAX` is followed by 1 (OPC 10000-4, 7.8: Counter).
pub(crate) const fn after(number: u32) -> u32 {
    if number == u32::MAX { 1 } else { number + 1 }
}

/// The number before this one.
pub(crate) const fn before(number: u32) -> u32 {
    if number <= 1 { u32::MAX } else { number - 1 }
}

/// How many steps of [`after`] lead from one number to another.
pub(crate) const fn steps(from: u32, to: u32) -> u32 {
    if to >= from { to - from } else { to + (u32::MAX - from) }
}

/// What to do with a message or keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is the next one: take it and say so by [`Sequence::taken`].
    Take,
    /// It was taken before (or says nothing new): drop it.
    Known,
    /// Messages from the first to the last number, both included, are missing before it.
    Missing {
        /// First missing number.
        from: u32,
        /// Last missing number.
        to: u32,
    },
    /// It has no number that the standard allows; take it, but it cannot be acknowledged.
    Unnumbered,
}

/// The numbers of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    expected: u32,
}

impl Sequence {
    /// A new subscription: its first message has number 1.
    pub(crate) const fn new() -> Sequence {
        Sequence { expected: 1 }
    }

    /// The number that the next message should have.
    pub(crate) const fn expected(&self) -> u32 {
        self.expected
    }

    /// A message with data came.
    pub(crate) const fn on_message(&self, number: u32) -> Step {
        if number == 0 {
            return Step::Unnumbered;
        }
        match steps(self.expected, number) {
            0 => Step::Take,
            ahead if ahead < HALF => Step::Missing { from: self.expected, to: before(number) },
            _ => Step::Known,
        }
    }

    /// A keep-alive came: it carries the number that the next message will have
    /// (OPC 10000-4, 5.14.1.1).
    pub(crate) const fn on_keep_alive(&self, next: u32) -> Step {
        if next == 0 {
            return Step::Known;
        }
        match steps(self.expected, next) {
            0 => Step::Known,
            ahead if ahead < HALF => Step::Missing { from: self.expected, to: before(next) },
            _ => Step::Known,
        }
    }

    /// The message with this number was taken.
    pub(crate) const fn taken(&mut self, number: u32) {
        if number != 0 {
            self.expected = after(number);
        }
    }

    /// Everything up to and including this number cannot be had any more.
    pub(crate) const fn give_up_to(&mut self, number: u32) {
        self.expected = after(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_order_are_taken_and_repeats_are_dropped() {
        let mut sequence = Sequence::new();
        for number in 1..=5 {
            assert_eq!(sequence.on_message(number), Step::Take);
            sequence.taken(number);
            assert_eq!(sequence.on_message(number), Step::Known);
        }
        assert_eq!(sequence.on_message(1), Step::Known);
        assert_eq!(sequence.expected(), 6);
    }

    #[test]
    fn a_hole_is_asked_for_before_anything_after_it() {
        let mut sequence = Sequence::new();
        sequence.taken(1);
        assert_eq!(sequence.on_message(5), Step::Missing { from: 2, to: 4 });
        sequence.taken(2);
        assert_eq!(sequence.on_message(5), Step::Missing { from: 3, to: 4 });
        sequence.give_up_to(4);
        assert_eq!(sequence.on_message(5), Step::Take);
    }

    #[test]
    fn a_keep_alive_reveals_a_lost_last_message() {
        let mut sequence = Sequence::new();
        assert_eq!(sequence.on_keep_alive(1), Step::Known);
        assert_eq!(sequence.on_keep_alive(3), Step::Missing { from: 1, to: 2 });
        sequence.taken(1);
        sequence.taken(2);
        assert_eq!(sequence.on_keep_alive(3), Step::Known);
        assert_eq!(sequence.on_keep_alive(2), Step::Known);
    }

    #[test]
    fn numbers_wrap_from_the_largest_to_one() {
        let mut sequence = Sequence { expected: u32::MAX };
        assert_eq!(sequence.on_message(u32::MAX), Step::Take);
        assert_eq!(sequence.on_message(2), Step::Missing { from: u32::MAX, to: 1 });
        sequence.taken(u32::MAX);
        assert_eq!(sequence.expected(), 1);
        assert_eq!(sequence.on_message(u32::MAX), Step::Known);
        assert_eq!(sequence.on_message(1), Step::Take);
        assert_eq!((before(1), after(u32::MAX), steps(u32::MAX, 1), steps(u32::MAX - 1, 2)), (u32::MAX, 1, 1, 3));
    }

    #[test]
    fn zero_is_no_number() {
        let mut sequence = Sequence::new();
        assert_eq!(sequence.on_message(0), Step::Unnumbered);
        assert_eq!(sequence.on_keep_alive(0), Step::Known);
        sequence.taken(0);
        assert_eq!(sequence.expected(), 1);
    }
}
