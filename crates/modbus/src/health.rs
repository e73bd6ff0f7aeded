//! How a source is, in words that a person can act on.
//!
//! Purpose: one sentence from everything that is known: connection, units, requests.
//!
//! Invariants
//! - H1: `Running` only after a right answer on this connection, with nothing missing.
//! - H2: every other state names where it is, what happened and what to look at.

use crate::exception::{Failure, exception_text};
use crate::lane::Request;
use crate::poller::Polls;
use crate::session::Session;
use crate::unit::Unit;
use model::SourceState;
use std::time::Duration;

/// The state of a source.
pub(crate) fn state(session: &Session, polls: &Polls) -> SourceState {
    if !session.has_answered() {
        return match session.loss() {
            Some(loss) => SourceState::Down { reason: format!("{}: {loss}; tried again by itself", polls.address) },
            None if session.is_connected() => {
                SourceState::Starting { doing: format!("waiting for the first answer of {}", polls.address) }
            }
            None => SourceState::Starting { doing: format!("connecting to {}", polls.address) },
        };
    }
    let mut missing = polls.units.iter().filter_map(|unit| unit_trouble(unit, polls));
    let first = missing.next();
    let more = missing.count();
    let unreadable = polls.refused.first().map(|tag| {
        format!("{tag} cannot be read in one request; check its address and length, max_registers and max_bits")
    });
    match (first, unreadable) {
        (None, None) => SourceState::Running,
        (Some(reason), _) if more > 0 => SourceState::Degraded { reason: format!("{reason}; and {more} more units") },
        (Some(reason), _) | (None, Some(reason)) => SourceState::Degraded { reason },
    }
}

/// What is missing of a unit.
fn unit_trouble(unit: &Unit, polls: &Polls) -> Option<String> {
    let title = unit.title();
    // What was not read since the unit or its connection was away is read again in its next cycle.
    let failing =
        |request: &&Request| !matches!(request.failure, None | Some(Failure::NotConnected | Failure::Demoted));
    if unit.demotion.is_demoted() {
        let within = Duration::from_nanos(polls.timeout_ns);
        return Some(format!(
            "{title} does not answer within {within:?} and is only probed; check its power, wiring and unit id"
        ));
    }
    let mut requests = unit.lanes.iter().flat_map(|lane| &lane.requests).filter(failing);
    let first = requests.next()?;
    let more = requests.count();
    let block = first.block;
    let word = block.function.area().word();
    let (from, to) = (block.address, u32::from(block.address) + u32::from(block.quantity) - 1);
    let place = if block.quantity == 1 { format!("{word}:{from}") } else { format!("{word}:{from} to {word}:{to}") };
    let what = match first.failure? {
        Failure::Exception(code) => format!("answered with code {code}: {}", exception_text(code)),
        Failure::Timeout | Failure::Demoted => {
            "was not answered in time; check the device, or raise the timeout".into()
        }
        Failure::NotConnected => "was not read since the connection went".into(),
        Failure::Unreadable => "cannot be read in one request".into(),
    };
    let rest = if more > 0 { format!(" (and {more} more requests)") } else { String::new() };
    Some(format!("{title}: the read of {place}{rest} {what}"))
}
