//! The messages of a source: asked for by Publish, put in order, made whole, taken.

use super::{Done, Kind, PUBLISH_REST_NS, Published, Source};
use crate::feed::Parcel;
use crate::fetch::{self, Arrival};
use crate::items;
use crate::ledger::Ack;
use crate::notification::{self, Content};
use crate::prepare::is_connection;
use crate::sequence::{Step, steps};
use crate::supervisor::Event;
use futures_util::{FutureExt, StreamExt};
use model::GapReason;
use opcua::client::UARequest;
use opcua::client::services::{Publish, SetPublishingMode};
use opcua::types::{Error, NotificationMessage, PublishResponse, StatusCode, SubscriptionAcknowledgement};
use std::time::Duration;

impl Source {
    /// Sends Publish requests as far as the window allows.
    pub(super) fn publish(&mut self) {
        if !self.outbox.is_empty() || self.publish_after > self.clock.monotonic_ns() {
            return;
        }
        let Some(session) = self.session() else {
            return;
        };
        let settings = &self.plan.settings;
        let keep_alive = self.subscriptions.iter().map(|s| s.keep_alive_ns).max().unwrap_or(0);
        let timeout = Duration::from_nanos(keep_alive.saturating_mul(4)) + settings.watchdog + settings.timeout;
        while self.window.wants(self.publishes.len(), &self.ledger) {
            let acks = self.ledger.take();
            self.count("acks_sent", acks.len() as u64);
            let session = session.clone();
            let request = async move {
                let carried = acks.iter().map(|ack| SubscriptionAcknowledgement {
                    subscription_id: ack.subscription,
                    sequence_number: ack.number,
                });
                let request = Publish::new(&session).timeout(timeout).acks(carried.collect());
                let answer = request.send(session.channel()).await;
                Published { acks, answer }
            };
            self.publishes.push(request.boxed());
        }
    }

    /// Lifetime of the subscription that dies first.
    pub(super) fn lifetime_ns(&self) -> u64 {
        self.subscriptions.iter().map(|s| s.lifetime_ns).min().unwrap_or(u64::MAX)
    }

    /// While we ask for nothing, a call that names the subscriptions keeps them from dying of age
    /// (OPC 10000-4, 5.14.1.1: the lifetime counter starts over).
    pub(super) fn poke(&mut self) {
        let now = self.clock.monotonic_ns();
        if now.saturating_sub(self.poked) < self.lifetime_ns() / 4 {
            return;
        }
        self.poked = now;
        let ids: Vec<u32> = self.subscriptions.iter().map(|s| s.id).collect();
        if let Some(session) = self.session() {
            tokio::spawn(async move {
                let request = SetPublishingMode::new(true, &session).subscription_ids(ids);
                // A failure shows in the Publish requests soon enough.
                let _ = request.send(session.channel()).await;
            });
        }
    }

    pub(super) fn count_republished(&self, arrivals: &[Arrival]) {
        let messages = arrivals.iter().filter(|arrival| matches!(arrival, Arrival::Message { .. }));
        self.count("republished", messages.count() as u64);
    }

    /// Takes a publish response and all others that are there, in the order of their numbers: they
    /// may be polled in another order than they came in.
    pub(super) fn on_published(&mut self, first: Published) {
        let mut answers = vec![first];
        while let Some(Some(next)) = self.publishes.next().now_or_never() {
            answers.push(next);
        }
        let mut arrivals = Vec::new();
        for Published { acks, answer } in answers {
            match answer {
                Ok(answer) => arrivals.extend(self.on_answer(answer)),
                Err(error) => {
                    self.ledger.give_back(acks);
                    self.on_publish_error(&error);
                }
            }
        }
        arrivals.sort_by_key(|(key, _)| *key);
        self.inbox.extend(arrivals.into_iter().map(|(_, arrival)| arrival));
    }

    /// An answered Publish request, with what orders it among others: subscription, distance from
    /// the expected number, keep-alives before the message that they announce.
    pub(super) fn on_answer(&mut self, answer: PublishResponse) -> Option<((u32, u32, bool), Arrival)> {
        let subscription = answer.subscription_id;
        let expected = self.sequences.get(&subscription)?.expected();
        self.tell(Event::Heard { subscription });
        let message = answer.notification_message;
        let distance = steps(expected, message.sequence_number.max(1));
        if notification::is_keep_alive(&message) {
            self.count("keep_alives", 1);
            let next = message.sequence_number;
            return Some(((subscription, distance, false), Arrival::KeepAlive { subscription, next }));
        }
        Some(((subscription, distance, true), Arrival::Message { subscription, message }))
    }

    pub(super) fn on_publish_error(&mut self, error: &Error) {
        let status = error.status();
        match status {
            // The request grew old at the server, which is not wrong: another one goes out.
            StatusCode::BadTimeout => {}
            StatusCode::BadTooManyPublishRequests => self.window.shrink(),
            _ if fetch::is_gone(status) => {
                // All outstanding requests say so; the first one tells.
                if self.machine.is_running() {
                    self.tell(Event::SubscriptionGone);
                    self.show_down("the server does not know the subscription any more");
                }
            }
            _ if self.is_session_lost(status) => self.tell(Event::SessionGone),
            // The link says that the connection is gone.
            _ if is_connection(status) => {}
            _ => {
                self.count("publish_errors", 1);
                tracing::warn!(source = %self.name, %error, "OPC UA Publish was refused");
            }
        }
        if status != StatusCode::BadTooManyPublishRequests {
            self.publish_after = self.clock.monotonic_ns() + PUBLISH_REST_NS;
        }
    }

