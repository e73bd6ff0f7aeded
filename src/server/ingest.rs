//! Samples that come over HTTP: into the native source below whose path they lie, answered after
//! the commit of every shard that took a part.

use crate::server::shard_main::Local;
use crate::server::site::{ClaimError, NativeSite, Site};
use env::Clock;
use http::{IngestError, IngestSample};
use model::{CommitError, Reading, Refused, ShardId, TagDeclaration, TagId, TagPath, Value, ValueKind};
use pipeline::Pass;
use shard::{Lane, ShardContext};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use uring::clock::SystemClock;

/// What one shard takes of a request for one source, in the request's order.
struct Part {
    shard: ShardId,
    source: String,
    samples: Vec<IngestSample>,
}

/// Takes samples in; `Ok` once all of them are durable.
pub async fn ingest(site: Arc<Site>, samples: Vec<IngestSample>) -> Result<(), IngestError> {
    let mut waiting = Vec::new();
    let mut parts = divide(&site, samples)?;
    while let Some(shard) = parts.last().map(|part| part.shard) {
        let here: Vec<Part> = parts.extract_if(.., |part| part.shard == shard).collect();
        let (reply, answer) = oneshot::channel();
        let sender = site.shards()[shard.0 as usize].sender().ok_or(IngestError::Refused(Refused::Closed))?;
        let job = move |context: &ShardContext| take(context, here, reply);
        sender.post(Box::new(job)).map_err(|_| IngestError::Refused(Refused::Busy))?;
        waiting.push(answer);
    }
    for answer in waiting {
        answer.await.map_err(|_| IngestError::Refused(Refused::Closed))??;
    }
    Ok(())
}

/// Says for each sample which shard it belongs to, or what is wrong with it. Nothing is taken yet.
fn divide(site: &Site, samples: Vec<IngestSample>) -> Result<Vec<Part>, IngestError> {
    let tables: Vec<_> = site.shards().iter().map(|port| port.view.tags()).collect();
    let mut parts: Vec<Part> = Vec::new();
    // kinds of tags that this request brings
    let mut kinds: HashMap<TagPath, ValueKind> = HashMap::new();
    let count = samples.len();
    for (index, sample) in samples.into_iter().enumerate() {
        let wrong = |reason: String| IngestError::Sample { index, reason };
        let path = &sample.tag;
        let native = site.native_of(path).ok_or_else(|| wrong(outside(site, path)))?;
        let shard = home(site, native, path).map_err(wrong)?;
        let kind = match tables[shard.0 as usize].find(path.as_str()) {
            Some(tag) => tag.kind,
            None => *kinds.entry(path.clone()).or_insert(sample.value.kind()),
        };
        if !fits(kind, &sample.value) {
            let value = sample.value.kind().name();
            return Err(wrong(format!("{path} has values of kind {}, not {value}", kind.name())));
        }
        match parts.iter_mut().find(|part| part.shard == shard && part.source == native.name) {
            Some(part) => part.samples.push(sample),
            None => {
                let mut samples = Vec::with_capacity(count - index);
                samples.push(sample);
                parts.push(Part { shard, source: native.name.clone(), samples });
            }
        }
    }
    Ok(parts)
}

/// The shard of a tag, which is its own from now on.
fn home(site: &Site, native: &NativeSite, path: &TagPath) -> Result<ShardId, String> {
    if let Some(owner) = site.owner(path.as_str()) {
        return Ok(owner);
    }
    let shard = stored_on(site, path).unwrap_or_else(|| site.shard_of_source(&native.name));
    claim(site, native, path, shard).map(|()| shard)
}

fn fits(kind: ValueKind, value: &Value) -> bool {
    kind == value.kind() || (kind == ValueKind::F64 && value.kind() == ValueKind::I64)
}

/// The shard whose log already has the tag, so that it goes on there.
fn stored_on(site: &Site, path: &TagPath) -> Option<ShardId> {
    site.shards().iter().find(|port| port.view.tags().find(path.as_str()).is_some()).map(|port| port.view.shard)
}

fn claim(site: &Site, native: &NativeSite, path: &TagPath, shard: ShardId) -> Result<(), String> {
    site.claim(native, path.as_str(), shard).map_err(|error| match error {
        ClaimError::Limit => format!(
            "source {} has {} tags, as many as it may; raise tags_max in the configuration",
            native.name, native.tags_max
        ),
        ClaimError::Elsewhere(shard) => format!("{path} was just registered on shard {shard}; send it again"),
    })
}

fn outside(site: &Site, path: &TagPath) -> String {
    let known: Vec<&str> = site.native().iter().map(|native| native.path.as_str()).collect();
    if known.is_empty() {
        return format!("{path}: there is no native source to take it; add a [[source]] with kind = \"native\"");
    }
    format!("{path} lies below no native source; samples are taken below {}", known.join(", "))
}

/// On the shard: through the pass, then wait for the disk in a task of the request lane.
fn take(context: &ShardContext, parts: Vec<Part>, reply: oneshot::Sender<Result<(), IngestError>>) {
    let now = SystemClock.wall();
    let taken = Local::with(|local| {
        let mut pass = local.pass.borrow_mut();
        let position = parts.into_iter().try_fold(pass.durable(), |_, part| submit(&mut pass, part, now));
        position.map(|position| (local.pass.clone(), position))
    });
    context.kick();
    match taken {
        None => drop(reply.send(Err(IngestError::Refused(Refused::Closed)))),
        Some(Err(refused)) => drop(reply.send(Err(IngestError::Refused(refused)))),
        Some(Ok((pass, position))) => drop(context.spawn(Lane::Request, "ingest-commit", async move {
            let durable = std::future::poll_fn(|cx| pass.borrow_mut().poll_durable(position, cx)).await;
            let _ = reply.send(durable.map_err(|CommitError::Closed| IngestError::Refused(Refused::Closed)));
        })),
    }
}

fn submit(pass: &mut Pass, part: Part, now: model::TimestampNs) -> Result<model::LogPosition, Refused> {
    let source = pass.source(&part.source, false, now);
    let reading = |sample: IngestSample| {
        Ok(Reading {
            tag: tag(pass, source, &sample)?,
            source_time: sample.time,
            value: Some(sample.value),
            quality: sample.quality,
        })
    };
    let readings: Vec<Reading> = part.samples.into_iter().map(reading).collect::<Result<_, _>>()?;
    pass.submit(now, &readings)
}

/// The tag's number; a tag that is known keeps its unit and range.
fn tag(pass: &mut Pass, source: model::SourceId, sample: &IngestSample) -> Result<TagId, Refused> {
    if let Some(known) = pass.state().definitions.find(&sample.tag).filter(|known| known.source == source) {
        return Ok(known.id);
    }
    let declaration = TagDeclaration {
        path: sample.tag.clone(),
        kind: sample.value.kind(),
        unit: String::new(),
        range: None,
        deadband: 0.0,
        heartbeat_ns: 0,
    };
    Ok(pass.declare(source, &[declaration])?[0])
}
