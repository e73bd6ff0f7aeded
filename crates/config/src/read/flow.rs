//! Reads the business side: subscribers, requests, records, syncs, batches, shifts, forwards.

use std::collections::HashSet;

use toml::de::DeValue;

use super::convert::nearest;
use super::parts::{DELIVERY, Names, breaker, range, retry, target};
use super::row::Row;
use super::source::SourceRead;
use crate::flow::{
    Batch, BatchAt, BatchFormat, BatchRollup, Day, DeviceWrite, Forward, Record, Request, RequestAction, Role, Shift,
    StartAt, Subscriber, Sync, SyncOn, TimeOfDay,
};
use crate::{ModbusSource, RegisterType, SourceKind};

pub(super) fn subscribers(root: &Row<'_>) -> Vec<Subscriber> {
    let mut names = Names::default();
    let rows = root.tables("subscriber");
    rows.iter()
        .map(|row| Subscriber {
            name: names.take(row),
            event: row.required_text("event"),
            from: row.start_at("from").unwrap_or(StartAt::Now),
            when: row.text("when"),
            to: target(row, DELIVERY),
            body: row.text("body"),
            retry: retry(row),
            timeout: row.duration("timeout"),
            expire: row.optional_duration("expire"),
        })
        .collect()
}

const ROLES: [(&str, Role); 4] =
    [("viewer", Role::Viewer), ("operator", Role::Operator), ("engineer", Role::Engineer), ("admin", Role::Admin)];

pub(super) fn requests(root: &Row<'_>, sources: &[SourceRead]) -> Vec<Request> {
    let mut names = Names::default();
    let rows = root.tables("request");
    rows.iter()
        .map(|row| Request {
            name: names.take(row),
            action: match row.variant() {
                Some("write") => RequestAction::Write(write(row, sources)),
                _ => RequestAction::Call(target(row, &["http"])),
            },
            timeout: row.duration("timeout"),
            max_in_flight: row.whole("max_in_flight").unwrap_or_default(),
            breaker: breaker(row),
            role: row.choice("role", &ROLES).unwrap_or(Role::Admin),
            body: row.text("body"),
            cache: row.optional_duration("cache"),
        })
        .collect()
}

fn write(request: &Row<'_>, sources: &[SourceRead]) -> DeviceWrite {
    let Some(row) = request.table("write") else {
        return DeviceWrite { source: String::new(), tag: String::new(), range: None, read_back: None };
    };
    for name in ["body", "cache"] {
        if request.has(name) {
            request.refuse_key(name, &format!("{name} has no meaning for a write"), "remove it");
        }
    }
    let write = DeviceWrite {
        source: row.required_text("source"),
        tag: row.required_text("tag"),
        range: range(&row, "range"),
        read_back: row.optional_duration("read_back"),
    };
    if !write.source.is_empty() && !write.tag.is_empty() {
        check_write(&row, &write, sources);
    }
    write
}

fn check_write(row: &Row<'_>, write: &DeviceWrite, sources: &[SourceRead]) {
    let DeviceWrite { source: name, tag, .. } = write;
    let names = || sources.iter().map(|read| read.source.name.as_str());
    let Some(read) = sources.iter().find(|read| read.source.name == *name) else {
        return not_there(row, "source", &format!("there is no source {name:?}"), nearest(name, names()), "[[source]]");
    };
    if !read.clean {
        return; // what it has is not known before its own problems are solved
    }
    let tags: Vec<String> = match &read.source.kind {
        SourceKind::Modbus(source) => modbus_tags(source).map(|(tag, _)| tag).collect(),
        SourceKind::Opcua(source) => source.tags.iter().map(|tag| tag.name.clone()).collect(),
        SourceKind::Native(_) => {
            row.refuse(
                "source",
                &format!("{name:?} takes native frames, and cannot be written to"),
                "name a modbus or opcua source",
            );
            return;
        }
    };
    if !tags.contains(tag) {
        let near = nearest(tag, tags.iter().map(String::as_str));
        return not_there(row, "tag", &format!("source {name:?} has no tag {tag:?}"), near, "[[source.tag]]");
    }
    let mut needs_range = true;
    if let SourceKind::Modbus(source) = &read.source.kind
        && let Some((_, found)) = modbus_tags(source).find(|(path, _)| path == tag)
    {
        if !found.writable() {
            let what = format!("{tag:?} is {}, which Modbus cannot write", found.at);
            row.refuse("tag", &what, "name a tag in holding or coil");
        }
        needs_range = !matches!(found.kind, RegisterType::Bool | RegisterType::Text { .. });
        if !needs_range && row.has("range") {
            row.refuse_key("range", &format!("{tag:?} is no number"), "remove the range");
        }
    }
    if needs_range && !row.has("range") {
        row.refuse("range", "a write needs the range that it is allowed in", "add range = [low, high]");
    }
}

