//! Opening a directory: what is live, what is owed, and the last frames made certain.
//!
//! Nothing that was read is trusted to be on disk: a process that was killed between a write and its flush leaves
//! pages that read well and that a power cut would take. So the newest checkpoint is written again in its place, and
//! the frames that can be in that state are written again to a fresh segment, before anything follows from them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use forebay_core::{
    Entropy as _, Fs, FsError, FsErrorKind, FsFile as _, FsMedium, OpenMode, SeededEntropy, Time,
};
use roaring::RoaringTreemap;

use crate::checkpoint::{self, Checkpoint, Totals};
use crate::config::Config;
use crate::error::OpenError;
use crate::frame::{FrameBuffer, decode_payload};
use crate::job::{checkpoint_bytes, extend_checkpoints, may_take, path_of, zero};
use crate::meta::{self, Meta};
use crate::open_ids::OpenIds;
use crate::reader::Damage;
use crate::scan::{Item, Scanner};
use crate::segment::{Footer, Kind, PAGE, SegmentHeader, Summary};
use crate::spool::{Counters, Pending, Segment, Spare, Spool};
use crate::wire::{narrow, read_full, round_up, wide, write_all};

/// After a restart sequence numbers go on at a multiple of this, so that none that a torn frame may have had is used
/// again.
const SEQ_STEP: u64 = 1 << 20;
/// Greatest size that a directory gets by itself.
const MAX_BYTES_DEFAULT: u64 = 16 << 30;
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
}

type Found<T> = (SegmentHeader, Arc<T>);

/// The segments of a directory, by what they are.
#[derive(Debug)]
struct Files<T> {
    live: BTreeMap<u64, Found<T>>,
    spare: Vec<Spare<T>>,
    unready: VecDeque<(u32, u64)>,
    max_epoch: u64,
}

/// The state while frames are replayed.
#[derive(Debug)]
struct Replay {
    /// Frames below this number are covered by the checkpoint.
    from_frame: u64,
    unsettled: RoaringTreemap,
    lost: RoaringTreemap,
    open_ids: OpenIds,
    totals: Totals,
    next_frame: u64,
    /// Sequence number behind that of the last frame.
    prior_end: u64,
    report: Recovered,
}

