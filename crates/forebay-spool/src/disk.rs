//! The operating system's files behind [`Fs`].

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use forebay_core::{Fs, FsError, FsErrorKind, FsFile, FsMedium, OpenMode};

/// Magic numbers of file systems that live in memory (Linux, statfs(2)).
const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58f6;
/// The layered file system under most containers.
const OVERLAYFS: u32 = 0x794c_7630;

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFs;

/// The files of this machine, to be read only: whatever would change something fails with [`FsErrorKind::ReadOnly`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOnlyDisk;

/// One open file.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    path: PathBuf,
}

/// A lock that lasts as long as its file is open.
#[derive(Debug)]
pub struct DiskLock {
    _file: File,
}

fn failed(operation: &'static str, path: &Path, error: &io::Error) -> FsError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FsErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => FsErrorKind::AlreadyExists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FsErrorKind::NoSpace,
        io::ErrorKind::Interrupted => FsErrorKind::Interrupted,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            FsErrorKind::ReadOnly
        }
        _ => FsErrorKind::Io,
    };
    FsError {
        kind,
        operation,
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

impl DiskFile {
    /// What it was opened as.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl DiskFs {
    /// Size of the disk that a directory lies on.
    ///
    /// # Errors
    /// When the directory is missing or the system does not say.
    pub fn disk_bytes(&self, dir: &Path) -> Result<u64, FsError> {
        let stat = rustix::fs::statvfs(dir)
            .map_err(|error| failed("size of the disk", dir, &io::Error::from(error)))?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}

impl Fs for DiskFs {
    type File = DiskFile;
    type Lock = DiskLock;

    fn create_dir(&self, dir: &Path) -> Result<(), FsError> {
        let missing = missing_dirs(dir);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| failed("create directory", dir, &error))?;
        // The topmost first: an entry is worth nothing while the one above it may go.
        for created in missing.into_iter().rev() {
            self.sync_dir(parent_of(created))?;
        }
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<DiskFile, FsError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        match mode {
            OpenMode::Existing => {}
            OpenMode::CreateNew => {
                options.create_new(true);
            }
            OpenMode::CreateMissing => {
                options.create(true).truncate(false);
            }
        }
        let file = options
            .open(path)
            .map_err(|error| failed("open", path, &error))?;
        Ok(DiskFile {
            file,
            path: path.to_owned(),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        std::fs::rename(from, to).map_err(|error| failed("rename", from, &error))
    }

    fn remove(&self, path: &Path) -> Result<(), FsError> {
        std::fs::remove_file(path).map_err(|error| failed("remove", path, &error))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, FsError> {
        let list = || -> io::Result<Vec<String>> {
            let names: Vec<OsString> = std::fs::read_dir(dir)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<_>>()?;
            let mut names: Vec<String> = names
                .into_iter()
                .filter_map(|name| name.into_string().ok())
                .collect();
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(|error| failed("list", dir, &error))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FsError> {
        File::open(dir)
            .and_then(|file| file.sync_all())
            .map_err(|error| failed("sync directory", dir, &error))
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, FsError> {
        let stat = rustix::fs::statvfs(dir)
            .map_err(|error| failed("free space", dir, &io::Error::from(error)))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn medium(&self, dir: &Path) -> Result<FsMedium, FsError> {
        let stat = rustix::fs::statfs(dir)
            .map_err(|error| failed("file system type", dir, &io::Error::from(error)))?;
        Ok(medium_of(stat.f_type))
    }

    fn lock(&self, path: &Path) -> Result<DiskLock, FsError> {
        lock(self.open(path, OpenMode::CreateMissing)?.file, path)
    }
}

/// The directories of a path that do not exist, the innermost first.
fn missing_dirs(dir: &Path) -> Vec<&Path> {
    dir.ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect()
}

/// The directory that has the entry of another.
fn parent_of(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn lock(file: File, path: &Path) -> Result<DiskLock, FsError> {
    match file.try_lock() {
        Ok(()) => Ok(DiskLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(FsError {
            kind: FsErrorKind::Locked,
            operation: "lock",
            path: path.to_owned(),
            detail: "another process holds it".to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed("lock", path, &error)),
    }
}

fn forbidden(operation: &'static str, path: &Path) -> FsError {
    FsError {
        kind: FsErrorKind::ReadOnly,
        operation,
        path: path.to_owned(),
        detail: "only reading is allowed".to_owned(),
    }
}

impl Fs for ReadOnlyDisk {
    type File = DiskFile;
    type Lock = DiskLock;

    fn create_dir(&self, dir: &Path) -> Result<(), FsError> {
        Err(forbidden("create directory", dir))
    }

    /// Opens a file that exists; writing to it fails.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<DiskFile, FsError> {
        if mode == OpenMode::CreateNew {
            return Err(forbidden("create", path));
        }
        let file = File::open(path).map_err(|error| failed("open", path, &error))?;
        Ok(DiskFile {
            file,
            path: path.to_owned(),
        })
    }

    fn rename(&self, from: &Path, _: &Path) -> Result<(), FsError> {
        Err(forbidden("rename", from))
    }

    fn remove(&self, path: &Path) -> Result<(), FsError> {
        Err(forbidden("remove", path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, FsError> {
        DiskFs.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FsError> {
        Err(forbidden("sync directory", dir))
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, FsError> {
        DiskFs.free_bytes(dir)
    }

    fn medium(&self, dir: &Path) -> Result<FsMedium, FsError> {
        DiskFs.medium(dir)
    }

    /// Takes the lock of a file that exists.
    fn lock(&self, path: &Path) -> Result<DiskLock, FsError> {
        lock(self.open(path, OpenMode::Existing)?.file, path)
    }
}

/// The type's width and sign differ between platforms, its low 32 bits do not.
fn medium_of(kind: impl TryInto<i128>) -> FsMedium {
    let kind: i128 = kind.try_into().unwrap_or_default();
    match u32::try_from(kind & 0xffff_ffff) {
        Ok(TMPFS | RAMFS) => FsMedium::Volatile,
        Ok(OVERLAYFS) => FsMedium::ContainerLayer,
        _ => FsMedium::Disk,
    }
}

impl FsFile for DiskFile {
    fn len(&self) -> Result<u64, FsError> {
        let meta = self.file.metadata();
        meta.map(|meta| meta.len())
            .map_err(|error| failed("length", &self.path, &error))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize, FsError> {
        FileExt::write_at(&self.file, bytes, offset)
            .map_err(|error| failed("write", &self.path, &error))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError> {
        FileExt::read_at(&self.file, buffer, offset)
            .map_err(|error| failed("read", &self.path, &error))
    }

    fn sync_data(&self) -> Result<(), FsError> {
        self.file
            .sync_data()
            .map_err(|error| failed("sync", &self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_files_keep_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let lock = DiskFs.lock(&path).unwrap();
        assert_eq!(DiskFs.lock(&path).unwrap_err().kind, FsErrorKind::Locked);
        drop(lock);
        DiskFs.lock(&path).unwrap();

        let path = dir.path().join("a");
        let file = DiskFs.open(&path, OpenMode::CreateNew).unwrap();
        assert_eq!(file.write_at(b"forebay", 3).unwrap(), 7);
        file.sync_data().unwrap();
        let mut read = [0; 7];
        assert_eq!(file.read_at(&mut read, 3).unwrap(), 7);
        assert_eq!(&read, b"forebay");
        assert_eq!(file.len().unwrap(), 10);
        let again = DiskFs.open(&path, OpenMode::CreateNew).unwrap_err();
        assert_eq!(again.kind, FsErrorKind::AlreadyExists);
        DiskFs.rename(&path, &dir.path().join("b")).unwrap();
        DiskFs.sync_dir(dir.path()).unwrap();
        assert_eq!(DiskFs.list(dir.path()).unwrap(), ["LOCK", "b"]);
        assert!(DiskFs.free_bytes(dir.path()).unwrap() > 0);
        DiskFs.medium(dir.path()).unwrap();
    }

    #[test]
    fn directories_are_created_with_those_above_them() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b/c");
        let missing = [&*inner, &*dir.path().join("a/b"), &*dir.path().join("a")];
        assert_eq!(missing_dirs(&inner), missing);
        DiskFs.create_dir(&inner).unwrap();
        assert!(missing_dirs(&inner).is_empty());
        let mode = inner.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        DiskFs.create_dir(&inner).unwrap();

        let file = dir.path().join("file");
        DiskFs.open(&file, OpenMode::CreateNew).unwrap();
        let refused = DiskFs.create_dir(&file.join("d")).unwrap_err();
        assert_eq!(refused.operation, "create directory");
        assert_eq!(parent_of(Path::new("spool")), Path::new("."));
        assert_eq!(parent_of(Path::new("/var/spool")), Path::new("/var"));
    }

    #[test]
    fn memory_and_container_layers_are_told_from_disks() {
        assert_eq!(medium_of(0x0102_1994_i64), FsMedium::Volatile);
        assert_eq!(medium_of(0x8584_58f6_u32), FsMedium::Volatile);
        assert_eq!(medium_of(0x794c_7630_i64), FsMedium::ContainerLayer);
        assert_eq!(medium_of(0xef53_i64), FsMedium::Disk);
    }
}
