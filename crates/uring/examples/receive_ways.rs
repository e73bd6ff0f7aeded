//! Ways to receive a stream, beside each other (docs/adr/012-receiving.md): what a core takes in and what
//! a KB costs it, and how long a small frame takes.
//!
//! `cargo run --release -p millstream-uring --example receive_ways -- throughput` (or `latency`)
//!
//! A sender on core 0 writes as fast as it is read (throughput), or one small frame when it is due
//! (latency); the receiver on core 1 looks at every byte. Each way has its turn in each round; medians,
//! and the middle half of the rounds in brackets. Bounded: five rounds of 0.1 or 0.3 s a way, on loopback.

#![expect(unsafe_code, reason = "rings and sockets are driven by hand; nothing of this is shipped")]

use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use socket2::{Domain, SockRef, Socket, Type};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const RUN: Duration = Duration::from_millis(100);
const ROUNDS: usize = 5;
/// Small frames need longer turns for their p99.
const LATENCY_RUN: Duration = Duration::from_millis(300);
const LATENCY_ROUNDS: usize = 5;
const SENDER_CORE: usize = 0;
const RECEIVER_CORE: usize = 1;
/// Bytes of one write of the sender, and how often the receiver looks at every byte. Once, it is faster
/// than the sender and sleeps between its writes; twenty-five times, it works for each byte about as
/// long as the server does for those of a scan, and bytes wait for it.
const LOADS: [(usize, u32); 4] = [(64 << 10, 1), (64 << 10, 25), (4 << 10, 1), (4 << 10, 25)];
const KIB_64: usize = 64 << 10;
/// A small frame: header and a few samples.
const FRAME_BYTES: usize = 128;
const RATES: [u64; 2] = [1_000, 20_000];
/// How long a receiver that backs off spins before it sleeps: the shard's longest.
const SPIN: Duration = Duration::from_micros(200);
/// How long a wait in the kernel is at most, and after which silence something is wrong.
const LOOK: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_secs(1);
/// What one datagram of a batch holds, and how many fill 64 KiB less headers.
const DATAGRAM_BYTES: usize = 8 << 10;
const DATAGRAMS: usize = 7;
/// From linux/udp.h and linux/io_uring.h.
const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;
const INCREMENTAL: u16 = 2;
const SQPOLL_IDLE_MS: u32 = 100;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the bytes come through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Tcp,
    Unix,
    Udp,
    UdpGro,
}

/// What the receiver does while nothing is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    Block,
    Spin,
    BackOff,
}

/// A ring and its buffers.
#[derive(Clone, Copy)]
struct Ring {
    buffers: u16,
    bytes: usize,
    bundle: bool,
    incremental: bool,
    fixed_file: bool,
    huge: bool,
    prefetch: bool,
    sqpoll: bool,
}

const TODAY: Ring = Ring {
    buffers: 64,
    bytes: 16 << 10,
    bundle: false,
    incremental: false,
    fixed_file: false,
    huge: false,
    prefetch: false,
    sqpoll: false,
};

#[derive(Clone, Copy)]
enum How {
    /// read(2) into one buffer of so many bytes.
    Plain(usize),
    /// epoll, then read(2).
    Epoll(usize),
    Ring(Ring),
}

struct Way {
    name: &'static str,
    link: Link,
    how: How,
    idle: Idle,
}

const fn way(name: &'static str, link: Link, how: How) -> Way {
    Way { name, link, how, idle: Idle::Block }
}