impl<F: Fs> Spool<F> {
    /// Opens a directory, or creates it.
    ///
    /// `entropy` gives salts and the directory's origin; `wall_ms` is the time of day in milliseconds since the Unix
    /// epoch. Where no segment can be written the spool opens nevertheless, so that it can be drained:
    /// [`is_writable`](Spool::is_writable) tells. Until it is true, a group that was written last and never answered may
    /// be among what is owed and be gone after the next power cut.
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
        let loaded = load_checkpoints(&*fs, &config)?;
        let newest = loaded
            .iter()
            .flatten()
            .max_by_key(|(checkpoint, _)| checkpoint.generation)
            .map(|(checkpoint, _)| checkpoint);
        let mut files = classify(&*fs, &config, newest)?;
        // A process that was killed may have left entries that are not on disk.
        if fs.sync_dir(&config.dir).is_err() {
            let spare = files.spare.drain(..);
            files
                .unready
                .extend(spare.map(|spare| (spare.slot, spare.size)));
        }
        let mut replay = Replay::new(newest, created, &loaded);
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
            voids: Vec::new(),
            pending: None,
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
            counters: Counters::default(),
            checkpoints: [(0, 0); 2],
            generation: newest.map_or(0, |newest| newest.generation),
            checkpoint_wanted: true,
            changed: true,
            checkpointed_at: now,
            checkpoint_at: now,
            job_running: false,
            allocating: None,
            allocate_at: now,
            quarantined: 0,
            wall_ms,
            entropy,
            lock,
            config,
            fs,
        };
        let tail = spool.read_segments(files.live, newest, &mut replay)?;
        let max_seq = replay
            .prior_end
            .max(newest.map_or(1, |newest| newest.next_seq));
        spool.take_over(&mut replay, &loaded, max_seq);
        spool.rewrite_checkpoint(&loaded);
        spool.first_spare(created, &tail)?;
        if !tail.is_empty() {
            spool.pending = Some(Pending {
                frames: tail,
                summary: Summary::default(),
                effect: None,
                first_epoch: None,
            });
            // Without a segment the spool is open for reading; retry() goes on with this.
            if spool.place_pending().is_err() {
                spool.checkpoint_wanted = true;
            }
        }
        spool.release_settled();
        let damaged = std::mem::take(&mut replay.report.damaged);
        for damage in &damaged {
            spool.quarantine(damage);
        }
        replay.report.damaged = damaged;
        Ok((spool, replay.report))
    }

    /// Reads what must be read and returns the frames to be written again.
    fn read_segments(
        &mut self,
        found: BTreeMap<u64, Found<F::File>>,
        newest: Option<&Checkpoint>,
        replay: &mut Replay,
    ) -> Result<Vec<FrameBuffer>, OpenError> {
        // From the newest down: frames with numbers from a segment's first on are void in all older ones.
        let mut limits = BTreeMap::new();
        let mut limit = u64::MAX;
        for (epoch, (header, _)) in found.iter().rev() {
            limits.insert(*epoch, limit);
            limit = limit.min(header.base_frame);
        }
        // A segment that had taken over frames may be settled and gone since. What it made void stays void: all but the
        // newest segment of a checkpoint had their end.
        for listed in newest
            .iter()
            .flat_map(|newest| newest.segments.iter().rev().skip(1))
        {
            if let Some(limit) = limits.get_mut(&listed.header.epoch) {
                *limit = listed.end_frame.min(*limit);
            }
        }
        let mut tail = Vec::new();
        let mut certain = true;
        for (epoch, (header, file)) in found {
            let limit = limits.get(&epoch).copied().unwrap_or(u64::MAX);
            if header.base_frame >= limit {
                self.voids.push(new_segment(header, file));
                continue;
            }
            let initial = header.base_frame + u64::from(header.initial_frames);
            let (segment, frames) = read_segment(header, file, limit, replay)?;
            certain = frames.is_none() || segment.end_frame > initial;
            if frames.is_some() {
                self.unsealed.push_back(epoch);
            }
            replay.next_frame = replay.next_frame.max(segment.end_frame);
            replay.report.segments += 1;
            tail = frames.unwrap_or_default();
            self.live.insert(epoch, segment);
        }
        self.release_voids(certain);
        #[cfg(test)]
        if self.config.mutation == crate::mutation::Mutation::NoRewrite {
            tail.clear();
        }
        Ok(tail)
    }

    /// Lets void segments be used again once the header that made them void is on disk. It is when frames were
    /// committed after those that came with it; otherwise it is when the next segment is, and where there is no other
    /// segment for that, it is written again. Should that fail half-way, the void segments still have everything.
    fn release_voids(&mut self, certain: bool) {
        let last = self.live.last_key_value().map(|(_, last)| last);
        let certain = certain
            || (self.ready.is_empty()
                && !self.voids.is_empty()
                && last.is_some_and(|last| {
                    write_all(&*last.file, &last.header.encode(), 0)
                        .and_then(|()| last.file.sync_data())
                        .is_ok()
                }));
        if certain {
            for segment in std::mem::take(&mut self.voids) {
                self.reuse(segment);
            }
        }
    }

    fn take_over(
        &mut self,
        replay: &mut Replay,
        loaded: &[Option<(Checkpoint, Vec<u8>)>; 2],
        max_seq: u64,
    ) {
        // What is owed and lies in no segment is gone.
        let mut orphans = replay.unsettled.clone();
        for segment in self.live.values() {
            orphans.remove_range(segment.header.base_seq..segment.end_seq);
        }
        if let (Some(first), Some(last)) = (orphans.min(), orphans.max())
            && replay.report.damaged.is_empty()
        {
            replay.report.damaged.push(Damage {
                slot: 0,
                epoch: 0,
                offset: 0,
                len: 0,
                first_seq: first,
                end_seq: last + 1,
            });
        }
        let mut lost = &replay.lost | &orphans;
        lost &= &replay.unsettled;
        replay.unsettled -= &lost;
        replay.totals.settled += lost.len();
        replay.totals.lost += lost.len();
        replay.report.lost = lost.len();
        replay.report.records = replay.unsettled.len();
        self.counters.records_lost = lost.len();
        self.counters.frames_damaged = wide(replay.report.damaged.len());
        self.unsettled = std::mem::take(&mut replay.unsettled);
        self.delta = lost;
        self.open_ids = std::mem::take(&mut replay.open_ids);
        self.totals = replay.totals;
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
        may_take(&*self.fs, dir, 0, size, self.config.reserve_bytes)?;
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

    /// Makes certain that the newest checkpoint is on disk, before the other file is written.
    fn rewrite_checkpoint(&mut self, loaded: &[Option<(Checkpoint, Vec<u8>)>; 2]) {
        let [Some((a, _)), Some((b, _))] = loaded else {
            return;
        };
        let at = usize::from(b.generation > a.generation);
        let Some((_, bytes)) = &loaded[at] else {
            return;
        };
        let path = self.config.dir.join(checkpoint::NAMES[at]);
        if checkpoint::write(&*self.fs, &path, bytes).is_err() {
            self.checkpoints[at] = (0, 0);
        }
    }
}

