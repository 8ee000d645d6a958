//! A simulated disk: everything that a real one may do to what was not flushed, decided by a seed.
//!
//! What is written goes to a cache. A flush takes it to the disk; a power cut keeps, drops or tears each sector that was
//! not flushed and loses directory operations that were not. A failed flush leaves pages that read well, count as
//! clean and are not on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_core::{
    Entropy as _, Fs, FsError, FsErrorKind, FsFile, FsMedium, OpenMode, SeededEntropy,
};

use crate::wire::{narrow, wide};

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// What goes wrong by itself, each in parts of 10 000 calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Writes that fail.
    pub write: u64,
    /// Writes that take only a part.
    pub short: u64,
    /// Calls that are interrupted.
    pub interrupted: u64,
    /// Reads that fail.
    pub read: u64,
    /// Flushes that fail, of files and of directories.
    pub sync: u64,
    /// Of these, flushes that spoil the page that they failed in, with what earlier flushes had put into it. No log
    /// survives that without another segment to write to, so it is off by default.
    pub spoil: u64,
}

#[derive(Debug, Default)]
struct Content {
    cache: Vec<u8>,
    disk: Vec<u8>,
    /// Sectors of the cache that are not on the disk and may still get there.
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum Change {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Debug)]
struct State {
    entropy: SeededEntropy,
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    changes: Vec<Change>,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    capacity: usize,
    calls: u64,
    crash_at: Option<u64>,
    fail_at: Option<(u64, FsErrorKind)>,
    crashed: bool,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    id: usize,
}

/// A lock of a [`SimDisk`].
#[derive(Debug)]
pub struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

fn error(kind: FsErrorKind, operation: &'static str, path: &Path) -> FsError {
    FsError {
        kind,
        operation,
        path: path.to_owned(),
        detail: "simulated".to_owned(),
    }
}

impl SimDisk {
    /// An empty disk of `capacity` bytes.
    pub fn new(seed: u64, capacity: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                entropy: SeededEntropy::new(seed),
                contents: Vec::new(),
                names: BTreeMap::new(),
                durable: BTreeMap::new(),
                changes: Vec::new(),
                locks: BTreeSet::new(),
                faults: Faults::default(),
                capacity,
                calls: 0,
                crash_at: None,
                fail_at: None,
                crashed: false,
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Sets how many bytes fit.
    pub fn set_capacity(&self, capacity: usize) {
        self.state().capacity = capacity;
    }

    /// Calls so far that could change the disk or fail.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The process dies in the call with this number; a write may be done in part.
    pub fn crash_at(&self, call: u64) {
        self.state().crash_at = Some(call);
    }

    /// The call with this number fails.
    pub fn fail_at(&self, call: u64, kind: FsErrorKind) {
        self.state().fail_at = Some((call, kind));
    }

    /// True when the process died.
    pub fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// The process is gone and another may start. Everything that was written is still there.
    pub fn kill(&self) {
        let mut state = self.state();
        state.crashed = false;
        state.crash_at = None;
        state.fail_at = None;
        state.locks.clear();
    }

    /// The power fails: what was not flushed is kept, dropped or torn.
    pub fn power_cut(&self) {
        self.kill();
        self.state().cut();
    }

    /// Flips bits of one byte of a file, on the disk and in the cache. Returns false when there is no such byte.
    pub fn flip(&self, path: &Path, offset: usize, bits: u8) -> bool {
        let mut state = self.state();
        let Some(id) = state.names.get(path).copied() else {
            return false;
        };
        let content = &mut state.contents[id];
        if let Some(byte) = content.disk.get_mut(offset) {
            *byte ^= bits;
        }
        content
            .cache
            .get_mut(offset)
            .map(|byte| *byte ^= bits)
            .is_some()
    }

    /// All files with what a process reads in them.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let names = state.names.iter();
        names
            .map(|(path, id)| (path.clone(), state.contents[*id].cache.clone()))
            .collect()
    }

