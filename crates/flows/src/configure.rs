//! From the configuration to what the desk is told.

use crate::alarm_book::{AlarmBook, AlarmRule};
use crate::desk::Settings;
use crate::message::MessageKind;
use crate::records::EntitySpec;
use crate::runs::{BatchBook, BatchSpec, FigureSpec, Schedule};
use crate::spec::{Begin, DefinitionText, FlowSpec, Ours, Pattern, Probe, Reconcile, Wanted};
use calendar::{Change, Cron, Exception, Shift, ShiftCalendar, Zone};
use config::{BatchAt, BatchFormat, Breaker, Compress, Condition, Config, Retry, StartAt, SyncOn, Target, TargetKind};
use delivery::{BreakerPolicy, Offset, Policy};
use expr::{Expr, Template};
use model::Glob;
use std::collections::HashMap;
use std::time::Duration;

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn signed_ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// What the desk is told, from a configuration that was checked.
///
/// # Errors
/// A sentence: an expression, a schema, the time zone or a schedule is wrong. A configuration that
/// was checked has none of these, but for a time zone that this system does not know.
pub fn settings(config: &Config, seed: u64) -> Result<Settings, String> {
    let mut flows = Vec::new();
    for one in &config.subscribers {
        flows.push(subscriber(one)?);
    }
    for one in &config.syncs {
        flows.push(sync(one)?);
    }
    for one in active_batches(config) {
        flows.push(batch_flow(one)?);
    }
    let entities = config.records.iter().map(|record| {
        let time = record.time.clone().or_else(|| Some("time".to_owned()));
        EntitySpec::new(&record.name, &record.id, record.key.clone(), time, record.schema.as_ref())
    });
    Ok(Settings {
        flows,
        entities: entities.collect::<Result<_, _>>()?,
        alarms: alarms(config)?,
        batches: batches(config)?,
        backlog_bytes: config.server.journal.backlog_bytes,
        seed,
    })
}

fn active_batches(config: &Config) -> impl Iterator<Item = &config::Batch> {
    config.batches.iter().filter(|batch| batch.format != BatchFormat::Parquet)
}

fn policy(to: &Target, retry: &Retry, breaker: &Breaker, timeout: Duration, expire: Option<Duration>) -> Policy {
    Policy {
        attempts: retry.attempts,
        first_ns: ns(retry.first),
        max_ns: ns(retry.max),
        timeout_ns: ns(timeout),
        expire_ns: expire.map(ns),
        concurrency: to.concurrency,
        breaker: BreakerPolicy {
            failures: breaker.failures,
            open_ns: ns(breaker.open),
            open_max_ns: ns(breaker.open_max),
        },
        ..Policy::default()
    }
}

fn begin(from: StartAt) -> Begin {
    match from {
        StartAt::Now => Begin::Now,
        StartAt::Earliest => Begin::Earliest,
        StartAt::Offset(offset) => Begin::After(Offset(offset.saturating_sub(1))),
    }
}

fn definition(to: &Target, when: Option<&String>, key: Option<String>, body: Option<&String>) -> DefinitionText {
    let (method, address) = match &to.kind {
        TargetKind::Http(http) => (http.method.clone(), http.url.clone()),
        TargetKind::Nats(nats) => (String::new(), nats.subject.clone()),
        TargetKind::Mqtt(mqtt) => (String::new(), mqtt.topic.clone()),
        TargetKind::S3(_) | TargetKind::Folder(_) => (String::new(), String::new()),
    };
    DefinitionText { when: when.cloned(), key, body: body.cloned(), method, address }
}

/// A target in words, without secrets.
#[must_use]
pub fn describe(to: &Target) -> String {
    match &to.kind {
        TargetKind::Http(http) => format!("{} {}", http.method, http.url),
        TargetKind::Nats(nats) => format!("{} subject {}", nats.url, nats.subject),
        TargetKind::Mqtt(mqtt) => format!("{} topic {}", mqtt.url, mqtt.topic),
        TargetKind::S3(s3) => format!("{}/{}/{}", s3.endpoint, s3.bucket, s3.prefix),
        TargetKind::Folder(folder) => format!("folder {}", folder.display()),
    }
}

fn success(to: &Target) -> Result<Option<Expr>, String> {
    match &to.kind {
        TargetKind::Http(http) => http.success.as_deref().map(compile).transpose(),
        _ => Ok(None),
    }
}

fn compile(text: &str) -> Result<Expr, String> {
    Expr::compile(text).map_err(|error| error.to_string())
}

