//! Reads what delivers: subscribers, syncs and forwards.

use std::time::Duration;

use super::parts::{FlowNames, Names, breaker, record, retry};
use super::row::Row;
use super::target::{Sender, is_unread, target};
use crate::flow::{Forward, Ours, Probe, Reconcile, Repair, StartAt, Subscriber, Sync, SyncOn};
use crate::quantity::show_duration;
use crate::{Record, Target, TargetKind};

pub(super) fn subscribers(root: &Row<'_>, names: &mut FlowNames) -> Vec<Subscriber> {
    let rows = root.tables("subscriber");
    rows.iter().map(|row| subscriber(row, names)).collect()
}

fn subscriber(row: &Row<'_>, names: &mut FlowNames) -> Subscriber {
    let name = names.take(row, "[[subscriber]]");
    let to = target(row, Sender::Delivery(None));
    let timeout = row.duration("timeout");
    Subscriber {
        name,
        event: row.required_text("event"),
        from: row.start_at("from").unwrap_or(StartAt::Now),
        when: row.expression("when"),
        key: row.expression("key").unwrap_or_default(),
        body: row.expression("body"),
        retry: retry(row),
        breaker: breaker(row),
        timeout,
        expire: expire(row, timeout),
        drain_rate: row.whole("drain_rate").unwrap_or_default(),
        window: window(row, &to),
        to,
    }
}

/// `expire`, which leaves time for one try.
fn expire(row: &Row<'_>, timeout: Duration) -> Option<Duration> {
    let expire = row.optional_duration("expire")?;
    if expire <= timeout {
        let (is, least) = (show_duration(expire), show_duration(timeout));
        let what =
            format!("expire: after {is} the first try, which may take {least} (timeout), can be still under way");
        row.refuse("expire", &what, &format!("write more than {least}, or a shorter timeout"));
    }
    Some(expire)
}

/// `window`, which has room for all that may be under way.
fn window(row: &Row<'_>, to: &Target) -> u32 {
    let window = row.whole("window").unwrap_or_default();
    if window != 0 && window < to.concurrency {
        let what = format!("window: {window} is less than the concurrency of the target, {}", to.concurrency);
        row.refuse("window", &what, &format!("write {} or more, or a lower concurrency", to.concurrency));
    }
    window
}

pub(super) fn syncs(root: &Row<'_>, names: &mut FlowNames, records: &[Record]) -> Vec<Sync> {
    let rows = root.tables("sync");
    rows.iter().map(|row| sync(row, names, records)).collect()
}

/// What the expressions of a sync are over, by what sets it off.
fn variables(on: &SyncOn) -> &'static [&'static str] {
    match on {
        SyncOn::Record(_) => &["record"],
        SyncOn::Tag(_) => &["tag", "value", "quality", "time"],
        SyncOn::Event(_) => &["event"],
    }
}

/// The fields that its URLs may name, where they are known.
fn fields(on: &SyncOn) -> Option<&'static [&'static str]> {
    matches!(on, SyncOn::Tag(_)).then(|| variables(on))
}

fn sync(row: &Row<'_>, names: &mut FlowNames, records: &[Record]) -> Sync {
    let name = names.take(row, "[[sync]]");
    let read = on(row, records);
    // Where `on` is wrong its own problem says so; nothing more is known of what may be named.
    let expression = |name: &str| match &read {
        Some(on) => row.expression_over(name, variables(on)),
        None => row.expression(name),
    };
    let message_fields = read.as_ref().and_then(fields);
    let to = target(row, Sender::Delivery(message_fields));
    let timeout = row.duration("timeout");
    let coalesce = row.switch("coalesce");
    Sync {
        name,
        key: expression("key"),
        coalesce,
        when: expression("when"),
        body: expression("body"),
        retry: retry(row),
        breaker: breaker(row),
        timeout,
        expire: expire(row, timeout),
        drain_rate: row.whole("drain_rate").unwrap_or_default(),
        window: window(row, &to),
        probe: probe(row, &to, message_fields),
        reconcile: reconcile(row, read.as_ref(), &to, coalesce),
        on: read.unwrap_or(SyncOn::Tag(String::new())),
        to,
    }
}

fn on(sync: &Row<'_>, records: &[Record]) -> Option<SyncOn> {
    let row = sync.table("on")?;
    Some(match row.variant()? {
        "record" => SyncOn::Record(record(&row, "record", records)),
        "event" => SyncOn::Event(row.required_text("event")),
        _ => SyncOn::Tag(row.required_text("tag")),
    })
}

const PROBES: [(&str, &str); 3] = [("GET", "GET"), ("HEAD", "HEAD"), ("POST", "POST")];

fn probe(sync: &Row<'_>, to: &Target, fields: Option<&[&str]>) -> Option<Probe> {
    let row = sync.table("probe")?;
    needs_http(sync, "probe", to);
    Some(Probe {
        url: row.template("http", fields).unwrap_or_default(),
        method: row.choice("method", &PROBES).unwrap_or_default().to_owned(),
        done: row.expression("done").unwrap_or_default(),
    })
}

/// Reports a key that makes HTTP calls with the credentials of `to`, where that is no HTTP target.
fn needs_http(sync: &Row<'_>, name: &str, to: &Target) {
    if !is_unread(to) && !matches!(to.kind, TargetKind::Http(_)) {
        let what = format!("{name} asks over HTTP, and the target is none");
        sync.refuse_key(name, &what, "write a to with http, or remove it");
    }
}

const REPAIRS: [(&str, Repair); 2] = [("report", Repair::Report), ("resend", Repair::Resend)];

fn reconcile(sync: &Row<'_>, on: Option<&SyncOn>, to: &Target, coalesce: bool) -> Option<Reconcile> {
    let row = sync.table("reconcile")?;
    if on.is_some_and(|on| !matches!(on, SyncOn::Record(_))) {
        let what = "reconcile compares records, and this sync is not set off by a record";
        sync.refuse_key("reconcile", what, "write on = { record = \"…\" }, or remove it");
    }
    needs_http(sync, "reconcile", to);
    let url = row.template("http", Some(&["key"])).unwrap_or_default();
    if !url.is_empty() && !url.contains("{key}") {
        let what = "http: the URL is the same for every key";
        row.refuse("http", what, "put {key} where the key belongs");
    }
    let ours = match row.variant() {
        Some("sum") => Ours::Sum(row.expression("sum").unwrap_or_default()),
        Some(_) => Ours::Last(row.expression("last").unwrap_or_default()),
        None => Ours::Last(String::new()),
    };
    if coalesce && matches!(ours, Ours::Sum(_)) {
        let what =
            "with coalesce only the newest record of a key goes out, so the sum over all of them is never theirs";
        row.refuse_key("sum", what, "write last = \"…\", or coalesce = false");
    }
    Some(Reconcile {
        every: row.duration("every"),
        url,
        theirs: row.expression("theirs").unwrap_or_default(),
        ours,
        tolerance: row.number("tolerance").unwrap_or_default(),
        repair: row.choice("repair", &REPAIRS).unwrap_or(Repair::Report),
        settle: row.duration("settle"),
    })
}

pub(super) fn forwards(root: &Row<'_>) -> Vec<Forward> {
    let mut names = Names::default();
    let rows = root.tables("forward");
    rows.iter()
        .map(|row| Forward {
            name: names.take(row),
            match_: row.required_text("match"),
            events: row.switch("events"),
            to: target(row, Sender::Forward),
        })
        .collect()
}