    /// Cuts a file off.
    pub fn truncate(&self, path: &Path, len: usize) {
        let mut state = self.state();
        if let Some(id) = state.names.get(path).copied() {
            state.contents[id].cache.truncate(len);
            state.contents[id].disk.truncate(len);
        }
    }

    /// A copy that changes independently.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let state = self.state();
        let copy = Self::new(seed, state.capacity);
        {
            let mut own = copy.state();
            own.names.clone_from(&state.names);
            own.durable.clone_from(&state.durable);
            own.changes.clone_from(&state.changes);
            own.contents = state
                .contents
                .iter()
                .map(|content| Content {
                    cache: content.cache.clone(),
                    disk: content.disk.clone(),
                    dirty: content.dirty.clone(),
                })
                .collect();
        }
        copy
    }
}

impl State {
    fn chance(&mut self, parts: u64) -> bool {
        parts > 0 && self.entropy.below(10_000) < parts
    }

    /// Counts a call; fails it when its time has come.
    fn call(&mut self, operation: &'static str, path: &Path, parts: u64) -> Result<(), FsError> {
        if self.crashed {
            return Err(error(FsErrorKind::Io, operation, path));
        }
        self.calls += 1;
        if self.crash_at == Some(self.calls) {
            self.crashed = true;
            return Err(error(FsErrorKind::Io, operation, path));
        }
        if let Some((at, kind)) = self.fail_at
            && at == self.calls
        {
            return Err(error(kind, operation, path));
        }
        if self.chance(parts) {
            return Err(error(FsErrorKind::Io, operation, path));
        }
        let interrupted = self.faults.interrupted;
        if matches!(operation, "read" | "write") && self.chance(interrupted) {
            return Err(error(FsErrorKind::Interrupted, operation, path));
        }
        Ok(())
    }

    fn used(&self) -> usize {
        self.names
            .values()
            .map(|id| self.contents[*id].cache.len())
            .sum()
    }

