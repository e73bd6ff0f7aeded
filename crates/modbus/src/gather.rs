//! Which requests write which tags.
//!
//! Purpose: join the writes of tags whose registers or coils lie in a row into one request (functions
//! 0F and 10, V1.1b3, 6.11 and 6.12), and bits of one register into one mask (16, 6.16).
//!
//! Invariants
//! - G1: every write stands in exactly one part, and a part writes what its writes do and no more.
//! - G2: no part is longer than the limits say; a write that is longer by itself stays as it is.
//! - G3: no two parts touch the same coil, register or bit, so their order does not matter; writes
//!   that would are named instead.
//!
//! It does not know tags or devices; what a device lacks is kept by [`crate::command`].

use crate::write::{WRITE_COILS_MAX, WRITE_REGISTERS_MAX, Write};
use std::collections::VecDeque;

/// Most coils and registers that one request may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Most {
    pub(crate) coils: usize,
    pub(crate) registers: usize,
}

impl Most {
    /// What a device takes that is read in such portions, and never more than the standard allows.
    pub(crate) fn of(bits: u16, registers: u16) -> Most {
        Most {
            coils: usize::from(bits).min(WRITE_COILS_MAX),
            registers: usize::from(registers).min(WRITE_REGISTERS_MAX),
        }
    }
}

/// One request, and the writes that it carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Index of the unit.
    pub(crate) unit: usize,
    /// What is asked.
    pub(crate) write: Write,
    /// Each write's place among all, and itself.
    pub(crate) each: Vec<(usize, Write)>,
}

impl Part {
    /// A write by itself.
    pub(crate) fn one(unit: usize, place: usize, write: Write) -> Part {
        Part { unit, write: write.clone(), each: vec![(place, write)] }
    }

    /// Places of its writes.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.each.iter().map(|(place, _)| *place)
    }

    /// Its writes one by one, where there are several.
    pub(crate) fn apart(&self) -> Option<Vec<Part>> {
        let one = |(place, write): &(usize, Write)| Part::one(self.unit, *place, write.clone());
        (self.each.len() > 1).then(|| self.each.iter().map(one).collect())
    }

    /// Takes in the next write in order of addresses, or gives it back.
    fn join(&mut self, place: usize, write: Write, most: Most) -> Result<(), Write> {
        let (ours, theirs) = (self.write.extent(), write.extent());
        match (&mut self.write, &write) {
            (Write::Mask { address, and, or }, Write::Mask { address: same, and: more, or: set })
                if address == same =>
            {
                *and &= more;
                *or |= set;
            }
            (Write::Mask { .. }, _) | (_, Write::Mask { .. }) => return Err(write),
            _ => {
                let most = if ours.is_bits { most.coils } else { most.registers };
                let in_a_row = ours.is_bits == theirs.is_bits && ours.end() == u32::from(theirs.address);
                if !in_a_row || (ours.count + theirs.count) as usize > most {
                    return Err(write);
                }
                if let Some(several) = self.write.as_several() {
                    self.write = several;
                }
                match (&mut self.write, &write) {
                    (Write::Coils { on, .. }, Write::Coil { on: more, .. }) => on.push(*more),
                    (Write::Coils { on, .. }, Write::Coils { on: more, .. }) => on.extend(more),
                    (Write::Registers { words, .. }, Write::Register { word, .. }) => words.push(*word),
                    (Write::Registers { words, .. }, Write::Registers { words: more, .. }) => words.extend(more),
                    _ => return Err(write),
                }
            }
        }
        self.each.push((place, write));
        Ok(())
    }
}

/// The requests that carry out writes, each with its unit, in order of units and addresses.
/// `most` says what a unit takes.
///
/// # Errors
/// Places of two writes that touch the same coil, register or bit.
pub(crate) fn gather(
    writes: Vec<(usize, Write)>,
    most: impl Fn(usize) -> Most,
) -> Result<VecDeque<Part>, (usize, usize)> {
    let mut sorted: Vec<(usize, usize, Write)> =
        writes.into_iter().enumerate().map(|(place, (unit, write))| (place, unit, write)).collect();
    sorted.sort_by_key(|(place, unit, write)| (*unit, write.extent().is_bits, write.extent().address, *place));
    let mut parts: VecDeque<Part> = VecDeque::new();
    // the write that reaches furthest of those before, and the bits of one register that are taken
    let mut before: Option<(usize, usize, Write)> = None;
    for (place, unit, write) in sorted {
        if let Some((other, at, last)) = &before
            && *at == unit
            && last.overlaps(&write)
        {
            return Err((*other, place));
        }
        let mut reach = write.clone();
        if let Some((_, at, Write::Mask { address, and, .. })) = &before
            && let Write::Mask { address: own, and: more, or } = &write
            && (at, address) == (&unit, own)
        {
            reach = Write::Mask { address: *own, and: and & more, or: *or };
        }
        before = Some((place, unit, reach));
        let rest = match parts.back_mut() {
            Some(part) if part.unit == unit => part.join(place, write, most(unit)).err(),
            _ => Some(write),
        };
        parts.extend(rest.map(|write| Part::one(unit, place, write)));
    }
    Ok(parts)
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
