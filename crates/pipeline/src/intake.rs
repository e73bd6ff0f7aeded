//! The pass as the sources of a shard see it.

use crate::pass::Pass;
use env::Clock;
use model::{
    CommitError, Gap, Intake, LogPosition, Reading, Refused, Run, SourceId, SourceState, TagDeclaration, TagId,
    TimestampNs,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A handle on a shard's pass, for sources on the shard's own thread.
#[derive(Clone)]
pub struct ShardIntake {
    pass: Rc<RefCell<Pass>>,
    clock: Rc<dyn Clock>,
    submitted: Rc<dyn Fn()>,
}

impl ShardIntake {
    /// A handle on this pass. `submitted` is called when something waits for the log that was not waited
    /// for before, so that the duty cycle looks at it.
    #[must_use]
    pub fn new(pass: Rc<RefCell<Pass>>, clock: Rc<dyn Clock>, submitted: Rc<dyn Fn()>) -> ShardIntake {
        ShardIntake { pass, clock, submitted }
    }

    /// Something goes into the log.
    fn store<T>(&self, what: impl FnOnce(&mut Pass) -> T) -> T {
        let mut pass = self.pass.borrow_mut();
        let before = pass.deadline_ns();
        let stored = what(&mut pass);
        // Most readings join a batch that is due already: the duty cycle comes for it without being woken.
        let sooner = pass.deadline_ns().is_some_and(|due_ns| before.is_none_or(|before_ns| due_ns < before_ns));
        drop(pass);
        if sooner {
            (self.submitted)();
        }
        stored
    }
}

impl Intake for ShardIntake {
    fn source(&self, name: &str) -> Result<SourceId, Refused> {
        let id = self.pass.borrow_mut().source(name, true, self.clock.wall());
        (self.submitted)();
        Ok(id)
    }

    fn declare(&self, source: SourceId, tags: &[TagDeclaration]) -> Result<Vec<TagId>, Refused> {
        self.pass.borrow_mut().declare(source, tags)
    }

    fn submit(&self, _: SourceId, server_time: TimestampNs, readings: &[Reading]) -> Result<LogPosition, Refused> {
        self.store(|pass| pass.submit(server_time, readings))
    }

    fn submit_run(&self, _: SourceId, server_time: TimestampNs, run: Run<'_>) -> Result<LogPosition, Refused> {
        self.store(|pass| pass.submit_run(server_time, run))
    }

    fn gap(&self, gap: Gap) {
        self.pass.borrow_mut().gap(gap);
        (self.submitted)();
    }

    fn state(&self, source: SourceId, state: SourceState) {
        let shown = state.clone();
        let changed = self.pass.borrow_mut().set_state(source, state, self.clock.wall());
        match (changed, shown) {
            (Some(name), SourceState::Down { reason }) => tracing::warn!(source = name, reason, "source is down"),
            (Some(name), SourceState::Degraded { reason }) => {
                tracing::warn!(source = name, reason, "source is degraded");
            }
            (Some(name), shown) => {
                tracing::info!(source = name, state = shown.word(), detail = shown.reason(), "source")
            }
            (None, _) => {}
        }
    }

    fn count(&self, source: SourceId, counter: &'static str, by: u64) {
        self.pass.borrow_mut().count(source, counter, by, self.clock.wall());
    }

    fn figure(&self, source: SourceId, name: &'static str, value: u64) {
        self.pass.borrow_mut().figure(source, name, value, self.clock.wall());
    }

    fn poll_durable(&self, position: LogPosition, cx: &mut Context<'_>) -> Poll<Result<(), CommitError>> {
        self.pass.borrow_mut().poll_durable(position, cx)
    }
}
