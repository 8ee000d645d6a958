//! Disk work that need not be done on the thread that commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Fs, FsError, FsErrorKind, FsFile as _, OpenMode, Time};

use crate::backlog;
use crate::checkpoint;
use crate::damage::Copying;
use crate::flush_timing::FlushTiming;
use crate::segment::{Footer, Kind, PAGE, SegmentHeader};
use crate::spool::{AHEAD_SEGMENTS, RESERVE_SEGMENTS, Spare, Spool, Unsure};
use crate::wire::{narrow, write_all};

/// Bytes that are zeroed by one job, so that the thread that runs them can pace itself.
const ZERO_BYTES: u64 = 1 << 20;
/// Time until work that failed is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Bytes that one record can take of a checkpoint and of a segment, at the least favourable.
const RECORD_BYTES_MIN: u64 = 40;
/// Part of a checkpoint that does not depend on the number of segments.
const CHECKPOINT_BYTES: u64 = 64 << 10;

/// A piece of work for a background thread.
#[derive(Debug)]
pub struct Job<T> {
    work: Work<T>,
}

#[derive(Debug)]
enum Work<T> {
    Checkpoint {
        /// What must be certain first.
        unsure: Option<Arc<Unsure>>,
        path: PathBuf,
        bytes: Vec<u8>,
        at: usize,
        generation: u64,
        next_frame: u64,
    },
    Seal {
        file: Arc<T>,
        offset: u64,
        page: Vec<u8>,
    },
    Remove {
        dir: PathBuf,
        slot: u32,
    },
    TimeFlushes {
        dir: PathBuf,
    },
    Quarantine(Copying<T>),
    Allocate {
        dir: PathBuf,
        slot: u32,
        from: u64,
        size: u64,
        align: u32,
        keep_free: u64,
        checkpoint_bytes: u64,
        sync_dir: bool,
    },
}

/// What became of a [`Job`].
#[derive(Debug)]
pub struct Done<T> {
    outcome: Outcome<T>,
}

#[derive(Debug)]
enum Outcome<T> {
    Checkpoint {
        at: usize,
        generation: u64,
        next_frame: u64,
        /// The one before could not be made certain: nothing was written into this one's file.
        untouched: bool,
        result: Result<(), FsError>,
    },
    Seal(Result<(), FsError>),
    Remove(u32, Result<(), FsError>),
    /// `None` when there was no clock.
    TimeFlushes(Result<Option<FlushTiming>, FsError>),
    Quarantine(Result<u64, FsError>),
    Allocate {
        slot: u32,
        size: u64,
        result: Zeroed<T>,
    },
}

impl<T> Done<T> {
    /// The error, when the work failed. What the log needs is tried again by itself.
    pub fn error(&self) -> Option<&FsError> {
        match &self.outcome {
            Outcome::Checkpoint { result, .. }
            | Outcome::Seal(result)
            | Outcome::Remove(_, result) => result.as_ref().err(),
            Outcome::Allocate { result, .. } => result.as_ref().err(),
            Outcome::TimeFlushes(result) => result.as_ref().err(),
            Outcome::Quarantine(result) => result.as_ref().err(),
        }
    }
}

/// The file of a segment.
pub(crate) fn path_of(dir: &Path, slot: u32) -> PathBuf {
    dir.join(format!("{slot:08}.seg"))
}

/// Bytes that a checkpoint can need with so many segments.
pub(crate) fn checkpoint_bytes(segments: usize, segment_bytes: u64) -> u64 {
    let records = segment_bytes / RECORD_BYTES_MIN;
    let (names, counts) = backlog::checkpoint_bytes(segment_bytes);
    CHECKPOINT_BYTES + names + crate::wire::wide(segments) * (records / 8 + 512 + counts)
}

impl<T: forebay_core::FsFile> Job<T> {
    /// Does the work, except that flushes are not timed.
    pub fn run<F: Fs<File = T>>(self, fs: &F) -> Done<T> {
        self.run_with(fs, None)
    }

