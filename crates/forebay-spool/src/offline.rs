//! Looking at a directory from outside, with or without a process that uses it. Nothing is changed: use
//! [`ReadOnlyDisk`](crate::ReadOnlyDisk).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use forebay_core::{Fs, FsErrorKind, OpenMode};

use crate::backlog::Backlog;
use crate::check::{CheckPlan, Checked};
use crate::checkpoint::{self, Checkpoint, Totals};
use crate::cursor::Damage;
use crate::directory::{Files, Found, Loaded, classify, load_checkpoints, newest_of};
use crate::error::OpenError;
use crate::meta::Meta;
use crate::replay::{Log, Replay, read_footer};
use crate::spool::Segment;
use crate::wire::read_full;

/// What one of the two checkpoint files holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointState {
    /// Nothing was written to it yet.
    Empty,
    /// A checkpoint with this number; the higher one counts.
    Whole(u64),
    /// Something that is not a whole checkpoint.
    Damaged,
}

/// What a directory says without reading all of its frames. What is owed is as old as the newest checkpoint in
/// [`inspect`], and what the next start would find in [`stat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Random number of the directory.
    pub origin: u128,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Greatest size of all segments.
    pub limit_bytes: u64,
    /// Size of the segments with frames.
    pub used_bytes: u64,
    /// Segments with frames.
    pub live_segments: usize,
    /// Those of them that are sealed.
    pub sealed_segments: usize,
    /// Segments without frames.
    pub spare_segments: usize,
    /// The two checkpoint files.
    pub checkpoints: [CheckpointState; 2],
    /// Records that were owed at the newest checkpoint.
    pub unsettled_records: u64,
    /// The lowest sequence number that was owed then, or the next one.
    pub watermark: u64,
    /// The sequence number that the next record would have had then.
    pub next_seq: u64,
    /// QoS 2 ids that were open then.
    pub open_ids: usize,
    /// What was owed per stream then.
    pub backlog: Vec<Backlog>,
    /// Totals since the directory was created until then.
    pub totals: Totals,
}

/// What reading all of a directory found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Segments with frames.
    pub segments: usize,
    /// Frames that are right.
    pub frames: u64,
    /// Records in them, settled or not.
    pub records: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Records that are owed and can be read.
    pub unsettled_records: u64,
    /// Records that are owed and cannot be read.
    pub lost_records: u64,
    /// QoS 2 ids that are open.
    pub open_ids: usize,
    /// What is owed per stream.
    pub backlog: Vec<Backlog>,
    /// The two checkpoint files.
    pub checkpoints: [CheckpointState; 2],
    /// Frames that are damaged, and frames that are missing.
    pub damaged: Vec<Damage>,
    /// Segments whose header page is damaged and was taken from a checkpoint.
    pub headers_damaged: Vec<u32>,
    /// Segments whose footer does not agree with their frames.
    pub footers_damaged: Vec<u32>,
    /// True when the log ends in the midst of a frame: its group was never answered, this is no damage.
    pub torn: bool,
}

impl Verified {
    /// True when nothing is damaged. A checkpoint file may be: the process may have died while it was written, and the
    /// other one counts.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty()
            && self.headers_damaged.is_empty()
            && self.footers_damaged.is_empty()
            && self.lost_records == 0
    }
}

/// Bytes that are read at once.
const STEP_BYTES: u64 = 1 << 20;

/// A directory as it was read. Where it has a lock file nobody else uses it while this exists.
struct Closed<F: Fs> {
    _lock: Option<F::Lock>,
    meta: Meta,
    states: [CheckpointState; 2],
    loaded: Loaded,
    files: Files<F::File>,
}

