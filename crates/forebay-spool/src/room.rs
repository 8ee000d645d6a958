//! How much of the log is taken, in segments.

use std::sync::Arc;

use forebay_core::Fs;

use crate::spool::{RESERVE_SEGMENTS, Spool};

impl<F: Fs> Spool<F> {
    /// The disk.
    pub fn fs(&self) -> &Arc<F> {
        &self.fs
    }

    /// The sequence number that the next record gets at least.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Segments that hold frames and take no more.
    pub fn full_segments(&self) -> u64 {
        self.sealed().count() as u64
    }

    /// Segments that publishes may fill at the same time: all but the reserve.
    pub fn publishable_max(&self) -> u64 {
        self.max_segments.saturating_sub(RESERVE_SEGMENTS) as u64
    }
}
