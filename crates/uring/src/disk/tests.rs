//! One suite for both disks.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use env::disk::{Block, Completion, DIRECT_ALIGN, Disk, DiskError, DiskOp, FileNumber, OpId, Storage};

use super::*;
use crate::{IoMode, WakeFd, block_on, probe};

const FILE: FileNumber = FileNumber(7);
const LENDING: Lending = Lending { blocks: 2, block_bytes: 4 * DIRECT_ALIGN };

fn block(bytes: &[u8]) -> Block {
    let mut block = Block::new();
    block.extend_from_slice(bytes);
    block
}

struct Rig {
    disk: Box<dyn Disk>,
    wake: WakeFd,
    next: u64,
    early: HashMap<OpId, Completion>,
}

impl Rig {
    fn submit(&mut self, op: DiskOp) -> OpId {
        self.next += 1;
        self.disk.submit(OpId(self.next), op);
        OpId(self.next)
    }

    /// Waits for one completion, asleep on the notice as a shard would.
    async fn end(&mut self, id: OpId) -> Completion {
        let listener = self.wake.listen().expect("watched");
        loop {
            listener.clear();
            self.wake.drain();
            while let Some(completion) = self.disk.poll_completion() {
                self.early.insert(completion.id, completion);
            }
            if let Some(completion) = self.early.remove(&id) {
                return completion;
            }
            listener.ready().await;
        }
    }

    async fn run(&mut self, op: DiskOp) -> Result<usize, DiskError> {
        let id = self.submit(op);
        self.end(id).await.result
    }
}

/// Runs a test on each disk that this machine allows.
fn on_both(test: impl AsyncFn(&mut Rig, &std::path::Path)) {
    let mut modes = vec![IoMode::Epoll];
    match probe() {
        Ok(()) => modes.push(IoMode::Uring),
        Err(why) => eprintln!("testing the blocking thread only: {why}"),
    }
    for mode in modes {
        let directory = tempfile::tempdir().expect("a directory");
        block_on(mode, async {
            let wake = WakeFd::new().expect("an eventfd");
            let ringer = wake.clone();
            let disk = open_disk(mode, directory.path(), LENDING, Arc::new(move || ringer.wake())).expect("a disk");
            let mut rig = Rig { disk, wake, next: 0, early: HashMap::new() };
            test(&mut rig, directory.path()).await;
        })
        .expect("a runtime");
    }
}

#[test]
fn writes_are_read_back_and_files_come_and_go() {
    on_both(async |rig, directory| {
        assert_eq!(rig.run(DiskOp::Create { file: FILE }).await, Ok(0));
        assert_eq!(rig.run(DiskOp::SyncDirectory).await, Ok(0));
        let writes: Vec<OpId> = (0..16_u8)
            .map(|n| {
                let block = block(&[n; 4096]);
                rig.submit(DiskOp::Write { file: FILE, offset: u64::from(n) * 4096, from: 0, block })
            })
            .collect();
        for id in writes {
            let completion = rig.end(id).await;
            assert_eq!(completion.result, Ok(4096));
            assert_eq!(completion.block.expect("handed back").len(), 4096);
        }
        assert_eq!(rig.run(DiskOp::Sync { file: FILE }).await, Ok(0));

        let mut storage = DirectoryStorage::new(directory);
        assert_eq!(storage.list().expect("listed"), [FILE]);
        assert_eq!(storage.length(FILE).expect("its length"), 16 * 4096);
        let mut bytes = [0; 4096];
        assert_eq!(storage.read_at(FILE, 9 * 4096, &mut bytes).expect("read"), 4096);
        assert_eq!(bytes, [9; 4096]);
        assert_eq!(storage.read_at(FILE, 16 * 4096 - 10, &mut bytes).expect("read"), 10);
        storage.sync(FILE).expect("synced");
        storage.truncate(FILE, 100).expect("cut");
        assert_eq!(storage.length(FILE).expect("its length"), 100);

        assert_eq!(rig.run(DiskOp::Close { file: FILE }).await, Ok(0));
        assert_eq!(rig.run(DiskOp::Remove { file: FILE }).await, Ok(0));
        assert!(storage.list().expect("listed").is_empty());
    });
}