    fn write(&mut self, id: usize, bytes: &[u8], offset: usize) {
        let content = &mut self.contents[id];
        let end = offset + bytes.len();
        if content.cache.len() < end {
            content.cache.resize(end, 0);
        }
        content.cache[offset..end].copy_from_slice(bytes);
        content.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    /// Takes one sector of the cache to the disk, `len` bytes of it.
    fn store(&mut self, id: usize, sector: usize, len: usize) {
        let content = &mut self.contents[id];
        let from = sector * SECTOR;
        let to = content.cache.len().min(from + len);
        if from < to {
            if content.disk.len() < to {
                content.disk.resize(to, 0);
            }
            content.disk[from..to].copy_from_slice(&content.cache[from..to]);
        }
    }

    fn store_at_random(&mut self, id: usize, sector: usize) {
        match self.entropy.below(3) {
            0 => {}
            1 => self.store(id, sector, SECTOR),
            _ => {
                let len = narrow(self.entropy.below(wide(SECTOR)));
                self.store(id, sector, len);
            }
        }
    }

    fn fail_flush(&mut self, id: usize) {
        let dirty = std::mem::take(&mut self.contents[id].dirty);
        for sector in &dirty {
            self.store_at_random(id, *sector);
        }
        let spoil = self.faults.spoil;
        if let Some(sector) = dirty.first()
            && self.chance(spoil)
        {
            let page = sector * SECTOR / PAGE * PAGE;
            let disk = &mut self.contents[id].disk;
            let end = disk.len().min(page + PAGE);
            disk.get_mut(page..end).unwrap_or_default().fill(0xee);
        }
    }

    fn cut(&mut self) {
        for id in 0..self.contents.len() {
            for sector in std::mem::take(&mut self.contents[id].dirty) {
                self.store_at_random(id, sector);
            }
        }
        let mut names = std::mem::take(&mut self.durable);
        for change in std::mem::take(&mut self.changes) {
            if self.entropy.below(2) == 0 {
                apply(&mut names, &change);
            }
        }
        self.durable.clone_from(&names);
        self.names = names;
        for content in &mut self.contents {
            content.cache.clone_from(&content.disk);
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &Change) {
    match change {
        Change::Create(path, id) => {
            names.insert(path.clone(), *id);
        }
        Change::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
        Change::Remove(path) => {
            names.remove(path);
        }
    }
}

impl Fs for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create_dir(&self, dir: &Path) -> Result<(), FsError> {
        self.state().call("create directory", dir, 0)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<SimFile, FsError> {
        let mut state = self.state();
        state.call("open", path, 0)?;
        let id = match (state.names.get(path).copied(), mode) {
            (Some(_), OpenMode::CreateNew) => {
                return Err(error(FsErrorKind::AlreadyExists, "open", path));
            }
            (Some(id), _) => id,
            (None, OpenMode::Existing) => {
                return Err(error(FsErrorKind::NotFound, "open", path));
            }
            (None, _) => {
                let id = state.contents.len();
                state.contents.push(Content::default());
                state.change(Change::Create(path.to_owned(), id));
                id
            }
        };
        Ok(SimFile {
            disk: self.clone(),
            path: path.to_owned(),
            id,
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        let mut state = self.state();
        state.call("rename", from, 0)?;
        state.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), FsError> {
        let mut state = self.state();
        state.call("remove", path, 0)?;
        if !state.names.contains_key(path) {
            return Err(error(FsErrorKind::NotFound, "remove", path));
        }
        state.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, FsError> {
        let mut state = self.state();
        state.call("list", dir, 0)?;
        let own = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(own
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FsError> {
        let mut state = self.state();
        let parts = state.faults.sync;
        state.call("sync directory", dir, parts)?;
        state.durable = state.names.clone();
        state.changes.clear();
        Ok(())
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, FsError> {
        let mut state = self.state();
        state.call("free space", dir, 0)?;
        Ok(wide(state.capacity.saturating_sub(state.used())))
    }

    fn medium(&self, dir: &Path) -> Result<FsMedium, FsError> {
        self.state().call("file system type", dir, 0)?;
        Ok(FsMedium::Disk)
    }

    fn lock(&self, path: &Path) -> Result<SimLock, FsError> {
        let mut state = self.state();
        state.call("lock", path, 0)?;
        if !state.locks.insert(path.to_owned()) {
            return Err(error(FsErrorKind::Locked, "lock", path));
        }
        Ok(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
        })
    }
}

impl FsFile for SimFile {
    fn len(&self) -> Result<u64, FsError> {
        let mut state = self.disk.state();
        state.call("length", &self.path, 0)?;
        Ok(wide(state.contents[self.id].cache.len()))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize, FsError> {
        let mut state = self.disk.state();
        let parts = state.faults.write;
        let offset = narrow(offset);
        let result = state.call("write", &self.path, parts);
        let short = state.faults.short;
        let short = state.chance(short);
        let interrupted = matches!(&result, Err(error) if error.kind == FsErrorKind::Interrupted);
        let mut len = bytes.len();
        if (result.is_err() && !interrupted) || short {
            len = narrow(state.entropy.below(wide(len) + 1));
        }
        if interrupted {
            return Err(error(FsErrorKind::Interrupted, "write", &self.path));
        }
        let grown = (offset + len).saturating_sub(state.contents[self.id].cache.len());
        if grown > 0 && state.used() + grown > state.capacity {
            return Err(error(FsErrorKind::NoSpace, "write", &self.path));
        }
        state.write(self.id, &bytes[..len], offset);
        result.map(|()| len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError> {
        let mut state = self.disk.state();
        let parts = state.faults.read;
        state.call("read", &self.path, parts)?;
        let cache = &state.contents[self.id].cache;
        let rest = cache.get(narrow(offset)..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn sync_data(&self) -> Result<(), FsError> {
        let mut state = self.disk.state();
        let parts = state.faults.sync;
        let was = state.crashed;
        if let Err(error) = state.call("sync", &self.path, parts) {
            if !was && !state.crashed {
                state.fail_flush(self.id);
            }
            return Err(error);
        }
        for sector in std::mem::take(&mut state.contents[self.id].dirty) {
            state.store(self.id, sector, SECTOR);
        }
        Ok(())
    }
}
