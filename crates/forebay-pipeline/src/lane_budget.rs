//! Room in lanes for records of the log: what does not fit waits on the disk.

use std::ops::Range;

use crate::log_places::LogPlaces;

/// Part of the whole that no stream can take from the others: one in so many.
const RESERVE: u64 = 4;

/// The bytes of the log's records that may be in lanes or at the sender. Only the sequencer counts them.
///
/// A stream may take its share, and a lane its part of that, so a shard that takes nothing holds no more than its own
/// part. A quarter is divided among all lanes, so that every lane goes on when other streams have taken the rest. One
/// record fits an empty lane whatever its size.
#[derive(Debug)]
pub(crate) struct LaneBudget {
    shared: u64,
    stream: u64,
    reserve: u64,
    used: u64,
    /// Lanes of all streams.
    lanes: usize,
    places: LogPlaces,
}

impl LaneBudget {
    pub(crate) fn new(bytes: u64, per_stream_share: f64) -> Self {
        let reserve = bytes / RESERVE;
        Self {
            shared: bytes - reserve,
            stream: (bytes as f64 * per_stream_share) as u64,
            reserve,
            used: 0,
            lanes: 0,
            places: LogPlaces::default(),
        }
    }

    /// The number of lanes has changed.
    pub(crate) fn change_lanes(&mut self, before: usize, now: usize) {
        self.lanes = self.lanes - before + now;
    }

    /// Whether `charge` bytes fit a lane that holds `held`, of a stream with so many lanes.
    pub(crate) fn fits(&self, held: u64, charge: u64, lanes: usize) -> bool {
        let after = held + charge;
        held == 0
            || after <= self.guaranteed()
            || (after <= self.lane_limit(lanes) && self.used + charge <= self.shared)
    }

    /// Whether reading for a lane is worth it.
    pub(crate) fn is_half_free(&self, held: u64, lanes: usize) -> bool {
        let limit = match self.used < self.shared {
            true => self.lane_limit(lanes).max(self.guaranteed()),
            false => self.guaranteed(),
        };
        held <= limit / 2
    }

    fn guaranteed(&self) -> u64 {
        self.reserve / self.lanes.max(1) as u64
    }

    fn lane_limit(&self, lanes: usize) -> u64 {
        self.stream / lanes.max(1) as u64
    }

    /// A record of the log comes into memory.
    pub(crate) fn take(&mut self, log: u64, bytes: u64) {
        self.used += bytes;
        self.places.enter(log);
    }

    /// It is not in memory any more.
    pub(crate) fn give_back(&mut self, log: u64, bytes: u64) {
        debug_assert!(self.used >= bytes, "more given back than taken");
        self.used -= bytes;
        self.places.leave(log);
    }

    /// False when certainly none of these records is in memory.
    pub(crate) fn may_have(&mut self, seqs: &Range<u64>) -> bool {
        self.places.may_have(seqs)
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_takes_its_share_and_leaves_every_lane_its_part() {
        let mut budget = LaneBudget::new(4000, 0.25);
        budget.change_lanes(0, 10);
        assert!(budget.fits(0, 5000, 10), "an empty lane takes any record");
        assert!(budget.fits(50, 50, 10) && !budget.fits(50, 51, 10));
        budget.take(1, 3000);
        // The rest is taken: only the guaranteed part of each lane is left.
        assert!(budget.fits(900, 0, 1) && !budget.fits(900, 1, 1));
        assert!(budget.fits(99, 1, 1));
        assert!(budget.is_half_free(50, 1) && !budget.is_half_free(51, 1));
        budget.give_back(1, 3000);
        assert!(budget.fits(900, 100, 1) && !budget.fits(900, 101, 1));
        assert!(budget.is_half_free(500, 1));
    }
}
