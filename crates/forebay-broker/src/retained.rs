//! The retained message of each topic, in memory, bounded in number and bytes.
//!
//! A subscriber reads the matching ones in pages: each page looks at a bounded number of topics under the lock, takes
//! them as they are at that moment, and remembers where it stopped.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_core::Time;
use forebay_core::topic::{HashParent, matches};

use crate::publication::Publication;

/// Topics that one page looks at.
const PAGE_TOPICS: usize = 512;

/// Why a retained message was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetainedFull;

#[derive(Debug, Default)]
struct Store {
    messages: BTreeMap<Arc<str>, Arc<Publication>>,
    bytes: usize,
    /// When the store was last searched for expired messages because it was full.
    swept: Time,
}

/// All retained messages.
#[derive(Debug)]
pub(crate) struct Retained {
    store: Mutex<Store>,
    messages_max: usize,
    bytes_max: usize,
}

/// Where the delivery of retained messages for one new subscription is.
#[derive(Debug)]
pub(crate) struct RetainedScan {
    filter: Box<str>,
    after: Option<Arc<str>>,
}

impl RetainedScan {
    pub(crate) fn new(filter: &str) -> Self {
        Self {
            filter: Box::from(filter),
            after: None,
        }
    }

    /// The filter of the subscription.
    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }
}

impl Retained {
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            store: Mutex::default(),
            messages_max,
            bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `publication` the retained message of its topic, or clears it when the payload is empty.
    ///
    /// # Errors
    /// When the store is full. What was retained before stays.
    pub(crate) fn store(
        &self,
        publication: &Arc<Publication>,
        now: Time,
    ) -> Result<(), RetainedFull> {
        let mut store = self.lock();
        let old = store
            .messages
            .get(&*publication.topic)
            .map_or(0, |old| old.bytes());
        if publication.payload.is_empty() {
            store.messages.remove(&*publication.topic);
            store.bytes -= old;
            return Ok(());
        }
        let new = publication.bytes();
        if !self.has_room(&store, old, new) {
            store.sweep(now);
        }
        // Sweeping may have removed the old message of this very topic.
        let old = store
            .messages
            .get(&*publication.topic)
            .map_or(0, |old| old.bytes());
        if !self.has_room(&store, old, new) {
            return Err(RetainedFull);
        }
        store.bytes = store.bytes - old + new;
        store
            .messages
            .insert(Arc::from(&*publication.topic), Arc::clone(publication));
        Ok(())
    }

    fn has_room(&self, store: &Store, old: usize, new: usize) -> bool {
        let replaces = usize::from(old > 0);
        store.messages.len() + 1 - replaces <= self.messages_max
            && store.bytes - old + new <= self.bytes_max
    }

    /// Appends the next matching messages to `found`. True when the scan is complete.
    pub(crate) fn page(
        &self,
        scan: &mut RetainedScan,
        now: Time,
        found: &mut Vec<Arc<Publication>>,
    ) -> bool {
        let mut store = self.lock();
        let Some(prefix) = literal_prefix(&scan.filter) else {
            if let Some(message) = store.messages.get(&*scan.filter) {
                if message.is_expired(now) {
                    store.remove(&scan.filter);
                } else {
                    found.push(Arc::clone(message));
                }
            }
            return true;
        };
        let start = match &scan.after {
            Some(after) => Bound::Excluded(&**after),
            None => Bound::Included(prefix),
        };
        let mut expired: Vec<Arc<str>> = Vec::new();
        let mut last = None;
        let mut seen = 0;
        for (topic, message) in store.messages.range::<str, _>((start, Bound::Unbounded)) {
            if !topic.starts_with(prefix) {
                last = None;
                break;
            }
            if seen == PAGE_TOPICS {
                break;
            }
            seen += 1;
            last = Some(Arc::clone(topic));
            if message.is_expired(now) {
                expired.push(Arc::clone(topic));
            } else if matches(&scan.filter, topic, HashParent::Matches) {
                found.push(Arc::clone(message));
            }
        }
        for topic in expired {
            store.remove(&topic);
        }
        scan.after = last;
        seen < PAGE_TOPICS || scan.after.is_none()
    }

    /// The message of a topic.
    pub(crate) fn get(&self, topic: &str, now: Time) -> Option<Arc<Publication>> {
        let store = self.lock();
        let found = store.messages.get(topic);
        found.filter(|message| !message.is_expired(now)).cloned()
    }

