//! The pass as native sessions see it: what the server's wiring does, for one shard.
//!
//! It can also be made to say for a while that the pass takes nothing, which a real one does only
//! with 64 MiB in flight.

use model::{LogPosition, ProducerId, Refused, Sequence, SourceId, TagDeclaration, TagPath, TimestampNs};
use native::{FrameSink, Opened, Refusal, Registered, TagWanted, TakeError, Taken};
use pipeline::Pass;
use std::cell::RefCell;
use std::rc::Rc;

/// Tags that a source may have.
const TAGS_MAX: u32 = 1_000;

/// One native source: its name and the path of its tags.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its configured name.
    pub name: String,
    /// Below it are its tags.
    pub path: String,
}

/// What the sink saw, for the accounts.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Frames stored.
    pub stored: u64,
    /// Frames that came again.
    pub duplicates: u64,
    /// Frames given up.
    pub shed: Vec<(ProducerId, Sequence)>,
}

/// The pass for native sessions.
pub struct PassSink {
    pass: Rc<RefCell<Pass>>,
    sites: Vec<(Site, SourceId)>,
    /// Set before each poll.
    pub now: TimestampNs,
    /// Nothing new is opened.
    pub closing: bool,
    /// The pass is made to look as if too much waited for the disk.
    pub busy: bool,
    /// For the accounts.
    pub seen: Seen,
}

impl PassSink {
    /// A sink over a pass.
    #[must_use]
    pub fn new(pass: Rc<RefCell<Pass>>, sites: &[Site], now: TimestampNs) -> PassSink {
        let source = |site: &Site| (site.clone(), pass.borrow_mut().source(&site.name, false, now));
        let sites = sites.iter().map(source).collect();
        PassSink { pass, sites, now, closing: false, busy: false, seen: Seen::default() }
    }

    fn site(&self, name: &str) -> Result<(Site, SourceId), Refusal> {
        self.sites.iter().find(|(site, _)| site.name == name).cloned().ok_or_else(|| Refusal::UnknownSource {
            name: name.to_owned(),
            known: self.sites.iter().map(|(site, _)| site.name.clone()).collect(),
        })
    }

    fn declaration(&self, site: &Site, wanted: &TagWanted<'_>) -> Result<TagDeclaration, Refusal> {
        let full = format!("{}/{}", site.path, wanted.name);
        let path = TagPath::new(&full).map_err(|problem| Refusal::BadName { name: full.clone(), problem })?;
        if let Some(known) = self.pass.borrow().state().definitions.find(&path)
            && known.kind != wanted.kind
        {
            return Err(Refusal::OtherKind { name: full, has: known.kind, wanted: wanted.kind });
        }
        let (kind, unit) = (wanted.kind, wanted.unit.to_owned());
        Ok(TagDeclaration { path, kind, unit, range: None, deadband: 0.0, heartbeat_ns: 0 })
    }
}

fn full(what: &str, limit: u64) -> Refusal {
    Refusal::Limit { what: what.to_owned(), limit }
}

impl FrameSink for PassSink {
    fn open(&mut self, producer: ProducerId, source: &str) -> Result<Opened, Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        let (site, id) = self.site(source)?;
        let mut pass = self.pass.borrow_mut();
        if let Some(other) = pass.state().producers.source(producer).filter(|other| *other != id) {
            let source = pass.state().definitions.source_name(other).to_owned();
            return Err(Refusal::OtherSource { producer, source });
        }
        let last = pass.open(producer, id).map_err(|_| full("producers", model::limits::PRODUCERS_MAX as u64))?;
        let position = if last == Sequence(0) { LogPosition(0) } else { pass.end() };
        Ok(Opened { path: site.path, last, position, tags_max: TAGS_MAX, datagrams: false })
    }

    fn register(
        &mut self,
        _: ProducerId,
        source: &str,
        tags: &[TagWanted<'_>],
        texts: &[&str],
    ) -> Result<Registered, Refusal> {
        if self.busy {
            return Err(Refusal::Later(Refused::Busy));
        }
        let (site, id) = self.site(source)?;
        let declarations: Result<Vec<TagDeclaration>, Refusal> =
            tags.iter().map(|wanted| self.declaration(&site, wanted)).collect();
        let declarations = declarations?;
        let mut pass = self.pass.borrow_mut();
        let tags = pass.declare(id, &declarations).map_err(|_| full("tags", u64::from(model::limits::TAGS_MAX)))?;
        let texts = pass.texts(texts).map_err(|_| full("texts", u64::from(model::limits::TEXTS_MAX)))?;
        let position = pass.seal_definitions(self.now).map_err(Refusal::Later)?;
        Ok(Registered { tags, texts, position })
    }

    fn take(&mut self, frame: frame::Frame<'_>, received: TimestampNs) -> Result<Taken, TakeError> {
        if self.busy {
            return Err(TakeError::Refused(Refused::Busy));
        }
        let mut pass = self.pass.borrow_mut();
        match pass.take(frame, received) {
            Ok(pipeline::Taken::Stored { position }) => {
                self.seen.stored += 1;
                Ok(Taken::Stored { position })
            }
            Ok(pipeline::Taken::Duplicate) => {
                self.seen.duplicates += 1;
                Ok(Taken::Duplicate { position: pass.end() })
            }
            Err(pipeline::TakeError::Refused(refused)) => Err(TakeError::Refused(refused)),
            Err(pipeline::TakeError::UnknownProducer) => Err(TakeError::UnknownProducer),
            Err(pipeline::TakeError::ForeignTag { tag }) => Err(TakeError::UnknownTag { tag }),
            Err(pipeline::TakeError::BadText { tag }) => Err(TakeError::BadValue { tag }),
            Err(pipeline::TakeError::NotTelemetry) => Err(TakeError::Refused(Refused::Closed)),
        }
    }

    fn shed(&mut self, frame: frame::Frame<'_>, received: TimestampNs) {
        let mut pass = self.pass.borrow_mut();
        self.seen.shed.push((frame.producer(), frame.sequence()));
        pass.shed(frame.producer(), frame.sequence(), frame.sample_count() as u64, received);
    }

    fn durable(&self) -> LogPosition {
        self.pass.borrow().durable()
    }

    fn is_busy(&self) -> bool {
        self.busy || self.pass.borrow().is_busy()
    }
}
