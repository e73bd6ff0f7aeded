//! Devices: reading and calling them here, writing to them in [`super::write`].

use super::points::{Disorder, Point, Writes};
use super::write::{self, Caller};
use super::{Failed, Good, Route, ns};
use crate::server::backend::live_of;
use crate::server::flows::{FlowShard, devices};
use config::{Config, RequestAction, SourceKind};
use expr::Expr;
use flows::desk::AuditLine;
use http::RequestCall;
use model::device::{DeviceAnswer, DeviceCommand, DeviceError};
use model::{TimestampNs, Value};
use request::{Failure, GateOutcome, Live, System, Ticket, from_json, to_json};
use serde_json::{Value as Json, json};
use std::rc::Rc;
use std::time::Duration;

/// What a route does to a device.
pub(super) enum Device {
    /// Writes.
    Write(Writes),
    /// Reads.
    Read { source: String, tags: Vec<String>, paths: Vec<String>, max_age_ns: Option<u64> },
    /// Calls a method.
    Call { source: String, object: String, method: String, arguments: Option<Expr> },
}

/// The path of a source's tag.
pub(super) fn path_of(config: &Config, source: &str, tag: &str) -> String {
    let path = config.sources.iter().find(|one| one.name == source).map_or("", |one| one.path.as_str());
    format!("{path}/{tag}")
}

impl Device {
    pub(super) fn new(action: &RequestAction, config: &Config) -> Result<Device, String> {
        match action {
            RequestAction::Write(write) => Ok(Device::Write(Writes::one(Point::new(String::new(), write, config)?))),
            RequestAction::WritePoints(told) => {
                let points = told.points.iter().map(|point| {
                    let made = Point::new(point.name.clone(), &point.write, config);
                    made.map_err(|error| format!("its point {}: {error}", point.name))
                });
                Ok(Device::Write(Writes::several(points.collect::<Result<_, _>>()?, told.max_points as usize)))
            }
            RequestAction::Read(read) => Ok(Device::Read {
                source: read.source.clone(),
                tags: read.tags.clone(),
                paths: read.tags.iter().map(|tag| path_of(config, &read.source, tag)).collect(),
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

    /// What is wrong with a caller's body, before anything is done: as a whole, and in which places.
    pub(super) fn refuses(&self, body: &Json) -> Option<(String, Vec<(String, String)>)> {
        let Device::Write(writes) = self else { return None };
        match writes.orders(body) {
            Err(Disorder::Body(what, wrong)) => Some((what, wrong)),
            // counted as a call that was not sent
            Ok(_) | Err(Disorder::TooMany { .. }) => None,
        }
    }

    pub(super) fn system(&self, config: &Config) -> System {
        let name = match self {
            Device::Write(writes) => match &writes.sources()[..] {
                [source] => *source,
                [first, second, third, more @ ..] if !more.is_empty() => {
                    let name = format!("{first}, {second}, {third} and {} more", more.len());
                    return System { name, address: String::new() };
                }
                sources => return System { name: sources.join(", "), address: String::new() },
            },
            Device::Read { source, .. } | Device::Call { source, .. } => source,
        };
        let source = config.sources.iter().find(|one| one.name == name);
        let address = source.map(|one| match &one.kind {
            SourceKind::Modbus(modbus) => modbus.address.to_string(),
            SourceKind::Opcua(opcua) => opcua.address.clone(),
            SourceKind::Native(_) => String::new(),
        });
        System { name: name.to_owned(), address: address.unwrap_or_default() }
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
        Device::Write(writes) => {
            let caller = Caller { who: &call.actor.by, request: &route.told.name, id };
            write::call(flow, route, writes, &call.body, &caller, ticket).await?
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

pub(super) fn remaining(route: &Route, ticket: &Ticket) -> Result<Duration, Failed> {
    let now = FlowShard::now();
    ticket.remaining(now).ok_or_else(|| Failed::new(route.gate.borrow().timeout(ticket, now), GateOutcome::TimedOut))
}

pub(super) fn device_failed(route: &Route, ticket: &Ticket, began: TimestampNs, error: &DeviceError) -> Failed {
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

/// The live value of a tag, as the safety envelope judges it.
pub(super) fn live(flow: &FlowShard, path: &str) -> Option<Live> {
    let (value, quality, seen) = live_of(&flow.site, path)?;
    let age_ns = u64::try_from(FlowShard::now().0 - seen.0).unwrap_or(0);
    Some(Live { value, quality, age_ns })
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
