//! The streams of the server, their directories, and retention over all of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::error::ServerError;
use crate::log::SegmentLimits;
use crate::stream::{Stream, StreamMeta};

/// Ends of the names of directories: names of streams may begin with dots.
const STREAM_SUFFIX: &str = ".stream";
const DELETED_SUFFIX: &str = ".deleted";

/// The streams by name.
#[derive(Debug)]
pub(crate) struct Registry {
    data_dir: Option<PathBuf>,
    /// Held for as long as the registry lives, so that no second process writes here.
    _lock: Option<File>,
    segments: SegmentLimits,
    retention_ms: u64,
    retention_bytes: u64,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    /// Bytes of all logs.
    retained: AtomicU64,
    /// Held by the one that makes room.
    making_room: Mutex<()>,
}

/// What the registry keeps and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Retention {
    pub(crate) age: Duration,
    pub(crate) bytes: u64,
}

impl Registry {
    /// Opens the streams in `data_dir`, which is created if it is missing, or starts with none in memory.
    pub(crate) fn open(
        data_dir: Option<PathBuf>,
        retention: &Retention,
    ) -> Result<Self, ServerError> {
        let age_ms = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX);
        // Memory segments are reserved whole, so they are smaller.
        let largest = if data_dir.is_some() {
            64 << 20
        } else {
            4 << 20
        };
        let registry = Self {
            _lock: data_dir.as_deref().map(lock).transpose()?,
            segments: SegmentLimits {
                bytes: (retention.bytes / 16).clamp(64 << 10, largest),
                age_ms: (age_ms / 8).max(1),
            },
            data_dir,
            retention_ms: age_ms,
            retention_bytes: retention.bytes,
            streams: RwLock::default(),
            retained: AtomicU64::new(0),
            making_room: Mutex::new(()),
        };
        registry.load()?;
        Ok(registry)
    }

    fn load(&self) -> Result<(), ServerError> {
        let Some(data_dir) = &self.data_dir else {
            return Ok(());
        };
        for dir in directories(data_dir).map_err(|e| ServerError::storage(data_dir, e))? {
            let name = dir.to_string_lossy();
            if name.ends_with(DELETED_SUFFIX) {
                remove_directory(&dir)?;
            } else if name.ends_with(STREAM_SUFFIX) {
                self.load_stream(&dir)?;
            }
        }
        Ok(())
    }

    fn load_stream(&self, dir: &Path) -> Result<(), ServerError> {
        // Without its description the creation of the stream was never answered.
        let Some(mut meta) = StreamMeta::load(dir)? else {
            return remove_directory(dir);
        };
        meta.run += 1;
        meta.save(dir)?;
        let (stream, torn) = Stream::open(meta, Some(dir.to_owned()), self.segments)
            .map_err(|source| ServerError::storage(dir, source))?;
        if torn > 0 {
            tracing::warn!(
                stream = stream.name(),
                bytes = torn,
                "cut off the damaged end of the log"
            );
        }
        self.retained
            .fetch_add(stream.log().bytes(), Ordering::Relaxed);
        self.write()
            .insert(stream.name().to_owned(), Arc::new(stream));
        Ok(())
    }

    /// Makes a stream of what `meta` says. `Ok(None)` when there is one of this name.
    pub(crate) fn create(&self, meta: StreamMeta) -> Result<Option<Arc<Stream>>, ServerError> {
        let mut streams = self.write();
        if streams.contains_key(&meta.name) {
            return Ok(None);
        }
        let dir = self
            .data_dir
            .as_ref()
            .map(|d| d.join(format!("{}{STREAM_SUFFIX}", meta.name)));
        if let Some(dir) = &dir {
            let created = std::fs::DirBuilder::new().mode(0o700).create(dir);
            created.map_err(|source| ServerError::storage(dir, source))?;
            meta.save(dir)?;
        }
        let name = meta.name.clone();
        let (stream, _) = Stream::open(meta, dir.clone(), self.segments)
            .map_err(|source| ServerError::storage(&dir.unwrap_or_default(), source))?;
        let stream = Arc::new(stream);
        streams.insert(name, Arc::clone(&stream));
        Ok(Some(stream))
    }

    /// Removes a stream and its records; false when there is none of this name.
    pub(crate) fn delete(&self, name: &str) -> Result<bool, ServerError> {
        let Some(stream) = self.write().remove(name) else {
            return Ok(false);
        };
        let bytes = stream.log().close();
        self.retained.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(data_dir) = &self.data_dir {
            let dir = data_dir.join(format!("{name}{STREAM_SUFFIX}"));
            let deleted = data_dir.join(format!("{name}{DELETED_SUFFIX}"));
            // Renamed first, so that a crash half-way leaves nothing that looks like a stream.
            std::fs::rename(&dir, &deleted).map_err(|source| ServerError::storage(&dir, source))?;
            remove_directory(&deleted)?;
        }
        Ok(true)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Stream>> {
        self.streams
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// All streams by name.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.streams
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Bytes of all logs.
    pub(crate) fn retained_bytes(&self) -> u64 {
        self.retained.load(Ordering::Relaxed)
    }

    /// The age from which a record is not given out any more.
    pub(crate) fn retention_ms(&self) -> u64 {
        self.retention_ms
    }

    /// Counts `bytes` that `stream` has grown by, and drops the oldest segments of all streams while there is too much.
    pub(crate) fn grown(&self, stream: &Stream, bytes: u64) {
        let retained = self.retained.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if retained > self.retention_bytes {
            self.make_room(stream);
        }
    }

    fn make_room(&self, writer: &Stream) {
        let Ok(_guard) = self.making_room.try_lock() else {
            return;
        };
        while self.retained_bytes() > self.retention_bytes {
            // What was just stored stays, even if it alone is more than the whole is allowed to be.
            let newest = |stream: &Stream, segments| stream.name() == writer.name() && segments < 2;
            let oldest = self
                .all()
                .into_iter()
                .filter_map(|stream| {
                    let log = stream.log();
                    let oldest_ms = log
                        .oldest_ms()
                        .filter(|_| !newest(&stream, log.segments()))?;
                    drop(log);
                    Some((oldest_ms, stream))
                })
                .min_by_key(|(oldest_ms, _)| *oldest_ms);
            let Some((_, stream)) = oldest else { return };
            let freed = stream.log().drop_oldest();
            if !self.freed(&stream, freed) {
                return;
            }
        }
    }

    /// Drops the segments whose records are all older than the retention allows.
    pub(crate) fn expire(&self, now_ms: u64) {
        let cutoff_ms = now_ms.saturating_sub(self.retention_ms);
        for stream in self.all() {
            let freed = stream.log().drop_expired(cutoff_ms);
            self.freed(&stream, freed);
        }
    }

    fn freed(&self, stream: &Stream, freed: io::Result<u64>) -> bool {
        match freed {
            Ok(bytes) => {
                self.retained.fetch_sub(bytes, Ordering::Relaxed);
                bytes > 0
            }
            Err(error) => {
                tracing::error!(stream = stream.name(), %error, "cannot remove an old segment");
                false
            }
        }
    }

    /// Flushes all logs to the device.
    pub(crate) fn sync(&self) {
        for stream in self.all() {
            let synced = stream.log().sync();
            if let Err(error) = synced {
                tracing::error!(stream = stream.name(), %error, "cannot flush the log");
            }
        }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Stream>>> {
        self.streams.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates `data_dir` if it is missing and takes its lock.
fn lock(data_dir: &Path) -> Result<File, ServerError> {
    let path = data_dir.join("LOCK");
    let open = || {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)?;
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
    };
    let file = open().map_err(|source| ServerError::storage(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(ServerError::Locked {
            path: data_dir.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(ServerError::storage(&path, source)),
    }
}

fn directories(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data_dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn remove_directory(dir: &Path) -> Result<(), ServerError> {
    std::fs::remove_dir_all(dir).map_err(|source| ServerError::storage(dir, source))
}