impl<F: Fs> Closed<F> {
    fn open(fs: &F, dir: &Path) -> Result<Self, OpenError> {
        let names = fs.list(dir).map_err(|error| match error.kind {
            FsErrorKind::NotFound => OpenError::Missing(dir.to_owned()),
            _ => error.into(),
        })?;
        let has = |name: &str| names.iter().any(|own| own == name);
        if !has(crate::meta::NAME) {
            return Err(OpenError::NotASpool(dir.to_owned()));
        }
        let lock = match has("LOCK").then(|| fs.lock(&dir.join("LOCK"))) {
            None => None,
            Some(Ok(lock)) => Some(lock),
            Some(Err(error)) if error.kind == FsErrorKind::Locked => {
                return Err(OpenError::Locked(dir.to_owned()));
            }
            Some(Err(error)) => return Err(error.into()),
        };
        let meta = Meta::read(fs, dir)?;
        let meta = meta.ok_or_else(|| OpenError::NotASpool(dir.to_owned()))?;
        let loaded = load_checkpoints(fs, dir)?;
        let mut states = [CheckpointState::Empty; 2];
        for ((state, loaded), name) in states.iter_mut().zip(&loaded).zip(checkpoint::NAMES) {
            *state = match loaded {
                Some((checkpoint, _)) => CheckpointState::Whole(checkpoint.generation),
                None if is_blank(fs, &dir.join(name))? => CheckpointState::Empty,
                None => CheckpointState::Damaged,
            };
        }
        let files = classify(fs, dir, 0, newest_of(&loaded))?;
        Ok(Self {
            _lock: lock,
            meta,
            states,
            loaded,
            files,
        })
    }

    fn newest(&self) -> Option<&Checkpoint> {
        newest_of(&self.loaded)
    }
}

