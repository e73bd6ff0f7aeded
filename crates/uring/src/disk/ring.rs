//! The disk through io_uring: operations are in the kernel when `submit` returns.
//!
//! Names of files (create, remove, retire, use again) go through tokio-uring, as tasks; writes and syncs, of which
//! there are a thousand times as many, through a ring of their own (module `writes`).

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    fs,
    future::{Future, poll_fn},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use env::disk::{Block, Completion, Disk, DiskError, DiskOp, FileNumber, OpId};
use tokio::task::JoinHandle;
use tokio_uring::fs::{File, OpenOptions};

use super::{FILE_MODE, Lending, Notice, beyond, direct, not_open, writes::Writes};
use crate::host::hand_over;

/// What an operation of the kernel comes to.
type Outcome = (Result<usize, DiskError>, Option<Block>);

/// [`Disk`] over tokio-uring; lives on one thread, inside its runtime.
pub struct UringDisk {
    directory: PathBuf,
    directory_file: Rc<File>,
    shared: Rc<Shared>,
    writes: Writes,
    /// Gives notice of completions of `writes` to a sleeper.
    listener: JoinHandle<()>,
}

struct Open {
    file: Rc<File>,
    direct: Option<Rc<File>>,
}

struct Shared {
    files: RefCell<HashMap<FileNumber, Open>>,
    completions: RefCell<VecDeque<Completion>>,
    notice: Notice,
}

impl Shared {
    /// A file is open; it is opened a second time, for writes past the page cache. That is done where it
    /// stands: the name is in the kernel's cache, nothing waits for a disk.
    fn opened(&self, number: FileNumber, path: &Path, file: File) -> usize {
        let direct = direct::open(path).map(|file| Rc::new(File::from_std(file)));
        self.files.borrow_mut().insert(number, Open { file: Rc::new(file), direct });
        0
    }

    fn complete(&self, id: OpId, (result, block): Outcome) {
        self.completions.borrow_mut().push_back(Completion { id, result, block });
        (self.notice)();
    }
}

impl UringDisk {
    /// The disk of a directory.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open(directory: &Path, lending: Lending, notice: Notice) -> io::Result<UringDisk> {
        let writes = Writes::open(lending.blocks, lending.block_bytes)?;
        let (wake, watched) = (writes.wake().clone(), writes.wake().listen()?);
        let told = Arc::clone(&notice);
        let listener = tokio::task::spawn_local(async move {
            loop {
                watched.ready().await;
                watched.clear();
                wake.drain();
                told();
            }
        });
        Ok(UringDisk {
            directory: directory.to_path_buf(),
            directory_file: Rc::new(File::from_std(fs::File::open(directory)?)),
            shared: Rc::new(Shared { files: RefCell::default(), completions: RefCell::default(), notice }),
            writes,
            listener,
        })
    }

    /// Puts an operation into the kernel now, and its end into the queue whenever it comes.
    fn start(&self, id: OpId, operation: impl Future<Output = Outcome> + 'static) {
        let mut operation: Pin<Box<dyn Future<Output = Outcome>>> = Box::pin(operation);
        // The first poll is what submits; its waker is replaced by the task's own, below.
        match operation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => self.shared.complete(id, outcome),
            Poll::Pending => {
                hand_over();
                let shared = self.shared.clone();
                let mut submitted = false;
                let rest = poll_fn(move |context| {
                    let polled = operation.as_mut().poll(context);
                    // What is not done after its first call submitted a second one.
                    if polled.is_pending() && std::mem::replace(&mut submitted, true) {
                        hand_over();
                    }
                    polled
                });
                tokio::task::spawn_local(async move { shared.complete(id, rest.await) });
            }
        }
    }

    fn create(&self, id: OpId, number: FileNumber) {
        let path = self.path(number);
        let shared = self.shared.clone();
        self.start(id, async move {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(FILE_MODE);
            outcome(options.open(&path).await.map(|file| shared.opened(number, &path, file)))
        });
    }

    fn reuse(&self, id: OpId, retired: FileNumber, number: FileNumber) {
        let (from, path) = (self.directory.join(retired.retired_name()), self.path(number));
        let shared = self.shared.clone();
        self.start(id, async move {
            let result = async {
                tokio_uring::fs::rename(&from, &path).await?;
                OpenOptions::new().write(true).open(&path).await
            };
            outcome(result.await.map(|file| shared.opened(number, &path, file)))
        });
    }

    fn path(&self, number: FileNumber) -> PathBuf {
        self.directory.join(number.to_string())
    }

    fn write(&mut self, id: OpId, number: FileNumber, offset: u64, from: usize, block: Block) {
        let Some(file) = self.file(number) else {
            return self.shared.complete(id, (Err(not_open(number)), Some(block)));
        };
        if from > block.len() {
            let error = beyond(number, from, block.len());
            return self.shared.complete(id, (Err(error), Some(block)));
        }
        self.writes.write(id, file, offset, from, block);
    }

    fn close(&self, id: OpId, number: FileNumber) {
        let Some(open) = self.shared.files.borrow_mut().remove(&number) else {
            return self.shared.complete(id, (Err(not_open(number)), None));
        };
        match Rc::try_unwrap(open.file) {
            Ok(file) => self.start(id, async move { outcome(file.close().await.map(|()| 0)) }),
            // A sync still holds it: the last one to let go closes it.
            Err(_) => self.shared.complete(id, (Ok(0), None)),
        }
    }

    fn file(&self, number: FileNumber) -> Option<(Rc<File>, Option<Rc<File>>)> {
        self.shared.files.borrow().get(&number).map(|open| (open.file.clone(), open.direct.clone()))
    }
}

impl Disk for UringDisk {
    fn submit(&mut self, id: OpId, op: DiskOp) {
        match op {
            DiskOp::Create { file } => self.create(id, file),
            DiskOp::Write { file, offset, from, block } => self.write(id, file, offset, from, block),
            DiskOp::Sync { file } => match self.file(file) {
                Some((file, _)) => self.writes.sync(id, file),
                None => self.shared.complete(id, (Err(not_open(file)), None)),
            },
            DiskOp::SyncDirectory => {
                let directory = self.directory_file.clone();
                self.start(id, async move { outcome(directory.sync_all().await.map(|()| 0)) });
            }
            DiskOp::Close { file } => self.close(id, file),
            DiskOp::Remove { file } => {
                let path = self.path(file);
                self.start(id, async move { outcome(tokio_uring::fs::remove_file(path).await.map(|()| 0)) });
            }
            DiskOp::Retire { file } => {
                let (path, retired) = (self.path(file), self.directory.join(file.retired_name()));
                self.start(id, async move { outcome(tokio_uring::fs::rename(path, retired).await.map(|()| 0)) });
            }
            DiskOp::Reuse { retired, file } => self.reuse(id, retired, file),
        }
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        let named = self.shared.completions.borrow_mut().pop_front();
        named.or_else(|| self.writes.next())
    }

    fn pending(&self) -> bool {
        self.writes.pending() || !self.shared.completions.borrow().is_empty()
    }

    fn lend(&mut self) -> Option<Block> {
        self.writes.lend()
    }
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

fn outcome(result: io::Result<usize>) -> Outcome {
    (result.map_err(|error| DiskError::from_io(&error)), None)
}
