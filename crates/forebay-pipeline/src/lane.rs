//! Lanes: one bounded lock-free queue of batches per open shard.
//!
//! The sequencer pushes, one consumer takes. What is queued is bounded twice: in batches by the ring, in bytes by the
//! budgets that every record holds until it is settled. A full ring loses nothing and blocks nobody: the sequencer
//! keeps the batch, lets it grow with what comes next, and pushes it when the consumer has made room.
//!
//! A quarter of the ring is for records that are not in the log. However far a lane is behind the log, what lies there
//! cannot fill it whole.

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
/// Batches of the log's records among them.
const LOGGED_BATCHES: usize = RING_BATCHES - RING_BATCHES.div_ceil(4);
const _: () = assert!(0 < LOGGED_BATCHES && LOGGED_BATCHES < RING_BATCHES);

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

    /// Pushes a batch of records that do not wait for the log, or hands it back when the ring is full.
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

    /// Pushes a batch of records that are in the log, or wait behind such, unless the ring is full but for the part of
    /// the others.
    pub(crate) fn push_logged(&self, batch: Vec<Record>) -> Result<(), Vec<Record>> {
        // Only the sequencer pushes, so what is free stays free.
        let is_full = || self.ring.len() >= LOGGED_BATCHES;
        if is_full() {
            // As above: the flag, then the second look.
            self.overflowing.store(true, Ordering::SeqCst);
            #[cfg(all(test, forebay_loom))]
            if is_planted(Fault::NoSecondLook) {
                return Err(batch);
            }
            if is_full() {
                return Err(batch);
            }
        }
        self.push(batch)
    }

    /// Takes the oldest batch. Of the records that are in the log, and of those that are not, each batch is in sequence
    /// order and newer than what was taken before. One that is not in the log may come before older ones that are, and
    /// never behind newer ones.
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

#[cfg(test)]
mod tests {
    use forebay_core::AckMode;

    use super::*;
    use crate::StreamId;
    use crate::testing;

    struct NoWake;

    impl Wake for NoWake {
        fn wake(&self) {}
    }

    fn record() -> Record {
        testing::record(StreamId(0), AckMode::Stored)
    }

    #[test]
    fn records_of_the_log_leave_a_quarter_of_the_ring_to_others() {
        let lane = Lane::new(Arc::new(NoWake));
        let logged = (0..RING_BATCHES).take_while(|_| lane.push_logged(vec![record()]).is_ok());
        assert_eq!(logged.count(), LOGGED_BATCHES);
        let others = (0..RING_BATCHES).take_while(|_| lane.push(vec![record()]).is_ok());
        assert_eq!(others.count(), RING_BATCHES - LOGGED_BATCHES);
        // The part of the others is no part of its own: what is taken is room for both until it is reached again.
        for _ in 0..=RING_BATCHES - LOGGED_BATCHES {
            assert!(lane.push_logged(vec![record()]).is_err());
            assert!(lane.pop().is_some());
        }
        assert!(lane.push_logged(vec![record()]).is_ok());
        assert!(lane.push_logged(vec![record()]).is_err());
        assert_eq!(lane.len(), LOGGED_BATCHES);
    }
}
