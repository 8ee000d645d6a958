//! What a spool is opened with.

use std::path::PathBuf;

/// Where the spool is and how large it may become.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory; created where it is missing.
    pub dir: PathBuf,
    /// Bytes of a segment, a multiple of 4 KiB. Default 64 MiB.
    pub segment_bytes: u64,
    /// Bytes of the first segment of a new directory, so that it can serve at once. Default 1 MiB.
    pub first_bytes: u64,
    /// Greatest size of all segments. `None` takes what the directory was created with, and at creation the smaller
    /// of 16 GiB and half of the free space.
    pub max_bytes: Option<u64>,
    /// Free space of the disk that is never taken. Default 1 GiB.
    pub reserve_bytes: u64,
    /// Frames begin at multiples of this: a power of two from 512 to 4096, at least the device's logical block.
    pub align: u32,
    /// Whether a directory in memory is good enough.
    pub allow_volatile: bool,
    #[cfg(test)]
    pub(crate) mutation: crate::mutation::Mutation,
}

impl Config {
    /// The defaults, for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            first_bytes: 1 << 20,
            max_bytes: None,
            reserve_bytes: 1 << 30,
            align: 512,
            allow_volatile: false,
            #[cfg(test)]
            mutation: crate::mutation::Mutation::None,
        }
    }
}
