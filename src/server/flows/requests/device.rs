//! Reading, writing and calling devices. A write passes its safety envelope first.
//!
//! Life of a write: judged by the envelope against live values → its intention audited, durable →
//! sent once → read back and compared where that is configured → what came of it audited. A write is
//! never sent twice by itself.

use super::{Failed, Good, Route, ns};
use crate::server::backend::live_of;
use crate::server::flows::{FlowShard, devices};
use config::{Config, RequestAction, SourceKind};
use expr::Expr;
use flows::desk::AuditLine;
use http::RequestCall;
use model::device::{DeviceAnswer, DeviceCommand, DeviceError};
use model::{TimestampNs, Value};
use request::{
    Envelope, Failure, GateOutcome, Interlock, LIVE_MAX_AGE_NS, Live, Rate, Revert, System, Ticket, Wanted, from_json,
    to_json,
};
use serde_json::{Value as Json, json};
use std::rc::Rc;
use std::time::Duration;

/// Wait before a value that could not go back by itself is tried again.
const REVERT_AGAIN_NS: i64 = 10_000_000_000;

/// What a route does to a device.
pub(super) enum Device {
    /// Writes.
    Write { source: String, tag: String, envelope: Box<Envelope>, revert: Option<Back> },
    /// Reads.
    Read { source: String, tags: Vec<String>, paths: Vec<String>, max_age_ns: Option<u64> },
    /// Calls a method.
    Call { source: String, object: String, method: String, arguments: Option<Expr> },
}

impl Device {
    pub(super) fn new(action: &RequestAction, config: &Config) -> Result<Device, String> {
        let path_of = |source: &str, tag: &str| {
            let path = config.sources.iter().find(|one| one.name == source).map_or("", |one| one.path.as_str());
            format!("{path}/{tag}")
        };
        match action {
            RequestAction::Write(write) => {
                let interlock = write.interlock.as_ref().map(|told| {
                    let when = Expr::compile(&told.when).map_err(|error| error.to_string())?;
                    Ok::<_, String>(Interlock { when, tags: told.tags.clone(), max_age_ns: ns(told.max_age) })
                });
                let envelope = Envelope {
                    tag: path_of(&write.source, &write.tag),
                    range: write.range,
                    step_max: write.step,
                    rate: write.rate.as_ref().map(|rate| Rate { writes: rate.writes, per_ns: ns(rate.per) }),
                    interlock: interlock.transpose()?,
                    expect: write.expect,
                    live_max_age_ns: LIVE_MAX_AGE_NS,
                    read_back_ns: write.read_back.map(ns),
                    tolerance: write.tolerance,
                    // a value goes back only where the caller or the route's default asks for it
                    revert_ns: None,
                };
                envelope.check().map_err(|error| error.to_string())?;
                let back = |told: &config::Revert| Back { max_ns: ns(told.max), default_ns: told.default.map(ns) };
                let (source, tag, revert) = (write.source.clone(), write.tag.clone(), write.revert.as_ref().map(back));
                Ok(Device::Write { source, tag, envelope: Box::new(envelope), revert })
            }
            RequestAction::Read(read) => Ok(Device::Read {
                source: read.source.clone(),
                tags: read.tags.clone(),
                paths: read.tags.iter().map(|tag| path_of(&read.source, tag)).collect(),
                max_age_ns: read.max_age.map(ns),
            }),
            RequestAction::Call(call) => Ok(Device::Call {
                source: call.source.clone(),
                object: call.object.to_string(),
                method: call.method.to_string(),
                arguments: call.arguments.as_deref().map(Expr::compile).transpose().map_err(|e| e.to_string())?,
            }),
            RequestAction::To(_) => Err("this request asks a system, not a device".to_owned()),
        }
    }

    fn source(&self) -> &str {
        match self {
            Device::Write { source, .. } | Device::Read { source, .. } | Device::Call { source, .. } => source,
        }
    }

    pub(super) fn system(&self, config: &Config) -> System {
        let source = config.sources.iter().find(|one| one.name == self.source());
        let address = source.map(|one| match &one.kind {
            SourceKind::Modbus(modbus) => modbus.address.to_string(),
            SourceKind::Opcua(opcua) => opcua.address.clone(),
            SourceKind::Native(_) => String::new(),
        });
        System { name: self.source().to_owned(), address: address.unwrap_or_default() }
    }
}

