//! Samples that come over HTTP: into the native source below whose path they lie, answered after
//! the commit of every shard that took a part.

use crate::server::shard_main::Local;
use crate::server::site::{ClaimError, NativeSite, Site};
use env::Clock;
use http::{IngestError, IngestSample};
use model::{CommitError, Reading, Refused, ShardId, TagDeclaration, TagId, TagPath, Value, ValueKind};
use pipeline::Pass;
use shard::{Lane, ShardContext};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::oneshot;
use uring::clock::SystemClock;

/// One sample with its place in the request.
struct Placed {
    path: TagPath,
    sample: IngestSample,
}

/// The part of a request that one shard takes, by source.
type Part = BTreeMap<String, Vec<Placed>>;

/// Takes samples in; `Ok` once all of them are durable.
pub async fn ingest(site: Arc<Site>, samples: Vec<IngestSample>) -> Result<(), IngestError> {
    let mut waiting = Vec::new();
    for (shard, part) in divide(&site, samples)? {
        let (reply, answer) = oneshot::channel();
        let sender = site.shards()[shard.0 as usize].sender().ok_or(IngestError::Refused(Refused::Closed))?;
        let job = move |context: &ShardContext| take(context, &part, reply);
        sender.post(Box::new(job)).map_err(|_| IngestError::Refused(Refused::Busy))?;
        waiting.push(answer);
    }
    for answer in waiting {
        answer.await.map_err(|_| IngestError::Refused(Refused::Closed))??;
    }
    Ok(())
}

/// Says for each sample which shard it belongs to, or what is wrong with it. Nothing is taken yet.
fn divide(site: &Site, samples: Vec<IngestSample>) -> Result<BTreeMap<ShardId, Part>, IngestError> {
    let mut parts: BTreeMap<ShardId, Part> = BTreeMap::new();
    let mut kinds: HashMap<String, ValueKind> = HashMap::new();
    for (index, sample) in samples.into_iter().enumerate() {
        let wrong = |reason: String| IngestError::Sample { index, reason };
        let path = TagPath::new(&sample.tag).map_err(|error| wrong(format!("{}: {error}", sample.tag)))?;
        let native = site.native_of(&path).ok_or_else(|| wrong(outside(site, &path)))?;
        let shard = site
            .owner(path.as_str())
            .or_else(|| stored_on(site, &path))
            .unwrap_or_else(|| site.shard_of_source(&native.name));
        let kind = match kinds.get(path.as_str()) {
            Some(kind) => *kind,
            None => site.shards()[shard.0 as usize]
                .view
                .tags()
                .find(path.as_str())
                .map_or(sample.value.kind(), |tag| tag.kind),
        };
        if !fits(kind, &sample.value) {
            return Err(wrong(format!(
                "{path} has values of kind {}, not {}",
                kind.name(),
                sample.value.kind().name()
            )));
        }
        kinds.insert(path.to_string(), kind);
        claim(site, native, &path, shard).map_err(wrong)?;
        parts.entry(shard).or_default().entry(native.name.clone()).or_default().push(Placed { path, sample });
    }
    Ok(parts)
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
fn take(context: &ShardContext, part: &Part, reply: oneshot::Sender<Result<(), IngestError>>) {
    let now = SystemClock.wall();
    let taken = Local::with(|local| {
        let mut pass = local.pass.borrow_mut();
        let position =
            part.iter().try_fold(pass.durable(), |_, (source, samples)| submit(&mut pass, source, samples, now));
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

fn submit(
    pass: &mut Pass,
    source: &str,
    samples: &[Placed],
    now: model::TimestampNs,
) -> Result<model::LogPosition, Refused> {
    let source = pass.source(source, false, now);
    let ids: Vec<TagId> = samples.iter().map(|placed| tag(pass, source, placed)).collect::<Result<_, _>>()?;
    let readings: Vec<Reading> = samples
        .iter()
        .zip(ids)
        .map(|(placed, tag)| Reading {
            tag,
            source_time: placed.sample.time,
            value: Some(placed.sample.value.clone()),
            quality: placed.sample.quality,
        })
        .collect();
    pass.submit(now, &readings)
}

/// The tag's number; a tag that is known keeps its unit and range.
fn tag(pass: &mut Pass, source: model::SourceId, placed: &Placed) -> Result<TagId, Refused> {
    if let Some(known) = pass.state().definitions.find(&placed.path).filter(|known| known.source == source) {
        return Ok(known.id);
    }
    let declaration = TagDeclaration {
        path: placed.path.clone(),
        kind: placed.sample.value.kind(),
        unit: String::new(),
        range: None,
        deadband: 0.0,
        heartbeat_ns: 0,
    };
    Ok(pass.declare(source, &[declaration])?[0])
}
