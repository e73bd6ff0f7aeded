//! Samples that come over HTTP: into the native source below whose path they lie, answered after
//! the commit of every shard that took a part.

use crate::server::shard_main::Local;
use crate::server::site::{ClaimError, NativeSite, Site};
use crate::server::tag_routes::{Place, Routes};
use env::Clock;
use http::{IngestError, IngestSample};
use model::{
    CommitError, LogPosition, Reading, Refused, ShardId, TagDeclaration, TagId, TagPath, TimestampNs, Value, ValueKind,
};
use pipeline::Pass;
use shard::{Lane, ShardContext};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use uring::clock::SystemClock;

/// What one shard takes of a request for one source, in the request's order.
struct Part {
    shard: ShardId,
    /// The source's place among the native ones.
    source: usize,
    /// How many tags the shard's table held when the numbers of tags were looked up in it.
    table_tags: usize,
    samples: Vec<Placed>,
}

/// A sample, and its tag's number if that was looked up.
struct Placed {
    tag: Option<TagId>,
    sample: IngestSample,
}

/// Takes samples in; `Ok` once all of them are durable.
pub async fn ingest(site: Arc<Site>, samples: Vec<IngestSample>) -> Result<(), IngestError> {
    let mut waiting = Vec::new();
    let known = Local::with(|local| divide(&site, &mut local.routes.borrow_mut(), samples));
    let mut parts = known.unwrap_or(Err(IngestError::Refused(Refused::Closed)))?;
    while let Some(shard) = parts.last().map(|part| part.shard) {
        let here: Vec<Part> = parts.extract_if(.., |part| part.shard == shard).collect();
        let (reply, answer) = oneshot::channel();
        let sender = site.shards()[shard.0 as usize].sender().ok_or(IngestError::Refused(Refused::Closed))?;
        let site = Arc::clone(&site);
        let job = move |context: &ShardContext| take(context, &site, here, reply);
        sender.post(Box::new(job)).map_err(|_| IngestError::Refused(Refused::Busy))?;
        waiting.push(answer);
    }
    for answer in waiting {
        answer.await.map_err(|_| IngestError::Refused(Refused::Closed))??;
    }
    Ok(())
}

/// Says for each sample which shard it belongs to, or what is wrong with it. Nothing is taken yet.
fn divide(site: &Site, routes: &mut Routes, samples: Vec<IngestSample>) -> Result<Vec<Part>, IngestError> {
    routes.refresh(site.shards().iter().map(|port| port.view.tags()));
    let mut parts: Vec<Part> = Vec::new();
    // kinds of tags that this request brings
    let mut kinds: HashMap<TagPath, ValueKind> = HashMap::new();
    let count = samples.len();
    for (index, sample) in samples.into_iter().enumerate() {
        let wrong = |reason: String| IngestError::Sample { index, reason };
        let path = &sample.tag;
        let place = match routes.find(path) {
            Some(place) => place,
            None => place(site, routes, &mut kinds, &sample).map_err(wrong)?,
        };
        if !fits(place.kind, &sample.value) {
            let value = sample.value.kind().name();
            return Err(wrong(format!("{path} has values of kind {}, not {value}", place.kind.name())));
        }
        let placed = Placed { tag: place.tag, sample };
        match parts.iter_mut().find(|part| part.shard == place.shard && part.source == place.source) {
            Some(part) => part.samples.push(placed),
            None => {
                let mut samples = Vec::with_capacity(count - index);
                samples.push(placed);
                let table_tags = routes.table(place.shard).len();
                parts.push(Part { shard: place.shard, source: place.source, table_tags, samples });
            }
        }
    }
    Ok(parts)
}

/// Where a tag goes that has no route yet; it gets one if its shard's table holds it.
fn place(
    site: &Site,
    routes: &mut Routes,
    kinds: &mut HashMap<TagPath, ValueKind>,
    sample: &IngestSample,
) -> Result<Place, String> {
    let path = &sample.tag;
    let below = |native: &NativeSite| path.is_below(&native.path);
    let source = site.native().iter().position(below).ok_or_else(|| outside(site, path))?;
    let native = &site.native()[source];
    let shard = home(site, native, path)?;
    let table = routes.table(shard);
    let Some(tag) = table.find(path.as_str()) else {
        let kind = *kinds.entry(path.clone()).or_insert(sample.value.kind());
        return Ok(Place { shard, source, kind, tag: None });
    };
    let (kind, number) = (tag.kind, tag.id);
    if table.source_name(tag.source) != native.name {
        // it was another source's: the shard declares it anew
        return Ok(Place { shard, source, kind, tag: None });
    }
    let place = Place { shard, source, kind, tag: Some(number) };
    routes.note(path, place);
    Ok(place)
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
fn take(context: &ShardContext, site: &Site, parts: Vec<Part>, reply: oneshot::Sender<Result<(), IngestError>>) {
    let now = SystemClock.wall();
    let taken = Local::with(|local| {
        let mut pass = local.pass.borrow_mut();
        let position = parts.into_iter().try_fold(pass.durable(), |_, part| submit(&mut pass, site, part, now));
        if context.has_time() {
            pass.hurry();
        }
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

fn submit(pass: &mut Pass, site: &Site, part: Part, now: TimestampNs) -> Result<LogPosition, Refused> {
    let source = pass.source(&site.native()[part.source].name, false, now);
    let reading = |Placed { tag: known, sample }: Placed| {
        // paths change their numbers only with a declaration, which makes the list longer
        let is_fresh = pass.state().definitions.tags().len() == part.table_tags;
        Ok(Reading {
            tag: known.filter(|_| is_fresh).map_or_else(|| tag(pass, source, &sample), Ok)?,
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