pub(super) async fn call(
    flow: &Rc<FlowShard>,
    route: &Route,
    call: &RequestCall,
    ticket: &Ticket,
    id: &str,
) -> Result<Good, Failed> {
    let Some(device) = &route.device else { return Err(Failed::mapping("this request has no device")) };
    let answer = match device {
        Device::Write { source, tag, envelope, revert } => {
            let wanted = wanted(&call.body, revert.as_ref()).map_err(Failed::mapping)?;
            let write = Write { source, tag, envelope, who: &call.actor.by, request: &route.told.name, id };
            write.make(flow, route, wanted, ticket).await?
        }
        Device::Read { source, tags, paths, max_age_ns } => {
            read(flow, route, (source, tags, paths), *max_age_ns, ticket).await?
        }
        Device::Call { source, object, method, arguments } => {
            method_call(flow, route, (source, object, method), arguments.as_ref(), call, ticket).await?
        }
    };
    Ok(Good { body: route.mapped(answer, None, &call.body)?, stale_ns: None })
}

fn remaining(route: &Route, ticket: &Ticket) -> Result<Duration, Failed> {
    let now = FlowShard::now();
    ticket.remaining(now).ok_or_else(|| Failed::new(route.gate.borrow().timeout(ticket, now), GateOutcome::TimedOut))
}

fn device_failed(route: &Route, ticket: &Ticket, began: TimestampNs, error: &DeviceError) -> Failed {
    let system = route.gate.borrow().system().clone();
    let what = error.to_string();
    match error {
        DeviceError::Timeout { .. } => Failed::new(route.gate.borrow().timeout(ticket, began), GateOutcome::TimedOut),
        DeviceError::NotConnected { .. } | DeviceError::Closed => {
            Failed::new(Failure::UpstreamUnreachable { system, what }, GateOutcome::Unreachable)
        }
        DeviceError::InDoubt { .. } => Failed::new(Failure::DeviceError { system, what }, GateOutcome::Failed),
        DeviceError::Busy => {
            Failed::new(Failure::Busy { limit: model::device::COMMANDS_WAITING_MAX as u32 }, GateOutcome::NotSent)
        }
        _ => Failed::new(Failure::DeviceError { system, what }, GateOutcome::Refused),
    }
}

/// How values of a route go back by themselves.
pub(super) struct Back {
    max_ns: u64,
    default_ns: Option<u64>,
}

impl Device {
    /// What is wrong with a caller's body, before anything is done.
    pub(super) fn refuses(&self, body: &Json) -> Option<String> {
        match self {
            Device::Write { revert, .. } => wanted(body, revert.as_ref()).err(),
            _ => None,
        }
    }
}

/// `{"value": …, "expected"?: …, "revert_after_s"?: …}`, or the value alone.
fn wanted(body: &Json, back: Option<&Back>) -> Result<Wanted, String> {
    let object = body.as_object();
    let value = object.map_or(Some(body), |object| object.get("value"));
    let value = value.and_then(from_json).ok_or(
        "a write needs {\"value\": …}: a number, true or false, or a text; beside it \"expected\" and \"revert_after_s\" are understood",
    )?;
    let expected = object.and_then(|object| object.get("expected")).and_then(from_json);
    let seconds = object.and_then(|object| object.get("revert_after_s")).and_then(Json::as_f64);
    let asked = seconds.filter(|seconds| *seconds > 0.0).map(|seconds| (seconds * 1e9) as u64);
    let revert_after_ns = match (asked, back) {
        (Some(_), None) => {
            return Err("this request writes for good; leave revert_after_s out, or configure `revert`".to_owned());
        }
        (asked, Some(back)) => asked.or(back.default_ns).map(|after| after.min(back.max_ns)),
        (None, None) => None,
    };
    Ok(Wanted { value, expected, revert_after_ns })
}

/// The live value of a tag, as the safety envelope judges it.
fn live(flow: &FlowShard, path: &str) -> Option<Live> {
    let (value, quality, seen) = live_of(&flow.site, path)?;
    let age_ns = u64::try_from(FlowShard::now().0 - seen.0).unwrap_or(0);
    Some(Live { value, quality, age_ns })
}

struct Write<'w> {
    source: &'w str,
    tag: &'w str,
    envelope: &'w Envelope,
    who: &'w str,
    request: &'w str,
    id: &'w str,
}

