//! What frames mean within one connection: the handshake, registrations, telemetry, acknowledgements.
//!
//! Works on whole frames; [`Session`](crate::Session) cuts them out of the stream and keeps what must
//! wait. Answers are appended to an output buffer that the server sends.

use crate::acks::AckQueue;
use crate::counters::{Counters, ProtocolError};
use crate::limits::Limits;
use crate::sink::{FrameSink, Opened, Refusal, TagWanted, TakeError, Taken, clip};
use frame::{Builder, Frame, FrameError, FrameKind, Refuse, View, Welcome};
use model::{LogPosition, ProducerId, Refused, Sequence, ShardId, TimestampNs, ValueKind, limits};
use std::collections::VecDeque;

/// Why reading stops at a frame.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The bytes are no frame.
    NotAFrame(FrameError),
    /// The peer is told why and the connection closed. `None`: counted as refused, not as an error.
    Fault { error: Option<ProtocolError>, reason: String, retry: bool },
    /// The peer said that it closes.
    PeerCloses,
    /// The pass takes nothing now: this frame and all behind it must wait.
    Hold,
    /// The connection belongs to another shard, this frame included.
    Elsewhere(ShardId),
}

impl From<FrameError> for Stop {
    fn from(error: FrameError) -> Self {
        Stop::NotAFrame(error)
    }
}

fn fault(error: ProtocolError, reason: impl Into<String>) -> Stop {
    Stop::Fault { error: Some(error), reason: reason.into(), retry: false }
}

/// What a good `Hello` said and got.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) producer: ProducerId,
    pub(crate) source: String,
    pub(crate) name: String,
    pub(crate) acks: bool,
    pub(crate) opened: Opened,
}

#[derive(Debug)]
enum State {
    /// Nothing but a `Hello` is taken.
    Fresh,
    /// The `Welcome` waits until what the producer sent before is durable.
    Opening(Link),
    /// Registrations and telemetry are taken.
    Open(Link),
}

/// One connection's conversation.
pub(crate) struct Dialogue {
    state: State,
    /// Last sequence of this connection; 0 before the first. A producer may start anywhere, so that
    /// what it sends again after a reconnect is a duplicate and no mistake.
    last: Sequence,
    acks: AckQueue,
    /// Answers to `Register`, each with the position that must be durable first.
    registered: VecDeque<(LogPosition, frame::Registered)>,
    tags_asked: u64,
    texts_asked: u64,
    limits: Limits,
    pub(crate) out: Builder,
}

impl Dialogue {
    pub(crate) fn new(limits: Limits) -> Dialogue {
        Dialogue {
            state: State::Fresh,
            last: Sequence(0),
            acks: AckQueue::new(limits.acks_waiting_max),
            registered: VecDeque::new(),
            tags_asked: 0,
            texts_asked: 0,
            limits,
            out: Builder::new(),
        }
    }

    pub(crate) fn link(&self) -> Option<&Link> {
        match &self.state {
            State::Fresh => None,
            State::Opening(link) | State::Open(link) => Some(link),
        }
    }

