//! What stored frames must give: a plain second reckoning of what the pass knows (invariant S1).
//!
//! It is written for sight, not for speed, and uses nothing of the pass but what it is asked.

use super::ledger::Names;
use crate::system::Stored;
use frame::{Frame, View};
use model::{Gap, LogPosition, ProducerId, Quality, Sequence, SourceId, TagId, TagPath, TimestampNs, ValueKind};
use pipeline::query::{self, FoundSample};
use pipeline::{Pass, State};
use std::collections::BTreeMap;

const S: i64 = 1_000_000_000;

/// One stored sample with the place of its frame.
#[derive(Clone, Debug)]
pub struct One {
    tag: TagId,
    source_time: Option<TimestampNs>,
    bits: u64,
    quality: Quality,
    received: TimestampNs,
    position: LogPosition,
    index: u32,
}

/// What a log holds, as it was visited.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Telemetry frames, in order.
    pub frames: Vec<Stored>,
    /// Gap records, in order.
    pub gaps: Vec<Gap>,
    /// Their samples.
    pub samples: Vec<One>,
}

impl Record {
    /// Notes a visited frame.
    pub fn take(&mut self, frame: Frame<'_>, position: LogPosition) {
        let received = frame.received();
        let mut note = |index: usize, tag: TagId, source_time, bits, quality| {
            let index = index as u32;
            self.samples.push(One { tag, source_time, bits, quality, received, position, index });
        };
        match frame.view() {
            View::Gap(gap) => return self.gaps.push(gap),
            View::Scan(scan) => {
                for index in 0..scan.len() {
                    let (bits, quality) = scan.at(index);
                    note(index, TagId(scan.tag_first().0 + index as u32), scan.source_time(), bits, quality);
                }
            }
            View::Samples(samples) => {
                for (index, (tag, time, bits, quality)) in samples.iter().enumerate() {
                    note(index, tag, time, bits, quality);
                }
            }
            _ => return,
        }
        let mut bytes = frame.bytes().to_vec();
        frame::stamp_received(&mut bytes, TimestampNs(0));
        let (producer, sequence) = (frame.producer(), frame.sequence());
        self.frames.push(Stored { producer, sequence, position, bytes });
    }

    /// The last sequence of each producer.
    fn lasts(&self) -> BTreeMap<ProducerId, Sequence> {
        let mut lasts = BTreeMap::new();
        for frame in &self.frames {
            let last = lasts.entry(frame.producer).or_insert(Sequence(0));
            *last = frame.sequence.max(*last);
        }
        lasts
    }
}

impl One {
    /// A source time that is wildly wrong does not count (31 days behind, a minute ahead).
    fn time(&self) -> TimestampNs {
        let sane =
            |time: &TimestampNs| time.0 <= self.received.0 + 60 * S && time.0 >= self.received.0 - 31 * 86_400 * S;
        self.source_time.filter(sane).unwrap_or(self.received)
    }

    fn number(&self, kind: ValueKind) -> f64 {
        match kind {
            ValueKind::F64 => f64::from_bits(self.bits),
            ValueKind::I64 => self.bits as i64 as f64,
            ValueKind::Bool if self.bits != 0 => 1.0,
            ValueKind::Bool => 0.0,
            ValueKind::Text => f64::NAN,
        }
    }
}

/// Count, minimum, maximum, sum, last and its time, with NaN equal to itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row(u64, [u64; 4], i64);

fn row(count: u64, numbers: [f64; 4], last_time: TimestampNs) -> Row {
    // No arithmetic of NaN says which NaN comes out.
    let bits = numbers.map(|number| if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() });
    Row(count, bits, last_time.0)
}

/// Holds a state against the record that it was made of. `recovered`: what lies before was taken in
/// by recovery. `marks`: sequences that were given up in this life without a frame.
///
/// # Errors
/// What differs.
pub fn check(
    state: &State,
    record: &Record,
    names: &Names,
    recovered: LogPosition,
    marks: &[(ProducerId, Sequence)],
) -> Result<(), String> {
    check_names(state, names)?;
    check_dedupe(state, record, marks)?;
    check_latest(state, record, names, recovered)?;
    check_windows(state, record, names)?;
    let sources = 0..state.definitions.sources().len() as u32;
    for source in sources.map(SourceId) {
        let wanted: Vec<Gap> = record.gaps.iter().filter(|gap| gap.source == source).copied().collect();
        let (from, to) = (TimestampNs(i64::MIN), TimestampNs(i64::MAX));
        let shown = state.gaps.touching(source, TagId(0), from, to, usize::MAX);
        if shown != wanted {
            return Err(format!("source {source} shows {} gaps, {} are stored", shown.len(), wanted.len()));
        }
    }
    Ok(())
}

/// Numbers that a producer was told mean what they meant.
fn check_names(state: &State, names: &Names) -> Result<(), String> {
    for (path, told) in &names.tags {
        let found = TagPath::new(path).ok().and_then(|path| state.definitions.find(&path));
        let Some(found) = found else { return Err(format!("tag {path} had number {}, now none", told.id)) };
        let source = state.definitions.source_name(found.source);
        if (found.id.0, found.kind, source) != (told.id, told.kind, &told.source) {
            return Err(format!("tag {path} was {told:?}, now it is {found:?} of {source}"));
        }
    }
    for (text, id) in &names.texts {
        let found = state.definitions.texts().get(*id as usize);
        if found.is_none_or(|found| **found != **text) {
            return Err(format!("text number {id} was {text:?}, now it is {found:?}"));
        }
    }
    Ok(())
}