#[test]
fn a_retired_file_is_no_segment_and_is_used_again_with_its_bytes() {
    on_both(async |rig, directory| {
        let (next, third) = (FileNumber(8), FileNumber(9));
        rig.run(DiskOp::Create { file: FILE }).await.expect("created");
        let old = DiskOp::Write { file: FILE, offset: 0, from: 0, block: block(&[1; 8192]) };
        rig.run(old).await.expect("written");
        rig.run(DiskOp::Close { file: FILE }).await.expect("closed");
        assert_eq!(rig.run(DiskOp::Retire { file: FILE }).await, Ok(0));
        let mut storage = DirectoryStorage::new(directory);
        assert!(storage.list().expect("listed").is_empty());

        assert_eq!(rig.run(DiskOp::Reuse { retired: FILE, file: next }).await, Ok(0));
        let new = DiskOp::Write { file: next, offset: 0, from: 0, block: block(&[2; 4096]) };
        rig.run(new).await.expect("written");
        assert_eq!(rig.run(DiskOp::Sync { file: next }).await, Ok(0));
        assert_eq!(storage.list().expect("listed"), [next]);
        let bytes = std::fs::read(directory.join(next.to_string())).expect("read");
        assert_eq!(bytes, [[2; 4096], [1; 4096]].concat());

        assert!(rig.run(DiskOp::Reuse { retired: FILE, file: third }).await.is_err(), "it is in use");
        assert!(rig.run(DiskOp::Retire { file: third }).await.is_err(), "it is not there");
        rig.run(DiskOp::Close { file: next }).await.expect("closed");
        rig.run(DiskOp::Retire { file: next }).await.expect("retired");
        storage.remove_retired().expect("removed");
        assert_eq!(std::fs::read_dir(directory).expect("listed").count(), 0);
    });
}

/// F4: small writes through the page cache, large ones past it, in one file and in any order.
#[test]
fn writes_past_the_page_cache_and_through_it_make_one_file() {
    on_both(async |rig, directory| {
        rig.run(DiskOp::Create { file: FILE }).await.expect("created");
        let path = directory.join(FILE.to_string());
        if direct::open(&path).is_none() {
            eprintln!("this file system writes through the page cache only");
        }
        let large = |n: u8| block(&[n; 4 * DIRECT_ALIGN]);
        assert!(direct::fits(&large(1), DIRECT_ALIGN as u64));
        assert!(!direct::fits(&large(1), 16) && !direct::fits(&large(1)[16..], 0) && !direct::fits(&[], 0));
        let mut offset = 0;
        let mut writes = Vec::new();
        for n in 0..6_u8 {
            let small = block(&[100 + n; DIRECT_ALIGN - 1000]);
            writes.push(rig.submit(DiskOp::Write { file: FILE, offset, from: 0, block: small }));
            let rest = offset + DIRECT_ALIGN as u64 - 1000;
            writes.push(rig.submit(DiskOp::Write { file: FILE, offset: rest, from: 0, block: block(&[n; 1000]) }));
            offset += DIRECT_ALIGN as u64;
            writes.push(rig.submit(DiskOp::Write { file: FILE, offset, from: 0, block: large(n) }));
            offset += 4 * DIRECT_ALIGN as u64;
        }
        for id in writes {
            assert!(rig.end(id).await.result.is_ok());
        }
        rig.run(DiskOp::Sync { file: FILE }).await.expect("synced");
        let expected: Vec<u8> = (0..6_u8)
            .flat_map(|n| [vec![100 + n; DIRECT_ALIGN - 1000], vec![n; 1000], vec![n; 4 * DIRECT_ALIGN]].concat())
            .collect();
        assert_eq!(std::fs::read(path).expect("read"), expected);
    });
}

#[test]
fn the_rest_of_a_short_write_goes_from_where_it_stopped() {
    on_both(async |rig, directory| {
        rig.run(DiskOp::Create { file: FILE }).await.expect("created");
        let first = rig.submit(DiskOp::Write { file: FILE, offset: 0, from: 0, block: block(b"hello ") });
        assert_eq!(rig.end(first).await.result, Ok(6));
        let rest = rig.submit(DiskOp::Write { file: FILE, offset: 6, from: 6, block: block(b"hello world") });
        let completion = rig.end(rest).await;
        assert_eq!(completion.result, Ok(5));
        assert_eq!(&completion.block.expect("the whole block")[..], b"hello world");
        let beyond = rig.submit(DiskOp::Write { file: FILE, offset: 0, from: 4, block: block(b"abc") });
        let completion = rig.end(beyond).await;
        assert!(matches!(completion.result, Err(DiskError::Failed(_))));
        assert_eq!(&completion.block.expect("handed back")[..], b"abc");
        assert_eq!(std::fs::read(directory.join(FILE.to_string())).expect("read"), b"hello world");
    });
}

