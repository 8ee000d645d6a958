//! Records that leave the queues without being sent: deadlines that have passed, and room that is made for newer ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use forebay_core::Time;
use forebay_pipeline::FailureReason;

use super::entry::Entry;
use super::{Aggregator, Effects, Failure};

/// Shortest time between two looks at all deadlines.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(500);

/// The reason for which an expired record fails.
pub(super) fn expired(entry: &Entry) -> FailureReason {
    if entry.ambiguous {
        FailureReason::ExpiredAmbiguous
    } else {
        FailureReason::Expired
    }
}

impl Aggregator {
    /// Fails queued records whose deadline has passed.
    pub(super) fn expire(&mut self, now: Time, effects: &mut dyn Effects) {
        let mut next = Time::NEVER;
        for lane in &mut self.lanes {
            if lane.queued() == 0 {
                continue;
            }
            if lane.first_deadline() <= now {
                lane.remove_if(
                    |entry| entry.record.deadline <= now,
                    |entry| {
                        let reason = expired(&entry);
                        effects.failed(entry, &Failure::own(reason));
                    },
                );
            }
            next = next.min(lane.first_deadline());
        }
        // Records in flight come back or do not; those that come back are looked at then.
        self.expiry_due = if next == Time::NEVER {
            next
        } else {
            next.max(now + EXPIRY_INTERVAL)
        };
    }

    /// Fails the oldest queued records that nothing was promised for, until `bytes` of what they hold are free. What
    /// is in flight cannot be given up.
    pub fn shed(&mut self, bytes: u64, effects: &mut dyn Effects) {
        let Some(last) = self.last_victim(bytes) else {
            return;
        };
        let reason = FailureReason::BufferFull;
        for lane in &mut self.lanes {
            lane.shed_until(last, |entry| effects.failed(entry, &Failure::own(reason)));
        }
    }

    /// Sequence number of the last record that has to go, when the oldest go first over all lanes.
    fn last_victim(&self, mut bytes: u64) -> Option<u64> {
        let mut queues: Vec<_> = self
            .lanes
            .iter()
            .flat_map(|lane| lane.queues())
            .map(|queue| queue.filter(|entry| entry.record.droppable()))
            .collect();
        let mut heads = BinaryHeap::new();
        for (index, queue) in queues.iter_mut().enumerate() {
            if let Some(entry) = queue.next() {
                heads.push(Reverse((entry.record.seq, index, entry.record.charge)));
            }
        }
        let mut last = None;
        while bytes > 0
            && let Some(Reverse((seq, index, charge))) = heads.pop()
        {
            bytes = bytes.saturating_sub(u64::from(charge));
            last = Some(seq);
            if let Some(entry) = queues[index].next() {
                heads.push(Reverse((entry.record.seq, index, entry.record.charge)));
            }
        }
        last
    }
}