impl Write<'_> {
    fn line(&self, outcome: &str, before: Option<&Value>, after: &Json) -> AuditLine {
        AuditLine {
            time_ns: FlowShard::now().0,
            who: self.who.to_owned(),
            what: format!("device write by {}", self.request),
            target: self.envelope.tag.clone(),
            before: before.map_or(Json::Null, to_json),
            after: after.clone(),
            outcome: outcome.to_owned(),
            comment: Some(self.id.to_owned()),
        }
    }

    fn note(&self, flow: &FlowShard, line: &AuditLine) {
        // what came of it may come late to the journal: the intention is there already
        let _ = flow.desk.borrow_mut().audit(line, FlowShard::now());
        flow.wanted.notify_one();
    }

    async fn make(&self, flow: &Rc<FlowShard>, route: &Route, wanted: Wanted, ticket: &Ticket) -> Result<Json, Failed> {
        let now = FlowShard::now();
        let judged = self.envelope.judge(&wanted, &|path| live(flow, path), &mut route.writes.borrow_mut(), now);
        let plan = judged.map_err(|refusal| {
            self.note(flow, &self.line(&format!("refused: {refusal}"), None, &to_json(&wanted.value)));
            let failure = Failure::RefusedByEnvelope { tag: self.envelope.tag.clone(), refusal };
            Failed::new(failure, GateOutcome::NotSent)
        })?;
        self.intend(flow, &plan).await?;
        let time = remaining(route, ticket)?;
        let command = DeviceCommand::Write { tag: self.tag.to_owned(), value: plan.write.clone() };
        let done = devices::ask(&flow.site, self.source, command, time).await;
        if let Err(error) = done {
            let word = if error.is_in_doubt() { "unknown" } else { "failed" };
            let line = self.line(&format!("{word}: {error}"), plan.before.as_ref(), &to_json(&plan.write));
            self.note(flow, &line);
            return Err(device_failed(route, ticket, now, &error));
        }
        let read = match plan.read_back_ns {
            None => None,
            Some(within_ns) => Some(self.read_back(flow, route, &plan, within_ns, ticket).await?),
        };
        let outcome = if read.is_some() { "verified" } else { "done" };
        self.note(flow, &self.line(outcome, plan.before.as_ref(), &to_json(read.as_ref().unwrap_or(&plan.write))));
        Ok(json!({
            "tag": self.envelope.tag,
            "before": plan.before.as_ref().map(to_json),
            "written": to_json(&plan.write),
            "read_back": read.as_ref().map(to_json),
            "reverts_at": plan.revert.as_ref().map(|(at, _)| at.to_string()),
        }))
    }

    /// The intention, durable before anything is sent; with it, what goes back by itself.
    async fn intend(&self, flow: &Rc<FlowShard>, plan: &request::Plan) -> Result<(), Failed> {
        let line = self.line("intended", plan.before.as_ref(), &to_json(&plan.write));
        let revert = plan.revert.clone().map(|(at, old)| Revert {
            tag: self.envelope.tag.clone(),
            request: self.request.to_owned(),
            at,
            written: plan.write.clone(),
            old,
        });
        let mut full = None;
        let changed = flow.desk.borrow_mut().change_reverts(
            |reverts| match revert {
                Some(revert) => full = reverts.schedule(revert).err(),
                None => drop(reverts.cancel(&self.envelope.tag)),
            },
            Some(&line),
            FlowShard::now(),
        );
        if let Some(full) = full {
            return Err(Failed::mapping(full));
        }
        let closed = |_| Failed::new(Failure::Busy { limit: 1 }, GateOutcome::NotSent);
        let offset = changed.map_err(|_| closed(()))?;
        flow.durable(offset).await.map_err(|_| closed(()))
    }

    async fn read_back(
        &self,
        flow: &Rc<FlowShard>,
        route: &Route,
        plan: &request::Plan,
        within_ns: u64,
        ticket: &Ticket,
    ) -> Result<Value, Failed> {
        let began = FlowShard::now();
        let until = Duration::from_nanos(within_ns).min(remaining(route, ticket)?);
        let deadline = tokio::time::Instant::now() + until;
        loop {
            let command = DeviceCommand::Read { tags: vec![self.tag.to_owned()] };
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let answer = devices::ask(&flow.site, self.source, command, left.max(Duration::from_millis(1))).await;
            let read = match answer {
                Ok(DeviceAnswer::Values(values)) => values.into_iter().next().and_then(|(_, value, _)| value),
                Ok(_) => None,
                Err(error) => {
                    self.note(
                        flow,
                        &self.line(
                            &format!("unknown: read back failed: {error}"),
                            plan.before.as_ref(),
                            &to_json(&plan.write),
                        ),
                    );
                    return Err(device_failed(route, ticket, began, &error));
                }
            };
            let compared = read.as_ref().map(|read| self.envelope.verify(&plan.write, read));
            match (compared, read) {
                (Some(Ok(())), Some(read)) => return Ok(read),
                // a device may need a moment to take a value over; it has until the end of the time
                _ if deadline > tokio::time::Instant::now() + Duration::from_millis(20) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                (compared, read) => {
                    let what = match compared {
                        Some(Err(mismatch)) => mismatch.to_string(),
                        _ => "it has no value to read back".to_owned(),
                    };
                    let after = read.as_ref().map_or(Json::Null, to_json);
                    self.note(flow, &self.line(&format!("mismatch: {what}"), plan.before.as_ref(), &after));
                    let system = route.gate.borrow().system().clone();
                    return Err(Failed::new(Failure::DeviceError { system, what }, GateOutcome::Refused));
                }
            }
        }
    }
}