/// True when a file is missing or begins with zeroes.
fn is_blank<F: Fs>(fs: &F, path: &Path) -> Result<bool, OpenError> {
    let file = match fs.open(path, OpenMode::Existing) {
        Ok(file) => file,
        Err(error) if error.kind == FsErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let mut start = [0; 64];
    read_full(&file, &mut start, 0)?;
    Ok(start.iter().all(|byte| *byte == 0))
}

/// Reads headers, footers and checkpoints of a directory and changes nothing.
///
/// # Errors
/// [`OpenError::Locked`] while a process uses the directory, [`OpenError::Missing`] and [`OpenError::NotASpool`] when
/// there is none, and when something cannot be read.
pub fn inspect<F: Fs>(fs: &F, dir: &Path) -> Result<Inspected, OpenError> {
    let closed = Closed::open(fs, dir)?;
    let mut sealed = 0;
    let mut used_bytes = 0;
    for (header, file) in closed.files.live.values() {
        sealed += usize::from(read_footer(&**file, header)?.is_some());
        used_bytes += header.size;
    }
    let newest = closed.newest();
    let next_seq = newest.map_or(1, |newest| newest.next_seq);
    Ok(Inspected {
        origin: closed.meta.origin,
        created_ms: closed.meta.created_ms,
        limit_bytes: closed.meta.max_bytes,
        used_bytes,
        live_segments: closed.files.live.len(),
        sealed_segments: sealed,
        spare_segments: closed.files.spare.len() + closed.files.unready.len(),
        checkpoints: closed.states,
        unsettled_records: newest.map_or(0, |newest| newest.unsettled.len()),
        watermark: newest
            .and_then(|newest| newest.unsettled.min())
            .unwrap_or(next_seq),
        next_seq,
        open_ids: newest.map_or(0, |newest| newest.open_ids.len()),
        backlog: newest.map_or_else(Vec::new, |newest| newest.book.sum(&newest.unsettled)),
        totals: newest.map_or_else(Totals::default, |newest| newest.totals),
    })
}

/// Reads and checks everything in a directory and changes nothing. A process cannot start on it meanwhile.
///
/// # Errors
/// [`OpenError::Locked`] while a process uses the directory, [`OpenError::Missing`] and [`OpenError::NotASpool`] when
/// there is none, and when something cannot be read, which is not damage.
pub fn verify<F: Fs>(fs: &F, dir: &Path) -> Result<Verified, OpenError> {
    check(Closed::open(fs, dir)?)
}

/// Says what the next start would find, without reading more than it would, and changes nothing.
///
/// # Errors
/// As [`inspect`].
pub fn stat<F: Fs>(fs: &F, dir: &Path) -> Result<Inspected, OpenError> {
    let mut seen = inspect(fs, dir)?;
    let mut closed = Closed::open(fs, dir)?;
    let found = std::mem::take(&mut closed.files.live);
    let (replay, _) = replay(&closed, found)?;
    seen.unsettled_records = replay.unsettled.len();
    seen.next_seq = seen.next_seq.max(replay.prior_end);
    seen.watermark = replay.unsettled.min().unwrap_or(seen.next_seq);
    seen.open_ids = replay.open_ids.len();
    seen.backlog = replay.book.sum(&replay.unsettled);
    seen.totals = replay.totals;
    Ok(seen)
}

/// The state that the frames lead to, and the segments in which they are.
type Replayed<T> = (Replay, BTreeMap<u64, Segment<T>>);

/// Replays what is not covered by a checkpoint. What may not be on disk counts: it is owed unless a power cut takes it.
fn replay<F: Fs>(
    closed: &Closed<F>,
    found: BTreeMap<u64, Found<F::File>>,
) -> Result<Replayed<F::File>, OpenError> {
    let newest = closed.newest();
    let mut replay = Replay::new(newest, false, &closed.loaded, 0, std::sync::Arc::default());
    let Log { live, held, .. } = replay.read(found, newest)?;
    for effect in &held.effects {
        effect.apply(
            &mut replay.unsettled,
            &mut replay.open_ids,
            &mut replay.totals,
        );
        effect.count(&mut replay.book);
    }
    replay.settle_lost(&live);
    Ok((replay, live))
}

/// What tells one damage from another.
fn place(damage: &Damage) -> (u64, u64) {
    (damage.epoch, damage.offset)
}

fn check<F: Fs>(mut closed: Closed<F>) -> Result<Verified, OpenError> {
    let found = std::mem::take(&mut closed.files.live);
    let (mut replay, live) = replay(&closed, found)?;
    let mut report = Verified {
        segments: live.len(),
        frames: 0,
        records: 0,
        bytes: 0,
        unsettled_records: 0,
        lost_records: 0,
        open_ids: replay.open_ids.len(),
        backlog: Vec::new(),
        checkpoints: closed.states,
        damaged: Vec::new(),
        headers_damaged: Vec::new(),
        footers_damaged: Vec::new(),
        torn: replay.report.torn > 0,
    };
    let mut lost = replay.report.lost;
    for segment in live.values() {
        let mut plan = CheckPlan::new(segment, std::sync::Arc::default());
        loop {
            match plan.step(STEP_BYTES)? {
                Checked::Right => {}
                Checked::End => break,
                Checked::Damage(damage) => {
                    let before = replay.unsettled.len();
                    replay
                        .unsettled
                        .remove_range(damage.first_seq..damage.end_seq);
                    lost += before - replay.unsettled.len();
                    report.damaged.push(damage);
                }
            }
        }
        report.frames += plan.frames();
        report.records += plan.records();
        report.bytes += plan.bytes();
        let pages = plan.pages()?;
        let slot = plan.slot();
        report.headers_damaged.extend(pages.header.then_some(slot));
        report.footers_damaged.extend(pages.footer.then_some(slot));
    }
    // What recovery would find beside that: frames that lie nowhere.
    let places: BTreeSet<(u64, u64)> = report.damaged.iter().map(place).collect();
    let missing = replay.report.damaged.into_iter();
    report
        .damaged
        .extend(missing.filter(|one| !places.contains(&place(one))));
    report.lost_records = lost;
    report.unsettled_records = replay.unsettled.len();
    report.backlog = replay.book.sum(&replay.unsettled);
    Ok(report)
}
