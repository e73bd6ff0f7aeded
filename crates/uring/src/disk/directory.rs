//! A log's directory with blocking calls, and directories that outlive a power cut.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use env::disk::{Block, FileNumber, Storage};

use super::{FILE_MODE, direct};

/// Permissions of directories made here: the owner writes, the group reads.
const DIRECTORY_MODE: u32 = 0o750;

/// A file that is made ahead takes at most this part of the room that is left.
const ROOM_SHARE: u64 = 16;
/// Zeros that are written at a time: a kernel without preemption leaves the core to nobody until it has taken
/// them, and the helper's core is telemetry's.
const ZEROS: usize = 128 << 10;

/// [`Storage`] over a directory of the file system.
#[derive(Clone, Debug)]
pub struct DirectoryStorage {
    directory: PathBuf,
}

impl DirectoryStorage {
    /// The storage of a directory, which must exist when it is used.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> DirectoryStorage {
        DirectoryStorage { directory: directory.into() }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a retired file of zeros ahead, every byte written, and durable with its name; answers `false`
    /// where that would take more than a sixteenth of the room that the disk has left.
    ///
    /// # Errors
    /// The room cannot be asked for, or the file not be made; it is removed then.
    pub fn prepare(&self, file: FileNumber, bytes: u64) -> io::Result<bool> {
        let room = room::free_bytes(&self.directory).map_err(|error| at(&self.directory, "ask the room of", error))?;
        if room / ROOM_SHARE < bytes {
            return Ok(false);
        }
        let path = self.directory.join(file.retired_name());
        let made = write_zeros(&path, bytes).and_then(|()| sync_directory(&self.directory));
        made.map(|()| true).map_err(|error| {
            let _ = fs::remove_file(&path); // what is left of it is removed at the next start
            at(&path, "make ahead", error)
        })
    }

    fn path(&self, file: FileNumber) -> PathBuf {
        self.directory.join(file.to_string())
    }

    fn open(&self, file: FileNumber) -> io::Result<File> {
        let path = self.path(file);
        File::open(&path).map_err(|error| at(&path, "open", error))
    }
}

