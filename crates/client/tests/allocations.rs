//! C3: once the buffers have grown, sending a frame allocates nothing.
#![expect(unsafe_code, reason = "an allocator that counts is the only way to see allocations")]

use frame::{Builder, Scan, Welcome};
use millstream_client::{Options, Outbox, Producer, ProducerId, Sample, Sequence, TagId, now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn an_outbox_that_has_grown_takes_frames_without_allocating() {
    let mut outbox = Outbox::new(ProducerId(1), true, 4_000, 100_000);
    let scan = Scan { values: vec![7; 100], ..Scan::default() };
    let mut round = || {
        while outbox.push(|builder, p, s| builder.scan(p, s, &scan).map(drop)).is_ok() {}
        while outbox.unsent_bytes() > 0 {
            let count = outbox.unsent().len();
            outbox.sent(count);
        }
        outbox.acknowledge(outbox.last()).expect("was sent");
    };
    round();
    round();
    assert_eq!(allocations(|| (0..20).for_each(|_| round())), 0);
}

#[test]
fn a_connection_that_has_warmed_up_sends_without_allocating() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("one comes");
        let welcome = Welcome { path: "x".to_owned(), frame_bytes_max: 1 << 20, tags_max: 1 };
        let mut answer = Builder::new();
        answer.welcome(ProducerId(1), Sequence(0), &welcome).expect("short");
        stream.write_all(answer.bytes()).expect("written");
        let mut chunk = vec![0; 64 << 10];
        while stream.read(&mut chunk).is_ok_and(|count| count > 0) {}
    });
    let options = Options { acks: false, chunk_bytes: 8_000, ..Options::new(1, "rig") };
    let mut producer = Producer::connect(&address, options).expect("welcomed");
    let values = [1.5; 200];
    let batch = [Sample::new(TagId(3), None, 1.0); 50];
    let mut send = |frames: u32| {
        for _ in 0..frames {
            producer.scan(TagId(0), Some(now()), &values).expect("taken");
            producer.samples(&batch).expect("taken");
            producer.flush().expect("written");
        }
    };
    send(100);
    assert_eq!(allocations(|| send(500)), 0);
}