    /// Does the work; flushes are timed with this clock.
    pub fn run_timed<F: Fs<File = T>>(self, fs: &F, clock: &dyn Clock) -> Done<T> {
        self.run_with(fs, Some(clock))
    }

    fn run_with<F: Fs<File = T>>(self, fs: &F, clock: Option<&dyn Clock>) -> Done<T> {
        let outcome = match self.work {
            Work::Checkpoint {
                unsure,
                path,
                bytes,
                at,
                generation,
                next_frame,
            } => {
                let certain = unsure.map_or(Ok(()), |unsure| {
                    checkpoint::write(fs, &unsure.path, &unsure.bytes)
                });
                Outcome::Checkpoint {
                    at,
                    generation,
                    next_frame,
                    untouched: certain.is_err(),
                    result: certain.and_then(|()| checkpoint::write(fs, &path, &bytes)),
                }
            }
            Work::Seal { file, offset, page } => Outcome::Seal(seal(&*file, &page, offset)),
            Work::TimeFlushes { dir } => Outcome::TimeFlushes(
                clock
                    .map(|clock| FlushTiming::measure(fs, &dir, clock))
                    .transpose(),
            ),
            Work::Quarantine(copying) => Outcome::Quarantine(copying.run(fs)),
            Work::Remove { dir, slot } => Outcome::Remove(slot, remove(fs, &dir, slot)),
            Work::Allocate {
                dir,
                slot,
                from,
                size,
                align,
                keep_free,
                checkpoint_bytes,
                sync_dir,
            } => Outcome::Allocate {
                slot,
                size,
                result: may_take(fs, &dir, from, size, keep_free)
                    .and_then(|()| extend_checkpoints(fs, &dir, checkpoint_bytes))
                    .and_then(|()| zero(fs, &dir, slot, (from, size), align, sync_dir)),
            },
        };
        Done { outcome }
    }
}

fn seal<T: forebay_core::FsFile>(file: &T, page: &[u8], offset: u64) -> Result<(), FsError> {
    write_all(file, page, offset)?;
    file.sync_data()
}

fn remove<F: Fs>(fs: &F, dir: &Path, slot: u32) -> Result<(), FsError> {
    match fs.remove(&path_of(dir, slot)) {
        Err(error) if error.kind != FsErrorKind::NotFound => Err(error),
        _ => fs.sync_dir(dir),
    }
}

pub(crate) fn may_take<F: Fs>(
    fs: &F,
    dir: &Path,
    from: u64,
    size: u64,
    keep_free: u64,
) -> Result<(), FsError> {
    let free = fs.free_bytes(dir)?;
    if from > 0 || free >= keep_free.saturating_add(size) {
        return Ok(());
    }
    Err(FsError {
        kind: FsErrorKind::NoSpace,
        operation: "allocate",
        path: dir.to_owned(),
        detail: format!("{free} bytes are free and {keep_free} are kept"),
    })
}

/// Makes the checkpoint files so large that writing one never needs a block.
pub(crate) fn extend_checkpoints<F: Fs>(fs: &F, dir: &Path, bytes: u64) -> Result<(), FsError> {
    for name in checkpoint::NAMES {
        let file = fs.open(&dir.join(name), OpenMode::CreateMissing)?;
        let mut at = file.len()?;
        if at >= bytes {
            continue;
        }
        while at < bytes {
            let len = ZERO_BYTES.min(bytes - at);
            write_all(&file, &vec![0; narrow(len)], at)?;
            at += len;
        }
        file.sync_data()?;
    }
    Ok(())
}

/// How far a file is zeroed, and the file itself when that is all of it.
type Zeroed<T> = Result<(u64, Option<Arc<T>>), FsError>;

