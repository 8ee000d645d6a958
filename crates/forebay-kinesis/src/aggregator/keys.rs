//! Which keys of a lane have unresolved records, and the records that wait for them.
//!
//! A record of a key may be in a request, in the lane's front queue (to be sent again, or next), or in the side queue
//! behind those. Nothing of a key that is in one request is put into another, so the records of a key are resolved in
//! order.

use std::collections::{BTreeMap, HashMap, VecDeque};

use foldhash::quality::FixedState;

use super::entry::{Entry, RequestId, key_of};

/// The keys of one lane with unresolved records.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    keys: HashMap<u128, KeyState, FixedState>,
    /// Records that wait for an older one of their key, by sequence number.
    side: BTreeMap<u64, Entry>,
    side_bytes: usize,
    /// At most one record of a key is sent at a time, even within one request.
    one_per_key: bool,
}

#[derive(Debug, Default)]
struct KeyState {
    /// The request that its records are in.
    request: Option<RequestId>,
    in_request: usize,
    in_front: usize,
    /// Sequence numbers of its records in the side queue.
    waiting: VecDeque<u64>,
}

impl KeyState {
    fn is_resolved(&self) -> bool {
        self.in_request == 0 && self.in_front == 0 && self.waiting.is_empty()
    }

    fn may_join(&self, request: RequestId, one_per_key: bool) -> bool {
        match self.request {
            None => true,
            Some(current) => current == request && !one_per_key,
        }
    }

    fn join(&mut self, request: RequestId) {
        self.request = Some(request);
        self.in_request += 1;
    }
}

impl KeyTable {
    pub(super) fn new(one_per_key: bool) -> Self {
        Self {
            one_per_key,
            ..Self::default()
        }
    }

    /// Takes over the front queue of a lane whose keys were not tracked before. With one record per key, those that
    /// are not the first of their key move to the side.
    pub(super) fn adopt(&mut self, front: &mut BTreeMap<u64, Entry>) {
        let adopted = std::mem::take(front);
        for (seq, entry) in adopted {
            let state = self.keys.entry(key_of(&entry.record)).or_default();
            if self.one_per_key && state.in_front > 0 {
                state.waiting.push_back(seq);
                self.side_bytes += entry.len();
                self.side.insert(seq, entry);
            } else {
                state.in_front += 1;
                front.insert(seq, entry);
            }
        }
    }

    /// From now on one record per key: what is in the front queue beyond the first of its key moves to the side.
    pub(super) fn restrict(&mut self, front: &mut BTreeMap<u64, Entry>) {
        if self.one_per_key {
            return;
        }
        self.one_per_key = true;
        let all = std::mem::take(front);
        // Newest first: each goes before what already waits for its key, which is newer.
        for (seq, entry) in all.into_iter().rev() {
            let state = self.keys.entry(key_of(&entry.record)).or_default();
            if state.in_front > 1 || state.in_request > 0 {
                state.in_front -= 1;
                state.waiting.push_front(seq);
                self.side_bytes += entry.len();
                self.side.insert(seq, entry);
            } else {
                front.insert(seq, entry);
            }
        }
    }

    /// From now on several records of a key may share a request.
    pub(super) fn relax(&mut self) {
        self.one_per_key = false;
    }

    /// Moves everything that waits into the front queue and forgets the keys. Only while nothing is in a request.
    pub(super) fn dissolve(self, front: &mut BTreeMap<u64, Entry>) {
        let mut side = self.side;
        front.append(&mut side);
    }

    /// Takes the records of the front queue that may join the request, oldest first, while `fits` says so.
    pub(super) fn take_front(
        &mut self,
        front: &mut BTreeMap<u64, Entry>,
        request: RequestId,
        mut fits: impl FnMut(&Entry) -> bool,
        mut take: impl FnMut(Entry),
    ) {
        let mut chosen = Vec::new();
        for (seq, entry) in front.iter() {
            let state = self
                .keys
                .get_mut(&key_of(&entry.record))
                .expect("keys of the front are known");
            if !state.may_join(request, self.one_per_key) {
                continue;
            }
            if !fits(entry) {
                break;
            }
            state.in_front -= 1;
            state.join(request);
            chosen.push(*seq);
        }
        for seq in chosen {
            take(front.remove(&seq).expect("it was just seen"));
        }
    }