async fn read(
    flow: &Rc<FlowShard>,
    route: &Route,
    (source, tags, paths): (&str, &[String], &[String]),
    max_age_ns: Option<u64>,
    ticket: &Ticket,
) -> Result<Json, Failed> {
    if let Some(max_age_ns) = max_age_ns {
        let held: Option<Vec<Live>> = paths.iter().map(|path| live(flow, path)).collect();
        let fresh = held.filter(|all| all.iter().all(|live| live.age_ns <= max_age_ns && live.quality.is_good()));
        if let Some(fresh) = fresh {
            let value = |live: &Live| json!({ "value": live.value.as_ref().map(to_json), "quality": "Good", "age_ms": live.age_ns / 1_000_000 });
            return Ok(tags
                .iter()
                .zip(&fresh)
                .map(|(tag, live)| (tag.clone(), value(live)))
                .collect::<serde_json::Map<_, _>>()
                .into());
        }
    }
    let began = FlowShard::now();
    let command = DeviceCommand::Read { tags: tags.to_vec() };
    match devices::ask(&flow.site, source, command, remaining(route, ticket)?).await {
        Ok(DeviceAnswer::Values(values)) => {
            let entry = |(tag, value, quality): (String, Option<Value>, model::Quality)| {
                let quality = crate::server::flows::watch::quality_word(quality);
                (tag, json!({ "value": value.as_ref().map(to_json), "quality": quality, "age_ms": 0 }))
            };
            Ok(values.into_iter().map(entry).collect::<serde_json::Map<_, _>>().into())
        }
        Ok(_) => Ok(Json::Null),
        Err(error) => Err(device_failed(route, ticket, began, &error)),
    }
}

async fn method_call(
    flow: &Rc<FlowShard>,
    route: &Route,
    (source, object, method): (&str, &str, &str),
    arguments: Option<&Expr>,
    call: &RequestCall,
    ticket: &Ticket,
) -> Result<Json, Failed> {
    let arguments = match arguments {
        None => Vec::new(),
        Some(expression) => {
            let list = expression.eval(&[("request", &call.body)]).map_err(Failed::mapping)?;
            let list = list.as_array().cloned().ok_or_else(|| Failed::mapping("`arguments` must make a list"))?;
            let values: Option<Vec<Value>> = list.iter().map(from_json).collect();
            values.ok_or_else(|| Failed::mapping("an argument is a number, true or false, or a text"))?
        }
    };
    let line = AuditLine {
        time_ns: FlowShard::now().0,
        who: call.actor.by.clone(),
        what: format!("method call by {}", route.told.name),
        target: format!("{source} {method}"),
        before: Json::Null,
        after: arguments.iter().map(to_json).collect(),
        outcome: "intended".to_owned(),
        comment: None,
    };
    let busy = |_| Failed::new(Failure::Busy { limit: 1 }, GateOutcome::NotSent);
    let offset = flow.desk.borrow_mut().audit(&line, FlowShard::now()).map_err(|_| busy(()))?;
    flow.durable(offset).await.map_err(|_| busy(()))?;
    let began = FlowShard::now();
    let command = DeviceCommand::Call { object: object.to_owned(), method: method.to_owned(), arguments };
    let done = devices::ask(&flow.site, source, command, remaining(route, ticket)?).await;
    let outcome = match &done {
        Ok(_) => "done".to_owned(),
        Err(error) if error.is_in_doubt() => format!("unknown: {error}"),
        Err(error) => format!("failed: {error}"),
    };
    let _ = flow.desk.borrow_mut().audit(&AuditLine { outcome, time_ns: FlowShard::now().0, ..line }, FlowShard::now());
    match done {
        Ok(DeviceAnswer::Returned(values)) => Ok(json!({ "returned": values.iter().map(to_json).collect::<Vec<_>>() })),
        Ok(_) => Ok(Json::Null),
        Err(error) => Err(device_failed(route, ticket, began, &error)),
    }
}

