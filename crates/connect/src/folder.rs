//! A folder: one file per delivery.
//!
//! Invariants
//! - D1: under its own name a file is there in whole or not at all: a temporary file, fsync, rename,
//!   fsync of the folder.
//! - D2: name and bytes follow from the call alone, so a second attempt makes the same file: one
//!   that is there already with the same bytes is success, one with other bytes is left alone and
//!   refused.
//! - D3: a name is one segment of a safe alphabet (`name`): nothing leads out of the folder.
//! - D4: nothing here blocks the thread that asks: files are the business of [`Blocking`].
//!
//! Remains of a crash (`.millstream-*.part`) are removed when they are an hour old.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::call::{Call, CallError, Exchange, Refusal, Reply, Target, within};
use crate::name;
use crate::sent::Sent;

/// How a temporary file's name begins and ends.
const PART: (&str, &str) = (".millstream-", ".part");
/// Age at which a temporary file is somebody's remains.
const PART_AGE_MAX: Duration = Duration::from_secs(3600);
/// Bytes that are compared at a time.
const COMPARE_BYTES: usize = 64 << 10;

/// Has work done that may block: on a shard its helper thread.
pub trait Blocking {
    /// Takes a job; `false`: there is no room, and the job was dropped.
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> bool;
}

impl<F: Fn(Box<dyn FnOnce() + Send>) -> bool> Blocking for F {
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> bool {
        self(job)
    }
}

/// A folder.
#[derive(Debug, Clone)]
pub struct FolderSettings {
    /// Directory that the files are put into.
    pub path: PathBuf,
    /// Is it made when it is missing? False for a mounted share, where a missing folder means that
    /// the share is not there. Its parent must be there in any case. Default true.
    pub create: bool,
}

impl FolderSettings {
    /// Defaults for a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), create: true }
    }
}

/// Writes files.
pub struct FolderTarget {
    settings: FolderSettings,
    blocking: Rc<dyn Blocking>,
    /// Tells the temporary files of this target apart.
    number: Cell<u64>,
}

impl FolderTarget {
    /// Prepares a target; nothing is touched yet.
    pub fn new(settings: FolderSettings, blocking: Rc<dyn Blocking>) -> Self {
        Self { settings, blocking, number: Cell::new(0) }
    }

    async fn put(&self, call: &Call, sent: &Sent) -> Result<Reply, CallError> {
        name::check(&call.to).map_err(|what| CallError::refused(Refusal::Message, what))?;
        self.number.set(self.number.get() + 1);
        let job = Job {
            folder: self.settings.path.clone(),
            create: self.settings.create,
            part: format!("{}{}-{}{}", PART.0, std::process::id(), self.number.get(), PART.1),
            name: call.to.clone(),
            body: call.body.clone(),
            first: self.number.get() == 1,
        };
        let (done, outcome) = oneshot::channel();
        let taken = self.blocking.run(Box::new(move || {
            // nobody may be waiting any more
            let _ = done.send(job.run());
        }));
        if !taken {
            return Err(CallError::unreachable("too many files are waiting to be written on this core"));
        }
        sent.set();
        outcome.await.unwrap_or_else(|_| Err(CallError::lost("writing the file was given up")))
    }
}

/// One file to be written, on a thread that may block.
struct Job {
    folder: PathBuf,
    create: bool,
    part: String,
    name: String,
    body: Bytes,
    first: bool,
}

impl Job {
    fn run(self) -> Result<Reply, CallError> {
        let failed = |error: io::Error| CallError::unreachable(format!("{}: {error}", self.folder.display()));
        self.make_folder().map_err(failed)?;
        if self.first {
            remove_remains(&self.folder);
        }
        let path = self.folder.join(&self.name);
        match self.compare(&path).map_err(failed)? {
            Some(true) => {
                // the attempt that made it may have ended before its name was durable
                sync_folder(&self.folder).map_err(|error| CallError::lost(format!("{}: {error}", path.display())))?;
                return Ok(Reply::Acked { detail: format!("{} was there already, with the same content", self.name) });
            }
            Some(false) => {
                let what =
                    format!("{} is there already, with other content; move it away to have this one", path.display());
                return Err(CallError::refused(Refusal::Message, what));
            }
            None => {}
        }
        let part = self.folder.join(&self.part);
        let named = self.write(&part).and_then(|()| fs::rename(&part, &path));
        if let Err(error) = named {
            let _ = fs::remove_file(&part);
            return Err(failed(error));
        }
        sync_folder(&self.folder).map_err(|error| CallError::lost(format!("{}: {error}", path.display())))?;
        Ok(Reply::Acked { detail: format!("{} written, {} bytes", self.name, self.body.len()) })
    }

    fn make_folder(&self) -> io::Result<()> {
        if self.create && !self.folder.try_exists()? {
            match fs::create_dir(&self.folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if let Some(parent) = self.folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_folder(parent)?;
            }
        }
        if fs::metadata(&self.folder)?.is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) }
    }

    fn write(&self, part: &Path) -> io::Result<()> {
        let mut file = File::create_new(part)?;
        file.write_all(&self.body)?;
        file.sync_all()
    }

    /// Is there a file of this name, and has it the same content?
    fn compare(&self, path: &Path) -> io::Result<Option<bool>> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !meta.is_file() || usize::try_from(meta.len()).ok() != Some(self.body.len()) {
            return Ok(Some(false));
        }
        let mut file = File::open(path)?;
        let mut buffer = vec![0; COMPARE_BYTES];
        for part in self.body.chunks(COMPARE_BYTES) {
            let theirs = &mut buffer[..part.len()];
            match file.read_exact(theirs) {
                Ok(()) if theirs == part => {}
                Ok(()) => return Ok(Some(false)),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Some(false)),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(file.read(&mut [0])? == 0))
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// Removes what a crash left. A failure costs nothing but room.
fn remove_remains(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_part = name.to_str().is_some_and(|name| name.starts_with(PART.0) && name.ends_with(PART.1));
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_part && age.is_some_and(|age| age > PART_AGE_MAX) {
            tracing::info!(file = %entry.path().display(), "removing what an interrupted delivery left");
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Target for FolderTarget {
    fn call(&self, call: Call) -> LocalBoxFuture<'_, Exchange> {
        Box::pin(async move {
            let (start, sent) = (Instant::now(), Sent::default());
            let shown = format!("write {} in {}", call.to, self.settings.path.display());
            let result = within(call.timeout, &sent, self.put(&call, &sent)).await;
            Exchange::since(start, shown, result)
        })
    }

    fn describe(&self) -> String {
        self.settings.path.display().to_string()
    }
}

impl std::fmt::Debug for FolderTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FolderTarget").field("path", &self.settings.path).finish_non_exhaustive()
    }
}
