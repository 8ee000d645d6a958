//! The log as a state machine: what is live, what is unsettled, what is owed to the disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Fs, SeededEntropy, Time};
use roaring::RoaringTreemap;

use crate::backlog::{Book, Count, DeltaCounts};
use crate::checkpoint::{Checkpoint, ListedSegment, Totals};
use crate::config::Config;
use crate::error::AppendError;
use crate::flush_timing::FlushTiming;
use crate::frame::{Delta, FrameBuffer, Group, HEADER};
use crate::open_ids::{Event, OpenIds};
use crate::record::StreamKey;
use crate::replay::Held;
use crate::segment::{PAGE, SegmentHeader, Summary};
use crate::wire::{round_up, wide};

/// Zeroed segments that publishes never take: they are for deltas, release events and recovery, so that a full spool
/// can be drained.
pub(crate) const RESERVE_SEGMENTS: usize = 2;
/// Segments beyond the reserve that are made ready ahead of the writer.
pub(crate) const AHEAD_SEGMENTS: usize = 2;
/// A delta that was not written for this long gets a frame of its own.
const DELTA_DELAY: Duration = Duration::from_millis(100);
/// So does one of this many records.
const DELTA_RECORDS_MAX: u64 = 65_536;
/// Bytes of a delta beyond which a checkpoint is the better way to keep it.
const DELTA_BYTES_MAX: u64 = 1 << 20;
/// Time between checkpoints while anything changes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// Least time between checkpoints that are taken to make segments free.
const CHECKPOINT_GAP: Duration = Duration::from_millis(100);

/// A segment with frames.
#[derive(Debug)]
pub(crate) struct Segment<T> {
    pub(crate) file: Arc<T>,
    pub(crate) header: SegmentHeader,
    /// Offset, frame number and sequence number behind the last frame.
    pub(crate) end: u64,
    pub(crate) end_frame: u64,
    pub(crate) end_seq: u64,
    pub(crate) headers_crc: u32,
    pub(crate) summary: Arc<Summary>,
    /// True when a write or flush on it failed: it is never written again.
    pub(crate) bad: bool,
    /// Generation of the first checkpoint in which all its records are settled.
    pub(crate) settled_in: Option<u64>,
}

/// A file that can become a segment.
#[derive(Debug)]
pub(crate) struct Spare<T> {
    pub(crate) slot: u32,
    pub(crate) file: Arc<T>,
    pub(crate) size: u64,
}

/// A frame of the active segment that lies in the page that the next write will touch.
#[derive(Debug)]
pub(crate) struct RecentFrame {
    pub(crate) end: u64,
    pub(crate) buffer: FrameBuffer,
}

/// What a frame does to the state once it is durable.
#[derive(Debug)]
pub(crate) struct Effect {
    pub(crate) first_seq: u64,
    pub(crate) records: u32,
    pub(crate) frame: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) tallies: Vec<(Count, Arc<StreamKey>)>,
}

/// Frames that must become durable before anything else can.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) frames: Vec<FrameBuffer>,
    pub(crate) effect: Option<Effect>,
    /// Epoch of the first segment that was tried: it may have the frames.
    pub(crate) first_epoch: Option<u64>,
}

/// A group that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Sequence number of the group's first record; the others follow one by one.
    pub first_seq: u64,
    /// Number of records.
    pub records: u32,
}

/// Figures that only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames that became durable.
    pub frames: u64,
    /// Bytes of these frames, padding included.
    pub bytes: u64,
    /// Writes and flushes that failed.
    pub flush_errors: u64,
    /// Places at which something lay that is no frame and frames followed.
    pub frames_damaged: u64,
    /// Records that damage took before they were settled.
    pub records_lost: u64,
    /// Checkpoints that became durable.
    pub checkpoints: u64,
    /// Segments that were used again.
    pub recycled: u64,
}

/// The durable log of one directory.
///
/// It never starts a thread. The owner calls [`append`](Spool::append), [`settle`](Spool::settle) and
/// [`poll`](Spool::poll) from one thread, runs the jobs that [`take_job`](Spool::take_job) hands out on another and
/// gives their results to [`finish`](Spool::finish).
#[derive(Debug)]
pub struct Spool<F: Fs> {
    pub(crate) fs: Arc<F>,
    pub(crate) config: Config,
    pub(crate) lock: F::Lock,
    pub(crate) origin: u128,
    pub(crate) entropy: SeededEntropy,
    pub(crate) max_segments: usize,