/// Writes back what is due to go back by itself, for as long as the shard runs.
pub async fn revert(flow: Rc<FlowShard>) {
    loop {
        let due = flow.desk.borrow().reverts().next_due();
        let wait = due.map_or(Duration::from_secs(1), |due| {
            Duration::from_nanos(u64::try_from(due.0 - FlowShard::now().0).unwrap_or(0))
        });
        tokio::time::sleep(wait.clamp(Duration::from_millis(10), Duration::from_secs(1))).await;
        let mut ready = Vec::new();
        let now = FlowShard::now();
        let _ = flow.desk.borrow_mut().change_reverts(|reverts| ready = reverts.due(now), None, now);
        for revert in ready {
            go_back(&flow, &revert).await;
        }
    }
}

async fn go_back(flow: &Rc<FlowShard>, revert: &Revert) {
    let settle = |postpone: bool| {
        let at = FlowShard::now().plus_ns(REVERT_AGAIN_NS);
        let change = |reverts: &mut request::Reverts| {
            if postpone { reverts.postpone(revert, at) } else { reverts.settle(revert) }
        };
        let _ = flow.desk.borrow_mut().change_reverts(change, None, FlowShard::now());
    };
    let route = flow.requests.route(&revert.request);
    let Some((route, Device::Write { source, tag, envelope, .. })) =
        route.as_ref().and_then(|route| Some((route, route.device.as_ref()?)))
    else {
        return settle(false); // the request is no longer configured: nothing may be written
    };
    let entered = route.gate.borrow_mut().enter(FlowShard::now(), None);
    let Ok(ticket) = entered else { return settle(true) };
    let write = Write { source, tag, envelope, who: "revert", request: &revert.request, id: "revert" };
    let done = write.make_back(flow, route, revert, &ticket).await;
    let outcome = done.as_ref().err().map_or(GateOutcome::Answered, |failed| failed.outcome);
    route.gate.borrow_mut().leave(ticket, outcome, FlowShard::now());
    let again = matches!(outcome, GateOutcome::Unreachable | GateOutcome::TimedOut | GateOutcome::Failed);
    settle(again);
}

impl Write<'_> {
    /// The write that takes a value back; it schedules nothing and cancels nothing.
    async fn make_back(
        &self,
        flow: &Rc<FlowShard>,
        route: &Route,
        revert: &Revert,
        ticket: &Ticket,
    ) -> Result<(), Failed> {
        let now = FlowShard::now();
        let judged =
            self.envelope.judge(&revert.wanted(), &|path| live(flow, path), &mut route.writes.borrow_mut(), now);
        let plan = judged.map_err(|refusal| {
            self.note(flow, &self.line(&format!("refused: {refusal}"), Some(&revert.written), &to_json(&revert.old)));
            Failed::new(Failure::RefusedByEnvelope { tag: self.envelope.tag.clone(), refusal }, GateOutcome::NotSent)
        })?;
        let busy = |_| Failed::new(Failure::Busy { limit: 1 }, GateOutcome::NotSent);
        let line = self.line("intended", plan.before.as_ref(), &to_json(&plan.write));
        let offset = flow.desk.borrow_mut().audit(&line, now).map_err(|_| busy(()))?;
        flow.durable(offset).await.map_err(|_| busy(()))?;
        let command = DeviceCommand::Write { tag: self.tag.to_owned(), value: plan.write.clone() };
        let done = devices::ask(&flow.site, self.source, command, remaining(route, ticket)?).await;
        let outcome = done.as_ref().map_or_else(|error| format!("failed: {error}"), |_| "done".to_owned());
        self.note(flow, &self.line(&outcome, plan.before.as_ref(), &to_json(&plan.write)));
        done.map(drop).map_err(|error| device_failed(route, ticket, now, &error))
    }
}