fn check_dedupe(state: &State, record: &Record, marks: &[(ProducerId, Sequence)]) -> Result<(), String> {
    let mut wanted = record.lasts();
    for (producer, sequence) in marks {
        let last = wanted.entry(*producer).or_insert(Sequence(0));
        *last = (*last).max(*sequence);
    }
    let stored = record.lasts();
    for (producer, last) in state.producers.iter() {
        // A mark at the head of a segment may remember what was given up in an earlier life.
        let least = stored.get(&producer).copied().unwrap_or_default();
        let most = wanted.get(&producer).copied().unwrap_or_default();
        if last < least || last > most {
            return Err(format!("producer {producer} stands at {last}, its frames say {least} to {most}"));
        }
    }
    match wanted
        .keys()
        .find(|producer| state.producers.last(**producer) < stored.get(producer).copied().unwrap_or_default())
    {
        Some(producer) => Err(format!("producer {producer} is forgotten")),
        None => Ok(()),
    }
}

fn check_latest(state: &State, record: &Record, names: &Names, recovered: LogPosition) -> Result<(), String> {
    let newest: BTreeMap<TagId, &One> = record.samples.iter().map(|one| (one.tag, one)).collect();
    for (tag, kind) in names.kinds() {
        let Some(one) = newest.get(&tag) else {
            if state.latest(tag).is_some() {
                return Err(format!("tag {tag} has a latest value and no sample"));
            }
            continue;
        };
        let old = one.position <= recovered && one.quality.is_good();
        let quality = if old { Quality::UNCERTAIN_LAST_USABLE } else { one.quality };
        let source_time = one.source_time.map_or(i64::MIN, |time| time.0);
        let wanted = (one.bits, kind, quality.0, source_time, one.received.0);
        let shown = state.latest(tag).map(|l| (l.bits, l.kind, l.quality, l.source_time_ns, l.server_time_ns));
        if shown != Some(wanted) {
            return Err(format!("tag {tag} shows {shown:?}, its newest sample is {wanted:?}"));
        }
    }
    Ok(())
}

fn check_windows(state: &State, record: &Record, names: &Names) -> Result<(), String> {
    let kinds: BTreeMap<TagId, ValueKind> = names.kinds().collect();
    let mut wanted: BTreeMap<(TagId, i64), (u64, [f64; 4], TimestampNs)> = BTreeMap::new();
    for one in record.samples.iter().filter(|one| !one.quality.is_bad()) {
        let Some(kind) = kinds.get(&one.tag) else {
            return Err(format!("a sample of tag {} is stored, a number that nobody was told", one.tag));
        };
        let (time, number) = (one.time(), one.number(*kind));
        let empty = (0, [f64::INFINITY, f64::NEG_INFINITY, 0.0, f64::NAN], TimestampNs(i64::MIN));
        let (count, [low, high, sum, last], at) = wanted.entry((one.tag, time.0.div_euclid(S) * S)).or_insert(empty);
        *count += 1;
        (*low, *high, *sum) = (low.min(number), high.max(number), *sum + number);
        if time >= *at {
            (*last, *at) = (number, time);
        }
    }
    let mut shown = BTreeMap::new();
    for tag in kinds.keys() {
        if state.rollups.complete_from(tag.0).is_some() {
            return Err(format!("the windows of tag {tag} are cut off far below their limit"));
        }
        for window in state.rollups.windows(tag.0, TimestampNs(i64::MIN + 1), TimestampNs(i64::MAX)) {
            let numbers = [window.min, window.max, window.sum, window.last];
            shown.insert((*tag, window.start.0), row(window.count, numbers, window.last_time));
        }
    }
    for (key, (count, numbers, at)) in &wanted {
        let wanted = row(*count, *numbers, *at);
        if shown.get(key) != Some(&wanted) {
            return Err(format!("window {key:?} is {:?}, its samples give {wanted:?}", shown.get(key)));
        }
    }
    match shown.len() == wanted.len() {
        true => Ok(()),
        false => Err(format!("{} windows are there, the samples give {}", shown.len(), wanted.len())),
    }
}

/// Reads one tag by query, page by page, and holds it against the durable samples.
///
/// # Errors
/// What differs.
pub fn check_query(
    pass: &Pass,
    storage: &dyn log::Storage,
    record: &Record,
    tag: TagId,
    limit: usize,
) -> Result<(), String> {
    let (from, to) = (TimestampNs(i64::MIN), TimestampNs(i64::MAX));
    let texts = pass.view().texts();
    let Some(plan) = query::plan(pass.state(), |a, b| pass.spans(a, b), tag, from, to, texts) else {
        return Err(format!("tag {tag} cannot be queried"));
    };
    let mut found: Vec<FoundSample> = Vec::new();
    loop {
        let after = found.last().map(|last| (last.place.time, last.place.code()));
        let mut page = query::samples(storage, &plan, limit, after).map_err(|error| error.to_string())?;
        page.samples.truncate(limit);
        found.append(&mut page.samples);
        if !page.more {
            break;
        }
    }
    let mut wanted: Vec<&One> = record.samples.iter().filter(|one| one.tag == tag).collect();
    wanted.sort_by_key(|one| (one.time(), one.position, one.index));
    let same = |(found, one): (&FoundSample, &&One)| {
        let place =
            (found.place.time, found.place.position, found.place.index) == (one.time(), one.position, one.index);
        let value = found.value.as_ref().and_then(model::Value::bits).is_none_or(|bits| bits == one.bits);
        place && value && found.quality == one.quality && found.source_time == one.source_time
    };
    if found.len() == wanted.len() && found.iter().zip(&wanted).all(same) {
        return Ok(());
    }
    Err(format!("pages of {limit} give {} samples of tag {tag}, {} are stored", found.len(), wanted.len()))
}