impl Replay {
    fn new(
        newest: Option<&Checkpoint>,
        created: bool,
        loaded: &[Option<(Checkpoint, Vec<u8>)>; 2],
    ) -> Self {
        let unusable = loaded.iter().filter(|loaded| loaded.is_none()).count();
        Self {
            from_frame: newest.map_or(0, |newest| newest.next_frame),
            unsettled: newest.map_or_else(RoaringTreemap::new, |newest| newest.unsettled.clone()),
            lost: RoaringTreemap::new(),
            open_ids: newest.map_or_else(OpenIds::default, |newest| newest.open_ids.clone()),
            totals: newest.map_or_else(Totals::default, |newest| newest.totals),
            next_frame: newest.map_or(1, |newest| newest.next_frame),
            prior_end: newest.map_or(1, |newest| newest.next_seq),
            report: Recovered {
                created,
                checkpoints_unusable: if created { 0 } else { unusable },
                ..Recovered::default()
            },
        }
    }

    /// Records and events of damaged frames behind the checkpoint. Whether the records were owed is known at the end.
    fn lose(&mut self, header: &SegmentHeader, offset: u64, len: u64, seqs: std::ops::Range<u64>) {
        self.report.damaged.push(Damage {
            slot: header.slot,
            epoch: header.epoch,
            offset,
            len,
            first_seq: seqs.start,
            end_seq: seqs.end,
        });
        self.lost.insert_range(seqs);
    }

    /// Frames that should lie before this one and were not seen.
    fn note_gap(&mut self, header: &SegmentHeader, offset: u64, frame: u64, prior_end: u64) {
        let known = self.report.segments > 0 || self.from_frame > 0;
        if known && frame > self.next_frame {
            let missing = self.prior_end..prior_end.max(self.prior_end);
            self.count_unseen(self.next_frame, missing.clone());
            self.lose(header, offset, 0, missing);
        }
    }

    /// Records that are not in the checkpoint become known, though what they are is not.
    fn count_unseen(&mut self, frame: u64, seqs: std::ops::Range<u64>) {
        if frame >= self.from_frame {
            self.totals.appended += seqs.end.saturating_sub(seqs.start);
            self.unsettled.insert_range(seqs);
            // An id that was opened before could have been released in what is gone.
            self.open_ids.clear();
        }
    }
}

fn new_segment<T>(header: SegmentHeader, file: Arc<T>) -> Segment<T> {
    Segment {
        file,
        end: 0,
        end_frame: header.base_frame,
        end_seq: header.base_seq,
        headers_crc: 0,
        summary: Arc::default(),
        bad: false,
        settled_in: None,
        header,
    }
}

