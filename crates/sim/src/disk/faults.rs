//! Which faults a simulated disk shows.

use env::disk::DiskError;

/// One operation in a million and the like: how often what fails. All off by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Writes that fail, of a million; part of the bytes may have reached the cache.
    pub write_ppm: u32,
    /// Syncs of a file that fail, of a million (D3: its pages count as clean afterwards).
    pub sync_ppm: u32,
    /// Creations that fail, of a million.
    pub create_ppm: u32,
    /// Directory syncs that fail, of a million.
    pub directory_ppm: u32,
    /// Writes that complete short, of a million (D4).
    pub short_ppm: u32,
    /// Bytes that all files may have together; above it there is no room. `None`: any number.
    pub capacity: Option<u64>,
    /// Shortest and longest time from submission to completion, ns of the time that is told to
    /// [`set_now`](super::SimDisk::set_now).
    pub delay_ns: (u64, u64),
    /// While set, every operation that changes something fails so.
    pub sticky: Option<DiskError>,
    /// Fails one operation by its number.
    pub nth: Option<Nth>,
}

/// The n-th changing operation fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nth {
    /// Its number, from 1, counted since the disk was made.
    pub at: u64,
    /// Whether every one behind it fails too, until this is taken away.
    pub sticky: bool,
    /// How it fails.
    pub error: DiskError,
}
