//! Figures of the log, for metrics and people.

use std::path::PathBuf;
use std::time::Duration;

use forebay_core::Fs;

use crate::checkpoint::Totals;
use crate::flush_timing::FlushTiming;
use crate::spool::{RESERVE_SEGMENTS, Spool};
use crate::wire::wide;

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

impl<F: Fs> Spool<F> {
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

    /// Segments that hold frames and take no more.
    pub fn full_segments(&self) -> u64 {
        wide(self.sealed().count())
    }

    /// Segments that publishes may fill at the same time: all but the reserve.
    pub fn publishable_max(&self) -> u64 {
        wide(self.max_segments.saturating_sub(RESERVE_SEGMENTS))
    }
}
