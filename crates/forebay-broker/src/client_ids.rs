//! Which connection has which client id, and how often an id may connect.
//!
//! A second connection with an id takes it over: it waits until the first one has let go, so that the will, the
//! subscriptions and the last publish of the old one are through before the new one hears that it is connected.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use forebay_core::Time;

use crate::slot::ConnectionKey;

/// Locks that connects share: enough that workers rarely meet.
const SHARDS: usize = 16;

/// Client ids per shard whose connect rate is remembered. An id is forgotten when it has all its connects back, so the
/// bound is reached only when more ids than this connected within the last seconds; the rest then connects unchecked.
const RATES_PER_SHARD: usize = 8_192;

/// The answer to a connection that wants a client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It has it.
    Granted,
    /// It has to wait until it is granted: these connections must go.
    Waiting {
        owner: ConnectionKey,
        earlier: Option<ConnectionKey>,
    },
    /// The id connects too often.
    TooOften,
}

#[derive(Debug)]
struct Holder {
    owner: ConnectionKey,
    waiting: Option<ConnectionKey>,
}

#[derive(Debug, Default)]
struct Shard {
    holders: HashMap<Box<str>, Holder, RandomState>,
    /// By hash of the client id: connects that are left, in thousandths, and when that was.
    rates: HashMap<u64, (u64, Time), RandomState>,
}

/// All client ids in use.
#[derive(Debug)]
pub(crate) struct ClientIds {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    per_second: u32,
    burst: u32,
}

impl ClientIds {
    /// Allows each id `per_second` connects and `burst` at once.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            per_second,
            burst,
        }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The upper bits: the lower ones choose the place in the shard's own maps.
        let index = (hash >> 32) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `client_id`.
    pub(crate) fn claim(&self, client_id: &str, key: ConnectionKey, now: Time) -> Claim {
        let hash = self.hasher.hash_one(client_id);
        let mut shard = self.shard(hash);
        if !self.take_connect(&mut shard, hash, now) {
            return Claim::TooOften;
        }
        match shard.holders.entry(Box::from(client_id)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Holder {
                    owner: key,
                    waiting: None,
                });
                Claim::Granted
            }
            Entry::Occupied(mut occupied) => {
                let holder = occupied.get_mut();
                Claim::Waiting {
                    owner: holder.owner,
                    earlier: holder.waiting.replace(key),
                }
            }
        }
    }

    fn take_connect(&self, shard: &mut Shard, hash: u64, now: Time) -> bool {
        const ONE: u64 = 1_000;
        let full = u64::from(self.burst) * ONE;
        let refilled = |(left, since): (u64, Time)| {
            let passed = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
            full.min(left.saturating_add(passed.saturating_mul(u64::from(self.per_second))))
        };
        if shard.rates.len() >= RATES_PER_SHARD {
            shard.rates.retain(|_, rate| refilled(*rate) < full);
        }
        let known = shard.rates.get(&hash).copied();
        let left = known.map_or(full, refilled);
        if left < ONE {
            return false;
        }
        if known.is_some() || shard.rates.len() < RATES_PER_SHARD {
            shard.rates.insert(hash, (left - ONE, now));
        }
        true
    }

    /// Gives `client_id` back. Returns the connection that has it now, if one was waiting.
    pub(crate) fn release(&self, client_id: &str, key: ConnectionKey) -> Option<ConnectionKey> {
        let mut shard = self.shard(self.hasher.hash_one(client_id));
        let holder = shard.holders.get_mut(client_id)?;
        if holder.waiting == Some(key) {
            holder.waiting = None;
            return None;
        }
        if holder.owner != key {
            return None;
        }
        match holder.waiting.take() {
            Some(next) => {
                holder.owner = next;
                Some(next)
            }
            None => {
                shard.holders.remove(client_id);
                None
            }
        }
    }

    /// Ids in use.
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                shard.holders.len()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(index: u32) -> ConnectionKey {
        ConnectionKey {
            worker: 0,
            index,
            generation: 0,
        }
    }

    #[test]
    fn the_newest_connection_gets_the_id_when_the_old_one_has_let_go() {
        let ids = ClientIds::new(1, 10);
        assert_eq!(ids.claim("c", key(1), Time::ZERO), Claim::Granted);
        let waiting = |owner, earlier| Claim::Waiting { owner, earlier };
        assert_eq!(ids.claim("c", key(2), Time::ZERO), waiting(key(1), None));
        assert_eq!(
            ids.claim("c", key(3), Time::ZERO),
            waiting(key(1), Some(key(2)))
        );
        assert_eq!(ids.release("c", key(2)), None);
        assert_eq!(ids.release("c", key(1)), Some(key(3)));
        assert_eq!(ids.release("c", key(1)), None);
        assert_eq!(ids.len(), 1);
        assert_eq!(ids.release("c", key(3)), None);
        assert_eq!(ids.len(), 0);
    }

    #[test]
    fn an_id_connects_no_faster_than_its_rate() {
        let ids = ClientIds::new(1, 2);
        let mut now = Time::ZERO;
        for expected in [Claim::Granted, Claim::Granted, Claim::TooOften] {
            assert_eq!(ids.claim("c", key(1), now), expected);
            ids.release("c", key(1));
        }
        now += Duration::from_millis(1_000);
        assert_eq!(ids.claim("c", key(1), now), Claim::Granted);
        ids.release("c", key(1));
        assert_eq!(ids.claim("c", key(1), now), Claim::TooOften);
        assert_eq!(ids.claim("d", key(1), now), Claim::Granted);
    }
}
