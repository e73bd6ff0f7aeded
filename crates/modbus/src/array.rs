//! Points that lie like an array: of one kind, evenly apart, of tags that are numbered in a row.
//!
//! Purpose: decode an answer of such a block without looking at each of its points, into what the pass
//! takes as it is ([`model::Run`]). Most of what is polled in numbers is laid out so.
//!
//! Invariants
//! - Y1: what an array decodes is what its points decode one by one ([`Spec::registers`]).
//! - Y2: it gives all of its values, all good, or none: what is not as usual goes the usual way.
//!
//! It does not know lanes or what was told: see [`crate::lane`].

use crate::decode::Spec;
use crate::outlet::Tags;
use crate::plan::{Block, Point};
use config::RegisterType;
use model::{Quality, TagId, ValueKind};

/// Points of an array, at least; fewer share a frame with the other readings of their cycle.
pub(crate) const POINTS_MIN: u32 = 16;

/// A block that is an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Array {
    /// Tag of its first point, and its place among the unit's tags.
    pub(crate) first: TagId,
    pub(crate) tag: usize,
    pub(crate) count: usize,
    pub(crate) kind: ValueKind,
    spec: Spec,
    step_bytes: usize,
}

impl Array {
    /// A block as an array, where it is one.
    pub(crate) fn of(block: &Block, points: &[Point], tags: &Tags) -> Option<Array> {
        let points = block.points(points);
        let (first, second) = (points.first()?, points.get(1)?);
        if block.count < POINTS_MIN || block.function.is_bits() || first.spec.is_text() {
            return None;
        }
        let step = second.address.checked_sub(first.address).filter(|step| *step > 0)?;
        let (tag, count) = (first.tag as usize, points.len());
        let is_even = (0..).zip(points).all(|(i, point)| {
            let address = u32::from(first.address) + i * u32::from(step);
            point.spec == first.spec && point.tag == first.tag + i && u32::from(point.address) == address
        });
        let ids = tags.ids.get(tag..tag + count)?;
        let first_id = *ids.first()?;
        let are_in_a_row = (first_id.0..).zip(ids).all(|(number, id)| id.0 == number);
        (is_even && are_in_a_row).then_some(Array {
            first: first_id,
            tag,
            count,
            kind: first.spec.value_kind(),
            spec: first.spec,
            step_bytes: usize::from(step) * 2,
        })
    }

    /// Appends the 64 bits of each value; false, and nothing appended, where one is not good (Y2).
    pub(crate) fn decode(&self, data: &[u8], to: &mut Vec<u64>) -> bool {
        let before = to.len();
        let is_plain = self.spec.is_plain();
        match self.spec.kind {
            RegisterType::U16 if is_plain => self.each(data, to, |bytes| Some(u64::from(self.spec.word(bytes)?))),
            RegisterType::I16 if is_plain => {
                self.each(data, to, |bytes| Some(i64::from(self.spec.word(bytes)? as i16) as u64))
            }
            _ => self.each(data, to, |bytes| match self.spec.registers(bytes) {
                (Some(value), Quality::GOOD) => value.bits(),
                _ => None,
            }),
        }
        let is_whole = to.len() == before + self.count;
        if !is_whole {
            to.truncate(before);
        }
        is_whole
    }