impl Storage for DirectoryStorage {
    fn list(&self) -> io::Result<Vec<FileNumber>> {
        let entries = fs::read_dir(&self.directory).map_err(|error| at(&self.directory, "list", error))?;
        let mut numbers = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| at(&self.directory, "list", error))?;
            numbers.extend(entry.file_name().to_str().and_then(number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn length(&self, file: FileNumber) -> io::Result<u64> {
        let path = self.path(file);
        Ok(fs::metadata(&path).map_err(|error| at(&path, "ask the length of", error))?.len())
    }

    fn read_at(&self, file: FileNumber, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        let open = self.open(file)?;
        let mut read = 0;
        while read < to.len() {
            match open.read_at(&mut to[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(at(&self.path(file), "read", error)),
            }
        }
        Ok(read)
    }

    fn truncate(&mut self, file: FileNumber, length: u64) -> io::Result<()> {
        let path = self.path(file);
        let cut = || {
            let open = OpenOptions::new().write(true).open(&path)?;
            open.set_len(length)?;
            open.sync_all()
        };
        cut().map_err(|error| at(&path, "cut", error))
    }

    fn remove(&mut self, file: FileNumber) -> io::Result<()> {
        let path = self.path(file);
        fs::remove_file(&path).map_err(|error| at(&path, "remove", error))?;
        sync_directory(&self.directory)
    }

    fn remove_retired(&mut self) -> io::Result<()> {
        let mut removed = false;
        for entry in fs::read_dir(&self.directory).map_err(|error| at(&self.directory, "list", error))? {
            let entry = entry.map_err(|error| at(&self.directory, "list", error))?;
            if entry.file_name().to_str().is_some_and(is_retired) {
                fs::remove_file(entry.path()).map_err(|error| at(&entry.path(), "remove", error))?;
                removed = true;
            }
        }
        if removed { sync_directory(&self.directory) } else { Ok(()) }
    }

    fn sync(&mut self, file: FileNumber) -> io::Result<()> {
        self.open(file)?.sync_all().map_err(|error| at(&self.path(file), "sync", error))?;
        sync_directory(&self.directory)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        sync_directory(&self.directory)
    }
}

/// Past the page cache where that is possible: nobody reads them.
fn write_zeros(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    let past = direct::open(path);
    let mut zeros = Block::new();
    zeros.resize(ZEROS, 0);
    let mut offset = 0;
    while offset < bytes {
        let piece = &zeros[..usize::try_from(bytes - offset).unwrap_or(ZEROS).min(ZEROS)];
        match past.as_ref().filter(|_| direct::fits(piece, offset)).map(|past| past.write_all_at(piece, offset)) {
            Some(Ok(())) => {}
            Some(Err(error)) if !direct::is_refusal(&error) => return Err(error),
            _ => file.write_all_at(piece, offset)?,
        }
        offset += piece.len() as u64;
    }
    file.sync_all()
}

mod room {
    #![expect(unsafe_code, reason = "the standard library does not tell how much room a disk has")]

    use std::{ffi::CString, io, mem::MaybeUninit, os::unix::ffi::OsStrExt, path::Path};

    /// Bytes that a user who is not root may still write where a path lies (statvfs(3)).
    pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut told = MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: the path ends with a zero, and the kernel's answer fits what it is written to.
        if unsafe { libc::statvfs(path.as_ptr(), told.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so all of it is written.
        let told = unsafe { told.assume_init() };
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }
}

/// The number of a segment file's name; `None` for any other file.
fn number(name: &str) -> Option<FileNumber> {
    let number = FileNumber(name.strip_suffix(".seg")?.parse().ok()?);
    (number.to_string() == name).then_some(number)
}

/// Whether a name is that of a retired file.
fn is_retired(name: &str) -> bool {
    let number = name.strip_suffix(".free").and_then(|number| number.parse().ok());
    number.is_some_and(|number| FileNumber(number).retired_name() == name)
}

/// Creates a directory with all that is missing above it, and makes every new entry durable: a
/// directory whose entry was not synced is gone after a power cut, with everything in it.
///
/// # Errors
/// A directory cannot be made or synced; the text names it.
pub fn create_directory_durable(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let mut missing: Vec<&Path> = path.ancestors().take_while(|above| !above.is_dir()).collect();
    while let Some(next) = missing.pop() {
        match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(next) {
            // Another process made it at the same time: as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && next.is_dir() => {}
            made => made.map_err(|error| at(next, "create the directory", error))?,
        }
        if let Some(parent) = next.parent() {
            sync_directory(parent)?;
        }
    }
    Ok(())
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory).and_then(|open| open.sync_all()).map_err(|error| at(directory, "sync", error))
}

/// An error that says where it happened; its kind stays what it was.
fn at(path: &Path, what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_segments() {
        assert_eq!(number("00000000000000000042.seg"), Some(FileNumber(42)));
        for other in ["42.seg", "LOCK", "00000000000000000042.seg.tmp", "+0000000000000000042.seg", ".seg"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_made_ahead_is_retired_as_long_as_asked_for_and_never_takes_the_last_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut storage = DirectoryStorage::new(directory.path());
        let bytes = (ZEROS + 4096 + 10) as u64;
        assert!(storage.prepare(FileNumber(3), bytes).expect("made"), "there is room");
        let path = directory.path().join(FileNumber(3).retired_name());
        let made = fs::read(&path).expect("readable");
        assert!(made.len() as u64 == bytes && made.iter().all(|byte| *byte == 0));
        assert!(storage.list().expect("listed").is_empty(), "it is no segment");
        assert!(storage.prepare(FileNumber(3), bytes).is_err(), "the number is taken");
        let room = room::free_bytes(directory.path()).expect("told");
        assert!(!storage.prepare(FileNumber(4), room / 8).expect("asked"), "an eighth of the room is too much");
        storage.remove_retired().expect("removed");
        assert!(!path.exists());
    }

    #[test]
    fn only_retired_files_are_removed_as_such() {
        let root = tempfile::tempdir().expect("a directory");
        let others = ["00000000000000000042.seg", "42.free", "LOCK", "00000000000000000042.free.tmp"];
        for name in others.into_iter().chain(["00000000000000000042.free"]) {
            fs::write(root.path().join(name), "x").expect("a file");
        }
        let mut storage = DirectoryStorage::new(root.path());
        storage.remove_retired().expect("removed");
        storage.remove_retired().expect("none is left");
        let left = fs::read_dir(root.path()).expect("listed").count();
        assert_eq!(left, others.len());
        assert!(others.iter().all(|name| root.path().join(name).exists()));
    }

    #[test]
    fn directories_are_made_with_their_ancestors_and_twice_is_fine() {
        let root = tempfile::tempdir().expect("a directory");
        let deep = root.path().join("a/b/c");
        create_directory_durable(&deep).expect("made");
        create_directory_durable(&deep).expect("there already");
        assert!(deep.is_dir());
        fs::write(root.path().join("file"), "").expect("a file");
        let error = create_directory_durable(&root.path().join("file/below")).expect_err("below a file");
        assert!(error.to_string().contains("file"), "{error}");
    }
}
