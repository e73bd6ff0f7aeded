//! Reads `[[request]]`: what is asked, and what of a device may be read, written and called.

use super::convert::nearest;
use super::opcua::no_node;
use super::parts::{FlowNames, breaker, json, not_there, range};
use super::row::Row;
use super::source::{SourceRead, Sources};
use super::target::{Sender, target};
use crate::quantity::show_duration;
use crate::request::{
    DeviceRead, DeviceWrite, Interlock, MethodCall, Request, RequestAction, Revert, Role, WritePoint, WritePoints,
    WriteRate,
};
use crate::{ModbusSource, ModbusTag, OpcuaSource, RegisterType, SourceKind};
use std::collections::HashSet;

const ROLES: [(&str, Role); 4] =
    [("viewer", Role::Viewer), ("operator", Role::Operator), ("engineer", Role::Engineer), ("admin", Role::Admin)];

pub(super) fn requests(root: &Row<'_>, names: &mut FlowNames, sources: &Sources) -> Vec<Request> {
    let rows = root.tables("request");
    rows.iter()
        .map(|row| Request {
            name: names.take(row, "[[request]]"),
            action: action(row, sources),
            timeout: row.duration("timeout"),
            max_in_flight: row.whole("max_in_flight").unwrap_or_default(),
            breaker: breaker(row),
            role: row.choice("role", &ROLES).unwrap_or(Role::Admin),
            schema: json(row, "schema"),
            body: row.expression("body"),
            answer: row.expression("answer"),
            cache: row.optional_duration("cache"),
        })
        .collect()
}

fn action(row: &Row<'_>, sources: &Sources) -> RequestAction {
    let Some(action @ ("write" | "write_points" | "read" | "call")) = row.variant() else {
        return RequestAction::To(target(row, Sender::Request));
    };
    for name in ["body", "cache"] {
        if row.has(name) {
            row.refuse_key(name, &format!("{name} has no meaning for a {action}"), "remove it");
        }
    }
    let table = row.table(action);
    match action {
        "write" => RequestAction::Write(table.map_or_else(no_write, |table| write(&table, sources))),
        "write_points" => RequestAction::WritePoints(
            table.map_or_else(|| WritePoints { max_points: 1, points: Vec::new() }, |table| points(&table, sources)),
        ),
        "read" => RequestAction::Read(table.map_or_else(no_read, |table| read(&table, sources))),
        _ => RequestAction::Call(table.map_or_else(no_call, |table| call(&table, sources))),
    }
}

/// The source that `source` names; `None` when there is none, it cannot be asked, or what it has is
/// not known before its own problems are solved.
fn device<'s>(row: &Row<'_>, sources: &'s Sources) -> Option<&'s SourceRead> {
    let name = row.text("source")?;
    let names = || sources.list.iter().map(|read| read.source.name.as_str());
    let Some(read) = sources.list.iter().find(|read| read.source.name == name) else {
        not_there(row, "source", &format!("there is no source {name:?}"), nearest(&name, names()), "[[source]]");
        return None;
    };
    if !read.clean {
        return None;
    }
    if matches!(read.source.kind, SourceKind::Native(_)) {
        row.refuse(
            "source",
            &format!("{name:?} takes native frames, and cannot be written to or asked"),
            "name a modbus or opcua source",
        );
        return None;
    }
    Some(read)
}

/// The configured tags of a source, relative to its path.
fn tags_of(read: &SourceRead) -> Vec<String> {
    match &read.source.kind {
        SourceKind::Modbus(source) => modbus_tags(source).collect(),
        SourceKind::Opcua(source) => source.tags.iter().map(|tag| tag.name.clone()).collect(),
        SourceKind::Native(_) => Vec::new(),
    }
}

/// The tags of a source relative to its path: `unit/tag`, or `tag` where the unit has no name.
fn modbus_tags(source: &ModbusSource) -> impl Iterator<Item = String> {
    source.units.iter().flat_map(|unit| {
        source.tags.iter().map(|tag| match &unit.name {
            Some(name) => format!("{name}/{}", tag.name),
            None => tag.name.clone(),
        })
    })
}

