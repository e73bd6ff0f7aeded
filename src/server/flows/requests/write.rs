//! Writing to devices, one tag or several points in one call.
//!
//! Life of a call: what is wanted is looked at, of several points by their devices, too → judged by
//! the envelopes against live values, all or none → one audit line says the intention, durable before
//! anything is sent → the points go out, those of one source in one command → they are read back and
//! compared where that is configured → a second line says what came of each. Nothing is ever sent
//! twice by itself.

use super::device::{device_failed, live, remaining};
use super::points::{Disorder, Order, Point, Writes};
use super::{Failed, Route};
use crate::server::flows::{FlowShard, devices};
use flows::desk::AuditLine;
use futures_util::future::join_all;
use model::device::{DeviceAnswer, DeviceCommand, DeviceError, READ_TAGS_MAX};
use model::{TimestampNs, Value};
use request::{
    EnvelopeRefusal, Failure, GateOutcome, Plan, PointEnd, PointFault, PointWanted, Revert, Tally, Ticket, judge_all,
    to_json,
};
use serde_json::{Map, Value as Json, json};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest list of values of one call in an audit line, in bytes; with what came of them it stays
/// below what an entry of the journal may have.
const LINE_BYTES_MAX: usize = 256 << 10;
/// Longest text of what went wrong with a point, in characters.
const WHAT_CHARS_MAX: usize = 200;
/// First and longest wait before a value that is not there yet is read back again.
const READ_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Who writes, by which request, in which call.
pub(super) struct Caller<'c> {
    pub(super) who: &'c str,
    pub(super) request: &'c str,
    pub(super) id: &'c str,
}

/// A point on its way.
struct Job<'w> {
    point: &'w Point,
    plan: Plan,
    end: Option<PointEnd>,
    /// Of a device that failed.
    error: Option<DeviceError>,
}

impl Job<'_> {
    fn fail(&mut self, error: &DeviceError) {
        let what = error.to_string();
        self.end = Some(if error.is_in_doubt() { PointEnd::Unknown { what } } else { PointEnd::Failed { what } });
        self.error = Some(error.clone());
    }

    fn is_written(&self) -> bool {
        self.end.is_none()
    }

    /// What is there now, as far as it is known.
    fn after(&self) -> Json {
        match &self.end {
            Some(PointEnd::Mismatch { read: None, .. }) => Json::Null,
            Some(end) => to_json(end.read().unwrap_or(&self.plan.write)),
            None => to_json(&self.plan.write),
        }
    }
}

/// One call's writes.
struct Call<'c> {
    flow: &'c Rc<FlowShard>,
    route: &'c Route,
    caller: &'c Caller<'c>,
    ticket: &'c Ticket,
    /// Whether it names points; else it writes the request's one tag.
    several: bool,
}

/// Writes what a caller's body asks for, and answers what came of it.
pub(super) async fn call(
    flow: &Rc<FlowShard>,
    route: &Route,
    writes: &Writes,
    body: &Json,
    caller: &Caller<'_>,
    ticket: &Ticket,
) -> Result<Json, Failed> {
    let orders = writes.orders(body).map_err(|disorder| match disorder {
        Disorder::Body(what, _) => Failed::mapping(what),
        Disorder::TooMany { points, most } => {
            Failed::new(Failure::TooManyPoints { points, most }, GateOutcome::NotSent)
        }
    })?;
    let call = Call { flow, route, caller, ticket, several: writes.is_several() };
    let began = FlowShard::now();
    let mut jobs = call.judge(orders).await?;
    call.intend(&jobs, true).await?;
    call.send(&mut jobs).await;
    call.read_back(&mut jobs).await;
    call.conclude(began, &jobs)
}

