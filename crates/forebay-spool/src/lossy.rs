//! Files that forget what was not flushed when their process ends: killing it is then a power cut.
//!
//! For tests of the whole program. What is written waits in the memory of the process, sector by sector, until its file
//! is flushed; a file that was created, renamed or removed has its new name on the disk once its directory was flushed.
//! As a real disk may do, it also stores some of that early, in an order of its own, decided by a seed. A flush writes
//! its pages in random order, so that a kill in the middle of it leaves any part of them.
//!
//! The disk can also be told to fail, by a file that says how: see [`LossyFs::failing_while`]. A flush that fails is a
//! real one: some of what it was to store is on the disk, the rest is read back until the process ends and is never
//! stored.
//!
//! Directories and locks are the disk's own, and a flush that the system fails leaves what it was to store for the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_core::{
    Entropy as _, Fs, FsError, FsErrorKind, FsFile, FsMedium, OpenMode, SeededEntropy,
};

use crate::disk::{DiskFile, DiskFs, DiskLock};
use crate::wire::{narrow, read_full, wide, write_all};

/// What a disk stores whole or not at all.
const SECTOR: usize = 512;
/// Sectors that a flush writes in one call.
const PAGE_SECTORS: u64 = 8;
/// Names of files that have none yet begin with it.
const HIDDEN: &str = ".unflushed-";
/// Of so many writes, one makes the disk store a page by itself.
const EARLY_WRITES: u64 = 4;
/// Of so many changes of names, one makes the disk store those so far by itself.
const EARLY_CHANGES: u64 = 4;

/// The files of this machine, on a disk that loses what was not flushed when the process ends. Clones are the same disk.
///
/// Memory: what was written and not flushed, and a descriptor for each file that was opened.
#[derive(Debug, Clone)]
pub struct LossyFs {
    shared: Arc<Shared>,
}

/// An open file of a [`LossyFs`].
#[derive(Debug)]
pub struct LossyFile {
    inode: Arc<Inode>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    entropy: Mutex<SeededEntropy>,
    names: Mutex<Names>,
    /// The file that says how the disk fails.
    control: Option<PathBuf>,
}

/// What a disk that fails does not do any more. It can always be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It changes nothing.
    Broken,
    /// It gives no more room.
    Full,
}

/// What the process sees where it differs from the disk, or where it holds a file open.
#[derive(Debug, Default)]
struct Names {
    /// `None` for a file that was removed.
    seen: BTreeMap<PathBuf, Option<Arc<Inode>>>,
    /// What the disk does not know yet, in order.
    changes: Vec<Change>,
    hidden: u64,
}

#[derive(Debug)]
enum Change {
    Create { hidden: PathBuf, path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

#[derive(Debug)]
struct Inode {
    file: DiskFile,
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Cache {
    len: u64,
    /// Sectors that were written and not flushed, by number.
    dirty: BTreeMap<u64, Box<[u8; SECTOR]>>,
    /// Those that a flush failed to store: they are read, and nothing stores them any more.
    given_up: BTreeMap<u64, Box<[u8; SECTOR]>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(HIDDEN))
}

// === impl Change ===

impl Change {
    /// The directory that must be flushed for it.
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Create { path, .. } | Self::Remove { path } => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }

    fn apply(&self) -> Result<(), FsError> {
        match self {
            Self::Create { hidden, path } => DiskFs.rename(hidden, path),
            Self::Rename { from, to } => DiskFs.rename(from, to),
            Self::Remove { path } => DiskFs.remove(path),
        }
    }
}

// === impl Names ===

impl Names {
    /// Makes a file that has no name on the disk.
    fn create(&mut self, path: &Path) -> Result<Arc<Inode>, FsError> {
        let file = loop {
            self.hidden += 1;
            let hidden = path.with_file_name(format!("{HIDDEN}{}", self.hidden));
            match DiskFs.open(&hidden, OpenMode::CreateNew) {
                Err(error) if error.kind == FsErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => {
                    self.changes.push(Change::Create {
                        hidden,
                        path: path.to_owned(),
                    });
                    break file;
                }
            }
        };
        let inode = Inode::new(file)?;
        self.seen.insert(path.to_owned(), Some(Arc::clone(&inode)));
        Ok(inode)
    }

