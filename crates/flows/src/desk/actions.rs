//! What people and programs do: pause, replay, discard, acknowledge, run a batch; and the line that
//! says who did it.

use super::{Desk, Ordered, recover};
use crate::alarm_book::{ActError, Change};
use crate::entry::{Draft, EntryKind};
use crate::letters::{Letter, LetterState, delivery_name};
use crate::message::MessageKind;
use crate::outlet::Pause;
use crate::records::DOCUMENT_BYTES_MAX;
use crate::runs::{Order, Run, RunError};
use crate::trail::Report;
use alarms::Input;
use delivery::{DeliveryId, Offset};
use model::{Refused, TimestampNs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Replay numbers of what a comparison sends again begin here, above those of dead letters.
const RESEND_FIRST: u32 = 1 << 24;

/// Who did what: one line of the audit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When, ns since 1970 UTC.
    pub time_ns: i64,
    /// Who.
    pub who: String,
    /// What they did, one word or a few.
    pub what: String,
    /// The flow, alarm, request or letter.
    pub target: String,
    /// How it was.
    pub before: Value,
    /// How it is, or what was asked.
    pub after: Value,
    /// What came of it.
    pub outcome: String,
    /// What they wrote.
    pub comment: Option<String>,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionError {
    /// There is nothing of that name.
    Unknown,
    /// It is not in a state for that; a sentence.
    Conflict(String),
    /// The alarm's state does not allow it.
    Alarm(alarms::Refused),
    /// The journal takes nothing now.
    Refused(Refused),
}

impl Desk {
    /// Writes what is owed and answers the offset that must be durable for it to have happened.
    fn settle_up(&mut self, now: TimestampNs) -> Result<Offset, ActionError> {
        self.pay(now);
        if self.is_owing() { Err(ActionError::Refused(Refused::Busy)) } else { Ok(self.journal.end()) }
    }

    /// Writes an audit line; it has happened when the journal is durable up to the answered offset.
    ///
    /// # Errors
    /// [`ActionError::Refused`]
    pub fn audit(&mut self, line: &AuditLine, now: TimestampNs) -> Result<Offset, ActionError> {
        self.owe([audit_draft(line)]);
        self.settle_up(now)
    }

    /// Changes which values go back by themselves, with an audit line; it has happened when the
    /// journal is durable up to the answered offset.
    ///
    /// # Errors
    /// [`ActionError::Refused`]
    pub fn change_reverts(
        &mut self,
        change: impl FnOnce(&mut request::Reverts),
        line: Option<&AuditLine>,
        now: TimestampNs,
    ) -> Result<Offset, ActionError> {
        let before = self.reverts.clone();
        change(&mut self.reverts);
        if self.reverts != before {
            self.owe([Draft::new(EntryKind::Control, now, 0, recover::REVERTS, &self.reverts)]);
        }
        self.owe(line.map(audit_draft));
        self.settle_up(now)
    }

    /// Which values go back by themselves.
    #[must_use]
    pub const fn reverts(&self) -> &request::Reverts {
        &self.reverts
    }

    /// Stops or resumes a flow's deliveries.
    ///
    /// # Errors
    /// [`ActionError`]
    pub fn set_paused(
        &mut self,
        flow: &str,
        pause: Option<Pause>,
        by: &str,
        now: TimestampNs,
    ) -> Result<Offset, ActionError> {
        let at = self.flow(flow).ok_or(ActionError::Unknown)?;
        let before = self.outlets[at].paused().cloned();
        if before.is_some() && pause.is_some() {
            return Ok(self.journal.durable()); // it stays paused by whoever was first
        }
        let comment = pause.as_ref().and_then(|pause| pause.comment.clone());
        let what = if pause.is_some() { "pause" } else { "resume" };
        let body = recover::ControlBody { what: what.to_owned(), offset: None, pause: pause.clone() };
        let line = AuditLine {
            time_ns: now.0,
            who: by.to_owned(),
            what: format!("{what} flow"),
            target: flow.to_owned(),
            before: json!(before),
            after: json!(pause),
            outcome: "done".to_owned(),
            comment,
        };
        self.owe([Draft::new(EntryKind::Control, now, 0, format!("flow/{flow}"), &body), audit_draft(&line)]);
        self.outlets[at].set_paused(pause);
        self.mark(at);
        self.settle_up(now)
    }

    /// A flow's place by its name.
    #[must_use]
    pub fn flow(&self, name: &str) -> Option<usize> {
        self.outlets.iter().position(|outlet| outlet.spec.name == name)
    }

    /// Sends a dead letter again, with the present configuration, or with another body.
    ///
    /// # Errors
    /// [`ActionError`]
    pub fn replay(
        &mut self,
        id: &str,
        body: Option<Value>,
        by: &str,
        comment: Option<String>,
        now: TimestampNs,
    ) -> Result<Offset, ActionError> {
        let letter = self.letters.get(id).cloned().ok_or(ActionError::Unknown)?;
        let flow = self
            .flow(&letter.flow)
            .ok_or_else(|| ActionError::Conflict(format!("the flow {} is no longer configured", letter.flow)))?;
        match letter.state {
            LetterState::Discarded => {
                return Err(ActionError::Conflict(format!("{id} was discarded; it cannot be replayed")));
            }
            LetterState::Replayed => {
                let last = letter.replays.last().cloned().unwrap_or_default();
                return Err(ActionError::Conflict(format!(
                    "{id} was replayed as {last}; replay that one if it failed"
                )));
            }
            LetterState::Open => {}
        }
        if self.ordered.iter().rev().take_while(|ordered| ordered.at.is_none()).any(|ordered| ordered.letter.id == id) {
            return Err(ActionError::Conflict(format!("{id} is being replayed already")));
        }
        let length = body.as_ref().map_or(0, |body| body.to_string().len());
        if length > DOCUMENT_BYTES_MAX {
            let what = format!("the corrected body has {length} bytes; at most {DOCUMENT_BYTES_MAX} are taken");
            return Err(ActionError::Conflict(what));
        }
        let number = self.replay_number(&letter);
        let delivery = DeliveryId { offset: Offset(letter.offset), replay: number };
        let order = recover::ReplayBody { id: delivery, letter: letter.id.clone(), corrected: body.clone(), at: 0 };
        let name = delivery_name(&letter.flow, delivery);
        let after = Letter {
            state: LetterState::Replayed,
            replays: letter.replays.iter().cloned().chain([name.clone()]).collect(),
            by: Some(by.to_owned()),
            ..letter.clone()
        };
        let line = AuditLine {
            time_ns: now.0,
            who: by.to_owned(),
            what: "replay dead letter".to_owned(),
            target: letter.id.clone(),
            before: json!(letter.state.word()),
            after: json!({ "delivery": name, "body": body }),
            outcome: "done".to_owned(),
            comment,
        };
        let stream = format!("flow/{}", letter.flow);
        let replay = Draft::new(EntryKind::Replay, now, letter.offset, stream, &order);
        self.owe([replay, recover::letter_draft(&after, now), audit_draft(&line)]);
        self.ordered.push_back(Ordered { at: None, flow, letter, replay: order });
        self.settle_up(now)
    }

    /// The number of the next replay of a letter's message in its flow.
    fn replay_number(&self, letter: &Letter) -> u32 {
        let same = self.letters.of(&letter.flow, letter.offset);
        let highest = same.map(|other| other.replay + u32::from(!other.replays.is_empty())).max();
        highest.unwrap_or(letter.replay).max(letter.replay) + 1
    }

    /// Puts a letter away.
    ///
    /// # Errors
    /// [`ActionError`]
    pub fn discard(
        &mut self,
        id: &str,
        by: &str,
        comment: Option<String>,
        now: TimestampNs,
    ) -> Result<Offset, ActionError> {
        let letter = self.letters.get(id).cloned().ok_or(ActionError::Unknown)?;
        if letter.state != LetterState::Open {
            return Err(ActionError::Conflict(format!("{id} is {} already", letter.state.word())));
        }
        let after = Letter { state: LetterState::Discarded, by: Some(by.to_owned()), ..letter };
        let line = AuditLine {
            time_ns: now.0,
            who: by.to_owned(),
            what: "discard dead letter".to_owned(),
            target: id.to_owned(),
            before: json!("open"),
            after: json!("discarded"),
            outcome: "done".to_owned(),
            comment,
        };
        self.owe([recover::letter_draft(&after, now), audit_draft(&line)]);
        self.settle_up(now)
    }

    // ---- comparing both sides -------------------------------------------------------------------

    /// Whether anything of a key is unsettled in a flow.
    #[must_use]
    pub fn is_pending_key(&self, flow: usize, key: &str) -> bool {
        self.outlets.get(flow).is_some_and(|outlet| outlet.is_pending_key(key))
    }

    /// Sends messages of a flow again under the idempotency keys that they had.
    pub fn resend(&mut self, flow: usize, messages: Vec<crate::message::Message>, now: TimestampNs) {
        self.resends += 1;
        let number = RESEND_FIRST + self.resends;
        if let Some(outlet) = self.outlets.get_mut(flow) {
            messages.into_iter().for_each(|message| outlet.resend(message, number, now));
            self.mark(flow);
        }
    }

    /// What a comparison of both sides found.
    pub fn note_comparison(
        &mut self,
        flow: usize,
        found: crate::reconcile::Comparison,
        entry: Draft,
        now: TimestampNs,
    ) {
        self.owe([entry]);
        self.pay(now);
        if let Some(outlet) = self.outlets.get_mut(flow) {
            outlet.compared = Some(found);
        }
    }

    // ---- alarms --------------------------------------------------------------------------------

    /// A rule's condition began or ended on a tag.
    pub fn on_edge(&mut self, rule: &str, tag: &str, unit: &str, input: &Input, now: TimestampNs) {
        if let Some(change) = self.alarms.on_edge(rule, tag, unit, input, now) {
            self.alarm_changed(change, now);
        }
    }

    /// What an alarm's change is written as: its event first (J17), if it is not known already.
    pub(super) fn alarm_changed(&mut self, change: Change, now: TimestampNs) {
        let known = |event: &Draft| self.ids.find(&event.stream, &event.id).is_some();
        let event = change.event.filter(|event| !known(event));
        self.owe(event.into_iter().chain([change.entry]));
        self.pay(now);
    }

    /// Somebody does something to an alarm.
    ///
    /// # Errors
    /// [`ActionError`]
    pub fn act(&mut self, id: &str, input: &Input, now: TimestampNs) -> Result<Offset, ActionError> {
        let before = self.alarms.get(id).map(|alarm| alarm.state().word());
        let change = self.alarms.act(id, input, now).map_err(|error| match error {
            ActError::Unknown => ActionError::Unknown,
            ActError::Refused(refused) => ActionError::Alarm(refused),
        })?;
        let Some(change) = change else { return Ok(self.journal.durable()) };
        let line = AuditLine {
            time_ns: now.0,
            who: input.by().unwrap_or("anonymous").to_owned(),
            what: format!("alarm {}", change.transition.what.word()),
            target: id.to_owned(),
            before: json!(before),
            after: json!(self.alarms.get(id).map(|alarm| alarm.state().word())),
            outcome: "done".to_owned(),
            comment: input.comment().map(str::to_owned),
        };
        self.alarm_changed(change, now);
        self.owe([audit_draft(&line)]);
        self.settle_up(now)
    }

    // ---- batches -------------------------------------------------------------------------------

    /// The run that is due now.
    pub fn due_run(&mut self, now: TimestampNs) -> Option<Order> {
        let as_of = self.journal.durable();
        // behind a crash, what was recovered is read once it is durable again
        if self.is_owing() || as_of < self.recovered {
            return None;
        }
        let order = self.batches.due(now, as_of)?;
        self.note_undurable(now);
        Some(order)
    }

    /// Records that are not durable yet are not in the run that was just ordered: they are late.
    fn note_undurable(&mut self, now: TimestampNs) {
        for message in &self.uncommitted {
            if message.kind() == MessageKind::Record {
                self.batches.on_record(message.name(), message.time, now);
            }
        }
    }

    /// Orders a run now.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn order_run(
        &mut self,
        name: &str,
        span: Option<(TimestampNs, TimestampNs)>,
        now: TimestampNs,
    ) -> Result<Order, RunError> {
        let as_of = self.journal.durable();
        if as_of < self.recovered {
            return Err(RunError::Busy);
        }
        let order = self.batches.order_now(name, span, now, as_of)?;
        self.note_undurable(now);
        Ok(order)
    }

    /// A run's document is made, and durable beside the journal: now it counts (J14).
    ///
    /// # Errors
    /// [`Refused`]; the run is made again later.
    pub fn publish_run(
        &mut self,
        batch: usize,
        mut run: Run,
        by: Option<&str>,
        now: TimestampNs,
    ) -> Result<Run, Refused> {
        let document = json!({
            "sha256": run.sha256, "file_name": run.file_name, "content_type": run.content_type, "bytes": run.bytes,
        });
        let body = json!({
            "batch": run.batch, "run": run.id, "label": run.label, "cause": run.cause.word(),
            "correction_of": run.correction_of, "from": TimestampNs(run.from_ns).to_string(),
            "to": TimestampNs(run.to_ns).to_string(), "sequence": run.sequence, "totals": run.totals, "document": document,
            "created": TimestampNs(run.created_ns).to_string(), "as_of": run.as_of,
        });
        self.pause(); // totals may have thousands of figures
        let stream = MessageKind::Batch.stream(&run.batch);
        self.pay(now);
        self.pause();
        let mut message = Draft::new(EntryKind::Message, now, 0, stream, &body).named(&*run.id);
        self.pause();
        // the message's offset is known before it is written: entries are appended end to end
        let mut probe = frame::Builder::new();
        let fits =
            message.with_payload(|entry| probe.entry(model::ProducerId::SELF, model::Sequence(0), entry).is_ok());
        if !fits {
            self.batches.failed(batch, "the run's totals are too long for the journal".to_owned(), now);
            return Err(Refused::Limit);
        }
        run.offset = self.journal.end().0 + probe.bytes().len() as u64;
        self.pause();
        let entry = Draft::new(EntryKind::Run, now, run.offset, format!("batch/{}", run.batch), &run).named(&*run.id);
        self.pause();
        let mut drafts = vec![message, entry];
        drafts.extend(by.map(|by| {
            audit_draft(&AuditLine {
                time_ns: now.0,
                who: by.to_owned(),
                what: "run batch".to_owned(),
                target: run.batch.clone(),
                before: Value::Null,
                after: json!(run.id),
                outcome: "done".to_owned(),
                comment: None,
            })
        }));
        match self.append(drafts, now) {
            Ok(_) => {
                self.batches.made(batch, run.clone(), now);
                Ok(run)
            }
            Err(refused) => {
                self.batches.failed(batch, "the journal takes nothing now".to_owned(), now);
                Err(refused)
            }
        }
    }

    /// A correction would change nothing.
    pub fn drop_run(&mut self, batch: usize) {
        self.batches.unneeded(batch);
    }

    /// A run could not be made.
    pub fn fail_run(&mut self, batch: usize, why: String, now: TimestampNs) {
        tracing::warn!(batch, why, "a batch could not be made; it is tried again in a minute");
        self.batches.failed(batch, why, now);
    }

    /// The receiver's answer to a batch's document is compared with its control totals.
    pub(super) fn reconcile_run(&mut self, offset: Offset, report: &Report, now: TimestampNs) {
        if let Some(run) = self.batches.answered(offset, &report.answer) {
            let entry =
                Draft::new(EntryKind::Run, now, run.offset, format!("batch/{}", run.batch), &run).named(&*run.id);
            self.owe([entry]);
        }
    }
}

fn audit_draft(line: &AuditLine) -> Draft {
    Draft::new(EntryKind::Audit, TimestampNs(line.time_ns), 0, "audit", line).named(&*line.target)
}