/// Fills the next part of a file with zeroes. A file that is full gets the header of a segment without an epoch, which
/// tells the next start that its blocks are there.
pub(crate) fn zero<F: Fs>(
    fs: &F,
    dir: &Path,
    slot: u32,
    (from, size): (u64, u64),
    align: u32,
    sync_dir: bool,
) -> Zeroed<F::File> {
    let file = fs.open(&path_of(dir, slot), OpenMode::CreateMissing)?;
    let to = size.min(from + ZERO_BYTES);
    if from < to {
        // Page by page: the system caches what is written at once as one piece, and a frame that touches a piece makes
        // all of it dirty.
        for at in (from..to).step_by(narrow(PAGE)) {
            write_all(&file, &vec![0; narrow((to - at).min(PAGE))], at)?;
        }
        file.sync_data()?;
    }
    if to < size {
        return Ok((to, None));
    }
    let header = SegmentHeader {
        kind: Kind::Log,
        slot,
        epoch: 0,
        salt: 0,
        base_frame: 0,
        base_seq: 0,
        initial_frames: 0,
        align,
        size,
        created_ms: 0,
        replaces: Vec::new(),
    };
    write_all(&file, &header.encode(), 0)?;
    file.sync_data()?;
    if sync_dir {
        fs.sync_dir(dir)?;
    }
    Ok((to, Some(Arc::new(file))))
}

impl<F: Fs> Spool<F> {
    /// The next piece of background work, if there is any and none is out. Give the result to
    /// [`finish`](Spool::finish).
    pub fn take_job(&mut self, now: Time) -> Option<Job<F::File>> {
        if self.job_running {
            return None;
        }
        let work = self
            .checkpoint_work(now)
            .or_else(|| self.seal_work())
            .or_else(|| self.remove_work(now))
            .or_else(|| self.allocate_work(now))
            .or_else(|| self.copies.pop_front().map(Work::Quarantine))
            .or_else(|| self.time_work())?;
        self.job_running = true;
        Some(Job { work })
    }

    fn checkpoint_work(&mut self, now: Time) -> Option<Work<F::File>> {
        if !self.checkpoint_wanted || now < self.checkpoint_at {
            return None;
        }
        self.checkpoint_wanted = false;
        self.changed = false;
        self.checkpointed_at = now;
        let [(a, _), (b, _)] = self.checkpoints;
        let at = match &self.unsure {
            Some(unsure) => 1 - unsure.at,
            None => usize::from(b < a),
        };
        let checkpoint = self.snapshot();
        Some(Work::Checkpoint {
            unsure: self.unsure.clone(),
            path: self.config.dir.join(checkpoint::NAMES[at]),
            bytes: checkpoint.encode(),
            at,
            generation: checkpoint.generation,
            next_frame: checkpoint.next_frame,
        })
    }

    fn seal_work(&mut self) -> Option<Work<F::File>> {
        // Where a segment ends may follow from frames that are not on disk.
        if self.held.is_some() {
            return None;
        }
        while let Some(epoch) = self.unsealed.pop_front() {
            let Some(segment) = self.live.get(&epoch) else {
                continue;
            };
            let last = self.live.last_key_value().map(|(epoch, _)| *epoch);
            if segment.bad || last == Some(epoch) {
                continue;
            }
            let footer = Footer {
                epoch,
                salt: segment.header.salt,
                end: segment.end,
                end_frame: segment.end_frame,
                end_seq: segment.end_seq,
                headers_crc: segment.headers_crc,
                summary: Arc::clone(&segment.summary),
            };
            return Some(Work::Seal {
                file: Arc::clone(&segment.file),
                offset: segment.header.size - PAGE,
                page: footer.encode(),
            });
        }
        None
    }

    fn remove_work(&mut self, now: Time) -> Option<Work<F::File>> {
        if now < self.allocate_at {
            return None;
        }
        let slot = self.discarded.pop_front()?;
        Some(Work::Remove {
            dir: self.config.dir.clone(),
            slot,
        })
    }

    /// Has flushes timed by one of the next jobs, when nothing else is to be done: see
    /// [`flush_timing`](Spool::flush_timing). The job needs a clock: [`Job::run_timed`].
    pub fn measure_flushes(&mut self) {
        self.flushes_wanted = true;
    }