/// Reads one segment: its footer when that tells all that is needed, its frames otherwise. The frames that may not be
/// on disk come back too, when the segment is the last.
fn read_segment<T: forebay_core::FsFile>(
    header: SegmentHeader,
    file: Arc<T>,
    limit: u64,
    replay: &mut Replay,
) -> Result<(Segment<T>, Option<Vec<FrameBuffer>>), OpenError> {
    let mut segment = new_segment(header, file);
    let mut page = vec![0; narrow(PAGE)];
    let at = segment.header.size - PAGE;
    let read = read_full(&*segment.file, &mut page, at)?;
    page.truncate(read);
    if let Some(footer) = Footer::decode(&page, &segment.header)
        && footer.end_frame <= limit.min(replay.from_frame)
    {
        segment.end = footer.end;
        segment.end_frame = footer.end_frame;
        segment.end_seq = footer.end_seq;
        segment.headers_crc = footer.headers_crc;
        segment.summary = footer.summary;
        replay.prior_end = replay.prior_end.max(segment.end_seq);
        return Ok((segment, None));
    }
    replay.report.scanned += 1;
    let tail = scan_segment(&mut segment, limit, replay)?;
    Ok((segment, Some(tail)))
}

fn scan_segment<T: forebay_core::FsFile>(
    segment: &mut Segment<T>,
    limit: u64,
    replay: &mut Replay,
) -> Result<Vec<FrameBuffer>, FsError> {
    let file = Arc::clone(&segment.file);
    let header = segment.header.clone();
    let mut scanner = Scanner::new(&*file, &header, header.size - PAGE);
    let mut summary = Summary::default();
    let mut tail = Tail::default();
    segment.end = PAGE;
    loop {
        match scanner.next()? {
            Item::Frame {
                offset,
                header: frame,
                payload,
            } => {
                if frame.frame >= limit {
                    break;
                }
                replay.note_gap(&header, segment.end, frame.frame, frame.prior_end);
                replay_frame(replay, &frame, &payload, &header, offset, &mut summary);
                segment.end = offset + frame.stride(header.align);
                segment.end_frame = frame.frame + 1;
                segment.end_seq = frame.end_seq();
                segment.headers_crc =
                    crc32c::crc32c_append(segment.headers_crc, &frame.encode(&header));
                let buffer = FrameBuffer::from_payload(frame, &payload);
                let frames = segment.end_frame - header.base_frame;
                let whole =
                    segment.end <= header.size / 2 || frames <= u64::from(header.initial_frames);
                tail.push(offset, segment.end, buffer, whole);
            }
            Item::Damage {
                offset, len, next, ..
            } => {
                if next.frame >= limit {
                    break;
                }
                let missing = segment.end_seq..next.prior_end.max(segment.end_seq);
                replay.count_unseen(segment.end_frame, missing.clone());
                replay.lose(&header, offset, len, missing);
                replay.next_frame = replay.next_frame.max(next.frame);
                replay.prior_end = replay.prior_end.max(next.prior_end);
                segment.end_frame = next.frame;
                segment.end_seq = next.prior_end.max(segment.end_seq);
                summary.partial = true;
                tail.clear();
            }
            Item::End { torn, .. } => {
                replay.report.torn += u64::from(torn && limit == u64::MAX);
                break;
            }
        }
    }
    segment.summary = Arc::new(summary);
    Ok(tail.frames.into_iter().map(|(.., frame)| frame).collect())
}

fn replay_frame(
    replay: &mut Replay,
    frame: &crate::frame::FrameHeader,
    payload: &bytes::Bytes,
    header: &SegmentHeader,
    offset: u64,
    summary: &mut Summary,
) {
    let seqs = frame.first_seq..frame.end_seq();
    let Some(content) = decode_payload(frame, payload) else {
        replay.count_unseen(frame.frame, seqs.clone());
        replay.lose(header, offset, wide(payload.len()), seqs);
        summary.partial = true;
        return;
    };
    summary.merge(&content.summary);
    if frame.frame < replay.from_frame {
        return;
    }
    replay.report.frames += 1;
    replay.next_frame = frame.frame + 1;
    replay.prior_end = replay.prior_end.max(seqs.end);
    replay.totals.appended += u64::from(frame.records);
    replay.unsettled.insert_range(seqs);
    for event in &content.events {
        replay.open_ids.apply(event);
    }
    let before = replay.unsettled.len();
    replay.unsettled -= &content.delta;
    replay.totals.settled += before - replay.unsettled.len();
}

