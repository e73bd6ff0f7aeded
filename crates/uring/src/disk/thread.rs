//! The disk through one blocking thread, for where io_uring is forbidden.
//!
//! Operations are done in the order of their submission, which is one of the orders that the
//! contract of [`env::disk`] allows.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use env::disk::{Completion, Disk, DiskError, DiskOp, FileNumber, OpId};

use super::{FILE_MODE, Notice, beyond, direct, not_open};

/// [`Disk`] over one blocking thread. Dropped, it waits for what was submitted.
pub struct ThreadDisk {
    /// `None` only while it is dropped. Unbounded here; the log bounds what it has in flight.
    to_thread: Option<Sender<(OpId, DiskOp)>>,
    completions: Receiver<Completion>,
    thread: Option<JoinHandle<()>>,
}

impl ThreadDisk {
    /// The disk of a directory.
    ///
    /// # Errors
    /// The directory cannot be opened, or the thread not be started.
    pub fn open(directory: &Path, notice: Notice) -> io::Result<ThreadDisk> {
        let mut worker = Worker {
            directory: directory.to_path_buf(),
            directory_file: File::open(directory)?,
            files: HashMap::new(),
        };
        let (to_thread, operations) = channel::<(OpId, DiskOp)>();
        let (completed, completions) = channel();
        let thread = std::thread::Builder::new().name("disk".into()).spawn(move || {
            for (id, op) in operations {
                // A disk that is being dropped listens no more; the operations are done all the same.
                let _ = completed.send(worker.run(id, op));
                notice();
            }
        })?;
        Ok(ThreadDisk { to_thread: Some(to_thread), completions, thread: Some(thread) })
    }
}

impl Disk for ThreadDisk {
    fn submit(&mut self, id: OpId, op: DiskOp) {
        let sent = self.to_thread.as_ref().is_some_and(|to| to.send((id, op)).is_ok());
        assert!(sent, "the disk's thread ended before its disk: it panicked, see above");
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.try_recv().ok()
    }
}

impl Drop for ThreadDisk {
    fn drop(&mut self) {
        self.to_thread = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    directory: PathBuf,
    directory_file: File,
    files: HashMap<FileNumber, Open>,
}

struct Open {
    file: File,
    direct: Option<File>,
}

impl Open {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if let Some(direct) = self.direct.as_ref().filter(|_| direct::fits(bytes, offset)) {
            match retry(|| direct.write_at(bytes, offset)) {
                Err(error) if direct::is_refusal(&error) => {}
                result => return result,
            }
        }
        retry(|| self.file.write_at(bytes, offset))
    }
}

impl Worker {
    fn run(&mut self, id: OpId, op: DiskOp) -> Completion {
        let (result, block) = match op {
            DiskOp::Create { file } => (self.create(file), None),
            DiskOp::Write { file, offset, from, block } => {
                let result = match (self.files.get(&file), block.get(from..)) {
                    (Some(open), Some(bytes)) => open.write(bytes, offset).map_err(|error| DiskError::from_io(&error)),
                    (None, _) => Err(not_open(file)),
                    (_, None) => Err(beyond(file, from, block.len())),
                };
                (result, Some(block))
            }
            DiskOp::Sync { file } => (
                match self.files.get(&file) {
                    Some(open) => done(open.file.sync_data()),
                    None => Err(not_open(file)),
                },
                None,
            ),
            DiskOp::SyncDirectory => (done(self.directory_file.sync_all()), None),
            DiskOp::Close { file } => (self.files.remove(&file).map(|_| 0).ok_or_else(|| not_open(file)), None),
            DiskOp::Remove { file } => (done(std::fs::remove_file(self.path(file))), None),
            DiskOp::Retire { file } => (done(std::fs::rename(self.path(file), self.retired_path(file))), None),
            DiskOp::Reuse { retired, file } => (self.reuse(retired, file), None),
        };
        Completion { id, result, block }
    }

    fn create(&mut self, number: FileNumber) -> Result<usize, DiskError> {
        let path = self.path(number);
        let opened = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path);
        let file = opened.map_err(|error| DiskError::from_io(&error))?;
        self.files.insert(number, Open { file, direct: direct::open(&path) });
        Ok(0)
    }

    fn reuse(&mut self, retired: FileNumber, number: FileNumber) -> Result<usize, DiskError> {
        let path = self.path(number);
        let renamed = std::fs::rename(self.retired_path(retired), &path);
        let opened = renamed.and_then(|()| OpenOptions::new().write(true).open(&path));
        let file = opened.map_err(|error| DiskError::from_io(&error))?;
        self.files.insert(number, Open { file, direct: direct::open(&path) });
        Ok(0)
    }

    fn path(&self, number: FileNumber) -> PathBuf {
        self.directory.join(number.to_string())
    }

    fn retired_path(&self, number: FileNumber) -> PathBuf {
        self.directory.join(number.retired_name())
    }
}

fn done(result: io::Result<()>) -> Result<usize, DiskError> {
    result.map(|()| 0).map_err(|error| DiskError::from_io(&error))
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
