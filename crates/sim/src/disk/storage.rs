//! The blocking half: what recovery and queries use.

use super::SimDisk;
use env::disk::{DiskError, FileNumber, Storage};
use std::io;

fn absent(file: FileNumber) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{file} is not there"))
}

fn io_error(error: DiskError) -> io::Error {
    match error {
        DiskError::Full => io::Error::from(io::ErrorKind::StorageFull),
        DiskError::Failed(why) => io::Error::other(why),
    }
}

impl Storage for SimDisk {
    fn list(&self) -> io::Result<Vec<FileNumber>> {
        Ok(self.files.keys().copied().collect())
    }

    fn length(&self, file: FileNumber) -> io::Result<u64> {
        self.files.get(&file).map(|file| file.cache.len() as u64).ok_or_else(|| absent(file))
    }

    fn read_at(&self, file: FileNumber, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        let found = self.files.get(&file).ok_or_else(|| absent(file))?;
        let from = (offset as usize).min(found.cache.len());
        let end = (from + to.len()).min(found.cache.len());
        if found.unreadable.iter().any(|(a, b)| (*a as usize) < end && (*b as usize) > from) {
            return Err(io::Error::other("simulated unreadable sector"));
        }
        to[..end - from].copy_from_slice(&found.cache[from..end]);
        Ok(end - from)
    }

    fn truncate(&mut self, file: FileNumber, length: u64) -> io::Result<()> {
        if let Some(error) = self.fault(0) {
            return Err(io_error(error));
        }
        self.files.get_mut(&file).ok_or_else(|| absent(file))?.truncate(length as usize);
        Ok(())
    }

    fn remove(&mut self, file: FileNumber) -> io::Result<()> {
        if let Some(error) = self.fault(0) {
            return Err(io_error(error));
        }
        self.files.remove(&file).ok_or_else(|| absent(file))?;
        self.entries_durable();
        Ok(())
    }

    fn remove_retired(&mut self) -> io::Result<()> {
        if self.retired.is_empty() {
            return Ok(());
        }
        if let Some(error) = self.fault(0) {
            return Err(io_error(error));
        }
        self.retired.clear();
        self.entries_durable();
        Ok(())
    }

    fn sync(&mut self, file: FileNumber) -> io::Result<()> {
        if let Some(error) = self.fault(0) {
            if let Some(file) = self.files.get_mut(&file) {
                file.sync_failed(u64::MAX, &mut self.random);
            }
            return Err(io_error(error));
        }
        self.files.get_mut(&file).ok_or_else(|| absent(file))?.sync(u64::MAX);
        self.entries_durable();
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        if let Some(error) = self.fault(0) {
            return Err(io_error(error));
        }
        self.entries_durable();
        Ok(())
    }
}

impl SimDisk {
    fn entries_durable(&mut self) {
        self.names_durable(u64::MAX);
        self.removed.clear();
    }
}