    /// The file of this name, if there is one.
    fn find(&mut self, path: &Path) -> Result<Option<Arc<Inode>>, FsError> {
        if let Some(seen) = self.seen.get(path) {
            return Ok(seen.clone());
        }
        match DiskFs.open(path, OpenMode::Existing) {
            Ok(file) => {
                let inode = Inode::new(file)?;
                self.seen.insert(path.to_owned(), Some(Arc::clone(&inode)));
                Ok(Some(inode))
            }
            Err(error) if error.kind == FsErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn get(&mut self, operation: &'static str, path: &Path) -> Result<Arc<Inode>, FsError> {
        let missing = || failure(FsErrorKind::NotFound, operation, path);
        self.find(path)?.ok_or_else(missing)
    }

    /// Takes the changes in a directory to the disk.
    fn store(&mut self, dir: &Path) -> Result<(), FsError> {
        while let Some(at) = self.changes.iter().position(|c| c.dir() == Some(dir)) {
            match self.changes[at].apply() {
                Err(error) if error.kind != FsErrorKind::NotFound => return Err(error),
                _ => drop(self.changes.remove(at)),
            }
        }
        let gone = |path: &Path| path.parent() == Some(dir);
        self.seen
            .retain(|path, inode| inode.is_some() || !gone(path));
        Ok(())
    }
}

fn failure(kind: FsErrorKind, operation: &'static str, path: &Path) -> FsError {
    FsError {
        kind,
        operation,
        path: path.to_owned(),
        detail: match kind {
            FsErrorKind::AlreadyExists => "it exists".to_owned(),
            FsErrorKind::Io => "the disk is told to fail".to_owned(),
            FsErrorKind::NoSpace => "the disk is told to be full".to_owned(),
            _ => "there is no such file".to_owned(),
        },
    }
}

// === impl LossyFs ===

impl LossyFs {
    /// The files of this machine; `seed` decides what the disk stores without being told.
    pub fn new(seed: u64) -> Self {
        Self::told(seed, None)
    }

    /// The same, on a disk that fails while the file `control` exists: one that holds `ENOSPC` makes it full, so that no
    /// file is made or grows; any other makes everything fail that would change something.
    pub fn failing_while(seed: u64, control: PathBuf) -> Self {
        Self::told(seed, Some(control))
    }

    fn told(seed: u64, control: Option<PathBuf>) -> Self {
        Self {
            shared: Arc::new(Shared {
                entropy: Mutex::new(SeededEntropy::new(seed)),
                names: Mutex::default(),
                control,
            }),
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        locked(&self.shared.names)
    }

    /// What a disk does now and then after a change.
    fn changed(&self, names: &mut Names, dir: Option<&Path>) -> Result<(), FsError> {
        match dir {
            Some(dir) if self.shared.draws(EARLY_CHANGES) => names.store(dir),
            _ => Ok(()),
        }
    }
}

impl Shared {
    /// True once in `times`.
    fn draws(&self, times: u64) -> bool {
        locked(&self.entropy).below(times) == 0
    }

    /// How the disk fails now.
    fn fault(&self) -> Option<Fault> {
        let told = std::fs::read_to_string(self.control.as_ref()?).ok()?;
        Some(match told.trim() {
            "ENOSPC" => Fault::Full,
            _ => Fault::Broken,
        })
    }

    /// Fails where the disk does not change anything, or would need room for it and has none.
    fn allows(
        &self,
        operation: &'static str,
        path: &Path,
        needs_room: impl FnOnce() -> bool,
    ) -> Result<(), FsError> {
        match self.fault() {
            Some(Fault::Broken) => Err(failure(FsErrorKind::Io, operation, path)),
            Some(Fault::Full) if needs_room() => {
                Err(failure(FsErrorKind::NoSpace, operation, path))
            }
            _ => Ok(()),
        }
    }
}

impl Fs for LossyFs {
    type File = LossyFile;
    type Lock = DiskLock;

    fn create_dir(&self, dir: &Path) -> Result<(), FsError> {
        DiskFs.create_dir(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<LossyFile, FsError> {
        let mut names = self.names();
        let inode = match (names.find(path)?, mode) {
            (Some(_), OpenMode::CreateNew) => {
                return Err(failure(FsErrorKind::AlreadyExists, "open", path));
            }
            (Some(inode), _) => inode,
            (None, OpenMode::Existing) => {
                return Err(failure(FsErrorKind::NotFound, "open", path));
            }
            (None, _) => {
                self.shared.allows("create", path, || true)?;
                let inode = names.create(path)?;
                self.changed(&mut names, path.parent())?;
                inode
            }
        };
        Ok(LossyFile {
            inode,
            shared: Arc::clone(&self.shared),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        self.shared.allows("rename", from, || false)?;
        let mut names = self.names();
        let inode = names.get("rename", from)?;
        names.seen.insert(to.to_owned(), Some(inode));
        names.seen.insert(from.to_owned(), None);
        names.changes.push(Change::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        self.changed(&mut names, to.parent())
    }

    fn remove(&self, path: &Path) -> Result<(), FsError> {
        self.shared.allows("remove", path, || false)?;
        let mut names = self.names();
        names.get("remove", path)?;
        names.seen.insert(path.to_owned(), None);
        names.changes.push(Change::Remove {
            path: path.to_owned(),
        });
        self.changed(&mut names, path.parent())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, FsError> {
        let names = self.names();
        let mut list = DiskFs.list(dir)?;
        list.retain(|name| {
            let path = dir.join(name);
            !is_hidden(&path) && !matches!(names.seen.get(&path), Some(None))
        });
        let seen = names.seen.iter().filter(|(_, inode)| inode.is_some());
        let seen = seen.filter(|(path, _)| path.parent() == Some(dir));
        list.extend(seen.filter_map(|(path, _)| Some(path.file_name()?.to_str()?.to_owned())));
        list.sort_unstable();
        list.dedup();
        Ok(list)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FsError> {
        self.shared.allows("sync directory", dir, || false)?;
        self.names().store(dir)?;
        DiskFs.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, FsError> {
        match self.shared.fault() {
            Some(Fault::Full) => Ok(0),
            _ => DiskFs.free_bytes(dir),
        }
    }

    fn medium(&self, dir: &Path) -> Result<FsMedium, FsError> {
        DiskFs.medium(dir)
    }

    /// Whoever holds the lock is alone in its directory, so the files that a killed process left without a name go.
    fn lock(&self, path: &Path) -> Result<DiskLock, FsError> {
        let lock = DiskFs.lock(path)?;
        let names = self.names();
        let dir = path.parent().unwrap_or(path);
        for name in DiskFs.list(dir)? {
            let file = dir.join(name);
            let own = |change: &Change| matches!(change, Change::Create { hidden, .. } if *hidden == file);
            if is_hidden(&file) && !names.changes.iter().any(own) {
                DiskFs.remove(&file)?;
            }
        }
        Ok(lock)
    }
}

// === impl Inode ===

impl Inode {
    fn new(file: DiskFile) -> Result<Arc<Self>, FsError> {
        let cache = Cache {
            len: file.len()?,
            dirty: BTreeMap::new(),
            given_up: BTreeMap::new(),
        };
        Ok(Arc::new(Self {
            file,
            cache: Mutex::new(cache),
        }))
    }

    /// A sector as the process sees it.
    fn sector(&self, cache: &Cache, number: u64) -> Result<Box<[u8; SECTOR]>, FsError> {
        let kept = cache.dirty.get(&number);
        if let Some(sector) = kept.or_else(|| cache.given_up.get(&number)) {
            return Ok(sector.clone());
        }
        let mut sector = Box::new([0; SECTOR]);
        read_full(&self.file, &mut *sector, number * wide(SECTOR))?;
        Ok(sector)
    }

    /// Takes the dirty sectors of one page to the disk.
    fn store(&self, cache: &Cache, page: u64) -> Result<(), FsError> {
        let sectors = cache
            .dirty
            .range(page * PAGE_SECTORS..(page + 1) * PAGE_SECTORS);
        for (number, sector) in sectors {
            let offset = number * wide(SECTOR);
            let len = narrow(cache.len.saturating_sub(offset)).min(SECTOR);
            write_all(&self.file, &sector[..len], offset)?;
        }
        Ok(())
    }
}

impl Cache {
    /// The pages that have dirty sectors.
    fn pages(&self) -> Vec<u64> {
        let mut pages: Vec<u64> = self.dirty.keys().map(|n| n / PAGE_SECTORS).collect();
        pages.dedup();
        pages
    }

    /// Nothing that was written so far is stored any more, though it is read.
    fn give_up(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.given_up.extend(dirty);
    }
}

// === impl LossyFile ===

impl FsFile for LossyFile {
    fn len(&self) -> Result<u64, FsError> {
        Ok(locked(&self.inode.cache).len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize, FsError> {
        let mut cache = locked(&self.inode.cache);
        let grows = || offset + wide(bytes.len()) > cache.len;
        self.shared.allows("write", self.inode.file.path(), grows)?;
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let (number, within) = (at / wide(SECTOR), narrow(at % wide(SECTOR)));
            let (part, behind) = rest.split_at(rest.len().min(SECTOR - within));
            let mut sector = match part.len() {
                SECTOR => Box::new([0; SECTOR]),
                _ => self.inode.sector(&cache, number)?,
            };
            sector[within..within + part.len()].copy_from_slice(part);
            cache.given_up.remove(&number);
            cache.dirty.insert(number, sector);
            at += wide(part.len());
            rest = behind;
        }
        cache.len = cache.len.max(at);
        if self.shared.draws(EARLY_WRITES) {
            let pages = cache.pages();
            let chosen = locked(&self.shared.entropy).below(wide(pages.len()));
            if let Some(page) = pages.get(narrow(chosen)) {
                self.inode.store(&cache, *page)?;
            }
        }
        Ok(bytes.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError> {
        let cache = locked(&self.inode.cache);
        let len = narrow(cache.len.saturating_sub(offset)).min(buffer.len());
        let buffer = &mut buffer[..len];
        // Behind the end on the disk are zeroes, as in every hole.
        let read = read_full(&self.inode.file, buffer, offset)?;
        buffer[read..].fill(0);
        let end = offset + wide(len);
        let sectors = offset / wide(SECTOR)..end.div_ceil(wide(SECTOR));
        let given_up = cache.given_up.range(sectors.clone());
        for (number, sector) in given_up.chain(cache.dirty.range(sectors)) {
            let start = number * wide(SECTOR);
            let from = start.max(offset);
            let to = (start + wide(SECTOR)).min(end);
            let source = &sector[narrow(from - start)..narrow(to - start)];
            buffer[narrow(from - offset)..narrow(to - offset)].copy_from_slice(source);
        }
        Ok(len)
    }

    fn sync_data(&self) -> Result<(), FsError> {
        let mut cache = locked(&self.inode.cache);
        let mut pages = cache.pages();
        let path = self.inode.file.path();
        let failed = self.shared.allows("sync", path, || false);
        // A flush that fails has come as far as it came.
        let most = match failed {
            Ok(()) => pages.len(),
            Err(_) => narrow(locked(&self.shared.entropy).below(wide(pages.len()) + 1)),
        };
        for _ in 0..most {
            let chosen = locked(&self.shared.entropy).below(wide(pages.len()));
            let page = pages.swap_remove(narrow(chosen));
            self.inode.store(&cache, page)?;
        }
        if failed.is_err() {
            cache.give_up();
            return failed;
        }
        cache.dirty.clear();
        drop(cache);
        self.inode.file.sync_data()
    }
}

#[cfg(test)]
mod tests;