    /// By epoch.
    pub(crate) live: BTreeMap<u64, Segment<F::File>>,
    pub(crate) active: Option<u64>,
    pub(crate) ready: Vec<Spare<F::File>>,
    /// Files that must be filled with zeroes from an offset on before they are ready.
    pub(crate) unready: VecDeque<(u32, u64)>,
    /// Files that failed and go as soon as nothing is owed in them.
    pub(crate) discarded: VecDeque<u32>,
    pub(crate) unsealed: VecDeque<u64>,
    pub(crate) recent: Vec<RecentFrame>,
    /// Memory of a frame that is on disk, for the next group.
    pub(crate) spare_bytes: Option<Vec<u8>>,
    /// Segments all of whose frames are in later ones whose header may not be on disk.
    pub(crate) voids: Vec<Segment<F::File>>,
    pub(crate) pending: Option<Pending>,
    /// What the last frames of an earlier process do, until they are written again.
    pub(crate) held: Option<Held>,

    pub(crate) next_epoch: u64,
    pub(crate) next_frame: u64,
    pub(crate) next_seq: u64,
    pub(crate) prior_end: u64,
    pub(crate) unsettled: RoaringTreemap,
    pub(crate) delta: RoaringTreemap,
    pub(crate) delta_since: Time,
    pub(crate) open_ids: OpenIds,
    pub(crate) totals: Totals,
    pub(crate) book: Book,
    /// What the records in `delta` were.
    pub(crate) delta_counts: DeltaCounts,
    pub(crate) counters: Counters,

    /// Generation and next frame number of the checkpoint in each of the two files; zero when there is none.
    pub(crate) checkpoints: [(u64, u64); 2],
    pub(crate) generation: u64,
    pub(crate) checkpoint_wanted: bool,
    pub(crate) changed: bool,
    pub(crate) checkpointed_at: Time,
    /// When a checkpoint may be tried after one failed.
    pub(crate) checkpoint_at: Time,
    pub(crate) job_running: bool,
    pub(crate) allocating: Option<u32>,
    pub(crate) allocate_at: Time,
    pub(crate) quarantined: u64,
    /// Places of which damage was reported: epoch and offset.
    pub(crate) known_damage: BTreeSet<(u64, u64)>,
    pub(crate) flushes_wanted: bool,
    pub(crate) flush_timing: Option<FlushTiming>,
    pub(crate) wall_ms: i64,
}

impl<F: Fs> Spool<F> {
    /// Makes a group durable: writes it as one frame and flushes once. On success the group is empty again.
    ///
    /// Nothing in it may be answered before this returned a [`Commit`].
    ///
    /// # Errors
    /// [`AppendError::Full`] and [`AppendError::TooLarge`] leave the group as it was. After
    /// [`AppendError::Unwritable`] an empty group means that its frame is held: it becomes durable by
    /// [`retry`](Spool::retry), with the sequence numbers that it then returns.
    pub fn append(&mut self, group: &mut Group, now: Time) -> Result<Commit, AppendError> {
        if group.is_empty() {
            return Ok(Commit {
                first_seq: self.next_seq,
                records: 0,
            });
        }
        self.write_group(group, now)
    }

    fn write_group(&mut self, group: &mut Group, now: Time) -> Result<Commit, AppendError> {
        if self.pending.is_some() {
            return Err(AppendError::Unwritable(
                "an earlier group is not on disk".to_owned(),
            ));
        }
        if wide(self.delta.serialized_size()) > DELTA_BYTES_MAX {
            self.delta.clear();
            self.delta_counts.clear();
            self.checkpoint_wanted = true;
        }
        let delta_len = self.delta.serialized_size() + self.delta_counts.encoded_len();
        let bytes = wide(HEADER + group.payload_bound() + delta_len);
        let stride = round_up(bytes, u64::from(self.config.align));
        let max = self.frame_bytes_max();
        if stride > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        let fits = self.fits_active(stride);
        if !fits && !self.may_rotate(group.records() > 0, stride) {
            self.checkpoint_wanted |= self.may_checkpoint(now);
            return Err(AppendError::Full);
        }
        let delta = Delta {
            seqs: std::mem::take(&mut self.delta),
            counts: std::mem::take(&mut self.delta_counts),
        };
        let (frame, events, tallies) =
            group.take_frame(self.next_frame, self.next_seq, self.prior_end, &delta);
        let effect = Effect {
            first_seq: frame.header.first_seq,
            records: frame.header.records,
            frame: frame.header.frame,
            events,
            tallies,
        };
        let commit = self.commit(frame, effect, fits);
        if let Some(bytes) = self.spare_bytes.take() {
            group.reuse(bytes);
        }
        commit
    }

