//! Getting what is missing: Republish, and reading current values (OPC 10000-4, 5.14.6 and 6.7).
//!
//! Invariants
//! - F1: every missing number is asked for, unless there are more than [`MISSING_MAX`] of them; what
//!   the server has no more is answered as a hole, never left out.
//! - F2: what comes back stands in the order of the numbers.

use crate::chunks::in_chunks;
use crate::describe::attribute;
use crate::notification::Content;
use crate::prepare::is_connection;
use crate::sequence::{after, before, steps};
use model::{TagId, ValueKind};
use opcua::client::services::Republish;
use opcua::client::{Session, UARequest};
use opcua::types::{AttributeId, Error, NodeId, NotificationMessage, ReadValueId, StatusCode, TimestampsToReturn};
use std::sync::Arc;

/// Missing messages that are asked for, at most; the oldest above it are given up. Servers keep
/// some tens.
const MISSING_MAX: u32 = 256;
/// Messages fetched for one subscription when a session is resumed, at most.
const RESUME_MAX: usize = 1_000;

/// Something that arrived on a subscription.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A message with data.
    Message {
        /// On which subscription.
        subscription: u32,
        /// The message.
        message: NotificationMessage,
    },
    /// A keep-alive.
    KeepAlive {
        /// On which subscription.
        subscription: u32,
        /// Number of the next message.
        next: u32,
    },
    /// These messages cannot be had any more, both ends included.
    Hole {
        /// On which subscription.
        subscription: u32,
        /// First number.
        from: u32,
        /// Last number.
        to: u32,
    },
}

/// Whether the server does not know the subscription any more.
pub(crate) fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::BadSubscriptionIdInvalid | StatusCode::BadNoSubscription)
}

async fn republish(session: &Session, subscription: u32, number: u32) -> Result<Option<NotificationMessage>, Error> {
    match Republish::new(subscription, number, session).send(session.channel()).await {
        Ok(answer) => Ok(Some(answer.notification_message)),
        Err(error) if is_gone(error.status()) || is_connection(error.status()) => Err(error),
        // Not available, or a server without Republish: either way it is not to be had.
        Err(_) => Ok(None),
    }
}

/// Fetches the messages with these numbers, both ends included.
///
/// # Errors
/// The subscription or the connection is gone.
pub(crate) async fn fetch(session: Arc<Session>, subscription: u32, from: u32, to: u32) -> Result<Vec<Arrival>, Error> {
    let mut arrivals = Vec::new();
    let mut number = from;
    let count = steps(from, to) + 1;
    if count > MISSING_MAX {
        for _ in 0..count - MISSING_MAX {
            number = after(number);
        }
        arrivals.push(Arrival::Hole { subscription, from, to: before(number) });
    }
    loop {
        match republish(&session, subscription, number).await? {
            Some(message) => arrivals.push(Arrival::Message { subscription, message }),
            None => push_hole(&mut arrivals, subscription, number),
        }
        if number == to {
            return Ok(arrivals);
        }
        number = after(number);
    }
}

fn push_hole(arrivals: &mut Vec<Arrival>, subscription: u32, number: u32) {
    if let Some(Arrival::Hole { to, .. }) = arrivals.last_mut()
        && after(*to) == number
    {
        *to = number;
        return;
    }
    arrivals.push(Arrival::Hole { subscription, from: number, to: number });
}

/// Fetches what each subscription sent meanwhile, from its next expected number on, until the server
/// has no more.
///
/// # Errors
/// A subscription or the connection is gone.
pub(crate) async fn resume(session: Arc<Session>, expected: Vec<(u32, u32)>) -> Result<Vec<Arrival>, Error> {
    let mut arrivals = Vec::new();
    for (subscription, mut number) in expected {
        for _ in 0..RESUME_MAX {
            let Some(message) = republish(&session, subscription, number).await? else { break };
            arrivals.push(Arrival::Message { subscription, message });
            number = after(number);
        }
    }
    Ok(arrivals)
}

/// A tag's node, to be read.
pub(crate) type Readable = (NodeId, TagId, ValueKind);

/// Reads the current value of each tag.
///
/// # Errors
/// The call was refused, or the connection is gone.
pub(crate) async fn reread(session: Arc<Session>, size: usize, tags: Vec<Readable>) -> Result<Content, Error> {
    let asked: Vec<ReadValueId> = tags.iter().map(|(node, _, _)| attribute(node, AttributeId::Value)).collect();
    let session = &session;
    let values =
        in_chunks(&asked, size, |piece| async move { session.read(&piece, TimestampsToReturn::Both, 0.0).await })
            .await?;
    let mut content = Content::default();
    for ((_, tag, kind), value) in tags.into_iter().zip(&values) {
        content.push(tag, kind, value);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_holes_become_one() {
        let mut arrivals = Vec::new();
        for number in [5, 6, 7, 9, u32::MAX, 1] {
            push_hole(&mut arrivals, 3, number);
        }
        let holes: Vec<_> = arrivals
            .iter()
            .map(|arrival| match arrival {
                Arrival::Hole { from, to, .. } => (*from, *to),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(holes, [(5, 7), (9, 9), (u32::MAX, 1)]);
    }
}