#[test]
fn what_cannot_be_done_is_a_completion_that_says_so() {
    on_both(async |rig, _| {
        rig.run(DiskOp::Create { file: FILE }).await.expect("created");
        let exists = rig.run(DiskOp::Create { file: FILE }).await.expect_err("it exists").to_string();
        assert!(exists.contains("exists"), "{exists}");
        let other = FileNumber(8);
        for op in [DiskOp::Sync { file: other }, DiskOp::Close { file: other }] {
            let error = rig.run(op).await.expect_err("not open").to_string();
            assert!(error.contains("00000000000000000008.seg is not open"), "{error}");
        }
        let write = rig.submit(DiskOp::Write { file: other, offset: 0, from: 0, block: block(b"kept") });
        let completion = rig.end(write).await;
        assert!(completion.result.is_err());
        assert_eq!(&completion.block.expect("handed back")[..], b"kept");
        assert!(rig.run(DiskOp::Remove { file: other }).await.is_err());
    });
}

/// A shard whose lower lanes never rest never lets its runtime park; the disk must go on.
#[test]
fn operations_complete_while_the_runtime_never_parks() {
    on_both(async |rig, _| {
        let busy = Rc::new(RefCell::new(true));
        let flag = busy.clone();
        let burner = tokio::task::spawn_local(async move {
            while *flag.borrow() {
                tokio::task::yield_now().await;
            }
        });
        rig.run(DiskOp::Create { file: FileNumber(1) }).await.expect("created");
        rig.run(DiskOp::Retire { file: FileNumber(1) }).await.expect("retired");
        // two calls of the kernel, one after the other
        rig.run(DiskOp::Reuse { retired: FileNumber(1), file: FILE }).await.expect("used again");
        for n in 0..100_u64 {
            let write = DiskOp::Write { file: FILE, offset: n * 64, from: 0, block: block(&[1; 64]) };
            assert_eq!(rig.run(write).await, Ok(64));
            assert_eq!(rig.run(DiskOp::Sync { file: FILE }).await, Ok(0));
        }
        *busy.borrow_mut() = false;
        burner.await.expect("it stops");
    });
}

#[test]
fn a_lent_block_is_written_past_the_page_cache_or_through_it_and_lent_again() {
    on_both(async |rig, directory| {
        assert_eq!(rig.run(DiskOp::Create { file: FILE }).await, Ok(0));
        let mut lent: Vec<Block> = std::iter::from_fn(|| rig.disk.lend()).collect();
        // The thread lends none; what it writes from is a block like any other.
        lent.resize_with(2, Block::new);
        for (n, block) in lent.iter_mut().enumerate() {
            block.resize(2 * DIRECT_ALIGN + 100 * n, 7 + n as u8);
        }
        let mut offset = 0;
        for block in lent {
            let (at, bytes) = (offset, block.len());
            offset += bytes as u64;
            let id = rig.submit(DiskOp::Write { file: FILE, offset: at, from: 0, block });
            let completion = rig.end(id).await;
            assert_eq!(completion.result, Ok(bytes));
            assert!(completion.block.is_some_and(|block| block.len() == bytes));
        }
        assert_eq!(rig.run(DiskOp::Sync { file: FILE }).await, Ok(0));
        let storage = DirectoryStorage::new(directory);
        let mut bytes = vec![0; offset as usize];
        assert_eq!(storage.read_at(FILE, 0, &mut bytes).expect("read"), bytes.len());
        let (first, second) = bytes.split_at(2 * DIRECT_ALIGN);
        assert!(first.iter().all(|byte| *byte == 7) && second.iter().all(|byte| *byte == 8));
        let again: Vec<Block> = std::iter::from_fn(|| rig.disk.lend()).collect();
        assert!(again.len() == 2 || again.is_empty(), "both came back");
    });
}

#[test]
fn a_disk_that_goes_waits_for_what_the_kernel_still_reads() {
    on_both(async |rig, directory| {
        assert_eq!(rig.run(DiskOp::Create { file: FILE }).await, Ok(0));
        for n in 0..8 {
            let block = block(&vec![n as u8 + 1; 64 << 10]);
            rig.submit(DiskOp::Write { file: FILE, offset: n * (64 << 10), from: 0, block });
        }
        let gone = open_disk(IoMode::Epoll, directory, Lending::default(), Arc::new(|| {})).expect("a disk");
        drop(std::mem::replace(&mut rig.disk, gone));
        let storage = DirectoryStorage::new(directory);
        assert_eq!(storage.length(FILE).expect("its length"), 8 * (64 << 10));
    });
}