fn throughput_ways() -> Vec<Way> {
    let ring = |name, ring| way(name, Link::Tcp, How::Ring(ring));
    vec![
        ring("ring, 64 × 16 KiB (what the server does)", TODAY),
        ring("ring, 256 × 4 KiB", Ring { buffers: 256, bytes: 4 << 10, ..TODAY }),
        ring("ring, 16 × 64 KiB", Ring { buffers: 16, bytes: KIB_64, ..TODAY }),
        ring("bundles, 64 × 16 KiB", Ring { bundle: true, ..TODAY }),
        ring("bundles, 256 × 4 KiB", Ring { bundle: true, buffers: 256, bytes: 4 << 10, ..TODAY }),
        ring("incremental, 16 × 64 KiB", Ring { incremental: true, buffers: 16, bytes: KIB_64, ..TODAY }),
        ring("incremental, 4 × 256 KiB", Ring { incremental: true, buffers: 4, bytes: 256 << 10, ..TODAY }),
        ring("registered file, 64 × 16 KiB", Ring { fixed_file: true, ..TODAY }),
        ring("huge page, 64 × 16 KiB", Ring { huge: true, ..TODAY }),
        ring("prefetch of the next, 64 × 16 KiB", Ring { prefetch: true, ..TODAY }),
        ring("SQPOLL on the sender's core, 64 × 16 KiB", Ring { sqpoll: true, ..TODAY }),
        way("read, 64 KiB", Link::Tcp, How::Plain(KIB_64)),
        way("read, 16 KiB", Link::Tcp, How::Plain(16 << 10)),
        way("epoll and read, 64 KiB", Link::Tcp, How::Epoll(KIB_64)),
        way("Unix socket, ring, 64 × 16 KiB", Link::Unix, How::Ring(TODAY)),
        way("Unix socket, read, 64 KiB", Link::Unix, How::Plain(KIB_64)),
        way("UDP of 8 KiB, read", Link::Udp, How::Plain(KIB_64)),
        way("UDP of 8 KiB, batched both ways (GSO, GRO), read", Link::UdpGro, How::Plain(KIB_64)),
    ]
}

fn latency_ways() -> Vec<Way> {
    let tcp = |name, how, idle| Way { name, link: Link::Tcp, how, idle };
    vec![
        tcp("read, blocking", How::Plain(KIB_64), Idle::Block),
        tcp("read, spinning", How::Plain(KIB_64), Idle::Spin),
        tcp("epoll and read, blocking", How::Epoll(KIB_64), Idle::Block),
        tcp("ring, blocking", How::Ring(TODAY), Idle::Block),
        tcp("ring, spinning", How::Ring(TODAY), Idle::Spin),
        tcp("ring, spins 200 µs, then blocks (what the server does)", How::Ring(TODAY), Idle::BackOff),
        way("Unix socket, ring, blocking", Link::Unix, How::Ring(TODAY)),
        way("UDP, read, blocking", Link::Udp, How::Plain(KIB_64)),
    ]
}

fn main() -> Outcome<()> {
    match std::env::args().nth(1).as_deref() {
        Some("throughput") => throughput(),
        Some("latency") => latency(),
        _ => Err("usage: receive_ways throughput|latency".into()),
    }
}

// ---- tables ------------------------------------------------------------------------------------

/// One turn of a way.
#[derive(Clone, Copy, Default)]
struct Turn {
    gb_per_s: f64,
    receiver_ns_per_kb: f64,
    sender_ns_per_kb: f64,
    kb_per_call: f64,
    lost: f64,
}

