//! The pass as native sessions see it.

use crate::server::site::{ClaimError, NativeSite, Site};
use env::Clock;
use frame::{Frame, View};
use model::{LogPosition, ProducerId, Refused, Sequence, SourceId, SourceState, TagDeclaration, TagPath, TimestampNs};
use native::{FrameSink, Opened, Refusal, Registered, TagWanted, TakeError, Taken};
use pipeline::Pass;
use shard::ShardContext;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use uring::clock::SystemClock;

/// A shard's pass for native sessions.
pub struct PassSink {
    pass: Rc<RefCell<Pass>>,
    site: Arc<Site>,
    context: ShardContext,
    sources: HashMap<String, SourceId>,
    producers: HashMap<String, HashSet<ProducerId>>,
    /// Set by the stage before each poll.
    pub now: TimestampNs,
    /// The gate: nothing new is opened.
    pub closing: bool,
}

impl PassSink {
    /// A sink of this shard.
    pub fn new(pass: Rc<RefCell<Pass>>, site: Arc<Site>, context: ShardContext, now: TimestampNs) -> PassSink {
        let mut sink = PassSink {
            pass,
            site: Arc::clone(&site),
            context,
            sources: HashMap::new(),
            producers: HashMap::new(),
            now,
            closing: false,
        };
        for native in site.native() {
            let source = sink.source(native);
            sink.pass.borrow_mut().set_state(source, SourceState::Running, now);
        }
        sink
    }

    /// Whether the shard had time to spare lately.
    pub fn has_time(&self) -> bool {
        self.context.has_time()
    }

    fn source(&mut self, native: &NativeSite) -> SourceId {
        let (pass, now) = (&self.pass, self.now);
        let open = || pass.borrow_mut().source(&native.name, false, now);
        *self.sources.entry(native.name.clone()).or_insert_with(open)
    }

    fn known_native(&self, name: &str) -> Result<NativeSite, Refusal> {
        self.site.native_by_name(name).cloned().ok_or_else(|| Refusal::UnknownSource {
            name: name.to_owned(),
            known: self.site.native().iter().map(|native| native.name.clone()).collect(),
        })
    }

    /// The declaration of one wanted tag, once it is certain that this shard may have it.
    fn declaration(&self, native: &NativeSite, wanted: &TagWanted<'_>) -> Result<TagDeclaration, Refusal> {
        let full = format!("{}/{}", native.path, wanted.name);
        let path = TagPath::new(&full).map_err(|problem| Refusal::BadName { name: full.clone(), problem })?;
        if let Some(known) = self.pass.borrow().state().definitions.find(&path)
            && known.kind != wanted.kind
        {
            return Err(Refusal::OtherKind { name: full, has: known.kind, wanted: wanted.kind });
        }
        match self.site.claim(native, &full, self.context.id()) {
            Ok(()) => {}
            Err(ClaimError::Limit) => {
                let what = format!("tags of source {} (tags_max)", native.name);
                return Err(Refusal::Limit { what, limit: u64::from(native.tags_max) });
            }
            Err(ClaimError::Elsewhere(shard)) => {
                let what = format!(
                    "producers of tag {full}: it is sent by another one on shard {shard}; a tag has one producer"
                );
                return Err(Refusal::Limit { what, limit: 1 });
            }
        }
        Ok(TagDeclaration {
            path,
            kind: wanted.kind,
            unit: wanted.unit.to_owned(),
            range: None,
            deadband: 0.0,
            heartbeat_ns: 0,
        })
    }
}

/// The time that a frame's sender gave it, or its first sample.
fn source_time(frame: Frame<'_>) -> Option<TimestampNs> {
    match frame.view() {
        View::Scan(scan) => scan.source_time(),
        View::Samples(samples) => samples.iter().next().and_then(|(_, time, ..)| time),
        _ => None,
    }
}

