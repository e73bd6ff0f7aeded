//! Readings into frames: a scan where they are one, samples otherwise.

use crate::state::State;
use frame::{Builder, Samples, Scan, StoredSample};
use model::{ProducerId, Quality, Reading, Refused, Sequence, Value, ValueKind};

/// Appends the frame of some readings. Texts are interned on the way.
///
/// # Errors
/// [`Refused::Limit`] where a text is one too many or too long for the log.
pub fn readings<'r>(
    to: &mut Builder,
    state: &mut State,
    readings: impl Iterator<Item = &'r Reading>,
    count: usize,
) -> Result<(), Refused> {
    let mut samples = Vec::with_capacity(count);
    for reading in readings {
        let (value, quality) = bits(state, reading)?;
        let source_time_ns = reading.source_time.map_or(i64::MIN, |time| time.0);
        samples.push(StoredSample { source_time_ns, value, tag: reading.tag.0, quality: quality.0 });
    }
    let none = Sequence(0);
    let encoded = match as_scan(&samples) {
        Some(scan) => to.scan(ProducerId::SELF, none, &scan),
        None => to.samples(ProducerId::SELF, none, &Samples { samples }),
    };
    encoded.map(drop).map_err(|_| Refused::Limit)
}

/// The 64 bits and the quality of a reading under its tag's kind.
fn bits(state: &mut State, reading: &Reading) -> Result<(u64, Quality), Refused> {
    let kind = state.kind(reading.tag).unwrap_or(ValueKind::F64);
    let Some(value) = &reading.value else {
        let last = state.latest(reading.tag).map_or(0, |latest| latest.bits);
        return Ok((last, reading.quality));
    };
    let bits = match (kind, value) {
        (ValueKind::Text, Value::Text(text)) => Some(u64::from(state.definitions.text(text)?.0)),
        (ValueKind::F64, Value::I64(value)) => Some((*value as f64).to_bits()),
        (ValueKind::F64, Value::Bool(value)) => Some(f64::from(u8::from(*value)).to_bits()),
        (ValueKind::I64, Value::Bool(value)) => Some(u64::from(*value)),
        (kind, value) if value.kind() == kind => value.bits(),
        _ => None,
    };
    Ok(bits.map_or((0, Quality::BAD_TYPE_MISMATCH), |bits| (bits, reading.quality)))
}

/// The samples as a scan, where they are a run of consecutive tags at one time.
fn as_scan(samples: &[StoredSample]) -> Option<Scan> {
    let first = samples.first()?;
    let mut wanted = first.tag;
    for sample in samples {
        if sample.tag != wanted || sample.source_time_ns != first.source_time_ns {
            return None;
        }
        wanted = wanted.checked_add(1)?;
    }
    let all_good = samples.iter().all(|sample| sample.quality == 0);
    Some(Scan {
        source_time_ns: first.source_time_ns,
        tag_first: first.tag,
        values: samples.iter().map(|sample| sample.value).collect(),
        qualities: if all_good { Vec::new() } else { samples.iter().map(|sample| sample.quality).collect() },
    })
}