fn throughput() -> Outcome<()> {
    let ways = throughput_ways();
    println!(
        "| way | sender's writes | looks at a byte | GB/s | receiver's CPU a KB | of the first way | sender's CPU a KB | KB a call |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (chunk, looks) in LOADS {
        let mut turns: Vec<Vec<Turn>> = ways.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (way, turns) in ways.iter().zip(&mut turns) {
                match turn(way, chunk, looks) {
                    Ok(turn) => turns.push(turn),
                    Err(error) => eprintln!("{}: {error}", way.name),
                }
            }
        }
        let base = median(turns[0].iter().map(|turn| turn.receiver_ns_per_kb).collect());
        for (way, turns) in ways.iter().zip(turns) {
            let of = |figure: fn(&Turn) -> f64| turns.iter().map(figure).collect::<Vec<f64>>();
            let ratio = median(of(|turn| turn.receiver_ns_per_kb)) / base;
            let lost = of(|turn| turn.lost).into_iter().fold(0.0, f64::max);
            let lost = if lost > 0.0 { format!(" (up to {:.0} % lost)", 100.0 * lost) } else { String::new() };
            println!(
                "| {} | {} KiB | {looks} | {}{lost} | {} ns | {ratio:.2} | {} ns | {} |",
                way.name,
                chunk >> 10,
                spread(of(|turn| turn.gb_per_s), 2),
                spread(of(|turn| turn.receiver_ns_per_kb), 0),
                spread(of(|turn| turn.sender_ns_per_kb), 0),
                spread(of(|turn| turn.kb_per_call), 0),
            );
        }
    }
    Ok(())
}

fn latency() -> Outcome<()> {
    println!("| way | frames/s | arrived p50 | p99 | receiver's CPU |");
    println!("|---|---:|---:|---:|---:|");
    let ways = latency_ways();
    for rate in RATES {
        let mut turns: Vec<Vec<[f64; 3]>> = ways.iter().map(|_| Vec::new()).collect();
        for _ in 0..LATENCY_ROUNDS {
            for (way, turns) in ways.iter().zip(&mut turns) {
                turns.push(latency_turn(way, rate)?);
            }
        }
        for (way, turns) in ways.iter().zip(turns) {
            let of = |at: usize| turns.iter().map(|turn| turn[at]).collect::<Vec<f64>>();
            println!(
                "| {} | {rate} | {} µs | {} µs | {} % |",
                way.name,
                spread(of(0), 1),
                spread(of(1), 1),
                spread(of(2), 0)
            );
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => "–".to_owned(),
        [only] => format!("{only:.digits$}"),
        all => {
            let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
            format!("{:.digits$} ({:.digits$}–{:.digits$})", at(0.5), at(0.25), at(0.75))
        }
    }
}

// ---- turns -------------------------------------------------------------------------------------

fn turn(way: &Way, chunk: usize, looks: u32) -> Outcome<Turn> {
    let (near, far) = connect(way.link)?;
    let link = way.link;
    let sender = std::thread::spawn(move || send_flat_out(near, link, chunk));
    pin(RECEIVER_CORE)?;
    let kernel_ns = poller_cpu_ns();
    let (begun, cpu_ns) = (Instant::now(), thread_cpu_ns());
    let mut sum = 0_u64;
    let received = receive(way, &far, &mut |bytes| {
        for _ in 0..looks {
            sum = sum.wrapping_add(look(std::hint::black_box(bytes)));
        }
    });
    let (seconds, cpu_ns) = (begun.elapsed().as_secs_f64(), thread_cpu_ns() - cpu_ns);
    drop(far); // a sender that still writes hears of it
    let sent = sender.join().map_err(|_| "the sender panicked")?;
    let received = received?;
    let kernel_ns = received.poller_cpu_ns.saturating_sub(kernel_ns);
    std::hint::black_box(sum);
    let (sent_bytes, sender_ns) = sent?;
    let kb = received.bytes as f64 / 1e3;
    Ok(Turn {
        gb_per_s: kb / 1e6 / seconds,
        receiver_ns_per_kb: (cpu_ns + kernel_ns) as f64 / kb,
        sender_ns_per_kb: sender_ns as f64 / kb,
        kb_per_call: kb / received.calls as f64,
        lost: 1.0 - received.bytes as f64 / sent_bytes as f64,
    })
}

/// p50 and p99 in µs, and the share of the receiver's core in per cent.
fn latency_turn(way: &Way, rate: u64) -> Outcome<[f64; 3]> {
    let (near, far) = connect(way.link)?;
    let start = Instant::now();
    let sender = std::thread::spawn(move || send_at(near, start, rate));
    pin(RECEIVER_CORE)?;
    let (begun, cpu_ns) = (Instant::now(), thread_cpu_ns());
    let (mut took, mut rest) = (Vec::new(), Vec::new());
    let received = receive(way, &far, &mut |bytes| {
        let now_ns = start.elapsed().as_nanos() as u64;
        rest.extend_from_slice(bytes);
        for frame in rest.chunks_exact(FRAME_BYTES) {
            let due_ns = frame.first_chunk().map_or(0, |first: &[u8; 8]| u64::from_le_bytes(*first));
            took.push(now_ns.saturating_sub(due_ns));
        }
        rest.drain(..rest.len() / FRAME_BYTES * FRAME_BYTES);
    });
    let share = (thread_cpu_ns() - cpu_ns) as f64 / begun.elapsed().as_nanos() as f64;
    drop(far);
    sender.join().map_err(|_| "the sender panicked")??;
    received?;
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).map_or(f64::NAN, |ns| *ns as f64 / 1e3);
    Ok([at(0.5), at(0.99), 100.0 * share])
}

