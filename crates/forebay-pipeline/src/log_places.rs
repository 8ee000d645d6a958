//! Which parts of the log have records in memory, so that damage on the disk is not taken for a loss too early.

use std::collections::BTreeMap;
use std::ops::Range;

/// Sequence numbers that are counted together.
const BLOCK: u64 = 256;

/// Records of the log that are in memory, counted by the block of sequence numbers that they are in. There are never
/// more blocks than such records, which have a budget.
#[derive(Debug, Default)]
pub(crate) struct LogPlaces {
    blocks: BTreeMap<u64, i64>,
    /// Changes of one block that are not in the map yet. Records come and go in bursts of neighbours, so that most of
    /// them cost one addition.
    recent: (u64, i64),
}

impl LogPlaces {
    /// A record came into memory.
    pub(crate) fn enter(&mut self, log: u64) {
        self.change(log / BLOCK, 1);
    }

    /// It left.
    pub(crate) fn leave(&mut self, log: u64) {
        self.change(log / BLOCK, -1);
    }

    fn change(&mut self, block: u64, by: i64) {
        if self.recent.0 != block {
            self.write_down();
            self.recent.0 = block;
        }
        self.recent.1 += by;
    }

    fn write_down(&mut self) {
        let (block, by) = self.recent;
        self.recent.1 = 0;
        if by == 0 {
            return;
        }
        let count = self.blocks.entry(block).or_default();
        *count += by;
        debug_assert!(*count >= 0, "more records left than came");
        if *count == 0 {
            self.blocks.remove(&block);
        }
    }

    /// False when certainly none of these is in memory.
    pub(crate) fn may_have(&mut self, seqs: &Range<u64>) -> bool {
        if seqs.is_empty() {
            return false;
        }
        self.write_down();
        let blocks = seqs.start / BLOCK..=(seqs.end - 1) / BLOCK;
        self.blocks.range(blocks).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_something_until_its_last_record_left() {
        let mut places = LogPlaces::default();
        for log in [1, 2, 300, 301, 2] {
            places.enter(log);
        }
        assert!(places.may_have(&(0..1)), "the same block as 1 and 2");
        assert!(places.may_have(&(250..257)));
        assert!(!places.may_have(&(512..100_000)));
        assert!(!places.may_have(&(2..2)), "nothing is asked for");
        for log in [301, 2, 1] {
            places.leave(log);
        }
        assert!(places.may_have(&(2..3)) && places.may_have(&(300..301)));
        places.leave(2);
        assert!(!places.may_have(&(0..256)) && places.may_have(&(0..257)));
        places.leave(300);
        assert!(!places.may_have(&(0..1000)));
        assert!(places.blocks.is_empty());
    }
}
