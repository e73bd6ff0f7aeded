//! One process a data directory.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::FILE_MODE;

/// The right to use a data directory, held until it is dropped or the process ends, however it ends
/// (the lock is the kernel's; the file `LOCK` stays and says nothing by being there).
#[derive(Debug)]
pub struct DirectoryLock {
    /// Closed when dropped, and with it the lock.
    _file: File,
}

/// Why a data directory could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held {
        /// The lock's file.
        path: PathBuf,
        /// Who, as far as the file says.
        pid: Option<u32>,
    },
    /// The lock's file cannot be used.
    Io {
        /// The lock's file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { path, pid } => {
                write!(f, "the data directory is in use: ")?;
                match pid {
                    Some(pid) => write!(f, "process {pid} holds")?,
                    None => write!(f, "another process holds")?,
                }
                write!(f, " {}; stop that process, or name another data directory", path.display())
            }
            LockError::Io { path, error } => write!(
                f,
                "the data directory cannot be locked: {}: {error}; check that it exists and may be written",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LockError {}

impl DirectoryLock {
    /// Locks a directory through its file `LOCK`, without waiting.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn acquire(directory: &Path) -> Result<DirectoryLock, LockError> {
        let path = directory.join("LOCK");
        let failed = |error| LockError::Io { path: path.clone(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held { path, pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(DirectoryLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it_and_gets_it_afterwards() {
        let directory = tempfile::tempdir().expect("a directory");
        let held = DirectoryLock::acquire(directory.path()).expect("free");
        let error = DirectoryLock::acquire(directory.path()).expect_err("held");
        assert!(error.to_string().contains(&format!("process {} holds", std::process::id())), "{error}");
        drop(held);
        DirectoryLock::acquire(directory.path()).expect("free again");
        let error = DirectoryLock::acquire(&directory.path().join("missing")).expect_err("no such directory");
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