    fn time_work(&mut self) -> Option<Work<F::File>> {
        std::mem::take(&mut self.flushes_wanted).then(|| Work::TimeFlushes {
            dir: self.config.dir.clone(),
        })
    }

    fn allocate_work(&mut self, now: Time) -> Option<Work<F::File>> {
        if now < self.allocate_at {
            return None;
        }
        let (slot, from) = match self.unready.pop_front() {
            Some(unready) => unready,
            None => (self.new_slot()?, 0),
        };
        self.allocating = Some(slot);
        let files = self.files() + 1;
        #[cfg(test)]
        let sync_dir = self.config.mutation != crate::mutation::Mutation::NoDirectorySync;
        #[cfg(not(test))]
        let sync_dir = true;
        Some(Work::Allocate {
            dir: self.config.dir.clone(),
            slot,
            from,
            size: self.config.segment_bytes,
            align: self.config.align,
            keep_free: self.config.keep_free(),
            checkpoint_bytes: checkpoint_bytes(files, self.config.segment_bytes),
            sync_dir,
        })
    }

    /// Files of segments, whatever their state, besides the one that is being zeroed.
    pub(crate) fn files(&self) -> usize {
        let unused = self.ready.len() + self.unready.len() + self.discarded.len();
        self.live.len() + self.voids.len() + unused
    }

    /// A number for another file, when one is wanted and the limit allows it.
    pub(crate) fn new_slot(&self) -> Option<u32> {
        if self.ready.len() >= RESERVE_SEGMENTS + AHEAD_SEGMENTS
            || self.files() >= self.max_segments
        {
            return None;
        }
        let mut used: Vec<u32> = self.live.values().map(|live| live.header.slot).collect();
        used.extend(self.ready.iter().map(|spare| spare.slot));
        used.extend(self.unready.iter().map(|(slot, _)| *slot));
        used.extend(&self.discarded);
        used.extend(self.voids.iter().map(|void| void.header.slot));
        used.extend(self.allocating);
        used.sort_unstable();
        let mut slot = 1;
        for used in used {
            if used == slot {
                slot += 1;
            }
        }
        Some(slot)
    }

    /// Takes the result of a job in.
    pub fn finish(&mut self, done: Done<F::File>, now: Time) {
        self.job_running = false;
        match done.outcome {
            Outcome::Checkpoint {
                at,
                generation,
                next_frame,
                untouched,
                result,
            } => {
                if !untouched && let Some(certain) = self.unsure.take() {
                    self.checkpoints[certain.at] = (certain.generation, certain.next_frame);
                }
                match result {
                    Ok(()) => {
                        self.checkpoints[at] = (generation, next_frame);
                        self.counters.checkpoints += 1;
                        self.release_settled();
                    }
                    Err(_) => {
                        if !untouched {
                            // What that file holds is unknown now; the other one is as it was.
                            self.checkpoints[at] = (0, 0);
                        }
                        self.changed = true;
                        self.checkpoint_wanted = true;
                        self.checkpoint_at = now + RETRY_DELAY;
                    }
                }
            }
            // A segment without a footer is read at the next start instead.
            Outcome::Seal(_) => {}
            // A device that cannot be measured shows that elsewhere.
            Outcome::TimeFlushes(result) => self.flush_timing = result.ok().flatten(),
            // Without a copy there is less to look at, and nothing else changes.
            Outcome::Quarantine(result) => self.quarantined += result.unwrap_or(0),
            Outcome::Remove(slot, result) => {
                if result.is_err() {
                    self.discarded.push_back(slot);
                    self.allocate_at = now + RETRY_DELAY;
                }
            }
            Outcome::Allocate { slot, size, result } => {
                self.allocating = None;
                match result {
                    Ok((_, Some(file))) => self.ready.push(Spare { slot, file, size }),
                    Ok((to, None)) => self.unready.push_front((slot, to)),
                    Err(_) => {
                        self.unready.push_back((slot, 0));
                        self.allocate_at = now + RETRY_DELAY;
                    }
                }
            }
        }
    }
}
