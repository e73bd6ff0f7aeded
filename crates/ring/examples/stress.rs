//! Real threads on every shared structure of this crate, for as long as it takes to meet every order
//! that a machine brings about: `cargo xtask races` runs it under a watcher of data races.
//!
//! A program and not a test: the test harness hands results over inside the standard library, which
//! is not watched. Threads are joined, not scoped, for the same reason. Ends with a panic where
//! something was torn, lost or out of order.

use millstream_ring::{Flag, Latest, LatestWriter, inbox, latest_table};
use model::ValueKind;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

const WRITES: u64 = 50_000;
const TAGS: u32 = 33;
const SENDERS: usize = 3;
const ITEMS: usize = 20_000;

fn main() {
    values_are_seen_whole();
    items_come_once_and_in_order();
    a_flag_shows_what_was_written_before();
    println!("nothing torn, lost or out of order");
}

fn latest(n: u64) -> Latest {
    let time = n as i64;
    Latest {
        bits: n,
        kind: ValueKind::I64,
        quality: n as u32,
        source_time_ns: time,
        server_time_ns: time,
        seen_ns: time,
    }
}

fn write(writer: &LatestWriter, tag: u32, n: u64) {
    writer.write(tag, latest(n).stamp(), n, latest(n).kind);
}

/// R2: two readers beside the one writer.
fn values_are_seen_whole() {
    let (writer, reader) = latest_table();
    // the chunk of cells comes by the standard library's OnceLock, which is not watched
    write(&writer, 0, 0);
    let readers: Vec<JoinHandle<()>> = (0..2)
        .map(|_| {
            let reader = reader.clone();
            thread::spawn(move || {
                let mut last = [0; TAGS as usize];
                while last.iter().any(|n| *n < WRITES) {
                    for tag in 0..TAGS {
                        let Some(seen) = reader.read(tag) else { continue };
                        assert_eq!(seen, latest(seen.bits), "torn");
                        assert!(seen.bits >= last[tag as usize], "went back");
                        last[tag as usize] = seen.bits;
                    }
                }
            })
        })
        .collect();
    for n in 1..=WRITES {
        // one alone, and a run
        write(&writer, 0, n);
        writer.write_run(1, TAGS as usize - 1, latest(n).stamp(), |_| (n, latest(n).kind));
    }
    readers.into_iter().for_each(join);
}

/// R3 and I1 to I4: a receiver that sleeps whenever it may; what is sent is owned memory, so a
/// hand-over that is not ordered is a race on it.
fn items_come_once_and_in_order() {
    let rung = Arc::new(Flag::new());
    let wake = Arc::clone(&rung);
    let (sender, inbox) = inbox::<Box<(usize, usize)>>(16, move || wake.set(true));
    let senders: Vec<JoinHandle<()>> = (0..SENDERS)
        .map(|number| {
            let sender = sender.clone();
            thread::spawn(move || {
                for item in 0..ITEMS {
                    let mut next = Box::new((number, item));
                    while let Err(back) = sender.push(next) {
                        next = back;
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut seen = [0; SENDERS];
    while seen.iter().sum::<usize>() < SENDERS * ITEMS {
        match inbox.pop() {
            Some(item) => {
                let (number, item) = *item;
                assert_eq!(seen[number], item, "lost, doubled or out of order");
                seen[number] += 1;
            }
            None if inbox.lie_down() => {
                while !rung.get() {
                    thread::yield_now();
                }
                rung.set(false);
                inbox.get_up();
            }
            None => {}
        }
    }
    senders.into_iter().for_each(join);
    // the receiver goes while somebody sends; the shared memory goes with what is kept here, because
    // the end of an Arc is ordered by a fence, which is not watched
    let kept = sender.clone();
    let last = thread::spawn(move || (0..ITEMS).for_each(|item| drop(sender.push(Box::new((0, item))))));
    drop(inbox);
    join(last);
    drop(kept);
}

/// Memory that a flag hands over.
struct Handed(UnsafeCell<u64>);

mod handed {
    #![expect(unsafe_code, reason = "what a flag orders is shown on memory that nothing else orders")]

    use super::Handed;

    // SAFETY: one thread writes before it sets the flag, the other reads after it saw the flag.
    unsafe impl Sync for Handed {}

    impl Handed {
        pub(super) fn write(&self, value: u64) {
            // SAFETY: as above; the reader has not seen the flag yet.
            unsafe { *self.0.get() = value }
        }

        pub(super) fn read(&self) -> u64 {
            // SAFETY: as above; the writer does not write any more.
            unsafe { *self.0.get() }
        }
    }
}

/// What was written before a flag was set is there for whoever sees it set.
fn a_flag_shows_what_was_written_before() {
    for n in 1..=2_000 {
        let shared = Arc::new((Flag::new(), Handed(UnsafeCell::new(0))));
        let other = Arc::clone(&shared);
        let writer = thread::spawn(move || {
            other.1.write(n);
            other.0.set(true);
        });
        while !shared.0.get() {
            thread::yield_now();
        }
        assert_eq!(shared.1.read(), n, "the flag was seen before what it speaks of");
        join(writer);
    }
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
