//! Who wants which topic: one trie over topic levels for all workers.
//!
//! The trie is immutable. A subscriber builds the next version, which shares everything but the path that changed, and
//! swaps it in; subscribers exclude each other with a lock that no publisher ever takes. A publisher looks at the
//! version of its moment. What is unsubscribed is freed when the last publisher has left the old version.

mod persistent_map;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Cache};
use foldhash::quality::RandomState;
use forebay_core::QoS;

use crate::slot::ConnectionKey;
use persistent_map::PersistentMap;

/// What a subscriber asked for with a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriptionOptions {
    /// The highest QoS it wants.
    pub(crate) qos: QoS,
    /// It does not want its own messages back.
    pub(crate) no_local: bool,
    /// It wants the RETAIN flag as the publisher set it.
    pub(crate) retain_as_published: bool,
}

/// One session that a message goes to, however many of its filters match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) connection: ConnectionKey,
    /// The highest QoS of its matching filters.
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
}

type Subscribers = PersistentMap<ConnectionKey, SubscriptionOptions>;

#[derive(Debug, Clone, Default)]
struct Node {
    children: PersistentMap<Box<str>, Arc<Node>>,
    /// The child of a `+` level.
    plus: Option<Arc<Node>>,
    /// Subscribers whose filter ends here.
    exact: Subscribers,
    /// Subscribers whose filter has a `#` below this node: they match this node too (MQTT 3.1.1, 4.7.1.2).
    below: Subscribers,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.plus.is_none()
            && self.exact.is_empty()
            && self.below.is_empty()
    }
}

/// All subscriptions of the broker.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    root: Arc<ArcSwap<Node>>,
    /// Held by whoever builds the next version.
    writing: Mutex<()>,
    count: AtomicUsize,
    hasher: RandomState,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            root: Arc::new(ArcSwap::from_pointee(Node::default())),
            writing: Mutex::new(()),
            count: AtomicUsize::new(0),
            hasher: RandomState::default(),
        }
    }
}

impl Subscriptions {
    /// Subscriptions at the moment.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A view for one thread, to match topics with.
    pub(crate) fn matcher(&self) -> Matcher {
        Matcher {
            cache: Cache::new(Arc::clone(&self.root)),
            hasher: self.hasher.clone(),
        }
    }

    /// Adds subscriptions of one connection, or changes their options. Publishers that start afterwards see all of them.
    pub(crate) fn subscribe<'a>(
        &self,
        connection: ConnectionKey,
        filters: impl Iterator<Item = (&'a str, SubscriptionOptions)>,
    ) {
        let _writing = self.lock();
        let mut root = Node::clone(&self.root.load());
        let mut added = 0;
        for (filter, options) in filters {
            let mut is_new = false;
            let entry = subscribers(&mut root, &self.hasher, filter).get_or_insert_with(
                &self.hasher,
                connection,
                || {
                    is_new = true;
                    options
                },
            );
            *entry = options;
            added += usize::from(is_new);
        }
        self.root.store(Arc::new(root));
        self.count.fetch_add(added, Ordering::Relaxed);
    }

    /// Takes subscriptions of one connection away; filters that it does not have are passed over.
    pub(crate) fn unsubscribe<'a>(
        &self,
        connection: ConnectionKey,
        filters: impl Iterator<Item = &'a str>,
    ) {
        let _writing = self.lock();
        let mut root = Node::clone(&self.root.load());
        let mut removed = 0;
        for filter in filters {
            let found = remove(&mut root, &self.hasher, filter.split('/'), connection);
            removed += usize::from(found);
        }
        self.root.store(Arc::new(root));
        self.count.fetch_sub(removed, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data: a panicking subscriber never stored its version.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscribers of a filter, on a path that is made as needed.
fn subscribers<'a>(
    mut node: &'a mut Node,
    hasher: &RandomState,
    filter: &str,
) -> &'a mut Subscribers {
    for level in filter.split('/') {
        node = match level {
            "#" => return &mut node.below,
            "+" => Arc::make_mut(node.plus.get_or_insert_with(Arc::default)),
            level => Arc::make_mut(node.children.get_or_insert_with(
                hasher,
                Box::from(level),
                Arc::default,
            )),
        };
    }
    &mut node.exact
}

/// Removes one subscription and the nodes that it leaves empty. True when it was there.
fn remove<'a>(
    node: &mut Node,
    hasher: &RandomState,
    mut levels: impl Iterator<Item = &'a str>,
    connection: ConnectionKey,
) -> bool {
    match levels.next() {
        None => node.exact.remove(hasher, &connection).is_some(),
        Some("#") => node.below.remove(hasher, &connection).is_some(),
        Some("+") => {
            let Some(child) = &mut node.plus else {
                return false;
            };
            let child = Arc::make_mut(child);
            let found = remove(child, hasher, levels, connection);
            if child.is_empty() {
                node.plus = None;
            }
            found
        }
        Some(level) => {
            let Some(child) = node.children.get_mut(hasher, level) else {
                return false;
            };
            let child = Arc::make_mut(child);
            let found = remove(child, hasher, levels, connection);
            if child.is_empty() {
                node.children.remove(hasher, level);
            }
            found
        }
    }
}

/// One thread's view of the subscriptions.
pub(crate) struct Matcher {
    cache: Cache<Arc<ArcSwap<Node>>, Arc<Node>>,
    hasher: RandomState,
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Matcher")
    }
}

impl Matcher {
    /// Fills `targets` with every session that a message on `topic` goes to, each once, in the order of their keys.
    /// `publisher` is left out where it asked not to get its own messages.
    pub(crate) fn find(
        &mut self,
        topic: &str,
        publisher: Option<ConnectionKey>,
        targets: &mut Vec<Target>,
    ) {
        targets.clear();
        let root = self.cache.load();
        let reserved = topic.starts_with('$');
        let mut visit = |connection: &ConnectionKey, options: &SubscriptionOptions| {
            if !(options.no_local && publisher == Some(*connection)) {
                targets.push(Target {
                    connection: *connection,
                    qos: options.qos,
                    retain_as_published: options.retain_as_published,
                });
            }
        };
        walk(root, &self.hasher, Some(topic), reserved, &mut visit);
        merge(targets);
    }
}

/// Visits the subscribers below `node` that match `rest`, the levels that are left. In the first level of a reserved
/// topic wildcards do not count (MQTT 5.0, 4.7.2).
fn walk(
    node: &Node,
    hasher: &RandomState,
    rest: Option<&str>,
    reserved: bool,
    visit: &mut impl FnMut(&ConnectionKey, &SubscriptionOptions),
) {
    if !reserved {
        node.below.for_each(visit);
    }
    let Some(rest) = rest else {
        node.exact.for_each(visit);
        return;
    };
    let (level, rest) = match rest.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (rest, None),
    };
    if let Some(child) = node.children.get(hasher, level) {
        walk(child, hasher, rest, false, visit);
    }
    if let (Some(child), false) = (&node.plus, reserved) {
        walk(child, hasher, rest, false, visit);
    }
}

/// Leaves one target per connection, with the highest QoS.
fn merge(targets: &mut Vec<Target>) {
    if targets.len() < 2 {
        return;
    }
    targets.sort_unstable_by_key(|target| target.connection);
    targets.dedup_by(|next, kept| {
        let same = next.connection == kept.connection;
        if same {
            kept.qos = kept.qos.max(next.qos);
            kept.retain_as_published |= next.retain_as_published;
        }
        same
    });
}

#[cfg(test)]
mod tests;