/// Writes back a value whose time has come; it schedules nothing and cancels nothing.
pub(super) async fn go_back(
    flow: &Rc<FlowShard>,
    route: &Route,
    point: &Point,
    revert: &Revert,
    ticket: &Ticket,
) -> Result<(), Failed> {
    let caller = Caller { who: "revert", request: &revert.request, id: "revert" };
    let call = Call { flow, route, caller: &caller, ticket, several: false };
    let began = FlowShard::now();
    let mut jobs = call.judge(vec![Order { point, wanted: revert.wanted() }]).await?;
    call.intend(&jobs, false).await?;
    call.send(&mut jobs).await;
    jobs.iter_mut().filter(|job| job.is_written()).for_each(|job| job.end = Some(PointEnd::Done));
    call.conclude(began, &jobs).map(drop)
}

impl Call<'_> {
    fn line(&self, target: &str, before: Json, after: Json, outcome: String) -> AuditLine {
        AuditLine {
            time_ns: FlowShard::now().0,
            who: self.caller.who.to_owned(),
            what: format!("device {} by {}", if self.several { "writes" } else { "write" }, self.caller.request),
            target: target.to_owned(),
            before,
            after,
            outcome,
            comment: Some(self.caller.id.to_owned()),
        }
    }

    fn note(&self, line: &AuditLine) {
        // what came of it may come late to the journal: the intention is there already
        let _ = self.flow.desk.borrow_mut().audit(line, FlowShard::now());
        self.flow.wanted.notify_one();
    }

    /// Judges all points; where one is refused, all are, and an audit line says so.
    async fn judge<'w>(&self, orders: Vec<Order<'w>>) -> Result<Vec<Job<'w>>, Failed> {
        let unfit = if self.several { self.look(&orders).await } else { Vec::new() };
        let now = FlowShard::now();
        let wanted: Vec<PointWanted<'_>> = orders
            .iter()
            .map(|Order { point, wanted }| PointWanted { envelope: &point.envelope, history: &point.history, wanted })
            .collect();
        match judge_all(&wanted, &|path| live(self.flow, path), !unfit.is_empty(), now) {
            Ok(plans) => {
                let job = |(order, plan): (Order<'w>, Plan)| Job { point: order.point, plan, end: None, error: None };
                Ok(orders.into_iter().zip(plans).map(job).collect())
            }
            Err(refusals) => Err(self.refuse(&orders, refusals, &unfit)),
        }
    }

    /// Asks the devices' sources which points cannot be written as wanted; nothing is sent.
    async fn look(&self, orders: &[Order<'_>]) -> Vec<(usize, DeviceError)> {
        let writes = |places: &[usize]| {
            let write = |at: &usize| (orders[*at].point.tag.clone(), orders[*at].wanted.value.clone());
            DeviceCommand::WriteEach { writes: places.iter().map(write).collect(), dry: true }
        };
        let told = self.ask_each(orders.iter().map(|order| order.point), writes).await;
        let mut unfit: Vec<(usize, DeviceError)> = Vec::new();
        for (places, answer) in told {
            match answer {
                Ok(DeviceAnswer::Each { outcomes, .. }) => {
                    let wrong = places.into_iter().zip(outcomes);
                    unfit.extend(wrong.filter_map(|(at, outcome)| Some((at, outcome.err()?))));
                }
                Ok(_) => {}
                Err(error) => {
                    // only asked, so nothing is in doubt
                    let error = if error.is_in_doubt() { DeviceError::Timeout { sent: false } } else { error };
                    unfit.extend(places.into_iter().map(|at| (at, error.clone())));
                }
            }
        }
        unfit
    }

    /// Gives each source a command over the places of its points; all at the same time.
    async fn ask_each<'p>(
        &self,
        points: impl Iterator<Item = &'p Point>,
        command: impl Fn(&[usize]) -> DeviceCommand,
    ) -> Vec<(Vec<usize>, Result<DeviceAnswer, DeviceError>)> {
        let mut by_source: Vec<(&str, Vec<usize>)> = Vec::new();
        for (at, point) in points.enumerate() {
            match by_source.iter_mut().find(|(source, _)| *source == point.source) {
                Some((_, places)) => places.push(at),
                None => by_source.push((&point.source, vec![at])),
            }
        }
        let Ok(time) = remaining(self.route, self.ticket) else {
            let late = |(_, places)| (places, Err(DeviceError::Timeout { sent: false }));
            return by_source.into_iter().map(late).collect();
        };
        let asked = by_source.into_iter().map(|(source, places)| {
            let command = command(&places);
            async move { (places, devices::ask(&self.flow.site, source, command, time).await) }
        });
        join_all(asked).await
    }

    fn refuse(
        &self,
        orders: &[Order<'_>],
        refusals: Vec<(usize, EnvelopeRefusal)>,
        unfit: &[(usize, DeviceError)],
    ) -> Failed {
        if !self.several
            && let (Some(order), Some((_, refusal))) = (orders.first(), refusals.first())
        {
            let tag = order.point.envelope.tag.clone();
            self.note(&self.line(&tag, Json::Null, to_json(&order.wanted.value), format!("refused: {refusal}")));
            let failure = Failure::RefusedByEnvelope { tag, refusal: refusal.clone() };
            return Failed::new(failure, GateOutcome::NotSent);
        }
        let fault = |at: usize, reason, status, what: String, retry_after_ns| {
            let point = orders[at].point;
            let (name, tag) = (point.name.clone(), point.envelope.tag.clone());
            (at, PointFault { point: name, tag, reason, status, what, retry_after_ns })
        };
        let of_device =
            unfit.iter().map(|(at, error)| fault(*at, error.word(), status(error), error.to_string(), None));
        let of_envelope = refusals.iter().map(|(at, refusal)| {
            fault(*at, refusal.reason(), refusal.status(), refusal.to_string(), refusal.retry_after_ns())
        });
        let mut faults: Vec<(usize, PointFault)> = of_envelope.chain(of_device).collect();
        faults.sort_by_key(|(at, _)| *at);
        faults.dedup_by_key(|(at, _)| *at); // what the envelope says comes first
        let away =
            unfit.iter().any(|(_, error)| matches!(error, DeviceError::NotConnected { .. } | DeviceError::Closed));
        let errors: Json = faults.iter().map(|(_, fault)| told(fault)).collect();
        let failure = Failure::PointsRefused {
            points: orders.len(),
            faults: faults.into_iter().map(|(_, fault)| fault).collect(),
        };
        let values = orders.iter().map(|order| (order.point.envelope.tag.clone(), to_json(&order.wanted.value)));
        let line = self.line(
            self.caller.request,
            Json::Null,
            within(values.collect()).unwrap_or(Json::Null),
            format!("refused: {failure}"),
        );
        self.note(&line);
        let outcome = if away { GateOutcome::Unreachable } else { GateOutcome::NotSent };
        Failed::new(failure, outcome).with("errors", errors)
    }

    /// The intention, durable before anything is sent; with it, where `reverts`, what goes back by itself.
    async fn intend(&self, jobs: &[Job<'_>], reverts: bool) -> Result<(), Failed> {
        let busy = || Failed::new(Failure::Busy { limit: 1 }, GateOutcome::NotSent);
        let now = FlowShard::now();
        let temporary = jobs.iter().filter(|job| job.plan.revert.is_some()).map(|job| job.point.envelope.tag.as_str());
        if !self.flow.desk.borrow().reverts().has_room(temporary) {
            return Err(Failed::mapping(request::RevertsFull));
        }
        let line = self.intention(jobs)?;
        let change = |held: &mut request::Reverts| {
            for job in jobs.iter().filter(|_| reverts) {
                let tag = &job.point.envelope.tag;
                match job.plan.revert.clone() {
                    Some((at, old)) => {
                        let (request, written) = (self.caller.request.to_owned(), job.plan.write.clone());
                        let _ = held.schedule(Revert { tag: tag.clone(), request, at, written, old }); // there is room
                    }
                    None => drop(held.cancel(tag)),
                }
            }
        };
        let offset = self.flow.desk.borrow_mut().change_reverts(change, Some(&line), now).map_err(|_| busy())?;
        self.flow.durable(offset).await.map_err(|_| busy())
    }

    fn intention(&self, jobs: &[Job<'_>]) -> Result<AuditLine, Failed> {
        let outcome = "intended".to_owned();
        if let ([job], false) = (jobs, self.several) {
            let before = job.plan.before.as_ref().map_or(Json::Null, to_json);
            return Ok(self.line(&job.point.envelope.tag, before, to_json(&job.plan.write), outcome));
        }
        let all = |value: &dyn Fn(&Job<'_>) -> Json| {
            let values = jobs.iter().map(|job| (job.point.envelope.tag.clone(), value(job))).collect();
            within(values).ok_or_else(|| {
                Failed::mapping(
                    "the call's values are too long to be recorded as one; write fewer points, or shorter texts",
                )
            })
        };
        let before = all(&|job| job.plan.before.as_ref().map_or(Json::Null, to_json))?;
        Ok(self.line(self.caller.request, before, all(&|job| to_json(&job.plan.write))?, outcome))
    }

    /// Sends every point, and notes which of them failed.
    async fn send(&self, jobs: &mut [Job<'_>]) {
        let writes = |places: &[usize]| {
            let write = |at: &usize| (jobs[*at].point.tag.clone(), jobs[*at].plan.write.clone());
            match places {
                [at] if !self.several => {
                    let (tag, value) = write(at);
                    DeviceCommand::Write { tag, value }
                }
                _ => DeviceCommand::WriteEach { writes: places.iter().map(write).collect(), dry: false },
            }
        };
        let told = self.ask_each(jobs.iter().map(|job| job.point), writes).await;
        for (places, answer) in told {
            match answer {
                Ok(DeviceAnswer::Each { sent, outcomes }) => {
                    for (at, outcome) in places.into_iter().zip(outcomes) {
                        let spared = || DeviceError::Unsupported {
                            what: "another point of its source cannot be written any more, so nothing was sent".into(),
                        };
                        match outcome {
                            Err(error) => jobs[at].fail(&error),
                            Ok(()) if !sent => jobs[at].fail(&spared()),
                            Ok(()) => {}
                        }
                    }
                }
                Ok(_) => {}
                Err(error) => places.into_iter().for_each(|at| jobs[at].fail(&error)),
            }
        }
    }

    /// Reads back what was written, until it is there or its time is over.
    async fn read_back(&self, jobs: &mut [Job<'_>]) {
        let (now, left) = (Instant::now(), remaining(self.route, self.ticket).unwrap_or_default());
        let mut waiting: Vec<(usize, Instant)> = Vec::new();
        for (at, job) in jobs.iter_mut().enumerate().filter(|(_, job)| job.is_written()) {
            match job.plan.read_back_ns {
                Some(within_ns) => waiting.push((at, now + Duration::from_nanos(within_ns).min(left))),
                None => job.end = Some(PointEnd::Done),
            }
        }
        let mut pause = READ_AGAIN.0;
        while !waiting.is_empty() {
            for (at, read) in self.read(jobs, &waiting).await {
                let job = &mut jobs[at];
                match read {
                    Ok(read) => job.end = Some(compared(job.point, &job.plan, read)),
                    Err(error) => {
                        job.end = Some(PointEnd::Unknown { what: format!("read back failed: {error}") });
                        job.error = Some(error);
                    }
                }
            }
            // a device may need a moment to take a value over; it has until the end of the time
            let now = Instant::now();
            let may_change = |end: &Option<PointEnd>| matches!(end, Some(PointEnd::Mismatch { .. }));
            waiting.retain(|(at, until)| may_change(&jobs[*at].end) && *until > now + pause);
            if !waiting.is_empty() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(READ_AGAIN.1);
            }
        }
    }

    /// What the points hold now.
    async fn read(
        &self,
        jobs: &[Job<'_>],
        waiting: &[(usize, Instant)],
    ) -> Vec<(usize, Result<Option<Value>, DeviceError>)> {
        let mut parts: Vec<(&str, Vec<(usize, Instant)>)> = Vec::new();
        for (at, until) in waiting {
            let source = jobs[*at].point.source.as_str();
            match parts.iter_mut().rev().find(|(known, part)| *known == source && part.len() < READ_TAGS_MAX) {
                Some((_, part)) => part.push((*at, *until)),
                None => parts.push((source, vec![(*at, *until)])),
            }
        }
        let asked = parts.into_iter().map(|(source, part)| async move {
            let tags = part.iter().map(|(at, _)| jobs[*at].point.tag.clone()).collect();
            let until = part.iter().map(|(_, until)| *until).max().unwrap_or_else(Instant::now);
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let answer = devices::ask(&self.flow.site, source, DeviceCommand::Read { tags }, left).await;
            let places = part.into_iter().map(|(at, _)| at);
            let read: Vec<_> = match answer {
                Ok(DeviceAnswer::Values(values)) => {
                    places.zip(values).map(|(at, (_, value, _))| (at, Ok(value))).collect()
                }
                Ok(_) => places.map(|at| (at, Ok(None))).collect(),
                Err(error) => places.map(|at| (at, Err(error.clone()))).collect(),
            };
            read
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The second audit line, and the caller's answer.
    fn conclude(&self, began: TimestampNs, jobs: &[Job<'_>]) -> Result<Json, Failed> {
        if let ([job], false) = (jobs, self.several) {
            return self.conclude_one(began, job);
        }
        let tally = Tally::of(jobs.iter().filter_map(|job| job.end.as_ref()));
        let came = jobs.iter().map(|job| (job.point.envelope.tag.clone(), came_of(job))).collect::<Map<_, _>>();
        self.note(&self.line(self.caller.request, Json::Null, came.into(), tally.to_string()));
        let points: Map<String, Json> = jobs.iter().map(|job| (job.point.name.clone(), answered(job))).collect();
        let failed = jobs.iter().find_map(|job| Some((job, job.end.as_ref().and_then(PointEnd::what)?)));
        let Some((first, what)) = failed else { return Ok(json!({ "outcome": tally.to_string(), "points": points })) };
        let mut systems: Vec<&str> = jobs
            .iter()
            .filter(|job| !job.end.as_ref().is_some_and(PointEnd::is_fine))
            .map(|job| job.point.source.as_str())
            .collect();
        systems.sort_unstable();
        systems.dedup();
        let name = match &systems[..] {
            [first, second, third, more @ ..] if !more.is_empty() => {
                format!("{first}, {second}, {third} and {} more", more.len())
            }
            all => all.join(", "),
        };
        let own = self.route.gate.borrow().system().clone();
        let system = if own.name == name { own } else { request::System { name, address: String::new() } };
        let first = Box::new((first.point.name.clone(), what.to_owned()));
        let worst = jobs.iter().filter_map(|job| job.error.as_ref());
        let outcome = worst
            .map(|error| device_failed(self.route, self.ticket, began, error).outcome)
            .max_by_key(|outcome| severity(*outcome))
            .unwrap_or(GateOutcome::Refused);
        let failure = Failure::PointsFailed { system, tally, first };
        Err(Failed::new(failure, outcome).with("outcome", tally.to_string()).with("points", points))
    }

    fn conclude_one(&self, began: TimestampNs, job: &Job<'_>) -> Result<Json, Failed> {
        let end = job.end.as_ref().map_or_else(|| "unknown".to_owned(), PointEnd::to_string);
        let before = job.plan.before.as_ref().map(to_json);
        let tag = &job.point.envelope.tag;
        self.note(&self.line(tag, before.clone().unwrap_or(Json::Null), job.after(), end));
        match (&job.error, &job.end) {
            (Some(error), _) => Err(device_failed(self.route, self.ticket, began, error)),
            (None, Some(PointEnd::Mismatch { what, .. })) => {
                let system = self.route.gate.borrow().system().clone();
                Err(Failed::new(Failure::DeviceError { system, what: what.clone() }, GateOutcome::Refused))
            }
            (None, end) => Ok(json!({
                "tag": tag,
                "before": before,
                "written": to_json(&job.plan.write),
                "read_back": end.as_ref().and_then(PointEnd::read).map(to_json),
                "reverts_at": job.plan.revert.as_ref().map(|(at, _)| at.to_string()),
            })),
        }
    }
}

/// What a value that was read back says of the write.
fn compared(point: &Point, plan: &Plan, read: Option<Value>) -> PointEnd {
    let Some(read) = read else {
        return PointEnd::Mismatch { what: "it has no value to read back".to_owned(), read: None };
    };
    match point.envelope.verify(&plan.write, &read) {
        Ok(()) => PointEnd::Verified { read },
        Err(mismatch) => PointEnd::Mismatch { what: mismatch.to_string(), read: Some(read) },
    }
}

/// A point's fault, as a problem tells it.
fn told(fault: &PointFault) -> Json {
    json!({
        "path": format!("/points/{}", fault.point.replace('~', "~0").replace('/', "~1")),
        "point": fault.point,
        "tag": fault.tag,
        "kind": fault.reason,
        "text": fault.what,
    })
}

/// What came of a point, in the audit.
fn came_of(job: &Job<'_>) -> Json {
    let mut came = json!({ "value": job.after() });
    if let Some(end) = &job.end {
        came["outcome"] = end.word().into();
        if let Some(what) = end.what() {
            came["what"] = what.chars().take(WHAT_CHARS_MAX).collect::<String>().into();
        }
    }
    came
}

/// What a caller hears of a point.
fn answered(job: &Job<'_>) -> Json {
    let mut answer = json!({
        "tag": job.point.envelope.tag,
        "before": job.plan.before.as_ref().map(to_json),
        "written": to_json(&job.plan.write),
        "read_back": job.end.as_ref().and_then(PointEnd::read).map(to_json),
        "reverts_at": job.plan.revert.as_ref().map(|(at, _)| at.to_string()),
        "outcome": job.end.as_ref().map(PointEnd::word),
    });
    if let Some(what) = job.end.as_ref().and_then(PointEnd::what) {
        answer["error"] = what.into();
        answer["kind"] = job.error.as_ref().map_or("mismatch", DeviceError::word).into();
    }
    answer
}

/// The status of a point that its device cannot be asked to take.
const fn status(error: &DeviceError) -> u16 {
    match error {
        DeviceError::WrongKind { .. } | DeviceError::OutOfRange { .. } => 422,
        DeviceError::Busy | DeviceError::Closed => 503,
        DeviceError::Timeout { .. } => 504,
        DeviceError::UnknownTag { .. } | DeviceError::NotWritable { .. } | DeviceError::Unsupported { .. } => 403,
        _ => 502,
    }
}

/// Values by tag, where they fit an audit line.
fn within(values: Map<String, Json>) -> Option<Json> {
    let values = Json::from(values);
    (values.to_string().len() <= LINE_BYTES_MAX).then_some(values)
}

/// Which of several outcomes says most of a device: silence before failure before refusal.
const fn severity(outcome: GateOutcome) -> u8 {
    match outcome {
        GateOutcome::Unreachable => 4,
        GateOutcome::TimedOut => 3,
        GateOutcome::Failed => 2,
        GateOutcome::Refused => 1,
        _ => 0,
    }
}