/// The frames at the end of a segment that may have to be written again: all of them while that is little or while
/// none was committed after those that came with the header, those in the page of the last one otherwise.
#[derive(Debug, Default)]
struct Tail {
    frames: VecDeque<(u64, u64, FrameBuffer)>,
    /// True when earlier frames are not here.
    cut: bool,
}

impl Tail {
    fn push(&mut self, offset: u64, end: u64, frame: FrameBuffer, whole: bool) {
        self.frames.push_back((offset, end, frame));
        self.cut |= !whole;
        if self.cut {
            let page = offset & !(PAGE - 1);
            self.frames.retain(|(_, end, _)| *end > page);
        }
    }

    /// Damage lies between what was pushed and what follows; it stays where it is.
    fn clear(&mut self) {
        self.frames.clear();
        self.cut = true;
    }
}

fn describe<F: Fs>(
    fs: &F,
    config: &Config,
    entropy: &mut SeededEntropy,
    wall_ms: i64,
) -> Result<(Meta, bool), OpenError> {
    if let Some(meta) = Meta::read(fs, &config.dir)? {
        return Ok((meta, false));
    }
    let names = fs.list(&config.dir)?;
    if names
        .iter()
        .any(|name| name == meta::NAME || name.ends_with(".seg"))
    {
        return Err(OpenError::NoMeta(config.dir.clone()));
    }
    let half = fs.free_bytes(&config.dir)? / 2;
    let meta = Meta {
        origin: entropy.uuid_bits(),
        created_ms: wall_ms,
        max_bytes: config.max_bytes.unwrap_or(half.min(MAX_BYTES_DEFAULT)),
    };
    meta.create(fs, &config.dir)?;
    Ok((meta, true))
}

type Loaded = [Option<(Checkpoint, Vec<u8>)>; 2];

fn load_checkpoints<F: Fs>(fs: &F, config: &Config) -> Result<Loaded, OpenError> {
    let [a, b] = checkpoint::NAMES.map(|name| checkpoint::read(fs, &config.dir.join(name)));
    Ok([a?, b?])
}

fn classify<F: Fs>(
    fs: &F,
    config: &Config,
    newest: Option<&Checkpoint>,
) -> Result<Files<F::File>, OpenError> {
    let mut files = Files {
        live: BTreeMap::new(),
        spare: Vec::new(),
        unready: VecDeque::new(),
        max_epoch: 0,
    };
    for name in fs.list(&config.dir)? {
        let Some(slot) = name
            .strip_suffix(".seg")
            .and_then(|slot| slot.parse::<u32>().ok())
        else {
            continue;
        };
        let file = Arc::new(fs.open(&path_of(&config.dir, slot), OpenMode::Existing)?);
        let mut page = vec![0; narrow(PAGE)];
        let read = read_full(&*file, &mut page, 0)?;
        page.truncate(read);
        let listed = newest.and_then(|newest| {
            let mut segments = newest.segments.iter();
            segments.find(|listed| listed.header.slot == slot)
        });
        let header = SegmentHeader::decode(&page);
        // A header that cannot be read is taken from the checkpoint, which has a copy.
        let Some(header) = header.or_else(|| listed.map(|listed| listed.header.clone())) else {
            files.unready.push_back((slot, 0));
            continue;
        };
        if header.kind == Kind::Compact {
            return Err(OpenError::Compacted {
                dir: config.dir.clone(),
                slot,
            });
        }
        files.max_epoch = files.max_epoch.max(header.epoch);
        let newer = newest.is_none_or(|newest| header.epoch >= newest.next_epoch);
        let listed = listed.is_some_and(|listed| listed.header.epoch == header.epoch);
        if header.epoch > 0 && (newer || listed) {
            files.live.insert(header.epoch, (header, file));
        } else if header.size < config.segment_bytes || file.len()? < header.size {
            files
                .unready
                .push_back((slot, header.size.min(file.len()?)));
        } else {
            files.spare.push(Spare {
                slot,
                file,
                size: header.size,
            });
        }
    }
    Ok(files)
}