    /// Up to `max` messages whose topics come behind `after`, by topic.
    pub(crate) fn after(
        &self,
        after: Option<&str>,
        max: usize,
        now: Time,
    ) -> Vec<Arc<Publication>> {
        let store = self.lock();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = store.messages.range::<str, _>((start, Bound::Unbounded));
        behind
            .map(|(_, message)| message)
            .filter(|message| !message.is_expired(now))
            .take(max)
            .cloned()
            .collect()
    }

    /// Messages and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let store = self.lock();
        (store.messages.len(), store.bytes)
    }
}

impl Store {
    fn remove(&mut self, topic: &str) {
        if let Some(removed) = self.messages.remove(topic) {
            self.bytes -= removed.bytes();
        }
    }

    /// Drops expired messages, at most once per second: a full store must not be searched for every publish.
    fn sweep(&mut self, now: Time) {
        if now.since(self.swept) < std::time::Duration::from_secs(1) {
            return;
        }
        self.swept = now;
        let bytes = &mut self.bytes;
        self.messages.retain(|_, message| {
            let keep = !message.is_expired(now);
            if !keep {
                *bytes -= message.bytes();
            }
            keep
        });
    }
}

/// What every topic that matches the filter begins with; `None` for a filter without wildcards.
fn literal_prefix(filter: &str) -> Option<&str> {
    let wildcard = filter.find(['+', '#'])?;
    let before = filter.get(..wildcard).unwrap_or("");
    // `a/#` matches `a` itself.
    if filter.get(wildcard..) == Some("#") {
        return Some(before.strip_suffix('/').unwrap_or(before));
    }
    Some(before)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use forebay_core::QoS;
    use rumqttd::protocol::PublishProperties;

    use super::*;

    fn message(topic: &str, payload: &str, expiry: Option<u32>) -> Arc<Publication> {
        let properties = PublishProperties {
            message_expiry_interval: expiry,
            ..PublishProperties::default()
        };
        Arc::new(Publication::new(
            topic,
            &Bytes::copy_from_slice(payload.as_bytes()),
            QoS::AtLeastOnce,
            true,
            Some(&properties),
            Time::ZERO,
        ))
    }

    fn all(retained: &Retained, filter: &str, now: Time) -> Vec<String> {
        let mut scan = RetainedScan::new(filter);
        let mut found = Vec::new();
        while !retained.page(&mut scan, now, &mut found) {}
        found
            .iter()
            .map(|message| message.topic.to_string())
            .collect()
    }

    #[test]
    fn filters_find_their_topics_over_several_pages() {
        let retained = Retained::new(10_000, 1 << 30);
        for index in 0..1_500 {
            retained
                .store(&message(&format!("d/{index:04}/s"), "x", None), Time::ZERO)
                .unwrap();
        }
        for topic in ["a", "a/b", "ab", "$SYS/x"] {
            retained
                .store(&message(topic, "x", None), Time::ZERO)
                .unwrap();
        }
        assert_eq!(all(&retained, "d/+/s", Time::ZERO).len(), 1_500);
        assert_eq!(all(&retained, "#", Time::ZERO).len(), 1_503);
        assert_eq!(all(&retained, "a/#", Time::ZERO), ["a", "a/b"]);
        assert_eq!(all(&retained, "a", Time::ZERO), ["a"]);
        assert_eq!(all(&retained, "+", Time::ZERO), ["a", "ab"]);
        assert_eq!(all(&retained, "$SYS/#", Time::ZERO), ["$SYS/x"]);
        assert_eq!(all(&retained, "b/#", Time::ZERO), [""; 0]);
    }

    #[test]
    fn bounds_hold_and_expired_messages_make_room() {
        let retained = Retained::new(2, 1 << 20);
        retained
            .store(&message("a", "x", Some(5)), Time::ZERO)
            .unwrap();
        retained
            .store(&message("b", "x", None), Time::ZERO)
            .unwrap();
        assert_eq!(
            retained.store(&message("c", "x", None), Time::ZERO),
            Err(RetainedFull)
        );
        retained
            .store(&message("b", "longer", None), Time::ZERO)
            .unwrap();
        let later = Time::ZERO + Duration::from_secs(6);
        assert_eq!(all(&retained, "#", Time::ZERO), ["a", "b"]);
        retained.store(&message("c", "x", None), later).unwrap();
        assert_eq!(all(&retained, "#", later), ["b", "c"]);
        retained.store(&message("b", "", None), later).unwrap();
        retained.store(&message("c", "", None), later).unwrap();
        assert_eq!(retained.size(), (0, 0));
        let small = Retained::new(10, 150);
        assert_eq!(
            small.store(&message("a", &"x".repeat(500), None), later),
            Err(RetainedFull)
        );
    }
}
