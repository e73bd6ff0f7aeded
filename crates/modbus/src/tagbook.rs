//! A source's tags by the names that commands use: `tag`, or `unit/tag` behind a gateway.

use crate::plan::Point;
use crate::unit::Unit;
use config::ModbusSource;
use model::device::{DeviceError, nearest};

/// Names that a wrong one is compared with, at most: it bounds the time of a refusal.
const COMPARED_MAX: usize = 512;

/// The tags of a source, the same for each of its units.
#[derive(Debug)]
pub(crate) struct TagBook {
    names: Vec<String>,
    /// Places of the names, in their order: a source may have a hundred thousand.
    sorted: Vec<u32>,
    points: Vec<Option<Point>>,
}

impl TagBook {
    pub(crate) fn new(settings: &ModbusSource) -> TagBook {
        let names: Vec<String> = settings.tags.iter().map(|tag| tag.name.clone()).collect();
        let mut sorted: Vec<u32> = (0..).take(names.len()).collect();
        sorted.sort_by_key(|at| &names[*at as usize]);
        TagBook {
            names,
            sorted,
            points: settings.tags.iter().zip(0..).map(|(tag, index)| Point::new(index, tag)).collect(),
        }
    }

    fn place(&self, tag: &str) -> Option<usize> {
        let found = self.sorted.binary_search_by(|at| self.names[*at as usize].as_str().cmp(tag));
        found.ok().map(|at| self.sorted[at] as usize)
    }

    /// The unit (by index) and the point of a tag.
    pub(crate) fn find(&self, name: &str, units: &[Unit]) -> Result<(usize, Point), DeviceError> {
        for (index, unit) in units.iter().enumerate() {
            let Some(at) = below(unit, name).and_then(|tag| self.place(tag)) else { continue };
            return match self.points.get(at).copied().flatten() {
                Some(point) => Ok((index, point)),
                None => Err(DeviceError::Unsupported {
                    what: format!("tag {name:?} asks for registers of an area of bits; correct its address or type"),
                }),
            };
        }
        let full = |unit: &Unit, tag: &String| match &unit.name {
            Some(unit) => format!("{unit}/{tag}"),
            None => tag.clone(),
        };
        // Mostly the unit was forgotten.
        if let Some((unit, tag)) = units.first().zip(self.names.iter().find(|tag| *tag == name)) {
            return Err(DeviceError::UnknownTag { tag: name.to_owned(), nearest: Some(full(unit, tag)) });
        }
        // The unit that is named comes first; of the others as many as the limit allows.
        let (named, others): (Vec<&Unit>, Vec<&Unit>) = units.iter().partition(|unit| below(unit, name).is_some());
        let all = named.into_iter().chain(others).flat_map(|unit| self.names.iter().map(move |tag| full(unit, tag)));
        let known: Vec<String> = all.take(COMPARED_MAX).collect();
        let nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        Err(DeviceError::UnknownTag { tag: name.to_owned(), nearest })
    }
}

/// The tag's name below a unit; `None` where it names another unit.
fn below<'n>(unit: &Unit, name: &'n str) -> Option<&'n str> {
    match &unit.name {
        Some(unit) => name.strip_prefix(unit.as_str())?.strip_prefix('/'),
        None => Some(name),
    }
}