/// A source's tag by its name relative to the source's path; of a Modbus source with what it is.
fn find_tag<'s>(read: &'s SourceRead, tag: &str) -> Option<Option<&'s ModbusTag>> {
    match &read.source.kind {
        SourceKind::Modbus(source) => source.units.iter().find_map(|unit| {
            let name = match &unit.name {
                Some(unit) => tag.strip_prefix(unit.as_str())?.strip_prefix('/')?,
                None => tag,
            };
            source.tags.iter().find(|known| known.name == name).map(Some)
        }),
        SourceKind::Opcua(source) => source.tags.iter().any(|known| known.name == tag).then_some(None),
        SourceKind::Native(_) => None,
    }
}

fn no_write() -> DeviceWrite {
    DeviceWrite {
        source: String::new(),
        tag: String::new(),
        range: None,
        step: None,
        rate: None,
        interlock: None,
        expect: false,
        read_back: None,
        tolerance: 0.0,
        revert: None,
    }
}

fn write(row: &Row<'_>, sources: &Sources) -> DeviceWrite {
    let write = DeviceWrite {
        source: row.required_text("source"),
        tag: row.required_text("tag"),
        range: range(row, "range"),
        step: row.number("step"),
        rate: row
            .table("rate")
            .map(|rate| WriteRate { writes: rate.whole("writes").unwrap_or_default(), per: rate.duration("per") }),
        interlock: row.table("interlock").map(|interlock| self::interlock(&interlock, sources)),
        expect: row.switch("expect"),
        read_back: row.optional_duration("read_back"),
        tolerance: row.number("tolerance").unwrap_or_default(),
        revert: row.table("revert").map(|revert| self::revert(&revert)),
    };
    if write.step == Some(0.0) {
        row.refuse("step", "step: with a largest change of 0 nothing can be written", "write a number above 0");
    }
    if row.has("tolerance") && write.read_back.is_none() && !write.expect {
        let what = "tolerance: nothing is compared";
        row.refuse_key("tolerance", what, "add read_back = \"1s\" or expect = true, or remove it");
    }
    if !write.source.is_empty() && !write.tag.is_empty() {
        check_write(row, &write.tag, sources);
    }
    write
}

fn points(row: &Row<'_>, sources: &Sources) -> WritePoints {
    let rows = row.tables("point");
    let mut points: Vec<WritePoint> = Vec::with_capacity(rows.len());
    let (mut names, mut tags) = (HashSet::new(), HashSet::new());
    for row in &rows {
        let write = write(row, sources);
        let name = row.text("name").unwrap_or_else(|| write.tag.clone());
        if !write.tag.is_empty() && !tags.insert((write.source.clone(), write.tag.clone())) {
            let what = format!("tag {:?} of source {:?} is another point of this request", write.tag, write.source);
            row.refuse("tag", &what, "remove one of them");
        } else if !name.is_empty() && !names.insert(name.clone()) {
            let what = format!("another point of this request is called {name:?}");
            row.refuse("name", &what, "give each point a name of its own: name = \"press1/limit\"");
        }
        points.push(WritePoint { name, write });
    }
    if rows.is_empty() && row.has("point") {
        row.refuse("point", "point: a request without points writes nothing", "add [[request.write_points.point]]");
    }
    WritePoints { max_points: row.whole("max_points").unwrap_or_default(), points }
}

fn check_write(row: &Row<'_>, tag: &str, sources: &Sources) {
    let Some(read) = device(row, sources) else { return };
    let Some(found) = find_tag(read, tag) else {
        let tags = tags_of(read);
        let near = nearest(tag, tags.iter().map(String::as_str));
        let what = format!("source {:?} has no tag {tag:?}", read.source.name);
        return not_there(row, "tag", &what, near, "[[source.tag]]");
    };
    let mut number = true;
    if let Some(found) = found {
        if !found.writable() {
            let what = format!("{tag:?} is {}, which Modbus cannot write", found.at);
            row.refuse("tag", &what, "name a tag in holding or coil");
        }
        number = !matches!(found.kind, RegisterType::Bool | RegisterType::Text { .. });
    }
    for name in ["range", "step", "tolerance"] {
        if !number && row.has(name) {
            row.refuse_key(name, &format!("{tag:?} is no number"), &format!("remove the {name}"));
        }
    }
    if number && !row.has("range") {
        row.refuse("range", "a write needs the range that it is allowed in", "add range = [low, high]");
    }
}