fn connect(link: Link) -> Outcome<(OwnedFd, OwnedFd)> {
    Ok(match link {
        Link::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let near = TcpStream::connect(listener.local_addr()?)?;
            let (far, _) = listener.accept()?;
            near.set_nodelay(true)?;
            (near.into(), far.into())
        }
        Link::Unix => {
            let (near, far) = UnixStream::pair()?;
            SockRef::from(&near).set_send_buffer_size(4 << 20)?;
            (near.into(), far.into())
        }
        Link::Udp | Link::UdpGro => {
            let far = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            far.set_recv_buffer_size(4 << 20)?;
            let far = UdpSocket::from(far);
            let address: std::net::SocketAddr = "127.0.0.1:0".parse()?;
            SockRef::from(&far).bind(&address.into())?;
            far.set_read_timeout(Some(Duration::from_millis(100)))?;
            let near = UdpSocket::bind("127.0.0.1:0")?;
            near.connect(far.local_addr()?)?;
            if link == Link::UdpGro {
                set_udp(&near, UDP_SEGMENT, DATAGRAM_BYTES as libc::c_int)?;
                set_udp(&far, UDP_GRO, 1)?;
            }
            (near.into(), far.into())
        }
    })
}

fn set_udp(socket: &UdpSocket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let (at, length) = ((&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the value lives over the call, which copies it.
    let answer = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, option, at, length) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

// ---- sending -----------------------------------------------------------------------------------

/// Bytes sent, and what they cost.
fn send_flat_out(to: OwnedFd, link: Link, chunk: usize) -> io::Result<(u64, u64)> {
    pin(SENDER_CORE)?;
    let bytes = vec![0xA5; KIB_64];
    let chunk = match link {
        Link::Tcp | Link::Unix => chunk,
        Link::Udp => DATAGRAM_BYTES,
        Link::UdpGro => DATAGRAM_BYTES * DATAGRAMS,
    };
    let (begun, cpu_ns, mut sent) = (Instant::now(), thread_cpu_ns(), 0);
    let mut file = std::fs::File::from(to);
    while begun.elapsed() < RUN {
        match file.write(&bytes[..chunk]) {
            Ok(written) => sent += written as u64,
            // a datagram that found no room, or nobody
            Err(error) if matches!(link, Link::Udp | Link::UdpGro) && error.raw_os_error().is_some() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if matches!(link, Link::Udp | Link::UdpGro) {
        let _ = file.write(&[]); // an empty datagram says that it was the last
    }
    Ok((sent, thread_cpu_ns() - cpu_ns))
}

/// Sends small frames, each when it is due, with the time at which it was.
fn send_at(to: OwnedFd, start: Instant, rate: u64) -> io::Result<()> {
    pin(SENDER_CORE)?;
    let mut file = std::fs::File::from(to);
    let mut frame = [0; FRAME_BYTES];
    let first_ns = start.elapsed().as_nanos() as u64 + 5_000_000;
    for n in 0..LATENCY_RUN.as_nanos() as u64 * rate / 1_000_000_000 {
        let due_ns = first_ns + n * (1_000_000_000 / rate);
        while (start.elapsed().as_nanos() as u64) < due_ns {
            std::hint::spin_loop();
        }
        frame[..8].copy_from_slice(&due_ns.to_le_bytes());
        match file.write_all(&frame) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break, // the receiver gave up
            other => other?,
        }
    }
    // the last datagram is empty; a stream ends by being closed, and does not notice
    let _ = file.write(&[]);
    Ok(())
}

// ---- receiving ---------------------------------------------------------------------------------

struct Received {
    bytes: u64,
    calls: u64,
    /// What kernel threads that poll had used when their ring still was there.
    poller_cpu_ns: u64,
}

fn receive(way: &Way, from: &OwnedFd, on: &mut dyn FnMut(&[u8])) -> Outcome<Received> {
    match way.how {
        How::Plain(bytes) => receive_plain(from, bytes, way.idle, on),
        How::Epoll(bytes) => receive_epoll(from, bytes, on),
        How::Ring(ring) => receive_ring(from.as_raw_fd(), ring, way.idle, on),
    }
}

fn receive_plain(from: &OwnedFd, bytes: usize, idle: Idle, on: &mut dyn FnMut(&[u8])) -> Outcome<Received> {
    let mut file = std::fs::File::from(from.try_clone()?);
    SockRef::from(from).set_nonblocking(idle == Idle::Spin)?;
    let mut buffer = vec![0; bytes];
    let (mut total, mut calls) = (0, 0);
    let mut last = None;
    loop {
        calls += 1;
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                total += length as u64;
                on(&buffer[..length]);
                last = Some(Instant::now());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // a socket of datagrams whose last one was lost
                let quiet = last.is_some_and(|at: Instant| at.elapsed() > Duration::from_millis(390));
                if idle != Idle::Spin && quiet {
                    break;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Received { bytes: total, calls, poller_cpu_ns: 0 })
}

fn receive_epoll(from: &OwnedFd, bytes: usize, on: &mut dyn FnMut(&[u8])) -> Outcome<Received> {
    // SAFETY: no pointers are passed.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if epoll < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: it was just made, and nobody else owns it.
    let epoll = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(epoll) };
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    // SAFETY: the event lives over the call, which copies it.
    unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, from.as_raw_fd(), &mut event) };
    let mut file = std::fs::File::from(from.try_clone()?);
    let mut buffer = vec![0; bytes];
    let (mut total, mut calls) = (0, 0);
    loop {
        // SAFETY: one event is writable over the call.
        unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, -1) };
        calls += 2;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Received { bytes: total, calls, poller_cpu_ns: 0 }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
            Ok(length) => {
                total += length as u64;
                on(&buffer[..length]);
            }
        }
    }
}