    /// Tries again to write what [`append`](Spool::append) or [`poll`](Spool::poll) could not, each time into another
    /// segment. `None` when nothing that was to be answered is held. Call it once a second while
    /// [`is_writable`](Spool::is_writable) is false. It also makes [`uncertain`](Spool::uncertain) frames durable.
    ///
    /// # Errors
    /// [`AppendError::Unwritable`] when that fails too.
    pub fn retry(&mut self) -> Result<Option<Commit>, AppendError> {
        if self.pending.is_none() {
            return Ok(None);
        }
        self.place_pending()
            .map_err(|error| AppendError::Unwritable(error.to_string()))
    }

    /// False while a frame is held that could not be written.
    pub fn is_writable(&self) -> bool {
        self.pending.is_none()
    }

    /// Greatest number of bytes that a group may take in the log.
    pub fn frame_bytes_max(&self) -> u64 {
        self.config.segment_bytes - 2 * PAGE
    }

    fn fits_active(&self, stride: u64) -> bool {
        self.active
            .and_then(|epoch| self.live.get(&epoch))
            .is_some_and(|active| active.end + stride + PAGE <= active.header.size)
    }

    fn may_rotate(&self, publishes: bool, stride: u64) -> bool {
        // A new directory has one small segment, and nothing yet that a reserve could be needed for.
        let keep = if publishes && !self.live.is_empty() {
            RESERVE_SEGMENTS
        } else {
            0
        };
        self.ready.len() > keep
            && self
                .ready
                .iter()
                .any(|spare| stride + 2 * PAGE <= spare.size)
    }

    /// Says that records are no longer owed. Sequence numbers that are unknown or settled already are ignored.
    /// Returns how many were settled by this call. The next frame makes it durable.
    /// [`settle_records`](Spool::settle_records) is the better call where the stream is known.
    pub fn settle(&mut self, seqs: impl IntoIterator<Item = u64>, now: Time) -> u64 {
        seqs.into_iter().map(|seq| self.settle_one(seq, now)).sum()
    }

    pub(crate) fn settle_one(&mut self, seq: u64, now: Time) -> u64 {
        if !self.unsettled.remove(seq) {
            return 0;
        }
        if self.delta.is_empty() {
            self.delta_since = now;
        }
        self.delta.insert(seq);
        self.totals.settled += 1;
        self.changed = true;
        1
    }

