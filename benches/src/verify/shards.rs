//! Which shards a reader must read, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::{Shard, ShardMap};

/// What ListShards says of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShardInfo {
    pub(super) id: String,
    pub(super) parents: Vec<String>,
    pub(super) closed: bool,
    pub(super) range: (u128, u128),
}

/// Where a shard is in its life as a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    Reading,
    Read,
}

/// The family tree of a stream's shards. A shard is read when its parents are: only so is a key's order kept across a
/// reshard.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    shards: BTreeMap<String, (ShardInfo, Place)>,
}

impl Lineage {
    /// Adds shards that are new.
    pub(super) fn learn(&mut self, listed: Vec<ShardInfo>) {
        for shard in listed {
            self.shards
                .entry(shard.id.clone())
                .or_insert((shard, Place::Waiting));
        }
    }

    /// Marks every closed shard as read: what they hold came before the reader.
    pub(super) fn skip_closed(&mut self) {
        for (shard, place) in self.shards.values_mut() {
            if shard.closed {
                *place = Place::Read;
            }
        }
    }

    /// Shards that can be read now and are not yet; they count as being read from here on.
    pub(super) fn start(&mut self) -> Vec<String> {
        let unread: BTreeSet<&String> = self
            .shards
            .iter()
            .filter(|(_, (_, place))| *place != Place::Read)
            .map(|(id, _)| id)
            .collect();
        let ready = self.shards.values().filter(|(shard, place)| {
            *place == Place::Waiting && !shard.parents.iter().any(|id| unread.contains(id))
        });
        let ready: Vec<String> = ready.map(|(shard, _)| shard.id.clone()).collect();
        for id in &ready {
            self.set(id, Place::Reading);
        }
        ready
    }

    /// Marks a shard as read to its end.
    pub(super) fn finish(&mut self, id: &str) {
        self.set(id, Place::Read);
    }

    /// The map by which records are placed, as long as no shard that is read is closed: after a reshard a record's
    /// place depends on when it came.
    pub(super) fn map(&self) -> Option<ShardMap> {
        let read = self
            .shards
            .values()
            .filter(|(_, place)| *place != Place::Read);
        let shards = read.map(|(shard, _)| {
            let (start, end) = shard.range;
            (!shard.closed).then(|| Shard::new(&shard.id, start, end))
        });
        ShardMap::new(shards.collect::<Option<Vec<Shard>>>()?).ok()
    }

    fn set(&mut self, id: &str, to: Place) {
        if let Some((_, place)) = self.shards.get_mut(id) {
            *place = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, parents: &[&str], closed: bool) -> ShardInfo {
        ShardInfo {
            id: id.to_owned(),
            parents: parents.iter().map(|id| (*id).to_owned()).collect(),
            closed,
            range: (0, u128::MAX),
        }
    }

    #[test]
    fn children_wait_for_all_their_parents() {
        let mut lineage = Lineage::default();
        lineage.learn(vec![
            shard("a", &[], true),
            shard("b", &["gone"], true),
            shard("merged", &["a", "b"], false),
        ]);
        assert_eq!(lineage.start(), ["a", "b"]);
        lineage.finish("a");
        assert!(lineage.start().is_empty() && lineage.map().is_none());
        lineage.finish("b");
        assert_eq!(lineage.start(), ["merged"]);
        lineage.learn(vec![shard("merged", &["a", "b"], false)]);
        assert!(lineage.start().is_empty());
    }

    #[test]
    fn a_reader_from_now_on_starts_with_the_open_shards() {
        let mut lineage = Lineage::default();
        lineage.learn(vec![shard("a", &[], true), shard("b", &["a"], false)]);
        lineage.skip_closed();
        assert_eq!(lineage.start(), ["b"]);
        assert_eq!(lineage.map().unwrap().len(), 1);
    }
}
