//! The log as a state machine: what is live, what is unsettled, what is owed to the disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Fs, FsError, SeededEntropy, Time};
use roaring::RoaringTreemap;

use crate::backlog::{Book, Count, DeltaCounts};
use crate::checkpoint::Totals;
use crate::config::Config;
use crate::damage::Copying;
use crate::error::AppendError;
use crate::flush_timing::FlushTiming;
use crate::frame::{Delta, FrameBuffer, Group, HEADER};
use crate::open_ids::{Event, OpenIds};
use crate::record::StreamKey;
use crate::replay::Held;
use crate::segment::{PAGE, SegmentHeader, Summary};
use crate::snapshot::CHECKPOINT_GAP;
use crate::stat::Counters;
use crate::wire::{round_up, wide};

/// Zeroed segments that publishes never take: they are for deltas, release events and recovery, so that a full spool
/// can be drained.
pub(crate) const RESERVE_SEGMENTS: usize = 2;
/// Segments beyond the reserve that are made ready ahead of the writer.
pub(crate) const AHEAD_SEGMENTS: usize = 2;
/// A delta that was not written for this long gets a frame of its own.
const DELTA_DELAY: Duration = Duration::from_millis(100);
/// Records that are settled without that being kept, at most, while the log can be written: a delta of this many gets a
/// frame of its own.
pub const UNKEPT_SETTLED_MAX: u64 = 65_536;
/// Bytes of a delta beyond which a checkpoint is the better way to keep it.
const DELTA_BYTES_MAX: u64 = 1 << 20;
/// Time between checkpoints while anything changes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

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
    /// Why they could not be written the last time that there was something to write them to.
    pub(crate) error: Option<FsError>,
}

/// A checkpoint that was read and may not be on disk.
#[derive(Debug)]
pub(crate) struct Unsure {
    /// Which of the two files it is in.
    pub(crate) at: usize,
    pub(crate) generation: u64,
    pub(crate) next_frame: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// A group that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Sequence number of the group's first record; the others follow one by one.
    pub first_seq: u64,
    /// Number of records.
    pub records: u32,
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
    /// The newest checkpoint, from an opening that could not make certain that it is on disk. Only the same bytes may be
    /// written over it: a newer one that is torn there would take what it alone says is settled.
    pub(crate) unsure: Option<Arc<Unsure>>,
    pub(crate) generation: u64,
    pub(crate) checkpoint_wanted: bool,
    pub(crate) changed: bool,
    pub(crate) checkpointed_at: Time,
    /// When a checkpoint may be tried after one failed.
    pub(crate) checkpoint_at: Time,
    pub(crate) job_running: bool,
    pub(crate) allocating: Option<u32>,
    pub(crate) allocate_at: Time,
    /// Bytes of damaged places that were copied, and those that wait for it.
    pub(crate) quarantined: u64,
    pub(crate) copies: VecDeque<Copying<F::File>>,
    /// Damage may have taken what said that records are settled.
    pub(crate) may_hide_settled: bool,
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
        let due = !self.delta.is_empty() && (waited || self.delta.len() >= UNKEPT_SETTLED_MAX);
        if due && self.pending.is_none() {
            match self.write_group(&mut Group::new(), now) {
                Ok(_) => {}
                // A checkpoint keeps what a delta would have kept; room may come before it.
                Err(AppendError::Full | AppendError::TooLarge { .. }) => self.delta_since = now,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// When [`poll`](Spool::poll) is due; [`Time::NEVER`] when nothing waits.
    pub fn next_deadline(&self) -> Time {
        // Nothing is written while a frame is held: its next try is up to the owner.
        let delta = match self.delta.is_empty() || self.pending.is_some() {
            true => Time::NEVER,
            false => self.delta_since + DELTA_DELAY,
        };
        let checkpoint = match (self.checkpoint_wanted, self.changed) {
            // One that is wanted waits for the job that runs, or for the time of its next try.
            (true, _) if self.job_running => Time::NEVER,
            (true, _) => self.checkpoint_at,
            // A segment is free when two checkpoints say so, and nothing else may come to wake anybody for the second.
            (false, _) if self.checkpoint_would_free() => self.checkpointed_at + CHECKPOINT_GAP,
            (false, true) => self.checkpointed_at + CHECKPOINT_INTERVAL,
            (false, false) => Time::NEVER,
        };
        delta.min(checkpoint)
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

    /// False when this QoS 2 id is not open and cannot become so by a frame that is held or uncertain: then nothing
    /// needs to be written before its PUBREL is answered.
    pub fn may_open(&self, client: &str, id: u16) -> bool {
        let opens = |event: &Event| match event {
            Event::Open {
                client: opened,
                id: number,
            } => opened == client && *number == id,
            Event::Release { .. } | Event::Forget { .. } => false,
        };
        let pending = self.pending.iter().flat_map(|pending| &pending.effect);
        let mut pending = pending.flat_map(|effect| &effect.events);
        let held = self.held.iter().flat_map(|held| &held.effects);
        let mut held = held.flat_map(|effect| &effect.events);
        self.open_ids.is_open(client, id) || pending.any(opens) || held.any(opens)
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

    /// True when records that are owed since the log was opened may have been settled long before: damage was found then
    /// that may have taken what said so.
    pub fn may_hide_settled(&self) -> bool {
        self.may_hide_settled
    }

    /// False while what is settled cannot be written to the log: a restart would find it owed.
    pub fn keeps_settled(&self) -> bool {
        self.pending.is_none() && self.delta.len() < UNKEPT_SETTLED_MAX
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

    /// The disk.
    pub fn fs(&self) -> &Arc<F> {
        &self.fs
    }

    /// The sequence number that the next record gets at least.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }
}
