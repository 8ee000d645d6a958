//! Lanes: one bounded lock-free queue of batches per open shard.
//!
//! The sequencer pushes, one consumer takes. What is queued is bounded twice: in batches by the ring, in bytes by the
//! budgets that every record holds until it is settled. A full ring loses nothing and blocks nobody: the sequencer
//! keeps the batch, lets it grow with what comes next, and pushes it when the consumer has made room.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::ShardMap;

#[cfg(all(test, forebay_loom))]
use crate::models::{Fault, is_planted};
use crate::sync::{AtomicBool, AtomicUsize, Bounded};
use crate::{Record, Wake};

/// Batches that a ring holds. Small, because a batch that waits outside grows and so stays one batch.
const RING_BATCHES: usize = if cfg!(forebay_loom) { 2 } else { 16 };

/// The queue of one open shard.
pub struct Lane {
    ring: Bounded<Vec<Record>>,
    records: AtomicUsize,
    /// Set by the sequencer when it holds a batch that found the ring full.
    overflowing: AtomicBool,
    sequencer: Arc<dyn Wake>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("records", &self.len())
            .finish_non_exhaustive()
    }
}

impl Lane {
    pub(crate) fn new(sequencer: Arc<dyn Wake>) -> Self {
        Self {
            ring: Bounded::new(RING_BATCHES),
            records: AtomicUsize::new(0),
            overflowing: AtomicBool::new(false),
            sequencer,
        }
    }

    /// Pushes a batch, or hands it back when the ring is full.
    pub(crate) fn push(&self, batch: Vec<Record>) -> Result<(), Vec<Record>> {
        let count = batch.len();
        // Counted before it is visible: the count may be a moment too high, never below what is queued.
        self.records.fetch_add(count, Ordering::SeqCst);
        let pushed = self.ring.push(batch).or_else(|batch| {
            #[cfg(all(test, forebay_loom))]
            if is_planted(Fault::NoSecondLook) {
                self.overflowing.store(true, Ordering::SeqCst);
                return Err(batch);
            }
            // The flag is set before the second try: a consumer that made room after the first one either sees the
            // flag and wakes the sequencer, or made the room that this try finds.
            self.overflowing.store(true, Ordering::SeqCst);
            self.ring.push(batch)
        });
        if pushed.is_err() {
            self.records.fetch_sub(count, Ordering::SeqCst);
        }
        pushed
    }

    /// Takes the oldest batch: its records are in sequence order, and newer than those of every batch taken before.
    pub fn pop(&self) -> Option<Vec<Record>> {
        let batch = self.ring.pop()?;
        self.records.fetch_sub(batch.len(), Ordering::SeqCst);
        if self.overflowing.swap(false, Ordering::SeqCst) {
            self.sequencer.wake();
        }
        Some(batch)
    }

    /// Records that are queued now.
    pub fn len(&self) -> usize {
        self.records.load(Ordering::SeqCst)
    }

    /// True when no record is queued now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The lanes of one stream under one shard map: lane `i` belongs to shard `i` of the map.
#[derive(Debug)]
pub struct LaneTable {
    /// Counts the maps of the stream, from 1.
    pub epoch: u64,
    /// The shards.
    pub map: Arc<ShardMap>,
    /// One lane per shard of `map`.
    pub lanes: Box<[Arc<Lane>]>,
}

impl LaneTable {
    pub(crate) fn new(epoch: u64, map: Arc<ShardMap>, sequencer: &Arc<dyn Wake>) -> Self {
        let lanes = (0..map.len())
            .map(|_| Arc::new(Lane::new(Arc::clone(sequencer))))
            .collect();
        Self { epoch, map, lanes }
    }

    /// Records that are queued in all lanes.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.len()).sum()
    }

    /// True when no lane has a record.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.is_empty())
    }
}
