//! A flow's definition as configured, without secrets: what its page shows.

use config::{BatchAt, Config, RequestAction, SyncOn};
use flows::configure::describe;
use serde_json::{Value, json};
use std::time::Duration;

fn duration(duration: Duration) -> String {
    format!("{duration:?}")
}

fn retry(retry: &config::Retry) -> Value {
    json!({ "attempts": retry.attempts, "first": duration(retry.first), "max": duration(retry.max) })
}

fn breaker(breaker: &config::Breaker) -> Value {
    json!({ "failures": breaker.failures, "open": duration(breaker.open), "open_max": duration(breaker.open_max) })
}

/// The definition of the flow of a name; null where there is none.
pub fn of(config: &Config, name: &str) -> Value {
    let subscriber = config.subscribers.iter().find(|one| one.name == name).map(subscriber);
    let sync = || config.syncs.iter().find(|one| one.name == name).map(sync);
    let batch = || config.batches.iter().find(|one| one.name == name).map(batch);
    let request = || config.requests.iter().find(|one| one.name == name).map(request);
    subscriber.or_else(sync).or_else(batch).or_else(request).unwrap_or(Value::Null)
}

fn subscriber(one: &config::Subscriber) -> Value {
    json!({
        "kind": "subscriber", "event": one.event, "when": one.when, "key": one.key, "to": describe(&one.to),
        "body": one.body, "retry": retry(&one.retry), "breaker": breaker(&one.breaker), "timeout": duration(one.timeout),
        "expire": one.expire.map(duration), "concurrency": one.to.concurrency, "drain_rate": one.drain_rate,
        "window": one.window,
    })
}

fn sync(one: &config::Sync) -> Value {
    let on = match &one.on {
        SyncOn::Record(name) => json!({ "record": name }),
        SyncOn::Tag(glob) => json!({ "tag": glob }),
        SyncOn::Event(name) => json!({ "event": name }),
    };
    json!({
        "kind": "sync", "on": on, "when": one.when, "key": one.key, "coalesce": one.coalesce, "to": describe(&one.to),
        "body": one.body, "retry": retry(&one.retry), "breaker": breaker(&one.breaker), "timeout": duration(one.timeout),
        "expire": one.expire.map(duration), "concurrency": one.to.concurrency, "drain_rate": one.drain_rate,
        "window": one.window, "probe": one.probe.as_ref().map(|probe| json!({ "http": probe.url, "done": probe.done })),
        "reconcile": one.reconcile.as_ref().map(|told| json!({ "every": duration(told.every), "http": told.url })),
    })
}

fn batch(one: &config::Batch) -> Value {
    let at = match &one.at {
        BatchAt::ShiftEnd => "shift-end".to_owned(),
        BatchAt::Manual => "manual".to_owned(),
        BatchAt::Cron(text) => text.clone(),
    };
    json!({
        "kind": "batch", "at": at, "delay": duration(one.delay), "correct": duration(one.correct),
        "records": one.records, "group_by": one.group_by, "totals": one.totals, "to": describe(&one.to),
        "retry": retry(&one.retry), "breaker": breaker(&one.breaker), "timeout": duration(one.timeout),
    })
}

fn request(one: &config::Request) -> Value {
    let action = match &one.action {
        RequestAction::To(to) => json!({ "to": describe(to) }),
        RequestAction::Write(write) => json!({
            "write": write.tag, "source": write.source, "range": write.range, "step": write.step,
            "read_back": write.read_back.map(duration), "expect": write.expect,
            "interlock": write.interlock.as_ref().map(|interlock| interlock.when.clone()),
        }),
        RequestAction::WritePoints(told) => json!({
            "write_points": told.points.iter().map(|point| json!({
                "name": point.name, "source": point.write.source, "tag": point.write.tag, "range": point.write.range,
                "step": point.write.step, "read_back": point.write.read_back.map(duration),
                "expect": point.write.expect,
                "interlock": point.write.interlock.as_ref().map(|interlock| interlock.when.clone()),
            })).collect::<Vec<_>>(),
            "max_points": told.max_points,
        }),
        RequestAction::Read(read) => json!({ "read": read.tags, "source": read.source }),
        RequestAction::Call(call) => json!({ "call": call.method.to_string(), "source": call.source }),
    };
    json!({
        "kind": "request", "action": action, "timeout": duration(one.timeout), "max_in_flight": one.max_in_flight,
        "breaker": breaker(&one.breaker), "body": one.body, "answer": one.answer, "cache": one.cache.map(duration),
    })
}
