//! The port through which a device is read, written and called: commands in, one answer each.
//!
//! Purpose: whoever has a command (a request of a person or a system) holds a [`Commander`], a
//! source of telemetry holds the [`Commands`] of its device; neither knows the other. Single
//! thread, no runtime: the answers are futures over a cell and a waker.
//!
//! Invariants
//! - V1: every command that was submitted is answered exactly once, also when the source drops it
//!   or is gone: then as [`DeviceError::Closed`], or as [`DeviceError::InDoubt`] where it was said
//!   to be sent.
//! - V2: at most the queue's limit of commands wait; one more is [`DeviceError::Busy`] at once.
//! - V3: a command whose caller went away before it was taken is never taken.
//!
//! It has no clock: a deadline is kept by the source that took the command. It does not say who
//! may command what: that is decided before.

use crate::{Quality, Value, ValueKind};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Commands that may wait for a source if nothing else is said: far more than a person gives, few
/// enough that the last of them is answered within its deadline by a device of 5 ms an answer.
pub const COMMANDS_WAITING_MAX: usize = 64;
/// Tags of one read, at most.
pub const READ_TAGS_MAX: usize = 256;
/// Tags of one write of several, at most.
pub const WRITE_TAGS_MAX: usize = 1_000;
/// Arguments of one call, at most.
pub const ARGUMENTS_MAX: usize = 64;

/// What a device is told.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceCommand {
    /// Read now, past any cache.
    Read {
        /// Tags by their path below the source's, e.g. `setpoint` or `meter1/limit`.
        tags: Vec<String>,
    },
    /// Write one value, in engineering units.
    Write {
        /// The tag by its path below the source's.
        tag: String,
        /// What; converted to the device's own type where nothing is lost by it.
        value: Value,
    },
    /// Write several values, each to another tag, in as few requests as the protocol allows. All of them are looked
    /// at before the first one goes out: where one cannot be written by its tag or value, none is.
    WriteEach {
        /// Tags by their path below the source's, and what each shall hold, in engineering units.
        writes: Vec<(String, Value)>,
        /// Only look: nothing is written, and what would be refused is.
        dry: bool,
    },
    /// Call a method (OPC UA).
    Call {
        /// The object's node id as configured, e.g. `nsu=urn:riverside:oven;s=Oven`.
        object: String,
        /// The method's node id as configured.
        method: String,
        /// Its input arguments, in order.
        arguments: Vec<Value>,
    },
}

/// What a device answered.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceAnswer {
    /// Of a read: each tag in the order asked for, its value where it has one, and its quality.
    Values(Vec<(String, Option<Value>, Quality)>),
    /// Of a write: the device confirmed it.
    Written,
    /// Of a write of several: what became of each, in the order given. Where it was dry, or one of them could not be
    /// written by its tag or value, nothing was sent, and `Ok` says that this one is not to blame.
    Each {
        /// Whether anything was sent.
        sent: bool,
        /// One for each.
        outcomes: Vec<Result<(), DeviceError>>,
    },
    /// Of a call: its output arguments, in order.
    Returned(Vec<Value>),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceError {
    /// The source has no such tag. Correct the configuration.
    UnknownTag {
        /// Asked for.
        tag: String,
        /// The tag that is nearest by name.
        nearest: Option<String>,
    },
    /// The tag cannot be written by its nature.
    NotWritable {
        /// Which.
        tag: String,
        /// Why.
        why: String,
    },
    /// The value is of a kind that the tag or argument does not take.
    WrongKind {
        /// The tag or argument.
        what: String,
        /// What it takes.
        expected: String,
        /// What came.
        got: ValueKind,
    },
    /// The value does not fit the device's type. Nothing was sent.
    OutOfRange {
        /// The tag or argument.
        what: String,
        /// The value.
        value: String,
        /// What would fit.
        fits: String,
    },
    /// The device refused. For Modbus the code is the exception code as two hexadecimal digits
    /// (V1.1b3, 7), for OPC UA the name of the StatusCode (OPC 10000-6, A.2).
    Device {
        /// Which refusal.
        code: String,
        /// What it means.
        text: String,
    },
    /// The deadline passed, or the device stayed silent.
    Timeout {
        /// Whether the command had been sent: then it may have taken effect.
        sent: bool,
    },
    /// It was sent, and whether it took effect is not known.
    InDoubt {
        /// What happened then.
        why: String,
    },
    /// There is no connection to the device. Nothing was sent.
    NotConnected {
        /// Why.
        why: String,
    },
    /// Too many commands wait. Nothing was sent; try again.
    Busy,
    /// The device or its protocol cannot do that. Nothing had effect.
    Unsupported {
        /// What, and what to do instead.
        what: String,
    },
    /// The source stopped. Nothing was sent.
    Closed,
}

