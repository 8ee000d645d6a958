//! What can go wrong.

use std::path::PathBuf;

use forebay_core::{FsError, FsErrorKind};

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused, or a read failed for good.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Another process uses the directory.
    #[error("spool directory {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// There is no such directory.
    #[error("spool directory {} does not exist", .0.display())]
    Missing(PathBuf),
    /// It is not a spool: there is no description of the directory.
    #[error("{} is not a spool directory: it has no readable META file", .0.display())]
    NotASpool(PathBuf),
    /// There are segments and no description of the directory.
    #[error("spool directory {} has segments but no readable META file", .0.display())]
    NoMeta(PathBuf),
    /// The directory lies in memory and that was not allowed.
    #[error("spool directory {} is on a volatile file system; set spool.allow_volatile to use it", .0.display())]
    Volatile(PathBuf),
    /// A segment was written by a later version.
    #[error("segment {slot} in {} was compacted by a later version", dir.display())]
    Compacted {
        /// The directory.
        dir: PathBuf,
        /// Number of the segment.
        slot: u32,
    },
    /// The sizes do not go together.
    #[error("spool.max_bytes {max_bytes} holds fewer than 4 segments of {segment_bytes}")]
    TooSmall {
        /// The configured limit.
        max_bytes: u64,
        /// Bytes of a segment.
        segment_bytes: u64,
    },
}

impl OpenError {
    /// True when the same call may succeed later without anybody changing the directory or the configuration: a read
    /// failed, or another process is still using it. What could not be read is never taken for damaged or gone.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Fs(error) => matches!(
                error.kind,
                FsErrorKind::Io | FsErrorKind::NoSpace | FsErrorKind::Interrupted
            ),
            Self::Locked(_) => true,
            _ => false,
        }
    }
}

/// Why a group did not become durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No segment is free. The group is as it was; settling makes room.
    #[error("the spool is full")]
    Full,
    /// The group does not fit any segment. It is as it was.
    #[error("group of {bytes} bytes is larger than the {max} that fit a segment")]
    TooLarge {
        /// Bytes that it would take.
        bytes: u64,
        /// Bytes that a segment has for frames.
        max: u64,
    },
    /// No segment can be written. The group that was being written is held with its sequence numbers until
    /// [`Spool::retry`](crate::Spool::retry) succeeds; a group that comes later is as it was.
    #[error("the spool cannot be written: {0}")]
    Unwritable(String),
}