fn template(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

fn subscriber(one: &config::Subscriber) -> Result<FlowSpec, String> {
    let mut policy = policy(&one.to, &one.retry, &one.breaker, one.timeout, one.expire);
    (policy.rate_per_s, policy.window) = (Some(one.drain_rate), one.window);
    Ok(FlowSpec {
        name: one.name.clone(),
        pattern: Pattern::Event,
        wanted: Wanted::Stream(MessageKind::Event.stream(&one.event)),
        begin: begin(one.from),
        definition: definition(&one.to, one.when.as_ref(), Some(one.key.clone()), one.body.as_ref()),
        success: success(&one.to)?,
        probe: None,
        reconcile: None,
        policy,
        target: describe(&one.to),
    })
}

fn sync(one: &config::Sync) -> Result<FlowSpec, String> {
    let mut policy = policy(&one.to, &one.retry, &one.breaker, one.timeout, one.expire);
    (policy.rate_per_s, policy.window) = (Some(one.drain_rate), one.window);
    (policy.coalesce, policy.probe) = (one.coalesce, one.probe.is_some());
    let wanted = match &one.on {
        SyncOn::Record(entity) => Wanted::Stream(MessageKind::Record.stream(entity)),
        SyncOn::Event(kind) => Wanted::Stream(MessageKind::Event.stream(kind)),
        SyncOn::Tag(glob) => Wanted::Tags(Glob::new(glob)),
    };
    let probe = one.probe.as_ref().map(|probe| {
        let (address, done) = (template(&probe.url)?, compile(&probe.done)?);
        Ok::<_, String>(Probe { method: probe.method.clone(), address, done })
    });
    Ok(FlowSpec {
        name: one.name.clone(),
        pattern: Pattern::Sync,
        wanted,
        begin: Begin::Now,
        definition: definition(&one.to, one.when.as_ref(), one.key.clone(), one.body.as_ref()),
        success: success(&one.to)?,
        probe: probe.transpose()?,
        reconcile: one.reconcile.as_ref().map(reconcile).transpose()?,
        policy,
        target: describe(&one.to),
    })
}

fn reconcile(told: &config::Reconcile) -> Result<Reconcile, String> {
    Ok(Reconcile {
        every_ns: ns(told.every),
        address: template(&told.url)?,
        theirs: compile(&told.theirs)?,
        ours: match &told.ours {
            config::Ours::Sum(text) => Ours::Sum(compile(text)?),
            config::Ours::Last(text) => Ours::Last(compile(text)?),
        },
        tolerance: told.tolerance,
        resend: told.repair == config::Repair::Resend,
        settle_ns: ns(told.settle),
    })
}

fn batch_flow(one: &config::Batch) -> Result<FlowSpec, String> {
    Ok(FlowSpec {
        name: one.name.clone(),
        pattern: Pattern::Batch,
        wanted: Wanted::Stream(MessageKind::Batch.stream(&one.name)),
        begin: Begin::Now,
        definition: definition(&one.to, None, None, None),
        success: success(&one.to)?,
        probe: None,
        reconcile: None,
        policy: policy(&one.to, &one.retry, &one.breaker, one.timeout, None),
        target: describe(&one.to),
    })
}

fn alarms(config: &Config) -> Result<AlarmBook, String> {
    let mut rules = HashMap::new();
    for rule in &config.rules {
        let options = alarms::Options {
            severity: rule.severity,
            latch: rule.latch,
            confirm: rule.confirm,
            re_alarm_ns: rule.re_alarm.map(ns),
            event: rule.event.clone(),
        };
        let message = rule.message.as_deref().map(compile).transpose()?;
        let limit = match rule.condition {
            Condition::High { limit, .. }
            | Condition::Low { limit, .. }
            | Condition::Rate { limit, .. }
            | Condition::Deviation { limit, .. } => Some(limit),
            _ => None,
        };
        rules.insert(rule.name.clone(), AlarmRule { options, message, limit });
    }
    Ok(AlarmBook::new(rules))
}

fn batches(config: &Config) -> Result<BatchBook, String> {
    let zone = Zone::new(&config.server.time_zone).map_err(|error| error.to_string())?;
    let shifts: Vec<Shift> = config.shifts.iter().map(shift).collect();
    let calendar = (!shifts.is_empty())
        .then(|| ShiftCalendar::new(zone.clone(), shifts))
        .transpose()
        .map_err(|error| error.to_string())?;
    let specs: Result<Vec<BatchSpec>, String> = active_batches(config).map(batch_spec).collect();
    Ok(BatchBook::new(zone, calendar, specs?))
}

fn shift(told: &config::Shift) -> Shift {
    let time = |time: config::TimeOfDay| (time.hour, time.minute);
    let mut days = [false; 7];
    for day in &told.days {
        days[*day as usize] = true;
    }
    let exception = |one: &config::ShiftException| Exception {
        // the configuration checks that a date exists, so that these fit
        date: (one.date.year.cast_signed(), one.date.month.cast_signed(), one.date.day.cast_signed()),
        what: match one.hours {
            None => Change::Off,
            Some((start, end)) => Change::Times { start: time(start), end: time(end) },
        },
    };
    Shift {
        name: told.name.clone(),
        start: time(told.start),
        end: time(told.end),
        days,
        except: told.except.iter().map(exception).collect(),
    }
}

fn batch_spec(told: &config::Batch) -> Result<BatchSpec, String> {
    let word = |aggregate: config::Aggregate| {
        let found = config::Aggregate::ALL.iter().find(|(_, known)| *known == aggregate);
        found.map_or("last", |(word, _)| word).to_owned()
    };
    let schedule = match &told.at {
        BatchAt::ShiftEnd => Schedule::Shifts,
        BatchAt::Manual => Schedule::Manual,
        BatchAt::Cron(text) => Schedule::Cron(Cron::parse(text).map_err(|error| error.to_string())?),
    };
    Ok(BatchSpec {
        spec: batch::Spec {
            name: told.name.clone(),
            records: told.records.clone(),
            group_by: told.group_by.clone(),
            totals: told.totals.clone(),
            format: match told.format {
                BatchFormat::Json => batch::Format::Json,
                BatchFormat::Csv | BatchFormat::Parquet => batch::Format::Csv,
            },
            gzip: told.compress == Compress::Gzip,
        },
        schedule,
        delay_ns: signed_ns(told.delay),
        correct_ns: signed_ns(told.correct),
        figures: told
            .rollups
            .iter()
            .map(|figure| FigureSpec { match_: figure.match_.clone(), aggregate: word(figure.aggregate) })
            .collect(),
    })
}
