//! Which requests read which tags.
//!
//! Purpose: join tags that lie close together into few requests, and take a request apart again
//! where a device refuses it. Limits: *Modbus Application Protocol V1.1b3*, 6.1 to 6.4.
//!
//! Invariants
//! - P1: every point that one request can read stands in exactly one block; the others are named.
//! - P2: no planned block is longer than the limits, and none bridges more unused addresses than
//!   the gap.
//! - P3: splitting a block gives two blocks with the same points that read no other address than
//!   it did; a block of one point stays.
//!
//! It does not know values, devices or time; what was learned of a device is kept by its poller.

use crate::codec::{BITS_MAX, Function, REGISTERS_MAX};
use crate::decode::Spec;
use config::{Area, ModbusTag, RegisterType};

/// One tag's place in a device, and how it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Index of the tag among the source's tags.
    pub tag: u32,
    /// The area.
    pub area: Area,
    /// First register or bit, from 0.
    pub address: u16,
    /// How many registers or bits, from 1.
    pub span: u16,
    /// How its bytes are read.
    pub spec: Spec,
}

impl Point {
    /// The point of a configured tag; `None` where an area of bits is to hold registers.
    #[must_use]
    pub fn new(index: u32, tag: &ModbusTag) -> Option<Point> {
        if !tag.at.area.is_registers() && tag.kind != RegisterType::Bool {
            return None;
        }
        let (area, address) = (tag.at.area, tag.at.address);
        Some(Point { tag: index, area, address, span: tag.kind.registers(), spec: Spec::new(tag) })
    }

    /// The address after its last one, at most 131,070.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.address as u32 + self.span as u32
    }
}

/// What a device takes in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Unused registers (or bits) that may be read along to join two points.
    pub gap: u16,
    /// Most registers of one read; more than 125 counts as 125.
    pub registers: u16,
    /// Most bits of one read; more than 2000 counts as 2000.
    pub bits: u16,
}

impl Limits {
    /// Most registers or bits of one read of an area.
    #[must_use]
    pub fn most(&self, area: Area) -> u16 {
        if area.is_registers() { self.registers.min(REGISTERS_MAX) } else { self.bits.min(BITS_MAX) }
    }
}

/// One read request and the points that it feeds: a run of the planned points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The function that reads it.
    pub function: Function,
    /// First register or bit.
    pub address: u16,
    /// Registers or bits, from 1.
    pub quantity: u16,
    /// Index of its first point.
    pub first: u32,
    /// How many points, from 1.
    pub count: u32,
}

impl Block {
    /// Its points among all planned ones.
    #[must_use]
    pub fn points<'a>(&self, points: &'a [Point]) -> &'a [Point] {
        let first = self.first as usize;
        points.get(first..first + self.count as usize).unwrap_or_default()
    }

    /// Bytes of data of its answer.
    #[must_use]
    pub const fn answer_bytes(&self) -> usize {
        self.function.answer_bytes(self.quantity)
    }

    /// The block of a run of points; `None` where the run is empty or reaches past the address
    /// space.
    fn of(points: &[Point], first: usize, count: usize) -> Option<Block> {
        let run = points.get(first..first + count)?;
        let start = run.first()?;
        let end = run.iter().map(Point::end).max()?;
        Some(Block {
            function: Function::of(start.area),
            address: start.address,
            quantity: u16::try_from(end - u32::from(start.address)).ok()?,
            first: u32::try_from(first).ok()?,
            count: u32::try_from(count).ok()?,
        })
    }
}

/// The requests of one cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The points, by area and address.
    pub points: Vec<Point>,
    /// The requests, over runs of `points`.
    pub blocks: Vec<Block>,
    /// Tags that no request can read: longer than a block may be, or past address 65535.
    pub refused: Vec<u32>,
}

/// Plans the requests that read all of `points`.
#[must_use]
pub fn plan(mut points: Vec<Point>, limits: &Limits) -> Plan {
    let mut refused = Vec::new();
    points.retain(|point| {
        let fits = point.span > 0 && point.span <= limits.most(point.area) && point.end() <= 65_536;
        if !fits {
            refused.push(point.tag);
        }
        fits
    });
    points.sort_by_key(|point| (point.area, point.address, point.span, point.tag));
    let blocks = blocks(&points, limits, &[]);
    Plan { points, blocks, refused }
}

/// The requests over planned points; `cuts` are indices of points that begin a request, because the
/// device refused one that went across (sorted).
#[must_use]
pub fn blocks(points: &[Point], limits: &Limits, cuts: &[u32]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut first, mut cuts) = (0, cuts.iter().map(|cut| *cut as usize).peekable());
    while first < points.len() {
        while cuts.next_if(|cut| *cut <= first).is_some() {}
        let end = cuts.peek().map_or(points.len(), |cut| points.len().min(*cut));
        let count = run_length(&points[first..end], limits);
        blocks.extend(Block::of(points, first, count));
        first += count;
    }
    blocks
}

/// How many of the points one block reads, from 1.
fn run_length(points: &[Point], limits: &Limits) -> usize {
    let Some(start) = points.first() else { return 1 };
    let most = u32::from(limits.most(start.area));
    let mut end = start.end();
    for (i, point) in points.iter().enumerate().skip(1) {
        let unused = u32::from(point.address).saturating_sub(end);
        let joined = end.max(point.end());
        if point.area != start.area || unused > u32::from(limits.gap) || joined - u32::from(start.address) > most {
            return i;
        }
        end = joined;
    }
    points.len()
}

/// Takes a refused block apart: at its widest run of unused addresses (of several, the one
/// nearest the middle) where it has one, else in the middle. `None` for a block of one point.
#[must_use]
pub fn split(block: &Block, points: &[Point]) -> Option<(Block, Block)> {
    let run = block.points(points);
    if run.len() < 2 {
        return None;
    }
    let middle = run.len() / 2;
    let (mut at, mut widest, mut end) = (middle, 0, run[0].end());
    for (i, point) in run.iter().enumerate().skip(1) {
        let unused = u32::from(point.address).saturating_sub(end);
        let nearer = i.abs_diff(middle) < at.abs_diff(middle);
        if unused > widest || (unused == widest && nearer) {
            (at, widest) = (i, unused);
        }
        end = end.max(point.end());
    }
    let first = block.first as usize;
    let head = Block::of(points, first, at)?;
    let tail = Block::of(points, first + at, run.len() - at)?;
    Some((head, tail))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
