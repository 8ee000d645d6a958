//! The acknowledgement ring of one connection: answers leave in the order in which the publishes came (MQTT 5.0, 4.6).

use std::collections::VecDeque;

/// One publish that is waiting for its answer.
#[derive(Debug)]
struct Slot<R> {
    reply: R,
    /// Records that are not settled; the answer is ready at zero.
    open: u32,
    failed: bool,
}

/// Publishes of one connection that are not answered, oldest first. `R` is what the owner needs to write the answer.
///
/// A slot is opened when a publish arrives, told how many records it waits for, and finished once per record. Only the
/// ready prefix leaves the ring.
#[derive(Debug)]
pub struct AckRing<R> {
    slots: VecDeque<Slot<R>>,
    /// Number of the oldest slot; wraps.
    first: u32,
    capacity: usize,
}

impl<R> AckRing<R> {
    /// A ring for at most `capacity` publishes. Memory is taken as publishes arrive, not before.
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            first: 0,
            capacity,
        }
    }

    /// Opens a slot for the next publish, which waits until it is told otherwise. `None` when the ring is full.
    pub fn open(&mut self, reply: R) -> Option<u32> {
        if self.slots.len() >= self.capacity {
            return None;
        }
        let number = self.first.wrapping_add(self.slots.len() as u32);
        // One record is open until `pending` or `complete` says what the publish really waits for.
        self.slots.push_back(Slot {
            reply,
            open: 1,
            failed: false,
        });
        Some(number)
    }

    /// Says how many records the publish waits for; its answer is ready when as many were finished.
    pub fn pending(&mut self, slot: u32, records: u32) {
        if let Some(slot) = self.slot_mut(slot) {
            slot.open = records;
        }
    }

    /// Makes the answer ready now.
    pub fn complete(&mut self, slot: u32) {
        self.pending(slot, 0);
    }

    /// Finishes one record of the publish. A slot that has left the ring is ignored.
    pub fn finish(&mut self, slot: u32, failed: bool) {
        if let Some(slot) = self.slot_mut(slot) {
            debug_assert!(slot.open > 0, "a record was finished twice");
            slot.open = slot.open.saturating_sub(1);
            slot.failed |= failed;
        }
    }

    /// What the owner keeps for the answer of this publish.
    pub fn reply_mut(&mut self, slot: u32) -> Option<&mut R> {
        self.slot_mut(slot).map(|slot| &mut slot.reply)
    }

    /// Takes the oldest publish if its answer is ready: what the owner kept, and whether a record of it failed.
    pub fn pop_ready(&mut self) -> Option<(R, bool)> {
        if self.slots.front()?.open > 0 {
            return None;
        }
        let slot = self.slots.pop_front()?;
        self.first = self.first.wrapping_add(1);
        Some((slot.reply, slot.failed))
    }

    /// Publishes that are not answered.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True when every publish is answered.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Publishes that can wait at the same time.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot<R>> {
        self.slots.get_mut(slot.wrapping_sub(self.first) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_the_publishes() {
        let mut ring = AckRing::new(3);
        let slots: Vec<u32> = ["a", "b", "c"]
            .map(|reply| ring.open(reply).unwrap())
            .to_vec();
        assert_eq!(ring.open("d"), None);
        ring.pending(slots[0], 2);
        ring.complete(slots[1]);
        ring.pending(slots[2], 1);
        ring.finish(slots[2], true);
        assert_eq!(ring.pop_ready(), None);
        ring.finish(slots[0], false);
        assert_eq!(ring.pop_ready(), None);
        ring.finish(slots[0], false);
        assert_eq!(ring.pop_ready(), Some(("a", false)));
        assert_eq!(ring.pop_ready(), Some(("b", false)));
        assert_eq!(ring.pop_ready(), Some(("c", true)));
        ring.finish(slots[0], true);
        assert!(ring.is_empty());
    }

    #[test]
    fn slot_numbers_wrap() {
        let mut ring = AckRing {
            slots: VecDeque::new(),
            first: u32::MAX,
            capacity: 2,
        };
        let (a, b) = (ring.open(1).unwrap(), ring.open(2).unwrap());
        assert_eq!((a, b), (u32::MAX, 0));
        ring.complete(b);
        ring.complete(a);
        assert_eq!(ring.pop_ready(), Some((1, false)));
        assert_eq!(ring.pop_ready(), Some((2, false)));
    }
}