    /// True when a new record may join the request: nothing older of its key is elsewhere.
    pub(super) fn admits(&self, entry: &Entry, request: RequestId) -> bool {
        self.keys.get(&key_of(&entry.record)).is_none_or(|state| {
            state.in_front == 0
                && state.waiting.is_empty()
                && state.may_join(request, self.one_per_key)
        })
    }

    /// A new record joins the request.
    pub(super) fn join(&mut self, entry: &Entry, request: RequestId) {
        self.keys
            .entry(key_of(&entry.record))
            .or_default()
            .join(request);
    }

    /// A new record has to wait for an older one of its key.
    pub(super) fn put_aside(&mut self, entry: Entry) {
        let seq = entry.record.seq;
        self.keys
            .entry(key_of(&entry.record))
            .or_default()
            .waiting
            .push_back(seq);
        self.side_bytes += entry.len();
        self.side.insert(seq, entry);
    }

    /// A record has left its request and comes back to the front queue.
    pub(super) fn returned(&mut self, entry: &Entry) {
        let state = self
            .keys
            .get_mut(&key_of(&entry.record))
            .expect("a key in a request is known");
        state.leave_request();
        state.in_front += 1;
    }

    /// A record of this key has left its request for good. What waited for it moves to the front queue.
    pub(super) fn settled(&mut self, key: u128, front: &mut BTreeMap<u64, Entry>) {
        let state = self
            .keys
            .get_mut(&key)
            .expect("a key in a request is known");
        state.leave_request();
        self.advance(key, front);
    }

    /// A record of this key that was in the front queue is gone for good.
    pub(super) fn dropped_from_front(&mut self, key: u128, front: &mut BTreeMap<u64, Entry>) {
        let state = self
            .keys
            .get_mut(&key)
            .expect("keys of the front are known");
        state.in_front -= 1;
        self.advance(key, front);
    }

    /// Removes a waiting record.
    pub(super) fn remove_waiting(
        &mut self,
        seq: u64,
        front: &mut BTreeMap<u64, Entry>,
    ) -> Option<Entry> {
        let entry = self.side.remove(&seq)?;
        self.side_bytes -= entry.len();
        let key = key_of(&entry.record);
        let state = self
            .keys
            .get_mut(&key)
            .expect("keys of the side queue are known");
        state.waiting.retain(|waiting| *waiting != seq);
        self.advance(key, front);
        Some(entry)
    }

    fn advance(&mut self, key: u128, front: &mut BTreeMap<u64, Entry>) {
        let Some(state) = self.keys.get_mut(&key) else {
            return;
        };
        if state.in_request == 0 && state.in_front == 0 {
            let count = if self.one_per_key {
                1
            } else {
                state.waiting.len()
            };
            for _ in 0..count {
                let Some(seq) = state.waiting.pop_front() else {
                    break;
                };
                let entry = self
                    .side
                    .remove(&seq)
                    .expect("what waits is in the side queue");
                self.side_bytes -= entry.len();
                state.in_front += 1;
                front.insert(seq, entry);
            }
        }
        if state.is_resolved() {
            self.keys.remove(&key);
        }
    }

    /// Waiting records, oldest first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.side.values()
    }

    pub(super) fn into_waiting(self) -> impl Iterator<Item = Entry> {
        self.side.into_values()
    }

    pub(super) fn waiting_len(&self) -> usize {
        self.side.len()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.side_bytes
    }
}

impl KeyState {
    fn leave_request(&mut self) {
        self.in_request -= 1;
        if self.in_request == 0 {
            self.request = None;
        }
    }
}