/// The tags of a source relative to its path: `unit/tag`, or `tag` where the unit has no name.
fn modbus_tags(source: &ModbusSource) -> impl Iterator<Item = (String, &crate::ModbusTag)> {
    source.units.iter().flat_map(|unit| {
        source.tags.iter().map(|tag| match &unit.name {
            Some(name) => (format!("{name}/{}", tag.name), tag),
            None => (tag.name.clone(), tag),
        })
    })
}

/// Reports a name that nothing has.
fn not_there(row: &Row<'_>, key: &str, what: &str, near: Option<&str>, section: &str) {
    let fix = match near {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("write the name of a {section} of this file"),
    };
    row.refuse(key, what, &fix);
}

pub(super) fn records(root: &Row<'_>) -> Vec<Record> {
    let mut names = Names::default();
    let rows = root.tables("record");
    rows.iter()
        .map(|row| Record { name: names.take(row), id: row.required_text("id"), schema: json(row, "schema") })
        .collect()
}

fn json(row: &Row<'_>, name: &str) -> Option<serde_json::Value> {
    let (key, value) = row.value(name)?;
    if !value.get_ref().is_table() {
        row.refuse_type(key, value);
        return None;
    }
    let json = to_json(value.get_ref());
    if json.is_none() {
        row.refuse(
            name,
            &format!("{name}: a number in it is infinite, none, or beyond 64 bits"),
            "write finite numbers",
        );
    }
    json
}

/// TOML as JSON; `None` where a number has no JSON. Depth is bounded by the TOML parser.
fn to_json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => serde_json::Number::from_f64(number.as_str().parse().ok()?)?.into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(array) => {
            serde_json::Value::Array(array.iter().map(|entry| to_json(entry.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, entry)| Some((key.get_ref().to_string(), to_json(entry.get_ref())?)));
            serde_json::Value::Object(entries.collect::<Option<_>>()?)
        }
    })
}

pub(super) fn syncs(root: &Row<'_>, records: &[Record]) -> Vec<Sync> {
    let mut names = Names::default();
    let rows = root.tables("sync");
    rows.iter()
        .map(|row| Sync {
            name: names.take(row),
            on: on(row, records),
            key: row.text("key"),
            coalesce: row.switch("coalesce"),
            when: row.text("when"),
            to: target(row, DELIVERY),
            body: row.text("body"),
            retry: retry(row),
            timeout: row.duration("timeout"),
            expire: row.optional_duration("expire"),
        })
        .collect()
}

fn on(sync: &Row<'_>, records: &[Record]) -> SyncOn {
    let Some(row) = sync.table("on") else { return SyncOn::Tag(String::new()) };
    let name = match row.variant() {
        Some("record") => row.required_text("record"),
        Some(_) => return SyncOn::Tag(row.required_text("tag")),
        None => return SyncOn::Tag(String::new()),
    };
    let known = || records.iter().map(|record| record.name.as_str());
    if !name.is_empty() && !known().any(|record| record == name) {
        not_there(&row, "record", &format!("there is no record {name:?}"), nearest(&name, known()), "[[record]]");
    }
    SyncOn::Record(name)
}