fn receive_ring(from: RawFd, way: Ring, idle: Idle, on: &mut dyn FnMut(&[u8])) -> Outcome<Received> {
    let mut ring = build(way)?;
    let mut buffers = Buffers::register(&ring, way)?;
    if way.fixed_file {
        ring.submitter().register_files(&[from])?;
    }
    let (mut total, mut calls, mut receiving, mut ended) = (0, 0, false, false);
    let (mut worked, mut starved) = (Instant::now(), 0_u64);
    while !ended {
        if !receiving {
            // SAFETY: the operation writes to the buffers only, which outlive the ring's use (`release`).
            unsafe { ring.submission().push(&operation(from, way))? };
            receiving = true;
        }
        let wait = idle == Idle::Block || (idle == Idle::BackOff && worked.elapsed() > SPIN);
        let submission = ring.submission();
        let needed = submission.taskrun() || !submission.is_empty() || wait || way.sqpoll;
        drop(submission);
        if needed {
            calls += enter(&mut ring, usize::from(wait))?;
        }
        if worked.elapsed() > SILENCE {
            return Err(format!("nothing came any more; {starved} times no buffer was left").into());
        }
        while let Some(done) = { ring.completion().next() } {
            receiving = cqueue::more(done.flags());
            match done.result() {
                0 => ended = true,
                length @ 1.. => {
                    worked = Instant::now();
                    total += length as u64;
                    buffers.take(&done, length as usize, on)?;
                }
                errno if -errno == libc::ENOBUFS => starved += 1,
                errno => return Err(io::Error::from_raw_os_error(-errno).into()),
            }
        }
    }
    let poller_cpu_ns = poller_cpu_ns();
    buffers.release(ring)?;
    Ok(Received { bytes: total, calls, poller_cpu_ns })
}

