//! Commands of a source: begun on its session, beside everything else.

use super::Source;
use crate::command::{self, Tools};
use futures_util::FutureExt;
use model::device::{DeviceError, Pending};
use std::rc::Rc;
use std::time::Duration;

/// Reads of one Read call, at most, unless the connection taught us a smaller number.
const READ_PIECE: usize = 500;

impl Source {
    /// Begins a command, or answers it at once.
    pub(super) fn on_command(&mut self, pending: Pending) {
        let now = self.clock.monotonic_ns();
        let Pending { command, deadline_ns, reply } = pending;
        let session = self.session().filter(|_| self.machine.is_running());
        let begun = match session {
            None => Err(DeviceError::NotConnected { why: self.away.clone() }),
            Some(_) if deadline_ns <= now => Err(DeviceError::Timeout { sent: false }),
            Some(session) => {
                let by_path = |path: &str| self.places.get(path).map(|at| &self.entries[*at].1);
                command::find(command, &self.plan.path, by_path, self.items()).map(|task| (session, task))
            }
        };
        match begun {
            Err(error) => {
                reply.answer(Err(error));
                self.count("commands_failed", 1);
            }
            Ok((session, task)) => {
                let tools = Tools {
                    session,
                    memo: Rc::clone(&self.memo),
                    cap: self.cap.min(READ_PIECE),
                    within: Duration::from_nanos(deadline_ns - now),
                };
                self.commanded.push(command::carry_out(task, reply, tools).boxed_local());
            }
        }
    }
}