impl FrameSink for PassSink {
    fn open(&mut self, producer: ProducerId, source: &str) -> Result<Opened, Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        let native = self.known_native(source)?;
        let home = self.site.shard_of_producer(producer);
        if home != self.context.id() {
            return Err(Refusal::WrongShard(home));
        }
        let id = self.source(&native);
        let mut pass = self.pass.borrow_mut();
        if let Some(other) = pass.state().producers.source(producer).filter(|other| *other != id) {
            let source = pass.state().definitions.source_name(other).to_owned();
            return Err(Refusal::OtherSource { producer, source });
        }
        let known = self.producers.entry(native.name.clone()).or_default();
        if known.len() >= native.producers_max as usize && !known.contains(&producer) {
            let what = format!("producers of source {} (producers_max)", native.name);
            return Err(Refusal::Limit { what, limit: u64::from(native.producers_max) });
        }
        let last = pass.open(producer, id).map_err(|_| Refusal::Limit {
            what: "producers on this shard".into(),
            limit: model::limits::PRODUCERS_MAX as u64,
        })?;
        known.insert(producer);
        pass.count(id, "connections", 1, self.now);
        let position = if last == Sequence(0) { LogPosition(0) } else { pass.end() };
        Ok(Opened { path: native.path, last, position, tags_max: native.tags_max, datagrams: native.udp })
    }

    fn register(
        &mut self,
        _: ProducerId,
        source: &str,
        tags: &[TagWanted<'_>],
        texts: &[&str],
    ) -> Result<Registered, Refusal> {
        let native = self.known_native(source)?;
        let id = self.source(&native);
        let declarations: Result<Vec<TagDeclaration>, Refusal> =
            tags.iter().map(|wanted| self.declaration(&native, wanted)).collect();
        let declarations = declarations?;
        let mut pass = self.pass.borrow_mut();
        let full = |what: &str, limit: u32| Refusal::Limit { what: what.into(), limit: u64::from(limit) };
        let tags = pass.declare(id, &declarations).map_err(|_| full("tags on this shard", model::limits::TAGS_MAX))?;
        let texts = pass.texts(texts).map_err(|_| full("texts on this shard", model::limits::TEXTS_MAX))?;
        // a number may be told only when a crash can no longer give it to something else
        let position = pass.seal_definitions(self.now).map_err(Refusal::Later)?;
        Ok(Registered { tags, texts, position })
    }

    fn take(&mut self, frame: Frame<'_>, received: TimestampNs) -> Result<Taken, TakeError> {
        let mut pass = self.pass.borrow_mut();
        match pass.take(frame, received) {
            Ok(pipeline::Taken::Stored { position }) => {
                if let Some(sent) = source_time(frame) {
                    self.context.visible(u64::try_from(SystemClock.wall().0.saturating_sub(sent.0)).unwrap_or(0));
                }
                Ok(Taken::Stored { position })
            }
            Ok(pipeline::Taken::Duplicate) => Ok(Taken::Duplicate { position: pass.end() }),
            Err(pipeline::TakeError::Refused(refused)) => Err(TakeError::Refused(refused)),
            Err(pipeline::TakeError::UnknownProducer) => Err(TakeError::UnknownProducer),
            Err(pipeline::TakeError::ForeignTag { tag }) => Err(TakeError::UnknownTag { tag }),
            Err(pipeline::TakeError::BadText { tag }) => Err(TakeError::BadValue { tag }),
            Err(pipeline::TakeError::NotTelemetry) => Err(TakeError::Refused(Refused::Closed)),
        }
    }

    fn shed(&mut self, frame: Frame<'_>, received: TimestampNs) {
        let mut pass = self.pass.borrow_mut();
        let Some(source) = pass.state().producers.source(frame.producer()) else { return };
        let count = frame.sample_count() as u64;
        pass.shed(frame.producer(), frame.sequence(), count, received);
        pass.count(source, "shed_samples", count, received);
    }

    fn durable(&self) -> LogPosition {
        self.pass.borrow().durable()
    }

    fn is_busy(&self) -> bool {
        self.pass.borrow().is_busy()
    }
}
