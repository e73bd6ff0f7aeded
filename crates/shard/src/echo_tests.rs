//! A shard with a real network and a real disk: what comes in is written, synced, and sent back.
//! The clients pause now and then, so that the shard sleeps and every way of waking it is used.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::RawFd,
};

use env::{
    Clock,
    disk::{Block, Disk, DiskOp, FileNumber, OpId},
    net::{ConnectionId, NetEvent},
};
use model::ShardId;
use uring::{
    IoMode,
    clock::SystemClock,
    disk::{Lending, open_disk},
    net::{NetOptions, ShardNet, listen, open_net},
    probe,
};

use crate::*;

const FILE: FileNumber = FileNumber(1);
const CREATE: OpId = OpId(0);

/// Writes every message, syncs it, and answers with it once that is done.
struct Echo {
    net: Box<dyn ShardNet>,
    disk: Box<dyn Disk>,
    next: u64,
    offset: u64,
    written: HashMap<OpId, ConnectionId>,
    synced: HashMap<OpId, (ConnectionId, Block)>,
    closed: bool,
}

impl Echo {
    fn op(&mut self, op: DiskOp) -> OpId {
        self.next += 1;
        self.disk.submit(OpId(self.next), op);
        OpId(self.next)
    }
}

impl Stage for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn poll(&mut self, budget: usize) -> usize {
        let mut came = Vec::new();
        let mut work = self.net.poll(budget, &mut |event| {
            if let NetEvent::Received { connection, bytes } = event {
                let mut block = Block::new();
                block.extend_from_slice(bytes);
                came.push((connection, block));
            }
        });
        for (connection, block) in came {
            let (offset, length) = (self.offset, block.len() as u64);
            self.offset += length;
            let id = self.op(DiskOp::Write { file: FILE, offset, from: 0, block });
            self.written.insert(id, connection);
        }
        while let Some(completion) = self.disk.poll_completion() {
            work += 1;
            completion.result.expect("the disk of a test works");
            if completion.id == CREATE {
                self.net.pause(false);
            }
            if let (Some(connection), Some(block)) = (self.written.remove(&completion.id), completion.block) {
                let id = self.op(DiskOp::Sync { file: FILE });
                self.synced.insert(id, (connection, block));
            } else if let Some((connection, block)) = self.synced.remove(&completion.id) {
                self.net.send(connection, &block).expect("the client reads");
            }
        }
        work
    }

    fn pending(&self) -> bool {
        self.net.pending()
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        vec![self.net.raw_fd()]
    }

    fn arm(&mut self) {
        self.net.arm();
    }

    fn close(&mut self) {
        self.closed = true;
    }

    fn drained(&self) -> bool {
        self.closed && self.written.is_empty() && self.synced.is_empty()
    }
}

fn start(mode: IoMode, directory: &std::path::Path, busy: bool) -> (ShardThread, SocketAddr) {
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), true).expect("free");
    let address = listener.local_addr().expect("bound");
    let directory = directory.to_path_buf();
    let shard = spawn_thread(Settings::new(ShardId(0), mode), move |context| {
        let options = NetOptions { listener: Some(listener), ..NetOptions::default() };
        let mut disk = open_disk(mode, &directory, Lending::default(), context.notice())?;
        disk.submit(CREATE, DiskOp::Create { file: FILE });
        if busy {
            for number in 0..20 {
                context.spawn(Lane::ALL[1 + number % 3], "busy", async {
                    loop {
                        let until_ns = SystemClock.monotonic_ns() + 20_000;
                        while SystemClock.monotonic_ns() < until_ns {}
                        tokio::task::yield_now().await;
                    }
                });
            }
        }
        let mut net = open_net(mode, options)?;
        // Until there is a file to write to.
        net.pause(true);
        let (written, synced) = (HashMap::new(), HashMap::new());
        Ok(vec![Box::new(Echo { net, disk, next: 0, offset: 0, written, synced, closed: false })])
    });
    (shard.expect("a thread"), address)
}

fn echo(busy: bool) {
    let mut modes = vec![IoMode::Epoll];
    match probe() {
        Ok(()) => modes.push(IoMode::Uring),
        Err(why) => eprintln!("testing epoll only: {why}"),
    }
    for mode in modes {
        let directory = std::env::temp_dir().join(format!("millstream-echo-{}-{mode}-{busy}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("made");
        let (shard, address) = start(mode, &directory, busy);
        let clients: Vec<_> = (0..4_u64)
            .map(|client| {
                std::thread::spawn(move || {
                    let mut stream = TcpStream::connect(address).expect("listening");
                    for round in 0..100_u64 {
                        let message = (client << 32 | round).to_le_bytes();
                        stream.write_all(&message).expect("sent");
                        let mut answer = [0; 8];
                        stream.read_exact(&mut answer).expect("answered");
                        assert_eq!(answer, message);
                        if round % 10 == client {
                            std::thread::sleep(std::time::Duration::from_millis(2));
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().expect("every message was answered");
        }
        shard.sender().close();
        let sender = shard.sender();
        shard.join().expect("a clean end");
        assert!(sender.stats().stage("echo").expect("measured").poll.count > 0);
        let length = std::fs::metadata(directory.join(FILE.to_string())).expect("written").len();
        assert_eq!(length, 4 * 100 * 8);
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}

#[test]
fn what_comes_in_is_synced_and_answered_by_a_shard_that_sleeps_between() {
    echo(false);
}

#[test]
fn what_comes_in_is_synced_and_answered_beside_busy_lower_lanes() {
    echo(true);
}