    /// Appends values until one is not good.
    #[inline(always)]
    fn each(&self, data: &[u8], to: &mut Vec<u64>, bits: impl Fn(&[u8]) -> Option<u64>) {
        let starts = (0..self.count).map(|i| data.get(i * self.step_bytes..).unwrap_or_default());
        to.extend(starts.map_while(bits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Limits, plan};
    use crate::settings::tag;
    use config::{Area, ModbusTag, WordOrder};
    use model::Value;
    use proptest::prelude::*;

    fn points(tags: &[ModbusTag]) -> Vec<Point> {
        (0..).zip(tags).filter_map(|(index, tag)| Point::new(index, tag)).collect()
    }

    /// The one block of some tags, and the array that it is.
    fn array(tags: &[ModbusTag], ids: &[TagId]) -> Option<Array> {
        let plan = plan(points(tags), &Limits { gap: 16, registers: 125, bits: 2000 });
        assert_eq!(plan.blocks.len(), 1);
        Array::of(&plan.blocks[0], &plan.points, &Tags::new(ids))
    }

    fn ids(count: u32) -> Vec<TagId> {
        (7..7 + count).map(TagId).collect()
    }

    fn evenly(count: u16, step: u16, kind: RegisterType) -> Vec<ModbusTag> {
        (0..count).map(|i| tag(Area::HoldingRegister, 10 + i * step, kind)).collect()
    }

    #[test]
    fn what_is_not_even_is_no_array() {
        assert!(array(&evenly(16, 1, RegisterType::U16), &ids(16)).is_some());
        assert!(array(&evenly(15, 1, RegisterType::U16), &ids(15)).is_none(), "too few");
        let mut other = evenly(20, 2, RegisterType::U32);
        assert!(array(&other, &ids(20)).is_some());
        other[11].scale = 0.1;
        assert!(array(&other, &ids(20)).is_none(), "another scale");
        let mut other = evenly(20, 3, RegisterType::U16);
        other[19].at.address += 1;
        assert!(array(&other, &ids(20)).is_none(), "another step");
        let mut scattered = ids(20);
        scattered.swap(3, 4);
        assert!(array(&evenly(20, 1, RegisterType::U16), &scattered).is_none());
        let mut turned = evenly(20, 1, RegisterType::U16);
        turned.reverse();
        assert!(array(&turned, &ids(20)).is_none());
        let coils: Vec<ModbusTag> = (0..20).map(|i| tag(Area::Coil, i, RegisterType::Bool)).collect();
        assert!(array(&coils, &ids(20)).is_none());
    }

    fn kinds() -> impl Strategy<Value = RegisterType> {
        use RegisterType::{Bool, F32, F64, I16, I32, I64, U16, U32, U64};
        prop::sample::select(vec![Bool, U16, I16, U32, I32, F32, U64, I64, F64])
    }

    proptest! {
        /// An array decodes as its points do, or nothing where one of them is not good (Y1, Y2).
        #[test]
        fn an_array_decodes_as_its_points_do(
            kind in kinds(),
            order in prop::sample::select(vec![WordOrder::Abcd, WordOrder::Badc, WordOrder::Cdab, WordOrder::Dcba]),
            scale in prop::sample::select(vec![1.0, 0.1]),
            range in prop::sample::select(vec![None, Some([0.0, 60_000.0])]),
            apart in 0u16..3,
            data in proptest::collection::vec(any::<u8>(), 250),
        ) {
            let step = kind.registers() + apart;
            let mut tags = evenly((125 / step).max(16), step, kind);
            tags.iter_mut().for_each(|tag| (tag.order, tag.scale, tag.range) = (order, scale, range));
            prop_assume!(usize::from(step) * tags.len() <= 125);
            let array = array(&tags, &ids(tags.len() as u32)).expect("it is one");
            let one_by_one: Vec<(Option<Value>, Quality)> = points(&tags)
                .iter()
                .map(|point| point.spec.registers(&data[usize::from(point.address - 10) * 2..]))
                .collect();
            let good: Option<Vec<u64>> = one_by_one
                .iter()
                .map(|(value, quality)| value.as_ref().filter(|_| quality.is_good()).and_then(Value::bits))
                .collect();
            let mut bits = vec![1];
            prop_assert_eq!(array.decode(&data, &mut bits), good.is_some());
            prop_assert_eq!(&bits[1..], good.unwrap_or_default());
            prop_assert_eq!((array.kind, array.first, array.count), (tags_kind(&tags), TagId(7), tags.len()));
        }
    }

    fn tags_kind(tags: &[ModbusTag]) -> ValueKind {
        Spec::new(&tags[0]).value_kind()
    }
}
