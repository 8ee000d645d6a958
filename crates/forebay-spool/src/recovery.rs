//! Opening a directory: what is live, what is owed, and the last frames made certain.
//!
//! Nothing that was read is trusted to be on disk: a process that was killed between a write and its flush leaves
//! pages that read well and that a power cut would take. So the newest checkpoint is written again in its place, and
//! the frames that can be in that state are written again to a fresh segment, before anything follows from them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use forebay_core::{Fs, FsError, FsErrorKind, FsFile as _, FsMedium, SeededEntropy, Time};
use roaring::RoaringTreemap;

use crate::backlog::{Book, DeltaCounts};
use crate::checkpoint::{self, Totals};
use crate::config::Config;
use crate::cursor::Damage;
use crate::directory::{Loaded, classify, describe, load_checkpoints, newest_of};
use crate::error::OpenError;
use crate::frame::FrameBuffer;
use crate::job::{checkpoint_bytes, extend_checkpoints, may_take, zero};
use crate::open_ids::OpenIds;
use crate::progress::{FramePlace, OpenPhase};
use crate::replay::{Log, Replay};
use crate::segment::PAGE;
use crate::spool::{Pending, Spare, Spool, Unsure};
use crate::stat::Counters;
use crate::wire::{narrow, round_up, wide, write_all};

/// After a restart sequence numbers go on at a multiple of this, so that none that a torn frame may have had is used
/// again.
const SEQ_STEP: u64 = 1 << 20;
/// Number of the first frame of a directory.
pub(crate) const FIRST_FRAME: u64 = 1;
/// Least number of segments that can work: two in reserve, one being written, one being drained.
const SEGMENTS_MIN: u64 = 4;

/// What opening a directory found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// True when the directory was created by this call.
    pub created: bool,
    /// Segments with frames.
    pub segments: usize,
    /// Segments whose frames were read, because they were not sealed or are newer than the checkpoint.
    pub scanned: usize,
    /// Frames that came after the checkpoint.
    pub frames: u64,
    /// Records that are owed.
    pub records: u64,
    /// Checkpoint files that could not be used; those of a new directory are not counted.
    pub checkpoints_unusable: usize,
    /// Places at which the log ended in the midst of a frame. Its group was never answered.
    pub torn: u64,
    /// Places that are damaged.
    pub damaged: Vec<Damage>,
    /// Records that were owed and are lost to damage.
    pub lost: u64,
    /// Which of the frames that are [not to be decoded](crate::Progress::contained) lie in segments that are in use: name
    /// them again the next time.
    pub contained: Vec<FramePlace>,
}

