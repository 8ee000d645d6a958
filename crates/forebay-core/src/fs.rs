//! The door to the disk: files and directories as a log needs them, so that a simulated disk can stand in.
//!
//! Nothing here does I/O. Every call may fail with a typed [`FsError`]; a caller decides by its [`FsErrorKind`] and
//! never by the text. A write that returns says nothing about durability: only [`FsFile::sync_data`] and
//! [`Fs::sync_dir`] do, and after one of them failed nothing that it covered may be believed to be on disk, also when
//! a later call succeeds.

use std::fmt;
use std::path::{Path, PathBuf};

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FsErrorKind {
    /// There is no such file or directory.
    NotFound,
    /// The file that was to be created exists.
    AlreadyExists,
    /// No space is left, or a quota is used up.
    NoSpace,
    /// Another process holds the lock.
    Locked,
    /// The call was interrupted before it did anything; it may be repeated.
    Interrupted,
    /// The file system is mounted read-only or the process may not write there.
    ReadOnly,
    /// Everything else: the device, the driver, the file system.
    Io,
}

impl FsErrorKind {
    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::NoSpace => "no_space",
            Self::Locked => "locked",
            Self::Interrupted => "interrupted",
            Self::ReadOnly => "read_only",
            Self::Io => "io",
        }
    }
}

/// A call on a file or directory that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {}: {detail}", path.display())]
pub struct FsError {
    /// What kind of failure it was.
    pub kind: FsErrorKind,
    /// The call, as a word: `open`, `write`, `sync`.
    pub operation: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub detail: String,
}

/// Whether what is written to a directory can outlive the process and the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FsMedium {
    /// A disk, as far as can be told.
    Disk,
    /// Memory: gone with a power cut.
    Volatile,
    /// The writable layer of a container: gone with the container.
    ContainerLayer,
}

impl FsMedium {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Volatile => "volatile",
            Self::ContainerLayer => "container layer",
        }
    }
}

/// How a file is opened. It is always readable and writable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// It must exist; nothing is created.
    Existing,
    /// It must not exist and is created empty.
    CreateNew,
    /// It is created empty where it does not exist.
    CreateMissing,
}

/// The files of one machine.
pub trait Fs: Send + Sync + 'static {
    /// An open file.
    type File: FsFile;
    /// A held lock; dropping it releases it.
    type Lock: fmt::Debug + Send + 'static;

    /// Creates a directory and those above it that are missing, readable by its owner only. Those that it created are
    /// durable when it returns; a directory that was there already is left as it is.
    ///
    /// # Errors
    /// When the system refuses, or cannot say that what was created is durable.
    fn create_dir(&self, dir: &Path) -> Result<(), FsError>;

    /// Opens a file.
    ///
    /// # Errors
    /// When the mode does not fit or the system refuses.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Self::File, FsError>;

    /// Gives a file another name, in place of the file that has it. Durable after [`Fs::sync_dir`].
    ///
    /// # Errors
    /// When the system refuses.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError>;

    /// Removes a file. Durable after [`Fs::sync_dir`].
    ///
    /// # Errors
    /// When the system refuses.
    fn remove(&self, path: &Path) -> Result<(), FsError>;

    /// The names of the files of a directory, sorted. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// When the system refuses.
    fn list(&self, dir: &Path) -> Result<Vec<String>, FsError>;

    /// Makes the entries of a directory durable: creations, renames and removals.
    ///
    /// # Errors
    /// When the system cannot say that they are.
    fn sync_dir(&self, dir: &Path) -> Result<(), FsError>;

    /// Bytes that this process may still write to the file system of a directory.
    ///
    /// # Errors
    /// When the system does not say.
    fn free_bytes(&self, dir: &Path) -> Result<u64, FsError>;

    /// What a directory lies on.
    ///
    /// # Errors
    /// When the system does not say.
    fn medium(&self, dir: &Path) -> Result<FsMedium, FsError>;

    /// Takes the exclusive lock of a file, which is created where it is missing. Never waits.
    ///
    /// # Errors
    /// [`FsErrorKind::Locked`] when someone else holds it.
    fn lock(&self, path: &Path) -> Result<Self::Lock, FsError>;
}

/// An open file. All calls name their position, so that threads can share one.
pub trait FsFile: fmt::Debug + Send + Sync + 'static {
    /// Length in bytes.
    ///
    /// # Errors
    /// When the system does not say.
    fn len(&self) -> Result<u64, FsError>;

    /// True when it has no bytes.
    ///
    /// # Errors
    /// When the system does not say.
    fn is_empty(&self) -> Result<bool, FsError> {
        Ok(self.len()? == 0)
    }

    /// Writes at `offset` and returns how many bytes were taken, which may be fewer than given.
    ///
    /// # Errors
    /// When nothing, or an unknown part, was written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize, FsError>;

    /// Reads at `offset` and returns how many bytes were read: 0 at or behind the end.
    ///
    /// # Errors
    /// When the bytes could not be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError>;

    /// Makes the bytes and the length durable.
    ///
    /// # Errors
    /// When the system cannot say that they are. The pages may count as clean afterwards without being on disk, so a
    /// second call that succeeds proves nothing.
    fn sync_data(&self) -> Result<(), FsError>;
}

impl<F: Fs> Fs for std::sync::Arc<F> {
    type File = F::File;
    type Lock = F::Lock;

    fn create_dir(&self, dir: &Path) -> Result<(), FsError> {
        F::create_dir(self, dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Self::File, FsError> {
        F::open(self, path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        F::rename(self, from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), FsError> {
        F::remove(self, path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, FsError> {
        F::list(self, dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FsError> {
        F::sync_dir(self, dir)
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, FsError> {
        F::free_bytes(self, dir)
    }

    fn medium(&self, dir: &Path) -> Result<FsMedium, FsError> {
        F::medium(self, dir)
    }

    fn lock(&self, path: &Path) -> Result<Self::Lock, FsError> {
        F::lock(self, path)
    }
}