    /// Does what time asks for: writes a delta that waited too long, decides on checkpoints, lets go of segments whose
    /// readers are done. Call it at [`next_deadline`](Spool::next_deadline) or more often.
    ///
    /// # Errors
    /// [`AppendError::Unwritable`] when the delta could not be written.
    pub fn poll(&mut self, now: Time) -> Result<(), AppendError> {
        self.release_settled();
        if self.may_checkpoint(now) {
            let due = self.changed && now.since(self.checkpointed_at) >= CHECKPOINT_INTERVAL;
            self.checkpoint_wanted |= due || self.checkpoint_would_free();
        }
        let waited = now.since(self.delta_since) >= DELTA_DELAY;
        let due = !self.delta.is_empty() && (waited || self.delta.len() >= DELTA_RECORDS_MAX);
        if due && self.pending.is_none() {
            match self.write_group(&mut Group::new(), now) {
                // A checkpoint keeps what a delta would have kept.
                Ok(_) | Err(AppendError::Full | AppendError::TooLarge { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// When [`poll`](Spool::poll) is due; [`Time::NEVER`] when nothing waits.
    pub fn next_deadline(&self) -> Time {
        let delta = match self.delta.is_empty() {
            true => Time::NEVER,
            false => self.delta_since + DELTA_DELAY,
        };
        let checkpoint = match self.changed {
            true => self.checkpointed_at + CHECKPOINT_INTERVAL,
            false => Time::NEVER,
        };
        delta.min(checkpoint)
    }

    /// Asks for a checkpoint whatever the time is: at shutdown.
    pub fn want_checkpoint(&mut self) {
        self.checkpoint_wanted = true;
    }

    fn may_checkpoint(&self, now: Time) -> bool {
        !self.checkpoint_wanted && now.since(self.checkpointed_at) >= CHECKPOINT_GAP
    }

    /// True when segments are short and another checkpoint would bring some nearer to use.
    fn checkpoint_would_free(&self) -> bool {
        let short = self.ready.len() < RESERVE_SEGMENTS + AHEAD_SEGMENTS;
        let [(a, _), (b, _)] = self.checkpoints;
        short
            && self.sealed().any(|(_, segment)| match segment.settled_in {
                Some(generation) => generation > a.min(b),
                None => self.is_settled(segment),
            })
    }

    pub(crate) fn sealed(&self) -> impl Iterator<Item = (u64, &Segment<F::File>)> {
        let active = self.active;
        self.live
            .iter()
            .map(|(epoch, segment)| (*epoch, segment))
            .filter(move |(epoch, _)| Some(*epoch) != active)
    }

    pub(crate) fn is_settled(&self, segment: &Segment<F::File>) -> bool {
        self.unsettled
            .range_cardinality(segment.header.base_seq..segment.end_seq)
            == 0
    }

    /// A copy of the state as it is now, all of which is durable in frames or harmless to lose.
    pub(crate) fn snapshot(&mut self) -> Checkpoint {
        self.generation += 1;
        self.book.prune(&self.unsettled);
        let settled: Vec<u64> = self
            .sealed()
            .filter(|(_, segment)| segment.settled_in.is_none() && self.is_settled(segment))
            .map(|(epoch, _)| epoch)
            .collect();
        for epoch in settled {
            if let Some(segment) = self.live.get_mut(&epoch) {
                segment.settled_in = Some(self.generation);
            }
        }
        let held = self.held.as_ref();
        let uncertain = held
            .and_then(|held| held.epoch)
            .or_else(|| self.pending.as_ref()?.first_epoch);
        let next_epoch = uncertain.unwrap_or(self.next_epoch);
        let held_frame = held.and_then(|held| Some(held.effects.front()?.frame));
        Checkpoint {
            generation: self.generation,
            next_frame: held_frame.unwrap_or(self.next_frame),
            next_seq: self.next_seq,
            next_epoch,
            totals: self.totals,
            segments: self.list_segments(next_epoch),
            open_ids: self.open_ids.clone(),
            book: self.book.clone(),
            unsettled: self.unsettled.clone(),
        }
    }

    /// The segments that were certainly put to use before an epoch, oldest first.
    fn list_segments(&self, before: u64) -> Vec<ListedSegment> {
        let uncut = self.held.as_ref().map(|held| &held.uncut);
        let uncut = |epoch: &u64| uncut.and_then(|uncut| uncut.get(epoch)).copied();
        let live = self.live.iter();
        let voids = self.voids.iter().map(|void| (&void.header.epoch, void));
        let voids = voids.filter(|(epoch, _)| uncut(epoch).is_some());
        let all: BTreeMap<u64, ListedSegment> = live
            .chain(voids)
            .filter(|(epoch, _)| **epoch < before)
            .map(|(epoch, segment)| {
                let listed = ListedSegment {
                    header: segment.header.clone(),
                    end_frame: uncut(epoch).unwrap_or(segment.end_frame),
                    end_seq: segment.end_seq,
                };
                (*epoch, listed)
            })
            .collect();
        all.into_values().collect()
    }

    /// Makes segments free whose records are settled in both checkpoints, and whose frames neither needs.
    pub(crate) fn release_settled(&mut self) {
        let [(a, a_frame), (b, b_frame)] = self.checkpoints;
        let (generation, frame) = (a.min(b), a_frame.min(b_frame));
        #[cfg(test)]
        let early = self.config.mutation == crate::mutation::Mutation::RecycleEarly;
        #[cfg(not(test))]
        let early = false;
        let uncut = |epoch: &u64| {
            let held = self.held.as_ref();
            held.is_some_and(|held| held.uncut.contains_key(epoch))
        };
        let free: Vec<u64> = self
            .sealed()
            .filter(|(epoch, _)| !uncut(epoch))
            .filter(|(_, segment)| {
                let settled = segment.settled_in.is_some_and(|at| at <= generation)
                    && segment.end_frame <= frame;
                (settled || (early && self.is_settled(segment)))
                    && Arc::strong_count(&segment.file) == 1
            })
            .map(|(epoch, _)| epoch)
            .collect();
        for epoch in free {
            if let Some(segment) = self.live.remove(&epoch) {
                self.reuse(segment);
            }
        }
    }

    pub(crate) fn reuse(&mut self, segment: Segment<F::File>) {
        self.unsealed.retain(|epoch| *epoch != segment.header.epoch);
        let slot = segment.header.slot;
        if segment.bad {
            self.discarded.push_back(slot);
        } else if segment.header.size < self.config.segment_bytes {
            self.unready.push_back((slot, segment.header.size));
        } else {
            self.counters.recycled += 1;
            self.ready.push(Spare {
                slot,
                file: segment.file,
                size: segment.header.size,
            });
        }
    }

    /// The open QoS 2 ids.
    ///
    /// While [`uncertain`](Spool::uncertain) frames are held, ids of which they say anything are not in the table: a
    /// PUBLISH with one of them is taken again rather than swallowed. Answer a PUBREL for an id that is not open only
    /// while [`is_writable`](Spool::is_writable) is true.
    pub fn open_ids(&self) -> &OpenIds {
        self.held
            .as_ref()
            .map_or(&self.open_ids, |held| &held.open_ids)
    }

    /// The sequence numbers in frames at the end of the log that may not be on disk. They are held when a directory is
    /// opened and no segment can be written: they may come from a group that was never answered, which a power cut
    /// still takes, or from one that was. So they are not owed, not read and not settled, but kept, until
    /// [`retry`](Spool::retry) has made them durable. From then on they are owed; read from the start of the range.
    pub fn uncertain(&self) -> Option<Range<u64>> {
        self.held.as_ref().and_then(Held::seqs)
    }

    /// The sequence numbers of what is owed.
    pub fn unsettled(&self) -> &RoaringTreemap {
        &self.unsettled
    }

    /// The lowest sequence number that is owed or uncertain, or the next one when none is.
    pub fn watermark(&self) -> u64 {
        let owed = self.unsettled.min().unwrap_or(self.next_seq);
        self.uncertain().map_or(owed, |held| owed.min(held.start))
    }

    /// The random number of this directory.
    pub fn origin(&self) -> u128 {
        self.origin
    }

    /// How long flushes take here, once [`measure_flushes`](Spool::measure_flushes) was asked for and done.
    pub fn flush_timing(&self) -> Option<&FlushTiming> {
        self.flush_timing.as_ref()
    }

    /// The lock of the directory, held as long as the spool is.
    pub fn lock(&self) -> &F::Lock {
        &self.lock
    }

    /// Figures for metrics and people.
    pub fn stat(&self) -> Stat {
        Stat {
            dir: self.config.dir.clone(),
            limit_bytes: wide(self.max_segments) * self.config.segment_bytes,
            used_bytes: self.live.values().map(|segment| segment.header.size).sum(),
            live_segments: self.live.len(),
            ready_segments: self.ready.len(),
            publishable_segments: self.ready.len().saturating_sub(RESERVE_SEGMENTS),
            unallocated_segments: self.max_segments.saturating_sub(self.files()),
            bad_segments: self.live.values().filter(|segment| segment.bad).count(),
            unsettled_records: self.unsettled.len(),
            watermark: self.watermark(),
            next_seq: self.next_seq,
            open_ids: self.open_ids.len(),
            flush_median: self.flush_timing.as_ref().map(FlushTiming::median),
            flush_implausible: self
                .flush_timing
                .as_ref()
                .is_some_and(FlushTiming::is_implausible),
            totals: self.totals,
            counters: self.counters,
        }
    }
}

/// Figures of a spool at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The directory.
    pub dir: PathBuf,
    /// Greatest size of all segments.
    pub limit_bytes: u64,
    /// Size of the segments that hold frames.
    pub used_bytes: u64,
    /// Segments that hold frames.
    pub live_segments: usize,
    /// Segments that are ready for use.
    pub ready_segments: usize,
    /// Those of them that publishes may take.
    pub publishable_segments: usize,
    /// Segments that the limit still allows and that have no file.
    pub unallocated_segments: usize,
    /// Segments on which a write or flush failed.
    pub bad_segments: usize,
    /// Records that are owed.
    pub unsettled_records: u64,
    /// The lowest sequence number that is owed.
    pub watermark: u64,
    /// The sequence number that the next record gets.
    pub next_seq: u64,
    /// Open QoS 2 ids.
    pub open_ids: usize,
    /// Median duration of a flush of 4 KiB, when it was measured.
    pub flush_median: Option<Duration>,
    /// True when flushes are so fast that this device may not do them.
    pub flush_implausible: bool,
    /// Totals since the directory was created.
    pub totals: Totals,
    /// Figures since it was opened.
    pub counters: Counters,
}
