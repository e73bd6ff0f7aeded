//! One producer: what a program with the client library does, without sockets and without waiting.
//!
//! With acknowledgements its frames live in a `client::Outbox`. Without, they go out once: some are
//! skipped, and what a broken connection held is lost.

use super::ledger::{Ledger, Told};
use super::net::SimNet;
use super::sink::Site;
use client::Outbox;
use env::clock::Random;
use env::net::ConnectionId;
use frame::{
    Builder, EncodeError, Hello, Register, Samples, Scan, Splitter, StoredSample, TagRequest, TextRequest, View,
};
use model::{ProducerId, Quality, Sequence, TimestampNs, ValueKind};
use sim::SimRandom;

/// Tags of a producer.
const TAGS: usize = 12;
/// Texts that the producers share.
const TEXTS: usize = 9;
/// Bytes that an outbox keeps, and of one of its blocks.
const OUTBOX_BYTES: (usize, usize) = (4 << 10, 256 << 10);

/// A tag that the server gave a number.
#[derive(Clone, Copy)]
struct Tag {
    id: u32,
    kind: ValueKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until this time, monotonic ns.
    Down(u64),
    /// The Hello is sent.
    Greeting,
    /// Names are asked for.
    Registering,
    /// Frames flow.
    Up,
}

/// A producer with its connection.
pub struct Producer {
    /// Who.
    pub id: ProducerId,
    site: Site,
    acks: bool,
    /// Samples of each frame; 0: any number.
    per_frame: u64,
    values_max: u64,
    random: SimRandom,
    phase: Phase,
    connection: Option<ConnectionId>,
    splitter: Splitter,
    outbox: Outbox,
    /// Goes out before what is in the outbox; gone with the connection.
    first: Vec<u8>,
    tags: Vec<Tag>,
    texts: Vec<u32>,
    /// How many tags and texts it wants by now.
    wanted: (usize, usize),
    request: u32,
    /// It has forgotten what it sent.
    is_new: bool,
}

fn kind_of(tag: usize) -> ValueKind {
    [ValueKind::F64, ValueKind::F64, ValueKind::I64, ValueKind::Bool, ValueKind::Text][tag % 5]
}

impl Producer {
    /// A producer that was never connected.
    #[must_use]
    pub fn new(id: ProducerId, site: Site, acks: bool, values_max: u64, mut random: SimRandom) -> Producer {
        let per_frame = if acks { 0 } else { 1 + random.below(8) };
        let wanted = (1 + random.below(TAGS as u64) as usize, 1 + random.below(TEXTS as u64) as usize);
        Producer {
            id,
            site,
            acks,
            per_frame,
            values_max,
            random,
            phase: Phase::Down(0),
            connection: None,
            splitter: Splitter::new(),
            outbox: Outbox::new(id, true, OUTBOX_BYTES.0, OUTBOX_BYTES.1),
            first: Vec::new(),
            tags: Vec::new(),
            texts: Vec::new(),
            wanted,
            request: 0,
            is_new: true,
        }
    }

    /// Samples of each frame; 0: any number.
    #[must_use]
    pub const fn per_frame(&self) -> u64 {
        self.per_frame
    }

