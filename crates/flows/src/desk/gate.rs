//! Calls that wait for what was given up before them.
//!
//! A delivery that was delivered and is forgotten by a crash is sent again under the same key, which
//! changes nothing. One that was superseded or given up would take effect late, behind the one after
//! it. So what comes next of its key is let through only when that end is durable.

use crate::outlet::Send;
use delivery::Offset;
use std::collections::{HashMap, VecDeque};

/// Calls on their way out.
#[derive(Default)]
pub(super) struct Gate {
    ready: Vec<Send>,
    /// Calls by the number of the entry that they wait for.
    waiting: VecDeque<(u64, Send)>,
    /// Keys of flows, by the number of the entry that must be durable first.
    closed: HashMap<(usize, u64), u64>,
    /// Entries that were owed and are written.
    written: u64,
    /// How many are durable once the journal is durable up to an offset.
    undurable: VecDeque<(u64, Offset)>,
    durable: u64,
}

impl Gate {
    /// Something of these keys ended without being delivered; its entry is among the `owed` ones.
    pub(super) fn note_ended(&mut self, keys: impl Iterator<Item = (usize, u64)>, owed: usize) {
        let number = self.written + owed as u64;
        self.closed.extend(keys.map(|key| (key, number)));
    }

    /// So many of the owed entries were written, up to an offset; or left out, without one.
    pub(super) fn note_written(&mut self, count: usize, offset: Option<Offset>) {
        self.written += count as u64;
        let offset = offset.or(self.undurable.back().map(|(_, offset)| *offset)).unwrap_or_default();
        self.undurable.push_back((self.written, offset));
    }

    /// A call is to be made.
    pub(super) fn put(&mut self, send: Send, key: Option<u64>) {
        match key.and_then(|key| self.closed.get(&(send.flow, key))) {
            Some(number) => self.waiting.push_back((*number, send)),
            None => self.ready.push(send),
        }
    }

    /// Whether the next call of some key has to wait for an end to be durable.
    pub(super) fn is_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// The journal is durable up to an offset; answers how many calls that lets through.
    pub(super) fn open(&mut self, durable: Offset) -> usize {
        let before = self.durable;
        while let Some((number, _)) = self.undurable.pop_front_if(|(_, offset)| *offset <= durable) {
            self.durable = number;
        }
        if self.durable == before {
            return 0;
        }
        let durable = self.durable;
        self.closed.retain(|_, number| *number > durable);
        let mut through = 0;
        self.waiting.retain_mut(|(number, send)| {
            let waits = *number > durable;
            if !waits {
                self.ready.push(send.clone());
                through += 1;
            }
            waits
        });
        through
    }

    /// Calls that are to be made now.
    pub(super) fn drain(&mut self) -> Vec<Send> {
        std::mem::take(&mut self.ready)
    }
}
