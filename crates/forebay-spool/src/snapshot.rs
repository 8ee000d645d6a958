//! When a checkpoint is wanted, what it says, and which segments it makes free.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Fs, Time};

use crate::checkpoint::{Checkpoint, ListedSegment};
use crate::spool::{AHEAD_SEGMENTS, RESERVE_SEGMENTS, Spool};

/// Least time between checkpoints that are taken to make segments free.
pub(crate) const CHECKPOINT_GAP: Duration = Duration::from_millis(100);
/// From this part of the limit on, in percent, segments are made free as soon as they can be: whoever refuses or waits
/// because the log is nearly full should not do so for longer than it is.
const CROWDED_PERCENT: u64 = 75;

impl<F: Fs> Spool<F> {
    /// Asks for a checkpoint whatever the time is: at shutdown.
    pub fn want_checkpoint(&mut self) {
        self.checkpoint_wanted = true;
    }

    /// True when a checkpoint may be asked for to make segments free.
    pub(crate) fn may_checkpoint(&self, now: Time) -> bool {
        !self.checkpoint_wanted && now.since(self.checkpointed_at) >= CHECKPOINT_GAP
    }

    /// True when segments are short, or most of them are full, and another checkpoint would bring some nearer to use.
    pub(crate) fn checkpoint_would_free(&self) -> bool {
        let short = self.ready.len() < RESERVE_SEGMENTS + AHEAD_SEGMENTS;
        let crowded = self.full_segments() * 100 >= self.publishable_max() * CROWDED_PERCENT;
        let [(a, _), (b, _)] = self.checkpoints;
        (short || crowded)
            && self.sealed().any(|(_, segment)| match segment.settled_in {
                Some(generation) => generation > a.min(b),
                None => self.is_settled(segment),
            })
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
}