    /// Whether something waits for the disk.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Opening(_)) || !self.registered.is_empty() || !self.acks.is_empty()
    }

    pub(crate) fn on_frame(
        &mut self,
        frame: Frame<'_>,
        sink: &mut dyn FrameSink,
        received: TimestampNs,
        counters: &mut Counters,
    ) -> Result<(), Stop> {
        let (producer, acks) = match &self.state {
            State::Fresh => return self.on_hello(frame, sink),
            State::Opening(_) if frame.kind() != FrameKind::Refuse => {
                return Err(fault(ProtocolError::BeforeWelcome, "wait for the Welcome before sending more"));
            }
            State::Opening(link) | State::Open(link) => (link.producer, link.acks),
        };
        if frame.producer() != producer {
            let reason = format!("this frame is of producer {}, but the Hello was of {producer}", frame.producer());
            return Err(fault(ProtocolError::Producer, reason));
        }
        match frame.kind() {
            FrameKind::Scan | FrameKind::Samples => self.on_telemetry(frame, acks, sink, received, counters),
            FrameKind::Register => self.on_register(frame, sink),
            FrameKind::Refuse => Err(Stop::PeerCloses),
            FrameKind::Hello => Err(fault(ProtocolError::Hello, "a connection has one Hello; this was the second")),
            kind => Err(fault(ProtocolError::Kind, format!("a producer may not send a frame of kind {kind:?}"))),
        }
    }

    fn on_hello(&mut self, frame: Frame<'_>, sink: &mut dyn FrameSink) -> Result<(), Stop> {
        let View::Hello(hello) = frame.view() else {
            let reason = "say Hello first: who you are and which source you send for";
            return Err(fault(ProtocolError::Hello, reason));
        };
        let producer = frame.producer();
        if producer == ProducerId::SELF {
            return Err(fault(ProtocolError::Producer, "producer 0 is Millstream itself; choose another number"));
        }
        let opened = match sink.open(producer, &hello.source) {
            Ok(opened) => opened,
            Err(Refusal::WrongShard(shard)) => return Err(Stop::Elsewhere(shard)),
            Err(Refusal::Later(_)) => return Err(Stop::Hold),
            Err(refusal) => return Err(refused(&refusal, None)),
        };
        let position = opened.position;
        let link = Link {
            producer,
            source: hello.source.to_string(),
            name: clip(&hello.name).to_owned(),
            acks: hello.acks,
            opened,
        };
        // Fire-and-forget has nothing to resume, so nothing to wait for.
        if link.acks && position > sink.durable() {
            self.state = State::Opening(link);
        } else {
            self.welcome(link);
        }
        Ok(())
    }

    fn welcome(&mut self, link: Link) {
        let welcome = Welcome {
            path: link.opened.path.clone(),
            frame_bytes_max: limits::FRAME_BYTES_MAX as u32,
            tags_max: link.opened.tags_max,
        };
        let sent = self.out.welcome(link.producer, link.opened.last, &welcome).is_ok();
        debug_assert!(sent, "a Welcome is far shorter than the longest frame");
        self.state = State::Open(link);
    }

    fn on_telemetry(
        &mut self,
        frame: Frame<'_>,
        acks: bool,
        sink: &mut dyn FrameSink,
        received: TimestampNs,
        counters: &mut Counters,
    ) -> Result<(), Stop> {
        let sequence = frame.sequence();
        if sequence <= self.last {
            // Taking it for a repeat would lose it (N3).
            let reason = format!("sequence {sequence} comes after {}; number frames upwards from 1", self.last);
            return Err(fault(ProtocolError::Order, reason));
        }
        match sink.take(frame, received) {
            Ok(Taken::Stored { position }) => {
                counters.frames += 1;
                counters.samples += frame.sample_count() as u64;
                self.taken(sequence, position, acks);
            }
            Ok(Taken::Duplicate { position }) => {
                counters.duplicates += 1;
                self.taken(sequence, position, acks);
            }
            Err(TakeError::Refused(Refused::Busy | Refused::Disk)) if acks => return Err(Stop::Hold),
            Err(TakeError::Refused(Refused::Busy | Refused::Disk)) => {
                counters.shed_frames += 1;
                counters.shed_samples += frame.sample_count() as u64;
                sink.shed(frame, received);
                self.last = sequence;
            }
            Err(TakeError::Refused(Refused::Closed)) => return Err(refused(&Refusal::Closing, None)),
            Err(error @ TakeError::Refused(Refused::Limit)) => {
                return Err(Stop::Fault { error: None, reason: error.to_string(), retry: false });
            }
            Err(error @ (TakeError::UnknownTag { .. } | TakeError::BadValue { .. })) => {
                return Err(fault(ProtocolError::Tag, error.to_string()));
            }
            Err(error @ TakeError::UnknownProducer) => {
                return Err(Stop::Fault { error: None, reason: error.to_string(), retry: true });
            }
        }
        Ok(())
    }

    fn taken(&mut self, sequence: Sequence, position: LogPosition, acks: bool) {
        self.last = sequence;
        if acks {
            self.acks.push(sequence, position);
        }
    }

    fn on_register(&mut self, frame: Frame<'_>, sink: &mut dyn FrameSink) -> Result<(), Stop> {
        let (View::Register(register), State::Open(link)) = (frame.view(), &self.state) else {
            return Err(fault(ProtocolError::Kind, "a Register is taken after the Welcome only"));
        };
        let names = register.tags.len() + register.texts.len();
        let tags_asked = self.tags_asked + register.tags.len() as u64;
        let texts_asked = self.texts_asked + register.texts.len() as u64;
        let bounds = [
            (names as u64, self.limits.register_names_max as u64, "names in one Register"),
            (tags_asked, u64::from(link.opened.tags_max), "tags asked for on one connection (tags_max)"),
            (texts_asked, u64::from(self.limits.register_texts_max), "texts asked for on one connection"),
        ];
        if let Some((_, limit, what)) = bounds.into_iter().find(|(asked, limit, _)| asked > limit) {
            let refusal = Refusal::Limit { what: what.to_owned(), limit };
            return Err(refused(&refusal, Some(ProtocolError::Register)));
        }
        if self.registered.len() >= self.limits.registers_waiting_max {
            return Err(Stop::Hold);
        }
        let mut tags = Vec::with_capacity(register.tags.len());
        for tag in register.tags.iter() {
            let kind = ValueKind::from_u8(tag.kind)
                .ok_or_else(|| fault(ProtocolError::Register, "a tag has a kind that does not exist"))?;
            tags.push(TagWanted { name: &tag.name, kind, unit: &tag.unit });
        }
        let texts: Vec<&str> = register.texts.iter().map(|text| &*text.text).collect();
        let registered = match sink.register(link.producer, &link.source, &tags, &texts) {
            Ok(registered) => registered,
            Err(Refusal::Later(_)) => return Err(Stop::Hold),
            Err(refusal @ Refusal::Closing) => return Err(refused(&refusal, None)),
            Err(refusal) => return Err(refused(&refusal, Some(ProtocolError::Register))),
        };
        debug_assert!(registered.tags.len() == tags.len() && registered.texts.len() == texts.len());
        let answer = frame::Registered {
            request: register.request.to_native(),
            tags: registered.tags.iter().map(|tag| tag.0).collect(),
            texts: registered.texts.iter().map(|text| text.0).collect(),
        };
        self.registered.push_back((registered.position, answer));
        (self.tags_asked, self.texts_asked) = (tags_asked, texts_asked);
        self.answer_registered(sink.durable());
        Ok(())
    }

    /// Writes the answers to `Register` that the durable position allows, in order.
    fn answer_registered(&mut self, durable: LogPosition) {
        let State::Open(link) = &self.state else { return };
        while let Some((_, answer)) = self.registered.pop_front_if(|(position, _)| *position <= durable) {
            let sent = self.out.registered(link.producer, Sequence(0), &answer).is_ok();
            debug_assert!(sent, "names_max numbers fit a frame");
        }
    }

    /// Writes the `Welcome`, the answers and the `Ack` that the durable position allows (N1).
    pub(crate) fn on_durable(&mut self, durable: LogPosition, counters: &mut Counters) {
        if let State::Opening(link) = &self.state
            && link.opened.position <= durable
            && let State::Opening(link) = std::mem::replace(&mut self.state, State::Fresh)
        {
            self.welcome(link);
        }
        self.answer_registered(durable);
        if let Some(sequence) = self.acks.on_durable(durable)
            && let Some(producer) = self.link().map(|link| link.producer)
        {
            let sent = self.out.bare(FrameKind::Ack, producer, sequence).is_ok();
            debug_assert!(sent, "an Ack is a header");
            counters.acks += 1;
        }
    }

    /// Writes why the connection is closed.
    pub(crate) fn refuse(&mut self, reason: &str, retry: bool) {
        let producer = self.link().map_or(ProducerId::SELF, |link| link.producer);
        let refuse = Refuse { reason: reason.to_owned(), retry };
        let sent = self.out.refuse(producer, Sequence(0), &refuse).is_ok();
        debug_assert!(sent, "reasons are short");
    }
}

fn refused(refusal: &Refusal, error: Option<ProtocolError>) -> Stop {
    Stop::Fault { error, reason: refusal.to_string(), retry: refusal.retry() }
}