fn interlock(row: &Row<'_>, sources: &Sources) -> Interlock {
    let entries = row.texts("tags");
    for entry in &entries {
        if sources.list.iter().all(|read| read.clean) && !sources.tree.knows(&entry.text) {
            let what = format!("tags: no source of this file makes the tag {:?}", entry.text);
            let key = format!("{}.{}", row.path_of("tags"), entry.name);
            let fix = match nearest(&entry.text, sources.tree.paths()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "write the whole path of a tag, the source's path first".to_owned(),
            };
            row.cx.report(&entry.text_at, &key, &what, &fix);
        }
    }
    // Aliases as they are written: one that is wrong is reported itself, not what uses it, too.
    let aliases = row.names_in("tags");
    let over: Vec<&str> = aliases.iter().copied().chain(["value"]).collect();
    Interlock {
        when: row.expression_over("when", &over).unwrap_or_default(),
        tags: entries.into_iter().map(|entry| (entry.name, entry.text)).collect(),
        max_age: row.duration("max_age"),
    }
}

fn revert(row: &Row<'_>) -> Revert {
    let (max, default) = (row.duration("max"), row.optional_duration("default"));
    if default.is_some_and(|default| default > max) && !max.is_zero() {
        let what = format!("revert: default is longer than max, {}", show_duration(max));
        row.refuse("default", &what, &format!("write at most {}", show_duration(max)));
    }
    Revert { max, default }
}

fn no_read() -> DeviceRead {
    DeviceRead { source: String::new(), tags: Vec::new(), max_age: None }
}

fn read(row: &Row<'_>, sources: &Sources) -> DeviceRead {
    let tags = row.list("tags");
    if let Some(read) = device(row, sources) {
        let known = tags_of(read);
        for (index, (tag, at)) in tags.iter().enumerate() {
            if known.contains(tag) || browsed(read, tag) {
                continue;
            }
            let what = format!("source {:?} has no tag {tag:?}", read.source.name);
            let fix = match nearest(tag, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "write the name of a [[source.tag]], or one below a [[source.browse]]".to_owned(),
            };
            row.cx.report(at, &format!("{}[{index}]", row.path_of("tags")), &what, &fix);
        }
    }
    DeviceRead {
        source: row.required_text("source"),
        tags: tags.into_iter().map(|(tag, _)| tag).collect(),
        max_age: row.optional_duration("max_age"),
    }
}

/// May the tag be found by browsing, while the server runs?
fn browsed(read: &SourceRead, tag: &str) -> bool {
    let SourceKind::Opcua(OpcuaSource { browse, .. }) = &read.source.kind else { return false };
    browse.iter().any(|browse| tag.strip_prefix(browse.name.as_str()).is_some_and(|rest| rest.starts_with('/')))
}

fn no_call() -> MethodCall {
    MethodCall { source: String::new(), object: no_node(), method: no_node(), arguments: None }
}

fn call(row: &Row<'_>, sources: &Sources) -> MethodCall {
    if let Some(read) = device(row, sources)
        && !matches!(read.source.kind, SourceKind::Opcua(_))
    {
        let what = format!("{:?} is no OPC UA server, and only those have methods", read.source.name);
        row.refuse("source", &what, "name an opcua source");
    }
    let node = |name: &str| row.parsed(name, str::parse).unwrap_or_else(no_node);
    MethodCall {
        source: row.required_text("source"),
        object: node("object"),
        method: node("method"),
        arguments: row.expression("arguments"),
    }
}
