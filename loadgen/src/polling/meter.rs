//! What the devices see of whoever polls them: reads, values, intervals, cycles left out.
//!
//! Invariants
//! - A block is what is read by one request: a device and a first register. Its interval counts from
//!   one arrival of that request to the next, whatever happened between.
//! - An interval of `n` and a half cycles or more has left `n` of them out.

use crate::hiccup::histogram;
use hdrhistogram::Histogram;
use std::collections::HashMap;

/// Blocks of one device that are told apart; what is beyond is counted and has no interval.
const BLOCKS_MAX: usize = 65_536;

/// Counts of all devices.
#[derive(Debug)]
pub(crate) struct Meter {
    every_ns: u64,
    stride: u16,
    devices: Vec<Device>,
    /// Deviation of each interval from the asked one, ns.
    pub(crate) deviations: Histogram<u64>,
    /// Cycles that were left out, over all blocks.
    pub(crate) missed: u64,
}

#[derive(Clone, Debug, Default)]
struct Device {
    reads: u64,
    values: u64,
    writes: u64,
    arrived_ns: HashMap<u16, u64>,
}

/// Sums over all devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Read requests.
    pub(crate) reads: u64,
    /// Tags read by them.
    pub(crate) values: u64,
    /// Write requests.
    pub(crate) writes: u64,
    /// Blocks: different requests.
    pub(crate) blocks: u64,
    /// Devices that were read since they were started or reset.
    pub(crate) polled: usize,
}

impl Meter {
    /// Devices that are to be polled so often; a tag stands at every `stride`-th register (from 1).
    pub(crate) fn new(devices: usize, every_ns: u64, stride: u16) -> Meter {
        Meter {
            every_ns: every_ns.max(1),
            stride: stride.max(1),
            devices: vec![Device::default(); devices],
            deviations: histogram(),
            missed: 0,
        }
    }

    /// Forgets everything; intervals begin with the next request.
    pub(crate) fn reset(&mut self) {
        *self = Meter::new(self.devices.len(), self.every_ns, self.stride);
    }

    /// A read request arrived.
    pub(crate) fn on_read(&mut self, device: usize, address: u16, count: u16, now_ns: u64) {
        let (every_ns, stride) = (self.every_ns, u32::from(self.stride));
        let Some(device) = self.devices.get_mut(device) else { return };
        let (first, end) = (u32::from(address), u32::from(address) + u32::from(count));
        device.reads += 1;
        device.values += u64::from(end.div_ceil(stride) - first.div_ceil(stride));
        if device.arrived_ns.len() >= BLOCKS_MAX && !device.arrived_ns.contains_key(&address) {
            return;
        }
        if let Some(last_ns) = device.arrived_ns.insert(address, now_ns) {
            let interval_ns = now_ns.saturating_sub(last_ns);
            self.deviations.saturating_record(interval_ns.abs_diff(every_ns));
            self.missed += ((interval_ns + every_ns / 2) / every_ns).saturating_sub(1);
        }
    }

    /// A write request arrived.
    pub(crate) fn on_write(&mut self, device: usize) {
        if let Some(device) = self.devices.get_mut(device) {
            device.writes += 1;
        }
    }

    /// What came so far.
    pub(crate) fn sums(&self) -> Sums {
        self.devices.iter().fold(Sums::default(), |sums, device| Sums {
            reads: sums.reads + device.reads,
            values: sums.values + device.values,
            writes: sums.writes + device.writes,
            blocks: sums.blocks + device.arrived_ns.len() as u64,
            polled: sums.polled + usize::from(device.reads > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_what_is_left_out_are_told_by_block() {
        let mut meter = Meter::new(2, 1_000, 1);
        for (now, address) in [(0, 0), (10, 125), (1_004, 0), (1_510, 125), (4_000, 0), (4_490, 125)] {
            meter.on_read(0, address, 125, now);
        }
        let sums = meter.sums();
        assert_eq!((sums.reads, sums.values, sums.blocks, sums.polled), (6, 750, 2, 1));
        // 1,004 and 1,500 and 2,996 and 2,980: at half a cycle more a cycle counts as left out
        assert_eq!((meter.missed, meter.deviations.len()), (1 + 2 + 2, 4));
        meter.reset();
        meter.on_write(1);
        assert_eq!((meter.missed, meter.sums()), (0, Sums { writes: 1, ..Sums::default() }));
    }

    #[test]
    fn only_registers_with_a_tag_are_values() {
        let mut meter = Meter::new(1, 1_000, 12);
        meter.on_read(0, 0, 121, 0);
        meter.on_read(0, 132, 121, 0);
        meter.on_read(0, 133, 11, 0);
        assert_eq!(meter.sums().values, 11 + 11);
    }
}
