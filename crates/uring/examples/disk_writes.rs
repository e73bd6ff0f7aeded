//! What a log's writes take from the core that orders them (docs/adr/004-log-format.md): one write and one
//! sync after the other, at the pace of 43 million samples/s, into a file that grows, into blocks set
//! aside, and into blocks that were written before, with and without buffers that the kernel knows.
//!
//! `taskset -c 1 cargo run --release -p millstream-uring --example disk_writes -- DIRECTORY`
//!
//! While the disk works the loop only reads the clock: what it misses, the kernel took on the same core
//! for the writes. Bounded: ten runs of two seconds, one file of 800 MiB, removed at the end.

#![expect(unsafe_code, reason = "a ring's operations point into memory that must outlive them")]

use env::disk::{Block, DIRECT_ALIGN};
use io_uring::{IoUring, opcode, squeue, types};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A batch of 512 KiB with its header and pads.
const WRITE_BYTES: usize = 129 * DIRECT_ALIGN;
const FILE_BYTES: usize = 800 << 20;
const BUFFERS: usize = 8;
const RUN: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_micros(1_400);
/// A shorter gap between two looks at the clock is the loop's own.
const GAP: Duration = Duration::from_micros(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Growing,
    SetAside,
    Written,
    WrittenRegistered,
    /// Registered, and each write is its own sync.
    WrittenThrough,
}

#[derive(Default)]
struct Times {
    write: Vec<Duration>,
    sync: Vec<Duration>,
    gaps: Vec<Duration>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: disk_writes DIRECTORY")?;
    let path = PathBuf::from(directory).join("disk-writes.tmp");
    println!("| blocks | writes/s | share of the core | written p50 / p99 | synced p50 / p99 | gaps over 50 µs |");
    println!("|---|---:|---:|---:|---:|---:|");
    for _ in 0..2 {
        for way in [Way::Growing, Way::SetAside, Way::Written, Way::WrittenRegistered, Way::WrittenThrough] {
            let times = run(&path, way);
            std::fs::remove_file(&path)?;
            print(way, times?);
        }
    }
    Ok(())
}

fn print(way: Way, mut times: Times) {
    let seconds = RUN.as_secs_f64();
    let gone: Duration = times.gaps.iter().sum();
    let long = times.gaps.iter().filter(|gap| **gap > Duration::from_micros(50)).count();
    println!(
        "| {way:?} | {:.0} | {:.1} % | {} / {} µs | {} / {} µs | {:.0}/s |",
        times.sync.len() as f64 / seconds,
        gone.as_secs_f64() / seconds * 100.0,
        percentile(&mut times.write, 0.5),
        percentile(&mut times.write, 0.99),
        percentile(&mut times.sync, 0.5),
        percentile(&mut times.sync, 0.99),
        long as f64 / seconds,
    );
}

fn percentile(times: &mut [Duration], share: f64) -> u128 {
    times.sort_unstable();
    times.get((times.len().saturating_sub(1) as f64 * share) as usize).map_or(0, Duration::as_micros)
}

fn prepare(path: &Path, way: Way, bytes: &[u8]) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(path)?;
    match way {
        Way::Growing => {}
        Way::SetAside => {
            // SAFETY: no memory is passed; the descriptor is open.
            if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, FILE_BYTES as libc::off_t) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Way::Written | Way::WrittenRegistered | Way::WrittenThrough => {
            for offset in (0..FILE_BYTES - bytes.len()).step_by(bytes.len()) {
                file.write_all_at(bytes, offset as u64)?;
            }
        }
    }
    file.sync_all()?;
    Ok(file)
}

fn run(path: &Path, way: Way) -> Result<Times, Box<dyn Error>> {
    let mut buffers: Vec<Block> = Vec::new();
    for _ in 0..BUFFERS {
        let mut block = Block::with_capacity(WRITE_BYTES);
        block.resize(WRITE_BYTES, 7);
        buffers.push(block);
    }
    let file = prepare(path, way, &buffers[0])?;
    let mut ring: IoUring = IoUring::builder().setup_coop_taskrun().setup_taskrun_flag().build(8)?;
    let registered = matches!(way, Way::WrittenRegistered | Way::WrittenThrough);
    if registered {
        let known: Vec<libc::iovec> =
            buffers.iter_mut().map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() }).collect();
        // SAFETY: the buffers live until the ring is gone: they are declared before it.
        unsafe { ring.submitter().register_buffers(&known)? };
    }
    let descriptor = types::Fd(file.as_raw_fd());
    let mut times = Times::default();
    let begun = Instant::now();
    let (mut offset, mut due) = (0, begun);
    for n in (0..BUFFERS).cycle() {
        while Instant::now() < due {}
        due += PACE;
        if begun.elapsed() > RUN {
            return Ok(times);
        }
        let bytes = buffers[n].as_ptr();
        let write = if registered {
            let flags = if way == Way::WrittenThrough { libc::RWF_DSYNC } else { 0 };
            opcode::WriteFixed::new(descriptor, bytes, WRITE_BYTES as u32, n as u16)
                .offset(offset)
                .rw_flags(flags)
                .build()
        } else {
            opcode::Write::new(descriptor, bytes, WRITE_BYTES as u32).offset(offset).build()
        };
        // SAFETY: the buffer is neither moved nor freed before `perform` has seen the completion.
        let took = unsafe { perform(&mut ring, write, WRITE_BYTES as i32, &mut times.gaps)? };
        times.write.push(took);
        offset += WRITE_BYTES as u64;
        if offset as usize + WRITE_BYTES > FILE_BYTES {
            return Err("the disk is faster than the file is long".into());
        }
        if way == Way::WrittenThrough {
            times.sync.push(Duration::ZERO);
            continue;
        }
        let sync = opcode::Fsync::new(descriptor).flags(types::FsyncFlags::DATASYNC).build();
        // SAFETY: a sync points to no memory.
        times.sync.push(unsafe { perform(&mut ring, sync, 0, &mut times.gaps)? });
    }
    Ok(times)
}

/// Hands an operation to the kernel and looks at the clock until it is done.
///
/// # Safety
/// What the operation points to stays where it is until this returns.
unsafe fn perform(
    ring: &mut IoUring,
    operation: squeue::Entry,
    wanted: i32,
    gaps: &mut Vec<Duration>,
) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    // SAFETY: the caller's promise.
    unsafe { ring.submission().push(&operation)? };
    ring.submit()?;
    let mut last = begun;
    loop {
        let now = Instant::now();
        let gap = now - std::mem::replace(&mut last, now);
        if gap > GAP {
            gaps.push(gap);
        }
        if ring.submission().taskrun() {
            ring.submit_and_wait(0)?;
        }
        if let Some(done) = ring.completion().next() {
            return if done.result() == wanted {
                Ok(begun.elapsed())
            } else {
                Err(format!("an operation answered {}, not {wanted}", done.result()).into())
            };
        }
    }
}