impl<F: Fs> Spool<F> {
    /// Opens a directory, or creates it.
    ///
    /// `entropy` gives salts and the directory's origin; `wall_ms` is the time of day in milliseconds since the Unix
    /// epoch. Where no segment can be written the spool opens nevertheless, so that it can be drained:
    /// [`is_writable`](Spool::is_writable) tells. What the last frames hold is then neither owed nor settled until
    /// [`retry`](Spool::retry) succeeds: see [`uncertain`](Spool::uncertain).
    ///
    /// # Errors
    /// When the directory is in use, is not a spool, cannot be read, or is volatile and that is not allowed.
    pub fn open(
        fs: Arc<F>,
        config: Config,
        mut entropy: SeededEntropy,
        now: Time,
        wall_ms: i64,
    ) -> Result<(Self, Recovered), OpenError> {
        let progress = Arc::clone(&config.progress);
        progress.enter(OpenPhase::Directory);
        fs.create_dir(&config.dir)?;
        if fs.medium(&config.dir)? == FsMedium::Volatile && !config.allow_volatile {
            return Err(OpenError::Volatile(config.dir));
        }
        let lock = match fs.lock(&config.dir.join("LOCK")) {
            Ok(lock) => lock,
            Err(error) if error.kind == FsErrorKind::Locked => {
                return Err(OpenError::Locked(config.dir));
            }
            Err(error) => return Err(error.into()),
        };
        let (meta, created) = describe(&*fs, &config, &mut entropy, wall_ms)?;
        let max_bytes = config.max_bytes.unwrap_or(meta.max_bytes);
        let max_segments = max_bytes / config.segment_bytes;
        if max_segments < SEGMENTS_MIN {
            return Err(OpenError::TooSmall {
                max_bytes,
                segment_bytes: config.segment_bytes,
            });
        }
        progress.enter(OpenPhase::Checkpoints);
        let loaded = load_checkpoints(&*fs, &config.dir)?;
        let newest = newest_of(&loaded);
        progress.enter(OpenPhase::Segments);
        let mut files = classify(&*fs, &config.dir, config.segment_bytes, newest)?;
        // A process that was killed may have left entries that are not on disk.
        if fs.sync_dir(&config.dir).is_err() {
            let spare = files.spare.drain(..);
            files
                .unready
                .extend(spare.map(|spare| (spare.slot, spare.size)));
        }
        let mut replay = Replay::new(
            newest,
            created,
            &loaded,
            config.segment_bytes,
            Arc::clone(&progress),
        );
        let mut spool = Self {
            origin: meta.origin,
            max_segments: narrow(max_segments),
            live: BTreeMap::new(),
            active: None,
            ready: files.spare,
            unready: files.unready,
            discarded: VecDeque::new(),
            unsealed: VecDeque::new(),
            recent: Vec::new(),
            spare_bytes: None,
            voids: Vec::new(),
            pending: None,
            held: None,
            next_epoch: files
                .max_epoch
                .max(newest.map_or(0, |newest| newest.next_epoch))
                + 1,
            next_frame: 0,
            next_seq: 0,
            prior_end: 0,
            unsettled: RoaringTreemap::new(),
            delta: RoaringTreemap::new(),
            delta_since: now,
            open_ids: OpenIds::default(),
            totals: Totals::default(),
            book: Book::default(),
            delta_counts: DeltaCounts::default(),
            counters: Counters::default(),
            checkpoints: [(0, 0); 2],
            unsure: None,
            generation: newest.map_or(0, |newest| newest.generation),
            checkpoint_wanted: true,
            changed: true,
            checkpointed_at: now,
            checkpoint_at: now,
            job_running: false,
            allocating: None,
            allocate_at: now,
            quarantined: 0,
            copies: VecDeque::new(),
            may_hide_settled: false,
            known_damage: BTreeSet::new(),
            flushes_wanted: false,
            flush_timing: None,
            wall_ms,
            entropy,
            lock,
            config,
            fs,
        };
        let log = replay.read(files.live, newest)?;
        progress.enter(OpenPhase::Writing);
        let tail = spool.adopt(log);
        // Before anything is used again.
        for damage in &replay.report.damaged {
            spool.quarantine(damage);
        }
        let max_seq = replay
            .prior_end
            .max(newest.map_or(1, |newest| newest.next_seq));
        spool.take_over(&mut replay, &loaded, max_seq);
        spool.rewrite_checkpoint(&loaded);
        spool.first_spare(created, &tail)?;
        if !tail.is_empty() {
            spool.pending = Some(Pending {
                frames: tail,
                effect: None,
                first_epoch: None,
                error: None,
            });
            // Without a segment the spool is open for reading; retry() goes on with this.
            if spool.place_pending().is_err() {
                spool.checkpoint_wanted = true;
            }
        }
        replay.report.records = spool.unsettled.len();
        replay.report.contained = spool.contained();
        spool.release_settled();
        for damage in &replay.report.damaged {
            spool.know(damage);
        }
        progress.enter(OpenPhase::Open);
        Ok((spool, replay.report))
    }

    /// Frames that are not to be decoded and lie in segments in use.
    fn contained(&self) -> Vec<FramePlace> {
        let contained = self.config.progress.contained().iter().copied();
        let in_use = |place: &FramePlace| {
            let segment = self.live.get(&place.epoch);
            segment.is_some_and(|segment| segment.header.slot == place.slot)
        };
        contained.filter(in_use).collect()
    }

    /// Takes what the segments say and returns the frames to be written again.
    fn adopt(&mut self, log: Log<F::File>) -> Vec<FrameBuffer> {
        self.live = log.live;
        self.voids = log.voids;
        self.unsealed = log.unsealed;
        self.held = (!log.held.is_empty()).then_some(log.held);
        self.release_voids();
        #[cfg(test)]
        if self.config.mutation == crate::mutation::Mutation::NoRewrite {
            return Vec::new();
        }
        log.tail
    }

    /// Lets void segments be used again once the header that made them void is on disk. Where it may not be, it is
    /// when the next segment is, and where there is no other segment for that, it is written again. Should that fail
    /// half-way, the void segments still have everything.
    fn release_voids(&mut self) {
        let epoch = self.held.as_ref().and_then(|held| held.epoch);
        if let Some(last) = epoch.and_then(|epoch| self.live.get(&epoch)) {
            let again = self.ready.is_empty()
                && !self.voids.is_empty()
                && write_all(&*last.file, &last.header.encode(), 0)
                    .and_then(|()| last.file.sync_data())
                    .is_ok();
            if !again {
                return;
            }
        }
        if let Some(held) = &mut self.held {
            held.epoch = None;
            held.uncut.clear();
        }
        for segment in std::mem::take(&mut self.voids) {
            self.reuse(segment);
        }
    }

