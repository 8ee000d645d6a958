//! What a spool is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::DiskFs;
use crate::progress::Progress;

/// Least free space that is kept by default, and the part of the disk that is when that is more.
const RESERVE_BYTES_MIN: u64 = 1 << 30;
const RESERVE_SHARE: u64 = 50;

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
    /// Free space of the disk that is never taken. `None` takes the larger of 1 GiB and 2 % of `disk_bytes`.
    pub reserve_bytes: Option<u64>,
    /// Size of the disk, where it is known: see [`Config::on_disk`].
    pub disk_bytes: Option<u64>,
    /// Frames begin at multiples of this: a power of two from 512 to 4096, at least the device's logical block.
    pub align: u32,
    /// Whether a directory in memory is good enough.
    pub allow_volatile: bool,
    /// Where to see how far opening has come and what is decoded, and what is not to be decoded.
    pub progress: Arc<Progress>,
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
            reserve_bytes: None,
            disk_bytes: None,
            align: 512,
            allow_volatile: false,
            progress: Arc::default(),
            #[cfg(test)]
            mutation: crate::mutation::Mutation::None,
        }
    }

    /// The defaults, for a directory of this machine, and with the size of the disk that it is or will be on.
    pub fn on_disk(dir: impl Into<PathBuf>) -> Self {
        let mut config = Self::new(dir);
        let mut dirs = config.dir.ancestors();
        config.disk_bytes = dirs.find_map(|dir| DiskFs.disk_bytes(dir).ok());
        config
    }

    /// Free space of the disk that is never taken.
    pub(crate) fn keep_free(&self) -> u64 {
        let share = self.disk_bytes.unwrap_or_default() / RESERVE_SHARE;
        self.reserve_bytes.unwrap_or(share.max(RESERVE_BYTES_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_share_of_large_disks() {
        let reserve = |reserve_bytes, disk_bytes| {
            let config = Config {
                reserve_bytes,
                disk_bytes,
                ..Config::new("spool")
            };
            config.keep_free()
        };
        assert_eq!(reserve(None, None), 1 << 30);
        assert_eq!(reserve(None, Some(40 << 30)), 1 << 30);
        assert_eq!(reserve(None, Some(100 << 30)), 2 << 30);
        assert_eq!(reserve(Some(0), Some(100 << 30)), 0);
        let dir = tempfile::tempdir().unwrap();
        let config = Config::on_disk(dir.path().join("not/yet/there"));
        assert_eq!(config.disk_bytes, DiskFs.disk_bytes(dir.path()).ok());
        assert!(config.disk_bytes > Some(0));
    }
}