impl DeviceError {
    /// Whether the command may have taken effect although no success is known. A device that says
    /// "acknowledge" (Modbus 05), a gateway whose target stays silent (0B), and a server whose own
    /// device did not answer in time belong to these.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        match self {
            DeviceError::Timeout { sent } => *sent,
            DeviceError::InDoubt { .. } => true,
            DeviceError::Device { code, .. } => {
                matches!(
                    code.as_str(),
                    "05" | "0B" | "BadTimeout" | "BadRequestTimeout" | "BadCommunicationError" | "BadNoCommunication"
                )
            }
            _ => false,
        }
    }

    /// One word for it, for counters and answers.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            DeviceError::UnknownTag { .. } => "unknown-tag",
            DeviceError::NotWritable { .. } => "not-writable",
            DeviceError::WrongKind { .. } => "wrong-kind",
            DeviceError::OutOfRange { .. } => "out-of-range",
            DeviceError::Device { .. } => "device",
            DeviceError::Timeout { .. } => "timeout",
            DeviceError::InDoubt { .. } => "in-doubt",
            DeviceError::NotConnected { .. } => "not-connected",
            DeviceError::Busy => "busy",
            DeviceError::Unsupported { .. } => "unsupported",
            DeviceError::Closed => "closed",
        }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::UnknownTag { tag, nearest: Some(nearest) } => {
                write!(f, "the device has no tag {tag:?}; did you mean {nearest:?}?")
            }
            DeviceError::UnknownTag { tag, nearest: None } => {
                write!(f, "the device has no tag {tag:?}; add it to its source in the configuration")
            }
            DeviceError::NotWritable { tag, why } => write!(f, "tag {tag:?} cannot be written: {why}"),
            DeviceError::WrongKind { what, expected, got } => {
                write!(f, "{what} takes {expected}, and a value of kind {} came", got.name())
            }
            DeviceError::OutOfRange { what, value, fits } => write!(f, "{value} does not fit {what}: it takes {fits}"),
            DeviceError::Device { code, text } => write!(f, "the device refused with {code}: {text}"),
            DeviceError::Timeout { sent: true } => f.write_str(
                "the device did not answer in time; the command was sent and may have taken effect, so read it back",
            ),
            DeviceError::Timeout { sent: false } => f.write_str(
                "the deadline passed before the command could be sent, so it had no effect; try again with more time",
            ),
            DeviceError::InDoubt { why } => {
                write!(f, "the command was sent, and whether it took effect is not known ({why}); read it back")
            }
            DeviceError::NotConnected { why } => write!(f, "the device is not connected: {why}"),
            DeviceError::Busy => f.write_str("too many commands wait for this device; try again in a moment"),
            DeviceError::Unsupported { what } => f.write_str(what),
            DeviceError::Closed => f.write_str("the source of this device has stopped; nothing was sent"),
        }
    }
}

impl std::error::Error for DeviceError {}

/// What becomes of a command.
pub type Outcome = Result<DeviceAnswer, DeviceError>;

/// The cell between a command's two sides.
#[derive(Debug, Default)]
struct Cell {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
    unwanted: bool,
}

/// The right to answer one command, once. Dropping it answers too (V1).
#[derive(Debug)]
pub struct Reply {
    cell: Rc<RefCell<Cell>>,
    sent: bool,
    answered: bool,
}

impl Reply {
    /// From now on the command may have taken effect: dropping the reply is
    /// [`DeviceError::InDoubt`].
    pub const fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// The device refused what was sent and did nothing, so the command had no effect so far.
    pub const fn mark_unsent(&mut self) {
        self.sent = false;
    }

    /// Whether the command was said to be sent.
    #[must_use]
    pub const fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.cell.borrow().unwanted
    }

    /// Answers.
    pub fn answer(mut self, outcome: Outcome) {
        self.put(outcome);
    }

    fn put(&mut self, outcome: Outcome) {
        self.answered = true;
        // the waker runs outside the borrow: it may look at the cell at once
        let waker = {
            let mut cell = self.cell.borrow_mut();
            cell.outcome = Some(outcome);
            cell.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered {
            let why = "the source stopped before the answer came".to_owned();
            self.put(Err(if self.sent { DeviceError::InDoubt { why } } else { DeviceError::Closed }));
        }
    }
}

/// A command that waits to be carried out.
#[derive(Debug)]
pub struct Pending {
    /// What.
    pub command: DeviceCommand,
    /// Until when, on the monotonic clock, in nanoseconds.
    pub deadline_ns: u64,
    /// Where the answer goes.
    pub reply: Reply,
}

impl Pending {
    /// Answers.
    pub fn answer(self, outcome: Outcome) {
        self.reply.answer(outcome);
    }
}

/// The answer to a submitted command, once it is there. Dropping it says that nobody waits.
#[derive(Debug)]
#[must_use = "a command whose answer is dropped is not carried out if it was not taken yet"]
pub struct Answering(Rc<RefCell<Cell>>);