    /// Looks at what arrived, up to the first hole or refusal.
    pub(super) fn take_inbox(&mut self) {
        while self.outbox.is_empty() && !self.closed && !self.is_doing(&[Kind::Fetch, Kind::Resume]) {
            let Some(arrival) = self.inbox.pop_front() else {
                return;
            };
            let (subscription, step) = match &arrival {
                Arrival::Message { subscription, message } => {
                    (*subscription, self.sequences.get(subscription).map(|s| s.on_message(message.sequence_number)))
                }
                Arrival::KeepAlive { subscription, next } => {
                    (*subscription, self.sequences.get(subscription).map(|s| s.on_keep_alive(*next)))
                }
                Arrival::Hole { subscription, from, to } => {
                    self.on_hole(*subscription, *from, *to);
                    continue;
                }
            };
            match (step, arrival) {
                (Some(Step::Missing { from, to }), arrival) => {
                    self.inbox.push_front(arrival);
                    self.start_fetch(subscription, from, to);
                    return;
                }
                (Some(Step::Take | Step::Unnumbered), Arrival::Message { message, .. }) => {
                    self.take_message(subscription, message);
                    self.flush();
                }
                _ => {}
            }
        }
    }

    pub(super) fn start_fetch(&mut self, subscription: u32, from: u32, to: u32) {
        let Some(session) = self.session() else {
            return;
        };
        if !self.machine.is_running() {
            return;
        }
        tracing::warn!(source = %self.name, subscription, from, to, "OPC UA messages are missing; asking for them again");
        let work = async move { Done::Fetched(fetch::fetch(session, subscription, from, to).await) };
        // A reread or retry that was under way is started again later.
        self.reread_wanted |= self.is_doing(&[Kind::Reread]);
        if self.is_doing(&[Kind::Retry]) {
            self.retry_at = Some(self.clock.monotonic_ns() + self.retry_wait);
        }
        self.work = Some((Kind::Fetch, work.boxed_local()));
    }

    pub(super) fn on_hole(&mut self, subscription: u32, from: u32, to: u32) {
        let Some(sequence) = self.sequences.get_mut(&subscription) else {
            return;
        };
        sequence.give_up_to(to);
        self.count("sequence_gaps", u64::from(steps(from, to)) + 1);
        let now = self.clock.wall();
        tracing::warn!(source = %self.name, subscription, from, to, "OPC UA messages are lost; current values are read instead");
        self.gap(None, self.last_message, now, GapReason::SequenceGap, None);
        self.reread_wanted = true;
    }

    pub(super) fn take_message(&mut self, subscription: u32, message: NotificationMessage) {
        let number = message.sequence_number;
        if let Some(sequence) = self.sequences.get_mut(&subscription) {
            sequence.taken(number);
        }
        self.count("notifications", 1);
        let content = notification::read(message, |handle| self.tags.get(handle as usize).copied().flatten());
        let status_change = content.status_change;
        let ack = (number != 0).then_some(Ack { subscription, number });
        self.take_content(content, ack);
        if let Some(status) = status_change {
            self.tell(Event::SubscriptionGone);
            self.show_down(&format!("the server ended the subscription: {}", items::name(status)));
        }
    }

    pub(super) fn take_content(&mut self, content: Content, ack: Option<Ack>) {
        let now = self.clock.wall();
        self.count("samples", content.readings.len() as u64);
        self.count("overflows", content.overflowed.len() as u64);
        self.count("unreadable", content.unreadable.len() as u64);
        for tag in content.overflowed {
            self.gap(Some(tag), self.last_message, now, GapReason::QueueOverflow, None);
        }
        for (tag, why) in content.unreadable {
            tracing::debug!(source = %self.name, %tag, %why, "OPC UA value not readable");
            self.gap(Some(tag), now, now.plus_ns(1), GapReason::Unreadable, Some(1));
        }
        self.last_message = now;
        self.outbox.push(Parcel { readings: content.readings, at: now, ack }, &mut self.ledger);
    }

    /// Messages that arrived before the subscriptions were lost are data all the same.
    pub(super) fn take_leftovers(&mut self) {
        for arrival in std::mem::take(&mut self.inbox) {
            let Arrival::Message { subscription, message } = arrival else {
                continue;
            };
            let step = self.sequences.get(&subscription).map(|s| s.on_message(message.sequence_number));
            if matches!(step, Some(Step::Take | Step::Missing { .. })) {
                if let Some(sequence) = self.sequences.get_mut(&subscription) {
                    sequence.taken(message.sequence_number);
                }
                let content = notification::read(message, |handle| self.tags.get(handle as usize).copied().flatten());
                self.take_content(content, None);
            }
        }
    }
}
