//! Remembers the hash keys of recent partition keys: MD5 costs several times what the lookup costs.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use forebay_core::{HashKey, PartitionKey};

/// Entries; a power of two. At up to 64 bytes each the table stays below half a MiB per worker.
const ENTRIES: usize = 8192;

/// A direct-mapped table: a key that hashes to a taken place simply takes it over, so the size never changes.
#[derive(Debug)]
pub(crate) struct HashCache {
    entries: Box<[Option<(PartitionKey, HashKey)>]>,
    state: FixedState,
}

impl HashCache {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            entries: vec![None; ENTRIES].into(),
            state: FixedState::with_seed(seed),
        }
    }

    /// The hash key of a partition key.
    pub(crate) fn hash_key(&mut self, partition_key: &PartitionKey) -> HashKey {
        let place = self.state.hash_one(partition_key.as_str()) as usize % ENTRIES;
        let entry = &mut self.entries[place];
        match entry {
            Some((key, hash)) if key == partition_key => *hash,
            _ => {
                let hash = HashKey::of_partition_key(partition_key);
                *entry = Some((partition_key.clone(), hash));
                hash
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_and_computed_hash_keys_agree() {
        let mut cache = HashCache::new(3);
        for round in 0..2 {
            for index in 0..3 * ENTRIES {
                let key = PartitionKey::new(&format!("device-{index}")).unwrap();
                let expected = HashKey::of_partition_key(&key);
                assert_eq!(cache.hash_key(&key), expected, "round {round}");
                assert_eq!(cache.hash_key(&key), expected);
            }
        }
    }
}