impl Future for Answering {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut cell = self.0.borrow_mut();
        match cell.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                cell.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut cell = self.0.borrow_mut();
        cell.unwanted = true;
        cell.waker = None;
    }
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Pending>,
    limit: usize,
    commanders: usize,
    /// Whether there is a source that takes commands.
    open: bool,
    waker: Option<Waker>,
}

/// Where commands for one device are given. Clones give to the same device.
#[derive(Debug)]
pub struct Commander(Rc<RefCell<Queue>>);

impl Commander {
    /// Gives a command; it is in the queue when this returns, or answered already (V2).
    /// `deadline_ns` is on the monotonic clock.
    pub fn submit(&self, command: DeviceCommand, deadline_ns: u64) -> Answering {
        let cell = Rc::new(RefCell::new(Cell::default()));
        let reply = Reply { cell: Rc::clone(&cell), sent: false, answered: false };
        let pending = Pending { command, deadline_ns, reply };
        let refused = {
            let mut queue = self.0.borrow_mut();
            if !queue.open {
                Some((pending, DeviceError::Closed))
            } else if queue.waiting.len() >= queue.limit {
                Some((pending, DeviceError::Busy))
            } else {
                queue.waiting.push_back(pending);
                None
            }
        };
        match refused {
            Some((pending, error)) => pending.answer(Err(error)),
            None => self.wake(),
        }
        Answering(cell)
    }

    /// Whether the device's source still takes commands.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.borrow().open
    }

    fn wake(&self) {
        let waker = self.0.borrow_mut().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Clone for Commander {
    fn clone(&self) -> Commander {
        self.0.borrow_mut().commanders += 1;
        Commander(Rc::clone(&self.0))
    }
}

impl Drop for Commander {
    fn drop(&mut self) {
        let last = {
            let mut queue = self.0.borrow_mut();
            queue.commanders -= 1;
            queue.commanders == 0
        };
        if last {
            self.wake();
        }
    }
}

/// The commands for one device, as its source takes them. Dropping it answers what waits.
#[derive(Debug)]
pub struct Commands(Rc<RefCell<Queue>>);

impl Commands {
    /// The next command that somebody still waits for; `None` where none is there now.
    pub fn try_next(&mut self) -> Option<Pending> {
        loop {
            let pending = self.0.borrow_mut().waiting.pop_front()?;
            if !pending.reply.is_unwanted() {
                return Some(pending);
            }
        }
    }

    /// The next command; `None` when there is nobody any more who could give one.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Pending>> {
        if let Some(pending) = self.try_next() {
            return Poll::Ready(Some(pending));
        }
        let mut queue = self.0.borrow_mut();
        if queue.commanders == 0 {
            return Poll::Ready(None);
        }
        if !queue.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            queue.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// [`Commands::poll_next`] to wait for. When nobody can give commands any more it never ends,
    /// so that a source can wait for it beside other things.
    pub async fn next(&mut self) -> Pending {
        let next = std::future::poll_fn(|cx| match self.poll_next(cx) {
            Poll::Ready(None) => Poll::Pending,
            Poll::Ready(Some(pending)) => Poll::Ready(pending),
            Poll::Pending => Poll::Pending,
        });
        next.await
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        // answered outside the borrow: a waker may submit the next command at once
        let waiting = {
            let mut queue = self.0.borrow_mut();
            queue.open = false;
            queue.waker = None;
            std::mem::take(&mut queue.waiting)
        };
        drop(waiting);
    }
}

/// A queue of at most `limit` commands (from 1) between who commands and a device's source.
#[must_use]
pub fn commands(limit: usize) -> (Commander, Commands) {
    let queue = Queue { waiting: VecDeque::new(), limit: limit.max(1), commanders: 1, open: true, waker: None };
    let queue = Rc::new(RefCell::new(queue));
    (Commander(Rc::clone(&queue)), Commands(queue))
}

/// Longest name that is compared, in characters; it bounds the time of [`nearest`].
const NAME_CHARS_MAX: usize = 64;

/// The known name that is nearest to a wrong one by insertions, deletions, replacements and swaps
/// of neighbours, if any is within a third of its length (at least 1).
#[must_use]
pub fn nearest<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wrong: Vec<char> = wrong.to_lowercase().chars().take(NAME_CHARS_MAX).collect();
    let most = (wrong.len() / 3).max(1);
    known
        .map(|name| (distance(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The optimal string alignment distance, row by row.
fn distance(wrong: &[char], name: &str) -> usize {
    let name: Vec<char> = name.chars().take(NAME_CHARS_MAX).collect();
    let mut before = Vec::new();
    let mut row: Vec<usize> = (0..=wrong.len()).collect();
    for (i, theirs) in name.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, ours) in wrong.iter().enumerate() {
            let mut least = (row[j] + usize::from(ours != theirs)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && name[i - 1] == *ours && wrong[j - 1] == *theirs {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[wrong.len()]
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