fn build(way: Ring) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(4_096);
    if way.sqpoll {
        builder.setup_sqpoll(SQPOLL_IDLE_MS).setup_sqpoll_cpu(SENDER_CORE as u32);
    } else {
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    }
    builder.build(256)
}

fn operation(from: RawFd, way: Ring) -> squeue::Entry {
    let (fd, fixed) = (types::Fd(from), types::Fixed(0));
    match (way.bundle, way.fixed_file) {
        (false, false) => opcode::RecvMulti::new(fd, 0).build(),
        (false, true) => opcode::RecvMulti::new(fixed, 0).build(),
        (true, false) => opcode::RecvMultiBundle::new(fd, 0).build(),
        (true, true) => opcode::RecvMultiBundle::new(fixed, 0).build(),
    }
}

/// Enters the kernel, for a while at most; answers 1, for the count.
fn enter(ring: &mut IoUring, wanted: usize) -> io::Result<u64> {
    let until = types::Timespec::from(LOOK);
    let arguments = types::SubmitArgs::new().timespec(&until);
    let entered = match wanted {
        // a ring with deferred task run wants to be asked for its completions
        0 if !ring.params().is_setup_sqpoll() => {
            let (submit, flags) = (ring.submission().len() as u32, EnterFlags::GETEVENTS.bits());
            // SAFETY: no argument is passed that the kernel would read.
            unsafe { ring.submitter().enter::<libc::sigset_t>(submit, 0, flags, None) }
        }
        _ => ring.submitter().submit_with_args(wanted, &arguments),
    };
    match entered {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY)) => Err(error),
        _ => Ok(1),
    }
}

/// A ring of provided buffers. They are given back in the order in which they came, so the ones of a
/// bundle follow each other by number.
struct Buffers {
    way: Ring,
    tail: u16,
    entries: NonNull<types::BufRingEntry>,
    bytes: NonNull<u8>,
    /// How much of each was filled, where they are consumed bit by bit.
    filled: Vec<usize>,
}

impl Buffers {
    fn register(ring: &IoUring, way: Ring) -> io::Result<Buffers> {
        let all = bytes_layout(way);
        let bytes = allocate(all);
        if way.huge {
            // SAFETY: the range was just allocated; advice changes no contents.
            unsafe { libc::madvise(bytes.as_ptr().cast(), all.size(), libc::MADV_HUGEPAGE) };
        }
        // Touched before anything is measured.
        // SAFETY: the range is ours alone.
        unsafe { bytes.as_ptr().write_bytes(1, all.size()) };
        let entries = allocate(entries_layout(way)).cast();
        let filled = vec![0; usize::from(way.buffers)];
        let mut buffers = Buffers { way, tail: 0, entries, bytes, filled };
        let flags = if way.incremental { INCREMENTAL } else { 0 };
        let address = buffers.entries.as_ptr() as u64;
        // SAFETY: the entries are page-aligned, as many as said, and freed after the ring only.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, way.buffers, 0, flags)? };
        (0..way.buffers).for_each(|buffer| buffers.give(buffer));
        Ok(buffers)
    }