    fn take_over(&mut self, replay: &mut Replay, loaded: &Loaded, max_seq: u64) {
        let lost = replay.settle_lost(&self.live);
        self.counters.records_lost = lost.len();
        self.counters.frames_damaged = wide(replay.report.damaged.len());
        // Without a checkpoint all frames must be there, from the first that the directory ever had.
        let first = self.live.values().next();
        let cut = first.is_some_and(|first| first.header.base_frame > FIRST_FRAME);
        let unchecked = loaded.iter().all(Option::is_none);
        self.may_hide_settled = replay.may_hide_settled || (unchecked && cut);
        self.unsettled = std::mem::take(&mut replay.unsettled);
        self.delta = lost;
        self.open_ids = std::mem::take(&mut replay.open_ids);
        self.totals = replay.totals;
        self.book = std::mem::take(&mut replay.book);
        self.next_frame = replay.next_frame;
        self.prior_end = replay.prior_end;
        self.next_seq = match replay.report.created {
            true => 1,
            false => round_up(max_seq, SEQ_STEP),
        };
        #[cfg(test)]
        if self.config.mutation == crate::mutation::Mutation::ReuseSequences {
            self.next_seq = self.unsettled.max().map_or(1, |seq| seq + 1);
        }
        for (at, loaded) in loaded.iter().enumerate() {
            let Some((checkpoint, _)) = loaded else {
                continue;
            };
            self.checkpoints[at] = (checkpoint.generation, checkpoint.next_frame);
            for segment in self.live.values_mut() {
                let range = segment.header.base_seq..segment.end_seq;
                let known = segment.end_frame <= checkpoint.next_frame;
                if known && checkpoint.unsettled.range_cardinality(range) == 0 {
                    let at = segment.settled_in.get_or_insert(checkpoint.generation);
                    *at = checkpoint.generation.min(*at);
                }
            }
        }
    }

    /// Where nothing is ready one segment is made so at once: a small one, so that a new directory serves before the
    /// others are zeroed.
    fn first_spare(&mut self, created: bool, tail: &[FrameBuffer]) -> Result<(), OpenError> {
        if !self.ready.is_empty() {
            return Ok(());
        }
        let slot = match self.unready.pop_front() {
            Some((slot, _)) => slot,
            None => match self.new_slot() {
                Some(slot) => slot,
                None => return Ok(()),
            },
        };
        let align = self.config.align;
        let needed: u64 = tail.iter().map(|frame| frame.header.stride(align)).sum();
        let size = round_up(needed + 2 * PAGE, PAGE).max(self.config.first_bytes);
        match self.zero_spare(slot, size.min(self.config.segment_bytes)) {
            Ok(spare) => self.ready.push(spare),
            Err(error) if created => return Err(error.into()),
            Err(_) => self.unready.push_back((slot, 0)),
        }
        Ok(())
    }

    fn zero_spare(&self, slot: u32, size: u64) -> Result<Spare<F::File>, FsError> {
        let (dir, align) = (&self.config.dir, self.config.align);
        may_take(&*self.fs, dir, 0, size, self.config.keep_free())?;
        let checkpoint = checkpoint_bytes(1, self.config.segment_bytes);
        extend_checkpoints(&*self.fs, dir, checkpoint)?;
        let mut from = 0;
        loop {
            match zero(&*self.fs, dir, slot, (from, size), align, true)? {
                (_, Some(file)) => return Ok(Spare { slot, file, size }),
                (to, None) => from = to,
            }
        }
    }

    /// Makes certain that the newest checkpoint is on disk, before the other file is written. Where that fails, it is
    /// tried again with the next checkpoint.
    fn rewrite_checkpoint(&mut self, loaded: &Loaded) {
        let [Some((a, _)), Some((b, _))] = loaded else {
            return;
        };
        let at = usize::from(b.generation > a.generation);
        let Some((newest, bytes)) = &loaded[at] else {
            return;
        };
        let path = self.config.dir.join(checkpoint::NAMES[at]);
        if checkpoint::write(&*self.fs, &path, bytes).is_err() {
            self.checkpoints[at] = (0, 0);
            self.unsure = Some(Arc::new(Unsure {
                at,
                generation: newest.generation,
                next_frame: newest.next_frame,
                path,
                bytes: bytes.clone(),
            }));
        }
    }
}