    /// The name of the source that it sends for.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site.name
    }

    /// Whether its frames flow.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Whether it waits for nothing: all its frames are acknowledged, or at least sent.
    #[must_use]
    pub fn is_idle(&self, ledger: &Ledger) -> bool {
        let acknowledged = !self.acks || self.outbox.acknowledged() == ledger.last(self.id);
        self.is_up() && self.first.is_empty() && acknowledged
    }

    /// The connection is gone.
    pub fn drop_connection(&mut self, net: &mut SimNet, now_ns: u64) {
        if let Some(connection) = self.connection.take() {
            net.cut(connection);
        }
        self.splitter = Splitter::new();
        self.first.clear();
        self.phase = Phase::Down(now_ns + self.random.below(30_000_000));
    }

    /// The program dies and starts again without its memory.
    pub fn restart(&mut self, net: &mut SimNet, now_ns: u64) {
        self.drop_connection(net, now_ns);
        self.outbox = Outbox::new(self.id, true, OUTBOX_BYTES.0, OUTBOX_BYTES.1);
        self.tags.clear();
        self.texts.clear();
        self.is_new = true;
    }

    /// Connects, reads what was answered, writes what waits.
    ///
    /// # Errors
    /// The server broke a promise.
    pub fn step(&mut self, net: &mut SimNet, ledger: &mut Ledger, now_ns: u64) -> Result<(), String> {
        if let Phase::Down(until) = self.phase
            && now_ns >= until
        {
            self.connection = Some(net.connect());
            self.phase = Phase::Greeting;
            let hello = Hello { source: self.site.name.clone(), acks: self.acks, name: "rig".to_owned() };
            let id = self.id;
            self.say(|builder| builder.hello(id, Sequence(0), &hello).map(drop))?;
        }
        self.listen(net, ledger, now_ns)?;
        self.write(net)
    }

    fn say(&mut self, build: impl FnOnce(&mut Builder) -> Result<(), EncodeError>) -> Result<(), String> {
        let mut builder = Builder::new();
        build(&mut builder).map_err(|error| error.to_string())?;
        self.first.extend_from_slice(builder.bytes());
        Ok(())
    }

    fn listen(&mut self, net: &mut SimNet, ledger: &mut Ledger, now_ns: u64) -> Result<(), String> {
        while let Some(connection) = self.connection {
            let Some(bytes) = net.read(connection) else {
                self.drop_connection(net, now_ns);
                break;
            };
            if bytes.is_empty() {
                break;
            }
            let mut frames: Vec<Heard> = Vec::new();
            let pushed = self.splitter.push(&bytes, |frame| {
                frames.push(heard(frame));
                Ok::<(), frame::FrameError>(())
            });
            pushed.map_err(|error| format!("the server sent no frame: {error}"))?;
            for heard in frames {
                self.hear(heard, ledger).map_err(|why| format!("producer {}: {why}", self.id))?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, heard: Heard, ledger: &mut Ledger) -> Result<(), String> {
        match heard {
            Heard::Welcome(last) => self.welcomed(last, ledger),
            Heard::Ack(sequence) => {
                ledger.acknowledged(self.id, sequence)?;
                self.outbox.acknowledge(sequence).map(drop).map_err(|error| error.to_string())
            }
            Heard::Registered(tags, texts) => self.registered(&tags, &texts, ledger),
            // The connection ends; what was not acknowledged is sent again.
            Heard::Refuse => Ok(()),
            Heard::Other => Err("the server sent a frame of a kind that it may not send".to_owned()),
        }
    }

    fn welcomed(&mut self, last: Sequence, ledger: &mut Ledger) -> Result<(), String> {
        ledger.welcomed(self.id, last)?;
        if std::mem::take(&mut self.is_new) {
            ledger.restarted(self.id, last);
            self.outbox.start_after(last);
        } else if self.acks {
            let forgotten = self.outbox.rewind(last).map_err(|error| error.to_string())?;
            if forgotten > 0 {
                return Err(format!("{forgotten} frames that were acknowledged are gone"));
            }
        }
        self.ask()?;
        if self.acks && self.random.below(3) == 0 {
            // A program that trusts nobody sends the last ones again; sequences grow from here on.
            let from = last.0.saturating_sub(self.random.below(4));
            for sequence in from.max(1)..=last.0 {
                self.first.extend_from_slice(ledger.frame(self.id, Sequence(sequence)));
            }
        }
        Ok(())
    }

    /// Asks for its names, known ones too.
    fn ask(&mut self) -> Result<(), String> {
        self.phase = Phase::Registering;
        self.request += 1;
        let tag = |i: usize| TagRequest { name: self.name(i), kind: kind_of(i) as u8, unit: "bar".to_owned() };
        let tags = (0..self.wanted.0).map(tag).collect();
        let texts = (0..self.wanted.1).map(|i| TextRequest { text: text(i) }).collect();
        let (id, register) = (self.id, Register { request: self.request, tags, texts });
        self.say(|builder| builder.register(id, Sequence(0), &register).map(drop))
    }

    fn name(&self, tag: usize) -> String {
        format!("p{}/t{tag}", self.id)
    }

    fn registered(&mut self, tags: &[u32], texts: &[u32], ledger: &mut Ledger) -> Result<(), String> {
        if (tags.len(), texts.len()) != self.wanted {
            return Err("the answer to a Register does not fit it".to_owned());
        }
        for (i, id) in tags.iter().enumerate() {
            let path = format!("{}/{}", self.site.path, self.name(i));
            ledger.names.tag(path, Told { id: *id, kind: kind_of(i), source: self.site.name.clone() })?;
        }
        for (i, id) in texts.iter().enumerate() {
            ledger.names.text(&text(i), *id)?;
        }
        self.tags = tags.iter().enumerate().map(|(i, id)| Tag { id: *id, kind: kind_of(i) }).collect();
        self.texts = texts.to_vec();
        self.phase = Phase::Up;
        Ok(())
    }

    fn write(&mut self, net: &mut SimNet) -> Result<(), String> {
        let Some(connection) = self.connection else { return Ok(()) };
        let taken = net.write(connection, &self.first);
        self.first.drain(..taken);
        while self.is_up() && self.first.is_empty() && self.outbox.unsent_bytes() > 0 {
            let unsent = self.outbox.unsent();
            let some = 1 + self.random.below(2 * unsent.len() as u64) as usize;
            let taken = net.write(connection, &unsent[..some.min(unsent.len())]);
            self.outbox.sent(taken);
            if taken == 0 || self.random.below(4) == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Makes a frame or some. `sure`: it is not skipped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn produce(&mut self, ledger: &mut Ledger, wall: TimestampNs, sure: bool) -> Result<(), String> {
        // It wants more names from time to time; between two frames.
        if self.is_up() && !sure && self.outbox.unsent_bytes() == 0 && self.random.below(40) == 0 {
            let (tags, texts) = self.wanted;
            self.wanted = ((tags + 1).min(TAGS), (texts + 1).min(TEXTS));
            return self.ask();
        }
        if self.tags.is_empty() || self.is_new || (self.acks && !self.outbox.has_room()) {
            return Ok(());
        }
        let (sequence, payload) = (ledger.last(self.id).next(), self.payload(wall));
        let mut builder = Builder::new();
        payload.build(&mut builder, self.id, sequence).map_err(|error| error.to_string())?;
        ledger.sent(self.id, builder.bytes().to_vec());
        if self.acks {
            let build = |to: &mut Builder, producer, sequence| payload.build(to, producer, sequence);
            let pushed = self.outbox.push(build).map_err(|error| error.to_string())?;
            return if pushed == sequence {
                Ok(())
            } else {
                Err(format!("the outbox numbers {pushed} for {sequence}"))
            };
        }
        if self.is_up() && (sure || self.random.below(8) != 0) {
            self.first.extend_from_slice(builder.bytes());
        }
        Ok(())
    }

    fn payload(&mut self, wall: TimestampNs) -> Payload {
        let time = match self.random.below(12) {
            0 => i64::MIN,
            1 => wall.0 - self.random.below(3_600_000_000_000) as i64,
            2 => wall.0 + self.random.below(180_000_000_000) as i64,
            _ => wall.0 - self.random.below(20_000_000) as i64,
        };
        let count = match self.random.below(20) {
            _ if self.per_frame > 0 => self.per_frame,
            0 => self.random.between(1, self.values_max / 4 + 2),
            _ => self.random.between(1, 30),
        };
        let first = self.random.below(self.tags.len() as u64) as usize;
        let run = self.tags[first..].iter().zip(self.tags[first].id..).take_while(|(tag, id)| tag.id == *id).count();
        if self.random.coin() && (self.per_frame == 0 || run as u64 >= self.per_frame) {
            let length = if self.per_frame == 0 { run } else { self.per_frame as usize };
            let values = (first..first + length).map(|at| self.value(at)).collect();
            let qualities = if self.random.coin() { Vec::new() } else { (0..length).map(|_| self.quality()).collect() };
            return Payload::Scan(Scan { source_time_ns: time, tag_first: self.tags[first].id, values, qualities });
        }
        let sample = |_| {
            let at = self.random.below(self.tags.len() as u64) as usize;
            let source_time_ns = time.saturating_add(self.random.below(1_000_000_000) as i64);
            let (value, quality) = (self.value(at), self.quality());
            StoredSample { source_time_ns, value, tag: self.tags[at].id, quality }
        };
        Payload::Samples(Samples { samples: (0..count).map(sample).collect() })
    }

    fn quality(&mut self) -> u32 {
        if self.random.below(6) == 0 { Quality::BAD_TIMEOUT.0 } else { Quality::GOOD.0 }
    }

    fn value(&mut self, at: usize) -> u64 {
        match self.tags[at].kind {
            ValueKind::F64 => ((self.random.below(2_000_000) as f64 - 1e6) / 64.0).to_bits(),
            ValueKind::I64 => self.random.next_u64() >> 20,
            ValueKind::Bool => self.random.below(2),
            ValueKind::Text => u64::from(self.texts[self.random.below(self.texts.len() as u64) as usize]),
        }
    }
}

fn text(number: usize) -> String {
    format!("state {number}")
}

/// What a frame carries.
enum Payload {
    Scan(Scan),
    Samples(Samples),
}

impl Payload {
    fn build(&self, to: &mut Builder, producer: ProducerId, sequence: Sequence) -> Result<(), EncodeError> {
        match self {
            Payload::Scan(scan) => to.scan(producer, sequence, scan).map(drop),
            Payload::Samples(samples) => to.samples(producer, sequence, samples).map(drop),
        }
    }
}

/// What the server said.
enum Heard {
    Welcome(Sequence),
    Ack(Sequence),
    Registered(Vec<u32>, Vec<u32>),
    Refuse,
    Other,
}

fn heard(frame: frame::Frame<'_>) -> Heard {
    match frame.view() {
        View::Welcome(_) => Heard::Welcome(frame.sequence()),
        View::Ack => Heard::Ack(frame.sequence()),
        View::Registered(all) => Heard::Registered(
            all.tags.iter().map(|id| id.to_native()).collect(),
            all.texts.iter().map(|id| id.to_native()).collect(),
        ),
        View::Refuse(_) => Heard::Refuse,
        _ => Heard::Other,
    }
}