    fn give(&mut self, buffer: u16) {
        let place = usize::from(self.tail & (self.way.buffers - 1));
        // SAFETY: the place lies within the entries; the kernel reads it after the tail was published.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(place);
            entry.set_addr(self.bytes.as_ptr().add(usize::from(buffer) * self.way.bytes) as u64);
            entry.set_len(self.way.bytes as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, is aligned, and only this thread writes it.
        // Release: publishes the entry above.
        unsafe {
            let tail = types::BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// Shows what a completion brought and gives it back.
    fn take(&mut self, done: &cqueue::Entry, length: usize, on: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let mut buffer = cqueue::buffer_select(done.flags()).ok_or("a completion without its buffer")?;
        let mut rest = length;
        if self.way.incremental {
            let at = self.filled[usize::from(buffer)];
            self.show(buffer, at, length, on);
            let more = cqueue::buffer_more(done.flags());
            self.filled[usize::from(buffer)] = if more { at + length } else { 0 };
            if !more {
                self.give(buffer);
            }
            return Ok(());
        }
        while rest > 0 {
            let here = rest.min(self.way.bytes);
            self.show(buffer, 0, here, on);
            self.give(buffer);
            buffer = (buffer + 1) & (self.way.buffers - 1);
            rest -= here;
        }
        Ok(())
    }

    fn show(&self, buffer: u16, at: usize, length: usize, on: &mut dyn FnMut(&[u8])) {
        assert!(at + length <= self.way.bytes, "the kernel filled more than a buffer holds");
        let start = usize::from(buffer) * self.way.bytes + at;
        if self.way.prefetch {
            let next = usize::from((buffer + 1) & (self.way.buffers - 1)) * self.way.bytes;
            prefetch(self.bytes.as_ptr().wrapping_add(next));
        }
        // SAFETY: the range lies within the buffers, which were written; the kernel does not touch it
        // until it is given back.
        on(unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().add(start), length) });
    }

    /// Ends the ring, then frees what it wrote to.
    fn release(self, ring: IoUring) -> io::Result<()> {
        ring.submitter().unregister_buf_ring(0)?;
        drop(ring);
        // SAFETY: allocated with these layouts, and the ring is gone.
        unsafe {
            dealloc(self.bytes.as_ptr(), bytes_layout(self.way));
            dealloc(self.entries.as_ptr().cast(), entries_layout(self.way));
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
fn prefetch(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in 0..16 {
        // SAFETY: a prefetch reads nothing that the program would see, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64 * line).cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: *const u8) {}

fn bytes_layout(way: Ring) -> Layout {
    let align = if way.huge { 2 << 20 } else { 4_096 };
    let bytes = usize::from(way.buffers) * way.bytes;
    Layout::from_size_align(bytes.next_multiple_of(align), align).expect("some megabytes")
}

fn entries_layout(way: Ring) -> Layout {
    let bytes = usize::from(way.buffers) * size_of::<types::BufRingEntry>();
    Layout::from_size_align(bytes, 4_096).expect("some kilobytes")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: no layout here is empty.
    NonNull::new(unsafe { alloc_zeroed(layout) }).expect("a few megabytes of memory")
}

// ---- the machine -------------------------------------------------------------------------------

/// Every byte is looked at, as a check would.
fn look(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)));
    words.fold(0, u64::wrapping_add)
}

fn pin(core: usize) -> io::Result<()> {
    millstream_uring::thread::pin_to_core(core)
}

fn thread_cpu_ns() -> u64 {
    millstream_uring::thread::cpu_time_ns()
}

/// What the kernel's threads that poll rings of this process have used so far (proc_pid_schedstat(5)).
fn poller_cpu_ns() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let pollers = threads.filter(|thread| read(thread.path().join("comm")).starts_with("iou-sqp"));
    let used = |text: String| text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
    pollers.filter_map(|thread| used(read(thread.path().join("schedstat")))).sum()
}