const FORMATS: [(&str, BatchFormat); 3] =
    [("csv", BatchFormat::Csv), ("json", BatchFormat::Json), ("parquet", BatchFormat::Parquet)];

pub(super) fn batches(root: &Row<'_>, records: &[Record], shifts: &[Shift]) -> Vec<Batch> {
    let mut names = Names::default();
    let rows = root.tables("batch");
    rows.iter().map(|row| batch(row, &mut names, records, shifts)).collect()
}

fn batch(row: &Row<'_>, names: &mut Names, records: &[Record], shifts: &[Shift]) -> Batch {
    let at = row.parsed("at", str::parse::<BatchAt>);
    if at == Some(BatchAt::ShiftEnd) && shifts.is_empty() {
        row.refuse("at", "there is no shift that could end", "add a [[shift]], or write a cron expression");
    }
    let known: HashSet<&str> = records.iter().map(|record| record.name.as_str()).collect();
    let mut taken = Vec::new();
    for (index, (name, at)) in row.list("records").into_iter().enumerate() {
        if !known.contains(name.as_str()) {
            let fix = match nearest(&name, records.iter().map(|record| record.name.as_str())) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "write the name of a [[record]] of this file".to_owned(),
            };
            let key = format!("{}[{index}]", row.path_of("records"));
            row.cx.report(&at, &key, &format!("there is no record {name:?}"), &fix);
        }
        taken.push(name);
    }
    let rollups: Vec<BatchRollup> = row.tables("rollups").iter().filter_map(batch_rollup).collect();
    if !row.has("records") && !row.has("rollups") {
        row.refuse(
            "records",
            &format!("{} has nothing in it", row.title()),
            "add records = [\"…\"] or rollups = [{ … }]",
        );
    }
    Batch {
        name: names.take(row),
        at: at.unwrap_or(BatchAt::ShiftEnd),
        delay: row.duration("delay"),
        records: taken,
        rollups,
        group_by: row.list("group_by").into_iter().map(|(field, _)| field).collect(),
        format: row.choice("format", &FORMATS).unwrap_or(BatchFormat::Csv),
        to: target(row, DELIVERY),
        retry: retry(row),
        timeout: row.duration("timeout"),
    }
}

fn batch_rollup(row: &Row<'_>) -> Option<BatchRollup> {
    let match_ = row.text("match");
    let aggregate = row.choice("aggregate", &crate::Aggregate::ALL);
    Some(BatchRollup { match_: match_?, aggregate: aggregate? })
}

const DAYS: [(&str, Day); 7] = [
    ("mon", Day::Mon),
    ("tue", Day::Tue),
    ("wed", Day::Wed),
    ("thu", Day::Thu),
    ("fri", Day::Fri),
    ("sat", Day::Sat),
    ("sun", Day::Sun),
];

pub(super) fn shifts(root: &Row<'_>) -> Vec<Shift> {
    const MIDNIGHT: TimeOfDay = TimeOfDay { hour: 0, minute: 0 };
    let mut names = Names::default();
    let rows = root.tables("shift");
    let day = |word: &str| DAYS.iter().find(|(known, _)| *known == word).map(|(_, day)| *day);
    rows.iter()
        .map(|row| Shift {
            name: names.take(row),
            start: row.parsed("start", str::parse).unwrap_or(MIDNIGHT),
            end: row.parsed("end", str::parse).unwrap_or(MIDNIGHT),
            days: row.list("days").iter().filter_map(|(word, _)| day(word)).collect(),
        })
        .collect()
}

pub(super) fn forwards(root: &Row<'_>) -> Vec<Forward> {
    let mut names = Names::default();
    let rows = root.tables("forward");
    rows.iter()
        .map(|row| Forward {
            name: names.take(row),
            match_: row.required_text("match"),
            events: row.switch("events"),
            to: target(row, &["nats", "mqtt"]),
        })
        .collect()
}
